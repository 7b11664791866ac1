"""The models that are said to be known are those that the installed engine knows."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from tests.conformance.conftest import Engine

pytestmark = pytest.mark.timeout(300)

ORACLE = Path(__file__).with_name("oracle_known_models.py")


def test_the_known_models_are_what_the_generator_writes_now(engine: Engine) -> None:
    stored = resources.files("speculator_operator.core") / "known_models.json"
    assert engine(ORACLE, [None]) == [stored.read_text()], "run tools/known_models.py"
