"""What a user may write: the models of ``spec``.

A docstring under a field is what ``kubectl explain`` shows, and a bound is what the API server enforces.
"""

# ruff: noqa: RUF012 - a Part is a pydantic model, which copies its defaults

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field
from pydantic_core import PydanticCustomError

from speculator_operator.quantity import worth
from speculator_operator.reference import URI_PATTERN, Kind, Reference

from .names import GROUP, PRODUCT_LABEL
from .network_policy import NetworkPolicy
from .reasons import Reason
from .schema import KeyedBy, Part, Rule
from .values import (
    DATA_KEY_PATTERN,
    EXTENDED_RESOURCE_PATTERN,
    IMAGE_PATTERN,
    LABEL_VALUE_PATTERN,
    Free,
    IntOrPercent,
    LabelValue,
    MetadataKey,
    Name,
    Quantity,
    ResourceName,
    Revision,
    ServedName,
    Size,
    SubPath,
    Uri,
)


class Source(Part):
    rules = (
        Rule(
            cel=f"self.uri.matches('{URI_PATTERN}')",
            holds=lambda source: bool(re.fullmatch(URI_PATTERN[1:-1], source.uri)),
            field=".uri",
            message="must be org/repo or hf://org/repo@revision, pvc://claim/path, oci://image@sha256:.../path, "
            "s3://bucket/prefix or gs://bucket/prefix",
        ),
        Rule(
            cel="!has(self.revision) || !self.uri.contains('@') || self.uri.endsWith('@' + self.revision)",
            holds=lambda source: not source.revision or source.uri.partition("@")[2] in ("", source.revision),
            field=".revision",
            message="revision and the uri's @revision differ; give one of them",
        ),
        Rule(
            cel="!has(self.revision) || !self.uri.contains('://') || self.uri.startsWith('hf://')",
            holds=lambda source: not source.revision or source.reference.kind is Kind.HUB,
            field=".revision",
            message="only a repository of the hub has revisions; leave it out",
        ),
        Rule(
            cel="!self.uri.startsWith('oci://') || self.uri.contains('@sha256:')",
            holds=lambda source: source.reference.kind is not Kind.IMAGE or "@" in source.reference.name,
            field=".uri",
            message="an image is named by its digest, since a tag can move: oci://registry/image@sha256:...",
            reason=Reason.IMAGE_UNPINNED,
        ),
    )

    uri: Uri
    """The checkpoint: `org/repo` or `hf://org/repo[@revision]` (the hub), `pvc://claim/path` (a claim),
    `oci://image@sha256:.../path` (an image volume), `s3://bucket/prefix` or `gs://bucket/prefix` (object storage)."""
    revision: Revision | None = None
    """Branch, tag or commit. Whatever it is, it is pinned to a commit. By default the repository's main branch."""

    @property
    def reference(self) -> Reference:
        """Where it is, at the revision asked for by field or in the URI."""
        reference = Reference.parse(self.uri)
        return reference.at(self.revision) if self.revision else reference


class SecretRef(Part):
    name: Name
    """The Secret's name, in the resource's namespace."""


class SecretKeyRef(SecretRef):
    key: Annotated[str, Field(min_length=1, max_length=253, pattern=DATA_KEY_PATTERN)]
    """The key in the Secret."""


class Model(Source):
    served_name: ServedName | None = None
    """The model's name in the API. By default the resource's name."""
    token_secret_ref: SecretKeyRef | None = None
    """A token of the hub, for gated and private repositories. It is used for both models."""
    credentials_secret_ref: SecretRef | None = None
    """A Secret with the keys AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, if there is one, AWS_SESSION_TOKEN: for
    object storage (for Google's, HMAC keys). They are used for both models."""


class Cache(Part):
    claim: Name
    """The claim, in the resource's namespace. It has to be one that Jobs can write to and that the pods can mount,
    wherever they run: `ReadWriteMany`, or all on one node."""
    path: SubPath | None = None
    """The folder of the claim to fetch into. By default its root. Each model has a folder of its own in it."""


