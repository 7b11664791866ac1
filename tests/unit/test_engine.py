from __future__ import annotations

import re
from typing import Any

import pytest

from speculator_operator import api
from speculator_operator.api import Identity, Reason
from speculator_operator.core.checkpoint import Recipe
from speculator_operator.core.engine import (
    METHODS,
    Serving,
    command_line,
    draft_reference,
    engine_version,
    serving,
    speculative_config,
    speculative_overrides,
)
from speculator_operator.core.engine_args import ArgFields, fields_from, parse_args
from speculator_operator.errors import Refusals, Refused
from speculator_operator.reference import Kind, Reference

VERSION = "0.32.0"
COMMIT = "d" * 40
DRAFT = Identity(uri="org/draft", revision=COMMIT)
FOLDER = Identity(uri="/models/draft", revision=None)
VERIFIER = Identity(uri="org/verifier", revision="e" * 40)
EAGLE3 = Recipe("eagle3", "eagle3", 3, "org/verifier", {}, {})
PEAGLE = Recipe("peagle", "eagle3", 5, "org/verifier", {"parallel_drafting": True}, {})
DFLASH = Recipe("dflash", "dflash", 8, "org/verifier", {}, {})


def read(*args: str) -> ArgFields:
    return fields_from(parse_args(args, VERSION))


def resource(**spec: Any) -> api.SpeculatorDeployment:
    spec = {"model": {"uri": "org/draft"}, **spec}
    return api.SpeculatorDeployment.from_object({"metadata": {"name": "chat"}, "spec": spec})


@pytest.mark.parametrize(
    ("image", "given", "version"),
    [
        ("vllm/vllm-openai:v0.32.0", None, "0.32.0"),
        ("vllm/vllm-openai:v0.32.0-cu129", None, "0.32.0"),
        ("vllm/vllm-openai:v0.32.0rc1", None, "0.32.0"),
        ("localhost/engine-cpu:0.32.0", None, "0.32.0"),
        ("registry.example:5000/engine:0.20", None, "0.20"),
        ("registry.example/engine:v0.32.0@sha256:abc", None, "0.32.0"),
        ("registry.example/engine@sha256:abc", "0.33.1", "0.33.1"),
        ("registry.example/engine:latest@sha256:abc", "0.33.1", "0.33.1"),
        ("registry.example/engine:ours", "0.33.1", "0.33.1"),
        ("registry.example/engine:v0.19.0", "0.33.1", "0.33.1"),
    ],
)
def test_the_version_is_the_tag_s_unless_it_is_set(image: str, given: str | None, version: str) -> None:
    assert engine_version(image, given) == version


@pytest.mark.parametrize(
    ("image", "given", "reason"),
    [
        ("vllm/vllm-openai", None, Reason.IMAGE_UNPINNED),
        ("vllm/vllm-openai", "0.32.0", Reason.IMAGE_UNPINNED),
        ("registry.example:5000/engine", None, Reason.IMAGE_UNPINNED),
        ("vllm/vllm-openai:latest", "0.32.0", Reason.IMAGE_UNPINNED),
        ("vllm/vllm-openai:latest-cu129", "0.32.0", Reason.IMAGE_UNPINNED),
        ("vllm/vllm-openai:nightly", "0.32.0", Reason.IMAGE_UNPINNED),
        ("vllm/vllm-openai:", None, Reason.IMAGE_UNPINNED),
        ("registry.example/engine:ours", None, Reason.ENGINE_VERSION_UNKNOWN),
        ("nvcr.io/nvidia/vllm:25.09-py3", None, Reason.ENGINE_VERSION_UNKNOWN),
        ("registry.example/engine:2025.9", None, Reason.ENGINE_VERSION_UNKNOWN),
        ("registry.example/engine@sha256:abc", None, Reason.ENGINE_VERSION_UNKNOWN),
        ("vllm/vllm-openai:v0.19.1", None, Reason.ENGINE_TOO_OLD),
        ("vllm/vllm-openai:v0.32.0", "0.9", Reason.ENGINE_TOO_OLD),
    ],
)
def test_an_engine_that_moves_is_unknown_or_too_old_is_refused(image: str, given: str | None, reason: Reason) -> None:
    with pytest.raises(Refused) as caught:
        engine_version(image, given)
    assert caught.value.reason == reason


