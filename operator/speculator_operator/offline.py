"""What the command line reads in place of a cluster and of the hub: resources in files, checkpoints in folders."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import ComposerError

from . import api
from .api import TOKEN_MAY_HELP, Reason, SpeculatorDeployment
from .core.checkpoint import Snapshot
from .core.config_file import CONFIG
from .core.words import one_line
from .errors import RAISED, Refusals, Refused, Waiting
from .folder import read_folder
from .reference import Kind, Reference
from .resolution import Read


class _Loader(yaml.SafeLoader):
    """Refuses what the API server's clients refuse, and PyYAML takes: a key that a map has twice."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else None
            if name in seen:
                problem = f"the key {key.value[:100]!r} is there twice"
                raise ComposerError("in a map", node.start_mark, problem, key.start_mark)
            seen |= {name} if name else set()
        return node


#: How most commands are given the folder of a model.
_BY_FLAG = "with --checkpoint or --verifier-checkpoint"


class NotRead(Waiting):
    """A model that isn't read here; ``message`` says why, and how (``folder``) to name a folder instead."""

    def __init__(self, reference: Reference, why: str, folder: str = _BY_FLAG) -> None:
        message = f"{reference.uri} was not read: {why}; name a folder that has its {CONFIG} {folder}"
        super().__init__(Reason.MODEL_NOT_READ, message, retry_after=0)


def documents(file: str, warn: Callable[[str], None]) -> list[Any]:
    """The resources in a YAML file (``-`` is standard input), the items of lists one by one. Objects of other APIs, as
    charts render them beside, are left out, and ``warn`` is told; what is no object counts as a resource gone wrong.

    Raises:
        Refused: ``SpecInvalid``: it isn't YAML, or holds no resource, or a key twice.
        OSError: it can't be read.
    """
    text = _standard_input() if file == "-" else Path(file).read_bytes()
    try:
        found = [document for document in yaml.load_all(text, _Loader) if document]
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Refused(Reason.SPEC_INVALID, f"{file} is not YAML: {str(error)[:1000]}") from error
    items = [item for document in found for item in (_items(document) or [document])]
    ours = [item for item in items if not _is_of_another_api(item)]
    if not ours:
        raise Refused(Reason.SPEC_INVALID, f"{file} holds no {api.KIND}")
    if len(ours) < len(items):
        kinds = sorted({item["kind"] for item in items if _is_of_another_api(item)})
        warn(f"{file} holds more than {api.KIND}s; this is left out: {one_line(', '.join(kinds))}")
    return ours


def _is_of_another_api(item: Any) -> bool:
    match item:
        case {"apiVersion": str(version), "kind": str(kind)}:
            return kind != api.KIND and not version.startswith(f"{api.GROUP}/")
    return False


def _standard_input() -> bytes:
    if sys.stdin is None:
        raise OSError("standard input is closed")
    return sys.stdin.buffer.read()


def _items(document: Any) -> list[Any] | None:
    """Of what ``kubectl get -o yaml`` prints, which is a list."""
    if isinstance(document, dict) and document.get("kind") in ("List", f"{api.KIND}List"):
        items = document.get("items")
        return items if isinstance(items, list) else None
    return None


def resource(document: Any, file: str, unknown: Refusals | None = None) -> SpeculatorDeployment:
    """The resource in a file's document; nothing will own what is rendered from it. ``unknown`` as in ``from_object``,
    and for an ``apiVersion`` that is missing.

    Raises:
        Refused: it is none, or a wrong one.
    """
    if not isinstance(document, dict) or document.get("kind") != api.KIND:
        raise Refused(Reason.SPEC_INVALID, f"{file} holds something other than a {api.KIND}")
    if not document.get("apiVersion"):
        missing = Refused(
            Reason.SPEC_INVALID, "there is no apiVersion", field="apiVersion", remedy=f"set it to {api.API_VERSION}"
        )
        (RAISED if unknown is None else unknown).add(missing)
        document = {**document, "apiVersion": api.API_VERSION}
    return SpeculatorDeployment.from_object(document, unknown).model_copy(update={"uid": ""})


def open_only(resource: SpeculatorDeployment, hub: Read, *, folder: str = _BY_FLAG) -> Read:
    """Reads what anybody can read. What takes a Secret, a claim or an image is the cluster's to read: ``NotRead``."""

    async def read(reference: Reference) -> Snapshot:
        if reference.kind is not Kind.HUB:
            raise NotRead(reference, "only the hub is read from here", folder)
        try:
            return await hub(reference)
        except Refused as refusal:
            if resource.spec.model.token_secret_ref is None or refusal.reason not in TOKEN_MAY_HELP:
                raise
            raise NotRead(reference, "it takes the token of spec.model.tokenSecretRef", folder) from None

    return read


async def nothing(reference: Reference) -> Snapshot:
    """Reads nothing: ``NotRead``."""
    raise NotRead(reference, "nothing but folders was to be read")


def folders_first(
    resource: SpeculatorDeployment, checkpoint: Path | None, verifier_checkpoint: Path | None, read: Read
) -> Read:
    """Reads the resource's model from one folder, other models from the other, and by ``read`` what has no folder."""

    async def read_either(reference: Reference) -> Snapshot:
        folder = checkpoint if reference.uri == resource.spec.model.reference.uri else verifier_checkpoint
        return read_folder(folder, reference.uri) if folder else await read(reference)

    return read_either


def folder_first(folder: Snapshot, uri: str, read: Read) -> Read:
    """Takes the model that a resource calls ``uri`` from a folder that was read, and reads others by ``read``."""

    async def read_either(reference: Reference) -> Snapshot:
        return folder if reference.uri == uri else await read(reference)

    return read_either


def unread_with_warning(read: Read, warn: Callable[[str], None]) -> Read:
    """Reads by ``read``; of a model that can't be read now nothing is known but its name, and ``warn`` is told."""

    async def read_or_warn(reference: Reference) -> Snapshot:
        try:
            return await read(reference)
        except Waiting as problem:
            warn(f"{reference.uri} is not pinned or checked. {problem}")
            return Snapshot(reference.uri, None, {})

    return read_or_warn
