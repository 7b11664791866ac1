"""Writes docs/pictures: what ``kubectl speculator`` prints, of resources on a real API server with simulated engines.

Run by ``make pictures``. Ages, names of pods and counts differ from run to run.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from tests.support.engines import Engines
from tests.support.eventually import eventually
from tests.support.operator import grant
from tests.support.world import DRAFT, VERIFIER, World, files
from tools.localcluster.controlplane import ControlPlane
from tools.localcluster.simulated import SimulatedNodes
from tools.testhub import Hub

ROOT = Path(__file__).parents[2]
CRD = ROOT / "crds" / "speculators.dev_speculatordeployments.yaml"
PICTURES = ROOT / "docs" / "pictures"
NAMESPACE = "models"
COLUMNS = 130
CHARACTER = 12.2
"""The width of one, as rich draws it."""
WINDOW_SECONDS = 15
#: A picture fetches no font from anywhere.
SVG = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL).replace("Fira Code, ", "")

INDENTED = re.compile(r'x="([0-9.]+)"( y="[0-9.]+" )textLength="([0-9.]+)"([^>]*>)((?:&#160;)+)')

Spec = dict[str, Any]


def publish(hub: Hub) -> None:
    for name in ("acme/llama3-8b-instruct", "acme/qwen3-8b"):
        hub.commit(name, files(VERIFIER))
        config = {**DRAFT["speculators_config"], "verifier": {"name_or_path": name}}
        hub.commit(f"{name}-eagle3", files(DRAFT, speculators_config=config))
    narrow = {**DRAFT["transformer_layer_config"], "hidden_size": 32}
    config = {**DRAFT["speculators_config"], "verifier": {"name_or_path": "acme/qwen3-8b"}}
    hub.commit("acme/other-eagle3", files(DRAFT, speculators_config=config, transformer_layer_config=narrow))


def resources(worse: Engines) -> dict[str, Spec]:
    return {
        "llama3-8b": {"model": {"uri": "acme/llama3-8b-instruct-eagle3"}, "replicas": 2, "parallelism": {"tensor": 2}},
        "llama3-8b-baseline": {
            "model": {"uri": "acme/llama3-8b-instruct-eagle3"},
            "parallelism": {"tensor": 2},
            "speculation": {"mode": "Disabled"},
        },
        "qwen3-8b": {"model": {"uri": "acme/qwen3-8b-eagle3"}, "engine": {"port": worse.port}},
        "qwen3-8b-next": {"model": {"uri": "acme/other-eagle3"}},
    }


def shifted(match: re.Match[str]) -> str:
    """A text that begins with spaces, which not every program that draws SVG keeps, moved to where its words begin."""
    x, height, length, rest, spaces = match.groups()
    indent = CHARACTER * spaces.count(";")
    return f'x="{float(x) + indent:g}"{height}textLength="{float(length) - indent:g}"{rest}'


def draw(world: World, *words: str, picture: str) -> None:
    command = [str(Path(sys.executable).parent / "kubectl-speculator"), *words, f"--namespace={NAMESPACE}"]
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    terminal = {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "PYTHONIOENCODING": "utf-8"}
    environment = {**kept, **terminal, "KUBECONFIG": str(world.cluster.kubeconfig)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    screen = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    title = " ".join(["kubectl speculator", *words, "-n", NAMESPACE])
    screen.print(Text.from_ansi(f"$ {title}\n{done.stdout.rstrip()}"))
    PICTURES.mkdir(parents=True, exist_ok=True)
    drawn = screen.export_svg(title=title, code_format=SVG, unique_id="picture")
    (PICTURES / picture).write_text(INDENTED.sub(shifted, drawn))


def accepted(world: World, name: str) -> Any:
    return world.get("spd", name)["status"]["acceptance"]


def main() -> None:
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(ControlPlane(controllers=True, scheduler=True))
        cluster.define(CRD)
        nodes = SimulatedNodes(cluster, count=2, gpus=8, prefix="gpu-node", executes=True)
        stack.enter_context(nodes)
        hub, engines, worse = stack.enter_context(Hub()), stack.enter_context(Engines()), stack.enter_context(Engines())
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="speculator-pictures-"))
        publish(hub)
        grant(cluster)
        cluster.kubectl("create", "namespace", NAMESPACE)
        world = World(cluster, NAMESPACE, hub, engines, Path(scratch) / "operator.log")
        engines.rates, worse.rates = (0.9, 0.7, 0.45), (0.55, 0.25, 0.1)
        for each in (engines, worse):  # they have drafted, and do again after a while: what is said first is of that
            each.drafts, each.total = 0, 1000
        stack.enter_context(world.operator(acceptance_window=WINDOW_SECONDS))
        world.apply_all(resources(worse))
        for name in ("llama3-8b", "llama3-8b-baseline", "qwen3-8b"):
            world.ready(name)
        world.becomes("qwen3-8b-next", Stalled=("True", "HiddenSizeMismatch"))
        time.sleep(WINDOW_SECONDS)
        engines.drafts, worse.drafts = 400, 200
        for name in ("llama3-8b", "qwen3-8b"):
            eventually(partial(accepted, world, name), within=60)
        draw(world, "status", "llama3-8b", picture="status.svg")
        draw(world, "status", "qwen3-8b-next", picture="status-stalled.svg")
        draw(world, "top", "--once", picture="top.svg")
        draw(world, "verify", "llama3-8b", picture="verify.svg")


if __name__ == "__main__":
    main()
