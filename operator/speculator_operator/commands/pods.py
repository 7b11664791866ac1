"""``read`` and ``fetch``: what containers of the operator's image run in users' pods."""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path
from typing import Any

from speculator_operator import resolver
from speculator_operator.core import pod_models, resolver_report
from speculator_operator.errors import OperatorError
from speculator_operator.reference import COMMIT, Kind, Reference

from .terminal import say


def add(commands: Any) -> None:
    read = commands.add_parser("read", help="what a resolver Job runs: read a model, and report it")
    read.add_argument("uri", type=_reference, metavar="URI", help="the model, as in spec.model.uri")
    read.add_argument("--revision", metavar="R", help="branch, tag or commit of a repository")
    read.add_argument("--folder", type=Path, metavar="DIR", help="where it is mounted")
    read.add_argument(
        "--report", type=Path, metavar="FILE", default=resolver.TERMINATION_LOG, help="where to report to"
    )
    read.set_defaults(command=_read)

    fetch = commands.add_parser("fetch", help="what runs before an engine: fetch a model")
    fetch.add_argument("uri", type=_reference, metavar="URI", help="the model, as in spec.model.uri")
    fetch.add_argument("--revision", required=True, metavar="R", help="the commit or digest that it was resolved to")
    fetch.add_argument("--into", required=True, type=Path, metavar="DIR", help="the folder to fetch it into")
    fetch.add_argument("--report", type=Path, metavar="FILE", help="where to report to why it couldn't be fetched")
    fetch.set_defaults(command=_fetch)


def _reference(text: str) -> Reference:
    try:
        return Reference.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _read(arguments: argparse.Namespace) -> int:
    """Ends well if there is a report, whatever it says: the report is the result."""
    reference = arguments.uri.at(arguments.revision or arguments.uri.revision)
    if reference.kind in pod_models.MOUNTED and arguments.folder is None:
        raise ValueError(f"{reference.uri} is read from where it is mounted; name that with --folder")
    report, problem = asyncio.run(resolver.read(reference, folder=arguments.folder, environment=os.environ))
    arguments.report.write_text(report)
    say(str(problem or f"{reference.uri} was read"))
    return 0


def _fetch(arguments: argparse.Namespace) -> int:
    reference, revision = arguments.uri, arguments.revision
    if reference.kind in pod_models.MOUNTED:
        raise ValueError(
            f"{reference.uri} is mounted, not fetched; name org/repo, s3://BUCKET/PATH or gs://BUCKET/PATH"
        )
    if reference.kind is Kind.HUB and not COMMIT.fullmatch(revision):
        raise ValueError(f"a repository of the hub is fetched at a commit, which {revision[:100]!r} is not")
    try:
        asyncio.run(resolver.fetch(reference, revision=revision, target=arguments.into, environment=os.environ))
    except OperatorError as problem:
        if arguments.report:
            arguments.report.write_text(resolver_report.packed(problem))
        raise
    return 0
