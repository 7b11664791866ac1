"""When each alert fires, and when it doesn't: tables of series and times, judged by Prometheus' own rule tests."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.monitoring.rendered import RELEASE, RELEASE_NAMESPACE, alerts, of_alerts, rules
from tests.support import chart
from tests.support.chart import Object, Values
from tools.localcluster.binaries import binary

DOCS = Path(__file__).parents[2] / "docs"
RUNBOOK, MONITORING = DOCS / "runbook.md", DOCS / "monitoring.md"

#: The one resource of most cases, as its engines' series bear it.
LLAMA = 'namespace="team",name="llama"'
#: What all series of the release's operator bear.
JOB = f'job="{RELEASE_NAMESPACE}/{RELEASE}"'
#: The leader's own series, as Prometheus labels its target.
LEADER = f'{JOB},namespace="{RELEASE_NAMESPACE}",pod="operator-1"'
#: At 10 minutes.
WEEK = 7 * 24 * 6
FOUR_DAYS = 4 * 24 * 6


@dataclass(frozen=True)
class Case:
    """``firing`` is how many alerts fire at each time. ``series`` are in the notation of Prometheus' rule tests."""

    alert: str
    sentence: str
    series: Mapping[str, str]
    firing: Mapping[str, int]
    interval: str = "1m"
    values: Values = field(default_factory=dict)


def active(values: str, who: str = LLAMA) -> dict[str, str]:
    return {f"speculator_deployment_speculation_active{{{JOB},{who}}}": values}


def condition(type_: str, status: str, values: str) -> dict[str, str]:
    return {f'speculator_deployment_condition{{{JOB},{LLAMA},condition="{type_}",status="{status}"}}': values}


def replicas(wanted: str, proven: str = "") -> dict[str, str]:
    series = {f"speculator_deployment_replicas{{{JOB},{LLAMA}}}": wanted}
    return series | ({f"speculator_deployment_proven_replicas{{{JOB},{LLAMA}}}": proven} if proven else {})


def tokens(values: str) -> dict[str, str]:
    """Tokens that the engine of one pod has generated."""
    return {f'vllm:generation_tokens_total{{{LLAMA},pod="llama-0",model_name="m",engine="0"}}': values}


def serves(values: str, *, draft: str = "org/draft", tokens: int = 5, pod: str = "operator-1") -> dict[str, str]:
    """What drafts for what."""
    what = f'method="eagle3",verifier="org/llama",draft="{draft}",num_speculative_tokens="{tokens}"'
    return {f'speculator_deployment_info{{{JOB},{LLAMA},pod="{pod}",{what},engine_version="0.32.0"}}': values}


def drafted(drafts: str, accepted: str = "", *, draft: str = "org/draft", pod: str = "operator-1") -> dict[str, str]:
    """Drafts, and with what was accepted of them, one that has served all along."""
    series = {f'speculator_deployment_drafts_total{{{JOB},{LLAMA},pod="{pod}"}}': drafts}
    if accepted:
        series[f'speculator_deployment_accepted_tokens_total{{{JOB},{LLAMA},pod="{pod}"}}'] = accepted
        series |= serves(re.sub(r"-?\d+([+-]\d+)?x", "1+0x", accepted), draft=draft, pod=pod)
    return series


