"""``top``: all resources of a namespace, or of all, and what their drafts bring."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from speculator_operator import api, timestamp
from speculator_operator.api import ConditionType
from speculator_operator.core.status import UNKNOWN
from speculator_operator.pods import pods_wanted

from . import connection, terminal

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from speculator_operator.cluster import Cluster

Manifest = dict[str, Any]


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "top",
        help="show what all resources draft, and how much of it is accepted",
        description="Shows what all resources draft, and how much of it is accepted: on a terminal until it is "
        "interrupted, elsewhere once. All of it is what status says.",
    )
    connection.add_options(parser, rights=(f"list {connection.RESOURCES} (with -A, in all namespaces)",))
    parser.add_argument("-A", "--all-namespaces", action="store_true", help="of all namespaces")
    parser.add_argument("--once", action="store_true", help="once, on a terminal too")
    terminal.add_output(parser)
    parser.set_defaults(command=_top)


def _top(arguments: argparse.Namespace) -> int:
    return asyncio.run(_show(arguments))


async def _show(arguments: argparse.Namespace) -> int:
    async with connection.connected(arguments) as (cluster, namespace):
        where = None if arguments.all_namespaces else namespace

        async def look() -> dict[str, Any]:
            return await gather(cluster, where)

        if terminal.interactive() and not (arguments.once or arguments.output):
            await terminal.keep_showing(look, _drawn, output=None)
        terminal.show(await look(), _drawn, output=arguments.output)
    return 0


def _drawn(document: dict[str, Any], console: Console) -> RenderableType:
    from . import display  # rich takes a moment to import

    return display.top(document, console)


async def gather(cluster: Cluster, namespace: str | None) -> dict[str, Any]:
    """
    Raises:
        OSError: the cluster can't be asked, or doesn't have the definition.
    """
    from speculator_operator.cluster import ClusterError, Forbidden, Unreachable

    try:
        found = await cluster.list(api.KIND, namespace)
    except (Forbidden, Unreachable):
        raise
    except ClusterError:
        await connection.check_defined(cluster)
        raise
    return document(found, namespace, timestamp.now())


def document(bodies: Iterable[Manifest], namespace: str | None, now: str) -> dict[str, Any]:
    """``namespace`` null means all of them. What isn't known of a resource is null."""
    rows = sorted(map(_row, bodies), key=lambda row: (row["namespace"], row["name"]))
    return {"at": now, "namespace": namespace, "resources": rows}


def _row(body: Manifest) -> dict[str, Any]:
    status = body.get("status") or {}
    conditions = {it["type"]: it for it in status.get("conditions") or []}
    resolved, acceptance = status.get("resolved") or {}, status.get("acceptance") or {}
    ready, active = (conditions.get(type_) or {} for type_ in (ConditionType.READY, ConditionType.SPECULATION_ACTIVE))
    gpus = resolved.get("tensor", 1) * resolved.get("pipeline", 1) * status.get("replicas", 0) if resolved else None
    return {
        "namespace": body["metadata"]["namespace"],
        "name": body["metadata"]["name"],
        "ready": ready.get("status", UNKNOWN),
        "readyReason": ready.get("reason"),
        "speculation": active.get("status", UNKNOWN),
        "speculationReason": active.get("reason"),
        "method": resolved.get("method"),
        "tokens": resolved.get("numSpeculativeTokens"),
        "drafts": acceptance.get("drafts"),
        "rate": acceptance.get("rate"),
        "length": acceptance.get("length"),
        "ratePerPosition": acceptance.get("ratePerPosition") or [],
        "replicas": pods_wanted(body),
        "readyReplicas": status.get("readyReplicas", 0),
        "gpus": gpus,
    }
