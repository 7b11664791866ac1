"""What the operator says back: the models of ``status``, and what of it is kept in ControllerRevisions.

The sets of its words are open in the schema, and bounds are generous: an operator that is newer than the definition
must be able to write its status. ``core.status`` makes it; these are its schema.
"""

# ruff: noqa: RUF012 - a Part is a pydantic model, which copies its defaults

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field

from speculator_operator.errors import Refused

from .reasons import Reason
from .schema import KeyedBy, Part

DECIMAL_PATTERN = r"^[0-9]+(\.[0-9]+)?$"

Text = Annotated[str, Field(max_length=32768)]
Word = Annotated[str, Field(max_length=253)]
Count = Annotated[int, Field(ge=0, le=2**53)]
Decimal = Annotated[str, Field(max_length=24, pattern=DECIMAL_PATTERN)]


class Condition(Part):
    type: Annotated[str, Field(min_length=1, max_length=253)]
    """What is said something of."""
    status: Literal["True", "False", "Unknown"]
    """True, False or Unknown."""
    observed_generation: Count = 0
    """The generation that it was said of."""
    last_transition_time: Annotated[str, Field(max_length=40, json_schema_extra={"format": "date-time"})]
    """When the status last changed."""
    reason: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")]
    """Why, in a word: one of the reasons."""
    message: Text = ""
    """Why, and what to do."""


class _Kept(Part):
    """A part of what is stored in ControllerRevisions, by this release and others: fields are added with a default,
    none is renamed, and one that a later release has added is passed over."""

    model_config = ConfigDict(extra="ignore")


class Identity(_Kept):
    uri: Annotated[str, Field(max_length=1024)]
    """The repository."""
    revision: Word | None = None
    """What it is pinned to: the commit, or a digest of what was read; a local folder has none."""

    def __str__(self) -> str:
        return f"{self.uri}@{self.revision.removeprefix('sha256:')[:12]}" if self.revision else self.uri


class Severity(StrEnum):
    ERROR = "Error"
    """It is known to fail."""
    WARNING = "Warning"
    """It may fail, or disappoint."""


class Finding(_Kept):
    severity: Word
    """Error or Warning."""
    reason: Word
    """Its name: one of the reasons."""
    field: Word | None = None
    """The field to change, where there is one."""
    evidence: Annotated[str, Field(max_length=4096)]
    """What is the case, with its numbers."""
    remedy: Annotated[str, Field(max_length=4096)] = ""
    """What to do, where the evidence doesn't say it."""

    @classmethod
    def refused(cls, refusal: Refused) -> Self:
        """A refusal as an error."""
        return cls(
            severity=Severity.ERROR,
            reason=refusal.reason[:253],
            field=refusal.field[:253] if refusal.field else None,
            evidence=refusal.evidence.removeprefix(f"{refusal.field}: ")[:4096],
            remedy=refusal.remedy[:4096],
        )

    @property
    def message(self) -> str:
        """All of it in one line; the field only where the words don't name it."""
        words = f"{self.evidence}; {self.remedy}" if self.remedy else self.evidence
        return words if self.field is None or self.field in words else f"{self.field}: {words}"


class Origin(_Kept):
    field: Word
    """The field, flag or key."""
    value: Text
    """Its value."""
    source: Annotated[str, Field(max_length=1024)]
    """Where the value comes from: the resource, the arguments, the checkpoint, a default."""


#: A resource has a few; more than these are not kept.
MAX_WARNINGS = 32


