"""``kubectl speculator`` and a real engine: what a pod is asked from inside its container, through a real kubelet."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import RealCluster
from tests.support.realworld import RealWorld


def asked(cluster: RealCluster, world: RealWorld, *words: str) -> tuple[int, Any]:
    """The exit code and the document of one of its commands."""
    environment = {"PATH": os.environ["PATH"], "KUBECONFIG": str(cluster.control_plane.kubeconfig)}
    command = [str(Path(sys.executable).parent / "kubectl-speculator"), *words, "-n", world.namespace, "-o", "json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.mark.timeout(900)
def test_an_engine_is_seen_to_draft_and_says_so_each_time(world: RealWorld, real_cluster: RealCluster) -> None:
    name = world.apply("tiny-agree.yaml")
    pod = world.becomes_ready(name)["metadata"]["name"]

    code, found = asked(real_cluster, world, "verify", name)
    (first,) = found["pods"]
    assert (code, found["drafted"], first["pod"], first["problem"]) == (0, True, pod, "")
    assert first["drafts"] > 0
    assert first["draftTokens"] == 3 * first["drafts"]

    code, found = asked(real_cluster, world, "verify", name)
    (second,) = found["pods"]
    assert (code, found["drafted"]) == (0, True)
    assert second["before"]["drafts"] >= first["after"]["drafts"]

    code, found = asked(real_cluster, world, "status", name)
    (shown,) = found["pods"]
    assert code == 0
    assert (shown["name"], shown["ready"], shown["restarts"], shown["proof"]["source"]) == (pod, True, 0, "engine")
    assert shown["proof"]["drafts"] >= second["after"]["drafts"]
    assert shown["node"]
