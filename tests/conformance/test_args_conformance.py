"""What we read in arguments is what the engine reads, and what it would not take, we refuse.

One process of the engine answers all questions: importing it takes far longer than any of them.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from speculator_operator.api import Identity, Reason
from speculator_operator.core import engine
from speculator_operator.core.checkpoint import Recipe
from speculator_operator.core.engine_args import ArgFields, Option, fields_from, options_of, parse_args
from speculator_operator.errors import Refused

pytestmark = pytest.mark.timeout(300)

ORACLE = Path(__file__).with_name("oracle_args.py")
VERSION = "0.32.0"
MODEL = "org/verifier"
DRAFT = Identity(uri="org/draft", revision="d" * 40)

SAME: dict[str, list[str]] = {
    "nothing at all": [],
    "a value in the next element": ["--tensor-parallel-size", "4"],
    "a value after an equals sign": ["--tensor-parallel-size=4"],
    "a short form": ["-tp", "4", "-pp", "2"],
    "a short form with an equals sign": ["-tp=4", "-pp=2"],
    "underscores for dashes": ["--tensor_parallel_size=2", "--max_model_len", "4096", "--enforce_eager"],
    "underscores in a value stay": ["--served-model-name=a_b_c", "--chat_template=x_y.jinja"],
    "the last of a repeated flag": ["-tp", "2", "--tensor-parallel-size=8", "--seed=1", "--seed", "2"],
    "a thousand": ["--max-model-len=4k"],
    "a binary thousand": ["--max-model-len", "4K"],
    "a fraction of a thousand": ["--max-model-len=25.6k"],
    "a length left to the engine": ["--max-model-len=auto"],
    "a length left to the engine, as a number": ["--max-model-len", "-1"],
    "a negative number": ["--seed", "-1", "--max-logprobs=-1"],
    "a negative fraction after an equals sign": ["--cpu-offload-gb=-0.5"],
    "several served names": ["--served-model-name", "a", "b.c", "--port", "8001"],
    "a list of numbers": ["--cudagraph-capture-sizes", "1", "2", "4", "--seed=0"],
    "switches, on and off": ["--enable-prefix-caching", "--no-enable-chunked-prefill", "--no_async_scheduling"],
    "a JSON object": ["--limit-mm-per-prompt", '{"image": 2}'],
    "a JSON object by keys": ["--override-generation-config.temperature", "0.5", "--limit-mm-per-prompt.image=2"],
    "nested keys and lists": ["-cc.cudagraph_capture_sizes+=1,2", "-cc.mode=3", "--kernel_config.moe_backend=triton"],
    "keys of objects in an object": [
        "--mm-processor-kwargs.images_kwargs.size",
        '{"longest_edge": 512}',
        "--mm_processor_kwargs.size.height=1k",
    ],
    "a key that is given twice": ["--override-generation-config", '{"top_k": 1, "top_k": 2}'],
    "an optimization level in one piece": ["-O3"],
    "an optimization level with an equals sign": ["-O=2"],
    "an optimization level in the next element": ["-O", "1"],
    "a folded choice": ["--moe-backend=FlashInfer-Cutlass"],
    "no value, in words": ["--quantization=None", "-q", "fp8"],
    "a speculative config": ["--speculative-config", '{"method": "ngram", "num-speculative-tokens": 4}'],
    "a speculative config, short": ["-sc", '{"method": "ngram", "num_speculative_tokens": 4}'],
    "a speculative config by keys": [
        *("--speculative-config.method", "ngram", "-tp", "2"),
        *("--speculative_config.num_speculative_tokens=4", "--speculative-config.prompt_lookup_max", "3"),
    ],
    "a speculative config by keys of the short form": ["-sc.model=org/draft", "-sc.num-speculative-tokens=1k"],
    "a speculative config that is repeated": ["-sc", '{"method": "ngram"}', "-sc", '{"method": "suffix"}'],
    "speculation in flags of its own": ["--spec-method=eagle3", "--spec-model=org/draft", "--spec-tokens", "3"],
    "speculation in both kinds of flags": ["--spec-tokens=3", "-sc", '{"method": "ngram"}'],
    "a revision": ["--revision", "main"],
    "no revision of the speculation": ["--speculative-config=None"],
}

REJECTED: dict[str, list[str]] = {
    "an unknown flag": ["--tensor-parallelism=4"],
    "a stray word": ["serve"],
    "a stray word after a value": ["--seed=1", "2"],
    "a switch with a value": ["--enforce-eager=true"],
    "a switch with a word after it": ["--enforce-eager", "true"],
    "a missing value": ["--tensor-parallel-size"],
    "a flag for a value": ["--tensor-parallel-size", "--seed=1"],
    "a word for a number": ["--tensor-parallel-size=four"],
    "a fraction for a whole number": ["-tp=1.5"],
    "a fraction with a binary suffix": ["--max-model-len=1.5K"],
    "no choice": ["--dtype=float8"],
    "JSON that isn't": ["--speculative-config={method: ngram}"],
    "JSON that isn't, in another flag": ["--limit-mm-per-prompt={1k}"],
    "a flag and its value in one element": ["--max-model-len 4096"],
    "a negative fraction in an element of its own": ["--cpu-offload-gb", "-0.5"],
    "two flags for one key": ["--spec-method=ngram", "--speculative-config.method=suffix"],
    "a list without elements": ["--cudagraph-capture-sizes", "--seed=1"],
    "keys of a number": ["--seed.a=1"],
    "an optimization level without a level": ["-O"],
    "a key that a config doesn't have": ["--kernel-config.backend=triton"],
    "a key that a config doesn't have, as JSON": ["--compilation-config", '{"cudagraph": 1}'],
    "keys without a value": ["--speculative-config.method"],
}


def read(args: Sequence[str]) -> ArgFields:
    return fields_from(parse_args(args, VERSION))


def rendered(fields: ArgFields) -> list[str]:
    """Our own arguments, with what the fields said, and the rest as it was written."""
    _, args = engine.command_line(
        model=MODEL,
        revision=fields.revision,
        served_names=fields.served_names or (MODEL,),
        tensor=fields.tensor or 1,
        pipeline=fields.pipeline or 1,
        port=fields.port or engine.DEFAULT_PORT,
        speculative_config=fields.speculative or None,
        rest=fields.rest,
        shutdown_timeout=None,
        version=VERSION,
    )
    return args


def texts(option: Option, chance: random.Random) -> Iterator[str]:
    """Values of an option's kind, most of them right."""
    while True:
        if option.choices:
            yield chance.choice(option.choices)
            continue
        match option.type:
            case "int":
                yield chance.choice(["1", "2", "4", "-1", "0", "x", "1.5"])
            case "float":
                yield chance.choice(["1", "0.5", "1e3", "x"])
            case "human_int" | "human_int_or_auto":
                yield chance.choice(["4096", "4k", "4K", "1.5k", "1.5K", "2g", "x"])
            case "json" | "json_object" | "str_or_json":
                yield chance.choice(["{}", "{}", '{"a": 1}', "{", "[]", "7"])
            case _:
                yield chance.choice(["a", "a.b", "x_y", "org/model", "None", "", "a=b", "-a", "--seed=3", "a b"])


