"""Metrics text as the engine writes it -> counters, and counters over time -> what status says."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from speculator_operator.core.acceptance import MAX_POSITIONS, MOST, Counters, Window, differs, parse, summary, totals

PLAIN = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="a"} 0.0
"""

DRAFTING = """\
# HELP vllm:spec_decode_num_drafts_total Number of spec decoding drafts.
# TYPE vllm:spec_decode_num_drafts_total counter
vllm:spec_decode_num_drafts_total{engine="0",model_name="a"} 10.0
# HELP vllm:spec_decode_num_drafts_created Number of spec decoding drafts.
# TYPE vllm:spec_decode_num_drafts_created gauge
vllm:spec_decode_num_drafts_created{engine="0",model_name="a"} 1.7957e+09
vllm:spec_decode_num_draft_tokens_total{engine="0",model_name="a"} 30.0
vllm:spec_decode_num_accepted_tokens_total{engine="0",model_name="a"} 18.0
vllm:spec_decode_num_accepted_tokens_per_pos_total{engine="0",model_name="a",position="0"} 9.0
vllm:spec_decode_num_accepted_tokens_per_pos_total{engine="0",model_name="a",position="1"} 6.0
vllm:spec_decode_num_accepted_tokens_per_pos_total{engine="0",model_name="a",position="2"} 3.0
vllm:spec_decode_num_accepted_tokens_per_pos_created{engine="0",model_name="a",position="0"} 1.7957e+09
"""

DRAFTED = "vllm:spec_decode_num_drafts_total"
PER_POSITION = "vllm:spec_decode_num_accepted_tokens_per_pos_total"


@pytest.mark.parametrize(
    ("case", "text", "expected"),
    [
        ("nothing at all", "", None),
        ("an engine without a speculative config", PLAIN, None),
        ("an engine that has drafted", PLAIN + DRAFTING, Counters(10, 30, 18, (9, 6, 3))),
        ("several engines in one pod", DRAFTING + DRAFTING.replace('engine="0"', 'engine="1"'),
         Counters(20, 60, 36, (18, 12, 6))),
        ("loaded, and yet to draft", f'{DRAFTED}{{engine="0"}} 0.0\n', Counters()),
        ("no labels", f"{DRAFTED} 4\n", Counters(4)),
        ("a number with an exponent", f'{DRAFTED}{{engine="0"}} 1.5e+06\n', Counters(1_500_000)),
        ("a time after the number", f'{DRAFTED}{{engine="0"}} 4.0 1795700000000\n', Counters(4)),
        ("only the time of creation", 'vllm:spec_decode_num_drafts_created{engine="0"} 1.7e+09\n', None),
        ("only a comment", f"# HELP {DRAFTED} 4\n", None),
        ("another's series of a like name", f"x{DRAFTED} 4\n", None),
        ("not a number", f"{DRAFTED} NaN\n", None),
        ("infinite", f"{DRAFTED} +Inf\n", None),
        ("too large a number to be true", f"{DRAFTED} 1e300\n", None),
        ("negative", f"{DRAFTED} -1\n", None),
        ("what only looks like a number", f"{DRAFTED} 1-e.+\n", None),
        ("a position that alone has accepted any", f'{DRAFTED} 1\n{PER_POSITION}{{position="2"}} 1\n',
         Counters(1, 0, 0, (0, 0, 1))),
        ("a position beyond all that can be asked for",
         f'{DRAFTED} 1\n{PER_POSITION}{{position="{MAX_POSITIONS}"}} 1\n', Counters(1)),
        ("a label that only ends as position does", f'{DRAFTED} 1\n{PER_POSITION}{{xposition="0"}} 1\n', Counters(1)),
        ("a model's name with a brace in it", DRAFTING.replace('model_name="a"', 'model_name="a}b"'),
         Counters(10, 30, 18, (9, 6, 3))),
        ("a model's name with quotes in it", DRAFTING.replace('model_name="a"', r'model_name="a\\\"},position=\"9\""'),
         Counters(10, 30, 18, (9, 6, 3))),
        ("a label that never ends", f'{DRAFTED}{{engine="' + '\\"}' * 20_000 + " 1\n", None),
    ],
)  # fmt: skip
def test_parse(case: str, text: str, expected: Counters | None) -> None:
    assert parse(text) == expected, case


@pytest.mark.parametrize(
    ("case", "text"),
    [
        ("engines that come to more than status takes, and neither alone does",
         f'{DRAFTED}{{engine="0"}} {MOST - 1}\n{DRAFTED}{{engine="1"}} {MOST - 1}\n'),
        ("more accepted than drafted", DRAFTING.replace("18.0", "31.0")),
        ("a position that has accepted more than there were drafts", DRAFTING.replace("9.0", "11.0")),
    ],
)  # fmt: skip
def test_what_no_engine_counts_is_not_believed(case: str, text: str) -> None:
    with pytest.raises(ValueError, match="no engine counts"):
        pytest.fail(f"{case}: {parse(text)}")


