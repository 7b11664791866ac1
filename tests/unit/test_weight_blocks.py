"""Which widths tensor parallelism cuts through, where weights are quantized in blocks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speculator_operator.core.config_file import KEPT_VALUES, parsed
from speculator_operator.core.weight_blocks import cut
from tests.support.configs import JSON

FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
GROUP: dict[str, Any] = {
    "targets": ["Linear"],
    "weights": {"num_bits": 8, "type": "float", "strategy": "block", "block_structure": [128, 128]},
    "input_activations": {"num_bits": 8, "type": "float", "dynamic": True},
}
PACKED = {
    "quant_method": "compressed-tensors",
    "config_groups": {"group_0": GROUP},
    "ignore": ["lm_head", "re:.*mlp.gate$"],
}
#: As Qwen3-4B has it: 9728 is 76 blocks.
DENSE = {"model_type": "qwen3", "hidden_size": 2560, "intermediate_size": 9728, "quantization_config": FP8}
PACKED_DENSE = DENSE | {"quantization_config": PACKED}
#: As Qwen3-30B-A3B: 768 is 6 blocks.
EXPERTS = {
    "model_type": "qwen3_moe",
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "moe_intermediate_size": 768,
    "quantization_config": FP8,
}
PACKED_EXPERTS = EXPERTS | {"quantization_config": PACKED}


def changed(quantization: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    return DENSE | {"quantization_config": {**quantization, **changes}}


def grouped(**groups: Any) -> dict[str, Any]:
    return changed(PACKED, config_groups=groups)


@pytest.mark.parametrize(
    ("config", "tensor", "each"),
    [
        pytest.param(DENSE, 8, 1216, id="an MLP"),
        pytest.param(PACKED_DENSE, 8, 1216, id="an MLP of compressed tensors"),
        pytest.param({"text_config": DENSE | {"model_type": "qwen3_vl_text"}}, 8, 1216, id="an MLP of a nested model"),
        pytest.param(
            DENSE | {"model_type": "olmo2", "intermediate_size": 640}, 2, 320, id="fewer blocks than GPUs need"
        ),
        pytest.param(changed(FP8, weight_block_size=[128, 256]), 4, 2432, id="blocks that are longer one way"),
        pytest.param(changed(FP8, modules_to_not_convert=["lm_head"]), 8, 1216, id="an MLP beside what is left out"),
        pytest.param(changed(FP8, modules_to_not_convert=None), 8, 1216, id="an MLP where nothing is left out"),
        pytest.param(EXPERTS, 4, 192, id="experts"),
        pytest.param(PACKED_EXPERTS, 4, 192, id="experts of compressed tensors"),
        pytest.param(
            EXPERTS | {"model_type": "minimax_m2", "intermediate_size": 1536}, 8, 192, id="experts of another key"
        ),
    ],
)
def test_what_is_cut_is_told(config: dict[str, Any], tensor: int, each: int) -> None:
    found = cut(config, tensor, whole_experts=False, refining=False)
    assert found is not None
    assert (found.whole, found.each, found.each % found.block > 0) == (each * tensor, each, True)


@pytest.mark.parametrize(
    ("config", "tensor"),
    [
        pytest.param(DENSE, 4, id="an MLP in whole blocks"),
        pytest.param(DENSE, 1, id="an MLP that isn't split"),
        pytest.param(DENSE, 3, id="an MLP that can't be split at all"),
        pytest.param({**DENSE, "intermediate_size": None}, 8, id="an MLP of no size"),
        pytest.param({**DENSE, "model_type": "new"}, 8, id="a model of an unknown type"),
        pytest.param({**DENSE, "quantization_config": None}, 8, id="weights that aren't quantized"),
        pytest.param(changed(FP8, weight_block_size=None), 8, id="weights with one scale"),
        pytest.param(changed(FP8, weight_block_size=[128]), 8, id="blocks of one length"),
        pytest.param(changed(FP8, weight_block_size=[0, 128]), 8, id="blocks of no length"),
        pytest.param(changed(FP8, quant_method="modelopt"), 8, id="another method"),
        pytest.param(changed(FP8, ignored_layers=["model.layers.0.mlp.down_proj"]), 8, id="an MLP that is left out"),
        pytest.param(changed(FP8, modules_to_not_convert="mlp"), 8, id="what is left out in another form"),
        pytest.param(changed(FP8, modules_to_not_convert=[1]), 8, id="what is left out under no name"),
        pytest.param(changed(PACKED, ignore=["re:.*mlp.*"]), 8, id="an MLP that an expression leaves out"),
        pytest.param(changed(PACKED, ignore=["re:.*(gate|down_proj)$"]), 8, id="an expression that isn't read"),
        pytest.param(grouped(), 8, id="no groups"),
        pytest.param(grouped(a=GROUP, b=GROUP), 8, id="several groups"),
        pytest.param(grouped(a=GROUP | {"targets": ["re:.*attn.*"]}), 8, id="a group of certain layers"),
        pytest.param(grouped(a=GROUP | {"weights": {**GROUP["weights"], "strategy": "channel"}}), 8, id="channels"),
        pytest.param(grouped(a=GROUP | {"weights": {**GROUP["weights"], "num_bits": 4}}), 8, id="four bits"),
        pytest.param(EXPERTS, 2, id="experts in whole blocks"),
        pytest.param(PACKED_EXPERTS | {"intermediate_size": 9728}, 2, id="a width that no layer may have"),
    ],
)
def test_nothing_is_said_of_what_may_stay_whole(config: dict[str, Any], tensor: int) -> None:
    assert cut(config, tensor, whole_experts=False, refining=False) is None


def test_nothing_is_said_where_names_of_layers_were_too_many_to_keep() -> None:
    names = [f"model.layers.0.mlp.experts.{number}.down_proj" for number in range(KEPT_VALUES)]
    for config in (changed(FP8, modules_to_not_convert=names), changed(PACKED, ignore=names)):
        kept = parsed(json.dumps(config).encode(), "org/model")
        assert cut(kept, 8, whole_experts=False, refining=False) is None


@pytest.mark.parametrize(
    ("config", "cuts"),
    [
        pytest.param(EXPERTS, False, id="blocks that can be halved"),
        pytest.param(EXPERTS | {"hidden_size": None}, False, id="a model that doesn't say its width"),
        pytest.param(EXPERTS | {"moe_intermediate_size": 704}, True, id="blocks that would become too fine"),
        pytest.param(PACKED_EXPERTS, True, id="compressed tensors, which stay as they are"),
        pytest.param(DENSE, True, id="an MLP"),
    ],
)
def test_experts_may_get_finer_blocks(config: dict[str, Any], *, cuts: bool) -> None:
    tensor = 8 if config is DENSE else 4
    assert (cut(config, tensor, whole_experts=False, refining=True) is not None) == cuts


@pytest.mark.parametrize(("config", "cuts"), [(EXPERTS, False), (PACKED_EXPERTS, False), (DENSE, True)])
def test_experts_that_are_spread_stay_whole(config: dict[str, Any], *, cuts: bool) -> None:
    assert (cut(config, 8, whole_experts=True, refining=False) is not None) == cuts


@given(
    quantization=st.dictionaries(
        st.sampled_from(["weight_block_size", "modules_to_not_convert", "ignored_layers", "config_groups", "ignore"]),
        JSON | st.just([128, 128]) | st.just({"group_0": GROUP}),
    ),
    method=st.sampled_from(["fp8", "compressed-tensors"]),
    width=JSON | st.integers(),
)
def test_whatever_a_config_holds_it_is_read(quantization: dict[str, Any], method: str, width: Any) -> None:
    config = changed(quantization, quant_method=method) | {"intermediate_size": width}
    found = cut(config, 8, whole_experts=False, refining=False)
    assert found is None or found.each % found.block
