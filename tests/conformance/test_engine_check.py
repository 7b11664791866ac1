"""``check --engine`` with the engine itself: what it takes is nothing to find, what it refuses is told in its words."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from speculator_operator import cli
from speculator_operator.commands.terminal import EXIT_REFUSED
from tests.conformance.conftest import Engine
from tests.support import inputs

pytestmark = pytest.mark.timeout(300)

RECIPES = Path(__file__).parents[1] / "data" / "recipes"

#: What is asked of a draft and its verifier -> the engine's words, None where it takes the command.
Cases = dict[str, tuple[inputs.Spec, str | None]]

CASES: Cases = {
    "a plain resource": ({}, None),
    "a baseline": ({"speculation": {"mode": "Disabled"}}, None),
    "four GPUs, where this machine has none": ({"parallelism": {"tensor": 4}}, None),
    "a variable, and no draft": (
        {
            "speculation": {"mode": "Disabled"},
            "engine": {"env": [{"name": "VLLM_LOGGING_LEVEL", "value": "ERROR"}], "args": ["--max-model-len=4096"]},
        },
        None,
    ),
    "a template that only the image has": ({"engine": {"args": ["--chat-template=examples/tool.jinja"]}}, None),
    "a parser of reasoning, for which a tokenizer is needed": (
        {"engine": {"args": ["--reasoning-parser=qwen3"]}},
        None,
    ),
    "the ends of reasoning, which are looked up in a tokenizer": (
        {
            "engine": {
                "args": ['--reasoning-config={"reasoning_start_str": "<think>", "reasoning_end_str": "</think>"}']
            }
        },
        None,
    ),
    "a parser of reasoning in structured outputs": (
        {"engine": {"args": ['--structured-outputs-config={"reasoning_parser": "qwen3"}']}},
        None,
    ),
    "a parser of reasoning that the engine hasn't": (
        {"engine": {"args": ["--reasoning-config.reasoning_parser=nobodys"]}},
        "Reasoning parser 'nobodys' not found",
    ),
    "a number that the engine's frontend bounds": (
        {"engine": {"args": ["--sse-keep-alive-interval=-1"]}},
        "must be a non-negative integer",
    ),
    "numbers that the engine's config holds against each other": (
        {"engine": {"args": ["--max-num-active-seqs=9", "--max-num-seqs=8"]}},
        "cannot be greater than",
    ),
    "a format whose file it isn't shown": ({"engine": {"args": ["--config-format=mistral"]}}, "model Qwen/Qwen3-8B"),
    "a variable that no engine can read": (
        {"engine": {"env": [{"name": "VLLM_CPU_KVCACHE_SPACE", "value": "much"}]}},
        "much",
    ),
}


@pytest.mark.parametrize(
    ("draft", "cases"),
    [
        ("eagle3-qwen3-8b", CASES),
        ("dspark-qwen3-8b", {"a draft that only the newer model runner runs": ({}, None)}),
    ],
)
def test_the_engines_word_on_what_we_take(
    engine: Engine,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    draft: str,
    cases: Cases,
) -> None:
    del engine  # it skips where there is none
    if site := os.environ.get("ENGINE_SITE"):
        monkeypatch.setenv("PYTHONPATH", site)
    argv = ["check", "--engine", "--engine-python", os.environ.get("ENGINE_PYTHON", sys.executable), "-o", "json"]
    for flag, recipe in (("--checkpoint", draft), ("--verifier-checkpoint", "regular-qwen3-8b")):
        folder = tmp_path / recipe
        folder.mkdir()
        shutil.copy(RECIPES / f"{recipe}.json", folder / "config.json")
        argv += [flag, str(folder)]
    file = tmp_path / "cr.yaml"
    file.write_text(yaml.safe_dump_all([inputs.resource(spec) for spec, _ in cases.values()]))

    code = cli.main([*argv, "-f", str(file)])
    reports: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    assert code == (EXIT_REFUSED if any(words for _, words in cases.values()) else 0)
    for (case, (_, words)), report in zip(cases.items(), reports, strict=True):
        assert report["undetermined"] is None, case
        said = [(finding["reason"], finding["evidence"]) for finding in report["findings"]]
        assert [reason for reason, _ in said] == (["EngineRefused"] if words else []), f"{case}: {said}"
        assert all(words and words in evidence for _, evidence in said), f"{case}: {said}"
        assert all(str(tmp_path) not in evidence and "/tmp" not in evidence for _, evidence in said), f"{case}: {said}"  # noqa: S108
