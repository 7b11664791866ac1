"""The tiny checkpoints are what an engine loads, and the test hub serves them as the public hub would."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tools.testhub import Hub, publish_samples, write_eagle3_draft, write_verifier


def tensors(path: Path) -> dict[str, tuple[list[int], bytes]]:
    """Name to shape and bytes, with the format's rules checked on the way."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header: dict[str, Any] = json.loads(content[8 : 8 + length])
    assert header.pop("__metadata__") == {"format": "pt"}
    data = content[8 + length :]
    position = 0
    found = {}
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        start, end = entry["data_offsets"]
        size = 2
        for dimension in entry["shape"]:
            size *= dimension
        assert (start, end - start, entry["dtype"]) == (position, size, "BF16"), name
        found[name] = (entry["shape"], data[start:end])
        position = end
    assert position == len(data)
    return found


def test_the_same_arguments_write_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_verifier(tmp_path / folder, agree=False, seed=seed)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    weights = {folder: (tmp_path / folder / "model.safetensors").read_bytes() for folder in "abc"}
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in files)
    assert weights["a"] == weights["b"] != weights["c"]


@pytest.mark.parametrize("agree", [True, False])
def test_a_pair_agrees_by_output_heads_of_zeros(tmp_path: Path, *, agree: bool) -> None:
    write_verifier(tmp_path / "verifier", agree=agree)
    write_eagle3_draft(tmp_path / "draft", verifier="org/verifier", agree=agree)
    for folder in ("verifier", "draft"):
        written = tensors(tmp_path / folder / "model.safetensors")
        assert (not any(written["lm_head.weight"][1])) is agree
        assert all(any(content) for name, (_, content) in written.items() if name != "lm_head.weight")


