"""What a process is asked of its health, as facts that hold, or a word on why they don't.

Liveness is about this process alone: a restart must be able to help. Whether others answer is readiness.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """``what`` holds, unless there is ``trouble``."""

    what: str
    trouble: str = ""


def text(checks: Iterable[Check]) -> str:
    """One line each, for people."""
    return "".join(f"FAILED  {it.what}: {it.trouble}\n" if it.trouble else f"ok      {it.what}\n" for it in checks)


def passes_end(running: Mapping[str, float], now: float, limit: float) -> Check:
    """``running`` has when each pass began, by its resource. Times are in seconds, of one clock."""
    what = f"no pass runs for longer than {limit:g} s"
    if not running:
        return Check(what)
    name, began = min(running.items(), key=lambda item: item[1])
    age = now - began
    return Check(what, f"the one over {name} has run for {age:.0f} s" if age > limit else "")


def queue_moves(waiting: int, moved: float, now: float, limit: float) -> Check:
    """``moved`` is when a pass last began, or the queue last began to fill.

    How long one key waits says how much there is to do, which a restart would only add to.
    """
    what = f"while resources wait, a pass begins within {limit:g} s"
    age = now - moved
    return Check(what, f"{waiting} wait, and none has begun for {age:.0f} s" if waiting and age > limit else "")


def each_asked(what: str, asked: Mapping[str, float | None], begun: float, now: float, limit: float) -> Check:
    """``asked`` has when each watch last did what ``what`` says of all, or None for never; they began at ``begun``."""
    late = {
        name: now - (begun if at is None else at)
        for name, at in asked.items()
        if now - (begun if at is None else at) > limit
    }
    if not late:
        return Check(what)
    worst = max(late, key=lambda name: late[name])
    more = f", and {len(late) - 1} more" if len(late) > 1 else ""
    return Check(what, f"{worst}, not for {late[worst]:.0f} s{more}")


def each_listed(listed: Mapping[str, float | None]) -> Check:
    missing = sorted(name for name, at in listed.items() if at is None)
    return Check("everything that is watched has been listed", f"not yet: {', '.join(missing)}" if missing else "")


def renewed(age: float, deadline: float) -> Check:
    """``age`` (seconds) is of the last renewal of the lease that this replica holds."""
    what = f"the lease is renewed within {deadline:g} s"
    return Check(what, f"the last renewal was {age:.0f} s ago" if age > deadline else "")


def looked(age: float, limit: float) -> Check:
    """``age`` (seconds) is of the last look at the lease that another replica holds."""
    what = f"the lease is looked at within {limit:g} s"
    return Check(what, f"the last look was {age:.0f} s ago" if age > limit else "")
