"""Builds the operator's own image for the real node: as ``make image`` does, but with nothing installed for it.

The Dockerfile is the real one. Its base is Debian's Python instead of the one that a registry has, and buildah comes
out of a package. It runs in namespaces of its own, so that no mount and no process outlives it, whatever ends it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools import build_image
from tools.build_image import Builder, BuildImpossible, Image
from tools.localcluster import image, packages
from tools.localcluster.binaries import say
from tools.localcluster.image import ImageUnavailable

OPERATOR_IMAGE = "localhost/speculator-operator:test"
BASE_IMAGE = "localhost/python:debian"

#: What the Dockerfile asks of its base: Python, a shell with ``rm``, and the authorities that sign for web sites.
_BASE_PACKAGES = ("ca-certificates", "coreutils", "dash", "python3")
#: What their installation needs, which never takes place, and nobody else.
_LEFT_OUT = re.compile(r"c?debconf|dpkg|install-info|lib(debian-installer|newt|perl|slang|textwrap)|mailcap|mime|perl")
_UNREAD = ("doc", "info", "lintian", "locale", "man")

_VERSION_VARIABLE = "PYTHON_VERSION"

#: Ends with its parent, and is the first process of namespaces, which end with it.
_ALONE = ("setpriv", "--pdeathsig=KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
#: buildah starts itself anew without its environment, so that its libraries have to be where the loader looks.
_WITH_LIBRARIES = ("sh", "-c", 'mount --bind "$0" /etc/ld.so.cache && exec "$@"')


def operator_image() -> Path:
    """The OCI archive of ``OPERATOR_IMAGE``, built where its sources have changed (half a minute, at first one).

    Raises:
        ImageUnavailable: it can't be built, here or at all.
        PackagesUnavailable: Debian's packages can't be had.
    """
    content = hashlib.sha256()
    ours = [Path(module).relative_to(build_image.ROOT) for module in (__file__, build_image.__file__)]
    for path in (*ours, *build_image.sources()):
        data = (build_image.ROOT / path).read_bytes()
        content.update(f"{path} {len(data)}\n".encode() + data)
    return image.kept("operator", content.hexdigest()[:16], OPERATOR_IMAGE, build)


def build(archive: Path, scratch: Path) -> None:
    """Builds the image into an OCI archive, whatever the cache has; the base and the wheels are taken from there.

    Raises:
        ImageUnavailable: it can't be built, here or at all.
        PackagesUnavailable: Debian's packages can't be had.
    """
    say(f"Building {OPERATOR_IMAGE} (once per change of its sources; about half a minute)")
    base = _base_image()
    wanted = Image(OPERATOR_IMAGE, BASE_IMAGE, _python_version(base))
    builder = Builder("buildah", _buildah(scratch), ("--identity-label=false",))
    environment = _environment(scratch)

    def run(what: str, command: Sequence[str]) -> None:
        image.run([*builder.command, *command], what, environment=environment)

    run("reading the base", ["pull", f"docker-archive:{base}"])
    try:
        with build_image.context(wanted, scratch) as folder:
            run(f"building {OPERATOR_IMAGE}", build_image.arguments(builder, wanted, folder))
    except BuildImpossible as problem:
        raise ImageUnavailable(f"{OPERATOR_IMAGE} can't be built: {problem}") from problem
    run("writing the image", build_image.exported(builder, wanted, archive))


def _buildah(scratch: Path) -> tuple[str, ...]:
    """How buildah is called. All that it keeps is in the scratch folder."""
    program, libraries = packages.buildah()
    storage = (f"--root={scratch / 'storage'}", f"--runroot={scratch / 'run'}")
    if libraries is None:
        return (*_ALONE, str(program), *storage)
    folders, found = scratch / "ld.so.conf", scratch / "ld.so.cache"
    folders.write_text(f"{libraries}\ninclude /etc/ld.so.conf\n")
    ldconfig = shutil.which("ldconfig", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") or "ldconfig"
    image.run([ldconfig, "-X", "-f", str(folders), "-C", str(found)], "finding buildah's libraries")
    return (*_ALONE, *_WITH_LIBRARIES, str(found), str(program), *storage)


def _environment(scratch: Path) -> dict[str, str]:
    """The machine's own settings for containers, if it has any, count for nothing."""
    settings = scratch / "home" / ".config" / "containers"
    settings.mkdir(parents=True)
    (settings / "policy.json").write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
    nothing = {f"CONTAINERS_{name}CONF": os.devnull for name in ("", "STORAGE_", "REGISTRIES_")}
    own = {"HOME": str(scratch / "home"), "TMPDIR": str(scratch)}
    return {**os.environ, **nothing, **own, "STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot"}


def _base_image() -> Path:
    recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
    return image.kept("python", recipe, BASE_IMAGE, image.packed(BASE_IMAGE, _fill_base))


def _fill_base(root: Path, scratch: Path) -> dict[str, object]:
    del scratch
    say(f"Building {BASE_IMAGE} (once; a few seconds)")
    names = [name for name in packages.closure(_BASE_PACKAGES) if not _LEFT_OUT.match(name)]
    # What says which distribution this is, and has /tmp, comes without the awk that its installation needs.
    packages.unpack([*names, "base-files"], root, database=root / "var" / "lib" / "dpkg" / "status.d")
    for folder in _UNREAD:
        shutil.rmtree(root / "usr" / "share" / folder, ignore_errors=True)
    # The images of a registry have it there: its going can be seen.
    for name in ("bin/pip", f"lib/{(root / 'usr/bin/python3').readlink()}/site-packages/pip/__init__.py"):
        (root / "usr" / "local" / name).parent.mkdir(parents=True)
        (root / "usr" / "local" / name).touch()
    authorities = sorted((root / "usr" / "share" / "ca-certificates").rglob("*.crt"))
    bundle = root / "etc" / "ssl" / "certs" / "ca-certificates.crt"
    bundle.write_bytes(b"".join(path.read_bytes() for path in authorities))
    python = ["chroot", str(root), "/usr/bin/python3", "-B", "-c", "import platform; print(platform.python_version())"]
    version = image.run(python, "asking the base's Python for its version").strip()
    # Named as in the images of a registry.
    return {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8", f"{_VERSION_VARIABLE}={version}"]}


def _python_version(archive: Path) -> str:
    """Such as ``3.11``: what wheels have to be for."""
    with tarfile.open(archive) as file:
        member = file.extractfile("config.json")
        config: dict[str, Any] = json.load(member) if member else {}
    environment = dict(variable.split("=", 1) for variable in config["config"]["Env"])
    return ".".join(environment[_VERSION_VARIABLE].split(".")[:2])
