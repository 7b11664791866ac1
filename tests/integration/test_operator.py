"""The whole operator, as a process with the rights it ships with, against a real API server and simulated nodes.

Pods here run nothing: they are ready because kwok says so, and their metrics come from a stand-in. What is real is
every write, watch, right and rollout.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from speculator_operator import api
from speculator_operator.handlers import CHILDREN
from tests.support.apiproxy import ApiProxy
from tests.support.eventually import eventually
from tests.support.operator import Operator, grant
from tests.support.world import DRAFT, World, files
from tools.localcluster.controlplane import ControlPlane
from tools.localcluster.simulated import FAILING, MESSAGE_ANNOTATION, POD_ANNOTATION
from tools.testhub import Hub

CRD = Path(__file__).parents[2] / "crds" / "speculators.dev_speculatordeployments.yaml"

NOW = "2026-01-01T00:00:00Z"

pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("nodes")]


def test_a_resource_becomes_pods_and_says_so(world: World) -> None:
    world.apply(parallelism={"tensor": 2}, replicas=2)
    with world.operator():
        world.kubectl("wait", "--for=condition=Ready", "--timeout=90s", "spd/a")
        world.becomes(SpeculationActive=("True", "Drafting"), Available=("True", "Serving"))
        found = world.get("spd")
        resolved = found["status"]["resolved"]
        assert resolved["draft"]["uri"] == "org/draft"
        assert len(resolved["draft"]["revision"]) == 40
        assert resolved["verifier"]["uri"] == "org/verifier"
        assert resolved["command"][:3] == ["vllm", "serve", "org/verifier"]
        assert found["status"]["readyReplicas"] == 2
        assert "finalizers" not in found["metadata"]
        assert "annotations" not in found["metadata"] or set(found["metadata"]["annotations"]) == {
            "kubectl.kubernetes.io/last-applied-configuration"
        }
        for kind in ("deployment", "service", "networkpolicy"):
            (owner,) = world.get(kind)["metadata"]["ownerReferences"]
            assert owner["uid"] == found["metadata"]["uid"]
            assert owner["controller"] is True
            assert "blockOwnerDeletion" not in owner
        limits = world.get("deployment")["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
        assert limits["nvidia.com/gpu"] == "2"
        line = ["a", "True", "True", "eagle3", "3"]
        eventually(lambda: world.kubectl("get", "spd", "a", "--no-headers").split()[:5] == line)
        eventually(lambda: world.get("spd")["status"]["acceptance"]["rate"] == "0.67")
        told = {"Resolved", "Drafting", "Reconciled"}
        eventually(lambda: told <= {event["reason"] for event in world.items("events.events.k8s.io")})


def test_children_changed_or_deleted_by_hand_are_repaired_at_the_same_commit(world: World) -> None:
    world.apply()
    with world.operator():
        world.ready()
        before = world.end_state()
        world.hub.commit("org/draft", files(DRAFT, note="moved"))

        patch = [{"op": "replace", "path": "/spec/template/spec/containers/0/args", "value": ["--port=1"]}]
        world.kubectl("patch", "deployment", "a", "--type=json", "-p", json.dumps(patch))
        eventually(lambda: "--port=1" not in world.args())
        world.kubectl("patch", "service", "a", "-p", '{"spec":{"selector":{"app":"other"}}}')
        eventually(lambda: world.get("service")["spec"]["selector"] == {"speculators.dev/name": "a"})
        for kind in ("deployment", "service", "networkpolicy", "controllerrevision"):
            (name,) = (item["metadata"]["name"] for item in world.items(kind))
            world.kubectl("delete", kind, name)
            eventually(lambda kind=kind: world.items(kind))  # type: ignore[misc]
        world.ready()
        after = world.end_state()
        assert after["resolved"] == before["resolved"]
        assert [item["spec"]["template"] for item in after["deployments"]] == [
            item["spec"]["template"] for item in before["deployments"]
        ]


def test_scaling_suspending_and_an_upgrade_roll_no_pod(world: World) -> None:
    world.apply(replicas=1)
    with world.operator():
        world.ready()
        template = world.get("deployment")["spec"]["template"]
        pods = world.pods()
        world.hub.commit("org/draft", files(DRAFT, note="moved"))
        world.kubectl("scale", "spd/a", "--replicas=3")
        eventually(lambda: world.get("spd")["status"]["readyReplicas"] == 3)
        world.ready()
        assert pods < world.pods()

    upgrade = "from speculator_operator.core import render\nrender.HOME = '/elsewhere'\nrender.PROBE_PERIOD_SECONDS = 7"
    with world.operator(patch=upgrade, engine_image="vllm/vllm-openai:v0.31.0", engine_hf_endpoint="http://elsewhere"):
        world.kubectl("scale", "spd/a", "--replicas=2")
        eventually(lambda: world.get("spd")["status"]["readyReplicas"] == 2)
        assert world.get("deployment")["spec"]["template"] == template
        world.kubectl("patch", "spd", "a", "--type=merge", "-p", '{"spec":{"suspend":true}}')
        world.becomes(Ready=("True", "Suspended"))
        eventually(lambda: not world.pods())
        world.kubectl("patch", "spd", "a", "--type=merge", "-p", '{"spec":{"suspend":false}}')
        world.ready()
        assert world.get("deployment")["spec"]["template"] == template
        assert len(world.items("controllerrevisions")) == 1


def test_a_change_of_the_spec_rolls_and_a_refresh_resolves_anew(world: World) -> None:
    world.apply()
    with world.operator():
        world.ready()
        pods = world.pods()
        world.apply(engine={"args": ["--seed=7"]})
        eventually(lambda: "--seed=7" in world.args())
        world.ready()
        eventually(lambda: not pods & world.pods())

        sha = world.hub.commit("org/draft", files(DRAFT, note="moved"))
        world.kubectl("annotate", "spd", "a", "speculators.dev/refresh=1")
        eventually(lambda: world.get("spd")["status"]["resolved"]["draft"]["revision"] == sha)
        world.ready()
        assert any(sha in text for text in world.args())

        world.apply()
        world.kubectl("annotate", "spd", "a", "speculators.dev/refresh-")
        eventually(lambda: "--seed=7" not in world.args())
        world.ready()
        assert len(world.items("controllerrevisions")) >= 3


def test_a_broken_recipe_leaves_what_serves_alone_until_it_is_mended(world: World) -> None:
    world.apply()
    with world.operator():
        world.ready()
        template, pods = world.get("deployment")["spec"]["template"], world.pods()
        broken = files(DRAFT, speculators_config={**DRAFT["speculators_config"], "proposal_methods": []})
        world.hub.commit("org/draft", broken)
        world.apply(engine={"args": ["--seed=7"]})
        world.becomes(
            Stalled=("True", "RecipeMethodsInvalid"),
            Ready=("False", "RecipeMethodsInvalid"),
            Resolved=("False", "RecipeMethodsInvalid"),
            Available=("True", "Serving"),
            SpeculationActive=("True", "Drafting"),
        )
        world.kubectl("scale", "spd/a", "--replicas=2")
        eventually(lambda: world.get("spd")["status"]["readyReplicas"] == 2)
        assert world.get("deployment")["spec"]["template"] == template
        assert pods < world.pods()

        world.hub.commit("org/draft", files(DRAFT, note="mended"))
        world.ready()
        assert "--seed=7" in world.args()
        assert world.conditions()["Stalled"] == ("False", "Reconciled")


@pytest.mark.parametrize(
    ("case", "spec", "reason"),
    [
        ("a model that isn't there", {"model": {"uri": "org/nowhere"}}, "ModelUnauthorized"),
        ("an unknown flag", {"engine": {"args": ["--sed=1"]}}, "ArgsInvalid"),
        ("a flag that hides the proof", {"engine": {"args": ["--disable-log-stats"]}}, "FlagRefused"),
        ("a recipe for a model without one", {"model": {"uri": "org/verifier"}, "speculation": {"mode": "Required"}},
         "RecipeMissing"),
        ("heads that can't be divided", {"parallelism": {"tensor": 3}}, "HeadsNotDivisible"),
        ("a pod that the API server refuses",
         {"template": {"spec": {"affinity": {"nodeAffinity": {"nonsense": 1}}}}}, "ChildRefused"),
    ],
)  # fmt: skip
def test_what_only_the_operator_can_see_is_a_condition(
    world: World, case: str, spec: dict[str, Any], reason: str
) -> None:
    world.apply(**spec)
    with world.operator() as operator:
        world.becomes(Stalled=("True", reason), Ready=("False", reason))
        assert world.items("deployments") == [], case
        world.apply()
        world.ready()
        assert operator.running


def test_inputs_that_the_api_server_refuses_leave_what_serves_looked_after(world: World) -> None:
    world.apply()
    with world.operator():
        world.ready()
        template = world.get("deployment")["spec"]["template"]
        world.apply(replicas=2, template={"spec": {"affinity": {"nodeAffinity": {"nonsense": 1}}}})
        world.becomes(Stalled=("True", "ChildRefused"), Available=("True", "Serving"))
        eventually(lambda: world.get("spd")["status"]["readyReplicas"] == 2)
        world.kubectl("delete", "deployment", "a")
        eventually(lambda: [it["status"].get("readyReplicas") for it in world.items("deployments")] == [2])
        assert world.get("deployment")["spec"]["template"] == template
        world.apply(replicas=2)
        world.ready()


def test_a_pin_that_is_deleted_while_stalled_rolls_nothing_back(world: World, proxy: ApiProxy) -> None:
    world.apply()
    with world.operator(server=proxy.url, resync_interval=1):
        world.ready()
        world.apply(engine={"args": ["--seed=7"]})
        eventually(lambda: "--seed=7" in world.args())
        world.ready()
        pods = world.pods()
        world.apply(engine={"args": ["--sed=8"]})
        world.becomes(Stalled=("True", "ArgsInvalid"))
        revision = world.get("spd")["status"]["resolved"]["revision"]
        world.kubectl("delete", "controllerrevision", revision)
        world.kubectl("annotate", "spd", "a", "speculators.dev/refresh=1")
        proxy.forget()
        proxy.looked_at("a", 3)
        assert "--seed=7" in world.args()
        assert pods == world.pods()


def test_a_hub_that_hangs_holds_up_no_other_resource(world: World) -> None:
    world.apply()
    with world.operator(workers=2, hub_timeout=600):  # longer than anything is waited for
        world.ready()
        world.hub.commit("org/slow", files(DRAFT))
        world.hub.fail("org/slow", "hung")
        for number in range(6):
            world.apply(f"slow{number}", model={"uri": "org/slow"})
        world.becomes("slow5", Resolved=("Unknown", "Resolving"))
        world.kubectl("delete", "deployment", "a")
        eventually(lambda: world.items("deployments"))
        assert world.conditions("slow5")["Resolved"] == ("Unknown", "Resolving")


def test_what_others_add_beside_ours_is_not_fought_over(world: World, proxy: ApiProxy) -> None:
    world.apply()
    foreign = {"type": "Audited", "status": "True", "reason": "Done", "message": "", "lastTransitionTime": NOW}
    with world.operator(server=proxy.url, resync_interval=1):
        world.ready()
        world.becomes(SpeculationActive=("True", "Drafting"))
        eventually(lambda: world.get("spd")["status"]["acceptance"])
        proxy.forget()
        proxy.looked_at("a", 3)  # what there was to say is written now
        proxy.forget()
        patch = [{"op": "add", "path": "/status/conditions/-", "value": foreign}]
        world.kubectl("patch", "spd", "a", "--subresource=status", "--type=json", "-p", json.dumps(patch))
        world.kubectl("label", "deployment", "a", "team=search")
        stray = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "stray", "labels": {"speculators.dev/name": "a"}},
        }
        container = {"name": "main", "image": "other:1"}
        world.kubectl("apply", "-f", "-", stdin=json.dumps({**stray, "spec": {"containers": [container]}}))
        eventually(lambda: world.get("pod", "stray")["status"]["phase"] == "Running")
        assert proxy.writes() == []
        proxy.forget()
        proxy.looked_at("a", 5)
        assert proxy.writes() == []
        status = world.get("spd")["status"]
        assert "Audited" in {condition["type"] for condition in status["conditions"]}
        messages = {condition["type"]: condition["message"] for condition in status["conditions"]}
        assert messages["Available"] == "1 pod ready"


def test_a_namesake_that_is_not_ours_is_left_alone(world: World) -> None:
    world.kubectl("create", "service", "clusterip", "a", "--tcp=80")
    before = world.get("service")
    world.apply()
    with world.operator():
        world.becomes(Stalled=("True", "NameConflict"))
        assert world.items("deployments") == []
        assert world.get("service")["spec"] == before["spec"]
        world.kubectl("delete", "service", "a")
        world.ready()


def test_deleting_works_while_the_operator_is_gone(world: World) -> None:
    world.apply()
    with world.operator():
        world.ready()
    world.kubectl("delete", "spd", "a", "--timeout=20s")
    for kind in ("deployments", "services", "networkpolicies", "controllerrevisions", "pods"):
        eventually(lambda kind=kind: [i for i in world.items(kind) if i["kind"] != "Event"] == [])  # type: ignore[misc]


def test_deleted_and_made_again_under_the_same_name(world: World) -> None:
    world.apply()
    with world.operator():
        world.ready()
        uid = world.get("spd")["metadata"]["uid"]
        world.kubectl("delete", "spd", "a")
        world.apply()
        world.ready()
        assert world.get("spd")["metadata"]["uid"] != uid
        kinds = ("deployments", "services", "networkpolicies", "controllerrevisions")
        eventually(lambda: all(
            item["metadata"]["ownerReferences"][0]["uid"] != uid for kind in kinds for item in world.items(kind)
        ))  # fmt: skip


def test_new_pods_that_fail_leave_the_old_ones_serving_and_say_why(world: World) -> None:
    world.apply(replicas=2)
    with world.operator():
        world.ready()
        pods = world.pods()
        words = "The engine serves, but has not drafted"
        world.apply(replicas=2, template={"metadata": {"annotations": {
            POD_ANNOTATION: FAILING, MESSAGE_ANNOTATION: words}}})  # fmt: skip
        world.becomes(Ready=("False", "Progressing"), Available=("True", "Serving"))

        def told() -> None:
            conditions = world.get("spd")["status"]["conditions"]
            assert any(words in condition["message"] for condition in conditions)

        eventually(told)
        assert pods < world.pods()
        world.apply(replicas=2)
        world.ready()
        assert pods == world.pods()


def test_speculation_that_ends_in_a_ready_pod_is_noticed(world: World) -> None:
    world.apply()
    with world.operator():
        world.becomes(SpeculationActive=("True", "Drafting"))
        world.engines.reachable = False
        world.becomes(SpeculationActive=("Unknown", "MetricsUnreachable"))
        world.engines.reachable, world.engines.drafts = True, None
        world.becomes(SpeculationActive=("False", "NotDrafting"), Ready=("True", "Reconciled"))


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.timeout(600)
def test_killed_between_any_two_writes_it_ends_the_same(world: World, proxy: ApiProxy, moment: str) -> None:
    """The children's four writes and the first of status; a branch moves while the operator is dead."""
    sha = world.hub.commit("org/draft", files(DRAFT))
    world.apply("whole")
    with world.operator(server=proxy.url):
        world.ready("whole")
    undisturbed = world.end_state()
    world.kubectl("delete", "spd", "whole", "--timeout=20s")
    eventually(lambda: not world.items("controllerrevisions"))
    made: list[str] = []
    for write in range(2 if moment == "before" else 1, 7):
        world.hub.commit("org/draft", files(DRAFT), branch="main")
        name = "whole"
        world.apply(name)
        operator = world.operator(server=proxy.url)
        proxy.forget()
        strike = proxy.kill_before_write if moment == "before" else proxy.kill_after_write
        with operator:
            strike(write, operator.kill)
            eventually(lambda operator=operator: not operator.running)  # type: ignore[misc]
            pinned = world.items("controllerrevisions")
            assert len(pinned) == 1
            moved = world.hub.commit("org/draft", files(DRAFT, note=f"moved {write}"))
            proxy.revive()
            operator.start()
            world.ready(name)
        state = world.end_state()
        commit = state["resolved"][0]["draft"]["revision"]
        assert commit != moved
        assert _at_commit(state, commit) == _at_commit(undisturbed, sha), f"killed {moment} write {write}"
        made.append(commit)
        world.kubectl("delete", "spd", name, "--timeout=20s")
        eventually(lambda: not (world.items("controllerrevisions") or world.items("deployments")))
    assert len(made) == (5 if moment == "before" else 6)


