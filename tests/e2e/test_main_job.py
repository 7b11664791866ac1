"""The main job, on a real node with the real engine: a resource becomes a pod that drafts at tensor parallel size 2."""

from __future__ import annotations

import json
import time

import pytest

from tests.support.eventually import eventually
from tests.support.realworld import READY_SECONDS, RealWorld, complete, is_ready

#: For so long a pod that doesn't draft is watched not becoming ready.
NEVER_SECONDS = 180


@pytest.mark.timeout(1500)
def test_a_perfect_draft_and_a_pod_that_stops_drafting(world: RealWorld) -> None:
    name = world.apply("tiny-agree.yaml")
    pod = world.becomes_ready(name)

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
        assert [ready["metadata"]["name"] for ready in pods if is_ready(ready)] == [pod["metadata"]["name"]]
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
def test_a_draft_that_does_not_fit_drafts_all_the_same(world: RealWorld) -> None:
    name = world.apply("tiny-random.yaml")
    pod = world.becomes_ready(name)
    assert complete(pod, name)["usage"]["completion_tokens"] == 40
    acceptance = eventually(lambda: world.resource(name)["status"]["acceptance"], within=60)
    assert acceptance["drafts"] > 0
    assert acceptance["rate"] == "0.00"
    assert world.conditions(name)["SpeculationActive"]["status"] == "True"
