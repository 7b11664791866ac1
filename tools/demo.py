"""``make demo``: the main job from start to end, in three parts that each say what they have shown.

1. A cluster comes up: by default a real control plane and a real node on this machine; ``CLUSTER=kind`` (docker), or
   the cluster of ``KUBECONFIG``, whose nodes are left as they are. Both need ``ENGINE_IMAGE``.
2. The operator is installed and started under its own rights, and a sample is applied.
3. The pod becomes Ready because it has drafted, and a completion is answered.

Where this machine can't run a node, nodes are simulated, and what is then not proven is said. ``KEEP=1`` leaves all of
it running in the background; otherwise nothing stays but the cache.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

import yaml

from tools.installation import (
    ROOT,
    CommandFailed,
    Kubectl,
    install,
    installed,
    kubeconfig_of,
    operator,
    operator_kubeconfig,
    uninstall,
)
from tools.localcluster.binaries import MODULES, BuildFailed, binary, cache, folder
from tools.localcluster.controlplane import ControlPlane, KubectlFailed, StartFailed
from tools.localcluster.node import Node, NodeUnavailable, check_machine
from tools.localcluster.processes import ProcessDied, Processes
from tools.localcluster.simulated import SimulatedNodes
from tools.testhub.checkpoints import publish_samples
from tools.testhub.server import Hub

SAMPLES = ROOT / "config" / "samples"
#: On a cluster that isn't made for the demo.
NAMESPACE = "speculator-demo"
GPUS = 4
GPU = "nvidia.com/gpu"
#: What each of the samples asks for.
GPUS_OF_SAMPLE = 2
READY_SECONDS = 900.0
ACCEPTANCE_SECONDS = 120.0
ANSWER_SECONDS = 60.0
FORWARD_SECONDS = 30.0
STOP_SECONDS = 60.0
DELETE_SECONDS = 180.0
KIND_SECONDS = 600.0
#: How often something is said of a pod that loads, and how much of a line.
PROGRESS_SECONDS = 15.0
LINE = 150
LOG_TAIL = 3000
#: Conditions that are told, in the order in which they come true. The others say the same as Ready in other words.
TOLD = ("Resolved", "SpeculationActive", "Ready")
#: What the background process says when everything has been shown, or failed, so that the foreground can end.
KEPT = "\0kept"

#: Acceptance within seconds instead of minutes, since the demo is its only traffic.
SETTINGS = {"SPECULATOR_SCRAPE_INTERVAL": "2", "SPECULATOR_ACCEPTANCE_WINDOW": "10"}


class DemoFailed(Exception):
    """The demo didn't show what it is for; the message says which part, and why."""


@dataclass(frozen=True)
class Cluster:
    """A cluster to run the demo on.

    ``hub_address`` is this machine's as pods reach it. ``image`` is the engine's image, None for the samples' own.
    ``unproven`` is what can't be shown there, and why; a cluster that runs pods for real has nothing to say.
    """

    kubectl: Kubectl
    shown: str
    hub_address: str
    namespace: str = "default"
    image: str | None = None
    unproven: str | None = None


def say(text: str = "") -> None:
    print(text, flush=True)


def show(command: str, output: str) -> None:
    """A command as a person would type it, and what it said."""
    say(f"  $ {command}")
    show_output(output)


def show_output(output: str) -> None:
    for line in output.rstrip().splitlines():
        say(f"    {line}")


@contextlib.contextmanager
def some_cluster() -> Iterator[Cluster]:
    """The cluster that the environment asks for, and otherwise the most real one that this machine can run."""
    if os.environ.get("CLUSTER") == "kind":
        with kind_cluster() as cluster:
            yield cluster
    elif os.environ.get("CLUSTER"):
        raise DemoFailed(f"CLUSTER must be kind, or not set, not {os.environ['CLUSTER']!r}")
    elif os.environ.get("KUBECONFIG"):
        with foreign_cluster() as cluster:
            yield cluster
    else:
        with local_cluster() as cluster:
            yield cluster


