"""``verify``: sends each Ready pod's engine a canary, and shows what it drafted. How pods are reached, and why so, is
said in ``engines``.

The exit code is 0 only if every Ready pod's engine has drafted; 2 if one hasn't; 1 if one couldn't be asked, or none is
Ready.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from speculator_operator.core import status as core
from speculator_operator.core.acceptance import Counters
from speculator_operator.pods import pods_of

from . import connection, engines, terminal
from .engines import Answer

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

#: Said wherever the counts are.
CAVEAT = (
    "The canary forces its tokens, so what is accepted of it says nothing about quality; other requests of the same "
    "moment count too. In turn, it counts in the acceptance that status shows of the next minutes. Acceptance of real "
    "traffic: kubectl speculator status."
)


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "verify",
        help="send each ready pod a canary, and show what it drafted",
        description="Sends a short completion to the engine of each Ready pod, from inside the pod, and shows what was "
        "drafted. Ends with 0 only if all drafted, with 2 if one didn't, with 1 if one couldn't be asked or none is "
        f"Ready. {CAVEAT}",
    )
    parser.add_argument("name", metavar="NAME", type=connection.name, help="the resource")
    connection.add_options(
        parser,
        rights=(f"get {connection.RESOURCES}", "list pods", "get and create pods/exec"),
    )
    terminal.add_output(parser)
    parser.set_defaults(command=_verify)


def _verify(arguments: argparse.Namespace) -> int:
    return asyncio.run(_ask(arguments))


async def _ask(arguments: argparse.Namespace) -> int:
    async with connection.connected(arguments) as (cluster, namespace):
        await connection.find(cluster, namespace, arguments.name)
        pods = [core.pod(pod) for pod in await pods_of(cluster, namespace, arguments.name)]
        ready = [pod for pod in pods if pod.ready]
        answers = await engines.ask(cluster, namespace, ready, canary=True)
    found = document(namespace, arguments.name, pods, answers)
    terminal.show(found, _drawn, output=arguments.output)
    return exit_code(found)


def _drawn(document: dict[str, Any], console: Console) -> RenderableType:
    from . import display  # rich takes a moment to import

    return display.verification(document, console)


def document(namespace: str, name: str, pods: Sequence[core.Pod], answers: Mapping[str, Answer]) -> dict[str, Any]:
    """``drafted`` of a pod is null where it couldn't be asked, of all together where any couldn't, or none is Ready."""
    rows = [_row(name, answer) for name, answer in sorted(answers.items())]
    drafted = [row["drafted"] for row in rows]
    return {
        "namespace": namespace,
        "name": name,
        "drafted": False if False in drafted else None if None in drafted or not drafted else True,
        "pods": rows,
        "notReady": sorted(pod.name for pod in pods if not pod.ready),
        "caveat": CAVEAT,
    }


def _row(pod: str, answer: Answer) -> dict[str, Any]:
    before, after = answer.before or Counters(), answer.after or Counters()
    more = after.since(before)
    return {
        "pod": pod,
        "drafted": (more.drafts > 0) if answer.reached else None,
        "drafts": more.drafts,
        "draftTokens": more.draft_tokens,
        "before": _counts(before),
        "after": _counts(after),
        "problem": answer.problem,
    }


def _counts(counters: Counters) -> dict[str, int]:
    return {
        "drafts": counters.drafts,
        "draftTokens": counters.draft_tokens,
        "acceptedTokens": counters.accepted_tokens,
    }


def exit_code(document: Mapping[str, Any]) -> int:
    match document["drafted"]:
        case True:
            return 0
        case False:
            return terminal.EXIT_REFUSED
    return terminal.EXIT_UNDETERMINED
