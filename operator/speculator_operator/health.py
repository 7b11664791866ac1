"""One port for whoever looks at the process: ``/healthz``, ``/readyz`` and ``/metrics``, answered by the event loop.

An answer has a line for each thing that was checked. Connections aren't kept: nothing that lives on has to be ended
when the process is.
"""

from __future__ import annotations

import math
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import choose_encoder

from .core import health
from .core.health import Check

#: How old metrics may be.
METRICS_SECONDS = 1.0

Checks = Callable[[], Awaitable[Sequence[Check]]]


@asynccontextmanager
async def serving(
    port: int, *, live: Checks, ready: Checks, registry: CollectorRegistry = REGISTRY
) -> AsyncIterator[int]:
    """Serves at all of the machine's addresses until the block ends. Port 0 is any that is free; gives the port.

    Raises:
        OSError: the port can't be listened at.
    """
    application = web.Application(middlewares=[_last])
    application.router.add_get("/healthz", _answers(live))
    application.router.add_get("/readyz", _answers(ready))
    application.router.add_get("/metrics", _Metrics(registry, time.monotonic).answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        listener = _listening(port)  # the runner closes it
        await web.SockSite(runner, listener).start()
        yield int(listener.getsockname()[1])
    finally:
        await runner.cleanup()


def _listening(port: int) -> socket.socket:
    """One socket, whatever the machine's addresses are of: two would have a free port each."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


class _Metrics:
    """``/metrics``, made at most once a second whoever asks: it takes the loop's time, which the lease needs too."""

    def __init__(self, registry: CollectorRegistry, clock: Callable[[], float]) -> None:
        self._registry = registry
        self._clock = clock
        self._made: dict[str, tuple[float, bytes]] = {}

    async def answer(self, request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        at, content = self._made.get(content_type, (-math.inf, b""))
        if self._clock() - at > METRICS_SECONDS:
            content = encode(self._registry)
            self._made[content_type] = self._clock(), content
        return web.Response(body=content, headers={"Content-Type": content_type})


@web.middleware
async def _last(request: web.Request, handler: Handler) -> web.StreamResponse:
    response = await handler(request)
    response.force_close()
    return response


def _answers(checks: Checks) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        found = await checks()
        return web.Response(status=503 if any(it.trouble for it in found) else 200, text=health.text(found))

    return answer
