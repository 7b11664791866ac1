"""Reads an image from an OCI archive: an image layout in a tar file, as docker, podman and buildah write it."""

from __future__ import annotations

import contextlib
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class NoImage(Exception):
    """The file isn't an archive of one image, or the image lacks something; the message says what it is."""


@contextmanager
def opened(path: Path) -> Iterator[OciImage]:
    """The image in an archive, which is open meanwhile.

    Raises:
        NoImage: there is none, or more than one.
    """
    with contextlib.ExitStack() as cleanup:
        try:
            tar = cleanup.enter_context(tarfile.open(path))
            image = OciImage(tar)
        except (KeyError, ValueError, tarfile.TarError) as error:
            raise NoImage(f"{path} isn't an OCI archive of one image: {error}") from error
        yield image


class OciImage:
    """An image in an archive that is open."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        (described,) = json.loads(self._content("index.json"))["manifests"]
        self.digest: str = described["digest"]
        """Of the manifest: by it a registry knows the image, if it is copied there as it is."""
        self.manifest: dict[str, Any] = json.loads(self._content(_blob(described)))
        self.config: dict[str, Any] = json.loads(self._content(_blob(self.manifest["config"])))

    def layers(self) -> Iterator[tarfile.TarFile]:
        """The layers, the base's first; each is open until the next is asked for."""
        for described in self.manifest["layers"]:
            with tarfile.open(fileobj=self._tar.extractfile(_blob(described))) as layer:
                yield layer

    def file(self, name: str) -> bytes:
        """The content of a file of the image, such as ``etc/passwd``, from the last layer that has it.

        Raises:
            NoImage: no layer has it.
        """
        found = None
        for layer in self.layers():
            for member in layer:
                if member.name.removeprefix("./") == name and (file := layer.extractfile(member)):
                    found = file.read()
        if found is None:
            raise NoImage(f"the image has no file {name}")
        return found

    def _content(self, name: str) -> bytes:
        file = self._tar.extractfile(name)
        return file.read() if file else b""


def _blob(described: dict[str, Any]) -> str:
    return f"blobs/{described['digest'].replace(':', '/')}"
