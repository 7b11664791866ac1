"""The Job that reads a model: what its pod gets, and what it doesn't."""

from __future__ import annotations

from typing import Any

import pytest

from speculator_operator import api
from speculator_operator.core.resolver_job import resolver_job
from speculator_operator.reference import Reference
from speculator_operator.settings import Settings

IMAGE = "registry.example/speculator-operator:0.1.0"
SETTINGS = Settings(resolver_image=IMAGE, resolver_timeout=90, s3_endpoint="https://s3.example")
SECRETS = {"tokenSecretRef": {"name": "hub", "key": "token"}, "credentialsSecretRef": {"name": "storage"}}


def resource(
    *, refresh: str = "", uid: str = "1", model: dict[str, Any] | None = None, **spec: Any
) -> api.SpeculatorDeployment:
    body = {
        "metadata": {"name": "a", "namespace": "models", "uid": uid, "annotations": {api.REFRESH_ANNOTATION: refresh}},
        "spec": {"model": {"uri": "org/model", **(SECRETS if model is None else model)}, **spec},
    }
    return api.SpeculatorDeployment.from_object(body)


def job(uri: str, settings: Settings = SETTINGS, **changes: Any) -> dict[str, Any]:
    return resolver_job(resource(**changes), Reference.parse(uri), settings)


def container(made: dict[str, Any]) -> dict[str, Any]:
    (only,) = made["spec"]["template"]["spec"]["containers"]
    assert isinstance(only, dict)
    return only


@pytest.mark.parametrize(
    ("uri", "args", "variables"),
    [
        ("org/model@v1", ["read", "org/model", "--revision=v1"], {"SPECULATOR_HUB_TIMEOUT", "HF_TOKEN"}),
        ("pvc://models/a", ["read", "pvc://models/a", "--folder=/models/model"], {"SPECULATOR_HUB_TIMEOUT"}),
        (
            "s3://bucket/a",
            ["read", "s3://bucket/a"],
            {
                "SPECULATOR_HUB_TIMEOUT",
                "SPECULATOR_S3_ENDPOINT",
                "AWS_ACCESS_KEY_ID",
                "AWS_SECRET_ACCESS_KEY",
                "AWS_SESSION_TOKEN",
            },
        ),
    ],
)
def test_it_reads_with_the_one_secret_that_this_takes(uri: str, args: list[str], variables: set[str]) -> None:
    main = container(job(uri))
    assert (main["image"], main["args"]) == (IMAGE, args)
    assert {variable["name"] for variable in main["env"]} == variables


def test_a_claim_is_mounted_read_only_at_its_folder() -> None:
    made = job("pvc://models/llama/8b")
    assert {"name": "model", "mountPath": "/models/model", "readOnly": True, "subPath": "llama/8b"} in container(made)[
        "volumeMounts"
    ]
    assert {"name": "model", "persistentVolumeClaim": {"claimName": "models", "readOnly": True}} in made["spec"][
        "template"
    ]["spec"]["volumes"]


def test_it_ends_by_itself_and_goes_when_nobody_fetches_its_result() -> None:
    spec = job("pvc://models/a")["spec"]
    assert (spec["activeDeadlineSeconds"], spec["backoffLimit"]) == (90, 0)
    assert spec["ttlSecondsAfterFinished"] > 0
    assert spec["template"]["spec"]["restartPolicy"] == "Never"


def test_its_pod_is_confined_and_is_none_of_the_resource_s() -> None:
    template = job("pvc://models/a")["spec"]["template"]
    assert api.NAME_LABEL not in template["metadata"]["labels"]
    pod = template["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container(job("pvc://models/a"))["securityContext"]["readOnlyRootFilesystem"] is True


def test_it_starts_no_node_for_gpus_but_bears_their_taints() -> None:
    toleration = {"key": "gpu", "operator": "Exists"}
    made = job("pvc://models/a", template={"spec": {"nodeSelector": {"gpu": "h100"}, "tolerations": [toleration]}})
    pod = made["spec"]["template"]["spec"]
    assert pod["tolerations"] == [toleration]
    assert "nodeSelector" not in pod
    assert set(container(made)["resources"]["limits"]) == {"memory"}


def test_it_is_pulled_with_the_namespace_s_secrets() -> None:
    settings = SETTINGS.model_copy(update={"resolver_pull_secret": "operator"})
    made = job("pvc://models/a", settings, template={"spec": {"imagePullSecrets": [{"name": "registry"}]}})
    assert made["spec"]["template"]["spec"]["imagePullSecrets"] == [{"name": "operator"}, {"name": "registry"}]


CHANGES: dict[str, tuple[str, dict[str, Any]]] = {
    "another model": ("pvc://models/b", {}),
    "another Secret": ("pvc://models/a", {"model": {**SECRETS, "credentialsSecretRef": {"name": "other"}}}),
    "a wish to read it anew": ("pvc://models/a", {"refresh": "2"}),
    "a taint that its pod is to bear": (
        "pvc://models/a",
        {"template": {"spec": {"tolerations": [{"key": "gpu", "operator": "Exists"}]}}},
    ),
    "another resource of the name": ("pvc://models/a", {"uid": "2"}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_other_inputs_are_another_job(name: str) -> None:
    uri, changes = CHANGES[name]
    assert job(uri, **changes)["metadata"]["name"] != job("pvc://models/a")["metadata"]["name"]


def test_scaling_and_a_new_operator_are_the_same_job() -> None:
    newer = SETTINGS.model_copy(update={"resolver_image": f"{IMAGE}-next"})
    assert job("pvc://models/a", newer, replicas=7)["metadata"]["name"] == job("pvc://models/a")["metadata"]["name"]


def test_its_name_fits_where_the_resource_s_does() -> None:
    long = resource().model_copy(update={"name": "a" * api.NAME_MAX_LENGTH})
    assert len(resolver_job(long, Reference.parse("pvc://models/a"), SETTINGS)["metadata"]["name"]) <= 63
