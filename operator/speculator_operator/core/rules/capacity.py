"""Each accelerator of a pod has something to hold, and no more than it can."""

from __future__ import annotations

from collections.abc import Iterator

from speculator_operator.api import Finding, Reason
from speculator_operator.core import releases
from speculator_operator.core.memory import COMFORTABLE
from speculator_operator.core.model_config import Config, size, text
from speculator_operator.core.rules.case import Case, Rule, by_the_verifiers_config, error, warning


@by_the_verifiers_config
def experts_missing(case: Case) -> Iterator[Finding]:
    """Experts are spread over GPUs only where there are some.

    Source: ``_verify_with_expert_parallelism`` in config/model.py.
    """
    if case.on("--enable-expert-parallel") and _no_experts(case.verifier.config, case.target):
        yield error(
            Reason.ARGS_INVALID,
            "--enable-expert-parallel is set, and the verifier has no experts",
            "leave it out",
            "spec.engine.args",
        )


def drafts_experts_missing(case: Case) -> Iterator[Finding]:
    """One release spreads the experts of a draft wherever it spreads those of the verifier.

    Source: ``create_draft_parallel_config`` in config/speculative.py of 0.30.0.
    """
    version = case.engine_version
    inherited = releases.available("behaviour", "draft_inherits_experts", version)
    if case.on("--enable-expert-parallel") and inherited and case.draft and _no_experts(case.config, case.layer):
        yield error(
            Reason.ARGS_INVALID,
            f"--enable-expert-parallel is set, engine {version} spreads the draft's experts too, and it has none",
            "leave it out, or set spec.engine.image to a newer engine",
            "spec.engine.args",
        )


def _no_experts(config: Config, language: Config) -> bool:
    """Whether a model has no experts: one that has none says nothing of them. ``language`` is its language model.

    Source: ``get_num_experts`` in transformers_utils/model_arch_config_convertor.py.
    """
    said = " ".join(map(str, (*config, *language, text(language, "model_type")))).lower()
    words = ("expert", "moe", "block_configs", "ffn_config")
    return size(language, "num_hidden_layers") is not None and not any(word in said for word in words)


@by_the_verifiers_config
def layers_too_few(case: Case) -> Iterator[Finding]:
    """Each stage has a layer; one without would hold its accelerators for nothing.

    Source: ``get_pp_indices`` in distributed/utils.py.
    """
    layers = size(case.target, "num_hidden_layers")
    if layers is not None and case.pipeline > layers:
        yield error(
            Reason.PIPELINE_UNSUPPORTED,
            f"spec.parallelism.pipeline is {case.pipeline}, and the verifier has only {layers} layers for its stages",
            f"set it to {layers} or less",
            "spec.parallelism.pipeline",
        )


@by_the_verifiers_config
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
        yield error(Reason.MEMORY_INSUFFICIENT, f"{what}: {made.summary}", remedy, field)
    else:
        yield warning(
            Reason.MEMORY_TIGHT,
            f"little is left for what isn't counted (activations, graphs, more requests): {made.summary}",
            remedy,
            field,
        )


def accelerators_exceed_node(case: Case) -> Iterator[Finding]:
    """A pod runs on one node."""
    count, most = case.tensor * case.pipeline, case.accelerators_per_node
    if most is not None and count > most:
        yield warning(
            Reason.ACCELERATORS_EXCEED_NODE,
            f"a pod takes {count} accelerators (tensor {case.tensor} x pipeline {case.pipeline}), and no node that is "
            f"known of has more than {most}",
            "lower spec.parallelism, or name the product in spec.accelerator if its nodes have more",
            "spec.parallelism.tensor",
        )


RULES: tuple[Rule, ...] = (
    experts_missing,
    drafts_experts_missing,
    layers_too_few,
    memory_insufficient,
    accelerators_exceed_node,
)
