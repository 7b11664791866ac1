"""The two failures that a pass over a resource knows by name.

::

    OperatorError
    ├── Refused    the input can't be used; only a change of it helps (the resource is Stalled)
    └── Waiting    the input can't be judged yet; the same pass is worth repeating later

Anything else that is raised is a fault of ours or of the wire: it is logged and retried with backoff.
"""

from __future__ import annotations


class OperatorError(Exception):
    """A failure with a reason (a CamelCase word from ``api.Reason``) and a message that says what to do."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message


class Refused(OperatorError):
    """The user must act: nothing changes until the resource, or what it names, does.

    ``field`` is the path of the offending field, such as ``spec.engine.args``, where there is one.
    """

    def __init__(self, reason: str, message: str, *, field: str | None = None) -> None:
        super().__init__(reason, message)
        self.field = field


class Waiting(OperatorError):
    """Something outside isn't ready; ``retry_after`` (seconds) is when to look again."""

    def __init__(self, reason: str, message: str, *, retry_after: float) -> None:
        super().__init__(reason, message)
        self.retry_after = retry_after
