"""The resource as types: what a user may write, what the operator says back, and the closed sets of its words.

Everything past this module is typed. The custom resource definition is generated from these models (``crd``), so a
description here is what ``kubectl explain`` shows, and a bound here is what the API server enforces.
"""

from __future__ import annotations

import difflib
import ipaddress
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainValidator,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails, PydanticCustomError, core_schema

from speculator_operator.errors import Refusals, Refused
from speculator_operator.reference import REVISION_PATTERN, URI_PATTERN, Kind, Reference

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

#: On nodes: their accelerators' product, as NVIDIA's GPU feature discovery writes it.
PRODUCT_LABEL = "nvidia.com/gpu.product"

#: Children bear the resource's name, and a pod's name adds 11 characters to the Deployment's.
NAME_MAX_LENGTH = 52
NAME_PATTERN = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"
# Kubernetes' own: what it would refuse in a child is refused here first, where the field has a name. Patterns keep to
# what Go's and Rust's expressions have in common, for both read them: the API server and pydantic.
SUBDOMAIN_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
QUALIFIED_NAME_PATTERN = r"^([a-z0-9][-a-z0-9.]{0,251}[a-z0-9]/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
LABEL_VALUE_PATTERN = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"
EXTENDED_RESOURCE_PATTERN = r"^[a-z0-9][-a-z0-9.]{0,251}[a-z0-9]/[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
RESOURCE_PATTERN = f"^(cpu|memory|ephemeral-storage|hugepages-[0-9]+[KMG]i|{EXTENDED_RESOURCE_PATTERN[1:-1]})$"
DATA_KEY_PATTERN = r"^\.?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$"
IMAGE_PATTERN = r"^[a-zA-Z0-9][a-zA-Z0-9.:/_-]*(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127}|@sha256:[a-f0-9]{64})$"
QUANTITY_PATTERN = r"^([0-9]+\.?[0-9]*|\.[0-9]+)([numkMGTPE]|[KMGTPE]i|[eE][0-9]{1,2})?$"
PERCENT_PATTERN = r"^(100|[1-9]?[0-9])%$"
DECIMAL_PATTERN = r"^[0-9]+(\.[0-9]+)?$"


class ConditionType(StrEnum):
    """The conditions of a resource; all are always present once it has been looked at."""

    READY = "Ready"
    """The current generation is resolved and rolled out, every replica is ready, and nothing is stalled. While old pods
    serve under a stalled generation it is False, and Available is True."""
    RECONCILING = "Reconciling"
    """The operator is on the way to the current generation."""
    STALLED = "Stalled"
    """The operator can't go on until the resource, or what it names, is changed."""
    RESOLVED = "Resolved"
    """The current inputs are resolved and pinned. Unknown until they have been read."""
    AVAILABLE = "Available"
    """At least one proven (or, by mode, healthy) pod serves, of any revision."""
    SPECULATION_ACTIVE = "SpeculationActive"
    """At least one pod is ready, and every ready pod's engine has verified drafts. Unknown while none is ready, or
    while their metrics can't be read."""


