"""Installs the operator on a cluster as the README says, and runs it outside, under its own service account.

The demo and the benchmark share it. What the operator may do is ``config/rbac`` and nothing else: its kubeconfig bears
a token of that service account, so a right that is missing there fails here.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tools.localcluster.controlplane import wait_established

ROOT = Path(__file__).resolve().parents[1]
CRD = ROOT / "crds" / "speculators.dev_speculatordeployments.yaml"
NAMESPACE = SERVICE_ACCOUNT = "speculator-operator"
TOKEN_SECONDS = 24 * 3600
STOP_SECONDS = 20.0
DELETE_SECONDS = 120.0


class CommandFailed(Exception):
    """kubectl said no; the message is what it said."""


class Kubectl:
    """One kubectl, for one cluster. ``kubeconfig`` is a path, or several as in ``KUBECONFIG``."""

    def __init__(self, program: str | Path, kubeconfig: str | Path) -> None:
        self.program = str(program)
        self.kubeconfig = str(kubeconfig)

    @property
    def environment(self) -> dict[str, str]:
        # What kubectl keeps of a cluster goes where its kubeconfig is, and with it.
        kept = str(Path(self.kubeconfig).parent / "kubectl-cache")
        return os.environ | {"KUBECONFIG": self.kubeconfig, "KUBECACHEDIR": kept}

    def __call__(self, *arguments: str, stdin: str | None = None, seconds: float = 60.0) -> str:
        """Runs it and returns its standard output.

        Raises:
            CommandFailed: it ended with another code than 0, or took longer than ``seconds``.
        """
        try:
            done = subprocess.run(
                [self.program, *arguments],
                env=self.environment,
                input=stdin,
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise CommandFailed(f"kubectl {' '.join(arguments)} took more than {seconds:.0f} s") from None
        if done.returncode != 0:
            raise CommandFailed(f"kubectl {' '.join(arguments)}: {done.stderr.strip()[-2000:]}")
        return done.stdout

    def get(self, *arguments: str) -> dict[str, Any]:
        """``kubectl get``, parsed."""
        found: dict[str, Any] = json.loads(self("get", *arguments, "-o", "json"))
        return found


def install(kubectl: Kubectl) -> None:
    """The resource definition and the operator's rights; waits until the API server serves the resource."""
    kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
    kubectl("apply", "--server-side", "-f", str(ROOT / "config" / "rbac" / "namespace.yaml"))
    kubectl("apply", "--server-side", "-f", str(ROOT / "config" / "rbac"))
    wait_established(lambda: kubectl.get("-f", str(CRD)))


def installed(kubectl: Kubectl) -> list[str]:
    """What there is already of what ``install`` makes, as ``kind/name``."""
    folders = [f"--filename={ROOT / folder}" for folder in ("crds", "config/rbac")]
    return kubectl("get", "--ignore-not-found", "-o", "name", *folders).split()


def uninstall(kubectl: Kubectl) -> None:
    """Takes away what ``install`` made, and with the definition every resource that there is; waits until it's gone."""
    for folder in ("crds", "config/rbac"):
        kubectl("delete", "--ignore-not-found", "-f", str(ROOT / folder), seconds=DELETE_SECONDS)


def kubeconfig_of(kubectl: Kubectl, path: Path, *, token: str | None = None, namespace: str | None = None) -> Path:
    """Writes a kubeconfig of the same cluster, with another user's token, or another namespace where none is named."""
    config = json.loads(kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
    if token:
        config["users"] = [{"name": config["contexts"][0]["context"]["user"], "user": {"token": token}}]
    if namespace:
        config["contexts"][0]["context"]["namespace"] = namespace
    path.touch(mode=0o600)
    path.write_text(json.dumps(config))
    return path


def operator_kubeconfig(kubectl: Kubectl, folder: Path) -> Path:
    """A kubeconfig with nothing but a short-lived token of the operator's service account."""
    token = kubectl("create", "token", SERVICE_ACCOUNT, f"--namespace={NAMESPACE}", f"--duration={TOKEN_SECONDS}s")
    return kubeconfig_of(kubectl, folder / "operator.kubeconfig", token=token.strip())


@contextlib.contextmanager
def operator(kubeconfig: Path, log: Path, settings: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """``speculator-operator run``, until the block ends. ``settings`` are ``SPECULATOR_...`` variables."""
    # The hub's variables of whoever runs this are not the operator's.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SPECULATOR_", "HF_"))}
    with log.open("ab") as output:
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("speculator-operator")), "run", "--all-namespaces"],
            env={**environment, "KUBECONFIG": str(kubeconfig), **settings},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for whoever runs this, who then ends it
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
