"""What a resolver Job says is what the operator hears, within 4096 bytes, or it hears that something is wrong."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speculator_operator.api import Reason
from speculator_operator.core import config_file, resolver_report, weight_files
from speculator_operator.core.checkpoint import Snapshot
from speculator_operator.errors import OperatorError, Refused, Waiting
from speculator_operator.reference import Kind, Reference

RECIPES = sorted((Path(__file__).parents[1] / "data" / "recipes").glob("*.json"))
DIGEST = "sha256:" + "0" * 64
CLAIM = Reference(Kind.CLAIM, "models", "a")
REPOSITORY = Reference(Kind.HUB, "org/a")
CONFIG: dict[str, Any] = {"model_type": "llama", "hidden_size": 64, "rope_scaling": None, "limit": float("inf")}


def heard(snapshot: Snapshot) -> Snapshot:
    return resolver_report.unpacked(resolver_report.packed(snapshot), CLAIM)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_published_config_gets_through_whole(path: Path) -> None:
    snapshot = Snapshot("pvc://models/a", DIGEST, json.loads(path.read_text()), {"model.safetensors": 10**12})
    assert heard(snapshot) == snapshot


@pytest.mark.parametrize("parameters", [None, {"BF16": 8_030_261_248, "F32": 1}])
@pytest.mark.parametrize("files", [None, {}, {"a.safetensors": 1}])
def test_all_that_a_snapshot_may_hold_gets_through(
    files: dict[str, int] | None, parameters: dict[str, int] | None
) -> None:
    snapshot = Snapshot("pvc://models/a", DIGEST, CONFIG, files, parameters)
    assert heard(snapshot) == snapshot


def shards(count: int, *, without: Collection[int] = ()) -> dict[str, int]:
    return {
        f"model-{n:05}-of-{count:05}.safetensors": 4_900_000_000 + 7919 * n * n % 90_000_001
        for n in range(1, count + 1)
        if n not in without
    }


@pytest.mark.parametrize("without", [(), (7,), (1, 500, 1000)])
@pytest.mark.parametrize("ignored", [10, 1000])
@pytest.mark.parametrize("count", [163, 1000])
def test_what_is_there_of_many_shards_gets_through_and_what_they_have_in_all(
    count: int, ignored: int, without: tuple[int, ...]
) -> None:
    present = shards(count, without=without)
    files = {**present, "config.json": 1700, "hf_quant_config.json": 300, "README.md": 5}
    quantization = {"quant_method": "modelopt", "ignore": [f"layer.{n * 7919 % 104729}" for n in range(ignored)]}
    config = {**CONFIG, "quantization_config": quantization}
    snapshot = heard(Snapshot("pvc://models/a", DIGEST, config, files, {"F8_E4M3": 7}))
    assert snapshot.parameters == {"F8_E4M3": 7}
    assert snapshot.files is not None
    assert weight_files.missing_shards(snapshot.files) == weight_files.missing_shards(files)
    weights = weight_files.safetensors(snapshot.files)
    assert weights.keys() == present.keys()
    assert sum(weights.values()) == sum(present.values())
    assert "hf_quant_config.json" in snapshot.files
    assert snapshot.config["quantization_config"]["quant_method"] == "modelopt"


def test_details_of_the_config_go_before_any_file_does() -> None:
    files = {**shards(100), "tokenizer.json": 1}
    config = {**CONFIG, "quantization_config": {"ignore": [f"layer.{n * 7919 % 104729}" for n in range(1000)]}}
    snapshot = heard(Snapshot("pvc://models/a", DIGEST, config, files))
    assert snapshot.files == files
    assert snapshot.config == {**CONFIG, "quantization_config": {"ignore": True}}


def test_a_stub_among_many_shards_is_still_one() -> None:
    stub = {"model-00009-of-01000.safetensors": 130}
    snapshot = heard(Snapshot("pvc://models/a", DIGEST, CONFIG, {**shards(1000), **stub}))
    assert weight_files.stubs(snapshot.files or {}) == [*stub]


def test_files_that_nobody_loads_are_in_nobody_s_way() -> None:
    others = {
        f"{kind}_{n * 7919 % 104729}.{ending}": n
        for n in range(400)
        for kind, ending in (("eval", "json"), ("c", "pt"))
    }
    files = heard(Snapshot("pvc://models/a", DIGEST, CONFIG, {**others, "model.safetensors": 5})).files
    assert files is not None
    assert files["model.safetensors"] == 5
    assert 0 < len([name for name in files if name.endswith(".pt")]) < 10


def test_weights_with_too_many_names_are_refused_as_such() -> None:
    files = {f"w{n * 7919 % 104729}-{n}.safetensors": n for n in range(2000)}
    with pytest.raises(Refused, match=r"FilesTooMany: .*pvc://models/a"):
        heard(Snapshot("pvc://models/a", DIGEST, CONFIG, files))


def test_what_no_rule_looks_at_is_left_out_where_there_is_too_much() -> None:
    labels = {str(number): f"label {number * 7919 % 104729}" for number in range(3000)}
    quantization = {"quant_method": "fp8", "ignore": [f"layer.{n * 7919 % 104729}" for n in range(3000)]}
    config = {**CONFIG, "id2label": labels, "text_config": {"id2label": labels}, "quantization_config": quantization}
    assert heard(Snapshot("pvc://models/a", DIGEST, config, None)).config == {
        **CONFIG,
        "text_config": {},
        "quantization_config": {"quant_method": "fp8", "ignore": True},
    }


def test_a_config_that_is_still_too_large_is_refused_by_name() -> None:
    config = {f"key-{n * 7919 % 104729}": n * 104729 % 7919 for n in range(5000)}
    text = resolver_report.packed(Snapshot("pvc://models/a", DIGEST, config, None))
    assert len(text.encode()) <= resolver_report.MAX_BYTES
    with pytest.raises(Refused, match=r"ConfigTooLarge: .*pvc://models/a"):
        resolver_report.unpacked(text, CLAIM)


@pytest.mark.parametrize(
    "problem",
    [
        Refused(Reason.MODEL_GATED, "org/a is gated"),
        Refused(Reason.MODEL_GATED, "x\u2603" * 3000),
        Waiting(Reason.HUB_THROTTLED, "later", retry_after=90),
        Waiting(Reason.HUB_UNAVAILABLE, "later", retry_after=0.5),
    ],
    ids=repr,
)
def test_a_failure_is_raised_where_it_is_heard(problem: OperatorError) -> None:
    text = resolver_report.packed(problem)
    assert len(text.encode()) <= resolver_report.MAX_BYTES
    with pytest.raises(type(problem)) as heard:
        resolver_report.unpacked(text, CLAIM)
    assert heard.value.reason == problem.reason
    assert problem.message.startswith(heard.value.message)
    assert getattr(heard.value, "retry_after", 0) == max(getattr(problem, "retry_after", 0), 1) * isinstance(
        problem, Waiting
    )


GOOD = resolver_report.packed(Snapshot("pvc://models/a", DIGEST, CONFIG, None))
SAID = {"uri": "pvc://models/a", "revision": DIGEST, "config": CONFIG, "files": None}
SUMMED = {**{key: SAID[key] for key in ("uri", "revision", "config")}, "beside": {}}
FORGED: dict[str, Any] = {
    "a reason that there isn't": {"refused": "Nonsense", "message": ""},
    "a reason that is good news": {"refused": "Resolved", "message": "all is well"},
    "a reason that isn't a reader's": {"waiting": "Resolving", "message": "", "after": 1},
    "a time that is no number": {"waiting": "HubUnavailable", "message": "", "after": float("nan")},
    "a message that can't be written": {"refused": "ModelGated", "message": "\ud800"},
    "files that aren't sizes": {**SAID, "files": {"a": -1}},
    "a file of more bytes than there are": {**SAID, "files": {"a": 2**63}},
    "shards that aren't sizes": {**SUMMED, "shards": [["a.safetensors", 1]]},
    "no shards of some bytes": {**SUMMED, "shards": [["a.safetensors", 0, 1]]},
    "more shards than there are": {**SUMMED, "shards": [["a-00001-of-00002.safetensors", 10**9, 1]]},
    "no files": {key: SAID[key] for key in ("uri", "revision", "config")},
    "parameters in a list": {**SAID, "parameters": [1]},
    "parameters in words": {**SAID, "parameters": {"BF16": "many"}},
    "a config that is a list": {**SAID, "config": []},
    "a flag for a model": {**SAID, "uri": "--config=/x"},
    "another claim": {**SAID, "uri": "pvc://other/a"},
    "a repository": {**SAID, "uri": "evil/other"},
    "a branch": {**SAID, "revision": "main"},
    "a commit, of a claim": {**SAID, "revision": "c" * 40},
    "no pin": {**SAID, "revision": None},
    "a flag for a pin": {**SAID, "revision": "--x"},
    "nothing known": {"a": 1},
    "nothing": {},
    "a list": [],
    "more values than any config has": {**SAID, "config": {"a": [{}] * 300_000}},
}


@pytest.mark.parametrize("text", ["", "exec format error", GOOD[:-1], GOOD[:60], GOOD + "x", GOOD.replace("v1", "v2")])
def test_what_is_no_whole_report_is_told_apart(text: str) -> None:
    with pytest.raises(ValueError, match="it"):
        resolver_report.unpacked(text, CLAIM)


@pytest.mark.parametrize("name", FORGED)
def test_a_report_that_makes_no_sense_is_told_apart(name: str) -> None:
    with pytest.raises(ValueError, match=r"it|report|files|reason"):
        resolver_report.unpacked(resolver_report._written(FORGED[name]), CLAIM)  # noqa: SLF001 - nothing else would write it


def test_a_repository_is_believed_at_the_commit_that_was_asked_for_alone() -> None:
    text = resolver_report.packed(Snapshot("org/a", "c" * 40, CONFIG, None))
    for revision in (None, "main", "c" * 40):
        assert resolver_report.unpacked(text, REPOSITORY.at(revision)).revision == "c" * 40
    with pytest.raises(ValueError, match="something else"):
        resolver_report.unpacked(text, REPOSITORY.at("d" * 40))


def test_a_time_of_any_length_is_bounded() -> None:
    text = resolver_report._written({"waiting": "HubUnavailable", "message": "", "after": 10**400})  # noqa: SLF001
    with pytest.raises(Waiting) as told:
        resolver_report.unpacked(text, CLAIM)
    assert told.value.retry_after == 3600


def test_a_report_that_unpacks_to_too_much_is_refused() -> None:
    with pytest.raises(ValueError, match="too large"):
        resolver_report.unpacked(resolver_report._written({"refused": " " * (config_file.MAX_BYTES + 1)}), CLAIM)  # noqa: SLF001


@given(
    st.text()
    | st.binary().map(lambda content: content.decode("latin-1"))
    | st.just(GOOD).flatmap(lambda text: st.integers(0, len(text)).map(lambda at: text[:at] + "~" + text[at + 1 :]))
)
def test_whatever_is_heard_it_is_a_report_or_it_isn_t(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert resolver_report.unpacked(text, CLAIM).config == CONFIG
