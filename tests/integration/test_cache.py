"""Weights on a claim: fetched once and before any pod, whoever is killed on the way, and never asked for again.

The whole operator, with the rights that it ships with. What its Jobs' pods would run is run by a stand-in for the
kubelet; a folder stands for the claim's volume.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from speculator_operator.download import MARK
from tests.support.apiproxy import ApiProxy
from tests.support.eventually import eventually
from tests.support.objects import bind_claim, put_secret
from tests.support.objectstore import ROOT, ObjectStoreServer
from tests.support.readers import FETCHER, Readers
from tests.support.world import DRAFT, VERIFIER, WEIGHTS, World, files

pytestmark = pytest.mark.timeout(240)

TOKEN = "hf_a-token-for-jobs-and-not-for-engines"  # noqa: S105 - of the hub for tests
IMAGE = {"resolver_image": "registry.example/speculator-operator:test"}
CACHE = {"claim": "weights", "path": "models"}
#: Sixty seconds are waited after a Job that ended without a word, which is more than a test likes to.
IMPATIENT = "from speculator_operator import fetches\nfetches.RETRY_SECONDS = 1.0"


@pytest.fixture
def claim(world: World, tmp_path: Path) -> Path:
    folder = tmp_path / "claim"
    folder.mkdir()
    bind_claim(world.cluster, world.namespace, "weights", folder, mode="ReadWriteMany")
    return folder


@pytest.fixture
def fetchers(world: World, claim: Path) -> Iterator[Readers]:
    with Readers(world.cluster, world.namespace, {"weights": claim}, component=FETCHER) as running:
        yield running


@pytest.fixture
def resolvers(world: World) -> Iterator[Readers]:
    with Readers(world.cluster, world.namespace) as running:
        yield running


def test_a_gated_pair_is_on_the_claim_before_there_is_a_pod_and_no_pod_has_its_token(
    world: World, resolvers: Readers, claim: Path
) -> None:
    world.hub.guard("org/draft", TOKEN)
    world.hub.guard("org/verifier", TOKEN, gated=False)
    put_secret(world.cluster, world.namespace, "hub", token=TOKEN)
    world.apply(model={"uri": "org/draft", "tokenSecretRef": {"name": "hub", "key": "token"}}, cache=CACHE)
    with world.operator(**IMAGE) as operator:
        world.becomes(Resolved=("True", "Resolved"), Reconciling=("True", "Fetching"), Stalled=("False", "Fetching"))
        assert world.message().startswith("0 of 2 models are on the claim. Job a-f-")
        assert "revision" not in world.get("spd")["status"]["resolved"]
        assert (world.items("deployments"), world.items("services")) == ([], [])
        with Readers(world.cluster, world.namespace, {"weights": claim}, component=FETCHER) as fetchers:
            world.ready()
        assert fetchers.ran == 2

        resolved = world.get("spd")["status"]["resolved"]
        assert resolved["command"][:3] == ["vllm", "serve", "/models/verifier"]
        assert resolved["speculativeConfig"]["model"] == "/models/draft"
        pod = world.get("deployment")["spec"]["template"]["spec"]
        (main,) = pod["containers"]
        assert "initContainers" not in pod
        assert {"name": "HF_HUB_OFFLINE", "value": "1"} in main["env"]
        assert not {"HF_TOKEN", "HF_ENDPOINT"} & {variable["name"] for variable in main["env"]}
        folders = {mount["mountPath"]: mount["subPath"] for mount in main["volumeMounts"] if "subPath" in mount}
        for role, config in (("draft", DRAFT), ("verifier", VERIFIER)):
            folder = claim / folders[f"/models/{role}"]
            assert json.loads((folder / "config.json").read_bytes()) == config
            assert (folder / "model.safetensors").read_bytes() == WEIGHTS
        assert "egress" not in world.get("networkpolicy")["spec"]
        eventually(lambda: not world.items("jobs"))
        kinds = ("spd", "controllerrevisions", "deployments", "pods", "events.events.k8s.io")
        everything = json.dumps([*fetchers.seen, *(world.items(kind) for kind in kinds)]) + operator.log
        assert TOKEN not in everything
    assert resolvers.ran == 2


def test_neither_a_scaling_nor_another_operator_nor_a_restart_asks_again(world: World, fetchers: Readers) -> None:
    world.apply(cache=CACHE)
    with world.operator(**IMAGE) as operator:
        world.ready()
        eventually(lambda: not world.items("jobs"))
        pods, ran = world.pods(), fetchers.ran
        asked = len(world.hub.requests)
        operator.kill()
        operator.start()
        world.kubectl("scale", "spd/a", "--replicas=2")
        world.ready()
        world.kubectl("delete", "deployment", "a")
        eventually(lambda: world.get("deployment")["status"].get("readyReplicas") == 2)
        world.ready()
    with world.operator(resolver_image="registry.example/speculator-operator:next", fetch_timeout=60):
        world.kubectl("scale", "spd/a", "--replicas=1")
        world.ready()
    assert pods != world.pods()  # of the Deployment that was deleted
    assert (fetchers.ran, world.items("jobs")) == (ran, [])
    assert len(world.hub.requests) == asked


def test_a_second_pass_writes_nothing_while_weights_are_fetched_and_after(
    world: World, proxy: ApiProxy, claim: Path
) -> None:
    world.apply(cache=CACHE)
    with world.operator(**IMAGE, server=proxy.url, resync_interval=1):
        world.becomes(Reconciling=("True", "Fetching"))
        eventually(lambda: [bool(pod["spec"].get("nodeName")) for pod in world.items("pods")] == [True, True])
        proxy.forget()
        proxy.looked_at("a", 3)  # what there is to say of that is written now
        proxy.forget()
        proxy.looked_at("a", 5)
        assert proxy.writes() == []
        with Readers(world.cluster, world.namespace, {"weights": claim}, component=FETCHER):
            world.ready()
        eventually(lambda: not world.items("jobs"))
        world.becomes(SpeculationActive=("True", "Drafting"))
        eventually(lambda: world.get("spd")["status"]["acceptance"])
        proxy.forget()
        proxy.looked_at("a", 3)
        proxy.forget()
        proxy.looked_at("a", 5)
        assert proxy.writes() == []
        assert proxy.lists() == []


@pytest.mark.timeout(600)
def test_killed_after_any_write_it_ends_the_same(world: World, proxy: ApiProxy, fetchers: Readers) -> None:
    """The pin, two Jobs, the status; and once these are complete, the other objects, the status, the Jobs' deletion."""
    world.apply(cache=CACHE)
    with world.operator(**IMAGE, server=proxy.url):
        world.ready()
    undisturbed = world.end_state()
    for write in range(1, 10):
        world.kubectl("delete", "spd", "a", "--timeout=20s")
        eventually(lambda: not any(world.items(kind) for kind in ("controllerrevisions", "deployments", "jobs")))
        world.apply(cache=CACHE)
        operator = world.operator(**IMAGE, server=proxy.url)
        proxy.forget()
        with operator:
            proxy.kill_after_write(write, operator.kill)
            eventually(lambda operator=operator: not operator.running)  # type: ignore[misc]
            proxy.revive()
            operator.start()
            world.ready()
        assert world.end_state() == undisturbed, f"killed after write {write}"
    assert fetchers.ran >= 20


