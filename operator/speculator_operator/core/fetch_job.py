"""The Jobs that fetch models onto the claim of ``spec.cache``, one for each model, before a pod takes an accelerator.

Each has the claim to write to, and the Secret that its model takes; the engine's pods have neither. A Job that ends
well has seen the model whole in its folder, whoever brought it there.
"""

from __future__ import annotations

from speculator_operator import api
from speculator_operator.api import Identity, Resolved
from speculator_operator.reference import Reference
from speculator_operator.settings import Settings

from . import pod_models
from .job import job
from .render import Manifest

COMPONENT = "fetcher"
#: Long enough for the other model to be fetched meanwhile. One that is gone is made again, and sees what is there.
KEPT_SECONDS = 86400
#: Where the claim is mounted.
VOLUME = "/cache"
_TERMINATION_LOG = "/dev/termination-log"


def fetch_jobs(resource: api.SpeculatorDeployment, resolved: Resolved, settings: Settings) -> dict[Reference, Manifest]:
    """The Jobs, by what they fetch; none without a cache, and none for what is mounted from elsewhere.

    Raises:
        Refused: ``ResolverUnset``.
    """
    cache = resource.spec.cache
    jobs = {}
    for identity in (resolved.verifier, resolved.draft):
        if cache and identity and (folder := pod_models.cached(identity, cache)):
            reference = Reference.parse(identity.uri).at(identity.revision)
            jobs[reference] = _fetch_job(resource, cache, identity, folder, settings)
    return jobs


def _fetch_job(
    resource: api.SpeculatorDeployment, cache: api.Cache, identity: Identity, folder: Reference, settings: Settings
) -> Manifest:
    command = ["fetch", identity.uri, f"--into={VOLUME}/{folder.path}", f"--report={_TERMINATION_LOG}"]
    if identity.revision:
        command.append(f"--revision={identity.revision}")
    made = job(
        resource,
        Reference.parse(identity.uri),
        settings,
        component=COMPONENT,
        command=command,
        inputs=[identity.uri, identity.revision, folder.uri],
        volumes=[{"name": "cache", "persistentVolumeClaim": {"claimName": cache.claim}}],
        mounts=[{"name": "cache", "mountPath": VOLUME}],
        seconds=settings.fetch_timeout,
        kept_seconds=KEPT_SECONDS,
    )
    pod = made["spec"]["template"]["spec"]
    # By default the kubelet makes every file of the claim the group's whenever a pod starts, which can take hours.
    pod["securityContext"] = {**pod["securityContext"], "fsGroupChangePolicy": "OnRootMismatch"}
    return made
