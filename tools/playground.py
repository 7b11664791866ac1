"""``make playground``: a cluster on this machine to try the operator on, until Ctrl-C.

A real control plane and a real node, on which the operator's own image is, and a model hub with tiny checkpoints. The
operator isn't installed: that is what ``docs/tutorial.md`` begins with. A folder gets all that a shell needs for it.
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tools.installation import ROOT, Kubectl, kubeconfig_of
from tools.localcluster.binaries import BuildFailed, binary
from tools.localcluster.controlplane import ControlPlane, StartFailed
from tools.localcluster.image import ImageUnavailable
from tools.localcluster.node import Node, NodeUnavailable
from tools.localcluster.operator_image import OPERATOR_IMAGE, operator_image
from tools.localcluster.packages import PackagesUnavailable
from tools.localcluster.processes import ProcessDied, TerminatedByExit
from tools.testhub import Hub, publish_samples

FOLDER = ROOT / ".playground"
_FAULTS = (
    BlockingIOError,
    BuildFailed,
    ImageUnavailable,
    NodeUnavailable,
    PackagesUnavailable,
    ProcessDied,
    StartFailed,
)
#: Acceptance within seconds instead of minutes, since there is next to no traffic.
SETTINGS = {"scrapeInterval": 2, "acceptanceWindow": 10}


def values(hub: str) -> dict[str, Any]:
    """Values of the chart for such a cluster: its hub, and the image that its node has."""
    repository, tag = OPERATOR_IMAGE.rsplit(":", 1)
    return {
        "image": {"repository": repository, "tag": tag},
        "settings": {"hfEndpoint": hub, **SETTINGS},
        "test": {"model": "tiny/llama-eagle3-agree"},
    }


def prepare(folder: Path, control_plane: ControlPlane, hub: str, *, namespace: str = "default") -> dict[str, str]:
    """Fills a folder with what a shell needs, and returns the variables that it has to have.

    ``env`` sets them, ``kubeconfig`` is the administrator's, ``bin`` has programs, and ``values.yaml`` is the chart's.
    """
    programs = folder / "bin"
    programs.mkdir(parents=True)
    for name in ("kubectl", "helm"):
        (programs / name).symlink_to(binary(name))
    for name in ("speculator-operator", "kubectl-speculator"):
        (programs / name).symlink_to(Path(sys.executable).with_name(name))
    kubectl = Kubectl(binary("kubectl"), control_plane.kubeconfig)
    variables = {
        "KUBECONFIG": str(kubeconfig_of(kubectl, folder / "kubeconfig", namespace=namespace)),
        "HF_ENDPOINT": hub,
    }
    lines = [f"export {name}={value}" for name, value in variables.items()]
    (folder / "env").write_text("\n".join([*lines, f"export PATH={programs}:$PATH", ""]))
    (folder / "values.yaml").write_text(yaml.safe_dump(values(hub)))
    return variables | {"PATH": str(programs)}


def main() -> int:
    # It is ignored from the start where a shell without job control has put this in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with contextlib.ExitStack() as stack:
        stack.enter_context(TerminatedByExit())
        try:
            stack.enter_context(_folder())
            control_plane = stack.enter_context(ControlPlane(controllers=True, scheduler=True))
            node = stack.enter_context(Node(control_plane))
            node.load(operator_image())
        except _FAULTS as problem:
            print(f"There can be no playground on this machine: {problem}", file=sys.stderr)
            return 1
        hub = stack.enter_context(Hub(node.gateway))
        publish_samples(hub)
        prepare(FOLDER, control_plane, hub.url)
        with contextlib.suppress(KeyboardInterrupt):
            print(f"In another terminal: source {FOLDER.name}/env, and go on with docs/tutorial.md.")
            print("Ctrl-C ends it, and leaves nothing behind.", flush=True)
            signal.pause()
    return 0


@contextlib.contextmanager
def _folder() -> Iterator[None]:
    """The folder, empty and ours; afterwards it is gone.

    Raises:
        BlockingIOError: another playground has it.
    """
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(f"{FOLDER} is another one's, which runs: end that first") from error
        for left_by_a_kill in FOLDER.iterdir():
            if left_by_a_kill.name != "lock":
                shutil.rmtree(left_by_a_kill) if left_by_a_kill.is_dir() else left_by_a_kill.unlink()
        try:
            yield
        finally:
            shutil.rmtree(FOLDER, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
