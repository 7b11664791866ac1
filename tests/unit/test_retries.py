"""When a resource that couldn't be resolved is looked at again. Whole passes, with a cluster in memory and a clock."""

from __future__ import annotations

from typing import cast

import pytest

from speculator_operator.api import Reason
from speculator_operator.cluster import Cluster
from speculator_operator.core.checkpoint import Snapshot
from speculator_operator.drafting import Drafting
from speculator_operator.errors import OperatorError, Refused, Waiting
from speculator_operator.fetches import Fetches
from speculator_operator.reconciler import Reconciler
from speculator_operator.reference import Reference
from speculator_operator.scrape import Scraper
from speculator_operator.settings import Settings
from speculator_operator.sources import Sources
from speculator_operator.workqueue import Key
from tests.support import inputs
from tests.support.memorycluster import MemoryCluster

KEY = ("models", inputs.NAME)
DOWN = Waiting(Reason.HUB_UNAVAILABLE, "the hub is down", retry_after=30)
THROTTLED = Waiting(Reason.HUB_THROTTLED, "later", retry_after=90)
GONE = Refused(Reason.MODEL_NOT_FOUND, "it is gone")


class World:
    """One resource, whose model can't be read because of ``problem``. Passes are made when they are asked for."""

    def __init__(self) -> None:
        self.problem: OperatorError = DOWN
        self.now = 0.0
        self.reads = 0
        self.woken: list[Key] = []
        body = inputs.resource({})
        body["metadata"] |= {"namespace": KEY[0], "uid": "1", "generation": 1}
        cluster = cast("Cluster", MemoryCluster(body))
        settings = Settings(reread_interval=600)
        self.reconciler = Reconciler(
            cluster=cluster,
            sources=Sources(cluster, self.read, settings),
            fetches=Fetches(cluster, settings),
            drafting=Drafting(cast("Scraper", None), window=300, clock=lambda: self.now, changed=lambda _: None),
            pods=lambda _: set(),
            changed=self.woken.append,
            settings=settings,
            clock=lambda: self.now,
        )

    async def read(self, reference: Reference, *, max_age: float = 0.0) -> Snapshot:
        del reference, max_age
        self.reads += 1
        raise self.problem

    async def waits(self, passes: int) -> list[float]:
        """How long each of so many passes asks to be left alone; the next one comes then."""
        waits = []
        for _ in range(passes):
            wait = await self.reconciler.reconcile(KEY)
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
    await world.reconciler.reconcile(KEY)
    world.now += 10
    assert await world.reconciler.reconcile(KEY) == 20
    assert world.reads == 1


async def test_a_pass_that_sees_the_end_of_a_resolution_asks_for_no_other() -> None:
    world = World()
    await world.waits(2)
    assert world.woken == []
