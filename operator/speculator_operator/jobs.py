"""What became of a Job of ours, as far as the API server tells.

Its pods are found by its label and believed by their owner reference: whoever may make pods could make one that looks
so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from .api import REFRESH_ANNOTATION, Reason, SpeculatorDeployment
from .cluster import Cluster
from .core import plan, status
from .core.render import CONTAINER, Manifest
from .core.words import redacted
from .errors import Refused
from .workqueue import Key

#: The names of the Jobs that watches have seen of a resource, by the component that they bear.
Names: TypeAlias = Callable[[Key, str], set[str]]

#: A Job that runs is looked at so often (seconds), besides when its status changes.
LOOK_SECONDS = 10.0


@dataclass(frozen=True)
class Seen:
    """``words`` is the termination message of the container, ``trouble`` what its pod waits for or how it failed.

    ``ended`` is why the Job is over, empty while it isn't; ``complete`` whether it has ended well. ``running`` is
    whether its container runs.
    """

    words: str
    trouble: str
    ended: str
    complete: bool
    running: bool


async def look(cluster: Cluster, job: Manifest) -> Seen:
    metadata, state = job["metadata"], job.get("status") or {}
    pods = await cluster.list("Pod", metadata["namespace"], f"batch.kubernetes.io/job-name={metadata['name']}")
    pods = [pod for pod in pods if _is_of(pod, job)]
    trouble = next((status.pod(pod).trouble for pod in pods), "")
    if not pods and state.get("startTime"):
        trouble = (
            "no pod has been made for it, as where a quota or an admission policy refuses one; "
            f"see kubectl events --for job/{metadata['name']}"
        )
    ended = {
        each["type"]: f"{each.get('reason', each['type'])}: {each.get('message', '')}".rstrip(": .")
        for each in state.get("conditions") or []
        if each["type"] in ("Complete", "Failed") and each["status"] == "True"
    }
    return Seen(
        words=next(filter(None, map(_last_words, pods)), ""),
        trouble=trouble,
        ended=next(iter(ended.values()), ""),
        complete="Complete" in ended,
        running=bool(state.get("ready")),
    )


async def delete(cluster: Cluster, resource: SpeculatorDeployment, name: str) -> None:
    """Deletes a resource's Job, if it is there and its own."""
    job = await cluster.get("Job", resource.namespace, name)
    if job and plan.ownership(resource, job) is plan.Ownership.OURS and not job["metadata"].get("deletionTimestamp"):
        await cluster.delete("Job", resource.namespace, name, uid=job["metadata"]["uid"])


def hopeless(trouble: str, *, claim: str, what: str) -> Refused | None:
    """What a pod waits for that won't come by itself. ``what`` is what it would do."""
    if "persistentvolumeclaim" in trouble and "not found" in trouble:
        return Refused(
            Reason.CLAIM_MISSING,
            f"There is no claim {claim} in the resource's namespace. Make it, or correct the name",
        )
    if status.secret_missing(trouble):
        return Refused(
            Reason.SECRET_UNUSABLE,
            f"The pod that would {what} can't have its Secret ({trouble}). Make it, or correct its name or key. It is "
            f"looked for again in a while, and at once when the annotation {REFRESH_ANNOTATION} changes",
        )
    return None


def last_line(words: str) -> str:
    """The end of a container's last words, without what may be secret in it."""
    return redacted(words.strip().rpartition("\n")[2])[-300:]


def _is_of(pod: Manifest, job: Manifest) -> bool:
    owners = pod["metadata"].get("ownerReferences") or []
    return any(owner.get("controller") and owner["uid"] == job["metadata"]["uid"] for owner in owners)


def _last_words(pod: Manifest) -> str:
    """Whatever else still runs beside the container."""
    for container in (pod.get("status") or {}).get("containerStatuses") or []:
        if container["name"] == CONTAINER:
            ended = (container.get("state") or {}).get("terminated") or {}
            return str(ended.get("message") or "")
    return ""
