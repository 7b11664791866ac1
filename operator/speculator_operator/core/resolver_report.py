"""What a resolver Job has read of a model, or why it couldn't, as the one text that gets out of its pod.

The kubelet cuts a termination message at 4096 bytes without a word, so what is sent is packed, bears a checksum, and
is left small: what no rule looks at goes first (names of labels, the details of a quantization), shards of weights are
summed up, and a config that is still too large is refused by name.
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
from speculator_operator.core.checkpoint import Snapshot
from speculator_operator.errors import OperatorError, Refused, Waiting

#: Of a termination message. Source: MaxContainerTerminationMessageLength in k8s.io/kubernetes/pkg/kubelet/container.
MAX_BYTES = 4096
#: Unpacking can't make more of a report; a config of that size compresses to far more than a message.
MAX_UNPACKED = 4 * 1024 * 1024
MAX_MESSAGE = 1024

_MARK = "speculators.dev/report/v1"
#: Parts of a config that grow with a model's labels or layers, and say nothing about whether models fit.
_BULKY = ("id2label", "label2id", "task_specific_params", "config_groups", "ignore", "modules_to_not_convert")
_SHARD = re.compile(r"(.*)-\d{5}-of-\d{5}(\.[a-z]+)")


def packed(outcome: Snapshot | OperatorError) -> str:
    """The text for an outcome, at most ``MAX_BYTES`` long."""
    for document in _documents(outcome):
        text = _written(document)
        if len(text) <= MAX_BYTES:
            return text
    uri = outcome.uri if isinstance(outcome, Snapshot) else ""
    return packed(
        Refused(
            Reason.CONFIG_TOO_LARGE,
            f"What config.json of {uri} says doesn't fit into a resolver Job's {MAX_BYTES} bytes. "
            "Save it anew without what no model needs, or serve it from a public repository.",
        )
    )


def unpacked(text: str) -> Snapshot:
    """What was read.

    Raises:
        Refused, Waiting: what reading it has failed with.
        ValueError: it is no report, or not a whole one.
    """
    document = _read(text)
    match document:
        case {"refused": str(reason), "message": str(message)}:
            raise Refused(Reason(reason), message[:MAX_MESSAGE])
        case {"waiting": str(reason), "message": str(message), "after": int() | float() as after}:
            raise Waiting(Reason(reason), message[:MAX_MESSAGE], retry_after=min(max(float(after), 1.0), 3600.0))
        case {"uri": str(uri), "revision": str() | None as revision, "config": dict(config), "files": files}:
            return Snapshot(uri, revision, config, _sizes(files))
    raise ValueError("the report says nothing that is known")


def _documents(outcome: Snapshot | OperatorError) -> Iterator[dict[str, Any]]:
    """Ways to say it, the fullest first."""
    match outcome:
        case Snapshot():
            whole = {"uri": outcome.uri, "revision": outcome.revision}
            merged = _merged(outcome.files)
            yield {**whole, "config": outcome.config, "files": outcome.files}
            yield {**whole, "config": outcome.config, "files": merged}
            yield {**whole, "config": _slim(outcome.config), "files": merged}
        case Waiting():
            yield {
                "waiting": outcome.reason,
                "message": outcome.message[:MAX_MESSAGE],
                "after": outcome.retry_after,
            }
        case _:
            yield {"refused": outcome.reason, "message": outcome.message[:MAX_MESSAGE]}


def _merged(files: Mapping[str, int] | None) -> dict[str, int] | None:
    """The same files, the shards of one set as one file of their size."""
    if files is None:
        return None
    merged: dict[str, int] = {}
    for name, size in sorted(files.items()):
        if not name.endswith((".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".py", ".json")):
            continue
        shard = _SHARD.fullmatch(name)
        whole = f"{shard[1]}{shard[2]}" if shard else name
        merged[whole] = merged.get(whole, 0) + size
    return merged


def _slim(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _slim(inner) for key, inner in value.items() if key not in _BULKY}
    return value


def _written(document: Mapping[str, Any]) -> str:
    content = zlib.compress(json.dumps(document, separators=(",", ":")).encode(), 9)
    return f"{_MARK} {_checksum(content)} {base64.b85encode(content).decode()}"


def _read(text: str) -> Any:
    mark, _, rest = text.partition(" ")
    checksum, _, encoded = rest.partition(" ")
    if mark != _MARK:
        raise ValueError("it isn't a report")
    try:
        content = base64.b85decode(encoded)
        if _checksum(content) != checksum:
            raise ValueError("it isn't whole: the checksum is another")
        inflate = zlib.decompressobj()
        document = inflate.decompress(content, MAX_UNPACKED)
        if inflate.unconsumed_tail or not inflate.eof:
            raise ValueError("it isn't whole, or far too large")
        return json.loads(document)
    except (zlib.error, binascii.Error, RecursionError) as error:
        raise ValueError(f"it can't be read: {error}") from error


def _sizes(files: object) -> dict[str, int] | None:
    if files is None:
        return None
    if not isinstance(files, dict) or not all(type(size) is int and size >= 0 for size in files.values()):
        raise ValueError("its files are no sizes")
    return files


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
