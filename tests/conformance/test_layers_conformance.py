"""How large a cache the engine's layers have, and which widths it refuses to split, is what we say of both."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from speculator_operator.core import weight_blocks
from speculator_operator.core.checkpoint import Snapshot
from speculator_operator.core.memory import estimate
from tests.conformance.conftest import Engine

pytestmark = pytest.mark.timeout(300)

ORACLE = Path(__file__).with_name("oracle_layers.py")
ANY: Mapping[str, Any] = {
    "num_hidden_layers": 2,
    "hidden_size": 512,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "vocab_size": 1024,
    "pad_token_id": 0,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
    "dtype": "bfloat16",
    "layer_types": ["full_attention"] * 2,
}
WITH_EXPERTS: Mapping[str, Any] = {
    **ANY,
    **dict.fromkeys(("num_experts", "n_routed_experts", "num_local_experts"), 8),
    "num_experts_per_tok": 2,
    "first_k_dense_replace": 1,
    "n_shared_experts": 8,
    "shared_expert_intermediate_size": 1024,
    "rotary_dim": 64,
    "attn_type_list": [1, 1],
    "scoring_func": "sigmoid",
}
SPARSE: Mapping[str, Any] = {
    **{key: value for key, value in ANY.items() if key not in ("head_dim", "layer_types")},
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "intermediate_size": 1024,
    "moe_intermediate_size": 256,
    "first_k_dense_replace": 9,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "q_lora_rank": 256,
    "kv_lora_rank": 512,
    "qk_rope_head_dim": 64,
    "qk_nope_head_dim": 128,
    "v_head_dim": 128,
    "index_head_dim": 128,
    "index_n_heads": 64,
    "index_topk": 2048,
}
FP8: Mapping[str, Any] = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
EIGHT_BITS: Mapping[str, Any] = {"num_bits": 8, "type": "float", "symmetric": True}
PACKED: Mapping[str, Any] = {
    "quant_method": "compressed-tensors",
    "format": "float-quantized",
    "ignore": ["lm_head", "re:.*mlp.gate$"],
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {**EIGHT_BITS, "strategy": "block", "block_structure": [128, 128], "dynamic": False},
            "input_activations": {**EIGHT_BITS, "strategy": "group", "group_size": 128, "dynamic": True},
        }
    },
}
ARCHITECTURES: Mapping[str, str] = {
    "apertus": "Apertus",
    "arcee": "Arcee",
    "ernie4_5": "Ernie4_5",
    "exaone4": "Exaone4",
    "gemma": "Gemma",
    "gemma2": "Gemma2",
    "gemma3_text": "Gemma3",
    "glm": "Glm",
    "glm4": "Glm4",
    "granite": "Granite",
    "hunyuan_v1_dense": "HunYuanDenseV1",
    "llama": "Llama",
    "ministral3": "Ministral3",
    "mistral": "Mistral",
    "olmo2": "Olmo2",
    "olmo3": "Olmo3",
    "phi3": "Phi3",
    "qwen2": "Qwen2",
    "qwen3": "Qwen3",
    "seed_oss": "SeedOss",
    "smollm3": "SmolLM3",
    "stablelm": "StableLm",
    "deepseek_v32": "DeepseekV32",
    "glm_moe_dsa": "GlmMoeDsa",
    "glm4_moe": "Glm4Moe",
    "minimax_m2": "MiniMaxM2",
    "mixtral": "Mixtral",
    "qwen2_moe": "Qwen2Moe",
    "qwen3_moe": "Qwen3Moe",
    "qwen3_next": "Qwen3Next",
}


def asked(kind: str, base: Mapping[str, Any], tensor: int, *args: str, **keys: Any) -> dict[str, Any]:
    config = {**base, "model_type": kind, "architectures": [f"{ARCHITECTURES[kind]}ForCausalLM"], **keys}
    return {"config": config, "tensor": tensor, "args": args}


CACHES: Mapping[str, dict[str, Any]] = {
    "a head's keys and values": asked("qwen3", ANY, 2, intermediate_size=1024),
    "heads that GPUs keep each": asked("qwen3", ANY, 4, num_key_value_heads=2, intermediate_size=1024),
    "an indexer beside latent attention": asked("deepseek_v32", SPARSE, 8),
    "an indexer in GLM": asked("glm_moe_dsa", SPARSE, 8),
    "indexers in some layers": asked("glm_moe_dsa", SPARSE, 8, num_hidden_layers=9, index_topk_freq=3),
    "indexers by a pattern": asked("deepseek_v32", SPARSE, 8, index_topk_pattern="FS"),
    "a packed format": asked("deepseek_v32", SPARSE, 8, "--kv-cache-dtype=fp8_ds_mla"),
}
OWN: Mapping[str, Mapping[str, Any]] = {
    "apertus": {"hidden_act": "xielu"},
    **{kind: {**SPARSE, "layer_types": None, "first_k_dense_replace": 1} for kind in ("deepseek_v32", "glm_moe_dsa")},
}
#: In one format on some GPUs, in a wider one on these.
AT_LEAST = {"8 bits, in the format that a kernel chooses": asked("deepseek_v32", SPARSE, 8, "--kv-cache-dtype=fp8")}
#: They are built only as parts, of the classes of others.
PARTS = {"qwen2_5_vl_text", "qwen3_vl_text"}
SPLITS: Mapping[str, dict[str, Any]] = {
    f"{kind}, {quantization['quant_method']}, over {tensor}": asked(
        kind, {**ANY, **OWN.get(kind, {})}, tensor, intermediate_size=1280, quantization_config=quantization
    )
    for kind in sorted(weight_blocks.DENSE - PARTS)
    for quantization, tensor in ((FP8, 2), (FP8, 4), (PACKED, 4))
} | {
    f"{kind}, {quantization['quant_method']}, over 4, {width} {' '.join(args)}": asked(
        kind,
        {**WITH_EXPERTS, **OWN.get(kind, {})},
        4,
        *args,
        **{"intermediate_size": 1024, weight_blocks.EXPERTS[kind]: width},
        quantization_config=quantization,
    )
    for kind in (
        "deepseek_v32",
        "glm4_moe",
        "glm_moe_dsa",
        "minimax_m2",
        "mixtral",
        "qwen2_moe",
        "qwen3_moe",
        "qwen3_next",
    )
    for quantization in (FP8, PACKED)
    for width, args in ((1024, ()), (768, ()), (704, ()), (768, ("--enable-expert-parallel",)))
}


@pytest.fixture(scope="module")
def answers(engine: Engine) -> Mapping[str, dict[str, Any]]:
    questions = {**CACHES, **AT_LEAST, **SPLITS}
    return dict(zip(questions, engine(ORACLE, list(questions.values())), strict=True))


def per_token(question: Mapping[str, Any]) -> int:
    flags = dict(argument.split("=") for argument in question["args"])
    made = estimate(
        verifier=Snapshot("org/model", None, question["config"], {"model.safetensors": 1}),
        draft=None,
        speculative=None,
        tensor=question["tensor"],
        pipeline=1,
        max_model_len=1,
        accelerator_memory=None,
        flags=flags,
    )
    assert made is not None
    assert made.cache_per_token is not None
    return made.cache_per_token


@pytest.mark.parametrize("name", CACHES)
def test_the_cache_of_a_token_is_what_the_layers_keep(answers: Mapping[str, dict[str, Any]], name: str) -> None:
    assert per_token(CACHES[name]) == answers[name]["cache"] * CACHES[name]["tensor"]


@pytest.mark.parametrize("name", AT_LEAST)
def test_the_cache_of_a_token_is_no_more_than_the_layers_keep(answers: Mapping[str, dict[str, Any]], name: str) -> None:
    assert 0.8 < per_token(AT_LEAST[name]) / (answers[name]["cache"] * AT_LEAST[name]["tensor"]) <= 1


@pytest.mark.parametrize("name", SPLITS)
def test_blocks_are_cut_where_the_engine_refuses_to(answers: Mapping[str, dict[str, Any]], name: str) -> None:
    question, answer = SPLITS[name], answers[name]
    whole = "--enable-expert-parallel" in question["args"]
    cut = weight_blocks.cut(question["config"], question["tensor"], whole_experts=whole, refining=True)
    assert ("refused" in answer) == (cut is not None), answer
    assert cut is None or f"{cut.each} is not divisible by weight quantization block" in answer["refused"]
