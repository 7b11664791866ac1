"""Reads a checkpoint in a local folder: a claim or an image that is mounted, or one on somebody's disk."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from errno import ELOOP, ENOENT, ENOTDIR
from pathlib import Path
from typing import BinaryIO

from speculator_operator.api import Reason
from speculator_operator.core.checkpoint import Snapshot
from speculator_operator.core.config_file import CONFIG, MAX_BYTES, config_missing, parsed, too_large
from speculator_operator.core.weight_files import pickled, safetensors
from speculator_operator.core.words import one_line, quoted
from speculator_operator.errors import Refused, Waiting
from speculator_operator.retry import RETRY_SECONDS

MAX_FILES = 10_000
#: Of one file of weights, where published ones have some 100 KB.
MAX_HEADER_BYTES = 16 * 1024 * 1024
#: Of all files in which numbers are counted: beyond, it would take too long.
MAX_COUNTED_BYTES = 256 * 1024 * 1024
#: Of a file's tensors: training changes all of them, and no header.
SAMPLES = 8
SAMPLE_BYTES = 64 * 1024
#: Of all headers and samples of a folder.
MAX_DIGESTED_BYTES = 1024 * 1024 * 1024
WEIGHTS = ".safetensors"

#: A safetensors file starts with the length of its header, little-endian, in so many bytes; the header is JSON.
_LENGTH_BYTES = 8
#: What a header says of a tensor, as safetensors itself writes it. Others are not counted, and so found to be missing.
_TENSOR = re.compile(rb'"dtype" ?: ?"([A-Z0-9_]{1,16})" ?, ?"shape" ?: ?\[((?:\d{1,18}(?:, ?\d{1,18}){0,15})?)\]')


def read_folder(path: Path | str, uri: str | None = None, *, max_bytes: int = MAX_BYTES) -> Snapshot:
    """A checkpoint on somebody's own disk: links are followed wherever they lead, and nothing pins it.

    ``uri`` is what the snapshot is called (the folder, as given). One without weights stands for a place that has them:
    of its files nothing is said.

    Raises:
        Refused: ``ConfigMissing``, ``ConfigMalformed``, ``ConfigTooLarge``, ``FilesTooMany``.
        Waiting: ``FolderUnreadable``.
    """
    found = _Folder(Path(path), quoted(str(path)), inside=False).read(str(path) if uri is None else uri, max_bytes)
    files = found.files or {}
    return found if safetensors(files) or pickled(files) else replace(found, files=None)


def read_pinned_folder(path: Path | str, uri: str, *, max_bytes: int = MAX_BYTES) -> Snapshot:
    """A checkpoint in a folder that others fill, such as a claim: nothing outside of it is read.

    The revision is a digest of the files' names and sizes, of ``config.json``, and of the weights' headers and samples:
    another checkpoint has another one, also where only the training went on, and no weights are read whole for it. It
    is no defence against one that was made to look the same. Hidden files don't count, nor do folders. ``uri`` is what
    the snapshot and the messages call it.

    Raises:
        Refused: as ``read_folder``; ``FolderUnsafe``, ``WeightsMalformed``.
        Waiting: ``FolderUnreadable``.
    """
    return _Folder(Path(path), uri, inside=True).read(uri, max_bytes)


class _Folder:
    """``name`` is for messages. ``inside``: what leads out of the folder is refused, and what is no file."""

    def __init__(self, path: Path, name: str, *, inside: bool) -> None:
        self._path = path
        self._name = name
        self._inside = inside

    def read(self, uri: str, max_bytes: int) -> Snapshot:
        try:
            if not self._path.is_dir():
                raise Refused(Reason.CONFIG_MISSING, f"{self._name} is not a folder. Name a checkpoint's folder.")
            files = self._files()
            if CONFIG not in files:
                raise config_missing(self._name)
            with self._opened(CONFIG) as file:
                body = file.read(max_bytes + 1)
            if len(body) > max_bytes:
                raise too_large(self._name, max_bytes)
            config = parsed(body, uri)
            revision = self._digest(files, body) if self._inside else None
        except (OSError, ValueError) as error:
            raise Waiting(
                Reason.FOLDER_UNREADABLE,
                f"{self._name} can't be read: {one_line(str(error))}. User {os.getuid()} has to be able to read it.",
                retry_after=RETRY_SECONDS,
            ) from error
        return Snapshot(uri, revision, config, files, self._parameters(files))

    def _files(self) -> dict[str, int]:
        files: dict[str, int] = {}
        with os.scandir(self._path) as entries:
            for number, entry in enumerate(entries):
                if number >= MAX_FILES:
                    raise Refused(
                        Reason.FILES_TOO_MANY,
                        f"{self._name} has more than {MAX_FILES} entries, which no checkpoint has. "
                        "Name the checkpoint's own folder.",
                    )
                if not entry.name.startswith(".") and (size := self._size(entry.name)) is not None:
                    files[entry.name] = size
        return dict(sorted(files.items()))

    def _size(self, name: str) -> int | None:
        """A file's size; None of what is no file, where that is let through, and of folders."""
        if not self._inside:
            try:
                status = (self._path / name).stat()
            except OSError:  # a link that leads nowhere
                return None
        else:
            status = self._real(name).stat()
            if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
                raise self._unsafe(name, "is a pipe, a socket or a device", "Take it out")
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    def _real(self, name: str) -> Path:
        """Where a file really is: inside of the folder."""
        try:
            name.encode()
            path = Path(os.path.realpath(self._path / name, strict=True))
        except UnicodeEncodeError:
            raise self._unsafe(ascii(name), "has a name that isn't UTF-8", "Rename it, or take it out") from None
        except OSError as error:
            if error.errno not in (ENOENT, ELOOP, ENOTDIR):
                raise
            raise self._unsafe(name, "is a link that leads nowhere", "Take it out, or copy the file itself") from None
        if not path.is_relative_to(self._path.resolve()):
            raise self._unsafe(
                name, "is a link that leads out of the folder", "Copy the checkpoint with links followed (cp -rL)"
            )
        return path

    @contextmanager
    def _opened(self, name: str) -> Iterator[BinaryIO]:
        """Opens what was a file when it was listed, and isn't waited for if it has become something else."""
        path, flags = self._path / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
        if self._inside:
            path, flags = self._real(name), flags | os.O_NOFOLLOW
        with os.fdopen(os.open(path, flags), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise OSError(f"{name} is no file any more")
            yield file

    def _digest(self, files: Mapping[str, int], config: bytes) -> str:
        digest = hashlib.sha256()
        for name, size in files.items():
            digest.update(f"{json.dumps([name, size])}\n".encode())
        digest.update(config)
        left = MAX_DIGESTED_BYTES
        for name, size in files.items():
            if name.endswith(WEIGHTS):
                for part in self._header_and_samples(name, size):
                    digest.update(part)
                    left -= len(part)
                if left < 0:
                    raise Refused(
                        Reason.FILES_TOO_MANY,
                        f"{self._name} has more weights than any checkpoint. Name the checkpoint's own folder.",
                    )
        return f"sha256:{digest.hexdigest()}"

    def _header_and_samples(self, name: str, size: int) -> Iterator[bytes]:
        """The header of a file of weights, with its length before it, and samples of what follows."""
        with self._opened(name) as file:
            header = self._header(file, name, size)
            yield header
            span = max(size - len(header) - SAMPLE_BYTES, 0)
            for number in range(SAMPLES):
                file.seek(len(header) + span * number // (SAMPLES - 1))
                yield file.read(SAMPLE_BYTES)

    def _header(self, file: BinaryIO, name: str, size: int) -> bytes:
        start = file.read(_LENGTH_BYTES)
        length = int.from_bytes(start, "little")
        if len(start) < _LENGTH_BYTES or not 2 <= length <= size - _LENGTH_BYTES:
            raise self._malformed(name, "doesn't start with the length of a header, or is cut off")
        if length > MAX_HEADER_BYTES:
            raise self._malformed(name, f"has a header of more than {MAX_HEADER_BYTES} bytes")
        header = file.read(length)
        if len(header) < length:
            raise self._malformed(name, "is cut off")
        return start + header

    def _parameters(self, files: Mapping[str, int]) -> dict[str, int] | None:
        """How many numbers of each type the weights hold, by their headers; None where those don't say."""
        counts: Counter[str] = Counter()
        left = MAX_COUNTED_BYTES
        for name, size in safetensors(files).items():
            try:
                with self._opened(name) as file:
                    header = self._header(file, name, size)
            except (Refused, OSError):
                return None
            left -= len(header)
            if left < 0:
                return None
            for tensor in _TENSOR.finditer(header):
                kind, shape = tensor.groups()
                counts[kind.decode()] += math.prod(map(int, shape.split(b","))) if shape else 1
        return dict(counts) if 0 < counts.total() < 2**63 else None

    def _unsafe(self, name: str, what: str, remedy: str) -> Refused:
        return Refused(Reason.FOLDER_UNSAFE, f"{quoted(name)} in {self._name} {what}. {remedy}.")

    def _malformed(self, name: str, why: str) -> Refused:
        return Refused(
            Reason.WEIGHTS_MALFORMED,
            f"{quoted(name)} in {self._name} is no safetensors file: it {why}. Copy the checkpoint anew "
            "(with Git, the file itself and not its LFS pointer).",
        )
