"""The corpus: every case gets the answer that its ``expected.yaml`` says. `make expected` writes them anew."""

from __future__ import annotations

import os
import re

import pytest

from tests.support.cases import Case, all_cases

CASES = all_cases()
#: As the engine's answers are compared with ours, too few of them would say little.
LEAST = 60


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_answers(case: Case) -> None:
    answer = case.answer()
    if os.environ.get("WRITE_EXPECTED"):
        case.write_expected(answer)
    assert answer == {key: value for key, value in case.expected.items() if key != "stricter"}


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= LEAST


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_is_named_by_a_sentence_and_holds_only_what_is_used(case: Case) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+){2,}", case.name)
    models = {folder / "config.json" for folder in {case.folder / "model", *case.repositories.values()}}
    files = {path for path in case.folder.rglob("*") if path.is_file()}
    assert files == {case.folder / "cr.yaml", case.folder / "expected.yaml", *models}
