"""Has a resource's models fetched onto the claim of ``spec.cache``, by Jobs in its namespace (``core/fetch_job``).

Nothing says "fetched" but the claim itself, and a Job that has looked at it. So a pin whose Deployment isn't there yet
needs its Jobs complete; one that is gone meanwhile (expired, deleted by hand) is made again, and ends in a second where
everything is there. Once the Deployment has the pin's template, nobody asks any more: neither a scaling nor another
operator waits for a Job.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping

from . import jobs
from .api import Reason, Resolved, SpeculatorDeployment
from .cluster import Cluster
from .core import plan, resolver_report
from .core.fetch_job import COMPONENT, fetch_jobs
from .core.render import Manifest
from .errors import OperatorError, Refused, Waiting
from .reference import Reference
from .settings import Settings
from .workqueue import Key

#: After a Job that ended without saying why.
RETRY_SECONDS = 60.0


class Fetches:
    def __init__(self, cluster: Cluster, names: jobs.Names, settings: Settings) -> None:
        self._cluster = cluster
        self._names = names
        self._settings = settings
        self._made: defaultdict[Key, set[str]] = defaultdict(set)
        """The Jobs that this process has looked for or made, by their names: a watch may not have told of them yet."""

    async def complete(self, resource: SpeculatorDeployment, resolved: Resolved) -> None:
        """Returns once everything is on the claim, and at once where there is nothing to fetch.

        Raises:
            Waiting: ``Fetching``, while Jobs run; ``FetchFailed``, and what else a fetch can end with by itself.
            Refused: what it can't.
        """
        wanted = fetch_jobs(resource, resolved, self._settings)
        await self._prune(resource, keep=wanted)
        looks = (self._look(resource, reference, job) for reference, job in wanted.items())
        found = await asyncio.gather(*looks, return_exceptions=True)
        problems = [problem for problem in found if isinstance(problem, BaseException)]
        if not problems:
            return
        # What has failed is told first, and of what has failed, what a person has to mend.
        first = min(problems, key=_urgency)
        if isinstance(first, Waiting) and first.reason == Reason.FETCHING:
            done = len(wanted) - len(problems)
            message = f"{done} of {len(wanted)} models are on the claim. {first.message}"
            raise Waiting(first.reason, message, retry_after=first.retry_after)
        raise first

    async def forget(self, resource: SpeculatorDeployment) -> None:
        """Deletes the Jobs of a resource that needs them no more."""
        await self._prune(resource, keep={})

    def gone(self, key: Key) -> None:
        """Drops what is known of a resource that is there no more; the garbage collector has its Jobs."""
        self._made.pop(key, None)

    async def _prune(self, resource: SpeculatorDeployment, keep: Mapping[Reference, Manifest]) -> None:
        key = resource.namespace, resource.name
        made = self._made[key]
        for name in (made | self._names(key, COMPONENT)) - {job["metadata"]["name"] for job in keep.values()}:
            await jobs.delete(self._cluster, resource, name)
            made.discard(name)

    async def _look(self, resource: SpeculatorDeployment, reference: Reference, wanted: Manifest) -> None:
        """Returns if the Job is complete."""
        name = wanted["metadata"]["name"]
        job = await self._cluster.get("Job", resource.namespace, name)
        if conflict := plan.unowned(resource, (job,)):
            raise conflict
        self._made[resource.namespace, resource.name].add(name)
        if job is None or job["metadata"].get("deletionTimestamp"):
            if job is None:
                await self._cluster.apply(wanted)
            raise _under_way(name, reference, "its pod is starting")
        seen = await jobs.look(self._cluster, job)
        if seen.complete:
            return
        problem = _failure(resource, name, reference, seen)
        if problem is None:
            raise _under_way(name, reference, seen.trouble or ("it runs" if seen.running else "its pod is starting"))
        await jobs.delete(self._cluster, resource, name)
        raise problem


def _failure(resource: SpeculatorDeployment, name: str, reference: Reference, seen: jobs.Seen) -> OperatorError | None:
    """What a Job has failed with, if it has."""
    words = seen.trouble
    if seen.words:
        try:
            resolver_report.unpacked(seen.words, reference)
        except OperatorError as problem:
            return problem
        except ValueError:
            words = jobs.last_line(seen.words)
    if not seen.ended:
        claim = resource.spec.cache.claim if resource.spec.cache else ""
        return jobs.hopeless(seen.trouble, claim=claim, what=f"fetch {reference.uri}")
    what = f"{seen.ended}. {words}" if words else seen.ended
    message = f"Job {name}, which was to fetch {reference.uri}, has failed: {what}. Another one goes on from there"
    return Waiting(Reason.FETCH_FAILED, message, retry_after=RETRY_SECONDS)


def _urgency(problem: BaseException) -> int:
    match problem:
        case Refused():
            return 1
        case Waiting(reason=Reason.FETCHING):
            return 3
        case Waiting():
            return 2
    return 0  # a fault of ours, or of the wire


def _under_way(name: str, reference: Reference, how: str) -> Waiting:
    message = f"Job {name} fetches {reference.uri}: {how}"
    return Waiting(Reason.FETCHING, message, retry_after=jobs.LOOK_SECONDS)
