"""The chart's monitoring at work: a real Prometheus reads the operator and engines, and judges by the chart's rules.

Pods are simulated, and what their engines count is made up (``engines.py``). Discovery, relabelling, rules and queries
are what they are in a cluster, but for times, which are short here.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.integration.conftest import cluster as cluster
from tests.integration.conftest import nodes as nodes
from tests.monitoring import picture
from tests.monitoring.engines import Load
from tests.monitoring.live import LEASE_SECONDS, Live, Served, live
from tests.monitoring.queries import filled
from tests.monitoring.rendered import RELEASE, RELEASE_NAMESPACE, alerts, of_alerts, rules
from tests.support import chart
from tests.support.eventually import eventually
from tools.dashboard import ROWS, Panel
from tools.dashboard_picture import Drawing
from tools.localcluster.controlplane import ControlPlane
from tools.localcluster.simulated import SimulatedNodes

#: Enough to see an alert wait for its time.
SHORT = chart.merged(
    chart.nested("monitoring.rules.recordingInterval", "1s"),
    of_alerts(**{name: {"for": "3s", "keepFiringFor": "1s"} for name in alerts(rules())}),
    of_alerts(AcceptanceCollapsed={"minimumDraftsPerHour": 1}),
)
ACCEPTED = (0.8, 0.6, 0.4)
PANELS = [panel for row in ROWS for panel in row.panels]

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def running(cluster: ControlPlane, nodes: SimulatedNodes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    del nodes  # they are there, and that is all
    resources = {
        "steady": Served(Load(ACCEPTED)),
        "flaky": Served(Load(ACCEPTED)),
        "plain": Served(Load(None), {"speculation": {"mode": "Disabled"}}),
    }
    namespace = f"live-{secrets.token_hex(4)}"
    with live(cluster, tmp_path_factory.mktemp("live"), namespace, resources, SHORT) as it:
        for name in resources:
            it.world.ready(name)
        it.world.apply("broken", model={"uri": "org/nowhere"})
        yield it


def test_a_resource_whose_engines_stop_drafting_is_told_of_until_they_draft_again(running: Live) -> None:
    drafting = "sum(speculator_deployment_speculation_active)"

    def quiet() -> bool:
        return running.prometheus.value(drafting) == 2 and not running.prometheus.firing("SpeculationNotActive")

    eventually(quiet)

    running.engines["flaky"].load.accepted = None
    alert = eventually(lambda: running.prometheus.firing("SpeculationNotActive"))
    assert set(alert) == {"flaky"}
    labels, annotations = alert["flaky"]["labels"], alert["flaky"]["annotations"]
    namespace = running.world.namespace
    assert labels == {
        "alertname": "SpeculationNotActive",
        "namespace": namespace,
        "name": "flaky",
        "severity": "warning",
        "job": f"{RELEASE_NAMESPACE}/{RELEASE}",
    }
    assert annotations["summary"] == f"{namespace}/flaky serves without speculation"
    assert f"kubectl speculator status flaky --namespace {namespace}" in annotations["description"]
    assert annotations["runbook_url"] == "https://docs.example/runbook.md#speculationnotactive"
    (last,) = _answers(running, _query("Resources", "last drafted"))
    assert 0 < time.time() - float(last["value"][1]) / 1000 < 100
    assert last["metric"] == {"namespace": namespace, "name": "flaky"}

    running.engines["flaky"].load.accepted = ACCEPTED
    eventually(quiet)


def test_a_resource_that_names_no_model_is_told_of_as_stalled(running: Live) -> None:
    assert set(eventually(lambda: running.prometheus.firing("ResourceStalled"))) == {"broken"}


def test_no_other_alert_fires(running: Live) -> None:
    eventually(lambda: _firing(running) == {"ResourceStalled"})


def test_what_the_engines_and_the_operator_count_is_the_same(running: Live) -> None:
    """By the week's own recording rule, by the engines' counters, and as the engines were told."""
    who = f'namespace="{running.world.namespace}",name="steady"'
    engines = (
        f"sum(rate(vllm:spec_decode_num_accepted_tokens_total{{{who}}}[20s]))"
        f" / sum(rate(vllm:spec_decode_num_drafts_total{{{who}}}[20s]))"
    )
    eventually(lambda: running.prometheus.value(engines) == pytest.approx(sum(ACCEPTED), rel=0.15))
    recorded = f"namespace_name:speculator_deployment_accepted_per_draft:median7d{{{who}}}"
    eventually(lambda: running.prometheus.value(recorded) == pytest.approx(sum(ACCEPTED), rel=0.15))
    eventually(
        lambda: (
            running.prometheus.value(f"speculator_deployment_acceptance_length{{{who}}}")
            == pytest.approx(1 + sum(ACCEPTED), rel=0.15)
        )
    )


def test_every_rule_can_be_evaluated(running: Live) -> None:
    assert running.prometheus.failed_rules() == {}


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.title)
def test_a_panel_has_data(running: Live, panel: Panel) -> None:
    for query in panel.queries:
        series = eventually(lambda query=query: _seen(running, query.expr))  # type: ignore[misc]
        # What a legend names is a label of every series.
        for label in re.findall(r"\{\{(\w+)\}\}", query.legend):
            assert all(label in it["metric"] for it in series), (query.legend, series[0]["metric"])


def test_the_picture_shows_every_panel_with_its_legends(running: Live) -> None:
    end = time.time()
    shown = {id(panel): picture.answers(running, panel, end - 60, end) for panel in PANELS}
    drawn = ET.fromstring(Drawing(shown, end - 60, end, picture.STEP).svg())  # noqa: S314 - our own
    texts = {it.text for it in drawn.iter("{http://www.w3.org/2000/svg}text")}
    assert {panel.title for panel in PANELS} <= texts
    curves = [panel for panel in PANELS if panel.kind in ("timeseries", "state-timeline")]
    legends = {
        one.legend(query)
        for panel in curves
        for query, series in zip(panel.queries, shown[id(panel)], strict=True)
        for one in series
    }
    assert f"{running.world.namespace}/steady" in legends
    assert legends <= texts
    assert {"org/steady-eagle3", "yes"} <= texts


def _seen(running: Live, expression: str) -> list[dict[str, Any]]:
    """What a query has had for answers since these tests began, or somewhat longer."""
    now = time.time()
    return running.prometheus.query_range(filled(expression), now - 100, now)


def test_when_the_leader_is_gone_that_is_told_of_until_another_leads(running: Live) -> None:
    def leader() -> str:
        leading = [it["metric"]["pod"] for it in running.prometheus.query("speculator_operator_leader == 1")]
        assert len(leading) == 1, leading
        return str(leading[0])

    killed = eventually(leader)
    running.operators[killed.removeprefix(f"{RELEASE}-")].kill()
    alert = eventually(lambda: running.prometheus.firing("OperatorNotLeading"))
    assert f"{RELEASE_NAMESPACE}/{RELEASE}" in alert[""]["annotations"]["description"]
    assert eventually(leader, within=LEASE_SECONDS + 30) != killed
    eventually(lambda: _firing(running) == {"ResourceStalled"})
    eventually(lambda: running.prometheus.value("sum(speculator_deployment_speculation_active)") == 2)


def _firing(running: Live) -> set[str]:
    return {name for name in alerts(rules()) if running.prometheus.firing(name)}


def _query(title: str, legend: str) -> str:
    (expression,) = (
        query.expr for panel in PANELS if panel.title == title for query in panel.queries if query.legend == legend
    )
    return expression


def _answers(running: Live, expression: str) -> list[dict[str, Any]]:
    return running.prometheus.query(filled(expression))
