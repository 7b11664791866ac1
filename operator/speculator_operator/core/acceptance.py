"""Metrics text -> what was drafted and accepted, by one engine, and by all engines of a resource in a window of time.

The counters are vLLM's (vllm/v1/spec_decode/metrics.py). They exist only where a speculative config is loaded, and stay
at 0 until drafts were verified. The acceptance length is as vLLM logs it: 1 + accepted tokens / drafts.
"""

from __future__ import annotations

import itertools
import re
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

#: What each line begins with that ``parse`` looks at.
PREFIX = "vllm:spec_decode_num_"
#: Possessive: what could be gone back to would take 160 bytes for each character of what a pod says.
_SERIES = re.compile(
    rf"^{PREFIX}(drafts|draft_tokens|accepted_tokens|accepted_tokens_per_pos)_total"
    r'(?:\{((?:[^"}\n]++|"(?:[^"\\\n]++|\\.)*+")*+)\})? ([0-9.eE+-]+)(?: [0-9]+)?$',
    re.MULTILINE,
)
_POSITION = re.compile(r'(?:^|,)position="(\d{1,3})"')
#: As many positions as the most tokens that a resource may ask for at a step.
MAX_POSITIONS = 64
#: The largest number that status takes, and that a float holds exactly.
MOST = 2**53
#: Below this, a rate's change isn't worth a write of status.
WORTH = 0.05


@dataclass(frozen=True)
class Counters:
    """Totals since an engine began, over its ``engine`` labels. ``per_position`` counts accepted tokens."""

    drafts: int = 0
    draft_tokens: int = 0
    accepted_tokens: int = 0
    per_position: tuple[int, ...] = ()

    def __add__(self, other: Counters) -> Counters:
        width = max(len(self.per_position), len(other.per_position))
        return Counters(
            self.drafts + other.drafts,
            self.draft_tokens + other.draft_tokens,
            self.accepted_tokens + other.accepted_tokens,
            tuple(_at(self.per_position, i) + _at(other.per_position, i) for i in range(width)),
        )

    @property
    def possible(self) -> bool:
        """Whether engines can have counted so, and status takes it."""
        return (
            max(self.drafts, self.draft_tokens) <= MOST
            and self.accepted_tokens <= self.draft_tokens
            and max(self.per_position, default=0) <= self.drafts
        )

    @property
    def length(self) -> float:
        """Tokens for each step of the verifier. Without drafts there is none."""
        return 1 + self.accepted_tokens / self.drafts

    @property
    def rate(self) -> float:
        """The share of draft tokens that was accepted. Without draft tokens there is none."""
        return self.accepted_tokens / self.draft_tokens

    @property
    def rate_per_position(self) -> tuple[float, ...]:
        return tuple(count / self.drafts for count in self.per_position)

    def since(self, earlier: Counters) -> Counters:
        """What was counted since an earlier reading; all of it, if the engine has begun anew meanwhile."""
        if self.drafts < earlier.drafts or self.draft_tokens < earlier.draft_tokens:
            return self
        return Counters(
            self.drafts - earlier.drafts,
            self.draft_tokens - earlier.draft_tokens,
            max(self.accepted_tokens - earlier.accepted_tokens, 0),
            tuple(max(count - _at(earlier.per_position, i), 0) for i, count in enumerate(self.per_position)),
        )


@dataclass
class Window:
    """Readings of one engine. ``seconds`` is how far back its sum goes."""

    seconds: float
    readings: deque[tuple[float, Counters]] = field(default_factory=deque)

    def add(self, now: float, counters: Counters) -> None:
        self.readings.append((now, counters))
        while len(self.readings) > 2 and self.readings[1][0] <= now - self.seconds:
            self.readings.popleft()

    @property
    def last(self) -> Counters:
        return self.readings[-1][1]

    @property
    def span(self) -> float:
        """Seconds between the first and the last reading."""
        return self.readings[-1][0] - self.readings[0][0]

    def total(self) -> Counters:
        """What was counted between the first and the last reading: not the canary, which forces its tokens, unless the
        engine began anew in between."""
        readings = [counters for _, counters in self.readings]
        return sum((later.since(earlier) for earlier, later in itertools.pairwise(readings)), Counters())


def parse(text: str) -> Counters | None:
    """The counters of one engine's ``/metrics``, or None where it has no speculative config loaded.

    Raises:
        ValueError: no engine counts so; the message says how.
    """
    sums: dict[str, float] = {}
    positions: dict[int, float] = {}
    for match in _SERIES.finditer(text):
        name, labels, value = match.groups()
        try:
            number = float(value)
        except ValueError:
            continue
        if not 0 <= number < MOST:
            continue
        if name != "accepted_tokens_per_pos":
            sums[name] = sums.get(name, 0) + number
        elif (position := _POSITION.search(labels or "")) and int(position[1]) < MAX_POSITIONS:
            positions[int(position[1])] = positions.get(int(position[1]), 0) + number
    if "drafts" not in sums:
        return None
    counted = Counters(
        int(sums["drafts"]),
        int(sums.get("draft_tokens", 0)),
        int(sums.get("accepted_tokens", 0)),
        tuple(int(positions.get(i, 0)) for i in range(max(positions, default=-1) + 1)),
    )
    if not counted.possible:
        said = f"{counted.accepted_tokens} tokens accepted of {counted.draft_tokens}, in {counted.drafts} drafts"
        raise ValueError(f"its metrics say what no engine counts: {said}")
    return counted


def totals(windows: Iterable[Window]) -> Counters:
    """What was counted by all engines together, each within its window; nothing, where that can't be true: readings may
    be possible each, and what lies between them not."""
    total = sum((window.total() for window in windows), Counters())
    return total if total.possible else Counters()


def summary(windows: Iterable[Window]) -> dict[str, Any] | None:
    """What status says of all engines together; None while nothing was drafted."""
    windows = list(windows)
    total = totals(windows)
    if not total.drafts or not total.draft_tokens:
        return None
    return {
        "windowSeconds": round(max(window.span for window in windows)),
        "pods": len(windows),
        "drafts": total.drafts,
        "draftTokens": total.draft_tokens,
        "acceptedTokens": total.accepted_tokens,
        "length": f"{total.length:.2f}",
        "rate": f"{total.rate:.2f}",
        "ratePerPosition": [f"{rate:.2f}" for rate in total.rate_per_position],
    }


def differs(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether the rate has moved by enough to be said."""
    return abs(float(new["rate"]) - float(old["rate"])) >= WORTH


def _at(counts: tuple[int, ...], position: int) -> int:
    return counts[position] if position < len(counts) else 0
