"""What reasons mean and what to do: each has words, and a typo finds them."""

from __future__ import annotations

import json

import pytest

from speculator_operator import cli
from speculator_operator.api import ConditionType, Reason
from speculator_operator.commands import explain

#: Where nothing is wrong, nothing has to be done.
WELL = {Reason.RECONCILED, Reason.RESOLVED, Reason.SERVING, Reason.DRAFTING}


def test_every_reason_says_what_it_means_and_what_to_do() -> None:
    found = {it.name: it for it in explain.reasons()}
    assert list(found) == list(Reason)
    assert [name for name, it in found.items() if not it.meaning] == []
    assert {name for name, it in found.items() if not it.remedy} == WELL


def test_every_condition_says_what_it_means() -> None:
    assert [(it.name, bool(it.meaning)) for it in explain.conditions()] == [(name, True) for name in ConditionType]


@pytest.mark.parametrize(
    ("word", "kinds"),
    [("NotDrafting", ["reason"]), ("notdrafting", ["reason"]), ("Resolved", ["condition", "reason"])],
)
def test_a_name_is_found_whatever_its_case(word: str, kinds: list[str]) -> None:
    assert [it.kind for it in explain.named(word)] == kinds


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("NotDraftin", "did you mean NotDrafting"),
        ("HiddenSizeMissmatch", "did you mean HiddenSizeMismatch"),
        ("xyzzy", "`explain` alone lists them all"),
        ("\x1b[31mred", "?[31mred is no condition"),
    ],
)
def test_a_typo_is_told_what_is_near(word: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain", word]) == 64
    output = capsys.readouterr()
    assert output.out == ""
    assert words in output.err


def test_one_is_shown_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain", "ClaimMissing"]) == 0
    assert capsys.readouterr().out == (
        "ClaimMissing (reason)\n"
        "  The claim isn't there.\n"
        "  -> Make the claim in the resource's namespace, or mend its name in the URI or in `spec.cache.claim`.\n"
    )


def test_all_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert len(listed) == 1 + len(ConditionType) + len(Reason)
    assert cli.main(["explain", "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [it["name"] for it in found] == [*ConditionType, *Reason]
    assert set(found[0]) == {"kind", "name", "meaning", "remedy"}
