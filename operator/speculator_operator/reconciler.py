"""Gather, decide, act: one pass over one resource.

A pass depends on what the resource and its children are now, never on what woke it. It writes in a fixed order, the
ControllerRevision (the pin) first, then the Jobs that fetch what it names, and once these are complete the Service, the
NetworkPolicy, the Deployment, the status, and events last. So a pass that is cut short anywhere leaves something that
the next one ends the same way, and no pod without its policy or its models.

The status that was is believed where nothing else is left to say it: which revision served, and had its models fetched,
when the Deployment was deleted by hand, and what commits it was of when its ControllerRevision was.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from . import api, metrics, timestamp
from .api import Identity, Model, Reason, Resolved, SpeculatorDeployment, SpeculatorDeploymentSpec
from .cluster import Cluster, ClusterError, NotLeading
from .core import metrics as families
from .core import network_policy, plan, render, status
from .core.checkpoint import Snapshot
from .core.metrics import Drafted, Known
from .core.render import Manifest
from .core.status import Facts
from .drafting import Drafting
from .errors import OperatorError, Refused
from .failures import Failures
from .fetches import Fetches
from .pods import pods_named, pods_of, pods_wanted
from .reference import Kind, Reference
from .resolution import Read, resolve
from .resolutions import Resolutions
from .settings import Settings
from .sources import Sources
from .workqueue import Key

#: Earlier ControllerRevisions that are kept, as what a rollback goes to.
HISTORY = 10

#: Resources that are made within this time share what the hub says of the branches that they name.
SHARED_SECONDS = 60.0
#: Passes that fail for so long are told of in status: what is shorter may be a restart of the API server.
SAID_AFTER_SECONDS = 10.0
#: They may fail with other words each time, of which not all are worth a write.
SAID_AGAIN_SECONDS = 60.0

_ERRORS = metrics.counter(families.ERRORS)

#: What goes on by itself: it is no failure, and is looked at in each pass.
_UNDER_WAY = (Reason.RESOLVING, Reason.FETCHING)

log = logging.getLogger(__name__)


@dataclass
class _Observed:
    """A resource's objects, as they are: what a pass writes of them is kept here. None where there is none."""

    deployment: Manifest | None
    service: Manifest | None
    policy: Manifest | None
    pods: tuple[status.Pod, ...]


@dataclass(frozen=True)
class _Outcome:
    """What a pass has come to. ``applied`` is the ControllerRevision that the objects are of, ``pinned`` that of the
    current inputs, where it can't be applied, or not yet.

    ``problem`` is what keeps the current inputs from being applied: what is applied then is what served before.
    ``hindrance`` is what keeps that from being as it is wanted meanwhile.
    """

    applied: Manifest | None = None
    pinned: Manifest | None = None
    problem: OperatorError | None = None
    hindrance: Refused | None = None


