"""``status``: everything about one resource that somebody who is woken up wants to know, on one page."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from speculator_operator import timestamp
from speculator_operator.api import ConditionType, Reason, Severity
from speculator_operator.core import status as core
from speculator_operator.core.acceptance import Counters
from speculator_operator.core.status import FALSE, TRUE, UNKNOWN
from speculator_operator.pods import pods_of, pods_wanted

from . import connection, engines, explain, terminal
from .engines import Answer

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from speculator_operator.cluster import Cluster

#: Events that are shown, and pods whose own events are looked for.
LAST_EVENTS = 8
_PODS_WITH_EVENTS = 5
#: Seconds between looks that ask engines: each is a process in a pod that serves.
ASK_SECONDS = 15.0
#: In the order in which a person asks.
CONDITIONS = (
    ConditionType.READY,
    ConditionType.STALLED,
    ConditionType.RECONCILING,
    ConditionType.RESOLVED,
    ConditionType.AVAILABLE,
    ConditionType.SPECULATION_ACTIVE,
)

Manifest = dict[str, Any]


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "status",
        help="show how a resource is, and why",
        description="Shows how a resource is, and why: conditions, recipe, models, pods, acceptance, findings, events.",
    )
    parser.add_argument("name", metavar="NAME", type=connection.name, help="the resource")
    parser.add_argument("-w", "--watch", action="store_true", help="go on showing it, until interrupted")
    parser.add_argument("--no-exec", action="store_true", help="don't ask in the pods what they have drafted")
    connection.add_options(
        parser,
        rights=(
            f"get {connection.RESOURCES}",
            "list pods",
            "list events.events.k8s.io (to show events)",
            "get and create pods/exec (to ask pods what they have drafted; without it, status says)",
        ),
    )
    terminal.add_output(parser)
    parser.set_defaults(command=_status)


def _status(arguments: argparse.Namespace) -> int:
    return asyncio.run(_show(arguments))


async def _show(arguments: argparse.Namespace) -> int:
    async with connection.connected(arguments) as (cluster, namespace):

        async def look() -> dict[str, Any]:
            return await gather(cluster, namespace, arguments.name, asks=not arguments.no_exec)

        if arguments.watch:
            every = terminal.REFRESH_SECONDS if arguments.no_exec else ASK_SECONDS
            await terminal.keep_showing(look, _drawn, output=arguments.output, every=every)
        terminal.show(await look(), _drawn, output=arguments.output)
    return 0


def _drawn(document: dict[str, Any], console: Console) -> RenderableType:
    from . import display  # rich takes a moment to import

    return display.status(document, console)


async def gather(cluster: Cluster, namespace: str, name: str, *, asks: bool) -> dict[str, Any]:
    """The document of one resource.

    Raises:
        Refused: there is none of that name.
        OSError: the cluster can't be asked.
    """
    body = await connection.find(cluster, namespace, name)
    pods = await pods_of(cluster, namespace, name)
    seen = [core.pod(pod) for pod in pods]
    speaking = [pod for pod in seen if pod.ready and pod.speculates] if asks else []
    answers, events = await asyncio.gather(
        engines.ask(cluster, namespace, speaking, canary=False), _events(cluster, namespace, body, seen)
    )
    return document(body, pods, answers, events, timestamp.now())


async def _events(cluster: Cluster, namespace: str, body: Manifest, pods: Sequence[core.Pod]) -> list[Manifest] | None:
    """Of the resource, and of pods that aren't ready; None where they may not be read."""
    from speculator_operator.cluster import Forbidden

    uids = [body["metadata"]["uid"], *[pod.uid for pod in pods if not pod.ready][:_PODS_WITH_EVENTS]]
    try:
        found = await asyncio.gather(
            *(cluster.list("Event", namespace, field_selector=f"regarding.uid={uid}") for uid in uids)
        )
    except Forbidden:
        return None
    return [event for events in found for event in events]


def document(
    body: Manifest, pods: Sequence[Manifest], answers: Mapping[str, Answer], events: Sequence[Manifest] | None, now: str
) -> dict[str, Any]:
    """What is known of a resource. ``answers`` are of the pods that were asked; ``events`` None, if they couldn't be.

    Times are RFC 3339. What isn't known is null.
    """
    metadata, spec, status = body["metadata"], body.get("spec") or {}, body.get("status") or {}
    resolved = status.get("resolved") or {}
    conditions = {it["type"]: it for it in status.get("conditions") or []}
    return {
        "at": now,
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "created": metadata.get("creationTimestamp"),
        "current": status.get("observedGeneration", 0) == metadata.get("generation", 0),
        "suspended": bool(spec.get("suspend")),
        "conditions": {type_.value: _condition(conditions.get(type_) or {}) for type_ in CONDITIONS},
        "replicas": {
            "wanted": pods_wanted(body),
            "current": status.get("replicas", 0),
            "ready": status.get("readyReplicas", 0),
            "updated": status.get("updatedReplicas", 0),
        },
        "url": status.get("url"),
        "recipe": _recipe(resolved) if resolved else None,
        "models": {role: resolved.get(role) for role in ("verifier", "draft")},
        "engine": _engine(resolved) if resolved else None,
        "pods": [_pod(pod, answers, conditions, resolved) for pod in sorted(pods, key=_by_age)],
        "acceptance": status.get("acceptance"),
        "findings": list(_findings(conditions, resolved)),
        "events": None if events is None else [_event(event) for event in sorted(events, key=_when)[-LAST_EVENTS:]],
    }


