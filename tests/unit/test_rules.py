"""What is known to fail between a draft, its verifier and the accelerators, what may; and what passes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speculator_operator.api import Finding, MemoryEstimate, Reason, Severity
from speculator_operator.core.checkpoint import Snapshot, read_recipe
from speculator_operator.core.context import context_length, served_length
from speculator_operator.core.engine_args import fields_from, flags_of, parse_args
from speculator_operator.core.model_config import NOTHING
from speculator_operator.core.rules import Case, findings
from tests.support.configs import CONFIG, JSON, METHODS, YARN, load

QWEN3 = "regular-qwen3-8b"
LLAMA = "regular-llama-3.1-8b"
EAGLE3 = "eagle3-qwen3-8b"
MODEL = "spec.model.uri"
VERIFIER = "spec.verifier.uri"
TENSOR = "spec.parallelism.tensor"
PIPELINE = "spec.parallelism.pipeline"


def model(config: Mapping[str, Any], uri: str = "org/model", files: Mapping[str, int] | None = None) -> Snapshot:
    return Snapshot(uri=uri, revision="0" * 40, config=config, files=files)


def found(
    draft: str,
    verifier: dict[str, Any] | str,
    changes: dict[str, Any] | None = None,
    layer: dict[str, Any] | None = None,
    draft_tensor: int | None = None,
    **given: Any,
) -> tuple[Finding, ...]:
    """Findings for a recipe of the test data, some keys of it (or of its layer) changed."""
    config = load(draft) | (changes or {})
    config["transformer_layer_config"] |= layer or {}
    recipe = read_recipe(config, engine_version="0.32.0")
    assert recipe is not None
    speculative = {"method": recipe.method, "num_speculative_tokens": 3}
    if draft_tensor is not None:
        speculative["draft_tensor_parallel_size"] = draft_tensor
    target = load(verifier) if isinstance(verifier, str) else verifier
    models: dict[str, Any] = {"recipe": recipe, "draft": model(config), "verifier": model(target)}
    return findings(Case(speculative=speculative, **models, **{"engine_version": "0.32.0", "flags": NOTHING} | given))


def errors(told: tuple[Finding, ...]) -> tuple[Finding, ...]:
    return tuple(finding for finding in told if finding.severity == Severity.ERROR)


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
EXPERTS = QWEN3_CONFIG | {"num_experts": 8}
IN_PARALLEL = {"--enable-expert-parallel": "true"}
NESTED = {
    "architectures": ["Qwen3VLForConditionalGeneration"],
    "model_type": "qwen3_vl",
    "text_config": QWEN3_CONFIG,
}

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
        {
            "draft": "dflash-qwen3-8b",
            "verifier": {"model_type": "qwen3_omni_moe", "thinker_config": {"text_config": SMALL}},
        },
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
        "a dflash draft that samples from its anchor",
        Reason.RECIPE_UNSUPPORTED,
        MODEL,
        {"draft": "dflash-qwen3-8b", "verifier": QWEN3, "changes": {"sample_from_anchor": True}},
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
    (
        "experts in parallel on an engine that asks the draft for some",
        Reason.ARGS_INVALID,
        "spec.engine.args",
        {"draft": EAGLE3, "verifier": EXPERTS, "flags": IN_PARALLEL, "engine_version": "0.30.0"},
    ),
]


@pytest.mark.parametrize(("reason", "field", "case"), [row[1:] for row in CASES], ids=[row[0] for row in CASES])
def test_what_is_known_to_fail_is_found_once(reason: Reason, field: str, case: dict[str, Any]) -> None:
    (finding,) = errors(found(**case))
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
            {"draft": "dspark-qwen3-8b", "verifier": QWEN3, "changes": {"sample_from_anchor": True}},
            id="a dspark draft that samples from its anchor",
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
            {"draft": EAGLE3, "verifier": EXPERTS, "flags": IN_PARALLEL, "engine_version": "0.29.0"},
            id="experts in parallel before the draft was asked for some",
        ),
        pytest.param(
            {"draft": EAGLE3, "verifier": EXPERTS, "flags": IN_PARALLEL, "engine_version": "0.31.0"},
            id="experts in parallel since the draft isn't asked for some",
        ),
        pytest.param(
            {"draft": EAGLE3, "verifier": EXPERTS, "engine_version": "0.30.0"},
            id="experts that aren't spread",
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
                "layer": {"num_attention_heads": 3, "num_key_value_heads": 3},
            },
            id="a verifier that says nothing of itself",
        ),
    ],
)
def test_what_is_not_known_to_fail_passes(case: dict[str, Any]) -> None:
    assert errors(found(**case)) == ()


def test_all_findings_are_told_the_most_telling_first() -> None:
    told = found(
        EAGLE3, load(LLAMA) | {"hidden_size": 2048}, tensor=3, pipeline=2, draft_tensor=2, engine_version="0.25"
    )
    assert [finding.reason for finding in errors(told)] == [
        Reason.HIDDEN_SIZE_MISMATCH,
        Reason.VOCABULARY_MISMATCH,
        Reason.HEADS_NOT_DIVISIBLE,
        Reason.HEADS_NOT_DIVISIBLE,
        Reason.DRAFT_TENSOR_PARALLEL_INVALID,
        Reason.PIPELINE_UNSUPPORTED,
    ]


GIVEN = "spec.speculation.config.model"
METHOD = "spec.speculation.config.method"
TOKENS = "spec.speculation.numSpeculativeTokens"
SCHEDULE = "spec.speculation.config.num_speculative_tokens_per_batch_size"

RAW_EAGLE3 = {
    "architectures": ["LlamaForCausalLMEagle3"],
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 1,
    "vocab_size": 151936,
    "draft_vocab_size": 32000,
}
PADDING = "spec.speculation.config.disable_padded_drafter_batch"
ARGMAX = "spec.speculation.config.use_local_argmax_reduction"
TOP_TOKENS = {"use_local_argmax_reduction": True, "num_speculative_tokens": 2}
UNPADDED = {"disable_padded_drafter_batch": True}
SHORT_EAGLE3 = RAW_EAGLE3 | {"max_position_embeddings": 2048}


def by(method: str) -> dict[str, Any]:
    return {"quantization_config": {"quant_method": method}}


def in_blocks(config: Mapping[str, Any], width: int) -> dict[str, Any]:
    blocks = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
    return {**config, "intermediate_size": width, "moe_intermediate_size": width, "quantization_config": blocks}


#: As its authors publish it: a llama model of one layer.
RAW_EAGLE = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 1,
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
}
MEDUSA = {"model_type": "medusa", "hidden_size": 4096, "vocab_size": 151936, "num_heads": 3, "num_hidden_layers": 1}
OLD_MEDUSA = {"base_model_name_or_path": "org/model", "medusa_num_heads": 4, "medusa_num_layers": 1}
MLP = {"model_type": "mlp_speculator", "emb_dim": 4096, "inner_dim": 3072, "n_predict": 3, "vocab_size": 151936}
DFLASH = RAW_EAGLE3 | {"architectures": ["DFlashDraftModel"], "draft_vocab_size": None}
SMALL_DRAFT = QWEN3_CONFIG | {"hidden_size": 1024, "num_hidden_layers": 28}
EXPERTS = QWEN3_CONFIG | {"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "num_experts": 128}
GLM = {
    "architectures": ["Glm4MoeForCausalLM"],
    "model_type": "glm4_moe",
    "hidden_size": 4096,
    "num_hidden_layers": 46,
    "num_nextn_predict_layers": 1,
}
DEEPSEEK_V3 = {"architectures": ["Eagle3DeepseekV3ForCausalLM"], "model_type": "deepseek_v3"}
DSPARK = {
    "architectures": ["Qwen3DSparkModel"],
    "model_type": "qwen3",
    "hidden_size": 4096,
    "target_layer_ids": [1, 17, 35],
}
OMNI_DSPARK = DSPARK | {"architectures": ["Qwen3OmniDSparkModel"]}
OMNI = {
    "architectures": ["Qwen3OmniMoeForConditionalGeneration"],
    "model_type": "qwen3_omni_moe",
    "thinker_config": {"text_config": QWEN3_CONFIG},
}
MIMO_V2 = {"architectures": ["MiMoV2FlashForCausalLM"], "model_type": "mimo_v2_flash"}
GEMMA3 = {
    "architectures": ["Gemma3ForConditionalGeneration"],
    "model_type": "gemma3",
    "text_config": {"max_position_embeddings": 131072, "rope_scaling": {"rope_type": "linear", "factor": 8.0}},
}
PHI3 = {
    "architectures": ["Phi3ForCausalLM"],
    "model_type": "phi3",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "vocab_size": 151936,
    "max_position_embeddings": 131072,
    "original_max_position_embeddings": 4096,
    "rope_scaling": {"type": "longrope"},
}
MISTRAL = {
    "architectures": ["MistralForCausalLM"],
    "model_type": "mistral",
    "max_position_embeddings": 32768,
    "sliding_window": 4096,
}
NO_WINDOW = {"--disable-sliding-window": "true"}
QWEN3_5 = {
    "architectures": ["Qwen3_5MoeForConditionalGeneration"],
    "model_type": "qwen3_5_moe",
    "text_config": {"model_type": "qwen3_5_moe_text", "mtp_num_hidden_layers": 2, "hidden_size": 2048},
}


def judged(
    method: str | None = None,
    draft: Mapping[str, Any] | None = None,
    verifier: Mapping[str, Any] = QWEN3_CONFIG,
    name: str = "org/draft",
    speculative: Mapping[str, Any] | None = None,
    **given: Any,
) -> tuple[Finding, ...]:
    """Findings for a regular model, and the method and draft that a resource gives it."""
    config = {"method": method, "num_speculative_tokens": 3, **(speculative or {})} if method else {}
    drafted = model(draft, name) if draft is not None else None
    models: dict[str, Any] = {"draft": drafted, "verifier": model(verifier)}
    return findings(Case(speculative=config, **models, **{"engine_version": "0.32.0", "flags": NOTHING} | given))


@pytest.mark.parametrize(
    ("reason", "field", "case"),
    [
        pytest.param(Reason.HEADS_NOT_DIVISIBLE, TENSOR, {"tensor": 3}, id="a regular model on three GPUs"),
        pytest.param(Reason.PIPELINE_UNSUPPORTED, PIPELINE, {"pipeline": 37}, id="more stages than layers"),
        pytest.param(
            Reason.CONTEXT_TOO_LONG,
            "spec.engine.args",
            {"max_model_len": 50000},
            id="a regular model with too long a context",
        ),
        pytest.param(
            Reason.CONTEXT_TOO_LONG,
            "spec.engine.args",
            {"verifier": GEMMA3, "max_model_len": 131073},
            id="a Gemma 3 with too long a context, its scaling being in its length already",
        ),
        pytest.param(
            Reason.CONTEXT_TOO_LONG,
            "spec.engine.args",
            {"verifier": PHI3, "max_model_len": 131073},
            id="more context than longrope scales to",
        ),
        pytest.param(
            Reason.CONTEXT_TOO_LONG,
            "spec.engine.args",
            {"verifier": MISTRAL, "max_model_len": 4097, "flags": NO_WINDOW},
            id="more context than the sliding window that is disabled",
        ),
        pytest.param(
            Reason.RECIPE_OVERRIDE_INVALID,
            "spec.speculation.config.max_model_len",
            {"method": "eagle3", "draft": SHORT_EAGLE3, "max_model_len": 8192, "speculative": {"max_model_len": 8192}},
            id="a length that the draft is read with, beyond its own context",
        ),
        pytest.param(
            Reason.RECIPE_OVERRIDE_INVALID,
            PADDING,
            {"method": "eagle3", "draft": RAW_EAGLE3, "speculative": UNPADDED | {"parallel_drafting": True}},
            id="a head that drafts in parallel, without padding",
        ),
        pytest.param(
            Reason.RECIPE_OVERRIDE_INVALID,
            PADDING,
            {"method": "draft_model", "draft": SMALL_DRAFT, "speculative": UNPADDED | {"parallel_drafting": True}},
            id="a model that drafts in parallel, without padding",
        ),
        pytest.param(
            Reason.RECIPE_OVERRIDE_INVALID,
            PADDING,
            {
                "method": "draft_model",
                "draft": load(LLAMA),
                "speculative": UNPADDED | {"use_heterogeneous_vocab": True},
            },
            id="a model of another vocabulary, without padding",
        ),
        pytest.param(
            Reason.RECIPE_UNSUPPORTED,
            GIVEN,
            {"method": "dflash", "draft": DFLASH | {"dflash_config": {"sample_from_anchor": True}}},
            id="a dflash draft that samples from its anchor",
        ),
        *(
            pytest.param(Reason.RECIPE_OVERRIDE_INVALID, ARGMAX, {**case, "speculative": TOP_TOKENS}, id=name)
            for name, case in {
                "local argmax of a model that can't": {
                    "method": "draft_model",
                    "draft": SMALL_DRAFT | {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"},
                },
                "local argmax of an eagle head that can't": {
                    "method": "eagle",
                    "draft": RAW_EAGLE | {"architectures": ["CohereForCausalLM"]},
                },
                "local argmax of an eagle head that is a layer of DeepSeek's": {
                    "method": "eagle",
                    "draft": RAW_EAGLE | {"model_type": "deepseek_v3"},
                },
                "local argmax of layers in the verifier that can't": {"method": "mtp", "verifier": GLM},
            }.items()
        ),
        pytest.param(
            Reason.HIDDEN_SIZE_MISMATCH,
            VERIFIER,
            {"method": "eagle3", "draft": load(EAGLE3), "verifier": SMALL},
            id="a speculators checkpoint that the resource names as a draft",
        ),
        pytest.param(
            Reason.AUXILIARY_LAYERS_INVALID,
            VERIFIER,
            {
                "method": "eagle3",
                "draft": RAW_EAGLE3 | {"eagle_config": {"eagle_aux_hidden_state_layer_ids": [1, 46, 90]}},
            },
            id="an eagle3 head of other origin that taps layers which aren't there",
        ),
        pytest.param(
            Reason.AUXILIARY_LAYERS_INVALID,
            VERIFIER,
            {"method": "dflash", "draft": DFLASH | {"dflash_config": {"target_layer_ids": [1, 17, 36]}}},
            id="a dflash draft of other origin that taps one layer too far",
        ),
        pytest.param(
            Reason.HIDDEN_SIZE_MISMATCH,
            VERIFIER,
            {"method": "eagle", "draft": RAW_EAGLE | {"hidden_size": 2048}},
            id="an eagle head of another width",
        ),
        pytest.param(
            Reason.VOCABULARY_MISMATCH,
            VERIFIER,
            {"method": "eagle", "draft": RAW_EAGLE | {"vocab_size": 128256}},
            id="an eagle head of another vocabulary",
        ),
        pytest.param(
            Reason.HIDDEN_SIZE_MISMATCH,
            VERIFIER,
            {"method": "medusa", "draft": MEDUSA, "verifier": SMALL},
            id="medusa heads of another width",
        ),
        pytest.param(
            Reason.HIDDEN_SIZE_MISMATCH,
            VERIFIER,
            {"method": "medusa", "draft": OLD_MEDUSA, "verifier": SMALL},
            id="medusa heads that don't say their width, which the engine then takes for 4096",
        ),
        pytest.param(
            Reason.VOCABULARY_MISMATCH,
            VERIFIER,
            {"method": "medusa", "draft": MEDUSA | {"vocab_size": 32000}},
            id="medusa heads of another vocabulary",
        ),
        pytest.param(
            Reason.TOKENS_UNFIT,
            TOKENS,
            {"method": "medusa", "draft": MEDUSA, "speculative": {"num_speculative_tokens": 4}},
            id="more tokens than there are medusa heads",
        ),
        pytest.param(
            Reason.TOKENS_UNFIT,
            TOKENS,
            {"method": "medusa", "draft": OLD_MEDUSA, "speculative": {"num_speculative_tokens": 5}},
            id="more tokens than there are medusa heads, of the old format",
        ),
        pytest.param(
            Reason.METHOD_UNSUPPORTED,
            METHOD,
            {"method": "mlp_speculator", "draft": MLP},
            id="an MLP speculator, which the engine no longer runs",
        ),
        pytest.param(
            Reason.VOCABULARY_MISMATCH,
            VERIFIER,
            {"method": "draft_model", "draft": load(LLAMA)},
            id="a model of another family as a draft",
        ),
        pytest.param(
            Reason.DRAFT_TENSOR_PARALLEL_INVALID,
            "spec.speculation.draftTensorParallelSize",
            {
                "method": "draft_model",
                "draft": SMALL_DRAFT,
                "tensor": 4,
                "speculative": {"draft_tensor_parallel_size": 1},
            },
            id="a model as a draft that isn't split as the verifier is",
        ),
        pytest.param(
            Reason.PIPELINE_UNSUPPORTED,
            PIPELINE,
            {"method": "draft_model", "draft": SMALL_DRAFT, "pipeline": 2},
            id="a model as a draft beside several stages",
        ),
        pytest.param(
            Reason.PIPELINE_UNSUPPORTED,
            PIPELINE,
            {"verifier": QWEN3_CONFIG | {"architectures": ["Zamba2ForCausalLM"]}, "pipeline": 2},
            id="a regular model that can't be spread over stages",
        ),
        pytest.param(
            Reason.PIPELINE_UNSUPPORTED,
            PIPELINE,
            {"method": "mtp", "verifier": GLM, "pipeline": 2, "speculative": {"enable_adaptive_verification": True}},
            id="adaptive verification over several stages",
        ),
        pytest.param(
            Reason.VERIFIER_UNTAPPABLE,
            METHOD,
            {
                "method": "eagle3",
                "draft": RAW_EAGLE3,
                "verifier": QWEN3_CONFIG | {"architectures": ["MixtralForCausalLM"]},
            },
            id="a verifier that the engine can't tap",
        ),
        pytest.param(
            Reason.MTP_LAYERS_MISSING,
            METHOD,
            {"method": "mtp"},
            id="a verifier of a type without layers for multi-token prediction",
        ),
        pytest.param(
            Reason.MTP_LAYERS_MISSING,
            METHOD,
            {"method": "mtp", "verifier": GLM | {"num_nextn_predict_layers": 0}},
            id="a verifier whose layers for multi-token prediction were taken out",
        ),
        pytest.param(
            Reason.MTP_LAYERS_MISSING,
            METHOD,
            {"method": "mtp", "verifier": {"model_type": "deepseek_v41", "num_nextn_predict_layers": 1}},
            id="a verifier whose layers are dspark's",
        ),
        pytest.param(
            Reason.MTP_LAYERS_MISSING,
            "spec.engine.image",
            {"method": "mtp", "verifier": MIMO_V2, "engine_version": "0.20.2"},
            id="a verifier whose layers the engine doesn't know yet",
        ),
        pytest.param(
            Reason.MTP_LAYERS_MISSING,
            "spec.engine.image",
            {"method": "mtp", "draft": {"model_type": "gemma4_assistant"}, "engine_version": "0.20.2"},
            id="an assistant that the engine doesn't know yet",
        ),
        pytest.param(
            Reason.MTP_LAYERS_MISSING,
            GIVEN,
            {"method": "mtp", "draft": SMALL_DRAFT},
            id="a model that is named as such layers and has none",
        ),
        pytest.param(
            Reason.TOKENS_UNFIT,
            TOKENS,
            {"method": "mtp", "verifier": QWEN3_5},
            id="three tokens of layers that make two at a time",
        ),
        pytest.param(
            Reason.HIDDEN_SIZE_MISMATCH,
            VERIFIER,
            {
                "method": "mtp",
                "draft": {"model_type": "gemma4_assistant", "backbone_hidden_size": 1536},
                "verifier": QWEN3_CONFIG,
            },
            id="an assistant of a verifier of another width",
        ),
        pytest.param(
            Reason.SCHEDULE_UNSUPPORTED,
            SCHEDULE,
            {
                "method": "medusa",
                "draft": MEDUSA,
                "speculative": {"num_speculative_tokens_per_batch_size": [[1, 8, 3], [9, 64, 1]]},
            },
            id="a schedule for medusa",
        ),
        pytest.param(
            Reason.ARCHITECTURE_UNKNOWN,
            "spec.model.uri",
            {"verifier": QWEN3_CONFIG | {"architectures": ["NewForCausalLM"]}},
            id="an architecture that neither the engine nor Transformers implements",
        ),
        pytest.param(
            Reason.ARCHITECTURE_UNKNOWN,
            "spec.model.uri",
            {"verifier": QWEN3_CONFIG | {"model_type": "new"}},
            id="a config that the engine doesn't understand",
        ),
        pytest.param(
            Reason.ARCHITECTURE_UNKNOWN,
            "spec.speculation.config.model",
            {"method": "eagle3", "draft": RAW_EAGLE3 | {"model_type": None}},
            id="a draft's config that says no type",
        ),
        pytest.param(
            Reason.DRAFT_UNFIT,
            GIVEN,
            {"method": "eagle3", "draft": RAW_EAGLE3 | DEEPSEEK_V3},
            id="an eagle3 head that the engine makes a layer for multi-token prediction of",
        ),
        pytest.param(
            Reason.DRAFT_UNFIT,
            GIVEN,
            {"method": "eagle", "draft": RAW_EAGLE | {"architectures": ["Glm4MoeForCausalLM"]}},
            id="an eagle head that the engine makes such a layer of, by its architecture",
        ),
        pytest.param(
            Reason.DRAFT_UNFIT,
            GIVEN,
            {
                "method": "draft_model",
                "draft": SMALL_DRAFT | {"model_type": "deepseek_v3", "num_nextn_predict_layers": 0},
            },
            id="a model by itself that the engine makes such layers of, though it has none",
        ),
        pytest.param(
            Reason.DRAFT_UNFIT,
            GIVEN,
            {"method": "dspark", "draft": DSPARK, "verifier": OMNI},
            id="a dspark draft of other layers for Qwen3-Omni",
        ),
        pytest.param(
            Reason.TOKENS_UNFIT,
            TOKENS,
            {"method": "dspark", "draft": OMNI_DSPARK | {"block_size": 4}, "verifier": OMNI},
            id="fewer tokens than the block of a dspark draft for Qwen3-Omni",
        ),
        pytest.param(
            Reason.METHOD_UNSUPPORTED,
            METHOD,
            {"method": "medusa", "draft": MEDUSA, "verifier": NESTED},
            id="medusa heads for a model that says its vocabulary of its language model only",
        ),
        pytest.param(
            Reason.ARGS_INVALID,
            "spec.engine.args",
            {"flags": IN_PARALLEL},
            id="experts in parallel of a model that has none",
        ),
        pytest.param(
            Reason.QUANTIZATION_UNSUPPORTED,
            MODEL,
            {"verifier": QWEN3_CONFIG | by("exl3")},
            id="weights that are quantized as no engine reads them",
        ),
        pytest.param(
            Reason.QUANTIZATION_UNSUPPORTED,
            MODEL,
            {"verifier": QWEN3_CONFIG | by("bitsandbytes")},
            id="weights that are quantized as no engine reads them any more",
        ),
        pytest.param(
            Reason.QUANTIZATION_UNSUPPORTED,
            MODEL,
            {"verifier": QWEN3_CONFIG | by("fbgemm_fp8")},
            id="weights that are quantized as an engine reads them only if it is allowed to",
        ),
        pytest.param(
            Reason.QUANTIZATION_UNSUPPORTED,
            GIVEN,
            {
                "method": "draft_model",
                "draft": SMALL_DRAFT | by("fbgemm_fp8"),
                "flags": {"--allow-deprecated-quantization": "true"},
            },
            id="a draft that is quantized so, which no engine is allowed to read",
        ),
        pytest.param(
            Reason.QUANTIZATION_UNSUPPORTED,
            "spec.engine.args",
            {"verifier": QWEN3_CONFIG | by("fp8"), "flags": {"--quantization": "AWQ"}},
            id="another quantization than the weights have",
        ),
        pytest.param(
            Reason.QUANTIZATION_UNSUPPORTED,
            "spec.engine.args",
            {"verifier": QWEN3_CONFIG | by("gptq"), "flags": {"--quantization": "awq_marlin"}},
            id="a kernel for another quantization than the weights have",
        ),
        pytest.param(
            Reason.QUANTIZATION_UNSUPPORTED,
            "spec.speculation.config.quantization",
            {
                "method": "draft_model",
                "draft": SMALL_DRAFT | by("fp8"),
                "speculative": {"quantization": "compressed-tensors"},
            },
            id="another quantization than the draft has",
        ),
        pytest.param(
            Reason.QUANTIZATION_UNSUPPORTED,
            TENSOR,
            {"verifier": in_blocks(QWEN3_CONFIG, 9728), "tensor": 8},
            id="weights whose blocks eight GPUs can't share",
        ),
        pytest.param(
            Reason.QUANTIZATION_UNSUPPORTED,
            TENSOR,
            {"method": "draft_model", "draft": in_blocks(SMALL_DRAFT, 9728), "tensor": 8},
            id="a draft's weights whose blocks eight GPUs can't share",
        ),
        pytest.param(
            Reason.QUANTIZATION_UNSUPPORTED,
            TENSOR,
            {"verifier": in_blocks(EXPERTS, 768), "tensor": 4, "engine_version": "0.28.0"},
            id="experts whose blocks the engine doesn't refine yet",
        ),
        pytest.param(
            Reason.ARGS_INVALID,
            "spec.engine.args",
            {"verifier": GEMMA3, "flags": {"--dtype": "half"}},
            id="a Gemma 3 in float16",
        ),
        pytest.param(
            Reason.ARGS_INVALID,
            "spec.engine.args",
            {
                "method": "draft_model",
                "draft": SMALL_DRAFT | {"model_type": "glm4"},
                "flags": {"--dtype": "float16"},
            },
            id="a draft in float16 that doesn't run in it",
        ),
    ],
)
def test_without_a_recipe_the_method_and_its_draft_are_judged(reason: Reason, field: str, case: dict[str, Any]) -> None:
    (finding,) = errors(judged(**case))
    assert (finding.reason, finding.field) == (reason, field)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param({}, id="a regular model"),
        pytest.param({"method": "ngram", "tensor": 8, "pipeline": 2}, id="prompt lookup over stages"),
        pytest.param(
            {"method": "eagle", "draft": RAW_EAGLE, "tensor": 8}, id="an eagle head as its authors publish it"
        ),
        pytest.param({"method": "eagle3", "draft": RAW_EAGLE3, "tensor": 2}, id="an eagle3 head of other origin"),
        pytest.param(
            {"method": "eagle3", "draft": RAW_EAGLE3 | {"architectures": ["LlamaForCausalLM"]}},
            id="an eagle3 head as its authors publish it",
        ),
        pytest.param(
            {
                "method": "eagle3",
                "draft": RAW_EAGLE3 | {"eagle_config": {"use_aux_hidden_state": False}},
                "verifier": QWEN3_CONFIG | {"num_hidden_layers": 6},
            },
            id="an eagle3 head that reads the last state, of a verifier too small to be tapped",
        ),
        pytest.param(
            {"method": "dflash", "draft": DFLASH | {"dflash_config": {"target_layer_ids": [1, 17, 35]}}},
            id="a dflash draft of other origin, which counts from 0",
        ),
        pytest.param(
            {
                "method": "eagle3",
                "draft": RAW_EAGLE3,
                "speculative": UNPADDED | {"parallel_drafting": True, "num_speculative_tokens": 1},
            },
            id="a head that drafts one token in parallel, without padding",
        ),
        pytest.param(
            {"method": "draft_model", "draft": SMALL_DRAFT, "speculative": UNPADDED},
            id="a model as a draft, without padding",
        ),
        *(
            pytest.param({**case, "speculative": TOP_TOKENS}, id=name)
            for name, case in {
                "local argmax of a model that can": {"method": "draft_model", "draft": SMALL_DRAFT},
                "local argmax of a head that can": {"method": "eagle3", "draft": RAW_EAGLE3},
                "local argmax of a speculators checkpoint": {"method": "eagle3", "draft": load(EAGLE3)},
                "local argmax of layers in the verifier that can": {"method": "mtp", "verifier": QWEN3_5},
                "local argmax, of which medusa heads know nothing": {"method": "medusa", "draft": MEDUSA},
            }.items()
        ),
        pytest.param(
            {"method": "dspark", "verifier": {"model_type": "deepseek_v4"}}, id="dspark drafts inside the verifier"
        ),
        pytest.param(
            {"method": "eagle", "draft": RAW_EAGLE | {"model_type": "deepseek_v3"}},
            id="an eagle head that is such a layer of DeepSeek's",
        ),
        pytest.param(
            {
                "method": "eagle3",
                "draft": RAW_EAGLE3 | {"model_type": "qwen3_5_text"},
                "engine_version": "0.27.0",
            },
            id="an eagle3 head that only a newer engine makes such a layer of",
        ),
        pytest.param(
            {"method": "draft_model", "draft": SMALL_DRAFT | {"model_type": "nemotron_h"}},
            id="a model by itself whose type may have such layers, and that has none",
        ),
        pytest.param(
            {"method": "dspark", "draft": OMNI_DSPARK | {"block_size": 3}, "verifier": OMNI},
            id="as many tokens as the block of a dspark draft for Qwen3-Omni",
        ),
        pytest.param(
            {"method": "medusa", "draft": MEDUSA, "verifier": NESTED | {"vocab_size": 151936}},
            id="medusa heads for a multimodal model that says its vocabulary at the top",
        ),
        pytest.param(
            {"method": "medusa", "draft": MEDUSA, "verifier": NESTED, "engine_version": "0.24.0"},
            id="medusa heads on an engine that doesn't ask for it",
        ),
        pytest.param(
            {"verifier": EXPERTS, "flags": IN_PARALLEL},
            id="experts in parallel",
        ),
        pytest.param(
            {
                "method": "draft_model",
                "draft": SMALL_DRAFT | {"num_experts": 4},
                "verifier": EXPERTS,
                "flags": IN_PARALLEL,
                "engine_version": "0.30.0",
            },
            id="experts in parallel of a draft that has some",
        ),
        pytest.param(
            {"method": "ngram", "verifier": EXPERTS, "flags": IN_PARALLEL, "engine_version": "0.30.0"},
            id="experts in parallel without a draft",
        ),
        pytest.param(
            {"verifier": {"model_type": "qwen3_moe"}, "flags": IN_PARALLEL},
            id="experts in parallel of a model that says nothing of itself",
        ),
        pytest.param({"pipeline": 36}, id="as many stages as layers"),
        pytest.param(
            {"verifier": QWEN3_CONFIG | by("compressed_tensors")}, id="weights that are quantized by the old name"
        ),
        pytest.param(
            {"verifier": QWEN3_CONFIG | by("bitsandbytes"), "engine_version": "0.27.1"},
            id="weights that are quantized as an older engine reads them",
        ),
        pytest.param(
            {
                "verifier": QWEN3_CONFIG | by("fbgemm_fp8"),
                "flags": {"--allow-deprecated-quantization": "true"},
            },
            id="weights that are quantized as the engine is allowed to read them",
        ),
        pytest.param(
            {"verifier": QWEN3_CONFIG | by("fp8"), "flags": {"--quantization": "fp8"}},
            id="the quantization that the weights have",
        ),
        pytest.param(
            {"verifier": QWEN3_CONFIG | by("fp8"), "flags": {"--quantization": "None"}},
            id="no quantization in so many words",
        ),
        pytest.param(
            {"verifier": QWEN3_CONFIG | by("awq"), "flags": {"--quantization": "awq_marlin"}},
            id="a kernel for the quantization that the weights have",
        ),
        pytest.param(
            {"verifier": QWEN3_CONFIG | by("auto-round"), "flags": {"--quantization": "awq"}},
            id="a quantization that the engine chooses whatever is asked for",
        ),
        pytest.param({"verifier": in_blocks(QWEN3_CONFIG, 9728), "tensor": 4}, id="blocks that four GPUs can share"),
        pytest.param({"verifier": in_blocks(EXPERTS, 768), "tensor": 4}, id="experts whose blocks the engine refines"),
        pytest.param(
            {
                "verifier": in_blocks(EXPERTS, 768),
                "tensor": 4,
                "engine_version": "0.28.0",
                "flags": {"--enable-expert-parallel": "true"},
            },
            id="experts that are spread over the GPUs",
        ),
        pytest.param(
            {"verifier": in_blocks(EXPERTS, 704), "tensor": 4, "flags": {"--moe-backend": "deep_gemm"}},
            id="experts whose blocks a kernel may fill up",
        ),
        pytest.param(
            {
                "verifier": in_blocks(EXPERTS, 704),
                "tensor": 4,
                "flags": {"--kernel-config": '{"moe_backend":"deep_gemm"}'},
            },
            id="experts whose blocks a kernel that is named otherwise may fill up",
        ),
        pytest.param(
            {"verifier": in_blocks(QWEN3_CONFIG, 9728), "tensor": 8, "flags": {"--quantization": "humming"}},
            id="blocks that another method reads",
        ),
        pytest.param(
            {"verifier": in_blocks(QWEN3_CONFIG, 9728), "tensor": 8, "flags": {"--model-impl": "transformers"}},
            id="blocks that the implementation of Transformers reads",
        ),
        pytest.param({"verifier": QWEN3_CONFIG | by("")}, id="weights that are quantized by nobody says what"),
        pytest.param({"verifier": QWEN3_CONFIG, "flags": {"--quantization": "fp8"}}, id="weights to be quantized"),
        pytest.param({"verifier": GEMMA3, "flags": {"--dtype": "bfloat16"}}, id="a Gemma 3 in bfloat16"),
        pytest.param({"method": "medusa", "draft": MEDUSA, "pipeline": 2}, id="medusa heads beside several stages"),
        pytest.param({"method": "medusa", "draft": OLD_MEDUSA}, id="medusa heads of the old format"),
        pytest.param({"method": "draft_model", "draft": SMALL_DRAFT, "tensor": 4}, id="a smaller model of the family"),
        pytest.param(
            {"method": "draft_model", "draft": load(LLAMA), "speculative": {"use_heterogeneous_vocab": True}},
            id="a model of another family, where vocabularies may differ",
        ),
        pytest.param({"method": "mtp", "verifier": GLM}, id="a layer for multi-token prediction, used three times"),
        pytest.param(
            {"method": "mtp", "verifier": QWEN3_5, "speculative": {"num_speculative_tokens": 4}},
            id="four tokens of layers that make two at a time",
        ),
        pytest.param(
            {"method": "mtp", "verifier": QWEN3_5, "speculative": {"num_speculative_tokens": 1}},
            id="one token of layers that make two at a time",
        ),
        pytest.param(
            {"method": "mtp", "verifier": MIMO_V2},
            id="layers of which the engine runs the first",
        ),
        pytest.param(
            {
                "verifier": QWEN3_CONFIG | {"architectures": ["Zamba2ForCausalLM"]},
                "pipeline": 2,
                "flags": {"--model-impl": "transformers"},
            },
            id="a model that Transformers' implementation spreads over stages",
        ),
        pytest.param(
            {"method": "ngram", "speculative": {"num_speculative_tokens_per_batch_size": [[1, 8, 3], [9, 64, 0]]}},
            id="a schedule for prompt lookup",
        ),
    ],
)
def test_what_is_a_draft_for_the_method_passes(case: dict[str, Any]) -> None:
    assert judged(**case) == ()


@pytest.mark.parametrize(
    ("method", "draft", "name", "field"),
    [
        pytest.param("eagle3", SMALL_DRAFT, "org/qwen3-0.6b", GIVEN, id="a regular model as an eagle3 head"),
        pytest.param("eagle", SMALL_DRAFT, "org/qwen3-0.6b", GIVEN, id="a regular model as an eagle head"),
        pytest.param("dflash", SMALL_DRAFT, "org/qwen3-0.6b", GIVEN, id="a regular model as a dflash draft"),
        pytest.param("medusa", SMALL_DRAFT, "org/qwen3-0.6b", GIVEN, id="a regular model as medusa heads"),
        pytest.param("dspark", SMALL_DRAFT, "org/qwen3-0.6b", GIVEN, id="a regular model as a dspark draft"),
        pytest.param("eagle", RAW_EAGLE3, "org/head", GIVEN, id="an eagle3 head as an eagle head"),
        pytest.param("eagle3", MEDUSA, "org/head", GIVEN, id="medusa heads as an eagle3 head"),
        pytest.param("draft_model", MEDUSA, "org/head", GIVEN, id="medusa heads as a model by itself"),
        pytest.param("draft_model", RAW_EAGLE3, "org/head", GIVEN, id="an eagle3 head as a model by itself"),
        pytest.param("draft_model", DFLASH, "org/head", GIVEN, id="a dflash draft as a model by itself"),
        pytest.param("eagle3", MLP, "org/head", GIVEN, id="an MLP speculator as an eagle3 head"),
        pytest.param(
            "draft_model", GLM, "org/glm", GIVEN, id="a model that the engine takes for layers of the verifier's"
        ),
        pytest.param(
            "draft_model",
            SMALL_DRAFT,
            "org/eagle3-like",
            METHOD,
            id="a draft whose name tells the engine something else",
        ),
        pytest.param(
            "eagle",
            RAW_EAGLE | {"architectures": ["Qwen2ForCausalLM"]},
            "org/head",
            GIVEN,
            id="an eagle head of layers that the engine has no eagle for",
        ),
        pytest.param("dspark", None, "", GIVEN, id="dspark drafts inside a verifier that has none"),
    ],
)
def test_a_draft_of_another_kind_than_the_method_takes_is_said_to_be_one(
    method: str, draft: dict[str, Any] | None, name: str, field: str
) -> None:
    (finding,) = judged(method, draft, name=name)
    assert (finding.severity, finding.reason, finding.field) == (Severity.ERROR, Reason.DRAFT_UNFIT, field)


def test_of_a_draft_without_a_method_nothing_is_said_that_goes_by_the_method() -> None:
    assert judged(None, SMALL_DRAFT, name="org/eagle3-like") == ()


def test_what_a_later_engine_may_know_is_a_warning_only() -> None:
    for case in (
        {"method": "mtp"},
        {"method": "eagle", "draft": RAW_EAGLE | {"architectures": ["NewForCausalLM"]}},
        {"verifier": QWEN3_CONFIG | by("exl3")},
    ):
        (told,) = judged(**case, engine_version="0.32.1")
        assert told.severity == Severity.ERROR
        later = judged(**case, engine_version="0.33.0")
        assert {finding.reason for finding in later} == {told.reason, Reason.ENGINE_UNKNOWN}
        assert errors(later) == ()


@pytest.mark.parametrize(
    ("reason", "case"),
    [
        pytest.param(Reason.PACKAGE_MISSING, {"method": "suffix"}, id="a method whose package the image may not have"),
        pytest.param(
            Reason.MTP_LAYERS_MISSING,
            {"method": "mtp", "verifier": {"model_type": "deepseek_v3"}},
            id="layers for multi-token prediction that the config says nothing of",
        ),
        pytest.param(
            Reason.EMBEDDING_OUT_OF_REACH,
            {"method": "eagle3", "draft": RAW_EAGLE3, "pipeline": 2},
            id="a head over several stages, which may have no embedding",
        ),
        pytest.param(
            Reason.DRAFT_CONTEXT_SHORT,
            {"method": "eagle", "draft": RAW_EAGLE | {"max_position_embeddings": 2048}},
            id="a draft with a shorter context than the verifier's",
        ),
        pytest.param(
            Reason.DRAFT_CONTEXT_SHORT,
            {"method": "draft_model", "draft": SMALL_DRAFT | {"max_position_embeddings": 8192}, "max_model_len": 8193},
            id="a draft with a shorter context than is asked for",
        ),
        pytest.param(
            Reason.DRAFT_CONTEXT_SHORT,
            {"method": "draft_model", "draft": PHI3},
            id="a draft that longrope could serve for longer than it does by default",
        ),
        pytest.param(
            Reason.DRAFT_CONTEXT_SHORT,
            {
                "method": "eagle3",
                "draft": SHORT_EAGLE3,
                "max_model_len": 8192,
                "speculative": {"max_model_len": 8192},
                "allow_long_context": True,
            },
            id="a length that the draft is read with, beyond its own context and allowed to be",
        ),
        pytest.param(
            Reason.CONTEXT_TOO_LONG,
            {"max_model_len": 50000, "allow_long_context": True},
            id="a context that is too long, and allowed to be",
        ),
        pytest.param(
            Reason.ACCELERATORS_EXCEED_NODE,
            {"tensor": 8, "pipeline": 2, "accelerators_per_node": 8},
            id="more accelerators than a node has",
        ),
        pytest.param(
            Reason.ARCHITECTURE_UNKNOWN,
            {"verifier": QWEN3_CONFIG | {"architectures": ["BambaForCausalLM"]}},
            id="an architecture that Transformers alone implements",
        ),
        pytest.param(
            Reason.ARCHITECTURE_UNKNOWN,
            {"verifier": QWEN3_CONFIG | {"architectures": ["NewModel"]}},
            id="an architecture of which nothing is known",
        ),
    ],
)
def test_what_may_fail_or_disappoint_is_a_warning(reason: Reason, case: dict[str, Any]) -> None:
    (finding,) = judged(**case)
    assert (finding.severity, finding.reason) == (Severity.WARNING, reason)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            {"method": "eagle", "draft": RAW_EAGLE | {"max_position_embeddings": 2048}, "max_model_len": 2048},
            id="a draft whose context is as long as what is asked for",
        ),
        pytest.param(
            {
                "method": "eagle",
                "draft": RAW_EAGLE | {"max_position_embeddings": 2048},
                "flags": {"--max-model-len": "auto"},
            },
            id="a length that the engine chooses",
        ),
        pytest.param({"tensor": 8, "accelerators_per_node": 8}, id="as many accelerators as a node has"),
        pytest.param({"engine_version": "0.32.9"}, id="another patch of a release that is known"),
    ],
)
def test_what_gives_no_cause_for_a_warning_gives_none(case: dict[str, Any]) -> None:
    assert judged(**case) == ()


CODE = {"auto_map": {"AutoConfig": "configuration_new.NewConfig", "AutoModelForCausalLM": "modeling_new.New"}}
NEW = QWEN3_CONFIG | {"architectures": ["NewForCausalLM"]}


@pytest.mark.parametrize(
    ("case", "reasons"),
    [
        pytest.param({"verifier": NEW | CODE}, [Reason.REMOTE_CODE_REFUSED], id="code beside a new architecture"),
        pytest.param(
            {"verifier": NEW | CODE, "allow_remote_code": True},
            [Reason.REMOTE_CODE_REFUSED],
            id="code that the installation allows, and the resource doesn't trust",
        ),
        pytest.param(
            {"verifier": NEW | CODE, "allow_remote_code": True, "flags": {"--trust-remote-code": ""}},
            [],
            id="code that the installation allows, and the resource trusts",
        ),
        pytest.param(
            {"verifier": QWEN3_CONFIG | CODE | {"model_type": "new"}},
            [Reason.REMOTE_CODE_REFUSED],
            id="code beside a config that the engine doesn't understand",
        ),
        pytest.param(
            {"verifier": NEW | CODE | {"model_type": "new"}, "engine_version": "0.99.0"},
            [Reason.ENGINE_UNKNOWN],
            id="a config that an engine may understand which isn't known",
        ),
        pytest.param({"verifier": QWEN3_CONFIG | CODE}, [], id="code beside an architecture that the engine has"),
        pytest.param(
            {"verifier": NEW | CODE | {"architectures": ["New", "LlamaForCausalLM"]}},
            [],
            id="a second architecture that the engine has",
        ),
        pytest.param(
            {"verifier": NEW | CODE, "engine_version": "0.99.0"},
            [Reason.ENGINE_UNKNOWN],
            id="an engine that isn't known",
        ),
        pytest.param(
            {"verifier": QWEN3_CONFIG | CODE | {"architectures": ["Qwen4ExpForCausalLM"]}, "engine_version": "0.20.0"},
            [Reason.REMOTE_CODE_REFUSED],
            id="code beside an architecture that a later engine has",
        ),
        pytest.param(
            {"method": "draft_model", "draft": SMALL_DRAFT | CODE | {"architectures": ["NewForCausalLM"]}},
            [Reason.REMOTE_CODE_REFUSED],
            id="code beside a draft",
        ),
        pytest.param({"method": "eagle3", "draft": RAW_EAGLE3 | CODE}, [], id="code beside a head that the engine has"),
        pytest.param(
            {"verifier": NEW | {"auto_map": {"": "x.Y"}}}, [Reason.ARCHITECTURE_UNKNOWN], id="no code, only a map"
        ),
    ],
)
def test_code_of_a_repository_is_not_run(case: dict[str, Any], reasons: list[Reason]) -> None:
    assert [finding.reason for finding in judged(**case)] == reasons


def test_the_map_that_the_speculators_library_writes_is_no_code() -> None:
    config = load(EAGLE3)
    assert config["auto_map"], "the library writes one"
    assert found(EAGLE3, QWEN3) == ()


SHARDS = {"model-00001-of-00002.safetensors": 4096, "model-00002-of-00002.safetensors": 4096, "config.json": 1}


@pytest.mark.parametrize(
    ("files", "allowed", "reasons"),
    [
        pytest.param(None, False, [], id="files that were not listed"),
        pytest.param(SHARDS, False, [], id="shards"),
        pytest.param({"model-00000-of-00001.safetensors": 4096}, False, [], id="shards that are counted from 0"),
        pytest.param(
            SHARDS | {"model-00001-of-00007.safetensors": 4096}, False, [], id="shards, and one of a set that was there"
        ),
        pytest.param(
            {"model.safetensors": 4096, "adapter_model.safetensors": 4096}, False, [], id="a model beside an adapter"
        ),
        pytest.param({"adapter_model.safetensors": 4096}, False, [Reason.WEIGHTS_MISSING], id="an adapter"),
        pytest.param({"adapter_model.bin": 4096}, True, [Reason.WEIGHTS_MISSING], id="a pickled adapter"),
        pytest.param({"model.safetensors": 1023}, False, [Reason.WEIGHTS_MISSING], id="less than a header"),
        pytest.param(dict.fromkeys(SHARDS, 135), False, [Reason.WEIGHTS_MISSING], id="git-lfs pointers"),
        pytest.param({"medusa_lm_head.safetensors": 4096, "medusa_lm_head.pt": 4}, False, [], id="both forms"),
        pytest.param({"config.json": 1}, False, [Reason.WEIGHTS_MISSING], id="no weights"),
        pytest.param({}, True, [Reason.WEIGHTS_MISSING], id="nothing at all"),
        pytest.param({"original/model.safetensors": 4096}, False, [Reason.WEIGHTS_MISSING], id="weights in a folder"),
        pytest.param({"training_args.bin": 4}, False, [Reason.WEIGHTS_MISSING], id="what a trainer left"),
        pytest.param(
            {"model-00001-of-00002.safetensors": 4096}, False, [Reason.WEIGHTS_MISSING], id="a shard that is missing"
        ),
        pytest.param(
            {"pytorch_model.bin": 4}, False, [Reason.PICKLED_WEIGHTS_REFUSED], id="pickled weights, which may run code"
        ),
        pytest.param({"model.ckpt": 4}, False, [Reason.PICKLED_WEIGHTS_REFUSED], id="a pickled checkpoint"),
        pytest.param({"pytorch_model.bin": 4}, True, [], id="pickled weights that the installation allows"),
        pytest.param({"model.ckpt": 4}, True, [Reason.WEIGHTS_MISSING], id="pickled weights that no engine reads"),
    ],
)
def test_weights_are_there_whole_and_not_pickled(
    files: dict[str, int] | None, allowed: bool, reasons: list[Reason]
) -> None:
    for verifier_files, draft_files, field in ((files, SHARDS, MODEL), (SHARDS, files, GIVEN)):
        told = findings(
            Case(
                speculative={"method": "eagle3", "num_speculative_tokens": 3},
                draft=model(RAW_EAGLE3, files=draft_files),
                verifier=model(QWEN3_CONFIG, files=verifier_files),
                flags=NOTHING,
                engine_version="0.32.0",
                allow_pickled_weights=allowed,
            )
        )
        assert [(finding.reason, finding.field) for finding in told] == [(reason, field) for reason in reasons]


def test_a_pointer_among_weights_is_worth_a_warning() -> None:
    files = SHARDS | {"model-00002-of-00002.safetensors": 135}
    (told,) = findings(
        Case(speculative=NOTHING, verifier=model(QWEN3_CONFIG, files=files), flags=NOTHING, engine_version="0.32.0")
    )
    assert (told.severity, told.reason) == (Severity.WARNING, Reason.WEIGHTS_MISSING)
    assert "1 of 2 have less than 1024 bytes, such as model-00002-of-00002.safetensors" in told.evidence


GIB = 2**30


@pytest.mark.parametrize(
    ("least", "required", "fitting", "reasons", "words"),
    [
        pytest.param(50, 60, {}, [], "", id="room for all"),
        pytest.param(
            50, 73, {}, [(Reason.MEMORY_TIGHT, "spec.accelerator")], "more memory", id="more than nine tenths"
        ),
        pytest.param(79, 90, {}, [(Reason.MEMORY_TIGHT, "spec.accelerator")], "", id="too much, some of it unsure"),
        pytest.param(
            81, 81, {}, [(Reason.MEMORY_INSUFFICIENT, "spec.accelerator")], "more memory", id="more than there is"
        ),
        pytest.param(
            81,
            81,
            {"fitting_tensor": 2, "fitting_max_model_len": 8192},
            [(Reason.MEMORY_INSUFFICIENT, TENSOR)],
            "set spec.parallelism.tensor to 2, or set --max-model-len=8192",
            id="more than there is, with two ways out",
        ),
        pytest.param(
            81,
            81,
            {"fitting_max_model_len": 8192},
            [(Reason.MEMORY_INSUFFICIENT, "spec.engine.args")],
            "set --max-model-len=8192",
            id="more than there is, unless requests are shorter",
        ),
    ],
)
def test_memory_is_held_against_what_the_engine_may_take(
    least: int, required: int, fitting: dict[str, int], reasons: list[tuple[Reason, str]], words: str
) -> None:
    made = MemoryEstimate(
        accelerators=1, available=80 * GIB, required=required * GIB, least=least * GIB, summary="so much", **fitting
    )
    told = judged(memory=made)
    assert [(finding.reason, finding.field) for finding in told] == reasons
    assert all("so much" in finding.evidence and words in finding.remedy for finding in told)


def test_without_the_accelerators_memory_nothing_is_said_of_it() -> None:
    assert judged(memory=MemoryEstimate(accelerators=1, required=2**50, least=2**50)) == ()


@pytest.mark.parametrize(
    "case",
    [
        pytest.param({"max_model_len": 50000}, id="a context that is too long"),
        pytest.param({"tensor": 3}, id="heads that can't be divided"),
        pytest.param({"pipeline": 37}, id="too few layers"),
        pytest.param({"method": "mtp"}, id="no layers for multi-token prediction"),
        pytest.param({"verifier": NEW}, id="an architecture that isn't known"),
        pytest.param({"method": "eagle3", "draft": load(EAGLE3), "verifier": SMALL}, id="another hidden size"),
        pytest.param({"memory": MemoryEstimate(accelerators=1, available=1, required=2, least=2)}, id="no memory"),
    ],
)
@pytest.mark.parametrize("flag", ["--hf-overrides", "--hf-config-path"])
def test_by_a_config_that_is_changed_nothing_is_known_to_fail(flag: str, case: dict[str, Any]) -> None:
    assert errors(judged(**case))
    told = judged(**case, flags={flag: ""})
    assert errors(told) == ()
    assert any(f"by the config.json that was read: {flag} changes" in finding.evidence for finding in told)


@pytest.mark.parametrize(
    ("reason", "case"),
    [
        pytest.param(
            Reason.DRAFT_UNFIT,
            {"method": "eagle3", "draft": SMALL_DRAFT, "name": "org/qwen3-0.6b"},
            id="what goes by the draft's own config",
        ),
        pytest.param(Reason.REMOTE_CODE_REFUSED, {"verifier": NEW | CODE}, id="code that would be run"),
    ],
)
def test_what_another_config_does_not_change_is_an_error_all_the_same(reason: Reason, case: dict[str, Any]) -> None:
    (told,) = errors(judged(**case, flags={"--hf-overrides": ""}))
    assert told.reason == reason


def test_how_long_requests_may_be_is_not_known_of_a_config_that_is_changed() -> None:
    given: dict[str, Any] = {"flags": {"--hf-overrides": ""}, "engine_version": "0.32.0"}
    assert served_length(QWEN3_CONFIG, None, **given) is None
    assert served_length(QWEN3_CONFIG, 4096, **given) == 4096


@pytest.mark.parametrize(
    ("config", "asked", "length"),
    [
        pytest.param(QWEN3_CONFIG, None, 40960, id="the model's"),
        pytest.param(GEMMA3, None, 131072, id="the model's, its scaling being in its length already"),
        pytest.param(PHI3, None, 4096, id="the model's before longrope scales it"),
        pytest.param(PHI3, 131072, 131072, id="what is asked for"),
        pytest.param(
            PHI3 | {"original_max_position_embeddings": None}, None, 131072, id="the model's, that before unsaid"
        ),
        pytest.param(PHI3 | {"rope_scaling": None}, None, 131072, id="the model's, without longrope"),
        pytest.param(MISTRAL, None, 32768, id="the model's, beyond its sliding window"),
    ],
)
def test_how_long_requests_may_be(config: dict[str, Any], asked: int | None, length: int) -> None:
    assert served_length(config, asked, NOTHING, engine_version="0.32.0") == length


@pytest.mark.parametrize(
    ("config", "length"),
    [
        pytest.param(MISTRAL, 4096, id="its window's"),
        pytest.param(MISTRAL | {"sliding_window": 65536}, 32768, id="its own, which is within the window"),
        pytest.param(MISTRAL | {"sliding_window": None}, 32768, id="its own, where it has no window"),
        pytest.param(GEMMA3 | {"text_config": MISTRAL}, 4096, id="its window's, in a part of its config"),
        pytest.param(QWEN3_CONFIG | {"sliding_window": 4096}, 40960, id="its own, where the window isn't used"),
        pytest.param(
            QWEN3_CONFIG | {"sliding_window": 4096, "use_sliding_window": True}, 4096, id="its window's, which is used"
        ),
    ],
)
def test_how_long_requests_may_be_where_a_sliding_window_is_disabled(config: dict[str, Any], length: int) -> None:
    assert served_length(config, None, NO_WINDOW, engine_version="0.32.0") == length


def test_of_an_option_that_is_repeated_the_last_value_counts() -> None:
    given = ["--kv-cache-dtype=fp8", "--kv-cache-dtype", "auto", "--no-enable-prefix-caching", "--max-model-len=4k"]
    given += ["--limit-mm-per-prompt.image=1"]
    assert flags_of(fields_from(parse_args(given, "0.32.0")).rest) == {
        "--limit-mm-per-prompt": "",
        "--kv-cache-dtype": "auto",
        "--enable-prefix-caching": "false",
        "--max-model-len": "4k",
    }


@given(
    draft=CONFIG | st.none(),
    verifier=CONFIG,
    method=st.sampled_from(METHODS),
    more=st.dictionaries(
        st.sampled_from(["num_speculative_tokens_per_batch_size", "kv_cache_dtype"]), JSON, max_size=2
    ),
    files=st.dictionaries(st.text(max_size=8) | st.sampled_from([*SHARDS, "x.bin"]), st.integers(0, 2**70), max_size=3),
)
def test_whatever_two_configs_hold_they_are_judged(
    draft: dict[str, Any] | None,
    verifier: dict[str, Any],
    method: str,
    more: dict[str, Any],
    files: dict[str, int],
) -> None:
    case = Case(
        speculative={"method": method, "num_speculative_tokens": 3, **more},
        draft=model(draft, files=files) if draft is not None else None,
        verifier=model(verifier, files=files),
        tensor=4,
        pipeline=2,
        max_model_len=4096,
        flags=NOTHING,
        engine_version="0.32.0",
        accelerators_per_node=4,
    )
    for finding in findings(case):
        assert len(finding.message) < 1000
    assert (context_length(verifier, engine_version="0.20.0") or 1) > 0
