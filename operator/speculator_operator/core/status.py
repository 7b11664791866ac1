"""(resource, facts, now) -> status, and what of a change of it is worth an event.

Conditions follow kstatus: ``Reconciling`` and ``Stalled`` are always there, and ``Ready`` is true when neither is.
The status that was is only looked at for transition times, and for what was told of already.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from speculator_operator import api
from speculator_operator.api import ConditionType, Finding, Reason, Resolved
from speculator_operator.errors import OperatorError, Refused

from . import render
from .words import redacted

#: The API server takes 32768 characters in a condition's message; a person reads one line.
MESSAGE_LENGTH = 1024

#: As kubelet says it (pkg/kubelet/kubelet_pods.go). Other words of the same error pass by themselves, or are not of a
#: Secret.
_SECRET_MISSING = re.compile(r"CreateContainerConfigError: (secret \".*\" not found|couldn't find key .* in Secret )")

TRUE, FALSE, UNKNOWN = "True", "False", "Unknown"


@dataclass(frozen=True)
class Pod:
    """What one pod of the resource says. ``speculates`` is whether its command has a speculative config.

    ``drafts`` counts the drafts that its engine has verified (0 where it runs without speculation), None where its
    metrics can't be read. ``trouble`` is why they can't, or why the pod isn't ready, in its own or the kubelet's words.
    """

    name: str
    uid: str
    address: str
    port: int
    revision: str
    speculates: bool
    ready: bool
    trouble: str
    drafts: int | None = None


@dataclass(frozen=True)
class Facts:
    """What a pass has gathered. ``problem`` is what kept it from resolving or applying the current inputs, and
    ``hindrance`` what kept what serves from being as it is wanted meanwhile.

    ``resolved`` and ``revision`` (a ControllerRevision's name) are of the current inputs if those are applied,
    otherwise of what serves; ``current`` says which. While the current inputs can't be applied, or not yet, ``pinned``
    is what they are resolved to: what serves goes on being told of, and where nothing does, there is no ``revision``
    yet.
    """

    current: bool
    resolved: Resolved | None
    revision: str | None
    problem: OperatorError | None
    deployment: dict[str, Any] | None
    pods: tuple[Pod, ...]
    acceptance: dict[str, Any] | None
    pinned: Resolved | None = None
    hindrance: Refused | None = None


@dataclass(frozen=True)
class Event:
    type: str
    reason: str
    note: str


def pod(manifest: dict[str, Any]) -> Pod:
    """A pod's part in its resource's status."""
    metadata, status = manifest["metadata"], manifest.get("status") or {}
    conditions = {condition["type"]: condition for condition in status.get("conditions") or []}
    leaving = bool(metadata.get("deletionTimestamp"))
    ready = not leaving and (conditions.get("Ready") or {}).get("status") == TRUE
    return Pod(
        name=metadata["name"],
        uid=metadata["uid"],
        address=status.get("podIP") or "",
        port=_port(manifest),
        revision=(metadata.get("labels") or {}).get(api.REVISION_LABEL, ""),
        speculates=_speculates(manifest),
        ready=ready,
        trouble="" if ready or leaving else _trouble(status, conditions),
    )


def secret_missing(trouble: str) -> bool:
    """Whether a pod's trouble is a Secret that isn't there, or lacks the key."""
    return bool(_SECRET_MISSING.match(trouble))


def status(resource: api.SpeculatorDeployment, facts: Facts, now: str, before: dict[str, Any]) -> dict[str, Any]:
    """The whole status. ``now`` is RFC 3339; ``before`` is the status that the resource has.

    Returns:
        The status as the API server would hold it: no key is null.
    """
    live = (facts.deployment or {}).get("status") or {}
    content: dict[str, Any] = {
        "observedGeneration": resource.generation,
        "replicas": live.get("replicas", 0),
        "readyReplicas": live.get("readyReplicas", 0),
        "updatedReplicas": live.get("updatedReplicas", 0),
        "selector": ",".join(f"{key}={value}" for key, value in render.selector(resource.name).items()),
    }
    if facts.resolved:
        content["url"] = render.url(resource, facts.resolved.port)
        content["resolved"] = {
            **facts.resolved.model_dump(mode="json", by_alias=True, exclude_none=True),
            **({"revision": facts.revision} if facts.revision else {}),
        }
    if facts.acceptance:
        content["acceptance"] = facts.acceptance
    content["conditions"] = _dated(list(conditions(resource, facts)), now, before.get("conditions") or [])
    return content


def conditions(resource: api.SpeculatorDeployment, facts: Facts) -> Iterator[dict[str, Any]]:
    """The six conditions, without their times."""

    def condition(type_: ConditionType, value: str, reason: str, message: str) -> dict[str, Any]:
        return _condition(type_, value, reason, message, resource.generation)

    stalled, reconciling = _stalled(facts), _reconciling(resource, facts)
    if stalled:
        yield condition(ConditionType.READY, FALSE, *stalled)
        yield condition(ConditionType.RECONCILING, FALSE, *stalled)
        yield condition(ConditionType.STALLED, TRUE, *stalled)
    elif reconciling:
        yield condition(ConditionType.READY, FALSE, *reconciling)
        yield condition(ConditionType.RECONCILING, TRUE, *reconciling)
        yield condition(ConditionType.STALLED, FALSE, *reconciling)
    else:
        done = _done(resource)
        yield condition(ConditionType.READY, TRUE, *done)
        yield condition(ConditionType.RECONCILING, FALSE, *done)
        yield condition(ConditionType.STALLED, FALSE, *done)

    if facts.current and facts.resolved:
        warned = _count(len(facts.resolved.warnings), "warning")
        more = f". {warned}: see status.resolved.warnings" if facts.resolved.warnings else ""
        yield condition(ConditionType.RESOLVED, TRUE, Reason.RESOLVED, facts.resolved.summary() + more)
    elif facts.pinned:
        yield condition(ConditionType.RESOLVED, TRUE, Reason.RESOLVED, facts.pinned.summary())
    elif isinstance(facts.problem, Refused):
        yield condition(ConditionType.RESOLVED, FALSE, facts.problem.reason, facts.problem.message)
    else:
        why = str(facts.problem) if facts.problem else "The inputs have not been resolved yet"
        yield condition(ConditionType.RESOLVED, UNKNOWN, Reason.RESOLVING, why)

    ready = [pod for pod in facts.pods if pod.ready]
    if ready:
        yield condition(ConditionType.AVAILABLE, TRUE, Reason.SERVING, f"{_count(len(ready), 'pod')} ready")
    else:
        yield condition(ConditionType.AVAILABLE, FALSE, Reason.NO_READY_PODS, "No pod is ready")
    yield condition(ConditionType.SPECULATION_ACTIVE, *_speculation(facts, ready))


def failing(generation: int, said: str, now: str, before: dict[str, Any]) -> dict[str, Any]:
    """The status of a resource whose passes don't come to their end: what was known before, and that it may not hold.

    ``said`` is what they fail with.
    """
    why = f"The operator can't look after it, and goes on trying: {said}"
    was = before.get("conditions") or []
    old = {condition["type"]: condition for condition in was}
    values = {
        ConditionType.READY: FALSE,
        ConditionType.RECONCILING: TRUE,
        ConditionType.STALLED: FALSE,
        ConditionType.RESOLVED: UNKNOWN,
        ConditionType.AVAILABLE: UNKNOWN,
        ConditionType.SPECULATION_ACTIVE: UNKNOWN,
    }
    # What was resolved is pinned, and what served no more doesn't serve because nobody looks.
    stays = ((ConditionType.RESOLVED, TRUE), (ConditionType.AVAILABLE, FALSE))
    conditions = [
        old[type_]
        if type_ in old and (type_, old[type_]["status"]) in stays
        else _condition(type_, value, Reason.RECONCILE_FAILED, why, generation)
        for type_, value in values.items()
    ]
    return {**before, "observedGeneration": generation, "conditions": _dated(conditions, now, was)}


def events(before: dict[str, Any], after: dict[str, Any]) -> Iterator[Event]:
    """What a person would want to be told of a change of status: turns, not every step."""
    old = {condition["type"]: condition for condition in before.get("conditions") or []}
    for condition in after["conditions"]:
        type_, value, reason = condition["type"], condition["status"], condition["reason"]
        was = old.get(type_) or {}
        if (was.get("status"), was.get("reason")) == (value, reason):
            continue
        failing = type_ == ConditionType.READY and reason == Reason.RECONCILE_FAILED
        if failing or (type_, value) == (ConditionType.STALLED, TRUE) or reason == Reason.NOT_DRAFTING:
            yield Event("Warning", reason, condition["message"])
        elif type_ == ConditionType.READY and was.get("reason") == Reason.SCALING:
            continue
        elif value == TRUE and type_ in (ConditionType.READY, ConditionType.RESOLVED, ConditionType.SPECULATION_ACTIVE):
            yield Event("Normal", reason, condition["message"])
    was, now = before.get("resolved") or {}, after.get("resolved") or {}
    told = was.get("warnings") or [] if was.get("revision") in (None, now.get("revision")) else []
    for warning in now.get("warnings") or []:
        if warning not in told:
            yield Event("Warning", warning["reason"], Finding.model_validate(warning).message)


def complete(deployment: dict[str, Any]) -> bool:
    """Whether a Deployment is rolled out and every replica available, as ``kubectl rollout status`` sees it."""
    live, wanted = deployment.get("status") or {}, deployment["spec"]["replicas"]
    return bool(
        _observed(deployment)
        and live.get("updatedReplicas", 0) == wanted
        and live.get("replicas", 0) == wanted
        and live.get("availableReplicas", 0) == wanted
    )


def _condition(type_: ConditionType, value: str, reason: str, message: str, generation: int) -> dict[str, Any]:
    return {
        "type": type_.value,
        "status": value,
        "reason": reason,
        "message": message[:MESSAGE_LENGTH],
        "observedGeneration": generation,
    }


def _stalled(facts: Facts) -> tuple[str, str] | None:
    if isinstance(facts.problem, Refused):
        return facts.problem.reason, _with_hindrance(facts.problem, facts)
    if not facts.problem and (waiting := _waiting_for_secret(facts)):
        remedy = "Make it, or correct its name or key. The pod starts by itself then"
        return Reason.SECRET_UNUSABLE, f"Pod {waiting.name} can't have its Secret ({waiting.trouble}). {remedy}"
    progressing = _deployment_condition(facts.deployment, "Progressing")
    if not facts.problem and _observed(facts.deployment) and progressing.get("reason") == "ProgressDeadlineExceeded":
        words = _troubles(facts) or progressing.get("message", "")
        return Reason.NOT_PROVEN, f"New pods did not become ready within the progress deadline. {words}"
    return None


def _reconciling(resource: api.SpeculatorDeployment, facts: Facts) -> tuple[str, str] | None:
    if facts.problem:
        return facts.problem.reason, _with_hindrance(facts.problem, facts)
    if facts.deployment is None:
        return Reason.PROGRESSING, "The Deployment has not been seen yet"
    if complete(facts.deployment):
        return None
    live = facts.deployment.get("status") or {}
    wanted = resource.spec.pods_wanted
    updated, available = live.get("updatedReplicas", 0), live.get("availableReplicas", 0)
    said = f"{available} of {_count(wanted, 'pod')} available, {updated} of the current revision. {_waits_for(facts)}"
    progressing = _deployment_condition(facts.deployment, "Progressing").get("reason")
    rolled_out = _observed(facts.deployment) and progressing == "NewReplicaSetAvailable"
    scaling = rolled_out and updated == live.get("replicas", 0)
    return (Reason.SCALING if scaling else Reason.PROGRESSING), said.rstrip()


def _with_hindrance(problem: OperatorError, facts: Facts) -> str:
    if not facts.hindrance:
        return problem.message
    first = problem.message[: MESSAGE_LENGTH // 2].rstrip(".")
    return f"{first}. Meanwhile, what serves can't be brought to the spec: {facts.hindrance.message}"


def _waits_for(facts: Facts) -> str:
    """What a rollout waits for, as far as anything says so."""
    if facts.deployment and facts.deployment["spec"].get("paused"):
        return "The Deployment is paused; resume it with kubectl rollout resume"
    failure = _deployment_condition(facts.deployment, "ReplicaFailure")
    if failure.get("status") == TRUE and _observed(facts.deployment):
        return str(failure.get("message", ""))
    return _troubles(facts)


def _done(resource: api.SpeculatorDeployment) -> tuple[str, str]:
    if resource.spec.suspend:
        return Reason.SUSPENDED, "No pod runs: spec.suspend is true"
    return Reason.RECONCILED, f"{_count(resource.spec.replicas, 'pod')} of the current revision available"


def _speculation(facts: Facts, ready: list[Pod]) -> tuple[str, str, str]:
    plain = [pod for pod in ready if not pod.speculates]
    idle = [pod for pod in ready if pod.drafts == 0]
    drafting = [pod for pod in ready if pod.drafts]
    if facts.resolved and facts.resolved.off and (plain or not ready):
        return FALSE, facts.resolved.off, facts.resolved.summary()
    if not ready:
        return UNKNOWN, Reason.NO_READY_PODS, "No pod is ready, so nothing can be said of what it does"
    if plain:
        said = f"{len(plain)} of {_count(len(ready), 'ready pod')} runs without speculation: {plain[0].name}"
        return FALSE, Reason.NOT_DRAFTING, said
    if idle and facts.resolved and facts.resolved.verification == api.Verification.OFF:
        said = f"{len(idle)} of {_count(len(ready), 'ready pod')} drafted nothing yet, and none was asked to"
        return UNKNOWN, Reason.UNVERIFIED, said
    if idle:
        names = ", ".join(pod.name for pod in idle[:3])
        return FALSE, Reason.NOT_DRAFTING, f"{len(idle)} of {_count(len(ready), 'ready pod')} drafted nothing: {names}"
    if len(drafting) < len(ready):
        silent = [pod for pod in ready if pod.drafts is None]
        said = f"{len(silent)} of {_count(len(ready), 'ready pod')} can't be asked. Pod {silent[0].name}: "
        return UNKNOWN, Reason.METRICS_UNREACHABLE, said + silent[0].trouble
    return TRUE, Reason.DRAFTING, f"The engine of every ready pod ({len(ready)}) has verified drafts"


def _speculates(manifest: dict[str, Any]) -> bool:
    containers = (manifest.get("spec") or {}).get("containers") or []
    args = [arg for container in containers for arg in container.get("args") or []]
    return any(arg.startswith("--speculative-config=") for arg in args)


def _port(manifest: dict[str, Any]) -> int:
    """The engine's, which is the pod's own: another revision may have another. 0 where the pod has none of ours."""
    containers = (manifest.get("spec") or {}).get("containers") or []
    ports = [port for container in containers for port in container.get("ports") or [] if port.get("name") == "http"]
    return int(ports[0]["containerPort"]) if ports else 0


def _trouble(status: dict[str, Any], conditions: dict[str, Any]) -> str:
    """Why a pod isn't ready: how its container last ended, what it waits for, or why no node takes it."""
    fetching = [it for it in status.get("initContainerStatuses") or [] if not it.get("ready")]
    for container in [*fetching, *(status.get("containerStatuses") or [])]:
        ended = (container.get("lastState") or {}).get("terminated") or (container.get("state") or {}).get("terminated")
        if ended:
            words = redacted((ended.get("message") or ended.get("reason") or "").strip())
            return f"the container ended with code {ended.get('exitCode')}: {words[-600:]}"
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            return f"{waiting['reason']}: {waiting.get('message', '')}"
    scheduled = conditions.get("PodScheduled") or {}
    return str(scheduled.get("message", "")) if scheduled.get("status") == FALSE else ""


def _troubles(facts: Facts) -> str:
    """The first pod in trouble speaks for all: the newest revision's, if one of them is."""
    pods = sorted(
        (pod for pod in facts.pods if pod.trouble and not pod.ready),
        key=lambda pod: (_is_older(pod, facts), pod.name),
    )
    return f"Pod {pods[0].name}: {pods[0].trouble}" if pods else ""


def _waiting_for_secret(facts: Facts) -> Pod | None:
    """The first pod of the current revision that does."""
    pods = (pod for pod in facts.pods if not _is_older(pod, facts) and not pod.ready and secret_missing(pod.trouble))
    return min(pods, key=lambda pod: pod.name, default=None)


def _is_older(pod: Pod, facts: Facts) -> bool:
    return not (facts.revision or "").endswith(f"-{pod.revision}")


def _observed(deployment: dict[str, Any] | None) -> bool:
    """Whether a Deployment's status is of its current generation, rather than of what was wanted before."""
    live = (deployment or {}).get("status") or {}
    return bool(deployment and live.get("observedGeneration", 0) >= deployment["metadata"]["generation"])


def _deployment_condition(deployment: dict[str, Any] | None, type_: str) -> dict[str, Any]:
    found = ((deployment or {}).get("status") or {}).get("conditions") or []
    return next((condition for condition in found if condition["type"] == type_), {})


def _dated(conditions: list[dict[str, Any]], now: str, before: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The transition time moves with the status of a condition, not with its words."""
    old = {condition["type"]: condition for condition in before}
    for condition in conditions:
        was = old.get(condition["type"])
        same = was is not None and was["status"] == condition["status"]
        condition["lastTransitionTime"] = was["lastTransitionTime"] if was and same else now
    return conditions


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
