"""What the dashboard and the alerts ask for, and the dashboard's queries with what Grafana puts into them."""

from __future__ import annotations

import re

from tests.monitoring.rendered import rules
from tools.dashboard import ROWS

#: Everything is chosen. Prometheus reads once a second here, and a rate is of five.
VARIABLES = {"$namespace": ".*", "$name": ".*", "$job": ".*", "$__rate_interval": "5s", "$__range": "10m"}


def filled(expression: str) -> str:
    for name in sorted(VARIABLES, key=len, reverse=True):
        expression = expression.replace(name, VARIABLES[name])
    assert "$" not in expression, expression
    return expression


def expressions() -> list[str]:
    """Of all panels, and of all rules."""
    asked = [filled(query.expr) for row in ROWS for panel in row.panels for query in panel.queries]
    return asked + [rule["expr"] for group in rules()["groups"] for rule in group["rules"]]


def engine_metrics() -> set[str]:
    """The engine's, as its sources name them: without what Prometheus adds for a counter or a histogram."""
    names = re.findall(r"\bvllm:\w+", " ".join(expressions()))
    return {re.sub(r"_(total|bucket)$", "", name) for name in names}


def operator_metrics() -> set[str]:
    """The operator's."""
    names = re.findall(r"(?<![:\w])(?:speculator|workqueue|rest_client)_\w+", " ".join(expressions()))
    return {name.removesuffix("_bucket") for name in names}
