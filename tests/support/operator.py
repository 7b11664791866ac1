"""The operator as a process of its own, as it runs in a cluster: another user, its own rights, killed at any moment."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from tools.localcluster.controlplane import ControlPlane
from tools.localcluster.ports import held_port

RBAC = Path(__file__).parents[2] / "config" / "rbac"
USER = "operator"


def shipped() -> list[dict[str, Any]]:
    """The objects that say what the operator may do."""
    return [document for path in sorted(RBAC.glob("*.yaml")) for document in yaml.safe_load_all(path.read_text())]


def grant(cluster: ControlPlane, namespace: str | None = None) -> None:
    """Gives the user ``operator`` the rights that the project ships, and no more.

    Args:
        namespace: stands for the operator's own, where its Lease is.
    """
    kinds = {"ClusterRole", "ClusterRoleBinding"} | ({"Role", "RoleBinding"} if namespace else set())
    roles = shipped()
    for document in roles:
        if document["kind"].endswith("Binding"):
            document["subjects"] = [{"kind": "User", "name": USER, "apiGroup": "rbac.authorization.k8s.io"}]
        if not document["kind"].startswith("Cluster"):
            document["metadata"]["namespace"] = namespace
    cluster.apply(*(document for document in roles if document["kind"] in kinds))


def revoke(cluster: ControlPlane) -> None:
    """Takes the rights of ``grant`` away again, if they were given: the chart brings its own of the same names."""
    names = [f"{it['kind']}/{it['metadata']['name']}" for it in shipped() if it["kind"].startswith("Cluster")]
    cluster.kubectl("delete", "--ignore-not-found", *names)


class Operator:
    """``speculator-operator run`` between ``with`` and its end; ``start`` and ``kill`` in between as one likes.

    What it says of itself it says at ``port``, in all its lives.
    """

    def __init__(
        self,
        cluster: ControlPlane,
        log: Path,
        *,
        namespace: str | None = None,
        server: str | None = None,
        settings: Mapping[str, object] | None = None,
        patch: str = "",
        user: str = USER,
    ) -> None:
        """
        Args:
            log: what it prints goes there, of all its lives.
            namespace: the only one that it watches; all by default.
            server: a proxy's address in place of the API server's.
            settings: fields of ``Settings``, but for ``http_port``.
            patch: statements that make it another release of itself.
            user: whose rights it has; one of the cluster's users, or a service account.
        """
        where = ["--namespace", namespace] if namespace else ["--all-namespaces"]
        main = f"import sys\n{patch}\nfrom speculator_operator.cli import main\nsys.exit(main())"
        self._command = [sys.executable, "-c", main, "run", *where]
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        given = {f"SPECULATOR_{name.upper()}": str(value) for name, value in (settings or {}).items()}
        self._environment = {**kept, "KUBECONFIG": str(cluster.kubeconfig_for(user, server=server)), **given}
        self._process: subprocess.Popen[bytes] | None = None
        self._log = log
        self._cleanup = contextlib.ExitStack()
        self.port = 0

    def __enter__(self) -> Self:
        with self._cleanup as cleanup:
            self.port = cleanup.enter_context(held_port())
            self.start()
            cleanup.callback(self.stop)
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cleanup.close()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Of its last life; None while it runs. Negative is the signal that ended it."""
        assert self._process is not None
        return self._process.poll()

    def ask(self, path: str) -> tuple[int, str]:
        """What it answers; 0 while it doesn't."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def start(self) -> None:
        environment = {**self._environment, "SPECULATOR_HTTP_PORT": str(self.port)}
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    def stop(self) -> None:
        """Asks it to end, and waits. It ends by itself or is killed, and then that is said."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the operator didn't end within 20 s of SIGTERM:\n{self.log[-2000:]}") from None

    def send(self, number: int) -> None:
        """Sends it a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Kills it, as a node that goes away does."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
