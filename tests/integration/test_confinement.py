"""What a resource can't reach, whatever it says: the node, another account, another namespace, by a real API server."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from speculator_operator import api
from speculator_operator.api import SpeculatorDeployment
from speculator_operator.core import render
from speculator_operator.core.resolver_job import resolver_job
from speculator_operator.settings import Settings
from tests.support import inputs
from tools.localcluster.controlplane import ControlPlane

RENDERED = sorted((Path(__file__).parents[1] / "data" / "render").iterdir())
SETTINGS = Settings(resolver_image="registry.example/speculator-operator:0.1.0", resolver_pull_secret="registry")  # noqa: S106

Manifest = dict[str, Any]

#: A part of a resource that the schema doesn't see into, with all that a pod must not have.
HOSTILE: Manifest = {
    "hostNetwork": True,
    "hostPID": True,
    "serviceAccountName": "admin",
    "nodeName": "control-plane",
    "containers": [{"name": "main", "securityContext": {"privileged": True}}],
    "volumes": [{"name": "host", "hostPath": {"path": "/"}}],
}


def pod_fields(cluster: ControlPlane) -> set[str]:
    """All that a PodSpec may have, by the API server's own word."""
    schema = json.loads(cluster.kubectl("get", "--raw", "/openapi/v3/api/v1"))
    return set(schema["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"])


def ours() -> set[str]:
    return {str(field.alias) for field in api.PodSpec.model_fields.values()}


def create(cluster: ControlPlane, body: Manifest, *words: str, namespace: str = "default", check: bool = False) -> str:
    command = ("create", "--dry-run=server", f"--namespace={namespace}", *words, "-f", "-")
    return cluster.kubectl(*command, stdin=json.dumps(body), check=check)


def test_every_other_field_of_a_pod_is_refused_or_left_out(cluster: ControlPlane) -> None:
    forbidden = pod_fields(cluster) - ours()
    assert {"hostNetwork", "hostPID", "hostIPC", "hostUsers", "volumes", "containers", "initContainers"} < forbidden
    assert {"serviceAccountName", "serviceAccount", "automountServiceAccountToken", "securityContext"} < forbidden
    assert {"nodeName", "ephemeralContainers", "resourceClaims", "shareProcessNamespace", "resources"} < forbidden
    body = inputs.resource({"template": {"spec": {**dict.fromkeys(forbidden, True), "schedulerName": "s"}, **HOSTILE}})
    strict = create(cluster, body, "--validate=strict")
    assert "created" not in strict
    unknown = set(re.findall(r'unknown field "spec\.template\.spec\.(\w+)"', strict))
    assert unknown == forbidden
    kept = json.loads(create(cluster, body, "--validate=ignore", "-o", "json", check=True))
    assert kept["spec"]["template"] == {"spec": {"schedulerName": "s"}}


def test_no_field_names_an_account(cluster: ControlPlane) -> None:
    definition = json.loads(cluster.kubectl("get", f"crd/{api.PLURAL}.{api.GROUP}", "-o", "json"))
    (version,) = definition["spec"]["versions"]
    assert "account" not in json.dumps(version["schema"]["openAPIV3Schema"]["properties"]["spec"]).lower()


@pytest.mark.parametrize(
    ("case", "spec"),
    [
        ("a token", {"model": {"uri": "org/draft", "tokenSecretRef": {"name": "other/hub", "key": "token"}}}),
        ("credentials", {"model": {"uri": "s3://bucket/model", "credentialsSecretRef": {"name": "other/s3"}}}),
        ("an API key", {"engine": {"apiKeySecretRef": {"name": "other/key", "key": "key"}}}),
        ("a variable", {"engine": {"env": [
            {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "../other/hub", "key": "token"}}}]}}),
        ("a pull secret", {"template": {"spec": {"imagePullSecrets": [{"name": "other/registry"}]}}}),
        ("a claim", {"model": {"uri": "pvc://../other/claim"}}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_no_reference_leads_to_another_namespace(cluster: ControlPlane, case: str, spec: Manifest) -> None:
    del case
    assert "is invalid" in create(cluster, inputs.resource(spec))


@pytest.mark.parametrize("part", ["affinity", "topologySpreadConstraints"])
def test_what_the_schema_does_not_see_into_stays_where_it_is(cluster: ControlPlane, part: str) -> None:
    """The API server refuses it in the Deployment, or the pod is the same but for it."""
    given = HOSTILE if part == "affinity" else [HOSTILE]
    body = inputs.resource({"template": {"spec": {part: given}}})
    assert "created" in create(cluster, body)
    resource = SpeculatorDeployment.from_object(body)
    template = render.pod_template(resource, inputs.RESOLVED, SETTINGS)
    plain = render.pod_template(SpeculatorDeployment.from_object(inputs.resource({})), inputs.RESOLVED, SETTINGS)
    assert {**template["spec"], part: None} == {**plain["spec"], part: None}
    assert "unknown field" in create(cluster, render.deployment(resource, template), "--validate=strict")


@pytest.fixture(scope="module")
def restricted(cluster: ControlPlane) -> Iterator[str]:
    """A namespace that takes only pods of the Restricted Pod Security Standard, and all that these name."""
    name = "restricted"
    label = "pod-security.kubernetes.io/enforce"
    cluster.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {label: "restricted"}}},
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": "high"},
            "value": 1000,
        },
        {
            "apiVersion": "node.k8s.io/v1",
            "kind": "RuntimeClass",
            "metadata": {"name": "nvidia"},
            "handler": "nvidia",
        },
    )
    cluster.kubectl("wait", "--for=create", "--timeout=30s", f"--namespace={name}", "serviceaccount/default")
    yield name
    cluster.kubectl("delete", "--wait=false", f"namespace/{name}", "priorityclass/high", "runtimeclass/nvidia")


