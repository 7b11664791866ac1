"""Reads one pod's counters of drafts: the adapter for engines. Bounded in time and size, like everything from outside.

Many pods are read at once, and each may be a stranger's. So of what a pod says only the lines are kept that are looked
at, while it comes.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

import aiohttp

from .core.acceptance import PREFIX

#: For one pod. A pass waits for less: a few that don't answer are not to keep it, and the loop looks again.
SECONDS = 5.0
PASS_SECONDS = 2.0
MAX_BYTES = 8 * 1024 * 1024
#: Of what is kept, and of a line of it: an engine says a few hundred bytes for each position.
MAX_KEPT_BYTES = 256 * 1024
MAX_LINE_BYTES = 16 * 1024
#: Pods that are read at once: those that the loop reads, and those that passes do.
IN_FLIGHT = 96
PASS_IN_FLIGHT = 32

_LINE = re.compile(rf"^{PREFIX}.*".encode(), re.MULTILINE)


class MetricsUnreachable(Exception):
    """The pod's metrics couldn't be read; the message says why."""


class Scraper:
    """Made by ``open``."""

    def __init__(self, session: aiohttp.ClientSession, in_flight: int) -> None:
        self._session = session
        self._slots = asyncio.Semaphore(in_flight)

    @classmethod
    @asynccontextmanager
    async def open(cls, *, seconds: float = SECONDS, in_flight: int = IN_FLIGHT) -> AsyncIterator[Self]:
        """``seconds`` are for one pod, from when it has its turn; ``in_flight`` have it at once."""
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=in_flight),
            timeout=aiohttp.ClientTimeout(total=seconds),
            cookie_jar=aiohttp.DummyCookieJar(),
        ) as session:
            yield cls(session, in_flight)

    async def metrics(self, address: str, port: int) -> str:
        """The lines at ``/metrics`` of a pod's address that tell of drafts.

        Raises:
            MetricsUnreachable
        """
        where = f"{f'[{address}]' if ':' in address else address}:{port}/metrics"
        try:
            async with (
                self._slots,
                self._session.get(f"http://{where}", allow_redirects=False) as response,
            ):
                if response.status != 200:
                    raise MetricsUnreachable(f"{where} answers HTTP {response.status}")
                return await _kept(response.content, where)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise MetricsUnreachable(f"{where}: {type(error).__name__}: {error}") from error


async def _kept(content: aiohttp.StreamReader, where: str) -> str:
    """The lines that are looked at.

    Raises:
        MetricsUnreachable
    """
    size, kept, rest = 0, bytearray(), b""
    async for chunk in content.iter_any():
        size += len(chunk)
        if size > MAX_BYTES:
            raise MetricsUnreachable(f"{where} is larger than {MAX_BYTES} bytes")
        lines, _, rest = (rest + chunk).rpartition(b"\n")
        _keep(lines, kept, where)
        rest = rest[: MAX_LINE_BYTES + 1]  # enough to tell that it is too long
    _keep(rest, kept, where)
    return kept.decode(errors="replace")


def _keep(text: bytes, kept: bytearray, where: str) -> None:
    for line in _LINE.findall(text):
        kept += line + b"\n"
        if len(line) > MAX_LINE_BYTES or len(kept) > MAX_KEPT_BYTES:
            raise MetricsUnreachable(f"{where} says too much of {PREFIX}...")
