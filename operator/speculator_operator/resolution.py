"""(resource, a way to read models) -> ``Resolved``, or everything that is wrong with it.

Two steps: what the resource asks for, which needs no reading, and what its models make of that. A check that fails
doesn't hide the next one, as long as that one's input is there.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from . import api
from .api import (
    Finding,
    Identity,
    MemoryEstimate,
    Origin,
    Reason,
    Resolved,
    Severity,
    SpeculationMode,
    SpeculatorDeployment,
)
from .core import (
    accelerators,
    checkpoint,
    context,
    engine,
    engine_args,
    network_policy,
    proof_probe,
    rules,
)
from .core.checkpoint import Recipe, Snapshot
from .core.engine import Serving
from .core.engine_args import ArgFields
from .core.memory import estimate
from .core.pod_models import cached, loaded_from
from .core.render import shutdown_timeout
from .core.rules import Case
from .errors import Refusals, Refused, Waiting
from .reference import Reference
from .settings import Settings, variable

#: What was read of a model, pinned to what its reference means now.
Read = Callable[[Reference], Awaitable[Snapshot]]

_RECIPE = "the checkpoint's recipe"
_EMBEDDED = "the checkpoint's speculators_config.verifier.name_or_path"
#: By it the engine only warns of a length beyond the verifier's context.
_LONG_CONTEXT = "VLLM_ALLOW_LONG_MAX_MODEL_LEN"
#: Stands for a verifier that couldn't be read: no rule finds a number in it to say anything of.
_UNREAD = Snapshot("", None, {})
#: So many further errors are named where one is raised for all.
_MOST_NAMED = 8


@dataclass(frozen=True)
class Assessment:
    """All that is found: the errors first, then the warnings, the most telling first.

    ``resolved`` is there where nothing is an error, and every model was read. ``waiting`` says that one couldn't be
    read for now, so that what depends on it hasn't been judged.
    """

    resolved: Resolved | None
    findings: tuple[Finding, ...]
    waiting: Waiting | None = None


@dataclass(frozen=True)
class _Request:
    """What the resource asks for, by its fields and the flags that mirror them."""

    image: str
    version: str
    arguments: ArgFields
    serving: Serving
    overrides: Mapping[str, Any]

    @property
    def flags(self) -> Mapping[str, str]:
        """The options that no field mirrors."""
        return engine_args.flags_of(self.arguments.rest)


@dataclass(frozen=True)
class _Models:
    """Which model is what. ``draft`` is None for a regular model, and for methods that have no draft model.

    ``off`` is why nothing is to be drafted, None where something is.
    """

    model: Snapshot
    verifier: Snapshot
    verifier_source: str
    draft: Snapshot | None = None
    recipe: Recipe | None = None
    off: Reason | None = None


class _Reader:
    """Reads models, and keeps why one couldn't be read: what doesn't depend on it is judged all the same."""

    def __init__(self, read: Read, refusals: Refusals) -> None:
        self._read = read
        self._refusals = refusals
        self.waiting: Waiting | None = None

    async def read(self, reference: Reference) -> Snapshot | None:
        try:
            return await self._read(reference)
        except Refused as refusal:
            self._refusals.add(refusal)
        except Waiting as waiting:
            self.waiting = self.waiting or waiting
        return None


async def resolve(resource: SpeculatorDeployment, settings: Settings, read: Read) -> Resolved:
    """Decides how the models are served, or says that they can't be.

    Nothing is read for a spec that is wrong by itself: that is told at once, and whatever the hub does, and a Secret
    that may not be used isn't used.

    Raises:
        Refused: the inputs can't be used until they, or the models, are changed. The message names what else is wrong.
        Waiting: a model couldn't be read for now.
    """
    refusals = Refusals()
    request = _request(resource, settings, refusals)
    if request is None or refusals.each:
        raise _refused(map(Finding.refused, refusals.each))
    assessment = await _judge(resource, request, settings, read, refusals)
    if assessment.waiting:
        raise assessment.waiting
    if assessment.resolved is None:
        raise _refused(finding for finding in assessment.findings if finding.severity == Severity.ERROR)
    return assessment.resolved


async def assess(resource: SpeculatorDeployment, settings: Settings, read: Read) -> Assessment:
    """Finds all that is wrong with a resource, and with its models as far as they can be read."""
    refusals = Refusals()
    request = _request(resource, settings, refusals)
    if request is None:
        return Assessment(None, tuple(map(Finding.refused, refusals.each)))
    return await _judge(resource, request, settings, read, refusals)


def _refused(errors: Iterable[Finding]) -> Refused:
    """The first of the errors; its message names the others."""
    first, *others = errors
    named = [f"{finding.reason}: {finding.message}" for finding in others[:_MOST_NAMED]]
    if len(others) > _MOST_NAMED:
        named.append(f"and {len(others) - _MOST_NAMED} more")
    return Refused(first.reason, "; ".join((first.message, *named)), field=first.field)


def _request(resource: SpeculatorDeployment, settings: Settings, refusals: Refusals) -> _Request | None:
    """None where the engine's version isn't known: all else is read as that version reads it."""
    spec = resource.spec
    image = spec.engine.image or settings.engine_image
    version = refusals.attempt(engine.engine_version, image, spec.engine.version)
    arguments = ArgFields()
    if version is not None:
        parsed = engine_args.parse_args(spec.engine.args, version, settings, refusals)
        arguments = engine_args.fields_from(parsed, refusals)
    engine_args.check_env(spec.engine.env, settings, refusals)
    _check_secrets(spec, settings, refusals)
    if version is None:
        return None
    return _Request(
        image=image,
        version=version,
        arguments=arguments,
        serving=engine.serving(resource, arguments, refusals),
        overrides=engine.speculative_overrides(spec.speculation, arguments, refusals),
    )


def _check_secrets(spec: api.SpeculatorDeploymentSpec, settings: Settings, refusals: Refusals) -> None:
    for field, name in api.secret_references(spec):
        if not re.fullmatch(settings.secret_names, name):
            evidence = f"{field}: the installation lets resources use no Secret of the name {name}"
            remedy = (
                f"use one whose name matches {settings.secret_names}, or have it changed ({variable('secret_names')})"
            )
            refusals.add(Refused(Reason.SECRET_NAME_REFUSED, evidence, field=field, remedy=remedy))


async def _judge(
    resource: SpeculatorDeployment, request: _Request, settings: Settings, read: Read, refusals: Refusals
) -> Assessment:
    reader = _Reader(read, refusals)
    models, config, memory = None, None, None
    found: tuple[Finding, ...] = ()
    try:
        models = await _read_models(resource.spec, request, reader, refusals)
    except Refused as refusal:
        refusals.add(refusal)
    if models:
        if models.off is None:
            config = refusals.attempt(_speculative_config, resource.spec, request, models)
            _check_provable(resource.spec, config or {}, request.arguments.max_model_len, refusals)
        refusals.attempt(network_policy.refuse_closed, resource, _loaded(models, config))
        memory = _memory(resource.spec, request, models, config)
        found = _findings(resource.spec, settings, request, models, config, memory)
    refused = tuple(map(Finding.refused, refusals.each))
    findings = tuple(sorted(refused + found, key=lambda finding: finding.severity != Severity.ERROR))
    if models is None or reader.waiting or any(finding.severity == Severity.ERROR for finding in findings):
        return Assessment(None, findings, reader.waiting)
    return Assessment(_resolved(resource, request, models, config, memory, findings), findings)


async def _read_models(
    spec: api.SpeculatorDeploymentSpec, request: _Request, reader: _Reader, refusals: Refusals
) -> _Models | None:
    model = await reader.read(spec.model.reference.at(request.serving.revision))
    if model is None:
        return None
    disabled = Reason.DISABLED if spec.speculation.mode is SpeculationMode.DISABLED else None
    if checkpoint.is_speculators_checkpoint(model.config):
        # With speculation disabled, the verifier is all that counts of the recipe.
        recipe = None if disabled else _read_recipe(model, request)
        given = spec.verifier
        reference = given.reference if given else refusals.attempt(checkpoint.verifier_reference, model.config)
        verifier = await reader.read(reference) if reference else None
        source = "spec.verifier" if given else _EMBEDDED
        return _Models(model, verifier or _UNREAD, source, draft=model, recipe=recipe, off=disabled)

    if spec.verifier:
        raise Refused(
            Reason.RECIPE_MISSING,
            f"spec.verifier is set, but {model.uri} carries no recipe: there is nothing for a verifier to verify",
            remedy="take spec.verifier out, or name a speculators checkpoint in spec.model.uri",
            field="spec.verifier",
        )
    if request.overrides:
        return await _read_given_draft(model, request, reader)
    if spec.speculation.mode is SpeculationMode.REQUIRED:
        raise Refused(
            Reason.RECIPE_MISSING,
            f"spec.speculation.mode is Required, but {model.uri} carries no recipe (there is no speculators_config in "
            "its config.json)",
            remedy="name a speculators checkpoint, or give a recipe in spec.speculation.config",
            field="spec.model.uri",
        )
    return _Models(model, model, "spec.model", off=disabled or Reason.REGULAR_MODEL)


async def _read_given_draft(model: Snapshot, request: _Request, reader: _Reader) -> _Models | None:
    """A regular model's recipe is all the user's; the draft that it names, if any, is pinned like any other."""
    if not request.overrides.keys() & {"method", "model"}:
        raise Refused(
            Reason.RECIPE_MISSING,
            f"{model.uri} carries no recipe that {', '.join(sorted(request.overrides))[:200]} could change",
            remedy="name a speculators checkpoint, or add method (and model) to spec.speculation.config",
            field="spec.speculation",
        )
    reference = engine.draft_reference(request.overrides)
    if reference is None:
        return _Models(model, model, "spec.model")
    draft = await reader.read(reference)
    if draft is None:
        return None
    return _Models(model, model, "spec.model", draft=draft, recipe=_read_recipe(draft, request))


def _read_recipe(draft: Snapshot, request: _Request) -> Recipe | None:
    tokens = request.overrides.get("num_speculative_tokens")
    return checkpoint.read_recipe(draft.config, engine_version=request.version, tokens=tokens)


def _speculative_config(
    spec: api.SpeculatorDeploymentSpec, request: _Request, models: _Models
) -> dict[str, Any] | None:
    overrides = dict(request.overrides)
    if models.draft and models.draft is not models.model:  # one that the resource names: its revision is a commit now
        overrides.pop("revision", None)
    if models.verifier is _UNREAD:
        overrides.pop("max_model_len", None)  # it is held against the verifier's
    return engine.speculative_config(
        recipe=models.recipe,
        draft=_identity(models.draft),
        overrides=overrides,
        tensor=request.serving.tensor,
        max_model_len=request.arguments.max_model_len
        or context.default_length(models.verifier.config, engine_version=request.version, flags=request.flags),
        version=request.version,
        verifier=None if models.verifier is _UNREAD else _identity(models.verifier),
        cache=spec.cache,
    )


def _check_provable(
    spec: api.SpeculatorDeploymentSpec, config: Mapping[str, Any], max_model_len: int | None, refusals: Refusals
) -> None:
    """What no canary can prove would hold its GPUs until the deadline."""
    if spec.speculation.verification is not api.Verification.REQUIRED:
        return
    if max_model_len is not None and max_model_len < proof_probe.CANARY_TOKENS:
        evidence = (
            f"--max-model-len is {max_model_len}, and the canary that proves speculation has up to "
            f"{proof_probe.CANARY_TOKENS} tokens"
        )
        remedy = "ask for that many at least"
        refusals.add(Refused(Reason.ARGS_INVALID, evidence, field="spec.engine.args", remedy=remedy))
    least = config.get("prompt_lookup_min", config.get("prompt_lookup_max"))
    if least is not None and least > proof_probe.OUTPUT_TOKENS:
        evidence = (
            f"prompt_lookup_min is {least} (it is prompt_lookup_max where it isn't set), and a canary can't match more "
            f"than {proof_probe.OUTPUT_TOKENS} tokens"
        )
        remedy = f"set it to {proof_probe.OUTPUT_TOKENS} or less"
        refusals.add(Refused(Reason.RECIPE_OVERRIDE_INVALID, evidence, field="spec.speculation.config", remedy=remedy))
    schedule = config.get("num_speculative_tokens_per_batch_size")
    if schedule and not schedule[0][-1]:
        evidence = (
            f"the first entry of num_speculative_tokens_per_batch_size is {schedule[0]}, and the canary that proves "
            "speculation is alone: it would not be drafted for"
        )
        remedy = "give it tokens, or set spec.speculation.verification to Report or Off"
        refusals.add(Refused(Reason.RECIPE_OVERRIDE_INVALID, evidence, field="spec.speculation.config", remedy=remedy))


def _memory(
    spec: api.SpeculatorDeploymentSpec, request: _Request, models: _Models, config: Mapping[str, Any] | None
) -> MemoryEstimate | None:
    return estimate(
        verifier=models.verifier,
        draft=models.draft if config else None,
        speculative=config,
        tensor=request.serving.tensor,
        pipeline=request.serving.pipeline,
        max_model_len=_served_length(request, models),
        accelerator_memory=accelerators.memory(spec.accelerator),
        most_tensor=accelerators.per_node(spec.accelerator) // request.serving.pipeline,
        flags=request.flags,
    )


def _served_length(request: _Request, models: _Models) -> int | None:
    return context.served_length(
        models.verifier.config, request.arguments.max_model_len, request.flags, engine_version=request.version
    )


def _findings(
    spec: api.SpeculatorDeploymentSpec,
    settings: Settings,
    request: _Request,
    models: _Models,
    config: Mapping[str, Any] | None,
    memory: MemoryEstimate | None,
) -> tuple[Finding, ...]:
    """``config`` is None where nothing is drafted, and where it was refused: the recipe says enough then."""
    drafts = models.off is None
    case = Case(
        recipe=models.recipe if drafts else None,
        speculative=config or {},
        draft=models.draft if drafts else None,
        off=models.off,
        verifier=models.verifier,
        tensor=request.serving.tensor,
        pipeline=request.serving.pipeline,
        max_model_len=request.arguments.max_model_len,
        flags=request.flags,
        engine_version=request.version,
        allow_remote_code=settings.allow_remote_code,
        allow_pickled_weights=settings.allow_pickled_weights,
        allow_long_context=any(
            variable.name == _LONG_CONTEXT and variable.value in ("1", "true") for variable in spec.engine.env
        ),
        accelerators_per_node=accelerators.per_node(spec.accelerator),
        memory=memory,
        cache=spec.cache,
    )
    return (
        *rules.findings(case),
        *_cache_findings(spec, models, config),
    )


def _cache_findings(
    spec: api.SpeculatorDeploymentSpec, models: _Models, config: Mapping[str, Any] | None
) -> Iterator[Finding]:
    loaded = (_identity(models.verifier), _identity(models.draft) if config else None)
    if (
        models.verifier is _UNREAD
        or spec.cache is None
        or any(map(partial(cached, cache=spec.cache), filter(None, loaded)))
    ):
        return
    yield Finding(
        severity=Severity.WARNING,
        reason=Reason.CACHE_UNUSED,
        field="spec.cache",
        evidence="spec.cache: there is nothing to fetch, for the models are mounted from their claims or images",
        remedy="leave it out",
    )


def _resolved(
    resource: SpeculatorDeployment,
    request: _Request,
    models: _Models,
    config: dict[str, Any] | None,
    memory: MemoryEstimate | None,
    warnings: Iterable[Finding],
) -> Resolved:
    spec, serving, arguments = resource.spec, request.serving, request.arguments
    served = loaded_from(Identity(uri=models.verifier.uri, revision=models.verifier.revision), "verifier", spec.cache)
    command, args = engine.command_line(
        model=served.uri,
        revision=served.revision,
        served_names=serving.served_names,
        tensor=serving.tensor,
        pipeline=serving.pipeline,
        port=serving.port,
        speculative_config=config,
        rest=arguments.rest,
        shutdown_timeout=shutdown_timeout(resource),
        version=request.version,
    )
    return Resolved(
        model=Identity(uri=models.model.uri, revision=models.model.revision),
        draft=_identity(models.draft) if config else None,
        verifier=Identity(uri=models.verifier.uri, revision=models.verifier.revision),
        method=config["method"] if config else None,
        num_speculative_tokens=config.get("num_speculative_tokens") if config else None,
        speculative_config=config,
        off=models.off,
        verification=spec.speculation.verification if config else api.Verification.OFF,
        served_name=serving.served_names[0],
        tensor=serving.tensor,
        pipeline=serving.pipeline,
        port=serving.port,
        image=request.image,
        engine_version=request.version,
        command=[*command, *args],
        memory=memory,
        sources=[
            Origin(field="verifier", value=models.verifier.uri, source=models.verifier_source),
            *_config_sources(config or {}, engine.override_sources(spec.speculation, arguments)),
            _origin("tensor", serving.tensor, spec.parallelism.tensor, "spec.parallelism.tensor", arguments),
            _origin("pipeline", serving.pipeline, spec.parallelism.pipeline, "spec.parallelism.pipeline", arguments),
            _origin("port", serving.port, spec.engine.port, "spec.engine.port", arguments),
            _origin("image", request.image, spec.engine.image, "spec.engine.image", arguments),
        ],
        warnings=list(warnings)[: api.MAX_WARNINGS],
    )


def _loaded(models: _Models, config: Mapping[str, Any] | None) -> list[Identity | None]:
    """The models that the engine loads, as far as they could be read."""
    verifier = None if models.verifier is _UNREAD else models.verifier
    return [_identity(verifier), _identity(models.draft) if config else None]


def _identity(snapshot: Snapshot | None) -> Identity | None:
    return Identity(uri=snapshot.uri, revision=snapshot.revision) if snapshot else None


def _config_sources(config: Mapping[str, Any], overrides: Mapping[str, str]) -> list[Origin]:
    return [
        Origin(field="draft" if key == "model" else key, value=str(value), source=overrides.get(key, _RECIPE))
        for key, value in config.items()
        if key != "revision"
    ]


def _origin(field: str, value: object, given: object | None, path: str, arguments: ArgFields) -> Origin:
    flag = arguments.flags.get(field)
    source = path if given is not None else f"{flag} in spec.engine.args" if flag else "the default"
    return Origin(field=field, value=str(value), source=source)
