"""Builds the images that the real node runs, without a registry and without Docker.

The engine's image is a Debian root file system and the locked wheels of vLLM's CPU build, as a docker-archive of one
layer: what ``ctr images import`` loads. It is built once per lock, and kept in the cache.

PyPI's torch is the CUDA build, which wants 3.4 GB of CUDA libraries that a CPU never calls. They are left out: one
small library that bears their names and symbols lets torch load, and tells who asks that there is no device.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

from tools.localcluster import packages
from tools.localcluster.binaries import cache
from tools.localcluster.packages import say
from tools.localcluster.processes import TerminatedByExit

ENGINE_IMAGE = "localhost/engine-cpu:0.32.0"
PAUSE_IMAGE = "localhost/pause:1"

LOCK = Path(__file__).resolve().parents[2] / "requirements" / "engine-cpu.txt"
ENGINE_VERSION = "0.32.0"
#: What runs the engine beside Python: its libraries, and ``lscpu``, by which it finds the cores.
SYSTEM_PACKAGES = ("bash", "coreutils", "dash", "libgomp1", "libnuma1", "libstdc++6", "python3", "util-linux")
#: Unused without a GPU, and most of the size.
LEFT_OUT = re.compile(r"(nvidia-|cuda-|triton==)")
INSTALL_SECONDS = 1800.0
#: Who isn't root has to be able to read what an image holds, whatever the user's own umask is.
UMASK = 0o022

_VLLM = """#!/usr/bin/python3
import sys

if __name__ == "__main__":  # the engine's other processes import this file
    from vllm.entrypoints.cli.main import main

    sys.exit(main())
"""
_NO_EXECUTABLE_STACK = '.section .note.GNU-stack,"",@progbits\n'
#: pause(2), for ever: all that the container which holds a pod's namespaces does.
_PAUSE = f".globl _start\n_start:\nmov $34, %eax\nsyscall\njmp _start\n{_NO_EXECUTABLE_STACK}"
_TAR = ("tar", "-c", "--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner")
_NO_DEVICE = 100  # cudaErrorNoDevice, CUDA_ERROR_NO_DEVICE: an error to the other libraries, too


#: Fills a root file system, with a scratch folder beside it, and returns the image's configuration.
Fill = Callable[[Path, Path], dict[str, object]]
#: Writes a docker-archive, with a scratch folder beside it.
Write = Callable[[Path, Path], None]


class ImageUnavailable(Exception):
    """An image can't be built here; the message says why."""


def engine_image() -> Path:
    """The docker-archive of ``ENGINE_IMAGE``, built where it isn't in the cache (about 2 minutes and 3 GB).

    Raises:
        ImageUnavailable: this machine can't build it.
        PackagesUnavailable: Debian's packages can't be had.
    """
    recipe = hashlib.sha256(LOCK.read_bytes() + Path(__file__).read_bytes()).hexdigest()[:16]
    return kept("engine-cpu", recipe, ENGINE_IMAGE, packed(ENGINE_IMAGE, _fill_engine))


def pause_image() -> Path:
    """The docker-archive of ``PAUSE_IMAGE``, the sandbox of every pod.

    Raises:
        ImageUnavailable: this machine can't build it.
        PackagesUnavailable: Debian's packages can't be had.
    """
    recipe = hashlib.sha256(_PAUSE.encode()).hexdigest()[:16]
    return kept("pause", recipe, PAUSE_IMAGE, packed(PAUSE_IMAGE, _fill_pause))


def kept(kind: str, recipe: str, name: str, write: Write) -> Path:
    """The docker-archive of the image ``name`` from the cache, written where it isn't there; older ones are removed.

    Args:
        kind: what the archive is called, and shares with those of older recipes.
        recipe: a hash of all that the image is made of.

    Raises:
        ImageUnavailable: this machine can't build it.
    """
    target = cache() / "images" / f"{kind}-{recipe}.tar"
    if target.is_file():
        return target
    if platform.machine() != "x86_64":
        raise ImageUnavailable(f"{name} is built on x86_64 only, and this machine is {platform.machine()}")
    if os.geteuid() != 0:
        raise ImageUnavailable(f"{name} can't be built: a root file system needs root")
    with packages.locked(target.with_name(f"{kind}.lock"), f"another process to build {name}"):
        if target.is_file():
            return target
        for left in target.parent.glob(f".{kind}-*"):
            shutil.rmtree(left)
        # The root file system is built beside the archive, where uv can link files instead of copying them.
        scratch = Path(tempfile.mkdtemp(prefix=f".{target.stem}.", dir=target.parent))
        started = time.monotonic()
        umask = os.umask(UMASK)
        try:
            with TerminatedByExit():
                write(scratch / "image.tar", scratch)
            (scratch / "image.tar").rename(target)
            for older in target.parent.glob(f"{kind}-*.tar"):
                if older != target:
                    older.unlink()
        finally:
            os.umask(umask)
            shutil.rmtree(scratch, ignore_errors=True)
    say(f"  {name} took {time.monotonic() - started:.0f} s and {target.stat().st_size / 1e9:.1f} GB")
    return target


