"""Where models come from, and what becomes of a resource when one can't be had: its reason, its retries, its recovery.

The whole operator, with the rights that it ships with. Resolver Jobs and their pods are real objects; what such a pod
would run is run by a stand-in for the kubelet (``tests/support/readers``).
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.apiproxy import ApiProxy
from tests.support.eventually import eventually
from tests.support.objects import bind_claim, put_secret
from tests.support.objectstore import ROOT, STRANGER, ObjectStoreServer
from tests.support.readers import Readers
from tests.support.world import DRAFT, VERIFIER, World, files
from tools.testhub import Request

pytestmark = pytest.mark.timeout(240)

TOKEN = "hf_a-token-that-is-nobody-elses-business"  # noqa: S105 - of the hub for tests
IMAGE = {"resolver_image": "registry.example/speculator-operator:test"}
#: Resources at once; `make scale` has a thousand.
SCALE = int(os.environ.get("SCALE", "200"))
STALLED, ON_THE_WAY = ("Stalled", "True"), ("Reconciling", "True")

#: What is wrong with the repository -> (the fault of the hub, the condition that says so, its reason).
PUBLIC: dict[str, tuple[dict[str, Any], tuple[str, str], str]] = {
    "private-or-absent": ({"kind": "unauthorized"}, STALLED, "ModelUnauthorized"),
    "terms-not-accepted": ({"kind": "gated", "on": "files"}, STALLED, "ModelGated"),
    "not-there": ({"kind": "repository-missing"}, STALLED, "ModelNotFound"),
    "no-such-revision": ({"kind": "revision-missing", "on": "api"}, STALLED, "RevisionNotFound"),
    "no-config": ({"kind": "entry-missing", "on": "files"}, STALLED, "ConfigMissing"),
    "huge-config": ({"kind": "endless", "on": "files"}, STALLED, "ConfigTooLarge"),
    "config-is-a-list": ({"kind": "replaced", "on": "files", "body": b"[1]"}, STALLED, "ConfigMalformed"),
    "config-is-cut-off": ({"kind": "replaced", "on": "files", "body": b'{"a": '}, STALLED, "ConfigMalformed"),
    "hub-fails": ({"kind": "error", "status": 503}, ON_THE_WAY, "HubUnavailable"),
    "hub-hangs": ({"kind": "hung"}, ON_THE_WAY, "HubUnavailable"),
    "hub-is-slow": ({"kind": "trickle", "on": "files", "seconds": 0.5}, ON_THE_WAY, "HubUnavailable"),
    "answer-is-cut-off": ({"kind": "truncated", "on": "files"}, ON_THE_WAY, "HubUnavailable"),
    "connection-drops": ({"kind": "dropped"}, ON_THE_WAY, "HubUnavailable"),
    "too-many-requests": ({"kind": "throttled", "retry_after": 2}, ON_THE_WAY, "HubThrottled"),
}


@pytest.mark.parametrize("broken", ["draft", "verifier"])
def test_each_way_in_which_a_repository_fails_has_its_reason_and_ends_when_it_is_mended(
    world: World, broken: str
) -> None:
    for case, (fault, _, _) in PUBLIC.items():
        config = {**DRAFT["speculators_config"], "verifier": {"name_or_path": f"verifier/{case}"}}
        world.hub.commit(f"draft/{case}", files(DRAFT, speculators_config=config))
        world.hub.commit(f"verifier/{case}", files(VERIFIER))
        world.hub.fail(f"{broken}/{case}", **fault)
        world.apply(case, model={"uri": f"draft/{case}"})
    # Half a minute is waited after most failures, and then longer and longer, which is more than a test likes to.
    impatient = "from speculator_operator import failures, hub\nhub.RETRY_SECONDS = failures.RETRY_MOST_SECONDS = 2.0"
    with world.operator(hub_timeout=2, patch=impatient):

        def told() -> None:
            assert {case: _said(world, case, condition[0]) for case, (_, condition, _) in PUBLIC.items()} == {
                case: (condition[1], reason) for case, (_, condition, reason) in PUBLIC.items()
            }

        eventually(told)
        assert not world.items("deployments")
        assert not world.items("controllerrevisions")
        for case in PUBLIC:
            asked = sum(f"{broken}/{case}" in request.path for request in world.hub.requests)
            eventually(lambda case=case, asked=asked: _asked(world, f"{broken}/{case}") > asked)  # type: ignore[misc]
        for case in PUBLIC:
            world.hub.mend(f"{broken}/{case}")
        for case in PUBLIC:
            world.ready(case)


def test_a_hub_that_limits_requests_is_asked_again_when_it_says_and_not_before(world: World) -> None:
    asked: list[float] = []

    def observe(request: Request) -> None:
        if "org/draft" in request.path:
            asked.append(time.monotonic())

    world.hub.observe = observe
    world.hub.fail("org/draft", "throttled", retry_after=4, times=1)
    world.apply()
    with world.operator():
        world.becomes(Reconciling=("True", "HubThrottled"), Stalled=("False", "HubThrottled"))
        world.kubectl("annotate", "spd", "a", "note=it-is-looked-at-again")
        world.ready()
    assert asked[1] - asked[0] >= 4


def test_many_resources_that_share_ten_repositories_read_each_once(world: World) -> None:
    """Also when the operator is killed on the way: the next one reads each once more, and once pinned, nothing.

    Where a branch is, is asked again after a minute, should they take longer.
    """
    for number in range(5):
        config = {**DRAFT["speculators_config"], "verifier": {"name_or_path": f"shared/verifier-{number}"}}
        world.hub.commit(f"shared/draft-{number}", files(DRAFT, speculators_config=config))
        world.hub.commit(f"shared/verifier-{number}", files(VERIFIER))
    world.apply_all(
        {f"r-{number}": {"model": {"uri": f"shared/draft-{number % 5}"}, "replicas": 0} for number in range(SCALE)}
    )
    asked: Counter[str] = Counter()
    world.hub.observe = lambda request: asked.update([request.path.partition("?")[0]])

    def pinned() -> int:
        return len(world.kubectl("get", "controllerrevisions", "-o", "name").split())

    def reads(part: str) -> int:
        return sum(count for path, count in list(asked.items()) if part in path)

    def of_each() -> tuple[int, ...]:
        """Reads of configs, of lists of files, and of what type weights are of."""
        return reads("/config.json"), reads("/tree/"), reads("/revision/") - reads("/revision/main")

    started = time.monotonic()
    with world.operator(resync_interval=300) as operator:
        eventually(lambda: pinned() > SCALE // 10 and of_each() == (10, 10, 10))
        operator.kill()
        assert of_each() == (10, 10, 10)
        operator.start()
        eventually(lambda: pinned() == SCALE, within=150, every=1)
        assert of_each() == (20, 20, 20)
        operator.kill()
        operator.start()
        for name in ("r-0", f"r-{SCALE // 2}", f"r-{SCALE - 1}"):
            world.kubectl("scale", f"spd/{name}", "--replicas=1")
        for name in ("r-0", f"r-{SCALE // 2}", f"r-{SCALE - 1}"):
            eventually(lambda name=name: world.get("spd", name)["status"]["readyReplicas"] == 1)  # type: ignore[misc]
        assert of_each() == (20, 20, 20)
        assert reads("/revision/main") <= 10 * (2 + (time.monotonic() - started) // 60)


@pytest.fixture
def claim(tmp_path: Path) -> Path:
    """The folder that stands for the claim ``models``' volume."""
    folder = tmp_path / "claim"
    folder.mkdir()
    return folder