class Reconciler:
    """Passes over resources.

    ``pods`` gives the names of a resource's pods as the watch last said; each is read before it is believed, and taken
    out of the set if it is gone. ``changed`` is called with a key that wants another pass, and ``gone`` with one that
    has no resource. ``clock`` is monotonic, in seconds.
    """

    def __init__(
        self,
        *,
        cluster: Cluster,
        sources: Sources,
        fetches: Fetches,
        drafting: Drafting,
        pods: Callable[[Key], set[str]],
        changed: Callable[[Key], None],
        gone: Callable[[Key], None],
        settings: Settings,
        clock: Callable[[], float],
    ) -> None:
        self._cluster = cluster
        self._sources = sources
        self._fetches = fetches
        self._drafting = drafting
        self._pods = pods
        self._gone = gone
        self._settings = settings
        self._clock = clock
        self._failures = Failures(reread=settings.reread_interval, clock=clock)
        self._resolutions = Resolutions(changed, look_again=settings.hub_timeout)
        self._failing: dict[Key, float] = {}
        """When it is to be said of a resource that its passes fail."""
        self._known: dict[Key, Known] = {}

    def known(self) -> dict[Key, tuple[Known, Drafted]]:
        """What is known now of each resource that had a pass, for metrics."""
        return {key: (known, self._drafting.drafted(key)) for key, known in self._known.items()}

    async def reconcile(self, key: Key) -> float | None:
        """Brings one resource's objects and status to where they should be.

        Returns:
            Seconds after which to look again whatever happens, or None.
        """
        try:
            problem = await self._pass(key)
        except Exception as error:
            _ERRORS.labels(families.ERROR).inc()
            await self._say_failing(key, error)
            raise
        self._failing.pop(key, None)
        if problem is None:
            return None
        if problem.reason not in _UNDER_WAY:
            _ERRORS.labels(problem.reason).inc()
        return self._failures.wait(key, problem)

    async def _pass(self, key: Key) -> OperatorError | None:
        """One pass. Returns what kept it from applying the current inputs, if anything did."""
        body = await self._cluster.get(api.KIND, *key)
        if body is None or body["metadata"].get("deletionTimestamp"):
            self._forget(key)
            return None
        before = body.get("status") or {}
        observed = await self._observe(key)
        resource, problem = _parsed(body)
        policy = observed.policy if self._settings.network_policies else None  # without one, its name is anybody's
        conflict = plan.unowned(resource, (observed.deployment, observed.service, policy))
        if problem := problem or conflict:
            await self._abandon(resource)
            await self._fetches.forget(resource)
            outcome = _Outcome(await self._serving(resource, observed.deployment, before), problem=problem)
        else:
            outcome = await self._act(resource, observed, before)

        revision = outcome.applied["metadata"]["name"] if outcome.applied else None
        resolved = _resolved(shown) if (shown := outcome.applied or outcome.pinned) else None
        pods = await self._drafting.look(key, observed.pods)
        # What was accepted of another revision's drafts says nothing of this one's.
        same = _revision_shown(before) == revision
        speculates = resolved is not None and resolved.off is None
        told = before.get("acceptance") if same and speculates else None
        acceptance = self._drafting.acceptance(key, (revision or "").removeprefix(f"{resource.name}-"), told)
        facts = Facts(
            current=shown is not None and (outcome.problem is None or shown is outcome.pinned),
            pinned=_resolved(outcome.pinned) if outcome.pinned else None,
            resolved=resolved,
            revision=revision,
            problem=outcome.problem,
            hindrance=outcome.hindrance,
            deployment=None if conflict else observed.deployment,
            pods=pods,
            acceptance=acceptance if speculates else None,
        )
        self._known[key] = Known(resource.spec.pods_wanted, await self._say(resource, facts, body))
        return outcome.problem

    async def _act(self, resource: SpeculatorDeployment, observed: _Observed, before: Mapping[str, Any]) -> _Outcome:
        """Applies the current inputs, and for as long as that can't be done, what serves."""
        pinned: Manifest | None = None
        try:
            pinned = await self._pinned(resource, observed, before)
            await self._fetch(resource, pinned, observed.deployment, before)
            await self._apply_first(resource, pinned, observed)
        except OperatorError as error:
            problem = error
        else:
            self._failures.forget((resource.namespace, resource.name))
            return _Outcome(pinned)
        serving = await self._serving(resource, observed.deployment, before)
        hindrance: Refused | None = None
        if serving:
            try:
                await self._apply(resource, serving, observed)
            except Refused as refusal:
                log.warning("What serves can't be brought to what is wanted of it: %s", refusal.message)
                hindrance = refusal if refusal.message != problem.message else None
        return _Outcome(serving, pinned, problem, hindrance)

    def _forget(self, key: Key) -> None:
        """Drops what is known of a resource that is there no more."""
        self._resolutions.give_up(key)
        self._failures.forget(key)
        self._failing.pop(key, None)
        self._known.pop(key, None)
        self._sources.gone(key)
        self._fetches.gone(key)
        self._drafting.gone(key)
        self._gone(key)

    async def _observe(self, key: Key) -> _Observed:
        namespace, name = key
        names = self._pods(key)
        seen = frozenset(names)
        deployment, service, policy, found = await asyncio.gather(
            self._cluster.get("Deployment", namespace, name),
            self._cluster.get("Service", namespace, name),
            self._cluster.get("NetworkPolicy", namespace, name),
            pods_named(self._cluster, namespace, name, seen),
        )
        pods = [status.pod(pod) for pod in found]
        ready = ((deployment or {}).get("status") or {}).get("readyReplicas", 0)
        if ready > sum(pod.ready for pod in pods):  # just started, or a watch has lost something
            pods = [status.pod(pod) for pod in await pods_of(self._cluster, namespace, name)]
            names.update(pod.name for pod in pods)
        names.difference_update(seen - {pod.name for pod in pods})
        return _Observed(deployment, service, policy, tuple(pods))

    async def _pinned(self, resource: SpeculatorDeployment, observed: _Observed, before: Mapping[str, Any]) -> Manifest:
        """The ControllerRevision of the resource's current inputs. Without it, nothing of earlier ones is fetched."""
        try:
            pinned = await self._pin(resource, observed, before)
            network_policy.refuse_closed(resource, _loaded(pinned))
        except OperatorError:
            await self._fetches.forget(resource)
            raise
        return pinned

    async def _pin(self, resource: SpeculatorDeployment, observed: _Observed, before: Mapping[str, Any]) -> Manifest:
        """The ControllerRevision of the resource's current inputs, made if there is none."""
        name = render.revision_name(resource)
        live = await self._cluster.get("ControllerRevision", resource.namespace, name)
        if live is None:
            resolved = await self._resolve(resource, name, before)
            template = render.pod_template(resource, resolved, self._settings)
            made = await self._write_pin(resource, render.controller_revision(resource, resolved, template))
            await self._sources.forget(resource)
            log.info("Pinned %s: %s", name, resolved.summary())
            if resource.generation > 1 or resource.refresh:  # it may not be the first
                await self._prune(resource, observed, keep=name)
            return made
        await self._abandon(resource)
        if conflict := plan.unowned(resource, (live,)):
            raise conflict
        self._raise_known(resource, name)
        stored = render.controller_revision(resource, _resolved(live), live["data"]["template"])
        serves = observed.deployment is not None and _revision_served(resource, observed.deployment) == name
        # One that is gone back to becomes the newest, and meets what the API server is told to refuse by now.
        desired = {**stored, "data": live["data"], "revision": live["revision"] if serves else resource.generation}
        return await self._write_pin(resource, desired) if plan.differs(desired, live) else live

    async def _write_pin(self, resource: SpeculatorDeployment, revision: Manifest) -> Manifest:
        try:
            return await self._cluster.apply(revision)
        except Refused as refusal:
            key = resource.namespace, resource.name
            self._failures.add(key, _inputs(resource, revision["metadata"]["name"]), refusal)
            await self._sources.forget(resource)  # another checkpoint may be the remedy
            raise

    async def _resolve(self, resource: SpeculatorDeployment, name: str, before: Mapping[str, Any]) -> Resolved:
        self._raise_known(resource, name)
        key, inputs = (resource.namespace, resource.name), _inputs(resource, name)

        def begin() -> Coroutine[Any, Any, Resolved]:
            read = self._sources.of(resource, max_age=self._max_age(key, inputs, before))
            return resolve(resource, self._settings, _pinned_read(read, name, before))

        task = await self._resolutions.ended(key, inputs, begin)
        await self._sources.tidy(resource)
        try:
            return task.result()
        except OperatorError as problem:
            if problem.reason not in _UNDER_WAY:
                self._failures.add(key, inputs, problem)
            if isinstance(problem, Refused):  # what was read is what has to be mended
                await self._sources.forget(resource)
            raise

    def _max_age(self, key: Key, inputs: str, before: Mapping[str, Any]) -> float:
        """How old what is known of the hub may be, in seconds.

        Whoever changed a resource may have changed its models just before; a resource that is looked at again wants
        what is newer than the last look; and of those that are new, many may have come at once.
        """
        failure = self._failures.of(key)
        if failure and failure.inputs == inputs:
            return min(self._clock() - failure.since, SHARED_SECONDS)
        return 0.0 if failure or before.get("resolved") else SHARED_SECONDS

    async def _abandon(self, resource: SpeculatorDeployment) -> None:
        """Ends a resolution, and what it has begun: its inputs aren't the resource's any more."""
        self._resolutions.give_up((resource.namespace, resource.name))
        await self._sources.forget(resource)

    def _raise_known(self, resource: SpeculatorDeployment, name: str) -> None:
        """Raises what the inputs have failed with, while it isn't time to try again."""
        key = resource.namespace, resource.name
        self._failures.raise_known(key, _inputs(resource, name), _written(resource, name))

    async def _fetch(
        self,
        resource: SpeculatorDeployment,
        pinned: Manifest,
        deployment: Manifest | None,
        before: Mapping[str, Any],
    ) -> None:
        """Returns once the pin's models are where its pods look for them. If it was applied before, they are.

        Raises:
            Refused, Waiting: they aren't, yet.
        """
        key, name = (resource.namespace, resource.name), pinned["metadata"]["name"]
        if name == (_revision_served(resource, deployment) if deployment else _revision_shown(before)):
            await self._fetches.forget(resource)
            return
        step = f"{name}, fetched"
        self._raise_known(resource, step)
        try:
            await self._fetches.complete(resource, _resolved(pinned))
        except OperatorError as problem:
            if problem.reason not in _UNDER_WAY:
                self._failures.add(key, _inputs(resource, step), problem)
            raise

    async def _serving(
        self, resource: SpeculatorDeployment, deployment: Manifest | None, before: Mapping[str, Any]
    ) -> Manifest | None:
        """The ControllerRevision that serves while the current inputs can't be resolved, or are being fetched, if there
        is one: the Deployment's, or if that was deleted by hand, the one that status tells of."""
        for name in (_revision_served(resource, deployment) if deployment else None, _revision_shown(before)):
            live = await self._cluster.get("ControllerRevision", resource.namespace, name) if name else None
            if live and plan.ownership(resource, live) is plan.Ownership.OURS:
                return live
        return None

    async def _history(self, resource: SpeculatorDeployment) -> list[Manifest]:
        """The resource's ControllerRevisions, what was wanted last at the end."""
        selector = f"{api.NAME_LABEL}={resource.name}"
        found = await self._cluster.list("ControllerRevision", resource.namespace, selector)
        ours = (item for item in found if plan.ownership(resource, item) is plan.Ownership.OURS)
        return sorted(ours, key=lambda item: (item["revision"], item["metadata"]["creationTimestamp"]))

    async def _prune(self, resource: SpeculatorDeployment, observed: _Observed, keep: str) -> None:
        """Deletes what wasn't wanted for longest, but for the ControllerRevisions that something is of: ``keep``, and
        what runs."""
        kept = {keep, *(f"{resource.name}-{pod.revision}" for pod in observed.pods)}
        if observed.deployment:
            kept.add(_revision_served(resource, observed.deployment))
        for item in (await self._history(resource))[:-HISTORY]:
            metadata = item["metadata"]
            if metadata["name"] not in kept:
                name, uid = metadata["name"], metadata["uid"]
                await self._cluster.delete("ControllerRevision", resource.namespace, name, uid=uid)

    async def _apply_first(self, resource: SpeculatorDeployment, revision: Manifest, observed: _Observed) -> None:
        """Applies a revision that may not have been applied before, and so may be refused."""
        try:
            await self._apply(resource, revision, observed)
        except Refused as refusal:
            key = resource.namespace, resource.name
            self._failures.add(key, _written(resource, revision["metadata"]["name"]), refusal)
            raise

    async def _apply(self, resource: SpeculatorDeployment, revision: Manifest, observed: _Observed) -> None:
        service = render.service(resource, _resolved(revision).port)
        if plan.differs(service, observed.service):
            observed.service = await self._cluster.apply(service)
        await self._isolate(resource, revision, observed)
        deployment = render.deployment(resource, revision["data"]["template"])
        if plan.differs(deployment, observed.deployment):
            observed.deployment = await self._cluster.apply(deployment)

    async def _isolate(self, resource: SpeculatorDeployment, revision: Manifest, observed: _Observed) -> None:
        """Puts the NetworkPolicy around the pods, or takes it away where the installation wants none."""
        policy = observed.policy
        if self._settings.network_policies:
            older = await self._older_revisions(resource, revision, observed.pods)
            templates = [item["data"]["template"] for item in (revision, *older)]
            wanted = network_policy.network_policy(resource, templates, self._settings)
            if plan.differs(wanted, policy):
                observed.policy = await self._cluster.apply(wanted)
        elif policy and plan.ownership(resource, policy) is plan.Ownership.OURS:
            metadata = policy["metadata"]
            await self._cluster.delete("NetworkPolicy", resource.namespace, metadata["name"], uid=metadata["uid"])
            observed.policy = None

    async def _older_revisions(
        self, resource: SpeculatorDeployment, revision: Manifest, pods: Iterable[status.Pod]
    ) -> list[Manifest]:
        """The ControllerRevisions of pods that a rollout hasn't replaced yet, and may have to start again."""
        names = {f"{resource.name}-{pod.revision}" for pod in pods if pod.revision} - {revision["metadata"]["name"]}
        found = [await self._cluster.get("ControllerRevision", resource.namespace, name) for name in sorted(names)]
        return [item for item in found if item and plan.ownership(resource, item) is plan.Ownership.OURS]

    async def _say(self, resource: SpeculatorDeployment, facts: Facts, body: Manifest) -> Manifest:
        """Writes the status, if it is another than before, and returns it."""
        return await self._write_status(body, status.status(resource, facts, timestamp.now(), _own_status(body)))

    async def _say_failing(self, key: Key, error: Exception) -> None:
        """Says in status that passes fail, and with what, if they have for a while."""
        due = self._failing.setdefault(key, self._clock() + SAID_AFTER_SECONDS)
        if isinstance(error, NotLeading) or self._clock() < due:
            return
        ours = f"{type(error).__name__}, a fault of the operator's own: its log has more"
        said = str(error) if isinstance(error, ClusterError) else ours
        self._failing[key] = self._clock() + SAID_AGAIN_SECONDS
        with contextlib.suppress(ClusterError):  # whoever raised it may be all that is wrong
            if body := await self._cluster.get(api.KIND, *key):
                after = status.failing(body["metadata"]["generation"], said, timestamp.now(), _own_status(body))
                self._known[key] = Known(pods_wanted(body), await self._write_status(body, after))

    async def _write_status(self, body: Manifest, after: Manifest) -> Manifest:
        before = _own_status(body)
        if after == before:
            return after
        metadata = {name: body["metadata"][name] for name in ("name", "namespace", "uid")}
        about = {"apiVersion": api.API_VERSION, "kind": api.KIND, "metadata": metadata}
        try:
            await self._cluster.apply_status({**about, "status": after}, read=body)
        except Refused as error:  # an older definition, say
            log.warning("Its status can't be written: %s", error)
            return after
        for event in status.events(before, after):
            await self._cluster.emit(about, type_=event.type, reason=event.reason, note=event.note)
        return after


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


