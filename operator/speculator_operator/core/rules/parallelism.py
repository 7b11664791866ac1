"""How draft and verifier are split over GPUs, and spread over stages."""

from __future__ import annotations

from collections.abc import Iterator

from speculator_operator.api import Finding, Reason
from speculator_operator.core import drafts, known_models, releases, weight_blocks
from speculator_operator.core.model_config import NOTHING, architecture, number, quantization_method, size, text
from speculator_operator.core.rules.case import Case, Rule, by_the_verifiers_config, error, warning

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


@by_the_verifiers_config
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
    return error(
        Reason.HEADS_NOT_DIVISIBLE,
        f"{what}, which can't be divided over {tensor} GPUs",
        "choose another spec.parallelism.tensor",
        "spec.parallelism.tensor",
    )


@by_the_verifiers_config
def blocks_cut(case: Case) -> Iterator[Finding]:
    """Weights that are quantized in blocks are split between blocks. A draft is built inside the verifier's group.

    Source: ``weight_blocks.cut``. Another method than the checkpoint's may read blocks otherwise, and some kernels for
    experts fill them up (``pad_tp_shard_to_weight_blocks`` in model_executor/layers/fused_moe/oracle/fp8.py).
    """
    models = [("verifier", case.verifier.config, case.flags.get("--quantization", ""))]
    if case.method == "draft_model":
        models.append(("draft", case.config, text(case.speculative, "quantization")))
    filled_up = case.flags.get("--moe-backend", "auto") != "auto" or "--kernel-config" in case.flags
    whole = case.on("--enable-expert-parallel") or filled_up
    refining = releases.available("behaviour", "experts_blocks_refined", case.engine_version) is True
    for model, config, asked in models:
        if case.by_transformers or asked.lower() not in ("", "none", quantization_method(config)):
            continue
        if found := weight_blocks.cut(config, case.tensor, whole_experts=whole, refining=refining):
            yield case.closed(
                Reason.QUANTIZATION_UNSUPPORTED,
                f"the {model}'s weights are quantized in blocks of {found.block}, and {found.what} of {found.whole} "
                f"is {found.each} on each of {case.tensor} GPUs: blocks would be cut",
                "choose another spec.parallelism.tensor"
                + (", or add --enable-expert-parallel to spec.engine.args" if found.of_experts else ""),
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
        yield error(
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
    if name in known_models.implemented_without("pipeline") and not case.by_transformers:
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
    yield (case.closed if listed else error)(
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
        yield warning(
            Reason.EMBEDDING_OUT_OF_REACH,
            f"spec.parallelism.pipeline is {case.pipeline}, and then the draft needs an embedding of its own",
            "check that its checkpoint has weights for embed_tokens, or set it to 1",
            "spec.parallelism.pipeline",
        )


RULES: tuple[Rule, ...] = (
    heads_not_divisible,
    blocks_cut,
    draft_tensor_parallel_invalid,
    pipeline_unsupported,
    embedding_out_of_reach,
)
