"""Jobs that fetch, as far as a cluster in memory shows them: which are made, believed, told of, and deleted."""

from __future__ import annotations

import copy
from typing import Any, cast

import pytest

from speculator_operator import api
from speculator_operator.api import Identity, Reason, Resolved
from speculator_operator.cluster import Cluster
from speculator_operator.core import resolver_report
from speculator_operator.core.fetch_job import fetch_jobs
from speculator_operator.core.resolver_job import resolver_job
from speculator_operator.errors import OperatorError, Refused, Waiting
from speculator_operator.fetches import Fetches
from speculator_operator.reference import Reference
from speculator_operator.settings import Settings
from tests.support import inputs
from tests.support.memorycluster import MemoryCluster

KEY = ("models", inputs.NAME)
SETTINGS = Settings(resolver_image="registry.example/speculator-operator:0.1.0")
ONE, OTHER = (Identity(uri=f"org/{name}", revision="c" * 40) for name in ("one", "other"))
COMPLETE, FAILED = "Complete", "Failed"


def resolved(verifier: Identity, draft: Identity | None = None) -> Resolved:
    return inputs.RESOLVED.model_copy(update={"verifier": verifier, "draft": draft})


class World:
    def __init__(self) -> None:
        body = inputs.resource({"cache": {"claim": "weights"}})
        body["metadata"] |= {"namespace": KEY[0], "uid": "1", "generation": 1}
        self.resource = api.SpeculatorDeployment.from_object(body)
        self.memory = MemoryCluster(body)
        self.fetches = Fetches(cast("Cluster", self.memory), lambda *_: set(), SETTINGS)
        """Of a process whose watches haven't told of its own Jobs yet."""

    def started(self) -> Fetches:
        """A new process's."""
        return Fetches(cast("Cluster", self.memory), self.memory.jobs, SETTINGS)

    async def problem(self, *models: Identity) -> OperatorError:
        with pytest.raises(OperatorError) as raised:
            await self.fetches.complete(self.resource, resolved(*models))
        return raised.value

    @property
    def jobs(self) -> dict[str, dict[str, Any]]:
        found: list[dict[str, Any]] = [item for (kind, *_), item in self.memory.objects.items() if kind == "Job"]
        return {job["spec"]["template"]["spec"]["containers"][0]["args"][1]: job for job in found}

    def end(self, model: Identity, how: str, words: str = "") -> None:
        """Has a Job be over, and its pod have said something."""
        job = self.jobs[model.uri]
        job["status"] = {"conditions": [{"type": how, "status": "True", "reason": "Because"}]}
        self.pod(model, {"terminated": {"exitCode": 1, "message": words}}, uid=job["metadata"]["uid"])

    def pod(self, model: Identity, state: dict[str, Any], *, uid: str) -> None:
        name = self.jobs[model.uri]["metadata"]["name"]
        self.memory.add_pod_of_job(name, KEY[0], state, uid=uid)


async def test_each_model_has_a_job_that_is_waited_for_and_made_once() -> None:
    world = World()
    for _ in range(3):
        problem = await world.problem(ONE, OTHER)
        assert (problem.reason, type(problem)) == (Reason.FETCHING, Waiting)
        assert problem.message.startswith("0 of 2 models are on the claim. Job ")
    assert world.memory.writes == ["Job", "Job"]
    world.end(ONE, COMPLETE)
    problem = await world.problem(ONE, OTHER)
    assert problem.message.startswith("1 of 2 models are on the claim. Job ")
    assert OTHER.uri in problem.message
    world.end(OTHER, COMPLETE)
    await world.fetches.complete(world.resource, resolved(ONE, OTHER))
    assert world.memory.writes == ["Job", "Job"]
    await world.fetches.forget(world.resource)
    assert world.jobs == {}


async def test_jobs_of_other_inputs_are_deleted() -> None:
    world = World()
    await world.problem(ONE)
    await world.problem(OTHER)
    assert list(world.jobs) == [OTHER.uri]
    await world.fetches.complete(world.resource.model_copy(
        update={"spec": world.resource.spec.model_copy(update={"cache": None})}), resolved(OTHER))  # fmt: skip
    assert world.jobs == {}


