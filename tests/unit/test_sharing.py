"""Calls that are shared by those who wait for them, and what is kept within bounds."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable

import pytest

from speculator_operator.sharing import Flights, Kept


class Call:
    """A call that ends when it is told to ``go``; ``runs`` counts its beginnings."""

    def __init__(self) -> None:
        self.runs = 0
        self.cancelled = 0
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.outcome: Callable[[], int] = lambda: 1

    async def __call__(self) -> int:
        self.runs += 1
        self.begun.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return self.outcome()


async def joined(flights: Flights[str, int], call: Call, readers: int) -> list[asyncio.Task[int]]:
    tasks = [asyncio.create_task(flights.join("key", call)) for _ in range(readers)]
    await call.begun.wait()
    return tasks


async def test_readers_of_a_key_share_one_call_and_those_of_another_have_theirs() -> None:
    flights: Flights[str, int] = Flights()
    call, other = Call(), Call()
    tasks = await joined(flights, call, 100)
    tasks.append(asyncio.create_task(flights.join("other", other)))
    call.go.set()
    other.go.set()
    assert await asyncio.gather(*tasks) == [1] * 101
    assert call.runs == other.runs == 1


async def test_a_result_is_not_kept() -> None:
    flights: Flights[str, int] = Flights()
    call = Call()
    call.go.set()
    assert [await flights.join("key", call), await flights.join("key", call)] == [1, 1]
    assert call.runs == 2


async def test_a_failure_is_everyones_who_waits_and_not_the_nexts() -> None:
    flights: Flights[str, int] = Flights()
    call = Call()
    call.outcome = lambda: 1 // 0
    tasks = await joined(flights, call, 3)
    call.go.set()
    await asyncio.sleep(0)  # the call fails, and those who wait don't know yet
    following = Call()
    second = asyncio.create_task(flights.join("key", following))
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(outcome, ZeroDivisionError) for outcome in outcomes)

    third = asyncio.create_task(flights.join("key", following))
    await following.begun.wait()
    following.go.set()
    assert [await second, await third] == [1, 1]
    assert call.runs == following.runs == 1


async def test_the_reader_that_began_may_leave_and_the_last_one_ends_the_call() -> None:
    flights: Flights[str, int] = Flights()
    call = Call()
    first, *others = await joined(flights, call, 3)
    for task in (first, *others):
        assert call.cancelled == 0
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
    assert call.cancelled == 1

    call.go.set()
    assert await flights.join("key", call) == 1


async def test_a_reader_that_runs_out_of_time_leaves_alone() -> None:
    flights: Flights[str, int] = Flights()
    call = Call()
    (patient,) = await joined(flights, call, 1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(flights.join("key", call), 0.01)
    call.go.set()
    assert await patient == 1
    assert call.runs == 1


async def test_a_failure_that_no_reader_is_left_for_is_not_complained_of() -> None:
    complaints: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    flights: Flights[str, int] = Flights()
    call = Call()
    call.outcome = lambda: 1 // 0
    (reader,) = await joined(flights, call, 1)
    call.go.set()
    await asyncio.sleep(0)  # the call fails
    reader.cancel()
    await asyncio.wait({reader})
    assert reader.cancelled()
    del reader  # it would keep the call
    gc.collect()
    assert complaints == []


def test_what_was_used_longest_ago_goes_first() -> None:
    kept: Kept[str, int] = Kept(entries=2, size=100)
    kept.put("a", 1, 1)
    kept.put("b", 2, 1)
    assert kept.get("a") == 1
    kept.put("c", 3, 1)
    assert [kept.get(key) for key in "abc"] == [1, None, 3]


def test_bytes_are_counted_also_where_a_value_takes_anothers_place() -> None:
    kept: Kept[str, int] = Kept(entries=10, size=10)
    kept.put("a", 1, 9)
    kept.put("a", 2, 4)
    kept.put("b", 3, 6)
    assert [kept.get(key) for key in "ab"] == [2, 3]
    kept.put("c", 4, 1)
    assert [kept.get(key) for key in "abc"] == [None, 3, 4]


def test_what_is_too_large_is_not_kept_and_drives_nothing_else_out() -> None:
    kept: Kept[str, int] = Kept(entries=10, size=10)
    kept.put("a", 1, 5)
    kept.put("b", 2, 5)
    kept.put("b", 3, 11)
    assert [kept.get(key) for key in "ab"] == [1, None]
