"""The time of day as Kubernetes' objects have it: RFC 3339, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> str:
    """To the second, as in conditions."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_now() -> str:
    """To the microsecond, as in Leases and events."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
