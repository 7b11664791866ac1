"""What the platform team's rules keep out, asked of a real API server: by what a user applies, and by what the operator
makes of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from speculator_operator import api
from speculator_operator.api import Identity, Resolved, SpeculatorDeployment
from speculator_operator.core import render
from speculator_operator.settings import Settings
from tests.support import chart
from tests.support.apiproxy import ApiProxy
from tests.support.eventually import eventually
from tests.support.objects import put_secret
from tests.support.readers import Readers
from tests.support.world import DRAFT, VERIFIER, World, files
from tools.localcluster.controlplane import ControlPlane

pytestmark = pytest.mark.timeout(180)

Manifest = dict[str, Any]
Install = Callable[..., None]

#: Breaks every rule that there can be.
EVERYTHING: Manifest = {
    "model": {"uri": "nobody/nothing"},
    "engine": {"image": "nobody.example/nothing:v0.32.0"},
    "parallelism": {"tensor": 64, "pipeline": 64},
    "replicas": 1000,
}
SHA = "@sha256:" + "a" * 64
TOKEN = "hf_for-the-gated-draft"  # noqa: S105 - of the hub for tests


def policies(*rules: Manifest) -> list[Manifest]:
    """The chart's, for such rules."""
    values = {"crds": {"install": False}, "admission": {"rules": list(rules)}}
    return [it for it in chart.objects(values) if it["kind"].startswith("ValidatingAdmissionPolicy")]


@pytest.fixture
def install(cluster: ControlPlane, namespace: str) -> Iterator[Install]:
    """Puts a rule for the test's namespace in force."""
    names: list[str] = []

    def put(**rule: Any) -> None:
        selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
        objects = policies({"name": namespace, "namespaceSelector": selector, **rule})
        names.extend(f"{it['kind']}/{it['metadata']['name']}" for it in objects)
        cluster.apply(*objects)
        hopeless = (
            resource(EVERYTHING),
            revision(image="nobody.example/nothing:v0.32.0", verifier="nobody/nothing", tensor=4096),
            deployment(replicas=1000, tensor=4096),
        )
        wanted = {it["metadata"]["name"] for it in objects}

        def in_force() -> None:
            items = [{**body, "metadata": {**body.get("metadata", {}), "name": "hopeless"}} for body in hopeless]
            said = _create(cluster, namespace, items)
            assert {name for name in wanted if f"'{name}'" in said} == wanted

        eventually(in_force)

    yield put
    if names:
        cluster.kubectl("delete", *names, "--wait=false")


def resource(spec: Manifest) -> Manifest:
    return {"apiVersion": api.API_VERSION, "kind": api.KIND, "spec": {"model": {"uri": "org/draft"}, **spec}}


def _rendered(image: str, model: str, verifier: str, draft: str | None, tensor: int, spec: Manifest) -> list[Manifest]:
    """The ControllerRevision and the Deployment, as the operator writes them."""
    body = {**resource(spec), "metadata": {"name": "a", "uid": "0a", "generation": 1}}
    parsed = SpeculatorDeployment.from_object(body)
    resolved = Resolved(
        model=Identity(uri=model, revision="0" * 40),
        verifier=Identity(uri=verifier, revision="0" * 40),
        draft=Identity(uri=draft, revision="0" * 40) if draft else None,
        image=image,
        tensor=tensor,
        engine_version="0.32.0",
        command=["vllm", "serve", verifier],
    )
    template = render.pod_template(parsed, resolved, Settings(resolver_image="registry.example/operator:1"))
    objects = [render.controller_revision(parsed, resolved, template), render.deployment(parsed, template)]
    for item in objects:
        del item["metadata"]["namespace"], item["metadata"]["ownerReferences"]
    return objects


def revision(
    image: str = "vllm/vllm-openai:v0.32.0",
    model: str = "org/draft",
    verifier: str = "org/verifier",
    draft: str | None = "org/draft",
    tensor: int = 1,
    **spec: Any,
) -> Manifest:
    return _rendered(image, model, verifier, draft, tensor, spec)[0]


def deployment(tensor: int = 1, **spec: Any) -> Manifest:
    return _rendered("vllm/vllm-openai:v0.32.0", "org/draft", "org/verifier", None, tensor, spec)[1]


