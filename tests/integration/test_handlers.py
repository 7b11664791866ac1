"""The watches against a real API server: they wake keys, write nothing, and survive what ends a watch."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import kopf
import pytest

from speculator_operator import api, handlers
from speculator_operator.handlers import Watched
from speculator_operator.watches import Watches
from speculator_operator.workqueue import WorkQueue
from tests.support.apiproxy import ApiProxy
from tests.support.eventually import eventually_async
from tools.localcluster.controlplane import ControlPlane

Key = tuple[str, str]

RESOURCE = """
apiVersion: speculators.dev/v1alpha1
kind: SpeculatorDeployment
metadata: {name: a}
spec: {model: {uri: org/repo}}
"""


@dataclass
class Watching:
    cluster: ControlPlane
    namespace: str
    watched: Watched
    woken: list[Key]
    watches: Watches
    own: str = "no annotation"
    """Of this annotation, what shows an object is taken for an echo."""

    def echoes(self, body: Mapping[str, Any]) -> bool:
        return self.own in (body["metadata"].get("annotations") or {})

    @property
    def key(self) -> Key:
        return self.namespace, "a"

    async def kubectl(self, *args: str, stdin: str | None = None) -> None:
        await asyncio.to_thread(self.cluster.kubectl, "--namespace", self.namespace, *args, stdin=stdin)

    async def wakes(self, key: Key | None = None) -> None:
        wanted = key or self.key
        await self.until(lambda: wanted in self.woken)

    async def until(self, holds: Callable[[], bool]) -> None:
        async def check() -> bool:
            return holds()

        await eventually_async(check)


@pytest.fixture
def kubeconfig(cluster: ControlPlane, proxy: ApiProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig_for("admin", server=proxy.url)))


@asynccontextmanager
async def begun(cluster: ControlPlane, namespace: str) -> AsyncIterator[Watching]:
    """No fixture: when kopf ends, it cancels every task of the loop that is younger than itself."""
    queue: WorkQueue[Key] = WorkQueue()
    made = Watching(cluster, namespace, Watched(), [], Watches(handlers.watched_by([namespace]), time.monotonic))

    async def process(key: Key) -> None:
        made.woken.append(key)

    registry = kopf.OperatorRegistry()
    handlers.register(registry, queue, made.watched, echoes=made.echoes)
    tasks = [
        asyncio.create_task(queue.run(process, 2)),
        asyncio.create_task(handlers.watch(registry, [namespace], made.watches)),
    ]
    try:
        yield made
    finally:
        for task in reversed(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.usefixtures("kubeconfig")
async def test_a_resource_and_its_labelled_children_wake_its_key_and_nothing_is_written(
    cluster: ControlPlane, namespace: str, proxy: ApiProxy
) -> None:
    async with begun(cluster, namespace) as watching:
        await watching.kubectl("apply", "-f", "-", stdin=RESOURCE)
        await watching.wakes()
        assert watching.watched.keys == {watching.key}

        for change in (
            ("create", "service", "clusterip", "b", "--tcp=80"),
            ("label", "service", "b", "speculators.dev/name=a"),
            ("annotate", "service", "b", "x=1"),
            ("delete", "service", "b"),
        ):
            watching.woken.clear()
            await watching.kubectl(*change)
            if change[0] != "create":
                await watching.wakes()

        watching.woken.clear()
        await watching.kubectl("run", "p", "--image=x:1", "--labels=speculators.dev/name=a")
        await watching.until(lambda: "p" in watching.watched.pods(watching.key))
        await watching.wakes()
        await watching.kubectl("delete", "pod", "p", "--force", "--grace-period=0")
        await watching.until(lambda: not watching.watched.pods(watching.key))

        await watching.kubectl("delete", "spd", "a")
        await watching.until(lambda: not watching.watched.keys)
        assert proxy.writes() == []
        assert all(f"/namespaces/{watching.namespace}/" in it.path for it in proxy.lists())


@pytest.mark.usefixtures("kubeconfig")
async def test_an_echo_wakes_nothing_until_it_goes_or_is_listed(cluster: ControlPlane, namespace: str) -> None:
    labels = "--labels=speculators.dev/name="
    async with begun(cluster, namespace) as watching:
        watching.own = "echo"
        await watching.kubectl("run", "o", "--image=x:1", f"{labels}o")
        await watching.wakes((namespace, "o"))  # from now on pods are watched, not listed
        await watching.kubectl("run", "p", "--image=x:1", f"{labels}a", "--annotations=echo=1")
        await watching.until(lambda: "p" in watching.watched.pods(watching.key))
        await watching.kubectl("run", "q", "--image=x:1", f"{labels}b")
        await watching.wakes((namespace, "b"))
        assert watching.key not in watching.woken
        await watching.kubectl("delete", "pod", "p", "--force", "--grace-period=0")
        await watching.wakes()

    await asyncio.to_thread(
        cluster.kubectl, "--namespace", namespace, "run", "r", "--image=x:1", f"{labels}a", "--annotations=echo=1"
    )
    async with begun(cluster, namespace) as watching:
        watching.own = "echo"
        await watching.wakes()


@pytest.mark.usefixtures("kubeconfig")
async def test_after_watches_expire_and_the_server_was_away_changes_are_seen_again(
    cluster: ControlPlane, namespace: str, proxy: ApiProxy
) -> None:
    async with begun(cluster, namespace) as watching:
        await watching.kubectl("apply", "-f", "-", stdin=RESOURCE)
        await watching.wakes()
        await watching.until(lambda: any(it.is_watch and it.resource == (api.PLURAL,) for it in list(proxy.requests)))
        watching.woken.clear()
        proxy.expire_watches()
        await watching.wakes()  # since it is listed again
        watching.woken.clear()
        await watching.kubectl("annotate", "spd", "a", "x=1")
        await watching.wakes()

        watching.woken.clear()
        proxy.unavailable(2)
        proxy.expire_watches()
        await watching.kubectl("annotate", "spd", "a", "y=1")
        await watching.wakes()
        watching.woken.clear()
        await watching.kubectl("annotate", "spd", "a", "z=1")
        await watching.wakes()
        assert proxy.writes() == []