class MemoryEstimate(_Kept):
    accelerators: Count
    """Accelerators of a pod."""
    accelerator_memory: Count | None = None
    """Memory of each, in bytes; none where it isn't known."""
    utilization: Decimal = "0"
    """The part of it that the engine may take."""
    available: Count | None = None
    """Bytes that the engine may take of all of them."""
    verifier_weights: Count = 0
    """The verifier's weights, in bytes."""
    draft_weights: Count = 0
    """The draft's weights, in bytes."""
    cache: Count | None = None
    """The key-value cache of one request of the longest length, in bytes; none where it couldn't be counted."""
    cache_per_token: Count | None = None
    """The key-value cache of one token, in bytes."""
    max_model_len: Count | None = None
    """The longest length of a request, in tokens."""
    required: Count = 0
    """Weights and cache together, in bytes. The engine needs more."""
    least: Count = 0
    """What of it the engine surely needs: it may share some of the draft's weights, leave out unused layers, and load
    weights narrower than they are stored."""
    fitting_tensor: Count | None = None
    """The smallest larger tensor parallel size that would leave room, where this one doesn't."""
    fitting_max_model_len: Count | None = None
    """The longest length of a request that would leave room, where this one doesn't."""
    not_counted: Annotated[
        list[Annotated[str, Field(max_length=1024)]],
        Field(max_length=32, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
    ] = []
    """What isn't counted."""
    summary: Text = ""
    """The estimate in words."""


class Resolved(_Kept):
    model: Identity
    """The checkpoint."""
    draft: Identity | None = None
    """The draft, where there is one."""
    verifier: Identity
    """The model that is served, and that verifies the drafts."""
    method: Word | None = None
    """The engine's speculative method."""
    num_speculative_tokens: Count | None = None
    """Tokens proposed at each step."""
    speculative_config: (
        Annotated[
            dict[str, Any],
            Field(max_length=64, json_schema_extra={"x-kubernetes-preserve-unknown-fields": True}),
        ]
        | None
    ) = None
    """The engine's speculative config, exactly as it gets it."""
    off: Word | None = None
    """Why nothing is drafted: RegularModel or Disabled."""
    verification: Word = "Off"
    """Whether pods have to prove that they draft."""
    served_name: Text = ""
    """The model's name in the API."""
    tensor: Count = 1
    """The tensor parallel size."""
    pipeline: Count = 1
    """The pipeline parallel size."""
    port: Count = 8000
    """The port that the engine listens at."""
    image: Annotated[str, Field(max_length=512)] = ""
    """The engine's image."""
    engine_version: Word = ""
    """The engine's version."""
    command: Annotated[
        list[Text],
        Field(max_length=512, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
    ] = []
    """The whole command line."""
    revision: Word | None = None
    """The ControllerRevision that holds all this, once it is applied; none while its models are being fetched."""
    memory: MemoryEstimate | None = None
    """What the engine needs of the accelerators' memory; none where the sizes of the weights aren't known."""
    sources: Annotated[list[Origin], Field(max_length=128, json_schema_extra={"x-kubernetes-list-type": "atomic"})] = []
    """Why each value is what it is."""
    warnings: Annotated[
        list[Finding],
        Field(
            max_length=MAX_WARNINGS,
            json_schema_extra={"x-kubernetes-list-type": "atomic"},
            exclude_if=lambda warnings: not warnings,
        ),
    ] = []
    """What may fail, or disappoint."""

    def summary(self) -> str:
        """One line for a condition's message."""
        if self.off == Reason.DISABLED:
            return f"{self.verifier} alone, as a baseline: spec.speculation.mode is Disabled"
        if self.off:
            return f"{self.model} carries no recipe, and spec.speculation gives none: it is served as a regular model"
        draft = f", draft {self.draft}" if self.draft else ""
        return f"{self.method} with {self.num_speculative_tokens} tokens{draft}, verifier {self.verifier}"


class Acceptance(Part):
    window_seconds: Count = 0
    """The time that the numbers are of."""
    pods: Count = 0
    """Pods that they are summed over."""
    drafts: Count = 0
    """Drafts that were verified."""
    draft_tokens: Count = 0
    """Tokens that were proposed."""
    accepted_tokens: Count = 0
    """Tokens that were accepted."""
    length: Decimal | None = None
    """Tokens that a step of the verifier yields on average: one, and the accepted ones."""
    rate: Decimal | None = None
    """Accepted of the proposed tokens, from 0 to 1."""
    rate_per_position: Annotated[
        list[Decimal], Field(max_length=64, json_schema_extra={"x-kubernetes-list-type": "atomic"})
    ] = []
    """Accepted of the drafts, from 0 to 1, for each position in them."""


class Status(Part):
    observed_generation: Annotated[int, Field(ge=-1, le=2**53)] = 0
    """The generation that all this was said of; -1 for a resource that no operator has looked at yet."""
    conditions: Annotated[list[Condition], Field(max_length=16), KeyedBy("type")] = []
    """Where it stands."""
    replicas: Count = 0
    """Pods that there are."""
    ready_replicas: Count = 0
    """Pods that are ready."""
    updated_replicas: Count = 0
    """Pods of the current revision."""
    selector: Annotated[str, Field(max_length=1024)] = ""
    """The pods' labels, for `kubectl scale` and autoscalers."""
    url: Annotated[str, Field(max_length=1024)] = ""
    """Where clients in the cluster reach the engine's API."""
    resolved: Resolved | None = None
    """What the resource's inputs were resolved to."""
    acceptance: Acceptance | None = None
    """What verifiers made of the drafts lately, by the ready pods' own counters."""
