"""One resource, parsed: identity and spec, or a refusal of all that is wrong with it, each with its field named."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar, Self, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from speculator_operator.errors import Refusals, Refused

from .names import API_VERSION, REFRESH_ANNOTATION
from .reasons import Reason
from .schema import Rule
from .spec import SpeculatorDeploymentSpec

#: Children bear the resource's name, and a pod's name adds 11 characters to the Deployment's.
NAME_MAX_LENGTH = 52
NAME_PATTERN = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"


class SpeculatorDeployment(BaseModel):
    """One resource, parsed: identity and spec."""

    model_config = ConfigDict(frozen=True)

    name_rule: ClassVar[Rule] = Rule(
        cel=f"size(self.metadata.name) <= {NAME_MAX_LENGTH} && self.metadata.name.matches('{NAME_PATTERN}')",
        holds=lambda name: len(name) <= NAME_MAX_LENGTH and bool(re.fullmatch(NAME_PATTERN[1:-1], name)),
        field=".metadata.name",
        message=f"the name is its Service's too: at most {NAME_MAX_LENGTH} lower-case letters, digits and dashes, "
        "a letter first and no dash last",
    )

    name: str
    namespace: str
    uid: str = ""
    generation: int = 0
    refresh: str = ""
    spec: SpeculatorDeploymentSpec

    @classmethod
    def from_object(cls, body: dict[str, Any], unknown: Refusals | None = None) -> Self:
        """Parses a resource as the API server holds it, or as a file says it.

        A field that the schema doesn't have is refused; but where ``unknown`` is given, it is put there, and left out,
        as the API server leaves it out.

        Raises:
            Refused: ``SpecInvalid`` (or the broken rule's reason), naming the first field that is wrong, its value, and
                how many others are; ``others`` says of each what is wrong.
        """
        if body.get("apiVersion", API_VERSION) != API_VERSION:
            message = f"apiVersion must be {API_VERSION}, not {str(body['apiVersion'])[:100]!r}"
            raise Refused(Reason.SPEC_INVALID, message, field="apiVersion")
        metadata = body.get("metadata") or {}
        texts = ("name", "namespace", "uid")
        if not isinstance(metadata, dict) or any(not isinstance(metadata.get(key) or "", str) for key in texts):
            message = f"metadata must be a map, with text for {', '.join(texts)}"
            raise Refused(Reason.SPEC_INVALID, message, field="metadata")
        annotations = metadata.get("annotations") or {}
        if not isinstance(annotations, dict) or not all(isinstance(value, str) for value in annotations.values()):
            message = "metadata.annotations must be a map of texts; put numbers in quotes"
            raise Refused(Reason.SPEC_INVALID, message, field="metadata.annotations")
        name = metadata.get("name") or ""
        wrong = Refusals()
        given = _known(body, _FIELDS, "", wrong if unknown is None else unknown)
        if not cls.name_rule.holds(name):
            message = f"metadata.name: {cls.name_rule.message}, not {name[:100]!r}"
            wrong.add(Refused(Reason.SPEC_INVALID, message, field="metadata.name"))
        try:
            spec = SpeculatorDeploymentSpec.model_validate(given.get("spec") or {})
        except ValidationError as error:
            for details in error.errors(include_url=False):
                wrong.add(_refusal(details))
        wrong.raise_any()
        return cls(
            name=name,
            namespace=metadata.get("namespace") or "default",
            uid=metadata.get("uid") or "",
            generation=metadata.get("generation") or 0,
            refresh=annotations.get(REFRESH_ANNOTATION, ""),
            spec=spec,
        )


#: What is in an object, each with the model of what is in there, where it has one.
_FIELDS: Mapping[str, type[BaseModel] | None] = {
    "apiVersion": None,
    "kind": None,
    "metadata": None,
    "spec": SpeculatorDeploymentSpec,
    "status": None,
}


def _known(given: Any, fields: Mapping[str, type[BaseModel] | None], path: str, unknown: Refusals) -> Any:
    """What is given, without what the schema doesn't have, which goes to ``unknown``."""
    if not isinstance(given, dict):
        return given
    known = {}
    for name, part in given.items():
        place = f"{path}.{str(name)[:100]}" if path else str(name)[:100]
        if name not in fields:
            near = difflib.get_close_matches(place.rpartition(".")[2], fields, 1)
            remedy = f"did you mean {near[0]}?" if near else f"it may be {', '.join(fields)}"
            unknown.add(Refused(Reason.SPEC_INVALID, f"{place}: there is no such field", field=place, remedy=remedy))
        elif (model := fields[name]) is None:
            known[name] = part
        elif isinstance(part, list):
            items = enumerate(part)
            known[name] = [_known(item, _fields(model), f"{place}[{index}]", unknown) for index, item in items]
        else:
            known[name] = _known(part, _fields(model), place, unknown)
    return known


@cache
def _fields(model: type[BaseModel]) -> Mapping[str, type[BaseModel] | None]:
    return {field.alias or name: _model_in(field.annotation) for name, field in model.model_fields.items()}


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model in an annotation such as ``list[EnvVar]`` or ``Source | None``; none in one of plain values."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)


def _refusal(error: ErrorDetails) -> Refused:
    context = error.get("ctx", {}) if error["type"] == "rule" else {}
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"] if part != "[key]")
    field = f"spec{''.join(parts)}{context.get('field', '')}"
    untold = error["type"] in ("missing", "rule") or {"args", "env"} & set(error["loc"])  # there may be a token in it
    given = "" if untold else f", not {repr(error['input'])[:100]}"
    return Refused(context.get("reason", Reason.SPEC_INVALID), f"{field}: {error['msg']}{given}", field=field)
