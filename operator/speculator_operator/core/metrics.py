"""The operator's metrics: what each means, and what is known of resources -> samples.

The names of the queue and of requests are those of controller-runtime and client-go. Series of a resource come from
what is known of it when metrics are asked for, so that none outlives its resource.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from speculator_operator.api import ConditionType, Reason

from .acceptance import Counters
from .status import FALSE, TRUE, UNKNOWN

#: The reason of a failure that isn't a named one.
ERROR = "Error"

Key = tuple[str, str]
Labels = tuple[str, ...]


class Type(StrEnum):
    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


@dataclass(frozen=True)
class Family:
    """Series of one name. Times are in seconds."""

    name: str
    type: Type
    labels: Labels
    meaning: str


QUEUE_DEPTH = Family("workqueue_depth", Type.GAUGE, (), "Resources that wait for a pass.")
QUEUE_ADDS = Family("workqueue_adds_total", Type.COUNTER, (), "Passes that were asked for.")
QUEUE_RETRIES = Family("workqueue_retries_total", Type.COUNTER, (), "Passes that failed and are repeated.")
QUEUE_WAITS = Family("workqueue_queue_duration_seconds", Type.HISTOGRAM, (), "How long a resource waits for its pass.")
QUEUE_WORKS = Family("workqueue_work_duration_seconds", Type.HISTOGRAM, (), "How long a pass takes.")
REQUESTS = Family(
    "rest_client_requests_total",
    Type.COUNTER,
    ("code", "method"),
    "Requests to the API server, by the status of its answer; `<error>` where none came. Watches are not counted.",
)
ERRORS = Family(
    "speculator_reconcile_errors_total",
    Type.COUNTER,
    ("reason",),
    f"Passes that ended in a problem, by its reason; `{ERROR}` for a fault that has none. A resource whose models are "
    "just being read has no problem.",
)
LEADER = Family(
    "speculator_operator_leader",
    Type.GAUGE,
    (),
    "1 for the replica that leads, 0 for one that stands by or hasn't begun; 1 too where there is no election.",
)
INFO = Family("speculator_operator_info", Type.GAUGE, ("version",), "1, with the operator's version.")
RESOURCES = Family(
    "speculator_operator_resources", Type.GAUGE, ("condition", "status"), "Resources whose condition has this status."
)

_OF_ONE = ("namespace", "name")

CONDITION = Family(
    "speculator_deployment_condition",
    Type.GAUGE,
    (*_OF_ONE, "condition", "status"),
    "1 for the status that the condition has, 0 for the other two of `True`, `False` and `Unknown`.",
)
ACTIVE = Family(
    "speculator_deployment_speculation_active",
    Type.GAUGE,
    _OF_ONE,
    "1 if every ready pod drafts; 0 if one doesn't, or can't be asked. Absent where no speculation is expected or no "
    "pod is ready.",
)
LENGTH = Family(
    "speculator_deployment_acceptance_length",
    Type.GAUGE,
    _OF_ONE,
    "Tokens for each step of the verifier, over the window of status. Absent until something was drafted.",
)
RATE = Family(
    "speculator_deployment_acceptance_rate",
    Type.GAUGE,
    _OF_ONE,
    "The share of draft tokens that was accepted, from 0 to 1, over the window of status.",
)
RATE_PER_POSITION = Family(
    "speculator_deployment_acceptance_rate_per_position",
    Type.GAUGE,
    (*_OF_ONE, "position"),
    "The share of drafts whose token at this position, from 0 on, was accepted, over the window of status.",
)
DRAFTS = Family(
    "speculator_deployment_drafts_total",
    Type.COUNTER,
    _OF_ONE,
    "Drafts that the engines verified while this process looked: canaries of startup probes aren't among them, those "
    "of `kubectl speculator verify` are, and a restart of an engine takes nothing away.",
)
DRAFT_TOKENS = Family("speculator_deployment_draft_tokens_total", Type.COUNTER, _OF_ONE, "Tokens of those drafts.")
ACCEPTED_TOKENS = Family(
    "speculator_deployment_accepted_tokens_total", Type.COUNTER, _OF_ONE, "Tokens of those drafts that were accepted."
)
ACCEPTED_PER_POSITION = Family(
    "speculator_deployment_accepted_tokens_per_position_total",
    Type.COUNTER,
    (*_OF_ONE, "position"),
    "Tokens of those drafts that were accepted, by their position, from 0 on.",
)
WANTED = Family("speculator_deployment_replicas", Type.GAUGE, _OF_ONE, "Pods that are wanted; 0 while suspended.")
READY = Family("speculator_deployment_ready_replicas", Type.GAUGE, _OF_ONE, "Pods that are ready.")
PROVEN = Family(
    "speculator_deployment_proven_replicas", Type.GAUGE, _OF_ONE, "Ready pods whose engine is known to have drafted."
)
DEPLOYMENT_INFO = Family(
    "speculator_deployment_info",
    Type.GAUGE,
    (*_OF_ONE, "method", "engine_version", "verifier", "draft", "num_speculative_tokens"),
    "1, with what serves. Absent until something is resolved; a label is empty where there is none.",
)

#: Made as they are counted, by whoever counts.
COUNTED = (QUEUE_DEPTH, QUEUE_ADDS, QUEUE_RETRIES, QUEUE_WAITS, QUEUE_WORKS, REQUESTS, ERRORS)
#: Made of what is known, when it is asked for.
KNOWN = (
    LEADER,
    INFO,
    RESOURCES,
    CONDITION,
    ACTIVE,
    LENGTH,
    RATE,
    RATE_PER_POSITION,
    DRAFTS,
    DRAFT_TOKENS,
    ACCEPTED_TOKENS,
    ACCEPTED_PER_POSITION,
    WANTED,
    READY,
    PROVEN,
    DEPLOYMENT_INFO,
)


@dataclass(frozen=True)
class Drafted:
    """What the ready pods' engines did: ``proven`` counts pods, ``window`` is what status' acceptance is of, and
    ``counted`` is all that this process saw."""

    proven: int
    window: Counters
    counted: Counters


@dataclass(frozen=True)
class Known:
    """What a pass found of a resource: how many pods it wants, and its status as the API server holds it."""

    wanted: int
    status: Mapping[str, Any]


@dataclass(frozen=True)
class Sample:
    family: Family
    labels: Labels
    value: float


def samples(resources: Mapping[Key, tuple[Known, Drafted]]) -> Iterator[Sample]:
    """All that is said of resources, alone and together."""
    says: Counter[Labels] = Counter(
        (condition["type"], condition["status"])
        for known, _ in resources.values()
        for condition in known.status["conditions"]
    )
    for type_ in ConditionType:
        for value in (TRUE, FALSE, UNKNOWN):
            yield Sample(RESOURCES, (type_.value, value), says[type_.value, value])
    for key, (known, drafted) in resources.items():
        yield from _of_one(key, known, drafted)


def _of_one(key: Key, known: Known, drafted: Drafted) -> Iterator[Sample]:
    status = known.status
    for condition in status["conditions"]:
        for value in (TRUE, FALSE, UNKNOWN):
            yield Sample(CONDITION, (*key, condition["type"], value), condition["status"] == value)
        active = _ACTIVE.get(condition["reason"]) if condition["type"] == ConditionType.SPECULATION_ACTIVE else None
        if active is not None:
            yield Sample(ACTIVE, key, active)
    yield Sample(WANTED, key, known.wanted)
    yield Sample(READY, key, status.get("readyReplicas", 0))
    yield Sample(PROVEN, key, drafted.proven)

    resolved = status.get("resolved")
    if not resolved:
        return
    names = (resolved.get("method", ""), resolved.get("engineVersion", ""))
    models = ((resolved.get(role) or {}).get("uri", "") for role in ("verifier", "draft"))
    yield Sample(DEPLOYMENT_INFO, (*key, *names, *models, str(resolved.get("numSpeculativeTokens", ""))), 1)
    if resolved.get("off"):
        return
    counted, window = drafted.counted, drafted.window
    yield Sample(DRAFTS, key, counted.drafts)
    yield Sample(DRAFT_TOKENS, key, counted.draft_tokens)
    yield Sample(ACCEPTED_TOKENS, key, counted.accepted_tokens)
    for position, count in enumerate(counted.per_position):
        yield Sample(ACCEPTED_PER_POSITION, (*key, str(position)), count)
    if window.drafts and window.draft_tokens:
        yield Sample(LENGTH, key, window.length)
        yield Sample(RATE, key, window.rate)
        for position, rate in enumerate(window.rate_per_position):
            yield Sample(RATE_PER_POSITION, (*key, str(position)), rate)


_ACTIVE = {Reason.DRAFTING: 1, Reason.NOT_DRAFTING: 0, Reason.METRICS_UNREACHABLE: 0}
