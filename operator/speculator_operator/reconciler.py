"""Gather, decide, act: one pass over one resource.

A pass depends on what the resource and its children are now, never on what woke it. It writes in a fixed order, the
ControllerRevision (the pin) first, then the Service, the Deployment, the status, and events last. So a pass that is cut
short anywhere leaves something that the next one ends the same way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from . import api
from .api import Identity, Model, Resolved, SpeculatorDeployment, SpeculatorDeploymentSpec
from .cluster import Cluster
from .core import plan, render, status
from .core.checkpoint import Snapshot
from .core.render import Manifest
from .core.status import Facts
from .drafting import Drafting
from .errors import OperatorError, Refused, Waiting
from .resolution import Read, resolve
from .settings import Settings

Key = tuple[str, str]
"""A resource's namespace and name."""

#: Earlier ControllerRevisions that are kept, as what a rollback goes to.
HISTORY = 10

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Failure:
    """A resolution that failed, so that not every event of a child has the models read again."""

    revision: str
    problem: OperatorError
    until: float


class Reconciler:
    """Passes over resources.

    ``pods`` gives the names of a resource's pods as the watch last said; each is read before it is believed, and taken
    out of the set if it is gone. ``clock`` is monotonic, in seconds.
    """

    def __init__(
        self,
        *,
        cluster: Cluster,
        read: Read,
        drafting: Drafting,
        pods: Callable[[Key], set[str]],
        settings: Settings,
        clock: Callable[[], float],
    ) -> None:
        self._cluster = cluster
        self._read = read
        self._drafting = drafting
        self._pods = pods
        self._settings = settings
        self._clock = clock
        self._failures: dict[Key, _Failure] = {}

    async def reconcile(self, key: Key) -> float | None:
        """Brings one resource's objects and status to where they should be.

        Returns:
            Seconds after which to look again whatever happens, or None.
        """
        body = await self._cluster.get(api.KIND, *key)
        if body is None or body["metadata"].get("deletionTimestamp"):
            self._failures.pop(key, None)
            self._drafting.forget(key)
            return None
        deployment, service, pods = await self._observe(key)

        resource, problem = _parsed(body)
        pinned: Manifest | None = None
        serving: Manifest | None = None
        if problem is None:
            problem = plan.unowned(resource, (deployment, service))
            if problem is None:
                try:
                    pinned = await self._pin(resource, deployment, body.get("status") or {})
                except OperatorError as error:
                    problem = error
                serving = pinned or await self._serving(resource, deployment)
        if serving:
            try:
                deployment = await self._apply(resource, serving, deployment, service)
            except Refused as error:
                problem = problem or error

        shown = pinned or serving
        resolved = _resolved(shown) if shown else None
        before = body.get("status") or {}
        pods = await self._drafting.look(key, pods)
        facts = Facts(
            current=pinned is not None,
            resolved=resolved,
            revision=shown["metadata"]["name"] if shown else None,
            problem=problem,
            deployment=deployment,
            pods=pods,
            acceptance=self._drafting.acceptance(key, before.get("acceptance")),
        )
        await self._say(resource, facts, body)
        return self._next(key, problem)

    async def _observe(self, key: Key) -> tuple[Manifest | None, Manifest | None, tuple[status.Pod, ...]]:
        namespace, name = key
        names = self._pods(key)
        seen = sorted(names)
        deployment, service, *found = await asyncio.gather(
            self._cluster.get("Deployment", namespace, name),
            self._cluster.get("Service", namespace, name),
            *(self._cluster.get("Pod", namespace, pod) for pod in seen),
        )
        pods = []
        for pod_name, pod in zip(seen, found, strict=True):
            if pod and (pod["metadata"].get("labels") or {}).get(api.NAME_LABEL) == name:
                pods.append(status.pod(pod))
            else:  # the watch missed that it went, or it was given to another resource
                names.discard(pod_name)
        return deployment, service, tuple(pods)

    async def _pin(
        self, resource: SpeculatorDeployment, deployment: Manifest | None, before: Mapping[str, Any]
    ) -> Manifest:
        """The ControllerRevision of the resource's current inputs, made if there is none."""
        name = render.revision_name(resource)
        live = await self._cluster.get("ControllerRevision", resource.namespace, name)
        if live is None:
            resolved = await self._resolve(resource, name, before)
            template = render.pod_template(resource, resolved, self._settings)
            made = await self._cluster.apply(render.controller_revision(resource, resolved, template))
            log.info("%s/%s: pinned %s: %s", resource.namespace, resource.name, name, resolved.summary())
            if deployment:  # without one, this is the first
                await self._prune(resource, deployment, keep=name)
            return made
        if conflict := plan.unowned(resource, (live,)):
            raise conflict
        stored = render.controller_revision(resource, _resolved(live), live["data"]["template"])
        desired = {**stored, "data": live["data"], "revision": live["revision"]}
        return await self._cluster.apply(desired) if plan.differs(desired, live) else live

    async def _resolve(self, resource: SpeculatorDeployment, name: str, before: Mapping[str, Any]) -> Resolved:
        key = resource.namespace, resource.name
        failure = self._failures.get(key)
        if failure and failure.revision == name and self._clock() < failure.until:
            raise failure.problem
        try:
            resolved = await resolve(resource, self._settings, _pinned_read(self._read, name, before))
        except OperatorError as problem:
            wait = problem.retry_after if isinstance(problem, Waiting) else self._settings.reread_interval
            self._failures[key] = _Failure(name, problem, self._clock() + wait)
            raise
        self._failures.pop(key, None)
        return resolved

    async def _serving(self, resource: SpeculatorDeployment, deployment: Manifest | None) -> Manifest | None:
        """The ControllerRevision that serves while the current inputs can't be resolved, if there is one."""
        if deployment:
            name = _revision_served(resource, deployment)
            live = await self._cluster.get("ControllerRevision", resource.namespace, name)
            if live and plan.ownership(resource, live) is plan.Ownership.OURS:
                return live
        history = await self._history(resource)
        return history[-1] if history else None

    async def _history(self, resource: SpeculatorDeployment) -> list[Manifest]:
        """The resource's ControllerRevisions, the oldest first."""
        selector = f"{api.NAME_LABEL}={resource.name}"
        found = await self._cluster.list("ControllerRevision", resource.namespace, selector)
        ours = (item for item in found if plan.ownership(resource, item) is plan.Ownership.OURS)
        return sorted(ours, key=lambda item: (item["metadata"]["creationTimestamp"], item["revision"]))

    async def _prune(self, resource: SpeculatorDeployment, deployment: Manifest, keep: str) -> None:
        history = await self._history(resource)
        serving = _revision_served(resource, deployment)
        for item in history[:-HISTORY]:
            metadata = item["metadata"]
            if metadata["name"] not in (keep, serving):
                await self._cluster.delete(
                    "ControllerRevision", resource.namespace, metadata["name"], uid=metadata["uid"]
                )

    async def _apply(
        self,
        resource: SpeculatorDeployment,
        revision: Manifest,
        deployment: Manifest | None,
        service: Manifest | None,
    ) -> Manifest:
        wanted = render.service(resource, _resolved(revision).port)
        if plan.differs(wanted, service):
            await self._cluster.apply(wanted)
        wanted = render.deployment(resource, revision["data"]["template"])
        if deployment is None or plan.differs(wanted, deployment):
            deployment = await self._cluster.apply(wanted)
        return deployment

    async def _say(self, resource: SpeculatorDeployment, facts: Facts, body: Manifest) -> None:
        before = body.get("status") or {}
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        after = status.status(resource, facts, now, before)
        if after == before:
            return
        about = {
            "apiVersion": api.API_VERSION,
            "kind": api.KIND,
            "metadata": {"name": resource.name, "namespace": resource.namespace, "uid": resource.uid},
        }
        await self._cluster.apply_status({**about, "status": after}, read=body)
        for event in status.events(before, after):
            await self._cluster.emit(about, type_=event.type, reason=event.reason, note=event.note)

    def _next(self, key: Key, problem: OperatorError | None) -> float | None:
        if problem is None:
            return None
        failure = self._failures.get(key)
        if failure and failure.problem is problem:
            return max(failure.until - self._clock(), 1.0)
        return problem.retry_after if isinstance(problem, Waiting) else self._settings.reread_interval


