"""(resource, what was resolved, settings) -> the objects that serve it, as plain dict literals.

Nothing empty, null or false is rendered where the API server would drop it: what is rendered can be compared with
what it holds. The pod template is rendered once per resolution and kept (``controller_revision``); the objects around
it are rendered at each pass.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from speculator_operator import api
from speculator_operator.api import Identity, Resolved
from speculator_operator.reference import Kind, Reference
from speculator_operator.settings import Settings

from . import pod_models, proof_probe
from .pod_models import Manifest as Manifest

MANAGER = "speculator-operator"
CONTAINER = "main"
#: Endpoints stop naming a pod that ends a moment after it was told to; until then it goes on taking requests.
ENDPOINT_LAG_SECONDS = 5
#: Between the last request's end and the kubelet's kill.
EXIT_SECONDS = 5
#: A process outside the image's own users, so that the Restricted Pod Security Standard is met by any image.
UID = 1000
HOME = "/home/engine"
SHM_SIZE = "8Gi"
PROBE_PERIOD_SECONDS = 10
#: Of a container that reads a model's config, or fetches its files.
RESOLVER_RESOURCES = {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}}
#: Confinement, as the Restricted Pod Security Standard asks for it: of a container, and of a pod.
CONFINED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
UNPRIVILEGED = {
    "automountServiceAccountToken": False,
    "enableServiceLinks": False,
    "securityContext": {
        "runAsNonRoot": True,
        "runAsUser": UID,
        "runAsGroup": UID,
        "fsGroup": UID,
        "seccompProfile": {"type": "RuntimeDefault"},
    },
}
#: Where only some domains may be asked for media, none of them may send the engine on to another.
_MEDIA_DOMAINS = re.compile(r"--allowed[-_]media[-_]domains(=|$)")
#: Scheduling and pulling an image of some ten GB.
PULL_SECONDS = 1200

_PROBE_MODES = {
    api.Verification.REQUIRED: "required",
    api.Verification.REPORT: "report",
    api.Verification.OFF: "health",
}


def input_hash(resource: api.SpeculatorDeployment) -> str:
    """Names the inputs of a resolution: equal inputs, equal name, whatever the operator's version.

    Only what a user wrote counts (a release may change a default), and only what reaches a pod: not how many there
    are, how a change reaches them, or what is only checked.
    """
    accelerator = resource.spec.accelerator.model_copy(update={"memory": None})
    spec = resource.spec.model_copy(update={"accelerator": accelerator}).model_dump(
        mode="json", by_alias=True, exclude_defaults=True, exclude={"replicas", "suspend", "rollout", "network_policy"}
    )
    text = json.dumps({"spec": spec, "refresh": resource.refresh}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def revision_name(resource: api.SpeculatorDeployment) -> str:
    """The name of the ControllerRevision of the resource's current inputs."""
    return f"{resource.name}-{input_hash(resource)}"


def url(resource: api.SpeculatorDeployment, port: int) -> str:
    """Where the Service answers, inside the cluster."""
    return f"http://{resource.name}.{resource.namespace}.svc:{port}"


def selector(name: str) -> dict[str, str]:
    """The labels that find a resource's pods."""
    return {api.NAME_LABEL: name}


def shutdown_timeout(resource: api.SpeculatorDeployment) -> int:
    """Seconds that an ending engine has for the requests it holds."""
    grace = resource.spec.template.spec.termination_grace_period_seconds
    return max(grace - ENDPOINT_LAG_SECONDS - EXIT_SECONDS, 0)


def controller_revision(resource: api.SpeculatorDeployment, resolved: Resolved, template: Manifest) -> Manifest:
    """The pin: what was resolved and rendered, written before anything that is made from it."""
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": object_metadata(resource, revision_name(resource)),
        "revision": resource.generation,
        "data": {"resolved": resolved.model_dump(mode="json", by_alias=True, exclude_none=True), "template": template},
    }


def service(resource: api.SpeculatorDeployment, port: int) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": object_metadata(resource, resource.name),
        "spec": {
            "type": "ClusterIP",
            "selector": selector(resource.name),
            "ports": [{"name": "http", "port": port, "targetPort": "http", "protocol": "TCP", "appProtocol": "http"}],
        },
    }


def deployment(resource: api.SpeculatorDeployment, template: Manifest) -> Manifest:
    """The Deployment around a pinned template: replicas and the manner of a rollout are the resource's of now."""
    spec = resource.spec
    strategy: Manifest = {"type": spec.rollout.strategy.value}
    if spec.rollout.strategy is api.RolloutStrategy.ROLLING_UPDATE:
        strategy["rollingUpdate"] = {
            "maxSurge": spec.rollout.max_surge,
            "maxUnavailable": spec.rollout.max_unavailable,
        }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": object_metadata(resource, resource.name),
        "spec": {
            "replicas": spec.pods_wanted,
            "selector": {"matchLabels": selector(resource.name)},
            "strategy": strategy,
            "revisionHistoryLimit": 3,
            "progressDeadlineSeconds": PULL_SECONDS + spec.engine.startup_seconds + proof_probe.BUDGET_SECONDS,
            "template": template,
        },
    }


