"""The ground that everything else stands on: the real engine at tensor parallel size 2, in a Restricted pod, behind the
probe. The pods are written by hand, so that what fails here is the node, the image or the probe."""

from __future__ import annotations

import inspect
import json
import urllib.request
from typing import Any

import pytest

from speculator_operator.core import proof_probe
from tests.e2e.conftest import RealCluster
from tests.support.completions import completion
from tests.support.eventually import eventually
from tools.localcluster.image import ENGINE_IMAGE

PORT = 8000
#: Loading takes a minute when nothing else runs on two cores.
READY_SECONDS = 300.0

pytestmark = pytest.mark.timeout(600)


def engine_pod(name: str, hub: str, args: list[str], *, tries: int = 3) -> dict[str, Any]:
    environment = {
        "HOME": "/home/engine",
        "USER": "engine",
        "HF_ENDPOINT": hub,
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "0|1",
    }
    mounts = {"home": "/home/engine", "tmp": "/tmp", "shm": "/dev/shm"}  # noqa: S108 - the container's own
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 5,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 1000,
                "runAsGroup": 1000,
                "fsGroup": 1000,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "main",
                    "image": ENGINE_IMAGE,
                    "command": ["vllm", "serve", "tiny/llama-constant"],
                    "args": ["--tensor-parallel-size=2", *args, "--enforce-eager", "--max-model-len=512"],
                    "env": [{"name": key, "value": value} for key, value in environment.items()],
                    "resources": {"limits": {"nvidia.com/gpu": "2"}},
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "startupProbe": {
                        "exec": {
                            "command": [
                                *("python3", "-c", inspect.getsource(proof_probe)),
                                *("required", str(PORT), str(tries)),
                            ]
                        },
                        "periodSeconds": 5,
                        "timeoutSeconds": proof_probe.TIMEOUT_SECONDS,
                        "failureThreshold": 60,
                    },
                    "readinessProbe": {"httpGet": {"path": "/health", "port": PORT}, "timeoutSeconds": 5},
                    "volumeMounts": [{"name": key, "mountPath": path} for key, path in mounts.items()],
                }
            ],
            "volumes": [
                {"name": "home", "emptyDir": {}},
                {"name": "tmp", "emptyDir": {}},
                {"name": "shm", "emptyDir": {"medium": "Memory"}},
            ],
        },
    }


def status(cluster: RealCluster, namespace: str, pod: str) -> dict[str, Any]:
    text = cluster.control_plane.kubectl("get", "pod", pod, "--namespace", namespace, "-o", "json")
    found: dict[str, Any] = json.loads(text)["status"]
    return found | {"main": (found.get("containerStatuses") or [{}])[0]}


def test_a_restricted_pod_at_tensor_parallel_size_2_is_ready_once_it_has_drafted(
    real_cluster: RealCluster, namespace: str
) -> None:
    control_plane = real_cluster.control_plane
    recipe = {"method": "eagle3", "model": "tiny/llama-eagle3-agree", "num_speculative_tokens": 3}
    pod = engine_pod("drafts", real_cluster.hub.url, [f"--speculative-config={json.dumps(recipe)}"])
    control_plane.kubectl("create", "--namespace", namespace, "-f", "-", stdin=json.dumps(pod))

    def ready() -> str:
        seen = status(real_cluster, namespace, "drafts")
        assert seen["main"].get("restartCount", 0) == 0, seen["main"]
        assert seen["main"].get("ready"), seen
        return str(seen["podIP"])

    address = eventually(ready, within=READY_SECONDS, every=1.0)
    with urllib.request.urlopen(f"http://{address}:{PORT}/metrics", timeout=30) as answer:
        metrics = answer.read().decode()
    drafts = [line for line in metrics.splitlines() if line.startswith("vllm:spec_decode_num_drafts_total")]
    assert float(drafts[0].rpartition(" ")[2]) > 0
    answered = completion(f"{address}:{PORT}", {"prompt": "Hello", "max_tokens": 8, "temperature": 0})
    assert answered["usage"]["completion_tokens"] == 8
    log = control_plane.kubectl("logs", "drafts", "--namespace", namespace)
    assert "Worker_TP0" in log
    assert "Worker_TP1" in log


def test_a_pod_that_serves_without_drafting_is_never_ready_and_says_why(
    real_cluster: RealCluster, namespace: str
) -> None:
    control_plane = real_cluster.control_plane
    pod = engine_pod("plain", real_cluster.hub.url, [], tries=2)
    control_plane.kubectl("create", "--namespace", namespace, "-f", "-", stdin=json.dumps(pod))

    def ended() -> dict[str, Any]:
        seen = status(real_cluster, namespace, "plain")
        assert not seen["main"].get("ready"), seen
        terminated = [seen["main"].get(name, {}).get("terminated") for name in ("state", "lastState")]
        assert any(terminated), seen
        return next(it for it in terminated if it)

    terminated = eventually(ended, within=READY_SECONDS, every=0.5)
    assert terminated["message"] == (
        "The engine serves, but has not drafted (canary 2 of 2): "
        "/metrics has no vllm:spec_decode_num_drafts_total: it runs without a speculative config"
    )
