"""The Jobs that fetch models onto a claim: what their pods get, and what those of the engine no longer do."""

from __future__ import annotations

from typing import Any

import pytest

from speculator_operator import api
from speculator_operator.api import Identity, Resolved
from speculator_operator.core import pod_models, render
from speculator_operator.core.fetch_job import fetch_jobs
from speculator_operator.errors import Refused
from speculator_operator.reference import Kind, Reference
from speculator_operator.settings import Settings
from tests.support import inputs

IMAGE = "registry.example/speculator-operator:0.1.0"
SETTINGS = Settings(
    resolver_image=IMAGE, fetch_timeout=90, hf_endpoint="https://hub.example", s3_endpoint="https://s3.example"
)
SECRETS = {"tokenSecretRef": {"name": "hub", "key": "token"}, "credentialsSecretRef": {"name": "storage"}}
COMMIT, OTHER = "c" * 40, "d" * 40
HUB = Identity(uri="org/model", revision=COMMIT)
BUCKET = Identity(uri="s3://bucket/a", revision="sha256:" + "0" * 64)
CLAIM = Identity(uri="pvc://models/a", revision="sha256:" + "1" * 64)


def resource(*, refresh: str = "", uid: str = "1", **spec: Any) -> api.SpeculatorDeployment:
    body = {
        "metadata": {"name": "a", "namespace": "models", "uid": uid, "annotations": {api.REFRESH_ANNOTATION: refresh}},
        "spec": {"model": {"uri": "org/model", **SECRETS}, "cache": {"claim": "weights"}, **spec},
    }
    return api.SpeculatorDeployment.from_object(body)


def resolved(verifier: Identity, draft: Identity | None = None) -> Resolved:
    return inputs.RESOLVED.model_copy(update={"verifier": verifier, "draft": draft})


def jobs(*models: Identity, settings: Settings = SETTINGS, **changes: Any) -> list[dict[str, Any]]:
    return list(fetch_jobs(resource(**changes), resolved(*models), settings).values())


def job(identity: Identity = HUB, settings: Settings = SETTINGS, /, **changes: Any) -> dict[str, Any]:
    (only,) = jobs(identity, settings=settings, **changes)
    return only


def container(made: dict[str, Any]) -> dict[str, Any]:
    (only,) = made["spec"]["template"]["spec"]["containers"]
    assert isinstance(only, dict)
    return only


@pytest.mark.parametrize(
    ("model", "variables"),
    [
        (HUB, {"SPECULATOR_HUB_TIMEOUT", "SPECULATOR_HF_ENDPOINT", "HF_TOKEN"}),
        (
            BUCKET,
            {
                *("SPECULATOR_HUB_TIMEOUT", "SPECULATOR_S3_ENDPOINT"),
                *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
            },
        ),
    ],
)
def test_it_fetches_what_was_resolved_with_the_one_secret_that_this_takes(model: Identity, variables: set[str]) -> None:
    made = job(model, cache={"claim": "weights", "path": "llama/8b"})
    main = container(made)
    folder = pod_models.cached(model, api.Cache(claim="weights", path="llama/8b"))
    assert folder is not None
    assert folder.path.startswith("llama/8b/")
    assert main["image"] == IMAGE
    assert main["args"] == [
        *("fetch", model.uri, f"--into=/cache/{folder.path}", "--report=/dev/termination-log"),
        f"--revision={model.revision}",
    ]
    assert {variable["name"] for variable in main["env"]} == variables


