"""Each right that the operator ships with is needed: without it, something fails that works with it.

As many operators as there are rights run at the same time, each in a namespace of its own, as an account that lacks one
of them. All live through the same: the operator gets ready, a gated model is read by a Job, the pods get ready, what
somebody changes or deletes is repaired, the history is cut, and after a restart it is scaled. Only the one that lacks
nothing gets to the end. The others stop where the API server denies them something, however long they are waited for.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import re
import secrets
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from speculator_operator import api
from speculator_operator.reconciler import HISTORY
from tests.support.engines import Engines
from tests.support.eventually import eventually_async
from tests.support.operator import shipped
from tests.support.operators import Operators
from tests.support.world import DRAFT, VERIFIER, files
from tools.localcluster.controlplane import ControlPlane
from tools.localcluster.ports import held_port
from tools.localcluster.simulated import SimulatedNodes
from tools.testhub import Hub

Manifest = dict[str, Any]

LONGEST_SECONDS = 480.0
#: Operators that start at the same time: each takes a core for a moment.
STARTING = 3
#: One that was denied something has so long for a step, or twice as long as the one took that lacks nothing.
PATIENCE_SECONDS = 5.0
ACCOUNT = "operator"
TOKEN = "hf_for-the-gated-draft"  # noqa: S105 - of the hub for tests
#: Nothing but a watch wakes a pass.
SETTINGS = {
    "reread_interval": 600,
    "resync_interval": 600,
    "scrape_interval": 600,
    "leader_election": True,
    "lease_seconds": 60,
    "resolver_image": "registry.example/speculator-operator:test",
}
DENIED = re.compile(r'cannot (\w+) resource \\*"([\w/.-]+?)\\*" in API group \\*"([\w.]*)\\*"')


@dataclass(frozen=True)
class Right:
    group: str
    resource: str
    verb: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}.{self.group}".rstrip(".")


RULES = [rule for role in shipped() if role["kind"] in ("Role", "ClusterRole") for rule in role["rules"]]
RIGHTS = sorted(
    {
        Right(group, resource, verb)
        for rule in RULES
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    },
    key=str,
)


def rules_without(right: Right | None) -> list[Manifest]:
    """The shipped rules, but for one verb on one resource."""
    split = [
        {**rule, "apiGroups": [group], "resources": [resource], "verbs": [verb]}
        for rule in RULES
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]
    return [it for it in split if Right(it["apiGroups"][0], it["resources"][0], it["verbs"][0]) != right]


Ask = Callable[..., Awaitable[Manifest]]


@dataclass
class Life:
    """Of one operator: the namespace that it looks after, and how far it got. ``took`` is in seconds."""

    namespace: str
    port: int
    log: Path
    ask: Ask
    operators: Operators
    start: Callable[..., Awaitable[int]]
    pid: int = 0
    took: dict[str, float] = field(default_factory=dict)

    @property
    def reached(self) -> list[str]:
        return list(self.took)

    @property
    def denied(self) -> set[str]:
        """What it asked for and was not allowed, by the words of the API server."""
        found = DENIED.findall(self.log.read_text())
        return {str(Right(group, resource, verb)) for verb, resource, group in found}

    async def is_ready(self) -> bool:
        """Whether the operator says that it leads, and sees everything."""
        try:
            async with aiohttp.request("GET", f"http://127.0.0.1:{self.port}/readyz") as answer:
                return answer.status == 200 and "leads" in await answer.text()
        except aiohttp.ClientError:  # it hasn't begun to listen
            return False

    async def get(self, kind: str, name: str = "a") -> Manifest:
        return await self.ask("GET", self._path(kind, name))

    async def items(self, kind: str) -> list[Manifest]:
        found: list[Manifest] = (await self.ask("GET", self._path(kind)))["items"]
        return found

    async def change(self, kind: str, change: Manifest, name: str = "a") -> None:
        await self.ask("PATCH", self._path(kind, name), change)

    async def create(self, kind: str, body: Manifest) -> None:
        await self.ask("POST", self._path(kind), body)

    async def delete(self, kind: str, name: str = "a") -> None:
        await self.ask("DELETE", self._path(kind, name))

    def _path(self, kind: str, name: str = "") -> str:
        return f"{PATHS[kind]}/namespaces/{self.namespace}/{kind}/{name}".rstrip("/")

    async def live(self, whole: Life, turn: asyncio.Semaphore) -> None:
        """Takes step after step, until the end or until it is stuck. ``whole`` is the life that lacks nothing."""
        async with turn:
            self.pid = await self.start()
            await until(self._has_begun)
        for name, step in STEPS.items():
            began = time.monotonic()
            taking = asyncio.create_task(step(self))
            while not taking.done():
                await asyncio.wait({taking}, timeout=0.5)
                patience = max(PATIENCE_SECONDS, 2 * whole.took.get(name, LONGEST_SECONDS))
                if self.denied and time.monotonic() - began > patience:
                    taking.cancel()
                    await asyncio.wait({taking})
                    await self.operators.stop(self.pid)
                    return
            await taking
            self.took[name] = time.monotonic() - began

    async def _has_begun(self) -> bool:
        return bool(self.denied) or await self.is_ready()


PATHS = {
    api.PLURAL: f"/apis/{api.API_VERSION}",
    "controllerrevisions": "/apis/apps/v1",
    "deployments": "/apis/apps/v1",
    "events": "/apis/events.k8s.io/v1",
    "jobs": "/apis/batch/v1",
    "networkpolicies": "/apis/networking.k8s.io/v1",
    "pods": "/api/v1",
    "serviceaccounts": "/api/v1",
    "services": "/api/v1",
}

until = functools.partial(eventually_async, within=LONGEST_SECONDS, every=0.3)


async def operator_is_ready(life: Life) -> None:
    """It has listed, and watches, all that it is to watch."""
    await until(life.is_ready)


async def ready(life: Life) -> None:
    async def check() -> bool:
        found = await life.get(api.PLURAL)
        status = found.get("status") or {}
        conditions = {it["type"]: it["status"] for it in status.get("conditions", [])}
        current = status.get("observedGeneration") == found["metadata"]["generation"]
        return bool(current and conditions["Ready"] == "True")

    await until(check)


async def job_goes(life: Life) -> None:
    async def check() -> bool:
        conditions = ((await life.get(api.PLURAL)).get("status") or {}).get("conditions", [])
        resolved = any((it["type"], it["status"]) == ("Resolved", "True") for it in conditions)
        return bool(resolved) and not await life.items("jobs")

    await until(check)


async def event_tells(life: Life) -> None:
    async def check() -> bool:
        return any(it["regarding"]["kind"] == api.KIND for it in await life.items("events"))

    await until(check)


async def relabelled(life: Life, kind: str) -> None:
    """Nothing else follows from a label, that could wake a pass."""
    await life.change(kind, {"metadata": {"labels": {api.NAME_LABEL: "a", "app.kubernetes.io/component": "other"}}})

    async def check() -> bool:
        labels: Manifest = (await life.get(kind))["metadata"]["labels"]
        return bool(labels["app.kubernetes.io/component"] == "engine")

    await until(check)


async def history_is_cut(life: Life) -> None:
    (current,) = await life.items("controllerrevisions")
    metadata = current["metadata"]
    kept = {key: metadata[key] for key in ("labels", "ownerReferences")}
    for number in range(HISTORY):
        old = {"metadata": {"name": f"a-old-{number}", **kept}, "revision": 0, "data": {}}
        await life.create("controllerrevisions", old)
    await life.change(api.PLURAL, {"spec": {"engine": {"args": ["--seed=1"]}}})
    await ready(life)

    async def check() -> bool:
        return len(await life.items("controllerrevisions")) <= HISTORY + 1

    await until(check)


async def pin_is_back(life: Life) -> None:
    (pin,) = await life.items("controllerrevisions")
    await life.delete("controllerrevisions", pin["metadata"]["name"])

    async def check() -> bool:
        return [it["metadata"]["name"] for it in await life.items("controllerrevisions")] == [pin["metadata"]["name"]]

    await until(check)
    await ready(life)


async def restarted(life: Life) -> None:
    await life.operators.stop(life.pid)
    await life.change(api.PLURAL, {"spec": {"replicas": 2}})
    life.pid = await life.start(network_policies=False)

    async def check() -> bool:
        return bool((await life.get(api.PLURAL))["status"]["readyReplicas"] == 2)

    await until(check)
    await ready(life)


async def isolation_is_lifted(life: Life) -> None:
    async def check() -> bool:
        return not await life.items("networkpolicies")

    await until(check)


STEPS: dict[str, Callable[[Life], Coroutine[Any, Any, None]]] = {
    "the operator is ready": operator_is_ready,
    "a Job reads the model, and goes": job_goes,
    "the pods are ready": ready,
    "an event tells of it": event_tells,
    "a Service is repaired": functools.partial(relabelled, kind="services"),
    "a Deployment is repaired": functools.partial(relabelled, kind="deployments"),
    "a NetworkPolicy is repaired": functools.partial(relabelled, kind="networkpolicies"),
    "a pin is written again": pin_is_back,
    "the history is cut": history_is_cut,
    "after a restart it is scaled": restarted,
    "NetworkPolicies that aren't wanted any more are gone": isolation_is_lifted,
}


@asynccontextmanager
async def asking(cluster: ControlPlane) -> AsyncIterator[Ask]:
    """Requests to the API server, as the administrator."""
    headers = {"Authorization": f"Bearer {cluster.token}"}
    tls = ssl.create_default_context(cafile=str(cluster.ca))
    async with aiohttp.ClientSession(cluster.url, headers=headers) as session:

        async def ask(method: str, path: str, body: Manifest | None = None) -> Manifest:
            content = {"Content-Type": "application/merge-patch+json" if method == "PATCH" else "application/json"}
            data = json.dumps(body) if body is not None else None
            async with session.request(method, path, data=data, headers=content, ssl=tls) as answer:
                found: Manifest = await answer.json()
                if answer.status >= 300:
                    raise LookupError(f"{method} {path}: {found.get('message')}")
                return found

        yield ask


async def prepare(ask: Ask, namespace: str, right: Right | None, port: int) -> str:
    """A namespace with a resource, and an account that lacks a right. Returns the account's token."""
    rbac = "rbac.authorization.k8s.io"
    await ask("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    metadata = {"name": ACCOUNT, "namespace": namespace}
    subject = {"kind": "ServiceAccount", **metadata}
    reference = {"apiGroup": rbac, "kind": "Role", "name": ACCOUNT}
    roles, accounts = f"/apis/{rbac}/v1/namespaces/{namespace}", f"/api/v1/namespaces/{namespace}/serviceaccounts"
    await ask("POST", accounts, {"metadata": metadata})
    await ask("POST", f"{roles}/roles", {"metadata": metadata, "rules": rules_without(right)})
    await ask("POST", f"{roles}/rolebindings", {"metadata": metadata, "roleRef": reference, "subjects": [subject]})
    resource = {
        "apiVersion": api.API_VERSION,
        "kind": api.KIND,
        "metadata": {"name": "a"},
        "spec": {
            "model": {"uri": "org/draft", "tokenSecretRef": {"name": "hub", "key": "token"}},
            "engine": {"port": port},
        },
    }
    await ask("POST", f"/apis/{api.API_VERSION}/namespaces/{namespace}/{api.PLURAL}", resource)
    token: str = (await ask("POST", f"{accounts}/{ACCOUNT}/token", {"spec": {}}))["status"]["token"]
    return token


def report(hub: Hub) -> str:
    """What a pod that reads the draft says at its end."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "report"
        command = [sys.executable, "-m", "speculator_operator", "read", "org/draft", f"--report={file}"]
        environment = {"PATH": os.environ["PATH"], "SPECULATOR_HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN}
        subprocess.run(command, env=environment, check=True, timeout=60)
        return file.read_text()


async def play_kubelet(ask: Ask, words: str) -> None:
    """Ends the pods of Jobs, once they have a node, with what they would say."""
    ended = {"terminated": {"exitCode": 0, "reason": "Completed", "message": words}}
    container = {"name": "main", "image": "any", "imageID": "", "ready": False, "restartCount": 0, "state": ended}
    over = {"status": {"phase": "Succeeded", "containerStatuses": [container]}}
    while True:
        found = await ask("GET", "/api/v1/pods?labelSelector=app.kubernetes.io/component=resolver")
        for pod in found["items"]:
            metadata = pod["metadata"]
            if pod["spec"].get("nodeName") and pod["status"].get("phase") == "Pending":
                path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/status"
                try:
                    await ask("PATCH", path, over)
                except LookupError:  # it is gone, as its Job's report isn't wanted any more
                    continue
        await asyncio.sleep(0.3)


async def live_all(cluster: ControlPlane, hub: Hub, engines: Engines, folder: Path) -> dict[Right | None, Life]:
    words = await asyncio.to_thread(report, hub)
    run = secrets.token_hex(3)
    without = {right: f"rights-{run}-{number}" for number, right in enumerate((None, *RIGHTS))}
    lives: dict[Right | None, Life] = {}
    async with asking(cluster) as ask, Operators.forking() as operators, AsyncExitStack() as ports:
        tokens = await asyncio.gather(*(prepare(ask, name, right, engines.port) for right, name in without.items()))
        for (right, namespace), token in zip(without.items(), tokens, strict=True):
            log = folder / f"{namespace}.log"
            log.touch()
            account = f"system:serviceaccount:{namespace}:{ACCOUNT}"
            kubeconfig = cluster.kubeconfig_for(account, token=token)
            port = ports.enter_context(held_port())
            settings = {**SETTINGS, "hf_endpoint": hub.url, "lease_namespace": namespace, "http_port": port}
            start = functools.partial(operators.start, ["run", f"--namespace={namespace}"], log, kubeconfig, **settings)
            lives[right] = Life(namespace, port, log, ask, operators, start)
        turn = asyncio.Semaphore(STARTING)
        kubelet = asyncio.create_task(play_kubelet(ask, words))
        try:
            async with asyncio.timeout(LONGEST_SECONDS), asyncio.TaskGroup() as all_lives:
                for life in lives.values():
                    all_lives.create_task(life.live(lives[None], turn))
        except TimeoutError:  # the tests say who isn't through
            pass
        finally:
            kubelet.cancel()
            await asyncio.wait({kubelet})
        for namespace in without.values():
            await ask("DELETE", f"/api/v1/namespaces/{namespace}")
    return lives


@pytest.fixture(scope="module")
def lives(
    cluster: ControlPlane, nodes: SimulatedNodes, tmp_path_factory: pytest.TempPathFactory
) -> dict[Right | None, Life]:
    """How far each got, by the right that it lacks."""
    del nodes  # they are there, and that is all
    with Hub() as hub, Engines() as engines:
        hub.commit("org/verifier", files(VERIFIER))
        hub.commit("org/draft", files(DRAFT))
        hub.guard("org/draft", TOKEN)
        return asyncio.run(live_all(cluster, hub, engines, tmp_path_factory.mktemp("rights")))


pytestmark = pytest.mark.timeout(LONGEST_SECONDS + 120)


def test_with_all_rights_it_gets_to_the_end(lives: dict[Right | None, Life]) -> None:
    assert lives[None].reached == list(STEPS), lives[None].log.read_text()[-3000:]
    assert lives[None].denied == set()


@pytest.mark.parametrize("right", RIGHTS, ids=str)
def test_without_one_it_does_not(lives: dict[Right | None, Life], right: Right) -> None:
    life = lives[right]
    assert life.denied == {str(right)}, life.log.read_text()[-3000:]
    assert life.reached != list(STEPS)
