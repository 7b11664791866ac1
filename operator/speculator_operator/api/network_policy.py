"""``spec.networkPolicy``: who reaches a resource's pods, and what they reach; peers are as in a NetworkPolicy.

``core.network_policy`` makes the object of it.
"""

# ruff: noqa: RUF012 - a Part is a pydantic model, which copies its defaults

from __future__ import annotations

import ipaddress
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from .schema import Part, Rule
from .values import LabelValue, MetadataKey


class LabelOperator(StrEnum):
    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class LabelRequirement(Part):
    rules = (
        Rule(
            cel="(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",
            holds=lambda it: (it.operator in (LabelOperator.IN, LabelOperator.NOT_IN)) == bool(it.values),
            field=".values",
            message="the operators In and NotIn need values, and Exists and DoesNotExist take none",
        ),
    )

    key: MetadataKey
    """The label's key."""
    operator: LabelOperator
    """In, NotIn, Exists or DoesNotExist."""
    values: Annotated[
        list[LabelValue], Field(max_length=32, json_schema_extra={"x-kubernetes-list-type": "atomic"})
    ] = []
    """The label's values."""


class LabelSelector(Part):
    match_labels: Annotated[dict[MetadataKey, LabelValue], Field(max_length=16)] = {}
    """Labels that have to be there. Without these and `matchExpressions` it matches everything."""
    match_expressions: Annotated[
        list[LabelRequirement], Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "atomic"})
    ] = []
    """What else has to be true of the labels."""


def _cidr(text: str) -> str:
    try:
        ipaddress.ip_interface(text)
    except ValueError:
        raise PydanticCustomError("cidr", "must be a range of addresses such as 10.0.0.0/8 or fd00::/8") from None
    return text


#: Where Python is laxer than Go (a mask in place of a length, no length at all) the pattern isn't.
CIDR_PATTERN = r"^[0-9A-Fa-f:.]+/[0-9]{1,3}$"
Cidr = Annotated[
    str,
    Field(max_length=43, pattern=CIDR_PATTERN, json_schema_extra={"format": "cidr"}),
    AfterValidator(_cidr),
]


class IpBlock(Part):
    cidr: Cidr
    """A range of addresses, such as 10.0.0.0/8 or fd00::/8."""
    except_: Annotated[
        list[Cidr], Field(alias="except", max_length=32, json_schema_extra={"x-kubernetes-list-type": "atomic"})
    ] = []
    """Ranges within it that are left out."""


def _strictly_within(block: IpBlock) -> IpBlock:
    """As Kubernetes asks for it; CEL of 1.30 can't say it."""
    whole = ipaddress.ip_interface(block.cidr).network
    for text in block.except_:
        part = ipaddress.ip_interface(text).network
        if part.version != whole.version or part.prefixlen <= whole.prefixlen or not part.overlaps(whole):
            raise PydanticCustomError(
                "except", "except must name smaller ranges within the cidr, and {text} isn't one", {"text": text}
            )
    return block


class NetworkPolicyPeer(Part):
    rules = (
        Rule(
            cel="has(self.ipBlock) != (has(self.podSelector) || has(self.namespaceSelector))",
            holds=lambda peer: (
                (peer.ip_block is None) == (peer.pod_selector is not None or peer.namespace_selector is not None)
            ),
            field=".ipBlock",
            message="give an ipBlock, or a podSelector, a namespaceSelector or both",
        ),
    )

    pod_selector: LabelSelector | None = None
    """Pods by their labels: of the namespaces that `namespaceSelector` says, or of the resource's own."""
    namespace_selector: LabelSelector | None = None
    """Namespaces by their labels."""
    ip_block: Annotated[IpBlock, AfterValidator(_strictly_within)] | None = None
    """A range of addresses."""


class NetworkPolicyPort(Part):
    protocol: Literal["TCP", "UDP", "SCTP"]
    """TCP, UDP or SCTP."""
    port: Annotated[int, Field(strict=True, ge=1, le=65535)]
    """The pod's port, which isn't always its Service's."""


class NetworkPolicyEgressRule(Part):
    """Not a resource's to say: what an installation lets all of its pods reach (``Settings.network_policy_egress``)."""

    to: Annotated[list[NetworkPolicyPeer], Field(max_length=32)] = []
    """None are everything."""
    ports: Annotated[list[NetworkPolicyPort], Field(max_length=32)] = []
    """None are all."""


class Egress(StrEnum):
    SOURCES = "Sources"
    NONE = "None"
    ANY = "Any"


class NetworkPolicy(Part):
    rules = (
        Rule(
            cel="!has(self.from) || size(self.from) > 0",
            holds=lambda policy: policy.from_ is None or len(policy.from_) > 0,
            field=".from",
            message="an empty list would say nobody to its reader, and anybody to Kubernetes; name peers, or leave it "
            "out for anybody",
        ),
    )

    from_: (
        Annotated[
            list[NetworkPolicyPeer],
            Field(max_length=32, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
        ]
        | None
    ) = Field(default=None, alias="from")
    """Who reaches the API's port, beside the operator and whom else the installation says: peers as in a
    NetworkPolicy. By default anybody. No other port is ever reached."""
    egress: Egress = Egress.SOURCES
    """What the pods reach. Sources (the default): what their models are downloaded from, and the cluster's DNS; nothing
    where all models are mounted. None: nothing, which is refused where a model has to be downloaded. Any: this policy
    limits nothing, and what other policies of the namespace deny stays denied."""
