"""The resource as types: what a user may write, what the operator says back, and the closed sets of its words.

Everything past this module is typed. The custom resource definition is generated from these models (``crd``), so a
description here is what ``kubectl explain`` shows, and a bound here is what the API server enforces.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from .errors import Refused

GROUP = "speculators.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "SpeculatorDeployment"
PLURAL = "speculatordeployments"

#: Set on a resource to anything new, it is resolved and rendered anew, though nothing else has changed.
REFRESH_ANNOTATION = f"{GROUP}/refresh"
#: On children and pods: the resource they belong to.
NAME_LABEL = f"{GROUP}/name"
#: On pods: the ControllerRevision whose template they run.
REVISION_LABEL = f"{GROUP}/revision"

#: Children bear the resource's name, and a pod's name adds 11 characters to the Deployment's.
NAME_MAX_LENGTH = 52
NAME_PATTERN = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"
#: ``org/repo``, or ``hf://org/repo[@revision]``. Neither half can start with a dash, so none is ever read as a flag.
URI_PATTERN = (
    r"^(hf://)?[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}(@[A-Za-z0-9][A-Za-z0-9._/-]{0,127})?$"
)
REPOSITORY_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}$"
REVISION_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$"


class ConditionType(StrEnum):
    """The conditions of a resource; all are always present once it has been looked at."""

    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    RESOLVED = "Resolved"
    AVAILABLE = "Available"
    SPECULATION_ACTIVE = "SpeculationActive"


class Reason(StrEnum):
    """Every reason that a condition, an event or an exit on the command line can bear. The docstrings are its page."""

    # Going well, or on the way.
    RECONCILED = "Reconciled"
    """The current generation is resolved and rolled out, and every replica is ready."""
    RESOLVED = "Resolved"
    """The inputs are resolved, and both models are pinned to commits."""
    RESOLVING = "Resolving"
    """The inputs have not been resolved yet."""
    PROGRESSING = "Progressing"
    """A rollout is under way: pods start, load, and have to prove themselves."""
    SCALING = "Scaling"
    """The template is rolled out; the number of replicas isn't the wanted one yet."""
    SUSPENDED = "Suspended"
    """``spec.suspend`` is set: no pod runs, everything else is kept."""
    SERVING = "Serving"
    """At least one ready pod serves."""
    NO_READY_PODS = "NoReadyPods"
    """No pod is ready, so nothing can be said of what it does."""

    # Speculation.
    DRAFTING = "Drafting"
    """Every ready pod's engine has verified drafts."""
    NOT_DRAFTING = "NotDrafting"
    """A ready pod's engine has verified no draft."""
    REGULAR_MODEL = "RegularModel"
    """The checkpoint carries no recipe, and none was given: the model is served plainly."""
    DISABLED = "Disabled"
    """``spec.speculation.mode`` is ``Disabled``: the verifier is served alone."""
    METRICS_UNREACHABLE = "MetricsUnreachable"
    """Ready pods' metrics could not be read, so it isn't known whether they draft."""
    NOT_PROVEN = "NotProven"
    """New pods did not prove within the progress deadline that they draft (or, by mode, that they serve)."""

    # The resource itself.
    SPEC_INVALID = "SpecInvalid"
    """A field of the resource is not what the schema says."""
    NAME_CONFLICT = "NameConflict"
    """An object of the resource's name exists and is not ours; it is left alone."""
    CHILD_REFUSED = "ChildRefused"
    """The API server refuses an object that the resource asks for (invalid, forbidden, over quota)."""
    PREDECESSOR_LEAVING = "PredecessorLeaving"
    """A deleted resource of the same name still has objects that the garbage collector has not removed."""

    # Reading a model.
    MODEL_UNAUTHORIZED = "ModelUnauthorized"
    """The hub wants a token for the repository (or it doesn't exist: the hub says the same of both)."""
    MODEL_GATED = "ModelGated"
    """The repository's terms have to be accepted first."""
    MODEL_NOT_FOUND = "ModelNotFound"
    """The hub has no such repository."""
    REVISION_NOT_FOUND = "RevisionNotFound"
    """The repository has no such branch, tag or commit."""
    CONFIG_MISSING = "ConfigMissing"
    """There is no ``config.json``."""
    CONFIG_MALFORMED = "ConfigMalformed"
    """``config.json`` is not a JSON object."""
    CONFIG_TOO_LARGE = "ConfigTooLarge"
    """``config.json`` is larger than any model's."""
    HUB_THROTTLED = "HubThrottled"
    """The hub asks to come back later."""
    HUB_UNAVAILABLE = "HubUnavailable"
    """The hub doesn't answer, or not whole."""

    # The recipe.
    RECIPE_MISSING = "RecipeMissing"
    """Speculation is required, and the checkpoint carries no recipe."""
    RECIPE_MALFORMED = "RecipeMalformed"
    """``config.json`` looks like a speculators checkpoint, but a part of its recipe is missing or of the wrong type."""
    RECIPE_UNSUPPORTED = "RecipeUnsupported"
    """The recipe's type (or a layer of it) has no implementation in the engine's version."""
    RECIPE_TOKENS_INVALID = "RecipeTokensInvalid"
    """The number of speculative tokens is missing, or not a positive number."""
    RECIPE_METHODS_INVALID = "RecipeMethodsInvalid"
    """The proposal methods are missing or empty."""
    RECIPE_FIELD_LOCKED = "RecipeFieldLocked"
    """A field that the checkpoint dictates was to be changed."""
    RECIPE_OVERRIDE_INVALID = "RecipeOverrideInvalid"
    """A key or value of ``spec.speculation`` is not one that may be set."""
    VERIFIER_MISSING = "VerifierMissing"
    """The recipe names no verifier, and ``spec.verifier`` is not set."""
    VERIFIER_UNUSABLE = "VerifierUnusable"
    """The verifier's reference can't be loaded (a path of the training host, not a repository)."""
    VERIFIER_IS_SPECULATOR = "VerifierIsSpeculator"
    """The verifier is itself a speculators checkpoint."""

    # Compatibility.
    HIDDEN_SIZE_MISMATCH = "HiddenSizeMismatch"
    """The draft's hidden size isn't the verifier's."""
    VOCABULARY_MISMATCH = "VocabularyMismatch"
    """The draft's vocabulary doesn't fit the verifier's."""
    AUXILIARY_LAYERS_INVALID = "AuxiliaryLayersInvalid"
    """The auxiliary layers that the draft taps don't exist in the verifier, or coincide."""
    HEADS_NOT_DIVISIBLE = "HeadsNotDivisible"
    """Attention heads can't be divided by the tensor parallel size."""
    DRAFT_TENSOR_PARALLEL_INVALID = "DraftTensorParallelInvalid"
    """The draft's tensor parallel size is neither 1 nor the verifier's."""
    PIPELINE_UNSUPPORTED = "PipelineUnsupported"
    """The method doesn't work with pipeline parallelism."""
    CONTEXT_TOO_LONG = "ContextTooLong"
    """``--max-model-len`` is longer than the verifier's context."""

    # The engine.
    ARGS_INVALID = "ArgsInvalid"
    """The engine's parser would not take the arguments."""
    FLAG_REFUSED = "FlagRefused"
    """The flag is one that a resource may not set."""
    FLAG_CONTRADICTS_FIELD = "FlagContradictsField"
    """A flag and a field set the same thing differently."""
    ENV_REFUSED = "EnvRefused"
    """The environment variable is one that a resource may not set."""
    IMAGE_UNPINNED = "ImageUnpinned"
    """The engine's image has no tag, or one that moves, such as ``latest``."""
    ENGINE_VERSION_UNKNOWN = "EngineVersionUnknown"
    """The engine's version can't be told from the image's tag, and ``spec.engine.version`` is not set."""
    ENGINE_TOO_OLD = "EngineTooOld"
    """The engine is older than the oldest that may be run."""
    DATA_PARALLEL_UNSUPPORTED = "DataParallelUnsupported"
    """Data parallelism beyond 1: one canary would prove one rank only."""