def _at_commit(state: dict[str, Any], commit: str) -> Any:
    return json.loads(json.dumps(state).replace(commit, "COMMIT"))


@pytest.mark.timeout(300)
def test_a_second_pass_writes_nothing_and_lists_nothing(world: World, proxy: ApiProxy) -> None:
    names = [f"r{number}" for number in range(20)]
    for name in names:
        world.apply(name)
    with world.operator(server=proxy.url):
        for name in names:
            world.ready(name)
            world.becomes(name, SpeculationActive=("True", "Drafting"))
            eventually(lambda name=name: world.get("spd", name)["status"]["acceptance"])  # type: ignore[misc]
    proxy.forget()
    with world.operator(server=proxy.url, resync_interval=2) as operator:
        for name in names:
            proxy.looked_at(name, 2)  # as the operator starts, and at a resync
        assert proxy.writes() == []
        proxy.forget()
        for name in names:
            proxy.looked_at(name, 2)  # at two resyncs more
        assert operator.running
        assert proxy.writes() == []
        assert proxy.lists() == []


def test_no_pass_begins_before_everything_is_watched(world: World, proxy: ApiProxy) -> None:
    world.apply()
    with world.operator(server=proxy.url):
        eventually(proxy.writes)
    requests = list(proxy.requests)
    first = next(number for number, request in enumerate(requests) if request.resource == (api.PLURAL, "a"))
    watched = {request.resource[0] for request in requests[:first] if request.is_watch}
    assert {api.PLURAL, *(plural for *_, plural in CHILDREN)} <= watched


