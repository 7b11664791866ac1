"""How a thousand readers of the same few things cause few reads: who asks at the same time shares one, and what can't
change is kept, within bounds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


@dataclass
class _Flight(Generic[T]):
    task: asyncio.Task[T]
    readers: int = 0


class Flights(Generic[K, T]):
    """Calls that are under way, each for a key. To be used within one event loop.

    A call belongs to none of its readers: one that is cancelled leaves it to the others, and the last to leave ends it.
    Its failure is everyone's who waits for it then, and isn't kept.
    """

    def __init__(self) -> None:
        self._flights: dict[K, _Flight[T]] = {}

    async def join(self, key: K, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of the call that is under way for ``key``, or else of ``start``."""
        flight = self._flights.get(key)
        if flight is None or flight.task.done():
            flight = self._flights[key] = _Flight(asyncio.create_task(start()))
            flight.task.add_done_callback(_ask_for_failure)
        flight.readers += 1
        try:
            await asyncio.wait({flight.task})
        finally:
            flight.readers -= 1
            if not flight.readers:
                if self._flights.get(key) is flight:
                    del self._flights[key]
                if not flight.task.done():
                    flight.task.cancel()
                    await asyncio.wait({flight.task})
        return flight.task.result()


def _ask_for_failure(task: asyncio.Task[Any]) -> None:
    """Lest asyncio complains of a failure that every reader was cancelled just before."""
    if not task.cancelled():
        task.exception()


class Kept(Generic[K, T]):
    """At most so many entries, and so many bytes all in all; what was used longest ago goes first."""

    def __init__(self, *, entries: int, size: int) -> None:
        self._entries = entries
        self._size = size
        self._held: dict[K, tuple[T, int]] = {}
        self._used = 0

    def get(self, key: K) -> T | None:
        held = self._held.pop(key, None)
        if held is None:
            return None
        self._held[key] = held  # the last to go, now
        return held[0]

    def put(self, key: K, value: T, size: int) -> None:
        """Keeps ``value``, which takes ``size`` bytes, in place of what was there; not if it alone is too large."""
        _, before = self._held.pop(key, (None, 0))
        self._used -= before
        if size > self._size:
            return
        self._held[key] = value, size
        self._used += size
        while len(self._held) > self._entries or self._used > self._size:
            _, oldest = self._held.pop(next(iter(self._held)))
            self._used -= oldest