class _Model(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, use_attribute_docstrings=True
    )


Name = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
Revision = Annotated[str, Field(min_length=1, max_length=128, pattern=REVISION_PATTERN)]
Uri = Annotated[str, Field(min_length=3, max_length=330, pattern=URI_PATTERN)]
Quantity = Annotated[
    int | str,
    Field(json_schema_extra={"maxLength": 32, "x-kubernetes-int-or-string": True}, union_mode="left_to_right"),
]
IntOrPercent = Annotated[
    int | str, Field(json_schema_extra={"maxLength": 5, "x-kubernetes-int-or-string": True}, union_mode="left_to_right")
]
ServedName = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:-]*$")]
Free = Annotated[dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})]


class Source(_Model):
    uri: Uri
    """The repository: `org/repo`, or `hf://org/repo[@revision]`."""
    revision: Revision | None = None
    """Branch, tag or commit. Whatever it is, it is pinned to a commit. By default the repository's main branch."""

    @property
    def repository(self) -> str:
        """The bare ``org/repo``."""
        return self.uri.removeprefix("hf://").partition("@")[0]

    @property
    def wanted_revision(self) -> str | None:
        """The revision asked for, by field or in the URI."""
        return self.revision or self.uri.partition("@")[2] or None


class Model(Source):
    served_name: ServedName | None = None
    """The model's name in the API. By default the resource's name."""


