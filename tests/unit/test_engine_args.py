from __future__ import annotations

import json
import re
from importlib import resources
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speculator_operator import api
from speculator_operator.api import EnvVar, Identity, Reason
from speculator_operator.core import engine_args, render
from speculator_operator.core.engine_args import (
    ArgFields,
    Option,
    check_allowed,
    check_env,
    fields_from,
    has_option,
    human_integer,
    options_of,
    parse_args,
)
from speculator_operator.errors import Refusals, Refused
from speculator_operator.settings import Settings
from tests.support import inputs

VERSION = "0.32.0"
FLAGS = resources.files("speculator_operator.core") / "engine_flags"


def read(*args: str) -> ArgFields:
    return fields_from(parse_args(args, VERSION))


FIELDS: dict[str, tuple[list[str], dict[str, Any]]] = {
    "nothing": ([], {}),
    "a field's flag": (["--tensor-parallel-size", "4"], {"tensor": 4}),
    "its short form": (["-tp=4", "-pp", "2"], {"tensor": 4, "pipeline": 2}),
    "the last of a repeated flag": (["-tp=4", "--tensor_parallel_size=2"], {"tensor": 2}),
    "a data-parallel size of one": (["-dp=1"], {}),
    "several served names": (["--served-model-name", "a", "b"], {"served_names": ("a", "b")}),
    "a port": (["--port=8001"], {"port": 8001}),
    "a model and its revision": (["--model=o/m", "--revision", "main"], {"model": "o/m", "revision": "main"}),
    "a length, for people": (["--max-model-len=4k"], {"max_model_len": 4000}),
    "a length left to the engine": (["--max-model-len=auto"], {}),
    "a speculative config": (["-sc", '{"num-speculative-tokens": 3}'], {"speculative": {"num_speculative_tokens": 3}}),
    "a speculative config by keys": (
        ["--speculative-config.method=ngram", "--speculative-config.num-speculative-tokens", "3"],
        {"speculative": {"method": "ngram", "num_speculative_tokens": 3}},
    ),
    "a speculative config by flags": (
        ["--spec-method=eagle3", "--spec-model=o/d", "--spec-tokens=3"],
        {"speculative": {"method": "eagle3", "model": "o/d", "num_speculative_tokens": 3}},
    ),
}


@pytest.mark.parametrize("name", FIELDS)
def test_flags_that_mirror_fields_are_read(name: str) -> None:
    args, expected = FIELDS[name]
    fields = read(*args)
    assert fields == ArgFields(**expected, flags=fields.flags, rest=fields.rest)


def test_the_rest_is_kept_as_written_and_in_order() -> None:
    fields = read("--seed", "42", "-tp=4", "--max_model_len=4k", "--no-enable-prefix-caching", "-O3", "--port=8001")
    tokens = [token for argument in fields.rest for token in argument.tokens]
    assert tokens == ["--seed", "42", "--max_model_len=4k", "--no-enable-prefix-caching", "-O3"]


def test_the_flag_as_spelled_is_known_for_messages() -> None:
    assert read("-tp=4", "--served_model_name=a").flags == {"tensor": "-tp", "served_names": "--served-model-name"}


