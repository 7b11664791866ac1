"""``make scan``: what checkov and kube-score find in what is rendered, and our answers to it.

Scanned are the chart, its test, and the engines of ``tests/data/render``. Each finding needs an answer in
``tools/scan.yaml``, and each answer there a finding: both what is new and what is settled ends this with 1.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tools.chart import ROOT, render
from tools.localcluster.binaries import BuildFailed, appears_whole, binary, cache, locked, say

ANSWERS = Path(__file__).with_suffix(".yaml")
LOCK = ROOT / "requirements" / "scan.txt"
SCAN_SECONDS = 300.0
INSTALL_SECONDS = 600.0
#: kube-score's grade of what is as it should be.
OK = 10

#: What was found: in ``operator``, ``test`` or ``engines``, and which check says what.
Finding = tuple[str, str]


def main() -> int:
    try:
        with tempfile.TemporaryDirectory() as scratch:
            for name, manifests in _manifests().items():
                (Path(scratch) / f"{name}.yaml").write_text(manifests)
            found = {**_checkov(Path(scratch)), **_kube_score(Path(scratch))}
    except BuildFailed as error:
        say(str(error))
        return 1
    answered = {(where, check) for answer in _answers() for where in answer["where"] for check in answer["checks"]}
    for where, check in sorted(found.keys() - answered):
        print(f"{where}: {check}: no answer in {ANSWERS.relative_to(ROOT)}: {found[where, check]}")
    for where, check in sorted(answered - found.keys()):
        print(f"{where}: {check}: an answer in {ANSWERS.relative_to(ROOT)}, and nothing is found any more: take it out")
    if found.keys() != answered:
        return 1
    print(f"{len(found)} findings, all of them answered in {ANSWERS.relative_to(ROOT)}")
    return 0


def _answers() -> list[dict[str, Any]]:
    answers: list[dict[str, Any]] = yaml.safe_load(ANSWERS.read_text())
    return answers


def _manifests() -> dict[str, str]:
    documents = list(yaml.safe_load_all(render("--set", "userRoles.enabled=true")))
    hooks = [it for it in documents if "helm.sh/hook" in (it["metadata"].get("annotations") or {})]
    engines = sorted((ROOT / "tests" / "data" / "render").glob("*/expected.yaml"))
    return {
        "operator": yaml.safe_dump_all(it for it in documents if it not in hooks),
        "test": yaml.safe_dump_all(hooks),
        "engines": "---\n".join(path.read_text() for path in engines),
    }


def _checkov(folder: Path) -> Mapping[Finding, str]:
    options = ["--directory", str(folder), "--framework", "kubernetes", "--skip-download", "--output", "json"]
    # It ends with 1 where it finds something.
    done = _run([sys.executable, "-m", "checkov.main", *options], {"PYTHONPATH": str(_installed())}, ends=(0, 1))
    report = json.loads(done)
    if report["summary"]["parsing_errors"]:
        raise BuildFailed(f"checkov can't read {report['summary']['parsing_errors']} of the files")
    return {
        (Path(it["file_path"]).stem, it["check_id"]): f"{it['resource']}: {it['check_name']}"
        for it in report["results"]["failed_checks"]
    }


def _installed() -> Path:
    """The folder with checkov's packages, which go together with none of ours; installed once per machine."""
    content = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()[:16]
    target = cache() / f"scan-{content}"
    if not target.is_dir():
        with locked(target.with_name(f"{target.name}.lock"), "another process to install checkov"):
            if not target.is_dir():
                with appears_whole(target) as partial:
                    say(f"Installing checkov into {target} (once; about 200 MB)")
                    options = ["--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:", "-r", str(LOCK)]
                    uv = str(Path(sys.executable).with_name("uv"))
                    command = [uv, "pip", "install", "--python", sys.executable, "--target", str(partial), *options]
                    _run(command, {}, seconds=INSTALL_SECONDS)
    return target


def _kube_score(folder: Path) -> Mapping[Finding, str]:
    files = [str(path) for path in sorted(folder.glob("*.yaml"))]
    done = _run([str(binary("kube-score")), "score", "--output-format", "json", *files], {}, ends=(0, 1))
    return dict(_below_ok(json.loads(done)))


def _below_ok(scored: list[dict[str, Any]]) -> Iterator[tuple[Finding, str]]:
    for it in scored:
        for check in it["checks"]:
            if check["grade"] < OK and not check["skipped"]:
                for comment in check["comments"]:
                    name = f"{check['check']['id']}: {comment['summary']}"
                    yield (Path(it["file_name"]).stem, name), f"{it['object_name']} {comment['path']}".strip()


def _run(
    command: list[str], environment: Mapping[str, str], *, ends: tuple[int, ...] = (0,), seconds: float = SCAN_SECONDS
) -> str:
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, timeout=seconds, check=False
    )
    if done.returncode not in ends:
        raise BuildFailed(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
