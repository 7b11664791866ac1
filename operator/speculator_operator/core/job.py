"""A Job that runs the operator's image in the resource's own namespace, with a Secret or a volume that this takes.

It asks for no accelerator and for no node in particular, so that none is started for it. It is named by its inputs, and
never changed.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from typing import Any

from speculator_operator import api
from speculator_operator.reference import Reference
from speculator_operator.settings import Settings

from . import pod_models
from .render import CONTAINER, UNPRIVILEGED, Manifest, object_labels, object_metadata, resolver_container

COMPONENT_LABEL = "app.kubernetes.io/component"


def job(
    resource: api.SpeculatorDeployment,
    reference: Reference,
    settings: Settings,
    *,
    component: str,
    command: Sequence[str],
    inputs: Sequence[Any],
    volumes: Sequence[Manifest],
    mounts: Sequence[Manifest],
    seconds: float,
    kept_seconds: int,
) -> Manifest:
    """The Job. ``inputs`` are what it is named by, besides the Secrets that it may need, how its pod is to start, and
    the wish to have it done anew. It may take ``seconds``, and stays for ``kept_seconds`` once it has ended.

    Raises:
        Refused: ``ResolverUnset``.
    """
    scheduling = _scheduling(resource.spec.template.spec, settings)
    marks = {**object_labels(resource.name), COMPONENT_LABEL: component}
    name = f"{resource.name}-{component[0]}-{_input_hash(resource, [*inputs], scheduling)}"
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {**object_metadata(resource, name), "labels": marks},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": math.ceil(seconds),
            "ttlSecondsAfterFinished": kept_seconds,
            "template": {
                "metadata": {
                    # With the resource's own label, the Service would count it among the engines.
                    "labels": {key: value for key, value in marks.items() if key != api.NAME_LABEL},
                    # A mesh's proxy would be in its way, and go on running after it.
                    "annotations": {"sidecar.istio.io/inject": "false", "linkerd.io/inject": "disabled"},
                },
                "spec": {
                    "restartPolicy": "Never",
                    **scheduling,
                    **UNPRIVILEGED,
                    "containers": [resolver_container(CONTAINER, command, reference, mounts, resource, settings)],
                    "volumes": [{"name": "tmp", "emptyDir": {}}, *volumes],
                },
            },
        },
    }


def _scheduling(pod: api.PodSpec, settings: Settings) -> dict[str, Any]:
    """A claim can hold it to a node whose taints it has to bear; a node selector would start nodes that cost."""
    tolerations = [item.model_dump(mode="json", by_alias=True, exclude_none=True) for item in pod.tolerations]
    secrets = pod_models.resolver_pull_secrets(pod, settings)
    return {
        **({"tolerations": tolerations} if tolerations else {}),
        **({"imagePullSecrets": secrets} if secrets else {}),
    }


def _input_hash(resource: api.SpeculatorDeployment, inputs: list[Any], scheduling: dict[str, Any]) -> str:
    model = resource.spec.model
    secrets = [
        secret.model_dump() if secret else None for secret in (model.token_secret_ref, model.credentials_secret_ref)
    ]
    text = json.dumps([*inputs, secrets, scheduling, resource.refresh, resource.uid], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