NOT_ACTIVE = [
    Case(
        "SpeculationNotActive",
        "a resource whose pods draft nothing, once ten minutes are over, until it drafts",
        active("1x4 0x20 1x20"),
        {"14m": 0, "16m": 1, "25m": 1, "29m": 1, "32m": 0},
    ),
    Case("SpeculationNotActive", "a resource that drafts", active("1x60"), {"20m": 0, "60m": 0}),
    Case(
        "SpeculationNotActive",
        "each of two resources, alone",
        active("0x30") | active("0x30", 'namespace="team",name="qwen"') | active("1x30", 'namespace="b",name="llama"'),
        {"20m": 2},
    ),
    Case("SpeculationNotActive", "a pause of less than ten minutes", active("1x5 0x8 1x10"), {"14m": 0, "20m": 0}),
    Case(
        "SpeculationNotActive",
        "a regular model, or a resource whose speculation is disabled",
        condition("SpeculationActive", "False", "1x60"),
        {"30m": 0},
    ),
    Case("SpeculationNotActive", "a resource that is suspended", active("1x5 stale"), {"30m": 0}),
    Case("SpeculationNotActive", "a resource that was deleted meanwhile", active("0x5 stale"), {"14m": 0}),
    Case(
        "SpeculationNotActive", "a resource that was deleted after it fired", active("0x15 stale"), {"15m": 1, "22m": 0}
    ),
    Case(
        "SpeculationNotActive",
        "on through a restart of the operator, from which other pods' series come",
        active("0x12 stale", f'{LLAMA},pod="operator-1"') | active("_x15 0x20", f'{LLAMA},pod="operator-2"'),
        {"12m": 1, "14m": 1, "16m": 1, "20m": 1},
    ),
    Case(
        "SpeculationNotActive",
        "a resource whose metrics can't be read, of which that isn't known",
        active("0x60") | condition("SpeculationActive", "Unknown", "1x60"),
        {"30m": 0},
    ),
    Case(
        "SpeculationNotActive",
        "sooner, where values say so",
        active("0x10"),
        {"1m": 0, "3m": 1},
        values=of_alerts(SpeculationNotActive={"for": "2m"}),
    ),
]

UNREACHABLE = [
    Case(
        "EngineMetricsUnreachable",
        "a resource whose metrics can't be read for a quarter of an hour",
        active("1x5 0x30") | condition("SpeculationActive", "Unknown", "0x5 1x30"),
        {"20m": 0, "22m": 1},
    ),
    Case(
        "EngineMetricsUnreachable",
        "a resource that is known not to draft",
        active("0x30") | condition("SpeculationActive", "Unknown", "0x30"),
        {"30m": 0},
    ),
    Case(
        "EngineMetricsUnreachable",
        "a resource without a ready pod, which is unknown too",
        condition("SpeculationActive", "Unknown", "1x30"),
        {"30m": 0},
    ),
]

STOPPED = [
    Case(
        "DraftsStopped",
        "tokens that are generated while nothing is drafted",
        active("1x80") | tokens("0+6000x80") | drafted("0+2000x20 40000x60"),
        {"20m": 0, "40m": 0, "48m": 1},
    ),
    Case(
        "DraftsStopped",
        "a resource that drafts",
        active("1x80") | tokens("0+6000x80") | drafted("0+2000x80"),
        {"80m": 0},
    ),
    Case("DraftsStopped", "no traffic", active("1x80") | tokens("90000x80") | drafted("40000x80"), {"80m": 0}),
    Case("DraftsStopped", "a regular model", tokens("0+6000x80"), {"80m": 0}),
    Case(
        "DraftsStopped",
        "a resource that is said not to draft by another alert",
        active("0x80") | tokens("0+6000x80") | drafted("40000x80"),
        {"80m": 0},
    ),
    Case(
        "DraftsStopped",
        "a restart of the operator, whose counters begin at nothing",
        active("1x80") | tokens("0+6000x80") | drafted("0+2000x40 0+2000x40"),
        {"50m": 0, "80m": 0},
    ),
]

