"""How a pod gets at its models: the engine downloads them, they are mounted, or they are fetched before it starts.

The hub's are the engine's own to download, at the pinned commit. A claim or an image is mounted read-only. Object
storage is fetched by an init container, which refuses what isn't what was resolved any more: the engine's own readers
of object storage know no pin. With a cache, what would be downloaded or fetched by each pod is a folder of a claim, to
which a Job has fetched it (``fetch_job``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from speculator_operator import api
from speculator_operator.api import Identity, Reason
from speculator_operator.errors import Refused
from speculator_operator.reference import Kind, Reference
from speculator_operator.settings import Settings

Manifest = dict[str, Any]

#: Where models that the engine doesn't download are, each in a folder of its role's name.
FOLDER = "/models"
MOUNTED = (Kind.CLAIM, Kind.IMAGE)
STORED = (Kind.S3, Kind.GCS)
#: The keys of ``spec.model.credentialsSecretRef``, and whether one has to be there.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": True, "AWS_SECRET_ACCESS_KEY": True, "AWS_SESSION_TOKEN": False}


def cached(identity: Identity, cache: api.Cache | None) -> Reference | None:
    """The folder of the cache's claim that a model is fetched into; None where it isn't: there is no cache, or the
    model is mounted anyway.

    Each commit has a folder of its own, so that pods of an older one keep theirs.
    """
    scheme, separator, _ = identity.uri.partition("://")
    if cache is None or (separator and scheme in MOUNTED):
        return None
    digest = hashlib.sha256(json.dumps([identity.uri, identity.revision]).encode()).hexdigest()[:32]
    return Reference(Kind.CLAIM, cache.claim, f"{cache.path}/{digest}" if cache.path else digest)


def loaded_from(identity: Identity, role: str, cache: api.Cache | None = None) -> Identity:
    """What the engine is told to load: a repository at its commit, or a folder of the container."""
    scheme, separator, _ = identity.uri.partition("://")
    in_folder = cached(identity, cache) or (separator and scheme != Kind.HUB)
    return Identity(uri=f"{FOLDER}/{role}") if in_folder else identity


def in_folders(models: Mapping[str, Identity | None], cache: api.Cache | None = None) -> dict[str, Reference]:
    """Those of the models that the engine loads from folders, by role, and what is mounted there, or fetched to it."""
    return {
        role: cached(identity, cache) or Reference.parse(identity.uri)
        for role, identity in models.items()
        if identity and loaded_from(identity, role, cache) != identity
    }


def volumes(folders: Mapping[str, Reference]) -> list[Manifest]:
    """A volume for each model; one that holds several is there once."""
    return [{"name": role, **_volume(folders[role])} for role in sorted(set(_volume_names(folders).values()))]


def mounts(folders: Mapping[str, Reference]) -> list[Manifest]:
    """A read-only mount for each model."""
    names = _volume_names(folders)
    return [
        {
            "name": names[role],
            "mountPath": f"{FOLDER}/{role}",
            "readOnly": True,
            **({"subPath": reference.path} if reference.kind in MOUNTED and reference.path else {}),
        }
        for role, reference in folders.items()
    ]


def environment(model: api.Model, kinds: set[Kind]) -> list[Manifest]:
    """The Secrets' keys that a container needs to read from such places."""
    variables: list[Manifest] = []
    if Kind.HUB in kinds and model.token_secret_ref:
        reference = model.token_secret_ref.model_dump(by_alias=True)
        variables.append({"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": reference}})
    if kinds.intersection(STORED) and model.credentials_secret_ref:
        name = model.credentials_secret_ref.name
        for key, required in CREDENTIALS.items():
            selector = {"name": name, "key": key, **({} if required else {"optional": True})}
            variables.append({"name": key, "valueFrom": {"secretKeyRef": selector}})
    return variables


def resolver_image(reference: Reference, settings: Settings) -> str:
    """The image that reads, or fetches, what the operator can't get at itself.

    Raises:
        Refused: ``ResolverUnset``.
    """
    if settings.resolver_image is None:
        raise Refused(
            Reason.RESOLVER_UNSET,
            f"{reference.uri} is read, or fetched, in a pod of this namespace, and the installation names no image for "
            "that. Have SPECULATOR_RESOLVER_IMAGE set to the operator's own image, or name a public repository of the "
            "hub, without spec.cache",
            field="spec.model.uri",
        )
    return settings.resolver_image


def resolver_pull_secrets(pod: api.PodSpec, settings: Settings) -> list[Manifest]:
    """The Secrets of the namespace that a pod with the operator's image may be pulled with."""
    names = {secret.name for secret in pod.image_pull_secrets} | {settings.resolver_pull_secret or ""}
    return [{"name": name} for name in sorted(names) if name]


def resolver_settings(kind: Kind, settings: Settings) -> list[Manifest]:
    """What the installation has set about such a place, for a container that runs the operator's image."""
    values = {
        "SPECULATOR_HUB_TIMEOUT": f"{settings.hub_timeout:g}",
        "SPECULATOR_HF_ENDPOINT": settings.pod_hf_endpoint if kind is Kind.HUB else None,
        "SPECULATOR_S3_ENDPOINT": settings.s3_endpoint if kind is Kind.S3 else None,
        "SPECULATOR_S3_REGION": settings.s3_region if kind is Kind.S3 else None,
    }
    return [{"name": name, "value": value} for name, value in values.items() if value]


def _volume_names(folders: Mapping[str, Reference]) -> dict[str, str]:
    """The volume of each role: it bears the name of the first one that it serves."""
    names: dict[tuple[Kind, str], str] = {}
    return {
        role: names.setdefault((reference.kind, role if reference.kind in STORED else reference.name), role)
        for role, reference in folders.items()
    }


def _volume(reference: Reference) -> Manifest:
    match reference.kind:
        case Kind.CLAIM:
            # Read-only, so that the kubelet doesn't make every file of the claim the pod's group's.
            return {"persistentVolumeClaim": {"claimName": reference.name, "readOnly": True}}
        case Kind.IMAGE:
            return {"image": {"reference": reference.name, "pullPolicy": "IfNotPresent"}}
        case _:
            return {"emptyDir": {}}
