"""Resolver Jobs, as far as a cluster in memory shows them: those of others are left alone."""

from __future__ import annotations

from typing import Any, cast

import pytest

from speculator_operator import api
from speculator_operator.api import Reason
from speculator_operator.cluster import Cluster
from speculator_operator.core.checkpoint import Snapshot
from speculator_operator.core.resolver_job import resolver_job
from speculator_operator.errors import OperatorError
from speculator_operator.reference import Reference
from speculator_operator.settings import Settings
from speculator_operator.sources import Sources
from tests.support import inputs
from tests.support.memorycluster import MemoryCluster

KEY = ("models", inputs.NAME)
ANOTHER = {"apiVersion": "batch/v1", "kind": "CronJob", "name": "another", "uid": "2", "controller": True}
SETTINGS = Settings(resolver_image="registry.example/speculator-operator:0.1.0")
ONE, OTHER = (Reference.parse(f"pvc://models/{name}") for name in ("one", "other"))


async def nothing_public(reference: Reference, /, *, max_age: float) -> Snapshot:
    raise AssertionError(f"{reference} was asked of the hub, {max_age} s old")


class World:
    def __init__(self) -> None:
        body = inputs.resource({"model": {"uri": ONE.uri}})
        body["metadata"] |= {"namespace": KEY[0], "uid": "1", "generation": 1}
        self.resource = api.SpeculatorDeployment.from_object(body)
        self.memory = MemoryCluster(body)
        self.sources = Sources(cast("Cluster", self.memory), nothing_public, lambda *_: set(), SETTINGS)
        """Of a process whose watches haven't told of its own Jobs yet."""

    def started(self) -> Sources:
        """A new process's."""
        return Sources(cast("Cluster", self.memory), nothing_public, self.memory.jobs, SETTINGS)

    async def reads(self, reference: Reference) -> Reason | str:
        """The reason for which nothing is read yet, in a resolution of its own."""
        with pytest.raises(OperatorError) as raised:
            await self.sources.of(self.resource, max_age=0)(reference)
        await self.sources.tidy(self.resource)
        return raised.value.reason

    @property
    def jobs(self) -> list[str]:
        jobs: list[dict[str, Any]] = [item for (kind, *_), item in self.memory.objects.items() if kind == "Job"]
        return [job["spec"]["template"]["spec"]["containers"][0]["args"][1] for job in jobs]


async def test_a_job_that_is_looked_at_again_is_the_same() -> None:
    world = World()
    assert [await world.reads(ONE) for _ in range(3)] == [Reason.RESOLVING] * 3
    assert world.memory.writes == ["Job"]


async def test_a_job_that_nobody_asks_for_any_more_is_deleted() -> None:
    world = World()
    await world.reads(ONE)
    await world.reads(OTHER)
    assert world.jobs == [OTHER.uri]
    await world.sources.forget(world.resource)
    assert world.jobs == []


@pytest.mark.parametrize("wanted", [ONE, OTHER, None], ids=["the same", "another", "nothing"])
async def test_after_a_restart_only_what_is_asked_for_then_is_read(wanted: Reference | None) -> None:
    world = World()
    await world.reads(ONE)
    world.sources = world.started()
    if wanted:
        await world.reads(wanted)
    else:
        await world.sources.forget(world.resource)
    assert world.jobs == ([wanted.uri] if wanted else [])
    assert world.memory.writes.count("Job") == (2 if wanted == OTHER else 1)


@pytest.mark.parametrize("mark", [{"ownerReferences": [ANOTHER]}, {"deletionTimestamp": "2026-01-01T00:00:00Z"}])
async def test_one_that_is_another_s_or_leaving_is_not_deleted_for_its_labels(mark: dict[str, Any]) -> None:
    world = World()
    await world.reads(ONE)
    (job,) = (item for (kind, *_), item in world.memory.objects.items() if kind == "Job")
    job["metadata"] |= mark
    await world.started().forget(world.resource)
    assert world.memory.writes == ["Job"]


async def test_a_namesake_that_isn_t_ours_is_left_alone() -> None:
    world = World()
    foreign = resolver_job(world.resource, ONE, SETTINGS)
    foreign["metadata"] |= {"ownerReferences": [], "labels": {}, "uid": "2", "managedFields": []}
    world.memory.objects["Job", KEY[0], foreign["metadata"]["name"]] = foreign
    assert await world.reads(ONE) == Reason.NAME_CONFLICT
    await world.reads(OTHER)
    await world.sources.forget(world.resource)
    assert world.jobs == [ONE.uri]
    assert world.memory.writes.count("deleted Job") == 1
