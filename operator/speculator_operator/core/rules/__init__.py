"""Recipe x verifier x engine x accelerators -> findings: what is known to fail, or may, before a GPU is claimed.

Each rule restates one refusal or assertion of the engine, whose place is named beside it (paths are vLLM's, read in
0.32.0). It is an error where the engine surely fails, or would do something else than it was told; where it may fail,
or disappoint, it is a warning. A rule that lacks a number says nothing: an absent key, an unknown layout, a default
inside the engine are no findings. What a checkpoint itself has to hold, ``checkpoint`` has judged before.

A module has the rules of one policy, and lists them in ``RULES`` in the order in which their findings are told. Those
that read the verifier's config are marked ``case.by_the_verifiers_config``.
"""

from __future__ import annotations

from collections.abc import Iterable

from speculator_operator.api import Finding
from speculator_operator.core.rules import (
    capacity,
    combinations,
    draft,
    engine,
    limits,
    methods,
    parallelism,
    taps,
    verifier,
    weights,
)
from speculator_operator.core.rules.case import Case, Rule

__all__ = ["Case", "findings"]

_OF_THE_DRAFT = (*draft.RULES, *taps.RULES, *parallelism.RULES, *limits.RULES)
_OF_ALL = (*engine.RULES, *weights.RULES, *capacity.RULES)


def findings(case: Case) -> tuple[Finding, ...]:
    """What is known to fail and what may: the most telling first, errors and warnings as they come."""
    return (*_of_the_models(case), *_found(combinations.RULES, case))


def _of_the_models(case: Case) -> tuple[Finding, ...]:
    if swapped := _found(verifier.RULES, case):
        return swapped  # Nothing else about it is worth a word.
    unfit = _found(methods.RULES, case)
    # The numbers of a draft that is none for the method would only confuse.
    return (*unfit, *_found(_OF_ALL if unfit else (*_OF_THE_DRAFT, *_OF_ALL), case))


def _found(rules: Iterable[Rule], case: Case) -> tuple[Finding, ...]:
    return tuple(finding for rule in rules for finding in rule(case))
