"""When a resource that couldn't be resolved is looked at again. Whole passes, with a cluster in memory and a clock."""

from __future__ import annotations

import pytest

from speculator_operator.api import Reason
from speculator_operator.core.checkpoint import Snapshot
from speculator_operator.errors import OperatorError, Refused, Waiting
from speculator_operator.reference import Reference
from tests.support.passes import Passes

DOWN = Waiting(Reason.HUB_UNAVAILABLE, "the hub is down", retry_after=30)
THROTTLED = Waiting(Reason.HUB_THROTTLED, "later", retry_after=90)
GONE = Refused(Reason.MODEL_NOT_FOUND, "it is gone")


class World(Passes):
    """One resource, whose model can't be read because of ``problem``."""

    problem: OperatorError = DOWN

    async def read(self, reference: Reference, *, max_age: float = 0.0) -> Snapshot:
        await super().read(reference, max_age=max_age)
        raise self.problem

    async def waits(self, passes: int) -> list[float]:
        """How long each of so many passes asks to be left alone; the next one comes then."""
        waits = []
        for _ in range(passes):
            wait = await self.reconcile()
            assert wait is not None
            waits.append(wait)
            self.now += wait
        return waits


@pytest.mark.parametrize(
    ("problem", "waits"),
    [
        pytest.param(DOWN, [30, 60, 120, 240, 300, 300], id="what may end by itself, after longer and longer"),
        pytest.param(THROTTLED, [90, 90, 90], id="what says when to come back, then"),
        pytest.param(GONE, [600, 600], id="what only a change can end, seldom"),
    ],
)
async def test_what_failed_is_tried_again(problem: OperatorError, waits: list[float]) -> None:
    world = World()
    world.problem = problem
    assert await world.waits(len(waits)) == waits
    assert world.reads == len(waits)


async def test_another_failure_begins_anew() -> None:
    world = World()
    assert await world.waits(3) == [30, 60, 120]
    world.problem = Waiting(Reason.RESOLVER_FAILED, "its pod was evicted", retry_after=60)
    assert await world.waits(2) == [60, 120]


async def test_whoever_wakes_it_in_between_causes_no_try() -> None:
    world = World()
    await world.reconcile()
    world.now += 10
    assert await world.reconcile() == 20
    assert world.reads == 1


async def test_a_pass_that_sees_the_end_of_a_resolution_asks_for_no_other() -> None:
    world = World()
    await world.waits(2)
    assert world.woken == []
