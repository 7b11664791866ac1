"""Where drafting ends: with more requests, or with longer ones."""

from __future__ import annotations

from collections.abc import Iterator

from speculator_operator.api import Finding, Reason
from speculator_operator.core import drafts
from speculator_operator.core.context import default_length
from speculator_operator.core.rules.case import Case, Rule, error, warning


def schedule_unsupported(case: Case) -> Iterator[Finding]:
    """A schedule of tokens by batch size is followed.

    Source: ``MedusaProposer.propose`` in v1/spec_decode/medusa.py asserts the whole number of tokens.
    """
    schedule = case.speculative.get("num_speculative_tokens_per_batch_size")
    if not isinstance(schedule, list):
        return
    fewer = any(isinstance(entry, list) and entry and entry[-1] != case.tokens for entry in schedule)
    if case.method == "medusa" and fewer:
        yield error(
            Reason.SCHEDULE_UNSUPPORTED,
            f"a schedule of tokens by batch size is given, and medusa always proposes all {case.tokens}",
            "leave the schedule out",
            "spec.speculation.config.num_speculative_tokens_per_batch_size",
        )


def draft_context_short(case: Case) -> Iterator[Finding]:
    """The draft's context is as long as requests may be.

    Source: ``_input_fits_in_drafter`` in v1/worker/gpu_model_runner.py, where drafting ends; the newer runner
    (v1/worker/gpu) goes on, with positions that the draft has not seen in training.
    """
    if case.method not in drafts.HEADS | {"draft_model"}:
        return
    length = default_length(case.layer, engine_version=case.engine_version)
    if length is not None and case.served is not None and length < case.served:
        yield warning(
            Reason.DRAFT_CONTEXT_SHORT,
            f"requests may have {min(case.served, 10**15)} tokens, and the draft's context has {length}: beyond it "
            "nothing is drafted, or little is accepted",
            f"set --max-model-len={length} if that is enough, or use a draft with a longer context",
            "spec.engine.args",
        )


RULES: tuple[Rule, ...] = (
    schedule_unsupported,
    draft_context_short,
)
