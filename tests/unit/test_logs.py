"""How log lines are written, and that each says which resource it is about."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest

from speculator_operator import logs
from speculator_operator.logs import Json, Text
from speculator_operator.workqueue import WorkQueue

KEY = ("team", "llama")


def record(message: str = "it %s", *args: object, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("speculator_operator.x", logging.WARNING, "x.py", 1, message, args or ("broke",), None)
    made.created = 1767225600.5
    made.__dict__ |= extra
    return made


def parsed(made: logging.LogRecord) -> dict[str, str]:
    text = Json().format(made)
    assert "\n" not in text
    line: dict[str, str] = json.loads(text)
    return line


BARE = {
    "time": "2026-01-01T00:00:00.500+00:00",
    "level": "warning",
    "logger": "speculator_operator.x",
    "message": "it broke",
}
POD = {"apiVersion": "v1", "kind": "Pod", "namespace": "team", "name": "llama-1", "uid": "u"}


def test_a_line_about_nothing_in_particular() -> None:
    assert parsed(record()) == BARE
    assert Text().format(record()).endswith("WARNING speculator_operator.x: it broke")


def test_a_line_about_a_resource_says_which() -> None:
    with logs.about(KEY):
        assert parsed(record()) == BARE | {"namespace": "team", "name": "llama"}
        assert Text().format(record()).endswith("WARNING speculator_operator.x: team/llama: it broke")
    assert parsed(record()) == BARE


def test_kopfs_lines_say_which_object_they_are_about_and_nothing_else_that_they_bear() -> None:
    made = record(k8s_ref=POD, settings="all of them", k8s_skip=True)
    assert parsed(made) == BARE | {"kind": "Pod", "namespace": "team", "name": "llama-1"}
    assert Text().format(made).endswith(": Pod team/llama-1: it broke")
    cluster_scoped = record(k8s_ref={"kind": "Node", "name": "n", "namespace": None})
    assert parsed(cluster_scoped) == BARE | {"kind": "Node", "name": "n"}


def test_a_trace_is_in_the_line_and_text_is_data() -> None:
    made = record('"%s"\n{', "a\u2028b")
    made.exc_info = (ValueError, ValueError("no"), None)
    line = parsed(made)
    assert line["message"] == '"a\u2028b"\n{'
    assert line["exception"].endswith("ValueError: no")
    assert Text().format(made).endswith("ValueError: no")


async def test_passes_that_run_at_the_same_time_and_their_tasks_each_say_what_they_are_about(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen: list[dict[str, str]] = []

    class Lines(logging.Handler):
        def emit(self, made: logging.LogRecord) -> None:
            seen.append(parsed(made))

    both = asyncio.Barrier(2)
    queue: WorkQueue[tuple[str, str]] = WorkQueue()
    log = logging.getLogger("some.library")

    async def task() -> None:
        log.warning("in a task")

    async def process(_: tuple[str, str]) -> None:
        await both.wait()
        await asyncio.create_task(task())
        await both.wait()
        raise ConnectionError("gone")

    logger = logging.getLogger()
    logger.addHandler(handler := Lines())
    queue.add(("n", "a"))
    queue.add(("n", "b"))
    running = asyncio.create_task(queue.run(process, workers=2))
    try:
        async with asyncio.timeout(30):
            while len(seen) < 4:  # noqa: ASYNC110 - the lines are all there is to wait for
                await asyncio.sleep(0.01)
    finally:
        running.cancel()
        logger.removeHandler(handler)
    assert {(it["message"].split(",")[0], it["namespace"], it["name"]) for it in seen} == {
        ("in a task", "n", "a"),
        ("in a task", "n", "b"),
        ("Pass 1 in a row failed", "n", "a"),
        ("Pass 1 in a row failed", "n", "b"),
    }
    assert "gone" in caplog.text