class SpeculationMode(StrEnum):
    AUTO = "Auto"
    REQUIRED = "Required"
    DISABLED = "Disabled"


class Verification(StrEnum):
    REQUIRED = "Required"
    REPORT = "Report"
    OFF = "Off"


def _tokens_in(config: dict[str, Any]) -> dict[str, Any]:
    tokens = config.get("num_speculative_tokens", 1)
    if type(tokens) is not int or not 1 <= tokens <= 64:
        raise PydanticCustomError("tokens", "num_speculative_tokens must be a number from 1 to 64")
    return config


class Speculation(Part):
    rules = (
        Rule(
            cel="!has(self.mode) || self.mode != 'Disabled' || "
            "!(has(self.numSpeculativeTokens) || has(self.draftTensorParallelSize) || has(self.config))",
            holds=lambda it: (
                it.mode != SpeculationMode.DISABLED
                or (it.num_speculative_tokens, it.draft_tensor_parallel_size, it.config) == (None, None, None)
            ),
            field=".mode",
            message="with mode Disabled nothing is drafted: leave out numSpeculativeTokens, draftTensorParallelSize "
            "and config, or choose another mode",
        ),
        Rule(
            cel="!has(self.numSpeculativeTokens) || !has(self.config) || !has(self.config.num_speculative_tokens) || "
            "self.numSpeculativeTokens == self.config.num_speculative_tokens",
            holds=lambda it: (
                it.num_speculative_tokens is None
                or (it.config or {}).get("num_speculative_tokens", it.num_speculative_tokens)
                == it.num_speculative_tokens
            ),
            field=".numSpeculativeTokens",
            message="numSpeculativeTokens and config.num_speculative_tokens differ; give one of them",
        ),
    )

    mode: SpeculationMode = SpeculationMode.AUTO
    """Auto (the default): on for a speculators checkpoint, off for a regular model, and said in status. Required: a
    regular model without a recipe is refused. Disabled: the verifier alone, as a baseline."""
    num_speculative_tokens: Size | None = None
    """Tokens proposed at each step. By default the recipe's."""
    draft_tensor_parallel_size: Size | None = None
    """GPUs that the draft is split over: 1, or the verifier's tensor parallel size."""
    config: (
        Annotated[
            Free,
            AfterValidator(_tokens_in),
            Field(
                json_schema_extra={
                    "properties": {
                        "num_speculative_tokens": {
                            "type": "integer",
                            "description": "As `spec.speculation.numSpeculativeTokens`.",
                            "minimum": 1,
                            "maximum": 64,
                        }
                    }
                },
            ),
        ]
        | None
    ) = None
    """More of the engine's speculative config, by an allow-list. It wins over the recipe, but for what the checkpoint
    dictates. With a regular model it is the whole recipe, such as `{method: ngram, num_speculative_tokens: 4}`."""
    verification: Verification = Verification.REQUIRED
    """Required (the default): a pod becomes ready only after it has drafted. Report: only said in status. Off: neither
    asked nor said."""


class Parallelism(Part):
    tensor: Size | None = None
    """GPUs that each layer is split over (`--tensor-parallel-size`). 1 by default."""
    pipeline: Size | None = None
    """Stages that the layers are spread over (`--pipeline-parallel-size`). 1 by default."""
    data: Annotated[int, Field(strict=True, ge=1, le=1)] | None = None
    """Only 1: one canary proves one data-parallel rank. Use `replicas`."""


class EnvSource(Part):
    secret_key_ref: SecretKeyRef
    """A Secret's key."""


class EnvVar(Part):
    rules = (
        Rule(
            cel="has(self.value) != has(self.valueFrom)",
            holds=lambda variable: (variable.value is None) != (variable.value_from is None),
            field=".value",
            message="give either value or valueFrom",
        ),
    )

    name: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Z_][A-Z0-9_]*$")]
    """The variable's name, by an allow-list."""
    value: Annotated[str, Field(max_length=4096)] | None = None
    """Its value, taken as it is."""
    value_from: EnvSource | None = None
    """Where its value comes from."""


