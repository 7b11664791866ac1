"""The commands of the tutorial, the how-tos and other pages, in order, as a reader runs them, on the real node."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.conftest import RealCluster
from tests.support.documents import HOW_TOS, OTHERS, PLACEHOLDERS, ROOT, TUTORIAL, runnable
from tests.support.world import WEIGHTS
from tools import playground
from tools.localcluster.operator_image import OPERATOR_IMAGE
from tools.testhub import Hub

RECIPES = ROOT / "tests" / "data" / "recipes"
PAGE_SECONDS = 600
(ENTER,) = (line for line in runnable(TUTORIAL) if line.startswith("source "))
#: The README and the chart's say the same.
(INSTALL,) = {
    line for page in OTHERS for line in runnable(page) if line.startswith("helm install speculator-operator ")
}

pytestmark = pytest.mark.timeout(900)


@dataclass(frozen=True)
class Shell:
    """What a reader's is, in the checkout."""

    folder: Path
    environment: dict[str, str]

    def run(self, *lines: str) -> str:
        """Runs commands until one fails; returns what all of them printed."""
        script = "\n".join(f"echo {shlex.quote(f'$ {line}')}\n{line}" for line in lines)
        done = subprocess.run(
            ["bash", "-euc", f"set -m -o pipefail\n{script}"],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PAGE_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-6000:]
        return done.stdout


def reader(real_cluster: RealCluster, folder: Path, namespace: str) -> Shell:
    """A shell in a folder that is like the checkout, with a namespace of its own."""
    for name in ("charts", "config", "docs", "tests"):
        (folder / name).symlink_to(ROOT / name)
    playing = folder / playground.FOLDER.name
    playground.prepare(playing, real_cluster.control_plane, real_cluster.hub.url, namespace=namespace)
    return Shell(folder, {"HOME": str(folder), "LANG": "C.UTF-8", "PATH": os.environ["PATH"]})


@pytest.fixture
def shell(real_cluster: RealCluster, operator_image: str, namespace: str, tmp_path: Path) -> Shell:
    assert operator_image == OPERATOR_IMAGE
    return reader(real_cluster, tmp_path, namespace)


@pytest.fixture(scope="module")
def published(real_cluster: RealCluster) -> None:
    """The models that the samples name, on the hub for tests: their configs, and no weights to speak of."""
    verifier, draft = (json.loads((RECIPES / f"{name}-qwen3-8b.json").read_text()) for name in ("regular", "eagle3"))
    llama, llama_draft = (
        json.loads((RECIPES / f"{name}.json").read_text())
        for name in ("regular-llama-3.1-8b", "eagle3-llama-3.1-8b-quantized")
    )
    llama_draft["speculators_config"]["verifier"]["name_or_path"] = "meta-llama/Llama-3.3-70B-Instruct"
    hub = real_cluster.hub
    commit(hub, "Qwen/Qwen3-8B", verifier)
    commit(hub, "RedHatAI/Qwen3-8B-FP8-dynamic", verifier)
    commit(hub, "nm-testing/Speculator-Qwen3-8B-Eagle3-converted-071-quantized", draft)
    commit(hub, "meta-llama/Llama-3.3-70B-Instruct", llama)
    commit(hub, "RedHatAI/Llama-3.3-70B-Instruct-speculator.eagle3", llama_draft)
    hub.guard("meta-llama/Llama-3.3-70B-Instruct", "hf_example")


def commit(hub: Hub, repository: str, config: dict[str, object]) -> None:
    hub.commit(repository, {"config.json": json.dumps(config).encode(), "model.safetensors": WEIGHTS})


@pytest.fixture(scope="module")
def installed(
    undefined: None, operator_image: str, real_cluster: RealCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """The operator, as the README installs it, with what the playground adds, and as the tutorial uninstalls it."""
    assert (undefined, operator_image) == (None, OPERATOR_IMAGE)
    administrator = reader(real_cluster, tmp_path_factory.mktemp("administrator"), "default")
    (uninstall,) = (line for line in runnable(TUTORIAL) if line.startswith("helm uninstall"))
    administrator.run(ENTER, f"{INSTALL} --values .playground/values.yaml --wait")
    yield
    administrator.run(ENTER, uninstall)
    real_cluster.control_plane.kubectl("delete", "namespace", "speculator-operator", "--timeout=90s")


@pytest.fixture(scope="module")
def shared_class(real_cluster: RealCluster, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A volume of the class that is the reader's: a folder of the node's machine, which the Jobs' user may write to."""
    volume = tmp_path_factory.mktemp("volume")
    for folder in volume.parents[:2]:
        folder.chmod(0o755)
    volume.chmod(0o777)
    real_cluster.control_plane.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": "shared"},
            "spec": {
                "storageClassName": PLACEHOLDERS["your-shared-class"],
                "accessModes": ["ReadWriteMany"],
                "capacity": {"storage": "400Gi"},
                "hostPath": {"path": str(volume)},
            },
        }
    )


@pytest.mark.usefixtures("undefined")
def test_the_tutorial_leads_to_a_proven_deployment(shell: Shell, real_cluster: RealCluster) -> None:
    try:
        said = shell.run(*runnable(TUTORIAL))
    finally:
        namespace = ("namespace", "speculator-operator", "--ignore-not-found", "--timeout=90s")
        real_cluster.control_plane.kubectl("delete", *namespace)
    assert "tiny-agree" in said
    assert "RevisionNotFound" in said


@pytest.mark.usefixtures("installed", "published", "shared_class")
@pytest.mark.parametrize("page", HOW_TOS, ids=lambda page: page.stem)
def test_a_how_to_works_as_it_is_written(shell: Shell, page: Path) -> None:
    shell.run(ENTER, *runnable(page))


@pytest.mark.usefixtures("installed", "published")
def test_what_other_pages_say_besides_works_too(shell: Shell, real_cluster: RealCluster) -> None:
    elsewhere = {INSTALL, *runnable(TUTORIAL)}
    besides = [line for page in OTHERS for line in runnable(page) if line not in elsewhere]
    kubectl = real_cluster.control_plane.kubectl
    kubectl("create", "namespace", "team-a")  # the second release's; its operator has no image, and starts nowhere
    try:
        shell.run(ENTER, *besides)
    finally:
        kubectl("delete", "namespace", "team-a", "--wait=false")
