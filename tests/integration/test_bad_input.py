"""What the API server says of resources, good and bad. The models say the same: ``tests/unit/test_api.py``."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from speculator_operator import api
from speculator_operator.core import network_policy, render
from speculator_operator.settings import Settings
from tests.support import inputs
from tools.localcluster.controlplane import ControlPlane


def said(cluster: ControlPlane, resource: dict[str, Any]) -> str:
    """What kubectl answers to this resource, taken or refused; nothing is kept."""
    return cluster.kubectl(
        "create", "--namespace=default", "--dry-run=server", "-f", "-", stdin=json.dumps(resource), check=False
    )


def test_the_definition_is_structural(cluster: ControlPlane) -> None:
    definition = json.loads(cluster.kubectl("get", f"crd/{api.PLURAL}.{api.GROUP}", "-o", "json"))
    conditions = {condition["type"]: condition["status"] for condition in definition["status"]["conditions"]}
    assert conditions == {"NamesAccepted": "True", "Established": "True"}


@pytest.mark.parametrize("case", inputs.BAD)
def test_a_bad_value_is_refused_with_its_field_named(cluster: ControlPlane, case: str) -> None:
    field, spec = inputs.BAD[case]
    answer = said(cluster, inputs.resource(spec))
    assert "created" not in answer
    assert re.search(rf"(\* |is invalid: |field \"){re.escape(field)}(?!\w)", answer), answer


@pytest.mark.parametrize("name", inputs.BAD_NAMES.values(), ids=inputs.BAD_NAMES)
def test_a_bad_name_is_refused(cluster: ControlPlane, name: str) -> None:
    answer = said(cluster, inputs.resource({}, name))
    assert re.search("metadata.name: .*52 lower-case letters", answer), answer


@pytest.mark.parametrize("case", [*inputs.GOOD, *inputs.BAD_FOR_THE_OPERATOR])
def test_what_the_schema_allows_is_taken(cluster: ControlPlane, case: str) -> None:
    spec = {**inputs.GOOD, **{name: spec for name, (_, spec) in inputs.BAD_FOR_THE_OPERATOR.items()}}[case]
    assert said(cluster, inputs.resource(spec)).rstrip().endswith("created (server dry run)")


@pytest.mark.parametrize("case", inputs.GOOD)
def test_what_the_schema_allows_makes_objects_that_are_taken(cluster: ControlPlane, case: str) -> None:
    resource = api.SpeculatorDeployment.from_object(inputs.resource(inputs.GOOD[case]))
    template = render.pod_template(resource, inputs.RESOLVED, Settings())
    assert "created" in said(cluster, render.deployment(resource, template))
    assert "created" in said(cluster, network_policy.network_policy(resource, [template], Settings()))


@pytest.fixture
def deployed(cluster: ControlPlane, namespace: str) -> str:
    cluster.kubectl("create", f"--namespace={namespace}", "-f", "-", stdin=json.dumps(inputs.resource({}, "kept")))
    return "kept"


def test_only_replicas_has_a_default_in_the_schema(cluster: ControlPlane, namespace: str, deployed: str) -> None:
    spec = cluster.kubectl("get", f"--namespace={namespace}", f"spd/{deployed}", "-o", "jsonpath={.spec}")
    assert json.loads(spec) == {"model": {"uri": inputs.URI}, "replicas": 1}


def test_kubectl_scale_sets_replicas(cluster: ControlPlane, namespace: str, deployed: str) -> None:
    cluster.kubectl("scale", f"--namespace={namespace}", f"spd/{deployed}", "--replicas=3")
    replicas = cluster.kubectl("get", f"--namespace={namespace}", f"spd/{deployed}", "-o", "jsonpath={.spec.replicas}")
    assert replicas == "3"
    beyond = cluster.kubectl("scale", f"--namespace={namespace}", f"spd/{deployed}", "--replicas=1001", check=False)
    assert "spec.replicas" in beyond


def test_a_change_to_something_bad_is_refused(cluster: ControlPlane, namespace: str, deployed: str) -> None:
    patch = json.dumps({"spec": {"parallelism": {"tensor": 4}, "speculation": {"draftTensorParallelSize": 3}}})
    answer = cluster.kubectl(
        "patch", f"--namespace={namespace}", f"spd/{deployed}", "--type=merge", f"--patch={patch}", check=False
    )
    assert "draftTensorParallelSize must be 1 or equal to parallelism.tensor" in answer


def test_a_full_status_is_kept_whole(cluster: ControlPlane, namespace: str, deployed: str) -> None:
    source = {"uri": "org/model", "revision": "0" * 40}
    status = {
        "observedGeneration": 1,
        "conditions": [
            {
                "type": type_,
                "status": "True",
                "observedGeneration": 1,
                "lastTransitionTime": "2026-01-01T00:00:00Z",
                "reason": reason,
                "message": "x" * 1024,
            }
            for type_, reason in (("Ready", "Reconciled"), ("SpeculationActive", "Drafting"))
        ],
        "replicas": 2,
        "readyReplicas": 2,
        "updatedReplicas": 2,
        "selector": "speculators.dev/name=kept",
        "url": "http://kept.default.svc:8000",
        "resolved": {
            "model": source,
            "draft": source,
            "verifier": source,
            "method": "eagle3",
            "numSpeculativeTokens": 3,
            "speculativeConfig": {"method": "eagle3", "model": "org/model", "num_speculative_tokens": 3, "new": [{}]},
            "verification": "Required",
            "servedName": "kept",
            "tensor": 4,
            "pipeline": 1,
            "port": 8000,
            "image": "vllm/vllm-openai:v0.32.0",
            "engineVersion": "0.32.0",
            "command": ["vllm", "serve", "org/model", "--speculative-config", "{}"],
            "revision": "kept-0123456789",
            "sources": [{"field": "tensor", "value": "4", "source": "spec.parallelism.tensor"}],
        },
        "acceptance": {
            "windowSeconds": 300,
            "pods": 2,
            "drafts": 10,
            "draftTokens": 30,
            "acceptedTokens": 21,
            "length": "3.10",
            "rate": "0.70",
            "ratePerPosition": ["0.90", "0.70", "0.50"],
        },
    }
    at = (f"--namespace={namespace}", f"spd/{deployed}")
    cluster.kubectl("patch", *at, "--subresource=status", "--type=merge", f"--patch={json.dumps({'status': status})}")
    assert json.loads(cluster.kubectl("get", *at, "-o", "jsonpath={.status}")) == status
    header, row = cluster.kubectl("get", *at, "-o", "wide").splitlines()
    assert header.split()[:7] == ["NAME", "READY", "SPECULATION", "METHOD", "TOKENS", "ACCEPTED", "REPLICAS"]
    assert row.split()[:7] == ["kept", "True", "True", "eagle3", "3", "0.70", "2"]
    for shown in ("org/model", "0" * 40, "kept-0123456789", "Reconciled"):
        assert shown in row


def test_kubectl_explains_the_fields(cluster: ControlPlane) -> None:
    text = " ".join(cluster.kubectl("explain", "spd.spec.speculation").split())
    assert "a pod becomes ready only after it has drafted" in text
    assert "numSpeculativeTokens" in text
