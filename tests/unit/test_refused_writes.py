"""What a pass makes of objects that the API server refuses, by a policy or a quota. Whole passes, with a cluster in
memory and a clock."""

from __future__ import annotations

from typing import Any, cast

import pytest

from speculator_operator import api
from speculator_operator.api import Reason
from speculator_operator.cluster import Cluster
from speculator_operator.core.checkpoint import Snapshot
from speculator_operator.core.render import Manifest
from speculator_operator.drafting import Drafting
from speculator_operator.errors import Refused
from speculator_operator.fetches import Fetches
from speculator_operator.reconciler import Reconciler
from speculator_operator.reference import Reference
from speculator_operator.scrape import Scraper
from speculator_operator.settings import Settings
from speculator_operator.sources import Sources
from tests.support import inputs
from tests.support.memorycluster import MemoryCluster
from tests.support.world import VERIFIER

KEY = ("models", inputs.NAME)
AGAIN = 600.0


class Policed(MemoryCluster):
    """Refuses the kinds in ``refused``; ``tried`` are those that were to be written, refused or not."""

    def __init__(self, resource: Manifest) -> None:
        super().__init__(resource)
        self.refused: set[str] = set()
        self.tried: list[str] = []

    async def apply(self, manifest: Manifest) -> Manifest:
        self.tried.append(manifest["kind"])
        if manifest["kind"] in self.refused:
            raise Refused(Reason.CHILD_REFUSED, "a policy has something against it")
        return await super().apply(manifest)


class World:
    """One resource, of a regular model. Passes are made when they are asked for."""

    def __init__(self) -> None:
        self.now = 0.0
        self.reads = 0
        body = inputs.resource({})
        body["metadata"] |= {"namespace": KEY[0], "uid": "1", "generation": 1}
        self.body = body
        self.cluster = Policed(body)
        cluster = cast("Cluster", self.cluster)
        settings = Settings(reread_interval=AGAIN)
        self.reconciler = Reconciler(
            cluster=cluster,
            sources=Sources(cluster, self.read, settings),
            fetches=Fetches(cluster, settings),
            drafting=Drafting(cast("Scraper", None), window=300, clock=lambda: self.now, changed=lambda _: None),
            pods=lambda _: set(),
            changed=lambda _: None,
            settings=settings,
            clock=lambda: self.now,
        )

    async def read(self, reference: Reference, *, max_age: float = 0.0) -> Snapshot:
        del max_age
        self.reads += 1
        return Snapshot(reference.uri, "c" * 40, VERIFIER, {"config.json": 700, "model.safetensors": 2**30})

    def change(self, **spec: Any) -> None:
        """A change of the spec by its user."""
        self.body["spec"] |= spec
        self.body["metadata"]["generation"] += 1

    async def passes(self) -> float | None:
        self.cluster.tried.clear()
        return await self.reconciler.reconcile(KEY)

    @property
    def stalled(self) -> tuple[str, str]:
        (found,) = (it for it in self.cluster.status["conditions"] if it["type"] == "Stalled")
        return found["status"], found["reason"]

    @property
    def deployment(self) -> Manifest:
        return self.cluster.objects["Deployment", *KEY]


@pytest.fixture
def world() -> World:
    return World()


async def test_a_pin_that_is_refused_is_not_tried_again_by_whoever_wakes_the_resource(world: World) -> None:
    world.cluster.refused = {"ControllerRevision"}
    assert await world.passes() == AGAIN
    assert world.stalled == ("True", "ChildRefused")
    assert world.cluster.tried == ["ControllerRevision"]
    world.now += 10
    world.change(replicas=2)  # which is in no pin
    assert await world.passes() == AGAIN - 10
    assert (world.cluster.tried, world.reads) == ([], 1)
    world.cluster.refused = set()
    world.now += AGAIN
    assert await world.passes() is None
    assert world.stalled[0] == "False"
    assert world.deployment["spec"]["replicas"] == 2


async def test_a_number_of_replicas_that_is_refused_says_nothing_of_another(world: World) -> None:
    await world.passes()
    world.cluster.refused = {"Deployment"}
    world.change(replicas=9)
    assert await world.passes() == AGAIN
    assert world.stalled == ("True", "ChildRefused")
    assert world.deployment["spec"]["replicas"] == 1
    world.cluster.refused = set()
    world.change(replicas=3)
    assert await world.passes() is None
    assert world.stalled[0] == "False"
    assert world.deployment["spec"]["replicas"] == 3


async def test_a_pin_that_is_gone_back_to_is_written_as_the_newest(world: World) -> None:
    await world.passes()
    (first,) = revisions(world)
    world.change(engine={"args": ["--seed=1"]})
    await world.passes()
    world.change(engine={})
    await world.passes()
    assert world.cluster.tried[0] == "ControllerRevision"
    assert revisions(world)[first] == 3
    assert template(world) == first
    world.change(replicas=5)  # the pin that serves is left alone, whatever the generation
    await world.passes()
    assert world.cluster.tried == ["Deployment"]


async def test_a_pin_that_may_not_be_gone_back_to_leaves_what_serves(world: World) -> None:
    await world.passes()
    world.change(engine={"args": ["--seed=1"]})
    await world.passes()
    serving = template(world)
    world.cluster.refused = {"ControllerRevision"}
    world.change(engine={}, replicas=4)
    assert await world.passes() == AGAIN
    assert world.stalled == ("True", "ChildRefused")
    assert template(world) == serving
    assert world.deployment["spec"]["replicas"] == 4


def revisions(world: World) -> dict[str, int]:
    """The number of each ControllerRevision, by its name."""
    found = {name: item for (kind, _, name), item in world.cluster.objects.items() if kind == "ControllerRevision"}
    return {name: item["revision"] for name, item in found.items()}


def template(world: World) -> str:
    """The ControllerRevision that the Deployment's template is of."""
    labels = world.deployment["spec"]["template"]["metadata"]["labels"]
    return f"{inputs.NAME}-{labels[api.REVISION_LABEL]}"
