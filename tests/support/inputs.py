"""Resources that a user may write, and resources that are refused: what the API server and the models must agree on."""

from __future__ import annotations

from typing import Any

from speculator_operator import api
from speculator_operator.api import Identity, Origin, Resolved

Spec = dict[str, Any]

NAME = "llama3-8b"
URI = "org/model"


def resource(spec: Spec, name: str = NAME) -> dict[str, Any]:
    """A resource of this spec; its model is ``org/model`` where the spec says nothing of it."""
    return {
        "apiVersion": api.API_VERSION,
        "kind": api.KIND,
        "metadata": {"name": name},
        "spec": {"model": {"uri": URI}, **spec},
    }


def _pods(**spec: object) -> Spec:
    return {"template": {"spec": spec}}


def _metadata(**metadata: object) -> Spec:
    return {"template": {"metadata": metadata}}


def _from(*peers: object) -> Spec:
    return {"networkPolicy": {"from": list(peers)}}


def _expression(**requirement: object) -> Spec:
    return _from({"podSelector": {"matchExpressions": [requirement]}})


def _block(cidr: object, *excepted: object) -> Spec:
    return _from({"ipBlock": {"cidr": cidr, **({"except": list(excepted)} if excepted else {})}})


def _env(**variable: object) -> Spec:
    return {"engine": {"env": [{"name": "VLLM_LOGGING_LEVEL", **variable}]}}


SECRET = {"name": "hub", "key": "token"}

_IDENTITY = Identity(uri=URI, revision="0" * 40)

#: What a resolution of the good ones may have found.
RESOLVED = Resolved(
    model=_IDENTITY,
    draft=_IDENTITY,
    verifier=_IDENTITY,
    method="eagle3",
    num_speculative_tokens=3,
    speculative_config={"method": "eagle3"},
    off=None,
    verification=api.Verification.REQUIRED,
    served_name=NAME,
    tensor=4,
    pipeline=1,
    port=8000,
    image="vllm/vllm-openai:v0.32.0",
    engine_version="0.32.0",
    command=["vllm", "serve", URI, "--seed=42"],
    sources=[Origin(field="tensor", value="4", source="spec.parallelism.tensor")],
)

