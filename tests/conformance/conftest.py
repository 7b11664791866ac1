"""Runs a script under the engine's own Python, so that what we say can be compared with what the engine does.

``ENGINE_SITE`` is a folder that holds ``vllm`` (a target of ``pip install --target``), ``ENGINE_PYTHON`` the Python
that can import from it; both may be left out where ``vllm`` is installed beside the tests. The engine runs in a process
of its own: importing it takes seconds, drags torch in, and it warns about more than our filters let pass.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tools.localcluster.processes import TerminatedByExit

Engine = Callable[[Path, list[Any]], list[Any]]
ANSWER_SECONDS = 280


@pytest.fixture(scope="session")
def engine() -> Engine:
    """``engine(script, batch)``: the script gets ``batch`` as JSON on standard input, and answers with a JSON list.

    The answer is the last line of its standard output, since the engine logs there too. One answer per entry.
    """
    site = os.environ.get("ENGINE_SITE")
    if site is None and importlib.util.find_spec("vllm") is None:
        pytest.skip("no engine: set ENGINE_SITE to a folder that has vllm, or install the group `engine-cpu`")
    if site is not None and not (Path(site) / "vllm").is_dir():
        pytest.fail(f"ENGINE_SITE={site} has no folder `vllm`")
    python = os.environ.get("ENGINE_PYTHON", sys.executable)
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
    if site is not None:
        environment["PYTHONPATH"] = site

    def run(script: Path, batch: list[Any]) -> list[Any]:
        with TerminatedByExit():  # the engine ends with us, whoever ends us
            done = subprocess.run(
                [python, str(script)],
                input=json.dumps(batch),
                env=environment,
                capture_output=True,
                text=True,
                timeout=ANSWER_SECONDS,
                check=False,
            )
        if done.returncode != 0:
            pytest.fail(f"{script.name} ended with {done.returncode}:\n{done.stderr[-3000:]}")
        answers = json.loads(done.stdout.rstrip().splitlines()[-1])
        assert isinstance(answers, list)
        assert len(answers) == len(batch)
        return answers

    return run
