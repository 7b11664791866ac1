"""(resource, a way to read models) -> ``Resolved``, or why the resource can't be served.

What needs no reading is judged first, so that a mistake in the spec is told at once and whatever the hub does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from . import api
from .api import Identity, Origin, Reason, Resolved, SpeculationMode, SpeculatorDeployment
from .core import checkpoint, compatibility, engine, engine_args, proof_probe
from .core.checkpoint import Recipe, Snapshot
from .core.engine_args import ArgFields
from .core.render import shutdown_timeout
from .core.weights import loaded_from
from .errors import Refused
from .reference import Reference
from .settings import Settings

#: What was read of a model, pinned to what its reference means now.
Read = Callable[[Reference], Awaitable[Snapshot]]

_RECIPE = "the checkpoint's recipe"


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


async def resolve(resource: SpeculatorDeployment, settings: Settings, read: Read) -> Resolved:
    """Reads both models, and decides how they are served.

    Raises:
        Refused: the inputs can't be used until they, or the models, are changed.
        Waiting: a model couldn't be read for now.
    """
    spec = resource.spec
    image = spec.engine.image or settings.engine_image
    version = engine.engine_version(image, spec.engine.version)
    arguments = engine_args.fields_from(engine_args.parse_args(spec.engine.args, version))
    engine_args.check_env(spec.engine.env)
    serving = engine.serving(resource, arguments)
    overrides = engine.speculative_overrides(spec.speculation, arguments)

    models = await _read_models(spec, serving.revision, version, overrides, read)
    if models.draft is not models.model:  # a draft that the resource names: the revision it wanted is a commit now
        overrides.pop("revision", None)
    config: dict[str, Any] | None = None
    if models.off is None:
        config = engine.speculative_config(
            recipe=models.recipe,
            draft=_identity(models.draft),
            overrides=overrides,
            tensor=serving.tensor,
            max_model_len=arguments.max_model_len
            or compatibility.context_length(models.verifier.config, engine_version=version),
            version=version,
        )
        _refuse_unprovable(spec, config or {}, arguments.max_model_len)
    findings = compatibility.findings(
        recipe=models.recipe if config else None,
        method=config["method"] if config else None,
        draft=models.draft.config if config and models.draft else None,
        verifier=models.verifier.config,
        tensor=serving.tensor,
        pipeline=serving.pipeline,
        draft_tensor=(config or {}).get("draft_tensor_parallel_size"),
        max_model_len=arguments.max_model_len,
        engine_version=version,
    )
    if findings:
        more = "".join(f"; {finding.reason}: {finding.message}" for finding in findings[1:])
        raise Refused(findings[0].reason, findings[0].message + more, field=findings[0].field)

    served = loaded_from(Identity(uri=models.verifier.uri, revision=models.verifier.revision), "verifier")
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
        version=version,
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
        image=image,
        engine_version=version,
        command=[*command, *args],
        sources=[
            Origin(field="verifier", value=models.verifier.uri, source=models.verifier_source),
            *_config_sources(config or {}, engine.override_sources(spec.speculation, arguments)),
            _origin("tensor", serving.tensor, spec.parallelism.tensor, "spec.parallelism.tensor", arguments),
            _origin("pipeline", serving.pipeline, spec.parallelism.pipeline, "spec.parallelism.pipeline", arguments),
            _origin("port", serving.port, spec.engine.port, "spec.engine.port", arguments),
            _origin("image", image, spec.engine.image, "spec.engine.image", arguments),
        ],
    )


async def _read_models(
    spec: api.SpeculatorDeploymentSpec, revision: str | None, version: str, overrides: Mapping[str, Any], read: Read
) -> _Models:
    model = await read(spec.model.reference.at(revision))
    recipe = checkpoint.read_recipe(model.config, engine_version=version)
    disabled = Reason.DISABLED if spec.speculation.mode is SpeculationMode.DISABLED else None
    if recipe:
        if spec.verifier:
            verifier = await read(spec.verifier.reference)
            return _Models(model, verifier, "spec.verifier", draft=model, recipe=recipe, off=disabled)
        verifier = await read(checkpoint.verifier_reference(recipe))
        source = "the checkpoint's speculators_config.verifier.name_or_path"
        return _Models(model, verifier, source, draft=model, recipe=recipe, off=disabled)

    if spec.verifier:
        raise Refused(
            Reason.RECIPE_MISSING,
            f"spec.verifier is set, but {model.uri} carries no recipe: there is nothing for a verifier to verify. "
            "Take spec.verifier out, or name a speculators checkpoint in spec.model.uri",
            field="spec.verifier",
        )
    if overrides:
        draft, recipe = await _read_given_draft(model, overrides, version, read)
        return _Models(model, model, "spec.model", draft=draft, recipe=recipe)
    if spec.speculation.mode is SpeculationMode.REQUIRED:
        raise Refused(
            Reason.RECIPE_MISSING,
            f"spec.speculation.mode is Required, but {model.uri} carries no recipe (there is no speculators_config in "
            "its config.json). Name a speculators checkpoint, or give a recipe in spec.speculation.config",
            field="spec.model.uri",
        )
    return _Models(model, model, "spec.model", off=disabled or Reason.REGULAR_MODEL)


async def _read_given_draft(
    model: Snapshot, overrides: Mapping[str, Any], version: str, read: Read
) -> tuple[Snapshot | None, Recipe | None]:
    """A regular model's recipe is all the user's; the draft that it names, if any, is pinned like any other."""
    if not overrides.keys() & {"method", "model"}:
        raise Refused(
            Reason.RECIPE_MISSING,
            f"{model.uri} carries no recipe that {', '.join(sorted(overrides))} could change. "
            "Name a speculators checkpoint, or add method (and model) to spec.speculation.config",
            field="spec.speculation",
        )
    reference = engine.draft_reference(overrides)
    if reference is None:
        return None, None
    draft = await read(reference)
    return draft, checkpoint.read_recipe(draft.config, engine_version=version)


def _refuse_unprovable(
    spec: api.SpeculatorDeploymentSpec, config: Mapping[str, Any], max_model_len: int | None
) -> None:
    """What no canary can prove would hold its GPUs until the deadline."""
    if spec.speculation.verification is not api.Verification.REQUIRED:
        return
    if max_model_len is not None and max_model_len < proof_probe.CANARY_TOKENS:
        raise Refused(
            Reason.ARGS_INVALID,
            f"--max-model-len is {max_model_len}, and the canary that proves speculation has up to "
            f"{proof_probe.CANARY_TOKENS} tokens; ask for that many at least",
            field="spec.engine.args",
        )
    least = config.get("prompt_lookup_min", config.get("prompt_lookup_max"))
    if least is not None and least > proof_probe.OUTPUT_TOKENS:
        raise Refused(
            Reason.RECIPE_OVERRIDE_INVALID,
            f"prompt_lookup_min is {least} (it is prompt_lookup_max where it isn't set), and a canary can't match more "
            f"than {proof_probe.OUTPUT_TOKENS} tokens; set it to {proof_probe.OUTPUT_TOKENS} or less",
            field="spec.speculation.config",
        )


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
