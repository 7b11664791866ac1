"""The folder that a download fills, ended at every point and begun anew."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from speculator_operator.download import MARK, PARTIAL, Download, amount, is_downloaded, volume_failed
from speculator_operator.errors import Refused

FILES = {"config.json": 2, "model.safetensors": 4}
CONTENT = {"config.json": b"{}", "model.safetensors": b"abcd"}


def fill(target: Path, revision: str = "one") -> None:
    download = Download(target, revision, FILES)
    download.begin()
    for name, content in CONTENT.items():
        with download.create(name) as file:
            file.write(content)
    download.finish()


def is_whole(target: Path) -> bool:
    return (
        {path.name for path in target.iterdir()} == {*FILES, MARK}
        and all((target / name).read_bytes() == content for name, content in CONTENT.items())
        and is_downloaded(target, "one")
    )


def test_the_folder_is_made_and_nothing_is_in_it_until_everything_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "models" / "draft"
    download = Download(target, "one", FILES)
    download.begin()
    for name, content in CONTENT.items():
        with download.create(name) as file:
            file.write(content)
    assert [path.name for path in target.iterdir()] == [PARTIAL]
    assert not is_downloaded(target, "one")
    download.finish()
    assert is_whole(target)


def _begun(target: Path) -> None:
    (target / PARTIAL).mkdir(parents=True)
    (target / PARTIAL / "model.safetensors").write_bytes(b"ab")


def _moved_in_part(target: Path) -> None:
    _begun(target)
    (target / "config.json").write_bytes(b"{}")


def _without_the_mark(target: Path) -> None:
    fill(target)
    (target / MARK).unlink()


def _with_the_empty_folder(target: Path) -> None:
    fill(target)
    (target / PARTIAL).mkdir()


def _of_another_revision(target: Path) -> None:
    fill(target, "other")


def _with_a_mark_cut_off(target: Path) -> None:
    fill(target)
    (target / MARK).write_text((target / MARK).read_text()[:10])


def _with_a_volumes_own_folder(target: Path) -> None:
    (target / "lost+found").mkdir(parents=True)


LEFT: dict[str, Callable[[Path], None]] = {
    "a file in part": _begun,
    "some files moved": _moved_in_part,
    "all but the mark": _without_the_mark,
    "the folder of what is in part": _with_the_empty_folder,
    "another revision": _of_another_revision,
    "a mark in part": _with_a_mark_cut_off,
}


@pytest.mark.parametrize("leave", LEFT.values(), ids=LEFT)
def test_it_is_begun_anew_over(leave: Callable[[Path], None], tmp_path: Path) -> None:
    leave(tmp_path)
    fill(tmp_path)
    assert is_whole(tmp_path)


def test_folders_are_left_alone(tmp_path: Path) -> None:
    _with_a_volumes_own_folder(tmp_path)
    fill(tmp_path)
    assert (tmp_path / "lost+found").is_dir()


def _loses_a_file(target: Path) -> None:
    (target / "model.safetensors").unlink()


def _cuts_a_file(target: Path) -> None:
    (target / "model.safetensors").write_bytes(b"ab")


def _says_something_else(target: Path) -> None:
    (target / MARK).write_text(json.dumps([1]))


def _says_nothing_of_files(target: Path) -> None:
    (target / MARK).write_text(json.dumps({"revision": "one", "files": 3}))


@pytest.mark.parametrize("harm", [_loses_a_file, _cuts_a_file, _says_something_else, _says_nothing_of_files])
def test_what_is_not_whole_any_more_does_not_count_as_there(harm: Callable[[Path], None], tmp_path: Path) -> None:
    fill(tmp_path)
    harm(tmp_path)
    assert not is_downloaded(tmp_path, "one")


def test_a_folder_that_holds_something_else_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(Refused, match=r"thesis\.tex") as raised:
        fill(tmp_path)
    assert raised.value.reason == "VolumeUnusable"
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_volume_without_room_is_refused_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=5))
    with pytest.raises(Refused, match=r"6 B are to be fetched, and 5 B are free\. Give it more room") as raised:
        Download(tmp_path, "one", FILES).begin()
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
