"""``config.json`` -> recipe, or a named error.

The first decision of a pass: does the checkpoint carry a recipe, and can the engine's version run it? What is accepted
is mapped as the engine maps it, in ``SpeculatorsConfig.extract_vllm_speculative_config`` (vLLM's
``transformers_utils/configs/speculators/base.py``), which the conformance tests hold us to. What is refused is more:
the engine lets values through that only fail once a GPU is held (no tokens, a mask token of null), and takes a
checkpoint whose ``speculators_config`` is null for a regular model.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeGuard

from speculator_operator.api import Reason
from speculator_operator.core import releases
from speculator_operator.errors import Refused
from speculator_operator.reference import REPOSITORY_PATTERN, Reference

#: As in the resource's schema; no published draft proposes as many at one step.
MAX_SPECULATIVE_TOKENS = 64


@dataclass(frozen=True)
class Snapshot:
    """What was read of one model: ``uri`` as in ``Reference``, ``config`` its ``config.json``.

    ``revision`` is what it is pinned to: the hub's commit, or of a claim and of object storage a digest of what was
    read (``sha256:...``); a local folder has none. ``files`` are the names and the sizes, in bytes, of the files beside
    ``config.json``; None where they weren't listed. ``parameters`` are how many numbers of each type the safetensors
    files among them hold, by safetensors' names (``BF16``); None where that isn't known.
    """

    uri: str
    revision: str | None
    config: Mapping[str, Any]
    files: Mapping[str, int] | None = None
    parameters: Mapping[str, int] | None = None


@dataclass(frozen=True)
class Recipe:
    """A checkpoint's own speculative-decoding recipe, in the engine's words.

    ``algorithm`` is the checkpoint's ``speculators_model_type``, ``method`` what the engine runs it as.
    ``num_speculative_tokens`` are proposed at each step. ``verifier`` is the embedded reference, as written there
    (None where the checkpoint names none). ``locked`` are the keys of the speculative config that the checkpoint
    dictates beside method and model, such as ``parallel_drafting``. ``config`` is the draft's whole ``config.json``.
    """

    algorithm: str
    method: str
    num_speculative_tokens: int
    verifier: str | None
    locked: Mapping[str, Any]
    config: Mapping[str, Any]


@dataclass(frozen=True)
class _Algorithm:
    """How the engine runs a ``speculators_model_type``, and what that needs of ``config.json``."""

    method: str
    mask_token: bool = False
    auxiliary_layers: bool = False
    locked: Mapping[str, Any] = field(default_factory=dict)


# Source: the functions registered in vLLM's transformers_utils/configs/speculators/algos.py. Since when each is there,
# and with which layers, is in the table of releases. Before a release knew drafts with qwen3 layers, it built them of
# llama layers, which have no place for their q_norm and k_norm weights. No release registers mtp.
_ALGORITHMS: Mapping[str, _Algorithm] = {
    "eagle3": _Algorithm("eagle3"),
    "peagle": _Algorithm("eagle3", mask_token=True, locked={"parallel_drafting": True}),
    "dflash": _Algorithm("dflash", mask_token=True, auxiliary_layers=True),
    "dflash2": _Algorithm("dflash", mask_token=True, auxiliary_layers=True),
    "dspark": _Algorithm("dspark", mask_token=True, auxiliary_layers=True),
}


#: Sizes of the draft's layers, and whether the engine takes null for one.
#: Source: transformers_utils/model_arch_config_convertor.py; ``num_key_value_heads`` may be null elsewhere, not here.
_LAYER_SIZES: Mapping[str, bool] = {
    "hidden_size": False,
    "intermediate_size": False,
    "num_hidden_layers": False,
    "num_attention_heads": False,
    "num_key_value_heads": False,
    "head_dim": True,
    "vocab_size": False,
    "max_position_embeddings": True,
}


def is_speculators_checkpoint(config: Mapping[str, Any]) -> bool:
    """Whether ``config.json`` is one that the speculators library wrote, whole or broken."""
    return "speculators_config" in config or "speculators_model_type" in config


def read_recipe(config: Mapping[str, Any], *, engine_version: str, tokens: object = None) -> Recipe | None:
    """The recipe in a model's ``config.json``; None for a regular model.

    ``tokens`` is what the resource sets in place of the recipe's: where those are none, it stands in for them.

    Raises:
        Refused: the recipe is broken, or the engine's version can't run it. The message names the field of
            ``config.json``, its value, and what to do.
    """
    if not isinstance(config, Mapping):
        raise Refused(Reason.CONFIG_MALFORMED, f"config.json must be a JSON object, not {_shown(config)}")
    if not is_speculators_checkpoint(config):
        return None
    name = config.get("speculators_model_type")
    if not isinstance(name, str) or not name:
        _malformed("speculators_model_type", name, "a name such as eagle3")
    speculators = _object(config.get("speculators_config"), "speculators_config")
    algorithm = _algorithm(name, engine_version)
    proposed = _speculative_tokens(speculators, tokens)
    verifier = _verifier(speculators)
    _check_draft(config, name, algorithm, engine_version)
    return Recipe(name, algorithm.method, proposed, verifier, algorithm.locked, config)


def verifier_reference(config: Mapping[str, Any]) -> Reference:
    """The embedded verifier of a speculators checkpoint, however broken its recipe is besides: the repository of the
    hub that the engine would download.

    Raises:
        Refused: the recipe names none, or what it names is not a repository (a path of the training host, a URL).
    """
    name: Any = config
    for key in ("speculators_config", "verifier", "name_or_path"):
        name = name.get(key) if isinstance(name, Mapping) else None
    where = "config.json: speculators_config.verifier.name_or_path"
    remedy = "set spec.verifier.uri to the verifier's repository"
    if not isinstance(name, str) or not name.strip():
        raise Refused(
            Reason.VERIFIER_MISSING,
            f"{where} is {_shown(name)}, it names no model; {remedy}",
            field="spec.verifier.uri",
        )
    if not re.fullmatch(REPOSITORY_PATTERN, name) or ".." in name or "--" in name:
        raise Refused(
            Reason.VERIFIER_UNUSABLE,
            f"{where} is {_shown(name)}, which is not a repository of the form org/repo and can't be loaded; {remedy}",
            field="spec.verifier.uri",
        )
    return Reference.parse(name)


def _algorithm(name: str, engine_version: str) -> _Algorithm:
    algorithm = _ALGORITHMS.get(name)
    if algorithm is not None:
        _require_engine("speculators_type", name, engine_version, f"speculators_model_type {name}")
        return algorithm
    remedy = f"use a checkpoint of one of these types: {', '.join(_ALGORITHMS)}"
    if name == "mtp":
        # The engine runs MTP heads, but only those inside the verifier's own checkpoint.
        remedy = (
            "no engine loads MTP heads in the speculators format; merge them back into the verifier's checkpoint, "
            "serve that as spec.model.uri, and set spec.speculation.config to {method: mtp, num_speculative_tokens: N}"
        )
    raise Refused(
        Reason.RECIPE_UNSUPPORTED,
        f"config.json: speculators_model_type is {_shown(name)}, which engine {engine_version} can't load; {remedy}",
    )


def _speculative_tokens(speculators: Mapping[str, Any], instead: object) -> int:
    path = "speculators_config.proposal_methods"
    methods = speculators.get("proposal_methods")
    # Like the engine, we take the first method and not `default_proposal_method`.
    if not isinstance(methods, list) or not methods or not isinstance(methods[0], Mapping):
        raise Refused(
            Reason.RECIPE_METHODS_INVALID,
            f"config.json: {path} must be a list whose first entry is an object, not {_shown(methods)}; "
            "export the checkpoint anew with the speculators library",
        )
    tokens = methods[0].get("speculative_tokens")
    for given in (tokens, instead):
        if _is_int(given) and 1 <= given <= MAX_SPECULATIVE_TOKENS:
            return given
    raise Refused(
        Reason.RECIPE_TOKENS_INVALID,
        f"config.json: {path}[0].speculative_tokens must be a whole number from 1 to {MAX_SPECULATIVE_TOKENS}, "
        f"not {_shown(tokens)}; set spec.speculation.numSpeculativeTokens, or correct it in the repository",
        field="spec.speculation.numSpeculativeTokens",
    )


def _verifier(speculators: Mapping[str, Any]) -> str | None:
    verifier = _object(speculators.get("verifier"), "speculators_config.verifier")
    path = "speculators_config.verifier.name_or_path"
    name = verifier.get("name_or_path", ...)
    if name is ...:
        # The engine wants the key, though not a value.
        _malformed(path, None, "a repository such as org/repo (or null, with spec.verifier.uri set)")
    if name is not None and not isinstance(name, str):
        _malformed(path, name, "a repository such as org/repo")
    return name


def _check_draft(config: Mapping[str, Any], name: str, algorithm: _Algorithm, engine_version: str) -> None:
    layer = _object(config.get("transformer_layer_config"), "transformer_layer_config")
    if layers := _layer_types(name):
        # The engine's own default; a null is refused there too.
        layer_type = layer.get("model_type", "llama")
        path = "transformer_layer_config.model_type"
        if not isinstance(layer_type, str):
            _malformed(path, layer_type, f"one of {', '.join(layers)}")
        if layer_type not in layers:
            raise Refused(
                Reason.RECIPE_UNSUPPORTED,
                f"config.json: {path} is {_shown(layer_type)}, and the engine has {name} drafts of "
                f"{' and '.join(layers)} layers only; use a draft with such layers",
            )
        _require_engine("draft_layer", f"{name}/{layer_type}", engine_version, f"{name} with {layer_type} layers")
    mask_token = config.get("mask_token_id")
    if algorithm.mask_token and not (_is_int(mask_token) and mask_token >= 0):
        _malformed("mask_token_id", mask_token, f"a token id, since {name} drafts in parallel")
    key = "aux_hidden_state_layer_ids" if algorithm.auxiliary_layers else "eagle_aux_hidden_state_layer_ids"
    taps = config.get(key)
    if (algorithm.auxiliary_layers and not taps) or not (taps is None or _is_layer_list(taps)):
        _malformed(key, taps, "a list of the verifier's layer numbers")
    for key in ("draft_vocab_size", "target_hidden_size"):
        _check_size(config.get(key), key, null=True)
    for key, null in _LAYER_SIZES.items():
        if key in layer:
            _check_size(layer[key], f"transformer_layer_config.{key}", null=null)
    architectures = config.get("architectures")
    if not (architectures is None or _is_string_list(architectures)):
        _malformed("architectures", architectures, "a list of names")


def _layer_types(name: str) -> list[str]:
    """The layers that drafts of a type may have, none where any will do."""
    entries = (entry.partition("/") for entry in releases.names("draft_layer"))
    return [layer for owner, _, layer in entries if owner == name]


def _check_size(size: Any, path: str, *, null: bool) -> None:
    if not (_is_int(size) and size > 0) and not (size is None and null):
        _malformed(path, size, "a positive number, or null" if null else "a positive number")


def _require_engine(kind: releases.Kind, name: str, engine_version: str, what: str) -> None:
    if lack := releases.lack(kind, name, engine_version):
        message = f"config.json: {what} {lack}"
        raise Refused(Reason.RECIPE_UNSUPPORTED, message, field="spec.engine.image")


def _object(value: Any, path: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        _malformed(path, value, "an object")
    return value


def _malformed(path: str, value: Any, wanted: str) -> NoReturn:
    raise Refused(
        Reason.RECIPE_MALFORMED,
        f"config.json: {path} must be {wanted}, not {_shown(value)}; "
        "correct it in the checkpoint's repository, or export the checkpoint anew with the speculators library",
    )


def _is_int(value: Any) -> TypeGuard[int]:
    # To Python, true is a number; to JSON it isn't.
    return isinstance(value, int) and not isinstance(value, bool)


def _is_layer_list(value: Any) -> bool:
    return isinstance(value, list) and all(_is_int(layer) and layer >= 0 for layer in value)


def _is_string_list(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = 100
_repr.maxlevel = 2


def _shown(value: Any) -> str:
    """A value from outside, for a message: bounded in length and depth."""
    return "null" if value is None else _repr.repr(value)
