"""What is generated of the chart, and from it: ``make generate`` writes it, ``make generated`` compares.

- the chart's copy of the resource definition, from ``crds/``;
- ``config/rbac`` and ``config/operator``, from the chart with its default values, for whoever has no Helm.
"""

from __future__ import annotations

import difflib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

from tools.localcluster.binaries import BuildFailed, binary

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "charts" / "speculator-operator"
CRD = ROOT / "crds" / "speculators.dev_speculatordeployments.yaml"
RELEASE = NAMESPACE = "speculator-operator"

#: Where a kind goes whose objects say who may do what; all others are the operator itself.
RBAC = {"ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"}
#: Written by hand: a chart makes no namespace.
KEPT = {ROOT / "config" / "rbac" / "namespace.yaml"}
#: Labels that are true of what Helm installs only.
HELM_LABELS = re.compile(r"^ +(app\.kubernetes\.io/managed-by|helm\.sh/chart): .*\n", re.MULTILINE)
HEADER = "# Generated from charts/speculator-operator by `make generate`. Don't edit.\n"
HELM_SECONDS = 60.0


class RenderFailed(Exception):
    """Helm refuses the chart or the values; the message is what it says."""


def render(*arguments: str, release: str = RELEASE, namespace: str = NAMESPACE) -> str:
    """What ``helm template`` prints of the chart.

    Raises:
        RenderFailed: it doesn't render.
        BuildFailed: there is no Helm, and it can't be built.
    """
    done = subprocess.run(
        [str(binary("helm")), "template", release, str(CHART), "--namespace", namespace, *arguments],
        capture_output=True,
        text=True,
        timeout=HELM_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise RenderFailed(done.stderr.strip())
    return done.stdout


def generated() -> dict[Path, str]:
    """Every generated file and its content."""
    return {CHART / "files" / CRD.name: CRD.read_text(), **dict(_plain_manifests())}


def _plain_manifests() -> Iterator[tuple[Path, str]]:
    """``config/``: one file for each kind, comments and all."""
    files: dict[Path, list[str]] = {}
    for document in re.split(r"^---\n", render("--set", "crds.install=false"), flags=re.MULTILINE):
        content = yaml.safe_load(document)
        if content is None:
            continue
        if "helm.sh/hook" in content["metadata"].get("annotations", {}):
            continue
        kind = content["kind"]
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", kind).lower()
        path = ROOT / "config" / ("rbac" if kind in RBAC else "operator") / f"{name}.yaml"
        text = re.sub(r"^# Source: .*\n", "", document, flags=re.MULTILINE)
        files.setdefault(path, []).append(HELM_LABELS.sub("", text).strip() + "\n")
    for path, documents in files.items():
        yield path, HEADER + "---\n".join(documents)


def stale(files: dict[Path, str]) -> list[Path]:
    """Files in generated folders that nothing generates any more."""
    folders = {path.parent for path in files} - {CHART}
    return sorted(path for folder in folders for path in folder.glob("*.yaml") if path not in files.keys() | KEPT)


def main(arguments: list[str]) -> int:
    try:
        files = generated()
    except (RenderFailed, BuildFailed) as error:
        print(error, file=sys.stderr)
        return 1
    if arguments == ["--check"]:
        return _compare(files)
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    for path in stale(files):
        path.unlink()
    return 0


def _compare(files: dict[Path, str]) -> int:
    different = stale(files)
    for path, content in files.items():
        now = path.read_text() if path.exists() else ""
        if now != content:
            different.append(path)
            sys.stdout.writelines(
                difflib.unified_diff(now.splitlines(True), content.splitlines(True), str(path), "generated")  # noqa: FBT003
            )
    for path in different:
        print(f"{path.relative_to(ROOT)} is out of date: run make generate", file=sys.stderr)
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
