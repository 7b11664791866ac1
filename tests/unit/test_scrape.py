"""Reading metrics from a pod that answers, answers badly, or doesn't answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from speculator_operator import scrape
from speculator_operator.scrape import MAX_BYTES, MetricsUnreachable, Scraper

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


async def test_the_text_is_what_the_pod_says(scraper: Scraper) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=b"vllm:x 1.0\n\xff")

    async with pod(handler) as port:
        assert await scraper.metrics("127.0.0.1", port) == "vllm:x 1.0\n\ufffd"


async def test_a_pod_with_an_ipv6_address_is_read(scraper: Scraper) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(text="a 1")

    try:
        async with pod(handler, "::1") as port:
            assert await scraper.metrics("::1", port) == "a 1"
    except OSError:
        pytest.skip("the machine has no IPv6 loopback")


async def _fails(_: web.Request) -> web.Response:
    return web.Response(status=500, text="secret words of the pod")


async def _redirects(_: web.Request) -> web.Response:
    raise web.HTTPFound("http://169.254.169.254/")


async def _endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"x" * 1024 * 1024)


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


async def test_a_pod_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def handler(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    monkeypatch.setattr(scrape, "SECONDS", 0.2)
    async with pod(handler) as port, Scraper.open() as impatient:
        with pytest.raises(MetricsUnreachable, match="Timeout"):
            await impatient.metrics("127.0.0.1", port)


async def test_no_more_pods_are_read_at_once_than_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once, most, full = 0, 0, asyncio.Event()

    async def handler(_: web.Request) -> web.Response:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        if at_once == 3:
            full.set()
        await full.wait()
        at_once -= 1
        return web.Response(text="a 1")

    monkeypatch.setattr(scrape, "IN_FLIGHT", 3)
    async with pod(handler) as port, Scraper.open() as bounded:
        texts = await asyncio.gather(*(bounded.metrics("127.0.0.1", port) for _ in range(12)))
    assert texts == ["a 1"] * 12
    assert most == 3


async def test_waiting_for_a_turn_does_not_use_up_the_time_to_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pod that is slow must not make those behind it look unreachable."""

    async def handler(_: web.Request) -> web.Response:
        await asyncio.sleep(0.6)
        return web.Response(text="a 1")

    monkeypatch.setattr(scrape, "IN_FLIGHT", 1)
    monkeypatch.setattr(scrape, "SECONDS", 3.0)
    async with pod(handler) as port, Scraper.open() as bounded:
        texts = await asyncio.gather(*(bounded.metrics("127.0.0.1", port) for _ in range(6)))
    assert texts == ["a 1"] * 6
