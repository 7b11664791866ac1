"""Whether the verifier is a model that can verify."""

from __future__ import annotations

from collections.abc import Iterator

from speculator_operator.api import Finding, Reason
from speculator_operator.core.checkpoint import is_speculators_checkpoint
from speculator_operator.core.rules.case import VERIFIER, Case, Rule, error


def verifier_is_speculator(case: Case) -> Iterator[Finding]:
    """The engine would swap a speculators checkpoint for the model that it names.

    Source: ``maybe_override_with_speculators`` in transformers_utils/config.py.
    """
    if is_speculators_checkpoint(case.verifier.config):
        yield error(
            Reason.VERIFIER_IS_SPECULATOR,
            "the verifier is itself a speculators checkpoint (its config.json has speculators_config)",
            "set spec.verifier.uri to the model that the draft was trained for",
            VERIFIER,
        )


RULES: tuple[Rule, ...] = (verifier_is_speculator,)
