"""Keys waiting for a pass: each at most once, and no two passes over one key at the same time.

A key that is added while its pass runs gets another one afterwards, since the pass may have read before the change.
A pass that fails is repeated with exponential backoff, of its own for each key.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Generic, TypeVar

from . import logs, metrics
from .core import metrics as families

BACKOFF_FIRST = 0.5
BACKOFF_MOST = 300.0

_DEPTH = metrics.gauge(families.QUEUE_DEPTH)
_ADDS = metrics.counter(families.QUEUE_ADDS)
_RETRIES = metrics.counter(families.QUEUE_RETRIES)
_QUEUED = metrics.histogram(families.QUEUE_WAITS)
_WORKED = metrics.histogram(families.QUEUE_WORKS)

Key = tuple[str, str]
"""A resource's namespace and name."""
K = TypeVar("K", bound=Hashable)

log = logging.getLogger(__name__)


class WorkQueue(Generic[K]):
    """To be used within one event loop. ``jitter`` gives numbers from 0 to 1."""

    def __init__(self, *, jitter: Callable[[], float] = random.random) -> None:
        self._jitter = jitter
        self._ready: asyncio.Queue[K] = asyncio.Queue()
        self._since: dict[K, float] = {}
        self._running: dict[K, float] = {}
        self._moved = time.monotonic()
        self._again: set[K] = set()
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}

    @property
    def running(self) -> Mapping[K, float]:
        """When the passes that run now began, in monotonic seconds."""
        return self._running

    @property
    def waiting(self) -> int:
        """How many keys wait for a pass now. Keys that wait for a time don't count."""
        return len(self._since)

    @property
    def moved(self) -> float:
        """When a pass last began, or the queue last began to fill, in monotonic seconds."""
        return self._moved

    def add(self, key: K) -> None:
        """Asks for a pass as soon as possible; for a key whose last pass failed, after a moment at the least."""
        if key in self._failures:
            self.add_after(key, BACKOFF_FIRST)
        else:
            self._enqueue(key)

    def _enqueue(self, key: K) -> None:
        if timer := self._timers.pop(key, None):
            timer.cancel()
        if key in self._running:
            self._again.add(key)
        elif key not in self._since:
            now = time.monotonic()
            if not self._since:
                self._moved = now
            self._since[key] = now
            self._ready.put_nowait(key)
            _ADDS.inc()
            _DEPTH.set(len(self._since))

    def add_after(self, key: K, seconds: float) -> None:
        """Asks for a pass after so many seconds. Of several times, the earliest counts."""
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if timer is None or loop.time() + seconds < timer.when():
            if timer is not None:
                timer.cancel()
            self._timers[key] = loop.call_later(seconds, self._enqueue, key)

    async def run(self, process: Callable[[K], Awaitable[float | None]], workers: int) -> None:
        """Runs passes until it is cancelled. A pass may return after how many seconds its key wants another one."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(workers):
                tasks.create_task(self._work(process))

    async def _work(self, process: Callable[[K], Awaitable[float | None]]) -> None:
        while True:
            key = await self._ready.get()
            started = self._moved = time.monotonic()
            _QUEUED.observe(started - self._since.pop(key))
            _DEPTH.set(len(self._since))
            self._running[key] = started
            try:
                with logs.about(key):
                    wait = await self._pass(key, process)
            finally:
                del self._running[key]
                _WORKED.observe(time.monotonic() - started)
            if wait is not None:
                self.add_after(key, wait)
            if key in self._again:
                self._again.discard(key)
                self.add(key)

    async def _pass(self, key: K, process: Callable[[K], Awaitable[float | None]]) -> float | None:
        """One pass; returns after how many seconds its key wants another one."""
        try:
            wait = await process(key)
        except Exception as error:
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            backoff: float = min(BACKOFF_FIRST * 2 ** min(failures - 1, 20), BACKOFF_MOST) * (0.5 + self._jitter() / 2)
            if isinstance(error, OSError):  # the wire's: a trace of our code would say nothing
                log.warning("Pass %d in a row failed, the next is in %.1f s: %s", failures, backoff, error)
            else:
                log.exception("Pass %d in a row failed, the next is in %.1f s", failures, backoff)
            _RETRIES.inc()
            return backoff
        self._failures.pop(key, None)
        return wait
