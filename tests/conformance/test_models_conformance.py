"""What is written down of the engine's models is what the engine says of them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from speculator_operator.core import drafts
from tests.conformance.conftest import Engine

pytestmark = pytest.mark.timeout(300)

ORACLE = Path(__file__).with_name("oracle_models.py")
COUNTED = ("num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_modules")


def saying(count: int | None, **named: Any) -> dict[str, Any]:
    """A model of the name, with a number of layers under every key and in every part that a model may say it in."""
    counts = {} if count is None else dict.fromkeys(COUNTED, count)
    inner = {"model_type": "text", "num_attention_heads": 8, "hc_count": 1, "architectures": ["Text"], **counts}
    inner |= {"mtp_num_experts": 4, "mtp_num_experts_per_tok": 2}
    if named.get("architectures", [""])[0].startswith("NemotronH"):
        inner["model_type"] = "nemotron_h"
    outer = {"architectures": ["Any"], "model_type": "any", "layer_types": [], "hc_count": 1, **counts, **named}
    return {**outer, "text_config": inner, "mtp_config": dict(counts)}


MODELS: Mapping[str, dict[str, Any]] = {
    f"{name}, {'no number' if count is None else f'{count} layers'}": saying(count, **{key: value})
    for count in (2, None)
    for names, key in ((drafts.MTP_TYPES, "model_type"), (drafts.MTP_ARCHITECTURES, "architectures"))
    for name in names
    for value in [[name] if key == "architectures" else name]
} | {name: saying(1, model_type=name) for name in ("llama", "qwen3", "deepseek_v2", "medusa", "glm4_moe")}


@pytest.fixture(scope="module")
def answers(engine: Engine) -> Mapping[str, Any]:
    questions = {"lacks": {"lacks": True}, **MODELS}
    return dict(zip(questions, engine(ORACLE, list(questions.values())), strict=True))


def test_what_models_lack_is_written_down(answers: Mapping[str, Any]) -> None:
    stored = resources.files("speculator_operator.core") / "engine_models.json"
    assert answers["lacks"] == stored.read_text(), "run tools/engine_models.py"


@pytest.mark.parametrize("name", MODELS)
def test_the_layers_that_predict_several_tokens_are_found_where_the_engine_finds_them(
    answers: Mapping[str, Any], name: str
) -> None:
    answer = answers[name]
    found = drafts.mtp_layers(MODELS[name])
    if "error" in answer:
        assert found is None or not found.count
    elif not answer["mtp"]:
        assert found is None or found.count == 0
    else:
        assert found is not None
        assert found.count == answer["layers"]
        assert drafts.built_as("mtp", MODELS[name]) == answer["architecture"]
