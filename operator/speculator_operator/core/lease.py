"""The Lease by which replicas agree on who leads: what it says, who may take it, and for how long its holder may write.

The rules are those of Kubernetes' own components (client-go's ``tools/leaderelection``): nobody believes another's
clock. Whether a lease has run out is judged by how long it was seen unchanged, and how long it is held by when the
renewal that succeeded was begun. The holder stops well before anybody else may begin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .render import Manifest


@dataclass(frozen=True)
class Terms:
    """``seconds`` is how long others wait for a renewal. The shares of it are those of client-go: 15, 10 and 2."""

    seconds: int

    @property
    def deadline(self) -> float:
        """For so many seconds after a renewal its holder may write; the rest is for what is under way to arrive."""
        return self.seconds * 2 / 3

    @property
    def attempt(self) -> float:
        """Seconds that one try may take, so that one that hangs leaves time for another."""
        return self.deadline / 2

    @property
    def pause(self) -> float:
        """Seconds between tries."""
        return self.seconds * 2 / 15


@dataclass(frozen=True)
class Sighting:
    """A lease's spec, and when (monotonic seconds) it was first seen like that."""

    spec: dict[str, Any]
    since: float

    def again(self, spec: dict[str, Any], now: float) -> Sighting:
        return self if spec == self.spec else Sighting(spec, now)


def holder(spec: dict[str, Any]) -> str:
    """Who holds the lease; nobody, if that is empty."""
    return str(spec.get("holderIdentity") or "")


def is_free(sighting: Sighting, identity: str, terms: Terms, now: float) -> bool:
    """Whether ``identity`` may take the lease: nobody else holds it, or has renewed it for as long as it was taken for.

    A lease that doesn't say how long is taken to be for as long as ours.
    """
    held_by = holder(sighting.spec)
    if held_by in ("", identity):
        return True
    seconds = sighting.spec.get("leaseDurationSeconds") or terms.seconds
    return now - sighting.since > seconds


def taken(before: dict[str, Any], identity: str, terms: Terms, now: str) -> dict[str, Any]:
    """The spec that says that ``identity`` holds the lease; ``now`` is RFC 3339, with microseconds."""
    again = holder(before) == identity
    transitions = before.get("leaseTransitions") or 0
    return {
        "holderIdentity": identity,
        "leaseDurationSeconds": terms.seconds,
        "acquireTime": before.get("acquireTime", now) if again else now,
        "renewTime": now,
        "leaseTransitions": transitions if again or not before else transitions + 1,
    }


def released(before: dict[str, Any], now: str) -> dict[str, Any]:
    """The spec that lets whoever comes take the lease at once."""
    return {**before, "holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": now}


def manifest(namespace: str, name: str, spec: dict[str, Any], read: Manifest | None = None) -> Manifest:
    """The object to write. With what was ``read`` it is written over that and nothing newer, by its resourceVersion."""
    fresh = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"namespace": namespace, "name": name},
    }
    return {**(read or fresh), "spec": spec}
