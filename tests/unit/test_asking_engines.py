"""What pods answer to the probe that is run in them: whoever runs a pod may have changed it."""

from __future__ import annotations

import json

import pytest

from speculator_operator.commands.engines import Answer, read
from speculator_operator.core.acceptance import Counters
from tests.support.engines import counters


def counted(drafts: int) -> str:
    return counters(drafts, (1, 1, 0))


def said(before: object, after: object, problem: object = "") -> str:
    return json.dumps({"before": before, "after": after, "problem": problem})


@pytest.mark.parametrize(
    ("case", "printed", "answer"),
    [
        (
            "counters of before and after",
            said(counted(2), counted(5)),
            Answer(Counters(2, 6, 4, (2, 2, 0)), Counters(5, 15, 10, (5, 5, 0))),
        ),
        (
            "an engine without a speculative config",
            said("", "", "it runs without"),
            Answer(None, None, "it runs without"),
        ),
        ("an engine that can't be asked", said(None, None, "refused"), Answer(problem="refused", reached=False)),
        (
            "a problem after the first look",
            said(counted(1), counted(1), "HTTP 401"),
            Answer(Counters(1, 3, 2, (1, 1, 0)), Counters(1, 3, 2, (1, 1, 0)), "HTTP 401"),
        ),
    ],
)
def test_an_answer_is_read(case: str, printed: str, answer: Answer) -> None:
    assert read(printed) == answer, case


@pytest.mark.parametrize(
    ("case", "printed"),
    [
        ("nothing", ""),
        ("no JSON", "Traceback (most recent call last)"),
        ("a list", "[]"),
        ("a part", '{"before": ""}'),
        ("numbers", said(before=1, after=2)),
        ("nesting", "[" * 100_000),
    ],
)
def test_anything_else_is_said_to_be_something_else(case: str, printed: str) -> None:
    answer = read(printed)
    assert (answer.after, answer.reached) == (None, False), case
    assert answer.problem.startswith("something else than the probe answers: "), case


def test_what_a_pod_says_moves_no_terminal_and_tells_no_token() -> None:
    answer = read(said("", "", "\x1b[2J hf_abcdefghijkl\nx" + "y" * 5000))
    assert answer.problem.startswith("?[2J hf_... x")
    assert len(answer.problem) == 600