def pod_of(template: Manifest) -> Manifest:
    metadata = {**template["metadata"], "name": "pod"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def taken(cluster: ControlPlane, namespace: str, template: Manifest) -> Manifest:
    """The pod's spec, as the API server would keep it."""
    said = create(cluster, pod_of(template), "-o", "json", namespace=namespace, check=True)
    spec: Manifest = json.loads(said)["spec"]
    return spec


def confined(spec: Manifest) -> None:
    """Says again what matters most, whatever the standard is worth."""
    assert spec["serviceAccountName"] == "default"
    assert spec["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC", "nodeName", "shareProcessNamespace"} & {
        name for name, value in spec.items() if value
    }
    kinds = {kind for volume in spec["volumes"] for kind in volume.keys() - {"name"}}
    assert kinds <= {"emptyDir", "persistentVolumeClaim", "image"}
    for container in [*spec["containers"], *spec.get("initContainers", [])]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert not context.get("privileged")


def test_the_namespace_takes_no_other_pods(cluster: ControlPlane, restricted: str) -> None:
    template = render.pod_template(SpeculatorDeployment.from_object(inputs.resource({})), inputs.RESOLVED, SETTINGS)
    volumes = [*template["spec"]["volumes"], {"name": "host", "hostPath": {"path": "/"}}]
    changes: list[Manifest] = [{"hostNetwork": True}, {"securityContext": {}}, {"volumes": volumes}]
    for change in changes:
        said = create(cluster, pod_of({**template, "spec": {**template["spec"], **change}}), namespace=restricted)
        assert "violates PodSecurity" in said


@pytest.mark.parametrize("folder", RENDERED, ids=lambda folder: folder.name)
def test_rendered_pods_meet_the_restricted_standard(cluster: ControlPlane, restricted: str, folder: Path) -> None:
    documents = list(yaml.safe_load_all((folder / "expected.yaml").read_text()))
    (deployment,) = (document for document in documents if document["kind"] == "Deployment")
    confined(taken(cluster, restricted, deployment["spec"]["template"]))


@pytest.mark.parametrize("case", inputs.GOOD)
def test_pods_of_whatever_the_schema_allows_do_too(cluster: ControlPlane, restricted: str, case: str) -> None:
    resource = SpeculatorDeployment.from_object(inputs.resource(inputs.GOOD[case]))
    template = render.pod_template(resource, inputs.RESOLVED, SETTINGS)
    confined(taken(cluster, restricted, template))


@pytest.mark.parametrize(
    "uri", ["org/gated", "pvc://claim/folder", f"oci://registry.example/model@sha256:{'0' * 64}", "s3://bucket/model"]
)
def test_pods_of_resolver_jobs_do_too(cluster: ControlPlane, restricted: str, uri: str) -> None:
    model: Manifest = {"uri": uri}
    if uri.startswith("s3"):
        model["credentialsSecretRef"] = {"name": "s3"}
    elif uri.startswith("org"):
        model["tokenSecretRef"] = {"name": "hub", "key": "token"}
    resource = SpeculatorDeployment.from_object(inputs.resource({"model": model}))
    job = resolver_job(resource, resource.spec.model.reference, SETTINGS)
    confined(taken(cluster, restricted, job["spec"]["template"]))
