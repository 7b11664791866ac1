"""200 resources at once, on a real API server with no controllers and no nodes beside the operator.

It says how long the operator takes until every resource's status is current, what it writes for each, and what that
costs in memory and CPU; and, in the same run, how long a plain client takes that makes the same writes, as many at a
time, and does nothing else. The ratio of the two is the operator's own part, whatever the machine.

``python -m bench.converge [--resources N] [--json FILE]``
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kubernetes.aio import client, config, watch
from kubernetes.aio.dynamic import DynamicClient

from speculator_operator import api
from speculator_operator.core import render
from speculator_operator.settings import Settings
from tools.installation import ROOT, Kubectl, install, operator, operator_kubeconfig
from tools.localcluster.binaries import binary
from tools.localcluster.controlplane import ControlPlane

SAMPLE = ROOT / "config" / "samples" / "tiny-agree.yaml"
#: Creations in flight while the resources are made: more than the operator works on, so that it isn't kept waiting.
CREATING = 32
CONVERGE_SECONDS = 600.0
#: Nothing written for so long is taken for an empty queue.
QUIET_SECONDS = 5.0

#: Leader election, and what the API server does by itself where a Service gets its address.
NOT_COUNTED = ("leases", "ipaddresses")

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Process:
    """What a process has used so far: memory in MiB, CPU in seconds."""

    memory: float
    peak: float
    cpu: float

    @classmethod
    def of(cls, pid: int) -> Process:
        status = Path(f"/proc/{pid}/status").read_text()
        kibibytes = {name: int(value) for name, value in re.findall(r"^(VmRSS|VmHWM):\s+(\d+)", status, re.MULTILINE)}
        # After the name, which may hold anything but ends with the last parenthesis, utime is the 12th field.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
        return cls(kibibytes["VmRSS"] / 1024, kibibytes["VmHWM"] / 1024, ticks / os.sysconf("SC_CLK_TCK"))


def writes(kubectl: Kubectl) -> Counter[str]:
    """Writes that the API server has answered, by ``resource`` or ``resource/subresource``."""
    counted: Counter[str] = Counter()
    for line in kubectl("get", "--raw", "/metrics").splitlines():
        if not line.startswith("apiserver_request_total{"):
            continue
        labels, _, value = line.partition("} ")
        said = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        if said["verb"] in ("POST", "PUT", "PATCH", "APPLY", "DELETE") and said["resource"] not in NOT_COUNTED:
            counted["/".join(filter(None, (said["resource"], said["subresource"])))] += int(float(value))
    return counted


async def quiet(kubectl: Kubectl) -> Counter[str]:
    """The writes, once none has come for a while."""
    before, since = writes(kubectl), time.monotonic()
    while time.monotonic() - since < QUIET_SECONDS:
        await asyncio.sleep(0.5)
        now = writes(kubectl)
        if now != before:
            before, since = now, time.monotonic()
    return before


class Client:
    """A plain client: one way to create, one to apply."""

    def __init__(self, dynamic: DynamicClient) -> None:
        self._dynamic = dynamic
        self._resources: dict[tuple[str, str], Any] = {}

    @classmethod
    @contextlib.asynccontextmanager
    async def connect(cls, kubeconfig: str) -> AsyncIterator[Client]:
        configuration = client.Configuration()
        await config.load_kube_config(kubeconfig, client_configuration=configuration)
        async with client.ApiClient(configuration) as connection:
            yield cls(await DynamicClient(connection))

    async def _resource(self, manifest: Manifest) -> Any:
        key = manifest["apiVersion"], manifest["kind"]
        if key not in self._resources:
            self._resources[key] = await self._dynamic.resources.get(api_version=key[0], kind=key[1])
        return self._resources[key]

    async def create(self, manifest: Manifest) -> None:
        await (await self._resource(manifest)).create(body=manifest)

    async def apply(self, manifest: Manifest) -> None:
        resource = await self._resource(manifest)
        if set(manifest) == {"apiVersion", "kind", "metadata", "status"}:
            resource = resource.subresources["status"]
        await self._dynamic.server_side_apply(
            resource, body=manifest, field_manager=render.MANAGER, force_conflicts=True
        )

    async def discover(self, *manifests: Manifest) -> None:
        """Finds where the kinds live, one after the other: the library's discovery bears no company."""
        for manifest in manifests:
            await self._resource(manifest)

    async def watch_current(self, namespace: str, wanted: int) -> None:
        """Returns once ``wanted`` resources have a status of their current generation."""
        resource = await self._resource({"apiVersion": api.API_VERSION, "kind": api.KIND})
        seen = set()
        async for event in self._dynamic.watch(resource, namespace=namespace, watcher=watch.Watch()):
            body = event["raw_object"]
            metadata, status = body["metadata"], body.get("status") or {}
            if status.get("observedGeneration") == metadata["generation"]:
                seen.add(metadata["name"])
            if len(seen) == wanted:
                return
        raise RuntimeError(f"the watch ended with {len(seen)} of {wanted} resources current")


