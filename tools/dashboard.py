"""The Grafana dashboard, said shortly, and written as Grafana reads it.

``make generate`` writes it into the chart. The picture in the documentation (``tools/dashboard_picture.py``) and the
tests go by the same panels.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

FILE = Path(__file__).parents[1] / "charts" / "speculator-operator" / "dashboards" / "speculator-operator.json"

COLUMNS = 24
GREEN, RED, ORANGE, BLUE = "green", "red", "orange", "blue"

#: Of the resources that are chosen above; what the operator and the engines say of them bears the same two labels.
CHOSEN = 'namespace=~"$namespace",name=~"$name"'
#: Of the operator's own processes. Other controllers have series of the same names.
OPERATOR = 'job=~"$job"'
EACH = "by (namespace, name)"
RATE = "[$__rate_interval]"

Kind = Literal["timeseries", "stat", "state-timeline", "table"]
#: What values stand for: (value, text, colour).
States = tuple[tuple[int, str, str], ...]


@dataclass(frozen=True)
class Query:
    """``legend`` is Grafana's, with labels in double braces; of a table, the column's title."""

    expr: str
    legend: str = "{{namespace}}/{{name}}"
    unit: str = ""
    """Of a table's column, where it isn't the panel's."""
    states: States = ()
    """Of a table's column."""
    dashed: bool = False


@dataclass(frozen=True)
class Panel:
    title: str
    description: str
    queries: tuple[Query, ...]
    kind: Kind = "timeseries"
    unit: str = "short"
    width: int = 8
    height: int = 8
    #: Of a stat, or a state over time.
    states: States = ()
    #: The colour of a stat that is 0, and of one that is more.
    colours: tuple[str, str] = (GREEN, GREEN)
    stacked: bool = False


@dataclass(frozen=True)
class Row:
    title: str
    panels: tuple[Panel, ...]


def gauge(name: str, more: str = "") -> str:
    """A resource's own, from whichever replica leads. ``more`` are labels to select by."""
    return f"max {EACH} (speculator_deployment_{name}{{{CHOSEN}{more}}})"


def rate(name: str, by: str = EACH) -> str:
    """Of a counter of the resources, a second."""
    return f"sum {by} (rate({name}{{{CHOSEN}}}{RATE}))"


def quantile(of: float, name: str, labels: str, by: str) -> str:
    return f"histogram_quantile({of}, sum by ({by}) (rate({name}_bucket{{{labels}}}{RATE})))"


ACTIVE = gauge("speculation_active")
STALLED = gauge("condition", ',condition="Stalled",status="True"')
GENERATED = "vllm:generation_tokens_total"
ACCEPTED = "vllm:spec_decode_num_accepted_tokens_total"


def tokens_per_step(by: str = EACH) -> str:
    """A request's step gives one token of the verifier, and those of a draft that it accepts.

    So each accepted token has saved a step, and steps without a draft count as well.
    """
    return f"{rate(GENERATED, by)} / ({rate(GENERATED, by)} - {rate(ACCEPTED, by)})"