@contextlib.contextmanager
def local_cluster() -> Iterator[Cluster]:
    say_what_is_made_once()
    say("  A control plane on this machine: etcd, kube-apiserver, controller manager, scheduler.")
    with contextlib.ExitStack() as stack:
        plane = stack.enter_context(ControlPlane(controllers=True, scheduler=True))
        kubectl = Kubectl(binary("kubectl"), plane.kubeconfig)
        say("  A node: kubelet, containerd, and an image of the engine's CPU build.")
        address, unproven = "127.0.0.1", None
        try:
            address = stack.enter_context(Node(plane, gpus=GPUS)).gateway
        except NodeUnavailable as problem:
            say(f"  This machine can't run a node: {problem}")
            say("  So nodes are simulated: pods are said to run, and none does.")
            stack.enter_context(SimulatedNodes(plane, gpus=GPUS))
            unproven = str(problem)
        what = "simulated nodes" if unproven else "a real kubelet and container runtime"
        yield Cluster(kubectl, f"a real API server and scheduler, {what}", address, unproven=unproven)


def say_what_is_made_once() -> None:
    """What a first run downloads and builds, before it does."""
    try:
        check_machine()
        modules, image = ["kubernetes", "etcd", "containerd", "cni"], True
    except NodeUnavailable:
        modules, image = ["kubernetes", "etcd", "kwok"], False
    minutes = sum(MODULES[module] for module in modules if not folder(module).is_dir())
    if minutes:
        say(f"  Once on this machine, Kubernetes is built from source: about {minutes:.0f} minutes on two cores, and")
        say(f"  0.3 GB to download. The programs (0.6 GB) are kept in {cache() / 'bin'}.")
        say(f"  What Go keeps (up to 7 GB) is in its own caches, or in {cache() / 'go'} where Go itself is downloaded.")
    if image and not any((cache() / "images").glob("engine-cpu-*.tar")):
        say("  Once on this machine, an image of the engine is made: about 4 minutes, and 1.2 GB to download.")
        say(f"  It takes 6 GB in {cache()}; its wheels stay in uv's cache as well (3 GB).")


@contextlib.contextmanager
def kind_cluster() -> Iterator[Cluster]:
    for program in ("kind", "docker"):
        if shutil.which(program) is None:
            raise DemoFailed(f"CLUSTER=kind needs {program} on the PATH")
    image = os.environ.get("ENGINE_IMAGE")
    if not image:
        raise DemoFailed("CLUSTER=kind needs ENGINE_IMAGE: an image of vLLM's CPU build that docker has")
    name = f"speculator-demo-{secrets.token_hex(3)}"
    with tempfile.TemporaryDirectory(prefix="speculator-demo-") as scratch:
        kubeconfig = Path(scratch) / "kubeconfig"
        try:
            say(f"  A kind cluster, {name}; it takes a minute or two, and {image} is loaded into it.")
            run("kind", "create", "cluster", f"--name={name}", f"--kubeconfig={kubeconfig}", "--wait=120s")
            run("kind", "load", "docker-image", image, f"--name={name}")
            kubectl = Kubectl(some_kubectl(), kubeconfig)
            node = f"{name}-control-plane"
            gpus = [{"op": "add", "path": "/status/capacity/nvidia.com~1gpu", "value": str(GPUS)}]
            kubectl("patch", "node", node, "--subresource=status", "--type=json", f"--patch={json.dumps(gpus)}")
            gateway = run("docker", "network", "inspect", "kind", "--format={{range .IPAM.Config}}{{.Gateway}} {{end}}")
            address = next(word for word in gateway.split() if ":" not in word)
            yield Cluster(kubectl, "a kind cluster", address, image=image)
        finally:
            run("kind", "delete", "cluster", f"--name={name}", f"--kubeconfig={kubeconfig}")


