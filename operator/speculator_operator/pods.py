"""A resource's pods: how many it wants, and which they are."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import TYPE_CHECKING

from . import api
from .core import plan
from .core.render import Manifest

if TYPE_CHECKING:  # the Kubernetes client takes a second to import, which not every command needs to wait for
    from .cluster import Cluster


#: So many pods are read one by one; more, by one list, which has the API server look at all pods of the namespace.
ONE_BY_ONE = 20


def pods_wanted(body: Manifest) -> int:
    """Of a resource as the API server has it."""
    spec = body.get("spec") or {}
    replicas: int = spec.get("replicas", 1)
    return 0 if spec.get("suspend") else replicas


async def pods_of(cluster: Cluster, namespace: str, name: str) -> list[Manifest]:
    """The pods that were made by a resource's Deployment.

    Raises:
        ClusterError
    """
    listed = await cluster.list("Pod", namespace, f"{api.NAME_LABEL}={name}")
    return [pod for pod in listed if plan.is_pod_of(name, pod)]


async def pods_named(cluster: Cluster, namespace: str, name: str, known: Collection[str]) -> list[Manifest]:
    """Those of a resource's pods whose names are known, in the order of their names, and where these are many, all.

    Raises:
        ClusterError
    """
    if len(known) > ONE_BY_ONE:
        found = await pods_of(cluster, namespace, name)
        return sorted(found, key=lambda pod: str(pod["metadata"]["name"]))
    read = await asyncio.gather(*(cluster.get("Pod", namespace, pod) for pod in sorted(known)))
    return [pod for pod in read if pod and plan.is_pod_of(name, pod)]
