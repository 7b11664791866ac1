"""The folder that a download fills, and the filling of it, wherever the bytes come from.

What says which files belong there is written first, and each of them appears when it is whole, in one step. So the
folder is whole when all of them are there; a download that was killed, at whatever point, is gone on with by the next
one; and several at once, of pods that share a network's file system, are in nobody's way: what one of them has brought
the others needn't. Nothing is locked, since what a lock is worth there depends on the server, the client and how it was
mounted. That a rename is one step is all that is asked of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import Any, BinaryIO

from speculator_operator.api import Reason
from speculator_operator.core.words import one_line, quoted
from speculator_operator.errors import Refused, Waiting

#: Within the folder: what begins so holds what one attempt has in part, and what says which files belong there.
PARTIAL = ".partial-"
MARK = ".downloaded.json"
#: Of a partial folder that nothing was written to for so many seconds, the attempt is dead: waits are far shorter.
DEAD_SECONDS = 3600

#: Files that are fetched at the same time: one connection to a provider's store brings some 100 MB/s.
IN_FLIGHT = 8
#: A file is asked for again after each of these pauses (seconds), lest one broken connection of many cost all.
PAUSES = (1.0, 5.0, 20.0)
#: A fetch may take as long as it does at this pace, besides its pauses and a ``timeout`` for each try.
MIN_BYTES_PER_SECOND = 1_000_000
REPORTED_PERCENT = 10

#: The content of a file, by its name: not a byte more or less than was listed. Raises ``Waiting`` where it can be asked
#: for again.
Chunks = Callable[[str], AsyncGenerator[bytes]]


class Download:
    """One attempt. ``files`` are the names and the sizes, in bytes, of what ``revision`` of ``uri`` consists of.

    The folder ``target`` is made if it isn't there. It has to be the revision's own.
    """

    def __init__(self, target: Path, uri: str, revision: str, files: Mapping[str, int]) -> None:
        self._target = target
        self._mark = {"uri": uri, "revision": revision, "files": dict(files)}
        self._files = files
        # A container that is started again has the same names; whatever it has left, nobody writes to it any more.
        self._partial = target / f"{PARTIAL}{socket.gethostname()}-{os.getpid()}"

    def begin(self) -> None:
        """Removes what is of another revision, or of nobody knows which, and sees to it that there is room.

        Raises:
            Refused: ``VolumeUnusable``.
            OSError
        """
        self._target.mkdir(parents=True, exist_ok=True)
        found = list(self._target.iterdir())
        # It is read after the listing: whoever else has begun has written it before any of the files that were listed.
        mark = _mark(self._target)
        known = all(mark.get(key) == self._mark[key] for key in ("uri", "revision"))
        for entry in found:
            if entry.name in (*self._files, *_files_of(mark), MARK):
                if not known:
                    entry.unlink(missing_ok=True)
            elif not entry.is_dir():  # a new volume can have a folder `lost+found`
                raise _unusable(self._target, f"it holds {quoted(entry.name)}, which isn't of this checkpoint")
        shutil.rmtree(self._partial, ignore_errors=True)
        self._partial.mkdir()
        self._bury()
        size = sum(self._files[name] for name in self.missing())
        if size > (free := shutil.disk_usage(self._target).free):
            self.end()
            why = f"{amount(size)} are to be fetched, and {amount(free)} are free"
            raise _unusable(self._target, why, full=True)
        if mark != self._mark:
            written = self._partial / MARK
            written.write_text(json.dumps(self._mark))
            _placed(written, self._target)

    def missing(self) -> list[str]:
        """The files that are still to come: others may bring some meanwhile."""
        return [name for name in self._files if not self.has(name)]

    def has(self, name: str) -> bool:
        return _is_there(self._target / name, self._files[name])

    def create(self, name: str) -> BinaryIO:
        """Opens a file of the revision, empty, to be written to."""
        return (self._partial / name).open("wb")

    def place(self, name: str) -> None:
        """Has a file that has been written appear where it belongs."""
        _placed(self._partial / name, self._target)

    def finish(self) -> None:
        """Sees to it that everything is where it belongs.

        Raises:
            Refused: ``VolumeUnusable``.
        """
        if missing := self.missing():
            raise _unusable(self._target, f"{quoted(missing[0])} was written to it, and isn't there any more")

    def end(self) -> None:
        """Removes what this attempt has in part."""
        shutil.rmtree(self._partial, ignore_errors=True)

    def _bury(self) -> None:
        """Removes what dead attempts have left. Times are the file system's own: clocks of nodes differ."""
        now = self._partial.stat().st_mtime
        for entry in self._target.glob(f"{PARTIAL}*"):
            try:
                written = max(path.stat().st_mtime for path in (entry, *entry.iterdir()))
            except OSError:  # its attempt has just ended
                continue
            if written < now - DEAD_SECONDS:
                shutil.rmtree(entry, ignore_errors=True)


