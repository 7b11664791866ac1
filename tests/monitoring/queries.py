"""The dashboard's queries with what Grafana puts into them."""

from __future__ import annotations

#: Everything is chosen. Prometheus reads once a second here, and a rate is of five.
VARIABLES = {"$namespace": ".*", "$name": ".*", "$job": ".*", "$__rate_interval": "5s", "$__range": "10m"}


def filled(expression: str) -> str:
    for name in sorted(VARIABLES, key=len, reverse=True):
        expression = expression.replace(name, VARIABLES[name])
    assert "$" not in expression, expression
    return expression
