"""Reading metrics from a pod that answers, answers badly, or doesn't answer."""

from __future__ import annotations

import asyncio
import itertools
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from speculator_operator.core.acceptance import PREFIX
from speculator_operator.scrape import MAX_BYTES, MAX_KEPT_BYTES, MAX_LINE_BYTES, MetricsUnreachable, Scraper

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def pod(handler: Handler, host: str = "127.0.0.1") -> AsyncIterator[int]:
    application = web.Application()
    application.router.add_get("/metrics", handler)
    runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@pytest.fixture
async def scraper() -> AsyncIterator[Scraper]:
    async with Scraper.open() as opened:
        yield opened


LINE = f"{PREFIX}drafts_total 1"


@pytest.mark.parametrize(
    ("case", "chunks", "kept"),
    [
        ("what tells of drafts, and nothing else",
         [f"vllm:x 1.0\n{LINE}\n# HELP {LINE}\n{LINE}2\nx{LINE}\n".encode()], f"{LINE}\n{LINE}2\n"),
        ("a last line that has no end", [b"vllm:x 1.0\n", LINE.encode()], f"{LINE}\n"),
        ("a text in small pieces", [bytes([each]) for each in f"v 1\n{LINE}\n\n{LINE}2\nv".encode()],
         f"{LINE}\n{LINE}2\n"),
        ("bytes that are no text", [LINE.encode() + b"\xff\n"], f"{LINE}\ufffd\n"),
        ("a long line of something else", [b"v" * MAX_LINE_BYTES, LINE.encode(), f"\n{LINE}\n".encode()], f"{LINE}\n"),
        ("nothing", [], ""),
    ],
)  # fmt: skip
async def test_what_is_kept(scraper: Scraper, case: str, chunks: list[bytes], kept: str) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return await _says(request, chunks)

    async with pod(handler) as port:
        assert await scraper.metrics("127.0.0.1", port) == kept, case


async def test_what_is_not_kept_takes_no_memory(scraper: Scraper) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return await _says(request, itertools.repeat(b"v" * 2**15, MAX_BYTES // 2**15))

    async with pod(handler) as port:
        tracemalloc.start()
        try:
            assert await scraper.metrics("127.0.0.1", port) == ""
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert most < MAX_BYTES // 4


async def _says(request: web.Request, chunks: Iterable[bytes]) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for chunk in chunks:
        await response.write(chunk)
    return response


async def test_a_pod_with_an_ipv6_address_is_read(scraper: Scraper) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(text=LINE)

    try:
        async with pod(handler, "::1") as port:
            assert await scraper.metrics("::1", port) == f"{LINE}\n"
    except OSError:
        pytest.skip("the machine has no IPv6 loopback")


async def _fails(_: web.Request) -> web.Response:
    return web.Response(status=500, text="secret words of the pod")


async def _redirects(_: web.Request) -> web.Response:
    raise web.HTTPFound("http://169.254.169.254/")


async def _endless(request: web.Request) -> web.StreamResponse:
    return await _says(request, itertools.repeat(b"x" * 1024 * 1024))


async def _one_long_line(request: web.Request) -> web.StreamResponse:
    return await _says(request, [PREFIX.encode(), b"x" * MAX_LINE_BYTES, b"\n"])


async def _one_that_never_ends(request: web.Request) -> web.StreamResponse:
    return await _says(request, [PREFIX.encode(), b"x" * MAX_LINE_BYTES])


async def _many_lines(request: web.Request) -> web.StreamResponse:
    return await _says(request, itertools.repeat(f"{LINE}\n".encode(), MAX_KEPT_BYTES // len(LINE)))


async def _breaks_off(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b"x")
    assert request.transport is not None
    request.transport.abort()
    return response


@pytest.mark.parametrize(
    ("case", "handler", "says"),
    [
        ("an error", _fails, "HTTP 500"),
        ("a redirect, which is not followed", _redirects, "HTTP 302"),
        ("more than is read", _endless, f"larger than {MAX_BYTES} bytes"),
        ("a line that is longer than any engine's", _one_long_line, "says too much"),
        ("a line that is longer than any engine's, and the last", _one_that_never_ends, "says too much"),
        ("more lines than an engine has", _many_lines, "says too much"),
        ("a connection that breaks off", _breaks_off, "/metrics: "),
    ],
)
async def test_what_is_not_an_answer(scraper: Scraper, case: str, handler: Handler, says: str) -> None:
    async with pod(handler) as port:
        with pytest.raises(MetricsUnreachable, match=says) as caught:
            await scraper.metrics("127.0.0.1", port)
        assert f"127.0.0.1:{port}" in str(caught.value), case
        assert "secret" not in str(caught.value)


async def test_nobody_listens(scraper: Scraper, unused_tcp_port: int) -> None:
    with pytest.raises(MetricsUnreachable, match="/metrics: "):
        await scraper.metrics("127.0.0.1", unused_tcp_port)


async def test_a_pod_that_never_answers_is_given_up() -> None:
    async def handler(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    async with pod(handler) as port, Scraper.open(seconds=0.2) as impatient:
        with pytest.raises(MetricsUnreachable, match="Timeout"):
            await impatient.metrics("127.0.0.1", port)


async def test_no_more_pods_are_read_at_once_than_is_bounded() -> None:
    at_once, most, full = 0, 0, asyncio.Event()

    async def handler(_: web.Request) -> web.Response:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        if at_once == 3:
            full.set()
        await full.wait()
        at_once -= 1
        return web.Response(text=LINE)

    async with pod(handler) as port, Scraper.open(in_flight=3) as bounded:
        texts = await asyncio.gather(*(bounded.metrics("127.0.0.1", port) for _ in range(12)))
    assert texts == [f"{LINE}\n"] * 12
    assert most == 3


async def test_waiting_for_a_turn_does_not_use_up_the_time_to_answer() -> None:
    """A pod that never answers must not make those behind it look unreachable."""
    asked = itertools.count()

    async def handler(_: web.Request) -> web.Response:
        if not next(asked):
            await asyncio.Event().wait()
        return web.Response(text=LINE)

    async with pod(handler) as port, Scraper.open(in_flight=1, seconds=1.5) as bounded:
        answers = await asyncio.gather(*(bounded.metrics("127.0.0.1", port) for _ in range(2)), return_exceptions=True)
    assert isinstance(answers[0], MetricsUnreachable)
    assert answers[1] == f"{LINE}\n"
