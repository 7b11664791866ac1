"""A resource's pods are read one by one, or where they are many, by one list."""

from __future__ import annotations

from typing import Any, cast

import pytest

from speculator_operator import api
from speculator_operator.cluster import Cluster
from speculator_operator.pods import ONE_BY_ONE, pods_named

PODS = [f"a-x-{number:02}" for number in range(ONE_BY_ONE + 1)]


def pod(name: str, of: str = "a") -> dict[str, Any]:
    owner = {"kind": "ReplicaSet", "name": f"{of}-x", "uid": "r", "controller": True}
    return {
        "metadata": {
            "name": name,
            "labels": {api.NAME_LABEL: "a", "pod-template-hash": "x"},
            "ownerReferences": [owner],
        }
    }


class Counting:
    """Has ``PODS``, and one that only bears the label."""

    def __init__(self) -> None:
        self.pods = {name: pod(name) for name in reversed(PODS)} | {"b": pod("b", of="b")}
        self.asked: list[str] = []

    async def get(self, kind: str, namespace: str, name: str) -> Any:
        assert (kind, namespace) == ("Pod", "n")
        self.asked.append(name)
        return self.pods.get(name)

    async def list(self, kind: str, namespace: str, selector: str) -> list[Any]:
        assert (kind, namespace, selector) == ("Pod", "n", f"{api.NAME_LABEL}=a")
        self.asked.append("all")
        return list(self.pods.values())


@pytest.mark.parametrize(
    ("known", "asked", "found"),
    [
        ([], [], []),
        (["b", "gone", *PODS[:2]], [*PODS[:2], "b", "gone"], PODS[:2]),
        (PODS[:ONE_BY_ONE], PODS[:ONE_BY_ONE], PODS[:ONE_BY_ONE]),
        (PODS, ["all"], PODS),
    ],
    ids=["none", "few", "the most that are read one by one", "many"],
)
async def test_how_pods_are_read(known: list[str], asked: list[str], found: list[str]) -> None:
    counting = Counting()
    pods = await pods_named(cast("Cluster", counting), "n", "a", set(known))
    assert [it["metadata"]["name"] for it in pods] == found
    assert counting.asked == asked
