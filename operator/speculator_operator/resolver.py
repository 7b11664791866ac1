"""What the operator's image does in users' pods, with the Secrets and volumes that only such a pod has.

``read`` looks at one model, and leaves what it has seen in the pod's termination message (``core/resolver_report``).
``fetch`` brings one from object storage to a folder, before an engine starts. Neither speaks to the Kubernetes API.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .core import pod_models, resolver_report
from .core.checkpoint import Snapshot
from .core.sigv4 import Credentials
from .errors import OperatorError
from .folder import read_pinned_folder
from .hub import Hub
from .objectstore import ObjectStore
from .reference import Kind, Reference
from .settings import Settings

#: Where the kubelet reads a container's last words.
TERMINATION_LOG = Path("/dev/termination-log")


async def read(
    reference: Reference, *, folder: Path | None, settings: Settings, environment: Mapping[str, str]
) -> tuple[str, OperatorError | None]:
    """Reads a model, from ``folder`` if it is mounted there: the report of it, and why it couldn't be read."""
    try:
        return resolver_report.packed(await _snapshot(reference, folder, settings, environment)), None
    except OperatorError as problem:
        return resolver_report.packed(problem), problem


async def fetch(
    reference: Reference, *, revision: str, target: Path, settings: Settings, environment: Mapping[str, str]
) -> None:
    """Brings what is in object storage into ``target``, if it is still what ``revision`` (a digest) says.

    Raises:
        Refused, Waiting
    """
    await _store(reference, settings, environment).fetch(reference, revision, target)


async def _snapshot(
    reference: Reference, folder: Path | None, settings: Settings, environment: Mapping[str, str]
) -> Snapshot:
    if folder is not None:
        return read_pinned_folder(folder, reference.uri)
    if reference.kind is Kind.HUB:
        hub = Hub(settings.hf_endpoint, timeout=settings.hub_timeout, token=environment.get("HF_TOKEN"))
        return await hub.read(reference)
    return await _store(reference, settings, environment).read(reference)


def _store(reference: Reference, settings: Settings, environment: Mapping[str, str]) -> ObjectStore:
    ours = reference.kind is Kind.S3
    key, secret, session = (environment.get(name) for name in pod_models.CREDENTIALS)
    return ObjectStore(
        settings.s3_endpoint if ours else None,
        region=settings.s3_region if ours else None,
        timeout=settings.hub_timeout,
        credentials=Credentials(key, secret, session or None) if key and secret else None,
    )
