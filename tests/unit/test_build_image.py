"""What `make image` hands to a builder: which one, from which files, and with which arguments."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest

from tests.support.ociarchive import write_archive
from tools import build_image
from tools.build_image import Builder, BuildImpossible, Image, arguments, context, find_builder
from tools.oci_archive import NoImage, opened

DOCKERFILE = (build_image.ROOT / build_image.DOCKERFILE).read_text()
WORKS = "exit 0"
NO_DAEMON = "echo 'Cannot connect to the daemon' >&2; exit 1"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All that is on the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def install(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize(
    ("there", "named", "found"),
    [
        pytest.param({"docker": WORKS, "podman": WORKS}, "", "docker", id="the first that is there builds"),
        pytest.param({"docker": NO_DAEMON, "podman": WORKS}, "", "podman", id="docker without its daemon gives way"),
        pytest.param({"buildah": WORKS}, "", "buildah", id="buildah alone will do"),
        pytest.param({"docker": WORKS, "buildah": WORKS}, "buildah", "buildah", id="who is named builds"),
    ],
)
def test_the_builder(programs: Path, there: dict[str, str], named: str, found: str) -> None:
    for name, script in there.items():
        install(programs, name, script)
    assert find_builder(named) == Builder(found, (str(programs / found),))


@pytest.mark.parametrize(
    ("there", "named", "message"),
    [
        pytest.param(
            {"docker": NO_DAEMON},
            "",
            "An image is built with docker, podman or buildah: install it, or start it.\n"
            "  `docker version` says: Cannot connect to the daemon\n"
            "  podman is not on the PATH\n"
            "  buildah is not on the PATH",
            id="what each lacks is said",
        ),
        pytest.param(
            {"docker": WORKS, "podman": "exit 3"},
            "podman",
            "An image is built with podman: install it, or start it.\n  `podman info` says: nothing, and ends with 3",
            id="who is named is not replaced by another",
        ),
        pytest.param({}, "kaniko", "BUILDER=kaniko is none of docker, podman, buildah", id="an unknown one is refused"),
    ],
)
def test_no_builder(programs: Path, there: dict[str, str], named: str, message: str) -> None:
    for name, script in there.items():
        install(programs, name, script)
    with pytest.raises(BuildImpossible) as refused:
        find_builder(named)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("builder", "options", "time"),
    [
        pytest.param("docker", (), "--build-arg=SOURCE_DATE_EPOCH=7", id="docker takes the time as an argument"),
        pytest.param("podman", (), "--timestamp=7", id="podman sets the time of all files"),
        pytest.param("buildah", ("--isolation=chroot",), "--timestamp=7", id="buildah does, and keeps its own options"),
    ],
)
def test_the_build_has_no_network_and_no_clock(builder: str, options: tuple[str, ...], time: str) -> None:
    image = Image("registry/operator:1", "registry/python:3.12", "3.12", "linux/arm64", epoch=7)
    given = arguments(Builder(builder, (builder,), options), image, Path("/context"))
    assert (given[0], given[-1]) == ("build", "/context")
    assert [word for word in given if "EPOCH" in word or "timestamp" in word] == [time]
    assert {
        *options,
        "--network=none",
        "--platform=linux/arm64",
        "--tag=registry/operator:1",
        "--file=/context/operator/Dockerfile",
        "--build-arg=BASE=registry/python:3.12",
        "--build-arg=BASE_PYTHON=3.12",
        "--build-arg=CREATED=1970-01-01T00:00:07Z",
        "--label=org.opencontainers.image.created=1970-01-01T00:00:07Z",
    } < set(given)


def test_the_labels_say_what_is_known_and_nothing_else() -> None:
    digest = f"sha256:{'0' * 64}"
    whole = Image("", f"registry/python:3.13@{digest}", "3.13", revision="abc", epoch=1_700_000_000)
    names = ["title", "description", "licenses", "version", "revision", "created", "base.name", "base.digest"]
    assert list(whole.labels) == [f"org.opencontainers.image.{name}" for name in names]
    values = list(whole.labels.values())
    assert values[0] == "speculator-operator"
    assert values[2:] == [
        *("Apache-2.0", build_image.version(), "abc", "2023-11-14T22:13:20Z"),
        *("registry/python:3.13", digest),
    ]
    unsaid = set(whole.labels) - set(Image("", "registry/python:3.13", "3.13").labels)
    assert unsaid == {f"org.opencontainers.image.{name}" for name in ("revision", "base.digest")}


def test_the_context_has_what_the_dockerfile_copies_readable_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (wheels / "some-1-py3-none-any.whl").touch(mode=0o600)
    monkeypatch.setattr(build_image, "wheelhouse", lambda *_: wheels)
    umask = os.umask(0o077)
    try:
        with context(Image("", "", "3.13")) as folder:
            copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
            assert copied
            assert all((folder / path).exists() for line in copied for path in line.split())
            assert (folder / "wheelhouse" / "some-1-py3-none-any.whl").is_file()
            assert (folder / build_image.DOCKERFILE).is_file()
            modes = {stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.rglob("*")]}
            assert modes == {0o755, 0o644}
            assert not list(folder.rglob("__pycache__"))
    finally:
        os.umask(umask)
    assert not folder.exists()


@pytest.mark.parametrize("version", ["", "3", "3.13.1", "3.13-slim", "../3.13"])
def test_what_is_no_version_of_python_is_refused(version: str) -> None:
    with pytest.raises(BuildImpossible, match=re.escape(f"BASE_PYTHON={version} is not like 3.13")):
        build_image.wheelhouse(version, "linux/amd64")


def test_a_platform_that_nobody_has_wheels_for_is_refused() -> None:
    with pytest.raises(BuildImpossible, match=re.escape("PLATFORM=linux/s390x is none of linux/amd64, linux/arm64")):
        build_image.wheelhouse("3.13", "linux/s390x")


BILL = b'{"bomFormat": "CycloneDX"}'


@pytest.mark.parametrize(
    ("builder", "export", "kept"),
    [
        pytest.param(
            "podman",
            'push) to="${3#oci-archive:}"; cp "$ARCHIVE" "${to%:operator:1}" ;;',
            True,
            id="podman writes an OCI archive",
        ),
        pytest.param(
            "docker", 'image) cp "$ARCHIVE" "${3#--output=}" ;;', False, id="docker's digest comes when it pushes"
        ),
    ],
)
def test_beside_the_image_are_its_bill_of_materials_and_its_archive(
    programs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    builder: str,
    export: str,
    *,
    kept: bool,
) -> None:
    archive = tmp_path / "built.tar"
    digest = write_archive(archive, {build_image.SBOM: b"the base's"}, {f"./{build_image.SBOM}": BILL})
    install(programs, builder, f'PATH={os.defpath}; case "$1" in version | info | build) ;; {export} esac')
    monkeypatch.setenv("ARCHIVE", str(archive))
    monkeypatch.setattr(build_image, "wheelhouse", lambda *_: programs)
    monkeypatch.setattr(build_image, "DIST", tmp_path / "dist")
    for _ in range(2):
        assert build_image.main(["--base=registry/python:3.13", "--base-python=3.13", "--image=operator:1"]) == 0
    stem = f"speculator-operator-{build_image.version()}-linux-amd64"
    assert (tmp_path / "dist" / f"{stem}.cdx.json").read_bytes() == BILL
    assert (tmp_path / "dist" / f"{stem}.oci.tar").exists() == kept
    assert (f"Digest: {digest}" in capsys.readouterr().err) == kept


def test_what_is_no_archive_of_one_image_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    path.write_bytes(b"none")
    with pytest.raises(NoImage, match="isn't an OCI archive of one image"), opened(path):
        pass
    write_archive(path, {"etc/passwd": b"root"})
    with opened(path) as image, pytest.raises(NoImage, match="no file etc/shadow"):
        image.file("etc/shadow")


def test_a_build_by_hand_wants_the_same_python_as_make() -> None:
    default = re.search(r"^BASE_PYTHON \?= (\S+)$", (build_image.ROOT / "Makefile").read_text(), re.MULTILINE)
    assert default
    assert f"\nARG BASE_PYTHON={default[1]}\n" in DOCKERFILE
    assert f"\nARG BASE=docker.io/library/python:{default[1]}-slim\n" in DOCKERFILE
