"""What a pass makes of objects that the API server refuses, by a policy or a quota. Whole passes, with a cluster in
memory and a clock."""

from __future__ import annotations

import pytest

from speculator_operator import api
from speculator_operator.api import Reason
from speculator_operator.errors import Refused
from tests.support import inputs
from tests.support.passes import AGAIN, Passes

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
