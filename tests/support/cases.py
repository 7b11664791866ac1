"""The corpus: one folder for each configuration, with the models that it is about and the answer that it gets.

``cr.yaml`` is the resource. ``model``, ``verifier`` and ``draft`` hold the ``config.json`` of what the resource, and
the model's recipe, name by repository. ``expected.yaml`` is our answer: what the resource is resolved to, or the reason
why it is refused. Where we refuse what the engine takes, it also says, under ``stricter``, why; that one key is
written by hand.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from speculator_operator.api import Resolved, SpeculatorDeployment
from speculator_operator.core.checkpoint import Snapshot, is_speculators_checkpoint
from speculator_operator.errors import Refused
from speculator_operator.folder import read_folder
from speculator_operator.reference import Reference
from speculator_operator.resolution import resolve
from speculator_operator.settings import Settings

ROOT = Path(__file__).parents[1] / "data" / "cases"

Answer = dict[str, Any]


@dataclass(frozen=True)
class Case:
    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @cached_property
    def resource(self) -> dict[str, Any]:
        """``cr.yaml``, as it is written."""
        document: dict[str, Any] = yaml.safe_load((self.folder / "cr.yaml").read_text())
        return document

    @property
    def expected(self) -> Answer:
        document: Answer = yaml.safe_load((self.folder / "expected.yaml").read_text())
        return document

    @property
    def stricter(self) -> str | None:
        """Why we refuse what the engine takes."""
        return self.expected.get("stricter")

    def write_expected(self, answer: Answer) -> None:
        """Writes the answer down; a reason that is there is kept, as long as there is a refusal for it."""
        path = self.folder / "expected.yaml"
        why = self.stricter if path.exists() and "refused" in answer else None
        path.write_text(yaml.safe_dump(answer | ({"stricter": why} if why else {}), sort_keys=False, width=120))

    @property
    def mode(self) -> str:
        mode: str = self.resource["spec"].get("speculation", {}).get("mode", "Auto")
        return mode

    @cached_property
    def embedded_verifier(self) -> Any:
        """What the checkpoint's recipe names, whatever it is; None for a regular model."""
        recipe = self.config("model").get("speculators_config")
        verifier = recipe.get("verifier") if isinstance(recipe, dict) else None
        return verifier.get("name_or_path") if isinstance(verifier, dict) else None

    @property
    def draft_has_a_recipe(self) -> bool:
        return (self.folder / "draft").is_dir() and is_speculators_checkpoint(self.config("draft"))

    def config(self, role: str) -> dict[str, Any]:
        config: dict[str, Any] = json.loads((self.folder / role / "config.json").read_text())
        return config

    @property
    def repositories(self) -> dict[str, Path]:
        """Each repository that the resource, the recipe or the answer names, and the folder that stands in for it."""
        spec, resolved = self.resource["spec"], self.expected.get("resolved", {})
        draft = spec.get("speculation", {}).get("config", {}).get("model")
        named = [spec["model"]["uri"], self.embedded_verifier, draft, resolved.get("verifier"), resolved.get("draft")]
        folders = {uri: self.folder_of(uri) for uri in named if isinstance(uri, str) and uri.count("/") == 1}
        return {uri: folder for uri, folder in folders.items() if folder.is_dir()}

    def folder_of(self, uri: str) -> Path:
        """Which folder stands in for a repository."""
        spec = self.resource["spec"]
        if uri == _repository(spec["model"]["uri"]):
            return self.folder / "model"
        if uri in (_repository(spec.get("verifier", {}).get("uri")), self.embedded_verifier):
            return self.folder / "verifier"
        return self.folder / "draft"

    def answer(self, *, pinned: bool = False) -> Answer:
        """What the operator makes of the case, in the form of ``expected.yaml``.

        ``pinned`` to commits, as a repository's models are, or unpinned, as folders are.
        """
        try:
            resource = SpeculatorDeployment.from_object(self.resource)
            resolved = asyncio.run(resolve(resource, Settings(), self._reader(pinned=pinned)))
        except Refused as refusal:
            return {"refused": str(refusal.reason)}
        return {"resolved": _told(resolved)}

    def _reader(self, *, pinned: bool) -> Any:
        async def read(reference: Reference) -> Snapshot:
            folder = self.folder_of(reference.uri)
            snapshot = read_folder(folder, reference.uri)
            commit = hashlib.sha1((folder / "config.json").read_bytes(), usedforsecurity=False).hexdigest()
            return replace(snapshot, revision=commit) if pinned else snapshot

        return read


def _repository(uri: str | None) -> str | None:
    return Reference.parse(uri).uri if uri else None


def _told(resolved: Resolved) -> dict[str, Any]:
    told: dict[str, Any] = {"verifier": resolved.verifier.uri}
    if resolved.off:
        told["off"] = str(resolved.off)
    else:
        told |= {
            "method": resolved.method,
            "tokens": resolved.num_speculative_tokens,
            "draft": resolved.draft.uri if resolved.draft else None,
            "speculative_config": resolved.speculative_config,
        }
    return {**told, "command": resolved.command}


def all_cases() -> list[Case]:
    return [Case(folder) for folder in sorted(ROOT.iterdir())]
