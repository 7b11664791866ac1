"""How a pod gets at its models. What whole pods look like is in the rendering cases."""

from __future__ import annotations

from typing import Any

import pytest

from speculator_operator import api
from speculator_operator.api import Identity
from speculator_operator.core import pod_models
from speculator_operator.errors import Refused
from speculator_operator.reference import Kind, Reference
from speculator_operator.settings import Settings

COMMIT = "c" * 40
DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("uri", "loaded"),
    [
        ("org/model", Identity(uri="org/model", revision=COMMIT)),
        ("./a/folder", Identity(uri="./a/folder", revision=COMMIT)),
        ("pvc://models/a", Identity(uri="/models/draft")),
        (f"oci://registry/a@{DIGEST}", Identity(uri="/models/draft")),
        ("s3://bucket/a", Identity(uri="/models/draft")),
        ("gs://bucket/a", Identity(uri="/models/draft")),
    ],
)
def test_the_engine_loads_a_repository_at_its_commit_and_everything_else_from_a_folder(
    uri: str, loaded: Identity
) -> None:
    assert pod_models.loaded_from(Identity(uri=uri, revision=COMMIT), "draft") == loaded


def test_two_models_of_one_claim_share_its_volume_and_two_of_one_bucket_don_t() -> None:
    claim = {"verifier": Reference.parse("pvc://models/a"), "draft": Reference.parse("pvc://models/b")}
    bucket = {"verifier": Reference.parse("s3://models/a"), "draft": Reference.parse("s3://models/b")}
    assert [volume["name"] for volume in pod_models.volumes(claim)] == ["verifier"]
    assert [volume["name"] for volume in pod_models.volumes(bucket)] == ["draft", "verifier"]
    assert [(mount["name"], mount["subPath"]) for mount in pod_models.mounts(claim)] == [
        ("verifier", "a"),
        ("verifier", "b"),
    ]
    assert all(mount["readOnly"] for mount in (*pod_models.mounts(claim), *pod_models.mounts(bucket)))


@pytest.mark.parametrize(
    ("kinds", "names"),
    [
        ({Kind.HUB}, ["HF_TOKEN"]),
        ({Kind.S3}, ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]),
        ({Kind.GCS, Kind.HUB}, ["HF_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]),
        ({Kind.CLAIM, Kind.IMAGE}, []),
    ],
)
def test_a_container_gets_the_secrets_of_the_places_that_it_reads_and_no_others(
    kinds: set[Kind], names: list[str]
) -> None:
    secrets = {"tokenSecretRef": {"name": "hub", "key": "token"}, "credentialsSecretRef": {"name": "storage"}}
    model = api.Model.model_validate({"uri": "org/model", **secrets})
    variables = pod_models.environment(model, kinds)
    assert [variable["name"] for variable in variables] == names
    assert all("value" not in variable for variable in variables)
    assert pod_models.environment(api.Model(uri="org/model"), kinds) == []


SET: dict[str, Any] = {
    "hub_timeout": 45,
    "hf_endpoint": "https://hub.example",
    "engine_hf_endpoint": "https://hub.pods.example",
    "s3_endpoint": "https://s3.example",
    "s3_region": "eu-1",
}


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Kind.HUB, {"SPECULATOR_HUB_TIMEOUT": "45", "SPECULATOR_HF_ENDPOINT": "https://hub.pods.example"}),
        (
            Kind.S3,
            {
                "SPECULATOR_HUB_TIMEOUT": "45",
                "SPECULATOR_S3_ENDPOINT": "https://s3.example",
                "SPECULATOR_S3_REGION": "eu-1",
            },
        ),
        (Kind.GCS, {"SPECULATOR_HUB_TIMEOUT": "45"}),
        (Kind.CLAIM, {"SPECULATOR_HUB_TIMEOUT": "45"}),
    ],
)
def test_a_reader_is_told_what_the_installation_has_set(kind: Kind, values: dict[str, str]) -> None:
    told = pod_models.resolver_settings(kind, Settings.model_validate(SET))
    assert {variable["name"]: variable["value"] for variable in told} == values
    (timeout,) = pod_models.resolver_settings(kind, Settings())
    assert timeout["name"] == "SPECULATOR_HUB_TIMEOUT"


def test_without_an_image_to_read_with_the_installation_is_named() -> None:
    with pytest.raises(Refused, match=r"ResolverUnset: s3://bucket/a .*SPECULATOR_RESOLVER_IMAGE"):
        pod_models.resolver_image(Reference.parse("s3://bucket/a"), Settings())


def test_what_runs_the_operator_s_image_is_pulled_with_the_installation_s_secret_too() -> None:
    pod = api.PodSpec.model_validate({"imagePullSecrets": [{"name": "registry"}, {"name": "operator"}]})
    assert pod_models.resolver_pull_secrets(pod, Settings(resolver_pull_secret="operator")) == [  # noqa: S106 - a name
        {"name": "operator"},
        {"name": "registry"},
    ]
    assert pod_models.resolver_pull_secrets(api.PodSpec(), Settings()) == []