#: What is wrong -> the field that has to be named, and the spec.
BAD: dict[str, tuple[str, Spec]] = {
    # The models.
    "a model of null": ("spec.model", {"model": None}),
    "a model without a uri": ("spec.model.uri", {"model": {}}),
    "a uri without an organisation": ("spec.model.uri", {"model": {"uri": "model"}}),
    "a uri that would be read as a flag": ("spec.model.uri", {"model": {"uri": "--config/x"}}),
    "a uri with a newline after it": ("spec.model.uri", {"model": {"uri": "org/model\n"}}),
    "a uri that is a path": ("spec.model.uri", {"model": {"uri": "/models/llama"}}),
    "a uri with an empty revision": ("spec.model.uri", {"model": {"uri": "org/model@"}}),
    "a uri of another scheme": ("spec.model.uri", {"model": {"uri": "ftp://org/model"}}),
    "a claim's folder outside of it": ("spec.model.uri", {"model": {"uri": "pvc://models/../secrets"}}),
    "a claim in upper case": ("spec.model.uri", {"model": {"uri": "pvc://Models/llama"}}),
    "a folder that would be read as a flag": ("spec.model.uri", {"model": {"uri": "pvc://models/--x"}}),
    "a bucket without a name": ("spec.model.uri", {"model": {"uri": "s3:///llama"}}),
    "a cache without a claim": ("spec.cache.claim", {"cache": {}}),
    "a cache on a claim in upper case": ("spec.cache.claim", {"cache": {"claim": "Weights"}}),
    "a cache outside of its claim": ("spec.cache.path", {"cache": {"claim": "weights", "path": "../secrets"}}),
    "a cache in a folder of a folder's parent": ("spec.cache.path", {"cache": {"claim": "weights", "path": "a/../b"}}),
    "a cache at an absolute path": ("spec.cache.path", {"cache": {"claim": "weights", "path": "/models"}}),
    "a cache in a folder without a name": ("spec.cache.path", {"cache": {"claim": "weights", "path": ""}}),
    "a cache, and a token for an engine that downloads nothing": (
        "spec.engine.env",
        {
            "cache": {"claim": "weights"},
            "engine": {"env": [{"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": SECRET}}]},
        },
    ),
    "an image volume without a digest": ("spec.model.uri", {"model": {"uri": "oci://registry/llama:v1"}}),
    "an image volume with half a digest": ("spec.model.uri", {"model": {"uri": "oci://registry/llama@sha256:abc"}}),
    "a revision of a claim": ("spec.model.revision", {"model": {"uri": "pvc://models/llama", "revision": "main"}}),
    "a uri that is a number": ("spec.model.uri", {"model": {"uri": 4}}),
    "a revision with a space": ("spec.model.revision", {"model": {"uri": URI, "revision": "my branch"}}),
    "a revision that would be read as a flag": ("spec.model.revision", {"model": {"uri": URI, "revision": "-x"}}),
    "two revisions": ("spec.model.revision", {"model": {"uri": f"{URI}@main", "revision": "dev"}}),
    "a revision that ends as the other one does": (
        "spec.model.revision",
        {"model": {"uri": f"{URI}@my-main", "revision": "main"}},
    ),
    "a served name with a variable in it": ("spec.model.servedName", {"model": {"uri": URI, "servedName": "$(TOKEN)"}}),
    "a token's Secret without a key": (
        "spec.model.tokenSecretRef.key",
        {"model": {"uri": URI, "tokenSecretRef": {"name": "hub"}}},
    ),
    "a token's Secret of another namespace": (
        "spec.model.tokenSecretRef.name",
        {"model": {"uri": URI, "tokenSecretRef": {"name": "other/hub", "key": "token"}}},
    ),
    "a token given twice": (
        "spec.engine.env",
        {
            "model": {"uri": URI, "tokenSecretRef": SECRET},
            "engine": {"env": [{"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": SECRET}}]},
        },
    ),
    "a token's key that is a path": (
        "spec.model.tokenSecretRef.key",
        {"model": {"uri": URI, "tokenSecretRef": {"name": "hub", "key": "../token"}}},
    ),
    "credentials in upper case": (
        "spec.model.credentialsSecretRef.name",
        {"model": {"uri": "s3://bucket/a", "credentialsSecretRef": {"name": "S3"}}},
    ),
    "a field of the model that doesn't exist": ("spec.model.url", {"model": {"uri": URI, "url": URI}}),
    "a verifier without a uri": ("spec.verifier.uri", {"verifier": {"revision": "main"}}),
    "a verifier that is a path": ("spec.verifier.uri", {"verifier": {"uri": "/home/trainer/llama"}}),
    "a verifier's revision with a colon": ("spec.verifier.revision", {"verifier": {"uri": URI, "revision": "a:b"}}),
    "two revisions of the verifier": ("spec.verifier.revision", {"verifier": {"uri": f"{URI}@a", "revision": "b"}}),
    # Speculation.
    "a mode that doesn't exist": ("spec.speculation.mode", {"speculation": {"mode": "On"}}),
    "a mode in lower case": ("spec.speculation.mode", {"speculation": {"mode": "required"}}),
    "no speculative token": ("spec.speculation.numSpeculativeTokens", {"speculation": {"numSpeculativeTokens": 0}}),
    "too many speculative tokens": (
        "spec.speculation.numSpeculativeTokens",
        {"speculation": {"numSpeculativeTokens": 65}},
    ),
    "speculative tokens as text": (
        "spec.speculation.numSpeculativeTokens",
        {"speculation": {"numSpeculativeTokens": "3"}},
    ),
    "a number of tokens that config contradicts": (
        "spec.speculation.numSpeculativeTokens",
        {"speculation": {"numSpeculativeTokens": 3, "config": {"num_speculative_tokens": 4}}},
    ),
    "a draft on no GPU": (
        "spec.speculation.draftTensorParallelSize",
        {"speculation": {"draftTensorParallelSize": 0}},
    ),
    "a draft on 2 GPUs of 4": (
        "spec.speculation.draftTensorParallelSize",
        {"speculation": {"draftTensorParallelSize": 2}, "parallelism": {"tensor": 4}},
    ),
    "a config that is text": ("spec.speculation.config", {"speculation": {"config": "method=ngram"}}),
    "a config of a negative number of tokens": (
        "spec.speculation.config",
        {"speculation": {"config": {"num_speculative_tokens": -1}}},
    ),
    "a config of too many keys": (
        "spec.speculation.config",
        {"speculation": {"config": {f"key_{number}": 1 for number in range(33)}}},
    ),
    "a baseline that is to speculate": (
        "spec.speculation.mode",
        {"speculation": {"mode": "Disabled", "numSpeculativeTokens": 3}},
    ),
    "a baseline with a config": ("spec.speculation.mode", {"speculation": {"mode": "Disabled", "config": {}}}),
    "a verification that doesn't exist": ("spec.speculation.verification", {"speculation": {"verification": "None"}}),
    "a verification that YAML reads as a boolean": (
        "spec.speculation.verification",
        {"speculation": {"verification": False}},
    ),
    # Parallelism.
    "tensor parallel size 0": ("spec.parallelism.tensor", {"parallelism": {"tensor": 0}}),
    "a tensor parallel size that is a boolean": ("spec.parallelism.tensor", {"parallelism": {"tensor": True}}),
    "a tensor parallel size that isn't whole": ("spec.parallelism.tensor", {"parallelism": {"tensor": 1.5}}),
    "pipeline parallel size 65": ("spec.parallelism.pipeline", {"parallelism": {"pipeline": 65}}),
    "data parallel size 2": ("spec.parallelism.data", {"parallelism": {"data": 2}}),
    # The engine.
    "an image without a tag": ("spec.engine.image", {"engine": {"image": "vllm/vllm-openai"}}),
    "an image without a tag, of a registry with a port": ("spec.engine.image", {"engine": {"image": "host:5000/vllm"}}),
    "an image whose tag moves": ("spec.engine.image", {"engine": {"image": "vllm/vllm-openai:latest"}}),
    "an image with a space": ("spec.engine.image", {"engine": {"image": "vllm :v0.32.0"}}),
    "an image with half a digest": ("spec.engine.image", {"engine": {"image": "vllm@sha256:abc"}}),
    "a version with a v": ("spec.engine.version", {"engine": {"version": "v0.32.0"}}),
    "a version that YAML reads as a number": ("spec.engine.version", {"engine": {"version": 0.32}}),
    "args as one text": ("spec.engine.args", {"engine": {"args": "--seed=42"}}),
    "an empty arg": ("spec.engine.args[1]", {"engine": {"args": ["--seed=42", ""]}}),
    "an arg that is a number": ("spec.engine.args[1]", {"engine": {"args": ["--seed", 42]}}),
    "an arg that is too long": ("spec.engine.args[0]", {"engine": {"args": ["x" * 8193]}}),
    "too many args": ("spec.engine.args", {"engine": {"args": ["x"] * 129}}),
    "args that are too long together": ("spec.engine.args", {"engine": {"args": ["x" * 8192] * 9}}),
    "env as a map": ("spec.engine.env", {"engine": {"env": {"HF_HUB_OFFLINE": "1"}}}),
    "a variable twice": ("spec.engine.env", {"engine": {"env": [{"name": "A", "value": "1"}] * 2}}),
    "a variable without a name": ("spec.engine.env[0].name", {"engine": {"env": [{"value": "1"}]}}),
    "a variable in lower case": ("spec.engine.env[0].name", {"engine": {"env": [{"name": "path", "value": "1"}]}}),
    "a variable that is a number": ("spec.engine.env[0].value", _env(value=1)),
    "a variable that is a boolean": ("spec.engine.env[0].value", _env(value=True)),
    "a variable that is too long": ("spec.engine.env[0].value", _env(value="x" * 4097)),
    "a variable without a value": ("spec.engine.env[0].value", _env()),
    "a variable with two values": ("spec.engine.env[0].value", _env(value="1", valueFrom={"secretKeyRef": SECRET})),
    "a variable from nowhere": ("spec.engine.env[0].valueFrom.secretKeyRef", _env(valueFrom={})),
    "a variable from a field": (
        "spec.engine.env[0].valueFrom.fieldRef",
        _env(valueFrom={"secretKeyRef": SECRET, "fieldRef": {"fieldPath": "metadata.name"}}),
    ),
    "a variable from a Secret with a slash": (
        "spec.engine.env[0].valueFrom.secretKeyRef.name",
        _env(valueFrom={"secretKeyRef": {**SECRET, "name": "other/hub"}}),
    ),
    "a variable from a Secret's parent folder": (
        "spec.engine.env[0].valueFrom.secretKeyRef.key",
        _env(valueFrom={"secretKeyRef": {**SECRET, "key": ".."}}),
    ),
    "a port that needs root": ("spec.engine.port", {"engine": {"port": 80}}),
    "a port that doesn't exist": ("spec.engine.port", {"engine": {"port": 65536}}),
    "an API key as text": ("spec.engine.apiKeySecretRef", {"engine": {"apiKeySecretRef": "secret"}}),
    "an API key without a key": ("spec.engine.apiKeySecretRef.key", {"engine": {"apiKeySecretRef": {"name": "hub"}}}),
    "an API key of a Secret in upper case": (
        "spec.engine.apiKeySecretRef.name",
        {"engine": {"apiKeySecretRef": {**SECRET, "name": "Hub"}}},
    ),
    "no time to start": ("spec.engine.startupSeconds", {"engine": {"startupSeconds": 0}}),
    "a startup time with a unit": ("spec.engine.startupSeconds", {"engine": {"startupSeconds": "30m"}}),
    # Replicas, resources, rollout.
    "a negative number of replicas": ("spec.replicas", {"replicas": -1}),
    "too many replicas": ("spec.replicas", {"replicas": 1001}),
    "suspend as text": ("spec.suspend", {"suspend": "yes"}),
    "a limit that isn't a quantity": ("spec.resources.limits.memory", {"resources": {"limits": {"memory": "16GB"}}}),
    "a negative limit": ("spec.resources.limits.cpu", {"resources": {"limits": {"cpu": -1}}}),
    "a limit of a resource that doesn't exist": ("spec.resources.limits", {"resources": {"limits": {"gpu": 1}}}),
    "a limit of accelerators": ("spec.resources.limits", {"resources": {"limits": {"nvidia.com/gpu": 4}}}),
    "a request that is a boolean": ("spec.resources.requests.cpu", {"resources": {"requests": {"cpu": True}}}),
    "a request with a space": ("spec.resources.requests.memory", {"resources": {"requests": {"memory": "1 Gi"}}}),
    "a request of memory above its limit": (
        "spec.resources.requests",
        {"resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}},
    ),
    "a request of processors above its limit, one a number": (
        "spec.resources.requests",
        {"resources": {"requests": {"cpu": 2}, "limits": {"cpu": "1900m"}}},
    ),
    "a request of storage above its limit, both numbers": (
        "spec.resources.requests",
        {"resources": {"requests": {"ephemeral-storage": 2}, "limits": {"ephemeral-storage": 1}}},
    ),
    "a request of an extended resource below its limit": (
        "spec.resources.requests",
        {"resources": {"requests": {"example.com/nic": 1}, "limits": {"example.com/nic": 2}}},
    ),
    "a request of huge pages without a limit": (
        "spec.resources.requests",
        {"resources": {"requests": {"memory": "1Gi", "hugepages-2Mi": "4Mi"}}},
    ),
    "a request of accelerators of another maker": (
        "spec.resources.requests",
        {"resources": {"requests": {"amd.com/gpu": "1"}}, "accelerator": {"resourceName": "amd.com/gpu"}},
    ),
    "an accelerator without a domain": ("spec.accelerator.resourceName", {"accelerator": {"resourceName": "gpu"}}),
    "a product with a space": ("spec.accelerator.product", {"accelerator": {"product": "NVIDIA H100"}}),
    "a product without a name": ("spec.accelerator.product", {"accelerator": {"product": ""}}),
    "a product that is too long for a label": ("spec.accelerator.product", {"accelerator": {"product": "x" * 64}}),
    "memory of an accelerator in other units": ("spec.accelerator.memory", {"accelerator": {"memory": "80GB"}}),
    "negative memory of an accelerator": ("spec.accelerator.memory", {"accelerator": {"memory": -1}}),
    "a strategy that doesn't exist": ("spec.rollout.strategy", {"rollout": {"strategy": "BlueGreen"}}),
    "Recreate with a surge": ("spec.rollout.strategy", {"rollout": {"strategy": "Recreate", "maxSurge": 1}}),
    "a negative surge": ("spec.rollout.maxSurge", {"rollout": {"maxSurge": -1}}),
    "a surge above all": ("spec.rollout.maxSurge", {"rollout": {"maxSurge": "101%"}}),
    "a surge that is a number as text": ("spec.rollout.maxSurge", {"rollout": {"maxSurge": "1"}}),
    "more unavailable pods than there can be": ("spec.rollout.maxUnavailable", {"rollout": {"maxUnavailable": 1001}}),
    "unavailable pods that are no percentage": ("spec.rollout.maxUnavailable", {"rollout": {"maxUnavailable": "1.5%"}}),
    "a rollout that can't begin": ("spec.rollout.maxUnavailable", {"rollout": {"maxSurge": 0}}),
    "a rollout that can't begin, in percent": (
        "spec.rollout.maxUnavailable",
        {"rollout": {"maxSurge": "0%", "maxUnavailable": 0}},
    ),
    # The network.
    "egress that doesn't exist": ("spec.networkPolicy.egress", {"networkPolicy": {"egress": "Hub"}}),
    "no peers": ("spec.networkPolicy.from", {"networkPolicy": {"from": []}}),
    "a peer that is text": ("spec.networkPolicy.from[0]", _from("10.0.0.0/8")),
    "a peer of nothing": ("spec.networkPolicy.from[0].ipBlock", _from({})),
    "a peer of addresses and of pods": (
        "spec.networkPolicy.from[0].ipBlock",
        _from({"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}),
    ),
    "a misspelt selector": ("spec.networkPolicy.from[0].podSelectors", _from({"podSelectors": {}})),
    "a pod's label with a space": (
        "spec.networkPolicy.from[0].podSelector.matchLabels.app",
        _from({"podSelector": {"matchLabels": {"app": "my gateway"}}}),
    ),
    "a namespace's label without a name": (
        "spec.networkPolicy.from[0].namespaceSelector.matchLabels",
        _from({"namespaceSelector": {"matchLabels": {"example.com/": "x"}}}),
    ),
    "an expression without an operator": (
        "spec.networkPolicy.from[0].podSelector.matchExpressions[0].operator",
        _expression(key="app"),
    ),
    "an expression of a key with a space": (
        "spec.networkPolicy.from[0].podSelector.matchExpressions[0].key",
        _expression(key="a b", operator="Exists"),
    ),
    "an expression with an operator that doesn't exist": (
        "spec.networkPolicy.from[0].namespaceSelector.matchExpressions[0].operator",
        _from({"namespaceSelector": {"matchExpressions": [{"key": "app", "operator": "Like", "values": ["x"]}]}}),
    ),
    "an expression of a namespace's label with a space": (
        "spec.networkPolicy.from[0].namespaceSelector.matchExpressions[0].key",
        _from({"namespaceSelector": {"matchExpressions": [{"key": "a b", "operator": "Exists"}]}}),
    ),
    "an expression In without values": (
        "spec.networkPolicy.from[0].podSelector.matchExpressions[0].values",
        _expression(key="app", operator="In"),
    ),
    "an expression Exists with values": (
        "spec.networkPolicy.from[0].podSelector.matchExpressions[0].values",
        _expression(key="app", operator="Exists", values=["x"]),
    ),
    "an expression of a namespace without values": (
        "spec.networkPolicy.from[0].namespaceSelector.matchExpressions[0].values",
        _from({"namespaceSelector": {"matchExpressions": [{"key": "app", "operator": "NotIn"}]}}),
    ),
    "a range of addresses without one": ("spec.networkPolicy.from[0].ipBlock.cidr", _from({"ipBlock": {}})),
    "an address without a length": ("spec.networkPolicy.from[0].ipBlock.cidr", _block("10.0.0.1")),
    "a range of addresses by a mask": ("spec.networkPolicy.from[0].ipBlock.cidr", _block("10.0.0.0/255.0.0.0")),
    "a range of too many bits": ("spec.networkPolicy.from[0].ipBlock.cidr", _block("10.0.0.0/33")),
    "a range of a host's name": ("spec.networkPolicy.from[0].ipBlock.cidr", _block("example.com/24")),
    "an exception that is no range": ("spec.networkPolicy.from[0].ipBlock.except[0]", _block("10.0.0.0/8", "10.0.0.1")),
    # Pods.
    "a label with a space": ("spec.template.metadata.labels.team", _metadata(labels={"team": "language models"})),
    "a label that is a number": ("spec.template.metadata.labels.cost", _metadata(labels={"cost": 7})),
    "a label without a name": ("spec.template.metadata.labels", _metadata(labels={"example.com/": "x"})),
    "a label of the operator's": ("spec.template.metadata.labels", _metadata(labels={"speculators.dev/name": "x"})),
    "a recommended label": ("spec.template.metadata.labels", _metadata(labels={"app.kubernetes.io/name": "x"})),
    "an annotation that is a boolean": (
        "spec.template.metadata.annotations.scrape",
        _metadata(annotations={"scrape": True}),
    ),
    "an annotation with a space": ("spec.template.metadata.annotations", _metadata(annotations={"a b": "x"})),
    "an annotation that unconfines": (
        "spec.template.metadata.annotations",
        _metadata(annotations={"container.apparmor.security.beta.kubernetes.io/main": "unconfined"}),
    ),
    "an annotation that gives devices": (
        "spec.template.metadata.annotations",
        _metadata(annotations={"cdi.k8s.io/gpu": "nvidia.com/gpu=all"}),
    ),
    "an annotation of the operator's": (
        "spec.template.metadata.annotations",
        _metadata(annotations={"speculators.dev/refresh": "x"}),
    ),
    "a node's label with a space": ("spec.template.spec.nodeSelector.gpu", _pods(nodeSelector={"gpu": "a 100"})),
    "a node's label without a name": ("spec.template.spec.nodeSelector", _pods(nodeSelector={"": "x"})),
    "tolerations as a map": ("spec.template.spec.tolerations", _pods(tolerations={"key": "gpu"})),
    "a toleration of a key with a space": (
        "spec.template.spec.tolerations[0].key",
        _pods(tolerations=[{"key": "a b", "operator": "Exists"}]),
    ),
    "a toleration of everything with a value": (
        "spec.template.spec.tolerations[0].operator",
        _pods(tolerations=[{"value": "x"}]),
    ),
    "a toleration with an operator that doesn't exist": (
        "spec.template.spec.tolerations[0].operator",
        _pods(tolerations=[{"key": "gpu", "operator": "Like"}]),
    ),
    "a toleration of Exists with a value": (
        "spec.template.spec.tolerations[0].value",
        _pods(tolerations=[{"key": "gpu", "operator": "Exists", "value": "x"}]),
    ),
    "a toleration of an effect that doesn't exist": (
        "spec.template.spec.tolerations[0].effect",
        _pods(tolerations=[{"key": "gpu", "effect": "Never"}]),
    ),
    "a time of a toleration that doesn't end": (
        "spec.template.spec.tolerations[0].tolerationSeconds",
        _pods(tolerations=[{"key": "gpu", "effect": "NoSchedule", "tolerationSeconds": 5}]),
    ),
    "an affinity that is a list": ("spec.template.spec.affinity", _pods(affinity=[])),
    "a spread constraint that is text": (
        "spec.template.spec.topologySpreadConstraints[0]",
        _pods(topologySpreadConstraints=["zone"]),
    ),
    "a priority class in upper case": ("spec.template.spec.priorityClassName", _pods(priorityClassName="High")),
    "a scheduler with an underscore": ("spec.template.spec.schedulerName", _pods(schedulerName="my_scheduler")),
    "an empty runtime class": ("spec.template.spec.runtimeClassName", _pods(runtimeClassName="")),
    "pull secrets as texts": ("spec.template.spec.imagePullSecrets[0]", _pods(imagePullSecrets=["registry"])),
    "a pull secret that ends with a dash": (
        "spec.template.spec.imagePullSecrets[0].name",
        _pods(imagePullSecrets=[{"name": "registry-"}]),
    ),
    "a pull secret twice": ("spec.template.spec.imagePullSecrets", _pods(imagePullSecrets=[{"name": "registry"}] * 2)),
    "a negative grace period": (
        "spec.template.spec.terminationGracePeriodSeconds",
        _pods(terminationGracePeriodSeconds=-1),
    ),
    "the host's network": ("spec.template.spec.hostNetwork", _pods(hostNetwork=True)),
    "a product that isn't the node selector's": (
        "spec.accelerator.product",
        {**_pods(nodeSelector={"nvidia.com/gpu.product": "NVIDIA-L4"}), "accelerator": {"product": "NVIDIA-H200"}},
    ),
    "a misspelt part, and nothing in it": ("spec.engine.argz", {"engine": {"argz": None}}),
    "a misspelt part": ("spec.speculations", {"speculations": {}}),
}

#: Names that a resource can't have, for its Service and its pods couldn't.
BAD_NAMES = {
    "a name that begins with a digit": "3llama",
    "a name with a dot": "llama-3.1-8b",
    "a name of 53 characters": "a" * 53,
}

#: What is to be taken -> the spec.
GOOD: dict[str, Spec] = {
    "nothing but a model": {},
    "a uri with scheme and revision": {"model": {"uri": "hf://nm-testing/Speculator_Llama3.1-8B@refs/pr/1"}},
    "the same revision twice": {"model": {"uri": f"{URI}@v1.0", "revision": "v1.0"}},
    "a served name that is a repository": {"model": {"uri": URI, "servedName": "meta-llama/Llama-3.1-8B:latest"}},
    "another verifier": {"verifier": {"uri": "RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8-dynamic", "revision": "main"}},
    "a cache": {"cache": {"claim": "weights"}},
    "a cache in a folder": {"cache": {"claim": "weights", "path": "models/_a.b=c"}},
    "a baseline": {"speculation": {"mode": "Disabled", "verification": "Off"}},
    "a recipe of its own": {
        "speculation": {
            "mode": "Required",
            "config": {"method": "ngram", "num_speculative_tokens": 4, "new": {"a": []}},
        }
    },
    "the same number of tokens twice": {
        "speculation": {"numSpeculativeTokens": 3, "config": {"num_speculative_tokens": 3}}
    },
    "a draft on one GPU of 4": {"speculation": {"draftTensorParallelSize": 1}, "parallelism": {"tensor": 4}},
    "a draft on all GPUs": {"speculation": {"draftTensorParallelSize": 4}, "parallelism": {"tensor": 4}},
    "a draft on 2 GPUs of as many as the args say": {"speculation": {"draftTensorParallelSize": 2}},
    "all sizes": {"parallelism": {"tensor": 64, "pipeline": 64, "data": 1}},
    "an image of a registry with a port": {"engine": {"image": "localhost:5000/engine-cpu:0.32.0"}},
    "an image with tag and digest": {"engine": {"image": f"vllm/vllm-openai:latest@sha256:{'a' * 64}"}},
    "everything of the engine": {
        "engine": {
            "version": "0.32",
            "args": ["--seed=42", "--hf-overrides", '{"a": "$(HOME)"}', "é"],
            "env": [
                {"name": "HF_HUB_OFFLINE", "value": ""},
                {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub.tokens", "key": ".token"}}},
            ],
            "port": 8080,
            "apiKeySecretRef": SECRET,
            "startupSeconds": 86400,
        }
    },
    "no replicas": {"replicas": 0, "suspend": True},
    "quantities of all kinds": {
        "resources": {
            "requests": {"cpu": 4, "memory": "16Gi", "ephemeral-storage": "1e9", "hugepages-2Mi": "0"},
            "limits": {"cpu": "5500m", "memory": "1.5Ti", "hugepages-2Mi": "0", "example.com/nic": "1"},
        }
    },
    "a request that is its limit, in other units": {
        "resources": {
            "requests": {"cpu": "4000m", "memory": "1Gi", "example.com/nic": "1"},
            "limits": {"cpu": 4, "memory": "1073741824", "example.com/nic": 1},
        }
    },
    "a request without a limit": {"resources": {"requests": {"memory": "1Gi"}, "limits": {"cpu": 1}}},
    "accelerators of a product": {"accelerator": {"product": "NVIDIA-H100-80GB-HBM3", "memory": "81559Mi"}},
    "accelerators of a number of bytes": {"accelerator": {"memory": 85899345920}},
    "the accelerators of another maker": {
        "accelerator": {"resourceName": "amd.com/gpu"},
        "resources": {"limits": {"nvidia.com/gpu": 1}},
    },
    "unavailable pods in place of a surge": {"rollout": {"maxSurge": 0, "maxUnavailable": "25%"}},
    "a surge in percent": {"rollout": {"strategy": "RollingUpdate", "maxSurge": "100%"}},
    "old pods ended first": {"rollout": {"strategy": "Recreate"}},
    "nothing that leaves": {"networkPolicy": {"egress": "None"}},
    "peers of all kinds": {
        "networkPolicy": {
            "from": [
                {"podSelector": {}},
                {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "gateways"}}},
                {
                    "namespaceSelector": {
                        "matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["b", ""]}]
                    },
                    "podSelector": {"matchExpressions": [{"key": "example.com/client", "operator": "Exists"}]},
                },
                {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "10.2.3.4/32"]}},
                {"ipBlock": {"cidr": "fd00::/8"}},
            ],
            "egress": "Any",
        }
    },
    "labels and annotations": _metadata(
        labels={"team": "", "example.com/cost-centre": "a_b.c"}, annotations={"example.com/note": "Ein Satz.\n"}
    ),
    "everything of pods": _pods(
        nodeSelector={"nvidia.com/gpu.product": "NVIDIA-H100"},
        tolerations=[
            {"operator": "Exists"},
            {"key": "nvidia.com/gpu", "operator": "Equal", "value": "present", "effect": "NoSchedule"},
            {"key": "gone", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60},
        ],
        affinity={"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": []}},
        topologySpreadConstraints=[{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}],
        priorityClassName="high",
        schedulerName="volcano",
        runtimeClassName="nvidia",
        imagePullSecrets=[{"name": "a"}, {"name": "b"}],
        terminationGracePeriodSeconds=0,
    ),
    "nulls, which are what was left out": {"verifier": None, "engine": {"image": None}, "template": {"metadata": None}},
}

#: What the schema can't see: refused by the operator, in a condition.
BAD_FOR_THE_OPERATOR: dict[str, tuple[str, Spec]] = {
    "an exception outside of its range": (
        "spec.networkPolicy.from[0].ipBlock",
        _block("10.0.0.0/16", "10.1.0.0/24"),
    ),
    "an exception of the whole range": ("spec.networkPolicy.from[0].ipBlock", _block("10.0.0.0/16", "10.0.0.0/16")),
    "an exception of another family": ("spec.networkPolicy.from[0].ipBlock", _block("10.0.0.0/16", "fd00::/64")),
    "an affinity that is too large": ("spec.template.spec.affinity", _pods(affinity={"a": "x" * 16384})),
    "a config that is too large": ("spec.speculation.config", {"speculation": {"config": {"method": "x" * 16384}}}),
}
