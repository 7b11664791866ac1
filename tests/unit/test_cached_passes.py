"""Whole passes over a resource whose weights are fetched onto a claim, with a cluster in memory and a clock."""

from __future__ import annotations

from typing import Any

import pytest

from speculator_operator.api import Reason
from speculator_operator.core import resolver_report
from speculator_operator.core.render import Manifest
from speculator_operator.errors import OperatorError, Refused, Waiting
from speculator_operator.jobs import LOOK_SECONDS
from speculator_operator.reconciler import Reconciler
from tests.support import inputs
from tests.support.passes import AGAIN, KEY, Passes

IMAGE = "registry.example/speculator-operator:0.1.0"


class World(Passes):
    """A regular model, and a claim."""

    def __init__(self, **spec: Any) -> None:
        super().__init__({"model": {"uri": inputs.URI}, "cache": {"claim": "weights"}, **spec})

    def operator(self, **settings: Any) -> Reconciler:
        return super().operator(**{"resolver_image": IMAGE, **settings})

    def end(self, failure: OperatorError | None = None) -> None:
        """Has the Jobs end, well or with a failure that their pods report."""
        for job in self.jobs:
            name, uid = job["metadata"]["name"], job["metadata"]["uid"]
            ended = "Failed" if failure else "Complete"
            job["status"] = {"conditions": [{"type": ended, "status": "True"}]}
            message = resolver_report.packed(failure) if failure else ""
            self.cluster.add_pod_of_job(name, KEY[0], {"terminated": {"message": message}}, uid=uid)

    @property
    def jobs(self) -> list[Manifest]:
        return [item for (kind, *_), item in self.cluster.objects.items() if kind == "Job"]

    @property
    def fetched(self) -> list[str]:
        return [job["spec"]["template"]["spec"]["containers"][0]["args"][1] for job in self.jobs]

    @property
    def served(self) -> str | None:
        """The model's folder on the claim that the Deployment's pods mount; None where there is no Deployment."""
        deployment = self.cluster.objects.get(("Deployment", *KEY))
        if deployment is None:
            return None
        mounts = deployment["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
        return str(next((mount["subPath"] for mount in mounts if "subPath" in mount), ""))

    async def serves(self) -> None:
        await self.reconcile()
        self.end()
        await self.reconcile()
        await self.reconcile()


@pytest.fixture
def world() -> World:
    return World()


async def test_the_pin_and_the_job_come_first_and_the_deployment_when_the_job_is_complete(world: World) -> None:
    assert await world.reconcile() == LOOK_SECONDS
    assert world.cluster.writes == ["ControllerRevision", "Job", "status", "Event"]
    assert (world.said("Resolved"), world.said("Reconciling")) == (("True", "Resolved"), ("True", "Fetching"))
    assert "revision" not in world.cluster.status["resolved"]
    await world.reconcile()
    assert (world.cluster.writes, world.served) == ([], None)
    world.end()
    await world.reconcile()
    assert world.cluster.writes[:3] == ["Service", "NetworkPolicy", "Deployment"]
    assert world.cluster.status["resolved"]["revision"].startswith(f"{inputs.NAME}-")
    assert world.served
    await world.reconcile()
    assert (world.cluster.writes, world.jobs) == (["deleted Job"], [])
    await world.reconcile()
    assert world.cluster.writes == []


async def test_once_it_serves_no_pass_asks_for_a_job_whoever_makes_it(world: World) -> None:
    await world.serves()
    world.reconciler = world.operator(resolver_image="registry.example/speculator-operator:0.2.0", fetch_timeout=60)
    world.change(replicas=7)
    await world.reconcile()
    assert world.cluster.writes == ["Deployment", "status"]
    assert world.deployment["spec"]["replicas"] == 7


async def test_a_deployment_that_is_deleted_by_hand_comes_back_at_once(world: World) -> None:
    await world.serves()
    served = world.served
    del world.cluster.objects["Deployment", *KEY]
    world.reconciler = world.operator()
    await world.reconcile()
    assert (world.served, world.jobs) == (served, [])


async def test_what_serves_is_looked_after_while_something_else_is_fetched(world: World) -> None:
    await world.serves()
    served, resolved = world.served, world.cluster.status["resolved"]
    world.change(model={"uri": "org/other"}, replicas=5)
    await world.reconcile()
    assert (world.served, world.fetched) == (served, ["org/other"])
    assert world.deployment["spec"]["replicas"] == 5
    assert (world.said("Resolved"), world.cluster.status["resolved"]) == (("True", "Resolved"), resolved)
    del world.cluster.objects["Deployment", *KEY]
    await world.reconcile()
    assert world.served == served
    world.end()
    await world.reconcile()
    assert world.served not in (served, None)
    assert world.cluster.status["resolved"]["verifier"]["uri"] == "org/other"


async def test_what_was_never_fetched_is_never_applied_though_its_successor_can_t_be_read(world: World) -> None:
    await world.reconcile()
    world.change(model={"uri": "org/other"})
    world.hub_is_down = True
    world.reconciler = world.operator()
    await world.reconcile()
    assert world.said("Reconciling") == ("True", "HubUnavailable")
    assert world.served is None


async def test_jobs_of_what_nobody_wants_any_more_are_deleted(world: World) -> None:
    await world.reconcile()
    world.change(model={"uri": "org/other"})
    await world.reconcile()
    assert world.fetched == ["org/other"]
    world.change(cache=None)
    await world.reconcile()
    assert (world.jobs, world.served) == ([], "")


@pytest.mark.parametrize(
    ("case", "change", "left"),
    [
        ("another model", {"model": {"uri": "org/other"}}, ["org/other"]),
        ("no cache", {"cache": None}, []),
        ("what serves", {"model": {"uri": inputs.URI}}, []),
        ("nothing", {}, ["org/next"]),
    ],
)
async def test_jobs_of_what_was_wanted_before_a_restart_are_deleted(
    world: World, case: str, change: dict[str, Any], left: list[str]
) -> None:
    await world.serves()
    world.change(model={"uri": "org/next"})
    await world.reconcile()
    assert world.fetched == ["org/next"]
    world.change(**change)
    world.reconciler = world.operator()
    await world.reconcile()
    assert world.fetched == left, case


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize(
    ("case", "spec"),
    [
        ("the schema refuses", {"replicas": -1}),
        ("a flag is refused", {"engine": {"args": ["--trust-remote-code"]}}),
        ("the hub doesn't answer for", {"model": {"uri": "org/other"}}),
        ("nothing can be fetched for", {"cache": None, "networkPolicy": {"egress": "None"}}),
    ],
)
async def test_nothing_goes_on_being_fetched_for_what_gave_way_to_inputs_that(
    world: World, case: str, spec: dict[str, Any], *, restarted: bool
) -> None:
    await world.reconcile()
    assert world.jobs
    world.hub_is_down = "model" in spec
    if restarted:
        world.reconciler = world.operator()
    world.change(**spec)
    await world.reconcile()
    assert world.said("Ready")[0] == "False", case
    assert world.jobs == []


async def test_a_failure_that_a_person_has_to_mend_is_told_until_it_is_tried_again(world: World) -> None:
    await world.reconcile()
    world.end(Refused(Reason.VOLUME_UNUSABLE, "it is full"))
    assert await world.reconcile() == AGAIN
    assert (world.said("Stalled"), world.said("Resolved")) == (("True", "VolumeUnusable"), ("True", "Resolved"))
    world.now += 10
    assert await world.reconcile() == AGAIN - 10
    assert (world.cluster.writes, world.jobs) == ([], [])
    world.now += AGAIN
    assert await world.reconcile() == LOOK_SECONDS
    assert world.said("Reconciling") == ("True", "Fetching")
    world.end()
    await world.reconcile()
    assert world.served


async def test_a_failure_that_may_end_by_itself_is_tried_again_after_longer_and_longer(world: World) -> None:
    waits = []
    for _ in range(4):
        await world.reconcile()
        world.end(Waiting(Reason.HUB_UNAVAILABLE, "it is down", retry_after=30))
        wait = await world.reconcile()
        assert wait is not None
        waits.append(wait)
        world.now += wait
    assert waits == [30, 60, 120, 240]
    assert world.said("Stalled") == ("False", "HubUnavailable")


async def test_a_claim_that_is_filled_ahead_of_time_starts_no_pod() -> None:
    world = World(suspend=True)
    await world.reconcile()
    assert world.fetched
    world.end()
    await world.reconcile()
    assert world.deployment["spec"]["replicas"] == 0


async def test_without_an_image_for_jobs_the_installation_is_named(world: World) -> None:
    world.reconciler = world.operator(resolver_image=None)
    await world.reconcile()
    assert (world.said("Stalled"), world.said("Resolved")) == (("True", "ResolverUnset"), ("True", "Resolved"))