SERVING: dict[str, tuple[dict[str, Any], list[str], Serving]] = {
    "defaults": ({}, [], Serving(1, 1, 8000, ("chat",), None)),
    "fields": (
        {"parallelism": {"tensor": 4, "pipeline": 2}, "engine": {"port": 8001}, "model": {"uri": "o/d@v1"}},
        [],
        Serving(4, 2, 8001, ("chat",), "v1"),
    ),
    "flags": (
        {},
        ["-tp=4", "-pp=2", "--port=8001", "--served-model-name", "a", "b", "--revision=v1", "--model=org/draft"],
        Serving(4, 2, 8001, ("a", "b"), "v1"),
    ),
    "flags that say what fields say": (
        {"parallelism": {"tensor": 4}, "model": {"uri": "hf://org/draft", "servedName": "a", "revision": "v1"}},
        ["-tp=4", "--served-model-name=a", "--revision=v1", "--model=org/draft"],
        Serving(4, 1, 8000, ("a",), "v1"),
    ),
}


@pytest.mark.parametrize("name", SERVING)
def test_a_flag_counts_as_the_field_that_it_mirrors(name: str) -> None:
    spec, args, expected = SERVING[name]
    assert serving(resource(**spec), read(*args)) == expected


CONTRADICTIONS: dict[str, tuple[dict[str, Any], list[str], str]] = {
    "tensor": ({"parallelism": {"tensor": 4}}, ["-tp=2"], "-tp says 2, and spec.parallelism.tensor says 4"),
    "tensor, when it is 1": ({"parallelism": {"tensor": 1}}, ["-tp=2"], "-tp says 2, and spec.parallelism.tensor"),
    "pipeline": ({"parallelism": {"pipeline": 2}}, ["-pp=1"], "spec.parallelism.pipeline says 2"),
    "port": ({"engine": {"port": 8001}}, ["--port=8000"], "--port says 8000, and spec.engine.port says 8001"),
    "model": ({}, ["--model=org/other"], "--model says org/other, and spec.model.uri says org/draft"),
    "revision": ({"model": {"uri": "o/d@v1"}}, ["--revision=v2"], "spec.model.revision says v1"),
    "names": ({"model": {"uri": "o/d", "servedName": "a"}}, ["--served-model-name", "a", "b"], "says a b, and"),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_flag_that_contradicts_its_field_is_refused_with_both_named(name: str) -> None:
    spec, args, words = CONTRADICTIONS[name]
    with pytest.raises(Refused) as caught:
        serving(resource(**spec), read(*args))
    assert caught.value.reason == Reason.FLAG_CONTRADICTS_FIELD
    assert words in caught.value.message


def overrides(speculation: dict[str, Any], *args: str) -> dict[str, Any]:
    return speculative_overrides(api.Speculation.model_validate(speculation), read(*args))


def test_overrides_come_from_config_fields_and_flags() -> None:
    speculation = {"numSpeculativeTokens": 4, "config": {"draft-sample-method": "greedy", "enforce_eager": True}}
    assert overrides(speculation, "-sc.num-speculative-tokens=4", "--spec-model=org/draft") == {
        "draft_sample_method": "greedy",
        "enforce_eager": True,
        "num_speculative_tokens": 4,
        "model": "org/draft",
    }


def test_a_baseline_has_no_overrides() -> None:
    assert overrides({"mode": "Disabled"}) == {}


def test_a_flag_that_speculates_contradicts_a_baseline() -> None:
    with pytest.raises(Refused, match=r"spec.speculation.mode is Disabled") as caught:
        overrides({"mode": "Disabled"}, "--spec-tokens=5")
    assert caught.value.reason == Reason.FLAG_CONTRADICTS_FIELD


@pytest.mark.parametrize(
    ("speculation", "args", "reason", "words"),
    [
        (
            {"draftTensorParallelSize": 1, "config": {"draft-tensor-parallel-size": 2}},
            [],
            Reason.RECIPE_OVERRIDE_INVALID,
            "config.draft-tensor-parallel-size sets draft_tensor_parallel_size to 2, and spec.speculation.draftTensor",
        ),
        (
            {"config": {"a-b": 1, "a_b": True}},
            [],
            Reason.RECIPE_OVERRIDE_INVALID,
            "spec.speculation.config.a-b sets a_b to 1, and spec.speculation.config.a_b sets it to true",
        ),
        (
            {"numSpeculativeTokens": 4},
            ["--spec-tokens=5"],
            Reason.FLAG_CONTRADICTS_FIELD,
            "spec.speculation.numSpeculativeTokens sets num_speculative_tokens to 4, and spec.engine.args sets it to 5",
        ),
    ],
)
def test_two_places_that_disagree_are_both_named(
    speculation: dict[str, Any], args: list[str], reason: Reason, words: str
) -> None:
    with pytest.raises(Refused) as caught:
        overrides(speculation, *args)
    assert caught.value.reason == reason
    assert words in caught.value.message


def config(recipe: Recipe | None, draft: Identity | None, tensor: int = 4, **overrides: Any) -> dict[str, Any] | None:
    return speculative_config(
        recipe=recipe, draft=draft, overrides=overrides, tensor=tensor, max_model_len=4096, version=VERSION
    )


NGRAM = {"method": "ngram", "num_speculative_tokens": 4}
SCHEDULE = "num_speculative_tokens_per_batch_size"
CONFIGS: dict[str, tuple[Recipe | None, Identity | None, dict[str, Any], dict[str, Any] | None]] = {
    "a regular model": (None, None, {}, None),
    "a recipe": (
        EAGLE3,
        DRAFT,
        {},
        {"method": "eagle3", "model": "org/draft", "num_speculative_tokens": 3, "revision": COMMIT},
    ),
    "a recipe in a folder": (
        EAGLE3,
        FOLDER,
        {},
        {"method": "eagle3", "model": "/models/draft", "num_speculative_tokens": 3},
    ),
    "a recipe with what it dictates": (
        PEAGLE,
        FOLDER,
        {},
        {"method": "eagle3", "model": "/models/draft", "num_speculative_tokens": 5, "parallel_drafting": True},
    ),
    "a recipe and overrides": (
        EAGLE3,
        FOLDER,
        {"num_speculative_tokens": 2, "quantization": "fp8", "draft_tensor_parallel_size": 1, "max_model_len": 4096},
        {
            "method": "eagle3",
            "model": "/models/draft",
            "num_speculative_tokens": 2,
            "draft_tensor_parallel_size": 1,
            "max_model_len": 4096,
            "quantization": "fp8",
        },
    ),
    "overrides that say what the checkpoint dictates": (
        PEAGLE,
        DRAFT,
        {"method": "eagle3", "model": "org/draft", "revision": COMMIT, "parallel_drafting": True},
        {
            "method": "eagle3",
            "model": "org/draft",
            "num_speculative_tokens": 5,
            "revision": COMMIT,
            "parallel_drafting": True,
        },
    ),
    "prompt lookup": (
        None,
        None,
        {"prompt_lookup_max": 4, "num_speculative_tokens": 4, "method": "ngram"},
        {"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 4},
    ),
    "a draft, pinned": (
        None,
        DRAFT,
        {"method": "eagle", "model": "org/draft", "revision": "main", "num_speculative_tokens": 4},
        {"method": "eagle", "model": "org/draft", "num_speculative_tokens": 4, "revision": COMMIT},
    ),
    "the model's own next-token layers": (
        None,
        None,
        {"method": "mtp", "num_speculative_tokens": 1},
        {"method": "mtp", "num_speculative_tokens": 1},
    ),
    "suffixes, as many as there are": (None, None, {"method": "suffix"}, {"method": "suffix"}),
    "a schedule": (
        None,
        None,
        {
            "method": "ngram",
            "num_speculative_tokens": 4,
            "num_speculative_tokens_per_batch_size": [[1, 8, 4], [9, 64, 0]],
        },
        {
            "method": "ngram",
            "num_speculative_tokens": 4,
            "num_speculative_tokens_per_batch_size": [[1, 8, 4], [9, 64, 0]],
        },
    ),
    "a schedule that begins without tokens": (
        None,
        None,
        NGRAM | {SCHEDULE: [[1, 8, 0], [9, 64, 4]]},
        NGRAM | {SCHEDULE: [[1, 8, 0], [9, 64, 4]]},
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_speculative_config_is_exactly_what_the_engine_gets(name: str) -> None:
    recipe, draft, overrides, expected = CONFIGS[name]
    made = config(recipe, draft, **overrides)
    assert made == expected
    assert list(made or ()) == list(expected or ()), "the order is part of it"


INVALID: dict[str, tuple[Recipe | None, dict[str, Any], Reason, str]] = {
    "another method": (EAGLE3, {"method": "eagle"}, Reason.RECIPE_FIELD_LOCKED, "dictates eagle3, not eagle"),
    "another draft": (EAGLE3, {"model": "o/x"}, Reason.RECIPE_FIELD_LOCKED, "dictates org/draft, not o/x"),
    "another commit": (EAGLE3, {"revision": "main"}, Reason.RECIPE_FIELD_LOCKED, "set spec.model.revision"),
    "drafting in parallel": (EAGLE3, {"parallel_drafting": True}, Reason.RECIPE_FIELD_LOCKED, "dictates false"),
    "drafting in turn": (PEAGLE, {"parallel_drafting": False}, Reason.RECIPE_FIELD_LOCKED, "dictates true"),
    "dflash in turn": (DFLASH, {"parallel_drafting": False}, Reason.RECIPE_FIELD_LOCKED, "dictates true"),
    "no method": (None, {"num_speculative_tokens": 4}, Reason.RECIPE_OVERRIDE_INVALID, "config.method: the model"),
    "an unknown method": (None, {"method": "hope"}, Reason.RECIPE_OVERRIDE_INVALID, "one of draft_model"),
    "a method that is no text": (None, {"method": ["ngram"]}, Reason.RECIPE_OVERRIDE_INVALID, "config.method"),
    "code for a method": (None, {"method": "custom_class"}, Reason.RECIPE_OVERRIDE_INVALID, "load code"),
    "a method that drafts nothing": (
        None,
        {"method": "extract_hidden_states"},
        Reason.RECIPE_OVERRIDE_INVALID,
        "drafts nothing",
    ),
    "an old name": (None, {"method": "deepseek_mtp"}, Reason.RECIPE_OVERRIDE_INVALID, "write mtp"),
    "no tokens": (None, {"method": "ngram"}, Reason.RECIPE_OVERRIDE_INVALID, "num_speculative_tokens: it must be set"),
    "no draft": (
        None,
        {"method": "eagle3", "num_speculative_tokens": 1},
        Reason.RECIPE_OVERRIDE_INVALID,
        "config.model",
    ),
    "too many tokens": (EAGLE3, {"num_speculative_tokens": 65}, Reason.RECIPE_OVERRIDE_INVALID, "from 1 to 64, not 65"),
    "true for a number": (EAGLE3, {"num_speculative_tokens": True}, Reason.RECIPE_OVERRIDE_INVALID, "not true"),
    "null": (EAGLE3, {"quantization": None}, Reason.RECIPE_OVERRIDE_INVALID, "not null"),
    "no such backend": (
        EAGLE3,
        {"attention_backend": "SLOW"},
        Reason.RECIPE_OVERRIDE_INVALID,
        "--attention-backend knows",
    ),
    "no such quantization": (EAGLE3, {"quantization": "fp0"}, Reason.RECIPE_OVERRIDE_INVALID, "--quantization knows"),
    "an unknown key": (EAGLE3, {"tokens": 4}, Reason.RECIPE_OVERRIDE_INVALID, "takes no such key"),
    "a key of another method": (EAGLE3, {"prompt_lookup_max": 4}, Reason.RECIPE_OVERRIDE_INVALID, "takes no such key"),
    "the verifier's key": (
        EAGLE3,
        {"tensor_parallel_size": 4},
        Reason.RECIPE_OVERRIDE_INVALID,
        "draft_tensor_parallel",
    ),
    "a way to load of its own": (
        EAGLE3,
        {"draft_load_config": {"load_format": "pt"}},
        Reason.RECIPE_OVERRIDE_INVALID,
        "draft is loaded as",
    ),
    "code at another commit": (EAGLE3, {"code_revision": "x"}, Reason.RECIPE_OVERRIDE_INVALID, "code of a model is"),
    "code for a draft": (
        None,
        {"method": "mtp", "num_speculative_tokens": 1, "model": "proposers.Mine"},
        Reason.RECIPE_OVERRIDE_INVALID,
        "config.model",
    ),
    "a shorter context": (EAGLE3, {"max_model_len": 1024}, Reason.RECIPE_OVERRIDE_INVALID, "the verifier's, 4096"),
    "sampled drafts, of which only the likeliest is found": (
        EAGLE3,
        {"use_local_argmax_reduction": True, "draft_sample_method": "probabilistic"},
        Reason.RECIPE_OVERRIDE_INVALID,
        "with use_local_argmax_reduction it must be greedy",
    ),
    "acceptance made up": (
        EAGLE3,
        {"rejection_sample_method": "synthetic"},
        Reason.RECIPE_OVERRIDE_INVALID,
        "fakes acceptance",
    ),
    "rates made up": (
        EAGLE3,
        {"synthetic_acceptance_rates": [1.0]},
        Reason.RECIPE_OVERRIDE_INVALID,
        "fakes acceptance",
    ),
    "an unknown backend": (EAGLE3, {"moe_backend": "x"}, Reason.RECIPE_OVERRIDE_INVALID, "one of aiter"),
    "matches the wrong way round": (
        None,
        NGRAM | {"prompt_lookup_min": 4, "prompt_lookup_max": 3},
        Reason.RECIPE_OVERRIDE_INVALID,
        "at most prompt_lookup_max, 3",
    ),
    "a schedule that drafts nothing": (
        None,
        NGRAM | {SCHEDULE: [[1, 4, 0], [5, 8, 0]]},
        Reason.RECIPE_OVERRIDE_INVALID,
        "not one without any tokens",
    ),
    "a schedule that begins late": (
        None,
        NGRAM | {SCHEDULE: [[2, 4, 1]]},
        Reason.RECIPE_OVERRIDE_INVALID,
        "ascending from 1, some with tokens, not one whose entry 1 is [2, 4, 1]",
    ),
    "a schedule that overlaps": (
        None,
        NGRAM | {SCHEDULE: [[1, 4, 1], [4, 8, 4]]},
        Reason.RECIPE_OVERRIDE_INVALID,
        "not one whose entry 2 is [4, 8, 4]",
    ),
    "a schedule of texts": (
        None,
        NGRAM | {SCHEDULE: [[1, 4, 1], ["5", 8, 1]]},
        Reason.RECIPE_OVERRIDE_INVALID,
        "not one whose entry 2 isn't three whole numbers",
    ),
    "a schedule of nothing": (
        None,
        NGRAM | {SCHEDULE: []},
        Reason.RECIPE_OVERRIDE_INVALID,
        "not one of 0 entries",
    ),
    "a schedule that is none": (None, NGRAM | {SCHEDULE: 4}, Reason.RECIPE_OVERRIDE_INVALID, "a list of up to 64"),
}


@pytest.mark.parametrize("name", INVALID)
def test_a_key_that_may_not_be_set_is_refused_with_what_is_allowed(name: str) -> None:
    recipe, overrides, reason, words = INVALID[name]
    with pytest.raises(Refused) as caught:
        config(recipe, DRAFT if recipe else None, **overrides)
    assert caught.value.reason == reason
    assert words in caught.value.message
    assert caught.value.message.startswith("spec.speculation.")
    assert len(caught.value.message) < 1000


@pytest.mark.parametrize(("value", "taken"), [("bitsandbytes", True), ("$(x)", False), (4, False)])
def test_of_another_engine_values_of_options_are_only_held_to_their_form(value: object, *, taken: bool) -> None:
    given: dict[str, Any] = {"recipe": EAGLE3, "draft": DRAFT, "tensor": 1, "max_model_len": None}
    refusals = Refusals()
    refusals.attempt(speculative_config, **given, overrides={"quantization": value}, version="0.28.0")
    assert bool(refusals.each) is not taken
    with pytest.raises(Refused, match="one that --quantization knows"):
        speculative_config(**given, overrides={"quantization": value}, version="0.32.0")


INSIDE: dict[str, tuple[Identity, api.Cache | None, str | None]] = {
    "from the hub": (VERIFIER, None, VERIFIER.revision),
    "from a claim": (Identity(uri="pvc://models/chat", revision=f"sha256:{'a' * 64}"), None, None),
    "from the cache": (VERIFIER, api.Cache(claim="models"), None),
    "from a folder, as it is": (Identity(uri="/models/chat"), None, None),
}


@pytest.mark.parametrize("method", ["mtp", "dspark"])
@pytest.mark.parametrize("name", INSIDE)
def test_a_draft_inside_the_verifier_is_read_at_the_verifiers_commit(name: str, method: str) -> None:
    verifier, cache, revision = INSIDE[name]
    made = speculative_config(
        recipe=None,
        draft=None,
        overrides={"method": method, "num_speculative_tokens": 1},
        tensor=1,
        max_model_len=None,
        version=VERSION,
        verifier=verifier,
        cache=cache,
    )
    assert made == {"method": method, "num_speculative_tokens": 1} | ({"revision": revision} if revision else {})


@pytest.mark.parametrize(
    ("verifier", "words"),
    [(VERIFIER, f"that one's commit, {VERIFIER.revision}, not v1"), (Identity(uri="/models/chat"), "left out, not v1")],
)
def test_a_draft_inside_the_verifier_has_no_revision_of_its_own(verifier: Identity, words: str) -> None:
    given: dict[str, Any] = {"recipe": None, "draft": None, "tensor": 1, "max_model_len": None, "version": VERSION}
    overrides = {"method": "mtp", "num_speculative_tokens": 1, "revision": "v1"}
    with pytest.raises(Refused, match=re.escape(words)) as caught:
        speculative_config(**given, overrides=overrides, verifier=verifier)
    assert caught.value.reason == Reason.RECIPE_OVERRIDE_INVALID

    made = speculative_config(**given, overrides=overrides | {"revision": VERIFIER.revision}, verifier=VERIFIER)
    assert made is not None
    assert made["revision"] == VERIFIER.revision


def test_a_shortlist_needs_a_draft_that_is_not_split() -> None:
    dspark = Recipe("dspark", "dspark", 4, "org/verifier", {}, {})
    with pytest.raises(Refused, match="needs a draft_tensor_parallel_size of 1"):
        config(dspark, DRAFT, dspark_draft_topk=64)
    made = config(dspark, DRAFT, dspark_draft_topk=64, draft_tensor_parallel_size=1)
    assert made is not None
    assert made["dspark_draft_topk"] == 64


def test_a_context_that_is_not_known_can_not_be_kept_to() -> None:
    with pytest.raises(Refused, match=r"config\.max_model_len"):
        speculative_config(
            recipe=EAGLE3, draft=DRAFT, overrides={"max_model_len": 4096}, tensor=1, max_model_len=None, version=VERSION
        )


@pytest.mark.parametrize("method", METHODS)
def test_every_method_can_be_asked_for(method: str) -> None:
    made = config(None, DRAFT, method=method, num_speculative_tokens=4)
    assert made is not None
    assert made["method"] == method


def test_the_draft_of_a_regular_model_is_read_from_where_the_overrides_say() -> None:
    assert draft_reference({}) is None
    assert draft_reference({"model": "org/draft"}) == Reference(Kind.HUB, "org/draft")
    assert draft_reference({"model": "org/draft", "revision": "main"}) == Reference(
        Kind.HUB, "org/draft", revision="main"
    )


@pytest.mark.parametrize(
    "overrides", [{"model": "--x/y"}, {"model": "/etc/x"}, {"model": 1}, {"model": "o/d", "revision": "-x"}]
)
def test_a_draft_that_could_not_be_read_is_refused(overrides: dict[str, Any]) -> None:
    with pytest.raises(Refused) as caught:
        draft_reference(overrides)
    assert caught.value.reason == Reason.RECIPE_OVERRIDE_INVALID


def test_the_command_is_the_long_form_with_the_user_s_arguments_last() -> None:
    fields = read("--seed", "42", "-tp", "4", "--max_model_len=4096")
    command, args = command_line(
        model="org/verifier",
        revision="v" * 40,
        served_names=["chat"],
        tensor=4,
        pipeline=1,
        port=8000,
        speculative_config=config(EAGLE3, DRAFT),
        rest=fields.rest,
        shutdown_timeout=45,
        version=VERSION,
    )
    assert command == ["vllm", "serve", "org/verifier"]
    assert args == [
        f"--revision={'v' * 40}",
        f"--tokenizer-revision={'v' * 40}",
        "--served-model-name=chat",
        "--port=8000",
        "--tensor-parallel-size=4",
        f'--speculative-config={{"method":"eagle3","model":"org/draft","num_speculative_tokens":3,"revision":"{COMMIT}"}}',
        "--shutdown-timeout=45",
        "--seed",
        "42",
        "--max_model_len=4096",
    ]


def test_the_command_leaves_out_what_there_is_not() -> None:
    command, args = command_line(
        model="/models/plain",
        revision=None,
        served_names=["a", "b"],
        tensor=1,
        pipeline=2,
        port=8001,
        speculative_config=None,
        rest=(),
        shutdown_timeout=None,
        version="0.20.0",
    )
    assert command == ["vllm", "serve", "/models/plain"]
    assert args == [
        *("--served-model-name", "a", "b"),
        "--port=8001",
        "--tensor-parallel-size=1",
        "--pipeline-parallel-size=2",
    ]


@pytest.mark.parametrize("version", ["0.20.0", "0.32.0", "0.40.0"])
def test_every_engine_that_may_be_run_ends_gracefully(version: str) -> None:
    _, args = command_line(
        model="org/verifier",
        revision=None,
        served_names=["chat"],
        tensor=1,
        pipeline=1,
        port=8000,
        speculative_config=None,
        rest=(),
        shutdown_timeout=45,
        version=version,
    )
    assert args[-1] == "--shutdown-timeout=45"


OLDER: dict[str, tuple[str, dict[str, Any], Reason, str]] = {
    "a method": (
        "0.24.0",
        {"method": "dspark", "num_speculative_tokens": 4},
        Reason.RECIPE_UNSUPPORTED,
        "config.method: dspark needs engine 0.25.0 or newer, not 0.24.0; set spec.engine.image to one",
    ),
    "a schedule": (
        "0.23.0",
        NGRAM | {SCHEDULE: [[1, 8, 4]]},
        Reason.RECIPE_OVERRIDE_INVALID,
        f"config.{SCHEDULE}: it needs engine 0.24.0 or newer, not 0.23.0",
    ),
    "a key": (
        "0.20.2",
        NGRAM | {"method": "eagle", "draft_sample_method": "greedy"},
        Reason.RECIPE_OVERRIDE_INVALID,
        "config.draft_sample_method: it needs engine 0.21.0 or newer",
    ),
    "a key that takes an option's values": (
        "0.25.1",
        NGRAM | {"method": "eagle", "kv_cache_dtype": "fp8"},
        Reason.RECIPE_OVERRIDE_INVALID,
        "config.kv_cache_dtype: it needs engine 0.26.0 or newer",
    ),
    "a value of a key": (
        "0.24.0",
        NGRAM | {"rejection_sample_method": "block"},
        Reason.RECIPE_OVERRIDE_INVALID,
        "config.rejection_sample_method: block needs engine 0.25.0 or newer, not 0.24.0",
    ),
    "a value that had another name": (
        "0.20.0",
        NGRAM | {"rejection_sample_method": "standard"},
        Reason.RECIPE_OVERRIDE_INVALID,
        "config.rejection_sample_method: standard needs engine 0.21.0 or newer",
    ),
}


@pytest.mark.parametrize("name", OLDER)
def test_what_an_older_engine_lacks_is_refused_with_the_engine_that_has_it(name: str) -> None:
    version, overrides, reason, words = OLDER[name]

    def made(version: str) -> dict[str, Any] | None:
        return speculative_config(
            recipe=None, draft=DRAFT, overrides=overrides, tensor=1, max_model_len=None, version=version
        )

    with pytest.raises(Refused) as caught:
        made(version)
    assert caught.value.reason == reason
    assert words in caught.value.message
    assert made(VERSION) is not None
