"""``diff``: what applying resources would change: the API server's own word on them, and what their pods would do.

The exit code is kubectl's: 0 nothing would change, 1 something would; above 1 it is an error: 2 a resource is refused,
by the API server or by our checks; 3 the cluster or a model couldn't be read.
"""

from __future__ import annotations

import argparse
import asyncio
import difflib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from speculator_operator import api, offline
from speculator_operator.api import Finding, Resolved, Severity, SpeculatorDeployment
from speculator_operator.check import ReadFor
from speculator_operator.core import render
from speculator_operator.errors import Waiting
from speculator_operator.offline import NotRead
from speculator_operator.pods import pods_wanted
from speculator_operator.resolution import assess
from speculator_operator.settings import Settings

from . import connection, models, terminal

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from speculator_operator.cluster import Cluster

EXIT_CHANGES = 1
EXIT_UNDETERMINED = 3

#: Where ``kubectl apply`` remembers what it applied, unless it does so server-side.
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Served:
    """What pods would run: what was resolved, and what was found on the way.

    ``unknown`` is why it isn't known, or not all of it; ``failed`` tells whether that was a failure.
    """

    resolved: Resolved | None = None
    findings: tuple[Finding, ...] = ()
    unknown: str = ""
    failed: bool = False
    pinned: bool = False
    """Whether the cluster has it already: it is then what pods get, whatever models and settings are by now."""


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "diff",
        help="show what applying resources would change, and whether pods would roll",
        description="Shows what applying resources would change: what the API server makes of them (a dry run), "
        "whether pods would roll, and what they would run. Ends with 0 where nothing would change, with 1 where "
        "something would, with 2 where a resource is refused, with 3 where the cluster or a model can't be read.",
    )
    models.add_reading(parser)
    parser.add_argument(
        "--field-manager", default="kubectl", metavar="M", help="who would apply it, server-side (default: kubectl)"
    )
    connection.add_options(
        parser,
        rights=(
            f"get and patch {connection.RESOURCES} (a dry run needs what applying needs)",
            f"create {connection.RESOURCES} (for one that isn't there yet)",
            "get controllerrevisions.apps (to know what was pinned before; without it, models are read anew)",
        ),
    )
    terminal.add_output(parser)
    parser.set_defaults(command=_diff)


def _diff(arguments: argparse.Namespace) -> int:
    try:
        return asyncio.run(_show(arguments))
    except (Waiting, OSError) as problem:
        terminal.say(str(problem), to=sys.stderr)
        return EXIT_UNDETERMINED


async def _show(arguments: argparse.Namespace) -> int:
    settings = models.settings_from(os.environ)
    read_for = models.reader(arguments, settings)
    manifests = [(file, it) for file in arguments.filename for it in offline.documents(file, terminal.warn)]
    async with connection.connected(arguments) as (cluster, namespace):
        found = []
        for file, manifest in manifests:
            offline.resource(manifest, file)  # its words are better than the API server's
            placed = _placed(manifest, arguments.namespace, namespace)
            found.append(await gather(cluster, placed, settings, read_for, arguments.field_manager))
    terminal.show(found, _drawn, output=arguments.output)
    return max(map(exit_code, found))


def _drawn(document: list[dict[str, Any]], console: Console) -> RenderableType:
    from . import display  # rich takes a moment to import

    return display.differences(document, console)


def _placed(manifest: Manifest, asked: str | None, default: str) -> Manifest:
    """A resource in its namespace, which may not be another one than was asked for, as with kubectl."""
    metadata = manifest["metadata"]
    own = metadata.get("namespace")
    if own and asked and own != asked:
        raise ValueError(f"{metadata['name']} is of the namespace {own}, and -n says {asked}; leave one of them out")
    return {**manifest, "metadata": {**metadata, "namespace": own or asked or default}}


async def gather(
    cluster: Cluster, manifest: Manifest, settings: Settings, read_for: ReadFor, manager: str
) -> dict[str, Any]:
    """The document of one resource.

    Raises:
        Refused: the API server refuses it.
        OSError: the cluster can't be asked.
    """
    name, namespace = manifest["metadata"]["name"], manifest["metadata"]["namespace"]
    live = await cluster.get(api.KIND, namespace, name)
    if live is None:
        await connection.check_defined(cluster)
    after = await cluster.preview(manifest, merge_patch=client_side_patch(live, manifest), manager=manager)
    resource = SpeculatorDeployment.from_object(after)
    served = await _served(cluster, resource, live, settings, read_for)
    return document(live, after, served)


def client_side_patch(live: Manifest | None, manifest: Manifest) -> Manifest | None:
    """What ``kubectl apply`` would send of a resource that it applied before, client-side: what is given, and null for
    what was given the last time and isn't now. None where it would send the whole: there is no last time.

    Source: jsonmergepatch.CreateThreeWayJSONMergePatch in k8s.io/apimachinery.
    """
    annotations = (live or {}).get("metadata", {}).get("annotations") or {}
    try:
        last = json.loads(annotations[LAST_APPLIED])
    except (LookupError, ValueError):
        return None
    # kubectl's has annotations at all times: what it was given is one of them.
    metadata = manifest.get("metadata") or {}
    given = {**manifest, "metadata": {**metadata, "annotations": metadata.get("annotations") or {}}}
    return _patch(last, given) if isinstance(last, dict) else None


