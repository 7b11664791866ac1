"""What an engine knows by the Transformers that it comes with."""

from __future__ import annotations

import pytest

from speculator_operator.core.known_models import config_understood, implemented_nowhere


@pytest.mark.parametrize(
    ("config", "understood"),
    [
        ({"model_type": "llama"}, True),
        ({"model_type": "deepseek_v32"}, True),  # the engine's own
        ({"model_type": "whispering_llama"}, False),
        ({"model_type": ["llama"]}, False),
        ({"model_type": None}, False),
        ({"architectures": ["LlamaForCausalLM"]}, False),
        ({"architectures": ["LongcatFlashForCausalLM"]}, True),  # published without a type
    ],
)
def test_a_config_is_understood_by_its_type(config: dict[str, object], understood: bool) -> None:
    assert config_understood(config) is understood


@pytest.mark.parametrize(
    ("name", "nowhere"),
    [("BambaForCausalLM", False), ("WhisperingForCausalLM", True), ("WhisperingModel", False)],
)
def test_an_architecture_may_be_implemented_by_transformers_alone(name: str, nowhere: bool) -> None:
    assert implemented_nowhere(name) is nowhere
