"""200 resources at once, on a real API server with no controllers and no nodes beside the operator.

It says how long the operator takes until every resource's status is current, what it reads and writes for each, and
what that costs in memory and CPU; and, right after it on the same API server, how long a plain client takes that makes
the same writes, as many at a time, and does nothing else. The ratio of the two is the operator's own part, whatever the
machine. A run is made several times, each on an API server of its own, and the medians are shown: a machine that is
busy with something else makes single runs worthless. CPU times bear that better than seconds do.

``python -m bench.converge [--resources N] [--runs N] [--json FILE]``
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import os
import platform
import re
import signal
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml

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
#: Nothing asked for so long is taken for an empty queue.
QUIET_SECONDS = 5.0

WRITING = ("POST", "PUT", "PATCH", "APPLY", "DELETE")
#: Leader election, and what the API server does by itself where a Service gets its address.
NOT_COUNTED = ("leases", "ipaddresses")
#: What the operator reads by name, and nobody else does here.
READ = (api.PLURAL, "deployments", "services", "networkpolicies", "controllerrevisions", "pods")

PATHS = {
    api.KIND: f"/apis/{api.API_VERSION}/namespaces/{{}}/{api.PLURAL}",
    "ControllerRevision": "/apis/apps/v1/namespaces/{}/controllerrevisions",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "Event": "/apis/events.k8s.io/v1/namespaces/{}/events",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
    "Service": "/api/v1/namespaces/{}/services",
}

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


@dataclass(frozen=True)
class Requests:
    """What the API server has answered so far. ``writes`` are by ``resource`` or ``resource/subresource``."""

    reads: Counter[str]
    writes: Counter[str]

    @classmethod
    def so_far(cls, kubectl: Kubectl) -> Requests:
        counted = cls(Counter(), Counter())
        for line in kubectl("get", "--raw", "/metrics").splitlines():
            if not line.startswith("apiserver_request_total{"):
                continue
            labels, _, value = line.partition("} ")
            said = dict(re.findall(r'(\w+)="([^"]*)"', labels))
            resource = said["resource"]
            if said["verb"] in WRITING and resource not in NOT_COUNTED:
                counted.writes["/".join(filter(None, (resource, said["subresource"])))] += int(float(value))
            elif said["verb"] == "GET" and resource in READ:
                counted.reads[resource] += int(float(value))
        return counted

    @property
    def passes(self) -> int:
        """Each of the operator's passes begins with one read of its resource."""
        return self.reads[api.PLURAL]

    def __sub__(self, before: Requests) -> Requests:
        return Requests(self.reads - before.reads, self.writes - before.writes)


async def quiet(kubectl: Kubectl) -> Requests:
    """The requests, once none has come for a while."""
    before, since = Requests.so_far(kubectl), time.monotonic()
    while time.monotonic() - since < QUIET_SECONDS:
        await asyncio.sleep(0.5)
        now = Requests.so_far(kubectl)
        if now != before:
            before, since = now, time.monotonic()
    return before