def _condition(condition: Manifest) -> dict[str, Any]:
    return {
        "status": condition.get("status", UNKNOWN),
        "reason": condition.get("reason"),
        "message": condition.get("message", ""),
        "since": condition.get("lastTransitionTime"),
    }


def _recipe(resolved: Manifest) -> dict[str, Any]:
    return {
        "method": resolved.get("method"),
        "tokens": resolved.get("numSpeculativeTokens"),
        "off": resolved.get("off"),
        "verification": resolved.get("verification"),
        "sources": resolved.get("sources") or [],
    }


def _engine(resolved: Manifest) -> dict[str, Any]:
    tensor, pipeline = resolved.get("tensor", 1), resolved.get("pipeline", 1)
    return {
        "image": resolved.get("image"),
        "version": resolved.get("engineVersion"),
        "tensor": tensor,
        "pipeline": pipeline,
        "gpus": tensor * pipeline,
        "memory": (resolved.get("memory") or {}).get("summary"),
        "revision": resolved.get("revision"),
        "command": resolved.get("command") or [],
    }


def _pod(
    manifest: Manifest, answers: Mapping[str, Answer], conditions: Mapping[str, Manifest], resolved: Manifest
) -> dict[str, Any]:
    pod, status = core.pod(manifest), manifest.get("status") or {}
    containers = status.get("containerStatuses") or []
    return {
        "name": pod.name,
        "phase": _phase(manifest, containers),
        "ready": pod.ready,
        "restarts": sum(container.get("restartCount", 0) for container in containers),
        "node": (manifest.get("spec") or {}).get("nodeName"),
        "created": manifest["metadata"].get("creationTimestamp"),
        "revision": pod.revision,
        "current": (resolved.get("revision") or "").endswith(f"-{pod.revision}"),
        "proof": _proof(pod, answers.get(pod.name), conditions),
        "trouble": pod.trouble,
    }


def _phase(manifest: Manifest, containers: Sequence[Manifest]) -> str:
    """As ``kubectl get pods`` has it under STATUS: what a container waits for says more than the pod's phase."""
    if manifest["metadata"].get("deletionTimestamp"):
        return "Terminating"
    for container in containers:
        state = container.get("state") or {}
        for kind in ("waiting", "terminated"):
            if reason := (state.get(kind) or {}).get("reason"):
                return str(reason)
    return str((manifest.get("status") or {}).get("phase") or "Unknown")


def _proof(pod: core.Pod, answer: Answer | None, conditions: Mapping[str, Manifest]) -> dict[str, Any]:
    """Whether a pod drafts. ``source`` is who says so: its engine, or the resource's status; null where nobody does."""
    proof: dict[str, Any] = {
        "drafting": None,
        "source": None,
        "drafts": None,
        "draftTokens": None,
        "acceptedTokens": None,
        "why": "",
    }
    if not pod.ready:
        return proof
    if not pod.speculates:
        return {**proof, "drafting": False, "why": "it runs without speculation"}
    active = conditions.get(ConditionType.SPECULATION_ACTIVE) or {}
    if answer and answer.reached:
        counted = answer.after or Counters()
        return {
            "drafting": counted.drafts > 0,
            "source": "engine",
            "drafts": counted.drafts,
            "draftTokens": counted.draft_tokens,
            "acceptedTokens": counted.accepted_tokens,
            "why": answer.problem,
        }
    why = answer.problem if answer else ""
    if active.get("status") == TRUE:
        return {**proof, "drafting": True, "source": "status", "why": why}
    return {**proof, "why": why or active.get("message", "")}


def _findings(conditions: Mapping[str, Manifest], resolved: Manifest) -> Iterator[dict[str, Any]]:
    """What is wrong, the worst first, each with what to do: of conditions, that is what their reasons say."""
    stalled = conditions.get(ConditionType.STALLED) or {}
    reconciling = conditions.get(ConditionType.RECONCILING) or {}
    active = conditions.get(ConditionType.SPECULATION_ACTIVE) or {}
    if stalled.get("status") == TRUE:
        yield _finding(Severity.ERROR, stalled)
    elif reconciling.get("status") == TRUE and reconciling.get("reason") not in (Reason.PROGRESSING, Reason.SCALING):
        yield _finding(Severity.WARNING, reconciling)
    if active.get("status") == FALSE and active.get("reason") == Reason.NOT_DRAFTING:
        yield _finding(Severity.ERROR, active)
    elif active.get("reason") == Reason.METRICS_UNREACHABLE:
        yield _finding(Severity.WARNING, active)
    for warning in resolved.get("warnings") or []:
        yield {key: warning.get(key) for key in ("severity", "reason", "field", "evidence", "remedy")}


def _finding(severity: Severity, condition: Manifest) -> dict[str, Any]:
    reason = condition.get("reason", "")
    return {
        "severity": severity.value,
        "reason": reason,
        "field": None,
        "evidence": condition.get("message", ""),
        "remedy": explain.remedy(reason),
    }


def _event(event: Manifest) -> dict[str, Any]:
    regarding = event.get("regarding") or {}
    return {
        "at": _when(event) or None,
        "type": event.get("type"),
        "reason": event.get("reason"),
        "object": f"{regarding.get('kind')}/{regarding.get('name')}",
        "note": event.get("note", ""),
    }


def _when(event: Manifest) -> str:
    """When it last happened; the older events of the kubelet have it elsewhere than ours."""
    series = (event.get("series") or {}).get("lastObservedTime")
    return str(series or event.get("deprecatedLastTimestamp") or event.get("eventTime") or "")


def _by_age(pod: Manifest) -> tuple[str, str]:
    return pod["metadata"].get("creationTimestamp") or "", pod["metadata"]["name"]
