"""Recipe, fields and arguments -> the speculative config and the command line that the engine gets.

Always the long form (``--speculative-config``), never the engine's own detection of a speculators checkpoint, which
reads the draft at the verifier's revision, and says nothing where it finds nothing.
Source of what each method takes: SpeculativeConfig in vllm/config/speculative.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from speculator_operator import api
from speculator_operator.api import Cache, Identity, Reason
from speculator_operator.core import releases
from speculator_operator.core.checkpoint import Recipe
from speculator_operator.core.engine_args import ArgFields, Argument, Option, has_option, options_of
from speculator_operator.core.pod_models import loaded_from
from speculator_operator.errors import RAISED, Refusals, Refused
from speculator_operator.reference import DRAFT_PATTERN, REVISION_PATTERN, Kind, Reference

#: Older engines have known holes (CVE-2026-22807, CVE-2026-27893, and CVE-2026-44223 in speculative decoding).
OLDEST = (0, 20)
DEFAULT_PORT = 8000
#: The methods of the engine that may be asked for.
METHODS = (
    "draft_model",
    "dflash",
    "dspark",
    "eagle",
    "eagle3",
    "medusa",
    "mlp_speculator",
    "mtp",
    "ngram",
    "ngram_gpu",
    "suffix",
)

#: Images that are numbered by year and month have a larger number first, and don't say the engine's.
_TAG_VERSION = re.compile(r"v?(1?\d\.\d+(?:\.\d+)?)(?:(?:[-_.]|(?=[a-z]))[A-Za-z0-9_.-]*)?")
_MOVING_TAGS = re.compile(r"(latest([-_.].*)?|nightly|main|master|dev|edge|stable)")
_ARGS = "spec.engine.args"

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Serving:
    """What fields and flags say together, with defaults where neither says anything.

    ``revision`` is the branch, tag or commit that is wanted of ``spec.model``; None is the main branch.
    """

    tensor: int
    pipeline: int
    port: int
    served_names: tuple[str, ...]
    revision: str | None


def engine_version(image: str, version: str | None) -> str:
    """The engine's version: ``version`` where it is set, else what the image's tag says.

    Raises:
        Refused: ``ImageUnpinned``, ``EngineVersionUnknown`` or ``EngineTooOld``.
    """
    name, _, digest = image.partition("@")
    _, colon, tag = name.rpartition(":")
    if "/" in tag:  # the colon is that of a registry's port
        colon, tag = "", ""
    if not digest and (not colon or not tag or _MOVING_TAGS.fullmatch(tag)):
        message = f"spec.engine.image: {image[:200]} moves; name a release's tag, such as :v0.32.0, or a digest"
        raise Refused(Reason.IMAGE_UNPINNED, message, field="spec.engine.image")
    if version is None:
        match = _TAG_VERSION.fullmatch(tag)
        if match is None:
            message = f"spec.engine.version: it must be set, since the tag of {image[:200]} doesn't say it"
            raise Refused(Reason.ENGINE_VERSION_UNKNOWN, message, field="spec.engine.version")
        version = match[1]
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        oldest = ".".join(str(part) for part in (*OLDEST, 0))
        message = f"spec.engine.image: the engine is {version}, and the oldest that may be run is {oldest}"
        raise Refused(Reason.ENGINE_TOO_OLD, message, field="spec.engine.image")
    return version


def serving(resource: api.SpeculatorDeployment, fields: ArgFields, refusals: Refusals = RAISED) -> Serving:
    """Joins fields and the flags that mirror them.

    Where they differ, that is refused (``FlagContradictsField``, naming both and their values), and the field counts.
    """
    spec = resource.spec

    def agree(
        attribute: str, flag: _Value | None, place: str, value: _Value | None, same: _Value | None = None
    ) -> _Value | None:
        if flag is None or value is None or flag in (value, same):
            return value if flag is None else flag
        evidence = f"{_ARGS}: {fields.flags[attribute]} says {_shown(flag)}, and {place} says {_shown(value)}"
        refusals.add(Refused(Reason.FLAG_CONTRADICTS_FIELD, evidence, field=_ARGS, remedy="set one of them"))
        return value

    agree("model", fields.model, "spec.model.uri", spec.model.uri, same=spec.model.reference.uri)
    served = (spec.model.served_name,) if spec.model.served_name else None
    tensor = agree("tensor", fields.tensor, "spec.parallelism.tensor", spec.parallelism.tensor)
    pipeline = agree("pipeline", fields.pipeline, "spec.parallelism.pipeline", spec.parallelism.pipeline)
    port = agree("port", fields.port, "spec.engine.port", spec.engine.port)
    names = agree("served_names", fields.served_names or None, "spec.model.servedName", served)
    revision = agree("revision", fields.revision, "spec.model.revision", spec.model.reference.revision)
    return Serving(tensor or 1, pipeline or 1, port or DEFAULT_PORT, names or (resource.name,), revision)


def speculative_overrides(
    speculation: api.Speculation, fields: ArgFields, refusals: Refusals = RAISED
) -> dict[str, Any]:
    """What the resource says of the speculative config: by ``config``, by fields and by flags, dashes as underscores.

    Nothing, where speculation is disabled. Where two of them say different things, that is refused
    (``RecipeOverrideInvalid`` for two fields, else ``FlagContradictsField``), and the first counts.
    """
    if speculation.mode is api.SpeculationMode.DISABLED:
        if fields.speculative:
            evidence = f"{_ARGS}: they set a speculative config, and spec.speculation.mode is Disabled"
            remedy = "leave one of them out"
            refusals.add(Refused(Reason.FLAG_CONTRADICTS_FIELD, evidence, field=_ARGS, remedy=remedy))
        return {}
    overrides: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for key, value, place in _given(speculation, fields):
        if key in overrides and not _same(overrides[key], value):
            evidence = (
                f"{sources[key]} sets {key[:100]} to {_shown(overrides[key])}, and {place} sets it to {_shown(value)}"
            )
            reason = Reason.FLAG_CONTRADICTS_FIELD if place == _ARGS else Reason.RECIPE_OVERRIDE_INVALID
            refusals.add(Refused(reason, evidence, field=place, remedy="set one of them"))
        overrides.setdefault(key, value)
        sources.setdefault(key, place)
    return overrides


def override_sources(speculation: api.Speculation, fields: ArgFields) -> dict[str, str]:
    """For each key of ``speculative_overrides``, the field that it was taken from."""
    sources: dict[str, str] = {}
    for key, _, place in _given(speculation, fields):
        sources.setdefault(key, place)
    return sources


def _given(speculation: api.Speculation, fields: ArgFields) -> Iterator[tuple[str, Any, str]]:
    """(key, value, place) of whatever the resource says of the speculative config."""
    for key, value in (speculation.config or {}).items():
        yield key.replace("-", "_"), value, f"spec.speculation.config.{key[:100]}"
    if speculation.num_speculative_tokens is not None:
        yield "num_speculative_tokens", speculation.num_speculative_tokens, "spec.speculation.numSpeculativeTokens"
    if speculation.draft_tensor_parallel_size is not None:
        place = "spec.speculation.draftTensorParallelSize"
        yield "draft_tensor_parallel_size", speculation.draft_tensor_parallel_size, place
    for key, value in fields.speculative.items():
        yield key, value, _ARGS


def draft_reference(overrides: Mapping[str, Any]) -> Reference | None:
    """Where the draft that the overrides name is; None where they name none.

    Raises:
        Refused: ``RecipeOverrideInvalid`` where either could not be read from the hub.
    """
    if overrides.get("model") is None:
        return None
    for key in ("model", "revision"):
        if overrides.get(key) is not None:
            _check(key, overrides[key], _RULES[key])
    reference = Reference.parse(overrides["model"])
    if (revision := overrides.get("revision")) is None:
        return reference
    if reference.kind is not Kind.HUB:
        raise _invalid("revision", "only a repository of the hub has revisions; leave it out")
    return reference.at(revision)


def speculative_config(
    *,
    recipe: Recipe | None,
    draft: Identity | None,
    overrides: Mapping[str, Any],
    tensor: int,
    max_model_len: int | None,
    version: str,
    verifier: Identity | None = None,
    cache: Cache | None = None,
) -> dict[str, Any] | None:
    """The speculative config, exactly as the engine gets it. None where there is neither a recipe nor overrides.

    With a recipe, ``draft`` is the checkpoint; without one, it is what ``overrides["model"]`` was resolved to, None
    where the method has no draft model. ``verifier`` is None where it couldn't be read. ``tensor`` is its tensor
    parallel size, ``max_model_len`` its context as it is served, None where it isn't known. With a ``cache`` models are
    folders, as those on a claim are.

    Raises:
        Refused: ``RecipeFieldLocked`` for a key that the checkpoint dictates, ``RecipeOverrideInvalid`` for one that
            may not be set, or not to this value, or not with this engine, ``RecipeUnsupported`` for a method that the
            engine doesn't have.
    """
    if recipe is None and not overrides:
        return None
    method = recipe.method if recipe else _method(overrides, version)
    refusals = Refusals()
    if recipe:
        refusals.attempt(_refuse_locked, recipe, draft, overrides)
    for key, value in overrides.items():
        refusals.attempt(_check_key, method, key, value, version)
    refusals.raise_any()
    _check_together(overrides, tensor, max_model_len)

    tokens = overrides.get("num_speculative_tokens", recipe.num_speculative_tokens if recipe else None)
    if tokens is None and method not in _OWN_TOKENS:
        raise _invalid("num_speculative_tokens", f"it must be set for method {method}, 1 to 64")
    if draft is None and method in _NEEDS_DRAFT:
        raise _invalid("model", f"it must be set for method {method}: the draft's repository, org/repo")
    config: dict[str, Any] = {"method": method}
    loaded = loaded_from(draft, "draft", cache) if draft else None
    revision = loaded.revision if loaded else None
    if loaded is not None:
        config["model"] = loaded.uri
    elif verifier and method in _INSIDE_VERIFIER:
        _refuse_other_revision(overrides, verifier)
        revision = loaded_from(verifier, "verifier", cache).revision
    if tokens is not None:
        config["num_speculative_tokens"] = tokens
    if revision is not None:
        config["revision"] = revision
    locked = dict(recipe.locked) if recipe else {}
    more = {key: value for key, value in overrides.items() if key not in (*config, *locked, "model", "revision")}
    return config | dict(sorted(locked.items())) | dict(sorted(more.items()))


def command_line(
    *,
    model: str,
    revision: str | None,
    served_names: Sequence[str],
    tensor: int,
    pipeline: int,
    port: int,
    speculative_config: Mapping[str, Any] | None,
    rest: Sequence[Argument],
    shutdown_timeout: int | None,
    version: str,
) -> tuple[list[str], list[str]]:
    """The container's ``command`` and ``args``: the same bytes for the same input, the user's arguments last.

    Ours are one token each, so that no value can be read as a flag; several served names are the exception, and their
    pattern keeps them from being one. ``$(`` is not escaped here.
    """
    args = [f"--revision={revision}", f"--tokenizer-revision={revision}"] if revision else []
    if len(served_names) == 1:
        args.append(f"--served-model-name={served_names[0]}")
    else:
        args += ["--served-model-name", *served_names]
    args += [f"--port={port}", f"--tensor-parallel-size={tensor}"]
    if pipeline > 1:
        args.append(f"--pipeline-parallel-size={pipeline}")
    if speculative_config is not None:
        text = json.dumps(speculative_config, sort_keys=True, separators=(",", ":"), allow_nan=False)
        args.append(f"--speculative-config={text}")
    if shutdown_timeout is not None and has_option(version, "--shutdown-timeout"):
        args.append(f"--shutdown-timeout={shutdown_timeout}")
    args += [token for argument in rest for token in argument.tokens]
    return ["vllm", "serve", model], args


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        value = " ".join(value)
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 100 else text[:97] + "..."


@dataclass(frozen=True)
class _Rule:
    """What a key's value may be: in words, and as a check. ``shown`` is what one is that isn't accepted."""

    allowed: str
    accepts: Callable[[Any], bool]
    shown: Callable[[Any], str | None] = _shown


def _whole(least: int, most: int) -> _Rule:
    return _Rule(f"a whole number from {least} to {most}", lambda value: type(value) is int and least <= value <= most)


def _number(least: float, most: float) -> _Rule:
    return _Rule(
        f"a number from {least:g} to {most:g}", lambda value: type(value) in (int, float) and least <= value <= most
    )


def _one_of(*choices: str) -> _Rule:
    return _Rule(f"one of {', '.join(choices)}", lambda value: isinstance(value, str) and value in choices)


def _as_option(option: Option) -> _Rule:
    if option.choices:
        return _one_of(*option.choices)
    names = option.names
    if not names:
        return _text(f"one that {option.name} of this engine takes", r"[A-Za-z0-9_.-]{1,100}")
    return _Rule(
        f"one that {option.name} knows, such as {names[0]}",
        lambda value: isinstance(value, str) and value.lower() in names,
    )


def _text(allowed: str, pattern: str) -> _Rule:
    return _Rule(allowed, lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None)


def _schedule_fault(schedule: Any) -> str | None:
    """What a schedule is in place of ranges of batch sizes, ascending from 1, each with a number of tokens; None where
    it is that.

    Source: ``validate_and_normalize_dynamic_sd_schedule`` in v1/spec_decode/dynamic/utils.py, which sorts them first.
    """
    if not isinstance(schedule, list):
        return _shown(schedule)
    if not 1 <= len(schedule) <= 64:
        return f"one of {len(schedule)} entries"
    before = 0
    for number, entry in enumerate(schedule, start=1):
        if not isinstance(entry, list) or len(entry) != 3 or any(type(part) is not int for part in entry):
            return f"one whose entry {number} isn't three whole numbers"
        start, end, tokens = entry
        follows = start > before if before else start == 1
        if not (follows and start <= end <= 1_000_000 and 0 <= tokens <= 64):
            return f"one whose entry {number} is {_shown(str(entry))}"
        before = end
    return None if any(tokens for _, _, tokens in schedule) else "one without any tokens"


_BOOLEAN = _Rule("true or false", lambda value: isinstance(value, bool))
_NEEDS_DRAFT = frozenset(("draft_model", "dflash", "eagle", "eagle3", "medusa", "mlp_speculator"))
#: Where these name no draft, the engine reads it from the verifier's repository; at ``revision``, and not at the
#: verifier's. Source: ``SpeculativeConfig.__post_init__``.
_INSIDE_VERIFIER = frozenset(("dspark", "mtp"))
#: The engine knows the number of tokens of these by itself.
_OWN_TOKENS = frozenset(("mlp_speculator", "suffix"))
_RULES: Mapping[str, _Rule] = {
    "disable_padded_drafter_batch": _BOOLEAN,
    "draft_sample_method": _one_of("greedy", "probabilistic"),
    "draft_tensor_parallel_size": _whole(1, 64),
    "dspark_draft_topk": _whole(1, 1_000_000),
    "enable_adaptive_verification": _BOOLEAN,
    "enforce_eager": _BOOLEAN,
    "index_share_for_mtp_iteration": _BOOLEAN,
    "max_model_len": _whole(1, 2**31 - 1),
    "method": _one_of(*METHODS),
    "model": _text("a repository (org/repo), or where else the draft is, as in spec.model.uri", DRAFT_PATTERN[1:-1]),
    "num_speculative_tokens": _whole(1, 64),
    "num_speculative_tokens_per_batch_size": _Rule(
        "a list of up to 64 entries [first batch size, last batch size, tokens], ascending from 1, some with tokens",
        lambda value: _schedule_fault(value) is None,
        _schedule_fault,
    ),
    "parallel_drafting": _BOOLEAN,
    "prompt_lookup_max": _whole(1, 1024),
    "prompt_lookup_min": _whole(1, 1024),
    "rejection_sample_method": _one_of("standard", "block"),
    "revision": _text("a branch, tag or commit", REVISION_PATTERN[1:-1]),
    "suffix_decoding_max_cached_requests": _whole(0, 10_000_000),
    "suffix_decoding_max_spec_factor": _number(0, 1000),
    "suffix_decoding_max_tree_depth": _whole(1, 1024),
    "suffix_decoding_min_token_prob": _number(0, 1),
    "use_heterogeneous_vocab": _BOOLEAN,
    "use_local_argmax_reduction": _BOOLEAN,
}
#: Keys whose values are those of one of the engine's options.
_AS_OPTION = {
    "attention_backend": "--attention-backend",
    "kv_cache_dtype": "--kv-cache-dtype",
    "moe_backend": "--moe-backend",
    "quantization": "--quantization",
}

_EVERY = frozenset(
    ("method", "num_speculative_tokens", "num_speculative_tokens_per_batch_size", "rejection_sample_method")
)
_DRAFT = _EVERY | {
    "attention_backend",
    "disable_padded_drafter_batch",
    "draft_sample_method",
    "draft_tensor_parallel_size",
    "enforce_eager",
    "kv_cache_dtype",
    "max_model_len",
    "model",
    "moe_backend",
    "parallel_drafting",
    "quantization",
    "revision",
    "use_local_argmax_reduction",
}
_LOOKUP = _EVERY | {"prompt_lookup_max", "prompt_lookup_min"}
_KEYS: Mapping[str, frozenset[str]] = {
    "draft_model": _DRAFT | {"use_heterogeneous_vocab"},
    "dflash": _DRAFT,
    "dspark": _DRAFT | {"dspark_draft_topk", "enable_adaptive_verification"},
    "eagle": _DRAFT,
    "eagle3": _DRAFT,
    "medusa": _DRAFT - {"parallel_drafting"},
    "mlp_speculator": _DRAFT - {"parallel_drafting"},
    "mtp": (_DRAFT - {"parallel_drafting"}) | {"index_share_for_mtp_iteration"},
    "ngram": _LOOKUP,
    "ngram_gpu": _LOOKUP,
    "suffix": _EVERY | {key for key in _RULES if key.startswith("suffix_decoding_")},
}
#: In the engine these are always drafted in parallel, whatever the config says.
_PARALLEL_METHODS = frozenset(("dflash", "dspark"))
_REFUSED_METHODS = {
    "custom_class": "it makes the engine load code that the resource names",
    "extract_hidden_states": "it drafts nothing",
}
_REFUSED_KEYS = {
    "code_revision": "code of a model is never run",
    "disable_eagle_block_drop": "it is an experiment of the engine's, to measure with",
    "draft_load_config": "the draft is loaded as the verifier is",
    "synthetic_acceptance_length": "it fakes acceptance",
    "synthetic_acceptance_rates": "it fakes acceptance",
    "tensor_parallel_size": "it is called draft_tensor_parallel_size",
}


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)


def _invalid(key: str, message: str) -> Refused:
    place = f"spec.speculation.config.{key}"
    return Refused(Reason.RECIPE_OVERRIDE_INVALID, f"{place}: {message}", field=place)


def _check(key: str, value: Any, rule: _Rule) -> None:
    if not rule.accepts(value):
        raise _invalid(key, f"it must be {rule.allowed}, not {rule.shown(value)}")


def _method(overrides: Mapping[str, Any], version: str) -> str:
    method = overrides.get("method")
    if method is None:
        raise _invalid("method", f"the model carries no recipe, so it must be set, to {_RULES['method'].allowed}")
    if isinstance(method, str) and method in _REFUSED_METHODS:
        raise _invalid("method", f"{method} may not be set: {_REFUSED_METHODS[method]}")
    if isinstance(method, str) and method.endswith("_mtp"):
        raise _invalid("method", f"{_shown(method)} is an old name; write mtp")
    _check("method", method, _RULES["method"])
    if lack := releases.lack("method", str(method), version):
        message = f"spec.speculation.config.method: {method} {lack}"
        raise Refused(Reason.RECIPE_UNSUPPORTED, message, field="spec.engine.image")
    return str(method)


def _refuse_locked(recipe: Recipe, draft: Identity | None, overrides: Mapping[str, Any]) -> None:
    dictated: dict[str, Any] = {"method": recipe.method, "parallel_drafting": recipe.method in _PARALLEL_METHODS}
    if draft is not None:
        dictated |= {"model": draft.uri, "revision": draft.revision}
    for key, expected in (dictated | dict(recipe.locked)).items():
        if key in overrides and not _same(overrides[key], expected):
            place = f"spec.speculation.config.{key}"
            remedy = "; set spec.model.revision" if key == "revision" else "; leave it out"
            message = f"{place}: the checkpoint dictates {_shown(expected)}, not {_shown(overrides[key])}{remedy}"
            raise Refused(Reason.RECIPE_FIELD_LOCKED, message, field=place)


def _refuse_other_revision(overrides: Mapping[str, Any], verifier: Identity) -> None:
    given = overrides.get("revision")
    if given is not None and given != verifier.revision:
        known = f"that one's commit, {verifier.revision}" if verifier.revision else "left out"
        message = f"the draft is inside the verifier, so it must be {known}, not {given}; set spec.model.revision"
        raise _invalid("revision", message)


def _check_key(method: str, key: str, value: Any, version: str) -> None:
    if key in _REFUSED_KEYS:
        raise _invalid(key, f"it may not be set: {_REFUSED_KEYS[key]}")
    if key not in _KEYS[method]:
        raise _invalid(key[:100], f"method {method} takes no such key, only {', '.join(sorted(_KEYS[method]))}")
    if key == "rejection_sample_method" and value == "synthetic":
        raise _invalid(key, "synthetic may not be set: it fakes acceptance")
    if lack := releases.lack("config_key", key, version):
        raise _invalid(key, f"it {lack}")
    rule = _RULES.get(key) or _as_option(options_of(version)[_AS_OPTION[key]])
    _check(key, value, rule)
    if lack := releases.lack("config_value", f"{key}={value}", version):
        raise _invalid(key, f"{value} {lack}")


def _check_together(overrides: Mapping[str, Any], tensor: int, max_model_len: int | None) -> None:
    """What the engine would refuse, or what would keep drafts from being made, though each key is right by itself."""
    length = overrides.get("max_model_len")
    if length is not None and length != max_model_len:
        known = "the verifier's" if max_model_len is None else f"the verifier's, {max_model_len}"
        raise _invalid("max_model_len", f"drafting ends where it does, so it must be {known}, not {length}")
    most = overrides.get("prompt_lookup_max")
    if most is not None and overrides.get("prompt_lookup_min", most) > most:
        raise _invalid("prompt_lookup_min", f"it must be at most prompt_lookup_max, {most}")
    for key in ("use_heterogeneous_vocab", "use_local_argmax_reduction"):
        if overrides.get(key) and overrides.get("draft_sample_method", "greedy") != "greedy":
            raise _invalid("draft_sample_method", f"with {key} it must be greedy")
    if overrides.get("dspark_draft_topk") is not None and (overrides.get("draft_tensor_parallel_size") or tensor) != 1:
        raise _invalid("dspark_draft_topk", "it needs a draft_tensor_parallel_size of 1")