def _patch(last: Mapping[str, Any], given: Mapping[str, Any]) -> Manifest:
    patch: Manifest = {
        name: None for name in last if name not in given and name not in ("apiVersion", "kind", "status")
    }
    for name, value in given.items():
        before = last.get(name)
        patch[name] = _patch(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return patch


async def _served(
    cluster: Cluster, resource: SpeculatorDeployment, live: Manifest | None, settings: Settings, read_for: ReadFor
) -> Served:
    """What the pods of a resource would run: what the cluster has pinned for its inputs, or what they are resolved to
    here and now."""
    from speculator_operator.cluster import Forbidden

    name = render.revision_name(resource)
    shown = ((live or {}).get("status") or {}).get("resolved")
    if shown and shown.get("revision") == name:
        return _pinned(shown)
    try:
        kept = await cluster.get("ControllerRevision", resource.namespace, name) if live else None
    except Forbidden:
        kept = None
    if kept:
        return _pinned(kept["data"]["resolved"])
    assessment = await assess(resource, settings, read_for(resource))
    return Served(
        resolved=assessment.resolved,
        findings=assessment.findings,
        unknown=assessment.waiting.message if assessment.waiting else "",
        failed=assessment.waiting is not None and not isinstance(assessment.waiting, NotRead),
    )


def _pinned(resolved: Mapping[str, Any]) -> Served:
    parsed = Resolved.model_validate(resolved)
    return Served(resolved=parsed, findings=tuple(parsed.warnings), pinned=True)


def document(live: Manifest | None, after: Manifest, served: Served) -> dict[str, Any]:
    """What would change. ``refused``: the operator would refuse it, and leave alone what serves. ``pods.roll``: running
    pods would be replaced. ``command`` is null where it isn't known what they would run."""
    before = ((live or {}).get("status") or {}).get("resolved") or {}
    resource = SpeculatorDeployment.from_object(after)
    old, new = before.get("revision"), render.revision_name(resource)
    wanted = {"before": pods_wanted(live) if live else None, "after": pods_wanted(after)}
    changes = [
        {"path": path, "before": was, "after": now}
        for path, was, now in _changes(_given(live or {}), _given(after), "")
    ]
    refused = any(finding.severity == Severity.ERROR for finding in served.findings)
    command = None
    if served.resolved:
        command = list(_lines(before.get("command") or [], served.resolved.command))
    return {
        "namespace": resource.namespace,
        "name": resource.name,
        "refused": refused,
        "change": "created" if live is None else "changed" if changes else "none",
        "fields": changes,
        "replicas": wanted,
        "pods": {
            "roll": bool(old and old != new and wanted["before"] and wanted["after"] and not refused),
            "revision": {"before": old, "after": new},
            "strategy": resource.spec.rollout.strategy.value,
        },
        "command": command,
        "pinned": served.pinned,
        "unknown": served.unknown,
        "undetermined": served.failed,
        "findings": [finding.model_dump(mode="json", by_alias=True) for finding in served.findings],
    }


def exit_code(document: Mapping[str, Any]) -> int:
    if document["refused"]:
        return terminal.EXIT_REFUSED
    if document["undetermined"]:
        return EXIT_UNDETERMINED
    return 0 if document["change"] == "none" else EXIT_CHANGES


def _given(body: Manifest) -> Manifest:
    """What a user writes of a resource."""
    metadata = body.get("metadata") or {}
    annotations = {name: it for name, it in (metadata.get("annotations") or {}).items() if name != LAST_APPLIED}
    return {
        "metadata": {"labels": metadata.get("labels") or {}, "annotations": annotations},
        "spec": body.get("spec") or {},
    }


def _changes(before: Any, after: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """(path, before, after) of every value that differs; None is one that isn't there."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in sorted({*before, *after}):
            place = f"{path}.{name}" if path else name
            yield from _changes(before.get(name), after.get(name), place)
    elif isinstance(after, dict) and before is None and after:
        yield from _changes({}, after, path)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (was, now) in enumerate(zip(before, after, strict=True)):
            yield from _changes(was, now, f"{path}[{index}]")
    elif before != after:
        yield path, before, after


def _lines(before: Sequence[str], after: Sequence[str]) -> Iterator[dict[str, str]]:
    """The words of a command that go (``-``) and that come (``+``), in their order."""
    matcher = difflib.SequenceMatcher(a=before, b=after, autojunk=False)
    for operation, start, end, other_start, other_end in matcher.get_opcodes():
        if operation != "equal":
            yield from ({"change": "-", "word": word} for word in before[start:end])
            yield from ({"change": "+", "word": word} for word in after[other_start:other_end])
