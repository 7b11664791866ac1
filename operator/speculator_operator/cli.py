"""The command line, installed as ``speculator-operator`` and as ``kubectl-speculator``.

Exit codes: 0; 1 undetermined (a hub or a file that can't be read; of ``check --strict``, warnings as well; of ``run``,
whatever ended it but being told to, such as a lease that is lost); 2 the input is refused, with ``REASON: message`` on
standard error (of ``check``, in what it prints; of ``run``, the cluster is too old); 64 wrong usage.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import logging
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO

import yaml

from . import api, check, engine_process, logs, offline, resolver
from .api import Identity, Resolved, Severity
from .core import network_policy, pod_models, render
from .core.engine_args import check_allowed
from .crd import manifest
from .errors import Refused, Waiting
from .folder import read_folder
from .hub import Hub
from .reference import Reference
from .resolution import Read, resolve
from .settings import SettingInvalid, Settings, variable, written

log = logging.getLogger(__name__)

EXIT_UNDETERMINED = 1
EXIT_REFUSED = 2
EXIT_USAGE = 64

#: Stands for a folder where a resource has to name a repository.
_FOLDER = "local/checkpoint"


class _Dumper(yaml.SafeDumper):
    """Writes what occurs twice twice: anchors are no way to show an object."""

    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(EXIT_USAGE, f"{self.prog}: {message}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    if sys.stderr is None:  # argparse would print to standard output instead
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123  # as long as the process lives
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # whatever a file holds, it can be printed
            stream.reconfigure(errors="backslashreplace")
    arguments = _parser().parse_args(argv)
    try:
        code: int = arguments.command(arguments)
    except ValueError as error:
        _print(str(error), to=sys.stderr)
        return EXIT_USAGE
    except Refused as problem:
        _print(str(problem), to=sys.stderr)
        return EXIT_REFUSED
    except (Waiting, OSError) as problem:
        _print(str(problem), to=sys.stderr)
        return EXIT_UNDETERMINED
    return code


def _print(text: str, *, to: TextIO | None = None) -> None:
    """Prints lines to standard output, or another stream. That whoever reads has seen enough changes no exit code.

    Raises:
        OSError: they can't be written, or standard output is closed.
    """
    stream = to or sys.stdout
    if stream is None:
        raise OSError("standard output is closed, so nothing can be printed")
    try:
        print(text, end="" if text.endswith("\n") else "\n", file=stream, flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # what is buffered would fail again at the exit
        if not isinstance(error, BrokenPipeError):
            raise


def _warn(text: str) -> None:
    _print(f"warning: {text}", to=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog=Path(sys.argv[0]).name, description="Serves speculators checkpoints, proven to speculate.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="run the operator", description="Runs the operator until it is told to end.")
    where = run.add_mutually_exclusive_group()
    where.add_argument("-n", "--namespace", action="append", metavar="N", help="watch this namespace (repeatable)")
    where.add_argument("-A", "--all-namespaces", action="store_true", help="watch all namespaces (the default)")
    run.add_argument("--verbose", action="store_true", help="log more")
    for name, field in Settings.model_fields.items():
        flag = f"--{name.replace('_', '-')}"
        default = f" {written(field.default)} by default" if written(field.default) else ""
        described = " ".join((field.description or "").split())
        run.add_argument(flag, metavar="V", help=f"{described}{default} [{variable(name)}]")
    run.set_defaults(command=_run)

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
    judge.add_argument(
        "-f", "--filename", action="append", required=True, metavar="FILE", help="resources, or - for standard input"
    )
    _add_folders(judge)
    judge.add_argument("--offline", action="store_true", help="read nothing from the hub; what needs it isn't checked")
    judge.add_argument("--strict", action="store_true", help="exit with 1 where there are warnings")
    judge.add_argument("--engine", action="store_true", help="ask the engine too, where it is installed")
    judge.add_argument(
        "--engine-python", default=sys.executable, metavar="PYTHON", help="the Python that has it (default: this one)"
    )
    judge.add_argument("-o", "--output", choices=("table", "json"), default="table")
    judge.set_defaults(command=_check)

    read = commands.add_parser("read", help="what a resolver Job runs: read a model, and report it")
    read.add_argument("uri", type=_reference, metavar="URI", help="the model, as in spec.model.uri")
    read.add_argument("--revision", metavar="R", help="branch, tag or commit of a repository")
    read.add_argument("--folder", type=Path, metavar="DIR", help="where it is mounted")
    read.add_argument(
        "--report", type=Path, metavar="FILE", default=resolver.TERMINATION_LOG, help="where to report to"
    )
    read.set_defaults(command=_read)

    fetch = commands.add_parser("fetch", help="what runs before an engine: fetch a model from object storage")
    fetch.add_argument("uri", type=_reference, metavar="URI", help="the model, as in spec.model.uri")
    fetch.add_argument("--revision", required=True, metavar="DIGEST", help="what it was resolved to")
    fetch.add_argument("--into", required=True, type=Path, metavar="DIR", help="the folder to fetch it into")
    fetch.set_defaults(command=_fetch)

    definition = commands.add_parser("crd", help="print the custom resource definition")
    definition.set_defaults(command=_crd)
    return parser


def _add_folders(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", type=Path, metavar="DIR", help="read this instead of the model's repository")
    parser.add_argument(
        "--verifier-checkpoint",
        type=Path,
        metavar="DIR",
        help="read this instead of the verifier's (of a regular model's draft's, if it has one)",
    )


def _settings(environment: Mapping[str, str]) -> Settings:
    settings = Settings.from_environment(environment)
    check_allowed(settings)
    network_policy.check_settings(settings)
    return settings


def _reference(text: str) -> Reference:
    try:
        return Reference.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"not a JSON object: {text[:100]!r}")
    return value


def _run(arguments: argparse.Namespace) -> int:
    from .run import ClusterTooOld, run  # kopf and the Kubernetes client take a second to import: no other needs them

    given = {variable(name): getattr(arguments, name) for name in Settings.model_fields}
    settings = _settings({**os.environ, **{name: value for name, value in given.items() if value}})
    logs.configure(settings.log_format, verbose=arguments.verbose)
    for name, value in settings:
        log.info("%s = %s", name, written(value))
    try:
        asyncio.run(run(settings, arguments.namespace or ()))
    except (ClusterTooOld, SettingInvalid, OSError) as problem:
        log.critical("%s", problem)
        if isinstance(problem, ClusterTooOld):
            return EXIT_REFUSED
        return EXIT_USAGE if isinstance(problem, SettingInvalid) else EXIT_UNDETERMINED
    except Exception:
        log.exception("The operator failed")
        return EXIT_UNDETERMINED
    return 0


def _resolve(arguments: argparse.Namespace) -> int:
    settings = _settings(os.environ)
    hub = Hub(settings.hf_endpoint, timeout=settings.hub_timeout)
    read: Read = hub.read
    uri = arguments.checkpoint
    if uri and Path(uri).is_dir():
        if arguments.revision:
            raise ValueError("--revision is for a repository; a folder has none")
        rest = offline.unread_with_warning(hub.read, _warn)
        read, uri = offline.folder_first(read_folder(Path(uri), arguments.checkpoint), _FOLDER, rest), _FOLDER
    resource = api.SpeculatorDeployment.from_object(
        {
            "metadata": {"name": "resolve"},
            "spec": {
                "model": {"uri": uri, **({"revision": arguments.revision} if arguments.revision else {})},
                "speculation": {"config": arguments.speculation} if arguments.speculation else {},
            },
        }
    )
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
        _print(json.dumps(document, indent=2))
    elif output == "yaml":
        _print(yaml.safe_dump(document, sort_keys=False))
    else:
        rows = [("MODEL", str(resolved.model)), ("SPECULATIVE", "yes" if document["speculative"] else "no")]
        rows += [(origin.field.upper(), f"{origin.value}  ({origin.source})") for origin in resolved.sources]
        rows += [("MEMORY", resolved.memory.summary)] if resolved.memory else []
        rows += [("WARNING", f"{warning.reason}: {warning.message}") for warning in resolved.warnings]
        width = max(len(name) for name, _ in rows)
        _print("\n".join(f"{name:{width}}  {text}" for name, text in rows))


def _identity(identity: Identity | None) -> dict[str, Any] | None:
    return identity.model_dump() if identity else None


def _render(arguments: argparse.Namespace) -> int:
    settings = _settings(os.environ)
    objects: list[render.Manifest] = []
    for document in offline.documents(arguments.filename):
        resource = offline.resource(document, arguments.filename)
        read = offline.open_only(resource, Hub(settings.hf_endpoint, timeout=settings.hub_timeout).read)
        if arguments.checkpoint:
            rest = offline.unread_with_warning(offline.nothing, _warn)
            read = offline.folders_first(resource, arguments.checkpoint, arguments.verifier_checkpoint, rest)
        resolved = asyncio.run(resolve(resource, settings, read))
        template = render.pod_template(resource, resolved, settings)
        objects.append(render.controller_revision(resource, resolved, template))
        objects.append(render.service(resource, resolved.port))
        if settings.network_policies:
            objects.append(network_policy.network_policy(resource, [template], settings))
        objects.append(render.deployment(resource, template))
    if arguments.output == "json":
        _print(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}, indent=2))
    else:
        _print(yaml.dump_all(objects, Dumper=_Dumper, sort_keys=False, width=120))
    return 0


def _check(arguments: argparse.Namespace) -> int:
    settings = _settings(os.environ)
    if arguments.engine:
        engine_process.find(arguments.engine_python)
    reports = asyncio.run(_reports(arguments, settings))
    if arguments.engine:
        reports = check.ask_engine(reports, arguments.engine_python)
    if arguments.output == "json":
        _print(json.dumps([report.document() for report in reports], indent=2))
    else:
        width = max(shutil.get_terminal_size((100, 24)).columns, 40)
        _print("\n\n".join("\n".join(check.lines(report, width)) for report in reports))
    if any(report.count(Severity.ERROR) for report in reports):
        return EXIT_REFUSED
    strict = arguments.strict and any(report.count(Severity.WARNING) for report in reports)
    return EXIT_UNDETERMINED if strict or any(report.undetermined for report in reports) else 0


async def _reports(arguments: argparse.Namespace, settings: Settings) -> list[check.Report]:
    hub = Hub(settings.hf_endpoint, timeout=settings.hub_timeout)
    closed = arguments.offline or arguments.checkpoint

    def read_for(resource: api.SpeculatorDeployment) -> Read:
        read = offline.nothing if closed else offline.open_only(resource, hub.read)
        return offline.folders_first(resource, arguments.checkpoint, arguments.verifier_checkpoint, read)

    return [report for file in arguments.filename for report in await check.check_file(file, settings, read_for)]


def _read(arguments: argparse.Namespace) -> int:
    """Ends well if there is a report, whatever it says: the report is the result."""
    reference = arguments.uri.at(arguments.revision or arguments.uri.revision)
    if reference.kind in pod_models.MOUNTED and arguments.folder is None:
        raise ValueError(f"{reference.uri} is read from where it is mounted; name that with --folder")
    report, problem = asyncio.run(resolver.read(reference, folder=arguments.folder, environment=os.environ))
    arguments.report.write_text(report)
    _print(str(problem or f"{reference.uri} was read"))
    return 0


def _fetch(arguments: argparse.Namespace) -> int:
    reference, into = arguments.uri, arguments.into
    if reference.kind not in pod_models.STORED:
        raise ValueError(f"{reference.uri} is not in object storage; name s3://BUCKET/PATH or gs://BUCKET/PATH")
    asyncio.run(resolver.fetch(reference, revision=arguments.revision, target=into, environment=os.environ))
    return 0


def _crd(arguments: argparse.Namespace) -> int:
    del arguments
    _print(manifest())
    return 0


if __name__ == "__main__":
    sys.exit(main())