def packed(name: str, fill: Fill) -> Write:
    """Writes an image of one layer, a root file system."""

    def write(archive: Path, scratch: Path) -> None:
        root = scratch / "root"
        root.mkdir(mode=0o755)
        config = fill(root, scratch)
        say(f"  packing {name}")
        pack(root, name, config, archive)

    return write


def _fill_pause(root: Path, scratch: Path) -> dict[str, object]:
    _assemble(_PAUSE, root / "pause", scratch, ["-static"])
    return {"Entrypoint": ["/pause"]}


def _fill_engine(root: Path, scratch: Path) -> dict[str, object]:
    say(f"Building {ENGINE_IMAGE} (once; about 2 minutes, 1.2 GB to download)")
    say("  unpacking Debian's packages")
    packages.unpack(packages.closure(SYSTEM_PACKAGES), root)
    shutil.rmtree(root / "usr" / "share" / "doc", ignore_errors=True)
    python = (root / "usr" / "bin" / "python3").readlink().name
    version = python.removeprefix("python")
    if tuple(int(part) for part in version.split(".")) < (3, 11):
        raise ImageUnavailable(f"{ENGINE_IMAGE} needs Python 3.11 or newer, and this distribution has {version}")
    site = root / "usr" / "local" / "lib" / python / "dist-packages"
    say("  installing the engine's wheels")
    _install(site, version, scratch)
    _stand_in_for_cuda(site, scratch)
    # The CPU build asks for the version of a package called vllm, its name in every other build.
    metadata = site / f"vllm-{ENGINE_VERSION}+cpu.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {ENGINE_VERSION}+cpu\n")
    command = root / "usr" / "local" / "bin" / "vllm"
    command.parent.mkdir(parents=True, exist_ok=True)
    command.write_text(_VLLM)
    command.chmod(0o755)
    say("  compiling Python files")  # the container's file system is read-only, so that it couldn't keep them
    (root / "dev" / "shm").mkdir(parents=True)  # the compiling processes' semaphores
    run(
        [
            *("chroot", str(root), f"/usr/bin/{python}", "-m", "compileall", "-q", "-j", str(os.cpu_count() or 1)),
            *("--invalidation-mode", "unchecked-hash", f"/{site.relative_to(root)}", f"/usr/lib/{python}"),
        ],
        "compiling",
        accepted=(0, 1),  # a few packages ship templates that aren't Python
    )
    if not any((site / "vllm" / "__pycache__").glob("*.pyc")):
        raise ImageUnavailable("the engine's Python files could not be compiled")
    return {
        "Entrypoint": ["vllm", "serve"],
        "Env": [
            "PATH=/usr/local/bin:/usr/bin:/bin",
            "LANG=C.UTF-8",
            "PYTHONUNBUFFERED=1",
            # The sampler of speculative decoding is compiled at the first request, whatever --enforce-eager says, and
            # there is no C++ compiler here.
            "TORCHDYNAMO_DISABLE=1",
        ],
        "WorkingDir": "/",
    }


def _install(site: Path, version: str, scratch: Path) -> None:
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if uv is None:
        raise ImageUnavailable("uv is not there: install requirements/dev.txt, which has it")
    requirements = scratch / "requirements.txt"
    blocks = re.split(r"\n(?=\S)", LOCK.read_text())
    requirements.write_text("\n".join(block for block in blocks if not LEFT_OUT.match(block)) + "\n")
    run(
        [
            *(uv, "pip", "install", "--quiet", "--target", str(site), "--python", sys.executable),
            *("--python-version", version, "--no-deps", "--require-hashes", "--only-binary", ":all:"),
            *("-r", str(requirements)),
        ],
        "installing the engine",
    )