def pod_template(resource: api.SpeculatorDeployment, resolved: Resolved, settings: Settings) -> Manifest:
    """The pods: the engine in a Restricted container, not ready before it has proven itself."""
    spec = resource.spec
    pod = spec.template.spec
    models = {"verifier": resolved.verifier, "draft": resolved.draft}
    folders = pod_models.in_folders(models, spec.cache)
    fetching = _fetching(resource, folders, models, settings)
    from_hub = any(identity and role not in folders for role, identity in models.items())
    typed = pod.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude_none=True)
    if fetching:
        typed["imagePullSecrets"] = pod_models.resolver_pull_secrets(pod, settings)
    if spec.accelerator.product:
        typed["nodeSelector"] = {**typed.get("nodeSelector", {}), api.PRODUCT_LABEL: spec.accelerator.product}
    template = spec.template.metadata
    labels = {**template.labels, **object_labels(resource.name), api.REVISION_LABEL: input_hash(resource)}
    annotations = {**template.annotations, "kubectl.kubernetes.io/default-container": CONTAINER}
    environment = _environment(resource, resolved, settings, from_hub=from_hub)
    return {
        "metadata": {"labels": labels, "annotations": annotations},
        "spec": {
            **_as_kept(typed),
            "terminationGracePeriodSeconds": pod.termination_grace_period_seconds,
            **UNPRIVILEGED,
            **({"initContainers": fetching} if fetching else {}),
            "containers": [_engine(spec, resolved, environment, pod_models.mounts(folders))],
            "volumes": [
                {"name": "home", "emptyDir": {}},
                {"name": "tmp", "emptyDir": {}},
                {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": SHM_SIZE}},
                *pod_models.volumes(folders),
            ],
        },
    }


def _engine(
    spec: api.SpeculatorDeploymentSpec,
    resolved: Resolved,
    environment: list[Manifest],
    mounts: list[Manifest],
) -> Manifest:
    """The container.

    The startup probe fails while the model is downloaded and loaded, which may take ``startupSeconds``; a proof that
    fails ends the container by itself (``proof_probe``), so the tries of the proof come on top.
    """
    mode, port = _PROBE_MODES[api.Verification(resolved.verification)], str(resolved.port)
    probe = ["python3", "-c", inspect.getsource(proof_probe), mode, port]
    http = {"path": "/health", "port": "http"}
    drains = spec.template.spec.termination_grace_period_seconds > ENDPOINT_LAG_SECONDS + EXIT_SECONDS
    return {
        "name": CONTAINER,
        "image": resolved.image,
        "command": [escaped(text) for text in resolved.command[:3]],
        "args": [escaped(text) for text in resolved.command[3:]],
        "env": environment,
        "ports": [{"name": "http", "containerPort": resolved.port, "protocol": "TCP"}],
        "resources": _resources(spec, resolved.tensor * resolved.pipeline),
        "securityContext": CONFINED,
        "startupProbe": {
            "exec": {"command": [escaped(text) for text in probe]},
            "periodSeconds": PROBE_PERIOD_SECONDS,
            "timeoutSeconds": proof_probe.TIMEOUT_SECONDS,
            "failureThreshold": math.ceil(spec.engine.startup_seconds / PROBE_PERIOD_SECONDS) + proof_probe.TRIES,
        },
        "readinessProbe": {"httpGet": http, "periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 3},
        "livenessProbe": {"httpGet": http, "periodSeconds": 10, "timeoutSeconds": 10, "failureThreshold": 6},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "home", "mountPath": HOME},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the container's own
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - ranks of a tensor parallel group meet here
            *mounts,
        ],
        **({"lifecycle": {"preStop": {"sleep": {"seconds": ENDPOINT_LAG_SECONDS}}}} if drains else {}),
    }


def _as_kept(value: Any) -> Any:
    """A part of a PodSpec without what the API server leaves out: null, empty text, empty lists, empty maps of text.

    An empty selector (it selects everything) is not the same as none, and stays.
    """
    if isinstance(value, dict):
        parts = {name: _as_kept(part) for name, part in value.items()}
        return {
            name: part
            for name, part in parts.items()
            if part not in (None, "", []) and not (part == {} and name in ("matchLabels", "nodeSelector"))
        }
    if isinstance(value, list):
        return [_as_kept(part) for part in value]
    return value


