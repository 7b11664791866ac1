"""The tests, modules and settings that docs/security.md names are there; what it says of them is for people."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from speculator_operator.settings import Settings, variable

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "operator" / "speculator_operator"
PAGE = (ROOT / "docs" / "security.md").read_text()
TESTS = sorted(set(re.findall(r"`(tests/[\w/.]+)(?:::(\w+))?`", PAGE)))
MODULES = sorted(set(re.findall(r"`(core/\w+)`", PAGE)))
VARIABLES = sorted(set(re.findall(r"`(SPECULATOR_\w+)", PAGE)))


def test_there_is_something_to_check() -> None:
    assert len(TESTS) > 25
    assert len(MODULES) > 5
    assert VARIABLES


@pytest.mark.parametrize(("file", "name"), TESTS)
def test_each_test_that_is_named_exists(file: str, name: str) -> None:
    path = ROOT / file
    assert path.exists()
    assert not name or re.search(rf"^(async )?def {name}\(", path.read_text(), re.MULTILINE)


@pytest.mark.parametrize("module", MODULES)
def test_each_module_that_is_named_exists(module: str) -> None:
    assert (SOURCES / f"{module}.py").exists()


@pytest.mark.parametrize("name", VARIABLES)
def test_each_setting_that_is_named_exists(name: str) -> None:
    assert name in {variable(field) for field in Settings.model_fields}
