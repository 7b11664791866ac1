"""What the table of releases answers, and that it holds together."""

from __future__ import annotations

import json
import re
from importlib import resources
from itertools import pairwise
from typing import Any, get_args

import pytest

from speculator_operator.api import Reason
from speculator_operator.core import drafts, engine, engine_args, releases
from speculator_operator.core.releases import Kind
from speculator_operator.errors import Refused

TABLE: dict[str, Any] = json.loads(
    (resources.files("speculator_operator.core") / "engine_releases.json").read_text(encoding="utf-8")
)

AVAILABLE: dict[str, tuple[Kind, str, str, bool | None]] = {
    "in the oldest release": ("method", "eagle3", "0.20.0", True),
    "in the newest release": ("method", "eagle3", "0.32.0", True),
    "in a release that is newer than all": ("method", "eagle3", "0.99.0", True),
    "in a release that is older than all": ("method", "eagle3", "0.19.1", False),
    "in the release that brought it": ("speculators_type", "dspark", "0.25.0", True),
    "in the release before": ("speculators_type", "dspark", "0.24.0", False),
    "in a patch of the release before": ("speculators_type", "dspark", "0.24.7", False),
    "in a patch that brought it": ("architecture", "MellumForCausalLM", "0.22.1", True),
    "in what the patch mended": ("architecture", "MellumForCausalLM", "0.22.0", False),
    "by two numbers": ("speculators_type", "dspark", "0.25", True),
    "before it went": ("config_value", "rejection_sample_method=strict", "0.20.2", True),
    "after it went": ("config_value", "rejection_sample_method=strict", "0.21.0", False),
    "before it was away": ("architecture", "ExaoneMoEForCausalLM", "0.26.0", True),
    "while it was away": ("architecture", "ExaoneMoEForCausalLM", "0.31.0", False),
    "since it is back": ("architecture", "ExaoneMoEForCausalLM", "0.32.0", True),
    "before it was mended": ("behaviour", "slots_per_sequence", "0.27.1", True),
    "since it is mended": ("behaviour", "slots_per_sequence", "0.28.0", False),
    "long gone": ("flag", "--speculative-model", "0.20.0", False),
    "a name that no release has had": ("architecture", "NoSuchForCausalLM", "0.32.0", None),
    "a name of another kind": ("flag", "eagle3", "0.32.0", None),
}


@pytest.mark.parametrize("name", AVAILABLE)
def test_a_release_has_it_or_not_or_it_is_not_known(name: str) -> None:
    kind, what, version, expected = AVAILABLE[name]
    assert releases.available(kind, what, version) is expected


@pytest.mark.parametrize(
    ("kind", "name", "before", "since"),
    [
        ("speculators_type", "eagle3", "0.19.0", "0.20.0"),
        ("speculators_type", "peagle", "0.21.0", "0.22.0"),
        ("speculators_type", "dflash", "0.19.0", "0.20.0"),
        ("speculators_type", "dflash2", "0.28.0", "0.29.0"),
        ("speculators_type", "dspark", "0.24.0", "0.25.0"),
        ("draft_layer", "eagle3/qwen3", "0.23.0", "0.24.0"),
        ("mtp_model", "bailing_hybrid", "0.24.0", "0.25.0"),
        ("mtp_model", "MiMoV2FlashForCausalLM", "0.20.2", "0.21.0"),
        ("quantization", "auto_awq", "0.23.0", "0.24.0"),
        ("behaviour", "draft_inherits_experts", "0.29.0", "0.30.0"),
        ("behaviour", "experts_blocks_refined", "0.28.0", "0.29.0"),
        ("behaviour", "medusa_reads_vocabulary", "0.24.0", "0.25.0"),
        ("behaviour", "slots_per_sequence", "0.19.0", "0.20.0"),
        ("behaviour", "taps_cross_stages", "0.29.0", "0.30.0"),
        ("behaviour", "yarn_is_scaled", "0.29.0", "0.30.0"),
        ("config_key", "num_speculative_tokens_per_batch_size", "0.23.0", "0.24.0"),
        ("architecture", "MellumForCausalLM", "0.22.0", "0.22.1"),
        ("architecture", "ExaoneMoEForCausalLM", "0.31.0", "0.32.0"),
    ],
)
def test_a_name_is_there_since_the_release_that_brought_it(kind: Kind, name: str, before: str, since: str) -> None:
    assert releases.available(kind, name, before) is False
    assert releases.available(kind, name, since) is True


LACKING: dict[str, tuple[Kind, str, str, str | None]] = {
    "a newer one has it": (
        "method",
        "dspark",
        "0.24.0",
        "needs engine 0.25.0 or newer, not 0.24.0; set spec.engine.image to one",
    ),
    "a newer one has it again": (
        "architecture",
        "ExaoneMoEForCausalLM",
        "0.28",
        "needs engine 0.32.0 or newer, not 0.28; set spec.engine.image to one",
    ),
    "an older one had it": (
        "config_key",
        "speculative_token_tree",
        "0.21.0",
        "is gone in engine 0.21.0; leave it out, or set spec.engine.image to an older one",
    ),
    "it has it": ("method", "dspark", "0.25.0", None),
    "nobody has it": ("method", "hope", "0.25.0", None),
}


