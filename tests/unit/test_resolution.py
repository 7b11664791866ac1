"""Both models and the spec, joined: what is served, and why not. Models are read from a table instead of a hub."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest

from speculator_operator import api
from speculator_operator.api import Finding, Reason, Resolved, Severity
from speculator_operator.core import rules
from speculator_operator.core.checkpoint import Snapshot
from speculator_operator.errors import OperatorError, Refused, Waiting
from speculator_operator.reference import Reference
from speculator_operator.resolution import Assessment, assess, resolve
from speculator_operator.settings import Settings

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
}
EAGLE3: dict[str, Any] = {
    "architectures": ["Eagle3Speculator"],
    "speculators_model_type": "eagle3",
    "speculators_config": {
        "algorithm": "eagle3",
        "default_proposal_method": "greedy",
        "proposal_methods": [{"proposal_type": "greedy", "speculative_tokens": 3}],
        "verifier": {"name_or_path": "org/llama", "architectures": ["LlamaForCausalLM"]},
    },
    "transformer_layer_config": {
        "model_type": "llama",
        "hidden_size": 4096,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "num_hidden_layers": 1,
        "vocab_size": 128256,
    },
    "draft_vocab_size": 32000,
}

DEEPSEEK: dict[str, Any] = {
    **LLAMA,
    "architectures": ["DeepseekV3ForCausalLM"],
    "model_type": "deepseek_v3",
    "kv_lora_rank": 512,
    "num_nextn_predict_layers": 1,
}


def changed(config: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    made = copy.deepcopy(config)
    target = made
    *parents, last = path.split(".")
    for part in parents:
        target = target[part]
    target[last] = value
    return made


MODELS = {
    "org/llama": LLAMA,
    "org/deepseek": DEEPSEEK,
    "org/quantized": LLAMA,
    "org/eagle3": EAGLE3,
    "org/nowhere": changed(EAGLE3, "speculators_config.verifier.name_or_path", None),
    "org/small-draft": changed(EAGLE3, "transformer_layer_config.hidden_size", 2048),
    "org/of-gone": changed(EAGLE3, "speculators_config.verifier.name_or_path", "org/gone"),
    "org/of-slow": changed(EAGLE3, "speculators_config.verifier.name_or_path", "org/slow"),
    "org/without-tokens": changed(EAGLE3, "speculators_config.proposal_methods", [{"speculative_tokens": None}]),
    "org/broken": changed(EAGLE3, "speculators_config.proposal_methods", []),
    "org/spec-of-spec": changed(EAGLE3, "speculators_config.verifier.name_or_path", "org/eagle3"),
}


class Models:
    """Stands in for the hub: branches point at commits, commits stay."""

    def __init__(self) -> None:
        self.reads: list[tuple[str, str | None]] = []

    async def read(self, reference: Reference) -> Snapshot:
        repository, revision = reference.uri, reference.revision
        self.reads.append((repository, revision))
        if repository == "org/slow":
            raise Waiting(Reason.HUB_UNAVAILABLE, "no answer", retry_after=30)
        if repository not in MODELS:
            raise Refused(Reason.MODEL_NOT_FOUND, f"{repository} isn't there")
        return Snapshot(repository, f"{revision or 'main'}-of-{repository.rpartition('/')[2]}", MODELS[repository])


def resource(**spec: Any) -> api.SpeculatorDeployment:
    return api.SpeculatorDeployment.from_object(
        {"metadata": {"name": "a", "namespace": "n"}, "spec": {"model": {"uri": "org/eagle3"}, **spec}}
    )


async def resolved(models: Models | None = None, **spec: Any) -> Resolved:
    return await resolve(resource(**spec), Settings(), (models or Models()).read)


async def refusal(**spec: Any) -> OperatorError:
    with pytest.raises(OperatorError) as caught:
        await resolved(**spec)
    return caught.value


async def test_a_speculators_checkpoint_becomes_the_long_form() -> None:
    found = await resolved(parallelism={"tensor": 4}, engine={"args": ["--seed=42", "--max-model-len", "4096"]})
    assert found.command == [
        *("vllm", "serve", "org/llama"),
        "--revision=main-of-llama",
        "--tokenizer-revision=main-of-llama",
        "--served-model-name=a",
        "--port=8000",
        "--tensor-parallel-size=4",
        (
            '--speculative-config={"method":"eagle3","model":"org/eagle3","num_speculative_tokens":3,'
            '"revision":"main-of-eagle3"}'
        ),
        "--shutdown-timeout=50",
        "--seed=42",
        "--max-model-len",
        "4096",
    ]
    assert (found.tensor, found.method, found.num_speculative_tokens, found.off) == (4, "eagle3", 3, None)
    assert found.verification == api.Verification.REQUIRED
    sources = {origin.field: origin.source for origin in found.sources}
    assert sources["verifier"] == "the checkpoint's speculators_config.verifier.name_or_path"
    assert sources["tensor"] == "spec.parallelism.tensor"
    assert sources["num_speculative_tokens"] == "the checkpoint's recipe"
    assert sources["port"] == "the default"


async def test_the_engines_arguments_count_as_the_fields_they_mirror() -> None:
    found = await resolved(engine={"args": ["-tp", "2", "--served-model-name", "llama", "--port=9000"]})
    assert (found.tensor, found.served_name, found.port) == (2, "llama", 9000)
    assert found.command.count("--tensor-parallel-size=2") == 1
    assert "-tp" not in found.command


async def test_revisions_are_asked_for_as_the_resource_says() -> None:
    models = Models()
    await resolved(models, model={"uri": "hf://org/eagle3@v1"}, verifier={"uri": "org/quantized", "revision": "fp8"})
    assert models.reads == [("org/eagle3", "v1"), ("org/quantized", "fp8")]


async def test_another_verifier_is_served_in_place_of_the_embedded_one() -> None:
    found = await resolved(verifier={"uri": "org/quantized"})
    assert found.command[2] == "org/quantized"
    assert found.sources[0].source == "spec.verifier"


async def test_the_resources_tokens_win_over_the_recipes() -> None:
    found = await resolved(speculation={"numSpeculativeTokens": 5})
    assert found.speculative_config is not None
    assert found.speculative_config["num_speculative_tokens"] == 5
    sources = {origin.field: origin.source for origin in found.sources}
    assert sources["num_speculative_tokens"] == "spec.speculation.numSpeculativeTokens"


async def test_the_resources_tokens_stand_in_for_what_the_recipe_lacks() -> None:
    found = await resolved(model={"uri": "org/without-tokens"}, speculation={"numSpeculativeTokens": 5})
    assert found.num_speculative_tokens == 5
    assert (await refusal(model={"uri": "org/without-tokens"})).reason == Reason.RECIPE_TOKENS_INVALID


async def test_a_regular_model_is_served_plainly_and_said_to_be() -> None:
    found = await resolved(model={"uri": "org/llama"})
    assert found.off == Reason.REGULAR_MODEL
    assert found.speculative_config is None
    assert found.verification == api.Verification.OFF
    assert not any(text.startswith("--speculative-config") for text in found.command)


async def test_disabled_serves_the_verifier_alone() -> None:
    found = await resolved(speculation={"mode": "Disabled"})
    assert (found.off, found.command[2], found.draft) == (Reason.DISABLED, "org/llama", None)


@pytest.mark.parametrize("broken", ["org/broken", "org/without-tokens", "org/small-draft"])
async def test_disabled_wants_nothing_of_the_recipe_but_its_verifier(broken: str) -> None:
    found = await resolved(model={"uri": broken}, speculation={"mode": "Disabled"})
    assert (found.off, found.command[2]) == (Reason.DISABLED, "org/llama")
    problem = await refusal(model={"uri": "org/nowhere"}, speculation={"mode": "Disabled"})
    assert problem.reason == Reason.VERIFIER_MISSING


async def test_a_regular_model_takes_its_whole_recipe_from_the_resource() -> None:
    found = await resolved(
        model={"uri": "org/llama"},
        speculation={"config": {"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 4}},
    )
    assert found.off is None
    assert found.draft is None
    assert found.method == "ngram"


async def test_a_draft_that_the_resource_names_is_pinned_too() -> None:
    found = await resolved(
        model={"uri": "org/llama"},
        speculation={"config": {"model": "org/eagle3", "method": "eagle3", "revision": "v2"}},
    )
    assert found.speculative_config == {
        "method": "eagle3",
        "model": "org/eagle3",
        "num_speculative_tokens": 3,
        "revision": "v2-of-eagle3",
    }


async def test_layers_of_the_verifiers_own_are_pinned_with_it() -> None:
    config = {"method": "mtp", "num_speculative_tokens": 1}
    found = await resolved(model={"uri": "org/deepseek@v1"}, speculation={"config": config})
    assert found.speculative_config == {**config, "revision": "v1-of-deepseek"}
    assert "--revision=v1-of-deepseek" in found.command


@pytest.mark.parametrize(
    ("case", "spec", "reason", "words"),
    [
        ("a model that isn't there", {"model": {"uri": "org/gone"}}, "ModelNotFound", "org/gone"),
        (
            "a regular model where speculation is required",
            {"model": {"uri": "org/llama"}, "speculation": {"mode": "Required"}},
            "RecipeMissing",
            "speculators_config",
        ),
        (
            "a verifier for a regular model",
            {"model": {"uri": "org/llama"}, "verifier": {"uri": "org/quantized"}},
            "RecipeMissing",
            "spec.verifier",
        ),
        (
            "tokens for a regular model",
            {"model": {"uri": "org/llama"}, "speculation": {"numSpeculativeTokens": 3}},
            "RecipeMissing",
            "num_speculative_tokens",
        ),
        ("a recipe without a verifier", {"model": {"uri": "org/nowhere"}}, "VerifierMissing", "spec.verifier"),
        ("a draft that doesn't fit", {"model": {"uri": "org/small-draft"}}, "HiddenSizeMismatch", "2048"),
        ("a verifier that is a draft", {"model": {"uri": "org/spec-of-spec"}}, "VerifierIsSpeculator", "verifier.uri"),
        ("heads that can't be divided", {"parallelism": {"tensor": 3}}, "HeadsNotDivisible", "3"),
        (
            "another method than the checkpoint's",
            {"speculation": {"config": {"method": "ngram"}}},
            "RecipeFieldLocked",
            "spec.speculation.config.method",
        ),
        (
            "a flag against its field",
            {"parallelism": {"tensor": 2}, "engine": {"args": ["-tp=4"]}},
            "FlagContradictsField",
            "spec.parallelism.tensor",
        ),
        ("a context that no canary fits in", {"engine": {"args": ["--max-model-len=16"]}}, "ArgsInvalid", "the canary"),
        (
            "a lookup that no canary matches",
            {
                "model": {"uri": "org/llama"},
                "speculation": {"config": {"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 32}},
            },
            "RecipeOverrideInvalid",
            "prompt_lookup_min is 32",
        ),
        (
            "a schedule that doesn't draft for a canary",
            {
                "speculation": {"config": {"num_speculative_tokens_per_batch_size": [[1, 4, 0], [5, 64, 3]]}},
            },
            "RecipeOverrideInvalid",
            "is [1, 4, 0], and the canary",
        ),
        (
            "another revision of the verifier's own layers",
            {
                "model": {"uri": "org/deepseek"},
                "speculation": {"config": {"method": "mtp", "num_speculative_tokens": 1, "revision": "v1"}},
            },
            "RecipeOverrideInvalid",
            "set spec.model.revision",
        ),
        ("an unknown flag", {"engine": {"args": ["--sed=42"]}}, "ArgsInvalid", "spec.engine.args[0]"),
        ("a flag that hides the proof", {"engine": {"args": ["--disable-log-stats"]}}, "FlagRefused", "log-stats"),
        ("a variable off the list", {"engine": {"env": [{"name": "LD_PRELOAD", "value": "x"}]}}, "EnvRefused", "LD_"),
        ("an image that is too old", {"engine": {"image": "vllm/vllm-openai:v0.19.1"}}, "EngineTooOld", "0.19.1"),
        ("an image of no known version", {"engine": {"image": "acme/vllm:prod"}}, "EngineVersionUnknown", "prod"),
    ],
)
async def test_refused(case: str, spec: dict[str, Any], reason: str, words: str) -> None:
    problem = await refusal(**spec)
    assert problem.reason == reason, case
    assert words in problem.message, case


async def test_a_mistake_in_the_spec_is_told_before_anything_is_read() -> None:
    models = Models()
    with pytest.raises(Refused):
        await resolved(models, engine={"args": ["--sed=42"]})
    assert models.reads == []


async def assessed(settings: Settings | None = None, **spec: Any) -> Assessment:
    return await assess(resource(**spec), settings or Settings(), Models().read)


GOOD_ARGS = ["--seed=42", "--max-model-len=4096"]


@pytest.mark.parametrize(
    ("case", "spec", "expected"),
    [
        ("nothing", {"engine": {"args": GOOD_ARGS}}, []),
        (
            "each bad argument, and what the good ones lead to",
            {"engine": {"args": ["--sed", "42", "-tp=3", "--host=0.0.0.0", "--port=80", "--seed", "many", *GOOD_ARGS]}},
            [
                ("ArgsInvalid", "spec.engine.args[0]"),
                ("FlagRefused", "spec.engine.args[3]"),
                ("ArgsInvalid", "spec.engine.args[5]"),
                ("ArgsInvalid", "spec.engine.args[4]"),
                ("HeadsNotDivisible", "spec.parallelism.tensor"),
                ("HeadsNotDivisible", "spec.parallelism.tensor"),
            ],
        ),
        (
            "each bad variable, though the engine's version isn't known",
            {
                "engine": {
                    "image": "acme/vllm:prod",
                    "args": ["--sed=42"],
                    "env": [{"name": "LD_PRELOAD", "value": "x"}, {"name": "HF_TOKEN", "value": "x"}],
                }
            },
            [
                ("EngineVersionUnknown", "spec.engine.version"),
                ("EnvRefused", "spec.engine.env[0].name"),
                ("EnvRefused", "spec.engine.env[1].name"),
            ],
        ),
        (
            "each flag that contradicts its field, and what the field leads to",
            {
                "parallelism": {"tensor": 3},
                "engine": {"port": 8001, "args": ["-tp=2", "--port=8002"]},
                "speculation": {"numSpeculativeTokens": 3, "config": {"method": "eagle3"}},
            },
            [
                ("FlagContradictsField", "spec.engine.args"),
                ("FlagContradictsField", "spec.engine.args"),
                ("HeadsNotDivisible", "spec.parallelism.tensor"),
                ("HeadsNotDivisible", "spec.parallelism.tensor"),
            ],
        ),
        (
            "each bad key of the recipe, and what doesn't depend on them",
            {
                "parallelism": {"tensor": 3},
                "speculation": {"config": {"method": "ngram", "code_revision": "x", "enforce_eager": "yes"}},
            },
            [
                ("RecipeFieldLocked", "spec.speculation.config.method"),
                ("RecipeOverrideInvalid", "spec.speculation.config.code_revision"),
                ("RecipeOverrideInvalid", "spec.speculation.config.enforce_eager"),
                ("HeadsNotDivisible", "spec.parallelism.tensor"),
                ("HeadsNotDivisible", "spec.parallelism.tensor"),
            ],
        ),
        (
            "a verifier that isn't there, and what is known without it",
            {
                "model": {"uri": "org/of-gone"},
                "parallelism": {"tensor": 3},
                "speculation": {"config": {"method": "ngram", "max_model_len": 4096}},
            },
            [
                ("ModelNotFound", None),
                ("RecipeFieldLocked", "spec.speculation.config.method"),
                ("HeadsNotDivisible", "spec.parallelism.tensor"),
            ],
        ),
        (
            "a verifier that nothing names",
            {"model": {"uri": "org/nowhere"}, "speculation": {"config": {"method": "ngram"}}},
            [("VerifierMissing", "spec.verifier.uri"), ("RecipeFieldLocked", "spec.speculation.config.method")],
        ),
        (
            "a recipe that can't be read, after what is wrong in the spec",
            {"model": {"uri": "org/broken"}, "engine": {"args": ["--sed=42"]}},
            [("ArgsInvalid", "spec.engine.args[0]"), ("RecipeMethodsInvalid", None)],
        ),
        (
            "a draft that isn't there",
            {"model": {"uri": "org/llama"}, "speculation": {"config": {"model": "org/gone"}}},
            [("ModelNotFound", None)],
        ),
        (
            "two things that no canary proves",
            {
                "model": {"uri": "org/llama"},
                "speculation": {"config": {"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 32}},
                "engine": {"args": ["--max-model-len=16"]},
            },
            [("ArgsInvalid", "spec.engine.args"), ("RecipeOverrideInvalid", "spec.speculation.config")],
        ),
    ],
)
async def test_everything_that_is_wrong_is_found_at_once(
    case: str, spec: dict[str, Any], expected: list[tuple[str, str | None]]
) -> None:
    assessment = await assessed(**spec)
    assert [(finding.reason, finding.field) for finding in assessment.findings] == expected, case
    assert (assessment.resolved is None) == bool(expected), case
    assert assessment == await assessed(**spec), case


async def test_findings_say_their_field_once() -> None:
    (finding,) = (await assessed(engine={"args": ["--enable-lora"]})).findings
    assert finding.evidence.startswith("--enable-lora may not be set: ")
    assert finding.remedy == "leave it out, or have the installation allow it (SPECULATOR_ALLOW_FLAGS)"
    assert finding.message == f"spec.engine.args[0]: {finding.evidence}; {finding.remedy}"


async def test_a_refusal_names_what_else_is_wrong_up_to_a_point() -> None:
    problem = await refusal(engine={"args": [f"--nonsense-{number}" for number in range(12)]})
    assert (problem.reason, getattr(problem, "field", "")) == ("ArgsInvalid", "spec.engine.args[0]")
    assert problem.message.startswith("spec.engine.args[0]: '--nonsense-0' is not an option")
    assert "; ArgsInvalid: spec.engine.args[8]: " in problem.message
    assert "spec.engine.args[9]" not in problem.message
    assert problem.message.endswith("; and 3 more")


@pytest.mark.parametrize(
    ("case", "spec", "expected"),
    [
        ("of the model nothing is known", {"model": {"uri": "org/slow"}}, []),
        ("of the verifier nothing is known", {"model": {"uri": "org/of-slow"}}, []),
        (
            "what is known is said",
            {"model": {"uri": "org/of-slow"}, "parallelism": {"tensor": 3}, "engine": {"args": ["--sed=42"]}},
            ["ArgsInvalid", "HeadsNotDivisible"],
        ),
    ],
)
async def test_what_is_found_is_kept_though_a_model_cannot_be_read_for_now(
    case: str, spec: dict[str, Any], expected: list[str]
) -> None:
    assessment = await assessed(**spec)
    assert [finding.reason for finding in assessment.findings] == expected, case
    assert assessment.waiting is not None, case
    assert (assessment.resolved, assessment.waiting.reason) == (None, Reason.HUB_UNAVAILABLE), case


async def test_a_model_that_cannot_be_read_for_now_is_waited_for() -> None:
    problem = await refusal(model={"uri": "org/of-slow"}, parallelism={"tensor": 3})
    assert isinstance(problem, Waiting)


def warning(number: int) -> Finding:
    return Finding(severity=Severity.WARNING, reason=Reason.CONTEXT_TOO_LONG, evidence=f"number {number}")


async def test_warnings_come_after_errors_and_alone_do_not_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    error = Finding(severity=Severity.ERROR, reason=Reason.HEADS_NOT_DIVISIBLE, evidence="it fails")
    monkeypatch.setattr(rules, "findings", lambda _: (warning(1), error, warning(2)))
    assert (await assessed()).findings == (error, warning(1), warning(2))
    assert (await refusal()).message == "it fails"

    many = tuple(map(warning, range(100)))
    monkeypatch.setattr(rules, "findings", lambda _: many)
    assert (await assessed()).findings == many
    assert (await resolved()).warnings == list(many[: api.MAX_WARNINGS])


async def test_from_a_cache_both_models_are_loaded_from_folders_and_pinned_all_the_same() -> None:
    plain, cached = await resolved(), await resolved(cache={"claim": "weights"})
    assert cached.command[:3] == ["vllm", "serve", "/models/verifier"]
    assert not [argument for argument in cached.command if "revision" in argument]
    assert cached.speculative_config == {"method": "eagle3", "model": "/models/draft", "num_speculative_tokens": 3}
    assert (cached.draft, cached.verifier, cached.warnings) == (plain.draft, plain.verifier, plain.warnings)


async def test_a_draft_that_is_told_by_its_name_is_not_told_by_a_folder_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine reads a method out of some models' names, and a cache's folders have none."""
    monkeypatch.setitem(MODELS, "org/eagle3-by-name", LLAMA)
    spec: dict[str, Any] = {
        "model": {"uri": "org/llama"},
        "speculation": {
            "config": {"method": "draft_model", "model": "org/eagle3-by-name", "num_speculative_tokens": 3}
        },
    }
    assert (await refusal(**spec)).reason == "DraftUnfit"
    assert (await resolved(**spec, cache={"claim": "weights"})).method == "draft_model"