@contextlib.contextmanager
def foreign_cluster() -> Iterator[Cluster]:
    image = os.environ.get("ENGINE_IMAGE")
    if not image:
        raise DemoFailed(
            "KUBECONFIG is set, so the demo would run on that cluster: ENGINE_IMAGE must name an image of vLLM's CPU "
            "build that its nodes can pull. `make demo KUBECONFIG=` makes a cluster on this machine instead"
        )
    theirs = Kubectl(some_kubectl(), os.environ["KUBECONFIG"])
    try:
        server = theirs("config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}")
    except CommandFailed as problem:
        raise DemoFailed(f"KUBECONFIG={theirs.kubeconfig} leads to no cluster. {problem}") from problem
    say(f"  The cluster of KUBECONFIG, {server}. Its nodes are left as they are.")
    with tempfile.TemporaryDirectory(prefix="speculator-demo-") as scratch:
        kubectl = Kubectl(theirs.program, kubeconfig_of(theirs, Path(scratch) / "kubeconfig", namespace=NAMESPACE))
        check_foreign(kubectl)
        address = os.environ.get("HUB_ADDRESS") or outbound_address(server)
        kubectl("create", "namespace", NAMESPACE)
        try:
            yield Cluster(kubectl, "your cluster", address, namespace=NAMESPACE, image=image)
        finally:
            kubectl("delete", "namespace", NAMESPACE, seconds=DELETE_SECONDS)
            uninstall(kubectl)


def check_foreign(kubectl: Kubectl) -> None:
    """Raises ``DemoFailed`` where the demo would disturb something, or can't work."""
    there = installed(kubectl)
    if there:
        raise DemoFailed(f"{', '.join(there)} exist there already; the demo would take over what it then removes")
    most = max((int(node["status"]["allocatable"].get(GPU, 0)) for node in kubectl.get("nodes")["items"]), default=0)
    if most < GPUS_OF_SAMPLE:
        raise DemoFailed(
            f"the samples ask for {GPUS_OF_SAMPLE} {GPU} on one node, and no node there has more than {most}"
        )


def some_kubectl() -> str:
    return shutil.which("kubectl") or str(binary("kubectl"))


def outbound_address(server: str) -> str:
    """This machine's address on the way to a URL's host, which pods are expected to reach."""
    url = urlsplit(server)
    address = None
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:  # nothing is sent
        probe.connect((url.hostname, url.port or 443))
        address = str(probe.getsockname()[0])
    if address is None or address.startswith("127."):
        raise DemoFailed(
            f"{server} doesn't tell by which address its pods reach this machine, where they download the samples' "
            "models: name one in HUB_ADDRESS"
        )
    return address


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=KIND_SECONDS, check=False)
    if done.returncode != 0:
        raise DemoFailed(f"{' '.join(command)}: {done.stderr.strip()[-1000:]}")
    return done.stdout


def demo(stack: contextlib.ExitStack) -> Cluster:
    """All three parts; ``stack`` holds what has to be undone."""
    started = time.monotonic()
    say("Part 1 of 3: a cluster")
    cluster = stack.enter_context(some_cluster())
    kubectl = cluster.kubectl
    show("kubectl get nodes -o wide", kubectl("get", "nodes", "-o", "wide"))
    say(f"  Shown: {cluster.shown}, up after {time.monotonic() - started:.0f} s.")

    say()
    say("Part 2 of 3: the operator, and a sample")
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="speculator-demo-")))
    hub = stack.enter_context(Hub(cluster.hub_address))
    publish_samples(hub)
    say(f"  A model hub with tiny checkpoints listens at {hub.url}.")
    install(kubectl)
    log = folder / "operator.log"
    rights = operator_kubeconfig(kubectl, folder)
    process = stack.enter_context(operator(rights, log, SETTINGS | {"SPECULATOR_HF_ENDPOINT": hub.url}))
    say(f"  The operator runs with the rights of config/rbac, and no others; its log is {log}.")
    try:
        serve_samples(cluster, process)
    except (DemoFailed, CommandFailed) as problem:
        raise DemoFailed(f"{problem}\nThe operator's log ends:\n{log.read_text()[-LOG_TAIL:]}") from problem
    return cluster


