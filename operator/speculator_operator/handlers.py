"""kopf, as a trigger only: what changes wakes its resource's key, and nothing is decided on what an event says.

``on.event`` handlers leave no finalizer, no annotation and no write behind. What shows an object as our own write left
it wakes nothing: the pass that wrote it has seen it. Watches may lose events, so every known key is woken now and then
anyway.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import os
import random
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import aiohttp
import kopf

from . import api, watches
from .core.job import COMPONENT_LABEL
from .watches import Watches
from .workqueue import Key, WorkQueue

#: A watch is asked anew this often, and taken for dead if it is silent for longer than the bookmarks' minute.
WATCH_SECONDS = 300
SILENCE_SECONDS = 150
RETRY_SECONDS = (0.5, 1, 2, 5, 10, 20)
#: A watch that has asked for nothing for so long is dead: its end, a silence after it, and a pause come to less.
DEAD_SECONDS = 600.0

CHILDREN = (
    ("apps", "v1", "deployments"),
    ("apps", "v1", "controllerrevisions"),
    ("batch", "v1", "jobs"),
    ("networking.k8s.io", "v1", "networkpolicies"),
    ("", "v1", "services"),
    ("", "v1", "pods"),
)


class _Backoffs:
    """Seconds between tries of a request, for as long as it takes: kopf gives up where the series ends."""

    def __iter__(self) -> Iterator[float]:
        return itertools.chain(RETRY_SECONDS, itertools.repeat(RETRY_SECONDS[-1]))


class _NoLastHandled(kopf.DiffBaseStorage):
    """Without it, kopf would copy every object that comes by, for handlers of changes, which there are none of."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        """Nothing."""


class _Sessions:
    """HTTP sessions for kopf, each with the credentials of a login, whose requests ``Watches`` is told of.

    kopf closes them as well, but not where it is cancelled.
    """

    def __init__(self, seen: Watches) -> None:
        self._seen = seen
        self._last: kopf.ConnectionInfo | None = None
        self._opened: list[aiohttp.ClientSession] = []

    def open(self, login: kopf.ConnectionInfo) -> kopf.AiohttpSession | None:
        """None for credentials that had a session already: they were refused, and kopf can't tell by the session."""
        if login == self._last:
            return None
        self._last = login
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=login.as_ssl_context()),
            headers=login.as_http_headers(),
            proxy=login.proxy_url,
            trust_env=login.trust_env,
            cookie_jar=aiohttp.DummyCookieJar(),
            trace_configs=[self._seen.trace()],
        )
        self._opened = [it for it in self._opened if not it.closed] + [session]
        return kopf.AiohttpSession(
            server=login.server, default_namespace=login.default_namespace, aiohttp_session=session
        )

    async def close(self) -> None:
        for session in self._opened:
            await session.close()


class Watched:
    """What the watches have seen: the keys of resources, and the names of each one's pods and Jobs.

    Nothing is kept of what isn't there. Where a watch has missed that something went, a pass finds it.
    """

    def __init__(self) -> None:
        self.keys: set[Key] = set()
        self._pods: dict[Key, set[str]] = {}
        self._jobs: dict[Key, dict[str, str]] = {}
        """The component of each Job, by its name."""

    def pods(self, key: Key) -> set[str]:
        return self._pods.setdefault(key, set())

    def jobs(self, key: Key, component: str) -> set[str]:
        """The names of what bears a resource's label and a component's, whoever has made it."""
        return {name for name, its in self._jobs.get(key, {}).items() if its == component}

    def saw_resource(self, key: Key, *, gone: bool) -> None:
        if gone:
            self.keys.discard(key)
            self._tidy(key)
        else:
            self.keys.add(key)

    def saw_pod(self, key: Key, name: str, *, gone: bool) -> None:
        if gone:
            self.pods(key).discard(name)
            self._tidy(key)
        else:
            self.pods(key).add(name)

    def saw_job(self, key: Key, name: str, component: str, *, gone: bool) -> None:
        jobs = self._jobs.setdefault(key, {})
        if gone:
            jobs.pop(name, None)
        else:
            jobs[name] = component
        if not jobs:
            del self._jobs[key]

    def gone(self, key: Key) -> None:
        """Of a resource that isn't there. A pod of it that is leaving wakes another pass, and is forgotten again."""
        self.keys.discard(key)
        self._pods.pop(key, None)
        self._jobs.pop(key, None)

    def _tidy(self, key: Key) -> None:
        if key not in self.keys and not self._pods.get(key):
            self._pods.pop(key, None)