class Reason(StrEnum):
    """Every reason that a condition, an event or an exit on the command line can bear. The docstrings are its page."""

    # Going well, or on the way.
    RECONCILED = "Reconciled"
    """The current generation is resolved and rolled out, and every replica is ready."""
    RESOLVED = "Resolved"
    """The inputs are resolved, and both models are pinned to commits."""
    RESOLVING = "Resolving"
    """The inputs have not been resolved yet.

    Wait. If it lasts, look at the operator's log, and for a Job of the resource's name in its namespace."""
    FETCHING = "Fetching"
    """The models are being fetched onto the claim of ``spec.cache``; no pod starts with them before.

    Wait. The message names the Jobs; their logs say how far they are."""
    PROGRESSING = "Progressing"
    """A rollout is under way: pods start, load, and have to prove themselves.

    Wait: a first download may take long. `kubectl speculator status NAME` says what each pod waits for."""
    SCALING = "Scaling"
    """The template is rolled out; the number of replicas isn't the wanted one yet.

    Wait. If it lasts, nodes may lack accelerators: `kubectl describe pod` says what the scheduler misses."""
    SUSPENDED = "Suspended"
    """``spec.suspend`` is set: no pod runs, everything else is kept.

    Set ``spec.suspend`` to false to serve again."""
    SERVING = "Serving"
    """At least one ready pod serves."""
    NO_READY_PODS = "NoReadyPods"
    """No pod is ready, so nothing can be said of what it does.

    `kubectl speculator status NAME` says of each pod why it isn't ready, `kubectl logs` what its engine says."""

    # Speculation.
    DRAFTING = "Drafting"
    """Every ready pod's engine has verified drafts."""
    NOT_DRAFTING = "NotDrafting"
    """A ready pod's engine has verified no draft.

    Run `kubectl speculator verify NAME`. Where it drafts nothing either, compare the pod's command with
    ``status.resolved.command``, and delete the pod, so that the next one proves itself. With
    ``spec.speculation.verification`` other than ``Required`` a pod becomes ready without a proof."""
    REGULAR_MODEL = "RegularModel"
    """The checkpoint carries no recipe, and none was given: the model is served plainly.

    Nothing, if that is what you want. Otherwise name a speculators checkpoint, or give a recipe in
    ``spec.speculation.config``. With ``spec.speculation.mode: Required`` it would be refused."""
    DISABLED = "Disabled"
    """``spec.speculation.mode`` is ``Disabled``: the verifier is served alone.

    Nothing, if it is your baseline. Otherwise set the mode to ``Auto``."""
    METRICS_UNREACHABLE = "MetricsUnreachable"
    """Ready pods' metrics could not be read, so it isn't known whether they draft.

    See whether the operator can reach the pods' port: a NetworkPolicy, a service mesh, or an operator that runs
    outside the cluster. `kubectl speculator verify NAME` asks from inside the pods."""
    UNVERIFIED = "Unverified"
    """``spec.speculation.verification`` is ``Off``, and a ready pod's engine has verified no draft yet: it may only be
    idle.

    Run `kubectl speculator verify NAME`, or set it to ``Report`` or ``Required``, so that each new pod is asked."""
    NOT_PROVEN = "NotProven"
    """New pods did not prove within the progress deadline that they draft (or, by mode, that they serve).

    The message has the engine's last words, `kubectl logs --previous` has more. What served before still does. Mend
    the spec, or apply the last one that worked."""

    # The resource itself.
    SPEC_INVALID = "SpecInvalid"
    """A field of the resource is not what the schema says.

    Change the field that the message names; `kubectl explain spd.spec` and docs/reference.md say what it takes."""
    NAME_CONFLICT = "NameConflict"
    """An object of the resource's name exists and is not ours; it is left alone.

    Rename the resource, or rename or delete the other object."""
    CHILD_REFUSED = "ChildRefused"
    """The API server refuses an object that the resource asks for (invalid, forbidden, over quota).

    The message is the API server's own. Mend what it names: the spec, the namespace's quota, or a policy."""
    RECONCILE_FAILED = "ReconcileFailed"
    """The operator's passes over the resource have failed for a while, and are tried again.

    The message has the last error: a webhook that doesn't answer, a right that the operator lacks, an API server in
    trouble. Mend what it names; the operator's log has more. What serves goes on serving."""
    PREDECESSOR_LEAVING = "PredecessorLeaving"
    """A deleted resource of the same name still has objects that the garbage collector has not removed.

    Wait for the garbage collector. If it lasts, look for finalizers on the objects of that name."""

    RESOURCE_NOT_FOUND = "ResourceNotFound"
    """On the command line: the cluster has no resource of that name in that namespace.

    Name another one, or its namespace with ``-n``."""

    # Reading a model.
    MODEL_UNAUTHORIZED = "ModelUnauthorized"
    """The hub wants a token for the repository (or it doesn't exist: the hub says the same of both), or a valid one.

    Check the repository's name. If it is private, name a Secret with a token in ``spec.model.tokenSecretRef``; if
    one is named, renew its token."""
    MODEL_GATED = "ModelGated"
    """The repository's terms have to be accepted first, by the account of the token that is used.

    Accept the terms on the repository's page with the account of the token, and name the token's Secret in
    ``spec.model.tokenSecretRef``. Draft and verifier may both be gated."""
    MODEL_FORBIDDEN = "ModelForbidden"
    """The token may not read the repository.

    Give the token's account access to the repository, or name another token in ``spec.model.tokenSecretRef``."""
    MODEL_NOT_FOUND = "ModelNotFound"
    """The hub has no such repository, or none that the token may see.

    Check the name in ``spec.model.uri`` or ``spec.verifier.uri``, or name a token that may see it."""
    REVISION_NOT_FOUND = "RevisionNotFound"
    """The repository has no such branch, tag or commit.

    Name a branch, tag or commit that the repository has in ``revision``, or leave it out."""
    CONFIG_MISSING = "ConfigMissing"
    """There is no ``config.json``.

    Name the folder or repository that has the model's ``config.json`` itself, not one above it."""
    CONFIG_MALFORMED = "ConfigMalformed"
    """``config.json`` is not a JSON object, or an empty one.

    Upload the model again, or name another revision."""
    CONFIG_TOO_LARGE = "ConfigTooLarge"
    """``config.json`` is larger than any model's.

    Check that the reference is a model's; a ``config.json`` has a few kilobytes."""
    FILES_TOO_MANY = "FilesTooMany"
    """There are more files beside ``config.json`` than beside any model's.

    Give the model a folder or prefix of its own."""
    HUB_THROTTLED = "HubThrottled"
    """The hub asks to come back later.

    Wait: it is tried again when the hub says so. A token raises the limit, a mirror (``SPECULATOR_HF_ENDPOINT``)
    lifts it."""
    MODEL_NOT_READ = "ModelNotRead"
    """On the command line: the model can be read in the cluster only, or wasn't to be read.

    Name a folder that has its ``config.json`` with ``--checkpoint`` or ``--verifier-checkpoint``."""
    HUB_UNAVAILABLE = "HubUnavailable"
    """The hub doesn't answer, or not whole.

    Wait: it is tried again. If it lasts, check the operator's way to the hub, its proxy, and
    ``SPECULATOR_HF_ENDPOINT``. What serves goes on serving."""
    STORAGE_UNAUTHORIZED = "StorageUnauthorized"
    """Object storage refuses the access key, or wants one.

    Check the keys in the Secret of ``spec.model.credentialsSecretRef``, and that they may list and read the bucket."""
    BUCKET_NOT_FOUND = "BucketNotFound"
    """Object storage has no such bucket.

    Check the bucket's name in the URI, and the installation's endpoint (``SPECULATOR_S3_ENDPOINT``)."""
    BUCKET_ELSEWHERE = "BucketElsewhere"
    """The bucket is in another region than the one that is asked.

    Have the installation's region set to the bucket's (``SPECULATOR_S3_REGION``)."""
    STORAGE_THROTTLED = "StorageThrottled"
    """Object storage asks to come back later.

    Wait: it is tried again."""
    STORAGE_UNAVAILABLE = "StorageUnavailable"
    """Object storage doesn't answer, or not whole.

    Wait: it is tried again. If it lasts, check the endpoint (``SPECULATOR_S3_ENDPOINT``) and the namespace's way to
    it."""
    STORAGE_CHANGED = "StorageChanged"
    """What is in the bucket isn't what was checked and pinned any more.

    Set the annotation ``speculators.dev/refresh`` to anything new, so that what is there now is checked and pinned."""
    VOLUME_UNUSABLE = "VolumeUnusable"
    """The folder that a checkpoint is fetched into is full, can't be written to, or holds something else.

    Give the pods' nodes more ephemeral storage, or the claim of ``spec.cache`` more room, writable to user 1000; or
    look at what the message names."""
    FOLDER_UNREADABLE = "FolderUnreadable"
    """A folder that is mounted, or a file in it, can't be read.

    Make the files readable to the user that the message names, or to everybody."""
    FOLDER_UNSAFE = "FolderUnsafe"
    """A file of a mounted folder is a link that leads out of it, or no file at all (a pipe, a device).

    Replace the file by the one that it leads to."""
    WEIGHTS_MALFORMED = "WeightsMalformed"
    """A ``*.safetensors`` file isn't one, or is cut off.

    Copy or upload the file again, whole."""
    CLAIM_MISSING = "ClaimMissing"
    """The claim isn't there.

    Make the claim in the resource's namespace, or mend its name in the URI or in ``spec.cache.claim``."""
    SECRET_UNUSABLE = "SecretUnusable"  # noqa: S105 - a reason, not a secret
    """The Secret isn't there, or lacks the key.

    Make the Secret in the resource's namespace, with the key that the message names."""
    RESOLVER_UNSET = "ResolverUnset"
    """The source is read by a resolver Job, and the installation has named no image for one.

    Have the installation name the operator's own image (``SPECULATOR_RESOLVER_IMAGE``)."""
    RESOLVER_FAILED = "ResolverFailed"
    """The resolver Job ended without a result.

    The message has the Job's last words. Mend what they name; it is tried again. ``speculators.dev/refresh`` tries
    at once."""
    FETCH_FAILED = "FetchFailed"
    """The Job that fetches a model onto the claim of ``spec.cache`` ended before it was done.

    Wait: another one goes on where it ended. If it lasts, mend what the Job's last words name, or have the
    installation give such Jobs more time (``SPECULATOR_FETCH_TIMEOUT``)."""
    CACHE_UNUSED = "CacheUnused"
    """``spec.cache`` is set, and there is nothing to fetch: the models are mounted from where they are.

    Leave ``spec.cache`` out."""

    # The recipe.
    RECIPE_MISSING = "RecipeMissing"
    """Speculation is required, and the checkpoint carries no recipe.

    Name a speculators checkpoint, give a recipe in ``spec.speculation.config``, or set the mode to ``Auto``."""
    RECIPE_MALFORMED = "RecipeMalformed"
    """``config.json`` looks like a speculators checkpoint, but a part of its recipe is missing or of the wrong type.

    Name another revision, or have the checkpoint's author mend its ``config.json``."""
    RECIPE_UNSUPPORTED = "RecipeUnsupported"
    """The recipe's type (or a layer of it) has no implementation in the engine's version.

    Take an engine that has it: ``spec.engine.image``; the message says which release does, where one is known."""
    RECIPE_TOKENS_INVALID = "RecipeTokensInvalid"
    """The number of speculative tokens is missing, or not a positive number.

    Set ``spec.speculation.numSpeculativeTokens``."""
    RECIPE_METHODS_INVALID = "RecipeMethodsInvalid"
    """The proposal methods are missing or empty.

    Name another revision, or have the checkpoint's author mend its ``config.json``."""
    RECIPE_FIELD_LOCKED = "RecipeFieldLocked"
    """A field that the checkpoint dictates was to be changed.

    Take the field out: the checkpoint says what it is."""
    RECIPE_OVERRIDE_INVALID = "RecipeOverrideInvalid"
    """A key or value of ``spec.speculation`` is not one that may be set.

    Take the key out, or give it a value that the message allows."""
    VERIFIER_MISSING = "VerifierMissing"
    """The recipe names no verifier, and ``spec.verifier`` is not set.

    Set ``spec.verifier.uri`` to the model that the draft was trained for."""
    VERIFIER_UNUSABLE = "VerifierUnusable"
    """The verifier's reference can't be loaded (a path of the training host, not a repository).

    Set ``spec.verifier.uri`` to a repository or folder with the model that the draft was trained for."""
    VERIFIER_IS_SPECULATOR = "VerifierIsSpeculator"
    """The verifier is itself a speculators checkpoint.

    Set ``spec.verifier.uri`` to the plain model, and name the speculators checkpoint in ``spec.model.uri``."""

    # Compatibility.
    HIDDEN_SIZE_MISMATCH = "HiddenSizeMismatch"
    """The draft's hidden size isn't the verifier's.

    Set ``spec.verifier.uri`` to the model that the draft was trained for, or name that model's draft."""
    VOCABULARY_MISMATCH = "VocabularyMismatch"
    """The draft's vocabulary doesn't fit the verifier's.

    Set ``spec.verifier.uri`` to the model that the draft was trained for, or name that model's draft."""
    AUXILIARY_LAYERS_INVALID = "AuxiliaryLayersInvalid"
    """The auxiliary layers that the draft taps don't exist in the verifier, or coincide.

    Set ``spec.verifier.uri`` to the model that the draft was trained for, or name that model's draft."""
    HEADS_NOT_DIVISIBLE = "HeadsNotDivisible"
    """Attention heads can't be divided by the tensor parallel size.

    Set ``spec.parallelism.tensor`` to a number that divides the heads, such as one that the message names."""
    DRAFT_TENSOR_PARALLEL_INVALID = "DraftTensorParallelInvalid"
    """The draft's tensor parallel size is neither 1 nor the verifier's.

    Set ``spec.speculation.draftTensorParallelSize`` to 1 or to ``spec.parallelism.tensor``, or leave it out."""
    PIPELINE_UNSUPPORTED = "PipelineUnsupported"
    """The method doesn't work with pipeline parallelism, or there are more stages than layers.

    Set ``spec.parallelism.pipeline`` to 1, and ``spec.parallelism.tensor`` higher."""
    CONTEXT_TOO_LONG = "ContextTooLong"
    """``--max-model-len`` is longer than the verifier's context.

    Set ``--max-model-len`` to the verifier's context or less."""
    METHOD_UNSUPPORTED = "MethodUnsupported"
    """The engine has no implementation of the speculative method.

    Choose another method, or an engine that has it: ``spec.engine.image``."""
    PACKAGE_MISSING = "PackageMissing"
    """The method needs a package that the engine's image may not have.

    Take an image that has the package, or choose another method."""
    DRAFT_UNFIT = "DraftUnfit"
    """The draft is of another kind than the method takes.

    Name a draft of the method's kind, or the method of this draft's kind."""
    DRAFT_CONTEXT_SHORT = "DraftContextShort"
    """The draft's context is shorter than requests may be.

    Set ``--max-model-len`` to the draft's context or less, or take a draft with a longer one."""
    QUANTIZATION_UNSUPPORTED = "QuantizationUnsupported"
    """The weights are quantized by a method that the engine doesn't have, or by another one than is asked for.

    Name weights that are quantized otherwise, or an engine that has the method; leave ``--quantization`` out."""
    TOKENS_UNFIT = "TokensUnfit"
    """The number of speculative tokens is one that the draft's layers or heads can't propose.

    Set ``spec.speculation.numSpeculativeTokens`` to a number that the message allows."""
    MTP_LAYERS_MISSING = "MtpLayersMissing"
    """The model has no layers for multi-token prediction, or none that the engine knows.

    Choose another method, or a checkpoint that has the layers."""
    VERIFIER_UNTAPPABLE = "VerifierUntappable"
    """The method reads the verifier's hidden states, and the engine's model doesn't hand them out.

    Choose a method that reads no hidden states (``ngram``, ``draft_model``), or a verifier that the engine can tap."""
    EMBEDDING_OUT_OF_REACH = "EmbeddingOutOfReach"
    """With pipeline parallelism the draft needs an embedding of its own, and may have none.

    Set ``spec.parallelism.pipeline`` to 1, or take a draft that has an embedding."""
    SCHEDULE_UNSUPPORTED = "ScheduleUnsupported"
    """A schedule of tokens by batch size doesn't work with the method.

    Take the schedule out, and set ``spec.speculation.numSpeculativeTokens``."""
    ACCELERATORS_EXCEED_NODE = "AcceleratorsExceedNode"
    """A pod takes more accelerators than a node of the product has.

    Make ``spec.parallelism.tensor`` times ``spec.parallelism.pipeline`` as small as a node, or name a product with
    more."""
    ARCHITECTURE_UNKNOWN = "ArchitectureUnknown"
    """The engine doesn't implement the model's architecture itself.

    Take an engine that has it, or have the model's own code allowed (``--trust-remote-code``)."""
    REMOTE_CODE_REFUSED = "RemoteCodeRefused"
    """The model needs code from its repository, which the installation doesn't allow to run.

    Have the installation allow it (``SPECULATOR_ALLOW_REMOTE_CODE``), or take a model that needs none."""
    WEIGHTS_MISSING = "WeightsMissing"
    """There are no weights beside ``config.json``, or not all of them.

    Upload the missing files, or name the revision or folder that has them."""
    PICKLED_WEIGHTS_REFUSED = "PickledWeightsRefused"
    """There are pickled weights only, which the installation doesn't allow to load.

    Convert the weights to safetensors, or have the installation allow pickles
    (``SPECULATOR_ALLOW_PICKLED_WEIGHTS``)."""
    MEMORY_INSUFFICIENT = "MemoryInsufficient"
    """The weights, or they and one request of the longest length, don't fit into the accelerators' memory.

    Raise ``spec.parallelism.tensor``, lower ``--max-model-len``, or take a quantized verifier: the message says
    which would do."""
    MEMORY_TIGHT = "MemoryTight"
    """The weights and one request of the longest length leave little of the accelerators' memory.

    It may serve few requests at once. Raise ``spec.parallelism.tensor``, or lower ``--max-model-len``."""

    # The engine.
    ARGS_INVALID = "ArgsInvalid"
    """The engine's parser would not take the arguments.

    Change the argument that the message names: `vllm serve --help` is what counts."""
    FLAG_REFUSED = "FlagRefused"
    """The flag is one that a resource may not set.

    Take the flag out, or set the field that the message names. Some can be allowed (``SPECULATOR_ALLOW_FLAGS``)."""
    FLAG_CONTRADICTS_FIELD = "FlagContradictsField"
    """A flag and a field set the same thing differently.

    Give one of the two, or both the same."""
    ENV_REFUSED = "EnvRefused"
    """The environment variable is one that a resource may not set.

    Take the variable out. Some can be allowed (``SPECULATOR_ALLOW_ENV``)."""
    SECRET_NAME_REFUSED = "SecretNameRefused"  # noqa: S105  # a reason's name
    """The Secret's name is not one that the installation lets resources use.

    Use a Secret whose name the installation allows (``SPECULATOR_SECRET_NAMES``)."""
    IMAGE_UNPINNED = "ImageUnpinned"
    """The engine's image has no tag, or one that moves, such as ``latest``.

    Name a version's tag, or a digest."""
    ENGINE_UNKNOWN = "EngineUnknown"
    """The engine is newer than those that are known here: what it can do is told by the newest of them.

    Nothing, if it works: ``verification: Required`` proves it. A newer operator knows it."""
    ENGINE_VERSION_UNKNOWN = "EngineVersionUnknown"
    """The engine's version can't be told from the image's tag, and ``spec.engine.version`` is not set.

    Set ``spec.engine.version`` to the version of vLLM that the image has."""
    ENGINE_TOO_OLD = "EngineTooOld"
    """The engine is older than the oldest that may be run.

    Take a newer image: older engines have known holes, or don't speculate as told."""
    DATA_PARALLEL_UNSUPPORTED = "DataParallelUnsupported"
    """Data parallelism beyond 1: one canary would prove one rank only.

    Set ``spec.replicas`` instead."""
    EGRESS_NEEDED = "EgressNeeded"
    """``spec.networkPolicy.egress`` is ``None``, and a model has to be downloaded.

    Set it to ``Sources``, or take both models from a claim or an image."""
    ENGINE_REFUSED = "EngineRefused"
    """`check --engine`: the engine itself refuses the command, in its own words.

    Change what the engine names. Of the models it was shown ``config.json`` alone."""


