"""What is a recipe, what isn't, and what is wrong with it."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speculator_operator.api import Reason
from speculator_operator.core.checkpoint import Recipe, read_recipe, verifier_reference
from speculator_operator.errors import Refused

RECIPES = Path(__file__).parents[1] / "data" / "recipes"
NEWEST = "0.32.0"
DROPPED = object()


def load(name: str) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((RECIPES / f"{name}.json").read_text())
    return config


def changed(config: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """``config`` with one field, named by a dotted path, set or dropped."""
    result = copy.deepcopy(dict(config))
    *parents, last = path.split(".")
    at: Any = result
    for part in parents:
        at = at[int(part) if isinstance(at, list) else part]
    if value is DROPPED:
        del at[last]
    else:
        at[int(last) if isinstance(at, list) else last] = value
    return result


@pytest.mark.parametrize(
    ("name", "method", "tokens", "verifier", "locked"),
    [
        ("eagle3-llama-3.1-8b-quantized", "eagle3", 3, "RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8-dynamic", {}),
        ("eagle3-qwen3-8b", "eagle3", 3, "Qwen/Qwen3-8B", {}),
        ("eagle3-qwen3-8b-qwen3-layers", "eagle3", 3, "Qwen/Qwen3-8B", {}),
        ("peagle-qwen3-8b", "eagle3", 8, "Qwen/Qwen3-8B", {"parallel_drafting": True}),
        ("dflash-qwen3-8b", "dflash", 7, "Qwen/Qwen3-8B", {}),
        ("dflash2-qwen3-8b", "dflash", 15, "Qwen/Qwen3-8B", {}),
        ("dspark-qwen3-8b", "dspark", 8, "Qwen/Qwen3-8B", {}),
    ],
)
def test_a_recipe_is_mapped_to_what_the_engine_runs(
    name: str, method: str, tokens: int, verifier: str, locked: dict[str, Any]
) -> None:
    config = load(name)
    expected = Recipe(name.partition("-")[0], method, tokens, verifier, locked, config)
    recipe = read_recipe(config, engine_version=NEWEST)
    assert recipe == expected
    assert verifier_reference(config).uri == verifier


@pytest.mark.parametrize("name", ["regular-llama-3.1-8b", "regular-qwen3-8b"])
def test_a_regular_model_has_no_recipe(name: str) -> None:
    assert read_recipe(load(name), engine_version=NEWEST) is None


def test_the_first_proposal_method_counts_as_it_does_for_the_engine() -> None:
    config = load("eagle3-qwen3-8b")
    methods = config["speculators_config"]["proposal_methods"]
    methods.append({"proposal_type": "other", "speculative_tokens": 9})
    config["speculators_config"]["default_proposal_method"] = "other"
    recipe = read_recipe(config, engine_version=NEWEST)
    assert recipe is not None
    assert recipe.num_speculative_tokens == 3


@pytest.mark.parametrize(
    ("name", "loads", "too_old"),
    [
        ("eagle3-qwen3-8b", "0.20.0", "0.19.1"),
        ("eagle3-qwen3-8b-qwen3-layers", "0.24.0", "0.23.0"),
        ("peagle-qwen3-8b", "0.22.0", "0.21.0"),
        ("dflash-qwen3-8b", "0.20.0", "0.19.1"),
        ("dflash2-qwen3-8b", "0.29.0", "0.28.0"),
        ("dspark-qwen3-8b", "0.25", "0.24"),
    ],
)
def test_an_engine_older_than_the_algorithm_is_refused(name: str, loads: str, too_old: str) -> None:
    assert read_recipe(load(name), engine_version=loads) is not None
    with pytest.raises(Refused) as refusal:
        read_recipe(load(name), engine_version=too_old)
    assert refusal.value.reason == Reason.RECIPE_UNSUPPORTED
    assert too_old in refusal.value.message
    assert refusal.value.field == "spec.engine.image"


def test_an_mtp_recipe_is_refused_and_the_way_that_works_is_named() -> None:
    with pytest.raises(Refused) as refusal:
        read_recipe(load("mtp-qwen3-next-80b"), engine_version=NEWEST)
    assert refusal.value.reason == Reason.RECIPE_UNSUPPORTED
    assert "method: mtp" in refusal.value.message


METHODS = "speculators_config.proposal_methods"
TOKENS = "speculators_config.proposal_methods.0.speculative_tokens"
VERIFIER = "speculators_config.verifier"
BROKEN: list[tuple[str, str, str, Any, Reason]] = [
    ("speculators_config is null", "eagle3-qwen3-8b", "speculators_config", None, Reason.RECIPE_MALFORMED),
    ("speculators_config is absent", "eagle3-qwen3-8b", "speculators_config", DROPPED, Reason.RECIPE_MALFORMED),
    ("speculators_config is a list", "eagle3-qwen3-8b", "speculators_config", [], Reason.RECIPE_MALFORMED),
    ("the type is absent", "eagle3-qwen3-8b", "speculators_model_type", DROPPED, Reason.RECIPE_MALFORMED),
    ("the type is null", "eagle3-qwen3-8b", "speculators_model_type", None, Reason.RECIPE_MALFORMED),
    ("the type is a list", "eagle3-qwen3-8b", "speculators_model_type", ["eagle3"], Reason.RECIPE_MALFORMED),
    ("the type is unknown", "eagle3-qwen3-8b", "speculators_model_type", "eagle9", Reason.RECIPE_UNSUPPORTED),
    ("the type is the first eagle", "eagle3-qwen3-8b", "speculators_model_type", "eagle", Reason.RECIPE_UNSUPPORTED),
    ("methods are absent", "eagle3-qwen3-8b", METHODS, DROPPED, Reason.RECIPE_METHODS_INVALID),
    ("methods are null", "eagle3-qwen3-8b", METHODS, None, Reason.RECIPE_METHODS_INVALID),
    ("methods are empty", "eagle3-qwen3-8b", METHODS, [], Reason.RECIPE_METHODS_INVALID),
    ("methods are an object", "eagle3-qwen3-8b", METHODS, {"0": {}}, Reason.RECIPE_METHODS_INVALID),
    ("the first method is a name", "eagle3-qwen3-8b", METHODS, ["greedy"], Reason.RECIPE_METHODS_INVALID),
    ("tokens are absent", "eagle3-qwen3-8b", TOKENS, DROPPED, Reason.RECIPE_TOKENS_INVALID),
    ("tokens are null", "eagle3-qwen3-8b", TOKENS, None, Reason.RECIPE_TOKENS_INVALID),
    ("tokens are zero", "eagle3-qwen3-8b", TOKENS, 0, Reason.RECIPE_TOKENS_INVALID),
    ("tokens are negative", "eagle3-qwen3-8b", TOKENS, -3, Reason.RECIPE_TOKENS_INVALID),
    ("tokens are a fraction", "eagle3-qwen3-8b", TOKENS, 3.0, Reason.RECIPE_TOKENS_INVALID),
    ("tokens are text", "eagle3-qwen3-8b", TOKENS, "3", Reason.RECIPE_TOKENS_INVALID),
    ("tokens are true", "eagle3-qwen3-8b", TOKENS, True, Reason.RECIPE_TOKENS_INVALID),
    ("tokens are absurdly many", "eagle3-qwen3-8b", TOKENS, 65, Reason.RECIPE_TOKENS_INVALID),
    ("the verifier is absent", "eagle3-qwen3-8b", VERIFIER, DROPPED, Reason.RECIPE_MALFORMED),
    ("the verifier is null", "eagle3-qwen3-8b", VERIFIER, None, Reason.RECIPE_MALFORMED),
    ("the verifier is a name", "eagle3-qwen3-8b", VERIFIER, "Qwen/Qwen3-8B", Reason.RECIPE_MALFORMED),
    ("the verifier's name is absent", "eagle3-qwen3-8b", f"{VERIFIER}.name_or_path", DROPPED, Reason.RECIPE_MALFORMED),
    ("the verifier's name is a number", "eagle3-qwen3-8b", f"{VERIFIER}.name_or_path", 8, Reason.RECIPE_MALFORMED),
    ("the layer is absent", "eagle3-qwen3-8b", "transformer_layer_config", DROPPED, Reason.RECIPE_MALFORMED),
    ("the layer is null", "dflash-qwen3-8b", "transformer_layer_config", None, Reason.RECIPE_MALFORMED),
    ("the layer is a list", "dspark-qwen3-8b", "transformer_layer_config", [], Reason.RECIPE_MALFORMED),
    (
        "layers of another type",
        "eagle3-qwen3-8b",
        "transformer_layer_config.model_type",
        "gemma3",
        Reason.RECIPE_UNSUPPORTED,
    ),
    ("layers of a null type", "peagle-qwen3-8b", "transformer_layer_config.model_type", None, Reason.RECIPE_MALFORMED),
    ("peagle without a mask token", "peagle-qwen3-8b", "mask_token_id", DROPPED, Reason.RECIPE_MALFORMED),
    ("dflash with a null mask token", "dflash-qwen3-8b", "mask_token_id", None, Reason.RECIPE_MALFORMED),
    ("dspark with a negative mask token", "dspark-qwen3-8b", "mask_token_id", -1, Reason.RECIPE_MALFORMED),
    ("dflash without layers to tap", "dflash-qwen3-8b", "aux_hidden_state_layer_ids", DROPPED, Reason.RECIPE_MALFORMED),
    (
        "dflash2 with null layers to tap",
        "dflash2-qwen3-8b",
        "aux_hidden_state_layer_ids",
        None,
        Reason.RECIPE_MALFORMED,
    ),
    ("dspark with no layers to tap", "dspark-qwen3-8b", "aux_hidden_state_layer_ids", [], Reason.RECIPE_MALFORMED),
    ("dflash with a layer in words", "dflash-qwen3-8b", "aux_hidden_state_layer_ids.0", "2", Reason.RECIPE_MALFORMED),
    (
        "eagle3 with one layer, no list",
        "eagle3-qwen3-8b",
        "eagle_aux_hidden_state_layer_ids",
        2,
        Reason.RECIPE_MALFORMED,
    ),
    ("a draft vocabulary in words", "eagle3-qwen3-8b", "draft_vocab_size", "32k", Reason.RECIPE_MALFORMED),
    ("a hidden size of zero", "eagle3-qwen3-8b", "target_hidden_size", 0, Reason.RECIPE_MALFORMED),
    (
        "a layer's size of null",
        "eagle3-qwen3-8b",
        "transformer_layer_config.hidden_size",
        None,
        Reason.RECIPE_MALFORMED,
    ),
    ("a layer's size in words", "dspark-qwen3-8b", "transformer_layer_config.head_dim", "128", Reason.RECIPE_MALFORMED),
    (
        "a layer without heads",
        "dflash-qwen3-8b",
        "transformer_layer_config.num_attention_heads",
        0,
        Reason.RECIPE_MALFORMED,
    ),
    ("architectures of numbers", "dspark-qwen3-8b", "architectures", [1], Reason.RECIPE_MALFORMED),
]


@pytest.mark.parametrize(
    ("name", "path", "value", "reason"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN]
)
def test_a_broken_recipe_is_refused_by_its_field(name: str, path: str, value: Any, reason: Reason) -> None:
    with pytest.raises(Refused) as refusal:
        read_recipe(changed(load(name), path, value), engine_version=NEWEST)
    assert refusal.value.reason == reason
    message = refusal.value.message
    # The list of methods is named by its index, or as a whole where it has none.
    assert path.replace(".0.", "[0].").removesuffix(".0") in message
    assert ("null" if value in (None, DROPPED) else repr(value)) in message
    assert ";" in message, "the remedy follows the finding"


@pytest.mark.parametrize("marker", ["speculators_config", "speculators_model_type"])
def test_either_key_alone_marks_a_speculators_checkpoint(marker: str) -> None:
    config = load("regular-qwen3-8b") | {marker: load("eagle3-qwen3-8b")[marker]}
    with pytest.raises(Refused) as refusal:
        read_recipe(config, engine_version=NEWEST)
    assert refusal.value.reason == Reason.RECIPE_MALFORMED


def test_a_config_that_is_no_object_is_refused() -> None:
    with pytest.raises(Refused) as refusal:
        read_recipe([], engine_version=NEWEST)  # type: ignore[arg-type]
    assert refusal.value.reason == Reason.CONFIG_MALFORMED


def test_an_engine_version_that_is_none_is_refused() -> None:
    with pytest.raises(Refused) as refusal:
        read_recipe(load("eagle3-qwen3-8b"), engine_version="nightly")
    assert refusal.value.reason == Reason.ENGINE_VERSION_UNKNOWN


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (None, Reason.VERIFIER_MISSING),
        ("", Reason.VERIFIER_MISSING),
        ("  ", Reason.VERIFIER_MISSING),
        ("/data/models/Qwen3-8B", Reason.VERIFIER_UNUSABLE),
        ("./Qwen/Qwen3-8B", Reason.VERIFIER_UNUSABLE),
        ("../Qwen3-8B", Reason.VERIFIER_UNUSABLE),
        ("Qwen/..", Reason.VERIFIER_UNUSABLE),
        ("Qwen/Qwen3..8B", Reason.VERIFIER_UNUSABLE),
        ("Qwen3-8B", Reason.VERIFIER_UNUSABLE),
        ("UNSET", Reason.VERIFIER_UNUSABLE),
        ("models/Qwen/Qwen3-8B", Reason.VERIFIER_UNUSABLE),
        ("https://huggingface.co/Qwen/Qwen3-8B", Reason.VERIFIER_UNUSABLE),
        ("s3://models/Qwen3-8B", Reason.VERIFIER_UNUSABLE),
        ("-flag/Qwen3-8B", Reason.VERIFIER_UNUSABLE),
        ("Qwen/Qwen3-8B\n", Reason.VERIFIER_UNUSABLE),
        ("Qwen/$(HF_TOKEN)", Reason.VERIFIER_UNUSABLE),
        ("Qwen\\Qwen3-8B", Reason.VERIFIER_UNUSABLE),
    ],
)
def test_a_verifier_that_is_no_repository_is_refused_once_it_is_needed(name: str | None, reason: Reason) -> None:
    config = changed(load("eagle3-qwen3-8b"), "speculators_config.verifier.name_or_path", name)
    recipe = read_recipe(config, engine_version=NEWEST)
    assert recipe is not None
    assert recipe.verifier == name
    with pytest.raises(Refused) as refusal:
        verifier_reference(config)
    assert refusal.value.reason == reason
    assert "spec.verifier.uri" in refusal.value.message


@pytest.mark.parametrize("broken", [None, {}, [], {"verifier": None}, {"verifier": {"name_or_path": 8}}])
def test_a_verifier_that_a_broken_recipe_does_not_name_is_missing(broken: Any) -> None:
    with pytest.raises(Refused) as refusal:
        verifier_reference({"speculators_config": broken})
    assert refusal.value.reason == Reason.VERIFIER_MISSING


@pytest.mark.parametrize("own", [DROPPED, None, 0, 3.0, "3", True, 65])
def test_the_resources_tokens_stand_in_for_those_that_are_none(own: Any) -> None:
    config = changed(load("eagle3-qwen3-8b"), TOKENS, own)
    recipe = read_recipe(config, engine_version=NEWEST, tokens=5)
    assert recipe is not None
    assert recipe.num_speculative_tokens == 5
    for tokens in (None, 0, 65, "5", True):
        with pytest.raises(Refused, match=r"set spec\.speculation\.numSpeculativeTokens") as refusal:
            read_recipe(config, engine_version=NEWEST, tokens=tokens)
        assert refusal.value.reason == Reason.RECIPE_TOKENS_INVALID


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def paths(value: Any, prefix: str = "") -> list[str]:
    """Every dotted path into a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [
        path
        for key, inner in items
        if "." not in str(key)
        for path in (f"{prefix}{key}", *paths(inner, f"{prefix}{key}."))
    ]