async def test_of_the_jobs_that_are_there_at_a_start_only_a_resource_s_own_fetches_are_deleted() -> None:
    world = World()
    await world.problem(ONE)
    (own,) = world.jobs.values()
    await world.memory.apply(resolver_job(world.resource, Reference.parse(OTHER.uri), SETTINGS))
    for number, owner in enumerate(({"uid": "2"}, {"uid": "2", "name": "b"}, {"uid": "2", "kind": "Another"})):
        job = copy.deepcopy(own)
        job["metadata"]["name"] += str(number)
        job["metadata"]["ownerReferences"][0] |= owner
        await world.memory.apply(job)
    before = set(world.memory.objects)
    await world.started().forget(world.resource)
    assert before - set(world.memory.objects) == {("Job", KEY[0], own["metadata"]["name"])}


async def test_a_namesake_that_isn_t_ours_is_left_alone() -> None:
    world = World()
    (foreign,) = fetch_jobs(world.resource, resolved(ONE), SETTINGS).values()
    foreign["metadata"] |= {"ownerReferences": [], "labels": {}, "uid": "2", "managedFields": []}
    foreign["status"] = {"conditions": [{"type": COMPLETE, "status": "True"}]}
    world.memory.objects["Job", KEY[0], foreign["metadata"]["name"]] = foreign
    assert (await world.problem(ONE)).reason == Reason.NAME_CONFLICT
    await world.problem(OTHER)
    await world.fetches.forget(world.resource)
    assert list(world.jobs) == [ONE.uri]


FULL = Refused(Reason.VOLUME_UNUSABLE, "it is full")
DOWN = Waiting(Reason.HUB_UNAVAILABLE, "it is down", retry_after=77)


@pytest.mark.parametrize("told", [FULL, DOWN])
async def test_what_a_pod_reports_is_raised_and_its_job_makes_room_for_another(told: OperatorError) -> None:
    world = World()
    await world.problem(ONE)
    world.end(ONE, FAILED, resolver_report.packed(told))
    problem = await world.problem(ONE)
    assert (type(problem), problem.reason, problem.message) == (type(told), told.reason, told.message)
    assert getattr(problem, "retry_after", None) == getattr(told, "retry_after", None)
    assert world.jobs == {}
    assert (await world.problem(ONE)).reason == Reason.FETCHING


async def test_one_that_ends_without_a_report_is_named_with_its_last_words() -> None:
    world = World()
    await world.problem(ONE)
    world.end(ONE, FAILED, "Traceback\nMemoryError: hf_abcdefghijkl")
    problem = await world.problem(ONE)
    assert (problem.reason, type(problem)) == (Reason.FETCH_FAILED, Waiting)
    assert "Because. MemoryError: hf_..." in problem.message


async def test_of_two_that_fail_the_one_that_a_person_has_to_mend_is_told() -> None:
    world = World()
    await world.problem(ONE, OTHER)
    world.end(ONE, FAILED, resolver_report.packed(DOWN))
    world.end(OTHER, FAILED, resolver_report.packed(FULL))
    assert (await world.problem(ONE, OTHER)).reason == FULL.reason


async def test_a_failure_is_told_before_the_other_is_done() -> None:
    world = World()
    await world.problem(ONE, OTHER)
    world.end(OTHER, FAILED, resolver_report.packed(DOWN))
    assert (await world.problem(ONE, OTHER)).reason == DOWN.reason
    assert list(world.jobs) == [ONE.uri]


async def test_a_pod_that_only_looks_like_the_job_s_is_not_believed() -> None:
    world = World()
    await world.problem(ONE)
    forged = {"terminated": {"exitCode": 1, "message": resolver_report.packed(FULL)}}
    world.pod(ONE, forged, uid="another")
    assert (await world.problem(ONE)).reason == Reason.FETCHING


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "hub" not found'}}, "SecretUnusable"),
        (
            {"waiting": {"reason": "CreateContainerConfigError", "message": "couldn't find key token in Secret n/hub"}},
            "SecretUnusable",
        ),
        (
            {"waiting": {"reason": "CreateContainerConfigError", "message": "image will run as root"}},
            "Fetching",
        ),
        ({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}, "Fetching"),
    ],
)
async def test_what_its_pod_waits_for_is_told(state: dict[str, Any], reason: str) -> None:
    world = World()
    await world.problem(ONE)
    world.pod(ONE, state, uid=world.jobs[ONE.uri]["metadata"]["uid"])
    problem = await world.problem(ONE)
    assert problem.reason == reason
    assert state["waiting"]["message"] in problem.message
