"""Reads a resource's models, each in the way that its place asks for.

A public repository is read by the operator itself. What takes a Secret, a claim or an image is read by a Job in the
resource's namespace (``core/resolver_job``): a pass makes the Job, later ones look at what became of it, and the Job is
deleted as soon as its report is here. Nothing of this is remembered that a new process couldn't do without: it would
read once more, and is told by its watches of the Jobs that another has made.
"""

from __future__ import annotations

import functools
import logging
from collections import defaultdict
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Protocol

from . import jobs
from .api import TOKEN_MAY_HELP, Reason, SpeculatorDeployment
from .cluster import Cluster
from .core import plan, resolver_report
from .core.checkpoint import Snapshot
from .core.render import Manifest
from .core.resolver_job import COMPONENT, resolver_job
from .errors import OperatorError, Refused, Waiting
from .reference import Kind, Reference
from .resolution import Read
from .settings import Settings
from .workqueue import Key

#: After a Job that ended without a report.
RETRY_SECONDS = 60.0

log = logging.getLogger(__name__)


class ReadHub(Protocol):
    """``Read`` that may answer from what it has known for up to ``max_age`` seconds."""

    def __call__(self, reference: Reference, /, *, max_age: float) -> Awaitable[Snapshot]: ...


@dataclass
class _Readings:
    """Of one resource: repositories that aren't public, and Jobs by their names. ``wanted`` are those that the latest
    resolution has asked for, ``unwanted`` those that only earlier ones did."""

    closed: set[Reference] = field(default_factory=set)
    wanted: set[str] = field(default_factory=set)
    unwanted: set[str] = field(default_factory=set)
    reported: dict[str, Snapshot] = field(default_factory=dict)
    troubles: dict[str, str] = field(default_factory=dict)

    def want(self, name: str) -> None:
        self.wanted.add(name)
        self.unwanted.discard(name)


class Sources:
    """``hub`` reads what is public."""

    def __init__(self, cluster: Cluster, hub: ReadHub, names: jobs.Names, settings: Settings) -> None:
        self._cluster = cluster
        self._hub = hub
        self._names = names
        self._settings = settings
        self._readings: defaultdict[Key, _Readings] = defaultdict(_Readings)

    def of(self, resource: SpeculatorDeployment, *, max_age: float) -> Read:
        """How a resource's models are read, in one resolution. What is still being read raises ``Waiting``, with
        ``Resolving``.

        What another read has learnt of the hub will do if it is no older than ``max_age`` seconds.
        """
        readings = self._readings[resource.namespace, resource.name]
        readings.unwanted |= readings.wanted
        readings.wanted = set()
        return functools.partial(self._read, resource, max_age)

    async def tidy(self, resource: SpeculatorDeployment) -> None:
        """Deletes the Jobs that earlier resolutions of a resource have made, and that the latest had no use for."""
        key = resource.namespace, resource.name
        readings = self._readings[key]
        for name in (readings.unwanted | self._names(key, COMPONENT)) - readings.wanted:
            await jobs.delete(self._cluster, resource, name)
            readings.unwanted.discard(name)
            readings.reported.pop(name, None)

    async def forget(self, resource: SpeculatorDeployment) -> None:
        """Drops what was read for a resource, its Jobs included: it is pinned now, or has to be read anew."""
        key = resource.namespace, resource.name
        readings = self._readings[key]
        readings.unwanted |= readings.wanted
        readings.wanted = set()
        await self.tidy(resource)
        del self._readings[key]

    def gone(self, key: Key) -> None:
        """Drops what was read for a resource that is there no more; the garbage collector has its Jobs."""
        self._readings.pop(key, None)

    async def _read(self, resource: SpeculatorDeployment, max_age: float, reference: Reference) -> Snapshot:
        readings = self._readings[resource.namespace, resource.name]
        if reference.kind is Kind.HUB and reference not in readings.closed:
            try:
                return await self._hub(reference, max_age=max_age)
            except Refused as refusal:
                if resource.spec.model.token_secret_ref is None or refusal.reason not in TOKEN_MAY_HELP:
                    raise
                readings.closed.add(reference)
        return await self._through_job(resource, reference, readings)

    async def _through_job(self, resource: SpeculatorDeployment, reference: Reference, readings: _Readings) -> Snapshot:
        wanted = resolver_job(resource, reference, self._settings)
        name = wanted["metadata"]["name"]
        if name in readings.reported:
            readings.want(name)
            return readings.reported[name]
        job = await self._cluster.get("Job", resource.namespace, name)
        if conflict := plan.unowned(resource, (job,)):
            raise conflict
        readings.want(name)  # only now: what is wanted no more is deleted
        if job is None or job["metadata"].get("deletionTimestamp"):
            if job is None:
                await self._cluster.apply(wanted)
            raise _under_way(name, reference)
        try:
            snapshot = await self._outcome(job, reference, readings)
        except OperatorError as problem:
            if problem.reason != Reason.RESOLVING:
                await self._remove(job, readings)
            raise
        readings.reported[name] = snapshot
        await self._remove(job, readings)
        return snapshot

    async def _outcome(self, job: Manifest, reference: Reference, readings: _Readings) -> Snapshot:
        name = job["metadata"]["name"]
        seen = await jobs.look(self._cluster, job)
        if seen.words:
            try:
                return resolver_report.unpacked(seen.words, reference)
            except ValueError as error:
                what = f"its pod said something else than a report ({error}): {jobs.last_line(seen.words)}"
                raise _failed(name, reference, what) from error
        if not seen.ended:
            if refusal := jobs.hopeless(seen.trouble, claim=reference.name, what=f"read {reference.uri}"):
                raise refusal
            readings.troubles[name] = seen.trouble
            raise _under_way(name, reference, seen.trouble)
        words = readings.troubles.get(name) or seen.trouble
        raise _failed(name, reference, f"{seen.ended}. {words}" if words else seen.ended)

    async def _remove(self, job: Manifest, readings: _Readings) -> None:
        metadata = job["metadata"]
        readings.troubles.pop(metadata["name"], None)
        await self._cluster.delete("Job", metadata["namespace"], metadata["name"], uid=metadata["uid"])


def _under_way(name: str, reference: Reference, trouble: str = "") -> Waiting:
    message = f"Job {name} reads {reference.uri}: {trouble or 'its pod is starting'}"
    return Waiting(Reason.RESOLVING, message, retry_after=jobs.LOOK_SECONDS)


def _failed(name: str, reference: Reference, what: str) -> Waiting:
    return Waiting(
        Reason.RESOLVER_FAILED,
        f"Job {name}, which was to read {reference.uri}, ended without a result: {what}. Another one follows",
        retry_after=RETRY_SECONDS,
    )
