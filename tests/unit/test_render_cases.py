"""Whole renderings: ``cr.yaml`` and the models' configs in, ``expected.yaml`` out. `make expected` writes them anew."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from speculator_operator import cli

CASES = sorted((Path(__file__).parents[1] / "data" / "render").iterdir())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_renders(case: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("SPECULATOR_", "HF_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SPECULATOR_RESOLVER_IMAGE", "registry.example/speculator-operator:0.1.0")
    folders = [f"--checkpoint={case / 'checkpoint'}"]
    if (case / "verifier").is_dir():
        folders.append(f"--verifier-checkpoint={case / 'verifier'}")
    assert cli.main(["render", "-f", str(case / "cr.yaml"), *folders]) == 0
    rendered = capsys.readouterr().out
    expected = case / "expected.yaml"
    if os.environ.get("WRITE_EXPECTED"):
        expected.write_text(rendered)
    assert rendered == expected.read_text()
