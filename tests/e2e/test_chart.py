"""The packaged chart, from an empty cluster to its uninstallation, while a resource serves throughout."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.conftest import CRD, RealCluster
from tests.support.eventually import eventually
from tests.support.realworld import RealWorld, complete
from tools import playground
from tools.installation import ROOT
from tools.localcluster.binaries import binary

CHART = ROOT / "charts" / "speculator-operator"
RELEASE = NAMESPACE = "speculator-operator"
DEFINITION = "speculatordeployments.speculators.dev"
NAME = "tiny-agree"
#: A readiness probe fails three times in 15 s, and needs 5 more to succeed again.
UNREADY_SECONDS = 20


class Helm:
    """Helm, for one cluster."""

    def __init__(self, cluster: RealCluster, folder: Path) -> None:
        self._folder = folder
        self._environment = {"HOME": str(folder), "PATH": "", "KUBECONFIG": str(cluster.control_plane.kubeconfig)}

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run(
            [binary("helm"), *arguments],
            env=self._environment,
            cwd=self._folder,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"helm {' '.join(arguments)}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def package(self, chart: Path) -> str:
        """The archive of a chart, by its name in the folder."""
        said = self("package", str(chart), f"--destination={self._folder}")
        return Path(said.strip().rpartition(" ")[2]).name

    def test(self) -> str:
        return self("test", RELEASE, f"--namespace={NAMESPACE}", "--logs")


class Installed:
    """The operator's pods."""

    def __init__(self, cluster: RealCluster) -> None:
        self._kubectl = cluster.control_plane.kubectl

    def pods(self) -> dict[str, dict[str, Any]]:
        """By name, those that aren't about to end."""
        found = json.loads(self._kubectl("get", "pods", f"--namespace={NAMESPACE}", "-o", "json"))["items"]
        return {
            pod["metadata"]["name"]: pod
            for pod in found
            if pod["metadata"]["labels"].get("app.kubernetes.io/name") == RELEASE
            and "deletionTimestamp" not in pod["metadata"]
        }

    def leader(self) -> str:
        """The name of the pod that holds the lease."""
        lease = json.loads(self._kubectl("get", "lease", RELEASE, f"--namespace={NAMESPACE}", "-o", "json"))
        holder: str = lease["spec"]["holderIdentity"]
        leaders = [name for name in self.pods() if holder.startswith(name)]
        assert leaders, f"{holder} holds the lease, which is about to end, or has"
        return leaders[0]

    def kill(self, name: str) -> None:
        """Kills a pod's operator, as a node that goes away does: nothing is said, and no lease given back."""
        uid = self.pods()[name]["metadata"]["uid"]
        ids = [
            int(process.name)
            for process in Path("/proc").iterdir()
            if process.name.isdigit() and _is_operator_of(process, uid)
        ]
        assert ids, f"{name} has no process here"
        for pid in ids:
            os.kill(pid, signal.SIGKILL)

    def restarts(self, name: str) -> int:
        (status,) = self.pods()[name]["status"]["containerStatuses"]
        count: int = status["restartCount"]
        return count


def _is_operator_of(process: Path, uid: str) -> bool:
    try:
        command = (process / "cmdline").read_bytes()
        return b"speculator-operator" in command and uid in (process / "cgroup").read_text()
    except OSError:  # it has ended
        return False


@contextmanager
def answered_throughout(world: RealWorld) -> Iterator[list[str]]:
    """Asks ready pods for completions, one after the other, until the block ends; every one has to be answered.

    The list has the names of the pods that answered. For less than an engine takes to start there may be no ready pod:
    on a busy machine the only one may answer its readiness probe too late.
    """
    answered: list[str] = []
    failures: list[str] = []
    ended = threading.Event()

    def ready() -> list[dict[str, Any]]:
        pods = world.ready_pods(NAME)
        assert pods, f"no pod of {NAME} is ready"
        return pods

    def ask() -> None:
        while not ended.is_set():
            try:
                pod = eventually(ready, within=UNREADY_SECONDS, every=0.5)[0]
                complete(pod, NAME, tokens=1)
                answered.append(pod["metadata"]["name"])
            except Exception as error:  # noqa: BLE001 - whatever it is, a client would have met it
                failures.append(f"after {len(answered)} answers: {error!r}")
            ended.wait(0.5)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield answered
    finally:
        ended.set()
        thread.join()
    assert not failures, failures[:5]
    assert answered


def next_chart(folder: Path) -> Path:
    """The chart as a later release may be: another version, another default engine, a field more in the definition."""
    chart = folder / "next" / "speculator-operator"
    shutil.copytree(CHART, chart)
    about = chart / "Chart.yaml"
    about.write_text(re.sub(r"^version: .*$", "version: 99.0.0", about.read_text(), flags=re.MULTILINE))
    values = chart / "values.yaml"
    values.write_text(re.sub(r"vllm-openai:v[\d.]+", "vllm-openai:v0.31.0", values.read_text()))
    file = chart / "files" / CRD.name
    definition = yaml.safe_load(file.read_text())
    spec = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["properties"]["later"] = {"type": "string", "maxLength": 63}
    file.write_text(yaml.safe_dump(definition))
    return chart


