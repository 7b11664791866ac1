"""What the engine needs of the accelerators' memory: counted by hand beside each case."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speculator_operator.api import MemoryEstimate
from speculator_operator.core.checkpoint import Snapshot
from speculator_operator.core.memory import estimate
from speculator_operator.core.model_config import NOTHING
from speculator_operator.core.weight_files import missing_shards, safetensors
from tests.support.configs import CONFIG, JSON, METHODS, load

GIB = 2**30
QWEN3 = load("regular-qwen3-8b")
LLAMA = load("regular-llama-3.1-8b")
EAGLE3 = load("eagle3-qwen3-8b")
#: 36 layers x 2 x 8 heads of 128, of two bytes.
QWEN3_TOKEN = 36 * 2 * 8 * 128 * 2
#: The draft of qwen3 has one such layer.
EAGLE3_TOKEN = 2 * 8 * 128 * 2

DEEPSEEK = {
    "architectures": ["DeepseekV3ForCausalLM"],
    "model_type": "deepseek_v3",
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "kv_lora_rank": 512,
    "qk_rope_head_dim": 64,
    "hidden_size": 7168,
    "vocab_size": 129280,
    "num_nextn_predict_layers": 1,
    "torch_dtype": "bfloat16",
    "quantization_config": {"quant_method": "fp8"},
}
#: In each layer, an indexer keeps 128 bytes and a number of four beside the latent 512 + 64.
SPARSE = DEEPSEEK | {
    "model_type": "deepseek_v32",
    "architectures": ["DeepseekV32ForCausalLM"],
    "index_head_dim": 128,
    "index_topk": 2048,
}
GLM = SPARSE | {"model_type": "glm_moe_dsa", "architectures": ["GlmMoeDsaForCausalLM"]}
#: Every other layer keeps 128 tokens.
GPT_OSS = {
    "model_type": "gpt_oss",
    "num_hidden_layers": 4,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "sliding_window": 128,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "dtype": "bfloat16",
}


def model(
    config: Mapping[str, Any],
    weights: int = 16 * GIB,
    beside: Mapping[str, int] = NOTHING,
    parameters: Mapping[str, int] | None = None,
) -> Snapshot:
    files = {"config.json": 700, "model.safetensors": weights, **beside}
    return Snapshot("org/model", "0" * 40, config, files, parameters)


def estimated(
    config: Mapping[str, Any] = QWEN3,
    method: str | None = None,
    draft: Mapping[str, Any] | None = None,
    weights: int = 16 * GIB,
    draft_weights: int = 2 * GIB,
    memory: int | None = 80 * GIB,
    speculative: Mapping[str, Any] | None = None,
    beside: Mapping[str, int] = NOTHING,
    parameters: Mapping[str, int] | None = None,
    **given: Any,
) -> MemoryEstimate:
    defaults: dict[str, Any] = {"tensor": 1, "pipeline": 1, "max_model_len": 1024, "accelerator_memory": memory}
    made = estimate(
        verifier=model(config, weights, beside, parameters),
        draft=model(draft, draft_weights) if draft is not None else None,
        speculative={"method": method, **(speculative or {})} if method else None,
        **defaults | given,
    )
    assert made is not None
    return made


@pytest.mark.parametrize(
    ("case", "per_token"),
    [
        pytest.param({}, QWEN3_TOKEN, id="a verifier"),
        pytest.param({"tensor": 8}, QWEN3_TOKEN, id="heads that are split"),
        pytest.param({"tensor": 16}, 2 * QWEN3_TOKEN, id="heads that two accelerators keep each"),
        pytest.param({"tensor": 2, "pipeline": 2}, QWEN3_TOKEN, id="layers that are spread over stages"),
        pytest.param({"flags": {"--kv-cache-dtype": "fp8"}}, QWEN3_TOKEN // 2, id="a cache of one byte"),
        pytest.param({"flags": {"--kv-cache-dtype": "nvfp4"}}, QWEN3_TOKEN // 4, id="a cache of half a byte"),
        pytest.param(
            {"flags": {"--kv-cache-dtype": "turboquant_3bit_nc"}}, QWEN3_TOKEN // 8, id="a cache of few bits, at least"
        ),
        pytest.param({"flags": {"--dtype": "float32"}}, 2 * QWEN3_TOKEN, id="a cache of four bytes"),
        pytest.param(
            {"method": "eagle3", "draft": EAGLE3}, QWEN3_TOKEN + EAGLE3_TOKEN, id="a draft with a layer of its own"
        ),
        pytest.param(
            {"method": "eagle3", "draft": EAGLE3, "speculative": {"kv_cache_dtype": "fp8"}},
            QWEN3_TOKEN + EAGLE3_TOKEN // 2,
            id="a draft with a cache of one byte",
        ),
        pytest.param({"method": "ngram"}, QWEN3_TOKEN, id="a method without layers"),
        pytest.param({"method": "medusa", "draft": {"model_type": "medusa"}}, QWEN3_TOKEN, id="heads without a cache"),
        pytest.param({"config": DEEPSEEK}, 61 * 576 * 2, id="latent attention"),
        pytest.param({"config": DEEPSEEK, "tensor": 8}, 8 * 61 * 576 * 2, id="latent attention, kept by each"),
        pytest.param({"config": DEEPSEEK, "method": "mtp"}, 62 * 576 * 2, id="a layer that predicts several tokens"),
        pytest.param({"config": SPARSE, "tensor": 8}, 8 * 61 * (576 * 2 + 132), id="an indexer in each layer"),
        pytest.param({"config": GLM}, 61 * (576 * 2 + 132), id="an indexer in each layer of GLM"),
        pytest.param(
            {"config": SPARSE, "flags": {"--kv-cache-dtype": "fp8"}}, 61 * (576 + 132), id="an indexer beside one byte"
        ),
        *(
            pytest.param({"config": model, "flags": {"--kv-cache-dtype": dtype}}, 61 * of_a_layer, id=f"{dtype}{which}")
            for dtype, latent in (("fp8_ds_mla", 656), ("nvfp4_ds_mla", 352))
            for model, which, of_a_layer in (
                (DEEPSEEK, ", which packs a layer", latent),
                (SPARSE, " beside an indexer", latent + 132),
            )
        ),
        pytest.param(
            {"config": SPARSE | {"index_topk_freq": 4}, "method": "mtp"},
            62 * 576 * 2 + (2 + 59 // 4 + 1) * 132,
            id="indexers in every fourth layer after the second, and in one that predicts several tokens",
        ),
        pytest.param(
            {"config": SPARSE | {"index_topk_freq": 4, "index_skip_topk_offset": 0}},
            61 * 576 * 2 + 61 // 4 * 132,
            id="indexers in every fourth layer",
        ),
        *(
            pytest.param(
                {"config": SPARSE | {"index_topk_pattern": pattern}, "method": "mtp"},
                62 * 576 * 2 + (61 - 30 + 1) * 132,
                id=f"indexers by a pattern, in a {type(pattern).__name__}",
            )
            for pattern in ("FS" * 30, ["F", "S"] * 30)
        ),
        pytest.param({"config": SPARSE | {"index_topk_pattern": 1}}, 61 * 576 * 2, id="indexers nobody can say where"),
        pytest.param({"config": SPARSE | {"index_head_dim": None}}, 61 * 576 * 2, id="indexers of no size"),
        pytest.param({"config": DEEPSEEK | {"index_head_dim": 128}}, 61 * 576 * 2, id="a size of no indexers"),
        pytest.param({"config": GPT_OSS}, 4 * 2 * 8 * 64 * 2, id="sliding windows, for one token"),
        pytest.param(
            {"config": QWEN3 | {"quantization_config": {"kv_cache_scheme": {"num_bits": 8, "type": "float"}}}},
            QWEN3_TOKEN // 2,
            id="a checkpoint that asks for a cache of 8 bits",
        ),
        pytest.param(
            {"config": QWEN3 | {"quantization_config": {"quantization": {"kv_cache_quant_algo": "FP8"}}}},
            QWEN3_TOKEN // 2,
            id="a checkpoint that asks for it by name",
        ),
        pytest.param(
            {"config": QWEN3 | {"quantization_config": {"kv_cache_scheme": {"num_bits": 4, "type": "float"}}}},
            QWEN3_TOKEN // 4,
            id="a checkpoint that asks for a cache of 4 bits",
        ),
        pytest.param(
            {"config": QWEN3 | {"quantization_config": {"kv_cache_quant_algo": "NEW"}}},
            QWEN3_TOKEN // 4,
            id="a checkpoint that asks for a quantized cache, at least",
        ),
        pytest.param(
            {"beside": {"hf_quant_config.json": 300}},
            QWEN3_TOKEN // 4,
            id="a checkpoint that may ask for one in another file, at least",
        ),
        pytest.param(
            {"config": {"text_config": QWEN3 | {"model_type": "qwen3_vl_text"}}}, QWEN3_TOKEN, id="a nested model"
        ),
        pytest.param({"config": QWEN3 | {"model_type": "new"}}, None, id="a model that isn't known"),
        pytest.param({"config": QWEN3 | {"num_hidden_layers": None}}, None, id="a model without a number of layers"),
        pytest.param(
            {"config": QWEN3 | {"use_sliding_window": True, "sliding_window": 9}}, None, id="windows somewhere"
        ),
        pytest.param({"config": GPT_OSS | {"layer_types": ["mamba"] * 4}}, None, id="layers of other kinds"),
        pytest.param({"config": GPT_OSS | {"sliding_window": None}}, None, id="windows of no length"),
        pytest.param({"config": QWEN3 | {"num_kv_shared_layers": 2}}, None, id="layers that share a cache"),
    ],
)
def test_the_cache_of_a_token(case: dict[str, Any], per_token: int | None) -> None:
    assert estimated(**case).cache_per_token == per_token


@pytest.mark.parametrize(
    ("case", "cache"),
    [
        pytest.param({}, 1024 * QWEN3_TOKEN, id="a request"),
        pytest.param({"max_model_len": 1}, QWEN3_TOKEN, id="one token"),
        pytest.param({"max_model_len": None}, None, id="a length that the engine chooses"),
        pytest.param(
            {"flags": {"--decode-context-parallel-size": "2"}}, 512 * QWEN3_TOKEN, id="a request that two ranks share"
        ),
        pytest.param({"config": GPT_OSS}, (2 * 1024 + 2 * 128) * 2 * 8 * 64 * 2, id="layers that keep a window"),
        pytest.param({"config": QWEN3 | {"model_type": "new"}}, None, id="a model that isn't known"),
    ],
)
def test_the_cache_of_a_request(case: dict[str, Any], cache: int | None) -> None:
    made = estimated(**case)
    assert made.cache == cache
    assert made.required == 16 * GIB + (cache or 0)
    assert (cache is None) == any("key-value cache" in part for part in made.not_counted)


@pytest.mark.parametrize(
    ("config", "flags", "of_a_layer"),
    [
        pytest.param(DEEPSEEK, {}, 576 * 2, id="latent attention"),
        pytest.param(SPARSE, {}, 656 + 132, id="an indexer beside, in 8 bits on some accelerators"),
        pytest.param(GLM, {}, 576 + 132, id="GLM, on some in 8 bits and nothing else"),
        pytest.param(GLM, {"--kv-cache-dtype": "bfloat16"}, 576 * 2 + 132, id="a type that is set"),
        pytest.param(
            GLM | {"quantization_config": {"quant_method": "fp8", "kv_cache_quant_algo": "NEW"}},
            {},
            576 // 2 + 132,
            id="a type that the checkpoint asks for",
        ),
    ],
)
def test_the_least_cache_is_what_some_accelerators_keep(
    config: dict[str, Any], flags: dict[str, str], of_a_layer: int
) -> None:
    made = estimated(config, method="mtp", flags=flags)
    assert made.least == 16 * GIB + 1024 * 62 * of_a_layer
    assert made.required == 16 * GIB + (made.cache or 0)


BOTH_EMBEDDINGS = 2 * 151936 * 4096 * 2


@pytest.mark.parametrize(
    ("case", "verifier", "draft", "least"),
    [
        pytest.param({}, 16 * GIB, 0, 8 * GIB, id="a verifier, whose weights may be stored wider than they are loaded"),
        pytest.param({"tensor": 8}, 16 * GIB, 0, 8 * GIB, id="a verifier that is split"),
        pytest.param(
            {"method": "eagle3", "draft": EAGLE3, "draft_weights": 8 * GIB},
            16 * GIB,
            8 * GIB,
            12 * GIB - BOTH_EMBEDDINGS,
            id="a draft, which may share its embeddings",
        ),
        pytest.param(
            {"method": "eagle3", "draft": {"model_type": "llama"}},
            16 * GIB,
            2 * GIB,
            8 * GIB,
            id="a draft that doesn't say how large its embeddings are",
        ),
        pytest.param(
            {"method": "draft_model", "draft": QWEN3}, 16 * GIB, 2 * GIB, 9 * GIB, id="a draft that shares nothing"
        ),
        pytest.param(
            {"config": QWEN3 | {"torch_dtype": "float32"}}, 8 * GIB, 0, 8 * GIB, id="weights that are loaded as 16 bits"
        ),
        pytest.param(
            {"config": QWEN3 | {"torch_dtype": "float32"}, "flags": {"--dtype": "float32"}},
            16 * GIB,
            0,
            16 * GIB,
            id="weights that are loaded as 32 bits",
        ),
        pytest.param({"config": QWEN3 | {"torch_dtype": None}}, 16 * GIB, 0, 8 * GIB, id="weights of an unknown type"),
        pytest.param(
            {"config": QWEN3 | {"torch_dtype": None, "quantization_config": {"quant_method": "awq"}}},
            16 * GIB,
            0,
            16 * GIB,
            id="weights that are stored quantized",
        ),
        pytest.param(
            {"flags": {"--dtype": "float32"}}, 32 * GIB, 0, 16 * GIB, id="weights of 16 bits that are loaded as 32"
        ),
        pytest.param({"flags": {"--dtype": "float"}}, 32 * GIB, 0, 16 * GIB, id="the same by another name"),
        pytest.param(
            {"config": QWEN3 | {"torch_dtype": None}, "flags": {"--dtype": "float32"}},
            32 * GIB,
            0,
            16 * GIB,
            id="weights of an unknown type that are loaded as 32 bits",
        ),
        pytest.param(
            {"flags": {"--dtype": "float32"}, "method": "eagle3", "draft": EAGLE3},
            32 * GIB,
            4 * GIB,
            16 * GIB + max(2 * GIB - 2 * BOTH_EMBEDDINGS, 0),
            id="a draft that is loaded as 32 bits, its embeddings too",
        ),
        *(
            pytest.param({"flags": {"--quantization": method}}, 8 * GIB, 0, 4 * GIB, id=f"{method}, of one byte")
            for method in ("fp8", "FP8", "fp8_per_block", "mxfp8", "experts_int8", "int8_per_channel_weight_only")
        ),
        pytest.param(
            {"config": QWEN3 | {"torch_dtype": "float32"}, "flags": {"--quantization": "fp8"}},
            4 * GIB,
            0,
            4 * GIB,
            id="weights of 32 bits that are quantized while loading",
        ),
        pytest.param(
            {"config": QWEN3 | {"torch_dtype": None}, "flags": {"--quantization": "fp8"}},
            8 * GIB,
            0,
            4 * GIB,
            id="weights of an unknown type that are quantized while loading",
        ),
        *(
            pytest.param({"flags": flags}, 4 * GIB, 0, 2 * GIB, id=f"{flags}, of half a byte")
            for flags in (
                {"--quantization": "bitsandbytes"},
                {"--load-format": "bitsandbytes"},
                {"--quantization": "mxfp4"},
            )
        ),
        *(
            pytest.param({"flags": flags}, 16 * GIB, 0, 2 * GIB, id=f"{flags}, of which little is known")
            for flags in (
                {"--quantization": "torchao"},
                {"--quantization": "fp8", "--quantization-config": '{"moe": "mxfp4"}'},
            )
        ),
        pytest.param({"flags": {"--quantization": "None"}}, 16 * GIB, 0, 8 * GIB, id="no quantization, in words"),
        pytest.param(
            {"flags": {"--quantization": "modelopt"}, "beside": {"hf_quant_config.json": 300}},
            16 * GIB,
            0,
            16 * GIB,
            id="weights that are stored quantized, as another file says",
        ),
        pytest.param(
            {"flags": {"--quantization": "fp8"}, "method": "draft_model", "draft": QWEN3},
            8 * GIB,
            2 * GIB,
            5 * GIB,
            id="a draft, which is not quantized with its verifier",
        ),
        pytest.param(
            {"method": "draft_model", "draft": QWEN3, "speculative": {"quantization": "fp8"}},
            16 * GIB,
            GIB,
            8 * GIB + GIB // 2,
            id="a draft that is quantized",
        ),
        pytest.param({"flags": {"--cpu-offload-gb": "4"}, "tensor": 2}, 8 * GIB, 0, 0, id="weights kept elsewhere"),
        pytest.param({"flags": {"--cpu-offload-gb": "999"}}, 0, 0, 0, id="all weights kept elsewhere"),
        pytest.param(
            {"flags": {"--language-model-only": ""}}, 16 * GIB, 0, 0, id="weights of which some aren't loaded"
        ),
        pytest.param(
            {"config": DEEPSEEK | {"num_nextn_predict_layers": 61, "vocab_size": None}},
            16 * GIB,
            0,
            8 * GIB,
            id="layers that predict several tokens, and aren't loaded",
        ),
        pytest.param({"config": DEEPSEEK, "method": "mtp"}, 16 * GIB, 0, 16 * GIB, id="such layers that are loaded"),
    ],
)
def test_weights(case: dict[str, Any], verifier: int, draft: int, least: int) -> None:
    made = estimated(**case, max_model_len=None)
    assert (made.verifier_weights, made.draft_weights, made.least) == (verifier, draft, least)


@pytest.mark.parametrize(
    ("case", "verifier", "least"),
    [
        pytest.param({"parameters": {"BF16": 8 * GIB}}, 16 * GIB, 16 * GIB, id="as the config says"),
        pytest.param({"parameters": {"F32": 4 * GIB}}, 8 * GIB, 8 * GIB, id="wider than the config says"),
        pytest.param(
            {"config": QWEN3 | {"torch_dtype": "float32"}, "parameters": {"BF16": 8 * GIB}},
            16 * GIB,
            16 * GIB,
            id="narrower than the config says",
        ),
        pytest.param(
            {"config": QWEN3 | {"torch_dtype": None}, "parameters": {"F32": 3 * GIB, "F16": 2 * GIB - 2**19}},
            10 * GIB - 2**20,
            10 * GIB - 2**20,
            id="of several types, beside a header",
        ),
        pytest.param({"parameters": {"F8_E4M3": 15 * GIB, "I8": GIB}}, 31 * GIB, 31 * GIB, id="beside other numbers"),
        pytest.param(
            {"parameters": {"F32": 4 * GIB}, "flags": {"--quantization": "fp8"}},
            4 * GIB,
            4 * GIB,
            id="quantized while they are loaded",
        ),
        pytest.param(
            {"parameters": {"F32": 4 * GIB}, "flags": {"--dtype": "float32"}}, 16 * GIB, 16 * GIB, id="loaded as stored"
        ),
        pytest.param(
            {"config": QWEN3 | {"quantization_config": {"quant_method": "awq"}}, "parameters": {"I32": 4 * GIB}},
            16 * GIB,
            16 * GIB,
            id="stored quantized",
        ),
        pytest.param({"parameters": {"F32": GIB}}, 16 * GIB, 8 * GIB, id="in fewer numbers than the files hold"),
        pytest.param({"parameters": {"F32": 5 * GIB}}, 16 * GIB, 8 * GIB, id="in more numbers than the files hold"),
        pytest.param({"parameters": {"F4": 32 * GIB}}, 16 * GIB, 8 * GIB, id="of a type that isn't known"),
    ],
)
def test_weights_whose_numbers_were_counted(case: dict[str, Any], verifier: int, least: int) -> None:
    made = estimated(**case, max_model_len=None)
    assert (made.verifier_weights, made.least) == (verifier, least)


@pytest.mark.parametrize(
    ("given", "available"),
    [
        pytest.param({}, 80 * GIB * 92 // 100 + 1, id="the engine's default"),
        pytest.param({"flags": {"--gpu-memory-utilization": "0.5"}}, 40 * GIB, id="half of it"),
        pytest.param({"flags": {"--gpu-memory-utilization": "nan"}}, 80 * GIB * 92 // 100 + 1, id="no number"),
        pytest.param({"flags": {"--kv-cache-memory-bytes": "1g"}}, 80 * GIB, id="a cache of a size of its own"),
        pytest.param({"tensor": 2, "pipeline": 2, "flags": {"--gpu-memory-utilization": "1"}}, 320 * GIB, id="of four"),
        pytest.param({"memory": None}, None, id="memory that isn't known"),
    ],
)
def test_what_the_engine_may_take(given: dict[str, Any], available: int | None) -> None:
    assert estimated(**given).available == available


@pytest.mark.parametrize(
    ("case", "tensor", "length"),
    [
        pytest.param({}, None, None, id="nothing, where there is room"),
        pytest.param({"weights": 100 * GIB}, 2, None, id="a second accelerator, for the weights"),
        pytest.param({"weights": 280 * GIB}, 8, None, id="eight, since five can't share the heads"),
        pytest.param(
            {"config": DEEPSEEK | {"num_attention_heads": 40, "num_key_value_heads": 3}, "weights": 280 * GIB},
            5,
            None,
            id="five, of latent attention, which splits no key-value heads",
        ),
        pytest.param(
            {
                "config": QWEN3
                | {
                    "intermediate_size": 9728,
                    "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]},
                },
                "weights": 280 * GIB,
                "max_model_len": None,
                "most_tensor": 16,
            },
            None,
            None,
            id="not as many as cut through blocks of weights",
        ),
        pytest.param({"weights": 280 * GIB, "most_tensor": 4}, None, None, id="not more than a node has"),
        pytest.param({"memory": 24 * GIB, "max_model_len": 40960}, 2, 28160, id="another one, or shorter requests"),
        pytest.param({"memory": 24 * GIB, "max_model_len": 28160}, None, None, id="the length that was proposed"),
        pytest.param({"weights": 100 * GIB, "memory": None}, None, None, id="nothing, where memory isn't known"),
    ],
)
def test_what_would_fit_is_proposed(case: dict[str, Any], tensor: int | None, length: int | None) -> None:
    made = estimated(**case)
    assert (made.fitting_tensor, made.fitting_max_model_len) == (tensor, length)
    if tensor is not None:
        room = estimated(**case | {"tensor": tensor})
        assert room.available is not None
        assert room.required <= 0.9 * room.available


@pytest.mark.parametrize(
    ("files", "weights", "said"),
    [
        pytest.param(None, 0, True, id="files that aren't known"),
        pytest.param({"medusa_lm_head.pt": 2 * GIB, "optimizer.pt": 9}, 2 * GIB, False, id="pickled ones"),
        pytest.param({"a.bin": 2 * GIB, "b.bin": GIB, "a.pt": 9}, 3 * GIB, False, id="those that are read of them"),
        pytest.param({"a.safetensors": GIB, "a.bin": GIB}, GIB, False, id="pickled ones beside others"),
    ],
)
def test_a_drafts_weights_are_counted_if_its_files_are_known(
    files: dict[str, int] | None, weights: int, *, said: bool
) -> None:
    made = estimate(
        verifier=model(QWEN3),
        draft=Snapshot("org/draft", None, {"torch_dtype": "float16"}, files),
        speculative={"method": "medusa"},
        tensor=1,
        pipeline=1,
        max_model_len=None,
        accelerator_memory=None,
    )
    assert made is not None
    assert made.draft_weights == weights
    assert any("its files are not known" in part for part in made.not_counted) is said


def test_the_summary_has_the_numbers() -> None:
    made = estimated(method="eagle3", draft=EAGLE3, tensor=2)
    assert made.summary == (
        "18.14 GiB or more (verifier 16.00 GiB, draft 2.00 GiB, key-value cache of one request of 1024 tokens 148 MiB)"
        " of 147.20 GiB (2 x 80.00 GiB x 0.92)"
    )
    assert "it isn't known how much" in estimated(memory=None).summary
    assert estimated(memory=16 * GIB).summary.endswith(
        "x 0.92); 8.14 GiB if weights are stored wider than they are loaded, shared, or left out"
    )
    assert estimated(memory=16 * GIB, parameters={"BF16": 8 * GIB}).summary.endswith("x 0.92)")
    assert estimated(SPARSE, method="mtp", memory=18 * GIB, max_model_len=10000).summary.endswith(
        "left out, and the cache is in 8 bits, as some accelerators keep it"
    )


@pytest.mark.parametrize(
    "files", [None, {}, {"config.json": 1}, {"pytorch_model.bin": GIB}, {"a/model.safetensors": 1}]
)
def test_without_weights_there_is_no_estimate(files: dict[str, int] | None) -> None:
    verifier = Snapshot("org/model", None, QWEN3, files)
    given: dict[str, Any] = {"tensor": 1, "pipeline": 1, "max_model_len": 1024, "accelerator_memory": GIB}
    assert estimate(verifier=verifier, draft=None, speculative=None, **given) is None


@pytest.mark.parametrize(
    ("files", "counted"),
    [
        pytest.param({"model.safetensors": 4}, 4, id="one file"),
        pytest.param({"model-00001-of-00002.safetensors": 4, "model-00002-of-00002.safetensors": 3}, 7, id="shards"),
        pytest.param({"model.safetensors": 4, "consolidated.safetensors": 4}, 4, id="the same twice, by Mistral"),
        pytest.param({"consolidated-00001-of-00001.safetensors": 4}, 4, id="only in Mistral's form"),
        pytest.param({"model.safetensors": 7, "model-00001-of-00001.safetensors": 6}, 6, id="shards beside the whole"),
        pytest.param(
            {"model-00001-of-000002.safetensors": 6, "model-00002-of-000002.safetensors": 5, "model.safetensors": 7},
            11,
            id="shards with numbers of six digits beside the whole",
        ),
        pytest.param(
            {
                "model-00001-of-00007.safetensors": 9,
                "model-00001-of-00002.safetensors": 6,
                "model-00002-of-00002.safetensors": 5,
            },
            11,
            id="shards beside what is left of another set",
        ),
        pytest.param(
            {"model-00001-of-00001.safetensors": 9, "model-00001-of-00002.safetensors": 6}, 9, id="a set beside a part"
        ),
        pytest.param({"medusa_lm_head.safetensors": 4}, 4, id="a name of its own"),
        pytest.param({"model.safetensors": 4, "pytorch_model.bin": 4}, 4, id="pickled ones beside them"),
        pytest.param({"model.safetensors": 4, "onnx/model.safetensors": 4}, 4, id="others in a folder"),
    ],
)
def test_the_files_that_hold_the_model_once_are_counted(files: dict[str, int], counted: int) -> None:
    assert sum(safetensors(files).values()) == counted


@pytest.mark.parametrize(
    ("files", "missing"),
    [
        pytest.param(["model.safetensors"], [], id="one file"),
        pytest.param(["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"], [], id="all"),
        pytest.param(
            ["model-00001-of-000002.safetensors", "model-00002-of-000002.safetensors"], [], id="all, of six digits"
        ),
        pytest.param(
            ["model-00001-of-000002.safetensors"], ["model-00002-of-000002.safetensors"], id="the last, of six digits"
        ),
        pytest.param(
            [
                *("model-00001-of-00007.safetensors", "model-00003-of-00001.safetensors"),
                *("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"),
            ],
            [],
            id="none of a set that another has taken the place of",
        ),
        pytest.param(
            ["model-00001-of-00001.safetensors", "head-00001-of-00002.safetensors"],
            ["head-00002-of-00002.safetensors"],
            id="one of a set of another name",
        ),
        pytest.param(["model-00002-of-00002.safetensors"], ["model-00001-of-00002.safetensors"], id="the first"),
        pytest.param(["model-00000-of-00001.safetensors"], [], id="none of a set that is counted from 0"),
        pytest.param(
            ["model-00000-of-00003.safetensors", "model-00002-of-00003.safetensors"],
            ["model-00001-of-00003.safetensors"],
            id="one of a set that is counted from 0",
        ),
        pytest.param(
            ["model-00001-of-99999.safetensors"],
            [f"model-0000{number}-of-99999.safetensors" for number in (2, 3, 4)],
            id="very many, of which a few are named",
        ),
    ],
)
def test_shards_that_names_speak_of_are_missed(files: list[str], missing: list[str]) -> None:
    assert missing_shards(dict.fromkeys(files, 1)) == missing


SIZES = st.dictionaries(
    st.sampled_from(["model.safetensors", "model-00001-of-00002.safetensors", "x.bin"]),
    st.integers(0, 2**80),
    max_size=3,
)
MORE = st.dictionaries(
    st.sampled_from(
        [
            *("kv_lora_rank", "qk_rope_head_dim", "head_dim", "sliding_window", "use_sliding_window", "layer_types"),
            *("dtype", "torch_dtype", "quantization_config", "compression_config", "block_configs"),
            *("index_topk", "index_head_dim", "index_topk_pattern", "index_topk_freq", "index_skip_topk_offset"),
        ]
    ),
    JSON | st.just(["full_attention"] * 4) | st.just("bfloat16"),
    max_size=4,
)
FLAGS = st.dictionaries(
    st.sampled_from(
        [
            *("--gpu-memory-utilization", "--kv-cache-dtype", "--cpu-offload-gb", "--decode-context-parallel-size"),
            *("--dtype", "--quantization", "--offload-backend", "--kv-cache-memory-bytes"),
        ]
    ),
    st.text(max_size=5) | st.sampled_from(["0", "-1", "1e400", "inf", "nan", "0.5", "fp8", "float32", "999999999999"]),
    max_size=3,
)


@given(
    verifier=CONFIG,
    more=MORE,
    draft=CONFIG | st.none(),
    sizes=SIZES,
    method=st.sampled_from(METHODS) | st.none(),
    flags=FLAGS,
    parameters=st.none() | st.dictionaries(st.sampled_from(["BF16", "F32", "I8", "X"]), st.integers(0, 2**63)),
    length=st.none() | st.integers(-1, 2**70),
    memory=st.none() | st.integers(0, 2**60),
)
def test_whatever_configs_hold_an_estimate_is_made_or_none(
    verifier: dict[str, Any],
    more: dict[str, Any],
    draft: dict[str, Any] | None,
    sizes: dict[str, int],
    method: str | None,
    flags: dict[str, str],
    parameters: dict[str, int] | None,
    length: int | None,
    memory: int | None,
) -> None:
    made = estimate(
        verifier=Snapshot("org/model", None, verifier | more, sizes, parameters),
        draft=Snapshot("org/draft", None, draft | more, sizes) if draft is not None else None,
        speculative={"method": method, "kv_cache_dtype": "fp8"} if method else None,
        tensor=4,
        pipeline=2,
        max_model_len=length,
        accelerator_memory=memory,
        flags=flags,
    )
    if made is not None:
        assert made.least <= made.required
        assert len(made.summary) < 500
