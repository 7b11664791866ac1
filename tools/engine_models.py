"""Writes down what the engine's implementations of models lack, for ``core/known_models``.

Run it with the Python in which the engine is installed; it imports every model that generates (half a minute), and
prints JSON, the same bytes for the same release::

    python tools/engine_models.py > operator/speculator_operator/core/engine_models.json
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import sys

GROUPS = ("_TEXT_GENERATION_MODELS", "_MULTIMODAL_MODELS", "_TRANSFORMERS_SUPPORTED_MODELS")
SOURCE = (
    "supports_pp and supports_eagle3 in vllm/model_executor/models/interfaces.py, asked of each class of registry.py"
)


def lacks() -> str:
    """Architectures by what their class lacks. One that can't be imported here is left out: nothing is known of it."""
    with contextlib.redirect_stdout(io.StringIO()):  # the engine speaks at import
        version = importlib.import_module("vllm").__version__
        registry = importlib.import_module("vllm.model_executor.models.registry")
        interfaces = importlib.import_module("vllm.model_executor.models.interfaces")
        without_pipeline, without_taps = [], []
        for name in sorted({name for group in GROUPS for name in getattr(registry, group)}):
            try:
                model = registry.ModelRegistry.models[name].load_model_cls()
            except ImportError:
                continue
            if not interfaces.supports_pp(model):
                without_pipeline.append(name)
            if not interfaces.supports_eagle3(model):
                without_taps.append(name)
    described = {
        "release": ".".join(version.split(".")[:2]),
        "source": SOURCE,
        "without_pipeline": without_pipeline,
        "without_taps": without_taps,
    }
    return json.dumps(described, indent=1) + "\n"


if __name__ == "__main__":
    sys.stdout.write(lacks())
