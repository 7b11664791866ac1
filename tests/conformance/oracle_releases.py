"""Asks the engine what it accepts. Run under the engine's Python: kinds on standard input, the names of each as JSON.

The kinds are those of the table of releases; ``release`` is the engine's own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import inspect
import io
import json
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, Literal, get_args, get_origin

#: Layers that a draft might have.
LAYERS = ("llama", "qwen3", "qwen2", "gemma3", "mistral", "deepseek_v3", "gpt_oss")
REQUIRED = {"mask_token_id": 1, "aux_hidden_state_layer_ids": [1, 2]}


def architecture() -> list[str]:
    names: list[str] = list(importlib.import_module("vllm").ModelRegistry.get_supported_archs())
    return names


def behaviour() -> Iterator[str]:
    mixin = importlib.import_module("vllm.model_executor.models.interfaces").EagleModelMixin
    if hasattr(mixin, "supports_aux_hidden_states_over_pp"):
        yield "taps_cross_stages"
    rope = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}
    length = importlib.import_module("vllm.config.model")._get_and_verify_max_len(  # noqa: SLF001  # it has no other door
        hf_config=SimpleNamespace(model_type="llama", rope_parameters=rope),
        model_arch_config=SimpleNamespace(derived_max_model_len_and_key=(1024, "max_position_embeddings")),
        tokenizer_config=None,
        max_model_len=None,
        disable_sliding_window=False,
        sliding_window=None,
    )
    if length == 1024:
        yield "yarn_is_scaled"
    if "target_model_config.hf_config.vocab_size" in inspect.getsource(speculative_config()):
        yield "medusa_reads_vocabulary"
    parallel = inspect.getsource(speculative_config().create_draft_parallel_config)
    if "enable_expert_parallel=target_parallel_config.enable_expert_parallel" in parallel:
        yield "draft_inherits_experts"
    config = importlib.import_module("vllm.config").VllmConfig
    if "max_num_seqs" in inspect.getsource(config._set_max_num_scheduled_tokens):  # noqa: SLF001  # it has no other door
        yield "slots_per_sequence"
    experts = importlib.import_module("vllm.model_executor.layers.fused_moe.oracle.fp8")
    shapes = SimpleNamespace(intermediate_size_per_partition=192, hidden_dim=2048, tp_size=4)
    if experts.refine_fp8_moe_block_shape(shapes, [128, 128]) == [64, 64]:
        yield "experts_blocks_refined"


def speculators() -> dict[str, Any]:
    types: dict[str, Any] = importlib.import_module(
        "vllm.transformers_utils.configs.speculators.algos"
    ).SUPPORTED_SPECULATORS_TYPES
    return types


def draft_layer() -> Iterator[str]:
    for name, update in speculators().items():
        taken = [layer for layer in LAYERS if takes(update, layer)]
        yield from (f"{name}/{layer}" for layer in taken if len(taken) < len(LAYERS))


def takes(update: Any, layer: str) -> bool:
    try:
        update(dict(REQUIRED), {"model_type": layer})
    except ValueError:
        return False
    return True


def method() -> Iterator[str]:
    yield from flat(importlib.import_module("vllm.config.speculative").SpeculativeMethod)


def flat(literal: Any) -> Iterator[str]:
    for part in get_args(literal):
        if isinstance(part, str):
            yield part
        else:
            yield from flat(part)


def speculative_config() -> Any:
    return importlib.import_module("vllm.config.speculative").SpeculativeConfig


def config_fields() -> list[Any]:
    return list(dataclasses.fields(speculative_config()))


def config_value() -> Iterator[str]:
    for field in config_fields():
        if get_origin(field.type) is Literal:
            yield from (f"{field.name}={value}" for value in flat(field.type))


def flag() -> Iterator[str]:
    flexible = importlib.import_module("vllm.utils.argparse_utils").FlexibleArgumentParser
    serve = importlib.import_module("vllm.entrypoints.cli.serve")
    with contextlib.redirect_stdout(io.StringIO()):
        parser = serve.make_arg_parser(flexible(prog="vllm serve", add_help=False))
    for action in parser._actions:  # noqa: SLF001  # argparse has no public way to list a parser's options
        strings = set(action.option_strings)
        yield from (string for string in strings if not (string.startswith("--no-") and f"--{string[5:]}" in strings))


def quantization() -> Any:
    return importlib.import_module("vllm.model_executor.layers.quantization")


ANSWERS: dict[str, Any] = {
    "architecture": architecture,
    "behaviour": behaviour,
    "config_key": lambda: [field.name for field in config_fields()],
    "config_value": config_value,
    "deprecated_quantization": lambda: quantization().DEPRECATED_QUANTIZATION_METHODS,
    "draft_layer": draft_layer,
    "flag": flag,
    "float16_unsupported": lambda: importlib.import_module("vllm.config.model")._FLOAT16_NOT_SUPPORTED_MODELS,  # noqa: SLF001
    "method": method,
    "quantization": lambda: quantization().QUANTIZATION_METHODS,
    "release": lambda: [importlib.import_module("vllm").__version__],
    "speculators_type": speculators,
}


if __name__ == "__main__":
    sys.stdout.write(json.dumps([sorted(ANSWERS[kind]()) for kind in json.load(sys.stdin)]) + "\n")
