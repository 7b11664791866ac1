"""The NetworkPolicy around a resource's pods: who reaches the API's port, and what the pods reach.

It is rendered at each pass, from the resource of now and from the pod templates that are in use: a template is pinned,
and with it the hub and the storage that its pods ask. Pods of tensor parallel ranks are one pod, whose own traffic no
policy sees; kubelets reach the pods of their node under any policy.
Source: https://kubernetes.io/docs/concepts/services-networking/network-policies/
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from pydantic import TypeAdapter, ValidationError

from speculator_operator import api
from speculator_operator.api import Egress, Identity, Reason
from speculator_operator.errors import Refused
from speculator_operator.reference import Kind, Reference
from speculator_operator.settings import Settings, variable

from . import pod_models
from .render import CONTAINER, Manifest, object_metadata, selector

#: Neither the addresses of pods, Services and machines nor those of their metadata: what is public is elsewhere.
_PRIVATE = {
    "0.0.0.0/0": ["10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"],
    "::/0": ["fc00::/7", "fe80::/10"],
}
#: Anywhere, since a resolver may be a pod, an address of the node, or a machine beside the cluster.
_DNS = {"ports": [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]}
_SERVICE = re.compile(r"[a-z0-9-]+\.(?P<namespace>[a-z0-9-]+)\.svc(\..*)?", re.ASCII)
_PEERS = TypeAdapter(list[api.NetworkPolicyPeer])
_RULES = TypeAdapter(list[api.NetworkPolicyEgressRule])


def network_policy(resource: api.SpeculatorDeployment, templates: Iterable[Manifest], settings: Settings) -> Manifest:
    """The policy. ``templates`` are those that the resource's pods are made from, older pods' included.

    The port is named, not numbered: while a rollout changes it, each pod's own is meant. ``egress: None`` is kept to
    once no template needs more (``refuse_closed`` says so of the current one): what serves isn't cut off by a wish that
    can't be had.
    """
    policy = resource.spec.network_policy
    ingress: Manifest = {"ports": [{"protocol": "TCP", "port": "http"}]}
    if policy.from_ is not None:
        ingress["from"] = _written(policy.from_) + _written(_PEERS.validate_python(settings.network_policy_peers))
    spec: Manifest = {
        "podSelector": {"matchLabels": selector(resource.name)},
        "policyTypes": ["Ingress"],
        "ingress": [ingress],
    }
    if policy.egress is not Egress.ANY:
        spec["policyTypes"].append("Egress")
        rules = [_to(url) for url in sorted({url for template in templates for url in _downloads_from(template)})]
        if rules or policy.egress is Egress.SOURCES:
            rules += _written(_RULES.validate_python(settings.network_policy_egress))
        # An empty list closes everything. It is said although the API server drops it: what isn't said, others may add.
        spec["egress"] = [_DNS, *rules] if rules else []
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": object_metadata(resource, resource.name),
        "spec": spec,
    }


def refuse_closed(resource: api.SpeculatorDeployment, models: Iterable[Identity | None]) -> None:
    """Holds ``egress: None`` against the models that the engine loads.

    Raises:
        Refused: ``EgressNeeded``.
    """
    if resource.spec.network_policy.egress is not Egress.NONE:
        return
    for model in models:
        mounted = model and (
            pod_models.cached(model, resource.spec.cache) or Reference.parse(model.uri).kind in pod_models.MOUNTED
        )
        if model and not mounted:
            field = "spec.networkPolicy.egress"
            evidence = f"{field}: it is None, and {model.uri} is downloaded by the pod"
            remedy = "set it to Sources, or set spec.cache, or serve models from claims (pvc://) or images (oci://)"
            raise Refused(Reason.EGRESS_NEEDED, evidence, field=field, remedy=remedy)


def check_settings(settings: Settings) -> None:
    """Refuses peers and rules that no policy could have.

    Raises:
        ValueError: naming the setting, and what is wrong with it.
    """
    for name, adapter in (("network_policy_peers", _PEERS), ("network_policy_egress", _RULES)):
        try:
            adapter.validate_python(getattr(settings, name))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
            raise ValueError(f"{variable(name)}{place}: {first['msg']}") from None


def _downloads_from(template: Manifest) -> Iterable[str]:
    """The addresses that a pod of this template gets its models from; empty text is a public one."""
    spec = template["spec"]
    (engine,) = (container for container in spec["containers"] if container["name"] == CONTAINER)
    variables = _variables(engine)
    if "HF_HUB_OFFLINE" not in variables:
        yield variables.get("HF_ENDPOINT", "")
    for container in spec.get("initContainers", ()):
        stored = Reference.parse(container["args"][1]).kind
        yield _variables(container).get("SPECULATOR_S3_ENDPOINT", "") if stored is Kind.S3 else ""


def _variables(container: Manifest) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in container["env"] if "value" in variable}


def _to(url: str) -> Manifest:
    """The rule that lets a pod reach an address.

    A policy can name a host by its address, or as a pod. Of a Service it sees the pod behind it, at the pod's own port;
    of any other name, which may mean a private address, only the port is known.
    """
    if not url:
        blocks = [{"ipBlock": {"cidr": cidr, "except": private}} for cidr, private in _PRIVATE.items()]
        return {"to": blocks, "ports": [{"protocol": "TCP", "port": 443}]}
    address = urlsplit(url)
    host = address.hostname or ""
    if service := _SERVICE.fullmatch(host):
        labels = {"kubernetes.io/metadata.name": service["namespace"]}
        return {"to": [{"namespaceSelector": {"matchLabels": labels}}]}
    rule: Manifest = {"ports": [{"protocol": "TCP", "port": address.port or (80 if address.scheme == "http" else 443)}]}
    try:
        rule["to"] = [{"ipBlock": {"cidr": str(ipaddress.ip_network(host))}}]
    except ValueError:
        return rule
    return rule


def _written(models: Sequence[api.NetworkPolicyPeer | api.NetworkPolicyEgressRule]) -> list[Manifest]:
    """As the API server keeps them: what is empty is left out, but for an empty selector, which selects everything."""
    return [model.model_dump(mode="json", by_alias=True, exclude_defaults=True) for model in models]
