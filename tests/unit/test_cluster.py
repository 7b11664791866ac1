"""What the adapter does without a cluster: it sends nothing that it may not, and reads versions."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
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


def connected(answer: object, *, may_write: bool) -> tuple[Cluster, Client]:
    client = Client(answer)
    return Cluster(cast("ApiClient", client), in_flight=1, may_write=lambda: may_write), client


async def test_one_that_may_not_write_reads_and_sends_no_write() -> None:
    cluster, client = connected({"metadata": {"uid": "u", "resourceVersion": "1"}}, may_write=False)
    assert await cluster.get("Pod", "n", "a")
    for write in (
        lambda: cluster.apply(LEASE),
        lambda: cluster.apply_status(LEASE, read=LEASE),
        lambda: cluster.create(LEASE),
        lambda: cluster.replace(LEASE),
        lambda: cluster.delete("Pod", "n", "a", uid="u"),
    ):
        with pytest.raises(NotLeading, match="does not lead any more"):
            await write()
    await cluster.emit(EVENT, type_="Normal", reason="Resolved", note="")
    assert client.sent == ["GET"]


@pytest.mark.parametrize(
    ("case", "answer", "expected"),
    [
        ("a plain one", {"major": "1", "minor": "37"}, (1, 37)),
        ("one with a mark", {"major": "1", "minor": "30+"}, (1, 30)),
    ],
)
async def test_a_version_is_read(case: str, answer: object, expected: tuple[int, int]) -> None:
    cluster, _ = connected(answer, may_write=False)
    assert await cluster.version() == expected, case


@pytest.mark.parametrize("answer", [{}, {"major": "", "minor": ""}, {"major": "1", "minor": "x"}])
async def test_what_is_no_version_is_an_error(answer: object) -> None:
    cluster, _ = connected(answer, may_write=False)
    with pytest.raises(ClusterError, match="is no version"):
        await cluster.version()


@pytest.mark.parametrize("page", [b"<html>Sign in</html>", b"[]", b""])
async def test_what_is_no_api_server_s_answer_is_an_error(page: bytes) -> None:
    cluster, client = connected({}, may_write=True)
    client.content = page
    with pytest.raises(ClusterError, match=r"GET /version: what answers is no API server"):
        await cluster.version()
