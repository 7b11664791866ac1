"""The resource as types: what a user may write, what the operator says back, and the closed sets of its words.

Everything past this package is typed. The custom resource definition is generated from its models (``crd``), so a
description here is what ``kubectl explain`` shows, and a bound here is what the API server enforces.

``names`` and ``reasons`` are words; ``schema`` and ``values`` are what models are made of; ``spec``, with
``network_policy``, and ``status`` are the models; ``resource`` parses one. All others import from here.
"""

from __future__ import annotations

from .names import (
    API_VERSION,
    GROUP,
    KIND,
    NAME_LABEL,
    PLURAL,
    PRODUCT_LABEL,
    REFRESH_ANNOTATION,
    REVISION_LABEL,
    VERSION,
)
from .network_policy import Egress, NetworkPolicyEgressRule, NetworkPolicyPeer
from .reasons import TOKEN_MAY_HELP, ConditionType, Reason
from .resource import NAME_MAX_LENGTH, SpeculatorDeployment
from .spec import (
    Accelerator,
    Cache,
    EnvVar,
    Model,
    PodSpec,
    RolloutStrategy,
    Source,
    Speculation,
    SpeculationMode,
    SpeculatorDeploymentSpec,
    Verification,
    secret_references,
)
from .status import MAX_WARNINGS, Finding, Identity, MemoryEstimate, Origin, Resolved, Severity, Status
from .values import LABEL_VALUE_PATTERN

__all__ = [
    "API_VERSION",
    "GROUP",
    "KIND",
    "LABEL_VALUE_PATTERN",
    "MAX_WARNINGS",
    "NAME_LABEL",
    "NAME_MAX_LENGTH",
    "PLURAL",
    "PRODUCT_LABEL",
    "REFRESH_ANNOTATION",
    "REVISION_LABEL",
    "TOKEN_MAY_HELP",
    "VERSION",
    "Accelerator",
    "Cache",
    "ConditionType",
    "Egress",
    "EnvVar",
    "Finding",
    "Identity",
    "MemoryEstimate",
    "Model",
    "NetworkPolicyEgressRule",
    "NetworkPolicyPeer",
    "Origin",
    "PodSpec",
    "Reason",
    "Resolved",
    "RolloutStrategy",
    "Severity",
    "Source",
    "Speculation",
    "SpeculationMode",
    "SpeculatorDeployment",
    "SpeculatorDeploymentSpec",
    "Status",
    "Verification",
    "secret_references",
]
