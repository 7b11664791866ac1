"""What a pass makes of objects that the API server refuses, by a policy or a quota. Whole passes, with a cluster in
memory and a clock."""

from __future__ import annotations

from typing import Any

import pytest

from speculator_operator import api
from speculator_operator.api import Reason
from speculator_operator.cluster import ClusterError
from speculator_operator.errors import Refused
from speculator_operator.reconciler import HISTORY, SAID_AFTER_SECONDS, SAID_AGAIN_SECONDS
from tests.support import inputs
from tests.support.passes import AGAIN, KEY, Passes

REFUSED = Refused(Reason.CHILD_REFUSED, "a policy has something against it")


@pytest.fixture
def world() -> Passes:
    return Passes()


async def test_a_pin_that_is_refused_is_not_tried_again_by_whoever_wakes_the_resource(world: Passes) -> None:
    world.cluster.failing = {"ControllerRevision": REFUSED}
    assert await world.reconcile() == AGAIN
    assert world.said("Stalled") == ("True", "ChildRefused")
    assert world.cluster.writes == ["ControllerRevision", "status", "Event"]
    world.now += 10
    world.change(replicas=2)  # which is in no pin
    assert await world.reconcile() == AGAIN - 10
    assert (world.cluster.writes, world.reads) == (["status"], 1)
    world.cluster.failing = {}
    world.now += AGAIN
    assert await world.reconcile() is None
    assert world.said("Stalled")[0] == "False"
    assert world.deployment["spec"]["replicas"] == 2


async def test_a_number_of_replicas_that_is_refused_says_nothing_of_another(world: Passes) -> None:
    await world.reconcile()
    world.cluster.failing = {"Deployment": REFUSED}
    world.change(replicas=9)
    assert await world.reconcile() == AGAIN
    assert world.said("Stalled") == ("True", "ChildRefused")
    assert world.said("Resolved") == ("True", "Resolved")
    assert world.deployment["spec"]["replicas"] == 1
    world.cluster.failing = {}
    world.change(replicas=3)
    assert await world.reconcile() is None
    assert world.said("Stalled")[0] == "False"
    assert world.deployment["spec"]["replicas"] == 3


async def test_a_pin_that_is_gone_back_to_is_written_as_the_newest(world: Passes) -> None:
    await world.reconcile()
    (first,) = revisions(world)
    world.change(engine={"args": ["--seed=1"]})
    await world.reconcile()
    world.change(engine={})
    await world.reconcile()
    assert world.cluster.writes[0] == "ControllerRevision"
    assert revisions(world)[first] == 3
    assert template(world) == first
    world.change(replicas=5)  # the pin that serves is left alone, whatever the generation
    await world.reconcile()
    assert world.cluster.writes == ["Deployment", "status"]


async def test_a_pin_that_may_not_be_gone_back_to_leaves_what_serves(world: Passes) -> None:
    await world.reconcile()
    world.change(engine={"args": ["--seed=1"]})
    await world.reconcile()
    serving = template(world)
    world.cluster.failing = {"ControllerRevision": REFUSED}
    world.change(engine={}, replicas=4)
    assert await world.reconcile() == AGAIN
    assert world.said("Stalled") == ("True", "ChildRefused")
    assert template(world) == serving
    assert world.deployment["spec"]["replicas"] == 4


def revisions(world: Passes) -> dict[str, int]:
    """The number of each ControllerRevision, by its name."""
    found = {name: item for (kind, _, name), item in world.cluster.objects.items() if kind == "ControllerRevision"}
    return {name: item["revision"] for name, item in found.items()}


def template(world: Passes) -> str:
    """The ControllerRevision that the Deployment's template is of."""
    labels = world.deployment["spec"]["template"]["metadata"]["labels"]
    return f"{inputs.NAME}-{labels[api.REVISION_LABEL]}"


async def test_what_serves_is_put_back_where_its_successor_was_refused_half_way(world: Passes) -> None:
    await world.reconcile()
    world.cluster.failing = {"Deployment": REFUSED}
    world.change(engine={"port": 9000})
    await world.reconcile()
    assert world.cluster.writes == ["ControllerRevision", "Service", "Deployment", "Service", "status", "Event"]
    (port,) = world.cluster.objects["Service", *KEY]["spec"]["ports"]
    assert port["port"] == 8000