ON = Row(
    "Is speculation on?",
    (
        Panel(
            "Drafting",
            "Resources of which every ready pod has drafted.",
            (Query(f"sum({ACTIVE}) or vector(0)", ""),),
            "stat",
            width=4,
            height=4,
            colours=(ORANGE, GREEN),
        ),
        Panel(
            "Not drafting",
            "Resources that serve without the speculation that is expected of them, or of which it can't be known.",
            (Query(f"count({ACTIVE} == 0) or vector(0)", ""),),
            "stat",
            width=4,
            height=4,
            colours=(GREEN, RED),
        ),
        Panel(
            "Stalled",
            "Resources that wait for somebody to change them, or what they name.",
            (Query(f"count({STALLED} == 1) or vector(0)", ""),),
            "stat",
            width=4,
            height=4,
            colours=(GREEN, RED),
        ),
        Panel(
            "Replicas not proven",
            "Replicas that are wanted of resources that draft, and have not drafted yet.",
            (
                Query(
                    f"sum(({gauge('replicas')} - {gauge('proven_replicas')}) and on (namespace, name) {ACTIVE}) "
                    "or vector(0)",
                    "",
                ),
            ),
            "stat",
            width=4,
            height=4,
            colours=(GREEN, ORANGE),
        ),
        Panel(
            "Tokens per step",
            "Of all of them together: what the engines generate, in so many times fewer steps than without drafts.",
            (Query(f"{tokens_per_step('')} > 0", ""),),
            "stat",
            unit="none",
            width=4,
            height=4,
            colours=(BLUE, BLUE),
        ),
        Panel(
            "Operator",
            "Whether a replica of the operator leads. While none does, nothing changes, and pods go on serving.",
            (Query(f"max(speculator_operator_leader{{{OPERATOR}}}) or vector(0)", ""),),
            "stat",
            width=4,
            height=4,
            states=((0, "nobody leads", RED), (1, "leads", GREEN)),
        ),
        Panel(
            "Speculation of each resource",
            "Gaps are times without a ready pod, or without an operator.",
            (Query(ACTIVE),),
            "state-timeline",
            width=COLUMNS,
            height=6,
            states=((0, "not drafting", RED), (1, "drafting", GREEN)),
        ),
        Panel(
            "Resources",
            "What serves, and how. The last column is when a resource that doesn't draft was last seen to.",
            (
                Query(
                    "max by (namespace, name, method, draft, verifier, engine_version) "
                    f"(speculator_deployment_info{{{CHOSEN}}})",
                    "",
                ),
                Query(ACTIVE, "drafts", states=((0, "no", RED), (1, "yes", GREEN))),
                Query(STALLED, "stalled", states=((0, "no", GREEN), (1, "yes", RED))),
                Query(gauge("acceptance_length"), "acceptance length", "none"),
                Query(gauge("replicas"), "wanted"),
                Query(gauge("ready_replicas"), "ready"),
                Query(gauge("proven_replicas"), "proven"),
                Query(
                    f"1000 * max {EACH} (max_over_time("
                    f"timestamp(speculator_deployment_speculation_active{{{CHOSEN}}} == 1)[$__range:])) "
                    f"and on (namespace, name) ({ACTIVE} == 0)",
                    "last drafted",
                    "dateTimeFromNow",
                ),
            ),
            "table",
            width=COLUMNS,
            height=7,
        ),
    ),
)

WORTH = Row(
    "Is it worth it?",
    (
        Panel(
            "Acceptance length",
            "Tokens that a draft's verification gives: 1 is the verifier's own, and all that is gained lies above it. "
            "Over the operator's window. Dashed: the median of the last week, for the same draft, verifier and number "
            "of tokens.",
            (
                Query(gauge("acceptance_length")),
                Query(
                    f"1 + namespace_name:speculator_deployment_accepted_per_draft:median7d{{{CHOSEN}}}",
                    "{{namespace}}/{{name}} usually",
                    dashed=True,
                ),
            ),
            unit="none",
        ),
        Panel(
            "Acceptance by position",
            "How often the first, second, ... token of a draft is accepted. Positions that hardly ever are cost more "
            "than they bring: fewer numSpeculativeTokens would do.",
            (
                Query(
                    f"max by (namespace, name, position) "
                    f"(speculator_deployment_acceptance_rate_per_position{{{CHOSEN}}})",
                    "{{namespace}}/{{name}} {{position}}",
                ),
            ),
            unit="percentunit",
        ),
        Panel(
            "Tokens per step",
            "Generated tokens by the steps that they took, drafts or not. 1 is no gain.",
            (Query(f"{tokens_per_step()} > 0"),),
            unit="none",
        ),
        Panel("Drafts", "Drafts that were verified.", (Query(rate("speculator_deployment_drafts_total")),), unit="cps"),
        Panel(
            "Draft tokens",
            "Of all resources together. What isn't accepted was computed for nothing.",
            (
                Query(rate("speculator_deployment_accepted_tokens_total", ""), "accepted"),
                Query(
                    f"{rate('speculator_deployment_draft_tokens_total', '')} - "
                    f"{rate('speculator_deployment_accepted_tokens_total', '')}",
                    "not accepted",
                ),
            ),
            unit="cps",
            stacked=True,
        ),
        Panel("Generated tokens", "By the engines' own account.", (Query(rate(GENERATED)),), unit="cps"),
        Panel(
            "Time per output token",
            "Of requests that ended, after their first token. This is what speculation is for.",
            tuple(
                Query(
                    quantile(q, "vllm:request_time_per_output_token_seconds", CHOSEN, by="namespace, name, le"),
                    f"{{{{namespace}}}}/{{{{name}}}} {title}",
                    dashed=title == "p95",
                )
                for q, title in ((0.5, "p50"), (0.95, "p95"))
            ),
            unit="s",
        ),
        Panel(
            "Time to the first token",
            "Speculation doesn't shorten it; a drafter that is too large lengthens it.",
            (
                Query(
                    quantile(0.95, "vllm:time_to_first_token_seconds", CHOSEN, by="namespace, name, le"),
                    "{{namespace}}/{{name}} p95",
                ),
            ),
            unit="s",
        ),
        Panel(
            "Requests",
            "The more run at once, the less there is to gain from drafts.",
            (
                Query(f"sum {EACH} (vllm:num_requests_running{{{CHOSEN}}})", "{{namespace}}/{{name}} running"),
                Query(
                    f"sum {EACH} (vllm:num_requests_waiting{{{CHOSEN}}})", "{{namespace}}/{{name}} waiting", dashed=True
                ),
            ),
        ),
    ),
)