DEEP = "[" * 8000
REFUSED: dict[str, tuple[list[str], Reason, str]] = {
    "a pasted command": (["vllm", "serve", "o/m"], Reason.ARGS_INVALID, "args[0]: the arguments start after"),
    "a pasted model": (["o/m", "--seed=1"], Reason.ARGS_INVALID, "the model is spec.model.uri"),
    "a flag and its value in one element": (["--seed 1"], Reason.ARGS_INVALID, "or two elements"),
    "a flag that doesn't exist": (["--seed=1", "--sead=2"], Reason.ARGS_INVALID, "args[1]: '--sead'"),
    "a misspelled flag": (["--max-modle-len=1"], Reason.ARGS_INVALID, "did you mean --max-model-len?"),
    "an abbreviation": (["--tensor-parallel=2"], Reason.ARGS_INVALID, "did you mean --tensor-parallel-size?"),
    "a short form with its value attached": (["-tp4"], Reason.ARGS_INVALID, "'-tp4' is not an option"),
    "two dashes alone": (["--", "--seed=1"], Reason.ARGS_INVALID, "args[0]: '--'"),
    "an abbreviation that resembles help": (["--hel"], Reason.ARGS_INVALID, "is not an option"),
    "help": (["--help"], Reason.ARGS_INVALID, "is not an option"),
    "a stray word": (["--seed=1", "2"], Reason.ARGS_INVALID, "args[1]: '2' is neither"),
    "a value for a switch": (["--enforce-eager=true"], Reason.ARGS_INVALID, "takes no value, not 'true'"),
    "no value": (["--seed"], Reason.ARGS_INVALID, "args[0]: --seed needs a value"),
    "a flag for a value": (["--seed", "--port=1"], Reason.ARGS_INVALID, "args[0]: --seed needs a value"),
    "a negative fraction by itself": (["--cpu-offload-gb", "-0.5"], Reason.ARGS_INVALID, "--cpu-offload-gb=VALUE"),
    "a word for a number": (["--seed=one"], Reason.ARGS_INVALID, "--seed takes a whole number, not 'one'"),
    "no choice": (["--dtype=int4"], Reason.ARGS_INVALID, "--dtype is one of auto, bfloat16"),
    "no JSON": (["-sc", "{method: ngram}"], Reason.ARGS_INVALID, "-sc takes JSON"),
    "JSON that nests too deep": (["-sc", DEEP], Reason.ARGS_INVALID, "-sc takes JSON"),
    "a key that nests too deep": (["-sc.a", DEEP], Reason.ARGS_INVALID, "-sc takes JSON"),
    "a number without end": (["-sc.a", "9" * 5000], Reason.ARGS_INVALID, "-sc takes JSON"),
    "a number beyond all": (["--max-model-len", "9" * 400 + ".0t"], Reason.ARGS_INVALID, "takes a whole number"),
    "a key that is too deep": (["-sc" + ".a" * 40 + "=1"], Reason.ARGS_INVALID, "-sc takes JSON"),
    "a number too large to print": (["-sc.a=" + "9" * 4300 + "T"], Reason.ARGS_INVALID, "-sc takes JSON"),
    "JSON that nests deep": (["-sc", '{"a":' + "[" * 40 + "]" * 40 + "}"], Reason.ARGS_INVALID, "-sc takes JSON"),
    "very many devices": (["-tp=" + "9" * 4000], Reason.ARGS_INVALID, "-tp must be 1 to 64, not 999"),
    "a list for a speculative config": (["-sc", "[]"], Reason.ARGS_INVALID, "-sc takes a JSON object"),
    "keys of a number": (["--seed.a=1"], Reason.ARGS_INVALID, "--seed takes no keys"),
    "an empty key": (["-sc..a=1"], Reason.ARGS_INVALID, "has an empty key"),
    "keys and an object": (["-sc.a=1", "-sc", "{}"], Reason.ARGS_INVALID, "one replaces the other"),
    "keys of two spellings": (["-sc.a=1", "--speculative-config.b=1"], Reason.ARGS_INVALID, "one replaces the other"),
    "a key that the config doesn't have": (["-ac.backand=x"], Reason.ARGS_INVALID, "did you mean backend?"),
    "one key by two flags": (["--spec-tokens=1", "-sc.num_speculative_tokens=1"], Reason.ARGS_INVALID, "both set"),
    "no devices": (["-tp=0"], Reason.ARGS_INVALID, "-tp must be at least 1, not '0'"),
    "more memory than there is": (
        ["--gpu-memory-utilization=1.5"],
        Reason.ARGS_INVALID,
        "must be at most 1, not '1.5'",
    ),
    "memory that is no number": (["--gpu-memory-utilization=nan"], Reason.ARGS_INVALID, "must be more than 0"),
    "a watermark of all": (["--watermark=1"], Reason.ARGS_INVALID, "must be less than 1"),
    "no such backend": (["--attention-backend=FLASH_ATTEN"], Reason.ARGS_INVALID, "did you mean flash_attn?"),
    "no such quantization": (["-q", "zzz"], Reason.ARGS_INVALID, "args[0]: -q knows no 'zzz'"),
    "a privileged port": (["--port=80"], Reason.ARGS_INVALID, "--port must be 1024 to 65535"),
    "a name that reads like a variable": (["--served-model-name=$(X)"], Reason.ARGS_INVALID, "it must match"),
    "no length": (["--max-model-len=0"], Reason.ARGS_INVALID, "must be positive, not 0"),
    "more than one data-parallel rank": (["-dp=2"], Reason.DATA_PARALLEL_UNSUPPORTED, "use spec.replicas"),
    "no statistics": (["--disable-log-stats"], Reason.FLAG_REFUSED, "what proves that pods draft"),
    "another address": (["--host", "127.0.0.1"], Reason.FLAG_REFUSED, "what proves that pods draft"),
    "a socket file": (["--uds=/tmp/x"], Reason.FLAG_REFUSED, "what proves that pods draft"),
    "a file of arguments": (["--config=x.yaml"], Reason.FLAG_REFUSED, "what proves that pods draft"),
    "code of the model's": (["--trust_remote_code"], Reason.FLAG_REFUSED, "makes the engine run code"),
    "no code of the model's, in so many words": (["--no-trust-remote-code"], Reason.FLAG_REFUSED, "may not be set"),
    "a key for clients": (["--api-key=x"], Reason.FLAG_REFUSED, "spec.engine.apiKeySecretRef"),
    "files of the node's": (["--allowed-local-media-path=/"], Reason.FLAG_REFUSED, "files"),
    "a template that is the process' secrets": (
        ["--chat-template=/proc/self/environ"],
        Reason.FLAG_REFUSED,
        "may be a template itself, or a file named *.jinja, not '/proc/self/environ'",
    ),
    "a template by a way around": (["--chat-template=../x.jinja"], Reason.FLAG_REFUSED, "may be a template itself"),
    "another tokenizer": (["--tokenizer=o/t"], Reason.FLAG_REFUSED, "would not be pinned"),
    "a pooling model": (["--runner=pooling"], Reason.FLAG_REFUSED, "may be one of auto, generate"),
    "weights made up": (["--load-format=dummy"], Reason.FLAG_REFUSED, "--load-format may be one of"),
    "a compiler of one's own": (["-cc", '{"backend": "a.b"}'], Reason.FLAG_REFUSED, "may not set 'backend'"),
    "a compiler of one's own, by key": (["-cc.backend=a.b"], Reason.FLAG_REFUSED, "may not set 'backend'"),
    "a compiler's step of one's own": (
        ["-cc.inductor_passes.a=os.system"],
        Reason.FLAG_REFUSED,
        "set 'inductor_passes.a'",
    ),
    "code by a key": (
        ["--structured-outputs-config", '{"reasoning_parser_plugin": "/models/verifier/parser.py"}'],
        Reason.FLAG_REFUSED,
        "--structured-outputs-config may not set 'reasoning_parser_plugin'; it may set backend, disable_add",
    ),
    "code by a key of its own": (
        ["--structured_outputs_config.reasoning_parser_plugin=/models/verifier/parser.py"],
        Reason.FLAG_REFUSED,
        "may not set 'reasoning_parser_plugin'",
    ),
    "code by a key and a value": (
        ["--structured-outputs-config.reasoning_parser_plugin", "parser.py"],
        Reason.FLAG_REFUSED,
        "may not set 'reasoning_parser_plugin'",
    ),
    "code by an element of a list": (
        ["--structured-outputs-config.reasoning_parser_plugin+=parser.py"],
        Reason.FLAG_REFUSED,
        "may not set 'reasoning_parser_plugin'",
    ),
    "code by a key among others, and twice": (
        [
            '--structured-outputs-config={"reasoning_parser_plugin":"","backend":"auto","reasoning_parser_plugin":"p.py"}'
        ],
        Reason.FLAG_REFUSED,
        "may not set 'reasoning_parser_plugin'",
    ),
    "code by a key with dashes": (
        ["--structured-outputs-config.reasoning-parser-plugin=parser.py"],
        Reason.ARGS_INVALID,
        "has no key 'reasoning-parser-plugin'",
    ),
    "code by an abbreviation": (
        ['--structured-outputs={"reasoning_parser_plugin":"parser.py"}'],
        Reason.ARGS_INVALID,
        "did you mean --structured-outputs-config?",
    ),
    "a file by a key": (
        ["--mm-processor-kwargs", '{"size": {"height": 1}, "tokenizer_file": "/proc/self/environ"}'],
        Reason.FLAG_REFUSED,
        "may not set 'tokenizer_file'; it may set audio_kwargs.sampling_rate",
    ),
    "a file by a key in a key": (
        ["--mm-processor-kwargs", '{"images_kwargs": {"size": 1, "repo_path": "o/r"}}'],
        Reason.FLAG_REFUSED,
        "may not set 'images_kwargs.repo_path'",
    ),
    "a file by keys of its own": (
        ["--mm-processor-kwargs.images_kwargs.repo_path", "o/r"],
        Reason.FLAG_REFUSED,
        "may not set 'images_kwargs.repo_path'",
    ),
    "a file by a key with a dot": (
        ["--mm-processor-kwargs", '{"images_kwargs.size": "o/r"}'],
        Reason.FLAG_REFUSED,
        "may not set 'images_kwargs.size'",
    ),
    "an object that is whole where its keys are known": (
        ["--media-io-kwargs.video={}"],
        Reason.FLAG_REFUSED,
        "may not set 'video'; it may set audio.audio_backend",
    ),
    "pairs for an object": (["--media-io-kwargs", '[["a", 1]]'], Reason.ARGS_INVALID, "takes a JSON object, not"),
    "an object for a list": (["--allowed-origins.a=b"], Reason.FLAG_REFUSED, "'a'; it may set no keys"),
    "an optimization level that isn't": (["-Ofast"], Reason.FLAG_REFUSED, "-O may be one of 0, 1, 2, 3"),
    "keys of an optimization level": (["-O.backend=a.b"], Reason.FLAG_REFUSED, "-O may be one of 0, 1, 2, 3"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_arguments_are_refused_with_place_value_and_remedy(name: str) -> None:
    args, reason, words = REFUSED[name]
    with pytest.raises(Refused) as caught:
        read(*args)
    assert caught.value.reason == reason
    assert words in caught.value.message
    assert caught.value.field is not None
    assert caught.value.message.startswith(f"{caught.value.field}: ")
    assert len(caught.value.message) < 1000


@pytest.mark.parametrize(
    "args",
    [
        ["--structured-outputs-config", '{"backend": "guidance", "reasoning_parser": "qwen3"}'],
        ["-cc.pass_config.fuse_norm_quant=true", "-cc.cudagraph_capture_sizes+=1,2", "-ac.backend=FLASH_ATTN"],
        ["--mm-processor-kwargs", '{"size": {"longest_edge": 512}, "videos_kwargs": {"fps": 1}}'],
        ["--mm-processor-kwargs=None", "--custom-histogram-buckets=None", "--media-io-kwargs={}"],
        ["--media-io-kwargs.video.num_frames=8", '--limit-mm-per-prompt={"video": {"count": 1, "num_frames": 8}}'],
        ["--default-chat-template-kwargs.enable_thinking=false", '--allowed-origins=["https://example.org"]'],
    ],
)
def test_keys_that_tune_are_allowed(args: list[str]) -> None:
    assert [token for argument in read(*args).rest for token in argument.tokens] == args


SPELLED = sorted(options_of(VERSION))
TOKENS = st.one_of(
    st.sampled_from(SPELLED),
    st.text(max_size=20),
    st.builds(
        "{}{}{}".format, st.sampled_from(SPELLED), st.sampled_from(["=", ".", ".a=", ".a+="]), st.text(max_size=20)
    ),
    st.builds(json.dumps, st.recursive(st.none() | st.integers() | st.text(max_size=5), st.lists, max_leaves=5)),
)


@given(st.lists(TOKENS, max_size=6))
def test_whatever_is_given_is_read_or_refused(args: list[str]) -> None:
    try:
        fields = read(*args)
    except Refused as refused:
        assert refused.message.startswith("spec.engine.args[")  # noqa: PT017  # most are refused, and none may be else
    else:
        assert [token for argument in fields.rest for token in argument.tokens] == [
            token for token in args if any(token in argument.tokens for argument in fields.rest)
        ]


RELEASES = [entry.name for entry in FLAGS.iterdir() if entry.name[0].isdigit()]


def json_options(entry: str) -> dict[str, dict[str, Any]]:
    """The options of a release that may hold a JSON object, and that a resource may set without a field of its own."""
    allowed = json.loads((FLAGS / "policy.json").read_text())["allowed"]
    options: dict[str, dict[str, Any]] = json.loads((FLAGS / entry).read_text())["options"]
    kinds = ("json", "json_object", "str_or_json")
    return {name: options[name] for name in allowed if options.get(name, {}).get("type") in kinds}


#: Keys that older releases have than the one that is described, with the last that has each. Source: vllm/config/.
OLDER_KEYS = {
    "disable_flashinfer_prefill": "0.21.0",
    "enable_bf16x3_router_gemm": "0.29.0",
    "use_cudnn_prefill": "0.21.0",
    "use_fp4_indexer_cache": "0.29.0",
    "use_prefill_decode_attention": "0.28.0",
    "use_trtllm_ragged_deepseek_prefill": "0.21.0",
}


@pytest.mark.parametrize("entry", RELEASES)
def test_every_key_of_an_allowed_flag_has_been_looked_at(entry: str) -> None:
    policy = json.loads((FLAGS / "policy.json").read_text())
    looked_at = [*policy["keys"], *(flag for group in policy["any_key"] for flag in group["options"])]
    assert sorted(looked_at) == sorted(json_options(entry))
    for name, option in json_options(entry).items():
        if "keys" in option:
            assert set(policy["keys"][name]) <= {*option["keys"], *OLDER_KEYS}, "the engine has no such key"


#: What a key must not be called that a resource may set: it would name code, a file, or an address.
DANGEROUS = re.compile(r"(.*_)?(addr|address|class|cls|code|dir|endpoint|file|host|module|path|plugin|token|url)(_.*)?")


def test_no_key_that_may_be_set_is_an_option_that_may_not() -> None:
    policy = json.loads((FLAGS / "policy.json").read_text())
    refused = {flag for group in policy["refused"] for flag in group["options"]}
    for option, keys in policy["keys"].items():
        for key in (part for path in keys for part in path.split(".")):
            assert f"--{key.replace('_', '-')}" not in refused, f"{option}.{key}"
            assert not DANGEROUS.fullmatch(key), f"{option}.{key}"


@pytest.mark.parametrize("version", ["0.20.0", VERSION, "0.40.0"])
def test_an_option_that_is_refused_is_refused_as_a_key_too(version: str) -> None:
    policy = json.loads((FLAGS / "policy.json").read_text())
    refused = [flag.removeprefix("--") for group in policy["refused"] for flag in group["options"]]
    any_key = [flag for group in policy["any_key"] for flag in group["options"]]
    restricted = {name for entry in RELEASES for name in json_options(entry) if name not in any_key}
    options = options_of(version)
    for string in (string for string, option in options.items() if option.name in restricted):
        inner = sorted({path.partition(".")[0] for path in policy["keys"][options[string].name] if "." in path})
        for key in (spelled for flag in refused for spelled in (flag, flag.replace("-", "_"))):
            nested = [
                arg for outer in inner for arg in (f"{string}.{outer}.{key}=x", f'{string}={{"{outer}":{{"{key}":1}}}}')
            ]
            for arg in (f"{string}.{key}=x", f"{string}.{key}+=x", f'{string}={{"{key}":"x"}}', *nested):
                with pytest.raises(Refused, match=r"may not set|has no key"):
                    parse_args([arg], version)


@pytest.mark.parametrize("entry", RELEASES)
def test_every_flag_of_a_release_is_classified_once(entry: str) -> None:
    policy = json.loads((FLAGS / "policy.json").read_text())
    classified = [
        *policy["field"],
        *policy["allowed"],
        *(flag for group in policy["refused"] for flag in group["options"]),
    ]
    assert len(classified) == len(set(classified))
    assert set(json.loads((FLAGS / entry).read_text())["options"]) <= set(classified)
    assert {*policy["values"], *policy["keys"]} <= set(policy["allowed"])


@pytest.mark.parametrize(
    ("version", "option", "there"),
    [
        ("0.20.0", "--shutdown-timeout", True),
        ("0.32", "--shutdown-timeout", True),
        ("0.40.0", "--shutdown-timeout", True),
        ("0.23.0", "--device-ids", False),
        ("0.24.0", "--device-ids", True),
        ("0.27.1", "--calculate-kv-scales", True),
        ("0.28.0", "--calculate-kv-scales", False),
        ("0.32.0", "--no-such-option", False),
    ],
)
def test_an_engine_has_the_options_of_its_release(version: str, option: str, there: bool) -> None:
    assert has_option(version, option) is there


def test_what_can_be_parsed_is_what_the_release_has() -> None:
    older, newest, newer = options_of("0.23.0"), options_of("0.32.0"), options_of("1.0.0")
    assert newest.keys() == newer.keys() > older.keys()
    assert {"--numa-bind", "--no-numa-bind", "-tp"} <= set(older)
    assert {"--enable-trace-replay", "--no-enable-trace-replay", "-dc"} <= set(newest) - set(older)


@pytest.mark.parametrize("version", ["0.20.0", "0.28.0", "0.33.0"])
@pytest.mark.parametrize(
    "argument",
    ["--quantization=bitsandbytes", "--dtype=int4", "--gpu-memory-utilization=2", "--max-num-seqs=0"],
)
def test_what_values_may_be_is_known_of_one_release(argument: str, version: str) -> None:
    for patch in (VERSION, "0.32.7"):
        with pytest.raises(Refused):
            parse_args([argument], patch)
    assert len(parse_args([argument], version)) == 1
    with pytest.raises(Refused, match="--seed takes a whole number"):
        parse_args(["--seed=one"], version)


OTHER_RELEASES: dict[str, tuple[str, str, Reason, str]] = {
    "an option that is newer": (
        "0.23.0",
        "--watermark=0.1",
        Reason.ARGS_INVALID,
        "--watermark needs engine 0.24.0 or newer, not 0.23.0; set spec.engine.image to one",
    ),
    "an option that is newer, turned off": (
        "0.24.0",
        "--no_enable_per_request_metrics",
        Reason.ARGS_INVALID,
        "--no-enable-per-request-metrics needs engine 0.25.0",
    ),
    "a short form that is newer": ("0.23.0", "-dc={}", Reason.ARGS_INVALID, "-dc needs engine 0.24.0"),
    "an option that is newer, by key": ("0.20.0", "--quantization-config.a=1", Reason.ARGS_INVALID, "0.22.0 or newer"),
    "an option that is newer and refused": ("0.20.0", "--device-ids=1", Reason.ARGS_INVALID, "needs engine 0.24.0"),
    "a field's flag that is newer": ("0.21.0", "--spec-tokens=3", Reason.ARGS_INVALID, "needs engine 0.22.0"),
    "an option that went long ago": (
        "0.20.0",
        "--speculative-model=o/d",
        Reason.ARGS_INVALID,
        "--speculative-model is not an option of this engine any more; set spec.speculation.config.model",
    ),
    "its tokens": (
        "0.32.0",
        "--num_speculative_tokens=3",
        Reason.ARGS_INVALID,
        "spec.speculation.numSpeculativeTokens",
    ),
    "its short form": ("0.32.0", "-spec-draft-tp=1", Reason.ARGS_INVALID, "spec.speculation.draftTensorParallelSize"),
    "an option that went": (
        "0.31.0",
        "--no-enable-mamba-fine-grained-prefix-cache",
        Reason.ARGS_INVALID,
        "any more; write --enable-mamba-shared-prefix-checkpoint",
    ),
    "an option that is no switch, turned off": (
        "0.23.0",
        "--no-seed",
        Reason.ARGS_INVALID,
        "'--no-seed' is not an option of this engine",
    ),
    "a newer option that is no switch, turned off": (
        "0.23.0",
        "--no-watermark-config",
        Reason.ARGS_INVALID,
        "'--no-watermark-config' is not an option of this engine",
    ),
    "an option that is about to go": (
        "0.27.1",
        "--calculate-kv-scales",
        Reason.FLAG_REFUSED,
        "--calculate-kv-scales may not be set: newer engines don't have it; leave it out",
    ),
}


@pytest.mark.parametrize("name", OTHER_RELEASES)
def test_an_option_of_other_releases_is_refused_with_what_to_do(name: str) -> None:
    version, arg, reason, words = OTHER_RELEASES[name]
    with pytest.raises(Refused) as caught:
        parse_args([arg], version)
    assert caught.value.reason == reason
    assert caught.value.message.startswith("spec.engine.args[0]: ")
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("text", "number"), [("4096", 4096), ("4k", 4000), ("4K", 4096), ("25.6k", 25600), ("1.5M", None), ("x", None)]
)
def test_numbers_for_people(text: str, number: int | None) -> None:
    if number is None:
        with pytest.raises(ValueError, match="invalid literal"):
            human_integer(text)
    else:
        assert human_integer(text) == number


def variable(name: str, *, secret: bool = False) -> EnvVar:
    source = {"valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}} if secret else {"value": "1"}
    return EnvVar.model_validate({"name": name, **source})


@pytest.mark.parametrize(
    "name",
    [
        "NCCL_DEBUG",
        "OMP_NUM_THREADS",
        "VLLM_CPU_KVCACHE_SPACE",
        "VLLM_CPU_NUM_OF_RESERVED_CPU",
        "VLLM_CPU_OMP_THREADS_BIND",
        "VLLM_LOGGING_LEVEL",
    ],
)
def test_variables_that_tune_are_allowed(name: str) -> None:
    check_env([variable(name)])


#: What loads code or libraries, names files, or opens the engine up.
DANGEROUS_VARIABLE = re.compile(
    r"(LD|PYTHON|TORCH|TORCHINDUCTOR|TRITON|HF_HUB_OFFLINE|HF_ENDPOINT|VLLM_ALLOW)(_.*)?|PYTHON.*"
    r"|.*_(PATH|DIR|HOME|CACHE|FILE|LIB|LIBS|SO|PLUGINS?|MODULES?|CONFIG|ENDPOINT|HOST|PORT|SERVER|URL|PROXY)(_.*)?"
)


def test_no_variable_that_may_be_set_names_code_files_or_addresses() -> None:
    allowed = json.loads((FLAGS / "policy.json").read_text())["environment"]["allowed"]
    looked_at = {
        "CUDA_MODULE_LOADING",  # lazy or eager
        "VLLM_ALLOW_LONG_MAX_MODEL_LEN",  # found and warned of by ``rules``
        "VLLM_DISABLE_COMPILE_CACHE",  # a switch
        "VLLM_KV_CACHE_LAYOUT",  # NHD or HND
        "VLLM_XGRAMMAR_CACHE_MB",  # a size
    }
    assert {name for name in allowed if DANGEROUS_VARIABLE.fullmatch(name)} == looked_at


def test_a_token_is_allowed_from_a_secret() -> None:
    check_env([variable("HF_TOKEN", secret=True)])


WIDE = Settings(allow_flags=("--enable-lora", "--logits-processors"), allow_env=("VLLM_PLUGINS",))


@pytest.mark.parametrize(
    ("case", "args", "settings"),
    [
        ("a refused flag", ["--enable-lora"], WIDE),
        ("a refused flag by another spelling", ["--enable_lora"], WIDE),
        ("a refused flag's negation", ["--no-enable-lora"], WIDE),
        ("code of the model's", ["--trust-remote-code"], Settings(allow_remote_code=True)),
    ],
)
def test_an_installation_can_allow_more_flags(case: str, args: list[str], settings: Settings) -> None:
    assert [argument.tokens for argument in parse_args(args, VERSION, settings)] == [tuple(args)], case
    with pytest.raises(Refused, match="have the installation allow it"):
        parse_args(args, VERSION)


def test_an_installation_can_allow_a_flag_that_was_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    new = Option("--new-flag", ("--new-flag",), 0, "str", optional=False, choices=(), keys=())
    monkeypatch.setattr(engine_args, "options_of", lambda _: {"--new-flag": new})
    with pytest.raises(Refused, match=r"it has not been looked at yet; .*SPECULATOR_ALLOW_FLAGS"):
        parse_args(["--new-flag"], VERSION)
    assert parse_args(["--new-flag"], VERSION, Settings(allow_flags=("--new-flag",)))[0].name == "--new-flag"


def test_an_installation_can_allow_more_variables() -> None:
    with pytest.raises(Refused, match="SPECULATOR_ALLOW_ENV"):
        check_env([variable("VLLM_PLUGINS")])
    check_env([variable("VLLM_PLUGINS")], WIDE)
    with pytest.raises(Refused, match="use valueFrom"):
        check_env([variable("HF_TOKEN")], Settings(allow_env=("HF_TOKEN",)))


SECRETS = (
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "DD_API_KEY",
    "DB_PASSWORD",
    "OAUTH_SECRET",
    "OAUTH_SECRET_V2",
    "TOKEN",
)


@pytest.mark.parametrize("name", SECRETS)
def test_what_an_installation_allows_is_taken_from_a_secret_where_its_name_says_that_it_is_one(name: str) -> None:
    settings = Settings(allow_env=(name,))
    check_env([variable(name, secret=True)], settings)
    with pytest.raises(Refused, match=f"{name} is a secret by its name; use valueFrom.secretKeyRef, not a value"):
        check_env([variable(name)], settings)
    with pytest.raises(Refused, match="may not be set"):
        check_env([variable(name, secret=True)])


@pytest.mark.parametrize("name", ["TOKENIZERS_PARALLELISM", "VLLM_KEY_BLOCKS", "MONKEY", "SECRETARY_NAME"])
def test_what_is_no_secret_by_its_name_takes_a_value(name: str) -> None:
    check_env([variable(name)], Settings(allow_env=(name,)))


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"allow_flags": ("--tensor-parallel-size",)}, "it is what spec.parallelism.tensor sets"),
        ({"allow_flags": ("--speculative-config",)}, "it is what spec.speculation.config sets"),
        ({"allow_flags": ("--shutdown-timeout",)}, "derives it"),
        ({"allow_flags": ("--enable-lora", "--disable-log-stats")}, "what proves that pods draft"),
        ({"allow_flags": ("--ssl-certfile",)}, "read over plain HTTP"),
        ({"allow_flags": ("--data-parallel-rank",)}, "one canary proves one"),
        ({"allow_flags": ("--api-key",)}, "no place for a secret"),
        ({"allow_flags": ("--trust-remote-code",)}, "SPECULATOR_ALLOW_REMOTE_CODE=true instead"),
        ({"allow_env": ("VLLM_API_KEY",)}, "spec.engine.apiKeySecretRef"),
        ({"allow_flags": ("--middleware",)}, "stand between the engine and what proves"),
        ({"allow_flags": ("--root-path",)}, "what proves that pods draft"),
        ({"allow_flags": ("--nonsense",)}, "--nonsense is no option of the engines that are known; leave it out"),
        ({"allow_flags": ("--max-lora",)}, "--max-lora is no option of the engines that are known; did you mean --max"),
        ({"allow_flags": ("--speculative-model",)}, "are known; set spec.speculation.config.model"),
        ({"allow_flags": ("--tp",)}, "--tp, which is --tensor-parallel-size, can't be allowed"),
        ({"allow_flags": ("--no-disable-log-stats",)}, "which is --disable-log-stats, can't be allowed"),
        ({"allow_flags": ("--no-trust-remote-code",)}, "SPECULATOR_ALLOW_REMOTE_CODE=true instead"),
        ({"allow_flags": ("--no-enable-lora",)}, "is allowed by that name alone; write --enable-lora"),
        ({"allow_env": ("HOME",)}, "the operator sets it"),
        ({"allow_env": ("PYTHONPATH",)}, "it replaces the programs"),
        ({"allow_env": ("VLLM_PLUGINS", "LD_PRELOAD")}, "LD_PRELOAD can't be allowed: it replaces the programs"),
        ({"allow_env": ("VLLM_USE_MODELSCOPE",)}, "the hub is the installation's"),
        ({"allow_env": ("HF_HOME",)}, "stand in for those that are pinned"),
        ({"allow_env": ("HTTPS_PROXY",)}, "the way to the hub"),
        ({"allow_env": ("HUGGING_FACE_HUB_TOKEN",)}, "spec.model.tokenSecretRef"),
    ],
)
def test_what_no_installation_may_allow_is_said_at_its_start(setting: dict[str, Any], words: str) -> None:
    (name,) = setting
    with pytest.raises(ValueError, match=f"SPECULATOR_{name.upper()}: ") as caught:
        check_allowed(Settings(**setting))
    assert words in str(caught.value)
    check_allowed(WIDE)