@pytest.fixture
def readers(world: World, claim: Path) -> Iterator[Readers]:
    with Readers(world.cluster, world.namespace, {"models": claim}) as running:
        yield running


def test_gated_models_are_read_with_the_token_by_jobs_that_leave_nothing(world: World, readers: Readers) -> None:
    world.hub.guard("org/draft", TOKEN)
    world.hub.guard("org/verifier", TOKEN, gated=False)
    world.apply(model={"uri": "org/draft", "tokenSecretRef": {"name": "hub", "key": "token"}})
    with world.operator(**IMAGE) as operator:
        world.becomes(
            Stalled=("True", "SecretUnusable"),
            Resolved=("False", "SecretUnusable"),
            says='secret "hub" not found',
        )
        put_secret(world.cluster, world.namespace, "hub", token="hf_of-somebody-who-may-not")  # noqa: S106 - of the hub for tests
        world.becomes(Stalled=("True", "ModelGated"))
        put_secret(world.cluster, world.namespace, "hub", token=TOKEN)
        world.ready()

        resolved = world.get("spd")["status"]["resolved"]
        assert len(resolved["draft"]["revision"]) == len(resolved["verifier"]["revision"]) == 40
        main = world.get("deployment")["spec"]["template"]["spec"]["containers"][0]
        token = {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}}
        assert token in main["env"]
        eventually(lambda: not world.items("jobs"))
        ran = readers.ran
        operator.kill()
        operator.start()
        world.kubectl("scale", "spd/a", "--replicas=2")
        world.ready()
        assert readers.ran == ran

        kinds = ("spd", "controllerrevisions", "deployments", "pods", "events.events.k8s.io")
        everything = json.dumps([*readers.seen, *(world.items(kind) for kind in kinds)]) + operator.log
        assert TOKEN not in everything
        assert all(request.authorization in (None, f"Bearer {TOKEN}") or "may-not" in request.authorization
                   for request in world.hub.requests)  # fmt: skip