def _stand_in_for_cuda(site: Path, scratch: Path) -> None:
    """One library under the names of all that torch is linked with, each symbol a function that returns an error."""
    torch = [*(site / "torch" / "lib").glob("*.so*"), *(site / "torch").glob("_C*.so")]
    names: set[str] = set()
    defined: set[str] = set()
    wanted: set[tuple[str, str]] = set()
    binutils = packages.with_binutils()
    for library in torch:
        command = ["readelf", "--wide", "--dynamic", "--dyn-syms", str(library)]
        text = run(command, "reading torch's symbols", environment=binutils)
        names.update(re.findall(r"\(NEEDED\).*\[(lib(?:cu|nv|nccl)[^]]+)\]", text))
        for binding, section, symbol, release in re.findall(
            r"^ *\d+: .* (GLOBAL|WEAK) +\w+ +(\w+) ([^@\s]+)(?:@+(\S+))?", text, re.MULTILINE
        ):
            if section != "UND":
                defined.add(symbol)
            elif binding == "GLOBAL":
                wanted.add((symbol, release))
    versions: dict[str, list[str]] = defaultdict(list)
    for symbol, release in sorted(wanted):
        of_cuda = release.startswith(("libcu", "libnv", "NVSHMEM")) if release else re.match("cu|nccl|nvshmem", symbol)
        if of_cuda and symbol not in defined:
            versions[release].append(symbol)
    symbols = sorted({symbol for group in versions.values() for symbol in group})
    source = ".text\n" + "".join(f".globl {name}\n.type {name}, @function\n{name}:\n" for name in symbols)
    source += f"mov ${_NO_DEVICE}, %eax\nret\n{_NO_EXECUTABLE_STACK}"
    # The loader insists on the versions that torch was linked with.
    script = scratch / "versions.map"
    script.write_text("".join(f"{name} {{ {'; '.join(group)}; }};\n" for name, group in versions.items() if name))
    folder = site / "nvidia" / "cu13" / "lib"  # on torch's own search path
    folder.mkdir(parents=True, exist_ok=True)
    stand_in = folder / "libno_cuda.so"
    _assemble(source, stand_in, scratch, ["-shared", "-soname", stand_in.name, "--version-script", str(script)])
    for name in names:
        (folder / name).symlink_to(stand_in.name)


def _assemble(source: str, target: Path, scratch: Path, options: list[str]) -> None:
    binutils = packages.with_binutils()
    text, binary = scratch / "source.s", scratch / "object.o"
    text.write_text(source)
    run(["as", str(text), "-o", str(binary)], f"assembling {target.name}", environment=binutils)
    run(["ld", *options, "-o", str(target), str(binary)], f"linking {target.name}", environment=binutils)


def run(
    command: list[str],
    what: str,
    accepted: tuple[int, ...] = (0,),
    environment: Mapping[str, str] | None = None,
) -> str:
    """Runs a command and returns its standard output.

    Raises:
        ImageUnavailable: it can't be run, ended with a code that isn't accepted, or took over ``INSTALL_SECONDS``.
    """
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
            check=False,
            env=environment,
            umask=UMASK,
        )
    except subprocess.TimeoutExpired as error:
        raise ImageUnavailable(f"{what} took more than {INSTALL_SECONDS:.0f} s") from error
    except OSError as error:
        raise ImageUnavailable(f"{what} failed: {command[0]} can't be run: {error.strerror}") from error
    if done.returncode not in accepted:
        raise ImageUnavailable(
            f"{what} failed (exit {done.returncode}): {f'{done.stdout}{done.stderr}'.strip()[-2000:]}"
        )
    return done.stdout


def pack(root: Path, name: str, config: dict[str, object], target: Path) -> None:
    """Writes the docker-archive: its only layer goes straight into it, hashed on the way."""
    root.chmod(stat.S_IMODE(root.stat().st_mode) | 0o755)
    digest = hashlib.sha256()
    layer_name, size = "layer.tar", 0
    with target.open("w+b") as file:
        file.write(bytes(tarfile.BLOCKSIZE))  # the layer's header, when its size is known
        reader, writer = os.pipe()
        # Where this is interrupted, the pipe ends before tar is waited for, which might write into it for ever.
        with subprocess.Popen([*_TAR, "-C", root, "."], stdout=writer) as tar, os.fdopen(reader, "rb") as stream:
            os.close(writer)
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
                size += file.write(chunk)
        if tar.returncode:
            raise ImageUnavailable(f"tar failed on {root} (exit {tar.returncode})")
        file.write(bytes(-size % tarfile.BLOCKSIZE))
        image = {
            "architecture": "amd64",
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest.hexdigest()}"]},
        }
        manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": [layer_name]}]
        with tarfile.open(fileobj=file, mode="w:", format=tarfile.GNU_FORMAT) as archive:
            for member, value in (("config.json", image), ("manifest.json", manifest)):
                content = json.dumps(value).encode()
                header = tarfile.TarInfo(member)
                header.size = len(content)
                archive.addfile(header, io.BytesIO(content))
        header = tarfile.TarInfo(layer_name)
        header.size = size
        file.seek(0)
        file.write(header.tobuf(tarfile.GNU_FORMAT))
