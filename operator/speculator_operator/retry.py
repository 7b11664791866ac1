"""How long what models are read from is left alone before it is asked again, in seconds."""

from __future__ import annotations

RETRY_SECONDS = 30.0
THROTTLED_SECONDS = 60.0
"""Where it limits requests, and doesn't say for how long."""
MAX_SECONDS = 3600.0


def bounded(seconds: float) -> float:
    """What it says itself, between one second and an hour."""
    return min(max(seconds, 1.0), MAX_SECONDS)
