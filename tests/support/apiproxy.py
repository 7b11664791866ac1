"""A reverse proxy between the operator and the API server: it counts what passes, and breaks it where a test says so.

Plain HTTP on loopback in front, TLS to the server behind; the client's credentials pass through. It runs in a thread
of its own, so that tests and the operator may block or be killed while it works.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import aiohttp
import yarl
from aiohttp import web

from speculator_operator import api
from tests.support.eventually import eventually

WRITES = ("POST", "PUT", "PATCH", "DELETE")
MAX_BODY = 16 * 1024 * 1024
STEP_SECONDS = 10.0

#: These speak of one connection, and there are two.
HOP_BY_HOP = {"connection", "content-length", "host", "keep-alive", "transfer-encoding", "upgrade"}

_EXPIRED = {
    "type": "ERROR",
    "object": {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410},
}
_UNAVAILABLE = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "ServiceUnavailable", "code": 503}

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: dict[str, str]
    status: int
    """The server's answer; 0 where the request never reached it."""
    user_agent: str
    body: Any = None
    """What a write sent, parsed."""

    @property
    def resource(self) -> tuple[str, ...]:
        """The path behind group, version and namespace: ``("pods",)``, ``("pods", "name", "status")``, or nothing."""
        parts = self.path.strip("/").split("/")
        rest = parts[{"api": 2, "apis": 3}.get(parts[0], len(parts)) :]
        if rest[:1] == ["namespaces"] and len(rest) > 2:
            rest = rest[2:]
        return tuple(rest)

    @property
    def is_watch(self) -> bool:
        return self.query.get("watch", "").lower() in ("true", "1")


@dataclass
class _Kill:
    writes_left: int
    before: bool
    callback: Callable[[], object]
    gathered: asyncio.Event | None = None
    """For a kill that holds the writes before it: set with the last."""


