"""What the chart's templates of monitoring make."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.support import chart
from tests.support.chart import Object, Values

RELEASE = "speculator-operator"
RELEASE_NAMESPACE = "operators"
#: Everything that is off by default, on.
EVERYTHING: Values = {
    "crds": {"install": False},  # it is long, and nothing here is about it
    "monitoring": {
        "operator": {"enabled": True},
        "engines": {"enabled": True},
        "rules": {"enabled": True, "runbookUrl": "https://docs.example/runbook.md"},
    },
    "dashboard": {"enabled": True},
}


def found(kind: str, values: Values | None = None, *, suffix: str = "") -> Object:
    """The one object of a kind whose name ends so."""
    return chart.only(_objects(values), kind, f"{RELEASE}{suffix}")


def rules(values: Values | None = None, *, release: str = RELEASE) -> Object:
    """The PrometheusRule's content, as a file of rules for Prometheus."""
    content: Object = chart.only(_objects(values, release), "PrometheusRule")["spec"]
    return content


def _objects(values: Values | None, release: str = RELEASE) -> list[Object]:
    return chart.objects(chart.merged(EVERYTHING, values or {}), release=release, namespace=RELEASE_NAMESPACE)


def alerts(content: Mapping[str, Any]) -> dict[str, Object]:
    return {rule["alert"]: rule for group in content["groups"] for rule in group["rules"] if "alert" in rule}


def of_alerts(**settings: Values) -> Values:
    """Values of alerts, by their names."""
    return chart.nested("monitoring.rules.alerts", settings)