class Engine(Part):
    rules = (
        Rule(
            cel="!has(self.image) || !self.image.endsWith(':latest')",
            holds=lambda engine: not (engine.image or "").endswith(":latest"),
            field=".image",
            message="the tag latest moves; name a version's tag or a digest",
            reason=Reason.IMAGE_UNPINNED,
        ),
        Rule(
            cel="!has(self.args) || self.args.map(arg, size(arg)).sum() <= 65536",
            holds=lambda engine: sum(map(len, engine.args)) <= 65536,
            field=".args",
            message="the arguments together may have at most 65536 characters",
        ),
    )

    image: Annotated[str, Field(min_length=1, max_length=512, pattern=IMAGE_PATTERN)] | None = None
    """The engine's image, with a tag or digest that doesn't move. It has `vllm` and `python3`."""
    version: Annotated[str, Field(max_length=32, pattern=r"^[0-9]+\.[0-9]+(\.[0-9]+)?$")] | None = None
    """The engine's version, where the image's tag doesn't say it."""
    args: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=8192)]],
        Field(max_length=128, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
    ] = []
    """Arguments in vLLM's own syntax, such as `--max-model-len=4096`. They win over what the checkpoint says."""
    env: Annotated[list[EnvVar], Field(max_length=64), KeyedBy("name")] = []
    """Environment variables, by an allow-list."""
    port: Annotated[int, Field(strict=True, ge=1024, le=65535)] | None = None
    """The port that the engine listens at. 8000 by default."""
    api_key_secret_ref: SecretKeyRef | None = None
    """The key that clients of the engine's `/v1` have to send."""
    startup_seconds: Annotated[int, Field(strict=True, ge=10, le=86400)] = 1800
    """How long downloading and loading may take, until `/health` answers. 1800 by default."""


class Accelerator(Part):
    resource_name: Annotated[str, Field(max_length=317, pattern=EXTENDED_RESOURCE_PATTERN)] = "nvidia.com/gpu"
    """The extended resource that one GPU is. `nvidia.com/gpu` by default."""
    product: Annotated[str, Field(min_length=1, max_length=63, pattern=LABEL_VALUE_PATTERN)] | None = None
    """The product, as NVIDIA's GPU feature discovery labels nodes with it (`nvidia.com/gpu.product`), such as
    `NVIDIA-H100-80GB-HBM3`."""
    memory: Quantity | None = None
    """Memory of each, such as `80Gi`, for the check of what fits. By default the product's, where it is a known one. It
    reaches no pod: a change of it alone counts from the next resolution on."""


#: Resources of which nodes may promise more than they have; of all others a container's request is its limit.
#: Source: Kubernetes' pkg/apis/core/validation, ValidateResourceRequirements, which refuses the Deployment otherwise.
_OVERCOMMITTED = ("cpu", "memory", "ephemeral-storage")


def _compared(resources: str, name: str) -> str:
    """In CEL: less than 0 where the request is below the limit, 0 where both are worth the same."""
    return f"quantity(string({resources}.requests[{name}])).compareTo(quantity(string({resources}.limits[{name}])))"


def _request_within_limit(name: str) -> Rule:
    return Rule(
        cel=f"!has(self.requests) || !has(self.limits) || !('{name}' in self.requests) || "
        f"!('{name}' in self.limits) || {_compared('self', repr(name))} <= 0",
        holds=lambda it: (
            name not in it.limits or (worth(it.requests.get(name, 0)) or 0) <= (worth(it.limits[name]) or 0)
        ),
        field=".requests",
        message=f"the request of {name} is above its limit; lower it, or raise limits.{name}",
    )


