"""What the table of releases says of the installed engine is what that engine says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import pytest

from speculator_operator.core import releases
from tests.conformance.conftest import Engine

pytestmark = pytest.mark.timeout(300)

ORACLE = Path(__file__).with_name("oracle_releases.py")
#: Models with layers for multi-token prediction are shown to the engine one by one: test_models_conformance.
KINDS: list[releases.Kind] = [kind for kind in get_args(releases.Kind) if kind != "mtp_model"]


@pytest.fixture(scope="module")
def answers(engine: Engine) -> Mapping[str, list[str]]:
    questions = ["release", *KINDS]
    return dict(zip(questions, engine(ORACLE, questions), strict=True))


def test_the_installed_engine_is_the_newest_release_of_the_table(answers: Mapping[str, list[str]]) -> None:
    assert answers["release"] == [releases.newest()]


@pytest.mark.parametrize("kind", KINDS)
def test_the_engine_accepts_what_the_table_says(answers: Mapping[str, list[str]], kind: releases.Kind) -> None:
    said = [name for name in releases.names(kind) if releases.available(kind, name, releases.newest())]
    assert said
    assert sorted(said) == answers[kind]
