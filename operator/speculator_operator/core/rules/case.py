"""What the rules look at, and how they tell what they find."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any

from speculator_operator.api import Cache, Finding, MemoryEstimate, Reason, Severity
from speculator_operator.core import releases
from speculator_operator.core.checkpoint import Recipe, Snapshot
from speculator_operator.core.context import config_changed_by, served_length
from speculator_operator.core.model_config import NOTHING, Config, draft_layers, language_model, size, text

#: The release that closed lists of the engine's were read in: a later one may know more.
_LISTS_READ_IN = "0.32"

Rule = Callable[["Case"], Iterator[Finding]]

VERIFIER = "spec.verifier.uri"
MODEL = "spec.model.uri"
GIVEN_DRAFT = "spec.speculation.config.model"


def error(reason: Reason, evidence: str, remedy: str, field: str | None = None) -> Finding:
    return Finding(severity=Severity.ERROR, reason=reason, evidence=evidence, remedy=remedy, field=field)


def warning(reason: Reason, evidence: str, remedy: str, field: str | None = None) -> Finding:
    return Finding(severity=Severity.WARNING, reason=reason, evidence=evidence, remedy=remedy, field=field)


@dataclass(frozen=True, kw_only=True)
class Case:
    """What the rules look at.

    ``speculative`` is the speculative config that the engine gets, empty where nothing is drafted; without its
    ``method``, the recipe's is meant. ``draft`` is what was read of its ``model``: one that is part of the verifier, or
    that needs no weights, is None. ``max_model_len`` is None where no length is asked for, or where the engine is to
    choose one; ``flags`` are the engine's other options (``engine_args.flags_of``). What the installation or the
    resource allows beyond is under ``allow_...``; ``accelerators_per_node`` is the most that a node has.
    From a ``cache`` the engine loads folders, whose names say nothing. ``off`` is why nothing is drafted, None where
    something is, or was to be: its config may have been refused.
    """

    recipe: Recipe | None = None
    speculative: Mapping[str, Any]
    draft: Snapshot | None = None
    off: Reason | None = None
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
        return MODEL if self.recipe else GIVEN_DRAFT

    @property
    def verifier_field(self) -> str:
        """What names the verifier."""
        return VERIFIER if self.recipe else MODEL

    @property
    def served(self) -> int | None:
        """The length that requests may have, None where it isn't known."""
        return served_length(self.verifier.config, self.max_model_len, self.flags, engine_version=self.engine_version)

    @property
    def newer_than_lists(self) -> bool:
        """Whether the engine is newer than the release that its closed lists were read in."""
        return releases.newer(self.engine_version, _LISTS_READ_IN)

    @property
    def by_transformers(self) -> bool:
        """Whether the verifier is run by the implementation of Transformers."""
        return self.flags.get("--model-impl") == "transformers"

    def closed(self, reason: Reason, evidence: str, remedy: str, field: str | None = None) -> Finding:
        """A finding by a closed list of the engine's: an error up to the release that it was read in."""
        return (warning if self.newer_than_lists else error)(reason, evidence, remedy, field)

    def implements(self, name: str) -> bool | None:
        """Whether the engine has an architecture of its own; None where its release isn't known."""
        if not releases.known(self.engine_version):
            return None
        return releases.available("architecture", name, self.engine_version) is True

    def on(self, flag: str) -> bool:
        """Whether a switch is on, so far as it is given."""
        return self.flags.get(flag, "false") != "false"


def by_the_verifiers_config(rule: Rule) -> Rule:
    """Marks a rule that reads the verifier's config: what it finds there is no more than a warning where the engine is
    told to serve another one. Code that would be run is refused all the same."""

    @wraps(rule)
    def held(case: Case) -> Iterator[Finding]:
        changing = config_changed_by(case.flags)
        for finding in rule(case):
            stands = finding.field == GIVEN_DRAFT or finding.reason == Reason.REMOTE_CODE_REFUSED
            if changing and finding.severity == Severity.ERROR and not stands:
                evidence = f"{finding.evidence} (by the config.json that was read: {changing} changes the verifier's)"
                yield finding.model_copy(update={"severity": Severity.WARNING, "evidence": evidence})
            else:
                yield finding

    return held
