"""The corpus beside the engine: whole configurations, from the checkpoint to what the engine would run.

The engine is asked twice. *Rendered* is our command, as it is, with both models pinned. *Detected* is what people do
without us: the checkpoint itself is served, with the resource's settings as flags, and the engine reads the recipe.
What we serve, the engine takes, and means by it what we say, both ways. What we refuse, the engine refuses too; where
it doesn't, the case says why we are stricter. A case that says so without need fails as well: a new release of the
engine shows what it changed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.conftest import Engine
from tests.support.cases import Case, all_cases

pytestmark = pytest.mark.timeout(300)

ORACLE = Path(__file__).with_name("oracle_engine.py")
CASES = {case.name: case for case in all_cases()}
SERVED = [name for name, case in CASES.items() if "resolved" in case.expected]
REFUSED = [name for name in CASES if name not in SERVED]
SPECULATING = [name for name in SERVED if "method" in CASES[name].expected["resolved"]]
#: What the engine's images may have, and its package alone hasn't: the case, and the engine's words.
LACKING = dict.fromkeys(
    (name for name in SPECULATING if CASES[name].expected["resolved"]["method"] == "suffix"),
    "Arctic Inference is required for suffix decoding",
)
#: The engine has no flag for these, or reads no recipe from a draft that is named by hand.
OURS_ALONE = [name for name in SERVED if CASES[name].mode == "Disabled" or CASES[name].draft_has_a_recipe]


def pinned(case: Case) -> dict[str, Any] | None:
    resolved: dict[str, Any] | None = case.answer(pinned=True).get("resolved")
    return resolved


def rendered(case: Case) -> list[str] | None:
    resolved = pinned(case)
    return resolved["command"][1:] if resolved else None


def detected(case: Case) -> list[str] | None:
    """The command that one would write by hand; None where there is none."""
    if case.mode == "Disabled":
        return None
    spec = case.resource["spec"]
    speculation = spec.get("speculation", {})
    config = dict(speculation.get("config", {}))
    for field, key in (
        ("numSpeculativeTokens", "num_speculative_tokens"),
        ("draftTensorParallelSize", "draft_tensor_parallel_size"),
    ):
        if field in speculation:
            config[key] = speculation[field]
    flags = [f"--{name}-parallel-size={size}" for name, size in spec.get("parallelism", {}).items()]
    if config:
        flags.append(f"--speculative-config={json.dumps(config)}")
    return ["serve", spec["model"]["uri"], *flags, *spec.get("engine", {}).get("args", [])]


def anywhere(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer without the commits that the models are read at."""
    speculative = answer.get("speculative")
    return {**answer, "revision": None, "speculative": {**speculative, "revision": None} if speculative else None}


@pytest.fixture(scope="module")
def theirs(engine: Engine) -> dict[str, Any]:
    """By case, the engine's answers to both commands, where there are such."""
    questions = []
    for case in CASES.values():
        commands = {"rendered": rendered(case), "detected": detected(case)}
        models = {uri: str(folder) for uri, folder in case.repositories.items()}
        asked = {name: command for name, command in commands.items() if command is not None}
        questions.append({"models": models, "commands": asked})
    return dict(zip(CASES, engine(ORACLE, questions), strict=True))


@pytest.mark.parametrize("name", SERVED)
def test_the_engine_takes_our_command_and_means_by_it_what_we_say(theirs: dict[str, Any], name: str) -> None:
    resolved, meant = CASES[name].expected["resolved"], theirs[name]["rendered"]
    if name in LACKING:
        assert LACKING[name] in meant["refused"]
        return
    assert "refused" not in meant, meant["refused"]
    assert meant["model"] == resolved["verifier"]
    if name not in SPECULATING:
        assert meant["speculative"] is None
        return
    said = resolved["speculative_config"]
    parallel = said.get("parallel_drafting", False) or said["method"] in ("dflash", "dspark")
    assert meant["speculative"]["method"] == said["method"] == resolved["method"]
    assert meant["speculative"]["num_speculative_tokens"] == said["num_speculative_tokens"] == resolved["tokens"]
    assert meant["speculative"]["parallel_drafting"] == parallel
    for key in ("model", "draft_tensor_parallel_size", "num_speculative_tokens_per_batch_size"):
        assert said.get(key) in (None, meant["speculative"][key])


@pytest.mark.parametrize("name", sorted(set(SERVED) - set(LACKING)))
def test_the_engine_reads_both_models_at_the_commits_that_we_say(theirs: dict[str, Any], name: str) -> None:
    resolved, meant = pinned(CASES[name]), theirs[name]["rendered"]
    assert resolved is not None
    assert f"--revision={meant['revision']}" in resolved["command"]
    if meant["speculative"]:
        # Where there is no draft to read, the engine names the verifier's.
        assert meant["speculative"]["revision"] == resolved["speculative_config"].get("revision", meant["revision"])


@pytest.mark.parametrize("name", sorted(set(SERVED) - set(LACKING) - set(OURS_ALONE)))
def test_the_engine_reads_the_same_from_the_checkpoint_itself(theirs: dict[str, Any], name: str) -> None:
    ours, its_own = theirs[name]["rendered"], theirs[name]["detected"]
    if verifier := CASES[name].resource["spec"].get("verifier"):
        # The engine takes the embedded name only; where that can be loaded, it stands for the same model here.
        assert ours["model"] == verifier["uri"]
        ours = {**ours, "model": CASES[name].embedded_verifier}
        assert "refused" in its_own or anywhere(its_own) == anywhere(ours)
    else:
        assert anywhere(its_own) == anywhere(ours)


@pytest.mark.parametrize("name", REFUSED)
def test_what_we_refuse_the_engine_refuses_or_the_case_says_why_not(theirs: dict[str, Any], name: str) -> None:
    taken = [command for command, answer in theirs[name].items() if "refused" not in answer]
    assert bool(taken) == (CASES[name].stricter is not None), theirs[name]
