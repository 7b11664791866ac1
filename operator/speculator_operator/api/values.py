"""The types of single values, each with its bounds and its pattern: names, keys, quantities, paths.

What Kubernetes would refuse in a child is refused here first, where the field has a name. Patterns keep to what Go's
and Rust's expressions have in common, for both read them: the API server and pydantic.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from speculator_operator.reference import REVISION_PATTERN

SUBDOMAIN_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
QUALIFIED_NAME_PATTERN = r"^([a-z0-9][-a-z0-9.]{0,251}[a-z0-9]/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
LABEL_VALUE_PATTERN = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"
EXTENDED_RESOURCE_PATTERN = r"^[a-z0-9][-a-z0-9.]{0,251}[a-z0-9]/[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
RESOURCE_PATTERN = f"^(cpu|memory|ephemeral-storage|hugepages-[0-9]+[KMG]i|{EXTENDED_RESOURCE_PATTERN[1:-1]})$"
DATA_KEY_PATTERN = r"^\.?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$"
IMAGE_PATTERN = r"^[a-zA-Z0-9][a-zA-Z0-9.:/_-]*(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127}|@sha256:[a-f0-9]{64})$"
QUANTITY_PATTERN = r"^([0-9]+\.?[0-9]*|\.[0-9]+)([numkMGTPE]|[KMGTPE]i|[eE][0-9]{1,2})?$"
PERCENT_PATTERN = r"^(100|[1-9]?[0-9])%$"


def _number_or(pattern: str, example: str, largest: int) -> Callable[[object], int | str]:
    def check(value: object) -> int | str:
        if type(value) is int and 0 <= value <= largest:
            return value
        if isinstance(value, str) and len(value) <= 32 and re.search(rf"{pattern[:-1]}\Z", value):
            return value
        raise PydanticCustomError(
            "number_or_text", f"must be a number from 0 to {largest}, or a text such as {example}"
        )

    return check


#: A part of a resource that the schema can't see into may have this many characters of JSON.
FREE_MAX_LENGTH = 16384


def _bounded(value: dict[str, Any]) -> dict[str, Any]:
    if len(json.dumps(value, default=str)) > FREE_MAX_LENGTH:
        raise PydanticCustomError("too_long", f"must be at most {FREE_MAX_LENGTH} characters of JSON")
    return value


Name = Annotated[str, Field(min_length=1, max_length=253, pattern=SUBDOMAIN_PATTERN)]
Revision = Annotated[str, Field(min_length=1, max_length=128, pattern=REVISION_PATTERN)]
Uri = Annotated[str, Field(min_length=3, max_length=1024)]
Size = Annotated[int, Field(strict=True, ge=1, le=64)]
Quantity = Annotated[
    int | str,
    PlainValidator(_number_or(QUANTITY_PATTERN, "'500m' or '16Gi'", 2**53)),
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "minimum": 0,
            "maximum": 2**53,
            "maxLength": 32,
            "pattern": QUANTITY_PATTERN,
        }
    ),
]
IntOrPercent = Annotated[
    int | str,
    PlainValidator(_number_or(PERCENT_PATTERN, "'25%'", 1000)),
    WithJsonSchema(
        {"x-kubernetes-int-or-string": True, "minimum": 0, "maximum": 1000, "maxLength": 4, "pattern": PERCENT_PATTERN}
    ),
]
#: Of a folder within a volume; no part of it can be `.` or `..`.
SubPath = Annotated[
    str,
    Field(
        min_length=1,
        max_length=253,
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9._=-]*(/[A-Za-z0-9_][A-Za-z0-9._=-]*)*$",
        description="a relative path, such as models/llama",
    ),
]
ServedName = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:-]*$")]
MetadataKey = Annotated[
    str,
    Field(
        max_length=317,
        pattern=QUALIFIED_NAME_PATTERN,
        description="a name of up to 63 letters, digits, '-', '_' and '.', after an optional domain and a slash",
    ),
]
LabelValue = Annotated[str, Field(max_length=63, pattern=LABEL_VALUE_PATTERN)]
ResourceName = Annotated[
    str,
    Field(
        max_length=317,
        pattern=RESOURCE_PATTERN,
        description="cpu, memory, ephemeral-storage, hugepages-2Mi, or an extended resource such as example.com/nic",
    ),
]
Free = Annotated[
    dict[str, Any],
    Field(max_length=32),
    AfterValidator(_bounded),
    Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True}),
]