def ask(cluster: ControlPlane, namespace: str, objects: Mapping[str, Manifest]) -> dict[str, str]:
    """What the API server has against making each object; nothing where it would."""
    cases = {f"case-{number}": case for number, case in enumerate(objects)}
    items = [
        {**body, "metadata": {**body.get("metadata", {}), "name": name}}
        for name, body in zip(cases, objects.values(), strict=True)
    ]
    said = _create(cluster, namespace, items)
    answers = dict.fromkeys(objects, "no answer")
    for line in said.splitlines():
        if match := re.search(r"case-\d+", line):
            answers[cases[match[0]]] = "" if line.endswith("created (server dry run)") else line
    return answers


def _create(cluster: ControlPlane, namespace: str, items: list[Manifest]) -> str:
    """What kubectl says where these would be made."""
    asked = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    words = ("create", "--dry-run=server", f"--namespace={namespace}", "-f", "-")
    return cluster.kubectl(*words, stdin=asked, check=False)


def holds(cluster: ControlPlane, namespace: str, cases: Mapping[str, tuple[Manifest, str]]) -> None:
    """Each case is refused with the words beside it, or is let through, where there are none."""
    said = ask(cluster, namespace, {case: body for case, (body, _) in cases.items()})
    wrong = {
        case: answer
        for case, (_, words) in cases.items()
        for answer in [said[case]]
        if (words not in answer if words else answer)
    }
    assert wrong == {}


IMAGES = ["docker.io/vllm", "registry.example/ml/engine", "registry.example:5000", "docker.io/library/engine"]
NO_IMAGE = "does not allow the engine image "

#: Image -> the words that it is refused with.
IMAGE_CASES = {
    "vllm/vllm-openai:v0.32.0": "",
    "docker.io/vllm/vllm-openai:v0.32.0": "",
    f"vllm/vllm-openai{SHA}": "",
    f"registry.example/ml/engine{SHA}": "",
    "registry.example/ml/engine:v0.32.0": "",
    "registry.example/ml/engine/cuda:v0.32.0": "",
    "registry.example:5000/any/thing:v0.32.0": "",
    "engine:v0.32.0": "",
    "docker.io/engine:v0.32.0": "",
    "registry.example/ml/engine-evil:v0.32.0": "registry.example/ml/engine-evil",
    "registry.example/ml:v0.32.0": "registry.example/ml:",
    "registry.example.evil/ml/engine:v0.32.0": "registry.example.evil/ml/engine",
    "evil.registry.example/ml/engine:v0.32.0": "evil.registry.example/ml/engine",
    "registry.example:5001/ml/engine:v0.32.0": "registry.example:5001/ml/engine",
    "registry.example/ml/engine/../evil:v0.32.0": "registry.example/ml/engine/../evil",
    "registry.example/ml/engine//evil:v0.32.0": "registry.example/ml/engine//evil",
    "REGISTRY.EXAMPLE/ml/engine:v0.32.0": "REGISTRY.EXAMPLE/ml/engine",
    "registry.example/ML/engine:v0.32.0": "registry.example/ML/engine",
    "docker.io/registry.example/ml/engine:v0.32.0": "docker.io/registry.example/ml/engine",
    "vllm:v0.32.0": "docker.io/library/vllm",
    "docker.io/vllm:v0.32.0": "docker.io/library/vllm",
    "vllm-evil/vllm-openai:v0.32.0": "docker.io/vllm-evil/vllm-openai",
    "index.docker.io/vllm/vllm-openai:v0.32.0": "index.docker.io/vllm/vllm-openai",
    "localhost/vllm/vllm-openai:v0.32.0": "localhost/vllm/vllm-openai",
    "VLLM/vllm-openai:v0.32.0": "VLLM/vllm-openai",
    f"registry.example/evil:v0.32.0{SHA}": "registry.example/evil",
    "registry.example/ml/engine:5000/evil:v0.32.0": "registry.example/ml/engine:5000/evil",
}


def test_an_image_is_what_a_container_runtime_would_pull(
    cluster: ControlPlane, namespace: str, install: Install
) -> None:
    install(images=IMAGES)
    refusals = {image: words and NO_IMAGE + words for image, words in IMAGE_CASES.items()}
    holds(
        cluster,
        namespace,
        {
            f"resource with {image}": (resource({"engine": {"image": image, "version": "0.32.0"}}), words)
            for image, words in refusals.items()
            if image.count("@") < 1 or ":v" not in image  # the schema has no tag beside a digest
        }
        | {f"revision with {image}": (revision(image), words) for image, words in refusals.items()},
    )


