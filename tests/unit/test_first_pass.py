"""When a replica that begins to lead makes its first pass."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from speculator_operator import run
from speculator_operator.reconciler import Reconciler
from speculator_operator.watches import Watches
from speculator_operator.workqueue import Key, WorkQueue


async def test_a_watch_that_never_listens_is_named_and_holds_nothing_up_for_ever(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Passing:
        async def reconcile(self, key: Key) -> None:
            passed.append(key)
            done.set()

    passed: list[Key] = []
    done = asyncio.Event()
    queue: WorkQueue[Key] = WorkQueue()
    queue.add(("n", "a"))
    monkeypatch.setattr(run, "LISTEN_SECONDS", 0.2)
    watches = Watches(["pods", "services"], lambda: 0.0)
    passes: Any = run._passes(queue, cast("Reconciler", Passing()), 1, watches)  # noqa: SLF001
    running = asyncio.create_task(passes)
    await asyncio.sleep(0)
    assert passed == []
    await asyncio.wait_for(done.wait(), 20)
    running.cancel()
    assert passed == [("n", "a")]
    assert "pods, services" in caplog.text