#: What the hub says to a reader without a token, where one with a token may be told more.
TOKEN_MAY_HELP = frozenset({Reason.MODEL_UNAUTHORIZED, Reason.MODEL_GATED, Reason.MODEL_NOT_FOUND})


@dataclass(frozen=True)
class Rule:
    """What the parts of an object must have in common.

    ``cel`` says it to the API server; ``holds`` says it here, for files that meet no API server, and for API servers
    that hold another version of the schema. ``field`` is the path of the field to blame, below the object.
    """

    cel: str
    holds: Callable[[Any], bool]
    field: str
    message: str
    reason: Reason = Reason.SPEC_INVALID


class _Model(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, use_attribute_docstrings=True
    )
    rules: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, given: Any) -> Any:
        """The API server drops a field that is null, too, if it knows the field."""
        if isinstance(given, dict):
            known = {field.alias for field in cls.model_fields.values()}
            return {name: value for name, value in given.items() if value is not None or name not in known}
        return given

    @model_validator(mode="after")
    def _keeps_rules(self) -> Self:
        for rule in self.rules:
            if not rule.holds(self):
                context = {"message": rule.message, "field": rule.field, "reason": rule.reason}
                raise PydanticCustomError("rule", "{message}", context)
        return self

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        described = handler.resolve_ref_schema(handler(schema))
        if cls.rules:
            described["x-kubernetes-validations"] = [
                {"rule": rule.cel, "message": rule.message, "fieldPath": rule.field} for rule in cls.rules
            ]
        return described


