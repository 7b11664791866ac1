"""Recipe x verifier x engine x accelerators -> findings: what is known to fail, or may, before a GPU is claimed.

Each rule restates one refusal or assertion of the engine, whose place is named beside it (paths are vLLM's, read in
0.32.0). It is an error where the engine surely fails, or would do something else than it was told; where it may fail,
or disappoint, it is a warning. A rule that lacks a number says nothing: an absent key, an unknown layout, a default
inside the engine are no findings. What a checkpoint itself has to hold, ``checkpoint`` has judged before.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from speculator_operator.api import Cache, Finding, Identity, MemoryEstimate, Reason, Severity
from speculator_operator.core import drafts, known_models, releases, weight_files
from speculator_operator.core.checkpoint import Recipe, Snapshot, is_speculators_checkpoint
from speculator_operator.core.context import config_changed_by, context_length, default_length, served_length
from speculator_operator.core.memory import COMFORTABLE
from speculator_operator.core.model_config import (
    NOTHING,
    Config,
    architecture,
    draft_layers,
    language_model,
    number,
    part,
    quantization_method,
    size,
    text,
)
from speculator_operator.core.pod_models import loaded_from

#: A fine-tune adds tokens at the end of the vocabulary, and padding does likewise: a draft never proposes those, so a
#: verifier with a few more is served well. One with many more speaks another vocabulary. (The speculators converter
#: writes 128000 where a llama draft's source says nothing, and its verifier has 128256.)
_ADDED_TOKENS = 1024

#: The release that closed lists of the engine's were read in: a later one may know more.
_LISTS_READ_IN = "0.32"

# Source: who bears `supports_aux_hidden_states_over_pp`. These can be tapped, and their decoders don't bear it.
_TAPS_STAY_IN_A_STAGE = frozenset(
    f"{name}ForCausalLM"
    for name in (
        *("Afmoe", "Apertus", "Cohere2Moe", "Deepseek", "DeepseekV2", "DeepseekV3", "DeepseekV32", "Ernie4_5"),
        *("Gemma4", "GlmMoeDsa", "Glm5Next", "GptOss", "Granite", "GraniteSWA", "KimiLinear", "Laguna", "MiniCPM"),
        *("MiniCPM3", "MiniMaxM2", "MiMoV2Flash", "MiMoV2", "MistralLarge3", "NemotronH", "NemotronHPuzzle", "Phi3"),
        *("Plamo3", "Qwen3Moe", "Qwen3Next", "Qwen3_5", "Qwen3_5Moe", "Step1", "TeleFLM"),
    )
)


#: Of medusa heads whose config doesn't say it. Source: ``MedusaConfig`` in transformers_utils/configs/medusa.py.
_MEDUSA_HIDDEN_SIZE = 4096
#: Types of multimodal models whose config has ``vocab_size`` at its top, whatever their ``config.json`` says. Source:
#: the configs of Transformers 5 that have a ``text_config``.
_SAY_THEIR_VOCABULARY = frozenset({"fuyu", "ovis2", "paligemma", "t5gemma", "t5gemma2", "vibevoice"})
_QWEN3_OMNI = frozenset(
    {"qwen3_omni_moe", "Qwen3OmniMoeForConditionalGeneration", "Qwen3OmniMoeThinkerForConditionalGeneration"}
)
_OMNI_DRAFT = "Qwen3OmniDSparkModel"
#: No model has as many layers; a larger number would only swell sums.
_ODD_LAYER = 10**6

_VERIFIER = "spec.verifier.uri"
_MODEL = "spec.model.uri"
_GIVEN_DRAFT = "spec.speculation.config.model"
_ANOTHER_VERIFIER = "use the verifier that the draft was trained for, or a quantized form of it"


def _error(reason: Reason, evidence: str, remedy: str, field: str | None = None) -> Finding:
    return Finding(severity=Severity.ERROR, reason=reason, evidence=evidence, remedy=remedy, field=field)


def _warning(reason: Reason, evidence: str, remedy: str, field: str | None = None) -> Finding:
    return Finding(severity=Severity.WARNING, reason=reason, evidence=evidence, remedy=remedy, field=field)


@dataclass(frozen=True, kw_only=True)
class Case:
    """What the rules look at.

    ``speculative`` is the speculative config that the engine gets, empty where nothing is drafted; without its
    ``method``, the recipe's is meant. ``draft`` is what was read of its ``model``: one that is part of the verifier, or
    that needs no weights, is None. ``max_model_len`` is None where no length is asked for, or where the engine is to
    choose one; ``flags`` are the engine's other options (``engine_args.flags_of``). What the installation or the
    resource allows beyond is under ``allow_...``; ``accelerators_per_node`` is the most that a node has.
    From a ``cache`` the engine loads folders, whose names say nothing.
    """

    recipe: Recipe | None = None
    speculative: Mapping[str, Any]
    draft: Snapshot | None = None
    verifier: Snapshot
    tensor: int = 1
    pipeline: int = 1
    max_model_len: int | None = None
    flags: Mapping[str, str]
    engine_version: str
    allow_remote_code: bool = False
    allow_pickled_weights: bool = False
    allow_long_context: bool = False
    accelerators_per_node: int | None = None
    memory: MemoryEstimate | None = None
    cache: Cache | None = None

    @property
    def method(self) -> str | None:
        return text(self.speculative, "method") or (self.recipe.method if self.recipe else None)

    @property
    def tokens(self) -> int | None:
        return size(self.speculative, "num_speculative_tokens")

    @property
    def config(self) -> Config:
        """The draft's whole config."""
        return self.draft.config if self.draft is not None else self.recipe.config if self.recipe else NOTHING

    @property
    def layer(self) -> Config:
        """The part of the draft's config that describes a language model."""
        return draft_layers(self.config)

    @property
    def target(self) -> Config:
        """The part of the verifier's config that describes a language model."""
        return language_model(self.verifier.config)

    @property
    def field(self) -> str:
        """What names the draft."""
        return _MODEL if self.recipe else _GIVEN_DRAFT

    @property
    def served(self) -> int | None:
        """The length that requests may have, None where it isn't known."""
        return served_length(self.verifier.config, self.max_model_len, self.flags, engine_version=self.engine_version)

    def closed(self, reason: Reason, evidence: str, remedy: str, field: str | None = None) -> Finding:
        """A finding by a closed list of the engine's: an error up to the release that it was read in."""
        newer = releases.newer(self.engine_version, _LISTS_READ_IN)
        return (_warning if newer else _error)(reason, evidence, remedy, field)

    def implements(self, name: str) -> bool | None:
        """Whether the engine has an architecture of its own; None where its release isn't known."""
        if not releases.known(self.engine_version):
            return None
        return releases.available("architecture", name, self.engine_version) is True

    def on(self, flag: str) -> bool:
        """Whether a switch is on, so far as it is given."""
        return self.flags.get(flag, "false") != "false"


