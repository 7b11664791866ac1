"""A real node on this machine: containerd, runc, CNI plugins and a kubelet, which run real containers.

Pods get addresses of a bridge that only this node has; the host reaches them directly, and they reach the host at
``Node.gateway``. There is no kube-proxy and no cluster DNS: Services have addresses, and nobody answers there, but for
the API server at its own.

Nothing is installed. What runs is in a temporary folder, and images come out of the cache as hard links, so that
several nodes can run from it at once. Containers outlive containerd by design, so stopping looks for what is left.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import fcntl
import hashlib
import ipaddress
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from tools.localcluster import image, packages
from tools.localcluster.binaries import BuildFailed, binary, cache, ensure
from tools.localcluster.controlplane import ControlPlane, KubectlFailed
from tools.localcluster.forward import forwarded
from tools.localcluster.processes import ProcessDied, Processes, TerminatedByExit

START_SECONDS = 90.0
IMPORT_SECONDS = 900.0
STOP_SECONDS = 20.0
POLL_SECONDS = 0.2
CONTROLLERS = Path("/sys/fs/cgroup")
NETWORKS = ipaddress.ip_network("10.244.0.0/16")
GPU = "nvidia.com/gpu"
#: Where libcni and the kubelet leave files, whatever they are told.
_DEVICE_PLUGINS = Path("/var/lib/kubelet/device-plugins")
_CNI_RESULTS = Path("/var/lib/cni/results")
_CONTAINER_LOGS = Path("/var/log/containers")
_CPU_SHARES, _CPU_WEIGHT = 8192, 800  # eight times the default, on cgroup v1 and v2
_FAULTS = (OSError, ProcessDied, subprocess.SubprocessError)
_SOCKET = "containerd.sock"
#: In a node's containerd root: locked while its process lives, and names its directory.
_OWNER = "owner"
_MNT_DETACH = 2


class NodeUnavailable(Exception):
    """This machine can't run a node; the message says why. Simulated nodes can stand in."""


