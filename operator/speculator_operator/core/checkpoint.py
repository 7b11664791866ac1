"""``config.json`` -> recipe, or a named error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Snapshot:
    """What was read of one model: ``uri`` is the bare repository (or the folder, as given), ``revision`` the commit.

    A folder has no revision.
    """

    uri: str
    revision: str | None
    config: Mapping[str, Any]


@dataclass(frozen=True)
class Recipe:
    """A checkpoint's own speculative-decoding recipe, in the engine's words.

    ``algorithm`` is the checkpoint's ``speculators_model_type``, ``method`` what the engine runs it as.
    ``num_speculative_tokens`` are proposed at each step. ``verifier`` is the embedded reference, as written there
    (None where the checkpoint names none). ``locked`` are the keys of the speculative config that the checkpoint
    dictates beside method and model, such as ``parallel_drafting``. ``config`` is the draft's whole ``config.json``.
    """

    algorithm: str
    method: str
    num_speculative_tokens: int
    verifier: str | None
    locked: Mapping[str, Any]
    config: Mapping[str, Any]
