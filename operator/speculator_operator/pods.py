"""A resource's pods: how many it wants, and which they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import api
from .core import plan
from .core.render import Manifest

if TYPE_CHECKING:  # the Kubernetes client takes a second to import, which not every command needs to wait for
    from .cluster import Cluster


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
