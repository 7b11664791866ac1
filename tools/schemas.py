"""JSON schemas of everything that is rendered, made from Go modules, so that no test asks a website.

Kubernetes' are in its own OpenAPI document, other projects' in their resource definitions. Unlike the API server, which
drops an unknown field, these refuse it. ``conform`` holds manifests against them.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tools.localcluster.binaries import TOOLS, BuildFailed, appears_whole, binary, cache, go, locked, say, version

DOWNLOAD_SECONDS = 900.0
CONFORM_SECONDS = 120.0
#: As kubeconform fills it in. The core group has no name, and its version stands there instead.
FILE = "{{.Group}}_{{.ResourceAPIVersion}}_{{.ResourceKind}}.json"

Schema = dict[str, Any]


class _Loader(yaml.CSafeLoader):
    """Takes a lone ``=`` for text, as the rest of the world does."""


_Loader.add_constructor("tag:yaml.org,2002:value", lambda _, node: node.value)


@dataclass(frozen=True)
class Module:
    """A Go module, the digest that it has to have (go.sum's), and where in it definitions are."""

    path: str
    version: str
    digest: str
    definitions: str = ""


NEWEST = version("kubernetes", "k8s.io/kubernetes")
#: The oldest release that the chart takes, in its last patch.
OLDEST = Module("k8s.io/kubernetes", "v1.30.14", "h1:MrlKXh9uhLIJpyxOeXhcndzRVSvwiV9iJ8NgH8nqPsg=")
OTHERS = (
    Module(
        "github.com/prometheus-operator/prometheus-operator",
        "v0.92.0",
        "h1:tAbsod3+9sQsxDeAvLP27dAe9terToht5M+YdDwLGP0=",
        "example/prometheus-operator-crd",
    ),
    Module(
        "sigs.k8s.io/gateway-api",
        "v1.6.3",
        "h1:lKpJa5bGlraC/QeACvCpsHLdmO6y0iKfzVl6gzaFEYc=",
        "config/crd/standard",
    ),
    Module(
        "github.com/kedacore/keda/v2",
        "v2.21.0",
        "h1:R6z2HZvstK4RLUMxroNACzBj74xGxt3kG59b5Xc+Xps=",
        "config/crd/bases",
    ),
)
RELEASES = (OLDEST.version, NEWEST)


class Unfit(Exception):
    """A manifest isn't what its schema says; the message has a line for each fault."""


def conform(manifests: str, release: str, *, definitions: Iterable[Path] = ()) -> None:
    """Holds YAML documents against the schemas of a release of Kubernetes, and of other projects.

    Args:
        release: one of ``RELEASES``.
        definitions: files with more resource definitions.

    Raises:
        Unfit: a field is unknown or wrong, or a kind has no schema.
        BuildFailed: there are no schemas, and they can't be had.
    """
    folder = schemas()
    with tempfile.TemporaryDirectory() as scratch:
        _write(Path(scratch), _of_definitions(definitions))
        places = [folder / release, folder / "others", Path(scratch)]
        done = subprocess.run(
            [
                str(binary("kubeconform")),
                "-strict",
                "-output=json",
                *(f"-schema-location={place / FILE}" for place in places),
            ],
            input=manifests,
            capture_output=True,
            text=True,
            timeout=CONFORM_SECONDS,
            check=False,
        )
    if not done.stdout.strip():
        raise Unfit(f"kubeconform said nothing but: {done.stderr.strip()}")
    faults = json.loads(done.stdout).get("resources") or []
    if faults:
        raise Unfit("\n".join(f"{it['kind']} {it['name']}: {it['msg']}" for it in faults))


def schemas() -> Path:
    """The folder of all schemas, made once per machine: one folder for each release, and ``others``."""
    content = hashlib.sha256(Path(__file__).read_bytes() + NEWEST.encode()).hexdigest()[:16]
    target = cache() / f"schemas-{content}"
    if not target.is_dir():
        with locked(target.with_name(f"{target.name}.lock"), "another process to make schemas"):
            if not target.is_dir():
                with appears_whole(target) as partial:
                    _make(partial)
    return target


def _make(target: Path) -> None:
    newest = Module(OLDEST.path, NEWEST, _locked_digest(OLDEST.path, NEWEST))
    for module in (OLDEST, newest):
        document = json.loads((_downloaded(module) / "api" / "openapi-spec" / "swagger.json").read_text())
        _write(target / module.version, _of_openapi(document))
    for module in OTHERS:
        _write(target / "others", _of_definitions((_downloaded(module) / module.definitions).glob("*.yaml")))


def _locked_digest(path: str, release: str) -> str:
    for line in (TOOLS / "kubernetes" / "go.sum").read_text().splitlines():
        if line.startswith(f"{path} {release} "):
            return line.split()[2]
    raise BuildFailed(f"tools/kubernetes/go.sum has no digest of {path} {release}")


def _downloaded(module: Module) -> Path:
    """Go's own copy of a module, downloaded where it isn't there yet.

    Raises:
        BuildFailed: it can't be downloaded, or isn't what it was.
    """
    program, environment = go(TOOLS / "kubernetes")
    say(f"Taking schemas from {module.path} {module.version}")
    done = subprocess.run(
        [str(program), "mod", "download", "-json", f"{module.path}@{module.version}"],
        cwd="/",
        # The digest is compared here.
        env=os.environ | environment | {"GOSUMDB": "off", "GOFLAGS": "-modcacherw", "GOWORK": "off"},
        capture_output=True,
        text=True,
        timeout=DOWNLOAD_SECONDS,
        check=False,
    )
    found = json.loads(done.stdout or "{}")
    if done.returncode != 0:
        raise BuildFailed(f"downloading {module.path}: {found.get('Error') or done.stderr.strip()}")
    if found["Sum"] != module.digest:
        raise BuildFailed(f"{module.path} {module.version} has the digest {found['Sum']}, not {module.digest}")
    return Path(found["Dir"])


def _write(folder: Path, files: Iterable[tuple[str, Schema]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, schema in files:
        (folder / name).write_text(json.dumps(schema))


def _of_openapi(document: Mapping[str, Any]) -> Iterator[tuple[str, Schema]]:
    """A file for each kind that refers to one with everything."""
    definitions = {name: _strict(schema) for name, schema in document["definitions"].items()}
    # Both may be written as numbers.
    definitions["io.k8s.apimachinery.pkg.api.resource.Quantity"] = {"type": ["string", "number"]}
    definitions["io.k8s.apimachinery.pkg.util.intstr.IntOrString"] = {"type": ["string", "integer"]}
    yield "_definitions.json", {"definitions": definitions}
    for name, schema in document["definitions"].items():
        for kind in schema.get("x-kubernetes-group-version-kind", ()):
            group = kind["group"] or kind["version"]
            yield _name(group, kind["version"], kind["kind"]), {"$ref": f"_definitions.json#/definitions/{name}"}


def _of_definitions(files: Iterable[Path]) -> Iterator[tuple[str, Schema]]:
    for path in files:
        for document in yaml.load_all(path.read_text(), Loader=_Loader):
            if document and document["kind"] == "CustomResourceDefinition":
                for release in document["spec"]["versions"]:
                    schema = _strict(release["schema"]["openAPIV3Schema"])
                    text = {"type": "string"}
                    schema["properties"] |= {"apiVersion": text, "kind": text, "metadata": {"type": "object"}}
                    spec = document["spec"]
                    yield _name(spec["group"], release["name"], spec["names"]["kind"]), schema


def _name(group: str, release: str, kind: str) -> str:
    return f"{group}_{release}_{kind.lower()}.json"


def _strict(schema: Any) -> Any:
    """The schema, refusing fields that it doesn't name."""
    if isinstance(schema, list):
        return [_strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: part for key, part in schema.items() if key not in ("description", "default", "format")}
    for key in ("properties", "definitions"):
        if key in kept:
            kept[key] = {name: _strict(part) for name, part in kept[key].items()}
    for key in ("items", "additionalProperties", "allOf", "anyOf", "oneOf", "not"):
        if key in kept:
            kept[key] = _strict(kept[key])
    open_ended = kept.get("x-kubernetes-preserve-unknown-fields") or kept.get("x-kubernetes-embedded-resource")
    if kept.get("type") == "object" and "properties" in kept and not open_ended:
        kept.setdefault("additionalProperties", False)
    if kept.get("nullable") and isinstance(kept.get("type"), str):
        kept["type"] = [kept["type"], "null"]
    return kept