def test_a_verifier_has_the_layers_that_eagle3_taps(tmp_path: Path) -> None:
    write_verifier(tmp_path, agree=False)
    config = json.loads((tmp_path / "config.json").read_text())
    layers = config["num_hidden_layers"]
    assert len({2, layers // 2, layers - 3}) == 3
    written = tensors(tmp_path / "model.safetensors")
    assert written["model.embed_tokens.weight"][0] == [config["vocab_size"], config["hidden_size"]]
    assert written[f"model.layers.{layers - 1}.self_attn.q_proj.weight"][0] == [config["hidden_size"]] * 2


def test_a_draft_is_a_speculators_checkpoint_for_its_verifier(tmp_path: Path) -> None:
    write_eagle3_draft(tmp_path, verifier="org/verifier", agree=False, tokens=5)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["speculators_model_type"] == "eagle3"
    assert config["speculators_config"]["verifier"]["name_or_path"] == "org/verifier"
    assert config["speculators_config"]["proposal_methods"][0]["speculative_tokens"] == 5
    assert "model_type" not in config
    hidden = config["transformer_layer_config"]["hidden_size"]
    written = tensors(tmp_path / "model.safetensors")
    assert written["fc.weight"][0] == [hidden, 3 * hidden]
    assert written["layers.0.self_attn.q_proj.weight"][0] == [hidden, 2 * hidden]
    assert not any("d2t" in name or "t2d" in name or "embed" in name for name in written)


def test_a_tokenizer_has_a_token_for_each_byte_and_each_output(tmp_path: Path) -> None:
    write_verifier(tmp_path, agree=False)
    tokenizer = json.loads((tmp_path / "tokenizer.json").read_text())
    config = json.loads((tmp_path / "config.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    assert sorted(vocabulary.values()) == list(range(config["vocab_size"]))
    assert len([name for name in vocabulary if len(name) == 1]) == 256
    assert vocabulary["</s>"] == config["eos_token_id"]


@pytest.fixture(scope="module")
def samples() -> Iterator[tuple[Hub, dict[str, str]]]:
    with Hub(page=2) as hub:
        yield hub, publish_samples(hub)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        hub.commit("org/model", {"config.json": b"{}", "folder/weights.bin": b"0123456789"})
        yield hub


def api(hub: Hub, token: str | None = None) -> huggingface_hub.HfApi:
    return huggingface_hub.HfApi(endpoint=hub.url, token=token or False)


def test_the_library_downloads_a_sample_whole(samples: tuple[Hub, dict[str, str]], tmp_path: Path) -> None:
    hub, commits = samples
    folder = Path(api(hub).snapshot_download("tiny/llama-eagle3-agree", cache_dir=tmp_path))
    assert folder.name == commits["tiny/llama-eagle3-agree"]
    assert json.loads((folder / "config.json").read_text())["speculators_config"]["verifier"]["name_or_path"] in commits
    assert tensors(folder / "model.safetensors")


def test_the_library_reads_weights_headers_by_range(samples: tuple[Hub, dict[str, str]]) -> None:
    metadata = api(samples[0]).get_safetensors_metadata("tiny/llama")
    assert metadata.parameter_count["BF16"] > 100_000
    told = api(samples[0]).model_info("tiny/llama", expand=["safetensors"])
    assert told.safetensors is not None
    assert told.safetensors.parameters == metadata.parameter_count
    assert told.safetensors.total == sum(metadata.parameter_count.values())
    assert told.sha is None, "nothing but what was asked for"


def test_trees_come_in_pages(samples: tuple[Hub, dict[str, str]]) -> None:
    assert len(api(samples[0]).list_repo_files("tiny/llama")) == 5


def test_old_commits_stay_readable_after_the_branch_has_moved(hub: Hub, tmp_path: Path) -> None:
    old = api(hub).model_info("org/model").sha
    new = hub.commit("org/model", {"config.json": b'{"new": true}'})
    assert api(hub).model_info("org/model", revision="main").sha == new != old
    for revision, content in ((old, "{}"), (new, '{"new": true}'), ("main", '{"new": true}')):
        path = api(hub).hf_hub_download("org/model", "config.json", revision=revision, cache_dir=tmp_path)
        assert Path(path).read_text() == content


def test_the_same_content_committed_again_is_another_commit(hub: Hub) -> None:
    first = hub.commit("org/again", {"a": b"1"})
    assert hub.commit("org/again", {"a": b"1"}) != first


def test_path_information_is_of_the_files_asked_for(hub: Hub) -> None:
    found = api(hub).get_paths_info("org/model", ["folder/weights.bin", "absent"])
    assert [(info.path, getattr(info, "size", None)) for info in found] == [("folder/weights.bin", 10)]


def test_folders_are_listed_one_level_at_a_time_unless_asked_for_all(hub: Hub) -> None:
    listed = [entry.path for entry in api(hub).list_repo_tree("org/model")]
    everything = [entry.path for entry in api(hub).list_repo_tree("org/model", recursive=True)]
    assert listed == ["config.json", "folder"]
    assert everything == ["config.json", "folder", "folder/weights.bin"]


def test_the_library_tells_what_is_missing(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(RepositoryNotFoundError):
        api(hub, "hf_any").model_info("org/absent")
    with pytest.raises(HfHubHTTPError, match="401"):
        api(hub).model_info("org/absent")
    with pytest.raises(RevisionNotFoundError):
        api(hub).model_info("org/model", revision="absent")
    with pytest.raises(EntryNotFoundError):
        api(hub).hf_hub_download("org/model", "absent", cache_dir=tmp_path)


def test_a_gated_repository_shows_itself_and_keeps_its_files(hub: Hub, tmp_path: Path) -> None:
    hub.guard("org/model", "hf_secret")
    assert api(hub).model_info("org/model").gated == "manual"
    for token in (None, "hf_other"):
        with pytest.raises(GatedRepoError):
            api(hub, token).hf_hub_download("org/model", "config.json", cache_dir=tmp_path)
    assert api(hub, "hf_secret").hf_hub_download("org/model", "config.json", cache_dir=tmp_path)


def test_a_token_that_was_revoked_is_none_even_for_what_is_public(hub: Hub) -> None:
    hub.revoke("hf_old")
    assert api(hub, "hf_other").model_info("org/model").sha
    with pytest.raises(HfHubHTTPError, match="Invalid credentials"):
        api(hub, "hf_old").model_info("org/model")


def test_a_branch_can_be_put_on_a_commit_that_is_there_and_on_no_other(hub: Hub) -> None:
    old = str(api(hub).model_info("org/model").sha)
    hub.commit("org/model", {"config.json": b"{}"})
    hub.branch("org/model", "old", old)
    assert api(hub).model_info("org/model", revision="old").sha == old
    with pytest.raises(ValueError, match="has no commit"):
        hub.branch("org/model", "old", "0" * 40)


def test_a_mirror_has_everything_under_its_path(tmp_path: Path) -> None:
    with Hub(prefix="/hf", page=1) as mirror:
        mirror.commit("org/model", {"config.json": b"{}", "weights.bin": b"0123456789"})
        mirror.fail("org/model", "moved", on="files")
        folder = Path(api(mirror).snapshot_download("org/model", cache_dir=tmp_path))
        assert (folder / "weights.bin").read_bytes() == b"0123456789"
        assert {request.path[:4] for request in mirror.requests} == {"/hf/"}


def test_what_is_moved_elsewhere_is_found_there(hub: Hub, tmp_path: Path) -> None:
    with Hub() as elsewhere:
        elsewhere.commit("org/model", {"config.json": b"{}", "folder/weights.bin": b"0123456789"})
        hub.fail("org/model", "moved", on="files", to=elsewhere.url)
        path = api(hub).hf_hub_download("org/model", "folder/weights.bin", cache_dir=tmp_path)
        assert Path(path).read_bytes() == b"0123456789"
        assert {request.path for request in elsewhere.requests} == {
            request.path for request in hub.requests if "/resolve/" in request.path
        }


def test_a_folder_becomes_the_first_commit_of_each_repository(tmp_path: Path) -> None:
    (tmp_path / "org" / "model").mkdir(parents=True)
    (tmp_path / "org" / "model" / "config.json").write_text("{}")
    with Hub(root=tmp_path) as hub:
        assert api(hub).list_repo_files("org/model") == ["config.json"]


def test_requests_are_logged_with_what_was_answered(hub: Hub) -> None:
    with pytest.raises(HfHubHTTPError):
        api(hub, "hf_any").model_info("org/absent")
    assert [(request.method, request.path, request.status, request.authorization) for request in hub.requests] == [
        ("GET", "/api/models/org/absent", 404, "Bearer hf_any")
    ]


def test_requests_may_be_looked_through_while_others_are_answered(hub: Hub) -> None:
    api(hub).model_info("org/model")
    looked_through = iter(hub.requests)
    api(hub).model_info("org/model")
    assert len(list(looked_through)) == 1
    hub.forget()
    assert not hub.requests


def test_a_fault_ends_after_as_many_times_as_was_said(hub: Hub) -> None:
    hub.fail("org/model", "error", status=503, times=1)
    with pytest.raises(HfHubHTTPError, match="503"):
        api(hub).model_info("org/model")
    assert api(hub).model_info("org/model").sha


def test_a_fault_that_is_none_is_refused(hub: Hub) -> None:
    with pytest.raises(ValueError, match="kind must be one of"):
        hub.fail("org/model", "broken")  # type: ignore[arg-type]