def test_it_writes_to_the_claim_whose_files_are_not_given_to_the_group_one_by_one_at_each_start() -> None:
    made = job()
    pod = made["spec"]["template"]["spec"]
    assert {"name": "cache", "mountPath": "/cache"} in container(made)["volumeMounts"]
    assert {"name": "cache", "persistentVolumeClaim": {"claimName": "weights"}} in pod["volumes"]
    assert pod["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
    assert "fsGroupChangePolicy" not in render.UNPRIVILEGED["securityContext"]  # type: ignore[operator]


def test_it_ends_by_itself_and_is_none_of_the_resource_s_pods() -> None:
    made = job()
    assert (made["spec"]["activeDeadlineSeconds"], made["spec"]["backoffLimit"]) == (90, 0)
    assert api.NAME_LABEL in made["metadata"]["labels"]
    assert api.NAME_LABEL not in made["spec"]["template"]["metadata"]["labels"]
    assert made["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"] == "fetcher"
    assert set(container(made)["resources"]["limits"]) == {"memory"}


def test_each_model_has_a_job_and_one_that_is_both_has_one() -> None:
    assert len(jobs(HUB, BUCKET)) == 2
    assert len(jobs(HUB, HUB)) == 1
    assert len(jobs(HUB, Identity(uri=HUB.uri, revision=OTHER))) == 2


def test_what_is_mounted_anyway_has_none_and_nothing_has_without_a_cache() -> None:
    assert jobs(CLAIM) == []
    assert len(jobs(CLAIM, HUB)) == 1
    assert jobs(HUB, BUCKET, cache=None) == []


CHANGES: dict[str, tuple[Identity, dict[str, Any]]] = {
    "another commit": (Identity(uri=HUB.uri, revision=OTHER), {}),
    "another claim": (HUB, {"cache": {"claim": "other"}}),
    "another folder of it": (HUB, {"cache": {"claim": "weights", "path": "a"}}),
    "another Secret": (HUB, {"model": {"uri": "org/model", "tokenSecretRef": {"name": "other", "key": "token"}}}),
    "a wish to have it fetched anew": (HUB, {"refresh": "2"}),
    "another resource of the name": (HUB, {"uid": "2"}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_other_inputs_are_another_job(name: str) -> None:
    model, changes = CHANGES[name]
    assert job(model, **changes)["metadata"]["name"] != job()["metadata"]["name"]


def test_scaling_and_a_new_operator_are_the_same_job() -> None:
    newer = SETTINGS.model_copy(update={"resolver_image": f"{IMAGE}-next", "fetch_timeout": 7200})
    assert job(HUB, newer, replicas=7)["metadata"]["name"] == job()["metadata"]["name"]


def test_its_name_fits_where_the_resource_s_does() -> None:
    long = resource().model_copy(update={"name": "a" * api.NAME_MAX_LENGTH})
    (only,) = fetch_jobs(long, resolved(HUB), SETTINGS).values()
    assert len(only["metadata"]["name"]) <= 63


def test_without_an_image_to_fetch_with_the_installation_is_named() -> None:
    with pytest.raises(Refused, match="SPECULATOR_RESOLVER_IMAGE"):
        job(HUB, Settings())


# Where a model is, for Jobs and pods alike.


def test_each_commit_has_a_folder_of_its_own_that_stays_the_same_from_release_to_release() -> None:
    cache = api.Cache(claim="weights")
    folder = pod_models.cached(HUB, cache)
    # Pods of every release mount what Jobs of others have fetched.
    assert folder == Reference(Kind.CLAIM, "weights", "46312225fc97c39342dd6e6b9da95e3c")
    assert pod_models.cached(Identity(uri=HUB.uri, revision=OTHER), cache) != folder
    assert pod_models.cached(Identity(uri="org/other", revision=COMMIT), cache) != folder


def test_the_engine_loads_from_the_cache_what_it_would_download() -> None:
    cache = api.Cache(claim="weights")
    for model in (HUB, BUCKET, CLAIM):
        assert pod_models.loaded_from(model, "draft", cache) == Identity(uri="/models/draft")
    assert pod_models.cached(CLAIM, cache) is None
    folders = pod_models.in_folders({"verifier": HUB, "draft": CLAIM}, cache)
    assert [folder.uri.split("/")[2] for folder in folders.values()] == ["weights", "models"]


def test_pods_with_a_cache_have_no_secret_no_hub_and_no_download() -> None:
    made = resource(template={"spec": {"imagePullSecrets": [{"name": "registry"}]}})
    spec = render.pod_template(made, resolved(HUB, BUCKET), SETTINGS)["spec"]
    (main,) = spec["containers"]
    assert "initContainers" not in spec
    assert "valueFrom" not in str(main["env"])
    assert {"name": "HF_HUB_OFFLINE", "value": "1"} in main["env"]
    assert "hub.example" not in str(spec)
    assert spec["imagePullSecrets"] == [{"name": "registry"}]  # the engine's alone
    assert [it for it in spec["volumes"] if "persistentVolumeClaim" in it] == [
        {"name": "verifier", "persistentVolumeClaim": {"claimName": "weights", "readOnly": True}}
    ]
    assert all(it["readOnly"] for it in main["volumeMounts"] if it["mountPath"].startswith("/models/"))


def test_another_cache_is_another_revision() -> None:
    hashes = {
        render.input_hash(resource(cache=cache))
        for cache in (None, {"claim": "a"}, {"claim": "b"}, {"claim": "a", "path": "b"})
    }
    assert len(hashes) == 4
