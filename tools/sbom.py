"""Writes the bill of materials of the operator's image, as CycloneDX's JSON: the image's build calls this at its end.

It lists what is there, not what was asked for: Python's packages by their metadata, Debian's by dpkg's database, and
what compiled wheels say that they hold (PEP 770). What Debian's packages and wheels without such a list bundle isn't
known, so that the list never calls itself complete. Equal content gives equal bytes. It runs in the base of the image,
with nothing but the standard library.
"""

from __future__ import annotations

import argparse
import email
import hashlib
import importlib.metadata
import json
import platform
import re
import shlex
import sys
import tomllib
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

#: The licences by their SPDX names; whatever else a package says of its licence is given as it says it.
SPDX = frozenset({"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MPL-2.0", "PSF-2.0"})

Component = dict[str, Any]


def bill(project: dict[str, Any], created: str, root: Path, site: Path, wheels: Path) -> dict[str, Any]:
    """The document.

    Args:
        project: of pyproject.toml; what the image is.
        created: the time that the document bears, in RFC 3339.
        root: the file system of the image's base.
        site: where the operator's packages are installed.
        wheels: what they were installed from.
    """
    found = [*packages(site, wheels, but=project["name"]), interpreter(), *distribution(root)]
    ref = f"{project['name']}@{project['version']}"
    image = {
        "bom-ref": ref,
        "type": "container",
        "name": project["name"],
        "version": project["version"],
        "description": project["description"],
        "licenses": [{"expression": project["license"]}],
    }
    content = {
        "components": found,
        "dependencies": [{"ref": ref, "dependsOn": [component["bom-ref"] for component in found]}, *_inner(found)],
        "compositions": [{"aggregate": "incomplete", "assemblies": [ref]}],
    }
    head = {"timestamp": created, "component": image}
    digest = hashlib.sha256(json.dumps([head, content], sort_keys=True).encode()).hexdigest()
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, digest)}",
        "version": 1,
        "metadata": head,
        **content,
    }


def _inner(components: list[Component]) -> Iterator[dict[str, Any]]:
    for component in components:
        if inner := component.get("components"):
            yield {"ref": component["bom-ref"], "dependsOn": [each["bom-ref"] for each in inner]}


def packages(site: Path, wheels: Path, but: str) -> list[Component]:
    """What is installed in a folder of Python's packages, with the hash of the wheel that it came in."""
    hashes = {}
    for wheel in wheels.glob("*.whl"):
        name, version, *_ = wheel.name.split("-")
        hashes[normalized(name), version] = hashlib.sha256(wheel.read_bytes()).hexdigest()
    found = []
    for package in importlib.metadata.distributions(path=[str(site)]):
        name, version = normalized(package.name), package.version
        if name == but:
            continue
        ref = purl("pypi", name, version)
        component: Component = {"bom-ref": ref, "type": "library", "name": name, "version": version, "purl": ref}
        if (name, version) in hashes:
            component["hashes"] = [{"alg": "SHA-256", "content": hashes[name, version]}]
        if said := licence(package):
            component["licenses"] = [said]
        if held := bundled(package, ref):
            component["components"] = held
        found.append(component)
    return sorted(found, key=lambda component: str(component["bom-ref"]))


def normalized(name: str) -> str:
    """A package's name as indexes have it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def purl(kind: str, name: str, version: str, **qualifiers: str) -> str:
    given = "&".join(f"{key}={quote(value, safe=':')}" for key, value in sorted(qualifiers.items()) if value)
    return f"pkg:{kind}/{name}@{quote(version, safe=':')}{'?' if given else ''}{given}"


def licence(package: importlib.metadata.Distribution) -> dict[str, Any] | None:
    """What a package's metadata says of its licence, as CycloneDX has it; None where that is nothing."""
    fields = {name: package.metadata.get_all(name, []) for name in ("License-Expression", "License", "Classifier")}
    said = next(iter([*fields["License-Expression"], *fields["License"]]), "")
    if said and all(word in SPDX for word in re.findall(r"[^\s()]+", said) if word not in ("AND", "OR")):
        return {"expression": said, "acknowledgement": "declared"}
    classifiers = [text.rpartition(" :: ")[2] for text in fields["Classifier"] if "License ::" in text]
    name = said.partition("\n")[0] or "; ".join(classifiers)
    return {"license": {"name": name, "acknowledgement": "declared"}} if name else None


def bundled(package: importlib.metadata.Distribution, parent: str) -> list[Component]:
    """What a wheel says that is compiled into it."""
    found = {}
    for file in package.files or ():
        if file.parent.name == "sboms" and file.parent.parent.suffix == ".dist-info" and file.suffix == ".json":
            document = json.loads(file.read_text())
            for each in document.get("components", []) if document.get("bomFormat") == "CycloneDX" else []:
                component = {key: each[key] for key in ("type", "name", "version", "hashes", "licenses") if key in each}
                # Where it lay on the machine that built the wheel is of no use.
                address = each.get("purl", "").partition("?")[0]
                ref = f"{parent}#{address or each['name']}"
                found[ref] = {"bom-ref": ref, **component, **({"purl": address} if address else {})}
    return [component for _, component in sorted(found.items())]


def interpreter() -> Component:
    version = platform.python_version()
    ref = purl("generic", "python", version)
    cpe = f"cpe:2.3:a:python:python:{version}:*:*:*:*:*:*:*"
    return {"bom-ref": ref, "type": "platform", "name": "python", "version": version, "cpe": cpe, "purl": ref}


def distribution(root: Path) -> Iterator[Component]:
    """The base's operating system, and what dpkg knows of it: in one file, or in one for each package."""
    release = root / "etc" / "os-release"
    system = dict(word.split("=", 1) for word in shlex.split(release.read_text())) if release.is_file() else {}
    name, number = system.get("ID", "linux"), system.get("VERSION_ID", "")
    yield {"bom-ref": f"os:{name}@{number}", "type": "operating-system", "name": name, "version": number}
    database = root / "var" / "lib" / "dpkg"
    files = [database / "status", *sorted((database / "status.d").glob("*"))]
    stanzas = [
        text for file in files if file.is_file() for text in file.read_text().split("\n\n") if "Package:" in text
    ]
    if not stanzas:
        print("dpkg knows no packages of this base: they are missing in the bill of materials", file=sys.stderr)
    for package in sorted((email.message_from_string(text) for text in stanzas), key=lambda it: str(it["Package"])):
        if package.get("Status", "installed").split()[-1] != "installed":
            continue
        # Advisories name the source.
        source = package.get("Source", "").partition(" ")[0]
        ref = purl(
            f"deb/{name}",
            package["Package"],
            package["Version"],
            arch=package["Architecture"],
            distro=f"{name}-{number}",
            upstream=source,
        )
        yield {
            "bom-ref": ref,
            "type": "library",
            "name": package["Package"],
            "version": package["Version"],
            "purl": ref,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description="Prints the bill of materials of the operator's image.")
    parser.add_argument("--project", type=Path, required=True, metavar="PYPROJECT")
    parser.add_argument("--created", required=True, metavar="TIME")
    parser.add_argument("--root", type=Path, default=Path("/"))
    parser.add_argument("--site", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--wheels", type=Path, required=True, metavar="FOLDER")
    given = parser.parse_args()
    project = tomllib.loads(given.project.read_text())["project"]
    json.dump(bill(project, given.created, given.root, given.site, given.wheels), sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
