"""Whoever waits for a resource by kstatus, as Flux and Helm do, waits for the right thing. Helm's kstatus is asked."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from speculator_operator import api
from tests.support.world import World
from tools.localcluster.binaries import binary

pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("nodes")]


def wait(world: World, folder: Path, uri: str, seconds: int) -> subprocess.CompletedProcess[str]:
    """Has Helm bring a resource of this model, and wait for it so long."""
    (folder / "templates").mkdir(exist_ok=True)
    (folder / "Chart.yaml").write_text("apiVersion: v2\nname: models\nversion: 1.0.0\n")
    resource = {
        "apiVersion": api.API_VERSION,
        "kind": api.KIND,
        "metadata": {"name": "a"},
        "spec": {"model": {"uri": uri}, "engine": {"port": world.engines.port}},
    }
    (folder / "templates" / "resource.yaml").write_text(json.dumps(resource))
    where = (f"--kubeconfig={world.cluster.kubeconfig}", f"--namespace={world.namespace}")
    return subprocess.run(
        [binary("helm"), *where, "upgrade", "--install", "models", folder, "--wait", f"--timeout={seconds}s"],
        env={"PATH": "", "HOME": str(world.cluster.directory)},
        capture_output=True,
        text=True,
        timeout=seconds + 60,
        check=False,
    )


def test_nobody_takes_it_for_ready_before_it_is(world: World, tmp_path: Path) -> None:
    unseen = wait(world, tmp_path, "org/draft", seconds=10)
    assert "status: InProgress" in unseen.stderr
    assert "latest observed generation is -1" in unseen.stderr
    with world.operator():
        done = wait(world, tmp_path, "org/draft", seconds=90)
        assert (done.returncode, done.stderr) == (0, "")
        conditions = world.conditions()
        assert (conditions["Ready"][0], conditions["SpeculationActive"][0]) == ("True", "True")

        gone = wait(world, tmp_path, "org/gone", seconds=90)
        assert "Failed" in gone.stderr
        assert world.conditions()["Stalled"][0] == "True"