MODELS = ["org", "hf://owner/repo", "s3://bucket/team", "pvc://claim", "gs://", "oci://registry.example/models"]
NO_MODEL = "does not allow the model "

#: What ``spec.model.uri`` is -> the words that it is refused with.
MODEL_CASES = {
    "org/repo": "",
    "hf://org/repo": "",
    "hf://org/repo@v1": "",
    "owner/repo": "",
    "hf://owner/repo@main": "",
    "s3://bucket/team": "",
    "s3://bucket/team/model/": "",
    "pvc://claim": "",
    "pvc://claim/folder": "",
    "gs://any/thing": "",
    f"oci://registry.example/models{SHA}": "",
    f"oci://registry.example/models/llama:v1{SHA}/path": "",
    "org-evil/repo": "hf://org-evil/repo",
    "hf://org.evil/repo@org": "hf://org.evil/repo:",
    "Org/repo": "hf://Org/repo",
    "evil/org": "hf://evil/org",
    "owner/repo-evil": "hf://owner/repo-evil",
    "s3://bucket-evil/team": "s3://bucket-evil/team",
    "s3://bucket": "s3://bucket",
    "s3://bucket/teammate": "s3://bucket/teammate",
    "pvc://claim-evil": "pvc://claim-evil",
    f"oci://registry.example/models-evil{SHA}": "oci://registry.example/models-evil",
    f"oci://registry.example:5000/models{SHA}": "oci://registry.example:5000/models",
    f"oci://models/registry.example{SHA}": "oci://docker.io/models/registry.example",
}


def test_a_model_is_what_it_names_however_it_is_written(
    cluster: ControlPlane, namespace: str, install: Install
) -> None:
    install(models=MODELS)
    refusals = {uri: words and NO_MODEL + words for uri, words in MODEL_CASES.items()}
    draft = {"method": "eagle3", "num_speculative_tokens": 3}
    bare = {uri.removeprefix("hf://").partition("@")[0]: words for uri, words in refusals.items() if "oci" not in uri}
    holds(
        cluster,
        namespace,
        {f"model {uri}": (resource({"model": {"uri": uri}}), words) for uri, words in refusals.items()}
        | {f"verifier {uri}": (resource({"verifier": {"uri": uri}}), words) for uri, words in refusals.items()}
        | {
            f"draft {uri}": (resource({"speculation": {"config": {"model": uri, **draft}}}), words)
            for uri, words in bare.items()
        }
        | {f"resolved model {uri}": (revision(model=uri), words) for uri, words in bare.items()}
        | {f"resolved verifier {uri}": (revision(verifier=uri), words) for uri, words in bare.items()}
        | {f"resolved draft {uri}": (revision(draft=uri), words) for uri, words in bare.items()},
    )


