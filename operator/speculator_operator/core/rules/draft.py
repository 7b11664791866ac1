"""What a method needs of the draft and of its verifier."""

from __future__ import annotations

from collections.abc import Iterator

from speculator_operator.api import Finding, Reason
from speculator_operator.core import drafts, known_models, releases
from speculator_operator.core.checkpoint import is_speculators_checkpoint
from speculator_operator.core.context import context_length
from speculator_operator.core.model_config import Config, architecture, size, text
from speculator_operator.core.rules.case import (
    GIVEN_DRAFT,
    VERIFIER,
    Case,
    Rule,
    by_the_verifiers_config,
    error,
    warning,
)

#: A fine-tune adds tokens at the end of the vocabulary, and padding does likewise: a draft never proposes those, so a
#: verifier with a few more is served well. One with many more speaks another vocabulary. (The speculators converter
#: writes 128000 where a llama draft's source says nothing, and its verifier has 128256.)
_ADDED_TOKENS = 1024
#: Of medusa heads whose config doesn't say it. Source: ``MedusaConfig`` in transformers_utils/configs/medusa.py.
_MEDUSA_HIDDEN_SIZE = 4096
#: Types of multimodal models whose config has ``vocab_size`` at its top, whatever their ``config.json`` says. Source:
#: the configs of Transformers 5 that have a ``text_config``.
_SAY_THEIR_VOCABULARY = frozenset({"fuyu", "ovis2", "paligemma", "t5gemma", "t5gemma2", "vibevoice"})
_ANOTHER_VERIFIER = "use the verifier that the draft was trained for, or a quantized form of it"


def package_missing(case: Case) -> Iterator[Finding]:
    """A method whose code isn't the engine's. Source: ``_validate_suffix_decoding`` in config/speculative.py."""
    if case.method == "suffix":
        yield warning(
            Reason.PACKAGE_MISSING,
            "method suffix needs the Python package arctic-inference, which vLLM's own images don't have",
            "name an image that has it in spec.engine.image, or use method ngram",
            "spec.engine.image",
        )


@by_the_verifiers_config
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


@by_the_verifiers_config
def mtp_layers_missing(case: Case) -> Iterator[Finding]:
    """The verifier (or the draft that is named) has layers for multi-token prediction that the engine knows.

    Source: ``SpeculativeConfig.hf_config_override`` in config/speculative.py, for which models in which release; a
    count of 0 ends in a division by it.
    """
    if case.method != "mtp":
        return
    config = case.draft.config if case.draft else case.verifier.config
    whose = "the draft" if case.draft else "the verifier"
    field = GIVEN_DRAFT if case.draft else "spec.speculation.config.method"
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
        yield error(Reason.MTP_LAYERS_MISSING, evidence, newer, "spec.engine.image")
    elif found.count == 0:
        evidence = f"{whose} has no layers for multi-token prediction: {found.key} is 0, or absent"
        yield error(Reason.MTP_LAYERS_MISSING, evidence, remedy, field)
    elif found.count is None and found.key:
        evidence = f"{whose}'s config.json doesn't say that it has layers for multi-token prediction ({found.key})"
        yield warning(Reason.MTP_LAYERS_MISSING, evidence, f"check that it has, or {remedy}", field)


def _mtp_lack(config: Config, version: str) -> str | None:
    """Which models' layers an engine of the version doesn't know yet; None where it knows this one's."""
    names = (drafts.mtp_type(config), architecture(config))
    known = {name: releases.available("mtp_model", name, version) for name in names}
    missing = [name for name, there in known.items() if there is False]
    return f"those of {' and '.join(missing)}" if missing and not any(known.values()) else None


@by_the_verifiers_config
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
        yield error(
            Reason.HIDDEN_SIZE_MISMATCH,
            f"the draft reads hidden states of size {expected}, and the verifier's have {actual}",
            _ANOTHER_VERIFIER,
            VERIFIER,
        )


@by_the_verifiers_config
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
        yield error(Reason.VOCABULARY_MISMATCH, problem, _ANOTHER_VERIFIER, VERIFIER)


