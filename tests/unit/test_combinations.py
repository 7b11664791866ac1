"""Options that the engine refuses together are found, and those that go together are left alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from speculator_operator.api import Finding, Reason, Severity
from speculator_operator.core.checkpoint import Snapshot
from speculator_operator.core.engine_args import flags_of, parse_args
from speculator_operator.core.model_config import NOTHING
from speculator_operator.core.rules import Case, findings

VERIFIER = {"model_type": "qwen3", "num_key_value_heads": 2}
DSPARK = {
    "architectures": ["DSparkDraftModel"],
    "model_type": "qwen3",
    "draft_vocab_size": 32000,
    "transformer_layer_config": {"vocab_size": 151936},
}
MTP = {"model_type": "deepseek_v3", "num_nextn_predict_layers": 1}


def drafting(method: str, tokens: int, **more: Any) -> dict[str, Any]:
    return {"speculative": {"method": method, "num_speculative_tokens": tokens, **more}}


def found(
    args: list[str],
    draft: Mapping[str, Any] = NOTHING,
    verifier: Mapping[str, Any] = VERIFIER,
    speculative: Mapping[str, Any] = NOTHING,
    engine_version: str = "0.32.0",
    **given: Any,
) -> tuple[Finding, ...]:
    return findings(
        Case(
            speculative=speculative,
            draft=Snapshot("org/draft", None, draft),
            verifier=Snapshot("org/model", None, verifier),
            flags=flags_of(parse_args(args, engine_version)),
            engine_version=engine_version,
            **given,
        )
    )


REFUSED: dict[str, tuple[list[str], dict[str, Any], str]] = {
    "tools without a parser": (["--enable-auto-tool-choice"], {}, "add --tool-call-parser"),
    "outputs logged without requests": (["--enable-log-outputs"], {}, "add --enable-log-requests"),
    "outputs logged, and requests not": (
        ["--enable-log-outputs", "--no-enable-log-requests"],
        {},
        "add --enable-log-requests",
    ),
    "experts balanced that aren't in parallel": (["--enable-eplb"], {"tensor": 2}, "add --enable-expert-parallel"),
    "experts balanced on one GPU": (
        ["--enable-eplb", "--enable-expert-parallel"],
        {},
        "spec.parallelism.tensor is 1",
    ),
    "experts balanced on stages of one GPU": (
        ["--enable-eplb", "--enable-expert-parallel"],
        {"pipeline": 2},
        "spec.parallelism.tensor is 1",
    ),
    "measures of drafts in a baseline": (
        ["--per-request-spec-decode-metrics=summary"],
        {"off": Reason.DISABLED},
        "nothing is drafted (Disabled); leave it out, or set it to none",
    ),
    "measures of drafts in a regular model": (
        ["--per-request-spec-decode-metrics", "detailed"],
        {"off": Reason.REGULAR_MODEL},
        "nothing is drafted (RegularModel)",
    ),
    "async scheduling with prompt lookup": (
        ["--async-scheduling"],
        {"speculative": {"method": "ngram"}},
        "method ngram",
    ),
    "async scheduling with medusa heads": (
        ["--async-scheduling"],
        {"speculative": {"method": "medusa"}},
        "method medusa",
    ),
    "async scheduling with an unpadded drafter": (
        ["--async-scheduling"],
        {"speculative": {"method": "eagle3", "disable_padded_drafter_batch": True}},
        "doesn't go with disable_padded_drafter_batch",
    ),
    "adaptive verification without graphs": (
        ["--enforce-eager"],
        {"speculative": {"method": "dspark", "enable_adaptive_verification": True}},
        "doesn't go with enable_adaptive_verification",
    ),
    **{
        f"a fast prefill with {method}": (
            ["--kv-sharing-fast-prefill"],
            {"speculative": {"method": method}, "draft": draft},
            f"doesn't go with method {method}",
        )
        for method, draft in (("eagle", {}), ("eagle3", {}), ("dflash", {}), ("dspark", DSPARK), ("mtp", MTP))
    },
    "fewer batched tokens than sequences": (
        ["--max-num-batched-tokens=64", "--max-num-seqs=128"],
        {},
        "raise the first to 128 or more",
    ),
    "a step that a block of drafts fills": (
        ["--max-num-batched-tokens=8", "--max-num-seqs=4"],
        drafting("dflash", 8),
        "raise it to 9 or more",
    ),
    "a step that a draft of masked tokens fills": (
        ["--max-num-batched-tokens=7"],
        drafting("dspark", 8),
        "raise it to 8 or more",
    ),
    "a step that an eagle3 draft fills in parallel": (
        ["--max-num-batched-tokens=7"],
        drafting("eagle3", 8, parallel_drafting=True),
        "raise it to 8 or more",
    ),
    "a step of one token beside a draft model": (
        ["--max-num-batched-tokens=1", "--max-num-seqs=1"],
        drafting("draft_model", 8),
        "raise it to 2 or more",
    ),
    "a step that a draft model fills in parallel": (
        ["--max-num-batched-tokens=8", "--max-num-seqs=8"],
        drafting("draft_model", 8, parallel_drafting=True),
        "raise it to 9 or more",
    ),
    "steps that the drafts of all sequences fill": (
        ["--max-num-batched-tokens=8k", "--max-num-seqs=1000"],
        drafting("dflash", 10) | {"engine_version": "0.27.0"},
        (
            "drafts take 9 tokens of a step for each sequence, which leaves none of 8000 for 1000 sequences; "
            "set --max-num-batched-tokens to 9001 or more, or lower --max-num-seqs"
        ),
    ),
    "steps that the drafts of all sequences fill by default": (
        [],
        drafting("dflash", 9) | {"engine_version": "0.27.0"},
        (
            "none of 8192 for 1024 sequences (on H100 and larger) or of 2048 for 256 sequences (on A100 and smaller); "
            "set --max-num-seqs, and --max-num-batched-tokens to more than 8 times that"
        ),
    ),
    "steps that the drafts of all sequences fill where throughput comes first": (
        ["--performance-mode=throughput"],
        drafting("eagle3", 9, parallel_drafting=True) | {"engine_version": "0.22.0"},
        "none of 16384 for 2048 sequences",
    ),
    "steps that the drafts of all sequences fill though prompts are whole": (
        ["--no-enable-chunked-prefill"],
        drafting("dflash", 9) | {"engine_version": "0.20.0", "max_model_len": 2048},
        "none of 8192 for 1024 sequences",
    ),
    "steps that are too small for the drafts of any number of sequences": (
        ["--max-num-batched-tokens=64"],
        drafting("draft_model", 4) | {"engine_version": "0.24.0"},
        "none of 64 for 64 sequences",
    ),
    "more sequences than a step has tokens besides their drafts": (
        ["--max-num-seqs=8192"],
        drafting("draft_model", 4) | {"engine_version": "0.24.0"},
        "set --max-num-batched-tokens to 8193 or more",
    ),
    "more sequences than any step has tokens by default": (["--max-num-seqs=32769"], {}, "lower it, or set"),
    "more sequences than a step of whole prompts has tokens": (
        ["--max-num-seqs=65537", "--no-enable-chunked-prefill"],
        {"max_model_len": 65536},
        "no more than 65536 tokens",
    ),
    "prompts that count as long beyond the context": (
        ["--long-prefill-token-threshold=4097"],
        {"max_model_len": 4096},
        "set it to 4096 or less",
    ),
    "shared memory for pictures on two GPUs": (
        ["--mm-tensor-ipc=torch_shm"],
        {"verifier": VERIFIER | {"vision_config": {"depth": 2}}, "tensor": 2},
        "doesn't go with 2 GPUs",
    ),
    "shared memory for pictures over two stages": (
        ["--mm-tensor-ipc=torch_shm"],
        {"verifier": VERIFIER | {"vision_config": {"depth": 2}}, "pipeline": 2},
        "doesn't go with 2 GPUs",
    ),
    "whole prompts longer than a step": (
        ["--max-num-batched-tokens=2k", "--no-enable-chunked-prefill"],
        {"max_model_len": 4096},
        "raise it to 4096 or more",
    ),
    "a context that is split over too few GPUs": (
        ["--decode-context-parallel-size=4"],
        {"tensor": 4},
        "set it to 2 or less",
    ),
    "a context that is split over GPUs without copies": (["-dcp=2"], {"tensor": 2}, "leave it out"),
    "more candidates than the draft's vocabulary has": (
        [],
        {"speculative": {"method": "dspark", "dspark_draft_topk": 32001}, "draft": DSPARK},
        "set it to 32000 or less",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_engine_refuses_together_is_found(name: str) -> None:
    args, given, words = REFUSED[name]
    (finding,) = found(args, **given)
    assert finding.severity == Severity.ERROR
    assert finding.reason in (Reason.ARGS_INVALID, Reason.RECIPE_OVERRIDE_INVALID)
    assert words in finding.message


WARNED: dict[str, tuple[list[str], dict[str, Any], str]] = {
    "tokens of a step that the drafts of one default of sequences fill": (
        ["--max-num-batched-tokens=4096"],
        drafting("dflash", 5) | {"engine_version": "0.27.0"},
        "none of 4096 for 1024 sequences (on H100 and larger)",
    ),
    "sequences whose drafts fill one default of a step": (
        ["--max-num-seqs=512"],
        drafting("dflash", 6) | {"engine_version": "0.27.0"},
        "none of 2048 for 512 sequences (on A100 and smaller); set --max-num-batched-tokens to 2561 or more",
    ),
    "whole prompts that leave room on some GPUs": (
        ["--no-enable-chunked-prefill"],
        drafting("dflash", 9) | {"engine_version": "0.27.0", "max_model_len": 4096},
        "none of 8192 for 1024 sequences (on H100 and larger)",
    ),
    "defaults that a picture may raise": (
        [],
        drafting("dflash", 9) | {"engine_version": "0.27.0", "verifier": VERIFIER | {"vision_config": {"depth": 2}}},
        "none of 8192 for 1024 sequences",
    ),
}


@pytest.mark.parametrize("name", WARNED)
def test_what_some_engines_refuse_is_warned_of(name: str) -> None:
    args, given, words = WARNED[name]
    (finding,) = found(args, **given)
    assert finding.severity == Severity.WARNING
    assert finding.reason == Reason.ARGS_INVALID
    assert words in finding.message


TAKEN: dict[str, tuple[list[str], dict[str, Any]]] = {
    "nothing at all": ([], {}),
    "tools with a parser": (["--enable-auto-tool-choice", "--tool-call-parser=hermes"], {}),
    "no tools, in so many words": (["--no-enable-auto-tool-choice"], {}),
    "outputs and requests": (["--enable-log-outputs", "--enable-log-requests"], {}),
    "experts balanced on two GPUs": (["--enable-eplb", "--enable-expert-parallel"], {"tensor": 2}),
    "no experts balanced, in so many words": (["--no-enable-eplb"], {}),
    "measures of drafts that are made": (["--per-request-spec-decode-metrics=summary"], drafting("eagle3", 4)),
    "measures of drafts whose config was refused": (["--per-request-spec-decode-metrics=summary"], {}),
    "no measures of drafts, in so many words": (
        ["--per-request-spec-decode-metrics=none"],
        {"off": Reason.DISABLED},
    ),
    "async scheduling with an eagle3 draft": (["--async-scheduling"], {"speculative": {"method": "eagle3"}}),
    "async scheduling without speculation": (["--async-scheduling"], {}),
    "no async scheduling with prompt lookup": (["--no-async-scheduling"], {"speculative": {"method": "ngram"}}),
    "an eager engine without adaptive verification": (["--enforce-eager"], {"speculative": {"method": "dspark"}}),
    "a fast prefill with prompt lookup": (["--kv-sharing-fast-prefill"], {"speculative": {"method": "ngram"}}),
    "a fast prefill with a draft model": (["--kv-sharing-fast-prefill"], drafting("draft_model", 4)),
    "no fast prefill, in so many words": (["--no-kv-sharing-fast-prefill"], drafting("eagle3", 4)),
    "as many batched tokens as sequences": (["--max-num-batched-tokens=128", "--max-num-seqs=128"], {}),
    "batched tokens alone": (["--max-num-batched-tokens=64"], {"max_model_len": 4096}),
    "a step of a token besides a block of drafts": (
        ["--max-num-batched-tokens=9", "--max-num-seqs=4"],
        drafting("dflash", 8),
    ),
    "a step of few tokens for drafts in sequence": (
        ["--max-num-batched-tokens=4", "--max-num-seqs=4"],
        drafting("eagle3", 8),
    ),
    "many drafts in parallel on an engine that keeps room for one sequence": ([], drafting("dflash", 16)),
    "a step of a token besides the drafts of all sequences": (
        ["--max-num-batched-tokens=9001", "--max-num-seqs=1000"],
        drafting("dflash", 10) | {"engine_version": "0.27.0"},
    ),
    "as many drafts in parallel as the defaults have room for": (
        [],
        drafting("dflash", 8) | {"engine_version": "0.27.0"},
    ),
    "whole prompts of a length that isn't known beside drafts": (
        ["--no-enable-chunked-prefill"],
        drafting("dflash", 9) | {"engine_version": "0.27.0"},
    ),
    "drafts in sequence on an engine that keeps room for each": (
        [],
        drafting("eagle3", 16) | {"engine_version": "0.27.0"},
    ),
    "a draft model on an engine that keeps room for each": (
        [],
        drafting("draft_model", 8) | {"engine_version": "0.27.0"},
    ),
    "as many sequences as the largest step has tokens": (["--max-num-seqs=32768"], {}),
    "many sequences of whole prompts of a length that isn't known": (
        ["--max-num-seqs=65537", "--no-enable-chunked-prefill"],
        {},
    ),
    "prompts that count as long within the context": (
        ["--long-prefill-token-threshold=4096"],
        {"max_model_len": 4096},
    ),
    "prompts that count as long beyond the context of an older engine": (
        ["--long-prefill-token-threshold=4097"],
        {"max_model_len": 4096, "engine_version": "0.26.0"},
    ),
    "shared memory for pictures on one GPU": (
        ["--mm-tensor-ipc=torch_shm"],
        {"verifier": VERIFIER | {"vision_config": {"depth": 2}}},
    ),
    "shared memory for a model without pictures": (["--mm-tensor-ipc=torch_shm"], {"tensor": 2}),
    "whole prompts of a length that isn't known": (["--max-num-batched-tokens=1", "--no-enable-chunked-prefill"], {}),
    "a context split over copies": (["-dcp=2"], {"tensor": 4}),
    "a context of latent heads": (["-dcp=4"], {"tensor": 4, "verifier": VERIFIER | {"kv_lora_rank": 512}}),
    "a verifier that doesn't say its heads": (["-dcp=4"], {"tensor": 4, "verifier": {}}),
    "candidates within the draft's vocabulary": (
        [],
        {"speculative": {"method": "dspark", "dspark_draft_topk": 32000}, "draft": DSPARK},
    ),
}


@pytest.mark.parametrize("name", TAKEN)
def test_what_goes_together_is_left_alone(name: str) -> None:
    args, given = TAKEN[name]
    assert found(args, **given) == ()
