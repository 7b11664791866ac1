"""Which cluster and namespace a command means, and what is said where it can't be asked.

The flags are kubectl's, and so is what they default to.
"""

from __future__ import annotations

import argparse
import difflib
import textwrap
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from speculator_operator import api
from speculator_operator.api import Reason
from speculator_operator.errors import Refused

if TYPE_CHECKING:  # the Kubernetes client takes a second to import, which other commands needn't wait for
    from speculator_operator.cluster import Cluster, ClusterError

IN_FLIGHT = 16
#: Names that are told where the one that was asked for isn't there.
_MOST_NAMED = 10

RESOURCES = f"{api.PLURAL}.{api.GROUP}"


def add_options(parser: argparse.ArgumentParser, *, rights: Sequence[str]) -> None:
    """``rights`` are what its user needs, each as ``VERBS RESOURCE (WHAT FOR)``."""
    parser.add_argument("-n", "--namespace", metavar="NS", help="the namespace (by default the context's)")
    parser.add_argument("--context", metavar="C", help="the kubeconfig's context (by default its current one)")
    parser.add_argument("--kubeconfig", metavar="FILE", help="by default KUBECONFIG, or ~/.kube/config")
    parser.description = textwrap.fill(parser.description or "", 80)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "\n".join(["rights that it needs, in the resource's namespace:", *(f"  {it}" for it in rights)])


@asynccontextmanager
async def connected(arguments: argparse.Namespace) -> AsyncIterator[tuple[Cluster, str]]:
    """The cluster and the namespace that are meant.

    Raises:
        OSError: it can't be asked; one line says why, and what to do.
    """
    from speculator_operator.cluster import Cluster, ClusterError

    try:
        async with Cluster.connect(
            in_flight=IN_FLIGHT, kubeconfig=arguments.kubeconfig, context=arguments.context
        ) as cluster:
            yield cluster, arguments.namespace or cluster.namespace
    except ClusterError as error:
        raise OSError(explained(error)) from error


def explained(error: ClusterError) -> str:
    """Why a cluster couldn't be asked, and what to do, in one line."""
    from speculator_operator.cluster import Forbidden, NoCluster, Unreachable

    words = " ".join(str(error).split())
    if isinstance(error, Forbidden):
        said = words.partition("is forbidden: ")[2] or words
        return f"{said}; you need the right to {error.verb} {error.resource}"
    if isinstance(error, NoCluster):
        return f"{words}; name another --context or --kubeconfig, or set KUBECONFIG"
    if isinstance(error, Unreachable):
        return f"{words}; is the cluster up, and the right one (--context, --kubeconfig, KUBECONFIG)?"
    if "HTTP 401" in words:
        return f"{words}; log in again, or take another --context"
    return words


def name(text: str) -> str:
    """The argument NAME; empty, it would ask for a list."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty")
    return text


async def find(cluster: Cluster, namespace: str, name: str) -> dict[str, Any]:
    """The resource of a name.

    Raises:
        Refused: ``ResourceNotFound``; the message has names that are near.
        OSError: the cluster can't be asked, or doesn't have the definition.
    """
    body = await cluster.get(api.KIND, namespace, name)
    if body is None:
        await check_defined(cluster)
        names = [found["metadata"]["name"] for found in await cluster.list(api.KIND, namespace)]
        elsewhere: list[str] = []
        with suppress(OSError):  # it was only to be kind
            found = await cluster.list(api.KIND, None, field_selector=f"metadata.name={name}")
            elsewhere = [it["metadata"]["namespace"] for it in found]
        raise Refused(
            Reason.RESOURCE_NOT_FOUND,
            f'{RESOURCES} "{name}" is not in the namespace {namespace}',
            remedy=near(name, names, elsewhere),
        )
    return body


async def check_defined(cluster: Cluster) -> None:
    """
    Raises:
        OSError: the cluster has no such resources, or can't be asked.
    """
    if not await cluster.serves_resource():
        raise OSError(f"the cluster has no {RESOURCES}; install the operator's chart, or take another --context")


def near(name: str, names: Sequence[str], elsewhere: Sequence[str]) -> str:
    """What else may have been meant: the same name in other namespaces, or near names, or any."""
    if elsewhere:
        return f"there is one of that name in {', '.join(sorted(elsewhere)[:_MOST_NAMED])} (-n)"
    if close := difflib.get_close_matches(name, names, 3):
        return f"did you mean {' or '.join(close)}?"
    if not names:
        return "there is none at all; -n names another namespace"
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"there are {', '.join(sorted(names)[:_MOST_NAMED])}{more}"
