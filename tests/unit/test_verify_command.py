"""``verify``: answers -> who has drafted, and how that ends."""

from __future__ import annotations

import pytest

from speculator_operator.commands import display, verify
from speculator_operator.commands.engines import Answer
from speculator_operator.core import status as core
from speculator_operator.core.acceptance import Counters
from tests.support.shown import plain, pod

DRAFTED = Answer(Counters(1, 3, 2), Counters(6, 18, 17))
IDLE = Answer(Counters(7, 21, 9), Counters(7, 21, 9), "still 7 after an answered canary")
SILENT = Answer(problem="not allowed", reached=False)
RESTARTED = Answer(Counters(100, 300, 9), Counters(5, 15, 15))


@pytest.mark.parametrize(
    ("case", "answers", "drafted", "code"),
    [
        ("all drafted", [DRAFTED, DRAFTED], True, 0),
        ("one has begun anew meanwhile", [DRAFTED, RESTARTED], True, 0),
        ("one drafted nothing", [DRAFTED, IDLE], False, 2),
        ("one can't be asked", [DRAFTED, SILENT], None, 1),
        ("one drafted nothing, another can't be asked", [IDLE, SILENT], False, 2),
        ("none is ready", [], None, 1),
        ("one has no speculative config", [Answer(problem="without")], False, 2),
    ],
)
def test_it_ends_well_only_if_all_have_drafted(
    case: str, answers: list[Answer], drafted: bool | None, code: int
) -> None:
    document = verify.document("default", "a", [], {f"a-{index}": it for index, it in enumerate(answers)})
    assert document["drafted"] is drafted, case
    assert verify.exit_code(document) == code, case


def test_each_pod_is_told_with_what_it_drafted() -> None:
    pods = [core.pod(pod(name, ready=name != "a-4")) for name in ("a-1", "a-2", "a-3", "a-4")]
    document = verify.document("default", "a", pods, {"a-3": SILENT, "a-2": IDLE, "a-1": DRAFTED})
    assert (
        plain(document, display.verification)
        == f"""\
default/a not every ready pod has drafted
POD  DRAFTED  DRAFTS  DRAFT TOKENS  ACCEPTED BEFORE  ACCEPTED AFTER
a-1  yes      5       15            2 of 3           17 of 18
a-2  no       0       0             9 of 21          9 of 21         still 7 after an answered canary
a-3  unknown  -       -             -                -               not allowed
Not ready, and not asked: a-4
{verify.CAVEAT}"""
    )
    assert "says nothing about quality" in verify.CAVEAT
    assert "it counts in the acceptance that status shows of the next minutes" in verify.CAVEAT