def findings(case: Case) -> tuple[Finding, ...]:
    """What is known to fail and what may: the most telling first, errors and warnings as they come."""
    if is_speculators_checkpoint(case.verifier.config):
        # The engine would swap it for the model that it names: maybe_override_with_speculators in
        # transformers_utils/config.py. Nothing else about it is worth a word.
        return (
            _error(
                Reason.VERIFIER_IS_SPECULATOR,
                "the verifier is itself a speculators checkpoint (its config.json has speculators_config)",
                "set spec.verifier.uri to the model that the draft was trained for",
                _VERIFIER,
            ),
        )
    unfit = tuple(finding for rule in _OF_THE_KIND for finding in _held(rule, case))
    # The numbers of a draft that is none for the method would only confuse.
    rules = _OF_ALL if unfit else (*_OF_THE_DRAFT, *_OF_ALL)
    return (*unfit, *(finding for rule in rules for finding in _held(rule, case)))


def _held(rule: _Rule, case: Case) -> Iterator[Finding]:
    """What a rule finds. What it reads in the verifier's config is no more than a warning where the engine is told to
    serve another one. Code that would be run is refused all the same."""
    changing = config_changed_by(case.flags) if rule in _OF_THE_VERIFIERS_CONFIG else None
    for finding in rule(case):
        stands = finding.field == _GIVEN_DRAFT or finding.reason == Reason.REMOTE_CODE_REFUSED
        if changing and finding.severity == Severity.ERROR and not stands:
            evidence = f"{finding.evidence} (by the config.json that was read: {changing} changes the verifier's)"
            yield finding.model_copy(update={"severity": Severity.WARNING, "evidence": evidence})
        else:
            yield finding


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


