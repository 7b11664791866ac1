"""The custom resource definition, from the models of ``api``: what a user may write is said once, there.

pydantic's JSON Schema isn't a structural schema: references are inlined, a union with null becomes the plain type, and
patterns of a map's keys, which a structural schema can't hold, become CEL rules. The schema has two defaults: that of
``replicas``, which ``/scale`` can't be read without, and a status that says that nobody has looked yet, which kstatus
would take for one that is done with. The other ones live in the models, so that an upgrade of the definition changes no
stored resource.
"""

from __future__ import annotations

from typing import Any

import yaml

from .api import (
    GROUP,
    KIND,
    PLURAL,
    VERSION,
    SpeculatorDeployment,
    SpeculatorDeploymentSpec,
    Status,
)

_CONDITION = ".status.conditions[?(@.type=='{}')].{}"
_COLUMNS: tuple[tuple[str, str, str, int], ...] = (
    ("Ready", "string", _CONDITION.format("Ready", "status"), 0),
    ("Speculation", "string", _CONDITION.format("SpeculationActive", "status"), 0),
    ("Method", "string", ".status.resolved.method", 0),
    ("Tokens", "integer", ".status.resolved.numSpeculativeTokens", 0),
    ("Accepted", "string", ".status.acceptance.rate", 0),
    ("Replicas", "integer", ".status.replicas", 0),
    ("Age", "date", ".metadata.creationTimestamp", 0),
    ("Verifier", "string", ".status.resolved.verifier.uri", 1),
    ("Commit", "string", ".status.resolved.model.revision", 1),
    ("Revision", "string", ".status.resolved.revision", 1),
    ("Reason", "string", _CONDITION.format("Ready", "reason"), 1),
    ("Message", "string", _CONDITION.format("Ready", "message"), 1),
)


#: What a structural schema may say in pydantic's words; titles and pydantic's own bookkeeping stay behind.
KEPT = (
    "type",
    "description",
    "enum",
    "format",
    "pattern",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "maxItems",
    "maxProperties",
    "required",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
)


class _Plain(yaml.SafeDumper):
    """Writes everything out: the API server would take anchors, a reader of the file wouldn't thank for them."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def crd() -> dict[str, Any]:
    """The definition as an object; the same one at every call."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": ["spd"],
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": _root()},
                    "subresources": {
                        "status": {},
                        "scale": {
                            "specReplicasPath": ".spec.replicas",
                            "statusReplicasPath": ".status.replicas",
                            "labelSelectorPath": ".status.selector",
                        },
                    },
                    "additionalPrinterColumns": [
                        {"name": name, "type": kind, "jsonPath": path, "priority": priority}
                        for name, kind, path, priority in _COLUMNS
                    ],
                }
            ],
        },
    }


def manifest() -> str:
    """The definition as a file."""
    text = yaml.dump(crd(), Dumper=_Plain, sort_keys=False, width=120, allow_unicode=True)
    return f"# Generated from operator/speculator_operator/api/ by `make generate`. Don't edit.\n{text}"


def _root() -> dict[str, Any]:
    name = SpeculatorDeployment.name_rule
    spec = structural(SpeculatorDeploymentSpec.model_json_schema())
    spec["properties"]["replicas"]["default"] = SpeculatorDeploymentSpec.model_fields["replicas"].default
    return {
        "type": "object",
        "description": "A speculators checkpoint, served by vLLM with speculative decoding that has proven to be on.",
        "required": ["spec"],
        "x-kubernetes-validations": [{"rule": name.cel, "message": name.message, "fieldPath": name.field}],
        "properties": {
            "apiVersion": {"type": "string", "maxLength": 64},
            "kind": {"type": "string", "maxLength": 64},
            # The API server bounds names by itself; said here, the rule above can name the field.
            "metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 253}}},
            "spec": spec,
            "status": {**structural(Status.model_json_schema()), "default": {"observedGeneration": -1}},
        },
    }


def structural(schema: dict[str, Any]) -> dict[str, Any]:
    """Rewrites a JSON Schema of pydantic's as a structural one."""
    definitions = schema.pop("$defs", {})

    def rewrite(node: dict[str, Any]) -> dict[str, Any]:
        if "$ref" in node:
            target = definitions[node["$ref"].removeprefix("#/$defs/")]
            return rewrite({**target, **{key: value for key, value in node.items() if key != "$ref"}})
        if "anyOf" in node:
            (plain,) = (choice for choice in node["anyOf"] if choice != {"type": "null"})
            return rewrite({**plain, **{key: value for key, value in node.items() if key != "anyOf"}})
        result = {key: node[key] for key in KEPT if key in node}
        if "description" in result:
            result["description"] = " ".join(result["description"].split())
        if "items" in node:
            result["items"] = rewrite(node["items"])
        if "properties" in node:
            result["properties"] = {name: rewrite(value) for name, value in node["properties"].items()}
        elif isinstance(node.get("additionalProperties"), dict):
            result["additionalProperties"] = rewrite(node["additionalProperties"])
        if "patternProperties" in node:  # pydantic's word for a map whose keys have a pattern
            ((pattern, values),) = node["patternProperties"].items()
            result["additionalProperties"] = rewrite(values)
            result["x-kubernetes-validations"] = [_key_rule(pattern, node["propertyNames"])]
        return result

    return rewrite(schema)


def _key_rule(pattern: str, key: dict[str, Any]) -> dict[str, Any]:
    text = pattern.replace("\\", "\\\\")
    return {
        "rule": f"self.all(key, size(key) <= {key['maxLength']} && key.matches('{text}'))",
        "message": f"each key must be {key['description']}",
    }