class ApiProxy:
    """A context manager. ``url`` is where clients go, ``requests`` what they sent, in order of the answers."""

    def __init__(self, server: str, ca: Path) -> None:
        self._server = server
        self._tls = ssl.create_default_context(cafile=str(ca))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="api-proxy", daemon=True)
        self._kill: _Kill | None = None
        self._dead = False
        self._unavailable_until = 0.0
        self.requests: list[Request] = []
        self.url = ""

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STEP_SECONDS)
        self._loop.close()

    # What passed.

    def writes(self) -> list[Request]:
        """What the server was asked to change. A leader's lease doesn't count."""
        return [
            request
            for request in list(self.requests)
            if request.method in WRITES and request.resource[:1] != ("leases",) and request.status
        ]

    def lists(self) -> list[Request]:
        return [it for it in list(self.requests) if it.method == "GET" and len(it.resource) == 1 and not it.is_watch]

    def looked_at(self, name: str, times: int) -> None:
        """Waits until a resource has been read so many times since the counting began.

        A pass begins with that. The first may have been under way; with the third read, one is over that was not.
        """

        def read() -> None:
            reads = [it for it in list(self.requests) if it.method == "GET" and it.resource == (api.PLURAL, name)]
            assert len(reads) >= times, f"{name} was read {len(reads)} times"

        eventually(read)

    def forget(self) -> None:
        """Begins to count anew."""
        self.requests.clear()

    # What goes wrong.

    def kill_before_write(self, n: int, callback: Callable[[], object]) -> None:
        """The n-th write from now (1 is the next) isn't sent on: ``callback`` is called; no further request passes."""
        self._kill = _Kill(n, before=True, callback=callback)

    def kill_at_writes(self, n: int, callback: Callable[[], object]) -> None:
        """The next n writes are held until all are there, and then none is sent on, as with ``kill_before_write``."""
        self._kill = _Kill(n, before=True, callback=callback, gathered=asyncio.Event())

    def kill_after_write(self, n: int, callback: Callable[[], object]) -> None:
        """The n-th write from now is done, unanswered: ``callback`` is called; no further request passes."""
        self._kill = _Kill(n, before=False, callback=callback)

    def revive(self) -> None:
        """Ends the cut that a kill began, and forgets one that hasn't happened yet."""
        self._kill = None
        self._dead = False

    def freeze(self) -> None:
        """Watches stay open, and bring no more events."""
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def unfreeze(self) -> None:
        """What was held back is sent, and all that follows."""
        self._loop.call_soon_threadsafe(self._flowing.set)

    def expire_watches(self) -> None:
        """Every open watch is told 410, and ends."""
        self._call(self._expire())

    def unavailable(self, seconds: float) -> None:
        """For so long, every request is answered 503."""
        self._unavailable_until = time.monotonic() + seconds

    # How it works, in its own thread.

    def _call(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(STEP_SECONDS)

    async def _start(self) -> None:
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._expired = asyncio.Event()
        self._client = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._tls, limit=0),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
        )
        application = web.Application(client_max_size=MAX_BODY)
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _stop(self) -> None:
        await self._runner.cleanup()
        await self._client.close()
        await self._loop.shutdown_default_executor()

    async def _expire(self) -> None:
        self._expired.set()
        self._expired = asyncio.Event()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        is_write = request.method in WRITES and "/leases" not in request.path
        gathered = self._kill.gathered if self._kill and is_write else None
        struck = not self._dead and is_write and self._strikes(before=True)
        if struck and gathered:
            gathered.set()
        elif gathered:
            await gathered.wait()
        if struck or self._dead:
            self._record(request, body, status=0)
            return await self._cut(request)
        if time.monotonic() < self._unavailable_until:
            self._record(request, body, status=0)
            return web.json_response(_UNAVAILABLE, status=503)

        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
        url = yarl.URL(self._server + request.raw_path, encoded=True)
        async with self._client.request(
            request.method, url, headers=headers, data=body or None, allow_redirects=False
        ) as answer:
            expiry = self._expired  # from when the watch is among the requests, it can be expired
            recorded = self._record(request, body, answer.status)
            passed = {name: value for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP}
            if recorded.is_watch and answer.status == 200:
                response = web.StreamResponse(status=answer.status, headers=passed)
                await response.prepare(request)
                with contextlib.suppress(ConnectionError, aiohttp.ClientConnectionError):
                    async for chunk in self._events(answer, expiry):
                        await response.write(chunk)
                return response
            content = await answer.read()
        if (is_write and self._strikes(before=False)) or self._dead:
            return await self._cut(request)
        return web.Response(status=answer.status, headers=passed, body=content)

    async def _events(self, answer: aiohttp.ClientResponse, expiry: asyncio.Event) -> AsyncIterator[bytes]:
        """What a watch brings, in whole lines: one event each."""
        expired = asyncio.ensure_future(expiry.wait())
        rest = b""
        try:
            while True:
                chunk = asyncio.ensure_future(answer.content.readany())
                try:
                    await asyncio.wait({chunk, expired}, return_when=asyncio.FIRST_COMPLETED)
                    if expired.done():
                        yield json.dumps(_EXPIRED).encode() + b"\n"
                        return
                    await self._flowing.wait()
                    data = await chunk
                finally:
                    chunk.cancel()
                if not data:
                    return
                lines, newline, rest = (rest + data).rpartition(b"\n")
                if newline:
                    yield lines + newline
        finally:
            expired.cancel()

    def _strikes(self, *, before: bool) -> bool:
        """Counts a write; whether it is the one to kill at."""
        if self._kill is None or self._kill.before != before:
            return False
        self._kill.writes_left -= 1
        return self._kill.writes_left == 0

    async def _cut(self, request: web.Request) -> web.StreamResponse:
        self._dead = True
        kill, self._kill = self._kill, None
        if request.transport is not None:
            request.transport.abort()
        if kill is not None:
            await asyncio.shield(asyncio.to_thread(kill.callback))
        return web.Response()

    def _record(self, request: web.Request, body: bytes, status: int) -> Request:
        parsed = None
        if request.method in WRITES and body:
            try:
                parsed = json.loads(body)
            except ValueError:  # protobuf, or YAML
                parsed = body
        recorded = Request(
            request.method,
            request.path,
            dict(request.query),
            status,
            request.headers.get("User-Agent", ""),
            parsed,
        )
        self.requests.append(recorded)
        return recorded
