"""Options that the engine takes one by one, and not together.

The engine's defaults go with the device and the model: where a number that a rule needs isn't given, it says nothing,
or what holds for the defaults of all GPUs.
"""

from __future__ import annotations

from collections.abc import Iterator

from speculator_operator.api import Finding, Reason
from speculator_operator.core import drafts, releases
from speculator_operator.core.engine_args import human_integer
from speculator_operator.core.model_config import part, size
from speculator_operator.core.rules.case import Case, Rule, error, warning

#: Source: ``validate_parsed_serve_args`` in entrypoints/launchers/cli_args.py; for experts, ``ParallelConfig`` in
#: config/parallel.py.
_COMPANIONS = {
    "--enable-auto-tool-choice": "--tool-call-parser",
    "--enable-eplb": "--enable-expert-parallel",
    "--enable-log-outputs": "--enable-log-requests",
}
#: Source: ``VllmConfig.__post_init__`` in config/vllm.py: drafters that need the tokens of the step before.
_SCHEDULED_IN_STEP = frozenset({"medusa", "mlp_speculator", "ngram", "suffix"})
#: Tokens of a step: no device has more by default, twice as many where throughput comes first.
_LARGEST_BATCH = 2 * 16384
#: Tokens and sequences of a step by default, on GPUs such as these. Source: ``get_batch_defaults`` in
#: engine/arg_utils.py; no engine that keeps room for the drafts of each sequence has others.
_STEPS = {"H100 and larger": (8192, 1024), "A100 and smaller": (2048, 256)}
#: What a multimodal model's config has besides its language model's.
_SENSES = ("vision_config", "audio_config", "thinker_config")


def companion_missing(case: Case) -> Iterator[Finding]:
    """An option that does nothing without another."""
    for flag, companion in _COMPANIONS.items():
        if case.on(flag) and (companion not in case.flags or _off(case, companion)):
            yield _error(f"{flag} is set without {companion}", f"add {companion}, or leave {flag} out")


def nothing_to_balance(case: Case) -> Iterator[Finding]:
    """Experts are moved between the GPUs that share a stage's layers.

    Source: ``ParallelConfig._validate_parallel_config`` in config/parallel.py.
    """
    if case.on("--enable-eplb") and case.tensor == 1:
        yield _error(
            "--enable-eplb is set, and no layer's experts are on several GPUs: spec.parallelism.tensor is 1",
            "raise it, or leave --enable-eplb out",
        )


def nothing_to_measure(case: Case) -> Iterator[Finding]:
    """Drafts are measured where there are some: a baseline can't have all arguments of what it is compared with.

    Source: ``VllmConfig.__post_init__`` in config/vllm.py.
    """
    measured = case.flags.get("--per-request-spec-decode-metrics", "none")
    if case.off and measured != "none":
        yield _error(
            f"--per-request-spec-decode-metrics is {measured}, and nothing is drafted ({case.off})",
            "leave it out, or set it to none",
        )


def async_scheduling_unsupported(case: Case) -> Iterator[Finding]:
    """Asynchronous scheduling is on by default, and off where it can't be; asked for, it must be possible.

    Source: ``VllmConfig.__post_init__`` in config/vllm.py.
    """
    if not case.on("--async-scheduling"):
        return
    if case.speculative.get("method") in _SCHEDULED_IN_STEP:
        why = f"method {case.speculative['method']}"
    elif case.speculative.get("disable_padded_drafter_batch") is True:
        why = "disable_padded_drafter_batch"
    else:
        return
    yield _error(f"--async-scheduling doesn't go with {why}", "leave it out: the engine then decides by itself")


def graphs_missing(case: Case) -> Iterator[Finding]:
    """Adaptive verification sizes batches by what CUDA graphs cost.

    Source: ``_validate_adaptive_verification`` in config/vllm.py.
    """
    if case.speculative.get("enable_adaptive_verification") is True and case.on("--enforce-eager"):
        yield _error("--enforce-eager doesn't go with enable_adaptive_verification", "leave one of them out")


def fast_prefill_unsupported(case: Case) -> Iterator[Finding]:
    """Drafts that are made of the verifier's states need those of all tokens, which a fast prefill leaves out.

    Source: ``VllmConfig.__post_init__`` in config/vllm.py, ``use_eagle`` in config/speculative.py.
    """
    if case.on("--kv-sharing-fast-prefill") and case.method in drafts.HEADS | {"mtp"}:
        yield _error(f"--kv-sharing-fast-prefill doesn't go with method {case.method}", "leave it out")