def serve_samples(cluster: Cluster, process: subprocess.Popen[bytes]) -> None:
    """The second part from the first sample on, and the third."""
    kubectl = cluster.kubectl
    apply_sample(cluster, "tiny-agree")
    wait_for_condition(cluster, process, "tiny-agree", "Resolved", 60)
    show("kubectl get deployment,service,controllerrevision", kubectl("get", "deployment,service,controllerrevision"))
    say("  Shown: the recipe was found in the checkpoint, checked and pinned, before a pod was made of it.")

    say()
    say("Part 3 of 3: Ready because it has drafted")
    wait_for_condition(cluster, process, "tiny-agree", "Ready", READY_SECONDS)
    if cluster.unproven:
        show("kubectl get spd -o wide", kubectl("get", "spd", "-o", "wide"))
        show_command(cluster, "tiny-agree")
        say(f"  NOT proven, since no container ran ({cluster.unproven}):")
        say("  that the engine takes this command, that it drafts, and that a completion is answered.")
        return
    prove(cluster, "tiny-agree", rate=1)
    say("  Shown: a pod is Ready, it has drafted, and all that it drafted was accepted.")
    say()
    say("  The same with a draft that never agrees: it drafts, so it is proven, and nothing is accepted.")
    kubectl("delete", "spd", "tiny-agree", "--wait=true")
    kubectl("wait", "--for=delete", "pod", "--selector=speculators.dev/name=tiny-agree", "--timeout=120s", seconds=150)
    apply_sample(cluster, "tiny-random")
    wait_for_condition(cluster, process, "tiny-random", "Ready", READY_SECONDS)
    prove(cluster, "tiny-random", rate=0)
    say("  Shown: acceptance is measured, not assumed.")


def apply_sample(cluster: Cluster, name: str) -> None:
    sample: dict[str, Any] = yaml.safe_load((SAMPLES / f"{name}.yaml").read_text())
    if cluster.image:
        sample["spec"]["engine"] |= {"image": cluster.image, "version": os.environ.get("ENGINE_VERSION", "0.32.0")}
    output = cluster.kubectl("apply", "-f", "-", stdin=json.dumps(sample))
    show(f"kubectl apply -f config/samples/{name}.yaml", output)


def wait_for_condition(
    cluster: Cluster, process: subprocess.Popen[bytes], name: str, condition: str, seconds: float
) -> None:
    """``kubectl wait``, with each turn of the resource's conditions shown meanwhile.

    Raises:
        DemoFailed: the condition isn't true in time, the resource is stalled, or the operator has ended.
    """
    wait = f"kubectl wait --for=condition={condition} spd/{name} --timeout={seconds:.0f}s"
    say(f"  $ {wait}")
    command = [cluster.kubectl.program, *wait.split()[1:]]
    environment = cluster.kubectl.environment
    started = said = time.monotonic()
    waiting = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    shown: set[str] = set()
    try:
        while True:
            ended = waiting.poll() is not None
            if process.poll() is not None:
                raise DemoFailed(f"the operator ended with exit code {process.returncode}")
            for line in news(cluster.kubectl.get("spd", name), condition):
                if line not in shown:
                    said = time.monotonic()
                    say(f"    {said - started:4.0f} s  {line[:300]}")
                    shown.add(line)
            if ended:
                break
            if time.monotonic() - said > PROGRESS_SECONDS:
                said = time.monotonic()
                say(f"    {said - started:4.0f} s  {newest_line(cluster, name)}")
            with contextlib.suppress(subprocess.TimeoutExpired):
                waiting.wait(1)
    finally:
        waiting.kill()
        output = waiting.communicate()[0].strip()
    if waiting.returncode != 0:
        last = newest_line(cluster, name)
        raise DemoFailed(f"{name} is not {condition} after {time.monotonic() - started:.0f} s: {output}; {last}")
    say(f"    {output}")