@contextmanager
def webhook_that_nobody_answers(world: World) -> Iterator[None]:
    """For Deployments of the world's namespace."""
    webhook = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": f"nobody-{world.namespace}"},
        "webhooks": [
            {
                "name": "nobody.example.com",
                "clientConfig": {"url": "https://127.0.0.1:9/"},
                "rules": [
                    {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["deployments"]}
                ],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": world.namespace}},
                "failurePolicy": "Fail",
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
            }
        ],
    }
    world.cluster.apply(webhook)
    try:
        yield
    finally:
        world.cluster.kubectl("delete", "validatingwebhookconfiguration", f"nobody-{world.namespace}")


def test_what_keeps_passes_from_their_end_is_told_of_until_it_is_mended(world: World) -> None:
    world.apply()
    with world.operator(patch="from speculator_operator import reconciler\nreconciler.SAID_AFTER_SECONDS = 1.0"):
        world.ready()
        with webhook_that_nobody_answers(world):
            world.kubectl("patch", "spd", "a", "--type=merge", "-p", '{"spec": {"replicas": 2}}')
            failing = ("Unknown", "ReconcileFailed")
            world.becomes(Reconciling=("True", "ReconcileFailed"), SpeculationActive=failing, Available=failing)
            (ready,) = (it for it in world.get("spd")["status"]["conditions"] if it["type"] == "Ready")
            assert "nobody.example.com" in ready["message"]
            assert world.conditions()["Resolved"] == ("True", "Resolved")
        world.ready()
        world.becomes(SpeculationActive=("True", "Drafting"))