#: Counters at 10 minutes: 1000 drafts a step are 6000 an hour, and usually 2 tokens of each are accepted.
COLLAPSE = [
    Case(
        "AcceptanceCollapsed",
        "a quarter of what a week has seen, an hour and a half after it began, and no more once it is mended",
        drafted(f"0+1000x{WEEK + 36}", f"0+2000x{WEEK} {2000 * WEEK + 500}+500x17 {2000 * WEEK + 11000}+2000x17"),
        {"7d": 0, "7d90m": 1, "7d170m": 1, "7d5h": 0},
        interval="10m",
    ),
    Case(
        "AcceptanceCollapsed",
        "three quarters of what a week has seen",
        drafted(f"0+1000x{WEEK + 24}", f"0+2000x{WEEK} {2000 * WEEK + 1500}+1500x23"),
        {"7d2h": 0, "7d4h": 0},
        interval="10m",
    ),
    Case(
        "AcceptanceCollapsed",
        "a resource of two days",
        drafted("0+1000x312", f"0+2000x288 {2000 * 288 + 100}+100x23"),
        {"2d2h": 0, "2d4h": 0},
        interval="10m",
    ),
    Case(
        "AcceptanceCollapsed",
        "a resource of two days, where values ask for one",
        drafted("0+1000x312", f"0+2000x288 {2000 * 288 + 100}+100x23"),
        {"2d2h": 1},
        interval="10m",
        values=of_alerts(AcceptanceCollapsed={"minimumDays": 1}),
    ),
    Case(
        "AcceptanceCollapsed",
        "next to no traffic: 600 drafts an hour",
        drafted(f"0+100x{WEEK + 24}", f"0+200x{WEEK} {200 * WEEK + 10}+10x23"),
        {"7d2h": 0, "7d4h": 0},
        interval="10m",
    ),
    Case(
        "AcceptanceCollapsed",
        "traffic that ebbs to next to none, with few drafts accepted",
        drafted(
            f"0+1000x{WEEK} {1000 * WEEK + 100}+100x23",
            f"0+2000x{WEEK} {2000 * WEEK + 10}+10x23",
        ),
        {"7d2h": 0, "7d4h": 0},
        interval="10m",
    ),
    Case(
        "AcceptanceCollapsed",
        "a resource that was suspended",
        drafted(f"0+1000x{WEEK} {1000 * WEEK}x24", f"0+2000x{WEEK} {2000 * WEEK}x24"),
        {"7d2h": 0, "7d4h": 0},
        interval="10m",
    ),
    Case(
        "AcceptanceCollapsed",
        "a resource that was deleted as it collapsed",
        drafted(
            f"0+1000x{WEEK + 2} stale",
            f"0+2000x{WEEK} {2000 * WEEK}x2 stale",
        ),
        {"7d40m": 0, "7d2h": 0},
        interval="10m",
    ),
    Case(
        "AcceptanceCollapsed",
        "another draft, which is accepted less, from its first day on",
        drafted(f"0+1000x{WEEK} stale", f"0+2000x{WEEK} stale")
        | drafted(f"_x{WEEK} 0+1000x30", f"_x{WEEK} 0+200x30", draft="org/other", pod="operator-2"),
        {"7d2h": 0, "7d4h": 0},
        interval="10m",
    ),
    Case(
        "AcceptanceCollapsed",
        "fewer tokens, of which fewer can be accepted: 0.95 of 1, after four days with 2.5 of 5",
        drafted(f"0+1000x{FOUR_DAYS + 60}", f"0+2500x{FOUR_DAYS} {2500 * FOUR_DAYS + 950}+950x59")
        | serves(f"1x{FOUR_DAYS} stale")
        | serves(f"_x{FOUR_DAYS} 1x60", tokens=1),
        {"4d1h": 0, "4d2h": 0, "4d4h": 0, "4d9h": 0},
        interval="10m",
    ),
    Case(
        "AcceptanceCollapsed",
        "as many tokens as before again, after a day with fewer, in an hour of which most drafts had fewer",
        drafted(
            f"0+1000x{FOUR_DAYS} {1000 * FOUR_DAYS + 3000}+3000x143 {1000 * FOUR_DAYS + 3000 * 145}+1000x59",
            f"0+6000x{FOUR_DAYS} {6000 * FOUR_DAYS + 2850}+2850x143 {6000 * FOUR_DAYS + 2850 * 144 + 6000}+6000x59",
        )
        | serves(f"1x{FOUR_DAYS} stale _x143 1x60", tokens=8)
        | serves(f"_x{FOUR_DAYS} 1x144 stale", tokens=1),
        {"5d30m": 0, "5d50m": 0, "5d1h": 0, "5d2h": 0, "5d4h": 0},
        interval="10m",
    ),
    Case(
        "AcceptanceCollapsed",
        "fewer tokens that collapse later, after four days with them",
        drafted(f"0+1000x{FOUR_DAYS + 24}", f"0+950x{FOUR_DAYS} {950 * FOUR_DAYS + 100}+100x23")
        | serves("1x6 stale")
        | serves(f"_x6 1x{FOUR_DAYS + 24}", tokens=1),
        {"4d": 0, "4d2h": 1},
        interval="10m",
    ),
    Case(
        "AcceptanceCollapsed",
        "a restart of the operator, whose counters begin at nothing",
        drafted(f"0+1000x{WEEK} 0+1000x24", f"0+2000x{WEEK} 0+2000x24"),
        {"7d10m": 0, "7d1h": 0, "7d4h": 0},
        interval="10m",
    ),
    Case(
        "AcceptanceCollapsed",
        "another replica that leads, with counters of its own",
        drafted(f"0+1000x{WEEK} stale", f"0+2000x{WEEK} stale")
        | drafted(f"_x{WEEK} 0+1000x24", f"_x{WEEK} 0+2000x24", pod="operator-2"),
        {"7d10m": 0, "7d1h": 0, "7d4h": 0},
        interval="10m",
    ),
    Case(
        "AcceptanceCollapsed",
        "a regular model, which has no such series",
        tokens(f"0+6000x{WEEK + 24}"),
        {"7d2h": 0},
        interval="10m",
    ),
]

