"""One namespace with its resources, the hub that they name, and the operator that looks after them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speculator_operator import api
from tests.support.engines import Engines
from tests.support.eventually import eventually
from tests.support.operator import Operator
from tests.support.reading import Reading
from tools.localcluster.controlplane import ControlPlane
from tools.testhub import Hub

VERIFIER = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 8,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "vocab_size": 512,
    "max_position_embeddings": 2048,
}
DRAFT: dict[str, Any] = {
    "architectures": ["Eagle3Speculator"],
    "speculators_model_type": "eagle3",
    "speculators_config": {
        "algorithm": "eagle3",
        "default_proposal_method": "greedy",
        "proposal_methods": [{"proposal_type": "greedy", "speculative_tokens": 3}],
        "verifier": {"name_or_path": "org/verifier"},
    },
    "transformer_layer_config": {
        "model_type": "llama",
        "hidden_size": 64,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "num_hidden_layers": 1,
        "vocab_size": 512,
    },
    "draft_vocab_size": 512,
}
#: A file of weights without tensors: its header is as long as that of a few.
WEIGHTS = (1016).to_bytes(8, "little") + b"{}".ljust(1016)
FAST = {"reread_interval": 1, "scrape_interval": 0.5, "resync_interval": 5}


def files(config: dict[str, Any], **changes: Any) -> dict[str, bytes]:
    """A checkpoint's, as far as anything looks at it before an engine does."""
    return {"config.json": json.dumps(config | changes).encode(), "model.safetensors": WEIGHTS}


class World:
    """One namespace, its resources, and the operator that looks after it."""

    def __init__(self, cluster: ControlPlane, namespace: str, hub: Hub, engines: Engines, log: Path) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.hub = hub
        self.engines = engines
        self.log = log
        self._reading = Reading(cluster)
        engines.drafts, engines.reachable = 5, True

    def operator(self, *, server: str | None = None, patch: str = "", **settings: object) -> Operator:
        given = {**FAST, "hf_endpoint": self.hub.url, **settings}
        return Operator(self.cluster, self.log, namespace=self.namespace, server=server, settings=given, patch=patch)

    def kubectl(self, *args: str, stdin: str | None = None, check: bool = True) -> str:
        return self.cluster.kubectl("--namespace", self.namespace, *args, stdin=stdin, check=check)

    def apply(self, name: str = "a", **spec: Any) -> None:
        self.apply_all({name: spec})

    def apply_all(self, specs: Mapping[str, Mapping[str, Any]]) -> None:
        """Applies resources, each by its name and what its spec has besides a draft and a port."""
        bodies = [
            {
                "apiVersion": api.API_VERSION,
                "kind": api.KIND,
                "metadata": {"name": name, "namespace": self.namespace},
                "spec": {
                    "model": {"uri": "org/draft"},
                    **spec,
                    "engine": {"port": self.engines.port, **spec.get("engine", {})},
                },
            }
            for name, spec in specs.items()
        ]
        self.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": bodies}))

    def get(self, kind: str, name: str = "a") -> dict[str, Any]:
        return self._reading.get(self.namespace, kind, name)

    def items(self, kind: str) -> list[dict[str, Any]]:
        return self._reading.items(self.namespace, kind)

    def conditions(self, name: str = "a") -> dict[str, tuple[str, str]]:
        return _conditions(self.get("spd", name))

    def message(self, name: str = "a") -> str:
        """What is said of Ready; empty as long as nothing is."""
        return _message(self.get("spd", name))

    def becomes(self, name: str = "a", *, says: str = "", **expected: tuple[str, str]) -> None:
        """Waits until conditions have these statuses and reasons, and meanwhile Ready's message contains ``says``."""

        def check() -> None:
            found = self.get("spd", name)
            conditions = _conditions(found)
            assert {type_: conditions.get(type_) for type_ in expected} == expected
            assert says in _message(found)

        eventually(check)

    def ready(self, name: str = "a") -> None:
        """Ready, and of its current generation."""

        def check() -> None:
            found = self.get("spd", name)
            status = found.get("status") or {}
            assert status.get("observedGeneration") == found["metadata"]["generation"]
            assert _conditions(found)["Ready"] == ("True", "Reconciled")

        eventually(check)

    def pods(self) -> set[str]:
        return {pod["metadata"]["uid"] for pod in self.items("pods") if "deletionTimestamp" not in pod["metadata"]}

    def args(self, name: str = "a") -> list[str]:
        args: list[str] = self.get("deployment", name)["spec"]["template"]["spec"]["containers"][0]["args"]
        return args

    def end_state(self) -> dict[str, Any]:
        """What is there, without what differs between any two runs."""
        kinds = ("controllerrevisions", "services", "networkpolicies", "deployments")
        return {kind: [_essence(item) for item in self.items(kind)] for kind in kinds} | {
            "resolved": [item["status"]["resolved"] for item in self.items("spd")],
            "conditions": [
                sorted((c["type"], c["status"], c["reason"]) for c in item["status"]["conditions"])
                for item in self.items("spd")
            ],
        }


def _conditions(found: dict[str, Any]) -> dict[str, tuple[str, str]]:
    conditions = (found.get("status") or {}).get("conditions", [])
    return {c["type"]: (c["status"], c["reason"]) for c in conditions}


def _message(found: dict[str, Any]) -> str:
    conditions = (found.get("status") or {}).get("conditions", [])
    return "".join(c["message"] for c in conditions if c["type"] == "Ready")


def _essence(item: dict[str, Any]) -> dict[str, Any]:
    metadata = {key: item["metadata"].get(key) for key in ("name", "labels")}
    essence = {key: value for key, value in item.items() if key not in ("metadata", "status")}
    essence.get("spec", {}).pop("clusterIP", None)
    essence.get("spec", {}).pop("clusterIPs", None)
    return {**essence, "metadata": metadata}
