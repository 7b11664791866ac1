"""Each accelerator of a pod has something to hold, and no more than it can."""

from __future__ import annotations

from collections.abc import Iterator

from speculator_operator.api import Finding, Reason
from speculator_operator.core.memory import COMFORTABLE
from speculator_operator.core.model_config import size, text
from speculator_operator.core.rules.case import Case, Rule, by_the_verifiers_config, error, warning


@by_the_verifiers_config
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
        yield error(
            Reason.ARGS_INVALID,
            "--enable-expert-parallel is set, and the verifier has no experts",
            "leave it out",
            "spec.engine.args",
        )


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
    layers_too_few,
    memory_insufficient,
    accelerators_exceed_node,
)
