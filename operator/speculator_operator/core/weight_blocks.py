"""Weights that are quantized in blocks, each with a scale of its own -> whether tensor parallelism cuts through one.

The engine splits scales as it splits weights, and refuses to start where a GPU would get part of a block. Held against
are the widths that surely are split: of the hidden layers' MLPs, or of the experts. Paths are vLLM's, read in 0.32.0.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from speculator_operator.core.model_config import (
    Config,
    language_model,
    part,
    quantization_config,
    quantization_method,
    size,
    text,
)

#: Models without experts, whose every layer has an MLP of the config's ``intermediate_size``.
DENSE = frozenset(
    (
        *("apertus", "arcee", "ernie4_5", "exaone4", "gemma", "gemma2", "gemma3_text", "glm", "glm4", "granite"),
        *("hunyuan_v1_dense", "llama", "ministral3", "mistral", "olmo2", "olmo3", "phi3", "qwen2", "qwen2_5_vl_text"),
        *("qwen3", "qwen3_vl_text", "seed_oss", "smollm3", "stablelm"),
    )
)
#: Where the width of an expert is, in models that have some.
EXPERTS: Mapping[str, str] = {
    **dict.fromkeys(("deepseek_v2", "deepseek_v3", "deepseek_v32", "glm_moe_dsa", "kimi_k2"), "moe_intermediate_size"),
    **dict.fromkeys(("glm4_moe", "qwen2_moe", "qwen3_moe", "qwen3_next", "qwen3_vl_moe_text"), "moe_intermediate_size"),
    **dict.fromkeys(("minimax_m2", "mixtral"), "intermediate_size"),
}
#: What names of such weights are made of.
_MLP = "language_model.model.layers.mlp.down_proj"
_EXPERT = "language_model.model.layers.mlp.block_sparse_moe.experts.down_proj"
#: Finer blocks than this aren't made of those of a checkpoint.
_FINEST = 32
#: An expression that matches what it spells, and anything between.
_PLAIN = re.compile(r"(?:\.\*|[\w.^$\\])*")


@dataclass(frozen=True)
class Cut:
    """A width that GPUs share, and what each would get, against the length of a block."""

    of_experts: bool
    whole: int
    each: int
    block: int

    @property
    def what(self) -> str:
        return "the experts' intermediate size" if self.of_experts else "the intermediate size"


def cut(config: Config, tensor: int, *, whole_experts: bool, refining: bool) -> Cut | None:
    """What tensor parallelism cuts through; None where nothing is known to be.

    ``whole_experts`` is whether GPUs have experts rather than parts of each (``--enable-expert-parallel``), and
    ``refining`` whether the engine makes finer blocks for them.

    Source: ``validate_fp8_block_shape`` and ``validate_fp8_block_shape_moe`` in
    model_executor/layers/quantization/utils/fp8_utils.py, which methods call for the shape of each layer's weights;
    ``refine_fp8_moe_block_shape`` in model_executor/layers/fused_moe/oracle/fp8.py.
    """
    layer = language_model(config)
    kind = text(layer, "model_type")
    blocks = _blocks(config)
    of_experts = kind in EXPERTS
    width = size(layer, EXPERTS[kind] if of_experts else "intermediate_size")
    if tensor <= 1 or blocks is None or width is None or width % tensor or not (of_experts or kind in DENSE):
        return None
    each = width // tensor
    block = next((length for length in blocks.shape if each % length), None)
    if block is None or blocks.may_leave_out(_EXPERT if of_experts else _MLP):
        return None
    if of_experts and (whole_experts or (refining and blocks.refined(each, size(layer, "hidden_size")))):
        return None
    return Cut(of_experts, width, each, block)


@dataclass(frozen=True)
class _Blocks:
    """``shape`` in outputs and inputs; ``left_out`` are names of layers that aren't quantized, or expressions."""

    method: str
    shape: tuple[int, int]
    left_out: tuple[object, ...]

    def may_leave_out(self, name: str) -> bool:
        return any(_may_match(left_out, name) for left_out in self.left_out)

    def refined(self, each: int, hidden: int | None) -> bool:
        return self.method == "fp8" and (hidden is None or math.gcd(*self.shape, each, hidden) >= _FINEST)


def _blocks(config: Config) -> _Blocks | None:
    """Source: ``Fp8Config.from_config`` in model_executor/layers/quantization/fp8.py, ``CompressedTensorsConfig`` in
    compressed_tensors/compressed_tensors.py there. A checkpoint with parts in other forms isn't judged."""
    quantization, method = quantization_config(config), quantization_method(config)
    if method == "fp8":
        shapes = [_shape(quantization, "weight_block_size")]
        left_out = quantization.get("ignored_layers") or quantization.get("modules_to_not_convert")
    elif method == "compressed-tensors":
        shapes = list(_shapes_of_groups(part(quantization, "config_groups")))
        left_out = quantization.get("ignore")
    else:
        return None
    shape = shapes[0] if len(shapes) == 1 else None
    if shape is None or not isinstance(left_out, list | None):
        return None
    return _Blocks(method, shape, tuple(left_out or ()))


def _shapes_of_groups(groups: Config) -> Iterator[tuple[int, int] | None]:
    for name in groups:
        group = part(groups, name)
        weights = part(group, "weights")
        in_eight_bits = weights.get("num_bits") == 8 and weights.get("type") == "float"
        blocked = in_eight_bits and weights.get("strategy") == "block" and group.get("targets") == ["Linear"]
        yield _shape(weights, "block_structure") if blocked else None


def _shape(config: Config, key: str) -> tuple[int, int] | None:
    shape = config.get(key)
    if not isinstance(shape, list) or len(shape) != 2:
        return None
    outputs, inputs = (size({"length": length}, "length") for length in shape)
    return (outputs, inputs) if outputs and inputs else None


def _may_match(left_out: object, name: str) -> bool:
    """Whether what a checkpoint leaves out may be weights whose names have such words: no expression from outside is
    run, and numbers of layers aren't looked at."""
    if not isinstance(left_out, str):
        return True
    expression = left_out.removeprefix("re:")
    return _PLAIN.fullmatch(expression) is None or all(word in name for word in re.findall(r"[A-Za-z_]+", expression))
