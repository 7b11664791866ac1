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
import json
import os
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

import yaml

from tools.installation import (
    ROOT,
    CommandFailed,
    Kubectl,
    install,
    kubeconfig_of,
    operator,
    operator_kubeconfig,
    uninstall,
)
from tools.localcluster.binaries import BuildFailed, binary, cache
from tools.localcluster.controlplane import ControlPlane, KubectlFailed, StartFailed
from tools.localcluster.node import Node, NodeUnavailable
from tools.localcluster.processes import ProcessDied
from tools.localcluster.simulated import SimulatedNodes
from tools.testhub.checkpoints import publish_samples
from tools.testhub.server import Hub

SAMPLES = ROOT / "config" / "samples"
#: On a cluster that isn't made for the demo.
NAMESPACE = "speculator-demo"
GPUS = 4
READY_SECONDS = 900.0
ACCEPTANCE_SECONDS = 120.0
STOP_SECONDS = 60.0
KIND_SECONDS = 600.0
LOG_TAIL = 3000
#: Conditions that say the same as Ready in other words, unless they are true.
UNSHOWN = ("Stalled", "Available")
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


@contextlib.contextmanager
def kind_cluster() -> Iterator[Cluster]:
    for program in ("kind", "docker"):
        if shutil.which(program) is None:
            raise DemoFailed(f"CLUSTER=kind needs {program} on the PATH")
    image = os.environ.get("ENGINE_IMAGE")
    if not image:
        raise DemoFailed("CLUSTER=kind needs ENGINE_IMAGE: an image of vLLM's CPU build that docker has or can pull")
    name = "speculator-demo"
    with tempfile.TemporaryDirectory() as scratch:
        kubeconfig = Path(scratch) / "kubeconfig"
        run("kind", "create", "cluster", f"--name={name}", f"--kubeconfig={kubeconfig}", "--wait=120s")
        try:
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
        raise DemoFailed("with KUBECONFIG, ENGINE_IMAGE must name an image of vLLM's CPU build that the nodes can pull")
    theirs = Kubectl(some_kubectl(), os.environ["KUBECONFIG"])
    server = theirs("config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}")
    say(f"  The cluster of KUBECONFIG, {server}. Its nodes are left as they are.")
    if theirs("get", "crd", "--ignore-not-found", "-o", "name", "speculatordeployments.speculators.dev"):
        raise DemoFailed("the operator is installed there; the demo would run a second one, and remove the first")
    theirs("create", "namespace", NAMESPACE)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            kubectl = Kubectl(theirs.program, kubeconfig_of(theirs, Path(scratch) / "kubeconfig", namespace=NAMESPACE))
            address = os.environ.get("HUB_ADDRESS") or outbound_address(server)
            yield Cluster(kubectl, "your cluster", address, namespace=NAMESPACE, image=image)
    finally:
        uninstall(theirs)
        theirs("delete", "namespace", NAMESPACE, "--wait=false")


def some_kubectl() -> str:
    return shutil.which("kubectl") or str(binary("kubectl"))


def outbound_address(server: str) -> str:
    """This machine's address on the way to a URL's host."""
    host, _, port = server.split("//")[-1].split("/")[0].partition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:  # nothing is sent
        probe.connect((host, int(port or 443)))
        return str(probe.getsockname()[0])


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
    show("kubectl get nodes", kubectl("get", "nodes", "-o", "wide"))
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
    prove(cluster, "tiny-agree")
    say("  Shown: a pod is Ready, it has drafted, and all that it drafted was accepted.")
    say()
    say("  The same with a draft that never agrees: it drafts, so it is proven, and nothing is accepted.")
    kubectl("delete", "spd", "tiny-agree", "--wait=true")
    kubectl("wait", "--for=delete", "pod", "--selector=speculators.dev/name=tiny-agree", "--timeout=120s", seconds=150)
    apply_sample(cluster, "tiny-random")
    wait_for_condition(cluster, process, "tiny-random", "Ready", READY_SECONDS)
    prove(cluster, "tiny-random")
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
    started = time.monotonic()
    waiting = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    shown: set[str] = set()
    try:
        while True:
            ended = waiting.poll() is not None
            if process.poll() is not None:
                raise DemoFailed(f"the operator ended with exit code {process.returncode}")
            conditions = cluster.kubectl.get("spd", name).get("status", {}).get("conditions", [])
            for found in conditions:
                if found["type"] == "Reconciling" or (found["type"] in UNSHOWN and found["status"] != "True"):
                    continue
                line = f"{found['type']}={found['status']} {found['reason']}: {found['message']}"
                if line not in shown:
                    say(f"    {time.monotonic() - started:4.0f} s  {line[:300]}")
                    shown.add(line)
                if (found["type"], found["status"]) == ("Stalled", "True"):
                    raise DemoFailed(f"{name} is stalled. {found['reason']}: {found['message']}")
            if ended:
                break
            with contextlib.suppress(subprocess.TimeoutExpired):
                waiting.wait(1)
    finally:
        waiting.kill()
        output = waiting.communicate()[0].strip()
    if waiting.returncode != 0:
        raise DemoFailed(f"{name} is not {condition} after {time.monotonic() - started:.0f} s: {output}")
    say(f"    {output}")


