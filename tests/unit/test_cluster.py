"""What the adapter does without a cluster: it sends nothing that it may not, and reads versions."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio.client import ApiClient

from speculator_operator.cluster import Cluster, ClusterError, NotLeading

LEASE = {"kind": "Lease", "metadata": {"namespace": "n", "name": "a"}, "spec": {}}
EVENT = {"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "n", "name": "a"}}


class Client:
    """Answers every request alike, and keeps what it was asked."""

    def __init__(self, answer: object) -> None:
        self.sent: list[str] = []
        self.status = 200
        self.content = json.dumps(answer).encode()

    async def param_serialize(self, method: str, path: str, **_: Any) -> tuple[str, str]:
        return method, path

    async def call_api(self, method: str, _: str) -> Client:
        self.sent.append(method)
        return self

    async def read(self) -> bytes:
        return self.content


def connected(answer: object) -> tuple[Cluster, Client]:
    client = Client(answer)
    return Cluster(cast("ApiClient", client), in_flight=1), client


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[tuple[str, list[str]]]:
    """One on loopback that finds everything: a kubeconfig for it, and what it was sent."""
    sent: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        sent.append(request.method)
        return web.json_response({"metadata": {"uid": "u", "resourceVersion": "1"}})

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(application) as listening:
        config = {
            "clusters": [{"name": "a", "cluster": {"server": str(listening.make_url("/"))}}],
            "users": [{"name": "a", "user": {}}],
            "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
            "current-context": "a",
        }
        (tmp_path / "config").write_text(json.dumps(config))
        yield str(tmp_path / "config"), sent


async def test_one_that_may_not_write_reads_and_sends_no_write(server: tuple[str, list[str]]) -> None:
    kubeconfig, sent = server
    async with Cluster.connect(in_flight=1, may_write=lambda: False, kubeconfig=kubeconfig) as cluster:
        assert await cluster.get("Pod", "n", "a")
        for write in (
            lambda: cluster.apply(LEASE),
            lambda: cluster.apply_status(LEASE, read=LEASE),
            lambda: cluster.create(LEASE),
            lambda: cluster.replace(LEASE),
            lambda: cluster.delete("Pod", "n", "a", uid="u"),
        ):
            with pytest.raises(NotLeading, match=r"(POST|PUT|PATCH|DELETE) /ap.*: not sent, .* does not lead any more"):
                await write()
        await cluster.emit(EVENT, type_="Normal", reason="Resolved", note="")
    assert sent == ["GET"]


async def test_the_right_to_write_is_asked_for_when_there_is_a_connection(
    server: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process may stand still while it connects, and go on when another leads."""
    kubeconfig, sent = server
    leads = True
    connect = aiohttp.TCPConnector.connect

    async def slowly(*given: Any, **named: Any) -> Any:
        nonlocal leads
        connection = await connect(*given, **named)
        leads = False
        return connection

    monkeypatch.setattr(aiohttp.TCPConnector, "connect", slowly)
    async with Cluster.connect(in_flight=1, may_write=lambda: leads, kubeconfig=kubeconfig) as cluster:
        with pytest.raises(NotLeading):
            await cluster.apply(LEASE)
        leads = True
        monkeypatch.undo()
        assert await cluster.apply(LEASE)
    assert sent == ["PATCH"]


@pytest.mark.parametrize(
    ("case", "answer", "expected"),
    [
        ("a plain one", {"major": "1", "minor": "37"}, (1, 37)),
        ("one with a mark", {"major": "1", "minor": "30+"}, (1, 30)),
    ],
)
async def test_a_version_is_read(case: str, answer: object, expected: tuple[int, int]) -> None:
    cluster, _ = connected(answer)
    assert await cluster.version() == expected, case


@pytest.mark.parametrize("answer", [{}, {"major": "", "minor": ""}, {"major": "1", "minor": "x"}])
async def test_what_is_no_version_is_an_error(answer: object) -> None:
    cluster, _ = connected(answer)
    with pytest.raises(ClusterError, match="is no version"):
        await cluster.version()


@pytest.mark.parametrize("page", [b"<html>Sign in</html>", b"[]", b""])
async def test_what_is_no_api_server_s_answer_is_an_error(page: bytes) -> None:
    cluster, client = connected({})
    client.content = page
    with pytest.raises(ClusterError, match=r"GET /version: what answers is no API server"):
        await cluster.version()
