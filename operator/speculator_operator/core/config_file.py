"""The bytes of a ``config.json`` -> its JSON object, or a named error, wherever the bytes came from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from speculator_operator.api import Reason
from speculator_operator.core.words import one_line
from speculator_operator.errors import Refused

CONFIG = "config.json"
MAX_BYTES = 4 * 1024 * 1024
"""Room for configs that list a label, or the quantization of a layer, per line."""
MAX_DEPTH = 64
#: Values in all, while it is read: what a few bytes of JSON say can take a hundred times as many in memory.
MAX_VALUES = 200_000
#: Values that are kept; what goes beyond is labels, or the quantization of layers.
KEPT_VALUES = 20_000

_DETAILS = frozenset(
    ("id2label", "label2id", "task_specific_params", "config_groups", "dynamic", "extra_config"),
)
#: Names of layers that aren't quantized: that there are some is kept, as ``True``.
_LEFT_OUT = frozenset(("ignore", "ignored_layers", "modules_to_not_convert"))


def parsed(body: bytes, whose: str) -> Mapping[str, Any]:
    """The JSON object in ``body``, read as the engine reads it; ``whose`` it is, for the message.

    So duplicate keys and ``Infinity``, which published configs contain, are let through; only what can't be handed on
    is not: deep nests, and text that can't be written as UTF-8.
    """
    if sum(map(body.count, (b"{", b"[", b","))) > MAX_VALUES:
        raise _too_much(whose, MAX_VALUES)
    try:
        value = json.loads(body.decode("utf-8"))
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise _malformed(whose, "it is nested too deeply") from None
    except ValueError as error:
        raise _malformed(whose, one_line(str(error))) from None
    if not isinstance(value, dict):
        raise _malformed(whose, f"it holds {'an array' if isinstance(value, list) else 'a single value'}")
    if not value:
        raise Refused(
            Reason.CONFIG_MALFORMED,
            f"{CONFIG} of {whose} is empty. Have the checkpoint saved again, or name another revision.",
        )
    if _values(value, whose) > KEPT_VALUES:
        value = without_details(value)
        if _values(value, whose) > KEPT_VALUES:
            raise _too_much(whose, KEPT_VALUES)
    config: Mapping[str, Any] = value
    return config


def without_details(value: Any) -> Any:
    """A config without what grows with a model's labels or layers, and says nothing about whether models fit."""
    if isinstance(value, Mapping):
        return {
            key: bool(inner) if key in _LEFT_OUT else without_details(inner)
            for key, inner in value.items()
            if key not in _DETAILS
        }
    return value


def _values(value: Any, whose: str) -> int:
    """How many values there are in a JSON value, one inside the other.

    Raises:
        Refused: ``ConfigMalformed``: they are nested more than ``MAX_DEPTH`` deep.
    """
    count, level = 1, [value]
    for _ in range(MAX_DEPTH):
        inner = [child for each in level for child in (each.values() if isinstance(each, dict) else each)]
        count += len(inner)
        level = [child for child in inner if isinstance(child, dict | list)]
        if not level:
            return count
    raise _malformed(whose, f"it is nested more than {MAX_DEPTH} deep")


def _too_much(whose: str, limit: int) -> Refused:
    return Refused(
        Reason.CONFIG_TOO_LARGE,
        f"{CONFIG} of {whose} holds more than {limit} values, which no model's does. Check what is there.",
    )


def _malformed(whose: str, why: str) -> Refused:
    return Refused(
        Reason.CONFIG_MALFORMED,
        f"{CONFIG} of {whose} is not a JSON object: {why}. Have the checkpoint saved again, or name another revision.",
    )


def too_large(where: str, limit: int) -> Refused:
    return Refused(
        Reason.CONFIG_TOO_LARGE,
        f"{CONFIG} of {where} is larger than {limit} bytes, which no model's is. Check what the repository holds.",
    )


def config_missing(where: str) -> Refused:
    return Refused(
        Reason.CONFIG_MISSING, f"There is no {CONFIG} in {where}. Name a checkpoint in the Transformers format."
    )