def news(resource: dict[str, Any], condition: str) -> Iterator[str]:
    """What its conditions say, up to the one that is waited for.

    Raises:
        DemoFailed: the resource is stalled.
    """
    for found in resource.get("status", {}).get("conditions", []):
        if (found["type"], found["status"]) == ("Stalled", "True"):
            raise DemoFailed(f"{resource['metadata']['name']} is stalled. {found['reason']}: {found['message']}")
        if found["type"] in TOLD[: TOLD.index(condition) + 1]:
            yield f"{found['type']}={found['status']} {found['reason']}: {found['message']}"


def newest_line(cluster: Cluster, name: str) -> str:
    """What the engine said last, shortened."""
    try:
        lines = cluster.kubectl("logs", f"deployment/{name}", "--tail=5", seconds=10).split("\n")
    except CommandFailed:
        lines = []
    line = next((line.rpartition("\r")[2].strip() for line in reversed(lines) if line.strip()), "nothing yet")
    return f"the engine's log: {line[:LINE]}{'...' if len(line) > LINE else ''}"


def prove(cluster: Cluster, name: str, rate: float) -> None:
    """Asks for completions, and shows what came, what the engine's ranks said, and what status says.

    Raises:
        DemoFailed: no completion, no second rank, or not this rate of acceptance in status.
    """
    kubectl = cluster.kubectl
    log = kubectl("logs", f"deployment/{name}", "--tail=-1")
    ranks = [rank for rank in ("TP0", "TP1") if rank in log]
    say(f"  Ranks in the engine's log: {', '.join(ranks)}")
    if len(ranks) != 2:
        raise DemoFailed(f"the log of {name} doesn't show two ranks")
    prompt = {"model": name, "prompt": "Speculation is", "max_tokens": 40, "temperature": 0}
    deadline = time.monotonic() + ACCEPTANCE_SECONDS
    asked = 0
    with forwarded(kubectl, name) as port:
        while True:
            text = complete(port, prompt)
            if asked == 0:
                say(f"  $ curl http://127.0.0.1:{port}/v1/completions -H 'Content-Type: application/json' \\")
                show_output(f"-d {shlex.quote(json.dumps(prompt))}\n{text!r}")
            asked += 1
            status = kubectl.get("spd", name)["status"]
            if status.get("acceptance", {}).get("drafts"):
                break
            if time.monotonic() > deadline:
                raise DemoFailed(f"{name} has no acceptance in status after {asked} completions")
            time.sleep(1)
    show("kubectl get spd -o wide", kubectl("get", "spd", "-o", "wide"))
    acceptance = f"kubectl get spd {name} -o jsonpath={{.status.acceptance}}"
    show(acceptance, kubectl(*acceptance.split()[1:]))
    show_command(cluster, name)
    conditions = {found["type"]: found["status"] for found in status["conditions"]}
    if conditions["SpeculationActive"] != "True":
        raise DemoFailed(f"{name} is ready, and its condition SpeculationActive is {conditions['SpeculationActive']}")
    if float(status["acceptance"]["rate"]) != rate:
        raise DemoFailed(f"of {name}, {rate:.2f} should be accepted, and status says {status['acceptance']['rate']}")


@contextlib.contextmanager
def forwarded(kubectl: Kubectl, service: str) -> Iterator[int]:
    """A port of this machine that leads to a service's port ``http``, until the block ends."""
    command = ["kubectl", "port-forward", f"service/{service}", ":http"]
    with tempfile.TemporaryDirectory(prefix="speculator-demo-") as scratch, contextlib.ExitStack() as cleanup:
        processes = Processes(Path(scratch))
        cleanup.callback(processes.stop)
        processes.start("port-forward", [kubectl.program, *command[1:]], kubectl.environment)
        deadline = time.monotonic() + FORWARD_SECONDS
        while not (found := re.search(r"^Forwarding from 127\.0\.0\.1:(\d+).*", processes.tail("port-forward"))):
            processes.check()
            if time.monotonic() > deadline:
                said = processes.tail("port-forward")
                raise DemoFailed(f"`{' '.join(command)}` has no port after {FORWARD_SECONDS:.0f} s: {said}")
            time.sleep(0.1)
        show(" ".join(command), found[0])
        yield int(found[1])


