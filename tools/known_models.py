"""Writes down the models that the engine knows besides those that it implements, for ``core/known_models``.

Run it with the Python in which the engine is installed; it prints JSON, the same bytes for the same release::

    python tools/known_models.py > operator/speculator_operator/core/known_models.json
"""

from __future__ import annotations

import importlib
import json
import sys

#: As the architectures of models that generate end.
GENERATING = ("ForCausalLM", "ForConditionalGeneration")


def known_models() -> str:
    """The types whose ``config.json`` is understood, and the architectures that Transformers alone implements."""
    version = importlib.import_module("vllm").__version__
    transformers = importlib.import_module("transformers")
    configs = importlib.import_module("vllm.transformers_utils.config")
    by_transformers = importlib.import_module("transformers.models.auto.configuration_auto").CONFIG_MAPPING_NAMES
    implemented = importlib.import_module("vllm").ModelRegistry.get_supported_archs()
    known = {
        "release": ".".join(version.split(".")[:2]),
        "transformers": transformers.__version__,
        "types": sorted({*by_transformers, *configs._CONFIG_REGISTRY}),  # noqa: SLF001  # the engine has no other door
        "untyped": sorted(configs._ARCHITECTURE_TO_MODEL_TYPE),  # noqa: SLF001
        "architectures": sorted({name for name in dir(transformers) if name.endswith(GENERATING)} - {*implemented}),
    }
    return json.dumps(known, indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    sys.stdout.write(known_models())
