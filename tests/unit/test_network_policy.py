"""Who reaches a resource's pods, and what they reach: connections, held against the policy that is rendered.

What is shown is what the policy says, by the API's words (``tests/support/netpol``). Whether a network does as it is
told is the network's to show.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from speculator_operator import api
from speculator_operator.api import Identity, Reason
from speculator_operator.core import network_policy, render
from speculator_operator.errors import Refused
from speculator_operator.settings import Settings
from tests.support import inputs
from tests.support.netpol import End, lets_in, lets_out, selects

IMAGE = f"oci://registry.example/llama@sha256:{'a' * 64}"
OPERATOR = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "speculator-operator"}}}
INSTALLED = Settings(
    resolver_image="registry.example/speculator-operator:0.1.0",
    network_policy_peers=(OPERATOR, {"namespaceSelector": {"matchLabels": {"monitoring": "yes"}}}),
)


def resource(**policy: Any) -> api.SpeculatorDeployment:
    body = inputs.resource({"networkPolicy": policy})
    body["metadata"]["namespace"] = "models"
    return api.SpeculatorDeployment.from_object(body)


def template(verifier: str = inputs.URI, draft: str | None = None, settings: Settings = INSTALLED) -> dict[str, Any]:
    models = {"verifier": Identity(uri=verifier), "draft": Identity(uri=draft) if draft else None}
    return render.pod_template(resource(), inputs.RESOLVED.model_copy(update=models), settings)


def policy(
    *templates: dict[str, Any], settings: Settings = INSTALLED, egress: str = "Sources", peers: Any = None
) -> dict[str, Any]:
    said = resource(egress=egress, **({"from": peers} if peers else {}))
    return network_policy.network_policy(said, templates or [template(settings=settings)], settings)


def pod(address: str, namespace: str, **labels: str) -> End:
    named = {"kubernetes.io/metadata.name": namespace} | ({"monitoring": "yes"} if namespace == "prometheus" else {})
    return End(address, namespace, labels, named)


ENGINE = End("10.0.0.5", "models", template()["metadata"]["labels"], ports={"http": 8000})
ANYBODY = {
    "a pod of the namespace": pod("10.0.0.6", "models", app="chat"),
    "a pod of another namespace": pod("10.0.0.7", "others"),
    "the operator": pod("10.0.0.8", "speculator-operator"),
    "Prometheus": pod("fd00::8", "prometheus"),
    "a machine of the network": End("192.168.1.1"),
    "a machine of the internet": End("2a00::1"),
}


@pytest.mark.parametrize("who", ANYBODY)
def test_by_default_everybody_reaches_the_api_and_nobody_anything_else(who: str) -> None:
    made = policy()
    assert selects(made, ENGINE)
    assert lets_in(made, ENGINE, ANYBODY[who], 8000)
    for port in (22, 8001, 29500, 43210):  # what vLLM and torch listen at between processes isn't for others
        assert not lets_in(made, ENGINE, ANYBODY[who], port)
    assert not lets_in(made, ENGINE, ANYBODY[who], 8000, "UDP")


def test_it_is_about_the_resource_s_own_pods_alone() -> None:
    made = policy()
    assert not selects(made, pod("10.0.0.9", "models", **(dict(ENGINE.labels) | {api.NAME_LABEL: "other"})))
    assert not selects(made, End(ENGINE.address, "others", ENGINE.labels))


def test_during_a_rollout_to_another_port_each_pod_is_reached_at_its_own() -> None:
    older = End("10.0.0.4", "models", ENGINE.labels, ports={"http": 9000})
    assert lets_in(policy(), older, ANYBODY["a pod of another namespace"], 9000)
    assert not lets_in(policy(), older, ANYBODY["a pod of another namespace"], 8000)


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ({"podSelector": {"matchLabels": {"app": "chat"}}}, {"a pod of the namespace"}),
        ({"podSelector": {}}, {"a pod of the namespace"}),
        ({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "others"}}},
         {"a pod of another namespace"}),
        ({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "others"}},
          "podSelector": {"matchLabels": {"app": "chat"}}}, set()),
        ({"namespaceSelector": {}}, {"a pod of the namespace", "a pod of another namespace"}),
        ({"podSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["chat"]}]}},
         {"a pod of the namespace"}),
        ({"ipBlock": {"cidr": "192.168.0.0/16"}}, {"a machine of the network"}),
        ({"ipBlock": {"cidr": "192.168.0.0/16", "except": ["192.168.1.0/24"]}}, set()),
    ],
)  # fmt: skip
def test_peers_are_let_in_and_with_them_the_operator_and_whom_the_installation_says(
    peer: dict[str, Any], expected: set[str]
) -> None:
    made = policy(peers=[peer])
    let_in = {who for who, client in ANYBODY.items() if lets_in(made, ENGINE, client, 8000)}
    assert let_in == expected | {"the operator", "Prometheus"}


DNS = (End("10.96.0.10"), 53)
PLACES = {
    "the internet": (End("18.155.129.4"), 443),
    "the internet, by IPv6": (End("2600:9000::1"), 443),
    "the internet, by HTTP": (End("18.155.129.4"), 80),
    "the API server": (End("10.96.0.1"), 443),
    "the machine's metadata": (End("169.254.169.254"), 80),
    "the machine's metadata, by HTTPS": (End("169.254.169.254"), 443),
    "a neighbour": (pod("10.0.0.6", "models"), 443),
    "a database": (pod("10.0.0.9", "others"), 5432),
    "a mirror": (pod("10.0.0.20", "mirror"), 8080),
    "a store": (pod("10.0.0.30", "storage"), 9000),
    "a machine": (End("192.168.1.1"), 8443),
}
INTERNET = {"the internet", "the internet, by IPv6"}


def reached(made: Mapping[str, Any]) -> set[str]:
    return {place for place, (end, port) in PLACES.items() if lets_out(made, end, port)}


@pytest.mark.parametrize(
    ("case", "models", "settings", "expected"),
    [
        ("the hub", ("org/verifier", "org/draft"), {}, INTERNET),
        ("a mirror in the cluster, by whatever port its pods have", ("org/verifier", "org/draft"),
         {"hf_endpoint": "http://hub.mirror.svc"}, {"a mirror"}),
        ("a mirror in the cluster, by its whole name", ("org/verifier", None),
         {"engine_hf_endpoint": "https://hub.mirror.svc.cluster.local:8443/hf"}, {"a mirror"}),
        ("a mirror at an address", ("org/verifier", None), {"hf_endpoint": "https://192.168.1.1:8443"}, {"a machine"}),
        ("a mirror by a name, which may mean any address", ("org/verifier", None),
         {"hf_endpoint": "https://hub.example:8443"}, {"a machine"}),
        ("a mirror by a name, at the usual port", ("org/verifier", None), {"hf_endpoint": "https://hub.example"},
         INTERNET | {"the API server", "the machine's metadata, by HTTPS", "a neighbour"}),
        ("AWS", ("s3://bucket/verifier", "s3://bucket/draft"), {}, INTERNET),
        ("storage in the cluster", ("s3://bucket/verifier", None), {"s3_endpoint": "http://minio.storage.svc:80"},
         {"a store"}),
        ("Google's storage, which the other one's address says nothing of", ("gs://bucket/verifier", None),
         {"s3_endpoint": "http://minio.storage.svc:80"}, INTERNET),
        ("the hub and storage in the cluster", ("s3://bucket/verifier", "org/draft"),
         {"s3_endpoint": "http://minio.storage.svc"}, INTERNET | {"a store"}),
        ("a claim, and a mirror", ("pvc://models/verifier", "org/draft"), {"hf_endpoint": "http://hub.mirror.svc"},
         {"a mirror"}),
        ("the hub, and what the installation adds", ("org/verifier", None),
         {"network_policy_egress": ({"to": [{"ipBlock": {"cidr": "192.168.1.1/32"}}],
                                     "ports": [{"protocol": "TCP", "port": 8443}]},)}, INTERNET | {"a machine"}),
    ],
)  # fmt: skip
def test_pods_reach_what_their_models_are_downloaded_from_and_dns(
    case: str, models: tuple[str, str | None], settings: dict[str, Any], expected: set[str]
) -> None:
    installed = Settings(resolver_image="registry.example/speculator-operator:0.1.0", **settings)
    made = policy(template(*models, settings=installed), settings=installed)
    assert reached(made) == expected, case
    for protocol in ("UDP", "TCP"):
        assert lets_out(made, *DNS, protocol)


@pytest.mark.parametrize("egress", ["Sources", "None"])
@pytest.mark.parametrize("models", [("pvc://models/verifier", "pvc://models/draft"), (IMAGE, None)])
def test_pods_whose_models_are_mounted_reach_nothing(models: tuple[str, str | None], egress: str) -> None:
    made = policy(template(*models), egress=egress)
    assert reached(made) == set()
    assert not lets_out(made, *DNS, "UDP")


def test_what_the_installation_adds_is_for_sources_alone() -> None:
    installed = INSTALLED.model_copy(update={"network_policy_egress": ({"to": [OPERATOR]},)})
    mounted = template("pvc://models/verifier")
    for egress, expected in (("Sources", True), ("None", False)):
        made = policy(mounted, settings=installed, egress=egress)
        assert lets_out(made, ANYBODY["the operator"], 3128) is expected
        assert lets_out(made, *DNS, "UDP") is expected, "a proxy is called by its name"


def test_pods_that_may_reach_anything_do() -> None:
    made = policy(egress="Any")
    assert reached(made) == set(PLACES)
    assert not lets_in(made, ENGINE, ANYBODY["the operator"], 22), "who reaches them is another matter"


def test_older_pods_keep_what_their_own_pinned_template_asks() -> None:
    before = template("org/verifier", settings=Settings(hf_endpoint="http://hub.mirror.svc"))
    made = policy(template("pvc://models/verifier"), before)
    assert reached(made) == {"a mirror"}


def test_a_wish_for_no_egress_that_cannot_be_had_cuts_nothing_off() -> None:
    assert reached(policy(template("org/verifier"), egress="None")) == INTERNET


@pytest.mark.parametrize(
    ("case", "models", "needed"),
    [
        ("mounted", ("pvc://models/verifier", "pvc://models/draft"), None),
        ("an image, alone", (IMAGE, None), None),
        ("the verifier is the hub's", ("org/verifier", "pvc://models/draft"), "org/verifier"),
        ("the draft is the hub's", ("pvc://models/verifier", "org/draft"), "org/draft"),
        ("the draft is fetched", ("pvc://models/verifier", "s3://bucket/draft"), "s3://bucket/draft"),
    ],
)
def test_no_egress_is_refused_where_a_model_is_downloaded(
    case: str, models: tuple[str, str | None], needed: str | None
) -> None:
    identities = [Identity(uri=uri) if uri else None for uri in models]
    network_policy.refuse_closed(resource(egress="Sources"), identities)
    if needed is None:
        network_policy.refuse_closed(resource(egress="None"), identities)
        return
    with pytest.raises(Refused, match=needed) as refused:
        network_policy.refuse_closed(resource(egress="None"), identities)
    assert (refused.value.reason, refused.value.field) == (Reason.EGRESS_NEEDED, "spec.networkPolicy.egress"), case
    cached = resource(egress="None")
    spec = cached.spec.model_copy(update={"cache": api.Cache(claim="weights")})
    network_policy.refuse_closed(cached.model_copy(update={"spec": spec}), identities)


@pytest.mark.parametrize(
    ("setting", "value", "place"),
    [
        ("network_policy_peers", {"podSelectors": {}}, r"PEERS\[0\]\.podSelectors"),
        ("network_policy_peers", {}, r"PEERS\[0\]: give an ipBlock"),
        ("network_policy_peers", {"ipBlock": {"cidr": "10.0.0.0"}}, r"PEERS\[0\]\.ipBlock\.cidr"),
        ("network_policy_egress", {"ports": [{"port": 3128}]}, r"EGRESS\[0\]\.ports\[0\]\.protocol"),
        ("network_policy_egress", {"from": []}, r"EGRESS\[0\]\.from"),
    ],
)
def test_settings_that_no_policy_could_have_are_refused_at_the_start(
    setting: str, value: dict[str, Any], place: str
) -> None:
    network_policy.check_settings(INSTALLED)
    with pytest.raises(ValueError, match=f"^SPECULATOR_NETWORK_POLICY_{place}"):
        network_policy.check_settings(Settings(**{setting: (value,)}))
