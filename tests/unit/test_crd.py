from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from speculator_operator import api, crd
from speculator_operator.core import status
from speculator_operator.core.status import Facts
from tests.support import inputs

ROOT = Path(__file__).parents[2]
VERSION: dict[str, Any] = crd.crd()["spec"]["versions"][0]
SCHEMA: dict[str, Any] = VERSION["schema"]["openAPIV3Schema"]

#: What may stand in a structural schema as the API server takes it: no references, no unions, no bounds as booleans.
ALLOWED = {*crd.KEPT, "default", "properties", "additionalProperties", "items"}


def nodes(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}" if path else name)
    if "items" in node:
        yield from nodes(node["items"], f"{path}[]")
    if "additionalProperties" in node:
        yield from nodes(node["additionalProperties"], f"{path}.*")


NODES = dict(nodes(SCHEMA))


def test_the_generated_file_is_up_to_date() -> None:
    file = ROOT / "crds" / "speculators.dev_speculatordeployments.yaml"
    assert file.read_text(encoding="utf-8") == crd.manifest(), "run `make generate`"
    assert yaml.safe_load(crd.manifest()) == crd.crd()


@pytest.mark.parametrize("path", NODES)
def test_every_part_of_the_schema_is_structural_and_bounded(path: str) -> None:
    node = NODES[path]
    assert set(node) <= ALLOWED
    assert not {"properties", "additionalProperties"} <= set(node)
    if node.get("x-kubernetes-int-or-string"):
        assert {"pattern", "maxLength", "minimum", "maximum"} <= set(node)
        return
    match node["type"]:
        case "string":
            assert "maxLength" in node or "enum" in node
        case "integer":
            assert {"minimum", "maximum"} <= set(node)
        case "array":
            assert {"maxItems", "items", "x-kubernetes-list-type"} <= set(node)
        case "object":
            open_ended = "additionalProperties" in node or "x-kubernetes-preserve-unknown-fields" in node
            assert open_ended == ("maxProperties" in node)
        case other:
            assert other == "boolean"


@pytest.mark.parametrize("path", [path for path in NODES if re.match(r"(spec|status)\.[^*]*[^*\]]$", path)])
def test_every_field_has_a_description(path: str) -> None:
    assert NODES[path]["description"]


@pytest.mark.parametrize("path", [path for path, node in NODES.items() if "x-kubernetes-validations" in node])
def test_every_rule_says_what_to_do_and_of_which_field(path: str) -> None:
    for rule in NODES[path]["x-kubernetes-validations"]:
        assert len(rule["message"]) > 20
        if "fieldPath" in rule:
            assert f"{path}{rule['fieldPath']}".removeprefix(".") in NODES


def test_only_replicas_and_a_status_that_nobody_has_written_have_defaults() -> None:
    assert {path: node["default"] for path, node in NODES.items() if "default" in node} == {
        "spec.replicas": 1,
        "status": {"observedGeneration": -1},
    }


def test_every_field_of_the_spec_has_a_bad_value_in_the_tables() -> None:
    leaves = {
        re.sub(r"\[\]|\.\*", "", path)
        for path, node in NODES.items()
        if path.startswith("spec.") and not node.get("properties")
    }
    tried = {re.sub(r"\[\d+\]", "", field) for field, _ in inputs.BAD.values()}
    untried = {leaf for leaf in leaves if not any(f"{field}.".startswith(f"{leaf}.") for field in tried)}
    assert untried == {"spec.speculation.config.num_speculative_tokens"}  # its row names the config


def test_scale_and_columns_read_fields_that_exist() -> None:
    scale = VERSION["subresources"]["scale"]
    columns = [column["jsonPath"] for column in VERSION["additionalPrinterColumns"]]
    for path in (*scale.values(), *columns):
        if path != ".metadata.creationTimestamp":
            assert re.sub(r"\[\?\(.*\)\]", "[]", path).removeprefix(".") in NODES


def test_two_calls_share_nothing() -> None:
    first = crd.crd()
    first["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"].clear()
    assert crd.crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]


def test_the_schema_has_a_place_for_all_that_the_status_says() -> None:
    facts = Facts(
        current=True,
        resolved=inputs.RESOLVED,
        revision="kept-0123456789",
        problem=None,
        deployment=None,
        pods=(),
        acceptance={"windowSeconds": 300, "rate": "0.70", "ratePerPosition": ["0.70"]},
    )
    resource = api.SpeculatorDeployment.from_object(inputs.resource({}))
    said = status.status(resource, facts, "2026-01-01T00:00:00Z", {})
    parsed = api.Status.model_validate(said)
    assert parsed.model_dump(mode="json", by_alias=True, exclude_unset=True) == said
