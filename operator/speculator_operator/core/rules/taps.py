"""Hidden states that a method taps between the verifier's layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from speculator_operator.api import Finding, Reason
from speculator_operator.core import drafts, known_models
from speculator_operator.core.model_config import architecture, part, size
from speculator_operator.core.rules.case import MODEL, VERIFIER, Case, Rule, by_the_verifiers_config, error

#: No model has as many layers; a larger number would only swell sums.
_ODD_LAYER = 10**6


@by_the_verifiers_config
def verifier_untappable(case: Case) -> Iterator[Finding]:
    """The engine's model hands out its hidden states.

    Source: ``set_eagle3_aux_hidden_state_layers`` in v1/worker/gpu/spec_decode/eagle/eagle3_utils.py.
    """
    name = architecture(case.verifier.config)
    if case.method in drafts.TAPPING and name in known_models.implemented_without("taps") and not case.by_transformers:
        yield case.closed(
            Reason.VERIFIER_UNTAPPABLE,
            f"method {case.method} reads hidden states of the verifier, and the engine's {name} doesn't hand them out",
            "choose a method that reads none, such as ngram or draft_model",
            "spec.speculation.config.method" if case.recipe is None else VERIFIER,
        )


@by_the_verifiers_config
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
        yield error(Reason.AUXILIARY_LAYERS_INVALID, f"{taps}, and it has {count}", remedy, VERIFIER)
    elif len(set(layers)) < len(layers):
        yield error(
            Reason.AUXILIARY_LAYERS_INVALID,
            f"{taps}, and each can be tapped once only",
            f"{remedy}, or correct the checkpoint's list",
            VERIFIER,
        )
    elif case.method == "eagle3" and case.recipe and case.layer.get("model_type", "llama") == "llama":
        expected = size(case.layer, "num_aux_hidden_states") or 3
        if len(layers) != expected:
            yield error(
                Reason.AUXILIARY_LAYERS_INVALID,
                f"{taps}, and the engine builds drafts of llama layers for {expected} of them",
                "use another checkpoint",
                MODEL,
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


RULES: tuple[Rule, ...] = (
    verifier_untappable,
    auxiliary_layers_invalid,
)