def _own_status(body: Manifest) -> Manifest:
    """The status without what others may have added to it."""
    known = {field.alias or name for name, field in api.Status.model_fields.items()}
    content = {key: value for key, value in (body.get("status") or {}).items() if key in known}
    types = set(api.ConditionType)
    if "conditions" in content:
        content["conditions"] = [condition for condition in content["conditions"] if condition["type"] in types]
    return content


def _inputs(resource: SpeculatorDeployment, name: str) -> str:
    """Names what a resolution is of: beside what names a revision, what is only checked, and can fail it."""
    return f"{name} {resource.spec.accelerator.memory} {resource.spec.network_policy.model_dump_json()}"


def _written(resource: SpeculatorDeployment, name: str) -> str:
    """Names what a write of the other objects is of: the number of replicas, say, is in them, and in no resolution."""
    return f"{_inputs(resource, name)} {resource.generation}"


def _revision_served(resource: SpeculatorDeployment, deployment: Manifest) -> str:
    """The name of the ControllerRevision that the Deployment's template was taken from."""
    labels = deployment["spec"]["template"]["metadata"].get("labels") or {}
    return f"{resource.name}-{labels.get(api.REVISION_LABEL)}"


def _revision_shown(before: Mapping[str, Any]) -> str | None:
    """The name of the ControllerRevision that status tells of."""
    name: str | None = (before.get("resolved") or {}).get("revision")
    return name


def _resolved(revision: Manifest) -> Resolved:
    return Resolved.model_validate(revision["data"]["resolved"])


def _loaded(revision: Manifest) -> tuple[Identity | None, ...]:
    """The models that the revision's engines load."""
    resolved = _resolved(revision)
    return resolved.verifier, resolved.draft


def _pinned_read(read: Read, name: str, before: Mapping[str, Any]) -> Read:
    """A read that stays at the commits in status, if they are of this revision: its ControllerRevision was deleted by
    hand, and a branch that has moved since must not roll pods."""
    resolved = before.get("resolved") or {}
    if resolved.get("revision") != name:
        return read
    known = {Identity.model_validate(resolved[role]) for role in ("model", "draft", "verifier") if role in resolved}

    async def at_known_commit(reference: Reference) -> Snapshot:
        commits = [identity.revision for identity in known if identity.uri == reference.uri]
        hub = reference.kind is Kind.HUB and len(commits) == 1
        return await read(reference.at(commits[0]) if hub else reference)

    return at_known_commit