async def bounded(limit: int, work: list[Callable[[], Awaitable[None]]]) -> None:
    """Does all of ``work``, ``limit`` at a time, in its order."""
    remaining = iter(work)

    async def worker() -> None:
        for item in remaining:
            await item()

    async with asyncio.TaskGroup() as group:
        for _ in range(limit):
            group.create_task(worker())


def resources(number: int, namespace: str) -> list[Manifest]:
    sample = yaml.safe_load(SAMPLE.read_text())
    return [{**sample, "metadata": {"name": f"bench-{i:04}", "namespace": namespace}} for i in range(number)]


def written_for(kubectl: Kubectl, namespace: str) -> dict[str, list[Manifest]]:
    """What the operator wrote for each resource, in its order, as a client would apply it to another namespace."""
    found: dict[str, list[Manifest]] = {}
    kinds = "controllerrevisions.apps,services,deployments.apps,speculatordeployments.speculators.dev"
    for live in kubectl.get(kinds, f"--namespace={namespace}")["items"]:
        name = live["metadata"].get("labels", {}).get(api.NAME_LABEL) or live["metadata"]["name"]
        manifest = {"apiVersion": live["apiVersion"], "kind": live["kind"]}
        if live["kind"] == api.KIND:
            manifest |= {"metadata": {"name": name}, "status": live["status"]}
        elif name.startswith("bench-"):
            manifest |= {"metadata": {key: live["metadata"][key] for key in ("name", "labels")}}
            manifest |= {key: live[key] for key in ("data", "revision", "spec") if key in live}
            if live["kind"] == "Service":
                manifest["spec"] = {key: live["spec"][key] for key in ("type", "selector", "ports")}
        else:
            continue
        found.setdefault(name, []).append(manifest)
    order = ["ControllerRevision", "Service", "Deployment", api.KIND]
    for manifests in found.values():
        manifests.sort(key=lambda manifest: order.index(manifest["kind"]))
    for live in kubectl.get("events.events.k8s.io", f"--namespace={namespace}")["items"]:
        manifest = {key: value for key, value in live.items() if key not in ("metadata", "series")}
        found[live["regarding"]["name"]].append({**manifest, "metadata": {"generateName": "bench-"}})
    return found


async def alone(connection: Client, namespace: str, made: list[Manifest], written: dict[str, list[Manifest]]) -> float:
    """Seconds that a client takes for the same creations and the same writes, with nothing to find out or to decide."""
    created: asyncio.Queue[str] = asyncio.Queue()

    async def create(manifest: Manifest) -> None:
        await connection.create(manifest)
        created.put_nowait(manifest["metadata"]["name"])

    async def write() -> None:
        for manifest in written[await created.get()]:
            placed = {**manifest, "metadata": {**manifest["metadata"], "namespace": namespace}}
            if manifest["kind"] == "Event":
                placed["regarding"] = {**manifest["regarding"], "namespace": namespace}
                await connection.create(placed)
            else:
                await connection.apply(placed)

    await connection.discover(*next(iter(written.values())))
    started = time.monotonic()
    async with asyncio.TaskGroup() as group:
        group.create_task(bounded(CREATING, [lambda item=item: create(item) for item in made]))  # type: ignore[misc]
        group.create_task(bounded(Settings().workers, [write] * len(made)))
    return time.monotonic() - started


