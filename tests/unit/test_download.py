"""The folder that a download fills, ended at every point and gone on with, by itself and by others beside it."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import socket
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from speculator_operator import download as module
from speculator_operator.api import Reason
from speculator_operator.download import (
    DEAD_SECONDS,
    MARK,
    PARTIAL,
    Download,
    amount,
    fill,
    is_downloaded,
    volume_failed,
)
from speculator_operator.errors import Refused, Waiting
from tests.support.eventually import eventually_async

URI = "org/model"
FILES = {"config.json": 2, "model.safetensors": 4}
CONTENT = {"config.json": b"{}", "model.safetensors": b"abcd"}


def attempt(target: Path, revision: str = "one") -> Download:
    return Download(target, URI, revision, FILES)


def add(download: Download, name: str) -> None:
    with download.create(name) as file:
        file.write(CONTENT[name])
    download.place(name)


def brought(target: Path, revision: str = "one") -> list[str]:
    """Fetches what is missing; which files that were."""
    download = attempt(target, revision)
    download.begin()
    missing = download.missing()
    for name in missing:
        add(download, name)
    download.finish()
    download.end()
    return missing


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def is_whole(target: Path) -> bool:
    return (
        names(target) == sorted({*FILES, MARK})
        and all((target / name).read_bytes() == content for name, content in CONTENT.items())
        and is_downloaded(target, "one")
    )


def test_the_folder_is_made_and_each_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "models" / "draft"
    download = attempt(target)
    download.begin()
    with download.create("model.safetensors") as file:
        file.write(b"ab")
        file.flush()
        assert not (target / "model.safetensors").exists()
        file.write(b"cd")
    download.place("model.safetensors")
    assert (target / "model.safetensors").read_bytes() == b"abcd"
    assert not is_downloaded(target, "one")
    add(download, "config.json")
    download.finish()
    download.end()
    assert is_whole(target)
    assert json.loads((target / MARK).read_text()) == {"uri": URI, "revision": "one", "files": FILES}


def test_what_was_brought_by_an_attempt_that_was_killed_is_not_fetched_again(tmp_path: Path) -> None:
    killed = attempt(tmp_path)
    killed.begin()
    add(killed, "model.safetensors")
    with killed.create("config.json") as file:
        file.write(b"{")
    assert brought(tmp_path) == ["config.json"]
    assert is_whole(tmp_path)


def test_what_is_of_another_revision_is_fetched_again(tmp_path: Path) -> None:
    brought(tmp_path, "other")
    assert brought(tmp_path) == list(FILES)
    assert not is_downloaded(tmp_path, "other")


def test_another_choice_of_a_revision_s_files_keeps_what_is_there(tmp_path: Path) -> None:
    """As of a release that fetches more, or less, of a model."""
    wider = Download(tmp_path, URI, "one", {**FILES, "notes.txt": 1})
    wider.begin()
    add(wider, "model.safetensors")
    (tmp_path / "notes.txt").write_text("x")
    wider.end()
    assert brought(tmp_path) == ["config.json"]
    assert is_downloaded(tmp_path, "one")
    assert (tmp_path / "notes.txt").exists()


def test_what_was_of_another_revision_alone_goes_with_it(tmp_path: Path) -> None:
    other = Download(tmp_path, URI, "other", {**FILES, "notes.txt": 1})
    other.begin()
    (tmp_path / "notes.txt").write_text("x")
    other.end()
    brought(tmp_path)
    assert is_whole(tmp_path)


def _begun(target: Path) -> None:
    (target / f"{PARTIAL}elsewhere-1").mkdir(parents=True)
    (target / f"{PARTIAL}elsewhere-1" / "model.safetensors").write_bytes(b"ab")
    long_ago = target.stat().st_mtime - DEAD_SECONDS - 60
    for path in (target / f"{PARTIAL}elsewhere-1" / "model.safetensors", target / f"{PARTIAL}elsewhere-1"):
        os.utime(path, (long_ago, long_ago))


def _without_the_mark(target: Path) -> None:
    brought(target)
    (target / MARK).unlink()


def _of_another_revision(target: Path) -> None:
    brought(target, "other")


def _with_a_mark_cut_off(target: Path) -> None:
    brought(target)
    (target / MARK).write_text((target / MARK).read_text()[:10])


def _with_a_volumes_own_folder(target: Path) -> None:
    (target / "lost+found").mkdir(parents=True)


LEFT: dict[str, Callable[[Path], None]] = {
    "what a dead attempt has in part": _begun,
    "all but the mark": _without_the_mark,
    "another revision": _of_another_revision,
    "a mark in part": _with_a_mark_cut_off,
}


@pytest.mark.parametrize("leave", LEFT.values(), ids=LEFT)
def test_it_is_done_over(leave: Callable[[Path], None], tmp_path: Path) -> None:
    leave(tmp_path)
    brought(tmp_path)
    assert is_whole(tmp_path)


def test_folders_are_left_alone(tmp_path: Path) -> None:
    _with_a_volumes_own_folder(tmp_path)
    brought(tmp_path)
    assert (tmp_path / "lost+found").is_dir()


def _loses_a_file(target: Path) -> None:
    (target / "model.safetensors").unlink()


def _cuts_a_file(target: Path) -> None:
    (target / "model.safetensors").write_bytes(b"ab")


def _says_something_else(target: Path) -> None:
    (target / MARK).write_text(json.dumps([1]))


def _says_nothing_of_files(target: Path) -> None:
    (target / MARK).write_text(json.dumps({"revision": "one", "files": 3}))


def _says_what_is_nested_too_deeply(target: Path) -> None:
    (target / MARK).write_text("[" * 100_000)


@pytest.mark.parametrize(
    "harm",
    [_loses_a_file, _cuts_a_file, _says_something_else, _says_nothing_of_files, _says_what_is_nested_too_deeply],
)
def test_what_is_not_whole_any_more_does_not_count_as_there(harm: Callable[[Path], None], tmp_path: Path) -> None:
    brought(tmp_path)
    harm(tmp_path)
    assert not is_downloaded(tmp_path, "one")


def test_a_folder_that_holds_something_else_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(Refused, match=r"thesis\.tex") as raised:
        brought(tmp_path)
    assert raised.value.reason == "VolumeUnusable"
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_volume_without_room_is_refused_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=5))
    with pytest.raises(Refused, match=r"6 B are to be fetched, and 5 B are free\. Give it more room") as raised:
        attempt(tmp_path).begin()
    assert raised.value.reason == "VolumeUnusable"


def test_the_systems_word_is_kept(tmp_path: Path) -> None:
    full = volume_failed(tmp_path, OSError(errno.ENOSPC, "No space left on device"))
    assert "No space left on device. Give it more room" in full.message
    locked = volume_failed(tmp_path, OSError(errno.EROFS, "Read-only file system"))
    assert "Read-only file system. Fetch into an empty folder" in locked.message


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (16_060_000_000, "16.1 GB"), (1_300_000_000_000, "1300.0 GB")],
)
def test_sizes_are_told_in_few_figures(size: int, text: str) -> None:
    assert amount(size) == text


# Several attempts at once, as of two resources that share a claim.


class _Source:
    """Content in pieces, each of which waits for its turn; ``asked`` counts whole files."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.failing: dict[str, list[BaseException]] = {}
        self.pause = 0.0

    async def chunks(self, name: str) -> AsyncGenerator[bytes]:
        self.asked.append(name)
        for byte in CONTENT[name]:
            await asyncio.sleep(self.pause)
            if problems := self.failing.get(name):
                raise problems.pop(0)
            yield bytes([byte])

    async def fetch(self, target: Path) -> list[str]:
        said: list[str] = []
        await fill(target, URI, "one", FILES, self.chunks, timeout=5, say=said.append)
        return said


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every attempt is one of another pod."""
    hosts = iter(range(1000))
    monkeypatch.setattr(socket, "gethostname", lambda: f"pod-{next(hosts)}")


@pytest.mark.usefixtures("others")
async def test_attempts_at_the_same_time_all_end_well(tmp_path: Path) -> None:
    source = _Source()
    source.pause = 0.001
    await asyncio.gather(*(source.fetch(tmp_path) for _ in range(8)))
    assert is_whole(tmp_path)


@pytest.mark.usefixtures("others")
async def test_what_another_attempt_brings_meanwhile_is_not_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IN_FLIGHT", 1)
    slow, quick = _Source(), _Source()
    slow.pause = 0.1
    first = asyncio.create_task(slow.fetch(tmp_path))
    await eventually_async(lambda: asyncio.sleep(0, result=bool(slow.asked)))
    await quick.fetch(tmp_path)
    await first
    assert slow.asked == ["config.json"]
    assert is_whole(tmp_path)


@pytest.mark.usefixtures("others")
async def test_an_attempt_that_begins_takes_nothing_from_one_that_runs(tmp_path: Path) -> None:
    running = attempt(tmp_path)
    running.begin()
    with running.create("config.json") as file:
        file.write(b"{")
        other = attempt(tmp_path)
        other.begin()
        file.write(b"}")
    running.place("config.json")
    assert other.missing() == ["model.safetensors"]
    other.end()
    add(running, "model.safetensors")
    running.finish()
    running.end()
    assert is_whole(tmp_path)


async def test_an_attempt_that_fails_leaves_what_it_brought_and_nothing_in_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSES", (0.0,))
    monkeypatch.setattr(module, "IN_FLIGHT", 1)
    source = _Source()
    down = Waiting(Reason.HUB_UNAVAILABLE, "the hub is down", retry_after=30)
    source.failing["model.safetensors"] = [down, down]
    with pytest.raises(Waiting) as raised:
        await source.fetch(tmp_path)
    assert raised.value is down
    assert names(tmp_path) == sorted([MARK, "config.json"])
    said = await source.fetch(tmp_path)
    assert said[0] == f"Fetching {URI} at one: 1 files, 4 B."
    assert is_whole(tmp_path)


async def test_a_file_that_comes_whole_in_the_end_is_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSES", (0.0, 0.0))
    source = _Source()
    source.failing["model.safetensors"] = [Waiting(Reason.HUB_UNAVAILABLE, "it broke", retry_after=30)]
    said = await source.fetch(tmp_path)
    assert said[-2:] == ["100%: 6 B of 6 B", f"{URI} is fetched."]
    assert any("asked for again" in text for text in said)


async def test_a_file_that_goes_while_others_come_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IN_FLIGHT", 1)
    source = _Source()
    bring = source.chunks

    async def chunks(name: str) -> AsyncGenerator[bytes]:
        async for chunk in bring(name):
            yield chunk
        if name == "model.safetensors":
            (tmp_path / "config.json").unlink(missing_ok=True)

    source.chunks = chunks  # type: ignore[method-assign]
    with pytest.raises(Refused, match=r"config\.json.* isn't there any more") as raised:
        await source.fetch(tmp_path)
    assert raised.value.reason == "VolumeUnusable"


async def test_one_that_takes_too_long_says_how_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSES", ())
    source = _Source()
    source.pause = 3600
    with pytest.raises(TimeoutError, match="has not sent 6 B within 0 seconds"):
        await fill(tmp_path, URI, "one", FILES, source.chunks, timeout=0.05, say=lambda _: None)
    assert names(tmp_path) == [MARK]
