"""The bill of materials: what it says of Python's packages, of Debian's, and of what wheels hold."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.support.locks import runtime
from tools import sbom

PROJECT = {"name": "operator", "version": "1.2", "description": "It operates", "license": "Apache-2.0"}
CREATED = "2026-01-02T03:04:05Z"
STATUS = """\
Package: libssl3
Status: install ok installed
Architecture: amd64
Source: openssl (3.0.1)
Version: 1:3.0.1-1+deb12u2~x
Description: Secure Sockets Layer
 toolkit

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1
"""
RUST = {
    "bomFormat": "CycloneDX",
    "components": [
        {
            "bom-ref": "path+file:///home/builder/crate",
            "type": "library",
            "name": "crate",
            "version": "1.0.0",
            "purl": "pkg:cargo/crate@1.0.0?download_url=file:///home/builder",
            "licenses": [{"expression": "MIT"}],
        }
    ],
}


@pytest.fixture
def built(tmp_path: Path) -> dict[str, Path]:
    """An image's file system, what is installed in it, and from which wheels."""
    folders = {name: tmp_path / name for name in ("root", "site", "wheels")}
    for folder in folders.values():
        folder.mkdir()
    install(folders["site"], "Some_Package", "1.0+local", "License: MIT")
    (folders["wheels"] / "Some_Package-1.0+local-py3-none-any.whl").write_bytes(b"wheel")
    install(folders["site"], "operator", "1.2", "License: none of an index")
    write(folders["root"] / "etc" / "os-release", 'ID=debian\nVERSION_ID="12"\nNAME="Debian GNU/Linux"\n')
    write(folders["root"] / "var" / "lib" / "dpkg" / "status", STATUS)
    return folders


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def install(site: Path, name: str, version: str, metadata: str, **files: str) -> None:
    folder = f"{name}-{version}.dist-info"
    write(site / folder / "METADATA", f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n{metadata}\n")
    for path, text in files.items():
        write(site / folder / "sboms" / f"{path}.json", text)
    write(site / folder / "RECORD", "".join(f"{folder}/sboms/{path}.json,,\n" for path in files))


def bill(built: dict[str, Path]) -> dict[str, Any]:
    made = sbom.bill(PROJECT, CREATED, **built)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(made)) is None
    return made


def components(built: dict[str, Path]) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in bill(built)["components"]}


def test_a_python_package_has_its_version_its_wheel_s_hash_and_its_licence(built: dict[str, Path]) -> None:
    found = components(built)
    assert found["some-package"] == {
        "bom-ref": "pkg:pypi/some-package@1.0%2Blocal",
        "type": "library",
        "name": "some-package",
        "version": "1.0+local",
        "purl": "pkg:pypi/some-package@1.0%2Blocal",
        "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(b"wheel").hexdigest()}],
        "licenses": [{"expression": "MIT", "acknowledgement": "declared"}],
    }
    assert "operator" not in found, "what the bill is of is no part of itself"


def test_a_debian_package_has_its_version_its_source_and_its_distribution(built: dict[str, Path]) -> None:
    found = components(built)
    assert found["debian"]["version"] == "12"
    assert (
        found["libssl3"]["purl"]
        == "pkg:deb/debian/libssl3@1:3.0.1-1%2Bdeb12u2~x?arch=amd64&distro=debian-12&upstream=openssl"
    )
    assert "gone" not in found


def test_a_base_that_was_made_without_dpkg_has_a_file_for_each_package(built: dict[str, Path]) -> None:
    database = built["root"] / "var" / "lib" / "dpkg"
    (database / "status").unlink()
    write(database / "status.d" / "libc6", "Package: libc6\nArchitecture: amd64\nVersion: 2.36-9\n")
    write(database / "status.d" / "libc6.md5sums", "d41d8cd98f00b204e9800998ecf8427e  lib/libc.so.6\n")
    assert components(built)["libc6"]["purl"] == "pkg:deb/debian/libc6@2.36-9?arch=amd64&distro=debian-12"


def test_a_base_without_dpkg_s_database_is_told(built: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    (built["root"] / "var" / "lib" / "dpkg" / "status").unlink()
    bill(built)
    assert "dpkg knows no packages of this base" in capsys.readouterr().err


def test_what_a_wheel_says_that_it_holds_is_in_it_but_not_where_it_was_built(built: dict[str, Path]) -> None:
    install(built["site"], "compiled", "2", "License: MIT", rust=json.dumps(RUST), other='{"spdxVersion": "SPDX-2.3"}')
    made = bill(built)
    (compiled,) = (each for each in made["components"] if each["name"] == "compiled")
    (crate,) = compiled["components"]
    assert (crate["purl"], crate["licenses"]) == ("pkg:cargo/crate@1.0.0", [{"expression": "MIT"}])
    assert {"ref": compiled["bom-ref"], "dependsOn": [crate["bom-ref"]]} in made["dependencies"]
    assert "/home/builder" not in json.dumps(made)


@pytest.mark.parametrize(
    ("metadata", "licence"),
    [
        pytest.param("License-Expression: MIT\nLicense: other", {"expression": "MIT"}, id="an expression counts first"),
        pytest.param(
            "License: MPL-2.0 AND (MIT OR ISC)", {"expression": "MPL-2.0 AND (MIT OR ISC)"}, id="in SPDX's words"
        ),
        pytest.param("License: Apache 2.0", {"name": "Apache 2.0"}, id="in other words, as it is said"),
        pytest.param("License: Some licence\n        with its text", {"name": "Some licence"}, id="a whole text"),
        pytest.param(
            "Classifier: License :: OSI Approved :: BSD License\nClassifier: Topic :: Internet",
            {"name": "BSD License"},
            id="a classifier",
        ),
        pytest.param("Classifier: Topic :: Internet", None, id="nothing is said"),
    ],
)
def test_a_licence_is_given_as_the_package_says_it(
    built: dict[str, Path], metadata: str, licence: dict[str, str] | None
) -> None:
    install(built["site"], "licensed", "1", metadata)
    said = components(built)["licensed"].get("licenses", [])
    assert [each.get("license", each) for each in said] == (
        [{**licence, "acknowledgement": "declared"}] if licence else []
    )


def test_equal_content_gives_an_equal_bill_and_another_content_another_number(built: dict[str, Path]) -> None:
    first = bill(built)
    assert json.dumps(bill(built)) == json.dumps(first)
    assert first["metadata"]["timestamp"] == CREATED
    install(built["site"], "another", "1", "")
    assert bill(built)["serialNumber"] != first["serialNumber"]


#: Of these, a change to their own files has to be published, and nothing else is asked: they are used as they are.
PER_FILE = {"certifi": "MPL-2.0", "shtab": "MPL-2.0", "tqdm": "MPL-2.0 AND MIT"}
PERMISSIVE = sbom.SPDX - {"MPL-2.0"}
#: The same in other words than SPDX's.
OTHER_WORDS = {"Apache 2.0", "MIT License"}


@pytest.mark.parametrize("name", [locked.name for locked in runtime() if locked.wanted])
def test_nothing_that_the_operator_runs_with_asks_more_than_to_be_named(name: str) -> None:
    said = sbom.licence(importlib.metadata.distribution(name))
    assert said is not None
    if "license" in said:
        assert said["license"]["name"] in OTHER_WORDS
    elif name in PER_FILE:
        assert said["expression"] == PER_FILE[name]
    else:
        assert {word for word in said["expression"].split() if word not in ("AND", "OR")} <= PERMISSIVE