@dataclass(frozen=True)
class KeyedBy:
    """Marks a list whose items are told apart by a field of theirs, so that several appliers can own items of it."""

    key: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self._refuse_duplicates, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [self.key]}

    def _refuse_duplicates(self, items: list[Any]) -> list[Any]:
        keys = [getattr(item, self.key) for item in items]
        for key in keys:
            if keys.count(key) > 1:
                raise PydanticCustomError("duplicate", f"the {self.key} {key!r} occurs twice")
        return items


def _number_or(pattern: str, example: str, largest: int) -> Callable[[object], int | str]:
    def check(value: object) -> int | str:
        if type(value) is int and 0 <= value <= largest:
            return value
        if isinstance(value, str) and len(value) <= 32 and re.search(rf"{pattern[:-1]}\Z", value):
            return value
        raise PydanticCustomError(
            "number_or_text", f"must be a number from 0 to {largest}, or a text such as {example}"
        )

    return check


#: A part of a resource that the schema can't see into may have this many characters of JSON.
FREE_MAX_LENGTH = 16384


def _bounded(value: dict[str, Any]) -> dict[str, Any]:
    if len(json.dumps(value, default=str)) > FREE_MAX_LENGTH:
        raise PydanticCustomError("too_long", f"must be at most {FREE_MAX_LENGTH} characters of JSON")
    return value


