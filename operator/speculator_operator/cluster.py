"""The Kubernetes API, as far as the operator needs it: the adapter for the cluster.

One way to read (by name), one way to write (server-side apply, by one field manager), and the kinds that are touched
are a table, so that nothing has to be discovered. Each call is bounded in time, and so is the number of calls at once.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio.client import ApiClient

from . import api, metrics, timestamp
from .api import Reason
from .core import metrics as families
from .core.render import MANAGER, Manifest
from .errors import Refused
from .kubeconfig import Unusable, load

CALL_SECONDS = 30.0
ECHOES = 1024
"""Own writes that are remembered; the watch tells of them within a second or so."""
PAGE = 500
NOTE_LENGTH = 1024
"""Of an event; the API server takes no longer one."""

#: In which closed TLS connections take leave of the server; whoever ends the loop before leaves their sockets open.
#: Source: aiohttp's documentation, "Graceful Shutdown".
_CLOSING_SECONDS = 0.25
#: Kind -> the path of its API's version, and its plural.
_KINDS = {
    api.KIND: (f"/apis/{api.API_VERSION}", api.PLURAL),
    "ControllerRevision": ("/apis/apps/v1", "controllerrevisions"),
    "Deployment": ("/apis/apps/v1", "deployments"),
    "Job": ("/apis/batch/v1", "jobs"),
    "Lease": ("/apis/coordination.k8s.io/v1", "leases"),
    "NetworkPolicy": ("/apis/networking.k8s.io/v1", "networkpolicies"),
    "Event": ("/apis/events.k8s.io/v1", "events"),
    "Pod": ("/api/v1", "pods"),
    "Service": ("/api/v1", "services"),
}
#: How the API server's own authorizer words a refusal; quotas, policies and admission word theirs otherwise.
_MISSING_RIGHT = re.compile(
    r'User "[^"]*" cannot (?P<verb>\w+) (?:resource|path) "(?P<resource>[^"]*)"(?: in API group "(?P<group>[^"]*)")?'
)

_REQUESTS = metrics.counter(families.REQUESTS)

#: Some distributions' minor version is ``30+``.
_DIGITS = re.compile(r"\d{1,4}")
#: Server-side apply of a field that the kind doesn't have is answered as if it were the server's own fault.
_UNTYPED = "failed to create typed patch object"

log = logging.getLogger(__name__)


class ClusterError(OSError):
    """The API server didn't do what was asked, for a reason that isn't the resource's: worth trying again.

    ``status`` is the HTTP status of its answer, None where none came.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class NotLeading(ClusterError):
    """This replica may not write any more. Nothing was sent."""


class _DoorShut(Exception):
    """Said inside aiohttp, which would take a ``ClusterError`` for an error of its connection, being an ``OSError``."""


class NoCluster(ClusterError):
    """It isn't known where an API server is, or how to be let in."""


class Unreachable(ClusterError):
    """No answer came from the API server."""


class Forbidden(ClusterError):
    """Whoever asks lacks a right: ``verb`` on ``resource`` (with its API group, where it has one)."""

    def __init__(self, message: str, *, verb: str, resource: str) -> None:
        super().__init__(message, 403)
        self.verb = verb
        self.resource = resource


