"""What ready pods' engines have drafted, read from their metrics and remembered between passes.

A pass reads a pod's metrics when it sees it ready for the first time. After that a loop reads them, for all pods, and
asks for a pass only when that would say something else: a pod drafts or doesn't, can't be read, or the rate moved.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
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
    revision: str
    window: Window
    drafts: int | None = None
    trouble: str = ""


@dataclass
class _Drafts:
    """Of one resource. ``said`` is when this process last gave status an acceptance, and ``shown`` what status says, of
    the pods of ``revision``.

    ``counted`` is what was counted since this process looked first, also by engines that have gone since.
    """

    engines: dict[str, _Engine] = field(default_factory=dict)
    said: float | None = None
    shown: dict[str, Any] | None = None
    revision: str = ""
    counted: Counters = field(default_factory=Counters)

    def windows(self, revision: str | None = None) -> list[Window]:
        """Those of one revision's pods, or of all."""
        engines = (engine for engine in self.engines.values() if revision in (None, engine.revision))
        return [engine.window for engine in engines if engine.window.readings]


class Drafting:
    """``scraper`` reads for the loop, and ``first`` for passes: they don't wait for each other's pods.

    ``clock`` is monotonic, in seconds; ``changed`` is called with the key of a resource that needs a pass.
    """

    def __init__(
        self,
        scraper: Scraper,
        first: Scraper,
        *,
        window: float,
        clock: Callable[[], float],
        changed: Callable[[Key], None],
    ) -> None:
        self._scraper = scraper
        self._first = first
        self._window = window
        self._clock = clock
        self._changed = changed
        self._drafts: dict[Key, _Drafts] = {}

    async def look(self, key: Key, pods: Sequence[Pod]) -> tuple[Pod, ...]:
        """The pods, with what those that are ready have drafted. From now on these are the key's pods."""
        drafts = self._drafts.setdefault(key, _Drafts())
        known = drafts.engines
        engines = {
            pod.uid: known.get(pod.uid) or _Engine(pod.address, pod.port, pod.revision, Window(self._window))
            for pod in pods
            if pod.ready
        }
        new = [engine for uid, engine in engines.items() if uid not in known]
        await asyncio.gather(*(self._read(self._first, drafts, engine) for engine in new))
        # Only now the loop reads them too: of two readings at a time the older could come last, as if it began anew.
        drafts.engines = engines
        return tuple(
            replace(pod, drafts=engine.drafts, trouble=engine.trouble) if (engine := engines.get(pod.uid)) else pod
            for pod in pods
        )

    def acceptance(self, key: Key, revision: str, shown: dict[str, Any] | None) -> dict[str, Any] | None:
        """What status should say of one revision's pods: ``shown``, as it says now, unless something is worth a write.

        None for ``shown`` begins anew: what was said was of something else.
        """
        drafts = self._drafts.setdefault(key, _Drafts())
        drafts.shown, drafts.revision = shown, revision
        if shown is None:
            drafts.said = None
        if new := self._news(drafts):
            drafts.said, drafts.shown = self._clock(), new
        return drafts.shown

    def drafted(self, key: Key) -> Drafted:
        """What is known now of a resource's engines, for metrics."""
        drafts = self._drafts.get(key, _Drafts())
        return Drafted(
            proven=sum(bool(engine.drafts) for engine in drafts.engines.values()),
            window=acceptance.totals(drafts.windows()),
            counted=drafts.counted,
        )

    def gone(self, key: Key) -> None:
        """Drops what is known of a resource that is there no more."""
        self._drafts.pop(key, None)

    async def watch(self, interval: float) -> None:
        """Looks again about every ``interval`` seconds, until it is cancelled."""
        while True:
            await asyncio.sleep(interval * random.uniform(0.8, 1.2))  # noqa: S311 - only spreads the load
            await self.look_again()

    async def look_again(self) -> None:
        """Reads all pods' metrics, and wakes the resources of which something else is to be said now."""
        await asyncio.gather(*(self._look_again(key, drafts) for key, drafts in list(self._drafts.items())))

    async def _look_again(self, key: Key, drafts: _Drafts) -> None:
        engines = list(drafts.engines.values())
        before = [_conclusion(engine) for engine in engines]
        await asyncio.gather(*(self._read(self._scraper, drafts, engine) for engine in engines))
        if before != [_conclusion(engine) for engine in engines] or self._news(drafts):
            self._changed(key)

    async def _read(self, scraper: Scraper, drafts: _Drafts, engine: _Engine) -> None:
        try:
            counters = acceptance.parse(await scraper.metrics(engine.address, engine.port))
        except (MetricsUnreachable, ValueError) as error:
            engine.drafts, engine.trouble = None, str(error)
            return
        engine.drafts, engine.trouble = counters.drafts if counters else 0, ""
        if counters:
            if engine.window.readings:
                drafts.counted += counters.since(engine.window.last)
            engine.window.add(self._clock(), counters)

    def _news(self, drafts: _Drafts) -> dict[str, Any] | None:
        """What is to be said in place of what status shows, if anything is."""
        windows = drafts.windows(drafts.revision)
        new = acceptance.summary(windows)
        if new is None or drafts.shown is None:
            return new
        if drafts.said is None:  # an earlier process said it, over a longer time than this one has seen yet
            settled = max(window.span for window in windows) >= 0.9 * self._window
        else:
            settled = self._clock() - drafts.said >= WRITE_SECONDS
        return new if settled and acceptance.differs(drafts.shown, new) else None


def _conclusion(engine: _Engine) -> bool | None:
    return None if engine.drafts is None else engine.drafts > 0
