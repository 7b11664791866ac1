"""A resource's NetworkPolicy as an object: made, repaired, changed, taken away.

The API server and the garbage collector are real. Nothing here enforces it: what it says is held against connections in
``tests/unit/test_network_policy``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.apiproxy import ApiProxy
from tests.support.eventually import eventually
from tests.support.objects import bind_claim
from tests.support.readers import Readers
from tests.support.world import DRAFT, VERIFIER, World, files
from tools.localcluster.simulated import POD_ANNOTATION, UNREADY

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("nodes")]

IMAGE = {"resolver_image": "registry.example/speculator-operator:test"}
SCRAPER = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "speculator-operator"}}}
DNS = {"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]}
ANYBODY = {"ports": [{"protocol": "TCP", "port": "http"}]}
#: Of the resource's name, and not its own.
ANOTHERS = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "a"},
    "spec": {"podSelector": {}},
}


@pytest.fixture
def claim(world: World, tmp_path: Path) -> Iterator[str]:
    """A claim that holds a draft and its verifier, in a namespace whose resolver Jobs run."""
    for name, config in (("draft", DRAFT), ("verifier", VERIFIER)):
        for file, content in files(config).items():
            path = tmp_path / "models" / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    bind_claim(world.cluster, world.namespace, "models", Path("/nowhere"))
    with Readers(world.cluster, world.namespace, {"models": tmp_path / "models"}):
        yield "models"


def policy(world: World) -> dict[str, Any]:
    spec: dict[str, Any] = world.get("networkpolicy")["spec"]
    return spec


def hub(world: World) -> dict[str, Any]:
    port = urlsplit(world.hub.url).port
    return {"to": [{"ipBlock": {"cidr": "127.0.0.1/32"}}], "ports": [{"protocol": "TCP", "port": port}]}


def change(world: World, **said: Any) -> None:
    world.kubectl("patch", "spd", "a", "--type=merge", "-p", json.dumps({"spec": {"networkPolicy": said}}))


def test_it_is_made_follows_the_resource_and_is_repaired_and_no_pod_is_rolled(world: World) -> None:
    world.apply()
    with world.operator(network_policy_peers=json.dumps([SCRAPER])):
        world.ready()
        pods = world.pods()
        made = world.get("networkpolicy")
        (owner,) = made["metadata"]["ownerReferences"]
        assert (owner["uid"], owner["controller"]) == (world.get("spd")["metadata"]["uid"], True)
        whole = {
            "podSelector": {"matchLabels": {"speculators.dev/name": "a"}},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [ANYBODY],
            "egress": [DNS, hub(world)],
        }
        assert made["spec"] == whole

        for path, value in (
            ("/spec/ingress/-", {}),
            ("/spec/ingress/0/ports/-", {"protocol": "TCP", "port": 22}),
            ("/spec/egress/-", {}),
            ("/spec/podSelector/matchLabels/other", "label"),
            ("/spec/policyTypes", ["Ingress"]),
        ):
            patch = json.dumps([{"op": "add", "path": path, "value": value}])
            world.kubectl("patch", "networkpolicy", "a", "--type=json", "-p", patch)
            eventually(lambda: policy(world) == whole)
        uid = made["metadata"]["uid"]
        world.kubectl("delete", "networkpolicy", "a")
        eventually(lambda: world.get("networkpolicy")["metadata"]["uid"] != uid)
        assert policy(world) == whole

        change(world, **{"from": [{"podSelector": {"matchLabels": {"app": "chat"}}}]})
        peers = [{"podSelector": {"matchLabels": {"app": "chat"}}}, SCRAPER]
        eventually(lambda: policy(world)["ingress"] == [{**ANYBODY, "from": peers}])
        change(world, **{"from": None}, egress="Any")
        eventually(lambda: policy(world)["policyTypes"] == ["Ingress"])
        assert "egress" not in policy(world)
        change(world, egress="None")
        world.becomes(Stalled=("True", "EgressNeeded"), Available=("True", "Serving"))
        eventually(lambda: policy(world) == whole)
        world.kubectl("scale", "spd/a", "--replicas=2")
        eventually(lambda: world.get("spd")["status"]["readyReplicas"] == 2)
        change(world, egress=None)
        world.ready()
        assert pods < world.pods()
        assert len(world.items("controllerrevisions")) == 1


def test_a_resource_that_begins_with_what_cannot_be_had_gets_no_pod(world: World) -> None:
    world.kubectl("create", "-f", "-", stdin=json.dumps(ANOTHERS))
    world.apply(networkPolicy={"egress": "None"})
    with world.operator():
        world.becomes(Stalled=("True", "NameConflict"))
        world.kubectl("delete", "networkpolicy", "a")
        world.becomes(Stalled=("True", "EgressNeeded"), Resolved=("False", "EgressNeeded"))
        assert world.items("deployments") == []
        change(world, egress="Sources")
        world.ready()


def test_pods_whose_models_are_mounted_are_closed_and_stay_so(world: World, claim: str, proxy: ApiProxy) -> None:
    uris = {role: {"uri": f"pvc://{claim}/{role}"} for role in ("draft", "verifier")}
    world.apply(model=uris["draft"], verifier=uris["verifier"], networkPolicy={"egress": "None"})
    with world.operator(server=proxy.url, **IMAGE):
        world.ready()
        closed = policy(world)
        assert closed["policyTypes"] == ["Ingress", "Egress"]
        assert "egress" not in closed, "the API server keeps no empty list"
        world.kubectl("patch", "networkpolicy", "a", "--type=merge", "-p", '{"spec": {"egress": [{}]}}')
        eventually(lambda: policy(world) == closed)
        eventually(lambda: world.get("spd")["status"]["acceptance"])

        proxy.forget()
        world.kubectl("annotate", "spd", "a", "note=it-is-looked-at-again")
        eventually(lambda: any(request.resource == ("networkpolicies", "a") for request in proxy.requests))
        world.kubectl("annotate", "spd", "a", "--overwrite", "note=and-again")
        eventually(lambda: sum(request.resource == ("networkpolicies", "a") for request in proxy.requests) >= 2)
        assert [request.path for request in proxy.writes() if "speculatordeployments" not in request.path] == []


def test_during_a_rollout_older_pods_keep_the_hub(world: World, claim: str) -> None:
    world.apply()
    with world.operator(**IMAGE):
        world.ready()
        uris = {role: {"uri": f"pvc://{claim}/{role}"} for role in ("draft", "verifier")}
        unready = {"metadata": {"annotations": {POD_ANNOTATION: UNREADY}}}
        world.apply(model=uris["draft"], verifier=uris["verifier"], template=unready)
        eventually(lambda: len(world.pods()) == 2, within=60)
        assert policy(world)["egress"] == [DNS, hub(world)]
        world.apply(model=uris["draft"], verifier=uris["verifier"])
        world.ready()
        eventually(lambda: "egress" not in policy(world))


def test_it_is_taken_away_where_none_is_wanted_and_anothers_is_left_alone(world: World) -> None:
    world.apply()
    with world.operator():
        world.ready()
        pods = world.pods()
    with world.operator(network_policies=False):
        eventually(lambda: world.items("networkpolicies") == [])
        world.kubectl("create", "-f", "-", stdin=json.dumps(ANOTHERS))
        world.kubectl("scale", "spd/a", "--replicas=2")
        eventually(lambda: world.get("spd")["status"]["readyReplicas"] == 2)
        assert policy(world)["policyTypes"] == ["Ingress"]
        assert pods < world.pods()
