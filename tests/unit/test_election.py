"""Elections over a lease in memory: answers come, don't, or come too late, as the test says."""

from __future__ import annotations

import asyncio
import copy
import time
from typing import Any, cast

import pytest

from speculator_operator.cluster import Cluster, ClusterError
from speculator_operator.core.lease import Terms
from speculator_operator.election import Election, LeaseLost
from tests.support.eventually import eventually_async

#: Times are of the real clock: short enough for a test, long enough for a busy machine.
TERMS = Terms(3)


class Leases:
    """As ``Cluster``, for one lease. ``trouble`` is raised instead of an answer; ``silent`` gives none at all."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.writes = 0
        self.trouble: Exception | None = None
        self.silent = False
        self.lose_answers = False

    async def _asked(self) -> None:
        if self.silent:
            await asyncio.Event().wait()
        if self.trouble:
            raise self.trouble

    async def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        assert (kind, namespace, name) == ("Lease", "n", "l")
        await self._asked()
        return copy.deepcopy(self.lease)

    async def create(self, manifest: dict[str, Any]) -> dict[str, Any]:
        await self._asked()
        if self.lease:
            raise ClusterError("there is one", 409)
        return await self._write(manifest)

    async def replace(self, manifest: dict[str, Any]) -> dict[str, Any]:
        await self._asked()
        if self.lease is None:
            raise ClusterError("there is none", 404)
        if manifest["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise ClusterError("it was changed", 409)
        return await self._write(manifest)

    async def _write(self, manifest: dict[str, Any]) -> dict[str, Any]:
        self.writes += 1
        self.lease = copy.deepcopy(manifest)
        self.lease["metadata"]["resourceVersion"] = str(self.writes)
        if self.lose_answers:
            self.lose_answers = False
            raise ClusterError("the connection broke")
        return copy.deepcopy(self.lease)

    def by_hand(self, **spec: object) -> None:
        assert self.lease is not None
        self.writes += 1
        self.lease["spec"] |= spec
        self.lease["metadata"]["resourceVersion"] = str(self.writes)

    async def renewals(self, count: int) -> None:
        """Waits for so many more writes."""
        written = self.writes

        async def check() -> bool:
            return self.writes >= written + count

        await eventually_async(check, every=0.01)

    @property
    def holder(self) -> str | None:
        return str(self.lease["spec"]["holderIdentity"]) if self.lease else None


class Clock:
    """The real one, and what a test adds to it."""

    def __init__(self) -> None:
        self.skipped = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.skipped


async def reads(election: Election, leader: str) -> bool:
    return election.leader == leader


def candidate(leases: Leases, identity: str, clock: Clock | None = None) -> Election:
    cluster = cast("Cluster", leases)
    return Election(cluster, namespace="n", name="l", identity=identity, terms=TERMS, clock=clock or Clock())


async def test_the_first_leads_and_the_second_stands_by_until_it_is_released() -> None:
    leases = Leases()
    first, second = candidate(leases, "first"), candidate(leases, "second")
    assert first.remaining() == 0
    await first.acquire()
    assert 0 < first.remaining() <= TERMS.deadline

    waiting = asyncio.create_task(second.acquire())
    holding = asyncio.create_task(first.hold())
    await leases.renewals(3)
    assert (leases.holder, second.leader, second.remaining()) == ("first", "first", 0)

    holding.cancel()
    await first.release()
    assert first.remaining() == 0
    await asyncio.wait_for(waiting, 30)
    assert leases.holder == "second"
    assert second.remaining() > 0


async def test_a_leader_that_says_nothing_more_is_followed_when_its_lease_has_run_out() -> None:
    leases, clock = Leases(), Clock()
    await candidate(leases, "dead").acquire()
    second = candidate(leases, "second", clock)
    waiting = asyncio.create_task(second.acquire())
    await eventually_async(lambda: reads(second, "dead"))
    clock.skipped = TERMS.seconds + 1
    await asyncio.wait_for(waiting, 30)
    assert leases.holder == "second"


@pytest.mark.parametrize(
    ("case", "spec", "words"),
    [
        ("another took it", {"holderIdentity": "thief"}, "is held by thief now"),
        ("a hand released it", {"holderIdentity": ""}, "is held by nobody now"),
    ],
)
async def test_a_leader_ends_as_soon_as_it_sees_another(case: str, spec: dict[str, str], words: str) -> None:
    leases = Leases()
    first = candidate(leases, "first")
    await first.acquire()
    leases.by_hand(**spec)
    with pytest.raises(LeaseLost, match=words):
        await asyncio.wait_for(first.hold(), 30)
    assert leases.holder == spec["holderIdentity"], case


async def test_a_leader_ends_when_its_lease_is_deleted() -> None:
    leases = Leases()
    first = candidate(leases, "first")
    await first.acquire()
    leases.lease = None
    with pytest.raises(LeaseLost, match="was deleted"):
        await asyncio.wait_for(first.hold(), 30)
    assert leases.lease is None


@pytest.mark.parametrize("silent", [False, True])
async def test_a_leader_ends_when_it_cannot_renew_and_before_the_lease_has_run_out(silent: bool) -> None:
    leases = Leases()
    first = candidate(leases, "first")
    before = time.monotonic()
    await first.acquire()
    leases.silent, leases.trouble = silent, None if silent else ClusterError("HTTP 500: no", 500)
    with pytest.raises(LeaseLost, match="no answer in time" if silent else "HTTP 500: no"):
        await asyncio.wait_for(first.hold(), 30)
    assert first.remaining() <= 0
    assert time.monotonic() - before >= TERMS.deadline


async def test_one_that_stood_still_for_longer_than_it_may_renews_nothing() -> None:
    leases, clock = Leases(), Clock()
    first = candidate(leases, "first", clock)
    await first.acquire()
    written = leases.writes
    clock.skipped = TERMS.deadline
    assert first.remaining() <= 0
    with pytest.raises(LeaseLost, match="stood still"):
        await asyncio.wait_for(first.hold(), 30)
    assert leases.writes == written


async def test_answers_that_are_lost_lose_no_lease() -> None:
    leases = Leases()
    leases.lose_answers = True
    first = candidate(leases, "first")
    await asyncio.wait_for(first.acquire(), 30)
    leases.lose_answers = True
    holding = asyncio.create_task(first.hold())
    await leases.renewals(3)
    assert not holding.done()
    leases.by_hand(renewTime="whatever")  # a hand that leaves the holder as it is takes nothing away
    await leases.renewals(2)
    assert not holding.done()
    holding.cancel()


async def test_of_two_that_see_a_free_lease_one_gets_it() -> None:
    leases = Leases()
    candidates = [candidate(leases, name) for name in ("a", "b", "c")]
    tasks = [asyncio.create_task(it.acquire()) for it in candidates]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    assert [it.remaining() > 0 for it in candidates].count(True) == 1
    for task in tasks:
        task.cancel()


async def test_one_whose_time_is_over_releases_nothing() -> None:
    leases, clock = Leases(), Clock()
    first = candidate(leases, "first", clock)
    await first.acquire()
    clock.skipped = TERMS.deadline + 1
    await first.release()
    assert leases.holder == "first"
    never = candidate(leases, "never")
    await never.release()
    assert leases.holder == "first"
