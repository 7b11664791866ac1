"""What is known to fail between a draft, its verifier and the GPUs; and what is not known to, and passes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speculator_operator.api import Finding, Reason
from speculator_operator.core.checkpoint import read_recipe
from speculator_operator.core.compatibility import findings

RECIPES = Path(__file__).parents[1] / "data" / "recipes"
QWEN3 = "regular-qwen3-8b"
LLAMA = "regular-llama-3.1-8b"
EAGLE3 = "eagle3-qwen3-8b"
VERIFIER = "spec.verifier.uri"
TENSOR = "spec.parallelism.tensor"
PIPELINE = "spec.parallelism.pipeline"


def load(name: str) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((RECIPES / f"{name}.json").read_text())
    return config


def found(
    draft: str,
    verifier: dict[str, Any] | str,
    changes: dict[str, Any] | None = None,
    layer: dict[str, Any] | None = None,
    **given: Any,
) -> tuple[Finding, ...]:
    """Findings for a recipe of the test data, some keys of it (or of its layer) changed."""
    config = load(draft) | (changes or {})
    config["transformer_layer_config"] |= layer or {}
    recipe = read_recipe(config, engine_version="0.32.0")
    target = load(verifier) if isinstance(verifier, str) else verifier
    defaults: dict[str, Any] = {"tensor": 1, "pipeline": 1, "draft_tensor": None, "max_model_len": None}
    return findings(recipe=recipe, method=None, draft=config, verifier=target, **defaults | given)


@pytest.mark.parametrize("tensor", [1, 2, 4, 8, 16, 32])
@pytest.mark.parametrize(
    ("draft", "verifier"),
    [
        ("eagle3-llama-3.1-8b-quantized", LLAMA),
        ("eagle3-qwen3-8b", QWEN3),
        ("eagle3-qwen3-8b-qwen3-layers", QWEN3),
        ("peagle-qwen3-8b", QWEN3),
        ("dflash-qwen3-8b", QWEN3),
        ("dflash2-qwen3-8b", QWEN3),
        ("dspark-qwen3-8b", QWEN3),
    ],
)
def test_a_draft_fits_the_verifier_it_was_trained_for(draft: str, verifier: str, tensor: int) -> None:
    assert found(draft, verifier, tensor=tensor) == ()


QWEN3_CONFIG = load(QWEN3)
SMALL = QWEN3_CONFIG | {"hidden_size": 2560}
NESTED = {"architectures": ["Qwen3VLForConditionalGeneration"], "text_config": QWEN3_CONFIG}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}

CASES: list[tuple[str, Reason, str, dict[str, Any]]] = [
    (
        "a verifier that is a speculators checkpoint, and nothing else is said of it",
        Reason.VERIFIER_IS_SPECULATOR,
        VERIFIER,
        {"draft": EAGLE3, "verifier": load("dflash-qwen3-8b"), "tensor": 3},
    ),
    (
        "a verifier of another hidden size",
        Reason.HIDDEN_SIZE_MISMATCH,
        VERIFIER,
        {"draft": EAGLE3, "verifier": SMALL},
    ),
    (
        "a verifier of another hidden size, nested",
        Reason.HIDDEN_SIZE_MISMATCH,
        VERIFIER,
        {"draft": "dflash-qwen3-8b", "verifier": {"thinker_config": {"text_config": SMALL}}},
    ),
    (
        "a draft that names another hidden size than the verifier's",
        Reason.HIDDEN_SIZE_MISMATCH,
        VERIFIER,
        {"draft": EAGLE3, "verifier": QWEN3, "changes": {"target_hidden_size": 5120}},
    ),
    (
        "a verifier that speaks another vocabulary, a smaller one",
        Reason.VOCABULARY_MISMATCH,
        VERIFIER,
        {"draft": EAGLE3, "verifier": LLAMA},
    ),
    (
        "a verifier that speaks another vocabulary, a larger one",
        Reason.VOCABULARY_MISMATCH,
        VERIFIER,
        {"draft": "eagle3-llama-3.1-8b-quantized", "verifier": QWEN3},
    ),
    (
        "a draft vocabulary that is larger than the verifier's",
        Reason.VOCABULARY_MISMATCH,
        VERIFIER,
        {"draft": EAGLE3, "verifier": QWEN3, "changes": {"draft_vocab_size": 151937}},
    ),
    (
        "auxiliary layers that the verifier doesn't have",
        Reason.AUXILIARY_LAYERS_INVALID,
        VERIFIER,
        {"draft": "dflash-qwen3-8b", "verifier": QWEN3_CONFIG | {"num_hidden_layers": 32}},
    ),
    (
        "auxiliary layers that are named twice",
        Reason.AUXILIARY_LAYERS_INVALID,
        VERIFIER,
        {"draft": "dspark-qwen3-8b", "verifier": QWEN3, "changes": {"aux_hidden_state_layer_ids": [2, 10, 10]}},
    ),
    (
        "default layers that coincide in a small verifier",
        Reason.AUXILIARY_LAYERS_INVALID,
        VERIFIER,
        {"draft": EAGLE3, "verifier": QWEN3_CONFIG | {"num_hidden_layers": 6}},
    ),
    (
        "default layers that a tiny verifier doesn't have",
        Reason.AUXILIARY_LAYERS_INVALID,
        VERIFIER,
        {"draft": EAGLE3, "verifier": QWEN3_CONFIG | {"num_hidden_layers": 2}},
    ),
    (
        "more layers than a draft of llama layers is built for",
        Reason.AUXILIARY_LAYERS_INVALID,
        "spec.model.uri",
        {
            "draft": "peagle-qwen3-8b",
            "verifier": QWEN3,
            "changes": {"eagle_aux_hidden_state_layer_ids": [2, 9, 18, 33]},
        },
    ),
    (
        "a verifier's heads that three GPUs can't share",
        Reason.HEADS_NOT_DIVISIBLE,
        TENSOR,
        {
            "draft": EAGLE3,
            "verifier": QWEN3,
            "layer": {"num_attention_heads": 24, "num_key_value_heads": 3},
            "tensor": 3,
        },
    ),
    (
        "a verifier's key-value heads that are neither split nor copied evenly",
        Reason.HEADS_NOT_DIVISIBLE,
        TENSOR,
        {"draft": EAGLE3, "verifier": QWEN3_CONFIG | {"num_key_value_heads": 6}, "tensor": 4},
    ),
    (
        "a draft's heads that eight GPUs can't share, though it is to run on one",
        Reason.HEADS_NOT_DIVISIBLE,
        TENSOR,
        {
            "draft": EAGLE3,
            "verifier": QWEN3,
            "layer": {"num_attention_heads": 12, "num_key_value_heads": 12},
            "tensor": 8,
            "draft_tensor": 1,
        },
    ),
    (
        "a draft on some of the GPUs",
        Reason.DRAFT_TENSOR_PARALLEL_INVALID,
        "spec.speculation.draftTensorParallelSize",
        {"draft": EAGLE3, "verifier": QWEN3, "tensor": 4, "draft_tensor": 2},
    ),
    (
        "several stages on an engine that can't tap over them",
        Reason.PIPELINE_UNSUPPORTED,
        PIPELINE,
        {"draft": EAGLE3, "verifier": QWEN3, "pipeline": 2, "engine_version": "0.29.0"},
    ),
    (
        "several stages with parallel drafting",
        Reason.PIPELINE_UNSUPPORTED,
        PIPELINE,
        {"draft": "peagle-qwen3-8b", "verifier": QWEN3, "pipeline": 2},
    ),
    (
        "several stages of a verifier that is tapped within one",
        Reason.PIPELINE_UNSUPPORTED,
        PIPELINE,
        {"draft": EAGLE3, "verifier": QWEN3_CONFIG | {"architectures": ["Qwen3MoeForCausalLM"]}, "pipeline": 2},
    ),
    (
        "more context than the verifier has",
        Reason.CONTEXT_TOO_LONG,
        "spec.engine.args",
        {"draft": EAGLE3, "verifier": QWEN3, "max_model_len": 40961},
    ),
    (
        "more context than the verifier has, its scaling being in its length already",
        Reason.CONTEXT_TOO_LONG,
        "spec.engine.args",
        {"draft": "eagle3-llama-3.1-8b-quantized", "verifier": LLAMA, "max_model_len": 131073},
    ),
    (
        "more context than the verifier has, which an engine takes as scaled",
        Reason.CONTEXT_TOO_LONG,
        "spec.engine.args",
        {"draft": EAGLE3, "verifier": QWEN3_CONFIG | {"rope_scaling": YARN}, "max_model_len": 40961},
    ),
]


@pytest.mark.parametrize(("reason", "field", "case"), [row[1:] for row in CASES], ids=[row[0] for row in CASES])
def test_what_is_known_to_fail_is_found_once(reason: Reason, field: str, case: dict[str, Any]) -> None:
    (finding,) = found(**case)
    assert (finding.reason, finding.field) == (reason, field)
    assert ";" in finding.message, "the remedy follows the finding"


@pytest.mark.parametrize(
    "case",
    [
        pytest.param({"draft": EAGLE3, "verifier": NESTED}, id="a verifier whose language model is nested"),
        pytest.param(
            {"draft": EAGLE3, "verifier": SMALL, "changes": {"target_hidden_size": 2560}},
            id="a draft of its own width that names the verifier's",
        ),
        pytest.param(
            {"draft": EAGLE3, "verifier": QWEN3_CONFIG | {"hidden_size": 1024, "hc_mult": 4}},
            id="a verifier with several residual streams",
        ),
        pytest.param(
            {"draft": "eagle3-llama-3.1-8b-quantized", "verifier": LLAMA, "layer": {"vocab_size": 128000}},
            id="the vocabulary that the converter writes where it knows none",
        ),
        pytest.param(
            {"draft": EAGLE3, "verifier": QWEN3_CONFIG | {"vocab_size": 151940}}, id="a fine-tune with added tokens"
        ),
        pytest.param(
            {"draft": "dspark-qwen3-8b", "verifier": QWEN3, "layer": {"vocab_size": 152064}},
            id="a dspark draft with a padded vocabulary",
        ),
        pytest.param(
            {"draft": "dflash-qwen3-8b", "verifier": QWEN3, "changes": {"aux_hidden_state_layer_ids": [0, 18, 36]}},
            id="the layers at both ends",
        ),
        pytest.param(
            {
                "draft": "eagle3-qwen3-8b-qwen3-layers",
                "verifier": QWEN3,
                "changes": {"eagle_aux_hidden_state_layer_ids": [2, 9, 18, 33]},
            },
            id="four layers for a draft of qwen3 layers",
        ),
        pytest.param(
            {"draft": EAGLE3, "verifier": QWEN3_CONFIG | {"num_key_value_heads": 1, "kv_lora_rank": 512}, "tensor": 4},
            id="latent attention, whose key-value heads aren't split",
        ),
        pytest.param(
            {"draft": EAGLE3, "verifier": QWEN3, "tensor": 4, "draft_tensor": 1}, id="a draft whole on each GPU"
        ),
        pytest.param({"draft": EAGLE3, "verifier": QWEN3, "tensor": 4, "draft_tensor": 4}, id="a draft on all GPUs"),
        pytest.param(
            {"draft": EAGLE3, "verifier": QWEN3, "pipeline": 2, "engine_version": "0.30.0"},
            id="several stages where the engine taps over them",
        ),
        pytest.param({"draft": EAGLE3, "verifier": QWEN3, "max_model_len": 40960}, id="the whole context"),
        pytest.param({"draft": EAGLE3, "verifier": QWEN3, "max_model_len": -1}, id="a context that the engine chooses"),
        pytest.param(
            {
                "draft": EAGLE3,
                "verifier": QWEN3_CONFIG | {"rope_scaling": YARN},
                "max_model_len": 131072,
                "engine_version": "0.29.0",
            },
            id="the whole of a context that an older engine scales",
        ),
        pytest.param(
            {
                "draft": EAGLE3,
                "verifier": QWEN3_CONFIG | {"rope_scaling": {"type": "linear", "factor": 2.0}},
                "max_model_len": 81920,
            },
            id="the whole of a context that is scaled",
        ),
        pytest.param(
            {"draft": EAGLE3, "verifier": QWEN3_CONFIG | {"rope_scaling": "odd"}, "max_model_len": 10**6},
            id="a context whose scaling isn't understood",
        ),
        pytest.param(
            {
                "draft": EAGLE3,
                "verifier": {},
                "tensor": 3,
                "max_model_len": 10**9,
                "layer": {"num_attention_heads": None, "num_key_value_heads": None},
            },
            id="a verifier that says nothing of itself",
        ),
    ],
)
def test_what_is_not_known_to_fail_passes(case: dict[str, Any]) -> None:
    assert found(**case) == ()


def test_all_findings_are_told_the_most_telling_first() -> None:
    told = found(
        EAGLE3, load(LLAMA) | {"hidden_size": 2048}, tensor=3, pipeline=2, draft_tensor=2, engine_version="0.25"
    )
    assert [finding.reason for finding in told] == [
        Reason.HIDDEN_SIZE_MISMATCH,
        Reason.VOCABULARY_MISMATCH,
        Reason.HEADS_NOT_DIVISIBLE,
        Reason.HEADS_NOT_DIVISIBLE,
        Reason.DRAFT_TENSOR_PARALLEL_INVALID,
        Reason.PIPELINE_UNSUPPORTED,
    ]


PLAIN: dict[str, Any] = {
    "recipe": None,
    "method": None,
    "draft": None,
    "verifier": QWEN3_CONFIG,
    "tensor": 1,
    "pipeline": 1,
    "draft_tensor": None,
    "max_model_len": None,
}
RAW_EAGLE3 = {
    "architectures": ["LlamaForCausalLMEagle3"],
    "hidden_size": 4096,
    "vocab_size": 151936,
    "draft_vocab_size": 32000,
}


@pytest.mark.parametrize(
    ("given", "reasons"),
    [
        pytest.param({}, [], id="a regular model"),
        pytest.param({"tensor": 3}, [Reason.HEADS_NOT_DIVISIBLE], id="a regular model on three GPUs"),
        pytest.param({"max_model_len": 50000}, [Reason.CONTEXT_TOO_LONG], id="a regular model with too long a context"),
        pytest.param({"method": "ngram", "tensor": 8, "pipeline": 2}, [], id="prompt lookup over stages"),
        pytest.param({"method": "mtp", "draft": QWEN3_CONFIG}, [], id="heads inside the verifier"),
        pytest.param({"method": "draft_model", "draft": SMALL}, [], id="a smaller model of the family as a draft"),
        pytest.param(
            {"method": "draft_model", "draft": load(LLAMA)},
            [Reason.VOCABULARY_MISMATCH],
            id="a draft of another family",
        ),
        pytest.param({"method": "eagle3", "draft": RAW_EAGLE3}, [], id="an eagle3 head of other origin"),
        pytest.param(
            {
                "method": "eagle3",
                "draft": RAW_EAGLE3 | {"eagle_config": {"eagle_aux_hidden_state_layer_ids": [1, 46, 90]}},
            },
            [Reason.AUXILIARY_LAYERS_INVALID],
            id="an eagle3 head of other origin that taps layers which aren't there",
        ),
        pytest.param(
            {"method": "dflash", "draft": RAW_EAGLE3 | {"dflash_config": {"target_layer_ids": [1, 17, 35]}}},
            [],
            id="a dflash draft of other origin, which counts from 0",
        ),
        pytest.param(
            {"method": "dflash", "draft": RAW_EAGLE3 | {"dflash_config": {"target_layer_ids": [1, 17, 36]}}},
            [Reason.AUXILIARY_LAYERS_INVALID],
            id="a dflash draft of other origin that taps one layer too far",
        ),
        pytest.param(
            {"method": "eagle3", "draft": load(EAGLE3), "verifier": SMALL},
            [Reason.HIDDEN_SIZE_MISMATCH],
            id="a speculators checkpoint that the resource names as a draft",
        ),
    ],
)
def test_without_a_recipe_the_method_and_its_draft_are_judged(given: dict[str, Any], reasons: list[Reason]) -> None:
    assert [finding.reason for finding in findings(**PLAIN | given)] == reasons


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KEYS = [
    *("architectures", "text_config", "thinker_config", "transformer_layer_config", "rope_scaling", "rope_parameters"),
    *("hidden_size", "vocab_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "hc_mult"),
    *("max_position_embeddings", "model_max_length", "draft_vocab_size", "target_hidden_size", "target_layer_ids"),
    *("eagle_aux_hidden_state_layer_ids", "aux_hidden_state_layer_ids", "eagle_config", "dflash_config"),
]
CONFIG = st.dictionaries(st.sampled_from(KEYS), JSON | st.just(YARN), max_size=6)


@given(draft=CONFIG, verifier=CONFIG, method=st.sampled_from(["eagle3", "dflash", "dspark", "draft_model", "ngram"]))
def test_whatever_two_configs_hold_they_are_judged(
    draft: dict[str, Any], verifier: dict[str, Any], method: str
) -> None:
    pair = {"draft": draft, "verifier": verifier, "method": method, "max_model_len": 4096, "tensor": 4, "pipeline": 2}
    for finding in findings(**PLAIN | pair):
        assert len(finding.message) < 1000