STALLED = [
    Case(
        "ResourceStalled",
        "a resource that is stalled for a quarter of an hour, until it isn't",
        condition("Stalled", "True", "0x5 1x30 0x20") | replicas("1x60"),
        {"20m": 0, "22m": 1, "35m": 1, "42m": 0},
    ),
    Case("ResourceStalled", "one that is not", condition("Stalled", "True", "0x60") | replicas("1x60"), {"60m": 0}),
    Case(
        "ResourceStalled",
        "one that is suspended, or scaled to nothing",
        condition("Stalled", "True", "1x60") | replicas("0x60"),
        {"60m": 0},
    ),
    Case(
        "ResourceStalled",
        "one that was deleted",
        condition("Stalled", "True", "1x10 stale") | replicas("1x10 stale"),
        {"16m": 0, "30m": 0},
    ),
]


def available(true: str, false: str) -> dict[str, str]:
    return condition("Available", "True", true) | condition("Available", "False", false)


UNAVAILABLE = [
    Case(
        "ResourceUnavailable",
        "a resource that served and has no ready pod, for as long as that lasts",
        available("1x90 0x240", "0x90 1x240") | replicas("1x330"),
        {"90m": 0, "97m": 1, "5h": 1},
    ),
    Case("ResourceUnavailable", "one that serves", available("1x60", "0x60") | replicas("1x60"), {"60m": 0}),
    Case(
        "ResourceUnavailable",
        "one that has never served yet",
        available("0x120", "1x120") | replicas("1x120"),
        {"30m": 0, "2h": 0},
    ),
    Case(
        "ResourceUnavailable",
        "one that is suspended",
        available("1x20 0x240", "0x20 1x240") | replicas("1x20 0x240"),
        {"30m": 0, "4h": 0},
    ),
    Case(
        "ResourceUnavailable",
        "one that starts again after it was suspended",
        available("1x20 0x100", "0x20 1x100") | replicas("1x20 0x60 1x40"),
        {"90m": 0, "2h": 0},
    ),
    Case(
        "ResourceUnavailable",
        "one that was deleted for two hours, created again under its name, and loads for 20 minutes",
        available("1x90 stale _x119 0x20 1x40", "0x90 stale _x119 1x20 0x40") | replicas("1x90 stale _x119 1x60"),
        {"93m": 0, "217m": 0, "230m": 0, "4h": 0},
    ),
    Case(
        "ResourceUnavailable",
        "one that has stopped to serve within an hour of its creation, once that is over",
        available("1x20 0x120", "0x20 1x120") | replicas("1x140"),
        {"30m": 0, "1h": 0, "70m": 1, "2h": 1},
    ),
    Case(
        "ResourceUnavailable",
        "on through a restart of the operator, an hour ago or now",
        available("1x90 0x9 stale 0x140", "0x90 1x9 stale 1x140") | replicas("1x100 stale 1x140"),
        {"97m": 1, "100m": 1, "102m": 1, "160m": 1, "165m": 1},
    ),
    Case(
        "ResourceUnavailable",
        "one that was deleted",
        available("1x20 0x2 stale", "0x20 1x2 stale") | replicas("1x22 stale"),
        {"30m": 0, "1h": 0},
    ),
]

