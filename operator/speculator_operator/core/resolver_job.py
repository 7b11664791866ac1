"""The Job that reads one model in the resource's own namespace, with the Secret, claim or image that this takes.

Its pod runs the operator's image, and says what it has read in its termination message (``resolver_report``). It asks
for no accelerator and for no node in particular, so that none is started for it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from speculator_operator import api
from speculator_operator.reference import Reference
from speculator_operator.settings import Settings

from . import pod_models
from .render import CONTAINER, UNPRIVILEGED, Manifest, object_labels, object_metadata, resolver_container

#: A Job whose result nobody has fetched is removed after this time.
KEPT_SECONDS = 600
_ROLE = "model"


def resolver_job(resource: api.SpeculatorDeployment, reference: Reference, settings: Settings) -> Manifest:
    """The Job. It is named by its inputs, and never changed.

    Raises:
        Refused: ``ResolverUnset``.
    """
    spec = resource.spec
    folders = {_ROLE: reference} if reference.kind in pod_models.MOUNTED else {}
    command = ["read", reference.uri]
    if reference.revision:
        command.append(f"--revision={reference.revision}")
    if folders:
        command.append(f"--folder={pod_models.FOLDER}/{_ROLE}")
    scheduling = _scheduling(spec.template.spec, settings)
    marks = {**object_labels(resource.name), "app.kubernetes.io/component": "resolver"}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            **object_metadata(resource, f"{resource.name}-r-{_input_hash(resource, reference, scheduling)}"),
            "labels": marks,
        },
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": math.ceil(settings.resolver_timeout),
            "ttlSecondsAfterFinished": KEPT_SECONDS,
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
                    "containers": [
                        resolver_container(
                            CONTAINER, command, reference, pod_models.mounts(folders), resource, settings
                        )
                    ],
                    "volumes": [{"name": "tmp", "emptyDir": {}}, *pod_models.volumes(folders)],
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


def _input_hash(resource: api.SpeculatorDeployment, reference: Reference, scheduling: Mapping[str, Any]) -> str:
    """Of what is read, with which Secrets, how its pod is to start, and of the wish to have it read anew."""
    model = resource.spec.model
    secrets = [
        secret.model_dump() if secret else None for secret in (model.token_secret_ref, model.credentials_secret_ref)
    ]
    inputs = [reference.uri, reference.revision, secrets, scheduling, resource.refresh, resource.uid]
    text = json.dumps(inputs, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
