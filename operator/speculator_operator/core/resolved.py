"""What a resolution found: every value that a pod's command was made from, and where each came from.

It is kept in a ControllerRevision beside the pod template rendered from it, and shown in status. So its shape is
stored data: a later release reads what an earlier one wrote, fields are added with a default, and none is renamed.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from speculator_operator.api import Reason, Verification


class _Stored(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)


class Identity(_Stored):
    """A model, pinned: ``revision`` is a commit, or None for a local folder."""

    uri: str
    revision: str | None

    def __str__(self) -> str:
        return f"{self.uri}@{self.revision[:12]}" if self.revision else self.uri


class Origin(_Stored):
    """Why a value is what it is: ``source`` is the field, flag or file that it was taken from."""

    field: str
    value: str
    source: str


class Resolved(_Stored):
    """One resolution. ``speculative_config`` is exactly what the engine gets, None where speculation is off.

    ``off`` says why it is off (``RegularModel`` or ``Disabled``). ``verification`` is what the startup probe demands,
    which is ``Off`` wherever there is nothing to prove. ``draft`` is None also for methods that have no draft model.
    """

    model: Identity
    draft: Identity | None
    verifier: Identity
    method: str | None
    num_speculative_tokens: int | None
    speculative_config: dict[str, Any] | None
    off: Reason | None
    verification: Verification
    served_name: str
    tensor: int
    pipeline: int
    port: int
    image: str
    engine_version: str
    command: list[str]
    args: list[str]
    sources: list[Origin]

    @property
    def gpus(self) -> int:
        """GPUs that one pod takes."""
        return self.tensor * self.pipeline

    def summary(self) -> str:
        """One line for a condition's message."""
        if self.off is Reason.DISABLED:
            return f"{self.verifier} alone, as a baseline: spec.speculation.mode is Disabled"
        if self.off is Reason.REGULAR_MODEL:
            return f"{self.model} carries no recipe, and spec.speculation gives none: it is served as a regular model"
        draft = f", draft {self.draft}" if self.draft else ""
        return f"{self.method} with {self.num_speculative_tokens} tokens{draft}, verifier {self.verifier}"
