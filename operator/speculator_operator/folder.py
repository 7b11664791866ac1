"""Reads a checkpoint in a local folder: a claim or an image that is mounted, or one on somebody's disk."""

from __future__ import annotations

from pathlib import Path

from speculator_operator.api import Reason
from speculator_operator.core.checkpoint import Snapshot
from speculator_operator.core.config_file import CONFIG, MAX_BYTES, config_missing, parsed, quoted, too_large, words
from speculator_operator.errors import Refused, Waiting

RETRY_SECONDS = 30.0


def read_folder(path: Path | str, uri: str | None = None, *, max_bytes: int = MAX_BYTES) -> Snapshot:
    """The config of a checkpoint in a local folder; ``uri`` is what the snapshot is called (the folder, as given).

    Raises:
        Refused: ``ConfigMissing``, ``ConfigMalformed``, ``ConfigTooLarge``.
        Waiting: ``HubUnavailable``: the folder is there and can't be read.
    """
    file = Path(path) / CONFIG
    try:
        if not Path(path).is_dir():
            raise Refused(Reason.CONFIG_MISSING, f"{quoted(str(path))} is not a folder. Name a checkpoint's folder.")
        if not file.is_file():  # nor a pipe, which would be waited for
            raise config_missing(f"the folder {quoted(str(path))}")
        with file.open("rb") as opened:
            body = opened.read(max_bytes + 1)
    except (OSError, ValueError) as error:
        raise Waiting(
            Reason.HUB_UNAVAILABLE,
            f"{quoted(str(file))} can't be read: {words(str(error))}.",
            retry_after=RETRY_SECONDS,
        ) from error
    if len(body) > max_bytes:
        raise too_large(f"the folder {quoted(str(path))}", max_bytes)
    return Snapshot(uri=uri if uri is not None else str(path), revision=None, config=parsed(body, str(path)))