async def test_a_cache_that_has_nothing_to_fetch_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "pvc://models/eagle3", EAGLE3)
    monkeypatch.setitem(MODELS, "pvc://models/llama", LLAMA)
    spec: dict[str, Any] = {"model": {"uri": "pvc://models/eagle3"}, "cache": {"claim": "weights"}}
    mounted = await resolved(**spec, verifier={"uri": "pvc://models/llama"})
    (warned,) = [warning for warning in mounted.warnings if warning.reason == Reason.CACHE_UNUSED]
    assert (warned.severity, warned.field) == (Severity.WARNING, "spec.cache")
    fetched = await resolved(**spec)
    assert Reason.CACHE_UNUSED not in {warning.reason for warning in fetched.warnings}
    assert fetched.command[2] == "/models/verifier"


SECRETS: dict[str, Any] = {
    "engine": {
        "env": [{"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}}],
        "apiKeySecretRef": {"name": "clients", "key": "key"},
    },
    "template": {"spec": {"imagePullSecrets": [{"name": "registry"}, {"name": "hub"}]}},
}


@pytest.mark.parametrize(
    ("pattern", "refused"),
    [
        (".*", []),
        ("hub|clients|registry", []),
        (
            "hub",
            ["spec.engine.apiKeySecretRef.name", "spec.template.spec.imagePullSecrets[0].name"],
        ),
        (
            "h.|clients|registry",
            ["spec.engine.env[0].valueFrom.secretKeyRef.name", "spec.template.spec.imagePullSecrets[1].name"],
        ),
    ],
)
async def test_every_secret_of_a_resource_is_one_that_the_installation_lets_it_use(
    pattern: str, refused: list[str]
) -> None:
    found = (await assessed(Settings(secret_names=pattern), **SECRETS)).findings
    assert [finding.field for finding in found] == refused
    assert {finding.reason for finding in found} <= {Reason.SECRET_NAME_REFUSED}
    assert all("SPECULATOR_SECRET_NAMES" in finding.remedy for finding in found)


async def test_what_the_installation_allows_is_rendered() -> None:
    settings = Settings(allow_flags=("--enable-lora",), allow_env=("VLLM_PLUGINS",), allow_remote_code=True)
    engine = {
        "args": ["--enable-lora", "--trust-remote-code"],
        "env": [{"name": "VLLM_PLUGINS", "value": "a"}],
    }
    found = await resolve(resource(engine=engine), settings, Models().read)
    assert found.command[-2:] == ["--enable-lora", "--trust-remote-code"]


def with_files(files: dict[str, int]) -> Any:
    async def read(reference: Reference) -> Snapshot:
        return dataclasses.replace(await Models().read(reference), files=files)

    return read


GIB = 2**30


async def test_what_the_models_take_is_held_against_the_accelerators_and_kept() -> None:
    read = with_files({"model.safetensors": 8 * GIB})
    accelerator = {"memory": "20Gi"}
    short = {"args": ["--max-model-len=4096"]}
    found = await resolve(resource(accelerator=accelerator, engine=short), Settings(), read)
    assert found.memory is not None
    assert (found.memory.verifier_weights, found.memory.draft_weights) == (8 * GIB, 8 * GIB)
    # 32 layers of the verifier and one of the draft, 8 heads of 128, twice two bytes.
    assert found.memory.cache == 4096 * 33 * 2 * 8 * 128 * 2
    assert found.memory.accelerator_memory == 20 * GIB

    (finding,) = (await assess(resource(accelerator=accelerator), Settings(), read)).findings
    assert (finding.reason, finding.field) == (Reason.MEMORY_INSUFFICIENT, "spec.parallelism.tensor")
    assert finding.remedy == "set spec.parallelism.tensor to 2, or set --max-model-len=4352"

    unknown = await resolve(resource(), Settings(), read)
    assert unknown.memory is not None
    assert (unknown.memory.available, unknown.warnings) == (None, [])


async def test_pickled_weights_are_loaded_where_the_installation_says_so() -> None:
    read = with_files({"pytorch_model.bin": GIB})
    found = (await assess(resource(), Settings(), read)).findings
    assert [(finding.reason, finding.field) for finding in found] == [
        (Reason.PICKLED_WEIGHTS_REFUSED, "spec.verifier.uri"),
        (Reason.PICKLED_WEIGHTS_REFUSED, "spec.model.uri"),
    ]
    assert (await assess(resource(), Settings(allow_pickled_weights=True), read)).findings == ()


@pytest.mark.parametrize(("value", "severity"), [("1", Severity.WARNING), ("0", Severity.ERROR)])
async def test_a_length_beyond_the_context_may_be_allowed(value: str, severity: Severity) -> None:
    engine = {
        "args": ["--max-model-len=200000"],
        "env": [{"name": "VLLM_ALLOW_LONG_MAX_MODEL_LEN", "value": value}],
    }
    (finding,) = (await assessed(engine=engine)).findings
    assert (finding.reason, finding.severity) == (Reason.CONTEXT_TOO_LONG, severity)
