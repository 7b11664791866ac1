"""The closed sets of words for how a resource fares: conditions, and the reasons that they bear.

The docstrings are what ``explain`` and docs/reference.md show.
"""

from __future__ import annotations

from enum import StrEnum


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
    """At least one proven (or, by mode, healthy) pod serves, of any revision. Unknown while passes fail."""
    SPECULATION_ACTIVE = "SpeculationActive"
    """At least one pod is ready, and every ready pod's engine has verified drafts. Unknown while none is ready,
    while their metrics can't be read or passes fail, and for idle pods that weren't asked to draft."""


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
    """The weights are quantized by a method that the engine doesn't have, by another one than is asked for, or in
    blocks that the tensor parallel size would cut.

    Name weights that are quantized otherwise, or an engine that has the method; leave ``--quantization`` out; set
    ``spec.parallelism.tensor`` to a number that leaves blocks whole."""
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
