"""Resolutions under way. A pass waits for one a little; one that takes longer asks for a pass when it has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from .api import Reason, Resolved
from .errors import Waiting
from .workqueue import Key

#: What a pass waits for one that it has begun, or finds.
PATIENCE_SECONDS = 2.0


class Resolutions:
    """At most one of each resource. ``changed`` is called with a key that wants another pass."""

    def __init__(self, changed: Callable[[Key], None], *, look_again: float) -> None:
        self._changed = changed
        self._look_again = look_again
        self._tasks: dict[Key, asyncio.Task[Resolved]] = {}

    async def ended(
        self, key: Key, inputs: str, begin: Callable[[], Coroutine[Any, Any, Resolved]]
    ) -> asyncio.Task[Resolved]:
        """The resolution of these inputs, which is begun if it isn't under way. One of other inputs is given up.

        Raises:
            Waiting: it has not ended.
        """
        task = self._tasks.get(key)
        if task is None or task.get_name() != inputs:
            self.give_up(key)
            task = self._tasks[key] = asyncio.create_task(begin(), name=inputs)
        done, _ = await asyncio.wait({task}, timeout=PATIENCE_SECONDS)
        if not done:
            task.add_done_callback(lambda _: self._changed(key))  # the queue has a key once, however often it is added
            raise Waiting(Reason.RESOLVING, "The models are being read", retry_after=self._look_again)
        del self._tasks[key]
        return task

    def give_up(self, key: Key) -> None:
        """Ends the resolution of inputs that nobody wants any more."""
        if task := self._tasks.pop(key, None):
            task.cancel()
