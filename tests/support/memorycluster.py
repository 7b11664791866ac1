"""A cluster in memory, for runs by the thousand: what a pass reads and writes, and nothing that happens of itself.

There are no controllers, no defaults and no validation; what those make of our objects, real API servers show.
"""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

from speculator_operator import api
from speculator_operator.core.job import COMPONENT_LABEL
from speculator_operator.core.render import CONTAINER, MANAGER, Manifest
from speculator_operator.workqueue import Key

Name = tuple[str, str, str]


class MemoryCluster:
    """As ``cluster.Cluster``, as far as a pass uses it. ``writes`` are the kinds that were to be written, in order,
    and ``failing`` is what the API server has against some."""

    def __init__(self, resource: Manifest) -> None:
        self.objects: dict[Name, Manifest] = {}
        self.writes: list[str] = []
        self.failing: dict[str, Exception] = {}
        self._version = 0
        metadata = resource["metadata"]
        self.objects[api.KIND, metadata["namespace"], metadata["name"]] = resource

    @property
    def status(self) -> dict[str, Any]:
        (found,) = (item for (kind, _, _), item in self.objects.items() if kind == api.KIND)
        status: dict[str, Any] = found.get("status") or {}
        return status

    def kinds(self) -> set[str]:
        return {kind for kind, _, _ in self.objects}

    async def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        return copy.deepcopy(self.objects.get((kind, namespace, name)))

    async def list(self, kind: str, namespace: str, selector: str) -> list[Manifest]:
        wanted = dict(label.split("=") for label in selector.split(","))
        return [
            copy.deepcopy(item)
            for (of_kind, within, _), item in self.objects.items()
            if (of_kind, within) == (kind, namespace) and wanted.items() <= item["metadata"].get("labels", {}).items()
        ]

    async def apply(self, manifest: Manifest) -> Manifest:
        kind, metadata = manifest["kind"], manifest["metadata"]
        self.writes.append(kind)
        if kind in self.failing:
            raise self.failing[kind]
        self._version += 1
        made, live = copy.deepcopy(manifest), self.objects.get((kind, metadata["namespace"], metadata["name"]))
        made["metadata"] |= {
            "uid": f"{kind}-{metadata['name']}",
            "resourceVersion": str(self._version),
            "creationTimestamp": live["metadata"]["creationTimestamp"] if live else _second(self._version),
            "generation": 1,
            "managedFields": [{"manager": MANAGER, "operation": "Apply", "fieldsV1": _fields(manifest)}],
        }
        self.objects[kind, metadata["namespace"], metadata["name"]] = made
        return copy.deepcopy(made)

    async def apply_status(self, manifest: Manifest, *, read: Manifest) -> Manifest:
        del read  # nobody else writes here
        metadata = manifest["metadata"]
        self.writes.append("status")
        found = self.objects[api.KIND, metadata["namespace"], metadata["name"]]
        found["status"] = copy.deepcopy(manifest["status"])
        return copy.deepcopy(found)

    async def delete(self, kind: str, namespace: str, name: str, *, uid: str) -> None:
        del uid  # there is only one of a name
        self.writes.append(f"deleted {kind}")
        self.objects.pop((kind, namespace, name), None)

    async def emit(self, about: Manifest, *, type_: str, reason: str, note: str) -> None:
        del about, type_, reason, note
        self.writes.append("Event")

    def jobs(self, key: Key, component: str) -> set[str]:
        """The names that watches would tell of."""
        wanted = {api.NAME_LABEL: key[1], COMPONENT_LABEL: component}
        return {
            name
            for (kind, namespace, name), item in self.objects.items()
            if (kind, namespace) == ("Job", key[0]) and wanted.items() <= item["metadata"]["labels"].items()
        }

    def add_pod_of_job(self, job: str, namespace: str, state: dict[str, Any], *, uid: str) -> None:
        """The pod of a Job whose uid is ``uid``, with its container in a state."""
        self.objects["Pod", namespace, f"{job}-x"] = {
            "kind": "Pod",
            "metadata": {
                "name": f"{job}-x",
                "namespace": namespace,
                "uid": "pod",
                "labels": {"batch.kubernetes.io/job-name": job},
                "ownerReferences": [{"kind": "Job", "name": job, "uid": uid, "controller": True}],
            },
            "status": {"containerStatuses": [{"name": CONTAINER, "ready": False, "state": state}]},
        }


def _second(number: int) -> str:
    """So many seconds after the cluster was made."""
    return f"{datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number):%Y-%m-%dT%H:%M:%SZ}"


def _fields(value: Any) -> dict[str, Any]:
    """FieldsV1 of an applied object; its lists count as one field each, and what says what it is isn't owned."""
    if not isinstance(value, dict):
        return {}
    kept = {key: inner for key, inner in value.items() if key not in ("apiVersion", "kind", "name", "namespace")}
    return {f"f:{key}": _fields(inner) for key, inner in kept.items()}
