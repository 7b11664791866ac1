"""The engine in a process of its own, under the Python that has it: importing it takes seconds, and may end badly."""

from __future__ import annotations

import inspect
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import engine_check
from .core.config_file import CONFIG

#: For importing the engine, which takes ten seconds on a fast machine, and for its first config, which takes as long.
START_SECONDS = 240.0
#: For each question besides.
ANSWER_SECONDS = 30.0
_LOOK_SECONDS = 60.0


@dataclass(frozen=True)
class Question:
    """``configs`` has the ``config.json`` of each model that the command names; ``environment`` is the container's."""

    command: Sequence[str]
    configs: Mapping[str, Mapping[str, Any]]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """``version`` is the engine's, ``refused`` its words where it refuses. ``silent`` is why there is no answer."""

    version: str = ""
    refused: str | None = None
    silent: str | None = None


def find(python: str) -> None:
    """Looks whether a Python can import the engine.

    Raises:
        ValueError: it can't.
    """
    code = "import importlib.util, sys; sys.exit(importlib.util.find_spec('vllm') is None)"
    try:
        found = subprocess.run([python, "-c", code], capture_output=True, timeout=_LOOK_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ValueError(f"{python} doesn't run: {error}") from None
    if found.returncode:
        raise ValueError(
            f"{python} has no vLLM. Install it (pip install 'speculator-operator[engine]', or [engine-cpu] where there "
            "is no GPU), or name a Python that has it"
        )


def ask(python: str, questions: Sequence[Question]) -> list[Answer]:
    """One answer for each question: whether the engine takes its command."""
    with tempfile.TemporaryDirectory(prefix="engine-check-") as home:
        lines = [_line(question, Path(home) / str(number)) for number, question in enumerate(questions)]
        seconds = START_SECONDS + ANSWER_SECONDS * len(questions)
        output, silent = _run(python, "".join(lines), home, seconds)
    answers = [Answer(**json.loads(line)) for line in output.splitlines() if line.endswith("}")]
    return answers + [Answer(silent=silent)] * (len(questions) - len(answers))


def _line(question: Question, folder: Path) -> str:
    """What ``engine_check`` reads, after the models' folders were made. There are no weights in them."""
    folders = {}
    for number, (model, config) in enumerate(question.configs.items()):
        place = folder / str(number) / model.strip("/")  # the engine reads a method out of some models' names
        place.mkdir(parents=True)
        (place / CONFIG).write_text(json.dumps(config))
        folders[model] = str(place)
    asked = {"command": list(question.command), "folders": folders, "environment": dict(question.environment)}
    return json.dumps(asked) + "\n"


def _run(python: str, questions: str, home: str, seconds: float) -> tuple[str, str]:
    """What the engine's process wrote, and how it ended, in words. It ends in time, with all that it has started."""
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": home,  # so that not even code that was downloaded before is run
        "VLLM_CACHE_ROOT": home,
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "ERROR",
    }
    with subprocess.Popen(
        [python, "-c", inspect.getsource(engine_check)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        cwd=home,
        env=environment,
        start_new_session=True,
    ) as process:
        try:
            output, errors = process.communicate(questions, timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            return output, f"the engine has not answered within {seconds:.0f} seconds"
    last = next((line for line in reversed(errors.splitlines()) if line.strip()), "it said nothing")
    return output, f"the engine's process ended with code {process.returncode}: {last[: engine_check.LONGEST]}"
