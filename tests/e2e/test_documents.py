"""The tutorial and the how-tos, as a reader goes through them: every command, in order, on the real node."""

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
from tests.support.documents import HOW_TOS, ROOT, TUTORIAL, commands
from tests.support.world import WEIGHTS
from tools import playground
from tools.localcluster.operator_image import OPERATOR_IMAGE
from tools.testhub import Hub

RECIPES = ROOT / "tests" / "data" / "recipes"
PAGE_SECONDS = 600

pytestmark = pytest.mark.timeout(900)


@dataclass(frozen=True)
class Shell:
    """What a reader's is: in the checkout, after ``source .playground/env``."""

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
    variables = playground.prepare(playing, real_cluster.control_plane, real_cluster.hub.url, namespace=namespace)
    path = f"{variables['PATH']}:{os.environ['PATH']}"
    return Shell(folder, {"HOME": str(folder), "LANG": "C.UTF-8", **variables, "PATH": path})


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
    """The operator, as the tutorial installs it, and uninstalls it."""
    assert (undefined, operator_image) == (None, OPERATOR_IMAGE)
    administrator = reader(real_cluster, tmp_path_factory.mktemp("administrator"), "default")
    (install,) = (line for line in commands(TUTORIAL) if line.startswith("helm install"))
    (uninstall,) = (line for line in commands(TUTORIAL) if line.startswith("helm uninstall"))
    administrator.run(install)
    yield
    administrator.run(uninstall)
    real_cluster.control_plane.kubectl("delete", "namespace", "speculator-operator", "--timeout=90s")


@pytest.mark.usefixtures("undefined")
def test_the_tutorial_leads_to_a_proven_deployment(shell: Shell, real_cluster: RealCluster) -> None:
    try:
        said = shell.run(*commands(TUTORIAL))
    finally:
        namespace = ("namespace", "speculator-operator", "--ignore-not-found", "--timeout=90s")
        real_cluster.control_plane.kubectl("delete", *namespace)
    assert "tiny-agree" in said
    assert "RevisionNotFound" in said


@pytest.mark.usefixtures("installed", "published")
@pytest.mark.parametrize("page", HOW_TOS, ids=lambda page: page.stem)
def test_a_how_to_works_as_it_is_written(shell: Shell, page: Path) -> None:
    shell.run(*commands(page))