WAITING = [
    Case(
        "ResourceWaiting",
        "a resource that has never served, whose pods were wanted for six hours, until one is ready",
        available("0x400 1x20", "1x400 0x20") | condition("Stalled", "True", "0x420") | replicas("1x420"),
        {"5h": 0, "6h10m": 0, "6h20m": 1, "6h50m": 0},
    ),
    Case(
        "ResourceWaiting",
        "a resource whose passes have failed for six hours, so that nobody knows whether it serves",
        condition("Available", "Unknown", "1x420") | condition("Stalled", "True", "0x420") | replicas("1x420"),
        {"5h": 0, "6h20m": 1},
    ),
    Case(
        "ResourceWaiting",
        "one of which another alert says that it serves no more, until a day is over",
        available("1x12 0x318", "0x12 1x318") | condition("Stalled", "True", "0x330") | replicas("1x330"),
        {"8h": 0, "25h": 0, "27h": 1},
        interval="5m",
    ),
    Case(
        "ResourceWaiting",
        "one that is suspended, or scaled to nothing",
        available("0x420", "1x420") | replicas("0x420"),
        {"6h30m": 0, "7h": 0},
    ),
    Case(
        "ResourceWaiting",
        "one that loads, after it was suspended for long",
        available("0x420", "1x420") | replicas("0x380 1x40"),
        {"7h": 0},
    ),
    Case(
        "ResourceWaiting",
        "one that is stalled, of which another alert tells, and then loads",
        available("0x420", "1x420") | condition("Stalled", "True", "1x380 0x40") | replicas("1x420"),
        {"6h15m": 0, "7h": 0},
    ),
    Case("ResourceWaiting", "one that serves", available("1x420", "0x420") | replicas("1x420"), {"7h": 0}),
    Case(
        "ResourceWaiting",
        "one that was deleted while it waited",
        available("0x350 stale", "1x350 stale") | replicas("1x350 stale"),
        {"6h20m": 0},
    ),
    Case(
        "ResourceWaiting",
        "sooner, where values say so",
        available("0x120", "1x120") | replicas("1x120"),
        {"50m": 0, "80m": 1},
        values=of_alerts(ResourceWaiting={"hours": 1}),
    ),
]

NOT_PROVEN = [
    Case(
        "ReplicasNotProven",
        "a replica that doesn't get ready in three quarters of an hour, beside one that drafts",
        active("1x90") | replicas("2x90", "1x90"),
        {"44m": 0, "46m": 1},
    ),
    Case("ReplicasNotProven", "all of them proven", active("1x90") | replicas("2x90", "2x90"), {"90m": 0}),
    Case(
        "ReplicasNotProven",
        "replicas that start one after the other, each in half an hour",
        active("1x90") | replicas("1x5 2x30 3x30", "1x35 2x1 3x29"),
        {"60m": 0},
    ),
    Case("ReplicasNotProven", "a regular model, which proves nothing", replicas("2x90", "0x90"), {"90m": 0}),
    Case(
        "ReplicasNotProven",
        "one that another alert speaks of, since its ready pods draft nothing",
        active("0x90") | replicas("2x90", "1x90"),
        {"90m": 0},
    ),
]


