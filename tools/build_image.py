"""Builds the operator's image from ``operator/Dockerfile``, with docker, podman or buildah: ``make image`` calls this.

Besides the image in the builder's own store, there are then in ``dist/`` its bill of materials, which is in the image
as well, and, from podman and buildah, the image as an OCI archive, by whose digest a registry will know it.

A build has no network and no clock. Its context is laid out here: the sources, with the modes that everybody has, and
the locked wheels, whose hashes are checked when they are downloaded, and again when they are installed. So the same
sources give the same content, whoever builds; the same digests, too, where the builder can set the files' times.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.localcluster.binaries import appears_whole, cache, locked, say
from tools.localcluster.processes import TerminatedByExit
from tools.oci_archive import NoImage, opened

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = Path("operator/Dockerfile")
LOCKS = (Path("requirements/build.txt"), Path("requirements/runtime.txt"))
PACKAGE = Path("operator/speculator_operator")
DIST = ROOT / "dist"
#: Where the image has its bill of materials.
SBOM = "opt/operator/sbom.cdx.json"
#: Platform of the image -> what wheels call its processors.
PLATFORMS = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}
#: The C libraries that wheels are for; pip takes each for itself alone.
_WHEEL_LIBRARIES = ("manylinux_2_28", "manylinux_2_17", "manylinux2014")
DOWNLOAD_SECONDS = 900.0
PROBE_SECONDS = 60.0

#: Builder -> the command that only succeeds where it can build: docker and podman may want a daemon or a machine.
BUILDERS = {"docker": "version", "podman": "info", "buildah": "version"}


class BuildImpossible(Exception):
    """The image can't be built; the message says why, and what to do."""


@dataclass(frozen=True)
class Builder:
    """What builds Dockerfiles here."""

    name: str
    """A key of ``BUILDERS``."""
    command: tuple[str, ...]
    """How it is called."""
    options: tuple[str, ...] = ()
    """Of its ``build``."""


