"""Weights on a claim, on the real node with the real engine: fetched by Jobs under Restricted, served without a hub.

A folder of this machine stands for the volume, which the test makes writable for the Jobs' user as whoever runs a file
server would.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from speculator_operator.download import MARK
from tests.e2e.conftest import RealCluster
from tests.support.eventually import eventually
from tests.support.objects import bind_claim, put_secret
from tests.support.operator import grant
from tests.support.realworld import RealWorld, complete
from tools.testhub import write_eagle3_draft, write_verifier

TOKEN = "hf_no-engine-ever-has-this"  # noqa: S105 - of the hub for tests

pytestmark = pytest.mark.timeout(900)


def test_a_gated_pair_is_fetched_onto_a_claim_and_served_without_a_token_or_a_hub(
    real_cluster: RealCluster, namespace: str, operator_image: str, tmp_path: Path
) -> None:
    hub = real_cluster.hub
    write_verifier(tmp_path / "verifier", agree=True)
    write_eagle3_draft(tmp_path / "draft", verifier="cached/llama", agree=True)
    hub.commit("cached/llama", tmp_path / "verifier")
    hub.commit("cached/llama-eagle3", tmp_path / "draft")
    hub.guard("cached/llama", TOKEN, gated=False)
    hub.guard("cached/llama-eagle3", TOKEN)
    volume = tmp_path / "volume"
    volume.mkdir()
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    volume.chmod(0o777)
    grant(real_cluster.control_plane)
    world = RealWorld(
        real_cluster.control_plane,
        namespace,
        tmp_path / "operator.log",
        hf_endpoint=hub.url,
        resolver_image=operator_image,
    )
    bind_claim(world.control_plane, namespace, "weights", volume, mode="ReadWriteMany")
    put_secret(world.control_plane, namespace, "hub", token=TOKEN)
    with world.operator:
        name = world.apply(
            "tiny-agree.yaml",
            model={"uri": "cached/llama-eagle3", "tokenSecretRef": {"name": "hub", "key": "token"}},
            cache={"claim": "weights", "path": "models"},
            networkPolicy={"egress": "None"},
        )
        eventually(lambda: world.kubectl("get", "deployments", "-o", "name"), within=180)
        hub.remove("cached/llama")
        hub.remove("cached/llama-eagle3")
        asked = len(hub.requests)
        pod = world.becomes_ready(name)
        assert complete(pod, name)["usage"]["completion_tokens"] == 40
        acceptance = eventually(lambda: world.resource(name)["status"]["acceptance"], within=60)
        assert acceptance["rate"] == "1.00"

        marks = [json.loads((folder / MARK).read_text()) for folder in (volume / "models").iterdir()]
        assert {mark["uri"] for mark in marks} == {"cached/llama", "cached/llama-eagle3"}
        environment = world.kubectl("exec", pod["metadata"]["name"], "--", "python3", "-c", _ENVIRONMENT)
        assert "HF_HUB_OFFLINE=1" in environment
        assert "HF_TOKEN" not in environment
        written = world.kubectl("exec", pod["metadata"]["name"], "--", "python3", "-c", _WRITE)
        assert written.strip() == "Read-only file system"

        # Another pod starts as the first one did, though the hub has neither model any more.
        world.kubectl("delete", "pod", pod["metadata"]["name"])
        again = eventually(lambda: world.ready_pods(name), within=240)[0]
        assert again["metadata"]["name"] != pod["metadata"]["name"]
        assert complete(again, name, tokens=1)["choices"]
        assert len(hub.requests) == asked

    kinds = "spd,deployments,replicasets,pods,jobs,controllerrevisions,events"
    everything = {
        "what the API server has": world.kubectl("get", kinds, "-o", "json"),
        "the operator's log": world.operator.log,
        "the engine's log": world.kubectl("logs", again["metadata"]["name"]),
        "the claim": "".join(path.read_text() for path in volume.rglob("*.json")),
    }
    assert [where for where, text in everything.items() if TOKEN in text] == []


#: What the engine itself was started with, not what `exec` adds.
_ENVIRONMENT = r"print(open('/proc/1/environ').read().replace('\0', '\n'))"
_WRITE = """
try:
    open("/models/verifier/config.json", "a")
except OSError as error:
    print(error.strerror)
"""