def test_old_pods_serve_until_the_new_weights_are_there_and_go_back_without_a_download(
    world: World, claim: Path
) -> None:
    world.apply(cache=CACHE)
    with world.operator(**IMAGE):
        with Readers(world.cluster, world.namespace, {"weights": claim}, component=FETCHER):
            world.ready()
        before, template = world.pods(), world.get("deployment")["spec"]["template"]
        first = world.get("spd")["status"]["resolved"]["revision"]
        old = world.get("spd")["status"]["resolved"]["draft"]["revision"]
        world.hub.commit("org/draft", files(DRAFT, note="another"))
        world.kubectl("annotate", "spd", "a", "speculators.dev/refresh=1")
        world.becomes(Reconciling=("True", "Fetching"), Available=("True", "Serving"), Resolved=("True", "Resolved"))
        world.kubectl("scale", "spd/a", "--replicas=2")
        eventually(lambda: world.get("spd")["status"]["readyReplicas"] == 2)
        assert world.get("deployment")["spec"]["template"] == template
        assert before < world.pods()
        assert world.get("spd")["status"]["resolved"]["revision"] == first

        # What serves is looked after meanwhile, also where its Deployment is deleted by hand.
        world.kubectl("delete", "deployment", "a")
        eventually(lambda: [it["status"].get("readyReplicas") for it in world.items("deployments")] == [2])
        assert world.get("deployment")["spec"]["template"] == template

        with Readers(world.cluster, world.namespace, {"weights": claim}, component=FETCHER) as fetchers:
            world.ready()
            assert world.get("spd")["status"]["resolved"]["draft"]["revision"] != old
            # Three folders: the draft's two commits side by side, and the verifier's one.
            assert len(list((claim / "models").iterdir())) == 3
            world.hub.fail("org/draft", "error", status=503)
            world.kubectl("annotate", "spd", "a", "speculators.dev/refresh-")
            eventually(lambda: world.get("spd")["status"]["resolved"]["revision"] == first)
            world.ready()
            assert fetchers.ran == 4


