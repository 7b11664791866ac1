"""The chart, packaged by helm."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from tools import package_chart
from tools.localcluster.binaries import binary

DIGEST = f"sha256:{'ab' * 32}"


@pytest.mark.timeout(600)  # helm may have to be built
def test_a_package_runs_the_image_that_it_was_made_for_and_is_made_again_the_same(tmp_path: Path) -> None:
    umask = os.umask(0o077)
    try:
        first = package_chart.package("registry:5000/operator", DIGEST, 1_700_000_000, tmp_path / "one")
    finally:
        os.umask(umask)
    second = package_chart.package("registry:5000/operator", DIGEST, 1_700_000_000, tmp_path / "two")
    assert first.read_bytes() == second.read_bytes()
    shown = subprocess.run([binary("helm"), "show", "values", first], capture_output=True, text=True, check=True)
    image = yaml.safe_load(shown.stdout)["image"]
    assert (image["repository"], image["digest"]) == ("registry:5000/operator", DIGEST)