def _parsed(body: Manifest) -> tuple[SpeculatorDeployment, OperatorError | None]:
    """The resource, or as much of one as its status needs, with what is wrong."""
    try:
        return SpeculatorDeployment.from_object(body), None
    except Refused as problem:
        metadata = body["metadata"]
        resource = SpeculatorDeployment.model_construct(
            name=metadata["name"],
            namespace=metadata["namespace"],
            uid=metadata["uid"],
            generation=metadata["generation"],
            refresh="",
            spec=SpeculatorDeploymentSpec.model_construct(model=Model.model_construct(uri="")),
        )
        return resource, problem


def _revision_served(resource: SpeculatorDeployment, deployment: Manifest) -> str:
    """The name of the ControllerRevision that the Deployment's template was taken from."""
    labels = deployment["spec"]["template"]["metadata"].get("labels") or {}
    return f"{resource.name}-{labels.get(api.REVISION_LABEL)}"


def _resolved(revision: Manifest) -> Resolved:
    return Resolved.model_validate(revision["data"]["resolved"])


def _pinned_read(read: Read, name: str, before: Mapping[str, Any]) -> Read:
    """A read that stays at the commits in status, if they are of this revision: its ControllerRevision was deleted by
    hand, and a branch that has moved since must not roll pods."""
    resolved = before.get("resolved") or {}
    if resolved.get("revision") != name:
        return read
    known = [Identity.model_validate(resolved[role]) for role in ("model", "draft", "verifier") if role in resolved]
    commits = {identity.uri: identity.revision for identity in known}

    async def at_known_commit(repository: str, revision: str | None) -> Snapshot:
        return await read(repository, commits.get(repository, revision))

    return at_known_commit
