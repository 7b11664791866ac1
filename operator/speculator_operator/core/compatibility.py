"""Recipe x verifier x parallelism -> findings: what is known to fail, before a GPU is claimed.

Each rule restates one refusal or assertion of the engine, whose place is named beside it (paths are vLLM's, read in
0.32.0). A rule that lacks a number says nothing: an absent key, an unknown layout, a default inside the engine are no
findings. What a checkpoint itself has to hold, ``checkpoint`` has judged before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from speculator_operator.api import Finding, Reason, Severity
from speculator_operator.core import releases
from speculator_operator.core.checkpoint import Recipe, is_speculators_checkpoint

#: Methods whose draft reads the verifier's hidden states, tapped at some of its layers.
_TAPPING = frozenset({"eagle3", "dflash", "dspark"})
#: A fine-tune adds tokens at the end of the vocabulary, and padding does likewise: a draft never proposes those, so a
#: verifier with a few more is served well. One with many more speaks another vocabulary. (The speculators converter
#: writes 128000 where a llama draft's source says nothing, and its verifier has 128256.)
_ADDED_TOKENS = 1024

# Source: `supports_aux_hidden_states_over_pp`, and who bears it, since 0.30.0; until 0.29.0 the model runner
# (v1/worker/gpu/model_runner.py) refused these methods with pipeline parallelism. The architectures are those that can
# be tapped, and whose decoders don't bear it.
_TAPS_CROSS_STAGES_SINCE = releases.since("behaviour", "taps_cross_stages")[:2]
_TAPS_STAY_IN_A_STAGE = frozenset(
    f"{name}ForCausalLM"
    for name in (
        *("Afmoe", "Apertus", "Cohere2Moe", "Deepseek", "DeepseekV2", "DeepseekV3", "DeepseekV32", "Ernie4_5"),
        *("Gemma4", "GlmMoeDsa", "Glm5Next", "GptOss", "Granite", "GraniteSWA", "KimiLinear", "Laguna", "MiniCPM"),
        *("MiniCPM3", "MiniMaxM2", "MiMoV2Flash", "MiMoV2", "MistralLarge3", "NemotronH", "NemotronHPuzzle", "Phi3"),
        *("Plamo3", "Qwen3Moe", "Qwen3Next", "Qwen3_5", "Qwen3_5Moe", "Step1", "TeleFLM"),
    )
)

# Source: `_get_and_verify_max_len` in config/model.py: before, yarn's factor was applied to the original length; since
# then, the config's length is taken as scaled.
_YARN_SCALED_SINCE = releases.since("behaviour", "yarn_is_scaled")[:2]


def _error(reason: Reason, evidence: str, remedy: str, field: str | None = None) -> Finding:
    return Finding(severity=Severity.ERROR, reason=reason, evidence=evidence, remedy=remedy, field=field)


@dataclass(frozen=True)
class _Pair:
    """What the rules look at. ``draft`` and ``target`` are the parts of the configs that describe a language model."""

    recipe: Recipe | None
    method: str | None
    config: Mapping[str, Any]
    draft: Mapping[str, Any]
    verifier: Mapping[str, Any]
    target: Mapping[str, Any]
    tensor: int
    pipeline: int
    draft_tensor: int | None
    max_model_len: int | None
    engine_version: str | None


def findings(
    *,
    recipe: Recipe | None,
    method: str | None,
    draft: Mapping[str, Any] | None,
    verifier: Mapping[str, Any],
    tensor: int,
    pipeline: int,
    draft_tensor: int | None,
    max_model_len: int | None,
    engine_version: str | None = None,
) -> tuple[Finding, ...]:
    """What is known to fail, the most telling first.

    ``method`` is the speculative method that the engine is given (the recipe's, where None), ``draft`` and
    ``verifier`` are the two models' ``config.json``; a draft that is part of the verifier, or that needs no weights,
    has none. ``max_model_len`` is None where no length is asked for, or where the engine is told to allow any. Without
    an ``engine_version``, the newest is meant.
    """
    if is_speculators_checkpoint(verifier):
        # The engine would swap it for the model that it names: maybe_override_with_speculators in
        # transformers_utils/config.py. Nothing else about it is worth a word.
        return (
            _error(
                Reason.VERIFIER_IS_SPECULATOR,
                "the verifier is itself a speculators checkpoint (its config.json has speculators_config)",
                "set spec.verifier.uri to the model that the draft was trained for",
                "spec.verifier.uri",
            ),
        )
    config = draft if draft is not None else recipe.config if recipe else {}
    layer = config.get("transformer_layer_config")
    pair = _Pair(
        recipe=recipe,
        method=method or (recipe.method if recipe else None),
        config=config,
        draft=layer if isinstance(layer, Mapping) else _language_model(config),
        verifier=verifier,
        target=_language_model(verifier),
        tensor=tensor,
        pipeline=pipeline,
        draft_tensor=draft_tensor,
        max_model_len=max_model_len,
        engine_version=engine_version,
    )
    rules = (
        hidden_size_mismatch,
        vocabulary_mismatch,
        auxiliary_layers_invalid,
        heads_not_divisible,
        draft_tensor_parallel_invalid,
        pipeline_unsupported,
        context_too_long,
    )
    return tuple(finding for rule in rules for finding in rule(pair))


def hidden_size_mismatch(pair: _Pair) -> Iterator[Finding]:
    """The tapped states enter the draft's ``fc``, whose input is ``target_hidden_size`` per tapped layer.

    Source: ``fc_input_size`` in model_executor/models/{llama,qwen3}_eagle3.py, ``_get_dflash_fc_input_size`` in
    qwen3_dflash.py: the draft's own ``hidden_size`` where it names no other.
    """
    if pair.method not in _TAPPING or _size(pair.target, "hc_mult"):
        # A verifier with several residual streams (hc_mult) is tapped at a multiple of its hidden size.
        return
    expected = _draft_size(pair, "target_hidden_size") or _size(pair.draft, "hidden_size")
    actual = _size(pair.target, "hidden_size")
    if expected and actual and expected != actual:
        yield _error(
            Reason.HIDDEN_SIZE_MISMATCH,
            f"the draft reads hidden states of size {expected}, and the verifier's have {actual}",
            "use the verifier that the draft was trained for, or a quantized form of it",
            "spec.verifier.uri",
        )


def vocabulary_mismatch(pair: _Pair) -> Iterator[Finding]:
    """A draft proposes token ids of the verifier's vocabulary, or of a part of it.

    Source: ``verify_equal_vocab_size_if_draft_model`` in config/speculative.py; ``compute_logits`` in
    model_executor/models/{llama_eagle3,qwen3_dflash}.py. A dspark draft may have a padded or extended vocabulary
    (qwen3_dspark.py), so it is only held to what it is too small for.
    """
    target = _size(pair.target, "vocab_size")
    whole = _size(pair.draft, "vocab_size")
    if target is None:
        return
    problem = None
    if pair.method == "draft_model" and whole and whole != target:
        problem = f"the draft's vocabulary has {whole} tokens, and must be the verifier's, which has {target}"
    elif pair.method in _TAPPING:
        part = _draft_size(pair, "draft_vocab_size")
        most = None if pair.method == "dspark" else target
        if part and most and part > most:
            problem = f"draft_vocab_size is {part}, more than the verifier's {target} tokens"
        elif whole and not target - _ADDED_TOKENS <= whole <= (most or whole):
            problem = f"the draft was trained for a vocabulary of {whole} tokens, and the verifier has {target}"
    if problem:
        yield _error(
            Reason.VOCABULARY_MISMATCH,
            problem,
            "use the verifier that the draft was trained for, or a quantized form of it",
            "spec.verifier.uri",
        )


def auxiliary_layers_invalid(pair: _Pair) -> Iterator[Finding]:
    """The tapped layers are there, and as many as the draft's ``fc`` expects.

    Source: ``EagleModelMixin`` in model_executor/models/interfaces.py: states are taken before the first layer (0) and
    after each (1 to n), every number once; ``get_eagle3_default_aux_hidden_state_layers`` there for the default. A
    speculators draft of llama layers expects 3 whatever its list says (``num_aux_hidden_states`` in llama_eagle3.py).
    """
    count = _size(pair.target, "num_hidden_layers")
    if pair.method not in _TAPPING or count is None:
        return
    named = _named_layers(pair)
    if named is None and pair.method != "eagle3":
        return
    layers = named or [2, count // 2, count - 3]
    listed = ", ".join(map(str, layers[:16])) + (", ..." if len(layers) > 16 else "")
    taps = f"the draft taps the verifier's layers {listed}" + ("" if named else ", the engine's default")
    remedy = "use the verifier that the draft was trained for"
    if not all(0 <= layer <= count for layer in layers):
        yield _error(Reason.AUXILIARY_LAYERS_INVALID, f"{taps}, and it has {count}", remedy, "spec.verifier.uri")
    elif len(set(layers)) < len(layers):
        yield _error(
            Reason.AUXILIARY_LAYERS_INVALID,
            f"{taps}, and each can be tapped once only",
            f"{remedy}, or correct the checkpoint's list",
            "spec.verifier.uri",
        )
    elif pair.method == "eagle3" and pair.recipe and pair.draft.get("model_type", "llama") == "llama":
        expected = _size(pair.draft, "num_aux_hidden_states") or 3
        if len(layers) != expected:
            yield _error(
                Reason.AUXILIARY_LAYERS_INVALID,
                f"{taps}, and the engine builds drafts of llama layers for {expected} of them",
                "use another checkpoint",
                "spec.model.uri",
            )


def heads_not_divisible(pair: _Pair) -> Iterator[Finding]:
    """Heads are split over the GPUs; key-value heads too, or each is kept by as many GPUs.

    Source: ``ModelConfig.verify_with_parallel_config`` in config/model.py; the attention of
    model_executor/models/{llama,qwen3,qwen3_dflash}.py asserts the key-value heads. A draft is built inside the
    verifier's tensor parallel group, whatever its own size is said to be.
    """
    drafts = pair.method in _TAPPING | {"eagle", "draft_model"}
    for model, config in (("verifier", pair.target), ("draft", pair.draft if drafts else {})):
        heads = _size(config, "num_attention_heads")
        groups = _size(config, "num_key_value_heads")
        if heads and heads % pair.tensor:
            yield _heads_finding(f"the {model} has {heads} attention heads", pair.tensor)
        elif groups and "kv_lora_rank" not in config and groups % pair.tensor and pair.tensor % groups:
            yield _heads_finding(f"the {model} has {groups} key-value heads", pair.tensor)


def _heads_finding(what: str, tensor: int) -> Finding:
    return _error(
        Reason.HEADS_NOT_DIVISIBLE,
        f"{what}, which can't be divided over {tensor} GPUs",
        "choose another spec.parallelism.tensor",
        "spec.parallelism.tensor",
    )


def draft_tensor_parallel_invalid(pair: _Pair) -> Iterator[Finding]:
    """The draft runs whole on each GPU, or is split as the verifier is.

    Source: ``SpeculativeConfig._verify_and_get_draft_tp`` in config/speculative.py.
    """
    size = pair.draft_tensor
    allowed = sorted({1, pair.tensor})
    if size is not None and size not in allowed:
        yield _error(
            Reason.DRAFT_TENSOR_PARALLEL_INVALID,
            f"the draft's tensor parallel size is {size}, and can only be {' or '.join(map(str, allowed))}",
            "set spec.speculation.draftTensorParallelSize to that, or leave it out",
            "spec.speculation.draftTensorParallelSize",
        )


def pipeline_unsupported(pair: _Pair) -> Iterator[Finding]:
    """With pipeline parallelism, tapped states have to be handed from stage to stage.

    Source: ``verify_supports_aux_hidden_states_over_pp`` in v1/worker/gpu/spec_decode/eagle/eagle3_utils.py. Parallel
    drafting with eagle3 runs on the older model runner (``_get_v2_model_runner_unsupported_features`` in
    config/vllm.py), which taps the last stage only (v1/worker/gpu_model_runner.py).
    """
    if pair.pipeline <= 1 or pair.method not in _TAPPING:
        return
    architectures = pair.verifier.get("architectures")
    first = architectures[0] if isinstance(architectures, list) and architectures else None
    if _older_than(pair.engine_version, _TAPS_CROSS_STAGES_SINCE):
        why = f"engine {pair.engine_version} doesn't run {pair.method} over several stages"
    elif pair.recipe and pair.method == "eagle3" and pair.recipe.locked.get("parallel_drafting"):
        why = f"the engine doesn't run {pair.recipe.algorithm} over several stages"
    elif isinstance(first, str) and first in _TAPS_STAY_IN_A_STAGE:
        why = f"the engine's {first} doesn't hand what {pair.method} taps from stage to stage"
    else:
        return
    yield _error(
        Reason.PIPELINE_UNSUPPORTED,
        f"spec.parallelism.pipeline is {pair.pipeline}, and {why}",
        "set it to 1, and spec.parallelism.tensor higher",
        "spec.parallelism.pipeline",
    )


def context_too_long(pair: _Pair) -> Iterator[Finding]:
    """The length asked for is within the verifier's context.

    Source: ``_get_and_verify_max_len`` in config/model.py; its environment variable VLLM_ALLOW_LONG_MAX_MODEL_LEN
    lifts the rule.
    """
    limit = context_length(pair.target, engine_version=pair.engine_version)
    asked = pair.max_model_len
    if limit is not None and asked is not None and asked > limit:
        yield _error(
            Reason.CONTEXT_TOO_LONG,
            f"--max-model-len is {asked}, and the verifier's context has {limit} tokens",
            "ask for no more than that",
            "spec.engine.args",
        )


def context_length(model: Mapping[str, Any], *, engine_version: str | None) -> int | None:
    """The context that an engine of the version derives from a model's config; None where that isn't plain."""
    config = _language_model(model)
    yarn_multiplies = _older_than(engine_version, _YARN_SCALED_SINCE)
    length = _size(config, "model_max_length") or _size(config, "max_position_embeddings")
    if length is None:
        return None
    rope = config.get("rope_parameters") or config.get("rope_scaling")
    if rope is None:
        return length
    if not isinstance(rope, Mapping):
        return None
    # Models with several kinds of layers have parameters for each.
    scalings = [value for value in rope.values() if isinstance(value, Mapping)] or [rope]
    lengths = [_scaled(length, scaling, yarn_multiplies=yarn_multiplies) for scaling in scalings]
    known = [scaled for scaled in lengths if scaled is not None]
    return max(known) if len(known) == len(lengths) else None


def _scaled(length: int, scaling: Mapping[str, Any], *, yarn_multiplies: bool) -> int | None:
    kind = scaling.get("rope_type", scaling.get("type"))
    factor = scaling.get("factor")
    scaled_already = ("default", "llama3", "longrope", "su", "mrope", *(() if yarn_multiplies else ("yarn",)))
    if kind in scaled_already or factor is None:
        return length
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 1 <= factor < 1e6:
        return None
    if kind == "yarn":
        length = _size(scaling, "original_max_position_embeddings") or length
    return int(length * factor)


def _named_layers(pair: _Pair) -> Sequence[int] | None:
    """The layers that the draft's config names, in the engine's numbers; None where it names none.

    Source: ``get_eagle3_aux_layers_from_config`` in v1/worker/gpu/spec_decode/eagle/eagle3_utils.py, and
    transformers_utils/configs/speculators/algos.py. Drafts of other origin count from 0 what the engine counts from 1.
    """
    config = pair.config
    inner = [
        value if isinstance(value := config.get(key), Mapping) else {} for key in ("dflash_config", "eagle_config")
    ]
    found = (
        (config.get("aux_hidden_state_layer_ids") if pair.method != "eagle3" else None, 0),
        (config.get("eagle_aux_hidden_state_layer_ids"), 0),
        (inner[0].get("target_layer_ids"), 1),
        (inner[1].get("eagle_aux_hidden_state_layer_ids"), 0),
        (config.get("dspark_target_layer_ids"), 1),
        (config.get("target_layer_ids"), 1),
    )
    for layers, shift in found:
        if isinstance(layers, list) and layers:
            numbers = [layer + shift for layer in layers if isinstance(layer, int) and not isinstance(layer, bool)]
            return numbers if len(numbers) == len(layers) else None
    return None


def _language_model(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a config that describes the language model: multimodal models nest it.

    Source: ``get_hf_text_config`` in transformers_utils/config.py.
    """
    thinker = config.get("thinker_config")
    for outer in (config, thinker if isinstance(thinker, Mapping) else {}):
        inner = outer.get("text_config")
        if isinstance(inner, Mapping):
            return inner
    return config


def _draft_size(pair: _Pair, key: str) -> int | None:
    # In the speculators format it stands beside the layer's config, elsewhere within.
    return _size(pair.config, key) or _size(pair.draft, key)


def _size(config: Mapping[str, Any], key: str) -> int | None:
    value = config.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _older_than(version: str | None, since: tuple[int, int]) -> bool:
    match = re.match(r"(\d{1,6})\.(\d{1,6})", version or "")
    return match is not None and (int(match[1]), int(match[2])) < since