def test_inputs_that_change_while_they_are_fetched_end_their_jobs(world: World, claim: Path) -> None:
    world.hub.commit("org/other", files(DRAFT, note="another"))
    world.apply(cache=CACHE)
    with world.operator(**IMAGE) as operator:
        eventually(lambda: _fetched(world) == ["org/draft", "org/verifier"])
        operator.kill()
        world.apply(model={"uri": "org/other"}, cache=CACHE)
        operator.start()
        eventually(lambda: _fetched(world) == ["org/other", "org/verifier"])
        assert world.items("deployments") == []
        world.apply(model={"uri": "org/other"})
        world.ready()
        eventually(lambda: not world.items("jobs"))
    assert list(claim.iterdir()) == []


def test_an_operator_that_is_killed_while_weights_are_fetched_ends_the_same(world: World, fetchers: Readers) -> None:
    world.apply(cache=CACHE)
    with world.operator(**IMAGE) as operator:
        eventually(lambda: len(world.items("jobs")) == 2)
        operator.kill()
        eventually(lambda: _complete(world) == 2)
        operator.start()
        world.ready()
    assert fetchers.ran == 2


def test_a_completed_job_that_is_deleted_before_it_counted_finds_everything_there(
    world: World, fetchers: Readers
) -> None:
    world.apply(cache=CACHE)
    with world.operator(**IMAGE) as operator:
        eventually(lambda: len(world.items("jobs")) == 2)
        operator.kill()
        eventually(lambda: _complete(world) == 2)
        world.kubectl("delete", "jobs", "--all")
        for repository in ("org/draft", "org/verifier"):
            world.hub.fail(repository, "error", status=503)
        operator.start()
        world.ready()
    assert fetchers.ran == 4


def test_two_resources_share_a_claim_and_a_model(world: World, fetchers: Readers, claim: Path) -> None:
    world.apply_all({"a": {"cache": CACHE}, "b": {"cache": CACHE}})
    with world.operator(**IMAGE):
        world.ready("a")
        world.ready("b")
    assert len(list((claim / "models").iterdir())) == 2
    assert all((folder / MARK).is_file() for folder in (claim / "models").iterdir())
    assert fetchers.ran == 4


def test_object_storage_is_fetched_at_what_it_was(
    world: World, resolvers: Readers, object_store: ObjectStoreServer, claim: Path
) -> None:
    del resolvers
    bucket = world.namespace
    object_store.make_bucket(bucket)
    for name, content in files(DRAFT).items():
        object_store.put(bucket, f"draft/{name}", content)
    keys = {"AWS_ACCESS_KEY_ID": ROOT.access_key_id, "AWS_SECRET_ACCESS_KEY": ROOT.secret_access_key}
    put_secret(world.cluster, world.namespace, "storage", **keys)
    world.apply(
        model={"uri": f"s3://{bucket}/draft", "credentialsSecretRef": {"name": "storage"}}, cache={"claim": "weights"}
    )
    with world.operator(**IMAGE, s3_endpoint=object_store.url):
        world.becomes(Reconciling=("True", "Fetching"))
        object_store.put(bucket, "draft/config.json", json.dumps({**DRAFT, "note": "changed"}).encode())
        with Readers(world.cluster, world.namespace, {"weights": claim}, component=FETCHER):
            world.becomes(Stalled=("True", "StorageChanged"), Resolved=("True", "Resolved"))
            assert world.items("deployments") == []
            world.kubectl("annotate", "spd", "a", "speculators.dev/refresh=1")
            world.ready()
        pod = world.get("deployment")["spec"]["template"]["spec"]
        assert "initContainers" not in pod
        assert "AWS" not in json.dumps(pod["containers"][0]["env"])