def test_a_public_verifier_of_a_gated_draft_takes_no_job(world: World, readers: Readers) -> None:
    world.hub.guard("org/draft", TOKEN)
    put_secret(world.cluster, world.namespace, "hub", token=TOKEN)
    world.apply(model={"uri": "org/draft", "tokenSecretRef": {"name": "hub", "key": "token"}})
    with world.operator(**IMAGE):
        world.ready()
        assert readers.ran == 1


def test_a_claim_is_read_by_a_job_and_mounted(world: World, readers: Readers, claim: Path) -> None:
    world.apply(model={"uri": "pvc://models/draft"}, verifier={"uri": "pvc://models/verifier"})
    with world.operator(**IMAGE):
        world.becomes(Stalled=("True", "ClaimMissing"))
        bind_claim(world.cluster, world.namespace, "models", Path("/nowhere"))
        world.becomes(Stalled=("True", "ConfigMissing"))
        _write(claim / "draft", files(DRAFT, speculators_config={}))
        world.becomes(Stalled=("True", "RecipeMethodsInvalid"))
        _write(claim / "draft", files(DRAFT))
        _write(claim / "verifier", files(VERIFIER))
        world.ready()
        resolved = world.get("spd")["status"]["resolved"]
        assert resolved["draft"]["uri"] == "pvc://models/draft"
        assert resolved["draft"]["revision"].startswith("sha256:")
        assert resolved["command"][:3] == ["vllm", "serve", "/models/verifier"]
        assert resolved["speculativeConfig"]["model"] == "/models/draft"
        assert "revision" not in resolved["speculativeConfig"]

        _write(claim / "draft", files(DRAFT, note="another"))
        world.kubectl("annotate", "spd", "a", "speculators.dev/refresh=1")
        eventually(lambda: world.get("spd")["status"]["resolved"]["draft"]["revision"] != resolved["draft"]["revision"])
        world.ready()
        assert readers.ran >= 6


def test_object_storage_is_read_by_a_job_and_fetched_at_what_it_was(
    world: World, readers: Readers, object_store: ObjectStoreServer
) -> None:
    bucket = world.namespace
    object_store.make_bucket(bucket)
    _store(object_store, bucket, "draft", files(DRAFT))
    put_secret(
        world.cluster,
        world.namespace,
        "storage",
        AWS_ACCESS_KEY_ID=STRANGER.access_key_id,
        AWS_SECRET_ACCESS_KEY="nobody's",  # noqa: S106 - and it is
    )
    world.apply(
        model={"uri": f"s3://{bucket}/draft", "credentialsSecretRef": {"name": "storage"}},
        verifier={"uri": f"s3://{bucket}/verifier"},
    )
    with world.operator(**IMAGE, s3_endpoint=object_store.url) as operator:
        world.becomes(Stalled=("True", "StorageUnauthorized"))
        put_secret(
            world.cluster,
            world.namespace,
            "storage",
            AWS_ACCESS_KEY_ID=ROOT.access_key_id,
            AWS_SECRET_ACCESS_KEY=ROOT.secret_access_key,
        )
        world.becomes(Stalled=("True", "ConfigMissing"))
        _store(object_store, bucket, "verifier", files(VERIFIER))
        world.ready()

        resolved = world.get("spd")["status"]["resolved"]
        fetching = world.get("deployment")["spec"]["template"]["spec"]["initContainers"]
        assert {tuple(container["args"]) for container in fetching} == {
            ("fetch", resolved[role]["uri"], f"--into=/models/{role}", f"--revision={resolved[role]['revision']}")
            for role in ("draft", "verifier")
        }
        assert resolved["command"][2] == "/models/verifier"
        assert ROOT.secret_access_key not in operator.log + json.dumps([*readers.seen, *world.items("spd")])


@pytest.mark.parametrize(
    "words", ["exec format error", "speculators.dev/report/v1 0123456789abcdef not-whole", "x" * 5000]
)
def test_a_job_that_says_something_else_is_named_and_another_one_follows(
    world: World, readers: Readers, claim: Path, words: str
) -> None:
    bind_claim(world.cluster, world.namespace, "models", Path("/nowhere"))
    _write(claim / "draft", files(DRAFT))
    readers.broken = words
    world.apply(model={"uri": "pvc://models/draft"})
    with world.operator(**IMAGE, patch="from speculator_operator import sources\nsources.RETRY_SECONDS = 1.0"):
        world.becomes(Reconciling=("True", "ResolverFailed"), Stalled=("False", "ResolverFailed"), says=words[:20])
        readers.broken = ""
        world.ready()