class Resources(Part):
    rules = tuple(map(_request_within_limit, _OVERCOMMITTED))

    requests: Annotated[dict[ResourceName, Quantity], Field(max_length=16)] = {}
    """Requests of the engine's container; the accelerators are added."""
    limits: Annotated[dict[ResourceName, Quantity], Field(max_length=16)] = {}
    """Limits of the engine's container; the accelerators are added."""


class RolloutStrategy(StrEnum):
    ROLLING_UPDATE = "RollingUpdate"
    RECREATE = "Recreate"


class Rollout(Part):
    rules = (
        Rule(
            cel="!has(self.strategy) || self.strategy != 'Recreate' || "
            "!(has(self.maxSurge) || has(self.maxUnavailable))",
            holds=lambda rollout: (
                rollout.strategy != RolloutStrategy.RECREATE
                or not rollout.model_fields_set & {"max_surge", "max_unavailable"}
            ),
            field=".strategy",
            message="Recreate ends all pods first: leave out maxSurge and maxUnavailable, or choose RollingUpdate",
        ),
        Rule(
            cel="!has(self.maxSurge) || !(self.maxSurge == 0 || self.maxSurge == '0%') || "
            "(has(self.maxUnavailable) && !(self.maxUnavailable == 0 || self.maxUnavailable == '0%'))",
            holds=lambda rollout: not {rollout.max_surge, rollout.max_unavailable} <= {0, "0%"},
            field=".maxUnavailable",
            message="with maxSurge 0 a rollout needs a maxUnavailable above 0 (0 is its default), or it can't begin",
        ),
    )

    strategy: RolloutStrategy = RolloutStrategy.ROLLING_UPDATE
    """RollingUpdate (the default): old pods serve until new ones have proven themselves. Recreate: old pods end first,
    where there are no GPUs to spare."""
    max_surge: IntOrPercent = 1
    """Pods above `replicas` during a rollout: a number or a percentage. 1 by default."""
    max_unavailable: IntOrPercent = 0
    """Pods below `replicas` during a rollout: a number or a percentage. 0 by default."""


#: Labels and annotations with these prefixes are the operator's to set.
RESERVED_PREFIXES = (f"{GROUP}/", "app.kubernetes.io/")
#: Annotations by which kubelets and container runtimes take a container's confinement away, or give it devices.
UNSAFE_PREFIXES = (
    "container.apparmor.security.beta.kubernetes.io/",
    "container.seccomp.security.alpha.kubernetes.io/",
    "seccomp.security.alpha.kubernetes.io/",
    "cdi.k8s.io/",
    "io.kubernetes.cri-o.",
)


def _without(field: str, prefixes: tuple[str, ...], why: str) -> Rule:
    starts = " || ".join(f"key.startsWith('{prefix}')" for prefix in prefixes)
    return Rule(
        cel=f"!has(self.{field}) || !self.{field}.exists(key, {starts})",
        holds=lambda metadata: not any(key.startswith(prefixes) for key in getattr(metadata, field)),
        field=f".{field}",
        message=f"{field} of {', '.join(prefixes)} {why}",
    )


class Metadata(Part):
    rules = (
        _without("labels", RESERVED_PREFIXES, "are set by the operator; take another prefix"),
        _without("annotations", RESERVED_PREFIXES, "are set by the operator; take another prefix"),
        _without("annotations", UNSAFE_PREFIXES, "would weaken the pod's confinement; leave them out"),
    )

    labels: Annotated[dict[MetadataKey, LabelValue], Field(max_length=32)] = {}
    """Labels of the pods."""
    annotations: Annotated[dict[MetadataKey, Annotated[str, Field(max_length=4096)]], Field(max_length=32)] = {}
    """Annotations of the pods."""