def _no_claim(world: World, claim: Path) -> None:
    del claim
    world.kubectl("delete", "pvc", "weights", "--wait=false")


def _no_folder(world: World, claim: Path) -> None:
    del world
    claim.rmdir()
    claim.write_text("")


def _foreign(world: World, claim: Path) -> None:
    """What lies where the first of the folders would be."""
    del world
    (claim / "models").write_text("years of work")


#: What is wrong -> its making, and the reason.
WRONG: dict[str, tuple[Callable[[World, Path], None], str]] = {
    "no claim": (_no_claim, "ClaimMissing"),
    "a volume that is none": (_no_folder, "VolumeUnusable"),
    "something else in its place": (_foreign, "VolumeUnusable"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_with_the_claim_is_named_and_no_pod_is_made(world: World, claim: Path, case: str) -> None:
    make, reason = WRONG[case]
    make(world, claim)
    world.apply(cache=CACHE)
    with (
        Readers(world.cluster, world.namespace, {"weights": claim}, component=FETCHER),
        world.operator(**IMAGE),
    ):
        world.becomes(Stalled=("True", reason), Resolved=("True", "Resolved"))
        assert world.items("deployments") == []


def test_failures_of_the_hub_are_named_and_end_when_they_are_mended(
    world: World, resolvers: Readers, fetchers: Readers
) -> None:
    del resolvers
    world.hub.guard("org/verifier", TOKEN, gated=False)
    put_secret(world.cluster, world.namespace, "hub", token=TOKEN)
    world.apply(
        model={"uri": "org/draft", "tokenSecretRef": {"name": "hub", "key": "token"}}, cache=CACHE, suspend=True
    )
    fetchers.broken = "Killed"
    with world.operator(**IMAGE, patch=IMPATIENT):
        world.becomes(Reconciling=("True", "FetchFailed"), Resolved=("True", "Resolved"), says="Killed")
        world.hub.revoke(TOKEN)
        fetchers.broken = ""
        world.becomes(Stalled=("True", "ModelUnauthorized"), Resolved=("True", "Resolved"))
        world.hub.guard("org/verifier", "hf_the-new-one", gated=False)
        put_secret(world.cluster, world.namespace, "hub", token="hf_the-new-one")  # noqa: S106 - of the hub for tests
        world.becomes(Ready=("True", "Suspended"))


def test_a_job_that_takes_too_long_is_followed_by_another(world: World, claim: Path) -> None:
    del claim
    world.apply(cache=CACHE)
    with world.operator(**IMAGE, fetch_timeout=2):  # nobody runs it
        world.becomes(Reconciling=("True", "FetchFailed"), says="DeadlineExceeded")


def test_deleting_a_resource_whose_weights_are_fetched_leaves_nothing_without_an_operator(
    world: World, claim: Path
) -> None:
    del claim
    world.apply(cache=CACHE)
    with world.operator(**IMAGE):
        eventually(lambda: len(world.items("jobs")) == 2)
    world.kubectl("delete", "spd", "a", "--timeout=20s")
    eventually(lambda: not world.items("jobs"))


def _fetched(world: World) -> list[str]:
    """What Jobs that nobody deletes fetch."""
    jobs = [job for job in world.items("jobs") if "deletionTimestamp" not in job["metadata"]]
    return sorted(job["spec"]["template"]["spec"]["containers"][0]["args"][1] for job in jobs)


def _complete(world: World) -> int:
    return sum(job["status"].get("succeeded", 0) for job in world.items("jobs"))