def test_gpus_are_counted_by_whichever_name_and_rollout(
    cluster: ControlPlane, namespace: str, install: Install
) -> None:
    install(gpusPerPod=4, gpusPerResource=8, uncounted=["rdma/", "example.com/nic"])
    pod, all_pods, uncounted = (
        "allows 4 GPUs for a pod, not ",
        "allows 8 GPUs for all pods of a resource, not ",
        "name another",
    )
    amd: Manifest = {"resources": {"limits": {"amd.com/gpu": "8"}}, "accelerator": {"resourceName": "example.com/nic"}}
    network: Manifest = {"resources": {"limits": {"rdma/hca": 8, "cpu": "64", "memory": "1Ti", "hugepages-2Mi": "8Mi"}}}
    surging: Manifest = {"replicas": 2, "rollout": {"maxSurge": 2}}
    half: Manifest = {"replicas": 2, "rollout": {"maxSurge": "51%"}}
    recreated: Manifest = {"replicas": 2, "rollout": {"strategy": "Recreate"}}
    holds(
        cluster,
        namespace,
        {
            "four in a pod": (resource({"parallelism": {"tensor": 4}}), ""),
            "two pods of four": (resource({"parallelism": {"tensor": 4}, "replicas": 2}), ""),
            "two pods of four that end before new ones": (resource({"parallelism": {"tensor": 4}, **recreated}), ""),
            "as many pods as are suspended": (resource({"replicas": 1000, "suspend": True}), ""),
            "devices that aren't counted": (resource({"parallelism": {"tensor": 4}, **network}), ""),
            "eight in a pod": (resource({"parallelism": {"tensor": 8}}), pod + "8"),
            "eight in four stages": (resource({"parallelism": {"tensor": 2, "pipeline": 4}}), pod + "8"),
            "another vendor's, by limits": (resource(amd), pod + "9"),
            "three pods of four": (resource({"parallelism": {"tensor": 4}, "replicas": 3}), all_pods + "12"),
            "a surge of two": (resource({"parallelism": {"tensor": 4}, **surging}), all_pods + "12"),
            "a surge of half, rounded up": (resource({"parallelism": {"tensor": 4}, **half}), all_pods + "12"),
            "pinned: four": (revision(tensor=4), ""),
            "pinned: four, and what isn't counted": (revision(tensor=4, **network), ""),
            "pinned: eight, by a flag": (revision(tensor=8, engine={"args": ["-tp", "8"]}), pod + "8"),
            "pinned: eight, by limits": (revision(tensor=1, **amd), pod + "8"),
            "pinned: a thousand, by limits": (
                revision(resources={"limits": {"example.com/gpu": "1k"}}), pod + "1001"),
            "pinned: none that is counted": (
                revision(tensor=2, accelerator={"resourceName": "example.com/nic"}), uncounted),
            "deployed: two of four": (deployment(tensor=4, replicas=2), ""),
            "deployed: two of four that end before new ones": (deployment(tensor=4, **recreated), ""),
            "deployed: none": (deployment(tensor=4, replicas=1000, suspend=True), ""),
            "deployed: eight": (deployment(tensor=8), pod + "8"),
            "deployed: three of four": (deployment(tensor=4, replicas=3), all_pods + "12"),
            "deployed: a surge of two": (deployment(tensor=4, **surging), all_pods + "12"),
            "deployed: a surge of half, rounded up": (deployment(tensor=4, **half), all_pods + "12"),
        },
    )  # fmt: skip


def test_an_empty_list_allows_nothing(cluster: ControlPlane, namespace: str, install: Install) -> None:
    install(images=[], models=[])
    holds(
        cluster,
        namespace,
        {
            "resource": (resource({}), NO_MODEL + "hf://org/draft: name one below (none is allowed)"),
            "pin": (revision(draft=None), "does not allow the"),
        },
    )


