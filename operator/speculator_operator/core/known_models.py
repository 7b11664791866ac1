"""Which models an engine knows besides those that it implements, by the Transformers that it comes with; and what
those lack that it implements (``engine_models.json``, by ``tools/engine_models.py``).

``known_models.json`` is written down from the newest release that was read, by ``tools/known_models.py``. An older one
knows fewer. ``HFConfigParser.parse`` in vLLM's transformers_utils/config.py reads a ``config.json`` by its
``model_type``; ``_try_resolve_transformers`` in its model_executor/models/registry.py looks architectures up.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

from speculator_operator.core.model_config import Config, architecture

#: Of other architectures nothing is written down.
_GENERATING = ("ForCausalLM", "ForConditionalGeneration")


def config_understood(config: Config) -> bool:
    """Whether the engine can make anything of a ``config.json``, without code of the model's repository."""
    kind = config.get("model_type")
    if kind is None:
        return architecture(config) in _known()["untyped"]
    return isinstance(kind, str) and kind in _known()["types"]


def implemented_nowhere(name: str) -> bool:
    """Whether an architecture that the engine doesn't implement has no implementation in Transformers either."""
    return name.endswith(_GENERATING) and name not in _known()["architectures"]


@cache
def implemented_without(what: str) -> frozenset[str]:
    """Architectures whose class in the engine has no ``taps``, no ``pipeline``, or, of drafts, no
    ``top_tokens``."""
    data = json.loads((resources.files(__package__) / "engine_models.json").read_text())
    return frozenset(data[f"without_{what}"])


@cache
def _known() -> dict[str, Any]:
    data = json.loads((resources.files(__package__) / "known_models.json").read_text())
    return {key: frozenset(data[key]) for key in ("architectures", "types", "untyped")}
