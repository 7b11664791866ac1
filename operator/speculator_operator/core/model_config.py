"""What a model's ``config.json`` says of itself: read so that whatever it holds is a number, a name, or nothing.

Paths in docstrings are vLLM's, read in 0.32.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

Config = Mapping[str, Any]

#: No size of a model is larger; what is would only swell messages and sums.
LARGEST = 2**53

NOTHING: Final[Config] = {}


def language_model(config: Config) -> Config:
    """The part of a config that describes the language model: multimodal models nest it.

    Source: ``get_hf_text_config`` in transformers_utils/config.py.
    """
    for outer in (config, part(config, "thinker_config")):
        if inner := part(outer, "text_config"):
            return inner
    return config


def draft_layers(config: Config) -> Config:
    """The part of a draft's config that describes its layers: the speculators format nests it."""
    return part(config, "transformer_layer_config") or language_model(config)


def part(config: Config, key: str) -> Config:
    """The object under a key; an empty one where there is none."""
    value = config.get(key)
    return value if isinstance(value, Mapping) else NOTHING


def size(config: Config, *keys: str) -> int | None:
    """The first positive whole number under one of the keys."""
    for key in keys:
        value = number(config, key)
        if value:
            return value
    return None


def number(config: Config, key: str) -> int | None:
    """The whole number under a key, 0 or more."""
    value = config.get(key)
    # To Python, true is a number; to JSON it isn't.
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST else None


def text(config: Config, key: str) -> str:
    """The text under a key, and nothing long; empty where there is none."""
    value = config.get(key)
    return value if isinstance(value, str) and len(value) <= 100 else ""


def architecture(config: Config) -> str:
    """The first of the architectures, which the engine goes by; empty where none is named."""
    value = config.get("architectures")
    first = value[0] if isinstance(value, list) and value else None
    return first if isinstance(first, str) and len(first) <= 100 else ""


def quantized(config: Config) -> bool:
    """Whether the weights are stored quantized."""
    return bool(quantization_config(config))


def quantization_method(config: Config) -> str:
    """The method that the weights are stored quantized by; empty where they aren't, or where the config doesn't say.

    Source: ``_normalize_quantization_config`` in transformers_utils/model_arch_config_convertor.py, which reads the
    method of ModelOpt's older configs out of their algorithm.
    """
    quantization = quantization_config(config)
    older = part(quantization, "quantization")
    if text(part(quantization, "producer"), "name") == "modelopt" or "modelopt_quant_config" in older:
        return "modelopt"
    return text(quantization, "quant_method").lower().replace("compressed_tensors", "compressed-tensors")


def quantization_config(config: Config) -> Config:
    """What a config says of how the weights are stored quantized; nothing where they aren't.

    Source: ``get_quantization_config`` there.
    """
    for whose in (config, part(config, "text_config")):
        for key in ("quantization_config", "compression_config"):
            if found := part(whose, key):
                return found
    return NOTHING


def stored_dtype(config: Config) -> str:
    """The type of the weights, such as bfloat16; empty where the config doesn't say.

    Source: ``get_torch_dtype`` there.
    """
    for whose in (config, language_model(config)):
        for key in ("dtype", "torch_dtype"):
            if name := text(whose, key):
                return name.removeprefix("torch.")
    return ""