def some_args(chance: random.Random, options: Sequence[Option]) -> list[str]:
    args: list[str] = []
    for _ in range(chance.randint(1, 4)):
        option = chance.choice(options)
        spelled = chance.choice(option.strings)
        if spelled.startswith("--") and chance.random() < 0.3:
            spelled = "--" + spelled[2:].replace("-", "_")
        if chance.random() < 0.03:
            spelled = spelled[:-2]
        values = texts(option, chance)
        if option.type in ("json", "json_object") and chance.random() < 0.4:
            spelled += chance.choice([".a", ".a.b", ".a+", ".a_b", ".c-d"])
        if option.values == 0:
            args.append(spelled)
        elif chance.random() < 0.5:
            args.append(f"{spelled}={next(values)}")
        else:
            count = chance.randint(1, 3) if option.values == "+" else 1
            args += [spelled, *itertools.islice(values, count)]
    if chance.random() < 0.2:
        args.insert(chance.randint(0, len(args)), chance.choice(["x", "-1", "--", "-0.5", "-tp4", "-x", "-O2", "-"]))
    if chance.random() < 0.1:
        del args[chance.randrange(len(args))]
    return args


def may_be_set(name: str) -> bool:
    try:
        read([name])
    except Refused as refused:
        return refused.reason != Reason.FLAG_REFUSED
    return True


def random_args() -> list[list[str]]:
    chance = random.Random(20250917)  # noqa: S311  # chosen, not secret
    by_name = {option.name: option for option in options_of(VERSION).values()}
    fields = [by_name[name] for name in ("--tensor-parallel-size", "--served-model-name", "--port", "--spec-tokens")]
    any_key = by_name["--default-chat-template-kwargs"]
    every = [by_name[name] for name in sorted(by_name) if may_be_set(name)] + fields * 3 + [any_key] * 10
    return [some_args(chance, every) for _ in range(1500)]


