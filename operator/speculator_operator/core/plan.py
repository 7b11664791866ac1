"""(desired, observed) -> what to write, if anything.

The API server fills in defaults, rewrites quantities, and holds other managers' fields, so a live object is never
equal to what was applied. ``differs`` asks the two questions that server-side apply would answer with a write: is
something that we want not there, and do we still own something that we no longer want.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

from speculator_operator import api
from speculator_operator.errors import OperatorError, Refused, Waiting
from speculator_operator.quantity import worth

from .render import MANAGER, Manifest

#: How the API server tells the items of a list apart: the ``x-kubernetes-list-map-keys`` of the fields we render.
_LIST_KEYS = {
    "containers": ("name",),
    "env": ("name",),
    "imagePullSecrets": ("name",),
    "initContainers": ("name",),
    "ownerReferences": ("uid",),
    "ports": ("port", "containerPort", "protocol"),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "volumeMounts": ("mountPath",),
    "volumes": ("name",),
}
#: Whoever writes a part of these writes, and owns, the whole: what somebody adds to a Service's selector, or to a
#: NetworkPolicy's rules, is a change of what is ours. (``x-kubernetes-map-type`` and ``-list-type`` say so.)
_ATOMIC = ("egress", "ingress", "nodeSelector", "podSelector", "selector")
#: Maps whose values are quantities: ``0.5`` and ``500m`` are the same.
_QUANTITIES = ("limits", "requests")


class Ownership(Enum):
    """Whose a live object of one of our names is."""

    OURS = "ours"
    PREDECESSOR = "a deleted namesake's"
    FOREIGN = "somebody else's"


def ownership(resource: api.SpeculatorDeployment, live: Manifest) -> Ownership:
    """Ours by owner reference, or by having been made by us, where somebody took the reference away."""
    owners = live["metadata"].get("ownerReferences") or []
    controller = next((owner for owner in owners if owner.get("controller")), None)
    if controller is None:
        labelled = (live["metadata"].get("labels") or {}).get(api.NAME_LABEL) == resource.name
        return Ownership.OURS if labelled and _managed_fields(live) else Ownership.FOREIGN
    if controller["uid"] == resource.uid:
        return Ownership.OURS
    namesake = controller["kind"] == api.KIND and controller["apiVersion"].partition("/")[0] == api.GROUP
    return Ownership.PREDECESSOR if namesake and controller["name"] == resource.name else Ownership.FOREIGN


def is_pod_of(name: str, pod: Manifest) -> bool:
    """Whether a pod that bears a resource's label was made by the resource's Deployment."""
    labels, owners = pod["metadata"].get("labels") or {}, pod["metadata"].get("ownerReferences") or []
    replica_set = f"{name}-{labels.get('pod-template-hash')}"
    return labels.get(api.NAME_LABEL) == name and any(
        owner.get("controller") and (owner["kind"], owner["name"]) == ("ReplicaSet", replica_set) for owner in owners
    )


def unowned(resource: api.SpeculatorDeployment, live: Iterable[Manifest | None]) -> OperatorError | None:
    """What keeps the resource from having the names that it needs."""
    for child in live:
        if child is None:
            continue
        called = f"{child['kind']} {child['metadata']['name']}"
        match ownership(resource, child):
            case Ownership.FOREIGN:
                return Refused(
                    api.Reason.NAME_CONFLICT,
                    f"{called} exists and isn't ours; it is left alone. Rename it or this resource, or delete it",
                )
            case Ownership.PREDECESSOR:
                return Waiting(
                    api.Reason.PREDECESSOR_LEAVING,
                    f"{called} belongs to a deleted resource of this name; waiting for the garbage collector",
                    retry_after=2,
                )
    return None


def differs(desired: Manifest, live: Manifest | None) -> bool:
    """Whether applying ``desired`` would change ``live``."""
    if live is None:
        return True
    managed = _managed_fields(live)
    return managed is None or not _contains(live, desired) or _owns_more(managed, desired)


def _contains(live: Any, desired: Any, key: str = "") -> bool:
    if key in _ATOMIC:
        return bool(live == desired) or not (live or desired)  # the API server drops an empty one
    if isinstance(desired, Mapping):
        if not isinstance(live, Mapping):
            return False
        if key in _QUANTITIES:
            return all(name in live and _quantity(live[name]) == _quantity(value) for name, value in desired.items())
        return all(
            (name in live or name in _ATOMIC) and _contains(live.get(name), value, name)
            for name, value in desired.items()
        )
    if isinstance(desired, list):
        if not isinstance(live, list):
            return False
        if key not in _LIST_KEYS:
            return len(live) == len(desired) and all(map(_contains, live, desired))
        return all(any(_contains(item, wanted) for item in live if _same_item(key, item, wanted)) for wanted in desired)
    return bool(live == desired)


def _same_item(key: str, item: Manifest, wanted: Manifest) -> bool:
    return all(item.get(name) == wanted.get(name) for name in _LIST_KEYS[key] if name in wanted)


def _quantity(value: Any) -> Any:
    number = worth(value)
    return str(value) if number is None else math.ceil(number * 1000)  # as the API server rounds for a container


def _managed_fields(live: Manifest) -> Mapping[str, Any] | None:
    """The fields that we applied, as FieldsV1."""
    for entry in live["metadata"].get("managedFields") or []:
        if entry["manager"] == MANAGER and entry["operation"] == "Apply" and not entry.get("subresource"):
            fields: Mapping[str, Any] = entry.get("fieldsV1") or {}
            return fields
    return None


def _owns_more(fields: Mapping[str, Any], desired: Any) -> bool:
    """Whether FieldsV1 names a field that ``desired`` doesn't have.

    Its keys are ``f:NAME`` for a field, ``k:{JSON}`` for an item of a keyed list, ``v:JSON`` for one of a set, and
    ``.`` for the thing itself.
    """
    for name, below in fields.items():
        kind, _, rest = name.partition(":")
        if kind == "f":
            if not isinstance(desired, Mapping) or rest not in desired:
                return True
            child = desired[rest]
        elif kind == "k":
            keys = json.loads(rest)
            items = desired if isinstance(desired, list) else []
            child = next((item for item in items if all(item.get(k, v) == v for k, v in keys.items())), None)
            if child is None:
                return True
        elif kind == "v":
            if not isinstance(desired, list) or json.loads(rest) not in desired:
                return True
            continue
        else:
            continue
        if below and _owns_more(below, child):
            return True
    return False
