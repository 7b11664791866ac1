"""What is generated of the chart, and from it: ``make generate`` writes it, ``make generated`` compares.

- the chart's copy of the resource definition, from ``crds/``;
- the settings among its values, their descriptions in the schema, and the README's table (``tools/chart_values.py``);
- ``config/rbac`` and ``config/operator``, from the chart with its default values, for whoever has no Helm.
"""

from __future__ import annotations

import difflib
import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import yaml

from tools import chart_values
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
HELM_LABELS = re.compile(r"^ +(app\.kubernetes\.io/managed-by: Helm|helm\.sh/chart: .*)\n", re.MULTILINE)
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


def chart_files() -> dict[Path, str]:
    """The generated files of the chart. Those that are partly written by hand come with the rest of them as it is."""
    files = {name: CHART / name for name in ("values.yaml", "values.schema.json", "README.md")}
    values = chart_values.with_settings(files["values.yaml"].read_text())
    schema = chart_values.with_descriptions(json.loads(files["values.schema.json"].read_text()), values)
    readme = chart_values.with_table(files["README.md"].read_text(), schema, values)
    return {
        files["values.yaml"]: values,
        files["values.schema.json"]: json.dumps(schema, indent=2) + "\n",
        files["README.md"]: readme,
        CHART / "files" / CRD.name: CRD.read_text(),
    }


def plain_manifests() -> dict[Path, str]:
    """``config/``, from the chart as it is: one file for each kind, comments and all."""
    files: dict[Path, list[str]] = {}
    for document in re.split(r"^---\n", render("--set", "crds.install=false"), flags=re.MULTILINE):
        content = yaml.safe_load(document)
        if content is None or "helm.sh/hook" in content["metadata"].get("annotations", {}):
            continue
        kind = content["kind"]
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", kind).lower()
        path = ROOT / "config" / ("rbac" if kind in RBAC else "operator") / f"{name}.yaml"
        text = re.sub(r"^# Source: .*\n", "", document, flags=re.MULTILINE)
        files.setdefault(path, []).append(HELM_LABELS.sub("", text).strip() + "\n")
    return {path: HEADER + "---\n".join(documents) for path, documents in files.items()}


def stale(manifests: Iterable[Path]) -> list[Path]:
    """Files of ``config/`` that nothing generates any more."""
    folders = [ROOT / "config" / name for name in ("rbac", "operator")]
    return sorted({path for folder in folders for path in folder.glob("*.yaml")} - {*manifests} - KEPT)


def main(arguments: list[str]) -> int:
    try:
        return _compare() if arguments == ["--check"] else _write()
    except (RenderFailed, BuildFailed) as error:
        print(error, file=sys.stderr)
        return 1


def _write() -> int:
    for files in (chart_files, plain_manifests):  # the second is made from what the first writes
        for path, content in files().items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
    for path in stale(plain_manifests()):
        path.unlink()
    return 0


def _compare() -> int:
    manifests = plain_manifests()
    different = stale(manifests)
    for path, content in {**chart_files(), **manifests}.items():
        now = path.read_text() if path.exists() else ""
        if now != content:
            different.append(path)
            before, after = now.splitlines(keepends=True), content.splitlines(keepends=True)
            sys.stdout.writelines(difflib.unified_diff(before, after, str(path.relative_to(ROOT)), "generated"))
    for path in different:
        print(f"{path.relative_to(ROOT)} is out of date: run make generate", file=sys.stderr)
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