@dataclass(frozen=True)
class Image:
    """What to build."""

    name: str
    base: str
    """An image with Python and a shell."""
    base_python: str
    """Its version, as ``3.13``: wheels are for one."""
    platform: str = "linux/amd64"
    """A key of ``PLATFORMS``."""
    revision: str = ""
    """The commit; empty where it isn't known."""
    epoch: int = 0
    """The time that all is of, in seconds since 1970."""

    @property
    def created(self) -> str:
        """The same time, in RFC 3339."""
        return dt.datetime.fromtimestamp(self.epoch, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    @property
    def stem(self) -> str:
        """What files about it are called, but for their ends."""
        return "-".join((_project()["name"], version(), *self.platform.split("/")))

    @property
    def labels(self) -> dict[str, str]:
        """What it says of itself, by the names that OCI's image specification has for annotations.

        Only what is known: the base's digest is, where it is asked for by it.
        """
        project = _project()
        base, _, digest = self.base.partition("@")
        known = {
            "title": project["name"],
            "description": project["description"],
            "licenses": project["license"],
            "version": project["version"],
            "revision": self.revision,
            "created": self.created,
            "base.name": base,
            "base.digest": digest,
        }
        return {f"org.opencontainers.image.{name}": value for name, value in known.items() if value}


def find_builder(name: str = "") -> Builder:
    """The first builder that is there and works, or the one that is named.

    Raises:
        BuildImpossible: there is none; the message has what each said.
    """
    if name and name not in BUILDERS:
        raise BuildImpossible(f"BUILDER={name} is none of {', '.join(BUILDERS)}")
    said: list[str] = []
    for known in [name] if name else BUILDERS:
        path = shutil.which(known)
        if path is None:
            said.append(f"{known} is not on the PATH")
            continue
        complaint = _complaint([path, BUILDERS[known]])
        if complaint is None:
            return Builder(known, (path,))
        said.append(f"`{known} {BUILDERS[known]}` says: {complaint}")
    wanted = name or "docker, podman or buildah"
    raise BuildImpossible("\n  ".join([f"An image is built with {wanted}: install it, or start it.", *said]))


def _complaint(command: list[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"nothing, for {PROBE_SECONDS:.0f} s"
    except OSError as error:
        return str(error.strerror)
    return (done.stderr.strip()[-300:] or f"nothing, and ends with {done.returncode}") if done.returncode else None


def sources() -> list[Path]:
    """All files that the image is made of but for the wheels, relative to ``ROOT``, in a stable order."""
    package = [path.relative_to(ROOT) for path in (ROOT / PACKAGE).rglob("*") if "__pycache__" not in path.parts]
    files = [*LOCKS, *(Path(name) for name in ("LICENSE", "README.md", "pyproject.toml", "tools/sbom.py")), *package]
    return sorted([DOCKERFILE, *(path for path in files if (ROOT / path).is_file())])


@contextlib.contextmanager
def context(image: Image, parent: Path | None = None) -> Iterator[Path]:
    """A folder to build from, for a while: in ``parent``, or where temporary files are.

    Raises:
        BuildImpossible: the wheels can't be had.
    """
    wheels = wheelhouse(image.base_python, image.platform)
    with tempfile.TemporaryDirectory(prefix="speculator-image-", dir=parent) as folder:
        root = Path(folder)
        wanted = {path: ROOT / path for path in sources()}
        wanted |= {Path("wheelhouse", wheel.name): wheel for wheel in wheels.iterdir()}
        for path, source in wanted.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, root / path)
        for made in [root, *root.rglob("*")]:
            made.chmod(0o755 if made.is_dir() else 0o644)
        yield root


def wheelhouse(base_python: str, platform: str) -> Path:
    """A folder of the locked wheels for one Python on one platform, in the cache.

    Raises:
        BuildImpossible: they can't be had.
    """
    if not re.fullmatch(r"3\.\d+", base_python):
        raise BuildImpossible(f"BASE_PYTHON={base_python} is not like 3.13")
    if platform not in PLATFORMS:
        raise BuildImpossible(f"PLATFORM={platform} is none of {', '.join(PLATFORMS)}")
    content = hashlib.sha256()
    for lock in LOCKS:
        content.update((ROOT / lock).read_bytes())
    kind = f"{base_python}-{PLATFORMS[platform]}"
    target = cache() / "wheels" / f"{kind}-{content.hexdigest()[:16]}"
    with locked(target.with_name(f"{kind}.lock"), f"another process to download wheels for {kind}"):
        if not target.is_dir():
            say(f"Downloading the operator's wheels for Python {kind} into {target} (once per lock; 25 MB)")
            with appears_whole(target) as partial:
                _download(base_python, platform, partial)
            for older in target.parent.glob(f"{kind}-*"):
                if older != target:
                    shutil.rmtree(older, ignore_errors=True)
    return target


def _download(base_python: str, platform: str, target: Path) -> None:
    # pip judges the locks' markers by the Python that runs it. A wheel that is missing for it fails the build, which
    # looks nowhere else.
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"),
        *("--require-hashes", "--only-binary=:all:", "--implementation=cp", f"--python-version={base_python}"),
        *(f"--platform={library}_{PLATFORMS[platform]}" for library in _WHEEL_LIBRARIES),
        f"--dest={target}",
        *(f"--requirement={ROOT / lock}" for lock in LOCKS),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise BuildImpossible(f"downloading the wheels took more than {DOWNLOAD_SECONDS:.0f} s") from error
    if done.returncode:
        raise BuildImpossible(f"the wheels can't be downloaded: {done.stderr.strip()[-2000:]}")


def arguments(builder: Builder, image: Image, folder: Path) -> list[str]:
    """What the builder is called with, to build the image from a ``context``."""
    given = {
        "BASE": image.base,
        "BASE_PYTHON": image.base_python,
        "CREATED": image.created,
    }
    # BuildKit takes the time from an argument, and sets the files' times only where its exporter is told to.
    times = [f"--timestamp={image.epoch}"]
    if builder.name == "docker":
        given["SOURCE_DATE_EPOCH"] = str(image.epoch)
        times = []
    return [
        *("build", *builder.options, *times),
        *(f"--platform={image.platform}", "--network=none", f"--tag={image.name}", f"--file={folder / DOCKERFILE}"),
        *(f"--build-arg={name}={value}" for name, value in given.items()),
        *(f"--label={name}={value}" for name, value in image.labels.items()),
        str(folder),
    ]


def exported(builder: Builder, image: Image, archive: Path) -> list[str]:
    """What the builder is called with, to write an image that it has built as an OCI archive."""
    if builder.name == "docker":
        return ["image", "save", f"--output={archive}", image.name]
    return ["push", image.name, f"oci-archive:{archive}:{image.name}"]


def version() -> str:
    found: str = _project()["version"]
    return found


def _project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return found


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Builds the operator's image.")
    parser.add_argument("--image", default=f"speculator-operator:{version()}", metavar="NAME:TAG")
    parser.add_argument("--base", required=True, metavar="IMAGE", help="with Python and a shell")
    parser.add_argument("--base-python", required=True, metavar="X.Y", help="the base's version of Python")
    parser.add_argument("--platform", default="linux/amd64", help=f"one of {', '.join(PLATFORMS)}")
    parser.add_argument("--revision", default="")
    parser.add_argument("--epoch", type=int, default=0)
    parser.add_argument("--builder", default="", help=f"one of {', '.join(BUILDERS)}; the first that works by default")
    given = parser.parse_args(argv)
    image = Image(given.image, given.base, given.base_python, given.platform, given.revision, given.epoch)
    try:
        with TerminatedByExit():
            return make(find_builder(given.builder), image)
    except (BuildImpossible, NoImage) as problem:
        say(str(problem))
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def make(builder: Builder, image: Image) -> int:
    """Builds the image, writes what is told of it into ``DIST``, and says where; returns the exit code.

    Raises:
        BuildImpossible: the wheels can't be had.
        NoImage: the builder wrote something else.
    """
    say(f"Building {image.name} on {image.base} for {image.platform} with {builder.name}")
    # An attestation has the time of the build, and would make a second manifest of one image.
    environment = os.environ | {"BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}

    def run(command: list[str]) -> int:
        # buildah hands its umask on to what runs in a build, whose files somebody else has to read.
        return subprocess.run([*builder.command, *command], umask=0o022, env=environment, check=False).returncode

    with context(image) as folder:
        code = run(arguments(builder, image, folder))
    if code:
        return code
    DIST.mkdir(exist_ok=True)
    archive, bill = DIST / f"{image.stem}.oci.tar", DIST / f"{image.stem}.cdx.json"
    archive.unlink(missing_ok=True)  # builders would add to it
    if code := run(exported(builder, image, archive)):
        return code
    with opened(archive) as written:
        bill.write_bytes(written.file(SBOM))
        digest = written.digest
    say(f"Bill of materials: {bill}")
    if builder.name == "docker":
        # Its store may have layers as they are, and compress them when it pushes.
        archive.unlink()
        say("docker says the digest when it pushes: give it to make package IMAGE=NAME@DIGEST")
    else:
        say(f"OCI archive: {archive}\nDigest: {digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
