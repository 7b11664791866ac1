"""Packages the chart for a release: ``make package`` calls this.

What is packaged runs one image and no other, named by its digest. Equal sources and digests give an equal package.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tools.build_image import DIST, ROOT, Image, version
from tools.localcluster.binaries import BuildFailed, binary, say
from tools.oci_archive import NoImage, opened

CHART = ROOT / "charts" / "speculator-operator"
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
HELM_SECONDS = 60.0


class PackagingImpossible(Exception):
    """The chart can't be packaged; the message says why, and what to do."""


def split(image: str, archive: Path) -> tuple[str, str]:
    """An image's repository and digest: of ``NAME@DIGEST``, or with the digest of the image in an OCI archive.

    Raises:
        PackagingImpossible: it has neither.
    """
    name, at, digest = image.partition("@")
    head, slash, last = name.rpartition("/")
    repository = f"{head}{slash}{last.partition(':')[0]}"
    if not repository:
        raise PackagingImpossible("IMAGE is not set: name the image that the chart is to run, as NAME@sha256:...")
    if not at:
        if not archive.is_file():
            raise PackagingImpossible(f"IMAGE={image} has no @sha256:..., and there is no {archive} from make image")
        with opened(archive) as written:
            digest = written.digest
    if not DIGEST.fullmatch(digest):
        raise PackagingImpossible(f"IMAGE={image}: {digest!r} is no digest, such as sha256:{'0' * 64}")
    return repository, digest


def pinned(values: str, repository: str, digest: str) -> str:
    """The text of values.yaml with the image in it, and all else as it was, comments too.

    Raises:
        PackagingImpossible: the text has no such values, or not on lines of their own.
    """
    expected: dict[str, Any] = yaml.safe_load(values)
    text = values
    for key, value in {"repository": repository, "tag": "", "digest": digest}.items():
        text = re.sub(rf"(?m)(^image:\n(?:[ #].*\n|\n)*?  {key}: ).*$", rf'\g<1>"{value}"', text, count=1)
        expected["image"] |= {key: value}
    if yaml.safe_load(text) != expected:
        raise PackagingImpossible(
            "values.yaml has no image with a repository, a tag and a digest on lines of their own"
        )
    return text


def package(repository: str, digest: str, epoch: int, target: Path) -> Path:
    """Writes the package into the folder ``target``, and returns its path.

    Args:
        epoch: the time that all files bear, in seconds since 1970.

    Raises:
        PackagingImpossible: helm refuses the chart, or its values have no place for the image.
        BuildFailed: there is no helm.
    """
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / CHART.name
        shutil.copytree(CHART, copy)
        values = copy / "values.yaml"
        values.write_text(pinned(values.read_text(), repository, digest))
        for path in copy.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
            os.utime(path, (epoch, epoch))
        done = subprocess.run(
            [binary("helm"), "package", copy, f"--destination={target}"],
            capture_output=True,
            text=True,
            timeout=HELM_SECONDS,
            check=False,
            # Whoever runs this may have settings, caches and plugins.
            env=os.environ | {f"HELM_{name}_HOME": scratch for name in ("CACHE", "CONFIG", "DATA")},
        )
    if done.returncode:
        raise PackagingImpossible(f"helm refuses the chart: {done.stderr.strip()[-2000:]}")
    return target / f"{CHART.name}-{version()}.tgz"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Packages the chart with an image by its digest.")
    parser.add_argument("--image", required=True, metavar="NAME[@DIGEST]")
    parser.add_argument("--platform", default="linux/amd64", help="of the image in dist/")
    parser.add_argument("--epoch", type=int, default=0)
    given = parser.parse_args(argv)
    archive = DIST / f"{Image('', '', '', given.platform).stem}.oci.tar"
    try:
        repository, digest = split(given.image, archive)
        print(package(repository, digest, given.epoch, DIST))
    except (PackagingImpossible, NoImage, BuildFailed) as problem:
        say(str(problem))
        return 1
    say(f"It runs {repository}@{digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
