"""Reading a checkpoint's config from a local folder."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from speculator_operator.core.config_file import MAX_BYTES
from speculator_operator.errors import OperatorError, Refused, Waiting
from speculator_operator.folder import read_folder, read_pinned_folder


def test_a_folder_is_read_and_has_no_revision(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama", "name": "Größe"}', encoding="utf-8")
    snapshot = read_folder(tmp_path)
    assert (snapshot.uri, snapshot.revision) == (str(tmp_path), None)
    assert snapshot.config == {"model_type": "llama", "name": "Größe"}
    assert snapshot.files is None, "a folder without weights stands for a place that has them"


def test_labels_and_details_of_a_quantization_are_left_out_where_there_are_too_many(tmp_path: Path) -> None:
    quantization = {"quant_method": "awq", "extra_config": {str(number): {"bits": 4} for number in range(30_000)}}
    config = {"model_type": "llama", "quantization_config": quantization}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert read_folder(tmp_path).config == {"model_type": "llama", "quantization_config": {"quant_method": "awq"}}


def test_the_files_beside_the_config_are_listed_as_far_as_they_are_any(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"a": 1}')
    (tmp_path / "model.safetensors").write_bytes(b"12345")
    (tmp_path / "linked.txt").symlink_to(tmp_path / "model.safetensors")
    (tmp_path / "nowhere.txt").symlink_to(tmp_path / "absent")
    (tmp_path / "round.txt").symlink_to(tmp_path / "round.txt")
    (tmp_path / "original").mkdir()
    (tmp_path / ".gitattributes").write_text("hidden")
    os.mkfifo(tmp_path / "pipe")
    assert read_folder(tmp_path).files == {"config.json": 8, "linked.txt": 5, "model.safetensors": 5}


def test_the_folder_is_called_as_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "draft").mkdir()
    (tmp_path / "draft" / "config.json").write_text('{"a": 1}')
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
    "more values than any model's": (
        _writes(b'{"a": [' + b"{}," * 300_000 + b"{}]}"),
        "ConfigTooLarge",
        "more than 200000 values",
    ),
    "more values than are kept": (
        _writes(b'{"a": [' + b"1," * 30_000 + b"1]}"),
        "ConfigTooLarge",
        "more than 20000 values",
    ),
    "an object without a word": (_writes(b"{}"), "ConfigMalformed", "is empty"),
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
    (tmp_path / "config.json").write_text('{"a": 1}')

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


# At a pin.

CLAIM = "pvc://models/draft"
SAMPLED = 8 * 1024 * 1024


def weights(header: bytes = b'{"w": {}}', tensors: bytes = b"tensors") -> bytes:
    return len(header).to_bytes(8, "little") + header + tensors


@pytest.fixture
def claim(tmp_path: Path) -> Path:
    folder = tmp_path / "claim" / "draft"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"a": 1}')
    (folder / "model.safetensors").write_bytes(weights(tensors=bytes(SAMPLED)))
    (folder / "tokenizer.json").write_text("{}")
    return folder


def pin(folder: Path) -> str:
    revision = read_pinned_folder(folder, CLAIM).revision
    assert revision is not None
    return revision


def test_a_claim_is_pinned_and_bears_the_name_that_it_was_given(claim: Path) -> None:
    snapshot = read_pinned_folder(claim, CLAIM)
    assert (snapshot.uri, snapshot.config) == (CLAIM, {"a": 1})
    assert snapshot.files == {"config.json": 8, "model.safetensors": SAMPLED + 17, "tokenizer.json": 2}
    assert snapshot.revision is not None
    assert len(snapshot.revision) == len("sha256:") + 64


def test_a_pin_stays_the_same_from_release_to_release(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"a": 1}')
    (tmp_path / "model.safetensors").write_bytes(weights())
    assert pin(tmp_path) == "sha256:74052ef0bc40c8326b85268300523d3eb95c109047985dcc31089f4c4758c119"


def _retrained(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(weights(tensors=b"\1" * SAMPLED))


def _other_tensors(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(weights(header=b'{"v": {}}', tensors=bytes(SAMPLED)))


def _last_byte(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-1] + b"\1")


def _other_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"a": 2}')


def _one_file_more(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("")


def _one_file_less(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def _other_size(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{} ")


@pytest.mark.parametrize(
    "change", [_retrained, _other_tensors, _last_byte, _other_config, _one_file_more, _one_file_less, _other_size]
)
def test_the_pin_is_another_after(change: Callable[[Path], None], claim: Path) -> None:
    before = pin(claim)
    assert pin(claim) == before
    change(claim)
    assert pin(claim) != before


def header(*tensors: tuple[str, list[int]]) -> bytes:
    described = {
        str(n): {"dtype": kind, "shape": shape, "data_offsets": [0, 0]} for n, (kind, shape) in enumerate(tensors)
    }
    return json.dumps({"__metadata__": {"format": "pt"}, **described}, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    ("files", "parameters"),
    [
        (
            {"model": header(("BF16", [4, 2]), ("I64", []), ("BF16", [3]), ("F8_E4M3", [0, 5]))},
            {"BF16": 11, "I64": 1, "F8_E4M3": 0},
        ),
        (
            {
                "model-00001-of-00002": header(("F32", [7])),
                "model-00002-of-00002": header(("F32", [1, 2, 3])),
                "consolidated": header(("F32", [13])),
            },
            {"F32": 13},
        ),
        ({"model": b'{"a": {"dtype": "F16", "shape": [4, 2], "data_offsets": [0, 16]}}'}, {"F16": 8}),
        ({"model": b'{"a": {"shape": [4, 2], "dtype": "F16", "data_offsets": [0, 16]}}'}, None),
        ({"model": header(("F32", [2**62, 2]))}, None),
        ({"model": b"{}"}, None),
        ({}, None),
    ],
    ids=[
        "several types",
        "shards, and the same again",
        "spaces",
        "in another order",
        "very many",
        "no tensors",
        "no weights",
    ],
)
def test_the_numbers_in_weights_are_counted_by_their_headers(
    files: dict[str, bytes], parameters: dict[str, int] | None, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text('{"a": 1}')
    for name, content in files.items():
        (tmp_path / f"{name}.safetensors").write_bytes(weights(content))
    assert read_pinned_folder(tmp_path, CLAIM).parameters == parameters
    assert read_folder(tmp_path).parameters == parameters


def test_what_would_take_too_long_is_not_counted(claim: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (claim / "model.safetensors").write_bytes(weights(header(("F32", [7]))))
    monkeypatch.setattr("speculator_operator.folder.MAX_COUNTED_BYTES", 20)
    assert read_pinned_folder(claim, CLAIM).parameters is None


def test_weights_on_ones_own_disk_that_are_none_are_not_counted(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"a": 1}')
    (tmp_path / "model.safetensors").write_bytes(b"version https://git-lfs")
    assert read_folder(tmp_path).parameters is None


def test_what_no_engine_reads_does_not_move_the_pin(claim: Path) -> None:
    before = pin(claim)
    (claim / ".nfs0001").write_text("left by a file server")
    (claim / "original").mkdir()
    (claim / "original" / "params.json").write_text("{}")
    os.utime(claim / "config.json", (0, 0))
    assert pin(claim) == before


def test_a_link_within_the_folder_is_followed(claim: Path) -> None:
    (claim / "blobs").mkdir()
    (claim / "tokenizer.json").rename(claim / "blobs" / "1")
    (claim / "tokenizer.json").symlink_to("blobs/1")
    assert read_pinned_folder(claim, CLAIM).files == read_folder(claim).files


def _link_out(folder: Path) -> None:
    (folder.parent / "secret").write_text("{}")
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("../secret")


def _link_to_the_root(folder: Path) -> None:
    (folder / "notes.txt").symlink_to("/proc/self/environ")


def _link_to_a_folder_outside(folder: Path) -> None:
    (folder / "original").symlink_to("..")


def _link_to_nowhere(folder: Path) -> None:
    (folder / "model-2.safetensors").symlink_to("../../blobs/absent")


def _link_in_a_circle(folder: Path) -> None:
    (folder / "circle.txt").symlink_to("circle.txt")


def _pipe_for_weights(folder: Path) -> None:
    os.mkfifo(folder / "model-2.safetensors")


def _socket(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(folder / "s"))


def _device(folder: Path) -> None:
    (folder / "zero.json").symlink_to("/dev/zero")


def _name_without_characters(folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.txt")).write_text("")


def _pointer_for_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")


def _weights_cut_off(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(weights()[:12])


def _weights_without_a_byte(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"")


def _header_too_large(folder: Path) -> None:
    with (folder / "model.safetensors").open("wb") as file:
        file.write((20 * 1024 * 1024).to_bytes(8, "little"))
        file.truncate(30 * 1024 * 1024)


def _array_for_a_config(folder: Path) -> None:
    (folder / "config.json").write_text("[]")


def _no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


PIN_REFUSED: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "a config that is a link out of the folder": (_link_out, "FolderUnsafe", "leads out of the folder"),
    "a file that is a link to the system's": (_link_to_the_root, "FolderUnsafe", "leads out of the folder"),
    "a link to a folder outside": (_link_to_a_folder_outside, "FolderUnsafe", "leads out of the folder"),
    "a link to a device": (_device, "FolderUnsafe", "leads out of the folder"),
    "a link that leads nowhere": (_link_to_nowhere, "FolderUnsafe", "leads nowhere"),
    "a link in a circle": (_link_in_a_circle, "FolderUnsafe", "leads nowhere"),
    "a pipe that nobody writes to": (_pipe_for_weights, "FolderUnsafe", "is a pipe"),
    "a socket": (_socket, "FolderUnsafe", "is a pipe, a socket"),
    "a name that is no text": (_name_without_characters, "FolderUnsafe", "isn't UTF-8"),
    "a pointer instead of weights": (_pointer_for_weights, "WeightsMalformed", "LFS pointer"),
    "weights that are cut off": (_weights_cut_off, "WeightsMalformed", "cut off"),
    "empty weights": (_weights_without_a_byte, "WeightsMalformed", "cut off"),
    "weights with a huge header": (_header_too_large, "WeightsMalformed", "more than 16777216 bytes"),
    "an array for a config": (_array_for_a_config, "ConfigMalformed", "it holds an array"),
    "no config": (_no_config, "ConfigMissing", "There is no config.json in pvc://models/draft"),
}


@pytest.mark.parametrize(("prepare", "reason", "says"), PIN_REFUSED.values(), ids=PIN_REFUSED)
def test_a_claim_is_refused_for(prepare: Callable[[Path], None], reason: str, says: str, claim: Path) -> None:
    prepare(claim)
    with pytest.raises(Refused) as raised:
        read_pinned_folder(claim, CLAIM)
    assert raised.value.reason == reason
    assert says in raised.value.message
    assert CLAIM in raised.value.message
    assert str(claim) not in raised.value.message, "where it is mounted says nothing to who wrote the resource"


def test_a_folder_that_is_not_in_the_claim_is_named_in_the_claims_words(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="pvc://models/draft is not a folder") as raised:
        read_pinned_folder(tmp_path / "absent", CLAIM)
    assert raised.value.reason == "ConfigMissing"


def test_a_folder_of_thousands_of_files_is_refused(claim: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speculator_operator.folder.MAX_FILES", 3)
    assert pin(claim)
    (claim / "one-more").mkdir()
    with pytest.raises(Refused) as pinned:
        read_pinned_folder(claim, CLAIM)
    with pytest.raises(Refused) as local:
        read_folder(claim)
    assert pinned.value.reason == local.value.reason == "FilesTooMany"


def test_more_weights_than_any_checkpoint_has_are_refused(claim: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speculator_operator.folder.MAX_DIGESTED_BYTES", 1000)
    with pytest.raises(Refused) as raised:
        read_pinned_folder(claim, CLAIM)
    assert raised.value.reason == "FilesTooMany"


def test_a_file_that_is_swapped_for_a_pipe_after_it_was_listed_is_not_waited_for(
    claim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open

    def swapped(path: Path, flags: int) -> int:
        if Path(path).name == "model.safetensors":
            Path(path).unlink()
            os.mkfifo(path)
        return opened(path, flags)

    monkeypatch.setattr(os, "open", swapped)
    with pytest.raises(Waiting) as raised:
        read_pinned_folder(claim, CLAIM)
    assert raised.value.reason == "FolderUnreadable"
    assert "no file any more" in raised.value.message