def length_beyond_draft(case: Case) -> Iterator[Finding]:
    """The length that drafting is asked for up to is within the draft's own context, too. Left out, it is the shorter
    of both.

    Source: ``SpeculativeConfig.__post_init__``, which reads the draft with it; ``_get_and_verify_max_len`` in
    config/model.py, where VLLM_ALLOW_LONG_MAX_MODEL_LEN makes it a warning.
    """
    asked = size(case.speculative, "max_model_len")
    limit = context_length(case.layer, engine_version=case.engine_version)
    if asked and limit and asked > limit and not case.allow_long_context:
        yield error(
            Reason.RECIPE_OVERRIDE_INVALID,
            f"max_model_len is {asked}, and the draft's own context has {limit} tokens",
            "leave it out",
            "spec.speculation.config.max_model_len",
        )


def padding_missing(case: Case) -> Iterator[Finding]:
    """A drafter that adds tokens to the verifier's input has it padded.

    Source: ``_raise_if_padded_drafter_batch_disabled`` in v1/spec_decode/llm_base_proposer.py, and what it is asked
    for there. The newer model runner, which pads always, runs none of these: see
    ``_get_v2_model_runner_unsupported_features`` in config/vllm.py.
    """
    said = case.speculative
    parallel = said.get("parallel_drafting") is True
    if case.method == "draft_model":
        what = "parallel_drafting" if parallel else "use_heterogeneous_vocab"
        adds = said.get(what) is True
    else:
        what = "parallel_drafting"
        adds = case.method in ("eagle", "eagle3") and parallel and case.tokens != 1
    if adds and said.get("disable_padded_drafter_batch") is True:
        yield error(
            Reason.RECIPE_OVERRIDE_INVALID,
            f"disable_padded_drafter_batch doesn't go with {what}",
            "leave it out",
            "spec.speculation.config.disable_padded_drafter_batch",
        )


@by_the_verifiers_config
def top_tokens_missing(case: Case) -> Iterator[Finding]:
    """The draft finds its likeliest tokens without gathering all logits, if it is told to.

    Source: ``_validate_local_argmax_reduction`` in v1/worker/gpu/spec_decode/speculator.py, which asks after loading.
    Drafts in the speculators format can, and so can those of dspark that are known; medusa heads aren't asked.
    """
    config = case.config if case.draft else case.verifier.config
    if (
        case.speculative.get("use_local_argmax_reduction") is not True
        or case.method not in drafts.CACHING - {"dspark"}
        or is_speculators_checkpoint(config)
    ):
        return
    name = drafts.built_as(case.method, config)
    if name in known_models.implemented_without("top_tokens"):
        yield case.closed(
            Reason.RECIPE_OVERRIDE_INVALID,
            f"use_local_argmax_reduction is set, and the engine's {name} can't draft that way",
            "leave it out",
            "spec.speculation.config.use_local_argmax_reduction",
        )


def _draft_size(case: Case, key: str) -> int | None:
    # In the speculators format it stands beside the layer's config, elsewhere within.
    return size(case.config, key) or size(case.layer, key)


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
            yield error(
                Reason.TOKENS_UNFIT,
                f"{tokens} tokens are to be proposed, and the draft's layers make {step} at a time",
                f"set it to a multiple of {step}, such as {tokens - tokens % step}",
                field,
            )
    elif case.method == "medusa":
        heads = next((size(case.config, key) for key in case.config if "num" in key and "heads" in key), None)
        if heads and tokens > heads:
            yield error(
                Reason.TOKENS_UNFIT,
                f"{tokens} tokens are to be proposed, and the draft has {heads} heads, one for each",
                f"set it to {heads} or less",
                field,
            )


RULES: tuple[Rule, ...] = (
    package_missing,
    heads_vocabulary_unread,
    mtp_layers_missing,
    hidden_size_mismatch,
    vocabulary_mismatch,
    length_beyond_draft,
    padding_missing,
    top_tokens_missing,
    tokens_unfit,
)