async def test_what_serves_and_can_t_be_scaled_is_told_of_while_its_successor_can_t_be_read(world: Passes) -> None:
    await world.reconcile()
    world.hub_is_down = True
    world.cluster.failing = {"Deployment": REFUSED}
    world.change(model={"uri": "org/other"}, replicas=5)
    assert await world.reconcile() == 30
    assert world.said("Reconciling") == ("True", "HubUnavailable")
    (reconciling,) = (it for it in world.cluster.status["conditions"] if it["type"] == "Reconciling")
    assert "a policy has something against it" in reconciling["message"]


async def test_an_api_server_that_fails_is_told_of_when_it_lasts(world: Passes) -> None:
    await world.reconcile()
    world.cluster.failing = {"Deployment": ClusterError("HTTP 500: failed calling webhook", 500)}
    world.change(replicas=3)
    for now, said in (
        (0, "Progressing"),
        (SAID_AFTER_SECONDS - 1, "Progressing"),
        (SAID_AFTER_SECONDS, "ReconcileFailed"),
    ):
        world.now = now
        with pytest.raises(ClusterError):
            await world.reconcile()
        assert world.said("Reconciling") == ("True", said)
    world.cluster.failing = {"Deployment": ClusterError("HTTP 500: from another port", 500)}
    with pytest.raises(ClusterError):
        await world.reconcile()
    assert world.cluster.writes == ["Deployment"], "other words are said later"
    world.now += SAID_AGAIN_SECONDS
    with pytest.raises(ClusterError):
        await world.reconcile()
    assert world.cluster.writes == ["Deployment", "status"]
    world.cluster.failing = {}
    await world.reconcile()
    assert world.said("Reconciling") == ("True", "Progressing")
    world.cluster.failing = {"Deployment": ClusterError("HTTP 500: failed calling webhook", 500)}
    world.change(replicas=4)
    with pytest.raises(ClusterError):
        await world.reconcile()
    assert world.said("Reconciling") == ("True", "Progressing"), "the time begins anew"


async def test_whose_passes_fail_from_a_restart_on_wants_as_many_pods_as_before(world: Passes) -> None:
    world.change(replicas=4)
    await world.reconcile()
    world.reconciler = world.operator()
    world.cluster.failing = {"Deployment": ClusterError("HTTP 500", 500)}
    world.change(replicas=5)
    for world.now in (0, SAID_AFTER_SECONDS):
        with pytest.raises(ClusterError):
            await world.reconcile()
    ((known, _),) = world.reconciler.known().values()
    assert known.wanted == 5


async def test_the_pins_of_what_runs_are_kept_however_often_the_spec_is_edited(world: Passes) -> None:
    await world.reconcile()
    (first,) = revisions(world)
    world.cluster.objects["Pod", KEY[0], "old"] = pod_of(first)
    world.watched.saw_pod(KEY, "old", gone=False)
    for seed in range(HISTORY + 5):
        world.change(engine={"args": [f"--seed={seed}"]})
        await world.reconcile()
    assert first in revisions(world)
    assert template(world) in revisions(world)
    assert len(revisions(world)) == HISTORY + 1


async def test_refreshes_leave_no_more_pins_than_edits_do(world: Passes) -> None:
    await world.reconcile()
    for number in range(HISTORY + 5):
        world.body["metadata"]["annotations"] = {api.REFRESH_ANNOTATION: str(number)}
        await world.reconcile()
    assert world.body["metadata"]["generation"] == 1
    assert len(revisions(world)) == HISTORY


async def test_a_pin_that_is_gone_back_to_counts_from_then(world: Passes) -> None:
    await world.reconcile()
    (first,) = revisions(world)
    before = dict(world.body["spec"])
    for seed in range(HISTORY - 1):
        world.change(engine={"args": [f"--seed={seed}"]})
        await world.reconcile()
    world.change(**before)
    del world.body["spec"]["engine"]
    await world.reconcile()
    assert template(world) == first
    for seed in (100, 101):
        world.change(engine={"args": [f"--seed={seed}"]})
        await world.reconcile()
    assert first in revisions(world)


def pod_of(revision: str) -> dict[str, Any]:
    """One of the Deployment's pods, from before a rollout."""
    labels = {api.NAME_LABEL: inputs.NAME, api.REVISION_LABEL: revision.rpartition("-")[2], "pod-template-hash": "x"}
    owner = {"kind": "ReplicaSet", "name": f"{inputs.NAME}-x", "uid": "r", "controller": True}
    metadata = {"name": "old", "namespace": KEY[0], "uid": "p", "labels": labels, "ownerReferences": [owner]}
    return {"kind": "Pod", "metadata": metadata, "spec": {"containers": []}, "status": {}}
