"""Polls until something holds, where a test would otherwise sleep and hope."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from tools.localcluster.controlplane import KubectlFailed

_FAILURES = (AssertionError, LookupError, KubectlFailed)


def eventually(check: Callable[[], Any], *, within: float = 90.0, every: float = 0.1) -> Any:
    """Returns what ``check`` returns as soon as that is true; ``None`` counts as true, so that it may only assert.

    Looking up what isn't there yet (``status["url"]``) is a failure like an assertion's, and so is
    one of kubectl's: a busy server fails a look now and then.

    Raises:
        AssertionError: it still failed, or was false, after ``within`` seconds; the last failure is shown.
    """
    deadline = time.monotonic() + within
    while True:
        failure: BaseException | None = None
        result: Any = None
        try:
            result = check()
        except _FAILURES as error:
            failure = error
        if failure is None and (result is None or result):
            return result
        if time.monotonic() > deadline:
            raise _never(within, failure, result) from failure
        time.sleep(every)


async def eventually_async(check: Callable[[], Awaitable[Any]], *, within: float = 90.0, every: float = 0.1) -> Any:
    """As ``eventually``, with a check that is awaited."""
    deadline = time.monotonic() + within
    while True:
        failure: BaseException | None = None
        result: Any = None
        try:
            result = await check()
        except _FAILURES as error:
            failure = error
        if failure is None and (result is None or result):
            return result
        if time.monotonic() > deadline:
            raise _never(within, failure, result) from failure
        await asyncio.sleep(every)


def _never(within: float, failure: BaseException | None, result: Any) -> AssertionError:
    last = f"{type(failure).__name__}: {failure}" if failure is not None else f"the check returned {result!r}"
    return AssertionError(f"not within {within:g} s, at last: {last}")