WELL = Row(
    "Is the operator well?",
    (
        Panel(
            "Leader",
            "One replica leads, the others wait to.",
            (Query(f"max by (pod) (speculator_operator_leader{{{OPERATOR}}})", "{{pod}}"),),
            "state-timeline",
            height=7,
            states=((0, "waits", BLUE), (1, "leads", GREEN)),
        ),
        Panel(
            "Replicas",
            "Of the resources that are chosen: wanted, ready, and proven (ready, and has drafted).",
            tuple(
                Query(f"sum({gauge(name)})", title)
                for name, title in (
                    ("replicas", "wanted"),
                    ("ready_replicas", "ready"),
                    ("proven_replicas", "proven"),
                )
            ),
            height=7,
        ),
        Panel(
            "Resources by condition",
            "How many are not as they should be, of all that the operator looks after.",
            (
                Query(
                    'max by (condition) (speculator_operator_resources{condition=~"Stalled|Reconciling",status="True",'
                    f"{OPERATOR}}})",
                    "{{condition}}",
                ),
                Query(
                    "max by (condition) (speculator_operator_resources"
                    f'{{condition=~"Ready|Available|Resolved|SpeculationActive",status="False",{OPERATOR}}})',
                    "not {{condition}}",
                ),
            ),
            height=7,
        ),
        Panel(
            "Passes",
            "How long a resource waits for its pass, and how long that takes.",
            (
                Query(quantile(0.99, "workqueue_queue_duration_seconds", OPERATOR, by="le"), "waits, p99"),
                Query(quantile(0.99, "workqueue_work_duration_seconds", OPERATOR, by="le"), "takes, p99"),
            ),
            unit="s",
            width=6,
            height=7,
        ),
        Panel(
            "Queue",
            "Resources that wait for a pass now, and passes that are repeated since they failed.",
            (
                Query(f"sum(workqueue_depth{{{OPERATOR}}})", "waiting"),
                Query(f"sum(rate(workqueue_retries_total{{{OPERATOR}}}{RATE}))", "repeated a second"),
            ),
            width=6,
            height=7,
        ),
        Panel(
            "Problems",
            "Passes that ended in one, by reason. Error is the operator's own, or the API server's.",
            (Query(f"sum by (reason) (rate(speculator_reconcile_errors_total{{{OPERATOR}}}{RATE}))", "{{reason}}"),),
            unit="cps",
            width=6,
            height=7,
        ),
        Panel(
            "Requests to the API server",
            "By what it answered.",
            (Query(f"sum by (code) (rate(rest_client_requests_total{{{OPERATOR}}}{RATE}))", "{{code}}"),),
            unit="reqps",
            width=6,
            height=7,
        ),
    ),
)

ROWS = (ON, WORTH, WELL)
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


