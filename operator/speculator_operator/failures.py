"""What resources' inputs have failed with, so that not every event of a child has them tried again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .api import Reason
from .errors import OperatorError, Waiting
from .workqueue import Key

#: The longest time between tries of what may end by itself.
RETRY_MOST_SECONDS = 300.0

#: Whoever says so also says when to come back.
_TOLD_WHEN = (Reason.HUB_THROTTLED, Reason.STORAGE_THROTTLED)


@dataclass(frozen=True)
class Failure:
    """``since`` is when it was met, by the clock; for ``wait`` seconds from then it isn't met again."""

    inputs: str
    problem: OperatorError
    since: float
    wait: float


class Failures:
    """The last failure of each resource.

    ``reread`` is after how many seconds what only a change can end is tried again; ``clock`` is monotonic, in seconds.
    """

    def __init__(self, *, reread: float, clock: Callable[[], float]) -> None:
        self._reread = reread
        self._clock = clock
        self._last: dict[Key, Failure] = {}

    def of(self, key: Key) -> Failure | None:
        return self._last.get(key)

    def add(self, key: Key, inputs: str, problem: OperatorError) -> None:
        """What may end by itself is tried again after a time that doubles from try to try, or as told."""
        wait = self._reread
        if isinstance(problem, Waiting):
            wait, before = problem.retry_after, self._last.get(key)
            again = before and (before.inputs, before.problem.reason) == (inputs, problem.reason)
            if before and again and problem.reason not in _TOLD_WHEN:
                wait = max(wait, min(2 * before.wait, RETRY_MOST_SECONDS))
        self._last[key] = Failure(inputs, problem, self._clock(), wait)

    def raise_known(self, key: Key, *inputs: str) -> None:
        """Raises what one of the inputs has failed with, while it isn't time to try again."""
        last = self._last.get(key)
        if last and last.inputs in inputs and self._clock() < last.since + last.wait:
            raise last.problem.with_traceback(None) from None  # it would grow with each pass

    def wait(self, key: Key, problem: OperatorError) -> float:
        """Seconds after which to look again at a resource that a pass has met a problem of."""
        last = self._last.get(key)
        if last and last.problem is problem:
            return max(last.since + last.wait - self._clock(), 1.0)
        return problem.retry_after if isinstance(problem, Waiting) else self._reread

    def forget(self, key: Key) -> None:
        self._last.pop(key, None)