class SpeculationMode(StrEnum):
    AUTO = "Auto"
    REQUIRED = "Required"
    DISABLED = "Disabled"


class Verification(StrEnum):
    REQUIRED = "Required"
    REPORT = "Report"
    OFF = "Off"


class Speculation(_Model):
    mode: SpeculationMode = SpeculationMode.AUTO
    """Auto (the default): on for a speculators checkpoint, off for a regular model, and said in status. Required: a
    regular model without a recipe is refused. Disabled: the verifier alone, as a baseline."""
    num_speculative_tokens: Annotated[int, Field(ge=1, le=64)] | None = None
    """Tokens proposed at each step. By default the recipe's."""
    draft_tensor_parallel_size: Annotated[int, Field(ge=1, le=64)] | None = None
    """GPUs that the draft is split over: 1, or the verifier's tensor parallel size."""
    config: Annotated[Free, Field(max_length=32)] | None = None
    """More of the engine's speculative config, by an allow-list. It wins over the recipe, but for what the checkpoint
    dictates. With a regular model it is the whole recipe, such as `{method: ngram, num_speculative_tokens: 4}`."""
    verification: Verification = Verification.REQUIRED
    """Required (the default): a pod becomes ready only after it has drafted. Report: only said in status. Off."""


class Parallelism(_Model):
    tensor: Annotated[int, Field(ge=1, le=64)] | None = None
    """GPUs that each layer is split over (`--tensor-parallel-size`). 1 by default."""
    pipeline: Annotated[int, Field(ge=1, le=64)] | None = None
    """Stages that the layers are spread over (`--pipeline-parallel-size`). 1 by default."""
    data: Annotated[int, Field(ge=1, le=1)] | None = None
    """Only 1: one canary proves one data-parallel rank. Use `replicas`."""


class SecretKeyRef(_Model):
    name: Name
    """The Secret's name, in the resource's namespace."""
    key: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]
    """The key in the Secret."""


class EnvSource(_Model):
    secret_key_ref: SecretKeyRef
    """A Secret's key."""


class EnvVar(_Model):
    name: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Z_][A-Z0-9_]*$")]
    """The variable's name, by an allow-list."""
    value: Annotated[str, Field(max_length=4096)] | None = None
    """Its value, taken as it is."""
    value_from: EnvSource | None = None
    """Where its value comes from."""


class Engine(_Model):
    image: Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[a-zA-Z0-9][^\s]*$")] | None = None
    """The engine's image, with a tag or digest that doesn't move. It has `vllm` and `python3`."""
    version: Annotated[str, Field(max_length=32, pattern=r"^[0-9]+\.[0-9]+(\.[0-9]+)?$")] | None = None
    """The engine's version, where the image's tag doesn't say it."""
    args: Annotated[list[Annotated[str, Field(min_length=1, max_length=8192)]], Field(max_length=128)] = []
    """Arguments in vLLM's own syntax, such as `--max-model-len=4096`. They win over what the checkpoint says."""
    env: Annotated[list[EnvVar], Field(max_length=64)] = []
    """Environment variables, by an allow-list."""
    port: Annotated[int, Field(ge=1024, le=65535)] | None = None
    """The port that the engine listens at. 8000 by default."""
    api_key_secret_ref: SecretKeyRef | None = None
    """The key that clients of the engine's `/v1` have to send."""
    startup_seconds: Annotated[int, Field(ge=10, le=86400)] = 1800
    """How long downloading and loading may take, until `/health` answers. 1800 by default."""


class Accelerator(_Model):
    resource_name: Annotated[str, Field(max_length=253, pattern=r"^[a-z0-9.-]+/[A-Za-z0-9._-]+$")] = "nvidia.com/gpu"
    """The extended resource that one GPU is. `nvidia.com/gpu` by default."""


class Resources(_Model):
    requests: Annotated[dict[str, Quantity], Field(max_length=16)] = {}
    """Requests of the engine's container; the accelerators are added."""
    limits: Annotated[dict[str, Quantity], Field(max_length=16)] = {}
    """Limits of the engine's container; the accelerators are added."""


class RolloutStrategy(StrEnum):
    ROLLING_UPDATE = "RollingUpdate"
    RECREATE = "Recreate"


