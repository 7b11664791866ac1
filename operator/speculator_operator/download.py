"""The folder that a download fills: its files appear when all of them are whole, and what says so appears last.

So a download that was killed, at whatever point, is begun anew by the next one, and one that was done is recognised.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import BinaryIO

from speculator_operator.api import Reason
from speculator_operator.core.config_file import quoted, words
from speculator_operator.errors import Refused

#: Within the folder: what is not whole yet, and what says that everything is.
PARTIAL = ".partial"
MARK = ".downloaded.json"


class Download:
    """``files`` are the names and the sizes, in bytes, of what ``revision`` consists of.

    The folder ``target`` is made if it isn't there. It has to be the download's own.
    """

    def __init__(self, target: Path, revision: str, files: Mapping[str, int]) -> None:
        self._target = target
        self._revision = revision
        self._files = files
        self._partial = target / PARTIAL

    def begin(self) -> None:
        """Removes what a download that was killed has left, and sees to it that there is room.

        Raises:
            Refused: ``VolumeUnusable``.
            OSError
        """
        self._target.mkdir(parents=True, exist_ok=True)
        (self._target / MARK).unlink(missing_ok=True)
        for entry in self._target.iterdir():
            if entry.name == PARTIAL:
                shutil.rmtree(entry)
            elif entry.name in self._files:
                entry.unlink()
            elif not entry.is_dir():  # a new volume can have a folder `lost+found`
                raise _unusable(self._target, f"it holds {quoted(entry.name)}, which isn't of this checkpoint")
        size = sum(self._files.values())
        if size > (free := shutil.disk_usage(self._target).free):
            why = f"{amount(size)} are to be fetched, and {amount(free)} are free"
            raise _unusable(self._target, why, full=True)
        self._partial.mkdir()

    def create(self, name: str) -> BinaryIO:
        """Opens a file of the revision, empty, to be written to."""
        return (self._partial / name).open("wb")

    def finish(self) -> None:
        """Moves the files, which have all been written, to where they belong."""
        for name in self._files:
            (self._partial / name).replace(self._target / name)
        mark = self._partial / MARK
        mark.write_text(json.dumps({"revision": self._revision, "files": dict(self._files)}))
        mark.replace(self._target / MARK)
        self._partial.rmdir()


def is_downloaded(target: Path, revision: str) -> bool:
    """Whether the folder holds the whole of a revision."""
    try:
        mark = json.loads((target / MARK).read_bytes())
        return bool(mark["revision"] == revision) and all(
            (target / name).stat().st_size == size for name, size in mark["files"].items()
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False


def volume_failed(target: Path, error: OSError) -> Refused:
    """What the system's refusal to write there means."""
    why = words(error.strerror or type(error).__name__)
    return _unusable(target, why, full=error.errno in (ENOSPC, EDQUOT))


def _unusable(target: Path, why: str, *, full: bool = False) -> Refused:
    remedy = "Give it more room" if full else "Fetch into an empty folder that can be written to"
    return Refused(Reason.VOLUME_UNUSABLE, f"{quoted(str(target))} can't take the checkpoint: {why}. {remedy}.")


def amount(size: int) -> str:
    """Bytes, for people."""
    value = float(size)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.1f} GB"