def dashboard() -> dict[str, Any]:
    """As Grafana imports it (schema version 39, of Grafana 11; later ones migrate it)."""
    return {
        "uid": "speculator-operator",
        "title": "Speculator Operator",
        "description": "Whether speculative decoding is on, whether it is worth it, and whether the operator is well.",
        "tags": ["speculators", "vllm"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,  # one crosshair for all panels
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {
            "list": [
                {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
                _variable("namespace", "Namespace", "label_values(speculator_deployment_replicas, namespace)"),
                _variable(
                    "name", "Resource", 'label_values(speculator_deployment_replicas{namespace=~"$namespace"}, name)'
                ),
                _variable("job", "Operator", "label_values(speculator_operator_leader, job)"),
            ]
        },
        "panels": list(_placed()),
    }


def _variable(name: str, label: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,  # whenever the time range changes
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _placed() -> Iterator[dict[str, Any]]:
    """The panels from left to right, and a row under the row before."""
    number, y = 0, 0
    for row in ROWS:
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "panels": [],
            "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1},
        }
        x, y, height = 0, y + 1, 0
        for panel in row.panels:
            number += 1
            if x + panel.width > COLUMNS:
                x, y, height = 0, y + height, 0
            yield {"id": number, **_panel(panel), "gridPos": {"x": x, "y": y, "w": panel.width, "h": panel.height}}
            x, height = x + panel.width, max(height, panel.height)
        y += height


def _panel(panel: Panel) -> dict[str, Any]:
    instant = panel.kind == "table"
    defaults: dict[str, Any] = {
        "unit": panel.unit,
        "mappings": _mappings(panel.states),
        "thresholds": _thresholds(panel),
    }
    overrides: list[dict[str, Any]] = []
    content: dict[str, Any] = {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "targets": [
            {
                "refId": _reference(index),
                "datasource": DATASOURCE,
                "expr": query.expr,
                "legendFormat": query.legend or "__auto",
                "editorMode": "code",
                "range": not instant,
                "instant": instant,
                "format": "table" if instant else "time_series",
            }
            for index, query in enumerate(panel.queries)
        ],
        "fieldConfig": {"defaults": defaults, "overrides": overrides},
        "options": {},
    }
    if panel.kind == "timeseries":
        defaults["min"] = 0
        defaults["color"] = {"mode": "palette-classic"}
        defaults["custom"] = {
            "lineWidth": 2,
            "fillOpacity": 40 if panel.stacked else 8,
            "showPoints": "never",
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        }
        overrides += [
            {
                "matcher": {"id": "byFrameRefID", "options": _reference(index)},
                "properties": [{"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 8]}}],
            }
            for index, query in enumerate(panel.queries)
            if query.dashed
        ]
        content["options"] = {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    elif panel.kind == "stat":
        defaults["color"] = {"mode": "thresholds"}
        content["options"] = {
            "colorMode": "value",
            "graphMode": "area",
            "justifyMode": "center",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        }
    elif panel.kind == "state-timeline":
        defaults["color"] = {"mode": "thresholds"}
        defaults["custom"] = {"fillOpacity": 80, "lineWidth": 0}
        content["options"] = {"mergeValues": True, "rowHeight": 0.8, "showValue": "auto"}
    else:
        content["transformations"] = _columns(panel)
        overrides += [
            {"matcher": {"id": "byName", "options": query.legend}, "properties": properties}
            for query in panel.queries
            if (properties := list(_column(query)))
        ]
    return content


def _column(query: Query) -> Iterator[dict[str, Any]]:
    """What is a column's own."""
    if query.unit:
        yield {"id": "unit", "value": query.unit}
    if query.states:
        yield {"id": "mappings", "value": _mappings(query.states)}
        yield {"id": "custom.cellOptions", "value": {"type": "color-text"}}


def _columns(panel: Panel) -> list[dict[str, Any]]:
    """One line for each resource, from the answers to all queries; the values are called by the queries' legends."""
    names = {f"Value #{_reference(index)}": query.legend for index, query in enumerate(panel.queries)}
    hidden = {"Time": True, **{name: True for name, title in names.items() if not title}}
    renamed = {name: title for name, title in names.items() if title} | {"engine_version": "engine"}
    return [
        {"id": "merge", "options": {}},
        {"id": "organize", "options": {"excludeByName": hidden, "renameByName": renamed}},
    ]


def _mappings(states: States) -> list[dict[str, Any]]:
    if not states:
        return []
    options = {str(value): {"text": text, "color": colour} for value, text, colour in states}
    return [{"type": "value", "options": options}]


def _thresholds(panel: Panel) -> dict[str, Any]:
    none, some = panel.colours
    steps: list[dict[str, Any]] = [{"color": none, "value": None}]
    return {"mode": "absolute", "steps": steps if none == some else [*steps, {"color": some, "value": 1}]}


def _reference(index: int) -> str:
    return "ABCDEFGHIJ"[index]


def text() -> str:
    return json.dumps(dashboard(), indent=2) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {FILE.name} into the chart, and print nothing")
    if parser.parse_args().write:
        FILE.write_text(text())
    else:
        print(text(), end="")


if __name__ == "__main__":
    main()