Name = Annotated[str, Field(min_length=1, max_length=253, pattern=SUBDOMAIN_PATTERN)]
Revision = Annotated[str, Field(min_length=1, max_length=128, pattern=REVISION_PATTERN)]
Uri = Annotated[str, Field(min_length=3, max_length=1024)]
Size = Annotated[int, Field(strict=True, ge=1, le=64)]
Quantity = Annotated[
    int | str,
    PlainValidator(_number_or(QUANTITY_PATTERN, "'500m' or '16Gi'", 2**53)),
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "minimum": 0,
            "maximum": 2**53,
            "maxLength": 32,
            "pattern": QUANTITY_PATTERN,
        }
    ),
]
IntOrPercent = Annotated[
    int | str,
    PlainValidator(_number_or(PERCENT_PATTERN, "'25%'", 1000)),
    WithJsonSchema(
        {"x-kubernetes-int-or-string": True, "minimum": 0, "maximum": 1000, "maxLength": 4, "pattern": PERCENT_PATTERN}
    ),
]
#: Of a folder within a volume; no part of it can be `.` or `..`.
SubPath = Annotated[
    str,
    Field(
        min_length=1,
        max_length=253,
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9._=-]*(/[A-Za-z0-9_][A-Za-z0-9._=-]*)*$",
        description="a relative path, such as models/llama",
    ),
]
ServedName = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:-]*$")]
MetadataKey = Annotated[
    str,
    Field(
        max_length=317,
        pattern=QUALIFIED_NAME_PATTERN,
        description="a name of up to 63 letters, digits, '-', '_' and '.', after an optional domain and a slash",
    ),
]
LabelValue = Annotated[str, Field(max_length=63, pattern=LABEL_VALUE_PATTERN)]
ResourceName = Annotated[
    str,
    Field(
        max_length=317,
        pattern=RESOURCE_PATTERN,
        description="cpu, memory, ephemeral-storage, hugepages-2Mi, or an extended resource such as example.com/nic",
    ),
]
Free = Annotated[
    dict[str, Any],
    Field(max_length=32),
    AfterValidator(_bounded),
    Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True}),
]


class Source(_Model):
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


class SecretRef(_Model):
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


class Cache(_Model):
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


class Speculation(_Model):
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