def test_final_options_stay_refused_whatever_the_settings_say() -> None:
    for option in ("--disable-log-stats", "--middleware=a.b", "--api-key=x", "--ssl-keyfile=x", "--trust-remote-code"):
        name = option.partition("=")[0]
        with pytest.raises(Refused) as caught:
            parse_args([option], VERSION, Settings(allow_flags=(name,)))
        assert caught.value.reason == Reason.FLAG_REFUSED
    for name in ("HOME", "LD_PRELOAD", "HTTPS_PROXY"):
        with pytest.raises(Refused):
            check_env([variable(name)], Settings(allow_env=(name,)))


def test_a_variable_that_the_operator_sets_is_never_allowed() -> None:
    resource = api.SpeculatorDeployment.from_object(inputs.resource({"engine": {"apiKeySecretRef": inputs.SECRET}}))
    claim = Identity(uri="pvc://models/llama")
    from_claim = inputs.RESOLVED.model_copy(update={"model": claim, "draft": claim, "verifier": claim})
    for resolved in (inputs.RESOLVED, from_claim):
        template = render.pod_template(resource, resolved, Settings(hf_endpoint="http://hub"))
        for rendered in template["spec"]["containers"][0]["env"]:
            with pytest.raises(ValueError, match="can't be allowed"):
                check_allowed(Settings(allow_env=(rendered["name"],)))