def object_labels(name: str) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": "vllm",
        "app.kubernetes.io/instance": name,
        "app.kubernetes.io/component": "engine",
        "app.kubernetes.io/managed-by": MANAGER,
        **selector(name),
    }


def object_metadata(resource: api.SpeculatorDeployment, name: str) -> Manifest:
    metadata: Manifest = {"name": name, "namespace": resource.namespace, "labels": object_labels(resource.name)}
    if resource.uid:  # rendered from a file, a resource has none, and nothing owns its objects
        metadata["ownerReferences"] = [
            {
                "apiVersion": api.API_VERSION,
                "kind": api.KIND,
                "name": resource.name,
                "uid": resource.uid,
                "controller": True,
            }
        ]
    return metadata


def _environment(
    resource: api.SpeculatorDeployment, resolved: Resolved, settings: Settings, *, from_hub: bool
) -> list[Manifest]:
    """The user's variables, and ours after them. The two never share a name: the allow-list has none of ours."""
    engine = resource.spec.engine
    environment: list[Manifest] = []
    for variable in engine.env:
        if variable.value_from:
            reference = variable.value_from.model_dump(by_alias=True)
            environment.append({"name": variable.name, "valueFrom": reference})
        elif variable.value:
            environment.append({"name": variable.name, "value": escaped(variable.value)})
        else:
            environment.append({"name": variable.name})
    environment += [
        {"name": "HOME", "value": HOME},
        {"name": "USER", "value": "engine"},  # torch asks for the user's name, and the image may not know this one
        {"name": "VLLM_NO_USAGE_STATS", "value": "1"},
        # Ranks are in one pod. Otherwise they would meet at its address, at some 26 ports that ask nobody who they are.
        {"name": "GLOO_SOCKET_IFNAME", "value": "lo"},
        {"name": "VLLM_HOST_IP", "value": "127.0.0.1"},
    ]
    if any(_MEDIA_DOMAINS.match(text) for text in resolved.command):
        environment.append({"name": "VLLM_MEDIA_URL_ALLOW_REDIRECTS", "value": "0"})
    if from_hub:
        environment += pod_models.environment(resource.spec.model, {Kind.HUB})
        if settings.pod_hf_endpoint:
            environment.append({"name": "HF_ENDPOINT", "value": escaped(settings.pod_hf_endpoint)})
    else:
        environment.append({"name": "HF_HUB_OFFLINE", "value": "1"})
    if engine.api_key_secret_ref:
        reference = {"secretKeyRef": engine.api_key_secret_ref.model_dump(by_alias=True)}
        environment.append({"name": "VLLM_API_KEY", "valueFrom": reference})
    return environment


def _fetching(
    resource: api.SpeculatorDeployment,
    folders: Mapping[str, Reference],
    models: Mapping[str, Identity | None],
    settings: Settings,
) -> list[Manifest]:
    """Init containers that bring the pod's models from object storage, as they were when they were resolved."""
    containers = []
    for role, reference in folders.items():
        if reference.kind in pod_models.STORED and (identity := models[role]):
            folder = f"{pod_models.FOLDER}/{role}"
            command = ["fetch", reference.uri, f"--into={folder}"]
            if identity.revision:
                command.append(f"--revision={identity.revision}")
            mount = {"name": role, "mountPath": folder}
            containers.append(resolver_container(f"fetch-{role}", command, reference, [mount], resource, settings))
    return containers


def resolver_container(
    name: str,
    command: Sequence[str],
    reference: Reference,
    mounts: Sequence[Manifest],
    resource: api.SpeculatorDeployment,
    settings: Settings,
) -> Manifest:
    """A container that runs the operator's image, to read or to fetch what ``reference`` names.

    Raises:
        Refused: ``ResolverUnset``.
    """
    return {
        "name": name,
        "image": pod_models.resolver_image(reference, settings),
        "args": [escaped(text) for text in command],
        "env": [
            *pod_models.resolver_settings(reference.kind, settings),
            *pod_models.environment(resource.spec.model, {reference.kind}),
        ],
        "resources": RESOLVER_RESOURCES,
        "securityContext": CONFINED,
        # Where it ends without a word of its own, the last ones of its log are all that says why.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, *mounts],  # noqa: S108 - the container's own
    }


def _resources(spec: api.SpeculatorDeploymentSpec, gpus: int) -> Manifest:
    accelerators = {spec.accelerator.resource_name: str(gpus)}
    return {
        "requests": {**spec.resources.requests, **accelerators},
        "limits": {**spec.resources.limits, **accelerators},
    }


def escaped(text: str) -> str:
    """Text that the kubelet hands on as it is, where it would expand ``$(NAME)`` and read ``$$`` as one dollar.

    Source: expansion.Expand in k8s.io/kubernetes/third_party/forked/golang/expansion.
    """
    return text.replace("$", "$$")
