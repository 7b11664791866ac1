"""Reads one pod's metrics: the adapter for engines. Bounded in time and size, like everything from outside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

import aiohttp

SECONDS = 5.0
MAX_BYTES = 8 * 1024 * 1024
IN_FLIGHT = 32


class MetricsUnreachable(Exception):
    """The pod's metrics couldn't be read; the message says why."""


class Scraper:
    """Made by ``open``."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._slots = asyncio.Semaphore(IN_FLIGHT)

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator[Self]:
        timeout = aiohttp.ClientTimeout(total=SECONDS)
        async with aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session:
            yield cls(session)

    async def metrics(self, address: str, port: int) -> str:
        """The text at ``/metrics`` of a pod's address.

        Raises:
            MetricsUnreachable
        """
        host = f"[{address}]" if ":" in address else address
        try:
            async with (
                self._slots,
                self._session.get(f"http://{host}:{port}/metrics", allow_redirects=False) as response,
            ):
                if response.status != 200:
                    raise MetricsUnreachable(f"{address}:{port}/metrics answers HTTP {response.status}")
                content = bytearray()
                async for chunk in response.content.iter_any():
                    content += chunk
                    if len(content) > MAX_BYTES:
                        raise MetricsUnreachable(f"{address}:{port}/metrics is larger than {MAX_BYTES} bytes")
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise MetricsUnreachable(f"{address}:{port}/metrics: {type(error).__name__}: {error}") from error
        return content.decode(errors="replace")