class Cluster:
    """Calls to the API server. Made by ``connect``."""

    def __init__(self, client: ApiClient, *, in_flight: int, namespace: str = "default") -> None:
        self._client = client
        self.namespace = namespace
        """The one that is meant where none is named: the context's, or in a pod the pod's."""
        self._slots = asyncio.Semaphore(in_flight)
        self._echoes: deque[tuple[str, str]] = deque(maxlen=ECHOES)

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        *,
        in_flight: int,
        may_write: Callable[[], bool] = lambda: True,
        kubeconfig: str | None = None,
        context: str | None = None,
    ) -> AsyncIterator[Self]:
        """A connection by what ``kubeconfig.load`` finds. ``may_write`` is asked right before each write is sent, when
        a connection is there to send it by; also before each that aiohttp sends again.

        Raises:
            NoCluster: it finds nothing that can be used.
        """
        try:
            configuration, namespace = await load(kubeconfig, context)
        except Unusable as error:
            raise NoCluster(f"No cluster to connect to: {error}") from error
        configuration.connection_pool_maxsize = in_flight
        # Otherwise every request asks the environment for a proxy and a netrc for a password, each in a thread.
        configuration.client_session_kwargs = {"trust_env": False, "cookie_jar": aiohttp.DummyCookieJar()}
        configuration.trace_configs = [_door(may_write)]
        try:
            async with ApiClient(configuration) as client:
                client.user_agent = MANAGER
                yield cls(client, in_flight=in_flight, namespace=namespace)
        finally:
            await asyncio.sleep(_CLOSING_SECONDS)

    async def version(self) -> tuple[int, int]:
        """The API server's major and minor version."""
        found = await self._call("GET", "/version") or {}
        numbers = [_DIGITS.match(str(found.get(part, ""))) for part in ("major", "minor")]
        if not all(numbers):
            raise ClusterError(f"GET /version: {str(found)[:200]} is no version")
        major, minor = (int(number[0]) for number in numbers if number)
        return major, minor

    async def serves_resource(self) -> bool:
        """Whether the custom resource definition is installed."""
        found = await self._call("GET", f"/apis/{api.API_VERSION}", missing=True)
        return any(resource["kind"] == api.KIND for resource in (found or {}).get("resources", ()))

    async def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """The object, or None if there is none."""
        return await self._call("GET", _path(kind, namespace, name), missing=True)

    async def list(
        self, kind: str, namespace: str | None, selector: str = "", *, field_selector: str = ""
    ) -> list[Manifest]:
        """The objects that bear the labels, and have the fields, of the selectors; None is all namespaces."""
        path, found, token = _path(kind, namespace), [], ""
        while True:
            fields = {"fieldSelector": field_selector} if field_selector else {}
            query = urlencode({"labelSelector": selector, **fields, "limit": PAGE, "continue": token})
            page = await self._call("GET", f"{path}?{query}") or {}
            # The items of a list don't say what they are.
            found += [{"kind": kind, **item} for item in page["items"]]
            token = page["metadata"].get("continue") or ""
            if not token:
                return found

    async def preview(self, manifest: Manifest, *, merge_patch: Mapping[str, Any] | None, manager: str) -> Manifest:
        """What the API server would make of an object if it were applied by ``manager``: validated, with its defaults,
        and not kept. Where ``merge_patch`` is given, that is what is sent, of the object that is there.

        Raises:
            Refused: ``SpecInvalid``, with what the API server has against it.
            ClusterError
        """
        query = {"dryRun": "All", "fieldManager": manager, "fieldValidation": "Strict"}
        content_type = "application/merge-patch+json"
        if merge_patch is None:
            query["force"] = "true"
            content_type = "application/apply-patch+yaml"
        try:
            made = await self._call(
                "PATCH",
                f"{_path_of(manifest)}?{urlencode(query)}",
                body=manifest if merge_patch is None else merge_patch,
                content_type=content_type,
            )
        except Refused as refusal:
            raise Refused(Reason.SPEC_INVALID, refusal.evidence) from refusal
        return made or {}

    @asynccontextmanager
    async def upgraded(
        self,
        kind: str,
        namespace: str,
        name: str,
        subresource: str,
        query: Sequence[tuple[str, str]],
        *,
        protocol: str,
        max_message_bytes: int,
        seconds: float,
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """A connection to an object's subresource on which both sides go on to talk, for ``seconds`` at the most.

        Raises:
            TimeoutError, aiohttp.ClientError
        """
        _, url, headers, *_ = await self._client.param_serialize(
            "GET", f"{_path(kind, namespace, name, subresource)}?{urlencode(query)}", auth_settings=["BearerToken"]
        )
        settings = self._client.configuration
        async with (
            self._slots,
            asyncio.timeout(seconds),
            self._session().ws_connect(
                url,
                protocols=(protocol,),
                headers={header: text for header, text in headers.items() if header.lower() != "content-type"},
                proxy=settings.proxy,
                proxy_headers=settings.proxy_headers,
                max_msg_size=max_message_bytes,
            ) as socket,
        ):
            yield socket

    def _session(self) -> aiohttp.ClientSession:
        rest = self._client.rest_client
        if rest.pool_manager is None:
            rest.pool_manager = rest._create_pool_manager()  # noqa: SLF001 - as the library's own WsApiClient does
        session: aiohttp.ClientSession = rest.pool_manager
        return session

    async def apply(self, manifest: Manifest) -> Manifest:
        """Makes the object's fields those of the manifest, and drops those that we applied before and no longer want.

        Raises:
            Refused: ``ChildRefused``, with what the API server has against the object.
            ClusterError
        """
        written = await self._apply(manifest, "")
        self._echoes.append(_state(written))
        return written

    async def apply_status(self, manifest: Manifest, *, read: Manifest) -> Manifest:
        """As ``apply``, for the status of a resource that exists; ``read`` is the resource that it was made from."""
        written = await self._apply(manifest, "status")
        # If anything else differs, somebody changed it in between, and this event is all that says so.
        if _beside_status(written) == _beside_status(read):
            self._echoes.append(_state(written))
        return written

    def echoes(self, body: Mapping[str, Any]) -> bool:
        """Whether an object is as our own write left it, so that a watch that shows it tells us nothing."""
        return _state(body) in self._echoes

    async def create(self, manifest: Manifest) -> Manifest:
        """Makes an object that isn't there yet.

        Raises:
            ClusterError: it is there (409).
        """
        path = _path(manifest["kind"], manifest["metadata"]["namespace"])
        return await self._call("POST", path, body=manifest) or {}

    async def replace(self, manifest: Manifest) -> Manifest:
        """Writes over an object that nobody has changed since it was read.

        Raises:
            ClusterError: somebody has (409), or it is gone (404).
        """
        return await self._call("PUT", _path_of(manifest), body=manifest) or {}

    async def delete(self, kind: str, namespace: str, name: str, *, uid: str) -> None:
        """Deletes the object if it is still the one of this uid."""
        options = {"preconditions": {"uid": uid}, "propagationPolicy": "Background"}
        await self._call("DELETE", _path(kind, namespace, name), body=options, missing=True)

    async def emit(self, about: Manifest, *, type_: str, reason: str, note: str) -> None:
        """Records an event. One that can't be recorded is lost, and nothing else is."""
        metadata = about["metadata"]
        event = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": f"{metadata['name']}.{time.time_ns():x}", "namespace": metadata["namespace"]},
            "eventTime": timestamp.micro_now(),
            "type": type_,
            "reason": reason,
            "action": "Reconcile",
            "note": note if len(note) <= NOTE_LENGTH else note[: NOTE_LENGTH - 3] + "...",
            "regarding": {"apiVersion": about["apiVersion"], "kind": about["kind"], **metadata},
            "reportingController": f"{api.GROUP}/operator",
            "reportingInstance": MANAGER,
        }
        try:
            await self._call("POST", _path("Event", metadata["namespace"]), body=event)
        except (ClusterError, Refused) as error:
            log.warning("An event was lost: %s", error)

    async def _apply(self, manifest: Manifest, subresource: str) -> Manifest:
        path = _path_of(manifest, subresource)
        query = urlencode({"fieldManager": MANAGER, "force": "true", "fieldValidation": "Strict"})
        content_type = "application/apply-patch+yaml"
        return await self._call("PATCH", f"{path}?{query}", body=manifest, content_type=content_type) or {}

    async def _call(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
        missing: bool = False,
    ) -> Manifest | None:
        what = f"{method} {path.partition('?')[0]}"
        async with self._slots:
            try:
                async with asyncio.timeout(CALL_SECONDS):
                    status, content = await self._send(method, path, body, content_type)
            except _DoorShut:
                raise NotLeading(f"{what}: not sent, since this replica does not lead any more") from None
            except (TimeoutError, aiohttp.ClientError, OSError) as error:
                _REQUESTS.labels("<error>", method).inc()
                raise Unreachable(f"{what}: {type(error).__name__}: {error}") from error
        _REQUESTS.labels(str(status), method).inc()
        if status < 300:
            return object_in(content, what)
        if status == 404 and missing:
            return None
        said = message_in(content)
        if status == 403 and (right := _MISSING_RIGHT.search(said)):
            resource = ".".join(filter(None, (right["resource"], right["group"])))
            raise Forbidden(f"{what}: HTTP {status}: {said}", verb=right["verb"], resource=resource)
        if method != "GET" and _is_refusal(status, said):
            raise Refused(Reason.CHILD_REFUSED, f"The API server refuses an object: {said}")
        raise ClusterError(f"{what}: HTTP {status}: {said}", status)

    async def _send(
        self, method: str, path: str, body: Mapping[str, Any] | None, content_type: str
    ) -> tuple[int, bytes]:
        headers = {"Accept": "application/json", "Content-Type": content_type}
        request = await self._client.param_serialize(
            method, path, header_params=headers, body=body, auth_settings=["BearerToken"]
        )
        response = await self._client.call_api(*request)
        return response.status, await response.read()