@pytest.mark.parametrize(
    "labels",
    ["a" * 2**20, '""' * 2**19, '"' + "a" * 2**20, '"' + '\\"' * 2**19],
    ids=["bare", "quotes", "quoted", "escapes"],
)
def test_labels_that_never_end_take_no_memory(labels: str) -> None:
    text = f"{DRAFTED}{{{labels}"
    tracemalloc.start()
    try:
        assert parse(text) is None
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 2**16


def window(*readings: tuple[float, Counters], seconds: float = 300) -> Window:
    made = Window(seconds)
    for now, counters in readings:
        made.add(now, counters)
    return made


@pytest.mark.parametrize(
    ("case", "made", "expected"),
    [
        ("one reading says nothing of a window", window((0, Counters(5, 15, 5, (5,)))), Counters()),
        ("the difference of two", window((0, Counters(5, 15, 5, (5,))), (15, Counters(9, 27, 8, (8,)))),
         Counters(4, 12, 3, (3,))),
        ("a position that comes up later", window((0, Counters(1, 3, 1, (1,))), (15, Counters(3, 9, 5, (3, 2)))),
         Counters(2, 6, 4, (2, 2))),
        ("an engine that began anew counts from 0",
         window((0, Counters(90, 270, 90)), (15, Counters(100, 300, 100)),
                (30, Counters(7, 21, 3)), (45, Counters(8, 24, 4))),
         Counters(18, 54, 14)),
        ("what is older than the window is left out",
         window((0, Counters(0, 0, 0)), (100, Counters(50, 50, 50)),
                (400, Counters(60, 60, 51)), (410, Counters(70, 70, 52))),
         Counters(20, 20, 2)),
    ],
)  # fmt: skip
def test_what_is_counted_within_a_window(case: str, made: Window, expected: Counters) -> None:
    assert made.total() == expected, case


def test_a_window_keeps_no_more_readings_than_it_needs() -> None:
    made = Window(300)
    for second in range(0, 100_000, 15):
        made.add(second, Counters(second, second, second))
    assert len(made.readings) <= 300 / 15 + 2
    assert made.span <= 300 + 15


@pytest.mark.parametrize(
    ("case", "windows", "expected"),
    [
        ("no pod", [], None),
        ("pods, and no traffic", [window((0, Counters(5, 15, 5)), (15, Counters(5, 15, 5)))], None),
        (
            "vLLM's own definitions: 1 + accepted / drafts, accepted / proposed, accepted / drafts by position",
            [window((0, Counters()), (60, Counters(10, 30, 18, (9, 6, 3))))],
            {"windowSeconds": 60, "pods": 1, "drafts": 10, "draftTokens": 30, "acceptedTokens": 18,
             "length": "2.80", "rate": "0.60", "ratePerPosition": ["0.90", "0.60", "0.30"]},
        ),
        (
            "a busy pod weighs more than a quiet one",
            [window((0, Counters()), (60, Counters(90, 90, 90, (90,)))),
             window((30, Counters()), (60, Counters(10, 10, 0)))],
            {"windowSeconds": 60, "pods": 2, "drafts": 100, "draftTokens": 100, "acceptedTokens": 90,
             "length": "1.90", "rate": "0.90", "ratePerPosition": ["0.90"]},
        ),
        (
            "none accepted",
            [window((0, Counters()), (60, Counters(29, 87, 0, (0, 0, 0))))],
            {"windowSeconds": 60, "pods": 1, "drafts": 29, "draftTokens": 87, "acceptedTokens": 0,
             "length": "1.00", "rate": "0.00", "ratePerPosition": ["0.00", "0.00", "0.00"]},
        ),
        (
            "many pods that come to more than status takes",
            [window((0, Counters()), (60, Counters(MOST - 1, MOST - 1, 0)))] * 2,
            None,
        ),
        (
            "more accepted than drafted of late, by readings that are both possible",
            [window((0, Counters(50, 150, 0)), (60, Counters(51, 153, 100)))],
            None,
        ),
    ],
)  # fmt: skip
def test_what_status_says(case: str, windows: list[Window], expected: dict[str, Any] | None) -> None:
    assert summary(windows) == expected, case
    assert bool(totals(windows).drafts) is (expected is not None), case


@pytest.mark.parametrize(
    ("case", "old", "new", "expected"),
    [
        ("the same", "0.60", "0.60", False),
        ("a little more", "0.60", "0.64", False),
        ("a twentieth less", "0.65", "0.60", True),
        ("a twentieth more", "0.60", "0.65", True),
        ("a twentieth more, which binary fractions round down", "0.05", "0.10", True),
        ("all of it", "0.00", "1.00", True),
    ],
)
def test_what_is_worth_a_write(case: str, old: str, new: str, expected: bool) -> None:
    assert differs({"rate": old}, {"rate": new}) is expected, case
