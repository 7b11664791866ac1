"""What each release of the engine accepts: a table (``engine_releases.json``), and the questions that are asked of it.

A row holds from the release ``since`` until before ``until``; null means since before the oldest release that was read,
and for ever. What is in the oldest one already may be older: no older engine is run. Each row says where it was read.
``tools/engine_releases.py`` enters a release from its sources; what to write instead of an option that is gone is ours.

The names, by kind:

- ``speculators_type``: a speculators checkpoint's type; ``draft_layer``, ``TYPE/LAYER``: a layer type that drafts of it
  may have, none where any will do
- ``method``, ``config_key`` and ``config_value`` (``KEY=VALUE``): of the speculative config
- ``flag``: an option of ``vllm serve``, as it may be spelled, but for the ``--no-`` of a switch
- ``architecture``: of the model registry, drafts included
- ``mtp_model``: a model's type, or its architecture, by which layers for multi-token prediction are found in it
- ``quantization``: a method, ``deprecated_quantization`` those that have to be allowed; ``float16_unsupported``: a type
  of models that aren't run in float16
- ``behaviour``: ``draft_inherits_experts``, the experts of a draft are spread wherever those of the verifier are;
  ``experts_blocks_refined``, experts' weights that are quantized in blocks get finer ones where tensor parallelism
  would cut them; ``slots_per_sequence``, room for drafts is kept for each sequence of a step, and not once;
  ``taps_cross_stages``, the states that a draft reads are handed from one pipeline stage to the next;
  ``yarn_is_scaled``, the context in a config is taken as scaled by yarn already; ``medusa_reads_vocabulary``, medusa
  heads are built for the vocabulary that is at the top of the verifier's config
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

from speculator_operator.api import Reason
from speculator_operator.errors import Refused

Version = tuple[int, int, int]
Kind = Literal[
    "architecture",
    "behaviour",
    "config_key",
    "config_value",
    "deprecated_quantization",
    "draft_layer",
    "flag",
    "float16_unsupported",
    "method",
    "mtp_model",
    "quantization",
    "speculators_type",
]


@dataclass(frozen=True)
class _Row:
    since: Version
    until: Version | None
    instead: str | None

    def holds(self, version: Version) -> bool:
        return self.since <= version and (self.until is None or version < self.until)


def parsed(version: str) -> Version:
    """``0.32``, ``0.32.1`` and the like as numbers, without what follows them.

    Raises:
        Refused: ``EngineVersionUnknown``.
    """
    match = re.match(r"(\d{1,6})\.(\d{1,6})(?:\.(\d{1,6}))?", version)
    if match is None:
        message = f"{version[:100]!r} is not an engine's version; set spec.engine.version to one such as {newest()}"
        raise Refused(Reason.ENGINE_VERSION_UNKNOWN, message, field="spec.engine.version")
    major, minor, patch = match.groups(default="0")
    return int(major), int(minor), int(patch)


def newest() -> str:
    """The newest release that was read. What is asked of a newer one is answered as for this one."""
    return _written(_releases()[-1])


def known(version: str) -> bool:
    """Whether the table speaks of a release: one that was read, another patch of it, or one between two of them."""
    return _releases()[0] <= parsed(version) and parsed(version)[:2] <= _releases()[-1][:2]


def newer(version: str, than: str) -> bool:
    """Whether a version is of a later release than another: patches aside."""
    return parsed(version)[:2] > parsed(than)[:2]


def names(kind: Kind) -> tuple[str, ...]:
    """All names of a kind, those that are gone included."""
    return tuple(_rows()[kind])


def available(kind: Kind, name: str, version: str) -> bool | None:
    """Whether an engine of the version has it; None where no release has ever had it."""
    rows = _rows()[kind].get(name)
    return None if rows is None else any(row.holds(parsed(version)) for row in rows)


def lack(kind: Kind, name: str, version: str) -> str | None:
    """What is the matter and what to do, to follow the name in a message; None where an engine of the version has it,
    or where no release has ever had it."""
    if available(kind, name, version) is not False:
        return None
    later = [row.since for row in _rows()[kind][name] if row.since > parsed(version)]
    if later:
        return f"needs engine {_written(min(later))} or newer, not {version}; set spec.engine.image to one"
    return f"is gone in engine {version}; leave it out, or set spec.engine.image to an older one"


def removed(flag: str, version: str) -> str | None:
    """What to do instead of writing an option that was there once; None where an engine of the version has it, or a
    newer one."""
    rows = _rows()["flag"].get(flag, ())
    if any(row.until is None or parsed(version) < row.until for row in rows):
        return None
    return rows[-1].instead if rows else None


def _written(version: Version) -> str:
    return ".".join(map(str, version))


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads((resources.files(__package__) / "engine_releases.json").read_text())
    return table


@cache
def _releases() -> tuple[Version, ...]:
    return tuple(parsed(release) for release in _table()["releases"])


@cache
def _rows() -> Mapping[str, Mapping[str, tuple[_Row, ...]]]:
    """The rows by kind and name, the oldest first."""
    rows: dict[str, dict[str, tuple[_Row, ...]]] = {}
    for described in _table()["rows"]:
        row = _Row(
            since=parsed(described["since"] or "0.0"),
            until=parsed(described["until"]) if described["until"] else None,
            instead=described.get("instead"),
        )
        of_kind = rows.setdefault(described["kind"], {})
        of_kind[described["name"]] = (*of_kind.get(described["name"], ()), row)
    return rows
