"""One namespace on the real node, and the operator that looks after it.

The node has no proxy for Services, so completions go to the pods' addresses.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from tests.support.completions import completion
from tests.support.operator import Operator
from tools.localcluster.controlplane import ControlPlane

SAMPLES = Path(__file__).parents[2] / "config" / "samples"

READY_SECONDS = 400


class RealWorld:
    """One namespace on the real node, and the operator that looks after it."""

    def __init__(self, control_plane: ControlPlane, namespace: str, log: Path, **settings: object) -> None:
        self.control_plane = control_plane
        self.namespace = namespace
        self.operator = Operator(control_plane, log, namespace=namespace, settings={"scrape_interval": 2, **settings})

    def kubectl(self, *args: str, stdin: str | None = None) -> str:
        return self.control_plane.kubectl("--namespace", self.namespace, *args, stdin=stdin, timeout=READY_SECONDS + 30)

    def apply(self, sample: str, **spec: Any) -> str:
        """Applies a sample, with parts of its spec replaced; returns its name."""
        body = yaml.safe_load((SAMPLES / sample).read_text())
        # Nobody's requests are waited for when the namespace is deleted.
        body["spec"] |= {"template": {"spec": {"terminationGracePeriodSeconds": 10}}, **spec}
        self.kubectl("apply", "-f", "-", stdin=json.dumps(body))
        name: str = body["metadata"]["name"]
        return name

    def becomes_ready(self, name: str) -> dict[str, Any]:
        """Waits for it, and returns its only ready pod."""
        self.kubectl("wait", "--for=condition=Ready", f"--timeout={READY_SECONDS}s", f"spd/{name}")
        (pod,) = self.ready_pods(name)
        return pod

    def resource(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl("get", "spd", name, "-o", "json"))
        return found

    def conditions(self, name: str) -> dict[str, dict[str, Any]]:
        return {condition["type"]: condition for condition in self.resource(name)["status"]["conditions"]}

    def pods(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(
            self.kubectl("get", "pods", "-l", f"speculators.dev/name={name}", "-o", "json")
        )["items"]
        return found

    def ready_pods(self, name: str) -> list[dict[str, Any]]:
        return [pod for pod in self.pods(name) if is_ready(pod)]


def is_ready(pod: dict[str, Any]) -> bool:
    conditions = {c["type"]: c["status"] for c in pod["status"].get("conditions", [])}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


def complete(pod: dict[str, Any], name: str, tokens: int = 40) -> dict[str, Any]:
    """A completion, answered by one pod."""
    body = {"model": name, "prompt": "Hello", "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
    return completion(f"{pod['status']['podIP']}:8000", body)