def package_missing(case: Case) -> Iterator[Finding]:
    """A method whose code isn't the engine's. Source: ``_validate_suffix_decoding`` in config/speculative.py."""
    if case.method == "suffix":
        yield _warning(
            Reason.PACKAGE_MISSING,
            "method suffix needs the Python package arctic-inference, which vLLM's own images don't have",
            "name an image that has it in spec.engine.image, or use method ngram",
            "spec.engine.image",
        )


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
        yield _error(
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
        yield _error(
            Reason.DRAFT_UNFIT,
            f"the draft's architecture is {architecture(case.config)}, which engine {case.engine_version} doesn't have",
            "set spec.engine.image to a newer engine, or use another draft",
            "spec.engine.image",
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
            _GIVEN_DRAFT,
        )


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
        yield _error(
            Reason.TOKENS_UNFIT,
            f"{case.tokens} tokens are to be proposed, and the draft proposes its whole block of {block}",
            f"set it to {block}",
            "spec.speculation.numSpeculativeTokens",
        )


def heads_vocabulary_unread(case: Case) -> Iterator[Finding]:
    """Medusa heads are built for the vocabulary that the verifier's config says, at its top: multimodal models say it
    of their language model, and only a few types say it of themselves as well.

    Source: "Align with the target model's vocab size" in ``SpeculativeConfig.__post_init__``.
    """
    config = case.verifier.config
    reads = releases.available("behaviour", "medusa_reads_vocabulary", case.engine_version)
    if case.method != "medusa" or not reads or case.target is config or "vocab_size" in config:
        return
    kind = text(config, "model_type")
    if kind not in _SAY_THEIR_VOCABULARY:
        yield case.closed(
            Reason.METHOD_UNSUPPORTED,
            f"medusa heads are built for the vocabulary that config.json says at its top, where type {kind} has none",
            "choose another method, such as ngram",
            "spec.speculation.config.method",
        )


def experts_missing(case: Case) -> Iterator[Finding]:
    """Experts are spread over GPUs only where there are some: a model that has none says nothing of them.

    Source: ``_verify_with_expert_parallelism`` in config/model.py, ``get_num_experts`` in
    transformers_utils/model_arch_config_convertor.py.
    """
    said = " ".join(map(str, (*case.verifier.config, *case.target, text(case.target, "model_type")))).lower()
    words = ("expert", "moe", "block_configs", "ffn_config")
    if (
        case.on("--enable-expert-parallel")
        and size(case.target, "num_hidden_layers")
        and not any(word in said for word in words)
    ):
        yield _error(
            Reason.ARGS_INVALID,
            "--enable-expert-parallel is set, and the verifier has no experts",
            "leave it out",
            "spec.engine.args",
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


def mtp_layers_missing(case: Case) -> Iterator[Finding]:
    """The verifier (or the draft that is named) has layers for multi-token prediction that the engine knows.

    Source: ``SpeculativeConfig.hf_config_override`` in config/speculative.py, for which models in which release; a
    count of 0 ends in a division by it.
    """
    if case.method != "mtp":
        return
    config = case.draft.config if case.draft else case.verifier.config
    whose = "the draft" if case.draft else "the verifier"
    field = _GIVEN_DRAFT if case.draft else "spec.speculation.config.method"
    remedy = "choose another method" if case.draft is None else "name another draft, or choose another method"
    found = drafts.mtp_layers(config)
    if found is None:
        kind = text(config, "model_type") or architecture(config) or "unknown"
        evidence = f"{whose} is of type {kind}, of which the engine knows no layers for multi-token prediction"
        yield case.closed(Reason.MTP_LAYERS_MISSING, evidence, remedy, field)
    elif lack := _mtp_lack(config, case.engine_version):
        evidence = (
            f"{whose} has layers for multi-token prediction, and engine {case.engine_version} doesn't know {lack}"
        )
        newer = f"set spec.engine.image to a newer engine, or {remedy}"
        yield _error(Reason.MTP_LAYERS_MISSING, evidence, newer, "spec.engine.image")
    elif found.count == 0:
        evidence = f"{whose} has no layers for multi-token prediction: {found.key} is 0, or absent"
        yield _error(Reason.MTP_LAYERS_MISSING, evidence, remedy, field)
    elif found.count is None and found.key:
        evidence = f"{whose}'s config.json doesn't say that it has layers for multi-token prediction ({found.key})"
        yield _warning(Reason.MTP_LAYERS_MISSING, evidence, f"check that it has, or {remedy}", field)


def _mtp_lack(config: Config, version: str) -> str | None:
    """Which models' layers an engine of the version doesn't know yet; None where it knows this one's."""
    names = (drafts.mtp_type(config), architecture(config))
    known = {name: releases.available("mtp_model", name, version) for name in names}
    missing = [name for name, there in known.items() if there is False]
    return f"those of {' and '.join(missing)}" if missing and not any(known.values()) else None


def tokens_unfit(case: Case) -> Iterator[Finding]:
    """The number of tokens is one that the draft's layers or heads can propose.

    Source: "Ensure divisibility for MTP module reuse" in config/speculative.py; medusa gets as many heads as tokens
    (``MedusaConfig``), and ``track_weights_loading`` in model_executor/model_loader/default_loader.py misses the
    weights of those that the checkpoint doesn't have.
    """
    tokens = case.tokens
    if tokens is None:
        return
    field = "spec.speculation.numSpeculativeTokens"
    if case.method == "mtp":
        found = drafts.mtp_layers(case.config if case.draft else case.verifier.config)
        step = found.count if found else None
        if step and tokens > step and tokens % step:
            yield _error(
                Reason.TOKENS_UNFIT,
                f"{tokens} tokens are to be proposed, and the draft's layers make {step} at a time",
                f"set it to a multiple of {step}, such as {tokens - tokens % step}",
                field,
            )
    elif case.method == "medusa":
        heads = next((size(case.config, key) for key in case.config if "num" in key and "heads" in key), None)
        if heads and tokens > heads:
            yield _error(
                Reason.TOKENS_UNFIT,
                f"{tokens} tokens are to be proposed, and the draft has {heads} heads, one for each",
                f"set it to {heads} or less",
                field,
            )


def hidden_size_mismatch(case: Case) -> Iterator[Finding]:
    """The verifier's hidden states enter the draft: tapped ones its ``fc``, the last ones an eagle or medusa head.

    Source: ``fc_input_size`` in model_executor/models/{llama,qwen3}_eagle3.py, ``_get_dflash_fc_input_size`` in
    qwen3_dflash.py: the draft's own ``hidden_size`` where it names no other; ``fc`` in llama_eagle.py;
    ``ResidualBlock`` in medusa.py, whose config has a size of its own where none is given; ``pre_projection`` in
    gemma4_mtp.py.
    """
    actual = size(case.target, "hidden_size")
    if size(case.target, "hc_mult") or actual is None:
        # A verifier with several residual streams (hc_mult) is tapped at a multiple of its hidden size.
        return
    expected = None
    if case.method in drafts.TAPPING:
        expected = _draft_size(case, "target_hidden_size") or size(case.layer, "hidden_size")
    elif case.method == "eagle":
        expected = size(case.layer, "hidden_size")
    elif case.method == "medusa":
        expected = size(case.config, "hidden_size") if "hidden_size" in case.config else _MEDUSA_HIDDEN_SIZE
    elif case.method == "mtp" and case.draft:
        expected = size(case.config, "backbone_hidden_size")
    if expected and expected != actual:
        yield _error(
            Reason.HIDDEN_SIZE_MISMATCH,
            f"the draft reads hidden states of size {expected}, and the verifier's have {actual}",
            _ANOTHER_VERIFIER,
            _VERIFIER,
        )


def vocabulary_mismatch(case: Case) -> Iterator[Finding]:
    """A draft proposes token ids of the verifier's vocabulary, or of a part of it.

    Source: ``verify_equal_vocab_size_if_draft_model`` in config/speculative.py; ``compute_logits`` in
    model_executor/models/{llama_eagle3,qwen3_dflash}.py; ``VocabParallelEmbedding.weight_loader`` for the heads of
    medusa, which are built for the verifier's vocabulary. A dspark draft may have a padded or extended vocabulary
    (qwen3_dspark.py), so it is only held to what it is too small for.
    """
    target = size(case.target, "vocab_size")
    whole = size(case.layer, "vocab_size")
    if target is None:
        return
    problem = None
    if case.method == "draft_model" and whole and whole != target:
        if case.speculative.get("use_heterogeneous_vocab") is not True:
            problem = f"the draft's vocabulary has {whole} tokens, and must be the verifier's, which has {target}"
    elif case.method == "medusa" and whole and whole != target:
        problem = f"the draft's heads are for a vocabulary of {whole} tokens, and the verifier has {target}"
    elif case.method in drafts.HEADS:
        draft_part = _draft_size(case, "draft_vocab_size")
        most = None if case.method == "dspark" else target
        if draft_part and most and draft_part > most:
            problem = f"draft_vocab_size is {draft_part}, more than the verifier's {target} tokens"
        elif whole and not target - _ADDED_TOKENS <= whole <= (most or whole):
            problem = f"the draft was trained for a vocabulary of {whole} tokens, and the verifier has {target}"
    if problem:
        yield _error(Reason.VOCABULARY_MISMATCH, problem, _ANOTHER_VERIFIER, _VERIFIER)


def verifier_untappable(case: Case) -> Iterator[Finding]:
    """The engine's model hands out its hidden states.

    Source: ``set_eagle3_aux_hidden_state_layers`` in v1/worker/gpu/spec_decode/eagle/eagle3_utils.py.
    """
    name = architecture(case.verifier.config)
    if case.method in drafts.TAPPING and name in _models("without_taps") and not _by_transformers(case):
        yield case.closed(
            Reason.VERIFIER_UNTAPPABLE,
            f"method {case.method} reads hidden states of the verifier, and the engine's {name} doesn't hand them out",
            "choose a method that reads none, such as ngram or draft_model",
            "spec.speculation.config.method" if case.recipe is None else _VERIFIER,
        )


def auxiliary_layers_invalid(case: Case) -> Iterator[Finding]:
    """The tapped layers are there, and as many as the draft's ``fc`` expects.

    Source: ``EagleModelMixin`` in model_executor/models/interfaces.py: states are taken before the first layer (0) and
    after each (1 to n), every number once; ``get_eagle3_default_aux_hidden_state_layers`` there for the default. A
    speculators draft of llama layers expects 3 whatever its list says (``num_aux_hidden_states`` in llama_eagle3.py).
    """
    count = size(case.target, "num_hidden_layers")
    if case.method not in drafts.TAPPING or count is None:
        return
    named = _named_layers(case)
    if named is None and (case.method != "eagle3" or _reads_last_state(case)):
        return
    layers = named or [2, count // 2, count - 3]
    listed = ", ".join(map(str, layers[:16])) + (", ..." if len(layers) > 16 else "")
    taps = f"the draft taps the verifier's layers {listed}" + ("" if named else ", the engine's default")
    remedy = "use the verifier that the draft was trained for"
    if not all(0 <= layer <= count for layer in layers):
        yield _error(Reason.AUXILIARY_LAYERS_INVALID, f"{taps}, and it has {count}", remedy, _VERIFIER)
    elif len(set(layers)) < len(layers):
        yield _error(
            Reason.AUXILIARY_LAYERS_INVALID,
            f"{taps}, and each can be tapped once only",
            f"{remedy}, or correct the checkpoint's list",
            _VERIFIER,
        )
    elif case.method == "eagle3" and case.recipe and case.layer.get("model_type", "llama") == "llama":
        expected = size(case.layer, "num_aux_hidden_states") or 3
        if len(layers) != expected:
            yield _error(
                Reason.AUXILIARY_LAYERS_INVALID,
                f"{taps}, and the engine builds drafts of llama layers for {expected} of them",
                "use another checkpoint",
                _MODEL,
            )


def heads_not_divisible(case: Case) -> Iterator[Finding]:
    """Heads are split over the GPUs; key-value heads too, or each is kept by as many GPUs.

    Source: ``ModelConfig.verify_with_parallel_config`` in config/model.py; the attention of
    model_executor/models/{llama,qwen3,qwen3_dflash}.py asserts the key-value heads. A draft is built inside the
    verifier's tensor parallel group, whatever its own size is said to be.
    """
    splits = case.method in drafts.HEADS | {"draft_model"}
    for model, config in (("verifier", case.target), ("draft", case.layer if splits else NOTHING)):
        heads = size(config, "num_attention_heads")
        groups = size(config, "num_key_value_heads")
        if heads and heads % case.tensor:
            yield _heads_finding(f"the {model} has {heads} attention heads", case.tensor)
        elif groups and "kv_lora_rank" not in config and groups % case.tensor and case.tensor % groups:
            yield _heads_finding(f"the {model} has {groups} key-value heads", case.tensor)


def _heads_finding(what: str, tensor: int) -> Finding:
    return _error(
        Reason.HEADS_NOT_DIVISIBLE,
        f"{what}, which can't be divided over {tensor} GPUs",
        "choose another spec.parallelism.tensor",
        "spec.parallelism.tensor",
    )


def draft_tensor_parallel_invalid(case: Case) -> Iterator[Finding]:
    """The draft runs whole on each GPU, or is split as the verifier is; a model that speaks by itself is split.

    Source: ``SpeculativeConfig._verify_and_get_draft_tp`` in config/speculative.py; ``_raise_if_draft_tp_mismatch`` in
    v1/spec_decode/draft_model.py.
    """
    given = number(case.speculative, "draft_tensor_parallel_size")
    allowed = sorted({case.tensor} if case.method == "draft_model" else {1, case.tensor})
    if given is not None and given not in allowed:
        yield _error(
            Reason.DRAFT_TENSOR_PARALLEL_INVALID,
            f"the draft's tensor parallel size is {given}, and can only be {' or '.join(map(str, allowed))}",
            "set spec.speculation.draftTensorParallelSize to that, or leave it out",
            "spec.speculation.draftTensorParallelSize",
        )


def pipeline_unsupported(case: Case) -> Iterator[Finding]:
    """With pipeline parallelism, the verifier has to be made for it, and so has what the method reads of it.

    Source: ``verify_with_parallel_config`` in config/model.py for the verifier;
    ``verify_supports_aux_hidden_states_over_pp`` in v1/worker/gpu/spec_decode/eagle/eagle3_utils.py for tapped states,
    which the model runner (v1/worker/gpu/model_runner.py) refused whatever the verifier was until 0.29.0.
    Parallel drafting with eagle3 runs on the older model runner (``_get_v2_model_runner_unsupported_features`` in
    config/vllm.py), which taps the last stage only (v1/worker/gpu_model_runner.py). A model that drafts by itself is
    built within the last stage, and takes itself for a part of it (``LlamaModel.forward`` in
    model_executor/models/llama.py). ``_validate_adaptive_verification`` in config/vllm.py.
    """
    if case.pipeline <= 1:
        return
    name = architecture(case.verifier.config)
    listed = False
    if name in _models("without_pipeline") and not _by_transformers(case):
        why, listed = f"the engine's {name} can't be spread over several stages", True
    elif case.method == "draft_model":
        why = "the engine can't run a draft that is a model by itself beside several stages"
    elif case.speculative.get("enable_adaptive_verification") is True:
        why = "enable_adaptive_verification doesn't work over several stages"
    elif case.method not in drafts.TAPPING:
        return
    elif not releases.available("behaviour", "taps_cross_stages", case.engine_version):
        why = f"engine {case.engine_version} doesn't run {case.method} over several stages"
    elif case.method == "eagle3" and case.recipe and case.recipe.locked.get("parallel_drafting"):
        why = f"the engine doesn't run {case.recipe.algorithm} over several stages"
    elif case.method == "eagle3" and case.speculative.get("parallel_drafting") is True:
        why = "the engine doesn't draft in parallel over several stages"
    elif name in _TAPS_STAY_IN_A_STAGE:
        why, listed = f"the engine's {name} doesn't hand what {case.method} taps from stage to stage", True
    else:
        return
    yield (case.closed if listed else _error)(
        Reason.PIPELINE_UNSUPPORTED,
        f"spec.parallelism.pipeline is {case.pipeline}, and {why}",
        "set it to 1, and spec.parallelism.tensor higher",
        "spec.parallelism.pipeline",
    )


def embedding_out_of_reach(case: Case) -> Iterator[Finding]:
    """Over several stages, a head needs an embedding of its own: the verifier's is on the first stage, and drafts are
    made on the last. Heads in their authors' format often have none.

    Source: ``maybe_share_target_embed`` in v1/worker/gpu/spec_decode/eagle/utils.py.
    """
    if case.pipeline > 1 and case.method in drafts.HEADS and case.draft and case.recipe is None:
        yield _warning(
            Reason.EMBEDDING_OUT_OF_REACH,
            f"spec.parallelism.pipeline is {case.pipeline}, and then the draft needs an embedding of its own",
            "check that its checkpoint has weights for embed_tokens, or set it to 1",
            "spec.parallelism.pipeline",
        )


def schedule_unsupported(case: Case) -> Iterator[Finding]:
    """A schedule of tokens by batch size is followed.

    Source: ``MedusaProposer.propose`` in v1/spec_decode/medusa.py asserts the whole number of tokens.
    """
    schedule = case.speculative.get("num_speculative_tokens_per_batch_size")
    if not isinstance(schedule, list):
        return
    fewer = any(isinstance(entry, list) and entry and entry[-1] != case.tokens for entry in schedule)
    if case.method == "medusa" and fewer:
        yield _error(
            Reason.SCHEDULE_UNSUPPORTED,
            f"a schedule of tokens by batch size is given, and medusa always proposes all {case.tokens}",
            "leave the schedule out",
            "spec.speculation.config.num_speculative_tokens_per_batch_size",
        )


def accelerators_exceed_node(case: Case) -> Iterator[Finding]:
    """A pod runs on one node."""
    count, most = case.tensor * case.pipeline, case.accelerators_per_node
    if most is not None and count > most:
        yield _warning(
            Reason.ACCELERATORS_EXCEED_NODE,
            f"a pod takes {count} accelerators (tensor {case.tensor} x pipeline {case.pipeline}), and no node that is "
            f"known of has more than {most}",
            "lower spec.parallelism, or name the product in spec.accelerator if its nodes have more",
            "spec.parallelism.tensor",
        )


def layers_too_few(case: Case) -> Iterator[Finding]:
    """Each stage has a layer; one without would hold its accelerators for nothing.

    Source: ``get_pp_indices`` in distributed/utils.py.
    """
    layers = size(case.target, "num_hidden_layers")
    if layers is not None and case.pipeline > layers:
        yield _error(
            Reason.PIPELINE_UNSUPPORTED,
            f"spec.parallelism.pipeline is {case.pipeline}, and the verifier has only {layers} layers for its stages",
            f"set it to {layers} or less",
            "spec.parallelism.pipeline",
        )


def context_too_long(case: Case) -> Iterator[Finding]:
    """The length asked for is within the verifier's context.

    Source: ``_get_and_verify_max_len`` in config/model.py; its environment variable VLLM_ALLOW_LONG_MAX_MODEL_LEN
    makes it a warning there, too.
    """
    limit = context_length(case.verifier.config, engine_version=case.engine_version)
    asked = case.max_model_len
    if limit is not None and asked is not None and asked > limit:
        yield (_warning if case.allow_long_context else _error)(
            Reason.CONTEXT_TOO_LONG,
            f"--max-model-len is {min(asked, 10**15)}, and the verifier's context has {limit} tokens",
            "ask for no more than that",
            "spec.engine.args",
        )


def draft_context_short(case: Case) -> Iterator[Finding]:
    """The draft's context is as long as requests may be.

    Source: ``_input_fits_in_drafter`` in v1/worker/gpu_model_runner.py, where drafting ends; the newer runner
    (v1/worker/gpu) goes on, with positions that the draft has not seen in training.
    """
    if case.method not in drafts.HEADS | {"draft_model"}:
        return
    length = default_length(case.layer, engine_version=case.engine_version)
    if length is not None and case.served is not None and length < case.served:
        yield _warning(
            Reason.DRAFT_CONTEXT_SHORT,
            f"requests may have {min(case.served, 10**15)} tokens, and the draft's context has {length}: beyond it "
            "nothing is drafted, or little is accepted",
            f"set --max-model-len={length} if that is enough, or use a draft with a longer context",
            "spec.engine.args",
        )


def remote_code_refused(case: Case) -> Iterator[Finding]:
    """Models run with the engine's own code, or with that of Transformers; what neither has, a repository may bring.

    Source: ``_try_resolve_transformers`` in model_executor/models/registry.py; ``HFConfigParser.parse`` in
    transformers_utils/config.py. The speculators library writes an ``auto_map`` of its own, which names no class of
    Transformers'.
    """
    models = [("verifier", case.verifier.config, _VERIFIER if case.recipe else _MODEL)]
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
                yield _warning(Reason.ARCHITECTURE_UNKNOWN, slower, remedy, field)
            continue
        brings = f"{what}: its repository brings code along (auto_map in its config.json)"
        if not case.allow_remote_code:
            remedy = "use a model that the engine implements, or ask whoever runs the operator to allow remote code"
            yield _error(Reason.REMOTE_CODE_REFUSED, f"{brings}, which is not run here", remedy, field)
        elif not case.on("--trust-remote-code"):
            remedy = "add --trust-remote-code to spec.engine.args, which the installation allows"
            yield _error(Reason.REMOTE_CODE_REFUSED, f"{brings}, and isn't trusted", remedy, "spec.engine.args")


def _unknown(case: Case, whose: str, config: Config) -> tuple[str | None, bool]:
    """What of a model the engine doesn't know, None where nothing is known to be; and whether nothing else helps.

    A head's architecture goes by its method, and medusa heads need no type. What a config says by itself is looked at
    in ``HFConfigParser.parse``, before any architecture.
    """
    head = whose == "draft" and case.method != "draft_model"
    typed = config and not is_speculators_checkpoint(config) and not (head and case.method == "medusa")
    newer = releases.newer(case.engine_version, _LISTS_READ_IN)
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


def weights_unusable(case: Case) -> Iterator[Finding]:
    """There are weights, whole, of a model, and none that have to be unpickled.

    Source: ``DefaultModelLoader._prepare_weights`` in model_executor/model_loader/default_loader.py, which takes what
    LoRA has trained (``adapter_model``) for a model. Unpickling runs whatever code is in the file.
    """
    models = [("verifier", case.verifier, _VERIFIER if case.recipe else _MODEL)]
    if case.draft is not None:
        models.append(("draft", case.draft, case.field))
    for whose, model, field in models:
        if model.files is None:
            continue
        if missing := weight_files.missing_shards(model.files):
            yield _error(
                Reason.WEIGHTS_MISSING,
                f"the {whose} {model.uri[:200]} has only some of its weights: there is no {', no '.join(missing)}",
                "upload the rest, or name another revision",
                field,
            )
        if weight_files.adapter_only(model.files):
            yield _error(
                Reason.WEIGHTS_MISSING,
                f"the {whose} {model.uri[:200]} holds an adapter only (adapter_model, of LoRA), which is no model",
                "merge it into the model that it was trained for, and name that",
                field,
            )
            continue
        if found := weight_files.safetensors(model.files):
            if stubs := weight_files.stubs(model.files):
                yield (_error if len(stubs) == len(found) else _warning)(
                    Reason.WEIGHTS_MISSING,
                    f"files of the {whose} {model.uri[:200]} are too small for weights: {len(stubs)} of {len(found)} "
                    f"have less than {weight_files.SMALLEST} bytes, such as {stubs[0][:100]}; git-lfs pointers?",
                    "upload the files that they stand for (git lfs pull), or name another revision",
                    field,
                )
            continue
        pickled = weight_files.pickled(model.files)
        if not pickled or (case.allow_pickled_weights and not weight_files.unpickled(model.files)):
            yield _error(
                Reason.WEIGHTS_MISSING,
                f"there are no weights beside the config.json of the {whose} {model.uri[:200]} (no *.safetensors)",
                "name a repository, revision or folder that has them",
                field,
            )
        elif not case.allow_pickled_weights:
            yield _error(
                Reason.PICKLED_WEIGHTS_REFUSED,
                f"the {whose} {model.uri[:200]} has pickled weights only ({pickled[0][:100]}), and loading them runs "
                "whatever code is in them",
                "convert them to safetensors, or ask whoever runs the operator for SPECULATOR_ALLOW_PICKLED_WEIGHTS",
                field,
            )


def memory_insufficient(case: Case) -> Iterator[Finding]:
    """Weights and one request of the longest length fit into what the engine may take of the accelerators.

    Source: ``_check_enough_kv_cache_memory`` in v1/core/kv_cache_utils.py, ``request_memory`` in v1/worker/utils.py.
    """
    made = case.memory
    if made is None or made.available is None or made.required <= COMFORTABLE * made.available:
        return
    remedies = []
    if made.fitting_tensor:
        remedies.append(f"set spec.parallelism.tensor to {made.fitting_tensor}")
    if made.fitting_max_model_len:
        remedies.append(f"set --max-model-len={made.fitting_max_model_len}")
    remedy = ", or ".join(remedies) or "use accelerators with more memory, or a smaller or quantized model"
    field = "spec.parallelism.tensor" if made.fitting_tensor else "spec.engine.args" if remedies else "spec.accelerator"
    if made.least > made.available:
        weights_alone = made.least - (made.cache or 0) > made.available
        what = "the weights alone don't fit" if weights_alone else "one request of the longest length doesn't fit"
        yield _error(Reason.MEMORY_INSUFFICIENT, f"{what}: {made.summary}", remedy, field)
    else:
        yield _warning(
            Reason.MEMORY_TIGHT,
            f"little is left for what isn't counted (activations, graphs, more requests): {made.summary}",
            remedy,
            field,
        )


#: By what other names a method's checkpoints may be asked for. Source: ``override_quantization_method`` of the classes
#: in model_executor/layers/quantization; ``deepseek_v4_fp8`` in models/deepseek_v4/quant_config.py.
_ASKED_FOR_AS: Mapping[str, frozenset[str]] = {
    "awq": frozenset({"auto_awq", "awq_marlin", "cpu_awq", "marlin", "moe_wna16"}),
    "gptq": frozenset({"auto_gptq", "gptq_marlin", "marlin", "moe_wna16"}),
    "fp8": frozenset({"deepseek_v4_fp8"}),
}
#: Methods that take every checkpoint. Source: the same.
_TAKES_ANY = frozenset({"gguf", "humming"})
#: Checkpoints by which the engine chooses a method, whatever is asked for. Source: the same.
_CHOSEN_BY_CHECKPOINT = re.compile(r"auto-round|modelopt\w*|(gpt_oss_)?mxfp4|deepseek_v4_fp8")


def quantization_unsupported(case: Case) -> Iterator[Finding]:
    """The weights are quantized by a method that the engine has, and by the one that it is told.

    Source: ``ModelConfig._verify_quantization`` in config/model.py. For the draft it is told nothing of what
    ``--allow-deprecated-quantization`` allows (the end of ``SpeculativeConfig.__post_init__``).
    """
    allowed = case.on("--allow-deprecated-quantization")
    verifier = _VERIFIER if case.recipe else _MODEL
    yield from _quantization_finding(
        case, "verifier", case.verifier.config, case.flags.get("--quantization", ""), allowed=allowed, field=verifier
    )
    if case.draft is not None:
        asked = text(case.speculative, "quantization")
        yield from _quantization_finding(case, "draft", case.config, asked, allowed=False, field=case.field)


def _quantization_finding(
    case: Case, whose: str, config: Config, asked: str, *, allowed: bool, field: str
) -> Iterator[Finding]:
    stored = quantization_method(config)
    asked = "" if asked == "None" else asked.lower()
    named, version = stored or asked, case.engine_version
    if stored and asked and not _asked_for(config, stored, asked):
        yield case.closed(
            Reason.QUANTIZATION_UNSUPPORTED,
            f"the {whose}'s weights are quantized by {stored}, and {asked[:100]} is asked for",
            f"take {asked[:100]} out: the engine reads the method from config.json",
            "spec.engine.args" if whose == "verifier" else "spec.speculation.config.quantization",
        )
    elif _CHOSEN_BY_CHECKPOINT.fullmatch(stored) or asked in _TAKES_ANY:
        return
    elif stored and not releases.available("quantization", stored, version):
        yield case.closed(
            Reason.QUANTIZATION_UNSUPPORTED,
            f"the {whose}'s weights are quantized by {stored}, which engine {version} doesn't implement",
            "use weights that are quantized otherwise, or an engine that has it",
            field,
        )
    elif releases.available("deprecated_quantization", named, version) and not allowed:
        allow = "add --allow-deprecated-quantization to spec.engine.args, or " if whose == "verifier" else ""
        yield case.closed(
            Reason.QUANTIZATION_UNSUPPORTED,
            f"the {whose} is quantized by {named}, which engine {version} takes only if allowed to: it goes soon",
            f"{allow}use weights that are quantized otherwise",
            field,
        )


def _asked_for(config: Config, stored: str, asked: str) -> bool:
    """Whether the engine takes weights that are stored so for what it is asked for."""
    by_type = stored == "fp8" and text(config, "model_type").startswith("deepseek_v4")
    return (
        asked == stored
        or by_type
        or asked in _TAKES_ANY | _ASKED_FOR_AS.get(stored, frozenset())
        or _CHOSEN_BY_CHECKPOINT.fullmatch(stored) is not None
    )


def float16_unsupported(case: Case) -> Iterator[Finding]:
    """Some models overflow in float16. A draft runs in what its verifier does.

    Source: ``_check_valid_dtype`` in config/model.py.
    """
    asked = case.flags.get("--dtype", "").lower()
    models = [("verifier", case.verifier.config)]
    if case.draft is not None:
        models.append(("draft", case.config))
    for whose, config in models:
        kind = text(config, "model_type")
        if asked in ("half", "float16") and releases.available("float16_unsupported", kind, case.engine_version):
            yield case.closed(
                Reason.ARGS_INVALID,
                f"--dtype is {asked}, in which the engine doesn't run a model of type {kind}, as the {whose} is",
                "set it to bfloat16, or leave it out",
                "spec.engine.args",
            )


def engine_unknown(case: Case) -> Iterator[Finding]:
    """An engine newer than the table of releases is taken for the newest in it."""
    version = case.engine_version
    if releases.newer(version, releases.newest()):
        yield _warning(
            Reason.ENGINE_UNKNOWN,
            f"engine {version} is newer than all that are known here, so it was checked as {releases.newest()}",
            "mind what its release notes say of speculative decoding, or use the operator's release for it",
            "spec.engine.image",
        )


_Rule = Callable[[Case], Iterator[Finding]]
_OF_THE_KIND: tuple[_Rule, ...] = (
    method_unsupported,
    name_misleading,
    draft_unfit,
    drafts_not_inside,
    omni_draft_unfit,
)
_OF_THE_DRAFT: tuple[_Rule, ...] = (
    package_missing,
    heads_vocabulary_unread,
    mtp_layers_missing,
    hidden_size_mismatch,
    vocabulary_mismatch,
    tokens_unfit,
    verifier_untappable,
    auxiliary_layers_invalid,
    heads_not_divisible,
    draft_tensor_parallel_invalid,
    pipeline_unsupported,
    embedding_out_of_reach,
    schedule_unsupported,
    draft_context_short,
)
_OF_ALL: tuple[_Rule, ...] = (
    engine_unknown,
    context_too_long,
    remote_code_refused,
    weights_unusable,
    quantization_unsupported,
    float16_unsupported,
    experts_missing,
    layers_too_few,
    memory_insufficient,
    accelerators_exceed_node,
)
_OF_THE_VERIFIERS_CONFIG: frozenset[_Rule] = frozenset(
    {
        mtp_layers_missing,
        hidden_size_mismatch,
        vocabulary_mismatch,
        verifier_untappable,
        auxiliary_layers_invalid,
        heads_not_divisible,
        context_too_long,
        remote_code_refused,
        quantization_unsupported,
        float16_unsupported,
        experts_missing,
        heads_vocabulary_unread,
        omni_draft_unfit,
        layers_too_few,
        memory_insufficient,
    }
)


def _named_layers(case: Case) -> Sequence[int] | None:
    """The layers that the draft's config names, in the engine's numbers; None where it names none.

    Source: ``get_eagle3_aux_layers_from_config`` in v1/worker/gpu/spec_decode/eagle/eagle3_utils.py, and
    transformers_utils/configs/speculators/algos.py. Drafts of other origin count from 0 what the engine counts from 1.
    """
    config = case.config
    found = (
        (config.get("aux_hidden_state_layer_ids") if case.method != "eagle3" else None, 0),
        (config.get("eagle_aux_hidden_state_layer_ids"), 0),
        (part(config, "dflash_config").get("target_layer_ids"), 1),
        (part(config, "eagle_config").get("eagle_aux_hidden_state_layer_ids"), 0),
        (config.get("dspark_target_layer_ids"), 1),
        (config.get("target_layer_ids"), 1),
    )
    for layers, shift in found:
        if isinstance(layers, list) and layers:
            numbers = [layer + shift for layer in layers if type(layer) is int and abs(layer) < _ODD_LAYER]
            return numbers if len(numbers) == len(layers) else None
    return None


def _reads_last_state(case: Case) -> bool:
    """An eagle3 head may be trained on the last state alone."""
    return part(case.config, "eagle_config").get("use_aux_hidden_state") is False


def _draft_size(case: Case, key: str) -> int | None:
    # In the speculators format it stands beside the layer's config, elsewhere within.
    return size(case.config, key) or size(case.layer, key)


def _by_transformers(case: Case) -> bool:
    return case.flags.get("--model-impl") == "transformers"


@cache
def _models(lack: str) -> frozenset[str]:
    """Architectures whose class in the engine lacks something; where they are written down, their source is said."""
    data = json.loads((resources.files(__package__) / "engine_models.json").read_text())
    return frozenset(data[lack])
