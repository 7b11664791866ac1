"""A real control plane on this machine: etcd and kube-apiserver, with controller manager and scheduler where wanted.

Everything lives in one temporary folder and listens on free ports of one address; nothing of it is left at the end.
"""

from __future__ import annotations

import atexit
import contextlib
import ipaddress
import json
import secrets
import shutil
import ssl
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tools.localcluster.binaries import binary
from tools.localcluster.ports import held_port
from tools.localcluster.processes import Processes, TerminatedByExit

START_SECONDS = 90.0
POLL_SECONDS = 0.1
ESTABLISH_SECONDS = 30.0
ADMIN = "admin"
LOOPBACK = "127.0.0.1"
#: Each control plane takes one of these for Services, so that several don't meet on the same machine.
SERVICE_NETWORKS = ipaddress.ip_network("10.96.0.0/12")
SERVICE_PREFIX = 20  # addresses for some thousand Services

#: Users that are known beside the administrator, with their groups. They may do nothing until a binding says so.
USERS: Mapping[str, Sequence[str]] = {"operator": (), "nobody": ()}


class StartFailed(Exception):
    """The control plane wasn't ready in time; the message says what was waited for."""


class KubectlFailed(Exception):
    """kubectl ended with an error; the message is its standard error."""


class ControlPlane:
    """A context manager. Afterwards no process and no folder is left, however the block ends."""

    def __init__(
        self,
        *,
        controllers: bool = False,
        scheduler: bool = False,
        address: str = LOOPBACK,
        users: Mapping[str, Sequence[str]] = USERS,
        qps: int = 200,
        api_server_args: Sequence[str] = (),
    ) -> None:
        """
        Args:
            controllers: run the controller manager.
            scheduler: run the scheduler.
            address: of this machine, to listen on and to advertise; nodes can't use loopback.
            users: user -> groups, for ``kubeconfig_for``.
            qps: requests per second that controller manager and scheduler each may send.
            api_server_args: more flags of kube-apiserver.
        """
        self._controllers = controllers
        self._scheduler = scheduler
        self._address = address
        self._users = {ADMIN: ["system:masters"], **users}
        self._tokens = {user: secrets.token_urlsafe(24) for user in self._users}
        self._qps = qps
        self._api_server_args = api_server_args
        self._cleanup = contextlib.ExitStack()
        self.directory = Path()
        """Everything that it writes, and logs as ``<process>.log``."""
        self.url = ""
        self.token = self._tokens[ADMIN]
        """The administrator's."""
        self._services = secrets.choice([*SERVICE_NETWORKS.subnets(new_prefix=SERVICE_PREFIX)])
        self.service_address = str(self._services[1])
        """The Service ``kubernetes``': where pods look for the API server (at port 443)."""

    @property
    def ca(self) -> Path:
        """The certificate authority that clients have to trust."""
        return self.directory / "certs" / "apiserver.crt"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.directory / f"{ADMIN}.kubeconfig"

    def __enter__(self) -> Self:
        programs = ["etcd", "kube-apiserver", "kubectl"]
        programs += ["kube-controller-manager"] if self._controllers else []
        programs += ["kube-scheduler"] if self._scheduler else []
        for program in programs:
            binary(program)  # builds what isn't there yet, before any deadline runs

        with self._cleanup as cleanup:
            cleanup.enter_context(TerminatedByExit())
            self.directory = Path(tempfile.mkdtemp(prefix="speculator-cluster-"))
            cleanup.callback(shutil.rmtree, self.directory, ignore_errors=True)
            self.processes = Processes(self.directory)
            cleanup.callback(self.processes.stop)
            self._start()
            self._cleanup = cleanup.pop_all()
        atexit.register(self._cleanup.close)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        atexit.unregister(self._cleanup.close)
        self._cleanup.close()

    def kubeconfig_for(self, user: str, *, server: str | None = None, token: str | None = None) -> Path:
        """Writes a kubeconfig of one of ``users``, or of a service account (``system:serviceaccount:NAMESPACE:NAME``).

        Args:
            server: another URL than the API server's own, such as a proxy's. (kubectl itself sends no token over HTTP.)
            token: a service account's, where the caller has one; otherwise it is asked for.
        """
        token = token or self._tokens.get(user)
        if token is None:
            kind, _, account = user.partition("system:serviceaccount:")
            namespace, _, name = account.partition(":")
            if kind or not name:
                raise ValueError(f"user {user!r} is unknown: name it in users= (there are {', '.join(self._users)})")
            token = self.kubectl("create", "token", name, "--namespace", namespace, "--duration=24h").strip()
        place = "" if server is None else "-" + "".join(letter if letter.isalnum() else "-" for letter in server)
        path = self.directory / f"{user.replace(':', '-')}{place}.kubeconfig"
        cluster: dict[str, Any] = {"server": server or self.url}
        if cluster["server"].startswith("https:"):
            cluster["certificate-authority"] = str(self.ca)
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "local", "cluster": cluster}],
            "users": [{"name": user, "user": {"token": token}}],
            "contexts": [{"name": "local", "context": {"cluster": "local", "user": user}}],
            "current-context": "local",
        }
        path.write_text(json.dumps(content, indent=2))
        return path

    def kubectl(self, *args: str, stdin: str | None = None, check: bool = True, timeout: float = 120.0) -> str:
        """Runs kubectl as the administrator, and returns its standard output.

        Without ``check`` the standard error is returned too, and no failure is raised.

        Raises:
            KubectlFailed: its exit code isn't 0.
        """
        done = subprocess.run(
            [binary("kubectl"), f"--kubeconfig={self.kubeconfig}", *args],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env={"PATH": "", "HOME": str(self.directory), "KUBECACHEDIR": str(self.directory / "kubectl-cache")},
        )
        if check and done.returncode != 0:
            raise KubectlFailed(f"kubectl {' '.join(args)}: {done.stderr.strip()}")
        return done.stdout if check else done.stdout + done.stderr

    def define(self, definition: Path) -> None:
        """Applies a custom resource definition, and waits until the API server serves it."""
        self.kubectl("apply", "--server-side", "-f", str(definition))
        wait_established(lambda: json.loads(self.kubectl("get", "-f", str(definition), "-o", "json")))

    def apply(self, *objects: Mapping[str, Any]) -> None:
        """Applies objects as the administrator."""
        items = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(items))

    def _start(self) -> None:
        etcd = self._start_etcd()
        self._start_api_server(etcd)
        self._wait("the API server's certificate", self.ca.is_file)
        self.kubeconfig_for(ADMIN)
        self._wait("the API server", lambda: self._get("/readyz"))
        client = [f"--kubeconfig={self.kubeconfig}", "--leader-elect=false", "--secure-port=0"]
        client += [f"--kube-api-qps={self._qps}", f"--kube-api-burst={2 * self._qps}"]
        if self._controllers:
            keys = [f"--root-ca-file={self.ca}", f"--service-account-private-key-file={self.ca.with_suffix('.key')}"]
            # What it publishes must be a certificate authority alone; ours is the serving certificate with its issuer.
            wanted = "--controllers=*,-kube-apiserver-serving-clustertrustbundle-publisher-controller"
            program = binary("kube-controller-manager")
            self.processes.start("kube-controller-manager", [program, *client, *keys, wanted])
        if self._scheduler:
            self.processes.start("kube-scheduler", [binary("kube-scheduler"), *client])
        if self._controllers:
            account = "/api/v1/namespaces/default/serviceaccounts/default"
            self._wait("the default service account", lambda: self._get(account))

    def _start_etcd(self) -> str:
        clients, peers = (f"http://{LOOPBACK}:{self._cleanup.enter_context(held_port())}" for _ in range(2))
        flags = {
            "--data-dir": self.directory / "etcd",
            "--listen-client-urls": clients,
            "--advertise-client-urls": clients,
            "--listen-peer-urls": peers,
            "--initial-advertise-peer-urls": peers,
            "--initial-cluster": f"default={peers}",
            "--log-level": "warn",
        }
        # What a power cut would lose is not worth waiting for the disk.
        command: list[str | Path] = [
            binary("etcd"),
            "--unsafe-no-fsync",
            *(f"{flag}={value}" for flag, value in flags.items()),
        ]
        self.processes.start("etcd", command)
        return clients

    def _start_api_server(self, etcd: str) -> None:
        port = self._cleanup.enter_context(held_port())
        self.url = f"https://{self._address}:{port}"
        tokens = self.directory / "tokens.csv"
        lines = (f'{self._tokens[user]},{user},{user},"{",".join(groups)}"' for user, groups in self._users.items())
        tokens.write_text("\n".join(lines))
        # It signs its own serving certificate; the same key signs service accounts' tokens, so no tool has to make one.
        key = self.ca.with_suffix(".key")
        flags: dict[str, object] = {
            "--etcd-servers": etcd,
            "--bind-address": self._address,
            "--advertise-address": self._address,
            "--secure-port": port,
            "--cert-dir": self.ca.parent,
            "--token-auth-file": tokens,
            "--authorization-mode": "Node,RBAC",
            "--service-account-issuer": "https://kubernetes.default.svc",
            "--service-account-key-file": key,
            "--service-account-signing-key-file": key,
            "--service-cluster-ip-range": self._services,
            "--kubelet-preferred-address-types": "InternalIP,Hostname",
        }
        if self._address == LOOPBACK:
            flags["--endpoint-reconciler-type"] = "none"  # it can't be an endpoint
        command: list[str | Path] = [binary("kube-apiserver"), *(f"{flag}={value}" for flag, value in flags.items())]
        self.processes.start("kube-apiserver", [*command, *self._api_server_args])

    def _get(self, path: str) -> bool:
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {self.token}"})  # noqa: S310 - our own server
        try:
            context = ssl.create_default_context(cafile=str(self.ca))
            with urllib.request.urlopen(request, timeout=5, context=context) as answer:  # noqa: S310
                return bool(answer.status == 200)
        except OSError:
            return False

    def _wait(self, what: str, check: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not check():
            self.processes.check()
            if time.monotonic() > deadline:
                tail = self.processes.tail("kube-apiserver")
                raise StartFailed(f"{what} wasn't there after {START_SECONDS:.0f} s; kube-apiserver says:\n{tail}")
            time.sleep(POLL_SECONDS)


def wait_established(read: Callable[[], Mapping[str, Any]]) -> None:
    """Waits until the API server serves the custom resource definition that ``read`` gets.

    ``kubectl wait`` fails where there are no conditions yet.

    Raises:
        StartFailed: not within half a minute.
    """
    deadline = time.monotonic() + ESTABLISH_SECONDS
    while True:
        conditions = (read().get("status") or {}).get("conditions") or []
        if any((it["type"], it["status"]) == ("Established", "True") for it in conditions):
            return
        if time.monotonic() > deadline:
            raise StartFailed(f"the definition wasn't established after {ESTABLISH_SECONDS:.0f} s: {conditions}")
        time.sleep(POLL_SECONDS)
