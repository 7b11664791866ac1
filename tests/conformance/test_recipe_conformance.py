"""Our reading of a recipe beside the engine's own: equal where both take it, refused by us wherever the engine fails.

Where we refuse what the engine takes, the case is listed with its reason; a case of the list that stops being one
fails. So a new release of the engine shows what it changed.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from speculator_operator.core.checkpoint import read_recipe
from speculator_operator.errors import Refused
from tests.conformance.conftest import Engine

pytestmark = pytest.mark.timeout(300)

RECIPES = Path(__file__).parents[1] / "data" / "recipes"
ORACLE = Path(__file__).with_name("oracle_recipe.py")
ENGINE_VERSION = "0.32.0"
DROPPED = "(dropped)"

VALUES: list[Any] = [DROPPED, None, True, 0, -1, 3, 2.5, "", "eagle3", "3", [], [1], ["a"], {}, {"a": 1}]
FIELDS = [
    "speculators_config",
    "speculators_config.proposal_methods",
    "speculators_config.proposal_methods.0",
    "speculators_config.proposal_methods.0.speculative_tokens",
    "speculators_config.verifier",
    "speculators_config.verifier.name_or_path",
    "speculators_config.algorithm",
    "speculators_config.default_proposal_method",
    "speculators_model_type",
    "speculators_version",
    "transformer_layer_config",
    "transformer_layer_config.model_type",
    "draft_vocab_size",
    "target_hidden_size",
    "mask_token_id",
    "aux_hidden_state_layer_ids",
    "eagle_aux_hidden_state_layer_ids",
    "norm_before_residual",
    "sample_from_anchor",
    "sliding_window_non_causal",
    "architectures",
]
NO_SIZE: list[Any] = [True, 0, -1, 2.5, "", "eagle3", "3", [], [1], ["a"], {}, {"a": 1}]
NO_TEXT: list[Any] = [True, 0, -1, 3, 2.5, [], [1], ["a"], {}, {"a": 1}]
#: We refuse what the engine's mapping takes: the field, why, and for which values.
STRICTER: dict[str, tuple[str, list[Any]]] = {
    "speculators_config": ("the engine would serve the draft as a model of its own", [DROPPED, None]),
    "speculators_config.proposal_methods.0.speculative_tokens": ("its SpeculativeConfig fails, or coerces", NO_SIZE),
    "speculators_config.verifier.name_or_path": ("it fails as a model's name", NO_TEXT),
    "draft_vocab_size": ("building the draft fails", NO_SIZE),
    "target_hidden_size": ("building the draft fails", NO_SIZE),
    "mask_token_id": (
        "building the drafter fails; dspark's mapping alone does without the key",
        [DROPPED, None, *(value for value in NO_SIZE if value != 0)],
    ),
    "aux_hidden_state_layer_ids": ("nothing is named, and the engine's default need not be the draft's", ["", [], {}]),
    "eagle_aux_hidden_state_layer_ids": (
        "tapping the layers fails, or the engine falls back to its default",
        [True, 0, -1, 3, 2.5, "", "eagle3", "3", ["a"], {}, {"a": 1}],
    ),
    "architectures": ("only dspark looks at it", [True, 0, -1, 3, 2.5, "", "eagle3", "3", [1], {}, {"a": 1}]),
}


def load(path: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(path.read_text())
    return config


def changed(config: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    result = copy.deepcopy(dict(config))
    *parents, last = path.split(".")
    at: Any = result
    for part in parents:
        at = at[0] if part == "0" else at[part]
    if last == "0":
        at[:1] = [] if value == DROPPED else [value]
    elif value == DROPPED:
        at.pop(last, None)
    else:
        at[last] = value
    return result


def ours(config: Mapping[str, Any]) -> dict[str, Any]:
    """Our reading, in the form of the oracle's answers."""
    try:
        recipe = read_recipe(config, engine_version=ENGINE_VERSION)
    except Refused as refusal:
        return {"error": f"{refusal.reason}: {refusal.message}"}
    if recipe is None:
        return {"regular": True}
    speculative = {"method": recipe.method, "num_speculative_tokens": recipe.num_speculative_tokens, **recipe.locked}
    return {"config": speculative, "verifier": recipe.verifier}


CASES: list[tuple[str, str | None, dict[str, Any]]] = [
    (path.stem, None, load(path)) for path in sorted(RECIPES.glob("*.json"))
] + [
    (f"{path.stem}: {field}={value!r}", field, changed(load(path), field, value))
    for path in sorted(RECIPES.glob("*.json"))
    if not path.stem.startswith("regular")
    for field in FIELDS
    for value in VALUES
]


def test_our_reading_of_a_recipe_is_the_engines(engine: Engine) -> None:
    answers = engine(ORACLE, [config for _, _, config in CASES])
    disagreements, stricter = [], set()
    for (case, field, config), theirs in zip(CASES, answers, strict=True):
        reading = ours(config)
        if "error" in reading:
            if "error" not in theirs:
                assert field is not None, f"{case}: we refuse it ({reading['error']}), the engine takes it"
                stricter.add((field, case.partition("=")[2]))
        elif reading != {key: value for key, value in theirs.items() if key != "architecture"}:
            disagreements.append(f"{case}: ours {reading}, the engine's {theirs}")
    assert not disagreements, "\n".join(disagreements[:20])
    assert stricter == {(field, repr(value)) for field, (_, values) in STRICTER.items() for value in values}


def test_the_engine_registers_the_types_that_we_map(engine: Engine) -> None:
    base = load(RECIPES / "dflash-qwen3-8b.json")
    names = ["eagle3", "peagle", "dflash", "dflash2", "dspark", "mtp", "eagle", "hass", "medusa"]
    configs = [base | {"speculators_model_type": name} for name in names]
    taken = {name for name, theirs in zip(names, engine(ORACLE, configs), strict=True) if "error" not in theirs}
    assert taken == {name for name, config in zip(names, configs, strict=True) if "error" not in ours(config)}