class Client:
    """A client with as little of its own as can be: what it costs is what HTTP costs."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    @classmethod
    @contextlib.asynccontextmanager
    async def connect(cls, known: dict[str, Any]) -> AsyncIterator[Client]:
        """``known`` is a kubeconfig with a token."""
        cluster, user = known["clusters"][0]["cluster"], known["users"][0]["user"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        async with aiohttp.ClientSession(
            cluster["server"],
            headers={"Authorization": f"Bearer {user['token']}"},
            connector=aiohttp.TCPConnector(ssl=ssl.create_default_context(cadata=authority)),
            timeout=aiohttp.ClientTimeout(total=None),
            read_bufsize=2**21,
            raise_for_status=True,
        ) as session:
            yield cls(session)

    async def create(self, manifest: Manifest) -> None:
        path = PATHS[manifest["kind"]].format(manifest["metadata"]["namespace"])
        async with self._session.post(path, json=manifest) as answer:
            await answer.read()

    async def apply(self, manifest: Manifest) -> None:
        metadata = manifest["metadata"]
        path = f"{PATHS[manifest['kind']].format(metadata['namespace'])}/{metadata['name']}"
        async with self._session.patch(
            f"{path}/status" if "status" in manifest else path,
            params={"fieldManager": render.MANAGER, "force": "true"},
            headers={"Content-Type": "application/apply-patch+yaml"},
            data=json.dumps(manifest),
        ) as answer:
            await answer.read()

    async def version(self, namespace: str) -> str:
        """The resourceVersion from which to watch. The API server may still be getting ready to serve the kind."""
        while True:
            try:
                async with self._session.get(PATHS[api.KIND].format(namespace)) as answer:
                    return str((await answer.json())["metadata"]["resourceVersion"])
            except aiohttp.ClientResponseError as error:
                if error.status != 429:
                    raise
            await asyncio.sleep(0.2)

    async def watch_current(self, namespace: str, since: str, wanted: int) -> None:
        """Returns once ``wanted`` resources have a status of their current generation."""
        seen = set()
        query = {"watch": "true", "resourceVersion": since, "timeoutSeconds": str(int(2 * CONVERGE_SECONDS))}
        async with self._session.get(PATHS[api.KIND].format(namespace), params=query) as answer:
            async for line in answer.content:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise RuntimeError(f"the watch failed: {event['object']}")
                metadata, status = event["object"]["metadata"], event["object"].get("status") or {}
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
    kinds = "controllerrevisions.apps,services,networkpolicies,deployments.apps,speculatordeployments.speculators.dev"
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
    order = ["ControllerRevision", "Service", "NetworkPolicy", "Deployment", api.KIND]
    for manifests in found.values():
        manifests.sort(key=lambda manifest: order.index(manifest["kind"]))
    for live in kubectl.get("events.events.k8s.io", f"--namespace={namespace}")["items"]:
        manifest = {key: value for key, value in live.items() if key not in ("metadata", "series")}
        found[live["regarding"]["name"]].append({**manifest, "metadata": {"generateName": "bench-"}})
    return found


async def alone(
    connection: Client, namespace: str, made: list[Manifest], written: dict[str, list[Manifest]]
) -> tuple[float, float]:
    """What a client takes for the same creations and the same writes, with nothing to find out or to decide.

    Returns:
        Seconds, and seconds of CPU.
    """
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

    started, cpu = time.monotonic(), time.process_time()
    async with asyncio.TaskGroup() as group:
        group.create_task(bounded(CREATING, [lambda item=item: create(item) for item in made]))  # type: ignore[misc]
        group.create_task(bounded(Settings().workers, [write] * len(made)))
    return time.monotonic() - started, time.process_time() - cpu


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
    """One run."""
    for namespace in ("warm", "bench", "alone"):
        kubectl("create", "namespace", namespace)
    install(kubectl)
    kubeconfig = operator_kubeconfig(kubectl, folder)
    settings = {"SPECULATOR_HF_ENDPOINT": endpoint}
    log = folder / "operator.log"
    known = json.loads(kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
    async with Client.connect(known) as connection:
        with operator(kubeconfig, log, settings) as process:
            # One resource first: imports, discovery and connections belong to the start, not to the work.
            await converge(connection, "warm", resources(1, "warm"))
            before, idle = await quiet(kubectl), Process.of(process.pid)
            created, seconds = await converge(connection, "bench", resources(number, "bench"))
            after, loaded = await quiet(kubectl), Process.of(process.pid)
        with operator(kubeconfig, log, settings):
            restarted = await looked_at_all(kubectl, after, number + 1)
        floor, floor_cpu = await alone(connection, "alone", resources(number, "alone"), written_for(kubectl, "bench"))
        plain = Requests.so_far(kubectl) - restarted
    made = Counter({api.PLURAL: number})
    asked, cpu = after - before, loaded.cpu - idle.cpu
    by_operator = asked.writes - made
    return {
        "seconds to create": created,
        "seconds to converge": seconds,
        "seconds of the same writes alone": floor,
        "ratio of seconds": seconds / floor,
        "CPU ms per resource": cpu / number * 1000,
        "CPU ms per resource of the same writes alone": floor_cpu / number * 1000,
        "ratio of CPU": cpu / floor_cpu,
        "passes per resource": asked.passes / number,
        "reads per resource": asked.reads.total() / number,
        "writes per resource": by_operator.total() / number,
        **{f"writes per resource: {name}": count / number for name, count in sorted(by_operator.items())},
        "writes per resource alone": (plain.writes - made).total() / number,
        "passes after a restart": (restarted - after).passes,
        "writes after a restart": (restarted - after).writes.total(),
        "MiB idle": idle.memory,
        "MiB afterwards": loaded.memory,
        "MiB at most": loaded.peak,
    }


async def converge(connection: Client, namespace: str, made: list[Manifest]) -> tuple[float, float]:
    """Creates resources; the seconds until all are created, and until the status of each is of its generation."""
    since = await connection.version(namespace)
    started = time.monotonic()
    async with asyncio.timeout(CONVERGE_SECONDS), asyncio.TaskGroup() as group:  # a watch that fails ends it all
        group.create_task(connection.watch_current(namespace, since, len(made)))
        await bounded(CREATING, [lambda item=item: connection.create(item) for item in made])  # type: ignore[misc]
        created = time.monotonic() - started
    return created, time.monotonic() - started


async def looked_at_all(kubectl: Kubectl, before: Requests, number: int) -> Requests:
    """The requests after an operator that was started anew has looked at every resource, and is done.

    Raises:
        TimeoutError: it hasn't: that it wrote nothing would say nothing.
    """
    async with asyncio.timeout(CONVERGE_SECONDS):
        now = before
        while now.passes - before.passes < number:
            await asyncio.sleep(0.5)
            now = Requests.so_far(kubectl)
    return await quiet(kubectl)


def table(runs: list[dict[str, float]], medians: dict[str, float]) -> str:
    """Rows of a name, the median, and each run's value."""
    rows = [(name, f"{median:.2f}", *(f"{run.get(name, 0):.2f}" for run in runs)) for name, median in medians.items()]
    rows.insert(0, ("", "median", *(f"run {number}" for number in range(1, len(runs) + 1))))
    width = max(len(row[0]) for row in rows)
    return "\n".join(f"{row[0]:{width}}" + "".join(f"{cell:>10}" for cell in row[1:]) for row in rows)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.converge", description=__doc__)
    parser.add_argument("--resources", type=int, default=200, metavar="N")
    parser.add_argument("--runs", type=int, default=3, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result here, too")
    arguments = parser.parse_args()
    load, runs = [os.getloadavg()[0]], []
    for number in range(1, arguments.runs + 1):
        print(f"run {number} of {arguments.runs} (about a minute)", file=sys.stderr)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            with hub(folder / "hub.log") as endpoint, ControlPlane() as plane:
                kubectl = Kubectl(binary("kubectl"), plane.kubeconfig)
                runs.append(asyncio.run(measure(kubectl, arguments.resources, endpoint, folder)))
        load.append(os.getloadavg()[0])
    medians = {name: statistics.median(run.get(name, 0.0) for run in runs) for name in runs[0]}
    machine = {"processors": os.cpu_count(), "python": platform.python_version(), "load_average_between_runs": load}
    result = {"resources": arguments.resources, "workers": Settings().workers, **machine}
    print("\n".join(f"{name.replace('_', ' ')}: {value}" for name, value in result.items()))
    print(table(runs, medians))
    text = json.dumps({**result, "medians": medians, "runs": runs})
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