@pytest.mark.parametrize("name", LACKING)
def test_a_release_that_lacks_something_says_which_has_it(name: str) -> None:
    kind, what, version, expected = LACKING[name]
    assert releases.lack(kind, what, version) == expected


REMOVED: dict[str, tuple[str, str, str | None]] = {
    "long ago": ("--speculative-model", "0.20.0", "set spec.speculation.config.model"),
    "in this release": ("--cuda-graph-sizes", "0.20.0", "write --cudagraph-capture-sizes"),
    "since this release": ("--enable-mamba-fine-grained-prefix-cache", "0.31.0", "write --enable-mamba-shared-prefix-"),
    "later": ("--enable-mamba-fine-grained-prefix-cache", "0.30.0", None),
    "later than this release, which hasn't got it yet": ("--enable-mamba-fine-grained-prefix-cache", "0.29.0", None),
    "never": ("--seed", "0.32.0", None),
    "of no release": ("--no-such-option", "0.32.0", None),
}


@pytest.mark.parametrize("name", REMOVED)
def test_an_option_that_is_gone_says_what_to_write_instead(name: str) -> None:
    flag, version, words = REMOVED[name]
    instead = releases.removed(flag, version)
    assert instead is None if words is None else words in (instead or "")


@pytest.mark.parametrize(
    ("version", "known"),
    [("0.19.1", False), ("0.20.0", True), ("0.23.4", True), ("0.32", True), ("0.32.5", True), ("0.33.0", False)],
)
def test_a_release_that_is_newer_than_the_table_is_not_known(version: str, known: bool) -> None:
    assert releases.newest() == "0.32.0"
    assert releases.known(version) is known


@pytest.mark.parametrize("version", ["", "nightly", "0", "v0.32.0", "0.x"])
def test_what_is_no_version_is_refused(version: str) -> None:
    with pytest.raises(Refused) as caught:
        releases.parsed(version)
    assert caught.value.reason == Reason.ENGINE_VERSION_UNKNOWN


def test_the_rows_of_a_name_follow_each_other() -> None:
    rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in TABLE["rows"]:
        rows.setdefault((row["kind"], row["name"]), []).append(row)
    for of_name in rows.values():
        assert all(row["until"] for row in of_name[:-1])
        bounds = [releases.parsed(bound) for row in of_name for bound in (row["since"] or "0.0", row["until"]) if bound]
        assert all(one < other for one, other in pairwise(bounds))


def test_every_row_has_a_kind_that_can_be_asked_for_and_a_source_in_a_release() -> None:
    kinds = get_args(Kind)
    for row in TABLE["rows"]:
        assert row["kind"] in kinds
        assert re.fullmatch(r"\d+\.\d+\.\d+: vllm/[a-z0-9_/]+\.py\b.+", row["source"])
        assert row["since"] in (None, *TABLE["releases"])
    assert {row["kind"] for row in TABLE["rows"]} == set(kinds)


def test_every_option_that_is_gone_names_what_to_do_in_words_that_hold() -> None:
    for row in TABLE["rows"]:
        if row["kind"] == "flag" and row["until"]:
            assert re.match(r"(leave it out|write|set spec\.)", row["instead"])
            for named in re.findall(r"--[a-z0-9-]+", row["instead"]):
                assert releases.available("flag", named, releases.newest())
        else:
            assert "instead" not in row


def test_every_option_that_can_be_parsed_is_in_the_table_and_the_other_way_round() -> None:
    newest = releases.newest()
    parsable = {string for string in engine_args.options_of(newest) if not string.startswith("--no-")}
    described = json.loads((resources.files("speculator_operator.core") / "engine_flags" / "0.32.json").read_text())
    strings = {string for option in described["options"].values() for string in option["strings"]}
    assert parsable == {string for string in strings if not string.startswith("--no-")}
    assert parsable == {name for name in releases.names("flag") if releases.available("flag", name, newest)}


def test_every_method_that_may_be_asked_for_is_in_the_table() -> None:
    assert set(engine.METHODS) <= set(releases.names("method"))


def test_models_whose_layers_predict_several_tokens_are_those_that_are_counted() -> None:
    """Two are left out: one's layers are dspark's, the other is found by its type as well."""
    newest = {name for name in releases.names("mtp_model") if releases.available("mtp_model", name, releases.newest())}
    assert newest - {"deepseek_v41", "MiniMaxM3MTP"} == {*drafts.MTP_TYPES, *drafts.MTP_ARCHITECTURES}
