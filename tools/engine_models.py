"""Writes down what the engine's implementations of models lack, for ``core/known_models``.

Run it with the Python in which the engine is installed; it imports every model that generates or drafts (half a
minute), and prints JSON, the same bytes for the same release::

    python tools/engine_models.py > operator/speculator_operator/core/engine_models.json
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import sys
from collections.abc import Iterator
from typing import Any

GENERATING = ("_TEXT_GENERATION_MODELS", "_MULTIMODAL_MODELS", "_TRANSFORMERS_SUPPORTED_MODELS")
DRAFTING = ("_SPECULATIVE_DECODING_MODELS",)
#: Has an implementation for each kind of device, of which only the one for CPUs is seen here.
BY_DEVICE = "vllm.models."
SOURCE = (
    "supports_pp and supports_eagle3 in vllm/model_executor/models/interfaces.py, and get_top_tokens, asked of each "
    "class of registry.py"
)


def names(registry: Any) -> Iterator[tuple[str, bool]]:
    """Each architecture, and whether it is one that generates by itself."""
    for groups, generates in ((GENERATING, True), (DRAFTING, False)):
        yield from {(name, generates) for group in groups for name in getattr(registry, group)}


def lacks() -> str:
    """Architectures by what their class lacks. One that can't be imported here is left out: nothing is known of it."""
    with contextlib.redirect_stdout(io.StringIO()):  # the engine speaks at import
        version = importlib.import_module("vllm").__version__
        registry = importlib.import_module("vllm.model_executor.models.registry")
        interfaces = importlib.import_module("vllm.model_executor.models.interfaces")
        lacking: dict[str, list[str]] = {"without_pipeline": [], "without_taps": [], "without_top_tokens": []}
        for name, generates in sorted(names(registry)):
            entry = registry.ModelRegistry.models[name]
            try:
                model = entry.load_model_cls()
            except ImportError:
                continue
            if generates and not interfaces.supports_pp(model):
                lacking["without_pipeline"].append(name)
            if generates and not interfaces.supports_eagle3(model):
                lacking["without_taps"].append(name)
            if not hasattr(model, "get_top_tokens") and not entry.module_name.startswith(BY_DEVICE):
                lacking["without_top_tokens"].append(name)
    described = {"release": ".".join(version.split(".")[:2]), "source": SOURCE, **lacking}
    return json.dumps(described, indent=1) + "\n"


if __name__ == "__main__":
    sys.stdout.write(lacks())
