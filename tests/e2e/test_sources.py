"""Models that aren't public, or not on a hub, served by the real engine on the real node.

Their Jobs run the operator's own image, under Restricted enforcement. What the cluster's administrator would provide (a
volume with checkpoints, an image in the node's store) the test provides by hand; everything else is the operator's.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.conftest import RealCluster
from tests.support.eventually import eventually
from tests.support.objects import bind_claim, put_secret
from tests.support.objectstore import ROOT, ObjectStoreServer
from tests.support.operator import grant
from tests.support.realworld import RealWorld, complete
from tools.localcluster.binaries import binary
from tools.testhub import write_eagle3_draft, write_verifier

TOKEN = "hf_nobody-but-two-pods-may-see-this"  # noqa: S105 - of the hub for tests

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def store(real_cluster: RealCluster) -> Iterator[ObjectStoreServer]:
    with ObjectStoreServer(real_cluster.node.gateway) as running:
        yield running


@pytest.fixture
def world(
    real_cluster: RealCluster, store: ObjectStoreServer, namespace: str, operator_image: str, tmp_path: Path
) -> Iterator[RealWorld]:
    grant(real_cluster.control_plane)
    made = RealWorld(
        real_cluster.control_plane,
        namespace,
        tmp_path / "operator.log",
        hf_endpoint=real_cluster.hub.url,
        resolver_image=operator_image,
        s3_endpoint=store.url,
    )
    with made.operator:
        yield made


def test_a_gated_pair_is_served_and_its_token_is_seen_nowhere(
    world: RealWorld, real_cluster: RealCluster, tmp_path: Path
) -> None:
    hub = real_cluster.hub
    write_verifier(tmp_path / "verifier", agree=True)
    write_eagle3_draft(tmp_path / "draft", verifier="gated/llama", agree=True)
    hub.commit("gated/llama", tmp_path / "verifier")
    hub.commit("gated/llama-eagle3", tmp_path / "draft")
    hub.guard("gated/llama", TOKEN, gated=False)
    hub.guard("gated/llama-eagle3", TOKEN)
    put_secret(world.control_plane, world.namespace, "hub", token=TOKEN)
    with _watched(world, tmp_path / "watched.json") as seen, _processes() as commands:
        model = {"uri": "gated/llama-eagle3", "tokenSecretRef": {"name": "hub", "key": "token"}}
        name = world.apply("tiny-agree.yaml", model=model)
        pod = world.becomes_ready(name)
        assert complete(pod, name)["usage"]["completion_tokens"] == 40
        acceptance = eventually(lambda: world.resource(name)["status"]["acceptance"], within=60)
        assert acceptance["rate"] == "1.00"

    told = seen.read_text()
    assert told.count('"kind": "Job"') >= 2
    assert any("speculator-operator" in command and "read" in command for command in commands)
    kinds = "spd,deployments,replicasets,pods,jobs,controllerrevisions,events"
    everything = {
        "what the API server told of Jobs and pods": told,
        "what the API server has": world.kubectl("get", kinds, "-o", "json"),
        "the operator's log": world.operator.log,
        "the engine's log": world.kubectl("logs", pod["metadata"]["name"]),
        "commands of processes": "\n".join(commands),
    }
    assert [where for where, text in everything.items() if TOKEN in text] == []
    assert {request.authorization for request in hub.requests if "gated/" in request.path} <= {None, f"Bearer {TOKEN}"}


def test_a_verifier_on_a_claim_and_a_draft_in_an_image_are_served_without_a_hub(
    world: RealWorld, real_cluster: RealCluster, tmp_path: Path
) -> None:
    volume = tmp_path / "volume"
    write_verifier(volume / "llama" / "verifier", agree=True)
    _readable(tmp_path)
    bind_claim(world.control_plane, world.namespace, "models", volume)
    write_eagle3_draft(tmp_path / "image" / "models", verifier="nobody/asks", agree=True)
    image = real_cluster.node.load_folder(tmp_path / "image", f"localhost/draft-{world.namespace}:v1")
    asked = len(real_cluster.hub.requests)
    name = world.apply(
        "tiny-agree.yaml", model={"uri": f"oci://{image}/models"}, verifier={"uri": "pvc://models/llama/verifier"}
    )
    pod = world.becomes_ready(name)
    assert complete(pod, name)["usage"]["completion_tokens"] == 40
    resolved = world.resource(name)["status"]["resolved"]
    assert {resolved[role]["revision"][:7] for role in ("draft", "verifier")} == {"sha256:"}
    assert resolved["command"][:3] == ["vllm", "serve", "/models/verifier"]
    assert len(real_cluster.hub.requests) == asked


def test_a_pair_in_object_storage_is_fetched_at_what_it_was_and_served(
    world: RealWorld, store: ObjectStoreServer, tmp_path: Path
) -> None:
    store.make_bucket("models")
    write_verifier(tmp_path / "verifier", agree=True)
    write_eagle3_draft(tmp_path / "draft", verifier="nobody/asks", agree=True)
    store.put_folder("models", "llama/verifier", tmp_path / "verifier")
    store.put_folder("models", "llama/draft", tmp_path / "draft")
    keys = {"AWS_ACCESS_KEY_ID": ROOT.access_key_id, "AWS_SECRET_ACCESS_KEY": ROOT.secret_access_key}
    put_secret(world.control_plane, world.namespace, "storage", **keys)
    name = world.apply(
        "tiny-agree.yaml",
        model={"uri": "s3://models/llama/draft", "credentialsSecretRef": {"name": "storage"}},
        verifier={"uri": "s3://models/llama/verifier"},
    )
    pod = world.becomes_ready(name)
    assert complete(pod, name)["usage"]["completion_tokens"] == 40

    # What is there now is not what was resolved: a new pod says so, and the old one goes on serving.
    write_eagle3_draft(tmp_path / "other", verifier="nobody/asks", agree=True, seed=7)
    store.put_folder("models", "llama/draft", tmp_path / "other")
    world.kubectl("scale", f"spd/{name}", "--replicas=2")

    def told() -> None:
        ready = world.conditions(name)["Ready"]
        assert "StorageChanged" in ready["message"], ready
        assert [each["metadata"]["name"] for each in world.ready_pods(name)] == [pod["metadata"]["name"]]

    eventually(told, within=120)
    assert complete(pod, name, tokens=1)["choices"]


@contextmanager
def _watched(world: RealWorld, file: Path) -> Iterator[Path]:
    """All that the API server tells of Jobs and pods meanwhile, those that are gone at the end included."""
    command = [
        str(binary("kubectl")),
        f"--kubeconfig={world.control_plane.kubeconfig}",
        f"--namespace={world.namespace}",
        *("get", "jobs,pods", "--watch", "--output=json"),
    ]
    processes = []
    with file.open("w") as output:
        for kinds in ("jobs", "pods"):  # it watches one kind at a time
            command[-3] = kinds
            processes.append(subprocess.Popen(list(command), stdout=output, stdin=subprocess.DEVNULL))
        try:
            yield file
        finally:
            for process in processes:
                process.terminate()
                process.wait()


@contextmanager
def _processes() -> Iterator[set[str]]:
    """The commands of all processes that there are meanwhile, those in pods included: this machine is their host."""
    commands: set[str] = set()
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.1):
            for entry in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    commands.add(entry.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
                except OSError:
                    continue

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield commands
    finally:
        over.set()
        thread.join()


def _readable(folder: Path) -> None:
    """Lets the engine's user reach what is below: pytest's folders are their owner's alone."""
    for path in (folder, *folder.parents[:2]):
        path.chmod(0o755)
