"""What ready pods' engines have drafted, read from their metrics and remembered between passes.

A pass reads a pod's metrics when it sees it ready for the first time. After that a loop reads them, for all pods, and
asks for a pass only when that would say something else: a pod drafts or doesn't, can't be read, or the rate moved.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .core import acceptance
from .core.acceptance import Counters, Window
from .core.metrics import Drafted
from .core.status import Pod
from .scrape import MetricsUnreachable, Scraper
from .workqueue import Key

#: The rate in status is said again at most so often.
WRITE_SECONDS = 60.0


@dataclass
class _Engine:
    """One ready pod's. ``drafts`` is as in ``Pod``; ``trouble`` is why there are none to be told."""

    address: str
    port: int
    window: Window
    drafts: int | None = None
    trouble: str = ""


class Drafting:
    """``clock`` is monotonic, in seconds; ``changed`` is called with the key of a resource that needs a pass."""

    def __init__(
        self, scraper: Scraper, *, window: float, clock: Callable[[], float], changed: Callable[[Key], None]
    ) -> None:
        self._scraper = scraper
        self._window = window
        self._clock = clock
        self._changed = changed
        self._engines: dict[Key, dict[str, _Engine]] = {}
        #: When this process last gave status an acceptance, and what status says.
        self._said: dict[Key, float] = {}
        self._shown: dict[Key, dict[str, Any] | None] = {}
        #: What was counted since this process looked first, also by engines that have gone since.
        self._counted: dict[Key, Counters] = {}

    async def look(self, key: Key, pods: Sequence[Pod]) -> tuple[Pod, ...]:
        """The pods, with what those that are ready have drafted. From now on these are the key's pods."""
        known = self._engines.get(key, {})
        engines = {
            pod.uid: known.get(pod.uid) or _Engine(pod.address, pod.port, Window(self._window))
            for pod in pods
            if pod.ready
        }
        await asyncio.gather(*(self._read(key, engine) for uid, engine in engines.items() if uid not in known))
        # Only now the loop reads them too: of two readings at a time the older could come last, as if it began anew.
        self._engines[key] = engines
        return tuple(
            replace(pod, drafts=engine.drafts, trouble=engine.trouble) if (engine := engines.get(pod.uid)) else pod
            for pod in pods
        )

    def acceptance(self, key: Key, shown: dict[str, Any] | None) -> dict[str, Any] | None:
        """What status should say: ``shown``, which it says now, unless there is something worth a write.

        None for ``shown`` begins anew: what was said was of something else.
        """
        if shown is None:
            self._said.pop(key, None)
        new = self._news(key, shown)
        if new is not None:
            self._said[key] = self._clock()
        self._shown[key] = shown if new is None else new
        return self._shown[key]

    def drafted(self, key: Key) -> Drafted:
        """What is known now of a resource's engines, for metrics."""
        engines = list(self._engines.get(key, {}).values())
        return Drafted(
            proven=sum(bool(engine.drafts) for engine in engines),
            window=acceptance.totals(engine.window for engine in engines if engine.window.readings),
            counted=self._counted.get(key, Counters()),
        )

    def forget(self, key: Key) -> None:
        self._engines.pop(key, None)
        self._counted.pop(key, None)
        self._said.pop(key, None)
        self._shown.pop(key, None)

    async def watch(self, interval: float) -> None:
        """Looks again about every ``interval`` seconds, until it is cancelled."""
        while True:
            await asyncio.sleep(interval * random.uniform(0.8, 1.2))  # noqa: S311 - only spreads the load
            await self.look_again()

    async def look_again(self) -> None:
        """Reads all pods' metrics, and wakes the resources of which something else is to be said now."""
        await asyncio.gather(*(self._look_again(key) for key in list(self._engines)))

    async def _look_again(self, key: Key) -> None:
        engines = list(self._engines.get(key, {}).values())
        before = [_conclusion(engine) for engine in engines]
        await asyncio.gather(*(self._read(key, engine) for engine in engines))
        turned = before != [_conclusion(engine) for engine in engines]
        if turned or (key in self._shown and self._news(key, self._shown[key])):
            self._changed(key)

    async def _read(self, key: Key, engine: _Engine) -> None:
        try:
            text = await self._scraper.metrics(engine.address, engine.port)
        except MetricsUnreachable as error:
            engine.drafts, engine.trouble = None, str(error)
            return
        counters = acceptance.parse(text)
        engine.drafts, engine.trouble = counters.drafts if counters else 0, ""
        if counters:
            if engine.window.readings and key in self._engines:
                more = counters.since(engine.window.last)
                self._counted[key] = self._counted.get(key, Counters()) + more
            engine.window.add(self._clock(), counters)

    def _news(self, key: Key, shown: dict[str, Any] | None) -> dict[str, Any] | None:
        windows = [engine.window for engine in self._engines.get(key, {}).values() if engine.window.readings]
        new = acceptance.summary(windows)
        if new is None or shown is None:
            return new
        said = self._said.get(key)
        if said is None:  # an earlier process said it, over a longer time than this one has seen yet
            settled = max(window.span for window in windows) >= 0.9 * self._window
        else:
            settled = self._clock() - said >= WRITE_SECONDS
        return new if settled and acceptance.differs(shown, new) else None


def _conclusion(engine: _Engine) -> bool | None:
    return None if engine.drafts is None else engine.drafts > 0
