"""What a draft is made for, by its ``config.json``, and what the engine takes for each speculative method.

Closed lists of the engine's, read in vLLM 0.32.0 (paths are its). A later release may know more, an earlier one knows
less.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from speculator_operator.core.model_config import Config, architecture, language_model, number, part, text

#: Methods whose draft reads the verifier's hidden states, tapped at some of its layers.
TAPPING = frozenset({"eagle3", "dflash", "dspark"})
#: Methods whose draft is a head on the verifier: it may come without an embedding or an output layer of its own.
HEADS = TAPPING | {"eagle"}
#: Methods whose draft has attention layers, whose keys and values are cached as the verifier's are.
#: Source: ``uses_draft_kv_cache`` in config/speculative.py.
CACHING = HEADS | {"draft_model", "mtp"}

# Source: `_SPECULATIVE_DECODING_MODELS` in model_executor/models/registry.py; the names that `EAGLEConfig` in
# transformers_utils/configs/eagle.py makes of what a config says.
ARCHITECTURES: Mapping[str, frozenset[str]] = {
    "eagle": frozenset(
        f"Eagle{base}"
        for base in (
            *("CohereForCausalLM", "DeepSeekMTPModel", "Llama4ForCausalLM", "LlamaForCausalLM", "MiniCPMForCausalLM"),
            *("MistralForCausalLM", "MistralLarge3ForCausalLM"),
        )
    ),
    "eagle3": frozenset(
        (
            *("Eagle3DeepseekV2ForCausalLM", "Eagle3DeepseekV3ForCausalLM", "Eagle3LlamaForCausalLM"),
            *("Eagle3MiniMaxM2ForCausalLM", "Eagle3Qwen2_5vlForCausalLM", "Eagle3Qwen3ForCausalLM"),
            *("Eagle3Qwen3vlForCausalLM", "LlamaForCausalLMEagle3"),
        )
    ),
    "dflash": frozenset(
        (
            *("DFlash2DraftModel", "DFlashDraftModel", "DFlashLagunaForCausalLM", "DFlashMuseGlimmerAssistantModel"),
            *("LiLiCorrDraftModel",),
        )
    ),
    "dspark": frozenset(
        ("DSparkDraftModel", "Gemma4DSparkModel", "K3DSparkModel", "Qwen3DSparkModel", "Qwen3OmniDSparkModel")
    ),
}
#: Types whose config is made one of DeepSeek's layers for multi-token prediction; their eagle heads are such a layer.
EAGLE_OF_MTP = frozenset({"deepseek_mtp", "deepseek_v3", "deepseek_v32", "glm_moe_dsa"})
#: Verifiers whose own checkpoint has dspark drafts. Source: the dspark branch of ``SpeculativeConfig.__post_init__``.
DSPARK_INSIDE = frozenset({"deepseek_v4", "deepseek_v41"})

#: A head has a layer or a few. A model with more that doesn't say what it drafts for is one that speaks by itself.
_MOST_LAYERS_OF_A_HEAD = 4
_EAGLE3_KEYS = ("draft_vocab_size", "eagle_config", "eagle_aux_hidden_state_layer_ids")


def kind(config: Config) -> str | None:
    """The method that a draft was made for, ``regular`` for a model that speaks by itself; None where it isn't plain.

    An eagle head of its authors' is a llama model by its config, with one layer.
    """
    first, model_type = architecture(config), text(config, "model_type")
    if model_type in ("medusa", "mlp_speculator"):
        return model_type
    if first == "MedusaModel" or any(key.startswith("medusa_") for key in config):
        return "medusa"
    if "DSpark" in first:
        return "dspark"
    if (
        "DFlash" in first
        or first in ("LiLiCorrDraftModel", "MuseGlimmerAssistantModel")
        or part(config, "dflash_config")
    ):
        return "dflash"
    if "Eagle3" in first or first.lower().startswith("peagle"):
        return "eagle3"
    if first in ARCHITECTURES["eagle"] or model_type == "eagle":
        return "eagle"
    if model_type in ("gemma4_assistant", "gemma4_unified_assistant") or model_type.endswith("_mtp"):
        return "mtp"
    if any(config.get(key) for key in _EAGLE3_KEYS):
        return "eagle3"
    layers = number(language_model(config), "num_hidden_layers")
    return "regular" if layers is not None and layers > _MOST_LAYERS_OF_A_HEAD else None


def head_architecture(method: str, config: Config) -> str:
    """The name that the engine looks a head up by; empty where the config names no architecture."""
    name = architecture(config)
    if not name:
        return ""
    if method == "eagle" and not name.startswith("Eagle"):
        return f"Eagle{name}"
    if method == "eagle3" and not (name.startswith("Eagle3") or name.endswith("Eagle3")):
        return f"Eagle3{name}"
    if method == "dflash" and not (
        name.startswith("DFlash") or name.endswith("DFlash") or name == "LiLiCorrDraftModel"
    ):
        return f"DFlash{name}"
    return name


def built_as(method: str, config: Config) -> str:
    """The architecture that the engine builds a draft by, in any format but speculators'; empty where it isn't plain.

    Heads of eagle that are such a layer are built by the name of that one.
    """
    if method == "mtp" or (method == "eagle" and mtp_type(config) in EAGLE_OF_MTP):
        name = MTP_DRAFTS.get(mtp_type(config)) or MTP_DRAFTS.get(architecture(config))
        config = {"architectures": [name]} if name else config
    return head_architecture(method, config)


def method_by_name(uri: str) -> str | None:
    """The method that the engine reads out of a draft's name, unless the method is one of these four itself.

    Source: "Automatically detect the method" in ``SpeculativeConfig.__post_init__``.
    """
    name = uri.lower()
    for part_of_name, method in (("eagle-", "eagle"), ("eagle3", "eagle3"), ("dflash", "dflash"), ("dspark", "dspark")):
        if part_of_name in name:
            return method
    return None


@dataclass(frozen=True)
class Layers:
    """Layers for multi-token prediction in a model: how many at one step, None where its config doesn't say.

    ``key`` is where the config would say it, empty where the engine doesn't ask.
    """

    count: int | None
    key: str


@dataclass(frozen=True)
class _Place:
    """Where a config holds the number of such layers: ``inner`` is the object that has them, else the config itself.

    ``default`` is the engine's where the key is absent.
    """

    keys: tuple[str, ...] = ("num_nextn_predict_layers",)
    inner: str = ""
    default: int | None = None
    constant: int | None = None


_HERE = _Place()
_TEXT = _Place(inner="text_config")
_ONE_BY_DEFAULT = _Place(default=1)
_QWEN3_5 = _Place(keys=("mtp_num_hidden_layers",), inner="text_config")
_MINIMAX_M3 = _Place(keys=("num_mtp_modules",), inner="text_config", default=1)
_NEMOTRON_H = _Place(default=0)

#: A config that was made for such layers alone: the engine runs it as it is.
_AS_IT_IS = _Place(keys=())

# Source: `SpeculativeConfig.hf_config_override` and `MTPModelTypes` in config/speculative.py. By `model_type`, or by
# the first architecture. (deepseek_v41 is left out: its layers are dspark's, and `__post_init__` refuses it.)
MTP_TYPES: Mapping[str, _Place] = {
    **dict.fromkeys(("deepseek_v3", "deepseek_v32", "deepseek_v4", "deepseek_mtp", "glm_moe_dsa"), _HERE),
    **dict.fromkeys(("bailing_hybrid", "bailing_hybrid_mtp", "bailing_hybrid_v3_mtp"), _HERE),
    **dict.fromkeys(("ernie4_5_moe", "ernie_mtp", "exaone_moe", "exaone_moe_mtp", "exaone4_5", "exaone4_5_mtp"), _HERE),
    **dict.fromkeys(
        ("hy_v3", "hy_v4", "pangu_ultra_moe", "pangu_ultra_moe_mtp", "qwen3_next", "qwen3_next_mtp"), _HERE
    ),
    **dict.fromkeys(("dots3_note", "longcat_flash", "nemotron_h_mtp"), _ONE_BY_DEFAULT),
    **dict.fromkeys(("nemotron_h", "nemotron_h_puzzle"), _NEMOTRON_H),
    **dict.fromkeys(("step3p5", "step3p7"), _Place(inner="text_config", default=1)),
    **dict.fromkeys(("kimi_k3", "glm5_next"), _TEXT),
    **dict.fromkeys(
        ("qwen4_exp", "qwen4_exp_text", "qwen4_exp_mtp"),
        _Place(keys=("mtp_num_hidden_layers", "num_nextn_predict_layers"), inner="text_config"),
    ),
    **dict.fromkeys(("qwen3_5", "qwen3_5_moe", "qwen3_5_text", "qwen3_5_moe_text"), _QWEN3_5),
    **dict.fromkeys(("intern_s2_preview", "interns2_mobius"), _QWEN3_5),
    **dict.fromkeys(("inkling_mm_model", "inkling_model"), _Place(inner="mtp_config", default=0)),
    **dict.fromkeys(("gemma4_assistant", "gemma4_unified_assistant"), _Place(constant=1)),
    **dict.fromkeys(("minimax_m3_vl", "minimax_m3_mtp"), _MINIMAX_M3),
    **dict.fromkeys(
        (
            *("dots3_note_mtp", "gemma4_mtp", "glm4_moe_lite_mtp", "glm4_moe_mtp", "glm5_next_mtp", "glm_ocr_mtp"),
            *("hy_v3_mtp", "hy_v4_mtp", "inkling_mtp", "kimi_k3_mtp", "longcat_flash_mtp", "mimo_mtp", "mimo_v2_mtp"),
            *("mtp", "qwen3_5_mtp", "step3p5_mtp"),
        ),
        _AS_IT_IS,
    ),
}
MTP_ARCHITECTURES: Mapping[str, _Place] = {
    **dict.fromkeys(("MiMoForCausalLM", "Glm4MoeForCausalLM", "Glm4MoeLiteForCausalLM"), _HERE),
    "GlmOcrForConditionalGeneration": _HERE,
    # The engine runs the first of their layers only.
    **dict.fromkeys(("MiMoV2ForCausalLM", "MiMoV2OmniForCausalLM", "MiMoV2FlashForCausalLM"), _Place(constant=1)),
    **dict.fromkeys(
        ("NemotronH_Super_Omni_Reasoning_V3", "NemotronH_Omni_Reasoning_V3"), _Place(inner="text_config", default=0)
    ),
    **dict.fromkeys(("BailingMoeV2_5ForCausalLM", "BailingMoeV3ForCausalLM"), _HERE),
    "BailingMoeV3VLForConditionalGeneration": _TEXT,
    **dict.fromkeys(("Step3p5ForCausalLM", "Step3p7ForConditionalGeneration"), _Place(inner="text_config", default=1)),
    "MiniMaxM3SparseForConditionalGeneration": _MINIMAX_M3,
}
# Source: the same; the architecture that such layers are run as, where the config doesn't name it already.
MTP_DRAFTS: Mapping[str, str] = {
    **dict.fromkeys(("bailing_hybrid", "bailing_hybrid_mtp", "BailingMoeV2_5ForCausalLM"), "BailingMoeV25MTPModel"),
    **dict.fromkeys(
        ("BailingMoeV3ForCausalLM", "BailingMoeV3VLForConditionalGeneration", "bailing_hybrid_v3_mtp"),
        "BailingMoeV3MTPModel",
    ),
    **dict.fromkeys(("deepseek_v3", "deepseek_mtp"), "DeepSeekMTPModel"),
    **dict.fromkeys(("deepseek_v32", "glm_moe_dsa"), "DeepseekV32MTPModel"),
    "deepseek_v4": "DeepSeekV4MTPModel",
    "dots3_note": "Dots3NoteMTPModel",
    **dict.fromkeys(("ernie4_5_moe", "ernie_mtp"), "ErnieMTPModel"),
    **dict.fromkeys(("exaone4_5", "exaone4_5_mtp"), "Exaone4_5_MTP"),
    **dict.fromkeys(("exaone_moe", "exaone_moe_mtp"), "ExaoneMoeMTP"),
    **dict.fromkeys(("gemma4_assistant", "gemma4_unified_assistant"), "Gemma4MTPModel"),
    "Glm4MoeForCausalLM": "Glm4MoeMTPModel",
    "Glm4MoeLiteForCausalLM": "Glm4MoeLiteMTPModel",
    "glm5_next": "Glm5NextMTPModel",
    "GlmOcrForConditionalGeneration": "GlmOcrMTPModel",
    "hy_v3": "HYV3MTPModel",
    "hy_v4": "HYV4MTPModel",
    **dict.fromkeys(("inkling_mm_model", "inkling_model"), "InklingMTPModel"),
    "interns2_mobius": "InternS2MobiusMTP",
    "kimi_k3": "KimiK3MTPModel",
    "longcat_flash": "LongCatFlashMTPModel",
    "MiMoForCausalLM": "MiMoMTPModel",
    **dict.fromkeys(("MiMoV2FlashForCausalLM", "MiMoV2ForCausalLM"), "MiMoV2MTPModel"),
    "MiMoV2OmniForCausalLM": "MiMoV2OmniMTPModel",
    **dict.fromkeys(
        ("minimax_m3_vl", "minimax_m3_mtp", "MiniMaxM3SparseForConditionalGeneration"),
        "MiniMaxM3MTP",
    ),
    **dict.fromkeys(
        (
            *("nemotron_h", "nemotron_h_mtp", "nemotron_h_puzzle"),
            *("NemotronH_Omni_Reasoning_V3", "NemotronH_Super_Omni_Reasoning_V3"),
        ),
        "NemotronHMTPModel",
    ),
    **dict.fromkeys(("pangu_ultra_moe", "pangu_ultra_moe_mtp"), "OpenPanguMTPModel"),
    **dict.fromkeys(("intern_s2_preview", "qwen3_5", "qwen3_5_text"), "Qwen3_5MTP"),
    **dict.fromkeys(("qwen3_5_moe", "qwen3_5_moe_text"), "Qwen3_5MoeMTP"),
    **dict.fromkeys(("qwen3_next", "qwen3_next_mtp"), "Qwen3NextMTP"),
    **dict.fromkeys(("qwen4_exp", "qwen4_exp_text", "qwen4_exp_mtp"), "Qwen4ExpMTP"),
    **dict.fromkeys(("step3p5", "step3p7", "Step3p5ForCausalLM", "Step3p7ForConditionalGeneration"), "Step3p5MTP"),
}


def mtp_type(config: Config) -> str:
    """The type of a model, as layers for multi-token prediction are found by it."""
    return "exaone4_5" if "exaone4_5" in text(config, "model_type") else text(config, "model_type")


def mtp_layers(config: Config) -> Layers | None:
    """The layers for multi-token prediction that the engine finds in a model; None where it knows none of its type."""
    place = MTP_TYPES.get(mtp_type(config)) or MTP_ARCHITECTURES.get(architecture(config))
    if place is None:
        return None
    if place.constant is not None or not place.keys:
        return Layers(place.constant, "")
    inner: Mapping[str, Any] = part(config, place.inner) if place.inner else {}
    path = f"{place.inner}.{place.keys[0]}" if place.inner and inner else place.keys[0]
    for whose in (config, inner):
        for key in place.keys:
            if whose.get(key) is not None:
                return Layers(number(whose, key), path)
    return Layers(place.default, path)