def test_an_operator_that_is_there_before_its_definition_waits_for_it(hub: Hub, tmp_path: Path) -> None:
    with ControlPlane() as cluster:
        grant(cluster)
        settings = {"hf_endpoint": hub.url}
        with Operator(cluster, tmp_path / "operator.log", settings=settings) as operator:
            eventually(lambda: "install it with kubectl apply" in operator.log)

            def answered() -> None:
                assert operator.ask("/healthz")[0] == 200
                status, text = operator.ask("/readyz")
                assert (status, "its definition is not installed" in text) == (503, True)

            eventually(answered)
            cluster.define(CRD)
            body = {"apiVersion": api.API_VERSION, "kind": api.KIND, "metadata": {"name": "a", "namespace": "default"}}
            cluster.apply({**body, "spec": {"model": {"uri": "org/draft"}}})
            cluster.kubectl("wait", "--for=condition=Resolved", "--timeout=90s", "spd/a")


def test_the_same_operator_renders_the_same_bytes(world: World) -> None:
    """``render`` prints what the operator applies, but for what only a cluster knows."""
    world.apply()
    with world.operator():
        world.ready()
    body = world.get("spd")
    command = [sys.executable, "-m", "speculator_operator", "render", "-f", "-", "-o", "json"]
    done = subprocess.run(
        command,
        input=json.dumps(body),
        capture_output=True,
        text=True,
        check=True,
        env={"SPECULATOR_HF_ENDPOINT": world.hub.url},
        timeout=60,
    )
    rendered = {item["kind"]: item for item in json.loads(done.stdout)["items"]}
    revision = world.items("controllerrevisions")[0]
    assert rendered["ControllerRevision"]["data"] == revision["data"]
    assert rendered["ControllerRevision"]["metadata"]["name"] == revision["metadata"]["name"]
