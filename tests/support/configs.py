"""Models' configs: those of the test data, and any that a repository may hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from speculator_operator.core import drafts

RECIPES = Path(__file__).parents[1] / "data" / "recipes"
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}


def load(name: str) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((RECIPES / f"{name}.json").read_text())
    return config


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, -1, 2**53, 10**400, -(10**400)])
    | st.floats()
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KEYS = [
    *("architectures", "text_config", "thinker_config", "transformer_layer_config", "rope_scaling", "rope_parameters"),
    *("hidden_size", "vocab_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "hc_mult"),
    *("max_position_embeddings", "model_max_length", "draft_vocab_size", "target_hidden_size", "target_layer_ids"),
    *("eagle_aux_hidden_state_layer_ids", "aux_hidden_state_layer_ids", "eagle_config", "dflash_config", "auto_map"),
    *("model_type", "num_nextn_predict_layers", "mtp_config", "mtp_num_hidden_layers", "num_heads", "medusa_num_heads"),
]
NAMES = st.sampled_from(
    [
        *("llama", "medusa", "mlp_speculator", "deepseek_v3", "glm5_next", "inkling_model", "nemotron_h", "qwen3_5"),
        *("gemma4_assistant", "LlamaForCausalLM", "LlamaForCausalLMEagle3", "DFlashDraftModel", "Qwen3DSparkModel"),
    ]
)
CONFIG = st.dictionaries(
    st.sampled_from(KEYS), JSON | NAMES | st.lists(NAMES | JSON, max_size=2) | st.just(YARN), max_size=7
)
METHODS = [*drafts.CACHING, "medusa", "mlp_speculator", "ngram", "suffix"]
