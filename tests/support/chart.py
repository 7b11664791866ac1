"""The chart, rendered by Helm once for each set of values."""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path
from typing import Any

import yaml

from tools.chart import CHART, render

Object = dict[str, Any]
Values = dict[str, Any]

#: The values that the chart has by itself.
DEFAULTS: Values = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())


class _Loader(yaml.CSafeLoader):
    """Refuses a key that is there twice, of which each reader of YAML makes something else."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    found = loader.construct_mapping(node, deep=True)
    if len(found) != len(node.value):
        raise yaml.constructor.ConstructorError(None, None, "a key is there twice", node.start_mark)
    return found


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def text(values: Values | None = None, *flags: str, release: str = "r", namespace: str = "ns") -> str:
    """What Helm prints. Raises ``RenderFailed``."""
    return _rendered(json.dumps(values or {}), flags, release, namespace)


@functools.cache
def _rendered(values: str, flags: tuple[str, ...], release: str, namespace: str) -> str:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(values)
        file.flush()
        return render("--values", file.name, *flags, release=release, namespace=namespace)


def objects(values: Values | None = None, *flags: str, release: str = "r", namespace: str = "ns") -> list[Object]:
    """The objects that the values give, the test's included."""
    documents = yaml.load_all(text(values, *flags, release=release, namespace=namespace), Loader=_Loader)
    return [document for document in documents if document]


def only(found: list[Object], kind: str, name: str | None = None) -> Object:
    """The one object of a kind (and name)."""
    (one,) = (it for it in found if it["kind"] == kind and name in (None, it["metadata"]["name"]))
    return one


def container(found: list[Object]) -> Object:
    """The operator's container."""
    (one,) = only(found, "Deployment")["spec"]["template"]["spec"]["containers"]
    return dict(one)


def environment(found: list[Object]) -> dict[str, str]:
    """The variables of the operator's container that are texts."""
    return {variable["name"]: variable["value"] for variable in container(found)["env"] if "value" in variable}


def nested(path: str, value: Any) -> Values:
    """``a.b`` and a value as ``{a: {b: value}}``."""
    for key in reversed(path.split(".")):
        value = {key: value}
    return dict(value)


def merged(*values: Values) -> Values:
    """One on top of the other, as Helm does it."""
    result: Values = {}
    for one in values:
        for key, value in one.items():
            both_maps = isinstance(value, dict) and isinstance(result.get(key), dict)
            result[key] = merged(result[key], value) if both_maps else value
    return result


def leaves(values: Values, schema: dict[str, Any], path: str = "") -> dict[str, Any]:
    """The default of each value that the schema gives a type of its own, by its path."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        here = f"{path}.{key}" if path else key
        properties = schema.get("properties", {}).get(key, {})
        if value and "properties" in properties:
            found |= leaves(value, properties, here)
        else:
            found[here] = value
    return found


def placed(found: Object) -> tuple[str, str, str, str]:
    """What no two objects of a cluster may share."""
    metadata = found["metadata"]
    return found["apiVersion"], found["kind"], metadata.get("namespace", ""), metadata["name"]


def files(folder: Path, pattern: str = "*.yaml") -> list[Path]:
    found = sorted(folder.glob(pattern))
    assert found, f"{folder} has no {pattern}"
    return found