def batch_too_small(case: Case) -> Iterator[Finding]:
    """A step's tokens are enough for each sequence and, where a prompt isn't cut, for the longest.

    Source: ``SchedulerConfig.verify_max_model_len`` in config/scheduler.py; ``get_batch_defaults`` in
    engine/arg_utils.py for what there is by default.
    """
    batch, sequences = _number(case, "--max-num-batched-tokens"), _number(case, "--max-num-seqs")
    whole_prompts = _off(case, "--enable-chunked-prefill")
    if batch is None:
        most = max(_LARGEST_BATCH, case.served or 0) if whole_prompts else _LARGEST_BATCH
        known = not whole_prompts or case.served is not None
        if sequences is not None and known and sequences > most:
            yield _error(
                f"--max-num-seqs is {sequences}, and a step has no more than {most} tokens by default",
                f"lower it, or set --max-num-batched-tokens to {sequences} or more",
            )
        return
    if sequences is not None and batch < sequences:
        yield _error(
            f"--max-num-batched-tokens is {batch}, and --max-num-seqs {sequences}",
            f"raise the first to {sequences} or more, or lower the second",
        )
    if whole_prompts and case.served is not None and batch < case.served:
        yield _error(
            f"--max-num-batched-tokens is {batch}, prompts aren't cut (--no-enable-chunked-prefill), and requests may "
            f"have {case.served} tokens",
            f"raise it to {case.served} or more, or lower --max-model-len",
        )


def steps_full_of_drafts(case: Case) -> Iterator[Finding]:
    """A step has room for a token besides what drafting adds to it.

    Source: ``_set_max_num_scheduled_tokens`` in config/vllm.py. Engines that keep that room for each sequence which a
    step may have are refused by their own defaults where many tokens are drafted in parallel.
    """
    batch, sequences = _number(case, "--max-num-batched-tokens"), _number(case, "--max-num-seqs")
    per_sequence = releases.available("behaviour", "slots_per_sequence", case.engine_version) is True
    slots = _slots(case, per_sequence=per_sequence)
    if not slots:
        return
    if not per_sequence:
        if batch is not None and batch <= slots:
            yield _error(
                f"--max-num-batched-tokens is {batch}, and drafts take {slots} tokens of a step",
                f"raise it to {slots + 1} or more",
            )
        return
    steps = _steps(case, batch, sequences)
    full = {step: gpus for step, gpus in steps.items() if step[0] <= slots * step[1]}
    if not full:
        return
    told = [
        f"{tokens} for {drafted} sequences" + (f" (on {gpus})" if len(steps) > 1 else "")
        for (tokens, drafted), gpus in full.items()
    ]
    # Where a picture isn't cut, the default may be larger: ``_get_min_mm_batched_tokens`` in engine/arg_utils.py.
    surely = len(full) == len(steps) and not (batch is None and _multimodal(case))
    yield (error if surely else warning)(
        Reason.ARGS_INVALID,
        f"drafts take {slots} tokens of a step for each sequence, which leaves none of {' or of '.join(told)}",
        f"set --max-num-seqs, and --max-num-batched-tokens to more than {slots} times that"
        if sequences is None
        else f"set --max-num-batched-tokens to {slots * sequences + 1} or more, or lower --max-num-seqs",
        "spec.engine.args",
    )


def _slots(case: Case, *, per_sequence: bool) -> int:
    """How many tokens of a step drafting takes besides those that are verified.

    Source: ``max_num_new_slots_for_drafting`` in config/speculative.py, where dflash took one less while slots were
    ``per_sequence``.
    """
    in_parallel = case.method in ("dflash", "dspark") or case.speculative.get("parallel_drafting") is True
    slots = case.tokens - 1 if case.tokens and in_parallel else 0
    if case.method == "draft_model" or (case.method == "dflash" and not per_sequence):
        slots += 1
    return slots