def _door(may_write: Callable[[], bool]) -> aiohttp.TraceConfig:
    """Lets writes through while ``may_write`` says so. aiohttp tells of headers before it sends their first byte."""
    trace = aiohttp.TraceConfig()

    async def opens(_: object, __: object, request: aiohttp.TraceRequestHeadersSentParams) -> None:
        if request.method != "GET" and not may_write():
            raise _DoorShut

    trace.on_request_headers_sent.append(opens)
    return trace


def _path(kind: str, namespace: str | None, name: str = "", subresource: str = "") -> str:
    """Where an object is, or without a name all of them; without a namespace, in all of these."""
    prefix, plural = _KINDS[kind]
    place = f"namespaces/{namespace}" if namespace else ""
    return "/".join(filter(None, (prefix, place, plural, name, subresource)))


def _path_of(manifest: Manifest, subresource: str = "") -> str:
    metadata = manifest["metadata"]
    return _path(manifest["kind"], metadata["namespace"], metadata["name"], subresource)


def _state(body: Mapping[str, Any]) -> tuple[str, str]:
    return body["metadata"]["uid"], body["metadata"]["resourceVersion"]


def _beside_status(body: Manifest) -> Manifest:
    """What a write of status leaves as it is; a change of the spec is a change of the generation."""
    return {key: value for key, value in body["metadata"].items() if key not in ("managedFields", "resourceVersion")}


def _is_refusal(status: int, said: str) -> bool:
    """Whether the API server has something against the object, rather than against us or in general."""
    return status in (400, 403, 413, 422) or _UNTYPED in said


def object_in(content: bytes, what: str) -> Manifest:
    """
    Raises:
        ClusterError: there is none.
    """
    try:
        found = json.loads(content)
    except ValueError:
        found = None
    if not isinstance(found, dict):  # a proxy's page, say
        raise ClusterError(f"{what}: what answers is no API server: {content[:200]!r}")
    return found


def message_in(content: bytes) -> str:
    """What the API server says, for people: its Status' message, or the beginning of whatever it is."""
    try:
        said = json.loads(content)["message"]
    except (ValueError, KeyError, TypeError):
        said = content[:300].decode(errors="replace")
    return str(said)[:800]
