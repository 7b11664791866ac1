"""Distribution packages, unpacked into a folder and never installed: what a node and an image take from Debian.

apt's own configuration, mirrors and keys are used, so this works wherever ``apt-get install`` would, and needs no
right to write to the system.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from tools.localcluster.binaries import appears_whole, cache
from tools.localcluster.binaries import locked as locked
from tools.localcluster.binaries import say as say

APT_SECONDS = 600.0

BINUTILS = ("as", "ld", "readelf")
#: Loading a second C library beside the system's would mix the two.
_OF_ANY_SYSTEM = ("libc6", "libgcc-s1", "gcc-12-base")

#: What the chroot of a merged /usr lacks until these exist; packages ship files on both sides.
_MERGED = ("bin", "sbin", "lib", "lib64")


class PackagesUnavailable(Exception):
    """The packages can't be had; the message says why."""


def runc() -> tuple[Path, Path | None]:
    """The ``runc`` on the PATH, or the distribution's in the cache with the folder of the library it needs.

    The one of the Go module won't do: built without libseccomp's headers, it refuses the RuntimeDefault profile.

    Raises:
        PackagesUnavailable: it is neither here nor to be had.
    """
    found = shutil.which("runc")
    if found:
        return Path(found), None
    target = _unpacked("runc", lambda: ["runc", "libseccomp2"])
    return next(target.rglob("sbin/runc")), next(target.rglob("libseccomp.so.2")).parent


def buildah() -> tuple[Path, Path | None]:
    """The ``buildah`` on the PATH, or the distribution's in the cache with the folder of the libraries it needs.

    It starts itself anew without its environment, so that ``LD_LIBRARY_PATH`` alone won't do.

    Raises:
        PackagesUnavailable: it is neither here nor to be had.
    """
    found = shutil.which("buildah")
    if found:
        return Path(found), None
    target = _unpacked("buildah", lambda: ["buildah", *_libraries("buildah")])
    return target / "usr" / "bin" / "buildah", next(target.rglob("libgpgme.so.*")).parent


def with_binutils() -> dict[str, str]:
    """The environment in which the assembler and the linker are on the PATH.

    Raises:
        PackagesUnavailable: they are neither here nor to be had.
    """
    if all(shutil.which(tool) for tool in BINUTILS):
        return dict(os.environ)
    target = _unpacked("binutils", lambda: [name for name in closure(["binutils"]) if name not in _OF_ANY_SYSTEM])
    libraries = ":".join(sorted({str(path.parent) for path in target.rglob("*.so*")}))
    return os.environ | {"PATH": f"{target}/usr/bin:{os.environ.get('PATH', '')}", "LD_LIBRARY_PATH": libraries}


def closure(packages: Iterable[str]) -> list[str]:
    """The packages and all that they depend on, essential packages aside."""
    options = [f"--no-{kind}" for kind in ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")]
    lines = _apt(["apt-cache", "depends", "--recurse", *options, *packages]).splitlines()
    return sorted({line for line in lines if line and not line.startswith((" ", "<", "|"))})


def unpack(packages: Iterable[str], root: Path, database: Path | None = None) -> None:
    """Downloads the packages and unpacks them into ``root``, without running anything of theirs.

    Args:
        database: a folder that gets a file about each, as an image has it that was made without dpkg: it is what
            scanners look for.
    """
    names = sorted(packages)
    for folder in _MERGED:
        (root / "usr" / folder).mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            (root / folder).symlink_to(f"usr/{folder}")
    with tempfile.TemporaryDirectory() as downloads:
        Path(downloads).chmod(0o755)
        _apt(["apt-get", "download", "--quiet", *names], cwd=downloads)
        for package in sorted(Path(downloads).glob("*.deb")):
            # dpkg-deb's own --extract would replace the links of a merged /usr by folders.
            archive = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE)
            command = ["tar", "-x", "--keep-directory-symlink", "--no-same-owner", "-C", str(root)]
            extracted = subprocess.run(command, stdin=archive.stdout, capture_output=True, text=True, check=False)
            if archive.stdout:
                archive.stdout.close()
            if archive.wait() or extracted.returncode:
                raise PackagesUnavailable(f"{package.name} can't be unpacked: {extracted.stderr.strip()[-1000:]}")
            if database is not None:
                database.mkdir(parents=True, exist_ok=True)
                about = subprocess.run(["dpkg-deb", "--field", str(package)], stdout=subprocess.PIPE, check=True)
                (database / package.name.partition("_")[0]).write_bytes(about.stdout)


def _libraries(package: str) -> set[str]:
    """The libraries that a package needs, and those that they need; what else its closure has is for other uses."""
    found: set[str] = set()
    new = {package}
    while new:
        lines = _apt(["apt-cache", "depends", "--important", *sorted(new)])
        new = set(re.findall(r"Depends: (lib\S+)", lines)) - found - set(_OF_ANY_SYSTEM)
        found |= new
    return found


def _unpacked(name: str, chosen: Callable[[], Iterable[str]]) -> Path:
    target = cache() / "packages" / name
    with locked(target.with_name(f"{name}.lock"), f"another process to download {name}"):
        if not target.is_dir():
            say(f"Downloading {name} into {target} (once; a few MB)")
            with appears_whole(target) as partial:
                unpack(chosen(), partial)
    return target


def _apt(command: list[str], cwd: str | None = None) -> str:
    """Runs apt; where the system's package lists are missing or stale, again with lists of our own."""
    if shutil.which(command[0]) is None:
        raise PackagesUnavailable(f"{command[0]} is not on the PATH: only Debian and its kin are supported")
    failed = _run(command, cwd)
    if failed.returncode == 0:
        return failed.stdout
    state = cache() / "packages" / "apt"
    own = ["-o", f"Dir::State={state}", "-o", "APT::Sandbox::User="]
    (state / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    updated = _run(["apt-get", "update", "--quiet", *own], cwd)
    if updated.returncode == 0:
        failed = _run([command[0], *own, *command[1:]], cwd)
        if failed.returncode == 0:
            return failed.stdout
    words = (failed.stderr or updated.stderr).strip()[-1000:]
    raise PackagesUnavailable(f"`{' '.join(command[:3])} ...` failed: {words}")


def _run(command: list[str], cwd: str | None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            cwd=cwd,
            env=os.environ | {"LC_ALL": "C"},
            capture_output=True,
            text=True,
            timeout=APT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise PackagesUnavailable(f"`{' '.join(command[:2])}` took more than {APT_SECONDS:.0f} s") from error
