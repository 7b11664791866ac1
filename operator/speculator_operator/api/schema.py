"""What all models of a resource have in common, and how it gets into their schema.

A ``Rule`` is said in Python and in CEL, and ``KeyedBy`` in the list's type, so that the API server refuses the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError, core_schema

from .reasons import Reason


@dataclass(frozen=True)
class Rule:
    """What the parts of an object must have in common.

    ``cel`` says it to the API server; ``holds`` says it here, for files that meet no API server, and for API servers
    that hold another version of the schema. ``field`` is the path of the field to blame, below the object.
    """

    cel: str
    holds: Callable[[Any], bool]
    field: str
    message: str
    reason: Reason = Reason.SPEC_INVALID


class Part(BaseModel):
    """A part of a resource: in camel case outside, with no other fields than these, and never changed. A docstring
    under a field is its description in the schema."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, use_attribute_docstrings=True
    )
    rules: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, given: Any) -> Any:
        """The API server drops a field that is null, too, if it knows the field."""
        if isinstance(given, dict):
            known = {field.alias for field in cls.model_fields.values()}
            return {name: value for name, value in given.items() if value is not None or name not in known}
        return given

    @model_validator(mode="after")
    def _keeps_rules(self) -> Self:
        for rule in self.rules:
            if not rule.holds(self):
                context = {"message": rule.message, "field": rule.field, "reason": rule.reason}
                raise PydanticCustomError("rule", "{message}", context)
        return self

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        described = handler.resolve_ref_schema(handler(schema))
        if cls.rules:
            described["x-kubernetes-validations"] = [
                {"rule": rule.cel, "message": rule.message, "fieldPath": rule.field} for rule in cls.rules
            ]
        return described


@dataclass(frozen=True)
class KeyedBy:
    """Marks a list whose items are told apart by a field of theirs, so that several appliers can own items of it."""

    key: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self._refuse_duplicates, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [self.key]}

    def _refuse_duplicates(self, items: list[Any]) -> list[Any]:
        keys = [getattr(item, self.key) for item in items]
        for key in keys:
            if keys.count(key) > 1:
                raise PydanticCustomError("duplicate", f"the {self.key} {key!r} occurs twice")
        return items
