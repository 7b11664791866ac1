"""The command line, installed as ``speculator-operator`` and as ``kubectl-speculator``.

Exit codes: 0; 1 undetermined (a hub or a file that can't be read); 2 the input is refused, with ``REASON: message`` on
standard error; 64 wrong usage.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml

from . import api
from .api import Identity, Resolved
from .core import render
from .core.checkpoint import Snapshot
from .crd import manifest
from .errors import Refused, Waiting
from .folder import read_folder
from .hub import Hub
from .reference import Reference
from .resolution import Read, resolve
from .settings import Settings, variable

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
    arguments = _parser().parse_args(argv)
    try:
        settings = Settings.from_environment(os.environ)
        code: int = arguments.command(arguments, settings)
        sys.stdout.flush()
    except ValueError as error:
        print(f"{error}", file=sys.stderr)
        return EXIT_USAGE
    except BrokenPipeError:  # whoever reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Refused as problem:
        print(problem, file=sys.stderr)
        return EXIT_REFUSED
    except (Waiting, OSError) as problem:
        print(problem, file=sys.stderr)
        return EXIT_UNDETERMINED
    return code


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
        run.add_argument(flag, metavar="V", help=f"{field.description} {field.default} by default [{variable(name)}]")
    run.set_defaults(command=_run)

    look = commands.add_parser("resolve", help="show what a checkpoint's recipe becomes")
    look.add_argument("checkpoint", metavar="CHECKPOINT", help="a repository (org/name), or a folder")
    look.add_argument("--revision", metavar="R", help="branch, tag or commit of the repository")
    look.add_argument("--speculation", type=_json_object, metavar="JSON", help="a resource's speculation.config")
    look.add_argument("-o", "--output", choices=("json", "yaml", "table"), default="json")
    look.set_defaults(command=_resolve)

    draw = commands.add_parser("render", help="print the objects that a resource would become")
    draw.add_argument("-f", "--filename", required=True, metavar="FILE", help="the resource, or - for standard input")
    draw.add_argument("--checkpoint", type=Path, metavar="DIR", help="read this instead of the model's repository")
    draw.add_argument("--verifier-checkpoint", type=Path, metavar="DIR", help="read this instead of the verifier's")
    draw.add_argument("-o", "--output", choices=("yaml", "json"), default="yaml")
    draw.set_defaults(command=_render)

    definition = commands.add_parser("crd", help="print the custom resource definition")
    definition.set_defaults(command=_crd)
    return parser


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"not a JSON object: {text[:100]!r}")
    return value


def _run(arguments: argparse.Namespace, settings: Settings) -> int:
    del settings  # those of the environment alone
    from .run import run  # kopf and the Kubernetes client take a second to import, which no other command needs

    logging.basicConfig(
        level=logging.DEBUG if arguments.verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    if not arguments.verbose:
        logging.getLogger("kopf.objects").setLevel(logging.WARNING)  # it would say of each event that it was handled
    given = {variable(name): getattr(arguments, name) for name in Settings.model_fields}
    settings = Settings.from_environment({**os.environ, **{name: value for name, value in given.items() if value}})
    for name, value in settings:
        print(f"{name} = {value}", file=sys.stderr)
    asyncio.run(run(settings, arguments.namespace or ()))
    return 0


def _resolve(arguments: argparse.Namespace, settings: Settings) -> int:
    hub = Hub(settings.hf_endpoint, timeout=settings.hub_timeout)
    read: Read = hub.read
    uri = arguments.checkpoint
    if uri and Path(uri).is_dir():
        if arguments.revision:
            raise ValueError("--revision is for a repository; a folder has none")
        read, uri = _folder_first(read_folder(Path(uri), arguments.checkpoint), hub.read), _FOLDER
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


def _folder_first(folder: Snapshot, read: Read) -> Read:
    """Reads ``_FOLDER`` from the folder, and the rest, as far as it can be reached, from the hub."""

    async def read_either(reference: Reference) -> Snapshot:
        if reference.uri == _FOLDER:
            return folder
        try:
            return await read(reference)
        except Waiting as problem:
            print(f"warning: {reference.uri} is not pinned or checked. {problem}", file=sys.stderr)
            return Snapshot(reference.uri, None, {})

    return read_either


def _print_resolved(resolved: Resolved, output: str) -> None:
    document = {
        "speculative": resolved.speculative_config is not None,
        "draft": _identity(resolved.draft),
        "verifier": _identity(resolved.verifier),
        "speculativeConfig": resolved.speculative_config,
    }
    if output == "json":
        print(json.dumps(document, indent=2))
    elif output == "yaml":
        print(yaml.safe_dump(document, sort_keys=False), end="")
    else:
        rows = [("MODEL", str(resolved.model)), ("SPECULATIVE", "yes" if document["speculative"] else "no")]
        rows += [(origin.field.upper(), f"{origin.value}  ({origin.source})") for origin in resolved.sources]
        width = max(len(name) for name, _ in rows)
        for name, text in rows:
            print(f"{name:{width}}  {text}")


def _identity(identity: Identity | None) -> dict[str, Any] | None:
    return identity.model_dump() if identity else None


def _render(arguments: argparse.Namespace, settings: Settings) -> int:
    file = arguments.filename
    try:
        text = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        documents = [document for document in yaml.safe_load_all(text) if document]
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Refused(api.Reason.SPEC_INVALID, f"{file} is not YAML: {error}") from error
    if not documents:
        raise Refused(api.Reason.SPEC_INVALID, f"{file} holds no {api.KIND}")
    objects: list[render.Manifest] = []
    for document in documents:
        if not isinstance(document, dict) or document.get("kind") != api.KIND:
            raise Refused(api.Reason.SPEC_INVALID, f"{file} holds something other than a {api.KIND}")
        # Nothing owns the objects that are printed, whatever cluster the resource was taken from.
        resource = api.SpeculatorDeployment.from_object(document).model_copy(update={"uid": ""})
        resolved = asyncio.run(resolve(resource, settings, _offline(arguments, resource, settings)))
        template = render.pod_template(resource, resolved, settings)
        objects.append(render.controller_revision(resource, resolved, template))
        objects.append(render.service(resource, resolved.port))
        objects.append(render.deployment(resource, template))
    if arguments.output == "json":
        print(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}, indent=2))
    else:
        print(yaml.dump_all(objects, Dumper=_Dumper, sort_keys=False, width=120), end="")
    return 0


def _offline(arguments: argparse.Namespace, resource: api.SpeculatorDeployment, settings: Settings) -> Read:
    """Reads from the folders given, and from the hub what no folder stands in for, if no folder is given at all."""
    if arguments.checkpoint is None:
        return Hub(settings.hf_endpoint, timeout=settings.hub_timeout).read
    folders = {resource.spec.model.reference.uri: arguments.checkpoint}

    async def read(reference: Reference) -> Snapshot:
        folder = folders.get(reference.uri, arguments.verifier_checkpoint)
        if folder is None:
            print(
                f"warning: {reference.uri} was not read: it is neither checked nor pinned (see --verifier-checkpoint)",
                file=sys.stderr,
            )
            return Snapshot(reference.uri, None, {})
        return read_folder(folder, reference.uri)

    return read


def _crd(arguments: argparse.Namespace, settings: Settings) -> int:
    del arguments, settings
    print(manifest(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
