"""What an engine of the release knows: the lengths that it serves, and the models that it has code for."""

from __future__ import annotations

from collections.abc import Iterator

from speculator_operator.api import Finding, Reason
from speculator_operator.core import known_models, releases
from speculator_operator.core.checkpoint import is_speculators_checkpoint
from speculator_operator.core.context import context_length
from speculator_operator.core.model_config import Config, architecture, part, text
from speculator_operator.core.rules.case import Case, Rule, by_the_verifiers_config, error, warning


def engine_unknown(case: Case) -> Iterator[Finding]:
    """An engine newer than the table of releases is taken for the newest in it."""
    version = case.engine_version
    if releases.newer(version, releases.newest()):
        yield warning(
            Reason.ENGINE_UNKNOWN,
            f"engine {version} is newer than all that are known here, so it was checked as {releases.newest()}",
            "mind what its release notes say of speculative decoding, or use the operator's release for it",
            "spec.engine.image",
        )


@by_the_verifiers_config
def context_too_long(case: Case) -> Iterator[Finding]:
    """The length asked for is within the verifier's context.

    Source: ``_get_and_verify_max_len`` in config/model.py; its environment variable VLLM_ALLOW_LONG_MAX_MODEL_LEN
    makes it a warning there, too.
    """
    whole = context_length(case.verifier.config, engine_version=case.engine_version)
    limit = context_length(case.verifier.config, engine_version=case.engine_version, flags=case.flags)
    asked = case.max_model_len
    if limit is not None and asked is not None and asked > limit:
        windowed = limit != whole
        yield (warning if case.allow_long_context else error)(
            Reason.CONTEXT_TOO_LONG,
            f"--max-model-len is {min(asked, 10**15)}, and the verifier's context has {limit} tokens"
            + (", those of its sliding window, which is disabled" if windowed else ""),
            "ask for no more than that" + (", or leave --disable-sliding-window out" if windowed else ""),
            "spec.engine.args",
        )


@by_the_verifiers_config
def remote_code_refused(case: Case) -> Iterator[Finding]:
    """Models run with the engine's own code, or with that of Transformers; what neither has, a repository may bring.

    Source: ``_try_resolve_transformers`` in model_executor/models/registry.py; ``HFConfigParser.parse`` in
    transformers_utils/config.py. The speculators library writes an ``auto_map`` of its own, which names no class of
    Transformers'.
    """
    models = [("verifier", case.verifier.config, case.verifier_field)]
    if case.draft is not None and case.recipe is None:
        models.append(("draft", case.config, case.field))
    for whose, config, field in models:
        what, hopeless = _unknown(case, whose, config)
        if what is None:
            continue
        if not any(isinstance(key, str) and key.startswith("Auto") for key in part(config, "auto_map")):
            remedy = "use another model, or a newer engine"
            if hopeless:
                yield case.closed(Reason.ARCHITECTURE_UNKNOWN, what, remedy, field)
            else:
                slower = f"{what}; Transformers may, and then it runs slower, or not at all"
                yield warning(Reason.ARCHITECTURE_UNKNOWN, slower, remedy, field)
            continue
        brings = f"{what}: its repository brings code along (auto_map in its config.json)"
        if not case.allow_remote_code:
            remedy = "use a model that the engine implements, or ask whoever runs the operator to allow remote code"
            yield error(Reason.REMOTE_CODE_REFUSED, f"{brings}, which is not run here", remedy, field)
        elif not case.on("--trust-remote-code"):
            remedy = "add --trust-remote-code to spec.engine.args, which the installation allows"
            yield error(Reason.REMOTE_CODE_REFUSED, f"{brings}, and isn't trusted", remedy, "spec.engine.args")


def _unknown(case: Case, whose: str, config: Config) -> tuple[str | None, bool]:
    """What of a model the engine doesn't know, None where nothing is known to be; and whether nothing else helps.

    A head's architecture goes by its method, and medusa heads need no type. What a config says by itself is looked at
    in ``HFConfigParser.parse``, before any architecture.
    """
    head = whose == "draft" and case.method != "draft_model"
    typed = config and not is_speculators_checkpoint(config) and not (head and case.method == "medusa")
    newer = case.newer_than_lists
    if typed and not known_models.config_understood(config) and not newer:
        kind = text(config, "model_type")
        if not kind:
            return f"the {whose}'s config.json has no model_type, by which the engine knows models", True
        return f"the {whose} is of type {kind}, which neither the engine nor its Transformers know", True
    names = config.get("architectures")
    named = [name for name in names[:16] if isinstance(name, str)] if isinstance(names, list) and not head else []
    implemented = [case.implements(name) for name in named]
    if not named or any(implemented) or None in implemented:
        return None, False
    what = f"the {whose}'s architecture is {architecture(config)}, which the engine doesn't implement"
    return what, all(known_models.implemented_nowhere(name) for name in named)


RULES: tuple[Rule, ...] = (
    engine_unknown,
    context_too_long,
    remote_code_refused,
)