class _Progress:
    """Says how far a fetch is, once for every so many percent. ``total`` is in bytes."""

    def __init__(self, total: int, say: Callable[[str], None]) -> None:
        self.total = total
        self.say = say
        self._done = 0
        self._said = 0

    def add(self, count: int) -> None:
        self._done += count
        percent = 100 * self._done // max(self.total, 1)
        if percent >= self._said + REPORTED_PERCENT:
            self._said = percent - percent % REPORTED_PERCENT
            self.say(f"{self._said}%: {amount(self._done)} of {amount(self.total)}")


async def fill(
    target: Path,
    uri: str,
    revision: str,
    files: Mapping[str, int],
    chunks: Chunks,
    *,
    timeout: float,  # noqa: ASYNC109  # it is of one wait, and only a part of what all of them may take
    say: Callable[[str], None],
) -> None:
    """Brings ``files`` into the folder ``target``. ``timeout`` (seconds) is for any wait in which nothing comes.

    Raises:
        Refused: ``VolumeUnusable``, and what ``chunks`` raises.
        Waiting: what ``chunks`` raises, again and again.
        TimeoutError: it took too long, all in all; the message says how long.
        OSError: the folder can't be written to.
    """
    download = Download(target, uri, revision, files)
    slots = asyncio.Semaphore(IN_FLIGHT)

    async def bring(name: str) -> None:
        async with slots:
            if await asyncio.to_thread(download.has, name):  # by now, by another attempt
                progress.add(files[name])
            else:
                await _bring(name, download, chunks, progress)

    begun = asyncio.ensure_future(asyncio.to_thread(download.begin))
    try:
        await asyncio.shield(begun)
        missing = await asyncio.to_thread(download.missing)
        progress = _Progress(sum(files[name] for name in missing), say)
        say(f"Fetching {uri} at {revision}: {len(missing)} files, {amount(progress.total)}.")
        seconds = progress.total / MIN_BYTES_PER_SECOND + timeout * (len(PAUSES) + 1) + sum(PAUSES)
        try:
            async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
                for name in missing:
                    group.create_task(bring(name))
        except TimeoutError:
            raise TimeoutError(f"has not sent {amount(progress.total)} within {seconds:.0f} seconds") from None
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        await asyncio.to_thread(download.finish)
    finally:
        await asyncio.gather(begun, return_exceptions=True)  # its thread goes on, whoever is told to end
        download.end()
    say(f"{uri} is fetched.")


async def _bring(name: str, download: Download, chunks: Chunks, progress: _Progress) -> None:
    """Adds a file to a download, and begins anew a few times if it doesn't come whole."""
    for pause in PAUSES:
        try:
            await _write(name, download, chunks, progress)
        except Waiting as problem:
            progress.say(f"{name} is asked for again in {pause:g} seconds. {problem.message}")
            await asyncio.sleep(pause)
        else:
            return
    await _write(name, download, chunks, progress)


async def _write(name: str, download: Download, chunks: Chunks, progress: _Progress) -> None:
    written = 0
    try:
        with download.create(name) as file:
            async with aclosing(chunks(name)) as content:
                async for chunk in content:
                    # Disks can be slower than the wire, and the other files shall go on meanwhile.
                    await asyncio.to_thread(file.write, chunk)
                    written += len(chunk)
                    progress.add(len(chunk))
    except Waiting:
        progress.add(-written)
        raise
    await asyncio.to_thread(download.place, name)


def is_downloaded(target: Path, revision: str) -> bool:
    """Whether the folder holds the whole of a revision."""
    mark = _mark(target)
    try:
        return mark["revision"] == revision and all(
            _is_there(target / name, size) for name, size in mark["files"].items()
        )
    except (LookupError, TypeError, AttributeError):
        return False


def volume_failed(target: Path, error: OSError) -> Refused:
    """What the system's refusal to write there means."""
    why = one_line(error.strerror or type(error).__name__)
    return _unusable(target, why, full=error.errno in (ENOSPC, EDQUOT))


def _mark(target: Path) -> dict[str, Any]:
    """What is said to belong into a folder; nothing, where nothing is said of it."""
    try:
        mark = json.loads((target / MARK).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return mark if isinstance(mark, dict) else {}


def _files_of(mark: Mapping[str, Any]) -> Iterable[str]:
    files = mark.get("files")
    return files if isinstance(files, dict) else ()


def _is_there(file: Path, size: int) -> bool:
    try:
        return file.stat().st_size == size
    except OSError:
        return False


def _placed(file: Path, folder: Path) -> None:
    """Moves a file to a folder once it is on the disk: after a crash, a name without its content would look whole."""
    with file.open("rb") as written:
        os.fsync(written.fileno())
    file.replace(folder / file.name)


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