def test_what_can_not_be_judged_is_refused(cluster: ControlPlane, namespace: str, install: Install) -> None:
    install(images=["docker.io/vllm"], models=["org/"], gpusPerPod=1)

    def without(*path: str) -> Manifest:
        body = revision()
        inner = body
        for key in path[:-1]:
            inner = inner[key]
        del inner[path[-1]]
        return body

    def with_limit(limit: str) -> Manifest:
        body = revision()
        body["data"]["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] = limit
        return body

    holds(
        cluster,
        namespace,
        {
            "nothing resolved": (without("data", "resolved"), "denied request: expression"),
            "no verifier": (without("data", "resolved", "verifier"), "denied request: expression"),
            "no pod": (without("data", "template"), "denied request: expression"),
            "no number of GPUs": (with_limit("many"), "denied request: expression"),
            "half a GPU": (with_limit("500m"), "denied request: expression"),
            "a draft that is no text": (
                resource({"speculation": {"config": {"model": {"uri": "evil/repo"}}}}), "denied request: expression"),
        },
    )  # fmt: skip


def test_by_its_owner_alone_an_object_is_a_resources_too(
    cluster: ControlPlane, namespace: str, install: Install
) -> None:
    """Whoever leaves the label out would have the operator put it there, and use the object."""
    install(models=["org/"])
    owner = {"apiVersion": api.API_VERSION, "kind": api.KIND, "name": "a", "uid": "0a", "controller": True}
    forged = revision(verifier="evil/verifier")
    del forged["metadata"]["labels"]
    owned = {**forged, "metadata": {**forged["metadata"], "ownerReferences": [owner]}}
    holds(
        cluster,
        namespace,
        {
            "owned": (owned, NO_MODEL + "hf://evil/verifier"),
            "labelled": (revision(verifier="evil/verifier"), NO_MODEL + "hf://evil/verifier"),
            "somebody else's": ({**forged, "data": {"any": "thing"}}, ""),
        },
    )
    # What was nobody's can't become a resource's afterwards.
    put = {**forged, "metadata": {"name": "a-1", "namespace": namespace}}
    cluster.kubectl("create", "-f", "-", stdin=json.dumps(put))
    label = ("label", "controllerrevision", "a-1", f"--namespace={namespace}", f"{api.NAME_LABEL}=a")
    assert NO_MODEL + "hf://evil/verifier" in cluster.kubectl(*label, check=False)


def test_a_rule_is_for_the_namespaces_that_it_selects(cluster: ControlPlane, namespace: str, install: Install) -> None:
    install(models=["org/"])
    everything = resource(EVERYTHING)
    assert NO_MODEL in ask(cluster, namespace, {"it": everything})["it"]
    assert ask(cluster, "default", {"it": everything})["it"] == ""


def test_without_rules_nothing_is_installed() -> None:
    assert policies() == []


def test_the_policies_are_sound_by_the_api_servers_own_check(
    cluster: ControlPlane, namespace: str, install: Install
) -> None:
    install(images=["docker.io/vllm"], models=["org/"], gpusPerPod=1, gpusPerResource=1)

    def checked() -> None:
        found = json.loads(cluster.kubectl("get", "validatingadmissionpolicies", "-o", "json"))["items"]
        ours = [it for it in found if namespace in it["metadata"]["name"]]
        assert [it["spec"]["failurePolicy"] for it in ours] == ["Fail"] * 3
        assert [it["status"]["typeChecking"] for it in ours] == [{}] * 3

    eventually(checked)


def test_who_owns_a_namespace_can_not_widen_its_rules(cluster: ControlPlane, namespace: str, install: Install) -> None:
    install(models=["org/"])
    account = f"system:serviceaccount:{namespace}:owner"
    words = ("create", "rolebinding", "owner", "--clusterrole=admin", f"--serviceaccount={namespace}:owner")
    cluster.kubectl(*words, f"--namespace={namespace}")

    def may(verb: str, kind: str) -> bool:
        said = cluster.kubectl("auth", "can-i", verb, kind, f"--as={account}", f"--namespace={namespace}", check=False)
        return "yes" in said.split()

    assert may("create", "deployments")
    for kind in (
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
        "namespaces",
        "controllerrevisions",
    ):
        assert [verb for verb in ("create", "update", "patch", "delete") if may(verb, kind)] == [], kind


# With the operator: what is known only when a resource is resolved, or changes past its own policy.


def refusal(world: World) -> str:
    """What the resource says that it is refused for."""
    world.becomes(Stalled=("True", "ChildRefused"), Ready=("False", "ChildRefused"))
    conditions = world.get("spd")["status"]["conditions"]
    message: str = next(it["message"] for it in conditions if it["type"] == "Stalled")
    return message


def test_the_verifier_that_a_checkpoint_names_is_held_against_the_rule(world: World, install: Install) -> None:
    install(models=["org/draft", "mirror/"])
    world.hub.commit("mirror/verifier", files(VERIFIER))
    world.apply()
    with world.operator():
        message = refusal(world)
        assert NO_MODEL + "hf://org/verifier" in message
        assert "spec.verifier.uri" in message
        assert not world.items("deployments")
        assert not world.items("controllerrevisions")
        world.apply(verifier={"uri": "mirror/verifier"})
        world.ready()


@pytest.mark.parametrize("token", [{}, {"tokenSecretRef": {"name": "hub", "key": "token"}}], ids=["public", "gated"])
def test_a_checkpoint_that_names_an_allowed_verifier_afterwards_is_read_again(
    world: World, install: Install, token: Manifest
) -> None:
    install(models=["org/draft", "mirror/"])
    world.hub.commit("mirror/verifier", files(VERIFIER))
    if token:
        world.hub.guard("org/draft", TOKEN)
        put_secret(world.cluster, world.namespace, "hub", token=TOKEN)
    world.apply(model={"uri": "org/draft", **token})
    with (
        Readers(world.cluster, world.namespace),
        world.operator(resolver_image="registry.example/speculator-operator:test"),
    ):
        refusal(world)
        recipe = {**DRAFT["speculators_config"], "verifier": {"name_or_path": "mirror/verifier"}}
        world.hub.commit("org/draft", files(DRAFT, speculators_config=recipe))
        world.ready()


def test_the_image_by_default_is_held_against_the_rule(world: World, install: Install) -> None:
    install(images=["registry.example/ml"])
    world.apply()
    with world.operator():
        assert NO_IMAGE + "docker.io/vllm/vllm-openai" in refusal(world)
        assert not world.items("deployments")
        world.apply(engine={"image": "registry.example/ml/vllm:v0.32.0"})
        world.ready()


def test_gpus_by_a_flag_are_held_against_the_rule(world: World, install: Install) -> None:
    install(gpusPerPod=1)
    world.apply(engine={"args": ["-tp", "2"]})
    with world.operator():
        assert "allows 1 GPUs for a pod, not 2" in refusal(world)
        assert not world.items("deployments")
        world.apply(engine={"args": ["-tp", "1"]})
        world.ready()


def test_who_scales_past_the_rule_keeps_what_serves(world: World, install: Install) -> None:
    install(gpusPerResource=4)
    world.apply(parallelism={"tensor": 2})
    with world.operator(reread_interval=600, resync_interval=600):
        world.ready()
        pods = world.pods()
        world.kubectl("scale", "spd/a", "--replicas=3")
        assert "allows 4 GPUs for all pods of a resource, not 6 (3 pods of 2" in refusal(world)
        world.becomes(Available=("True", "Serving"), SpeculationActive=("True", "Drafting"))
        assert world.get("deployment")["spec"]["replicas"] == 1
        assert world.pods() == pods
        world.kubectl("scale", "spd/a", "--replicas=2")  # what was refused of three says nothing of two
        world.ready()
        assert world.get("deployment")["spec"]["replicas"] == 2
        assert pods < world.pods()


def test_a_rule_that_comes_later_takes_down_nothing(world: World, install: Install, proxy: ApiProxy) -> None:
    world.apply(replicas=3, engine={"args": ["--seed=1"]})
    with world.operator():
        world.ready()
        world.apply(replicas=3, engine={"args": ["--seed=2"]})
        world.ready()
        eventually(lambda: len(world.pods()) == 3)
        world.becomes(SpeculationActive=("True", "Drafting"))
        eventually(lambda: world.get("spd")["status"]["acceptance"])
    template = world.get("deployment")["spec"]["template"]
    pods = world.pods()
    install(images=[], models=[], gpusPerPod=1, gpusPerResource=1)

    with world.operator(server=proxy.url, resync_interval=1):
        proxy.looked_at("a", 4)
        assert proxy.writes() == []
        assert world.pods() == pods

        # A pod that ends has a successor, and fewer of them, none, and again one, are nobody's business.
        gone = world.items("pods")[0]["metadata"]["name"]
        world.kubectl("delete", "pod", gone)
        world.ready()
        for replicas in (2, 1):  # of which two are more than the rule allows
            world.apply(replicas=replicas, engine={"args": ["--seed=2"]})
            world.ready()
            assert world.get("deployment")["spec"]["replicas"] == replicas
        world.kubectl("patch", "spd", "a", "--type=merge", "-p", '{"spec":{"suspend":true}}')
        world.becomes(Ready=("True", "Suspended"))
        world.kubectl("patch", "spd", "a", "--type=merge", "-p", '{"spec":{"suspend":false}}')
        world.ready()
        world.kubectl("annotate", "spd", "a", "note=any")

        # Something new meets the rule, and so does what was pinned before, and is gone back to.
        for seed in (3, 1):
            world.apply(engine={"args": [f"--seed={seed}"]})
            assert f"rule {world.namespace} " in refusal(world)
            world.becomes(Available=("True", "Serving"))
            assert world.get("deployment")["spec"]["template"] == template
        world.apply(engine={"args": ["--seed=2"]})
        world.ready()
        assert len(world.items("controllerrevisions")) == 2

        # Nor does it keep anything from being deleted, finalizers included.
        world.kubectl("delete", "spd", "a", "--cascade=foreground", "--timeout=60s")
        eventually(lambda: not world.items("deployments"))


def test_a_rule_on_trial_only_warns(world: World, install: Install) -> None:
    install(images=[], models=[], gpusPerPod=1, actions=["Warn"])
    body = {**resource({"engine": {"port": world.engines.port}}), "metadata": {"name": "a"}}
    assert NO_MODEL in world.kubectl("apply", "-f", "-", stdin=json.dumps(body), check=False)
    with world.operator():
        world.ready()