@given(data=st.data(), value=JSON)
def test_whatever_a_config_holds_it_is_a_recipe_or_refused(data: st.DataObject, value: Any) -> None:
    config = load(data.draw(st.sampled_from(sorted(path.stem for path in RECIPES.glob("*.json")))))
    for _ in range(data.draw(st.integers(1, 2))):
        config = changed(config, data.draw(st.sampled_from(paths(config))), value)
    refusal = None
    try:
        recipe = read_recipe(config, engine_version=NEWEST)
        if recipe is not None:
            verifier_reference(config)
    except Refused as error:
        refusal = error
    assert refusal is None or (refusal.reason in set(Reason) and len(refusal.message) < 1000)


@given(config=st.dictionaries(st.sampled_from(["speculators_config", "speculators_model_type", "model_type"]), JSON))
def test_whatever_marks_a_checkpoint_it_is_never_taken_for_a_regular_model(config: dict[str, Any]) -> None:
    if config.keys() <= {"model_type"}:
        assert read_recipe(config, engine_version=NEWEST) is None
    else:
        with pytest.raises(Refused):
            read_recipe(config, engine_version=NEWEST)


def test_a_long_value_is_cut_in_the_message() -> None:
    config = changed(load("eagle3-qwen3-8b"), "speculators_config.verifier.name_or_path", "x" * 100_000)
    with pytest.raises(Refused) as refusal:
        verifier_reference(config)
    assert len(refusal.value.message) < 500