def complete(port: int, prompt: dict[str, Any]) -> str:
    """The text that the engine completes a prompt with.

    Raises:
        DemoFailed: it answers something else, or nothing.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
    with contextlib.closing(connection):
        try:
            connection.request("POST", "/v1/completions", json.dumps(prompt), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            body = answer.read().decode()
        except (OSError, http.client.HTTPException) as problem:
            raise DemoFailed(f"the engine doesn't answer a completion: {problem!r}") from problem
    if answer.status != 200:
        raise DemoFailed(f"the engine answers a completion with {answer.status}: {body[:1000]}")
    return str(json.loads(body)["choices"][0]["text"])


def show_command(cluster: Cluster, name: str) -> None:
    resolved = cluster.kubectl.get("spd", name)["status"]["resolved"]
    say("  The engine's command line, as status.resolved.command has it:")
    show_output(shlex.join(resolved["command"]))


def keep(cluster: Cluster) -> None:
    """Says how to use what runs, lets the foreground go, and waits to be told to end."""
    say()
    say("The cluster stays up. To use it:")
    say(f"  export KUBECONFIG={cluster.kubectl.kubeconfig} PATH={Path(cluster.kubectl.program).parent}:$PATH")
    say("  kubectl get spd")
    say("To take it down:")
    say(f"  kill {os.getpid()}    # and some seconds later all of it is gone")
    say(KEPT)
    signal.pause()


def in_foreground() -> int:
    """With KEEP=1: the demo in a process that outlives this one, and what it says until it has said everything."""
    log = Path(tempfile.mkstemp(prefix="speculator-demo-", suffix=".log")[1])
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tools.demo", "--in-background", str(log)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    with log.open() as said:
        try:
            while True:
                code, line = process.poll(), said.readline()
                if line.strip() == KEPT:
                    return 0
                if line:
                    print(line, end="", flush=True)
                elif code is not None:
                    return code
                else:
                    time.sleep(0.1)
        except Interrupted as interruption:
            process.terminate()
            process.wait(STOP_SECONDS)
            say("Everything was taken down.")
            return interruption.code


def main() -> int:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    background = sys.argv[1:2] == ["--in-background"]
    keeping = os.environ.get("KEEP", "0") not in ("", "0")
    if keeping and not background:
        return in_foreground()
    try:
        with contextlib.ExitStack() as stack:
            if background:
                stack.callback(Path(sys.argv[2]).unlink, missing_ok=True)
            cluster = demo(stack)
            if keeping:
                keep(cluster)
            say()
            say("Taking everything down.")
    except Interrupted as interruption:
        say("Everything was taken down.")
        return interruption.code
    except (DemoFailed, CommandFailed, KubectlFailed, BuildFailed, StartFailed, ProcessDied) as problem:
        say(f"The demo failed: {problem}")
        return 1
    say(f"Nothing is left but the cache, {cache()}, which can be deleted at any time.")
    say("(pip, uv and Go, where they were needed, keep downloads in their own: `pip cache purge`, `uv cache clean`,")
    say("`go clean -cache -modcache`.)")
    return 0


class Interrupted(BaseException):
    """A signal told the demo to end: no error, so nothing that handles errors on the way stops it."""

    def __init__(self, number: int) -> None:
        self.code = 128 + number


def interrupted(number: int, frame: FrameType | None) -> None:
    """Unwinds, so that all that was started is stopped, whatever comes meanwhile."""
    del frame
    for other in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(other, signal.SIG_IGN)
    with contextlib.suppress(OSError):  # the terminal may be gone
        say("\nInterrupted: taking everything down.")
    raise Interrupted(number)


if __name__ == "__main__":
    sys.exit(main())
