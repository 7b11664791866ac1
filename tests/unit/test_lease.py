"""Who may take a lease, for how long its holder may write, and what is written."""

from __future__ import annotations

from typing import Any

import pytest

from speculator_operator.core import lease
from speculator_operator.core.lease import Sighting, Terms

TERMS = Terms(15)
NOW = "2026-11-24T08:00:00.000000Z"


def held(**changes: Any) -> dict[str, Any]:
    spec = {
        "holderIdentity": "other",
        "leaseDurationSeconds": 15,
        "acquireTime": "2026-11-24T07:00:00.000000Z",
        "renewTime": "2026-11-24T07:59:00.000000Z",
        "leaseTransitions": 2,
    }
    return spec | changes


@pytest.mark.parametrize("seconds", [3, 15, 600])
def test_a_holder_stops_before_anybody_may_begin_and_has_several_tries(seconds: int) -> None:
    terms = Terms(seconds)
    assert terms.deadline < terms.seconds
    assert terms.pause + terms.attempt < terms.deadline
    assert 4 * terms.pause < terms.deadline


@pytest.mark.parametrize(
    ("case", "spec", "age", "free"),
    [
        ("it says nothing", {}, 0, True),
        ("it was released", held(holderIdentity=""), 0, True),
        ("it is ours, and the answer was lost", held(holderIdentity="me"), 0, True),
        ("it was just seen, however old its own times are", held(renewTime="1999-01-01T00:00:00Z"), 0, False),
        ("it was seen unchanged for as long as it is for", held(), 15, False),
        ("and a moment longer", held(), 15.1, True),
        ("it was taken for longer than we would", held(leaseDurationSeconds=60), 59, False),
        ("and that is over", held(leaseDurationSeconds=60), 60.1, True),
        ("it doesn't say for how long", held(leaseDurationSeconds=None), 15.1, True),
    ],
)
def test_a_lease_is_free(case: str, spec: dict[str, Any], age: float, free: bool) -> None:
    assert lease.is_free(Sighting(spec, 100.0), "me", TERMS, 100.0 + age) is free, case


def test_a_renewal_that_is_seen_begins_the_time_anew() -> None:
    first = Sighting(held(), 100.0)
    assert first.again(held(), 110.0) is first
    assert first.again(held(renewTime=NOW), 110.0).since == 110.0


@pytest.mark.parametrize(
    ("case", "before", "expected"),
    [
        ("the first", {}, {"acquireTime": NOW, "leaseTransitions": 0}),
        ("after another", held(), {"acquireTime": NOW, "leaseTransitions": 3}),
        ("after a release", held(holderIdentity=""), {"acquireTime": NOW, "leaseTransitions": 3}),
        ("again", held(holderIdentity="me"), {"acquireTime": held()["acquireTime"], "leaseTransitions": 2}),
    ],
)
def test_taking_it_says_since_when_and_how_often_it_changed_hands(
    case: str, before: dict[str, Any], expected: dict[str, Any]
) -> None:
    wanted = {"holderIdentity": "me", "leaseDurationSeconds": 15, "renewTime": NOW, **expected}
    assert lease.taken(before, "me", TERMS, NOW) == wanted, case


def test_what_others_said_of_the_object_is_kept() -> None:
    read = {"metadata": {"name": "l", "resourceVersion": "7", "labels": {"a": "b"}}, "spec": held()}
    assert lease.manifest("n", "l", {"holderIdentity": "me"}, read) == {**read, "spec": {"holderIdentity": "me"}}
    assert lease.manifest("n", "l", {})["metadata"] == {"namespace": "n", "name": "l"}
    assert lease.holder(lease.released(held(), NOW)) == ""