@contextlib.contextmanager
def hub(log: Path) -> Iterator[str]:
    """The test hub, in a process of its own, so that it doesn't take turns with the measuring."""
    command = [sys.executable, "-m", "tools.testhub", "--samples", "--port", "0"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=output, text=True)
    try:
        lines = process.stdout or ()
        url = next((line.partition("=")[2] for line in lines if line.startswith("HF_ENDPOINT=")), None)
        if url is None:
            raise RuntimeError(f"the test hub ended with {process.wait()}: {log.read_text()[-2000:]}")
        yield url.strip()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


async def measure(kubectl: Kubectl, number: int, endpoint: str, folder: Path) -> dict[str, Any]:
    for namespace in ("warm", "bench", "alone"):
        kubectl("create", "namespace", namespace)
    install(kubectl)
    kubeconfig = operator_kubeconfig(kubectl, folder)
    settings = {"SPECULATOR_HF_ENDPOINT": endpoint}
    log = folder / "operator.log"
    async with Client.connect(kubectl.kubeconfig) as connection:
        with operator(kubeconfig, log, settings) as process:
            # One resource first: imports, discovery and connections belong to the start, not to the work.
            await converge(connection, "warm", resources(1, "warm"))
            before, idle = await quiet(kubectl), Process.of(process.pid)
            created, seconds = await converge(connection, "bench", resources(number, "bench"))
            after, loaded = await quiet(kubectl), Process.of(process.pid)
        with operator(kubeconfig, log, settings) as process:
            # Long enough to list everything and to look at each resource once.
            await asyncio.sleep(QUIET_SECONDS + seconds)
            restarted = await quiet(kubectl)
        by_operator = after - before - Counter({api.PLURAL: number})
        floor = await alone(connection, "alone", resources(number, "alone"), written_for(kubectl, "bench"))
        plain = await quiet(kubectl) - restarted - Counter({api.PLURAL: number})
    return {
        "resources": number,
        "workers": Settings().workers,
        "seconds_to_create": round(created, 2),
        "seconds_to_converge": round(seconds, 2),
        "seconds_of_the_same_writes_alone": round(floor, 2),
        "ratio": round(seconds / floor, 2),
        "writes_per_resource": {name: round(count / number, 3) for name, count in sorted(by_operator.items())},
        "writes_per_resource_in_all": round(by_operator.total() / number, 3),
        "writes_per_resource_alone": round(plain.total() / number, 3),
        "writes_after_a_restart": (restarted - after).total(),
        "operator_memory_mib": {
            "idle": round(idle.memory, 1),
            "after": round(loaded.memory, 1),
            "peak": round(loaded.peak, 1),
        },
        "operator_cpu_ms_per_resource": round((loaded.cpu - idle.cpu) / number * 1000, 2),
    }


async def converge(connection: Client, namespace: str, made: list[Manifest]) -> tuple[float, float]:
    """Creates resources; the seconds until all are created, and until the status of each is of its generation."""
    await connection.discover(made[0])
    watching = asyncio.create_task(connection.watch_current(namespace, len(made)))
    started = time.monotonic()
    try:
        await bounded(CREATING, [lambda item=item: connection.create(item) for item in made])  # type: ignore[misc]
        created = time.monotonic() - started
        async with asyncio.timeout(CONVERGE_SECONDS):
            await watching
        return created, time.monotonic() - started
    finally:
        watching.cancel()


def table(result: dict[str, Any]) -> str:
    """The result as rows of a name and a value."""
    rows: list[tuple[str, Any]] = []
    for name, value in result.items():
        if isinstance(value, dict):
            rows += [(f"{name.replace('_', ' ')}: {part}", number) for part, number in value.items()]
        else:
            rows.append((name.replace("_", " "), value))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:{width}}  {value:>8}" for name, value in rows)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.converge", description=__doc__)
    parser.add_argument("--resources", type=int, default=200, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result here, too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with hub(folder / "hub.log") as endpoint, ControlPlane() as plane:
            kubectl = Kubectl(binary("kubectl"), plane.kubeconfig)
            result = asyncio.run(measure(kubectl, arguments.resources, endpoint, folder))
    print(table(result))
    text = json.dumps(result)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
