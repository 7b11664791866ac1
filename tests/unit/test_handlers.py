"""What the watches have seen is kept for as long as it is there."""

from __future__ import annotations

import pytest

from speculator_operator import api
from speculator_operator.handlers import Watched
from tests.support.passes import KEY, Passes


def see(watched: Watched, *events: str) -> None:
    """Has events come: of the resource, of a Job, or of a pod by its name; ``-`` before what has gone."""
    for event in events:
        name, gone = event.removeprefix("-"), event.startswith("-")
        if name == "resource":
            watched.saw_resource(KEY, gone=gone)
        elif name.startswith("job"):
            watched.saw_job(KEY, name, "fetch", gone=gone)
        else:
            watched.saw_pod(KEY, name, gone=gone)


@pytest.mark.parametrize(
    ("case", "events"),
    [
        ("pods that go first", ["resource", "p", "q", "-p", "-q", "-resource"]),
        ("pods that go last", ["resource", "p", "q", "-resource", "-p", "-q"]),
        ("pods that nobody has told of before", ["-p"]),
        ("pods with the label of a resource that never was", ["p", "-p"]),
        ("a Job that goes first", ["resource", "job", "-job", "-resource"]),
        ("a Job that goes last", ["resource", "job", "p", "-p", "-resource", "-job"]),
        ("a Job that nobody has told of before", ["-job"]),
    ],
)
def test_nothing_is_kept_of_a_resource_that_is_gone(case: str, events: list[str]) -> None:
    watched = Watched()
    see(watched, *events)
    assert vars(watched) == vars(Watched()), case


def test_a_pod_that_stays_is_known_again_when_its_resource_comes_back() -> None:
    watched = Watched()
    see(watched, "resource", "p", "-resource", "resource")
    assert watched.pods(KEY) == {"p"}


def test_jobs_are_told_apart_by_their_component() -> None:
    watched = Watched()
    see(watched, "job-1", "job-2")
    watched.saw_job(KEY, "job-2", "resolver", gone=False)
    assert (watched.jobs(KEY, "fetch"), watched.jobs(KEY, "resolver")) == ({"job-1"}, {"job-2"})


async def test_a_pass_that_finds_no_resource_makes_up_for_what_watches_have_missed() -> None:
    passes = Passes()
    see(passes.watched, "resource", "p", "job")
    await passes.reconcile()
    assert passes.watched.keys == {KEY}
    del passes.cluster.objects[api.KIND, *KEY]
    await passes.reconcile()
    assert vars(passes.watched) == vars(Watched())
