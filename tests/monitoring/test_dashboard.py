"""The dashboard as Grafana gets it, and its queries, as far as that can be said without data."""

from __future__ import annotations

import itertools
import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

from speculator_operator.core import metrics
from tests.monitoring.queries import expressions, operator_metrics
from tests.monitoring.rendered import found
from tools.dashboard import COLUMNS, dashboard
from tools.localcluster.binaries import binary


def test_prometheus_can_read_every_query(tmp_path: Path) -> None:
    asked = [{"record": f"query:{number}", "expr": it} for number, it in enumerate(expressions())]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": asked}]}))
    ended = subprocess.run(
        [binary("promtool"), "check", "rules", tmp_path / "rules.yaml"],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_operator_has_each_metric_that_is_asked_for() -> None:
    asked = operator_metrics()
    assert "speculator_deployment_speculation_active" in asked
    assert asked <= {family.name for family in (*metrics.COUNTED, *metrics.KNOWN)}


def test_the_config_map_holds_the_dashboard_as_it_is() -> None:
    config_map = found("ConfigMap", suffix="-dashboard")
    assert config_map["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(config_map["data"]["speculator-operator.json"]) == dashboard()


def test_panels_lie_side_by_side() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for one, other in itertools.combinations(panels, 2):
        assert not _overlap(one["gridPos"], other["gridPos"]), (one["title"], other["title"])
    assert max(panel["gridPos"]["x"] + panel["gridPos"]["w"] for panel in panels) == COLUMNS


def _overlap(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(
        one[at] < other[at] + other[length] and other[at] < one[at] + one[length]
        for at, length in (("x", "w"), ("y", "h"))
    )