class Parallelism(_Model):
    tensor: Size | None = None
    """GPUs that each layer is split over (`--tensor-parallel-size`). 1 by default."""
    pipeline: Size | None = None
    """Stages that the layers are spread over (`--pipeline-parallel-size`). 1 by default."""
    data: Annotated[int, Field(strict=True, ge=1, le=1)] | None = None
    """Only 1: one canary proves one data-parallel rank. Use `replicas`."""


class EnvSource(_Model):
    secret_key_ref: SecretKeyRef
    """A Secret's key."""


class EnvVar(_Model):
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


class Engine(_Model):
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


class Accelerator(_Model):
    resource_name: Annotated[str, Field(max_length=317, pattern=EXTENDED_RESOURCE_PATTERN)] = "nvidia.com/gpu"
    """The extended resource that one GPU is. `nvidia.com/gpu` by default."""
    product: Annotated[str, Field(min_length=1, max_length=63, pattern=LABEL_VALUE_PATTERN)] | None = None
    """The product, as NVIDIA's GPU feature discovery labels nodes with it (`nvidia.com/gpu.product`), such as
    `NVIDIA-H100-80GB-HBM3`."""
    memory: Quantity | None = None
    """Memory of each, such as `80Gi`, for the check of what fits. By default the product's, where it is a known one. It
    reaches no pod: a change of it alone counts from the next resolution on."""


class Resources(_Model):
    requests: Annotated[dict[ResourceName, Quantity], Field(max_length=16)] = {}
    """Requests of the engine's container; the accelerators are added."""
    limits: Annotated[dict[ResourceName, Quantity], Field(max_length=16)] = {}
    """Limits of the engine's container; the accelerators are added."""


class RolloutStrategy(StrEnum):
    ROLLING_UPDATE = "RollingUpdate"
    RECREATE = "Recreate"


class Rollout(_Model):
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


class Metadata(_Model):
    rules = (
        _without("labels", RESERVED_PREFIXES, "are set by the operator; take another prefix"),
        _without("annotations", RESERVED_PREFIXES, "are set by the operator; take another prefix"),
        _without("annotations", UNSAFE_PREFIXES, "would weaken the pod's confinement; leave them out"),
    )

    labels: Annotated[dict[MetadataKey, LabelValue], Field(max_length=32)] = {}
    """Labels of the pods."""
    annotations: Annotated[dict[MetadataKey, Annotated[str, Field(max_length=4096)]], Field(max_length=32)] = {}
    """Annotations of the pods."""


class Toleration(_Model):
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


class PodSpec(_Model):
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


class LabelOperator(StrEnum):
    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class LabelRequirement(_Model):
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


class LabelSelector(_Model):
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


class IpBlock(_Model):
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


class NetworkPolicyPeer(_Model):
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


class NetworkPolicyPort(_Model):
    protocol: Literal["TCP", "UDP", "SCTP"]
    """TCP, UDP or SCTP."""
    port: Annotated[int, Field(strict=True, ge=1, le=65535)]
    """The pod's port, which isn't always its Service's."""


class NetworkPolicyEgressRule(_Model):
    """Not a resource's to say: what an installation lets all of its pods reach (``Settings.network_policy_egress``)."""

    to: Annotated[list[NetworkPolicyPeer], Field(max_length=32)] = []
    """None are everything."""
    ports: Annotated[list[NetworkPolicyPort], Field(max_length=32)] = []
    """None are all."""


class Egress(StrEnum):
    SOURCES = "Sources"
    NONE = "None"
    ANY = "Any"


class NetworkPolicy(_Model):
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


class Template(_Model):
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


class SpeculatorDeploymentSpec(_Model):
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


class SpeculatorDeployment(BaseModel):
    """One resource, parsed: identity and spec."""

    model_config = ConfigDict(frozen=True)

    name_rule: ClassVar[Rule] = Rule(
        cel=f"size(self.metadata.name) <= {NAME_MAX_LENGTH} && self.metadata.name.matches('{NAME_PATTERN}')",
        holds=lambda name: len(name) <= NAME_MAX_LENGTH and bool(re.fullmatch(NAME_PATTERN[1:-1], name)),
        field=".metadata.name",
        message=f"the name is its Service's too: at most {NAME_MAX_LENGTH} lower-case letters, digits and dashes, "
        "a letter first and no dash last",
    )

    name: str
    namespace: str
    uid: str = ""
    generation: int = 0
    refresh: str = ""
    spec: SpeculatorDeploymentSpec

    @classmethod
    def from_object(cls, body: dict[str, Any], unknown: Refusals | None = None) -> Self:
        """Parses a resource as the API server holds it, or as a file says it.

        A field that the schema doesn't have is refused; but where ``unknown`` is given, it is put there, and left out,
        as the API server leaves it out.

        Raises:
            Refused: ``SpecInvalid`` (or the broken rule's reason), naming the first field that is wrong, its value, and
                how many others are; ``others`` says of each what is wrong.
        """
        if body.get("apiVersion", API_VERSION) != API_VERSION:
            message = f"apiVersion must be {API_VERSION}, not {str(body['apiVersion'])[:100]!r}"
            raise Refused(Reason.SPEC_INVALID, message, field="apiVersion")
        metadata = body.get("metadata") or {}
        texts = ("name", "namespace", "uid")
        if not isinstance(metadata, dict) or any(not isinstance(metadata.get(key) or "", str) for key in texts):
            message = f"metadata must be a map, with text for {', '.join(texts)}"
            raise Refused(Reason.SPEC_INVALID, message, field="metadata")
        annotations = metadata.get("annotations") or {}
        if not isinstance(annotations, dict) or not all(isinstance(value, str) for value in annotations.values()):
            message = "metadata.annotations must be a map of texts; put numbers in quotes"
            raise Refused(Reason.SPEC_INVALID, message, field="metadata.annotations")
        name = metadata.get("name") or ""
        wrong = Refusals()
        given = _known(body, _FIELDS, "", wrong if unknown is None else unknown)
        if not cls.name_rule.holds(name):
            message = f"metadata.name: {cls.name_rule.message}, not {name[:100]!r}"
            wrong.add(Refused(Reason.SPEC_INVALID, message, field="metadata.name"))
        try:
            spec = SpeculatorDeploymentSpec.model_validate(given.get("spec") or {})
        except ValidationError as error:
            for details in error.errors(include_url=False):
                wrong.add(_refusal(details))
        wrong.raise_any()
        return cls(
            name=name,
            namespace=metadata.get("namespace") or "default",
            uid=metadata.get("uid") or "",
            generation=metadata.get("generation") or 0,
            refresh=annotations.get(REFRESH_ANNOTATION, ""),
            spec=spec,
        )


