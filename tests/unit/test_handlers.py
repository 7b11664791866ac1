"""What the watches have seen is kept for as long as it is there."""

from __future__ import annotations

import pytest

from speculator_operator import api
from speculator_operator.handlers import Watched
from tests.support.passes import KEY, Passes


def see(watched: Watched, *events: str) -> None:
    """Has events come: of the resource, or of a pod by its name; ``-`` before what has gone."""
    for event in events:
        name, gone = event.removeprefix("-"), event.startswith("-")
        if name == "resource":
            watched.saw_resource(KEY, gone=gone)
        else:
            watched.saw_pod(KEY, name, gone=gone)


@pytest.mark.parametrize(
    ("case", "events"),
    [
        ("pods that go first", ["resource", "p", "q", "-p", "-q", "-resource"]),
        ("pods that go last", ["resource", "p", "q", "-resource", "-p", "-q"]),
        ("pods that nobody has told of before", ["-p"]),
        ("pods with the label of a resource that never was", ["p", "-p"]),
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


async def test_a_pass_that_finds_no_resource_makes_up_for_what_watches_have_missed() -> None:
    passes = Passes()
    see(passes.watched, "resource", "p")
    await passes.reconcile()
    assert passes.watched.keys == {KEY}
    del passes.cluster.objects[api.KIND, *KEY]
    await passes.reconcile()
    assert vars(passes.watched) == vars(Watched())
