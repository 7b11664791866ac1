"""How long requests may be: by what a model's config says of positions, and how an engine of the release reads that.

Paths in docstrings are vLLM's, read in 0.32.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from speculator_operator.core import releases
from speculator_operator.core.model_config import NOTHING, Config, language_model, size, text

_CHANGE_CONFIG = ("--hf-overrides", "--hf-config-path")
_NO_WINDOW = "--disable-sliding-window"


def context_length(model: Config, *, engine_version: str, flags: Mapping[str, str] = NOTHING) -> int | None:
    """The longest context that an engine of the version lets a model have, by its config; None where that isn't plain.

    ``flags`` are the options that the model is served with; a draft has none of them. Source:
    ``_get_and_verify_max_len`` in config/model.py. It applied yarn's factor to the original length until it took the
    config's length as scaled (``yarn_is_scaled``); Gemma 3's it takes as scaled whatever the scaling is. A model whose
    sliding window is disabled is to see no further than that.
    """
    config = language_model(model)
    yarn_multiplies = not releases.available("behaviour", "yarn_is_scaled", engine_version)
    length = size(config, "model_max_length") or _positions(config, flags)
    if length is None or "gemma3" in (text(config, "model_type") or text(model, "model_type")):
        return length
    scalings = _scalings(config)
    if scalings is None:
        return None
    lengths = [_scaled(length, scaling, yarn_multiplies=yarn_multiplies) for scaling in scalings]
    known = [scaled for scaled in lengths if scaled is not None]
    return max(known, default=length) if len(known) == len(lengths) else None


def _positions(config: Config, flags: Mapping[str, str]) -> int | None:
    length, window = size(config, "max_position_embeddings"), size(config, "sliding_window")
    # Source: the configs of Qwen models in Transformers, whose window counts only where it is switched on.
    unused = not config.get("use_sliding_window", "qwen" not in text(config, "model_type"))
    if length is None or window is None or unused or flags.get(_NO_WINDOW, "false") == "false":
        return length
    return min(length, window)


def default_length(model: Config, *, engine_version: str, flags: Mapping[str, str] = NOTHING) -> int | None:
    """The length that an engine of the version serves a model with where it is told none; None where that isn't plain.

    Source: there, the same. With longrope it is the length before scaling, if that stands beside the others.
    """
    config = language_model(model)
    if any(_kind(scaling) in ("longrope", "su") for scaling in _scalings(config) or ()):
        original = size(config, "original_max_position_embeddings")
        if original is not None:
            return original
    return context_length(model, engine_version=engine_version, flags=flags)


def served_length(
    verifier: Config, max_model_len: int | None, flags: Mapping[str, str], *, engine_version: str
) -> int | None:
    """How long requests may be; None where that isn't known: with auto, the engine chooses a length that fits."""
    if max_model_len is None and config_changed_by(flags):
        return None
    if max_model_len is None and "--max-model-len" not in flags:
        return default_length(verifier, engine_version=engine_version, flags=flags)
    return max_model_len


def config_changed_by(flags: Mapping[str, str]) -> str | None:
    """The option by which the verifier is served with another config than its repository's; None where none is."""
    return next((flag for flag in _CHANGE_CONFIG if flag in flags), None)


def _scalings(config: Config) -> list[Config] | None:
    """The parameters by which positions are scaled: models with several kinds of layers have some for each. None where
    they can't be read."""
    rope = config.get("rope_parameters") or config.get("rope_scaling")
    if rope is None:
        return []
    if not isinstance(rope, Mapping):
        return None
    return [value for value in rope.values() if isinstance(value, Mapping)] or [rope]


def _kind(scaling: Config) -> Any:
    return scaling.get("rope_type", scaling.get("type"))


def _scaled(length: int, scaling: Config, *, yarn_multiplies: bool) -> int | None:
    kind = _kind(scaling)
    factor = scaling.get("factor")
    scaled_already = ("default", "llama3", "longrope", "su", "mrope", *(() if yarn_multiplies else ("yarn",)))
    if kind in scaled_already or factor is None:
        return length
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 1 <= factor < 1e6:
        return None
    if kind == "yarn":
        length = size(scaling, "original_max_position_embeddings") or length
    return int(length * factor)