def prove(cluster: Cluster, name: str) -> None:
    """Asks for completions, and shows what came, what the engine's ranks said, and what status says.

    Raises:
        DemoFailed: no completion, no second rank, or no acceptance in status.
    """
    kubectl = cluster.kubectl
    log = kubectl("logs", f"deployment/{name}", "--tail=-1")
    ranks = [rank for rank in ("TP0", "TP1") if rank in log]
    say(f"  Ranks in the engine's log: {', '.join(ranks)}")
    if len(ranks) != 2:
        raise DemoFailed(f"the log of {name} doesn't show two ranks")
    prompt = {"model": name, "prompt": "Speculation is", "max_tokens": 40, "temperature": 0}
    path = f"/api/v1/namespaces/{cluster.namespace}/services/{name}:http/proxy/v1/completions"
    deadline = time.monotonic() + ACCEPTANCE_SECONDS
    asked = 0
    while True:
        answer = json.loads(kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(prompt)))
        if asked == 0:
            text = answer["choices"][0]["text"]
            show(
                f"curl {name}.{cluster.namespace}.svc:8000/v1/completions -d {shlex.quote(json.dumps(prompt))}",
                repr(text),
            )
        asked += 1
        status = kubectl.get("spd", name)["status"]
        if status.get("acceptance", {}).get("drafts"):
            break
        if time.monotonic() > deadline:
            raise DemoFailed(f"{name} has no acceptance in status after {asked} completions")
        time.sleep(1)
    conditions = {found["type"]: found["status"] for found in status["conditions"]}
    if conditions["SpeculationActive"] != "True":
        raise DemoFailed(f"{name} is ready, and its condition SpeculationActive is {conditions['SpeculationActive']}")
    show("kubectl get spd -o wide", kubectl("get", "spd", "-o", "wide"))
    show(f"kubectl get spd {name} -o jsonpath={{.status.acceptance}}", json.dumps(status["acceptance"]))
    show_command(cluster, name)


def show_command(cluster: Cluster, name: str) -> None:
    resolved = cluster.kubectl.get("spd", name)["status"]["resolved"]
    show(f"kubectl get spd {name} -o jsonpath={{.status.resolved.command}}", shlex.join(resolved["command"]))


def keep(cluster: Cluster) -> None:
    """Says how to use what runs, lets the foreground go, and waits to be told to end."""
    say()
    say("The cluster stays up. To use it:")
    say(f"  export KUBECONFIG={cluster.kubectl.kubeconfig} PATH={Path(cluster.kubectl.program).parent}:$PATH")
    say("  kubectl get spd")
    say("To take it down:")
    say(f"  kill {os.getpid()}")
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
        except KeyboardInterrupt:
            process.terminate()
            return process.wait(STOP_SECONDS)


def main() -> int:
    background = sys.argv[1:2] == ["--in-background"]
    keeping = os.environ.get("KEEP", "0") not in ("", "0")
    if keeping and not background:
        return in_foreground()
    signal.signal(signal.SIGTERM, terminated)
    try:
        with contextlib.ExitStack() as stack:
            if background:
                stack.callback(Path(sys.argv[2]).unlink, missing_ok=True)
            cluster = demo(stack)
            if keeping:
                keep(cluster)
            say()
            say("Taking everything down.")
    except KeyboardInterrupt:
        say("Interrupted; everything was taken down.")
        return 130
    except (DemoFailed, CommandFailed, KubectlFailed, BuildFailed, StartFailed, ProcessDied) as problem:
        say(f"The demo failed: {problem}")
        return 1
    say(f"Nothing is left but the cache, {cache()}, which can be deleted at any time.")
    return 0


def terminated(number: int, frame: FrameType | None) -> None:
    """Unwinds, so that all that was started is stopped."""
    del frame
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
