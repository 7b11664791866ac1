"""What a resolver Job has read of a model, or why it couldn't, as the one text that gets out of its pod.

The kubelet cuts a termination message at 4096 bytes without a word, so what is sent is packed, bears a checksum, and
is left small: what no rule looks at goes first (names of labels, the details of a quantization), then the sizes of
single shards of weights, and files that say nothing of them. A config that is still too large is refused by name.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from speculator_operator.api import Reason
from speculator_operator.core import weight_files
from speculator_operator.core.checkpoint import Snapshot
from speculator_operator.core.config_file import MAX_BYTES as MAX_CONFIG_BYTES
from speculator_operator.core.config_file import parsed, without_details
from speculator_operator.core.memory import QUANTIZED_BY
from speculator_operator.errors import OperatorError, Refused, Waiting
from speculator_operator.reference import COMMIT, Kind, Reference

#: Of a termination message. Source: MaxContainerTerminationMessageLength in k8s.io/kubernetes/pkg/kubelet/container.
MAX_BYTES = 4096
MAX_MESSAGE = 1024
MAX_WAIT_SECONDS = 3600.0
#: Of files that no weights are read from: a few stand for all.
MAX_NAMED = 8

_MARK = "speculators.dev/report/v1"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
#: What reading or fetching a model can fail with. Anything else isn't a reader's to say.
_REASONS = frozenset(
    (
        *(Reason.MODEL_UNAUTHORIZED, Reason.MODEL_GATED, Reason.MODEL_FORBIDDEN, Reason.MODEL_NOT_FOUND),
        *(Reason.REVISION_NOT_FOUND, Reason.CONFIG_MISSING, Reason.CONFIG_MALFORMED, Reason.CONFIG_TOO_LARGE),
        *(Reason.FILES_TOO_MANY, Reason.HUB_THROTTLED, Reason.HUB_UNAVAILABLE, Reason.STORAGE_UNAUTHORIZED),
        *(Reason.BUCKET_NOT_FOUND, Reason.BUCKET_ELSEWHERE, Reason.STORAGE_THROTTLED, Reason.STORAGE_UNAVAILABLE),
        *(Reason.FOLDER_UNREADABLE, Reason.FOLDER_UNSAFE, Reason.WEIGHTS_MALFORMED, Reason.RESOLVER_FAILED),
        *(Reason.STORAGE_CHANGED, Reason.VOLUME_UNUSABLE, Reason.FETCH_FAILED),
    )
)


def packed(outcome: Snapshot | OperatorError) -> str:
    """The text for an outcome, at most ``MAX_BYTES`` long."""
    for document in _documents(outcome):
        text = _written(document)
        if len(text) <= MAX_BYTES:
            return text
    raise AssertionError("the last document of each kind is short")


def unpacked(text: str, reference: Reference) -> Snapshot:
    """What was read of what ``reference`` names. A report is believed about that, and about nothing else.

    Raises:
        Refused, Waiting: what reading it has failed with.
        ValueError: it is no report of it, or not a whole one.
    """
    match _read(text):
        case {"refused": str(reason), "message": str(message)}:
            raise Refused(_reason(reason), message[:MAX_MESSAGE])
        case {"waiting": str(reason), "message": str(message), "after": int() | float() as after}:
            if after != after:  # not a number
                raise ValueError("it says no time to wait")
            raise Waiting(_reason(reason), message[:MAX_MESSAGE], retry_after=min(max(after, 1.0), MAX_WAIT_SECONDS))
        case {"uri": str(uri), "revision": str(revision), "config": dict(config), **told}:
            pin = COMMIT if reference.kind is Kind.HUB else _DIGEST
            moved = pin.fullmatch(reference.revision or "") and revision != reference.revision
            if uri != reference.uri or moved or not pin.fullmatch(revision):
                raise ValueError("it is of something else than was asked for")
            return Snapshot(uri, revision, config, _files(told), _parameters(told.get("parameters")))
    raise ValueError("the report says nothing that is known")


def _documents(outcome: Snapshot | OperatorError) -> Iterator[dict[str, Any]]:
    """Ways to say it, the fullest first, and a short one last."""
    match outcome:
        case Snapshot():
            whole = {"uri": outcome.uri, "revision": outcome.revision, "parameters": outcome.parameters}
            slim = without_details(outcome.config)
            yield {**whole, "config": outcome.config, "files": outcome.files}
            yield {**whole, "config": slim, "files": outcome.files}
            if outcome.files is not None:
                yield {**whole, "config": slim, **_of_weights(outcome.files)}
            fits = len(_written({**whole, "config": slim, "files": {}})) <= MAX_BYTES
            yield from _documents(_too_many(outcome.uri) if fits else _too_large(outcome.uri))
        case Waiting():
            yield {"waiting": outcome.reason, "message": _cut(outcome.message), "after": outcome.retry_after}
        case _:
            yield {"refused": outcome.reason, "message": _cut(outcome.message)}


def _too_large(uri: str) -> Refused:
    return Refused(
        Reason.CONFIG_TOO_LARGE,
        f"What config.json of {uri} says doesn't fit into a resolver Job's {MAX_BYTES} bytes. "
        "Save it anew without what no model needs, or serve it from a public repository.",
    )


def _too_many(uri: str) -> Refused:
    return Refused(
        Reason.FILES_TOO_MANY,
        f"The names of the weights in {uri} don't fit into a resolver Job's {MAX_BYTES} bytes. "
        "Name the checkpoint's own folder, or save it anew in shards of one set.",
    )


def _cut(message: str) -> str:
    return message.encode(errors="replace").decode()[:MAX_MESSAGE]


def _of_weights(files: Mapping[str, int]) -> dict[str, Any]:
    """What files say of weights, in few words: the shards of a set together; a few of those in pickles."""
    names = [*weight_files.pickled(files)[:MAX_NAMED], *(name for name in QUANTIZED_BY if name in files)]
    return {"shards": weight_files.summed_up(files), "beside": {name: files[name] for name in names}}


def _written(document: Mapping[str, Any]) -> str:
    content = zlib.compress(json.dumps(document, separators=(",", ":")).encode(), 9)
    return f"{_MARK} {_checksum(content)} {base64.b85encode(content).decode()}"


def _read(text: str) -> Mapping[str, Any]:
    mark, _, rest = text.partition(" ")
    checksum, _, encoded = rest.partition(" ")
    if mark != _MARK:
        raise ValueError("it isn't a report")
    try:
        content = base64.b85decode(encoded)
        if _checksum(content) != checksum:
            raise ValueError("it isn't whole: the checksum is another")
        inflate = zlib.decompressobj()
        document = inflate.decompress(content, MAX_CONFIG_BYTES)
        if inflate.unconsumed_tail or not inflate.eof:
            raise ValueError("it isn't whole, or far too large")
        return parsed(document, "the report")
    except (zlib.error, binascii.Error, Refused) as error:
        raise ValueError(f"it can't be read: {error}") from error


def _reason(reason: str) -> Reason:
    if reason not in _REASONS:
        raise ValueError(f"{reason[:100]!r} is no reason of a reader's")
    return Reason(reason)


def _files(told: Mapping[str, Any]) -> dict[str, int] | None:
    match told:
        case {"files": None}:
            return None
        case {"files": dict(files)} if all(map(_is_size, files.values())):
            return files
        case {"shards": list(shards), "beside": dict(beside)} if all(map(_is_size, beside.values())):
            return beside | weight_files.spelled_out(map(_run, shards))
    raise ValueError("its files are no sizes")


def _parameters(told: object) -> dict[str, int] | None:
    match told:
        case None:
            return None
        case dict() if all(map(_is_size, told.values())):
            return told
    raise ValueError("its parameters are no numbers")


def _run(shards: object) -> tuple[str, int, int]:
    match shards:
        case [str(name), int(number), int(total)] if _is_size(total):
            return name, number, total
    raise ValueError("its shards are no sizes")


def _is_size(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
