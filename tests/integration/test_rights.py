"""What the operator may not do, whatever it wanted: the rights that it ships with are asked of the API server."""

from __future__ import annotations

import json

import pytest

from tests.support.operator import USER, grant
from tools.localcluster.controlplane import ControlPlane

VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")


@pytest.fixture(autouse=True)
def granted(cluster: ControlPlane) -> None:
    grant(cluster)


def may(cluster: ControlPlane, *words: str) -> bool:
    answer = cluster.kubectl("auth", "can-i", f"--as={USER}", *words, check=False)
    return answer.startswith("yes")


@pytest.mark.parametrize("verb", VERBS)
def test_no_secret_is_its_to_touch(cluster: ControlPlane, namespace: str, verb: str) -> None:
    assert not may(cluster, verb, "secrets", "--all-namespaces")
    assert not may(cluster, verb, "secrets/any", f"--namespace={namespace}")


def test_the_api_server_keeps_a_secret_from_it(cluster: ControlPlane, namespace: str) -> None:
    cluster.kubectl("create", "secret", "generic", "hub", f"--namespace={namespace}", "--from-literal=token=t")
    asked = cluster.kubectl("get", "secret", "hub", f"--namespace={namespace}", f"--as={USER}", check=False)
    assert "Forbidden" in asked
    assert may(cluster, "get", "speculatordeployments.speculators.dev", f"--namespace={namespace}")


@pytest.mark.parametrize(
    "words",
    [
        ("create", "pods"),
        ("create", "pods/exec"),
        ("get", "configmaps"),
        ("create", "serviceaccounts/token"),
        ("create", "clusterrolebindings.rbac.authorization.k8s.io"),
        ("escalate", "clusterroles.rbac.authorization.k8s.io"),
        ("patch", "customresourcedefinitions.apiextensions.k8s.io"),
        ("patch", "nodes"),
    ],
    ids=" ".join,
)
def test_it_has_no_right_that_nothing_needs(cluster: ControlPlane, words: tuple[str, str]) -> None:
    assert not may(cluster, *words, "--all-namespaces")


def test_no_rule_is_a_wildcard(cluster: ControlPlane) -> None:
    role = json.loads(cluster.kubectl("get", "clusterrole", "speculator-operator", "-o", "json"))
    assert "*" not in json.dumps(role["rules"])


def test_of_leases_it_may_change_its_own_and_no_other(cluster: ControlPlane, namespace: str) -> None:
    grant(cluster, namespace)
    leases = "leases.coordination.k8s.io"
    own = f"{leases}/speculator-operator"
    here = f"--namespace={namespace}"
    assert {verb for verb in VERBS if may(cluster, verb, own, here)} == {"get", "create", "update"}
    assert {verb for verb in VERBS if may(cluster, verb, f"{leases}/other", here)} == {"create"}
    assert not [verb for verb in VERBS if may(cluster, verb, own, "--namespace=default")]