def leader(values: str, pod: str = "operator-1", job: str = JOB) -> dict[str, str]:
    return {f'speculator_operator_leader{{{job},namespace="{RELEASE_NAMESPACE}",pod="{pod}"}}': values}


NOT_LEADING = [
    Case("OperatorNotLeading", "no operator at all", {}, {"4m": 0, "6m": 1}),
    Case(
        "OperatorNotLeading",
        "two replicas of which none leads",
        leader("1x10 0x20") | leader("0x30", "operator-2"),
        {"10m": 0, "17m": 1},
    ),
    Case(
        "OperatorNotLeading",
        "one that leads, and one that doesn't",
        leader("1x60") | leader("0x60", "operator-2"),
        {"60m": 0},
    ),
    Case(
        "OperatorNotLeading",
        "one that takes over from another within minutes",
        leader("1x10 stale") | leader("0x12 1x30", "operator-2"),
        {"14m": 0, "20m": 0, "40m": 0},
    ),
    Case(
        "OperatorNotLeading",
        "an operator of another namespace, which doesn't stand in for this one",
        leader("1x30", job=f'job="elsewhere/{RELEASE}"'),
        {"6m": 1},
    ),
    Case(
        "OperatorNotLeading",
        "another release in the same namespace, which doesn't either",
        leader("1x30", job=f'job="{RELEASE_NAMESPACE}/team-b-speculator-operator"'),
        {"6m": 1},
    ),
]


def failed(values: str, reason: str = "Error") -> dict[str, str]:
    return {f'speculator_reconcile_errors_total{{{LEADER},reason="{reason}"}}': values}


ERRORS = [
    Case(
        "OperatorErrors",
        "a pass that fails again and again, five minutes apart",
        failed("0x10 1 1 1 2+0.2x90"),
        {"10m": 0, "60m": 1, "90m": 1},
    ),
    Case("OperatorErrors", "a single failure, long ago", failed("0x5 1x90"), {"10m": 0, "60m": 0}),
    Case("OperatorErrors", "five minutes in which all fail", failed("0x5 50+50x5 300x60"), {"12m": 0, "40m": 0}),
    Case("OperatorErrors", "resources that are refused", failed("0+20x90", "ModelNotFound"), {"60m": 0}),
    Case("OperatorErrors", "a restart, after which the counter begins at nothing", failed("90x30 0x60"), {"80m": 0}),
]

CASES = [
    *NOT_ACTIVE,
    *UNREACHABLE,
    *STOPPED,
    *COLLAPSE,
    *STALLED,
    *UNAVAILABLE,
    *WAITING,
    *NOT_PROVEN,
    *NOT_LEADING,
    *ERRORS,
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.alert}: {case.sentence}")
def test_fires(case: Case, tmp_path: Path) -> None:
    expression = f'count(ALERTS{{alertname="{case.alert}",alertstate="firing"}}) or vector(0)'
    expected = [
        {"expr": expression, "eval_time": time, "exp_samples": [{"labels": "{}", "value": number}]}
        for time, number in case.firing.items()
    ]
    judge(tmp_path, rules(case.values), case.series, case.interval, promql_expr_test=expected)


