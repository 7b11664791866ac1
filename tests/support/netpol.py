"""What a NetworkPolicy lets through, by the words of the API: for tests on machines whose network enforces none.

One policy at a time; several on a pod would add up. That a cluster's network does what its API says is not shown here.
Source: NetworkPolicySpec and what it refers to, in k8s.io/api/networking/v1/types.go.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Manifest = Mapping[str, Any]


@dataclass(frozen=True)
class End:
    """One end of a connection: a pod, where it has a namespace, or whatever else has an address."""

    address: str
    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    namespace_labels: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)
    """The pod's named ports."""


def selects(policy: Manifest, pod: End) -> bool:
    return pod.namespace == policy["metadata"]["namespace"] and _matches(policy["spec"]["podSelector"], pod.labels)


def lets_in(policy: Manifest, pod: End, client: End, port: int, protocol: str = "TCP") -> bool:
    """Whether a client's connection to a port of a pod that the policy selects gets through."""
    spec = policy["spec"]
    return "Ingress" not in spec["policyTypes"] or any(
        _one_of(rule.get("from"), client, policy) and _port(rule.get("ports"), pod, port, protocol)
        for rule in spec.get("ingress", [])
    )


def lets_out(policy: Manifest, server: End, port: int, protocol: str = "TCP") -> bool:
    """Whether a connection of a pod that the policy selects gets out to a server's port."""
    spec = policy["spec"]
    return "Egress" not in spec["policyTypes"] or any(
        _one_of(rule.get("to"), server, policy) and _port(rule.get("ports"), server, port, protocol)
        for rule in spec.get("egress", [])
    )


def _one_of(peers: list[Manifest] | None, end: End, policy: Manifest) -> bool:
    return not peers or any(_is(peer, end, policy) for peer in peers)


def _is(peer: Manifest, end: End, policy: Manifest) -> bool:
    if block := peer.get("ipBlock"):
        return _within(end, block["cidr"]) and not any(_within(end, part) for part in block.get("except", []))
    if not end.namespace or not _matches(peer.get("podSelector", {}), end.labels):
        return False
    if "namespaceSelector" in peer:
        return _matches(peer["namespaceSelector"], end.namespace_labels)
    return bool(end.namespace == policy["metadata"]["namespace"])


def _within(end: End, cidr: str) -> bool:
    return ipaddress.ip_address(end.address) in ipaddress.ip_network(cidr)


def _port(ports: list[Manifest] | None, server: End, port: int, protocol: str) -> bool:
    def is_meant(entry: Manifest) -> bool:
        named = entry["port"]
        return entry["protocol"] == protocol and port == (server.ports.get(named) if isinstance(named, str) else named)

    return not ports or any(map(is_meant, ports))


def _matches(selector: Manifest, labels: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items()) and all(
        _holds(requirement, labels) for requirement in selector.get("matchExpressions", [])
    )


def _holds(requirement: Manifest, labels: Mapping[str, str]) -> bool:
    key, values = requirement["key"], requirement.get("values", [])
    match requirement["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
    return key not in labels
