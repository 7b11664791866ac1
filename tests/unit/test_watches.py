"""What is known of watches by their requests: a server that answers as it is told to, and a fake clock."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from speculator_operator import handlers
from speculator_operator.watches import Watches

ALL = "/apis/speculators.dev/v1alpha1/speculatordeployments"
ONE = "/prefix/api/v1/namespaces/n/pods"
NAMES = ["speculatordeployments", "pods in n", "jobs in n"]


class World:
    def __init__(self) -> None:
        self.now = 1.0
        self.status = 200
        self.watches = Watches(NAMES, lambda: self.now)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def url(world: World) -> AsyncIterator[str]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=world.status)

    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_lists_and_watches_are_asked_for_and_only_watches_bring_changes(world: World, url: str) -> None:
    async with aiohttp.ClientSession(trace_configs=[world.watches.trace()]) as session:
        await (await session.get(f"{url}{ALL}?limit=500")).read()
        assert world.watches.asked == {"jobs in n": None, "pods in n": None, "speculatordeployments": 1.0}
        assert set(world.watches.answered.values()) == {None}
        world.now = 2.0
        await (await session.get(f"{url}{ONE}?watch=true&resourceVersion=1")).read()
        assert (world.watches.asked["pods in n"], world.watches.answered["pods in n"]) == (2.0, 2.0)

        world.now, world.status = 3.0, 503
        await (await session.get(f"{url}{ONE}?watch=true")).read()
        assert (world.watches.asked["pods in n"], world.watches.answered["pods in n"]) == (3.0, 2.0)


async def test_they_listen_once_each_was_answered(world: World, url: str) -> None:
    async with aiohttp.ClientSession(trace_configs=[world.watches.trace()]) as session:
        for path in (ALL, ONE, "/apis/batch/v1/namespaces/n/jobs"):
            with pytest.raises(TimeoutError):
                await world.watches.listening(0)
            await (await session.get(f"{url}{path}?watch=true")).read()
    await world.watches.listening(0)


async def test_what_nobody_expects_is_passed_over(world: World, url: str) -> None:
    async with aiohttp.ClientSession(trace_configs=[world.watches.trace()]) as session:
        for path in ("/api/v1/namespaces/other/pods", "/api/v1/pods", "/apis", "/", f"{ONE}/a", f"{ONE}/a/log"):
            await (await session.get(f"{url}{path}?watch=true")).read()
    assert set(world.watches.asked) == set(NAMES)
    assert set(world.watches.asked.values()) == {None}


async def test_a_server_that_is_not_there_was_asked(world: World) -> None:
    async with aiohttp.ClientSession(trace_configs=[world.watches.trace()]) as session:
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get(f"http://127.0.0.1:9{ONE}?watch=true")
    assert (world.watches.asked["pods in n"], world.watches.answered["pods in n"]) == (1.0, None)


@pytest.mark.parametrize(
    ("case", "namespaces", "some", "count"),
    [
        ("all namespaces", [], {"speculatordeployments", "pods"}, 7),
        ("two namespaces", ["m", "n"], {"speculatordeployments in m", "pods in n"}, 14),
    ],
)
def test_each_kind_is_watched_in_each_namespace(case: str, namespaces: list[str], some: set[str], count: int) -> None:
    found = handlers.watched_by(namespaces)
    assert some <= found, case
    assert len(found) == count, case