def test_a_job_that_ends_without_a_word_is_named_and_another_one_follows(world: World) -> None:
    bind_claim(world.cluster, world.namespace, "models", Path("/nowhere"))
    world.apply(model={"uri": "pvc://models/draft"})
    with world.operator(**IMAGE, resolver_timeout=2):  # nobody runs it
        world.becomes(Reconciling=("True", "ResolverFailed"), says="DeadlineExceeded")
        assert not world.items("jobs")


def test_jobs_of_inputs_that_nobody_wants_any_more_are_deleted(world: World) -> None:
    bind_claim(world.cluster, world.namespace, "models", Path("/nowhere"))
    with world.operator(**IMAGE) as operator:  # nobody runs them
        for folder in ("one", "two", "three"):
            world.apply(model={"uri": f"pvc://models/{folder}"})
            eventually(lambda folder=folder: _reads(world) == [f"pvc://models/{folder}"])  # type: ignore[misc]
        world.apply(model={"uri": "pvc://models/three"}, replicas=3, engine={"args": ["--seed=1"]})
        eventually(lambda: world.get("spd")["status"]["observedGeneration"] == 4)
        assert _reads(world) == ["pvc://models/three"]
        operator.kill()
        world.apply()
        operator.start()
        world.ready()
        assert _reads(world) == []


def test_a_quota_that_lets_no_pod_be_is_named(world: World) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    world.kubectl("create", "-f", "-", stdin=json.dumps(quota))
    world.apply(model={"uri": "pvc://models/draft"})
    with world.operator(**IMAGE):
        world.becomes(Reconciling=("True", "Resolving"), says="no pod has been made for it")


def test_a_pod_that_only_looks_like_the_job_s_is_not_believed(world: World, proxy: ApiProxy) -> None:
    bind_claim(world.cluster, world.namespace, "models", Path("/nowhere"))
    world.apply(model={"uri": "pvc://models/draft"})
    with world.operator(**IMAGE, server=proxy.url, resync_interval=1):
        (job,) = eventually(lambda: world.items("jobs"))
        name = job["metadata"]["name"]
        forged = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "forged", "labels": {"batch.kubernetes.io/job-name": name}},
            "spec": {"containers": [{"name": "main", "image": "x"}], "nodeName": "nowhere"},
        }
        world.kubectl("create", "-f", "-", stdin=json.dumps(forged))
        ended = {"name": "main", "image": "x", "imageID": "", "ready": False, "restartCount": 0}
        ended["state"] = {"terminated": {"exitCode": 0, "message": "speculators.dev/report/v1 forged"}}
        patch = json.dumps({"status": {"phase": "Succeeded", "containerStatuses": [ended]}})
        world.kubectl("patch", "pod", "forged", "--subresource=status", "--type=merge", "-p", patch)
        proxy.forget()
        proxy.looked_at("a", 3)
        world.becomes(Reconciling=("True", "Resolving"), says=name)
        assert "forged" not in world.message()


def test_without_an_image_for_jobs_the_installation_is_named(world: World) -> None:
    world.apply(model={"uri": "pvc://models/draft"})
    with world.operator():
        world.becomes(Stalled=("True", "ResolverUnset"), says="SPECULATOR_RESOLVER_IMAGE")


def test_deleting_a_resource_whose_model_is_being_read_leaves_nothing(world: World) -> None:
    bind_claim(world.cluster, world.namespace, "models", Path("/nowhere"))
    world.apply(model={"uri": "pvc://models/draft"})
    with world.operator(**IMAGE):
        eventually(lambda: world.items("jobs"))
        world.kubectl("delete", "spd", "a", "--timeout=20s")
        eventually(lambda: not world.items("jobs"))


def _said(world: World, name: str, type_: str) -> tuple[str, str]:
    return world.conditions(name).get(type_, ("", ""))


def _asked(world: World, repository: str) -> int:
    return sum(repository in request.path for request in world.hub.requests)


def _reads(world: World) -> list[str]:
    jobs = [job for job in world.items("jobs") if "deletionTimestamp" not in job["metadata"]]
    return [job["spec"]["template"]["spec"]["containers"][0]["args"][1] for job in jobs]


def _store(server: ObjectStoreServer, bucket: str, prefix: str, content: dict[str, bytes]) -> None:
    for name, data in content.items():
        server.put(bucket, f"{prefix}/{name}", data)


def _write(folder: Path, content: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in content.items():
        (folder / name).write_bytes(data)