def judge(folder: Path, judged: Object, series: Mapping[str, str], interval: str, **expected: Any) -> None:
    """Has promtool compare what rules make of series with what is expected, in its own words."""
    test = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": interval,
        "fuzzy_compare": True,
        # What was recorded 10 minutes before is too old to be found, so it has to be recorded first.
        "group_eval_order": [group["name"] for group in judged["groups"]],
        "tests": [
            {
                "interval": interval,
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                **expected,
            }
        ],
    }
    (folder / "rules.yaml").write_text(yaml.safe_dump(judged))
    (folder / "test.yaml").write_text(yaml.safe_dump(test))
    ended = subprocess.run(
        [binary("promtool"), "test", "rules", folder / "test.yaml"],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_a_collapse_is_told_in_tokens(tmp_path: Path) -> None:
    alert = {
        "exp_labels": {
            "namespace": "team",
            "name": "llama",
            "method": "eagle3",
            "verifier": "org/llama",
            "draft": "org/draft",
            "num_speculative_tokens": "5",
            "job": f"{RELEASE_NAMESPACE}/{RELEASE}",
            "severity": "warning",
        },
        "exp_annotations": {
            "summary": "Drafts of team/llama are accepted far less than in the last week",
            "description": "org/draft (eagle3) drafts for team/llama, and of a draft's 5 tokens 0.50 were accepted on "
            "average in the last hour, less than 0.5 times the week's median. What is asked of the model, or the "
            "model, has changed. Run: kubectl speculator status llama --namespace team",
            "runbook_url": "https://docs.example/runbook.md#acceptancecollapsed",
        },
    }
    judge(
        tmp_path,
        rules(),
        drafted(f"0+1000x{WEEK + 24}", f"0+2000x{WEEK} {2000 * WEEK + 500}+500x23"),
        "10m",
        alert_rule_test=[{"eval_time": "7d2h", "alertname": "AcceptanceCollapsed", "exp_alerts": [alert]}],
    )


def test_the_median_is_of_what_serves_now(tmp_path: Path) -> None:
    recorded = "namespace_name:speculator_deployment_accepted_per_draft:median7d"
    labels = f'{JOB},{LLAMA},method="eagle3",verifier="org/llama",draft="org/draft",num_speculative_tokens='
    medians = {"4d": ('"5"', 2.5), "4d6h": ('"1"', 0.95)}
    judge(
        tmp_path,
        rules(),
        drafted(f"0+1000x{FOUR_DAYS + 60}", f"0+2500x{FOUR_DAYS} {2500 * FOUR_DAYS + 950}+950x59")
        | serves(f"1x{FOUR_DAYS} stale")
        | serves(f"_x{FOUR_DAYS} 1x60", tokens=1),
        "10m",
        promql_expr_test=[
            {
                "expr": recorded,
                "eval_time": time,
                "exp_samples": [{"labels": f"{recorded}{{{labels}{tokens}}}", "value": value}],
            }
            for time, (tokens, value) in medians.items()
        ],
    )


def test_of_two_releases_each_tells_of_its_own(tmp_path: Path) -> None:
    """Both have the rules, in one namespace. The second one's resource is stalled, and its operator gone after that."""
    other = rules(release="team-b")
    for group in other["groups"]:
        group["name"] += " of team-b"
    of_other = {
        name.replace(JOB, f'job="{RELEASE_NAMESPACE}/team-b-speculator-operator"'): values
        for name, values in (condition("Stalled", "True", "1x40 stale") | leader("1x40 stale")).items()
    }
    expression = 'ALERTS{alertstate="firing"}'
    bears = f'alertstate="firing",job="{RELEASE_NAMESPACE}/team-b-speculator-operator"'
    stalled = f'ALERTS{{alertname="ResourceStalled",{bears},{LLAMA},severity="warning"}}'
    gone = f'ALERTS{{alertname="OperatorNotLeading",{bears},severity="critical"}}'
    judge(
        tmp_path,
        {"groups": [*rules()["groups"], *other["groups"]]},
        leader("1x90") | of_other,
        "1m",
        promql_expr_test=[
            {"expr": expression, "eval_time": time, "exp_samples": [{"labels": labels, "value": 1}]}
            for time, labels in {"30m": stalled, "60m": gone}.items()
        ],
    )


def test_each_alert_has_cases_in_which_it_fires_and_in_which_it_does_not() -> None:
    fires = {case.alert for case in CASES if any(case.firing.values())}
    silent = {case.alert for case in CASES if not any(case.firing.values())}
    assert fires == silent == set(alerts(rules()))


def test_prometheus_finds_nothing_wrong_with_the_rules(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules()))
    ended = subprocess.run(
        [binary("promtool"), "check", "rules", "--lint=all", "--lint-fatal", tmp_path / "rules.yaml"],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("name", sorted(alerts(rules())))
def test_an_alert_says_of_what_it_is_and_what_to_run(name: str) -> None:
    alert = alerts(rules())[name]
    annotations = alert["annotations"]
    assert alert["labels"]["severity"] in ("warning", "critical")
    if name.startswith("Operator"):
        assert f"--namespace {RELEASE_NAMESPACE}" in annotations["description"]
        assert "kubectl " in annotations["description"]
    else:
        assert "{{ $labels.namespace }}/{{ $labels.name }}" in annotations["summary"]
        command = "kubectl speculator status {{ $labels.name }} --namespace {{ $labels.namespace }}"
        assert command in annotations["description"]
    assert annotations["runbook_url"] == f"https://docs.example/runbook.md#{name.lower()}"


def test_the_runbook_has_a_section_for_each_alert() -> None:
    sections = re.findall(r"^## (\w+)$", RUNBOOK.read_text(), re.MULTILINE)
    assert sections == list(alerts(rules()))


def test_the_runbook_s_commands_say_of_which_namespace() -> None:
    commands = re.findall(r"`(kubectl (?:get|describe|logs|annotate|rollout|speculator) [^`]+)`", RUNBOOK.read_text())
    assert commands
    assert [command for command in commands if "--namespace " not in command] == []


def test_errors_are_shown_whole_with_the_replica_that_logged_them() -> None:
    """With a selector, ``kubectl logs`` shows ten lines of each pod, and not of which, unless it is told to."""
    command = alerts(rules())["OperatorErrors"]["annotations"]["description"].partition("Run: ")[2]
    assert command.split()[:2] == ["kubectl", "logs"]
    assert {"--since", "--tail=-1", "--prefix"} <= set(command.split())


def test_the_documentation_says_how_long_and_how_severe() -> None:
    rows = re.findall(r"^\| ([A-Z]\w+) \| (\w+) \| (\d+) minutes \|", MONITORING.read_text(), re.MULTILINE)
    expected = [(name, it["labels"]["severity"], it["for"].removesuffix("m")) for name, it in alerts(rules()).items()]
    assert rows == expected


def test_the_documentation_s_examples_are_values_of_the_chart() -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```$", MONITORING.read_text(), re.MULTILINE | re.DOTALL)
    values = chart.merged(*(yaml.safe_load(block) for block in blocks))
    found = chart.objects(values)
    policy = chart.only(found, "NetworkPolicy")
    assert {"PodMonitor", "PrometheusRule"} <= {it["kind"] for it in found}
    assert policy["spec"]["ingress"][0]["from"] == values["networkPolicy"]["metricsFrom"]


def test_an_alert_that_is_disabled_is_left_out() -> None:
    names = set(alerts(rules()))
    assert set(alerts(rules(of_alerts(ResourceStalled={"enabled": False})))) == names - {"ResourceStalled"}
    none = of_alerts(**{name: {"enabled": False} for name in names})
    assert [group["name"] for group in rules(none)["groups"]] == ["speculator-operator.acceptance"]


def test_without_a_runbook_no_alert_points_to_one() -> None:
    without = alerts(rules(chart.nested("monitoring.rules.runbookUrl", "")))
    assert [name for name, alert in without.items() if "runbook_url" in alert["annotations"]] == []
