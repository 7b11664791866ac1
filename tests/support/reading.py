"""Reads objects as ``kubectl get`` does, without a process for each look: to look again and again is most of a test."""

from __future__ import annotations

import http.client
import json
import ssl
import time
import urllib.error
import urllib.request
from typing import Any

from tools.localcluster.controlplane import ControlPlane

_ALL_GROUPS = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_SECONDS = 30.0
_PAUSE_SECONDS = 0.2


class Reading:
    """The administrator's view of a cluster. Kinds go by every name that kubectl takes."""

    def __init__(self, control_plane: ControlPlane) -> None:
        self._url = control_plane.url
        self._token = control_plane.token
        self._tls = ssl.create_default_context(cafile=str(control_plane.ca))
        self._paths: dict[str, str] = {}

    def get(self, namespace: str, kind: str, name: str) -> dict[str, Any]:
        """
        Raises:
            LookupError: it isn't there.
        """
        return self._answer(f"{self._path(namespace, kind)}/{name}")

    def items(self, namespace: str, kind: str) -> list[dict[str, Any]]:
        """All of a kind, each of which says what it is, as kubectl lets it."""
        answer = self._answer(self._path(namespace, kind))
        said = {"apiVersion": answer["apiVersion"], "kind": answer["kind"].removesuffix("List")}
        return [{**said, **item} for item in answer["items"]]

    def _path(self, namespace: str, kind: str) -> str:
        if kind not in self._paths:  # a definition may be newer than what is known
            self._paths = {}
            for root in ("/apis", "/api"):  # what is of the core goes by its short names
                for group in self._answer(root, _ALL_GROUPS)["items"]:
                    self._learn(root, group)
        return self._paths[kind].format(namespace=namespace)

    def _learn(self, root: str, group: dict[str, Any]) -> None:
        domain = group["metadata"].get("name", "")
        version = group["versions"][0]
        for resource in version["resources"]:
            plural = resource["resource"]
            path = "/".join(part for part in (root, domain, version["version"]) if part)
            for name in (plural, resource.get("singularResource", ""), *resource.get("shortNames", [])):
                for known in (name, f"{name}.{domain}"):
                    self._paths[known] = f"{path}/namespaces/{{namespace}}/{plural}"

    def _answer(self, path: str, accept: str = "application/json") -> dict[str, Any]:
        """Asks again, for a while, where no answer came, or one that says to (429, 5xx)."""
        deadline = time.monotonic() + _SECONDS
        while True:
            try:
                return self._asked(path, accept)
            except (OSError, http.client.IncompleteRead) as error:  # an HTTPError is an OSError
                passes = not isinstance(error, urllib.error.HTTPError) or error.code == 429 or error.code >= 500
                if not passes or time.monotonic() > deadline:
                    raise
            time.sleep(_PAUSE_SECONDS)

    def _asked(self, path: str, accept: str) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self._token}", "Accept": accept}
        request = urllib.request.Request(self._url + path, headers=headers)  # noqa: S310 - the test's own server
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS, context=self._tls) as answer:  # noqa: S310
                found: dict[str, Any] = json.load(answer)
                return found
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 404:
                    raise LookupError(f"GET {path}: {error.reason}") from error
                raise
