"""What the chart makes of its values: objects, rights, names."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from speculator_operator import api
from tests.support import chart
from tests.support.chart import Object, container, environment, objects, only, placed
from tools.chart import CHART, CRD, RenderFailed
from tools.localcluster.binaries import binary
from tools.schemas import OLDEST, conform

CLUSTER_SCOPED = {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "Namespace"}
TWO = {"watchNamespaces": ["team-a", "team-b"]}


def helm(*arguments: str) -> str:
    done = subprocess.run([str(binary("helm")), *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def kinds(found: list[Object]) -> list[str]:
    return sorted(it["kind"] for it in found)


def rules(found: list[Object], kind: str, namespace: str | None = None) -> list[Any]:
    """The rules of the role that the operator has for resources."""
    (role,) = (
        it
        for it in found
        if it["kind"] == kind and it["metadata"]["name"] == "r-speculator-operator"
        if it["metadata"].get("namespace") == namespace
    )
    return list(role["rules"])


def test_helm_finds_nothing_to_say() -> None:
    assert "0 chart(s) failed" in helm("lint", "--strict", str(CHART))


def test_an_older_cluster_is_refused() -> None:
    with pytest.raises(RenderFailed, match=r">=1\.30\.0-0 which is incompatible with Kubernetes v1\.29\.9"):
        chart.text({}, "--kube-version", "1.29.9")
    assert objects({}, "--kube-version", "1.30.0-gke.100")


def test_a_secret_is_nobodys_to_read() -> None:
    assert "secrets" not in {
        resource
        for values in ({}, TWO)
        for it in objects(values)
        if it["kind"] in ("Role", "ClusterRole")
        for rule in it["rules"]
        for resource in rule["resources"]
    }


def test_for_all_namespaces_the_rights_are_the_clusters() -> None:
    found = objects()
    assert container(found)["args"] == ["run", "--all-namespaces"]
    binding = only(found, "ClusterRoleBinding")
    assert binding["roleRef"]["name"] == only(found, "ClusterRole")["metadata"]["name"] == "r-speculator-operator"
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "r-speculator-operator", "namespace": "ns"}]
    assert {it["metadata"]["namespace"] for it in found if it["kind"] not in CLUSTER_SCOPED} == {"ns"}


def test_for_some_namespaces_nothing_is_cluster_scoped_but_the_definition() -> None:
    found = objects(TWO)
    assert container(found)["args"] == ["run", "--namespace=team-a", "--namespace=team-b"]
    assert {it["kind"] for it in found} & CLUSTER_SCOPED == {"CustomResourceDefinition"}
    everywhere = rules(objects(), "ClusterRole")
    for namespace in ("team-a", "team-b"):
        assert rules(found, "Role", namespace) == everywhere
        (binding,) = (
            it for it in found if it["kind"] == "RoleBinding" and placed(it)[2:] == (namespace, "r-speculator-operator")
        )
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "r-speculator-operator", "namespace": "ns"}]


def test_each_verb_is_given_a_reason() -> None:
    template = (CHART / "templates" / "rbac.yaml").read_text()
    verbs = re.findall(r"^ +- (get|list|watch|create|update|patch|delete)\b(.*)$", template, re.MULTILINE)
    assert len(verbs) > 20
    assert [verb for verb, comment in verbs if not re.match(r" *# \w", comment)] == []


def test_no_rule_is_a_wildcard() -> None:
    roles = [it for it in objects({"userRoles": {"enabled": True}}) if it["kind"] in ("Role", "ClusterRole")]
    assert len(roles) == 5
    assert "*" not in str([it["rules"] for it in roles])


def test_the_lease_is_the_releases_own() -> None:
    found = objects(TWO)
    name = environment(found)["SPECULATOR_LEASE_NAME"]
    role = only(found, "Role", "r-speculator-operator-lease")
    assert role["metadata"]["namespace"] == "ns"
    assert [rule.get("resourceNames") for rule in role["rules"]] == [None, [name]]
    assert {verb for rule in role["rules"] if "resourceNames" not in rule for verb in rule["verbs"]} == {"create"}


def test_replicas_take_turns() -> None:
    deployment = only(objects(), "Deployment")["spec"]
    assert deployment["replicas"] == 2
    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert environment(objects())["SPECULATOR_LEADER_ELECTION"] == "true"
    (port,) = container(objects())["ports"]
    assert environment(objects())["SPECULATOR_HTTP_PORT"] == str(port["containerPort"])


@pytest.mark.parametrize("kind", ["Deployment", "Pod"])
def test_pods_meet_the_restricted_standard(kind: str) -> None:
    found = only(objects(), kind)["spec"]
    pod = found if kind == "Pod" else found["template"]["spec"]
    (one,) = pod["containers"]
    assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert one["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {next(iter(volume.keys() - {"name"})) for volume in pod.get("volumes", [])} <= {"emptyDir"}


@pytest.mark.parametrize(
    ("image", "reference"),
    [
        ({}, "speculator-operator:0.1.0"),
        ({"repository": "registry.example:5000/a", "tag": "v2"}, "registry.example:5000/a:v2"),
        ({"tag": "latest", "digest": f"sha256:{'0' * 64}"}, f"speculator-operator@sha256:{'0' * 64}"),
    ],
)
def test_jobs_run_the_operators_image(image: dict[str, str], reference: str) -> None:
    found = objects({"image": image})
    assert container(found)["image"] == environment(found)["SPECULATOR_RESOLVER_IMAGE"] == reference
    assert only(found, "Pod")["spec"]["containers"][0]["image"] == reference


def test_another_image_for_jobs_can_be_named() -> None:
    found = objects({"settings": {"resolverImage": "registry.example/reader:v1"}})
    assert environment(found)["SPECULATOR_RESOLVER_IMAGE"] == "registry.example/reader:v1"


def test_the_definition_is_the_projects_and_is_kept() -> None:
    definition = only(objects(), "CustomResourceDefinition")
    assert definition["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
    assert definition["metadata"].pop("labels")["app.kubernetes.io/instance"] == "r"
    assert definition == yaml.safe_load(CRD.read_text())
    assert "CustomResourceDefinition" not in kinds(objects({"crds": {"install": False}}))


def test_releases_share_no_object() -> None:
    rest = {"crds": {"install": False}, "userRoles": {"enabled": True}}
    releases = [
        objects(rest, release="a"),
        objects(rest, release="b"),
        objects({**rest, "watchNamespaces": ["team-a"]}, release="c", namespace="team-a"),
        objects({"crds": {"install": False}, "watchNamespaces": ["team-b"]}, release="c", namespace="team-b"),
    ]
    everything = [placed(it) for found in releases for it in found]
    assert len(everything) == len(set(everything))


@pytest.mark.parametrize("other", ["a-speculator-operator", "a"])
def test_what_selects_pods_selects_the_operators_alone(other: str) -> None:
    found = objects(release="r")
    labels = only(found, "Deployment")["spec"]["template"]["metadata"]["labels"]
    strangers = [
        only(found, "Pod")["metadata"]["labels"],
        only(objects(release=other), "Deployment")["spec"]["template"]["metadata"]["labels"],
        {"app.kubernetes.io/name": "vllm", "app.kubernetes.io/instance": "r"},
    ]
    selectors = [
        only(found, "Deployment")["spec"]["selector"]["matchLabels"],
        only(found, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        only(found, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        only(found, "Service")["spec"]["selector"],
        *(
            it["labelSelector"]["matchLabels"]
            for it in only(found, "Deployment")["spec"]["template"]["spec"]["topologySpreadConstraints"]
        ),
    ]
    for selector in selectors:
        assert selector.items() <= labels.items()
        assert not [it for it in strangers if selector.items() <= it.items()]


#: As YAML reads them when they aren't quoted: a number, a boolean, nothing.
NOT_TEXT = {"release": "2024", "namespace": "2024"}, {"release": "on", "namespace": "1e3"}


@pytest.mark.parametrize("place", NOT_TEXT, ids=lambda place: place["release"])
@pytest.mark.parametrize("name", ["on", "null"])
def test_names_are_text_whatever_they_look_like(name: str, place: dict[str, str]) -> None:
    values = {
        "fullnameOverride": name,
        "watchNamespaces": ["2024"],
        "serviceAccount": {"name": "2024"},
        "extraVolumes": [{"name": name, "configMap": name, "mountPath": "/2024 #1"}],
        "monitoring": {part: {"enabled": True} for part in ("operator", "engines", "rules")},
        "dashboard": {"enabled": True},
        "userRoles": {"enabled": True},
        "admission": {"rules": [{"name": "2024", "images": []}]},
    }
    conform(chart.text(values, **place), OLDEST.version)
    found = objects(values, **place)
    for metadata in (it["metadata"] for it in found):  # which no schema of the PodMonitors knows
        assert {
            type(text) for text in (metadata["name"], metadata.get("namespace", ""), *metadata["labels"].values())
        } == {str}
    assert container(found)["volumeMounts"][1]["mountPath"] == "/2024 #1"


@pytest.mark.parametrize("release", ["2024", "v1.2", "0-speculator-operator"])
def test_a_release_that_no_service_can_be_named_after_is_refused(release: str) -> None:
    with pytest.raises(RenderFailed, match=r"can't be the name of a Service .*: set fullnameOverride"):
        objects(release=release)
    assert only(objects({"fullnameOverride": "operator"}, release=release), "Service")


@pytest.mark.parametrize("release", ["r" * 53, "r" * 40 + "-" * 12 + "r", "r" * 28 + "-speculator-operator----r"])
def test_names_are_short_enough_for_what_is_added_to_them(release: str) -> None:
    found = objects(release=release)
    names = [it["metadata"]["name"] for it in found if it["kind"] != "CustomResourceDefinition"]
    assert [name for name in names if name.startswith("-") or name.endswith("-")] == []
    assert max(map(len, names)) <= 63
    name = {it["name"]: it["value"] for it in only(found, "Pod")["spec"]["containers"][0]["env"]}["TEST_NAME"]
    api.SpeculatorDeployment.from_object(resource(name))


def resource(name: str) -> Object:
    return {"metadata": {"name": name, "namespace": "ns"}, "spec": {"model": {"uri": "org/draft"}}}


def test_all_objects_bear_the_recommended_labels() -> None:
    for it in objects({"userRoles": {"enabled": True}}):
        assert (
            it["metadata"]["labels"].items()
            >= {
                "app.kubernetes.io/instance": "r",
                "app.kubernetes.io/managed-by": "Helm",
            }.items()
        ), placed(it)


def test_labels_and_annotations_that_are_given_count_but_where_pods_are_selected_by_the_charts() -> None:
    labels = {"app.kubernetes.io/name": "theirs", "a.example/b": "c"}
    annotations = {"kubectl.kubernetes.io/default-container": "theirs", "a.example/b": "c"}
    found = objects(
        {
            "podLabels": labels,
            "podAnnotations": annotations,
            "monitoring": {part: {"enabled": True, "labels": labels} for part in ("operator", "engines", "rules")},
            "dashboard": {"enabled": True, "labels": labels},
        }
    )
    others = [it["metadata"] for it in found if it["kind"] in ("PodMonitor", "PrometheusRule", "ConfigMap")]
    assert len(others) == 4
    for it in others:
        assert it["labels"].items() >= {**labels, "app.kubernetes.io/instance": "r"}.items()
    pod = only(found, "Deployment")["spec"]["template"]["metadata"]
    assert pod["labels"] == {
        **labels,
        "app.kubernetes.io/name": "speculator-operator",
        "app.kubernetes.io/instance": "r",
    }
    assert pod["annotations"] == annotations


@pytest.mark.parametrize(
    ("settings", "ports"),
    [
        ({}, [443, 6443]),
        ({"hfEndpoint": "https://hub.example/path"}, [443, 6443]),
        ({"hfEndpoint": "http://hub.example"}, [443, 6443, 80]),
        ({"hfEndpoint": "http://[::1]:8080/"}, [443, 6443, 8080]),
    ],
)
def test_the_hubs_port_is_let_through(settings: dict[str, str], ports: list[int]) -> None:
    policy = only(objects({"settings": settings}), "NetworkPolicy")["spec"]
    assert [it["port"] for it in policy["egress"][1]["ports"]] == ports


def test_engines_are_reached_where_they_are_served() -> None:
    (anywhere,) = only(objects(), "NetworkPolicy")["spec"]["egress"][2]["to"]
    assert anywhere["namespaceSelector"] == {}
    (watched,) = only(objects(TWO), "NetworkPolicy")["spec"]["egress"][2]["to"]
    (expression,) = watched["namespaceSelector"]["matchExpressions"]
    assert expression["values"] == TWO["watchNamespaces"]
    rendered = yaml.safe_load_all((Path(__file__).parents[1] / "data/render/regular-model/expected.yaml").read_text())
    (engine,) = (it for it in rendered if it["kind"] == "Deployment")
    labels = engine["spec"]["template"]["metadata"]["labels"]
    assert anywhere["podSelector"]["matchLabels"].items() <= labels.items()


def test_engines_let_the_operator_in() -> None:
    found = objects()
    (peer,) = json.loads(environment(found)["SPECULATOR_NETWORK_POLICY_PEERS"])
    assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "ns"}
    labels = only(found, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert peer["podSelector"]["matchLabels"].items() <= labels.items()


def test_a_constraint_with_a_selector_of_its_own_keeps_it() -> None:
    given = {
        "maxSkew": 2,
        "topologyKey": "rack",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"a": "b"}},
    }
    pod = only(objects({"topologySpreadConstraints": [given]}), "Deployment")["spec"]["template"]["spec"]
    assert pod["topologySpreadConstraints"] == [given]


@pytest.mark.parametrize("kind", ["configMap", "secret"])
def test_what_is_mounted_is_read_only(kind: str) -> None:
    found = objects({"extraVolumes": [{"name": "ca", kind: "corporate", "mountPath": "/etc/ca"}]})
    _, mount = container(found)["volumeMounts"]
    assert mount == {"name": "ca", "mountPath": "/etc/ca", "readOnly": True}
    _, volume = only(found, "Deployment")["spec"]["template"]["spec"]["volumes"]
    named = {"configMap": {"name": "corporate"}, "secret": {"secretName": "corporate"}}
    assert volume == {"name": "ca", kind: named[kind]}


@pytest.mark.parametrize(
    ("namespace", "watched", "expected"),
    [("ns", [], "ns"), ("ns", ["team-a", "ns"], "ns"), ("ns", ["team-a", "team-b"], "team-a")],
)
def test_the_test_uses_a_namespace_that_is_watched(namespace: str, watched: list[str], expected: str) -> None:
    found = objects({"watchNamespaces": watched}, namespace=namespace)
    pod = only(found, "Pod")
    variables = {it["name"]: it["value"] for it in pod["spec"]["containers"][0]["env"]}
    assert variables["TEST_NAMESPACE"] == expected
    role = only(found, "Role", variables["TEST_NAME"])
    binding = only(found, "RoleBinding", variables["TEST_NAME"])
    assert role["metadata"]["namespace"] == binding["metadata"]["namespace"] == expected
    assert pod["metadata"]["namespace"] == namespace  # where Helm looks for its log
    compile(pod["spec"]["containers"][0]["args"][0], "installation_test.py", "exec")


def test_the_notes_end_with_a_resource_that_can_be_applied() -> None:
    printed = helm("install", "r", str(CHART), "--namespace", "ns", "--dry-run=client", "--no-hooks")
    notes = printed.split("NOTES:")[1]
    assert "helm test r --namespace ns" in notes
    (manifest,) = re.findall(r"<<END\n(.*?)END", notes, re.DOTALL)
    api.SpeculatorDeployment.from_object(yaml.safe_load(manifest))
