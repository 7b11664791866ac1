"""The Job that reads one model, with the Secret, claim or image that this takes.

Its pod says what it has read in its termination message (``resolver_report``).
"""

from __future__ import annotations

from speculator_operator import api
from speculator_operator.reference import Reference
from speculator_operator.settings import Settings

from . import pod_models
from .job import job
from .render import Manifest

COMPONENT = "resolver"
#: A Job whose result nobody has fetched is removed after this time.
KEPT_SECONDS = 600
_ROLE = "model"


def resolver_job(resource: api.SpeculatorDeployment, reference: Reference, settings: Settings) -> Manifest:
    """The Job.

    Raises:
        Refused: ``ResolverUnset``.
    """
    folders = {_ROLE: reference} if reference.kind in pod_models.MOUNTED else {}
    command = ["read", reference.uri]
    if reference.revision:
        command.append(f"--revision={reference.revision}")
    if folders:
        command.append(f"--folder={pod_models.FOLDER}/{_ROLE}")
    return job(
        resource,
        reference,
        settings,
        component=COMPONENT,
        command=command,
        inputs=[reference.uri, reference.revision],
        volumes=pod_models.volumes(folders),
        mounts=pod_models.mounts(folders),
        seconds=settings.resolver_timeout,
        kept_seconds=KEPT_SECONDS,
    )
