"""Replicas as processes: one works, and whatever happens to it, another goes on where it was, and it writes nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.apiproxy import ApiProxy
from tests.support.eventually import eventually
from tests.support.operator import Operator, grant
from tests.support.world import FAST, World

#: Of a lease. Long enough that a busy machine doesn't lose it.
SECONDS = 15
#: From when a leader is gone until another leads.
TAKEOVER_SECONDS = SECONDS + 30

pytestmark = [pytest.mark.timeout(240), pytest.mark.usefixtures("nodes", "granted")]


@pytest.fixture
def granted(world: World) -> None:
    grant(world.cluster, world.namespace)


def replica(world: World, name: str, *, server: str | None = None, seconds: int = SECONDS) -> Operator:
    settings: dict[str, object] = {
        **FAST,
        "hf_endpoint": world.hub.url,
        "leader_election": True,
        "lease_namespace": world.namespace,
        "lease_seconds": seconds,
    }
    log = world.log.with_name(f"{name}.log")
    return Operator(world.cluster, log, namespace=world.namespace, server=server, settings=settings)


def leads(operator: Operator) -> bool:
    status, text = operator.ask("/readyz")
    return status == 200 and "this replica leads" in text


def stands_by(operator: Operator) -> bool:
    status, text = operator.ask("/readyz")
    return status == 200 and "this replica stands by for " in text


def both_sure(*operators: Operator) -> bool:
    return {(leads(it), stands_by(it)) for it in operators} == {(True, False), (False, True)}


def holder(world: World) -> str:
    lease = world.get("lease", "speculator-operator")
    return str(lease["spec"]["holderIdentity"])


def test_when_the_leader_is_killed_at_work_the_other_ends_it(world: World, proxy: ApiProxy) -> None:
    with replica(world, "first", server=proxy.url) as first, replica(world, "second") as second:
        eventually(lambda: both_sure(first, second), within=60)
        if leads(second):  # the first is to be the one behind the proxy
            second.stop()
            eventually(lambda: leads(first))
            second.start()
            eventually(lambda: stands_by(second))
        assert "ok      the lease is renewed" in first.ask("/healthz")[1]
        assert (second.ask("/healthz")[0], "ok      the lease is looked at" in second.ask("/healthz")[1]) == (200, True)
        before = holder(world)

        assert stands_by(second)
        with standing_still(second):  # until what is left has been looked at
            proxy.kill_after_write(2, first.kill)  # the pin and the Service are there, and nothing else
            world.apply()
            eventually(lambda: not first.running)
            left = [world.items(kind) for kind in ("controllerrevisions", "services", "deployments")]
        assert [len(items) for items in left] == [1, 1, 0]
        eventually(lambda: leads(second), within=TAKEOVER_SECONDS)
        assert holder(world) != before
        world.ready()
        world.becomes(SpeculationActive=("True", "Drafting"))
        found = [world.items(kind) for kind in ("controllerrevisions", "services")]
        assert found == left[:2], "what was done is not done again"
        assert [it["metadata"]["generation"] for it in world.items("deployments")] == [1]
        assert len(world.pods()) == 1


def test_a_leader_that_stood_still_and_goes_on_writes_nothing_and_ends(world: World, proxy: ApiProxy) -> None:
    with replica(world, "first", server=proxy.url) as first:
        eventually(lambda: leads(first), within=60)
        with replica(world, "second") as second:
            eventually(lambda: stands_by(second))
            # A write that has left the process may arrive whenever it does, so each of the passes has one at the proxy.
            proxy.kill_at_writes(4, lambda: first.send(signal.SIGSTOP))
            world.apply_all({name: {} for name in "abcd"})
            eventually(lambda: stopped(first))
            proxy.revive()
            eventually(lambda: leads(second), within=TAKEOVER_SECONDS)
            for name in "abcd":
                world.ready(name)
            proxy.forget()
            leader = holder(world)
            first.send(signal.SIGCONT)
            eventually(lambda: not first.running)
            assert first.exit_code == 1
            assert "was not renewed" in first.log or "is held by" in first.log
            assert proxy.writes() == []
            assert (leads(second), holder(world)) == (True, leader)


def test_a_leader_that_is_told_to_end_is_followed_at_once(world: World) -> None:
    with replica(world, "first", seconds=60) as first:
        eventually(lambda: leads(first), within=60)
        with replica(world, "second", seconds=60) as second:
            eventually(lambda: stands_by(second))
            first.stop()
            assert first.exit_code == 0
            assert "is released" in first.log
            eventually(lambda: leads(second), within=40)  # it looks every 8 s, and the lease is for 60
            second.stop()
            assert second.exit_code == 0
            assert holder(world) == ""


def test_a_leader_that_reaches_no_api_server_ends(world: World, proxy: ApiProxy) -> None:
    with replica(world, "first", server=proxy.url) as first:
        eventually(lambda: leads(first), within=60)
        proxy.unavailable(60)
        eventually(lambda: not first.running, within=TAKEOVER_SECONDS)
        assert first.exit_code == 1
        assert "was not renewed for 10 s: PUT " in first.log
        assert "HTTP 503" in first.log


@contextmanager
def standing_still(operator: Operator) -> Iterator[None]:
    operator.send(signal.SIGSTOP)
    try:
        yield
    finally:
        operator.send(signal.SIGCONT)


def stopped(operator: Operator) -> bool:
    return Path(f"/proc/{operator.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_a_replica_that_does_not_know_its_namespace_does_not_begin(world: World, tmp_path: Path) -> None:
    settings = {"leader_election": True}
    with Operator(world.cluster, tmp_path / "nowhere.log", namespace=world.namespace, settings=settings) as operator:
        eventually(lambda: not operator.running)
        assert operator.exit_code == os.EX_USAGE
        assert "SPECULATOR_LEASE_NAMESPACE is not set" in operator.log
