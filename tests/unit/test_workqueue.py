"""The queue's promises: one pass at a time for a key, none lost, none starved, and patience with what fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from speculator_operator.workqueue import BACKOFF_FIRST, BACKOFF_MOST, WorkQueue
from tests.support.eventually import eventually_async

Process = Callable[[str], Awaitable[float | None]]

FAST = 0.005


class Impatient(WorkQueue[str]):
    """Keeps the times that it is asked to wait for, and waits for none of them."""

    def __init__(self, jitter: Callable[[], float]) -> None:
        super().__init__(jitter=jitter)
        self.waits: list[float] = []

    def add_after(self, key: str, seconds: float) -> None:
        self.waits.append(seconds)
        super().add_after(key, 0)


@asynccontextmanager
async def running(queue: WorkQueue[str], process: Process, workers: int = 4) -> Any:
    task = asyncio.create_task(queue.run(process, workers))
    try:
        yield task
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


def idle(queue: WorkQueue[str]) -> bool:
    """Whether no key waits for a pass now, and no pass runs."""
    return not queue.waiting and not queue.running


async def until(holds: Callable[[], bool]) -> None:
    async def check() -> bool:
        return holds()

    await eventually_async(check, within=30, every=FAST)


async def test_a_key_added_many_times_before_its_pass_gets_one() -> None:
    queue: WorkQueue[str] = WorkQueue()
    passes: list[str] = []

    async def process(key: str) -> None:
        passes.append(key)

    for _ in range(100):
        queue.add("a")
    queue.add("b")
    assert not idle(queue)
    async with running(queue, process):
        await until(lambda: idle(queue))
    assert sorted(passes) == ["a", "b"]


async def test_a_key_added_while_its_pass_runs_gets_one_more_after_it_and_never_two_at_once() -> None:
    queue: WorkQueue[str] = WorkQueue()
    release = asyncio.Event()
    at_once, most, passes = 0, 0, 0

    async def process(_: str) -> None:
        nonlocal at_once, most, passes
        at_once += 1
        most = max(most, at_once)
        await release.wait()
        at_once -= 1
        passes += 1

    async with running(queue, process, workers=8):
        queue.add("a")
        await until(lambda: at_once == 1)
        for _ in range(5):
            queue.add("a")
        await asyncio.sleep(0)
        assert at_once == 1
        assert not idle(queue)
        release.set()
        await until(lambda: idle(queue))
    assert (most, passes) == (1, 2)


async def test_keys_are_worked_on_side_by_side_up_to_the_number_of_workers() -> None:
    queue: WorkQueue[str] = WorkQueue()
    release = asyncio.Event()
    at_once: set[str] = set()

    async def process(key: str) -> None:
        at_once.add(key)
        await release.wait()

    for key in "abcde":
        queue.add(key)
    async with running(queue, process, workers=3):
        await until(lambda: len(at_once) == 3)
        release.set()
        await until(lambda: idle(queue))
    assert at_once == set("abcde")


async def test_a_key_that_is_always_wanted_again_does_not_starve_the_others() -> None:
    queue: WorkQueue[str] = WorkQueue()
    passes: list[str] = []

    async def process(key: str) -> None:
        passes.append(key)
        if key == "busy":
            queue.add("busy")
        await asyncio.sleep(0)

    queue.add("busy")
    for number in range(20):
        queue.add(f"quiet-{number}")
    async with running(queue, process, workers=1):
        await until(lambda: len(set(passes)) == 21)
    assert passes.index("quiet-19") <= 20


async def test_the_earliest_of_several_times_counts() -> None:
    queue: WorkQueue[str] = WorkQueue()
    passes: list[str] = []

    async def process(key: str) -> None:
        passes.append(key)

    async with running(queue, process):
        queue.add_after("a", 3600)
        queue.add_after("a", 0)
        queue.add_after("a", 3600)
        await until(lambda: passes == ["a"])
        queue.add_after("a", 3600)
        queue.add("a")
        await until(lambda: passes == ["a", "a"])


async def test_a_key_that_waits_for_a_time_leaves_the_queue_idle() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_after("a", 3600)
    assert idle(queue)
    queue.add("a")
    assert not idle(queue)


async def test_a_pass_says_when_its_key_wants_another_one() -> None:
    queue = Impatient(jitter=lambda: 1.0)
    answers: Iterator[float | None] = iter([600.0, 0.25, None])

    async def process(_: str) -> float | None:
        return next(answers)

    queue.add("a")
    async with running(queue, process):
        await until(lambda: len(queue.waits) == 2 and idle(queue))
    assert queue.waits == [600.0, 0.25]


@pytest.mark.parametrize(("jitter", "share"), [(1.0, 1.0), (0.0, 0.5)])
async def test_failures_are_repeated_ever_later_and_a_success_starts_over(jitter: float, share: float) -> None:
    queue = Impatient(jitter=lambda: jitter)
    passes = 0

    async def process(_: str) -> None:
        nonlocal passes
        passes += 1
        if passes not in (13, 15):
            raise ValueError("no")

    queue.add("a")
    async with running(queue, process):
        await until(lambda: passes == 13)
        queue.add("a")
        await until(lambda: passes == 15 and idle(queue))
    first_twelve = [min(BACKOFF_FIRST * 2**n, BACKOFF_MOST) for n in range(12)]
    assert queue.waits == pytest.approx([share * seconds for seconds in [*first_twelve, BACKOFF_FIRST]])
    assert first_twelve[-1] == BACKOFF_MOST


async def test_failing_for_ever_overflows_nothing() -> None:
    queue = Impatient(jitter=lambda: 1.0)

    async def process(_: str) -> None:
        raise ConnectionError("gone")

    queue.add("a")
    async with running(queue, process):
        await until(lambda: len(queue.waits) > 1100)
    assert set(queue.waits[10:]) == {BACKOFF_MOST}


async def test_a_failure_of_one_key_delays_no_other() -> None:
    queue: WorkQueue[str] = WorkQueue()
    passes: list[str] = []

    async def process(key: str) -> None:
        if key == "bad":
            raise ValueError("no")
        passes.append(key)

    queue.add("bad")
    queue.add("good")
    async with running(queue, process, workers=1):
        await until(lambda: passes == ["good"])


@pytest.mark.parametrize(
    ("case", "error", "traced"),
    [("a fault of ours is logged with its trace", ValueError("no"), True),
     ("the wire's is logged without", ConnectionError("gone"), False)],
)  # fmt: skip
async def test_what_a_failure_logs(case: str, error: Exception, traced: bool, caplog: pytest.LogCaptureFixture) -> None:
    queue: WorkQueue[str] = WorkQueue()

    async def process(_: str) -> None:
        raise error

    with caplog.at_level(logging.WARNING):
        queue.add("a")
        async with running(queue, process):
            await until(lambda: len(caplog.records) > 0)
    (record,) = caplog.records
    assert bool(record.exc_info) is traced, case
    assert str(error) in caplog.text


async def test_cancelling_ends_passes_that_run_and_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    queue: WorkQueue[str] = WorkQueue()
    ended: list[str] = []
    started = asyncio.Event()

    async def process(key: str) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(key)

    queue.add("a")
    async with running(queue, process):
        await started.wait()
    assert ended == ["a"]
    assert caplog.records == []
    assert idle(queue)
