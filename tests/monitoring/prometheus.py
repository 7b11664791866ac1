"""A real Prometheus on loopback, which reads what the chart's PodMonitors name, as the Prometheus Operator has it."""

from __future__ import annotations

import contextlib
import json
import re
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from tests.support.eventually import eventually
from tools.localcluster.binaries import binary
from tools.localcluster.ports import held_port
from tools.localcluster.processes import Processes

SECOND = "1s"


class Prometheus:
    """A context manager. Everything that it holds is in ``folder``."""

    def __init__(self, folder: Path, scraped: Sequence[Mapping[str, Any]], rules: Mapping[str, Any]) -> None:
        """
        Args:
            scraped: scrape configurations.
            rules: groups of rules.
        """
        self._folder = folder
        self._processes = Processes(folder)
        (folder / "rules.yaml").write_text(yaml.safe_dump(dict(rules)))
        configuration = {
            "global": {"scrape_interval": SECOND, "scrape_timeout": SECOND, "evaluation_interval": SECOND},
            "rule_files": ["rules.yaml"],
            "scrape_configs": list(scraped),
        }
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(configuration))
        self._cleanup = contextlib.ExitStack()
        self.url = ""

    def __enter__(self) -> Self:
        program = binary("prometheus")
        with self._cleanup as cleanup:
            address = f"127.0.0.1:{cleanup.enter_context(held_port())}"
            self.url = f"http://{address}"
            cleanup.callback(self._processes.stop)
            self._processes.start(
                "prometheus",
                [
                    program,
                    f"--config.file={self._folder / 'prometheus.yaml'}",
                    f"--storage.tsdb.path={self._folder / 'data'}",
                    f"--web.listen-address={address}",
                ],
            )
            eventually(self._ready, within=90)
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cleanup.close()

    def _ready(self) -> bool:
        self._processes.check()
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5) as answer:  # noqa: S310 - our own
                return bool(answer.status == 200)
        except OSError:
            return False

    def _get(self, path: str, **parameters: object) -> Any:
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=30) as answer:  # noqa: S310 - our own
            return json.load(answer)["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an instant query, now."""
        found: list[dict[str, Any]] = self._get("query", query=expression)["result"]
        return found

    def value(self, expression: str) -> float:
        """Of a query that gives one series."""
        found = self.query(expression)
        assert len(found) == 1, found
        return float(found[0]["value"][1])

    def query_range(self, expression: str, start: float, end: float, *, step: float = 1.0) -> list[dict[str, Any]]:
        data = self._get("query_range", query=expression, start=start, end=end, step=step)
        found: list[dict[str, Any]] = data["result"]
        return found

    def firing(self, alert: str) -> dict[str, dict[str, Any]]:
        """The alerts of that name that fire, by the name of the resource that they are of ("" where of none)."""
        return {
            it["labels"].get("name", ""): it
            for it in self._get("alerts")["alerts"]
            if it["labels"]["alertname"] == alert and it["state"] == "firing"
        }

    def failed_rules(self) -> dict[str, str]:
        """Rules that couldn't be evaluated, and why."""
        groups = self._get("rules")["groups"]
        return {rule["name"]: rule["lastError"] for group in groups for rule in group["rules"] if rule.get("lastError")}


def scraped_as(monitor: Mapping[str, Any], discovered: Mapping[str, Any]) -> dict[str, Any]:
    """What a PodMonitor asks for, as a scrape configuration, with another way to discover than the cluster's own.

    Source: generatePodMonitorConfig in pkg/prometheus/promcfg.go of github.com/prometheus-operator/prometheus-operator,
    for the fields that ours have; another one is an error here.
    """
    spec, metadata = monitor["spec"], monitor["metadata"]
    (endpoint,) = spec["podMetricsEndpoints"]
    job_label = [spec["jobLabel"]] if "jobLabel" in spec else []
    known = {"jobLabel", "selector", "namespaceSelector", "sampleLimit", "podMetricsEndpoints"}
    known_here = {"port", "path", "honorLabels", "relabelings", "metricRelabelings"}
    assert set(spec) <= known, f"not translated: {set(spec) - known}"
    assert set(endpoint) <= known_here, f"not translated: {set(endpoint) - known_here}"
    labels = {_label(name): value for name, value in spec["selector"]["matchLabels"].items()}
    relabelings = [
        *({"action": "keep", "source_labels": [name], "regex": re.escape(value)} for name, value in labels.items()),
        {"action": "keep", "source_labels": ["__meta_kubernetes_pod_container_port_name"], "regex": endpoint["port"]},
        {"action": "drop", "source_labels": ["__meta_kubernetes_pod_phase"], "regex": "(Failed|Succeeded)"},
        {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
        {"source_labels": ["__meta_kubernetes_pod_container_name"], "target_label": "container"},
        {"source_labels": ["__meta_kubernetes_pod_name"], "target_label": "pod"},
        {"target_label": "job", "replacement": f"{metadata['namespace']}/{metadata['name']}"},
        *({"source_labels": [_label(it)], "target_label": "job", "regex": "(.+)"} for it in job_label),
        {"target_label": "endpoint", "replacement": endpoint["port"]},
        *map(_relabeling, endpoint.get("relabelings", [])),
    ]
    return {
        "job_name": f"podMonitor/{metadata['namespace']}/{metadata['name']}/0",
        "metrics_path": endpoint["path"],
        "honor_labels": endpoint.get("honorLabels", False),
        "sample_limit": spec.get("sampleLimit", 0),
        "relabel_configs": relabelings,
        "metric_relabel_configs": [_relabeling(it) for it in endpoint.get("metricRelabelings", [])],
        **discovered,
    }


def _label(name: str) -> str:
    return "__meta_kubernetes_pod_label_" + re.sub(r"[^a-zA-Z0-9_]", "_", name)


def _relabeling(relabeling: Mapping[str, Any]) -> dict[str, Any]:
    names = {"sourceLabels": "source_labels", "targetLabel": "target_label"}
    return {names.get(name, name): value for name, value in relabeling.items()}