class Rollout(_Model):
    strategy: RolloutStrategy = RolloutStrategy.ROLLING_UPDATE
    """RollingUpdate (the default): old pods serve until new ones have proven themselves. Recreate: old pods end first,
    where there are no GPUs to spare."""
    max_surge: IntOrPercent = 1
    """Pods above `replicas` during a rollout: a number or a percentage. 1 by default."""
    max_unavailable: IntOrPercent = 0
    """Pods below `replicas` during a rollout: a number or a percentage. 0 by default."""


class Metadata(_Model):
    labels: Annotated[dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=32)] = {}
    """Labels of the pods."""
    annotations: Annotated[dict[str, Annotated[str, Field(max_length=4096)]], Field(max_length=32)] = {}
    """Annotations of the pods."""


class Toleration(_Model):
    key: Annotated[str, Field(max_length=253)] | None = None
    """The taint's key; none matches all keys."""
    operator: Literal["Exists", "Equal"] | None = None
    """Exists or Equal."""
    value: Annotated[str, Field(max_length=63)] | None = None
    """The taint's value."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """The taint's effect; none matches all effects."""
    toleration_seconds: int | None = None
    """How long a NoExecute taint is borne."""


class LocalObjectReference(_Model):
    name: Name
    """The name, in the resource's namespace."""


class PodSpec(_Model):
    node_selector: Annotated[dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=32)] = {}
    """Labels of the nodes to run on."""
    tolerations: Annotated[list[Toleration], Field(max_length=32)] = []
    """Taints to bear."""
    affinity: Annotated[Free, Field(max_length=3)] | None = None
    """Affinity, as in a PodSpec."""
    topology_spread_constraints: Annotated[list[Free], Field(max_length=16)] = []
    """Topology spread constraints, as in a PodSpec."""
    priority_class_name: Name | None = None
    """The priority class."""
    scheduler_name: Name | None = None
    """The scheduler."""
    runtime_class_name: Name | None = None
    """The runtime class."""
    image_pull_secrets: Annotated[list[LocalObjectReference], Field(max_length=16)] = []
    """Secrets to pull the engine's image with."""
    termination_grace_period_seconds: Annotated[int, Field(ge=0, le=3600)] = 60
    """How long an ending pod may finish its requests. 60 by default."""


class Template(_Model):
    metadata: Metadata = Metadata()
    """Metadata of the pods."""
    spec: PodSpec = PodSpec()
    """A safe part of a PodSpec."""


class SpeculatorDeploymentSpec(_Model):
    model: Model
    """The checkpoint to serve."""
    verifier: Source | None = None
    """Another verifier than the one that the checkpoint names, such as a quantized one or a mirror."""
    speculation: Speculation = Speculation()
    """What to make of the recipe."""
    parallelism: Parallelism = Parallelism()
    """How the model is split over GPUs. A pod takes tensor x pipeline of them."""
    engine: Engine = Engine()
    """The engine, vLLM."""
    replicas: Annotated[int, Field(ge=0, le=1000)] = 1
    """Pods to run. `kubectl scale` and autoscalers set it."""
    suspend: bool = False
    """Run no pod, and keep everything else."""
    resources: Resources = Resources()
    """Resources of the engine's container."""
    accelerator: Accelerator = Accelerator()
    """The kind of GPU."""
    rollout: Rollout = Rollout()
    """How a change reaches the pods."""
    template: Template = Template()
    """More about the pods."""


class SpeculatorDeployment(BaseModel):
    """One resource, parsed: identity and spec. What the operator said of it before is only ever compared, not read."""

    model_config = ConfigDict(frozen=True)

    name: str
    namespace: str
    uid: str = ""
    generation: int = 0
    refresh: str = ""
    spec: SpeculatorDeploymentSpec

    @classmethod
    def from_object(cls, body: dict[str, Any]) -> Self:
        """Parses a resource as the API server holds it, or as a file says it.

        Raises:
            Refused: ``SpecInvalid``, naming the first field that is wrong, its value, and how many others are.
        """
        metadata = body.get("metadata") or {}
        try:
            return cls(
                name=metadata.get("name", ""),
                namespace=metadata.get("namespace") or "default",
                uid=metadata.get("uid", ""),
                generation=metadata.get("generation", 0),
                refresh=(metadata.get("annotations") or {}).get(REFRESH_ANNOTATION, ""),
                spec=SpeculatorDeploymentSpec.model_validate(body.get("spec") or {}),
            )
        except ValidationError as error:
            first, *others = error.errors(include_url=False)
            field = ".".join(("spec", *(str(part) for part in first["loc"])))
            more = f" ({len(others)} more)" if others else ""
            given = "" if first["type"] == "missing" else f", not {str(first['input'])[:100]!r}"
            raise Refused(Reason.SPEC_INVALID, f"{field}: {first['msg']}{given}{more}", field=field) from None