def engine(world: RealWorld) -> tuple[str, int]:
    """The only pod's uid and restarts."""
    (pod,) = world.pods(NAME)
    return pod["metadata"]["uid"], sum(status["restartCount"] for status in pod["status"]["containerStatuses"])


@pytest.fixture
def world(real_cluster: RealCluster, undefined: None, namespace: str, tmp_path: Path) -> Iterator[RealWorld]:
    """A namespace, and a cluster that knows nothing of the operator."""
    assert undefined is None
    made = RealWorld(real_cluster.control_plane, namespace, tmp_path / "operator.log")
    try:
        yield made
    finally:
        made.control_plane.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=90s")


@pytest.mark.timeout(1500)
@pytest.mark.usefixtures("operator_image")
def test_from_an_empty_cluster_to_the_uninstallation(
    real_cluster: RealCluster, world: RealWorld, tmp_path: Path
) -> None:
    helm, operator, kubectl = Helm(real_cluster, tmp_path), Installed(real_cluster), real_cluster.control_plane.kubectl
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump(playground.values(real_cluster.hub.url)))
    install = (RELEASE, f"--namespace={NAMESPACE}", f"--values={values}", "--wait", "--timeout=3m")

    # Installed, two replicas, one of which leads; a resource is proven.
    helm("install", install[0], helm.package(CHART), *install[1:], "--create-namespace")
    assert len(operator.pods()) == 2
    helm.test()
    world.apply(f"{NAME}.yaml")
    first = world.becomes_ready(NAME)
    assert world.conditions(NAME)["SpeculationActive"]["status"] == "True"

    # The leader is killed as soon as a rollout has begun: another one leads, and ends what was begun.
    with answered_throughout(world) as answered:
        args = ["--enforce-eager", "--max-model-len=256"]
        world.kubectl("patch", "spd", NAME, "--type=merge", "-p", json.dumps({"spec": {"engine": {"args": args}}}))
        eventually(lambda: len(revisions(world)) == 2, within=60, every=0.05)
        killed = operator.leader()
        before = operator.restarts(killed)
        operator.kill(killed)
        eventually(lambda: operator.restarts(killed) > before, within=60)
        eventually(
            lambda: (world.ready_pods(NAME) or [first])[0]["metadata"]["uid"] != first["metadata"]["uid"],
            within=400,
            every=1,
        )
        world.kubectl("wait", "--for=condition=Ready", "--timeout=120s", f"spd/{NAME}")
        eventually(lambda: len(world.pods(NAME)) == 1, within=90, every=0.5)
    assert len(set(answered)) == 2, "both the old pod and the new one have answered"
    assert len(revisions(world)) == 2
    generation = world.resource(NAME)["metadata"]["generation"]
    assert world.resource(NAME)["status"]["observedGeneration"] == generation

    # Upgraded: other operator pods, another definition; the engine's pod is the same one.
    served_by, operators = engine(world), set(operator.pods())
    with answered_throughout(world):
        helm("upgrade", install[0], helm.package(next_chart(tmp_path)), *install[1:])
        eventually(lambda: len(operator.pods()) == 2 and not operators & set(operator.pods()), within=60)
        eventually(operator.leader, within=60)
        definition = json.loads(kubectl("get", "crd", DEFINITION, "-o", "json"))
        schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        assert "later" in schema["properties"]["spec"]["properties"]
        # It leads, and looks after what the earlier release has made.
        world.kubectl("delete", "service", NAME)
        eventually(lambda: world.kubectl("get", "service", NAME), within=60, every=0.5)
        helm.test()
    assert engine(world) == served_by
    assert len(revisions(world)) == 2

    # Uninstalled: the resource and its pod are as they were.
    with answered_throughout(world):
        helm("uninstall", RELEASE, f"--namespace={NAMESPACE}", "--wait")
        assert not operator.pods()
        left = kubectl(
            "get", "clusterroles,clusterrolebindings", "-o", "name", "-l", f"app.kubernetes.io/instance={RELEASE}"
        )
        assert not left
    assert world.resource(NAME)["status"]["observedGeneration"] == generation
    assert engine(world) == served_by
    # Its pods go by themselves when it is deleted, with nobody there.
    world.kubectl("delete", "spd", NAME, "--timeout=60s")
    eventually(lambda: not world.pods(NAME), within=90, every=0.5)


def revisions(world: RealWorld) -> list[str]:
    return world.kubectl("get", "controllerrevisions", "-o", "name").split()
