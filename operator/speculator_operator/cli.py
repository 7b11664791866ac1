"""The command line, installed as ``speculator-operator`` and as ``kubectl-speculator``.

Its commands are in ``commands``, but for the two that are about an installation, which are here.

Exit codes: 0; 1 undetermined (a cluster, a hub or a file that can't be read; of ``check --strict``, warnings as well;
of ``run``, whatever ended it but being told to, such as a lease that is lost); 2 the input is refused, with ``REASON:
message`` on standard error (of ``check``, in what it prints; of ``run``, the cluster is too old); 64 wrong usage.
``diff`` has kubectl's: 0 nothing would change, 1 something would, and above 1 it is an error.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from . import logs
from .commands import completion, diff, explain, models, pods, status, top, verify
from .commands.models import settings_from
from .commands.terminal import EXIT_INTERRUPTED, EXIT_REFUSED, EXIT_UNDETERMINED, EXIT_USAGE, prepare, say
from .crd import manifest
from .errors import Refused, Waiting
from .settings import SettingInvalid, Settings, variable, written

log = logging.getLogger(__name__)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(EXIT_USAGE, f"{self.prog}: {message}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    prepare()
    arguments = parser().parse_args(argv)
    try:
        code: int = arguments.command(arguments)
    except ValueError as error:
        say(str(error), to=sys.stderr)
        return EXIT_USAGE
    except Refused as problem:
        say(str(problem), to=sys.stderr)
        return EXIT_REFUSED
    except (Waiting, OSError) as problem:
        say(str(problem), to=sys.stderr)
        return EXIT_UNDETERMINED
    except KeyboardInterrupt:  # how watching ends
        return EXIT_INTERRUPTED
    return code


def complete() -> int:
    """Tells kubectl what ``kubectl speculator`` may go on with: installed as ``kubectl_complete-speculator``."""
    prepare()
    say(completion.for_kubectl(parser(), sys.argv[1:]))
    return 0


def parser() -> argparse.ArgumentParser:
    """All commands, in the order in which ``--help`` lists them."""
    program = Path(sys.argv[0]).name.replace("kubectl-", "kubectl ")  # as a plugin is called
    made = _Parser(prog=program, description="Serves speculators checkpoints, proven to speculate.")
    commands = made.add_subparsers(required=True, metavar="COMMAND")
    for module in (status, top, verify, diff, explain, models):
        module.add(commands)

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
    pods.add(commands)

    definition = commands.add_parser("crd", help="print the custom resource definition")
    definition.set_defaults(command=_crd)
    completion.add(commands, parser)
    return made


def _run(arguments: argparse.Namespace) -> int:
    from .run import ClusterTooOld, run  # kopf and the Kubernetes client take a second to import: no other needs them

    given = {variable(name): getattr(arguments, name) for name in Settings.model_fields}
    settings = settings_from({**os.environ, **{name: value for name, value in given.items() if value}})
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


def _crd(arguments: argparse.Namespace) -> int:
    del arguments
    say(manifest())
    return 0


if __name__ == "__main__":
    sys.exit(main())