class Node:
    """A context manager: entered, the node is Ready and has its GPUs; afterwards nothing of it is left."""

    def __init__(self, control_plane: ControlPlane, gpus: int = 4, *, resource: str = GPU) -> None:
        """
        Args:
            control_plane: a running one, with controllers and scheduler.
            gpus: how many the node says it has, as ``resource``.
        """
        self._control_plane = control_plane
        self._gpus = gpus
        self._resource = resource
        self._cleanup = contextlib.ExitStack()
        self.name = f"node-{secrets.token_hex(3)}"
        self.gateway = ""
        """The host's address on the pods' network: a server that listens there is reached by pods and by the host."""
        self.directory = Path()
        """Configuration and logs (``containerd.log``, ``kubelet.log``)."""

    def __enter__(self) -> Self:
        check_machine()
        try:
            binaries = {"kubelet": binary("kubelet"), "containerd": ensure("containerd"), "cni": ensure("cni")}
            runc, libraries = packages.runc()
            images = _imported_images()
        except (BuildFailed, packages.PackagesUnavailable, image.ImageUnavailable, *_FAULTS) as error:
            raise NodeUnavailable(f"what the node needs can't be prepared: {error}") from error

        with self._cleanup as cleanup:
            cleanup.enter_context(TerminatedByExit())
            self.directory = Path(tempfile.mkdtemp(prefix="speculator-node-"))
            cleanup.callback(shutil.rmtree, self.directory, ignore_errors=True)
            self.processes = Processes(self.directory)
            _sweep(images.parent)
            try:
                self._start_network(cleanup)
                containerd = self._start_containerd(cleanup, binaries, images, runc, libraries)
                self._start_kubelet(cleanup, binaries["kubelet"], containerd)
                self._wait("the node", self._joined)
            except _FAULTS as error:
                raise NodeUnavailable(f"the node doesn't start: {error}") from error
            self._cleanup = cleanup.pop_all()
        atexit.register(self._cleanup.close)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        atexit.unregister(self._cleanup.close)
        with contextlib.suppress(KubectlFailed, subprocess.TimeoutExpired):
            self._control_plane.kubectl("delete", "node", self.name, "--wait=false", timeout=10)
        self._cleanup.close()

    def load(self, archive: Path) -> None:
        """Imports the images of a docker-archive or an OCI archive: pods may name them from now on.

        They are this node's alone.

        Raises:
            NodeUnavailable: containerd doesn't take it.
        """
        _import(ensure("containerd") / "ctr", self.directory / _SOCKET, archive)

    def load_folder(self, folder: Path, name: str) -> str:
        """Imports an image that holds what is in a folder; returns its name with its digest, by which pods find it.

        Raises:
            NodeUnavailable: containerd doesn't take it.
        """
        archive = self.directory / "folder.tar"
        image.pack(folder, name, {}, archive)
        self.load(archive)
        archive.unlink()
        ctr = _ctr(ensure("containerd") / "ctr", self.directory / _SOCKET)
        lines = _run([*ctr, "images", "list", f"name=={name}"]).splitlines()
        digest = next(word for line in lines[1:] for word in line.split() if word.startswith("sha256:"))
        pinned = f"{name.rpartition(':')[0]}@{digest}"
        _run([*ctr, "images", "tag", name, pinned])
        return pinned

    def _start_network(self, cleanup: contextlib.ExitStack) -> None:
        used = [
            ipaddress.ip_network(route["dst"], strict=False)
            for route in json.loads(_run(["ip", "-json", "-4", "route"]))
            if route["dst"] != "default"
        ]
        free = [network for network in NETWORKS.subnets(new_prefix=24) if not any(map(network.overlaps, used))]
        if not free:
            raise NodeUnavailable(f"no free network in {NETWORKS}: `ip route` shows what uses them")
        network = secrets.choice(free)
        self.gateway = str(network[1])
        bridge = self.name
        _run(["ip", "link", "add", bridge, "type", "bridge"])
        cleanup.callback(_remove_bridge, bridge)
        _run(["ip", "address", "add", f"{self.gateway}/{network.prefixlen}", "dev", bridge])
        _run(["ip", "link", "set", bridge, "up"])
        service = self._control_plane.service_address
        _run(["ip", "address", "add", f"{service}/32", "dev", bridge])
        server = urlsplit(self._control_plane.url)
        cleanup.enter_context(forwarded((service, 443), (str(server.hostname), server.port or 443)))
        configuration = {
            "cniVersion": "1.0.0",
            "name": bridge,
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": bridge,
                    "isGateway": True,
                    "hairpinMode": True,
                    "ipam": {
                        "type": "host-local",
                        "ranges": [[{"subnet": str(network), "gateway": self.gateway}]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                        "dataDir": str(self.directory / "addresses"),
                    },
                }
            ],
        }
        (self.directory / "cni").mkdir()
        (self.directory / "cni" / "10-bridge.conflist").write_text(json.dumps(configuration))

    def _start_containerd(
        self,
        cleanup: contextlib.ExitStack,
        binaries: dict[str, Path],
        images: Path,
        runc: Path,
        libraries: Path | None,
    ) -> Path:
        root = images.parent / self.name
        root.mkdir()
        lock = cleanup.enter_context((root / _OWNER).open("w"))
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(str(self.directory))
        lock.flush()
        cleanup.callback(_remove, self.name, root, self.directory)
        _link_images(images, root / "root")
        endpoint = self.directory / _SOCKET
        configuration = _containerd_configuration(root / "root", self.directory, endpoint, binaries["cni"], runc)
        (self.directory / "containerd.toml").write_text(configuration)
        environment = {"PATH": f"{binaries['containerd']}:{os.environ.get('PATH', '')}"}
        if libraries:
            environment["LD_LIBRARY_PATH"] = str(libraries)
        command: list[str | Path] = [binaries["containerd"] / "containerd", "--config"]
        self.processes.start("containerd", [*command, self.directory / "containerd.toml"], environment)
        cleanup.callback(self.processes.stop, "containerd")
        cleanup.callback(_delete_tasks, self.name, endpoint, binaries["containerd"] / "ctr")
        self._wait("containerd", lambda: _answers(binaries["containerd"] / "ctr", endpoint))
        return endpoint

    def _start_kubelet(self, cleanup: contextlib.ExitStack, kubelet: Path, containerd: Path) -> None:
        for controller in _cgroup_hierarchies():
            (controller / self.name).mkdir(exist_ok=True)
            # All pods together would get no more than any one process outside does, such as the tests' own.
            for file, weight in (("cpu.shares", _CPU_SHARES), ("cpu.weight", _CPU_WEIGHT)):
                if (controller / self.name / file).exists():
                    (controller / self.name / file).write_text(str(weight))
        configuration = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "containerRuntimeEndpoint": f"unix://{containerd}",
            # Only on the bridge: whoever reaches it may run commands in containers, and that is the host and the pods.
            "address": self.gateway,
            "port": 10250,
            "healthzPort": 0,
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self.name}",
            "failCgroupV1": False,
            "failSwapOn": False,
            "enforceNodeAllocatable": [],
            "makeIPTablesUtilChains": False,
            # A developer's full disk is no reason to end pods or to delete images.
            "evictionHard": dict.fromkeys(("memory.available", "nodefs.available", "imagefs.available"), "0%"),
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "podLogsDir": str(self.directory / "logs"),
            "volumePluginDir": str(self.directory / "volume-plugins"),
            "staticPodPath": "",
            "registerNode": True,
            "nodeStatusUpdateFrequency": "2s",
            "syncFrequency": "10s",
        }
        (self.directory / "kubelet.json").write_text(json.dumps(configuration))
        command: list[str | Path] = [
            kubelet,
            f"--config={self.directory / 'kubelet.json'}",
            f"--kubeconfig={self._control_plane.kubeconfig}",
            f"--hostname-override={self.name}",
            f"--node-ip={self.gateway}",
            f"--root-dir={self.directory / 'kubelet'}",
            f"--cert-dir={self.directory / 'certs'}",
        ]
        self.processes.start("kubelet", command)
        cleanup.callback(self.processes.stop, "kubelet")

    def _joined(self) -> bool:
        """Whether the node is Ready and offers its GPUs; says that it has them, once it is registered."""
        try:
            node: dict[str, Any] = json.loads(self._control_plane.kubectl("get", "node", self.name, "-o", "json"))
            status = node["status"]
            if str(self._gpus) != status.get("allocatable", {}).get(self._resource):
                patch = {"status": {"capacity": {self._resource: str(self._gpus)}}}
                self._control_plane.kubectl(
                    "patch", "node", self.name, "--subresource=status", "--type=merge", f"--patch={json.dumps(patch)}"
                )
                return False
        except KubectlFailed:
            return False
        ready = any(it["type"] == "Ready" and it["status"] == "True" for it in status.get("conditions", []))
        tainted = any(it["key"].startswith("node.kubernetes.io/") for it in node["spec"].get("taints", []))
        return ready and not tainted

    def _wait(self, what: str, check: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not check():
            self.processes.check()
            if time.monotonic() > deadline:
                last = "kubelet" if self.processes.log("kubelet").exists() else "containerd"
                raise NodeUnavailable(
                    f"{what} wasn't ready after {START_SECONDS:.0f} s; {last} says:\n{self.processes.tail(last)}"
                )
            time.sleep(POLL_SECONDS)


def check_machine() -> None:
    """Raises ``NodeUnavailable`` where a node can't run at all, before anything is built."""
    if sys.platform != "linux":
        raise NodeUnavailable(f"a node needs Linux, and this is {sys.platform}")
    if os.geteuid() != 0:
        raise NodeUnavailable("a node needs root: it makes namespaces, mounts and a bridge")
    if not _cgroup_hierarchies():
        raise NodeUnavailable(f"a node needs cgroups, and {CONTROLLERS} can't be written to")
    if _DEVICE_PLUGINS.with_name("config.yaml").exists():
        raise NodeUnavailable("this machine is a node of another cluster, whose kubelet ours would disturb")
    if shutil.which("ip") is None:
        raise NodeUnavailable("a node needs the command `ip` (the package iproute2)")


def _imported_images() -> Path:
    """A containerd root with the images unpacked, in the cache; running nodes link its files."""
    archives = [image.pause_image(), image.engine_image()]
    containerd = ensure("containerd")
    key = hashlib.sha256(" ".join([containerd.name, *(path.name for path in archives)]).encode()).hexdigest()[:16]
    target = cache() / "containerd" / key
    with packages.locked(target.with_suffix(".lock"), "another process to unpack the images"):
        if target.is_dir():
            return target
        packages.say(f"Unpacking the images into {target} (once)")
        started = time.monotonic()
        with contextlib.ExitStack() as cleanup:
            partial = Path(tempfile.mkdtemp(prefix=f".{key}.", dir=target.parent))
            cleanup.callback(shutil.rmtree, partial, ignore_errors=True)
            state = Path(tempfile.mkdtemp(prefix="speculator-import-"))
            cleanup.callback(shutil.rmtree, state, ignore_errors=True)
            processes = Processes(state)
            endpoint = state / _SOCKET
            (state / "containerd.toml").write_text(
                _containerd_configuration(partial, state, endpoint, state, Path("runc"))
            )
            processes.start(
                "containerd",
                [containerd / "containerd", "--config", state / "containerd.toml"],
                {"PATH": f"{containerd}:{os.environ.get('PATH', '')}"},
            )
            cleanup.callback(processes.stop)
            deadline = time.monotonic() + START_SECONDS
            while not _answers(containerd / "ctr", endpoint):
                processes.check()
                if time.monotonic() > deadline:
                    raise NodeUnavailable(f"containerd doesn't answer:\n{processes.tail('containerd')}")
                time.sleep(POLL_SECONDS)
            for archive in archives:
                _import(containerd / "ctr", endpoint, archive)
            # Collects the archives' layers, which are unpacked now.
            _run([*_ctr(containerd / "ctr", endpoint), "content", "prune", "references"])
            processes.stop()
            partial.chmod(0o711)
            partial.rename(target)
            for older in target.parent.iterdir():  # running nodes have links of their own to what they use
                if older.is_dir() and older != target and not older.name.startswith((".", "node-")):
                    shutil.rmtree(older, ignore_errors=True)
        packages.say(f"  unpacking took {time.monotonic() - started:.0f} s")
    return target


def _ctr(program: Path, endpoint: Path) -> list[str]:
    return [str(program), "--address", str(endpoint), "--namespace", "k8s.io"]


def _import(ctr: Path, endpoint: Path, archive: Path) -> None:
    command = [*_ctr(ctr, endpoint), "images", "import", "--local", "--discard-unpacked-layers", str(archive)]
    _run(command, IMPORT_SECONDS)


def _link_images(images: Path, root: Path) -> None:
    """A containerd root that shares the images' files: what may be written is copied, and the rest is hard links."""
    shutil.copytree(
        images,
        root,
        symlinks=True,
        copy_function=lambda source, target: (
            shutil.copy2(source, target) if source.endswith(".db") else os.link(source, target, follow_symlinks=False)
        ),
    )


def _containerd_configuration(root: Path, directory: Path, endpoint: Path, cni: Path, runc: Path) -> str:
    runtime = 'plugins."io.containerd.cri.v1.runtime"'
    return f"""version = 3
root = "{root}"
state = "{directory / "state"}"
[grpc]
address = "{endpoint}"
[plugins."io.containerd.internal.v1.opt"]
path = "{directory / "opt"}"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{image.PAUSE_IMAGE}"
[{runtime}]
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
[{runtime}.cni]
bin_dirs = ["{cni}"]
conf_dir = "{directory / "cni"}"
[{runtime}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[{runtime}.containerd.runtimes.runc.options]
BinaryName = "{runc}"
Root = "{directory / "runc"}"
SystemdCgroup = false
"""


def _answers(ctr: Path, endpoint: Path) -> bool:
    command: list[str | Path] = [ctr, "--address", endpoint, "--connect-timeout", "2s", "version"]
    return endpoint.exists() and subprocess.run(command, capture_output=True, timeout=10, check=False).returncode == 0


def _cgroup_hierarchies() -> list[Path]:
    """Where a cgroup has to be made: the unified hierarchy, or each controller's."""
    if (CONTROLLERS / "cgroup.controllers").exists():
        return [CONTROLLERS] if os.access(CONTROLLERS, os.W_OK) else []
    found = {path.resolve() for path in CONTROLLERS.glob("*") if (path / "cgroup.procs").exists()}
    return sorted(path for path in found if os.access(path, os.W_OK))


def _cgroups(name: str) -> Iterator[Path]:
    for hierarchy in _cgroup_hierarchies():
        if (hierarchy / name).is_dir():
            yield from (Path(folder) for folder, _, _ in os.walk(hierarchy / name, topdown=False))


def _delete_tasks(name: str, endpoint: Path, ctr: Path) -> None:
    """Ends what runs in the node's cgroup, and has containerd end its shims in order."""
    _kill_until_gone(lambda: _processes(name))
    command = [*_ctr(ctr, endpoint), "--connect-timeout", "2s", "tasks"]
    with contextlib.suppress(NodeUnavailable, subprocess.SubprocessError):
        for task in _run([*command, "list", "--quiet"]).split():
            _run([*command, "delete", "--force", task])


def _remove(name: str, root: Path, directory: Path) -> None:
    """Removes all that a node leaves on the machine, however far it came."""
    _kill_until_gone(lambda: _processes(name) | _shims(directory))
    _unmount_below(directory)
    _unmount_below(root)
    _remove_bridge(name)
    _remove_cgroups(name)
    for path in sorted(_CNI_RESULTS.glob(f"{name}-*")):
        sandbox = path.name.removeprefix(f"{name}-").partition("-")[0]
        path.unlink(missing_ok=True)
        (_CNI_RESULTS / f"cni-loopback-{sandbox}-lo").unlink(missing_ok=True)
    for path in _CONTAINER_LOGS.glob("*.log"):
        if path.is_symlink() and str(path.readlink()).startswith(f"{directory}/"):
            path.unlink(missing_ok=True)
    _remove_device_plugin_socket()
    for folder in (_CNI_RESULTS, _CNI_RESULTS.parent, _CONTAINER_LOGS, _DEVICE_PLUGINS, _DEVICE_PLUGINS.parent):
        with contextlib.suppress(OSError):
            folder.rmdir()  # unless somebody else has something there
    shutil.rmtree(directory, ignore_errors=True)
    shutil.rmtree(root, ignore_errors=True)


def _remove_device_plugin_socket() -> None:
    path = _DEVICE_PLUGINS / "kubelet.sock"
    with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(FileNotFoundError):
        try:
            client.connect(str(path))  # another node's, then
        except ConnectionRefusedError:
            path.unlink()


def _sweep(folder: Path) -> None:
    """Removes what is left of nodes whose process was killed: their lock is free."""
    for root in folder.glob("node-*"):
        with contextlib.suppress(OSError), (root / _OWNER).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if directory := lock.read():
                _remove(root.name, root, Path(directory))


def _processes(name: str) -> set[int]:
    pids: set[int] = set()
    for folder in _cgroups(name):
        with contextlib.suppress(OSError):
            pids.update(int(pid) for pid in (folder / "cgroup.procs").read_text().split())
    return pids


def _shims(directory: Path) -> set[int]:
    pids: set[int] = set()
    endpoint = os.fsencode(directory / _SOCKET)
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
            if words and words[0].endswith(b"/containerd-shim-runc-v2") and endpoint in words:
                pids.add(int(entry.name))
    return pids


def _remove_bridge(name: str) -> None:
    subprocess.run(["ip", "link", "delete", name], capture_output=True, timeout=60, check=False)


def _kill_until_gone(pids: Callable[[], set[int]]) -> None:
    deadline = time.monotonic() + STOP_SECONDS
    while (left := pids()) and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(POLL_SECONDS)


def _unmount_below(folder: Path) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4].encode().decode("unicode_escape") for line in lines]
    for point in sorted(points, reverse=True):
        if point.startswith(f"{folder}/"):
            library.umount2(os.fsencode(point), _MNT_DETACH)


def _remove_cgroups(name: str) -> None:
    deadline = time.monotonic() + STOP_SECONDS
    while folders := list(_cgroups(name)):
        for folder in folders:
            with contextlib.suppress(OSError):
                folder.rmdir()
        if time.monotonic() > deadline:
            return
        time.sleep(POLL_SECONDS)


def _run(command: list[str], seconds: float = 60.0) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    if done.returncode:
        raise NodeUnavailable(f"`{' '.join(command)}` failed: {done.stderr.strip()[-1000:]}")
    return done.stdout
