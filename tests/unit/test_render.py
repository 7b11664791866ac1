"""What names a revision: what a user wrote that reaches a pod; and what every pod has, whatever was written.

Whole renderings are in ``test_render_cases``.
"""

from __future__ import annotations

from typing import Any

import pytest

from speculator_operator import api
from speculator_operator.api import Identity
from speculator_operator.core import render
from speculator_operator.settings import Settings
from tests.support import inputs


def name(spec: dict[str, Any]) -> str:
    return render.revision_name(api.SpeculatorDeployment.from_object(inputs.resource(spec)))


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"replicas": 3}, id="how many pods there are"),
        pytest.param({"suspend": True}, id="whether there are any"),
        pytest.param({"rollout": {"strategy": "Recreate"}}, id="how a change reaches them"),
        pytest.param({"accelerator": {"memory": "80Gi"}}, id="what is only checked"),
        pytest.param({"networkPolicy": {"from": [{"podSelector": {}}], "egress": "Any"}}, id="who reaches them"),
        pytest.param({"parallelism": {}, "engine": {"args": []}}, id="what is as if it weren't there"),
    ],
)
def test_what_reaches_no_pod_rolls_none(spec: dict[str, Any]) -> None:
    assert name(spec) == name({})


@pytest.mark.parametrize(
    "spec",
    [
        {"model": {"uri": "pvc://models/llama"}},
        {"model": {"uri": inputs.URI, "tokenSecretRef": {"name": "hub", "key": "token"}}},
        {"accelerator": {"product": "NVIDIA-L4"}},
        {"parallelism": {"tensor": 2}},
        {"engine": {"args": ["--seed=1"]}},
    ],
    ids=str,
)
def test_what_reaches_a_pod_is_another_revision(spec: dict[str, Any]) -> None:
    assert name(spec) != name({})


def pod(spec: dict[str, Any], command: tuple[str, ...] = (), verifier: str = inputs.URI) -> dict[str, Any]:
    resource = api.SpeculatorDeployment.from_object(inputs.resource(spec))
    models = {"verifier": Identity(uri=verifier), "draft": None}
    resolved = inputs.RESOLVED.model_copy(update={**models, "command": [*inputs.RESOLVED.command, *command]})
    settings = Settings(resolver_image="registry.example/speculator-operator:0.1.0")
    made: dict[str, Any] = render.pod_template(resource, resolved, settings)["spec"]
    return made


def variables(made: dict[str, Any]) -> dict[str, Any]:
    return {variable["name"]: variable.get("value") for variable in made["containers"][0]["env"]}


@pytest.mark.parametrize("case", inputs.GOOD)
@pytest.mark.parametrize("verifier", [inputs.URI, "pvc://models/llama", "s3://bucket/llama"])
def test_every_pod_is_confined_and_holds_no_token(case: str, verifier: str) -> None:
    made = pod(inputs.GOOD[case], verifier=verifier)
    assert made["automountServiceAccountToken"] is False
    assert made["enableServiceLinks"] is False
    assert made["securityContext"]["runAsNonRoot"] is True
    assert made["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC", "serviceAccountName"} & made.keys()
    assert not any("hostPath" in volume for volume in made["volumes"])
    for container in [*made["containers"], *made.get("initContainers", [])]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
    assert variables(made)["VLLM_NO_USAGE_STATS"] == "1"
    assert variables(made)["GLOO_SOCKET_IFNAME"] == "lo"


@pytest.mark.parametrize(
    ("verifier", "expected"), [(inputs.URI, None), ("pvc://models/llama", "1"), ("s3://bucket/llama", "1")]
)
def test_an_engine_whose_weights_are_there_asks_no_hub(verifier: str, expected: str | None) -> None:
    assert variables(pod({}, verifier=verifier)).get("HF_HUB_OFFLINE") == expected


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ((), None),
        (("--allowed-media-domains=upload.example",), "0"),
        (("--allowed_media_domains", "upload.example", "images.example"), "0"),
        (("--served-model-name=--allowed-media-domains",), None),
    ],
)
def test_domains_that_may_be_asked_for_media_send_the_engine_nowhere_else(
    command: tuple[str, ...], expected: str | None
) -> None:
    assert variables(pod({}, command)).get("VLLM_MEDIA_URL_ALLOW_REDIRECTS") == expected
