"""``resolve``, ``render`` and ``check``: what can be said of models, and of resources in files, without a cluster."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from speculator_operator import api, check, engine_process, offline
from speculator_operator.api import Identity, Resolved, Severity
from speculator_operator.core import network_policy, render
from speculator_operator.core.engine_args import check_allowed
from speculator_operator.core.fetch_job import fetch_jobs
from speculator_operator.folder import read_folder
from speculator_operator.hub import Hub
from speculator_operator.resolution import Read, resolve
from speculator_operator.settings import Settings

from . import terminal
from .terminal import say, warn

#: Stands for a folder where a resource has to name a repository.
_FOLDER = "local/checkpoint"


class _Dumper(yaml.SafeDumper):
    """Writes what occurs twice twice: anchors are no way to show an object."""

    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True


def add(commands: Any) -> None:
    look = commands.add_parser("resolve", help="show what a checkpoint's recipe becomes")
    look.add_argument("checkpoint", metavar="CHECKPOINT", help="a repository (org/name), or a folder")
    look.add_argument("--revision", metavar="R", help="branch, tag or commit of the repository")
    look.add_argument("--speculation", type=_json_object, metavar="JSON", help="a resource's speculation.config")
    look.add_argument("-o", "--output", choices=("json", "yaml", "table"), default="json")
    look.set_defaults(command=_resolve)

    draw = commands.add_parser("render", help="print the objects that a resource would become")
    draw.add_argument("-f", "--filename", required=True, metavar="FILE", help="the resource, or - for standard input")
    _add_folders(draw)
    draw.add_argument("-o", "--output", choices=("yaml", "json"), default="yaml")
    draw.set_defaults(command=_render)

    judge = commands.add_parser(
        "check",
        help="say everything that is wrong with resources",
        description="Says everything that is wrong with resources, before they are applied. Exits with 2 where there "
        "is an error, else with 1 where something couldn't be determined.",
    )
    add_reading(judge)
    judge.add_argument("--strict", action="store_true", help="exit with 1 where there are warnings")
    judge.add_argument("--engine", action="store_true", help="ask the engine too, where it is installed")
    judge.add_argument(
        "--engine-python", default=sys.executable, metavar="PYTHON", help="the Python that has it (default: this one)"
    )
    judge.add_argument("-o", "--output", choices=("table", "json"), default="table")
    judge.set_defaults(command=_check)


def add_reading(parser: argparse.ArgumentParser) -> None:
    """Which resources are judged, and how their models are read."""
    parser.add_argument(
        "-f", "--filename", action="append", required=True, metavar="FILE", help="resources, or - for standard input"
    )
    _add_folders(parser)
    parser.add_argument("--offline", action="store_true", help="read nothing from the hub; what needs it isn't checked")


def _add_folders(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", type=Path, metavar="DIR", help="read this instead of the model's repository")
    parser.add_argument(
        "--verifier-checkpoint",
        type=Path,
        metavar="DIR",
        help="read this instead of the verifier's (of a regular model's draft's, if it has one)",
    )


def settings_from(environment: Mapping[str, str]) -> Settings:
    settings = Settings.from_environment(environment)
    check_allowed(settings)
    network_policy.check_settings(settings)
    return settings


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"not a JSON object: {text[:100]!r}")
    return value


def _resolve(arguments: argparse.Namespace) -> int:
    settings = settings_from(os.environ)
    uri = arguments.checkpoint
    folder = Path(uri) if uri and Path(uri).is_dir() else None
    if folder:
        if arguments.revision:
            raise ValueError("--revision is for a repository; a folder has none")
        uri = _FOLDER
    resource = api.SpeculatorDeployment.from_object(
        {
            "metadata": {"name": "resolve"},
            "spec": {
                "model": {"uri": uri, **({"revision": arguments.revision} if arguments.revision else {})},
                "speculation": {"config": arguments.speculation} if arguments.speculation else {},
            },
        }
    )
    hub = Hub(settings.hf_endpoint, timeout=settings.hub_timeout)
    read = offline.open_only(resource, hub.read, folder="in its place")
    if folder:
        rest = offline.unread_with_warning(read, warn)
        read = offline.folder_first(read_folder(folder, arguments.checkpoint), _FOLDER, rest)
    _print_resolved(asyncio.run(resolve(resource, settings, read)), arguments.output)
    return 0


def _print_resolved(resolved: Resolved, output: str) -> None:
    document = {
        "speculative": resolved.speculative_config is not None,
        "draft": _identity(resolved.draft),
        "verifier": _identity(resolved.verifier),
        "speculativeConfig": resolved.speculative_config,
        "memory": resolved.memory.model_dump(by_alias=True, exclude_none=True) if resolved.memory else None,
        "warnings": [warning.model_dump(by_alias=True, exclude_none=True) for warning in resolved.warnings],
    }
    if output == "json":
        say(json.dumps(document, indent=2))
    elif output == "yaml":
        say(yaml.safe_dump(document, sort_keys=False))
    else:
        rows = [("MODEL", str(resolved.model)), ("SPECULATIVE", "yes" if document["speculative"] else "no")]
        rows += [(origin.field.upper(), f"{origin.value}  ({origin.source})") for origin in resolved.sources]
        rows += [("MEMORY", resolved.memory.summary)] if resolved.memory else []
        rows += [("WARNING", f"{warning.reason}: {warning.message}") for warning in resolved.warnings]
        width = max(len(name) for name, _ in rows)
        say("\n".join(f"{name:{width}}  {text}" for name, text in rows))


def _identity(identity: Identity | None) -> dict[str, Any] | None:
    return identity.model_dump() if identity else None


def _render(arguments: argparse.Namespace) -> int:
    settings = settings_from(os.environ)
    objects: list[render.Manifest] = []
    for document in offline.documents(arguments.filename, warn):
        resource = offline.resource(document, arguments.filename)
        read = offline.open_only(resource, Hub(settings.hf_endpoint, timeout=settings.hub_timeout).read)
        if arguments.checkpoint:
            rest = offline.unread_with_warning(offline.nothing, warn)
            read = offline.folders_first(resource, arguments.checkpoint, arguments.verifier_checkpoint, rest)
        resolved = asyncio.run(resolve(resource, settings, read))
        template = render.pod_template(resource, resolved, settings)
        objects.append(render.controller_revision(resource, resolved, template))
        objects += fetch_jobs(resource, resolved, settings).values()
        objects.append(render.service(resource, resolved.port))
        if settings.network_policies:
            objects.append(network_policy.network_policy(resource, [template], settings))
        objects.append(render.deployment(resource, template))
    if arguments.output == "json":
        say(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}, indent=2))
    else:
        say(yaml.dump_all(objects, Dumper=_Dumper, sort_keys=False, width=120))
    return 0


def _check(arguments: argparse.Namespace) -> int:
    settings = settings_from(os.environ)
    if arguments.engine:
        engine_process.find(arguments.engine_python)
    reports = asyncio.run(_reports(arguments, settings))
    if arguments.engine:
        reports = check.ask_engine(reports, arguments.engine_python)
    if arguments.output == "json":
        say(json.dumps([report.document() for report in reports], indent=2))
    else:
        width = max(shutil.get_terminal_size((100, 24)).columns, 40)
        say("\n\n".join("\n".join(check.lines(report, width)) for report in reports))
    if any(report.count(Severity.ERROR) for report in reports):
        return terminal.EXIT_REFUSED
    strict = arguments.strict and any(report.count(Severity.WARNING) for report in reports)
    return terminal.EXIT_UNDETERMINED if strict or any(report.undetermined for report in reports) else 0


async def _reports(arguments: argparse.Namespace, settings: Settings) -> list[check.Report]:
    read_for = reader(arguments, settings)
    return [report for file in arguments.filename for report in await check.check_file(file, settings, read_for, warn)]


def reader(arguments: argparse.Namespace, settings: Settings) -> check.ReadFor:
    """How resources' models are read, as ``add_reading``'s flags say."""
    hub = Hub(settings.hf_endpoint, timeout=settings.hub_timeout)
    closed = arguments.offline or arguments.checkpoint

    def read_for(resource: api.SpeculatorDeployment) -> Read:
        read = offline.nothing if closed else offline.open_only(resource, hub.read)
        return offline.folders_first(resource, arguments.checkpoint, arguments.verifier_checkpoint, read)

    return read_for
