"""Objects that a resource names, and that somebody else provides: Secrets, and claims with their volumes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tools.localcluster.controlplane import ControlPlane


def put_secret(cluster: ControlPlane, namespace: str, name: str, **content: str) -> None:
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace},
            "stringData": content,
        }
    )


def bind_claim(cluster: ControlPlane, namespace: str, name: str, folder: Path, *, mode: str = "ReadOnlyMany") -> None:
    """A claim, and a volume for it that is a folder of whichever node mounts it: no class provides either."""
    volume = f"{namespace}-{name}"
    common: dict[str, Any] = {"accessModes": [mode], "storageClassName": ""}
    capacity = {"storage": "1Gi"}
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": volume},
            "spec": {**common, "capacity": capacity, "hostPath": {"path": str(folder)}},
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {**common, "resources": {"requests": capacity}, "volumeName": volume},
        },
    )
