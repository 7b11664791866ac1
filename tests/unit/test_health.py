"""What a process says of its health, and how it is served."""

from __future__ import annotations

from collections.abc import Sequence

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Gauge

from speculator_operator.core import health
from speculator_operator.core.health import Check
from speculator_operator.health import serving

NOW = 1000.0


@pytest.mark.parametrize(
    ("case", "check", "trouble"),
    [
        ("no pass runs", health.passes_end({}, NOW, 600), ""),
        ("passes run", health.passes_end({"n/a": NOW - 600, "n/b": NOW}, NOW, 600), ""),
        ("a pass hangs", health.passes_end({"n/b": NOW - 5, "n/a": NOW - 601}, NOW, 600),
         "the one over n/a has run for 601 s"),
        ("nothing waits", health.queue_moves(0, NOW - 9999, NOW, 600), ""),
        ("much waits, and passes begin", health.queue_moves(5000, NOW - 1, NOW, 600), ""),
        ("the queue stands", health.queue_moves(2, NOW - 601, NOW, 600), "2 wait, and none has begun for 601 s"),
        ("watches ask", health.each_asked("w", {"pods": NOW - 600, "jobs": NOW}, 0, NOW, 600), ""),
        ("watches are just begun", health.each_asked("w", {"pods": None}, NOW - 600, NOW, 600), ""),
        ("a watch is dead", health.each_asked("w", {"pods": NOW - 601, "jobs": NOW}, 0, NOW, 600),
         "pods, not for 601 s"),
        ("watches never asked", health.each_asked("w", {"pods": None, "jobs": NOW - 700}, 0, NOW, 600),
         "pods, not for 1000 s, and 1 more"),
        ("all is listed", health.each_listed({"pods": 1.0}), ""),
        ("not all is listed", health.each_listed({"pods": None, "a": 1.0, "jobs": None}), "not yet: jobs, pods"),
        ("the lease is renewed", health.renewed(9.9, 10), ""),
        ("the lease isn't renewed", health.renewed(10.4, 10), "the last renewal was 10 s ago"),
        ("the lease is looked at", health.looked(20, 20), ""),
        ("the lease isn't looked at", health.looked(21, 20), "the last look was 21 s ago"),
    ],
)  # fmt: skip
def test_a_check_says_why_it_fails(case: str, check: Check, trouble: str) -> None:
    assert check.trouble == trouble, case


def test_an_answer_has_a_line_for_each_check() -> None:
    assert health.text([Check("a holds"), Check("b holds", "it doesn't")]) == (
        "ok      a holds\nFAILED  b holds: it doesn't\n"
    )


async def test_the_port_answers_with_what_is_checked_and_with_metrics() -> None:
    registry = CollectorRegistry()
    Gauge("things", "How many", registry=registry).set(3)
    troubles = {"live": "", "ready": "not yet"}

    async def live() -> Sequence[Check]:
        return [Check("it lives", troubles["live"])]

    async def ready() -> Sequence[Check]:
        return [Check("it lives"), Check("it is ready", troubles["ready"])]

    async with serving(0, live=live, ready=ready, registry=registry) as port, aiohttp.ClientSession() as session:

        async def get(path: str) -> tuple[int, str]:
            async with session.get(f"http://127.0.0.1:{port}{path}") as answer:
                assert answer.status == 404 or answer.headers["Connection"] == "close"
                return answer.status, await answer.text()

        assert await get("/healthz") == (200, "ok      it lives\n")
        assert await get("/readyz") == (503, "ok      it lives\nFAILED  it is ready: not yet\n")
        troubles |= {"live": "it hangs", "ready": ""}
        assert await get("/healthz") == (503, "FAILED  it lives: it hangs\n")
        assert (await get("/readyz"))[0] == 200
        status, text = await get("/metrics")
        assert status == 200
        assert "things 3.0" in text.splitlines()
        assert (await get("/"))[0] == 404


async def test_a_port_that_is_taken_is_an_error() -> None:
    async def nothing() -> Sequence[Check]:
        return []

    async with serving(0, live=nothing, ready=nothing, registry=CollectorRegistry()) as port:
        with pytest.raises(OSError, match=str(port)):
            async with serving(port, live=nothing, ready=nothing, registry=CollectorRegistry()):
                pass