def method_configs() -> dict[str, dict[str, Any] | None]:
    """What we make of each method: of recipes, and of configs for regular models."""

    def config(recipe: Recipe | None, overrides: dict[str, Any], draft: Identity | None = DRAFT) -> Any:
        return engine.speculative_config(
            recipe=recipe, draft=draft, overrides=overrides, tensor=2, max_model_len=4096, version=VERSION
        )

    def recipe(algorithm: str, method: str, locked: dict[str, Any]) -> Recipe:
        return Recipe(algorithm, method, 3, MODEL, locked, {})

    return {
        "eagle3": config(recipe("eagle3", "eagle3", {}), {}),
        "peagle": config(recipe("peagle", "eagle3", {"parallel_drafting": True}), {"num_speculative_tokens": 5}),
        "dflash": config(recipe("dflash", "dflash", {}), {"attention_backend": "FLASH_ATTN"}),
        "dspark": config(recipe("dspark", "dspark", {}), {"enable_adaptive_verification": True}),
        "draft_model": config(None, {"method": "draft_model", "num_speculative_tokens": 4, "quantization": "fp8"}),
        "mtp": config(None, {"method": "mtp", "num_speculative_tokens": 1}, None),
        "suffix": config(None, {"method": "suffix", "suffix_decoding_max_tree_depth": 16}, None),
        "ngram": config(None, {"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 3}, None),
        "no speculation": None,
    }


LOOKUPS: dict[str, dict[str, Any]] = {
    "tokens alone": {"num_speculative_tokens": 4},
    "a longest match": {"num_speculative_tokens": 4, "prompt_lookup_max": 3},
    "a shortest match": {"num_speculative_tokens": 4, "prompt_lookup_min": 3},
    "matches the wrong way round": {"num_speculative_tokens": 4, "prompt_lookup_min": 3, "prompt_lookup_max": 2},
    "no tokens": {},
    "a negative number of tokens": {"num_speculative_tokens": -1},
    "tokens in words": {"num_speculative_tokens": "four"},
    "a match of none": {"num_speculative_tokens": 4, "prompt_lookup_max": 0},
    "block verification": {"num_speculative_tokens": 4, "rejection_sample_method": "block"},
    "unknown verification": {"num_speculative_tokens": 4, "rejection_sample_method": "hope"},
    "rates without their method": {"num_speculative_tokens": 4, "synthetic_acceptance_rates": [1, 1, 1, 1]},
    "the verifier's key": {"num_speculative_tokens": 4, "tensor_parallel_size": 2},
    "an unknown key": {"num_speculative_tokens": 4, "prompt_lookup": 2},
    "another vocabulary": {"num_speculative_tokens": 4, "use_heterogeneous_vocab": True},
}


class Answers:
    """The engine's answers, by question."""

    def __init__(self, ask: Callable[[Path, list[Any]], list[Any]]) -> None:
        self.random = random_args()
        self.read: list[ArgFields | None] = [_read_or_none(args) for args in self.random]
        agreed = [(args, fields) for args, fields in zip(self.random, self.read, strict=True) if fields]
        questions: dict[str, Any] = {
            "flags": {"flags": True},
            "fields": {"speculative_fields": True},
            **{f"same {name}": {"args": args} for name, args in SAME.items()},
            **{f"rendered {name}": {"args": rendered(read(args))} for name, args in SAME.items()},
            **{f"rejected {name}": {"args": args} for name, args in REJECTED.items()},
            **{f"lookup {name}": {"lookup": {"method": "ngram", **config}} for name, config in LOOKUPS.items()},
            **{f"random {number}": {"args": args} for number, (args, _) in enumerate(agreed)},
            **{f"random rendered {number}": {"args": rendered(fields)} for number, (_, fields) in enumerate(agreed)},
            **{
                f"method {name}": {"args": rendered(ArgFields(revision="f" * 40, tensor=2, speculative=config or {}))}
                for name, config in method_configs().items()
            },
        }
        self.agreed = agreed
        self.of = dict(zip(questions, ask(ORACLE, list(questions.values())), strict=True))


def _read_or_none(args: Sequence[str]) -> ArgFields | None:
    try:
        return read(args)
    except Refused:
        return None


@pytest.fixture(scope="module")
def answers(engine: Callable[[Path, list[Any]], list[Any]]) -> Answers:
    return Answers(engine)


def assert_same(fields: ArgFields, answer: dict[str, Any]) -> None:
    assert "rejected" not in answer, answer["rejected"]
    values = answer["values"]
    assert values["tensor_parallel_size"] == (fields.tensor or 1)
    assert values["pipeline_parallel_size"] == (fields.pipeline or 1)
    assert values["data_parallel_size"] == 1
    assert values["port"] == (fields.port or engine.DEFAULT_PORT)
    assert values["revision"] == fields.revision
    assert tuple(values["served_model_name"] or ()) == fields.served_names
    assert values["max_model_len"] in (fields.max_model_len, -1)
    assert (values["max_model_len"] in (None, -1)) == (fields.max_model_len is None)
    assert (answer["speculative"] or {}) == fields.speculative


def assert_rendered_alike(written: dict[str, Any], ours: dict[str, Any]) -> None:
    """Every option has the value that the user's arguments gave it, but for those that we add."""
    assert "rejected" not in ours, ours["rejected"]
    added = ("served_model_name", "tokenizer_revision")
    assert {name: value for name, value in ours["values"].items() if name not in added} == {
        name: value for name, value in written["values"].items() if name not in added
    }
    assert (ours["speculative"] or {}) == (written["speculative"] or {})


@pytest.mark.parametrize("name", SAME)
def test_arguments_mean_to_us_what_they_mean_to_the_engine(answers: Answers, name: str) -> None:
    assert_same(read(SAME[name]), answers.of[f"same {name}"])


@pytest.mark.parametrize("name", SAME)
def test_the_rendered_command_gives_every_option_the_value_that_was_written(answers: Answers, name: str) -> None:
    assert_rendered_alike(answers.of[f"same {name}"], answers.of[f"rendered {name}"])


@pytest.mark.parametrize("name", REJECTED)
def test_what_the_engine_rejects_is_refused(answers: Answers, name: str) -> None:
    assert "rejected" in answers.of[f"rejected {name}"]
    with pytest.raises(Refused):
        read(REJECTED[name])


def test_random_arguments_that_we_take_are_taken_by_the_engine_alike(answers: Answers) -> None:
    assert len(answers.agreed) > 100
    for number, (args, fields) in enumerate(answers.agreed):
        written = answers.of[f"random {number}"]
        try:
            assert_same(fields, written)
            assert_rendered_alike(written, answers.of[f"random rendered {number}"])
        except AssertionError as error:
            raise AssertionError(f"{args}: {error}") from None


@pytest.mark.parametrize("name", method_configs())
def test_the_command_of_each_method_is_read_as_it_was_meant(answers: Answers, name: str) -> None:
    answer = answers.of[f"method {name}"]
    assert "rejected" not in answer, answer["rejected"]
    assert answer["speculative"] == method_configs()[name]
    assert answer["values"]["model_tag"] == MODEL
    assert answer["values"]["revision"] == answer["values"]["tokenizer_revision"] == "f" * 40
    assert answer["values"]["tensor_parallel_size"] == 2


@pytest.mark.parametrize("name", LOOKUPS)
def test_a_prompt_lookup_config_that_the_engine_rejects_is_refused(answers: Answers, name: str) -> None:
    rejected = "rejected" in answers.of[f"lookup {name}"]
    try:
        engine.speculative_config(
            recipe=None,
            draft=None,
            overrides={"method": "ngram", **LOOKUPS[name]},
            tensor=1,
            max_model_len=None,
            version=VERSION,
        )
    except Refused:
        assert rejected
    else:
        assert not rejected


def test_the_flags_are_what_the_generator_writes_now(answers: Answers) -> None:
    stored = resources.files("speculator_operator.core") / "engine_flags" / "0.32.json"
    assert answers.of["flags"] == stored.read_text(), "run tools/engine_flags.py"


def test_every_key_of_the_speculative_config_has_been_looked_at(answers: Answers) -> None:
    made_by_the_engine = {
        "target_model_config",
        "target_parallel_config",
        "draft_model_config",
        "draft_parallel_config",
    }
    assert {key for key in answers.of["fields"] if not has_been_looked_at(key)} == made_by_the_engine


def has_been_looked_at(key: str) -> bool:
    """Whether a key is known to some method, be it as refused."""
    for method in engine.METHODS:
        try:
            engine.speculative_config(
                recipe=None,
                draft=DRAFT,
                overrides={"num_speculative_tokens": 1, key: None, "method": method},
                tensor=1,
                max_model_len=None,
                version=VERSION,
            )
        except Refused as refused:
            if "takes no such key" in refused.message:
                continue
        return True
    return False
