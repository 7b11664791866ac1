"""What each watch has asked the API server, and when it was last answered: the signs of life of watches.

kopf drops bookmarks before any handler sees them, and says nothing of its requests. But it takes an HTTP session that
is made for it, and aiohttp tells a session's maker of each request. A watch asks anew whenever it is cut, when it was
silent for too long, and in any case every ``server_timeout`` seconds. So one that hasn't asked for longer is dead,
whatever its task looks like, and one that was answered in that time is listening (docs/adr/0008).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection, Mapping
from types import SimpleNamespace

import aiohttp
import yarl

_PATH = re.compile(r"/(?:namespaces/(?P<namespace>[^/]+)/)?(?P<plural>[^/]+)$")


class Watches:
    """``expected`` are the watches' names, as ``name`` makes them. ``clock`` is monotonic, in seconds."""

    def __init__(self, expected: Collection[str], clock: Callable[[], float]) -> None:
        self._clock = clock
        self.begun = clock()
        self._asked: dict[str, float | None] = dict.fromkeys(sorted(expected))
        self._answered: dict[str, float | None] = dict.fromkeys(sorted(expected))
        self._listening = asyncio.Event()

    @property
    def asked(self) -> Mapping[str, float | None]:
        """When each watch last asked for a list or for changes, answered or not; None for never."""
        return self._asked

    @property
    def answered(self) -> Mapping[str, float | None]:
        """When each last got to hear of changes; None for never. That follows the first list."""
        return self._answered

    async def listening(self, within: float) -> None:
        """Returns once each watch has got its first list and listens to what follows, or after so many seconds.

        Raises:
            TimeoutError: not every one does; ``answered`` says which.
        """
        async with asyncio.timeout(within):
            await self._listening.wait()

    def trace(self) -> aiohttp.TraceConfig:
        """For a session whose requests are those of the watches."""
        trace = aiohttp.TraceConfig()

        async def begins(_: object, __: SimpleNamespace, request: aiohttp.TraceRequestStartParams) -> None:
            if watch := self._watch(request.url):
                self._asked[watch] = self._clock()

        async def ends(_: object, __: SimpleNamespace, request: aiohttp.TraceRequestEndParams) -> None:
            changes = request.url.query.get("watch") == "true"
            if changes and request.response.status == 200 and (watch := self._watch(request.url)):
                self._answered[watch] = self._clock()
                if None not in self._answered.values():
                    self._listening.set()

        trace.on_request_start.append(begins)
        trace.on_request_end.append(ends)
        return trace

    def _watch(self, url: yarl.URL) -> str | None:
        path = _PATH.search(url.path)
        named = name(path["plural"], path["namespace"]) if path else None
        return named if named in self._asked else None


def name(plural: str, namespace: str | None) -> str:
    """A watch's: of a kind, in a namespace, or without one, in all."""
    return f"{plural} in {namespace}" if namespace else plural
