"""Passes over many resources, and the hub that they share: no cluster, but the real client and real connections."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import cast

import pytest

from speculator_operator import api
from speculator_operator.cluster import Cluster
from speculator_operator.drafting import Drafting
from speculator_operator.fetches import Fetches
from speculator_operator.hub import Hub
from speculator_operator.reconciler import SHARED_SECONDS, Reconciler
from speculator_operator.scrape import Scraper
from speculator_operator.settings import Settings
from speculator_operator.sources import Sources
from tests.support import inputs
from tests.support.memorycluster import MemoryCluster
from tests.support.world import DRAFT, VERIFIER, files
from tools import testhub

RESOURCES, REPOSITORIES, WORKERS = 1000, 9, 8
NOBODY = cast("Scraper", None)
"""There are no pods."""
BROKEN = {**DRAFT, "speculators_config": {**DRAFT["speculators_config"], "proposal_methods": []}}


@pytest.fixture
def server() -> Iterator[testhub.Hub]:
    with testhub.Hub() as hub:
        hub.commit("org/verifier", files(VERIFIER))
        yield hub


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass waits for its resolution, however slow the machine is."""
    monkeypatch.setattr("speculator_operator.resolutions.PATIENCE_SECONDS", 60.0)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Operator:
    """What passes share; each resource has a cluster of its own."""

    def __init__(self, server: testhub.Hub) -> None:
        self.clock = Clock()
        self.settings = Settings(hf_endpoint=server.url)
        self.hub = Hub(server.url, timeout=30, clock=self.clock)

    def make(self, name: str, uri: str) -> tuple[Reconciler, MemoryCluster]:
        memory = holding(name, uri)
        return self.of(memory), memory

    def of(self, memory: MemoryCluster) -> Reconciler:
        cluster = cast("Cluster", memory)
        return Reconciler(
            cluster=cluster,
            sources=Sources(cluster, self.hub.read, memory.jobs, self.settings),
            fetches=Fetches(cluster, memory.jobs, self.settings),
            drafting=Drafting(NOBODY, NOBODY, window=300, clock=self.clock, changed=lambda _: None),
            pods=lambda _: set(),
            changed=lambda _: None,
            gone=lambda _: None,
            settings=self.settings,
            clock=self.clock,
        )


def holding(name: str, uri: str) -> MemoryCluster:
    """A cluster with one resource."""
    body = inputs.resource({"model": {"uri": uri}}, name)
    body["metadata"] |= {"namespace": "default", "uid": name, "generation": 1, "annotations": {}}
    return MemoryCluster(body)


def asked(server: testhub.Hub) -> Counter[str]:
    paths = (request.path for request in server.requests)
    found = (re.search(r"/(revision|tree|resolve)/[^?]*(?:\?expand=(safetensors))?", path) for path in paths)
    return Counter(match[2] or match[1] for match in found if match)


async def pass_over(operator: Operator, clusters: Mapping[str, MemoryCluster]) -> None:
    waiting = list(clusters)

    async def work() -> None:
        while waiting:
            name = waiting.pop()
            await operator.of(clusters[name]).reconcile(("default", name))
            operator.clock.now += SHARED_SECONDS / RESOURCES / 2

    await asyncio.gather(*(work() for _ in range(WORKERS)))


@pytest.mark.timeout(300)
async def test_a_thousand_resources_that_share_ten_repositories_cause_ten_reads_of_each(server: testhub.Hub) -> None:
    commits = {server.commit(f"org/draft-{number}", files(DRAFT)) for number in range(REPOSITORIES)}
    clusters = {
        f"r{number}": holding(f"r{number}", f"org/draft-{number % REPOSITORIES}") for number in range(RESOURCES)
    }
    once = REPOSITORIES + 1  # with the verifier
    reads = {"revision": once, "resolve": once, "tree": once, "safetensors": once}

    await pass_over(Operator(server), dict(list(clusters.items())[: RESOURCES // 2]))
    assert asked(server) == reads

    server.forget()
    await pass_over(Operator(server), clusters)  # restarted half-way: what isn't pinned is read, once
    assert asked(server) == reads
    drafts = Counter(memory.status["resolved"]["draft"]["revision"] for memory in clusters.values())
    assert set(drafts) <= commits
    assert drafts.total() == RESOURCES

    server.forget()
    await pass_over(Operator(server), clusters)  # restarted: all is pinned
    assert not server.requests


async def test_a_refresh_sees_where_a_branch_is_now_whatever_others_have_just_read(server: testhub.Hub) -> None:
    operator = Operator(server)
    server.commit("org/draft", files(DRAFT))
    reconciler, memory = operator.make("a", "org/draft")
    await reconciler.reconcile(("default", "a"))

    moved = server.commit("org/draft", files(DRAFT, note="moved"))
    memory.objects[api.KIND, "default", "a"]["metadata"]["annotations"][api.REFRESH_ANNOTATION] = "1"
    await reconciler.reconcile(("default", "a"))

    assert memory.status["resolved"]["draft"]["revision"] == moved


async def test_a_resource_that_is_looked_at_again_sees_what_was_mended_and_one_that_is_new_shares(
    server: testhub.Hub,
) -> None:
    operator = Operator(server)
    broken = server.commit("org/draft", files(BROKEN))
    first, first_memory = operator.make("a", "org/draft")
    second, second_memory = operator.make("b", "org/draft")
    await first.reconcile(("default", "a"))
    mended = server.commit("org/draft", files(DRAFT))
    await second.reconcile(("default", "b"))
    assert asked(server)["revision"] == 1
    assert broken != mended

    operator.clock.now = operator.settings.reread_interval
    await first.reconcile(("default", "a"))
    await second.reconcile(("default", "b"))

    assert first_memory.status["resolved"]["draft"]["revision"] == mended
    assert second_memory.status["resolved"]["draft"]["revision"] == mended
    assert asked(server)["revision"] == 3  # the draft's twice, the verifier's once
