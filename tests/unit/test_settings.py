"""What an installation can set, and how it is written."""

from __future__ import annotations

from typing import Any

import pytest

from speculator_operator.settings import Settings, variable, written


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("allow_flags", "--enable-lora", ("--enable-lora",)),
        ("allow_flags", " --enable-lora, --max-loras ,", ("--enable-lora", "--max-loras")),
        ("allow_flags", ",", ()),
        ("allow_env", "NCCL_DEBUG_FILE,VLLM_PLUGINS", ("NCCL_DEBUG_FILE", "VLLM_PLUGINS")),
        ("allow_remote_code", "true", True),
        ("allow_remote_code", "false", False),
        ("allow_pickled_weights", "TRUE", True),
        ("secret_names", "hub-[a-z]{1,9}|clients", "hub-[a-z]{1,9}|clients"),
        ("secret_names", "", ".*"),
        ("hub_timeout", "2.5", 2.5),
        ("metrics_port", "8080", 8080),
    ],
)
def test_a_setting_is_read_from_its_variable(name: str, text: str, value: object) -> None:
    settings = Settings.from_environment({variable(name): text})
    assert getattr(settings, name) == value
    assert Settings.from_environment({variable(name): written(value)}) == settings


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("allow_flags", "enable-lora"),
        ("allow_flags", "--enable-lora=1"),
        ("allow_flags", "--enable-lora --max-loras"),
        ("allow_flags", ",".join(["--a"] * 257)),
        ("allow_env", "path"),
        ("allow_env", "A=1"),
        ("allow_remote_code", "perhaps"),
        ("allow_pickled_weights", "2"),
        ("secret_names", "("),
        ("secret_names", "x" * 513),
    ],
)
def test_a_setting_of_the_wrong_form_is_refused_by_its_variable(name: str, text: str) -> None:
    with pytest.raises(ValueError, match=f"^{variable(name)} is ") as caught:
        Settings.from_environment({variable(name): text})
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (True, "true"), (False, "false"), (20.0, "20"), (0.5, "0.5"), (8, "8"), ((), ""), (("a", "b"), "a,b")],
)
def test_a_value_is_written_as_its_variable_has_it(value: Any, text: str) -> None:
    assert written(value) == text
