"""The lock of what the operator runs with, read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

LOCK = Path(__file__).parents[2] / "requirements" / "runtime.txt"


@dataclass(frozen=True)
class Locked:
    name: str
    version: str
    hashes: frozenset[str]
    """Of all its files, in hexadecimal."""
    wanted: bool
    """On this platform, by this Python."""


def runtime() -> Iterator[Locked]:
    for block in re.split(r"\n(?=[a-z])", LOCK.read_text()):
        if not block[0].isalpha():
            continue
        requirement = Requirement(block.partition("\\")[0].strip())
        (specifier,) = requirement.specifier
        wanted = requirement.marker is None or requirement.marker.evaluate()
        hashes = frozenset(re.findall(r"--hash=sha256:([0-9a-f]{64})", block))
        yield Locked(requirement.name, specifier.version, hashes, wanted)