class Toleration(Part):
    rules = (
        Rule(
            cel="has(self.key) || (has(self.operator) && self.operator == 'Exists')",
            holds=lambda it: it.key is not None or it.operator == "Exists",
            field=".operator",
            message="without a key the operator must be Exists",
        ),
        Rule(
            cel="!has(self.operator) || self.operator != 'Exists' || !has(self.value)",
            holds=lambda it: it.operator != "Exists" or it.value is None,
            field=".value",
            message="the operator Exists takes no value",
        ),
        Rule(
            cel="!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
            holds=lambda it: it.toleration_seconds is None or it.effect == "NoExecute",
            field=".tolerationSeconds",
            message="tolerationSeconds needs the effect NoExecute",
        ),
    )

    key: MetadataKey | None = None
    """The taint's key; none matches all keys."""
    operator: Literal["Exists", "Equal"] | None = None
    """Exists or Equal."""
    value: LabelValue | None = None
    """The taint's value."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """The taint's effect; none matches all effects."""
    toleration_seconds: Annotated[int, Field(strict=True, ge=0, le=31_536_000)] | None = None
    """How long a NoExecute taint is borne."""


class PodSpec(Part):
    node_selector: Annotated[dict[MetadataKey, LabelValue], Field(max_length=32)] = {}
    """Labels of the nodes to run on."""
    tolerations: Annotated[
        list[Toleration], Field(max_length=32, json_schema_extra={"x-kubernetes-list-type": "atomic"})
    ] = []
    """Taints to bear."""
    affinity: Free | None = None
    """Affinity, as in a PodSpec."""
    topology_spread_constraints: Annotated[
        list[Free], Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "atomic"})
    ] = []
    """Topology spread constraints, as in a PodSpec."""
    priority_class_name: Name | None = None
    """The priority class."""
    scheduler_name: Name | None = None
    """The scheduler."""
    runtime_class_name: Name | None = None
    """The runtime class."""
    image_pull_secrets: Annotated[list[SecretRef], Field(max_length=16), KeyedBy("name")] = []
    """Secrets to pull the engine's image with."""
    termination_grace_period_seconds: Annotated[int, Field(strict=True, ge=0, le=3600)] = 60
    """How long an ending pod may finish its requests. 60 by default."""


class Template(Part):
    metadata: Metadata = Metadata()
    """Metadata of the pods."""
    spec: PodSpec = PodSpec()
    """A safe part of a PodSpec."""


def _leaves_accelerator(field: str) -> Rule:
    return Rule(
        cel=f"!has(self.resources) || !has(self.resources.{field}) || !((has(self.accelerator) && "
        f"has(self.accelerator.resourceName) ? self.accelerator.resourceName : 'nvidia.com/gpu') "
        f"in self.resources.{field})",
        holds=lambda spec: spec.accelerator.resource_name not in getattr(spec.resources, field),
        field=f".resources.{field}",
        message="the number of accelerators follows from parallelism (tensor x pipeline); leave it out of resources",
    )