def _steps(case: Case, batch: int | None, sequences: int | None) -> dict[tuple[int, int], str]:
    """The tokens and sequences that a step may have, each with the GPUs that make it so; none where that isn't known.

    Source: ``_set_default_max_num_seqs_and_batched_tokens_args`` in engine/arg_utils.py.
    """
    whole_prompts = _off(case, "--enable-chunked-prefill")
    if batch is None and whole_prompts and case.served is None:
        return {}
    least = (case.served or 0) if whole_prompts else 0
    times = 2 if case.flags.get("--performance-mode") == "throughput" else 1
    steps = {}
    for gpus, (default, most) in _STEPS.items():
        tokens = max(times * default, least) if batch is None else batch
        steps[tokens, min(times * most, tokens) if sequences is None else sequences] = gpus
    return steps


def long_prompt_beyond_context(case: Case) -> Iterator[Finding]:
    """From some length on prompts count as long, which is within what requests may have.

    Source: ``SchedulerConfig.verify_max_model_len`` in config/scheduler.py. As long as several prompts could be
    processed in part at once, it asked only where they were; and the option for that may not be set.
    """
    threshold = _number(case, "--long-prefill-token-threshold")
    if releases.available("flag", "--max-num-partial-prefills", case.engine_version):
        return
    if threshold is not None and case.served is not None and threshold > case.served:
        yield _error(
            f"--long-prefill-token-threshold is {threshold}, and requests may have {case.served} tokens",
            f"set it to {case.served} or less, or leave it out",
        )


def shared_memory_unsupported(case: Case) -> Iterator[Finding]:
    """What a multimodal model sees or hears gets to one process only through shared memory.

    Source: ``ModelConfig.verify_with_parallel_config`` in config/model.py.
    """
    gpus = case.tensor * case.pipeline
    if case.flags.get("--mm-tensor-ipc") == "torch_shm" and _multimodal(case) and gpus > 1:
        yield _error(
            f"--mm-tensor-ipc is torch_shm, which doesn't go with {gpus} GPUs",
            "leave it out, or set spec.parallelism.tensor and spec.parallelism.pipeline to 1",
        )


def context_parallel_unsupported(case: Case) -> Iterator[Finding]:
    """The context is split over GPUs that would keep copies of a key-value head.

    Source: ``ModelConfig.verify_with_parallel_config`` in config/model.py.
    """
    parts, groups = _number(case, "--decode-context-parallel-size"), size(case.target, "num_key_value_heads")
    if parts is None or parts == 1 or groups is None or "kv_lora_rank" in case.target:
        return
    copies = case.tensor // groups
    if parts > copies or case.tensor <= groups:
        yield _error(
            f"--decode-context-parallel-size is {parts}, for which each of the verifier's {groups} key-value heads has "
            f"to be there {parts} times, and {case.tensor} GPUs hold {max(copies, 1)} of each",
            f"set it to {copies} or less" if copies > 1 else "leave it out",
        )


def candidates_too_many(case: Case) -> Iterator[Finding]:
    """A draft's candidates are of its vocabulary.

    Source: ``SpeculativeConfig.__post_init__`` in config/speculative.py.
    """
    candidates = size(case.speculative, "dspark_draft_topk")
    layer = part(case.config, "transformer_layer_config")
    vocabulary = size(case.config, "draft_vocab_size", "vocab_size") or size(layer, "vocab_size")
    if candidates and vocabulary and candidates > vocabulary:
        yield error(
            Reason.RECIPE_OVERRIDE_INVALID,
            f"dspark_draft_topk is {candidates}, and the draft's vocabulary has {vocabulary} tokens",
            f"set it to {vocabulary} or less",
            "spec.speculation.config.dspark_draft_topk",
        )


def _multimodal(case: Case) -> bool:
    return any(part(case.verifier.config, key) for key in _SENSES)


def _off(case: Case, flag: str) -> bool:
    return case.flags.get(flag) == "false"


def _number(case: Case, flag: str) -> int | None:
    return human_integer(case.flags[flag]) if flag in case.flags else None


def _error(evidence: str, remedy: str) -> Finding:
    return error(Reason.ARGS_INVALID, evidence, remedy, "spec.engine.args")


RULES: tuple[Rule, ...] = (
    companion_missing,
    nothing_to_balance,
    nothing_to_measure,
    async_scheduling_unsupported,
    graphs_missing,
    fast_prefill_unsupported,
    batch_too_small,
    steps_full_of_drafts,
    long_prompt_beyond_context,
    shared_memory_unsupported,
    context_parallel_unsupported,
    candidates_too_many,
)