#: What is in an object, each with the model of what is in there, where it has one.
_FIELDS: Mapping[str, type[BaseModel] | None] = {
    "apiVersion": None,
    "kind": None,
    "metadata": None,
    "spec": SpeculatorDeploymentSpec,
    "status": None,
}


def _known(given: Any, fields: Mapping[str, type[BaseModel] | None], path: str, unknown: Refusals) -> Any:
    """What is given, without what the schema doesn't have, which goes to ``unknown``."""
    if not isinstance(given, dict):
        return given
    known = {}
    for name, part in given.items():
        place = f"{path}.{str(name)[:100]}" if path else str(name)[:100]
        if name not in fields:
            near = difflib.get_close_matches(place.rpartition(".")[2], fields, 1)
            remedy = f"did you mean {near[0]}?" if near else f"it may be {', '.join(fields)}"
            unknown.add(Refused(Reason.SPEC_INVALID, f"{place}: there is no such field", field=place, remedy=remedy))
        elif (model := fields[name]) is None:
            known[name] = part
        elif isinstance(part, list):
            items = enumerate(part)
            known[name] = [_known(item, _fields(model), f"{place}[{index}]", unknown) for index, item in items]
        else:
            known[name] = _known(part, _fields(model), place, unknown)
    return known


@cache
def _fields(model: type[BaseModel]) -> Mapping[str, type[BaseModel] | None]:
    return {field.alias or name: _model(field.annotation) for name, field in model.model_fields.items()}


def _model(annotation: Any) -> type[BaseModel] | None:
    """The model in an annotation such as ``list[EnvVar]`` or ``Source | None``; none in one of plain values."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model, get_args(annotation))), None)


def _refusal(error: ErrorDetails) -> Refused:
    context = error.get("ctx", {}) if error["type"] == "rule" else {}
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"] if part != "[key]")
    field = f"spec{''.join(parts)}{context.get('field', '')}"
    untold = error["type"] in ("missing", "rule") or {"args", "env"} & set(error["loc"])  # there may be a token in it
    given = "" if untold else f", not {repr(error['input'])[:100]}"
    return Refused(context.get("reason", Reason.SPEC_INVALID), f"{field}: {error['msg']}{given}", field=field)


# What the operator says back. The sets of its words are open in the schema, and bounds are generous: an operator
# that is newer than the definition must be able to write its status. `core.status` makes it; these are its schema.

Text = Annotated[str, Field(max_length=32768)]
Word = Annotated[str, Field(max_length=253)]
Count = Annotated[int, Field(ge=0, le=2**53)]
Decimal = Annotated[str, Field(max_length=24, pattern=DECIMAL_PATTERN)]


class Condition(_Model):
    type: Annotated[str, Field(min_length=1, max_length=253)]
    """What is said something of."""
    status: Literal["True", "False", "Unknown"]
    """True, False or Unknown."""
    observed_generation: Count = 0
    """The generation that it was said of."""
    last_transition_time: Annotated[str, Field(max_length=40, json_schema_extra={"format": "date-time"})]
    """When the status last changed."""
    reason: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")]
    """Why, in a word: one of the reasons."""
    message: Text = ""
    """Why, and what to do."""


class _Kept(_Model):
    """A part of what is stored in ControllerRevisions, by this release and others: fields are added with a default,
    none is renamed, and one that a later release has added is passed over."""

    model_config = ConfigDict(extra="ignore")


class Identity(_Kept):
    uri: Annotated[str, Field(max_length=1024)]
    """The repository."""
    revision: Word | None = None
    """What it is pinned to: the commit, or a digest of what was read; a local folder has none."""

    def __str__(self) -> str:
        return f"{self.uri}@{self.revision.removeprefix('sha256:')[:12]}" if self.revision else self.uri


class Severity(StrEnum):
    ERROR = "Error"
    """It is known to fail."""
    WARNING = "Warning"
    """It may fail, or disappoint."""


class Finding(_Kept):
    severity: Word
    """Error or Warning."""
    reason: Word
    """Its name: one of the reasons."""
    field: Word | None = None
    """The field to change, where there is one."""
    evidence: Annotated[str, Field(max_length=4096)]
    """What is the case, with its numbers."""
    remedy: Annotated[str, Field(max_length=4096)] = ""
    """What to do, where the evidence doesn't say it."""

    @classmethod
    def refused(cls, refusal: Refused) -> Self:
        """A refusal as an error."""
        return cls(
            severity=Severity.ERROR,
            reason=refusal.reason[:253],
            field=refusal.field[:253] if refusal.field else None,
            evidence=refusal.evidence.removeprefix(f"{refusal.field}: ")[:4096],
            remedy=refusal.remedy[:4096],
        )

    @property
    def message(self) -> str:
        """All of it in one line; the field only where the words don't name it."""
        words = f"{self.evidence}; {self.remedy}" if self.remedy else self.evidence
        return words if self.field is None or self.field in words else f"{self.field}: {words}"