def register(
    registry: kopf.OperatorRegistry,
    queue: WorkQueue[Key],
    watched: Watched,
    *,
    echoes: Callable[[Mapping[str, Any]], bool],
) -> None:
    """Has every event of a resource, and of whatever bears its label, wake its key, but for echoes of our writes."""

    def wake(key: Key, event: kopf.RawEvent) -> None:
        # What is listed, rather than told of as a change, may stand for changes that the watch missed.
        if event["type"] not in ("ADDED", "MODIFIED") or not echoes(event["object"]):
            queue.add(key)

    @kopf.on.event(api.GROUP, api.VERSION, api.PLURAL, registry=registry)
    async def resource_changed(namespace: str | None, name: str, event: kopf.RawEvent, **_: Any) -> None:
        key = namespace or "", name
        watched.saw_resource(key, gone=event["type"] == "DELETED")
        wake(key, event)

    async def child_changed(
        namespace: str | None, name: str, event: kopf.RawEvent, resource: kopf.Resource, labels: kopf.Labels, **_: Any
    ) -> None:
        key, gone = (namespace or "", labels[api.NAME_LABEL]), event["type"] == "DELETED"
        if resource.plural == "pods":
            watched.saw_pod(key, name, gone=gone)
        elif resource.plural == "jobs":
            watched.saw_job(key, name, labels.get(COMPONENT_LABEL, ""), gone=gone)
        wake(key, event)

    for child in CHILDREN:
        kopf.on.event(*child, labels={api.NAME_LABEL: kopf.PRESENT}, registry=registry)(child_changed)


def _at_its_address(pod: kopf.ConnectionInfo | None) -> kopf.ConnectionInfo | None:
    """The API server at the address that each pod is told, as every client has it: kopf would ask the cluster's DNS."""
    host, port = (os.environ.get(f"KUBERNETES_SERVICE_{part}") for part in ("HOST", "PORT"))
    if pod is None or not host:
        return pod
    return dataclasses.replace(pod, server=f"https://{f'[{host}]' if ':' in host else host}:{port or 443}")


def settings() -> kopf.OperatorSettings:
    """kopf's own: it posts no events, leads no election, and never gives a watch up."""
    configured = kopf.OperatorSettings()
    configured.persistence.diffbase_storage = _NoLastHandled()
    configured.posting.enabled = False
    configured.peering.standalone = True
    configured.networking.error_backoffs = _Backoffs()
    configured.networking.request_timeout = 60
    configured.watching.server_timeout = WATCH_SECONDS
    configured.watching.inactivity_timeout = SILENCE_SECONDS
    configured.watching.connect_timeout = 30
    configured.watching.chunk_size = 500
    for child in CHILDREN:
        configured.watching.label_selectors[child] = api.NAME_LABEL
    configured.scanning.disabled = True
    configured.process.ultimate_exiting_timeout = None  # whoever ends the process sees to that
    return configured


def watched_by(namespaces: Collection[str]) -> set[str]:
    """The names of the watches that ``watch`` begins."""
    plurals = (api.PLURAL, *(plural for *_, plural in CHILDREN))
    return {watches.name(plural, namespace) for plural in plurals for namespace in namespaces or (None,)}


async def watch(
    registry: kopf.OperatorRegistry,
    namespaces: Collection[str],
    seen: Watches,
    *,
    begun: Callable[[], None] = lambda: None,
) -> None:
    """Watches until it is cancelled, or gives up. No namespaces are all of them.

    ``begun`` is called once kopf has taken the process's signals for itself.
    """
    sessions = _Sessions(seen)

    @kopf.on.login(registry=registry)
    async def log_in(**context: Any) -> kopf.AiohttpSession | None:
        login = kopf.login_with_kubeconfig(**context) or _at_its_address(kopf.login_with_service_account(**context))
        return sessions.open(login) if login else None

    others = asyncio.all_tasks()
    try:
        tasks = await kopf.spawn_tasks(
            registry=registry,
            settings=settings(),
            standalone=True,
            clusterwide=not namespaces,
            namespaces=namespaces,
        )
        begun()
        await kopf.run_tasks(tasks, ignored=others)
    finally:
        await sessions.close()


async def resync(queue: WorkQueue[Key], watched: Watched, interval: float) -> None:
    """Wakes every key about every ``interval`` seconds, spread over that time, until it is cancelled."""
    while True:
        await asyncio.sleep(interval)
        for key in list(watched.keys):
            queue.add_after(key, random.uniform(0, interval))  # noqa: S311 - only spreads the load
