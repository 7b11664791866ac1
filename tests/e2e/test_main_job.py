"""The main job, on a real node with the real engine: a resource becomes a pod that drafts at tensor parallel size 2.

The node has no proxy for Services, so completions go to the pods' addresses.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.conftest import RealCluster
from tests.support.completions import completion
from tests.support.eventually import eventually
from tests.support.operator import Operator, grant

SAMPLES = Path(__file__).parents[2] / "config" / "samples"

READY_SECONDS = 400
#: For so long a pod that doesn't draft is watched not becoming ready.
NEVER_SECONDS = 180


class World:
    """One namespace on the real node, and the operator that looks after it."""

    def __init__(self, real: RealCluster, namespace: str, log: Path) -> None:
        self.control_plane = real.control_plane
        self.namespace = namespace
        settings = {"hf_endpoint": real.hub.url, "scrape_interval": 2}
        self.operator = Operator(real.control_plane, log, namespace=namespace, settings=settings)

    def kubectl(self, *args: str, stdin: str | None = None) -> str:
        return self.control_plane.kubectl("--namespace", self.namespace, *args, stdin=stdin, timeout=READY_SECONDS + 30)

    def apply(self, sample: str) -> str:
        body = yaml.safe_load((SAMPLES / sample).read_text())
        self.kubectl("apply", "-f", "-", stdin=json.dumps(body))
        name: str = body["metadata"]["name"]
        return name

    def resource(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl("get", "spd", name, "-o", "json"))
        return found

    def conditions(self, name: str) -> dict[str, dict[str, Any]]:
        return {condition["type"]: condition for condition in self.resource(name)["status"]["conditions"]}

    def pods(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(
            self.kubectl("get", "pods", "-l", f"speculators.dev/name={name}", "-o", "json")
        )["items"]
        return found

    def ready_pods(self, name: str) -> list[dict[str, Any]]:
        return [pod for pod in self.pods(name) if _is_ready(pod)]


@pytest.fixture
def world(real_cluster: RealCluster, namespace: str, tmp_path: Path) -> Iterator[World]:
    grant(real_cluster.control_plane)
    made = World(real_cluster, namespace, tmp_path / "operator.log")
    with made.operator:
        yield made


def _is_ready(pod: dict[str, Any]) -> bool:
    conditions = {c["type"]: c["status"] for c in pod["status"].get("conditions", [])}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


def complete(pod: dict[str, Any], name: str, tokens: int = 40) -> dict[str, Any]:
    """A completion, answered by one pod."""
    body = {"model": name, "prompt": "Hello", "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
    return completion(f"{pod['status']['podIP']}:8000", body)


@pytest.mark.timeout(1500)
def test_a_perfect_draft_and_a_pod_that_stops_drafting(world: World) -> None:
    name = world.apply("tiny-agree.yaml")
    world.kubectl("wait", "--for=condition=Ready", f"--timeout={READY_SECONDS}s", f"spd/{name}")
    (pod,) = world.ready_pods(name)

    log = world.kubectl("logs", pod["metadata"]["name"])
    assert "TP0" in log
    assert "TP1" in log
    served = complete(pod, name)
    assert served["usage"]["completion_tokens"] == 40
    acceptance = eventually(lambda: world.resource(name)["status"]["acceptance"], within=60)
    assert acceptance["rate"] == "1.00"
    assert acceptance["acceptedTokens"] == acceptance["draftTokens"] > 0
    active = world.conditions(name)["SpeculationActive"]
    assert (active["status"], active["reason"]) == ("True", "Drafting")

    # Nobody looks after it, and somebody takes speculation out of its command.
    world.operator.stop()
    args = json.loads(world.kubectl("get", "deployment", name, "-o", "json"))["spec"]["template"]["spec"]["containers"][
        0
    ]["args"]
    plain = [text for text in args if not text.startswith("--speculative-config")]
    assert len(plain) == len(args) - 1
    patch = [{"op": "replace", "path": "/spec/template/spec/containers/0/args", "value": plain}]
    world.kubectl("patch", "deployment", name, "--type=json", "-p", json.dumps(patch))

    words = ""
    end = time.monotonic() + NEVER_SECONDS
    while time.monotonic() < end or not words:
        assert time.monotonic() < end + READY_SECONDS, "the pod that doesn't draft never said so"
        pods = world.pods(name)
        assert [ready["metadata"]["name"] for ready in pods if _is_ready(ready)] == [pod["metadata"]["name"]]
        assert complete(pod, name, tokens=1)["choices"]
        for other in pods:
            for container in other["status"].get("containerStatuses", []):
                ended = container.get("lastState", {}).get("terminated") or container["state"].get("terminated") or {}
                words = ended.get("message") or words
        time.sleep(2)
    assert "has not drafted" in words

    world.operator.start()

    def repaired() -> None:
        deployment = json.loads(world.kubectl("get", "deployment", name, "-o", "json"))
        assert deployment["spec"]["template"]["spec"]["containers"][0]["args"] == args
        assert [ready["metadata"]["name"] for ready in world.pods(name)] == [pod["metadata"]["name"]]

    eventually(repaired, within=90)
    world.kubectl("wait", "--for=condition=Ready", "--timeout=30s", f"spd/{name}")


@pytest.mark.timeout(900)
def test_a_draft_that_does_not_fit_drafts_all_the_same(world: World) -> None:
    name = world.apply("tiny-random.yaml")
    world.kubectl("wait", "--for=condition=Ready", f"--timeout={READY_SECONDS}s", f"spd/{name}")
    (pod,) = world.ready_pods(name)
    assert complete(pod, name)["usage"]["completion_tokens"] == 40
    acceptance = eventually(lambda: world.resource(name)["status"]["acceptance"], within=60)
    assert acceptance["drafts"] > 0
    assert acceptance["rate"] == "0.00"
    assert world.conditions(name)["SpeculationActive"]["status"] == "True"
