"""A server that says what a test wants it to say, byte by byte: for what no real one can be made to do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class Asked:
    """A request: its first line's method and target, and its headers, in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    connection: asyncio.StreamWriter = field(repr=False)


@dataclass
class Answers:
    """``url`` is where it listens; ``asked`` are the requests so far."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)


@asynccontextmanager
async def answering(answer: Callable[[Asked], Awaitable[bytes]]) -> AsyncIterator[Answers]:
    """Serves one request a connection, with what ``answer`` returns; it may also write to the connection itself."""
    server = Answers()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if task := asyncio.current_task():
            tasks.add(task)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.split("\r\n")
            method, target, _ = first.split(" ")
            pairs = (line.partition(":") for line in lines if line)
            headers = {name.lower(): value.strip() for name, _, value in pairs}
            asked = Asked(method, target, headers, writer)
            server.asked.append(asked)
            writer.write(await answer(asked))
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = listening.sockets[0].getsockname()
    server.url = f"http://{host}:{port}"
    try:
        yield server
    finally:
        listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def answer(status: str, body: bytes = b"", headers: str = "", *, length: int | None = None) -> bytes:
    """A whole answer; ``length`` is what it says its length is, where that isn't the body's."""
    size = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {size}\r\nConnection: close\r\n{headers}\r\n".encode() + body
