"""What the operator's image does in users' pods, with the Secrets and volumes that only such a pod has.

``read`` looks at one model, and leaves what it has seen in the pod's termination message (``core/resolver_report``).
``fetch`` brings one to a folder, before an engine starts. Neither speaks to the Kubernetes API.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from pathlib import Path

from .api import Reason
from .core import pod_models, resolver_report
from .core.checkpoint import Snapshot
from .core.sigv4 import Credentials
from .errors import OperatorError, Waiting
from .folder import read_pinned_folder
from .hub import Hub
from .objectstore import ObjectStore
from .reference import Kind, Reference
from .settings import SettingInvalid, Settings

#: Where the kubelet reads a container's last words.
TERMINATION_LOG = Path("/dev/termination-log")
#: After a fault that nobody has foreseen.
RETRY_SECONDS = 60.0
MAX_WORDS = 500


async def read(
    reference: Reference, *, folder: Path | None, environment: Mapping[str, str]
) -> tuple[str, OperatorError | None]:
    """Reads a model, from ``folder`` if it is mounted there: the report, whatever happens, and the failure it tells."""
    outcome: Snapshot | OperatorError
    try:
        outcome = await _snapshot(reference, folder, environment)
    except OperatorError as problem:
        outcome = problem
    except Exception as fault:  # noqa: BLE001 - nobody else would tell the operator
        outcome = _failed(reference, _words(fault))
    report = resolver_report.packed(outcome)
    try:
        resolver_report.unpacked(report, reference)
    except OperatorError as problem:
        return report, problem
    except ValueError as doubt:  # the operator wouldn't believe it either
        failed = _failed(reference, str(doubt))
        return resolver_report.packed(failed), failed
    return report, None


async def fetch(reference: Reference, *, revision: str, target: Path, environment: Mapping[str, str]) -> None:
    """Brings a model into ``target``, if it is still what ``revision`` (a commit, or a digest) says.

    Raises:
        Refused, Waiting
        ValueError: a setting is wrong.
    """
    settings = Settings.from_environment(environment)
    hub = reference.kind is Kind.HUB
    source = _hub(settings, environment) if hub else _store(reference, settings, environment)
    if task := asyncio.current_task():  # the first process of a container ends by no signal that it doesn't handle
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        await source.fetch(reference, revision, target, say=print)
    except asyncio.CancelledError:
        raise Waiting(
            Reason.FETCH_FAILED, f"{reference.uri} was not fetched whole: it was told to end", retry_after=RETRY_SECONDS
        ) from None


def _failed(reference: Reference, what: str) -> Waiting:
    message = f"{reference.uri} couldn't be read: {what[:MAX_WORDS]}. It is tried again"
    return Waiting(Reason.RESOLVER_FAILED, message, retry_after=RETRY_SECONDS)


def _words(fault: Exception) -> str:
    """What is told of a fault: of most the kind alone, since their words may hold a header, and so a token."""
    if isinstance(fault, SettingInvalid):
        return str(fault)
    kind = type(fault).__name__
    return f"{kind}: {fault.strerror}" if isinstance(fault, OSError) and fault.strerror else kind


async def _snapshot(reference: Reference, folder: Path | None, environment: Mapping[str, str]) -> Snapshot:
    settings = Settings.from_environment(environment)
    if folder is not None:
        return read_pinned_folder(folder, reference.uri)
    if reference.kind is Kind.HUB:
        return await _hub(settings, environment).read(reference)
    return await _store(reference, settings, environment).read(reference)


def _hub(settings: Settings, environment: Mapping[str, str]) -> Hub:
    return Hub(settings.hf_endpoint, timeout=settings.hub_timeout, token=environment.get("HF_TOKEN"))


def _store(reference: Reference, settings: Settings, environment: Mapping[str, str]) -> ObjectStore:
    ours = reference.kind is Kind.S3
    key, secret, session = (environment.get(name) for name in pod_models.CREDENTIALS)
    return ObjectStore(
        settings.s3_endpoint if ours else None,
        region=settings.s3_region if ours else None,
        timeout=settings.hub_timeout,
        credentials=Credentials(key, secret, session or None) if key and secret else None,
    )
