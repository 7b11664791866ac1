"""What is said of resources as metrics: from what is known of them, and nothing else."""

from __future__ import annotations

import re
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from speculator_operator import __version__
from speculator_operator.core import metrics
from speculator_operator.core.acceptance import Counters
from speculator_operator.core.metrics import Drafted, Family, Known, Type
from speculator_operator.metrics import collecting

KEY = ("n", "a")
NOTHING = Drafted(proven=0, window=Counters(), counted=Counters())
RESOLVED = {
    "method": "eagle3",
    "engineVersion": "0.32.0",
    "verifier": {"uri": "org/verifier", "revision": "1"},
    "draft": {"uri": "org/draft", "revision": "2"},
    "numSpeculativeTokens": 5,
}
DRAFTED = Drafted(proven=2, window=Counters(10, 30, 15, (9, 4, 2)), counted=Counters(100, 300, 150, (90, 40, 20)))


def known(active: tuple[str, str] = ("True", "Drafting"), **status: Any) -> Known:
    conditions = [
        {"type": "Ready", "status": "True", "reason": "Reconciled"},
        {"type": "SpeculationActive", "status": active[0], "reason": active[1]},
    ]
    return Known(3, {"conditions": conditions, "readyReplicas": 2, "resolved": RESOLVED} | status)


def said(resources: dict[metrics.Key, tuple[Known, Drafted]], *families: Family) -> dict[tuple[str, ...], float]:
    """The values of some families, by their labels."""
    return {it.labels: it.value for it in metrics.samples(resources) if it.family in families}


def test_each_condition_has_one_status_of_three() -> None:
    found = said({KEY: (known(("Unknown", "NoReadyPods")), NOTHING)}, metrics.CONDITION)
    assert found == {
        (*KEY, "Ready", "True"): 1,
        (*KEY, "Ready", "False"): 0,
        (*KEY, "Ready", "Unknown"): 0,
        (*KEY, "SpeculationActive", "True"): 0,
        (*KEY, "SpeculationActive", "False"): 0,
        (*KEY, "SpeculationActive", "Unknown"): 1,
    }


@pytest.mark.parametrize(
    ("case", "active", "expected"),
    [
        ("every ready pod drafts", ("True", "Drafting"), 1),
        ("one doesn't", ("False", "NotDrafting"), 0),
        ("one can't be asked", ("Unknown", "MetricsUnreachable"), 0),
        ("no pod is ready", ("Unknown", "NoReadyPods"), None),
        ("a regular model", ("False", "RegularModel"), None),
        ("a baseline", ("False", "Disabled"), None),
    ],
)
def test_speculation_is_active(case: str, active: tuple[str, str], expected: int | None) -> None:
    assert said({KEY: (known(active), NOTHING)}, metrics.ACTIVE).get(KEY) == expected, case


def test_what_was_drafted_is_summed_up_and_averaged_over_the_window() -> None:
    resources = {KEY: (known(), DRAFTED)}
    assert said(resources, metrics.LENGTH) == {KEY: 2.5}
    assert said(resources, metrics.RATE) == {KEY: 0.5}
    assert said(resources, metrics.RATE_PER_POSITION) == {(*KEY, "0"): 0.9, (*KEY, "1"): 0.4, (*KEY, "2"): 0.2}
    assert said(resources, metrics.DRAFTS) == {KEY: 100}
    assert said(resources, metrics.DRAFT_TOKENS) == {KEY: 300}
    assert said(resources, metrics.ACCEPTED_TOKENS) == {KEY: 150}
    assert said(resources, metrics.ACCEPTED_PER_POSITION) == {(*KEY, "0"): 90, (*KEY, "1"): 40, (*KEY, "2"): 20}
    assert [said(resources, it) for it in (metrics.WANTED, metrics.READY, metrics.PROVEN)] == [
        {KEY: 3},
        {KEY: 2},
        {KEY: 2},
    ]


def test_before_anything_was_drafted_there_is_no_rate_and_counters_begin() -> None:
    resources = {KEY: (known(), NOTHING)}
    assert said(resources, metrics.LENGTH, metrics.RATE, metrics.RATE_PER_POSITION) == {}
    assert said(resources, metrics.DRAFTS) == {KEY: 0}


@pytest.mark.parametrize(
    ("case", "status", "info"),
    [
        ("a draft", {}, ("eagle3", "0.32.0", "org/verifier", "org/draft", "5")),
        ("a regular model", {"resolved": {"off": "RegularModel", "engineVersion": "0.32.0",
                                          "verifier": {"uri": "org/model"}}}, ("", "0.32.0", "org/model", "", "")),
        ("nothing resolved", {"resolved": None}, None),
    ],
)  # fmt: skip
def test_what_serves_is_said(case: str, status: dict[str, Any], info: tuple[str, ...] | None) -> None:
    found = said({KEY: (known(**status), DRAFTED)}, metrics.DEPLOYMENT_INFO)
    assert found == ({(*KEY, *info): 1} if info else {}), case


def test_a_resource_that_is_not_to_draft_has_no_series_of_drafts() -> None:
    off = {"off": "Disabled", "verifier": {"uri": "org/model"}}
    families = (metrics.DRAFTS, metrics.DRAFT_TOKENS, metrics.ACCEPTED_TOKENS, metrics.RATE, metrics.LENGTH)
    assert said({KEY: (known(("False", "Disabled"), resolved=off), NOTHING)}, *families) == {}


def test_resources_are_counted_by_what_they_say() -> None:
    resources = {("n", str(it)): (known(), NOTHING) for it in range(3)}
    resources["n", "b"] = known(("False", "NotDrafting")), NOTHING
    found = said(resources, metrics.RESOURCES)
    assert (found["SpeculationActive", "True"], found["SpeculationActive", "False"]) == (3, 1)
    assert (found["Ready", "True"], found["Stalled", "True"]) == (4, 0)
    assert said({}, metrics.RESOURCES)["Ready", "False"] == 0


def test_the_leader_alone_speaks_of_resources_and_what_is_gone_is_gone() -> None:
    registry = CollectorRegistry()
    resources = {KEY: (known(), DRAFTED), ("n", 'b"\n'): (known(), NOTHING)}
    leads = True
    with collecting(leads=lambda: leads, resources=lambda: resources, registry=registry):
        text = generate_latest(registry).decode()
        assert 'speculator_deployment_drafts_total{name="a",namespace="n"} 100.0' in text.splitlines()
        assert f'speculator_operator_info{{version="{__version__}"}} 1.0' in text.splitlines()
        assert 'name="b\\"\\n"' in text
        del resources[KEY]
        assert 'name="a"' not in generate_latest(registry).decode()
        leads = False
        text = generate_latest(registry).decode()
        assert "speculator_operator_leader 0.0" in text.splitlines()
        assert "namespace=" not in text
    assert generate_latest(registry) == b""


def test_names_are_those_of_their_kind() -> None:
    for family in (*metrics.COUNTED, *metrics.KNOWN):
        assert re.fullmatch(r"[a-z][a-z_]+", family.name)
        assert family.name.endswith("_total") == (family.type is Type.COUNTER)
        assert family.meaning.endswith(".")
