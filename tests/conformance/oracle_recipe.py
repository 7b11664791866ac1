"""What the engine's own functions make of each ``config.json`` in a batch. Runs under the engine's Python.

Each answer is ``{"regular": true}``, ``{"error": ...}``, or ``{"config": ..., "verifier": ..., "architecture": ...}``:
the speculative config, the verifier that the engine would serve, and the draft's architecture.
"""

from __future__ import annotations

import copy
import json
import sys
from typing import Any

from vllm.transformers_utils.configs.speculators.base import (  # type: ignore[import-not-found,unused-ignore]
    SpeculatorsConfig,
)


def answer(config: dict[str, Any]) -> dict[str, Any]:
    # The test that `maybe_override_with_speculators` begins with; the function itself reads from the hub.
    if config.get("speculators_config") is None:
        return {"regular": True}
    try:
        speculative = SpeculatorsConfig.extract_vllm_speculative_config(copy.deepcopy(config))
        verifier = config["speculators_config"]["verifier"]["name_or_path"]
        draft = SpeculatorsConfig.extract_transformers_pre_trained_config(copy.deepcopy(config))
    except Exception as error:  # noqa: BLE001  whatever the engine raises, it would not start
        return {"error": f"{type(error).__name__}: {error}"[:300]}
    return {"config": speculative, "verifier": verifier, "architecture": draft["architectures"][0]}


json.dump([answer(config) for config in json.load(sys.stdin)], sys.stdout)
