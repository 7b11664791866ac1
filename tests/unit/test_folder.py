"""Reading a checkpoint's config from a local folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from speculator_operator.core.config_file import MAX_BYTES
from speculator_operator.errors import OperatorError, Refused, Waiting
from speculator_operator.folder import read_folder


def test_a_folder_is_read_and_has_no_revision(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama", "name": "Größe"}', encoding="utf-8")
    snapshot = read_folder(tmp_path)
    assert (snapshot.uri, snapshot.revision) == (str(tmp_path), None)
    assert snapshot.config == {"model_type": "llama", "name": "Größe"}


def test_the_folder_is_called_as_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "draft").mkdir()
    (tmp_path / "draft" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert read_folder("./draft").uri == "./draft"
    assert read_folder("./draft", "org/draft").uri == "org/draft"


def test_a_link_to_the_config_is_followed_as_download_caches_have_them(tmp_path: Path) -> None:
    (tmp_path / "blob").write_text('{"a": 1}')
    (tmp_path / "config.json").symlink_to(tmp_path / "blob")
    assert read_folder(tmp_path).config == {"a": 1}


def _nothing(folder: Path) -> None:
    folder.mkdir()


def _absent(folder: Path) -> None:
    assert not folder.exists()


def _file_in_its_place(folder: Path) -> None:
    folder.write_text("{}")


def _writes(content: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        folder.mkdir()
        (folder / "config.json").write_bytes(content)

    return write


def _pipe(folder: Path) -> None:
    folder.mkdir()
    os.mkfifo(folder / "config.json")


def _folder_in_its_place(folder: Path) -> None:
    (folder / "config.json").mkdir(parents=True)


REFUSED: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "no folder": (_absent, "ConfigMissing", "is not a folder"),
    "a file instead of a folder": (_file_in_its_place, "ConfigMissing", "is not a folder"),
    "no config": (_nothing, "ConfigMissing", "There is no config.json"),
    "a pipe that nobody writes to": (_pipe, "ConfigMissing", "There is no config.json"),
    "a folder called config.json": (_folder_in_its_place, "ConfigMissing", "There is no config.json"),
    "an empty config": (_writes(b""), "ConfigMalformed", "not a JSON object"),
    "an array": (_writes(b"[]"), "ConfigMalformed", "it holds an array"),
    "a null": (_writes(b"null"), "ConfigMalformed", "it holds a single value"),
    "bytes that are no text": (_writes(b"\xff\xfe{}"), "ConfigMalformed", "utf-8"),
    "a nest too deep for a parser": (_writes(b"[" * 200_000), "ConfigMalformed", "nested too deeply"),
    "a nest too deep for anything": (_writes(b'{"a": %s}' % (b"[" * 64 + b"]" * 64)), "ConfigMalformed", "64 deep"),
    "a byte too many": (_writes(b" " * (MAX_BYTES + 1)), "ConfigTooLarge", f"larger than {MAX_BYTES} bytes"),
}


@pytest.mark.parametrize(("prepare", "reason", "says"), REFUSED.values(), ids=REFUSED)
def test_a_folder_that_is_no_checkpoint_is_refused(
    tmp_path: Path, prepare: Callable[[Path], None], reason: str, says: str
) -> None:
    folder = tmp_path / "checkpoint"
    prepare(folder)
    with pytest.raises(OperatorError) as raised:
        read_folder(folder)
    assert isinstance(raised.value, Refused)
    assert raised.value.reason == reason
    assert says in raised.value.message
    assert str(folder) in raised.value.message


def test_a_nest_just_shallow_enough_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b'{"a": %s}' % (b"[" * 63 + b"]" * 63))
    assert read_folder(tmp_path).config["a"]


def test_a_config_that_cannot_be_opened_is_undetermined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text("{}")

    def denied(*_arguments: object, **_options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(Waiting) as raised:
        read_folder(tmp_path)
    assert raised.value.reason == "FolderUnreadable"
    assert "Permission denied" in raised.value.message


def test_a_path_that_no_system_has_is_refused_or_undetermined_but_no_crash() -> None:
    for path in ("a\0b", "x" * 5000):
        with pytest.raises(OperatorError):
            read_folder(path)
