"""Log lines, as text or as JSON; either way, one that is about a resource says which.

A pass says once what it is about, and so does whatever logs a line within it, libraries and tasks that it begins
included. kopf's lines bear the object that they are about themselves.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal

Format = Literal["text", "json"]

_about: ContextVar[Hashable] = ContextVar("about", default=None)


@contextmanager
def about(key: Hashable) -> Iterator[None]:
    """Lines that are logged within are about the resource of this key: its namespace and name."""
    token = _about.set(key)
    try:
        yield
    finally:
        _about.reset(token)


def configure(format_: Format, *, verbose: bool) -> None:
    """Has everything logged to standard error, Python's warnings included."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Json() if format_ == "json" else Text())
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler])
    logging.captureWarnings(capture=True)
    if not verbose:
        logging.getLogger("kopf.objects").setLevel(logging.WARNING)  # it would say of each event that it was handled


class Text(logging.Formatter):
    """For people: ``TIME LEVEL LOGGER: NAMESPACE/NAME: MESSAGE``."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(subject)s%(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name it has there
        subject = _subject(record)
        path = "/".join(part for part in (subject.get("namespace"), subject.get("name")) if part)
        kind = f"{subject['kind']} " if "kind" in subject else ""
        record.subject = f"{kind}{path}: " if path else ""
        return super().formatMessage(record)


class Json(logging.Formatter):
    """An object a line: ``time``, ``level``, ``logger``, ``message``; where it is about a resource, ``namespace`` and
    ``name``, with a ``kind`` where it is about another object; ``exception`` is a trace."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_subject(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def _subject(record: logging.LogRecord) -> dict[str, str]:
    reference = getattr(record, "k8s_ref", None)
    if isinstance(reference, dict):
        return {part: str(reference[part]) for part in ("kind", "namespace", "name") if reference.get(part)}
    match _about.get():
        case (str() as namespace, str() as name):
            return {"namespace": namespace, "name": name}
        case None:
            return {}
        case key:
            return {"name": str(key)}