class Origin(_Kept):
    field: Word
    """The field, flag or key."""
    value: Text
    """Its value."""
    source: Annotated[str, Field(max_length=1024)]
    """Where the value comes from: the resource, the arguments, the checkpoint, a default."""


#: A resource has a few; more than these are not kept.
MAX_WARNINGS = 32


class MemoryEstimate(_Kept):
    accelerators: Count
    """Accelerators of a pod."""
    accelerator_memory: Count | None = None
    """Memory of each, in bytes; none where it isn't known."""
    utilization: Decimal = "0"
    """The part of it that the engine may take."""
    available: Count | None = None
    """Bytes that the engine may take of all of them."""
    verifier_weights: Count = 0
    """The verifier's weights, in bytes."""
    draft_weights: Count = 0
    """The draft's weights, in bytes."""
    cache: Count | None = None
    """The key-value cache of one request of the longest length, in bytes; none where it couldn't be counted."""
    cache_per_token: Count | None = None
    """The key-value cache of one token, in bytes."""
    max_model_len: Count | None = None
    """The longest length of a request, in tokens."""
    required: Count = 0
    """Weights and cache together, in bytes. The engine needs more."""
    least: Count = 0
    """What of it the engine surely needs: it may share some of the draft's weights, leave out unused layers, and load
    weights narrower than they are stored."""
    fitting_tensor: Count | None = None
    """The smallest larger tensor parallel size that would leave room, where this one doesn't."""
    fitting_max_model_len: Count | None = None
    """The longest length of a request that would leave room, where this one doesn't."""
    not_counted: Annotated[
        list[Annotated[str, Field(max_length=1024)]],
        Field(max_length=32, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
    ] = []
    """What isn't counted."""
    summary: Text = ""
    """The estimate in words."""


class Resolved(_Kept):
    model: Identity
    """The checkpoint."""
    draft: Identity | None = None
    """The draft, where there is one."""
    verifier: Identity
    """The model that is served, and that verifies the drafts."""
    method: Word | None = None
    """The engine's speculative method."""
    num_speculative_tokens: Count | None = None
    """Tokens proposed at each step."""
    speculative_config: (
        Annotated[
            dict[str, Any],
            Field(max_length=64, json_schema_extra={"x-kubernetes-preserve-unknown-fields": True}),
        ]
        | None
    ) = None
    """The engine's speculative config, exactly as it gets it."""
    off: Word | None = None
    """Why nothing is drafted: RegularModel or Disabled."""
    verification: Word = "Off"
    """Whether pods have to prove that they draft."""
    served_name: Text = ""
    """The model's name in the API."""
    tensor: Count = 1
    """The tensor parallel size."""
    pipeline: Count = 1
    """The pipeline parallel size."""
    port: Count = 8000
    """The port that the engine listens at."""
    image: Annotated[str, Field(max_length=512)] = ""
    """The engine's image."""
    engine_version: Word = ""
    """The engine's version."""
    command: Annotated[
        list[Text],
        Field(max_length=512, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
    ] = []
    """The whole command line."""
    revision: Word | None = None
    """The ControllerRevision that holds all this, once it is applied; none while its models are being fetched."""
    memory: MemoryEstimate | None = None
    """What the engine needs of the accelerators' memory; none where the sizes of the weights aren't known."""
    sources: Annotated[list[Origin], Field(max_length=128, json_schema_extra={"x-kubernetes-list-type": "atomic"})] = []
    """Why each value is what it is."""
    warnings: Annotated[
        list[Finding],
        Field(
            max_length=MAX_WARNINGS,
            json_schema_extra={"x-kubernetes-list-type": "atomic"},
            exclude_if=lambda warnings: not warnings,
        ),
    ] = []
    """What may fail, or disappoint."""

    def summary(self) -> str:
        """One line for a condition's message."""
        if self.off == Reason.DISABLED:
            return f"{self.verifier} alone, as a baseline: spec.speculation.mode is Disabled"
        if self.off:
            return f"{self.model} carries no recipe, and spec.speculation gives none: it is served as a regular model"
        draft = f", draft {self.draft}" if self.draft else ""
        return f"{self.method} with {self.num_speculative_tokens} tokens{draft}, verifier {self.verifier}"


class Acceptance(_Model):
    window_seconds: Count = 0
    """The time that the numbers are of."""
    pods: Count = 0
    """Pods that they are summed over."""
    drafts: Count = 0
    """Drafts that were verified."""
    draft_tokens: Count = 0
    """Tokens that were proposed."""
    accepted_tokens: Count = 0
    """Tokens that were accepted."""
    length: Decimal | None = None
    """Tokens that a step of the verifier yields on average: one, and the accepted ones."""
    rate: Decimal | None = None
    """Accepted of the proposed tokens, from 0 to 1."""
    rate_per_position: Annotated[
        list[Decimal], Field(max_length=64, json_schema_extra={"x-kubernetes-list-type": "atomic"})
    ] = []
    """Accepted of the drafts, from 0 to 1, for each position in them."""


class Status(_Model):
    observed_generation: Annotated[int, Field(ge=-1, le=2**53)] = 0
    """The generation that all this was said of; -1 for a resource that no operator has looked at yet."""
    conditions: Annotated[list[Condition], Field(max_length=16), KeyedBy("type")] = []
    """Where it stands."""
    replicas: Count = 0
    """Pods that there are."""
    ready_replicas: Count = 0
    """Pods that are ready."""
    updated_replicas: Count = 0
    """Pods of the current revision."""
    selector: Annotated[str, Field(max_length=1024)] = ""
    """The pods' labels, for `kubectl scale` and autoscalers."""
    url: Annotated[str, Field(max_length=1024)] = ""
    """Where clients in the cluster reach the engine's API."""
    resolved: Resolved | None = None
    """What the resource's inputs were resolved to."""
    acceptance: Acceptance | None = None
    """What verifiers made of the drafts lately, by the ready pods' own counters."""
