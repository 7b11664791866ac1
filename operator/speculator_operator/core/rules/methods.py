"""Whether the engine has the method, and the draft is one for it. The numbers of one that isn't would only confuse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from speculator_operator.api import Finding, Identity, Reason
from speculator_operator.core import drafts, releases
from speculator_operator.core.checkpoint import is_speculators_checkpoint
from speculator_operator.core.model_config import architecture, part, size, text
from speculator_operator.core.pod_models import loaded_from
from speculator_operator.core.rules.case import GIVEN_DRAFT, Case, Rule, by_the_verifiers_config, error

#: Methods whose draft is run as its type says. (A draft for dspark is given an architecture after that.)
_RUN_BY_TYPE = frozenset({"draft_model", "eagle", "eagle3", "dflash"})
#: The kinds of drafts that a method takes. An unplain one may be a head of its authors' own format.
_KINDS: Mapping[str, tuple[str | None, ...]] = {
    "draft_model": ("regular", None),
    "dflash": ("dflash", None),
    "dspark": ("dspark", None),
    "eagle": ("eagle", None),
    "eagle3": ("eagle3", None),
    "medusa": ("medusa", None),
    "mlp_speculator": ("mlp_speculator", None),
}
_KIND_IN_WORDS = {"regular": "a model that speaks by itself", "mtp": "layers that predict several tokens of a verifier"}
_QWEN3_OMNI = frozenset(
    {"qwen3_omni_moe", "Qwen3OmniMoeForConditionalGeneration", "Qwen3OmniMoeThinkerForConditionalGeneration"}
)
_OMNI_DRAFT = "Qwen3OmniDSparkModel"


def method_unsupported(case: Case) -> Iterator[Finding]:
    """A method that the engine knows by name only.

    Source: the end of ``_SPECULATIVE_DECODING_MODELS`` in model_executor/models/registry.py, and the choice of a
    drafter in v1/worker/gpu_model_runner.py.
    """
    if case.method == "mlp_speculator":
        yield case.closed(
            Reason.METHOD_UNSUPPORTED,
            "the engine has no implementation of MLP speculators since its first generation ended",
            "choose another method, such as ngram, which needs no draft",
            "spec.speculation.config.method",
        )


def name_misleading(case: Case) -> Iterator[Finding]:
    """The engine reads the method out of the draft's name, whatever it is told, unless it is told one of these four.

    Source: "Automatically detect the method" in ``SpeculativeConfig.__post_init__``.
    """
    if case.method is None or case.method in drafts.HEADS or (case.draft is None and case.method != "mtp"):
        return
    loaded = _loaded_draft(case)
    if named := drafts.method_by_name(loaded):
        yield case.closed(
            Reason.DRAFT_UNFIT,
            f"the engine takes a model for a draft of method {named} if its name says so, as {loaded[:200]} does, and "
            f"would not run method {case.method}",
            f"set method to {named} if it is one, or serve it under another name",
            "spec.speculation.config.method",
        )


def _loaded_draft(case: Case) -> str:
    """What the engine is told to load as the draft."""
    given = case.speculative.get("model")
    if isinstance(given, str):
        return given
    model, role = (case.draft, "draft") if case.draft else (case.verifier, "verifier")
    return loaded_from(Identity(uri=model.uri), role, case.cache).uri


def draft_unfit(case: Case) -> Iterator[Finding]:
    """The draft is one for the method. Where it isn't, the engine fails, or runs another method than it was told.

    Source: ``SpeculativeConfig.__post_init__`` in config/speculative.py. A speculators checkpoint says itself what it
    is.
    """
    method, config = case.method, case.config
    if method is None or case.draft is None or case.recipe is not None or is_speculators_checkpoint(config):
        return
    kind = drafts.kind(config)
    if kind not in _KINDS.get(method, (kind,)):
        what = _KIND_IN_WORDS.get(kind or "", f"one for method {kind}")
        yield error(
            Reason.DRAFT_UNFIT,
            f"by its config.json the draft is {what}, and the method is {method}",
            f"name a draft for {method}, or set method to {'draft_model' if kind == 'regular' else kind}",
            case.field,
        )
    elif method in _RUN_BY_TYPE and _taken_for_mtp(case):
        otherwise = "by itself" if method == "draft_model" else f"as one for {method}"
        yield case.closed(
            Reason.DRAFT_UNFIT,
            f"the engine takes any draft of type {text(config, 'model_type') or architecture(config)} for layers that "
            f"predict several tokens of the verifier's, and would not run it {otherwise}",
            "use another model as the draft",
            case.field,
        )
    elif method in drafts.ARCHITECTURES and drafts.mtp_layers(config) is None:
        yield from _head_unfit(case, method, drafts.head_architecture(method, config))


def _taken_for_mtp(case: Case) -> bool:
    """Whether the engine makes one of its own layers for multi-token prediction of the draft, whatever the method is.

    Source: ``SpeculativeConfig.hf_config_override`` in config/speculative.py. Of Nemotron-H it does so only where the
    config says that there are such layers.
    """
    layers, kind = drafts.mtp_layers(case.config), drafts.mtp_type(case.config)
    if layers is None or (case.method == "eagle" and kind in drafts.EAGLE_OF_MTP):
        return False
    names = (kind, architecture(case.config))
    known = any(releases.available("mtp_model", name, case.engine_version) for name in names)
    return known and (layers.count != 0 or "nemotron_h" not in kind)


def _head_unfit(case: Case, method: str, name: str) -> Iterator[Finding]:
    """Source: ``EAGLEConfig`` in transformers_utils/configs/eagle.py, and the registry of models."""
    names = drafts.ARCHITECTURES[method]
    implemented = case.implements(name) if name else None
    if name and name not in names and implemented is not True:
        yield case.closed(
            Reason.DRAFT_UNFIT,
            f"the draft's architecture is {architecture(case.config)}, and the engine has no {method} draft {name}",
            f"use a draft of one of these: {', '.join(sorted(names))}",
            case.field,
        )
    elif implemented is False:
        yield error(
            Reason.DRAFT_UNFIT,
            f"the draft's architecture is {architecture(case.config)}, which engine {case.engine_version} doesn't have",
            "set spec.engine.image to a newer engine, or use another draft",
            "spec.engine.image",
        )


def anchor_sampled(case: Case) -> Iterator[Finding]:
    """A dflash draft proposes nothing at its anchor. A draft that was trained to is worth little without it.

    Source: ``DFlashSpeculator`` in v1/worker/gpu/spec_decode/dflash/speculator.py; ``update_dflash`` in
    transformers_utils/configs/speculators/algos.py.
    """
    whose = case.config if is_speculators_checkpoint(case.config) else part(case.config, "dflash_config")
    if case.method == "dflash" and whose.get("sample_from_anchor"):
        yield case.closed(
            Reason.RECIPE_UNSUPPORTED,
            "by its config.json the draft samples from its anchor (sample_from_anchor), which the engine doesn't do "
            "with method dflash",
            "use a draft that was trained without it",
            case.field,
        )


def drafts_not_inside(case: Case) -> Iterator[Finding]:
    """Without a model of its own, dspark takes the drafts in the verifier's checkpoint, of the one family that has
    them. Source: the dspark branches of ``SpeculativeConfig.__post_init__``."""
    kind = text(case.verifier.config, "model_type")
    if case.method == "dspark" and case.draft is None and kind not in drafts.DSPARK_INSIDE:
        yield case.closed(
            Reason.DRAFT_UNFIT,
            "method dspark without a model takes the drafts in the verifier's own checkpoint, and only those of "
            f"{' and '.join(sorted(drafts.DSPARK_INSIDE))} have some",
            "name the draft's repository",
            GIVEN_DRAFT,
        )


@by_the_verifiers_config
def omni_draft_unfit(case: Case) -> Iterator[Finding]:
    """Qwen3-Omni has dspark drafts of an architecture of their own, which propose whole blocks.

    Source: ``_validate_qwen3_omni_dspark`` in config/speculative.py.
    """
    named = {text(case.verifier.config, "model_type"), architecture(case.verifier.config)}
    if case.method != "dspark" or case.draft is None or not named & _QWEN3_OMNI or not case.implements(_OMNI_DRAFT):
        return
    places = (part(case.config, "dflash_config"), part(case.config, "eagle_config"), case.config)
    block = next((found for place in places if (found := size(place, "block_size", "dspark_block_size"))), None)
    if architecture(case.config) != _OMNI_DRAFT:
        yield case.closed(
            Reason.DRAFT_UNFIT,
            f"the draft's architecture is {architecture(case.config)}, and for Qwen3-Omni the engine takes dspark "
            f"drafts of {_OMNI_DRAFT} only",
            "use a draft that was made for it",
            case.field,
        )
    elif block and case.tokens not in (None, block):
        yield error(
            Reason.TOKENS_UNFIT,
            f"{case.tokens} tokens are to be proposed, and the draft proposes its whole block of {block}",
            f"set it to {block}",
            "spec.speculation.numSpeculativeTokens",
        )


RULES: tuple[Rule, ...] = (
    method_unsupported,
    name_misleading,
    draft_unfit,
    anchor_sampled,
    drafts_not_inside,
    omni_draft_unfit,
)
