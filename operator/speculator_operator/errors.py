"""The two failures that a pass over a resource knows by name.

::

    OperatorError
    ├── Refused    the input can't be used; only a change of it helps (the resource is Stalled)
    └── Waiting    the input can't be judged yet; the same pass is worth repeating later

Anything else that is raised is a fault of ours or of the wire: it is logged and retried with backoff.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


class OperatorError(Exception):
    """A failure with a reason (a CamelCase word from ``api.Reason``) and a message that says what to do."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message


class Refused(OperatorError):
    """The user must act: nothing changes until the resource, or what it names, does.

    ``field`` is the path of the offending field, such as ``spec.engine.args``, where there is one. ``remedy`` says what
    to do, where ``evidence`` doesn't; the message has both. ``others`` were found at the same time: the message counts
    them.
    """

    def __init__(
        self,
        reason: str,
        evidence: str,
        *,
        field: str | None = None,
        remedy: str = "",
        others: Sequence[Refused] = (),
    ) -> None:
        message = f"{evidence}; {remedy}" if remedy else evidence
        super().__init__(reason, f"{message} ({len(others)} more)" if others else message)
        self.evidence = evidence
        self.field = field
        self.remedy = remedy
        self.others = tuple(others)


class Waiting(OperatorError):
    """Something outside isn't ready; ``retry_after`` (seconds) is when to look again."""

    def __init__(self, reason: str, message: str, *, retry_after: float) -> None:
        super().__init__(reason, message)
        self.retry_after = retry_after


class Refusals:
    """What is refused of one input, collected: one failed check doesn't hide what the next one would say."""

    def __init__(self) -> None:
        self.each: list[Refused] = []

    def add(self, refusal: Refused) -> None:
        self.each += (refusal, *refusal.others)

    def attempt(self, check: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T | None:
        """What ``check`` returns; None where it refuses."""
        try:
            return check(*args, **kwargs)
        except Refused as refusal:
            self.add(refusal)
            return None

    def raise_any(self) -> None:
        """Raises the first, if there is one, with the others."""
        if self.each:
            first, *others = self.each
            raise Refused(first.reason, first.evidence, field=first.field, remedy=first.remedy, others=others)


class _Raised(Refusals):
    """Collects nothing: the first refusal is raised."""

    def add(self, refusal: Refused) -> None:
        raise refusal


#: For those who want the first refusal only, as an exception.
RAISED: Final[Refusals] = _Raised()