def test_what_is_refused_is_left_out_of_what_is_read() -> None:
    refusals = Refusals()
    args = ["--sed", "1", "-2", "-tp=2", "--port=80", "--seed=x", "--seed=3", "--host=h", "-sc.a=1", "-sc", "{}"]
    fields = fields_from(parse_args(args, VERSION, Settings(), refusals), refusals)
    assert (fields.tensor, fields.port) == (2, None)
    assert [argument.tokens for argument in fields.rest] == [("--seed=3",)]
    assert [refusal.field for refusal in refusals.each] == [f"spec.engine.args[{index}]" for index in (0, 5, 7, 9, 4)]


ENVIRONMENT: dict[str, tuple[list[EnvVar], str]] = {
    "a token in clear": ([variable("HF_TOKEN")], "use valueFrom.secretKeyRef"),
    "the development mode": ([variable("OMP_NUM_THREADS"), variable("VLLM_SERVER_DEV_MODE")], "env[1].name"),
    "adapters at run time": ([variable("VLLM_ALLOW_RUNTIME_LORA_UPDATING")], "may not be set"),
    "plugins": ([variable("VLLM_PLUGINS")], "may not be set"),
    "what no engine has yet": ([variable("VLLM_CPU_KERNEL_PATH")], "may not be set"),
    "another model in its place": ([variable("VLLM_MODEL_REDIRECT_PATH")], "may not be set"),
    "a library": ([variable("LD_PRELOAD")], "may not be set"),
    "a module path": ([variable("PYTHONPATH")], "may not be set"),
    "a proxy": ([variable("HTTPS_PROXY")], "may not be set"),
    "a library of the network's": ([variable("NCCL_NET_PLUGIN")], "may not be set"),
    "another runner than the recipe takes": ([variable("VLLM_USE_V2_MODEL_RUNNER")], "only variables that tune"),
    "another hub": ([variable("HF_ENDPOINT")], "the hub is the installation's"),
    "a token by its old name": ([variable("HUGGING_FACE_HUB_TOKEN", secret=True)], "spec.model.tokenSecretRef sets"),
    "a key for clients": ([variable("VLLM_API_KEY", secret=True)], "spec.engine.apiKeySecretRef sets"),
    "another home": ([variable("HOME")], "may not be set"),
    "one name twice": ([variable("NCCL_DEBUG"), variable("NCCL_DEBUG")], "is given twice"),
}


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_other_variables_are_refused_by_place_and_name(name: str) -> None:
    variables, words = ENVIRONMENT[name]
    with pytest.raises(Refused) as caught:
        check_env(variables)
    assert caught.value.reason == Reason.ENV_REFUSED
    assert words in caught.value.message
