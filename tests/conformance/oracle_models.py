"""What the engine says of models: what its implementations lack, and which layers it finds for multi-token prediction.

Runs under the engine's Python. A question is ``{"lacks": ...}``, answered with what ``tools/engine_models.py`` prints,
or a model's config, answered with ``{"mtp": ..., "layers": ..., "architecture": ...}`` or ``{"error": ...}``.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any, get_args

from transformers import PreTrainedConfig  # type: ignore[import-not-found,unused-ignore]
from vllm.config.speculative import (  # type: ignore[import-not-found,unused-ignore]
    MTPModelTypes,
    SpeculativeConfig,
)


def lacks() -> str:
    path = Path(__file__).parents[2] / "tools" / "engine_models.py"
    spec = importlib.util.spec_from_file_location("engine_models", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return str(module.lacks())


class Model(PreTrainedConfig):  # type: ignore[misc,unused-ignore]
    """As the engine gets it: the config's keys as attributes, its parts as configs of their own."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        for key, value in config.items():
            setattr(self, key, Model(value) if key == "text_config" else value)


def layers(config: dict[str, Any]) -> dict[str, Any]:
    try:
        made = SpeculativeConfig.hf_config_override(Model(config))
    except Exception as error:  # noqa: BLE001  # whatever it is, it ends the engine
        return {"error": f"{type(error).__name__}: {error}"[:300]}
    return {
        "mtp": made.model_type in get_args(MTPModelTypes),
        "layers": getattr(made, "n_predict", None),
        "architecture": made.architectures[0],
    }


answers = [lacks() if "lacks" in question else layers(question) for question in json.load(sys.stdin)]
sys.stdout.write(f"{json.dumps(answers)}\n")