class SpeculatorDeploymentSpec(Part):
    rules = (
        Rule(
            cel="!has(self.speculation) || !has(self.speculation.draftTensorParallelSize) || "
            "self.speculation.draftTensorParallelSize == 1 || "
            "!has(self.parallelism) || !has(self.parallelism.tensor) || "
            "self.speculation.draftTensorParallelSize == self.parallelism.tensor",
            holds=lambda spec: (
                spec.parallelism.tensor is None
                or spec.speculation.draft_tensor_parallel_size in (None, 1, spec.parallelism.tensor)
            ),
            field=".speculation.draftTensorParallelSize",
            message="draftTensorParallelSize must be 1 or equal to parallelism.tensor",
            reason=Reason.DRAFT_TENSOR_PARALLEL_INVALID,
        ),
        Rule(
            cel="!has(self.model.tokenSecretRef) || !has(self.engine) || !has(self.engine.env) || "
            "!self.engine.env.exists(variable, variable.name == 'HF_TOKEN')",
            holds=lambda spec: (
                spec.model.token_secret_ref is None or all(variable.name != "HF_TOKEN" for variable in spec.engine.env)
            ),
            field=".engine.env",
            message="HF_TOKEN is taken from model.tokenSecretRef; leave it out of engine.env",
        ),
        Rule(
            cel="!has(self.cache) || !has(self.engine) || !has(self.engine.env) || "
            "!self.engine.env.exists(variable, variable.name == 'HF_TOKEN')",
            holds=lambda spec: spec.cache is None or all(variable.name != "HF_TOKEN" for variable in spec.engine.env),
            field=".engine.env",
            message="with a cache the engine downloads nothing; give HF_TOKEN to the Jobs that do, with "
            "model.tokenSecretRef, and leave it out of engine.env",
        ),
        Rule(
            cel="!has(self.accelerator) || !has(self.accelerator.product) || !has(self.template) || "
            f"!has(self.template.spec) || !has(self.template.spec.nodeSelector) || "
            f"!('{PRODUCT_LABEL}' in self.template.spec.nodeSelector) || "
            f"self.template.spec.nodeSelector['{PRODUCT_LABEL}'] == self.accelerator.product",
            holds=lambda spec: (
                spec.accelerator.product is None
                or spec.template.spec.node_selector.get(PRODUCT_LABEL, spec.accelerator.product)
                == spec.accelerator.product
            ),
            field=".accelerator.product",
            message=f"accelerator.product and the node selector {PRODUCT_LABEL} differ; give one of them",
        ),
        _leaves_accelerator("limits"),
        _leaves_accelerator("requests"),
        Rule(  # after those that say to leave accelerators out
            cel="!has(self.resources) || !has(self.resources.requests) || self.resources.requests.all(name, "
            f"name in {list(_OVERCOMMITTED)} || (has(self.resources.limits) && name in self.resources.limits && "
            f"{_compared('self.resources', 'name')} == 0))",
            holds=lambda spec: all(
                name in _OVERCOMMITTED or worth(quantity) == worth(spec.resources.limits.get(name))
                for name, quantity in spec.resources.requests.items()
            ),
            field=".resources.requests",
            message="a request of huge pages or of an extended resource must equal its limit; give the limit alone",
        ),
    )

    model: Model
    """The checkpoint to serve."""
    verifier: Source | None = None
    """Another verifier than the one that the checkpoint names, such as a quantized one or a mirror."""
    cache: Cache | None = None
    """A claim that models of the hub and of object storage are fetched onto, once and before any GPU is taken. The pods
    mount it read-only: their engines download nothing, and hold no token."""
    speculation: Speculation = Speculation()
    """What to make of the recipe."""
    parallelism: Parallelism = Parallelism()
    """How the model is split over GPUs. A pod takes tensor x pipeline of them."""
    engine: Engine = Engine()
    """The engine, vLLM."""
    replicas: Annotated[int, Field(strict=True, ge=0, le=1000)] = 1
    """Pods to run. `kubectl scale` and autoscalers set it."""
    suspend: Annotated[bool, Field(strict=True)] = False
    """Run no pod, and keep everything else."""
    resources: Resources = Resources()
    """Resources of the engine's container."""
    accelerator: Accelerator = Accelerator()
    """The kind of GPU."""
    rollout: Rollout = Rollout()
    """How a change reaches the pods."""
    network_policy: NetworkPolicy = NetworkPolicy()
    """Who reaches the pods, and what they reach, where the cluster's network enforces NetworkPolicies. A change of it
    restarts no pod."""
    template: Template = Template()
    """More about the pods."""

    @property
    def pods_wanted(self) -> int:
        return 0 if self.suspend else self.replicas


def secret_references(part: object, path: str = "spec") -> Iterator[tuple[str, str]]:
    """(field, name) of every Secret that a spec names, whatever for."""
    if isinstance(part, SecretRef):
        yield f"{path}.name", part.name
    elif isinstance(part, BaseModel):
        for name, field in type(part).model_fields.items():
            yield from secret_references(getattr(part, name), f"{path}.{field.alias}")
    elif isinstance(part, list):
        for index, item in enumerate(part):
            yield from secret_references(item, f"{path}[{index}]")
