"""What is worth a write: tables of (desired, live)."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from speculator_operator import api
from speculator_operator.core import plan
from speculator_operator.core.plan import Ownership
from speculator_operator.errors import Refused, Waiting

FIELDS: dict[str, Any] = {
    "f:metadata": {"f:labels": {"f:speculators.dev/name": {}}},
    "f:spec": {
        "f:replicas": {},
        "f:args": {},
        "f:containers": {
            'k:{"name":"main"}': {
                ".": {},
                "f:name": {},
                "f:resources": {"f:limits": {"f:cpu": {}, "f:nvidia.com/gpu": {}}},
                "f:env": {'k:{"name":"A"}': {".": {}, "f:name": {}, "f:value": {}}},
            }
        },
    },
}
DESIRED: dict[str, Any] = {
    "metadata": {"name": "a", "labels": {"speculators.dev/name": "a"}},
    "spec": {
        "replicas": 1,
        "args": ["--seed=42", "--port=8000"],
        "containers": [
            {
                "name": "main",
                "resources": {"limits": {"cpu": "0.5", "nvidia.com/gpu": "2"}},
                "env": [{"name": "A", "value": "1"}],
            }
        ],
    },
}


def live(fields: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """DESIRED as the API server would hold it, with ``changes`` by path (``spec__replicas``)."""
    made = copy.deepcopy(DESIRED)
    made["metadata"]["managedFields"] = [
        {"manager": "kube-controller-manager", "operation": "Update", "fieldsV1": {"f:status": {}}},
        {"manager": "speculator-operator", "operation": "Apply", "fieldsV1": FIELDS if fields is None else fields},
    ]
    made["spec"]["containers"][0]["imagePullPolicy"] = "IfNotPresent"
    made["spec"]["containers"][0]["resources"]["limits"]["cpu"] = "500m"
    for path, value in changes.items():
        target: Any = made
        *parents, last = path.split("__")
        for part in parents:
            target = target[int(part) if part.isdigit() else part]
        target[last] = value
    return made


def dropped(*path: str) -> dict[str, Any]:
    fields = copy.deepcopy(FIELDS)
    target = fields
    for part in path[:-1]:
        target = target[part]
    del target[path[-1]]
    return fields


def more(**extra: Any) -> dict[str, Any]:
    fields = copy.deepcopy(FIELDS)
    fields["f:spec"].update(extra)
    return fields


@pytest.mark.parametrize(
    ("case", "observed", "expected"),
    [
        ("there is no live object", None, True),
        ("defaults were added and a quantity was rewritten", live(), False),
        ("a scalar was changed", live(spec__replicas=2), True),
        ("an item of an atomic list was taken out", live(spec__args=["--port=8000"]), True),
        ("an item of an atomic list was added", live(spec__args=["--seed=42", "--port=8000", "--x"]), True),
        ("the order of an atomic list was changed", live(spec__args=["--port=8000", "--seed=42"]), True),
        ("a label was taken off", live(metadata__labels={}), True),
        ("somebody else added a label", live(metadata__labels={"speculators.dev/name": "a", "x": "y"}), False),
        (
            "somebody else added a container",
            live(spec__containers=[{"name": "sidecar"}, live()["spec"]["containers"][0]]),
            False,
        ),
        ("our container was renamed", live(spec__containers=[{"name": "other"}]), True),
        (
            "the limit on GPUs was changed",
            live(spec__containers__0__resources={"limits": {"cpu": "500m", "nvidia.com/gpu": "4"}}),
            True,
        ),
        ("a variable was changed", live(spec__containers__0__env=[{"name": "A", "value": "2"}]), True),
        ("a variable was added by another manager", live(spec__containers__0__env=[
            {"name": "B", "value": "2"}, {"name": "A", "value": "1"}]), False),
        ("we own a field that is no longer wanted", live(more(**{"f:paused": {}})), True),
        ("we own an item that is no longer wanted", live(more(**{"f:containers": {'k:{"name":"old"}': {}}})), True),
        ("we own a member of a set that is no longer wanted", live(more(**{"f:args": {'v:"--old"': {}}})), True),
        ("another manager took a field over, and left its value", live(dropped("f:spec", "f:replicas")), False),
        ("nothing was ever applied by us", live() | {"metadata": DESIRED["metadata"]}, True),
    ],
)  # fmt: skip
def test_only_what_an_apply_would_change_differs(case: str, observed: dict[str, Any] | None, expected: bool) -> None:
    assert plan.differs(DESIRED, observed) is expected, case


RULE = {"ports": [{"protocol": "TCP", "port": "http"}]}
OPEN = {"policyTypes": ["Ingress", "Egress"], "podSelector": {"matchLabels": {"a": "b"}}, "ingress": [RULE]}
CLOSED = {**OPEN, "egress": []}


@pytest.mark.parametrize(
    ("case", "wanted", "spec", "expected"),
    [
        ("a Service's selector as it was applied", {"selector": {"a": "b"}}, {"selector": {"a": "b"}}, False),
        ("a label was added to it, so that it selects nothing", {"selector": {"a": "b"}},
         {"selector": {"a": "b", "c": "d"}}, True),
        ("a policy as it was applied", OPEN, OPEN, False),
        ("a port was added to its rule", OPEN, {**OPEN, "ingress": [
            {"ports": [*RULE["ports"], {"protocol": "TCP", "port": 22}]}]}, True),
        ("a rule was added", OPEN, {**OPEN, "ingress": [RULE, {}]}, True),
        ("its rule was narrowed", OPEN, {**OPEN, "ingress": [{**RULE, "from": [{"podSelector": {}}]}]}, True),
        ("a label was added to its selector", OPEN,
         {**OPEN, "podSelector": {"matchLabels": {"a": "b", "c": "d"}}}, True),
        ("a type was taken out", OPEN, {**OPEN, "policyTypes": ["Ingress"]}, True),
        ("the empty list that closes egress was dropped, as the API server drops it", CLOSED, OPEN, False),
        ("closed egress was opened", CLOSED, {**OPEN, "egress": [{}]}, True),
    ],
)  # fmt: skip
def test_what_is_added_to_a_whole_differs(
    case: str, wanted: dict[str, Any], spec: dict[str, Any], expected: bool
) -> None:
    managed = [{"manager": "speculator-operator", "operation": "Apply", "fieldsV1": {}}]
    observed = {"metadata": {"managedFields": managed}, "spec": spec}
    assert plan.differs({"spec": wanted}, observed) is expected, case


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("500m", "0.5", True),
        (1, "1", True),
        ("1Gi", "1024Mi", True),
        ("1G", "1000M", True),
        ("1e3", "1k", True),
        ("1E", "1000P", True),
        ("1Ei", "1", False),
        ("100u", "1m", True),
        ("1X", "1", False),
        ("1Gi", "1G", False),
        ("2", "2000m", True),
        ("none", "none", True),
        ("none", "0", False),
    ],
)
def test_quantities_are_compared_by_their_worth(one: object, other: object, same: bool) -> None:
    desired = {"spec": {"limits": {"memory": one}}}
    observed: dict[str, Any] = {
        "metadata": {"managedFields": [{"manager": "speculator-operator", "operation": "Apply"}]},
        "spec": {"limits": {"memory": other}},
    }
    assert plan.differs(desired, observed) is not same


@pytest.mark.parametrize(
    ("case", "labels", "owner", "expected"),
    [
        ("made by the Deployment", {"pod-template-hash": "abc"}, ("ReplicaSet", "a-abc"), True),
        ("made by hand", {}, None, False),
        ("made by hand, and labelled like one of ours", {"pod-template-hash": "abc"}, None, False),
        ("made by another Deployment", {"pod-template-hash": "abc"}, ("ReplicaSet", "b-abc"), False),
        ("made by a StatefulSet", {"pod-template-hash": "abc"}, ("StatefulSet", "a-abc"), False),
        ("another resource's", {"pod-template-hash": "abc", api.NAME_LABEL: "b"}, ("ReplicaSet", "a-abc"), False),
    ],
)
def test_only_pods_of_the_deployment_count(
    case: str, labels: dict[str, str], owner: tuple[str, str] | None, expected: bool
) -> None:
    owners = [{"kind": owner[0], "name": owner[1], "controller": True}] if owner else []
    pod = {"metadata": {"labels": {api.NAME_LABEL: "a", **labels}, "ownerReferences": owners}}
    assert plan.is_pod_of("a", pod) is expected, case


RESOURCE = api.SpeculatorDeployment.from_object(
    {"metadata": {"name": "a", "namespace": "n", "uid": "u1", "generation": 1}, "spec": {"model": {"uri": "org/model"}}}
)


def owned_by(**owner: Any) -> dict[str, Any]:
    reference = {"apiVersion": api.API_VERSION, "kind": api.KIND, "name": "a", "uid": "u1", "controller": True}
    return {"kind": "Deployment", "metadata": {"name": "a", "ownerReferences": [reference | owner]}}


ORPHAN = {
    "kind": "Service",
    "metadata": {
        "name": "a",
        "labels": {"speculators.dev/name": "a"},
        "managedFields": [{"manager": "speculator-operator", "operation": "Apply", "fieldsV1": {"f:spec": {}}}],
    },
}


@pytest.mark.parametrize(
    ("case", "child", "expected"),
    [
        ("our own", owned_by(), Ownership.OURS),
        ("a deleted namesake's", owned_by(uid="u0"), Ownership.PREDECESSOR),
        ("another kind's", owned_by(kind="Rollout", apiVersion="argoproj.io/v1", uid="u2"), Ownership.FOREIGN),
        ("another resource's", owned_by(name="b", uid="u2"), Ownership.FOREIGN),
        ("nobody's, but made by us", ORPHAN, Ownership.OURS),
        ("nobody's, and only bearing our label", {"kind": "Service", "metadata": {
            "name": "a", "labels": {"speculators.dev/name": "a"}}}, Ownership.FOREIGN),
        ("nobody's", {"kind": "Service", "metadata": {"name": "a"}}, Ownership.FOREIGN),
    ],
)  # fmt: skip
def test_whose_an_object_is(case: str, child: dict[str, Any], expected: Ownership) -> None:
    assert plan.ownership(RESOURCE, child) is expected, case


def test_a_foreign_namesake_is_refused_and_a_predecessor_waited_for() -> None:
    refused = plan.unowned(RESOURCE, [None, {"kind": "Service", "metadata": {"name": "a"}}])
    assert isinstance(refused, Refused)
    assert refused.reason == "NameConflict"
    assert "Service a exists" in refused.message
    waiting = plan.unowned(RESOURCE, [owned_by(uid="u0")])
    assert isinstance(waiting, Waiting)
    assert waiting.reason == "PredecessorLeaving"
    assert plan.unowned(RESOURCE, [None, owned_by()]) is None
