"""Weights and key-value cache -> what the engine needs of the accelerators' memory, and what would fit.

Counted are the weights as they are loaded, and the cache of one request of the longest length: the engine refuses to
start with less. Activations, graphs and the runtime itself come on top. ``required`` is what is counted; ``least``
leaves out of it what the engine may do without, and only that is held against a verdict. Paths in comments are vLLM's,
read in 0.32.0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from speculator_operator.api import MemoryEstimate
from speculator_operator.core import drafts, weight_blocks, weight_files
from speculator_operator.core.checkpoint import Snapshot
from speculator_operator.core.model_config import (
    LARGEST,
    NOTHING,
    Config,
    draft_layers,
    language_model,
    number,
    part,
    quantized,
    size,
    stored_dtype,
    text,
)

GIB = 2**30
#: Of what the engine may take. Above it, little is left for what isn't counted.
COMFORTABLE = Fraction(9, 10)
MOST_TENSOR = 64

# Source: `gpu_memory_utilization` in config/cache.py. Earlier releases had 0.90: the higher one refuses less.
_UTILIZATION = Fraction(92, 100)
#: What ``auto`` comes to where all is computed in 32 bits.
_WIDE = "float32"
# Source: `CacheDType` there. Bytes of one number; one that isn't here has more than a quarter.
_CACHE_BYTES: Mapping[str, Fraction] = {
    **dict.fromkeys(("auto", "float16", "bfloat16"), Fraction(2)),
    **dict.fromkeys(("fp8", "fp8_e4m3", "fp8_e5m2", "fp8_inc", "fp8_ds_mla", "fp8_per_token_head"), Fraction(1)),
    "int8_per_token_head": Fraction(1),
    **dict.fromkeys(("int4_per_token_head", "nvfp4", "nvfp4_4over6", "nvfp4_ds_mla"), Fraction(1, 2)),
    _WIDE: Fraction(4),
}
_FEWEST_CACHE_BYTES = Fraction(1, 4)
# Source: `_ONLINE_SHORTHANDS` in config/quantization.py; bitsandbytes until 0.28. Bytes of a weight that is quantized
# while it is loaded; a method that isn't here may do nothing, and leaves four bits at least.
_WEIGHT_BYTES: Mapping[str, Fraction] = {
    **dict.fromkeys(("fp8", "fp8_per_block", "fp8_per_channel", "fp8_per_tensor", "mxfp8", "ptpc_fp8"), Fraction(1)),
    **dict.fromkeys(("experts_int8", "int8_per_channel_weight_only"), Fraction(1)),
    **dict.fromkeys(("bitsandbytes", "mxfp4", "nvfp4_per_token"), Fraction(1, 2)),
}
_FEWEST_WEIGHT_BYTES = Fraction(1, 2)
_STORED_BYTES: Mapping[str, int] = {
    **dict.fromkeys(("float16", "bfloat16", "half"), 2),
    **dict.fromkeys(("float32", "float"), 4),
    **dict.fromkeys(("float64", "double"), 8),
}
#: Where nothing says how the numbers of weights are stored, they may have so many bytes.
_WIDEST_STORED = 4
#: Bytes of a number, by its type's name in safetensors' headers. Source: ``Dtype`` in safetensors.
_FLOAT_BYTES: Mapping[str, int] = {
    "F64": 8,
    "F32": 4,
    **dict.fromkeys(("F16", "BF16"), 2),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2"), 1),
}
_OTHER_BYTES: Mapping[str, int] = {
    **dict.fromkeys(("I64", "U64"), 8),
    **dict.fromkeys(("I32", "U32"), 4),
    **dict.fromkeys(("I16", "U16"), 2),
    **dict.fromkeys(("I8", "U8", "BOOL"), 1),
}
#: Of a file of weights, at most, where published ones have some 100 KB.
_HEADER_BYTES = 2**20
#: It may ask for a quantized cache, and isn't read.
_SAYS_OF_CACHE = "hf_quant_config.json"
#: Beside a config.json, these say that the weights are stored quantized. Source: ``get_config_filenames`` of the
#: methods in model_executor/layers/quantization.
QUANTIZED_BY = (_SAYS_OF_CACHE, "quant_config.json", "quantization_config.json", "quantize_config.json")
#: By these some weights aren't loaded, or not into the accelerators.
_LOADS_LESS = ("--ignore-patterns", "--language-model-only", "--limit-mm-per-prompt", "--cpu-offload-params")
#: Lengths are proposed in multiples of this.
_LENGTH_STEP = 256

# Models with one attention layer per hidden layer, each with the heads that the config states, as their classes in
# model_executor/models build them; with sliding windows where `layer_types` says so.
_ATTENTION_IN_EACH_LAYER = frozenset(
    (
        *("apertus", "arcee", "ernie4_5", "ernie4_5_moe", "exaone4", "gemma", "gemma2", "gemma3_text", "glm", "glm4"),
        *("glm4_moe", "gpt_oss", "granite", "granitemoe", "hunyuan_v1_dense", "llama", "minimax_m2", "ministral3"),
        *("mistral", "mixtral", "olmo", "olmo2", "olmo3", "olmoe", "phi3", "qwen2", "qwen2_5_vl_text", "qwen2_moe"),
        *("qwen3", "qwen3_moe", "qwen3_vl_moe_text", "qwen3_vl_text", "seed_oss", "smollm3", "stablelm", "starcoder2"),
    )
)
# Source: `is_deepseek_mla` in transformers_utils/model_arch_config_convertor.py, without the hybrids among them.
_LATENT_ATTENTION_IN_EACH_LAYER = frozenset(
    ("deepseek_v2", "deepseek_v3", "deepseek_v32", "glm4_moe_lite", "glm_moe_dsa", "kimi_k2", "pangu_ultra_moe")
)
#: Of these, some accelerators keep a cache in 8 bits where its type isn't set. Source: `GlmMoeDsaForCausalLM` in
#: model_executor/models/config.py, and `_canonicalize_sparse_mla_kv_cache_dtype`.
_NARROWEST_CACHE: Mapping[str, str] = {"deepseek_v32": "fp8_ds_mla", "glm_moe_dsa": "fp8"}
#: What a config says of its hidden layers only, and not of those that predict several tokens.
_OF_HIDDEN_LAYERS = frozenset({"index_topk_freq", "index_topk_pattern", "layer_types"})
#: Bytes of a token and layer of latent attention, in formats that pack it. Source: `MLAAttention.get_kv_cache_spec` in
#: model_executor/layers/attention/mla_attention.py, which has the function above as well.
_PACKED_BYTES: Mapping[str, int] = {"fp8_ds_mla": 656, "nvfp4_ds_mla": 352}
#: An indexer keeps a number of four bytes beside so many of one: `Indexer` in model_executor/models/deepseek_v2.py.
_INDEXER_BLOCK = 128


def estimate(
    *,
    verifier: Snapshot,
    draft: Snapshot | None,
    speculative: Mapping[str, Any] | None,
    tensor: int,
    pipeline: int,
    max_model_len: int | None,
    accelerator_memory: int | None,
    most_tensor: int = MOST_TENSOR,
    flags: Mapping[str, str] = NOTHING,
) -> MemoryEstimate | None:
    """The estimate for one pod; None where the verifier's files weren't listed, or have no safetensors among them.

    ``max_model_len`` is the length that is served, None where the engine chooses one that fits, or where it isn't
    known. ``accelerator_memory`` is in bytes, of each. ``flags`` are as in ``engine_args.flags_of``. No larger tensor
    parallel size than ``most_tensor`` is proposed.
    """
    if not weight_files.safetensors(verifier.files or {}):
        return None
    engine = _Engine.of(flags)
    length = max_model_len if max_model_len is not None and 0 < max_model_len <= LARGEST else None
    plan = _Plan(verifier, draft, speculative or NOTHING, engine, pipeline, length, accelerator_memory)
    now = plan.at(tensor)
    tight = now.available is not None and now.required > COMFORTABLE * now.available
    made = MemoryEstimate(
        accelerators=tensor * pipeline,
        accelerator_memory=_bounded(accelerator_memory),
        utilization=f"{float(engine.utilization):.2f}",
        available=_bounded(now.available),
        verifier_weights=min(now.verifier.stored, LARGEST),
        draft_weights=min(now.draft.stored, LARGEST),
        cache=_bounded(now.cached),
        cache_per_token=_bounded(now.cache.of(1)) if now.cache else None,
        max_model_len=length,
        required=min(now.required, LARGEST),
        least=min(now.verifier.least + now.draft.least + now.least_cached, LARGEST),
        fitting_tensor=plan.fitting_tensor(tensor, most_tensor) if tight else None,
        fitting_max_model_len=plan.fitting_length(tensor) if tight else None,
        not_counted=list(plan.not_counted(tensor)),
    )
    return made.model_copy(update={"summary": _summary(made, narrower=now.least_cached < (now.cached or 0))})


@dataclass(frozen=True)
class _Weights:
    """Bytes over all accelerators: as they are stored, and what of it is surely loaded."""

    stored: int
    least: int


@dataclass(frozen=True)
class _Cache:
    """Bytes per token over all accelerators: ``whole`` of layers that keep every token, ``windows`` of layers that keep
    no more than so many."""

    whole: Fraction = Fraction(0)
    windows: tuple[tuple[int, Fraction], ...] = ()

    def of(self, tokens: int) -> int:
        return int(self.whole * tokens + sum(part * min(window, tokens) for window, part in self.windows))

    def __add__(self, other: _Cache) -> _Cache:
        return _Cache(self.whole + other.whole, self.windows + other.windows)


@dataclass(frozen=True)
class _Engine:
    """What the engine's options say of memory; ``offloaded`` are bytes of each accelerator."""

    utilization: Fraction
    cache_dtype: str
    cache_shards: int
    wide: bool
    quantization: str
    offloaded: int
    whole_experts: bool
    loads_less: tuple[str, ...]

    @classmethod
    def of(cls, flags: Mapping[str, str]) -> _Engine:
        # With a size for the cache, the utilization isn't looked at: `determine_available_memory` in v1/worker.
        utilization = 1.0 if "--kv-cache-memory-bytes" in flags else _float(flags.get("--gpu-memory-utilization"))
        shards = flags.get("--decode-context-parallel-size", "")
        return cls(
            utilization=Fraction(utilization) if 0 < utilization <= 1 else _UTILIZATION,
            cache_dtype=flags.get("--kv-cache-dtype", "auto"),
            cache_shards=int(shards) if shards.isdecimal() and 0 < len(shards) < 6 and int(shards) else 1,
            wide=flags.get("--dtype") in ("float", "float32"),
            quantization=_online(flags),
            offloaded=int(_float(flags.get("--cpu-offload-gb")) * GIB),
            whole_experts=flags.get("--enable-expert-parallel", "false") != "false",
            loads_less=tuple(flag for flag in flags if flag in _LOADS_LESS or flag.startswith("--offload-")),
        )


@dataclass(frozen=True)
class _Need:
    """What is needed of the accelerators, all together, and what the engine may take of them.

    ``cached`` are the bytes of one request, and ``least_cached`` those where the cache's type is the accelerator's to
    choose, and it chooses the narrowest.
    """

    verifier: _Weights
    draft: _Weights
    cache: _Cache | None
    cached: int | None
    least_cached: int
    available: int | None

    @property
    def required(self) -> int:
        return self.verifier.stored + self.draft.stored + (self.cached or 0)


@dataclass(frozen=True)
class _Plan:
    verifier: Snapshot
    draft: Snapshot | None
    speculative: Mapping[str, Any]
    engine: _Engine
    pipeline: int
    length: int | None
    accelerator_memory: int | None

    @property
    def method(self) -> str:
        return text(self.speculative, "method")

    def at(self, tensor: int) -> _Need:
        accelerators = tensor * self.pipeline
        memory = self.accelerator_memory
        cache = self.cache(tensor)
        return _Need(
            verifier=self.verifier_weights(accelerators),
            draft=self.draft_weights(),
            cache=cache,
            cached=self.cached(cache),
            least_cached=self.cached(self.cache(tensor, narrowest=True)) or 0,
            available=None if memory is None else math.ceil(memory * accelerators * self.engine.utilization),
        )

    def cached(self, cache: _Cache | None) -> int | None:
        """Bytes of a request, of which each rank keeps a part: ``FullAttentionSpec`` in v1/kv_cache_interface.py."""
        return cache.of(math.ceil(self.length / self.engine.cache_shards)) if cache and self.length else None

    def verifier_weights(self, accelerators: int) -> _Weights:
        config = self.verifier.config
        loaded = self._loaded(self.verifier, config, self.engine.quantization)
        least = 0 if self.engine.loads_less else loaded.least - self._layers_left_out(loaded.least)
        offloaded = self.engine.offloaded * accelerators
        return _Weights(max(loaded.stored - offloaded, 0), max(least - offloaded, 0))

    def draft_weights(self) -> _Weights:
        """A draft is split over the verifier's accelerators, whatever tensor parallel size it is given: the engine has
        one group (``get_tp_group`` in distributed/parallel_state.py). It is quantized only if its own config says so
        (``SpeculativeConfig.__post_init__`` in config/speculative.py), or by the loader, which is the verifier's."""
        if self.draft is None:
            return _Weights(0, 0)
        config = self.draft.config
        by_loader = self.engine.quantization if self.engine.quantization == "bitsandbytes" else ""
        loaded = self._loaded(self.draft, config, text(self.speculative, "quantization").lower() or by_loader)
        if self.method not in drafts.HEADS and self.method != "mtp":
            return loaded
        # What equals the verifier's is dropped after it was loaded: `maybe_share_target_embed` in
        # v1/worker/gpu/spec_decode/eagle/utils.py.
        layer = draft_layers(config)
        shared = _both_embeddings(config, layer, wide=self.engine.wide)
        return _Weights(loaded.stored, max(loaded.least - shared, 0) if shared else 0)

    def _loaded(self, model: Snapshot, config: Config, quantization: str) -> _Weights:
        """``quantization`` is the method by which weights are quantized while they are loaded, empty for none."""
        files = model.files or {}
        weights = weight_files.safetensors(files) or weight_files.unpickled(files)
        stored = sum(weights.values())
        if quantized(config) or any(name in files for name in QUANTIZED_BY):
            return _Weights(stored, stored)
        # Loaded as 16 bits, unless told otherwise: `_resolve_auto_dtype` in config/model.py.
        loaded = Fraction(4 if self.engine.wide else 2)
        kept = least = _WEIGHT_BYTES.get(quantization, loaded)
        if quantization and quantization not in _WEIGHT_BYTES:
            least = _FEWEST_WEIGHT_BYTES
        if counted := _counted(model.parameters, weights):
            numbers, others = counted
            return _Weights(int(numbers * kept) + others, int(numbers * least) + others)
        # The config's type is the engine's to compute with; what a training has stored may be wider.
        likely = _STORED_BYTES.get(stored_dtype(config) or stored_dtype(draft_layers(config)), 2)
        return _Weights(int(stored * kept / likely), int(stored * least / max(likely, _WIDEST_STORED)))

    def _layers_left_out(self, loaded: int) -> int:
        """Layers for multi-token prediction are stored with the verifier, and loaded where that is the method."""
        config = self.verifier.config
        found = drafts.mtp_layers(config)
        layers = size(language_model(config), "num_hidden_layers")
        if self.method == "mtp" or found is None or found.count == 0:
            return 0
        if found.count is None or layers is None:
            return loaded
        return loaded * found.count // (layers + found.count) + _both_embeddings(
            config, language_model(config), wide=self.engine.wide
        )

    def cache(self, tensor: int, *, narrowest: bool = False) -> _Cache | None:
        target = language_model(self.verifier.config)
        verifier = _cache(target, tensor, self._cache_dtype(self.engine.cache_dtype, target, narrowest=narrowest))
        if verifier is None:
            return None
        drafting = self._draft_cache(tensor, narrowest=narrowest) if self.method in drafts.CACHING else None
        return verifier + drafting if drafting else verifier

    def _draft_cache(self, tensor: int, *, narrowest: bool = False) -> _Cache | None:
        dtype = text(self.speculative, "kv_cache_dtype") or self.engine.cache_dtype
        if self.draft is not None:
            layer = draft_layers(self.draft.config)
            return _cache(layer, tensor, self._cache_dtype(dtype, layer, narrowest=narrowest))
        found = drafts.mtp_layers(self.verifier.config)
        target = language_model(self.verifier.config)
        if self.method != "mtp" or found is None or not found.count:
            return None
        layers = {key: value for key, value in target.items() if key not in _OF_HIDDEN_LAYERS}
        layers["num_hidden_layers"] = found.count
        return _cache(layers, tensor, self._cache_dtype(dtype, target, narrowest=narrowest))

    def _cache_dtype(self, dtype: str, layer: Config, *, narrowest: bool) -> str:
        if dtype != "auto":
            return dtype
        if asked := _quantized_cache(self.verifier.config):
            return asked
        if _SAYS_OF_CACHE in (self.verifier.files or {}):
            return "nvfp4"
        wider = _WIDE if self.engine.wide else "auto"
        return _NARROWEST_CACHE.get(text(layer, "model_type"), wider) if narrowest else wider

    def fitting_tensor(self, tensor: int, most: int) -> int | None:
        """The smallest tensor parallel size above that the weights allow, and that leaves room."""
        models = [self.verifier.config]
        layers = [language_model(self.verifier.config)]
        if self.draft is not None and self.method in drafts.HEADS | {"draft_model"}:
            layers.append(draft_layers(self.draft.config))
            models.append(self.draft.config)
        for larger in range(tensor + 1, min(most, MOST_TENSOR) + 1):
            need = self.at(larger)
            room = need.available is not None and need.required <= COMFORTABLE * need.available
            if (
                room
                and all(_divides(layer, larger) for layer in layers)
                and not any(self._cuts_blocks(model, larger) for model in models)
            ):
                return larger
        return None

    def _cuts_blocks(self, model: Config, tensor: int) -> bool:
        whole = self.engine.whole_experts
        return weight_blocks.cut(model, tensor, whole_experts=whole, refining=True) is not None

    def fitting_length(self, tensor: int) -> int | None:
        """The longest length that leaves room."""
        need = self.at(tensor)
        if need.cache is None or need.available is None or not need.cache.whole:
            return None
        windows = sum(window * part for window, part in need.cache.windows)
        left = COMFORTABLE * need.available - need.verifier.stored - need.draft.stored - windows
        length = int(left / need.cache.whole) * self.engine.cache_shards // _LENGTH_STEP * _LENGTH_STEP
        return min(length, LARGEST) if length > 0 else None

    def not_counted(self, tensor: int) -> Iterator[str]:
        yield "activations, graphs, and the runtime itself"
        if self.draft is not None and self.draft.files is None:
            yield "the draft's weights: its files are not known"
        cache = self.cache(tensor)
        kind = text(language_model(self.verifier.config), "model_type") or "this type"
        if cache is None:
            yield f"the key-value cache: how a model of {kind} keeps it is not known"
        elif self.length is None:
            yield "the key-value cache: no length is set or known"
        elif self.method in drafts.CACHING and self._draft_cache(tensor) is None:
            yield "the draft's key-value cache"
        for flag in self.engine.loads_less:
            yield f"what {flag} leaves out, or elsewhere"


def _cache(layer: Config, tensor: int, dtype: str) -> _Cache | None:
    """The cache of a model, over its tensor parallel group; None where its config doesn't say it plainly.

    Source: ``get_num_kv_heads`` in config/model.py, ``AttentionSpec`` and ``MLAAttentionSpec`` in
    v1/kv_cache_interface.py, ``get_head_size`` in transformers_utils/model_arch_config_convertor.py.
    """
    kind, layers = text(layer, "model_type"), size(layer, "num_hidden_layers")
    number_bytes = _CACHE_BYTES.get(dtype, _FEWEST_CACHE_BYTES)
    if layers is None or any(layer.get(key) for key in ("block_configs", "compress_ratios", "num_kv_shared_layers")):
        return None
    if kind in _LATENT_ATTENTION_IN_EACH_LAYER:
        rank, rope = size(layer, "kv_lora_rank"), number(layer, "qk_rope_head_dim")
        if rank is None or rope is None:
            return None
        of_a_layer = Fraction(_PACKED_BYTES[dtype]) if dtype in _PACKED_BYTES else (rank + rope) * number_bytes
        return _Cache((layers * of_a_layer + _of_indexers(layer, layers)) * tensor)
    heads, width = size(layer, "num_attention_heads"), size(layer, "head_dim")
    hidden = size(layer, "hidden_size")
    if kind not in _ATTENTION_IN_EACH_LAYER or heads is None or (width is None and hidden is None):
        return None
    kept = size(layer, "num_key_value_heads") or heads
    of_a_layer = 2 * max(kept // tensor, 1) * (width or (hidden or 0) // heads) * number_bytes * tensor
    return _by_windows(layer, layers, of_a_layer)


def _of_indexers(layer: Config, layers: int) -> int:
    """Bytes of a token that indexers keep beside latent attention, in layers that choose what is attended to; others
    take what the layer before has chosen.

    Source: ``DeepseekV2MLAAttention`` and ``Indexer`` in model_executor/models/deepseek_v2.py.
    """
    width = size(layer, "index_head_dim")
    if width is None or size(layer, "index_topk") is None:
        return 0
    pattern = layer.get("index_topk_pattern")
    if pattern is None:
        first = min(layers, 2 if (given := number(layer, "index_skip_topk_offset")) is None else given)
        choosing = first + (layers - first) // (size(layer, "index_topk_freq") or 1)
    else:
        choosing = layers - pattern[:layers].count("S") if isinstance(pattern, str | list) else 0
    return choosing * (width + width // _INDEXER_BLOCK * 4)


def _by_windows(layer: Config, layers: int, of_a_layer: Fraction) -> _Cache | None:
    """Layers by what they keep. Source: ``SlidingWindowSpec`` in v1/kv_cache_interface.py."""
    types, window = layer.get("layer_types"), size(layer, "sliding_window")
    if types is None:
        windowed = layer.get("sliding_window") is not None and layer.get("use_sliding_window") is not False
        return None if windowed else _Cache(layers * of_a_layer)
    if not isinstance(types, list) or len(types) != layers:
        return None
    whole = sum(kind == "full_attention" for kind in types)
    sliding = sum(kind == "sliding_attention" for kind in types)
    if whole + sliding != layers or (sliding and window is None):
        return None
    return _Cache(whole * of_a_layer, ((window, sliding * of_a_layer),) if sliding and window else ())


def _counted(parameters: Mapping[str, int] | None, weights: Mapping[str, int]) -> tuple[int, int] | None:
    """How many floating-point numbers there are in files of weights, and the bytes of all else; None where that isn't
    known, or was counted in other files than these."""
    if parameters is None or not parameters.keys() <= _FLOAT_BYTES.keys() | _OTHER_BYTES.keys():
        return None
    floats = {name: count for name, count in parameters.items() if name in _FLOAT_BYTES}
    others = sum(count * _OTHER_BYTES[name] for name, count in parameters.items() if name in _OTHER_BYTES)
    content = sum(count * _FLOAT_BYTES[name] for name, count in floats.items()) + others
    if not 0 <= sum(weights.values()) - content <= len(weights) * _HEADER_BYTES:
        return None
    return sum(floats.values()), others


def _quantized_cache(config: Config) -> str | None:
    """The type of the cache that a checkpoint asks for; the narrowest where it isn't understood, None for no wish.

    Source: ``get_kv_cache_quant_algo_string`` in utils/torch_utils.py; ``CompressedTensorsKVCacheMethod`` in
    model_executor/layers/quantization/compressed_tensors, which takes nothing but 8 bits.
    """
    quantization = part(config, "quantization_config") or part(language_model(config), "quantization_config")
    for whose in (part(quantization, "quantization"), quantization):
        for key in ("kv_cache_scheme", "kv_cache_quant_algo"):
            if whose.get(key):
                eight_bits = number(part(whose, key), "num_bits") == 8 or text(whose, key).lower().startswith("fp8")
                return "fp8" if eight_bits else "nvfp4"
    return None


def _both_embeddings(config: Config, layer: Config, *, wide: bool) -> int:
    """Bytes of a model's embedding and output layer as loaded, at most; 0 where the sizes aren't known."""
    vocabulary, hidden = size(layer, "vocab_size"), size(layer, "hidden_size")
    narrow = not wide and _STORED_BYTES.get(stored_dtype(config) or stored_dtype(layer)) == 2
    return 2 * vocabulary * hidden * (2 if narrow else 4) if vocabulary and hidden else 0


def _online(flags: Mapping[str, str]) -> str:
    """The method by which weights are quantized while they are loaded, in lower case; empty where none is asked for."""
    if flags.get("--load-format") == "bitsandbytes":
        return "bitsandbytes"
    if "--quantization-config" in flags:
        # What it says of single layers comes first: `resolve_quantization_config` in config/quantization.py.
        return "online"
    method = flags.get("--quantization", "").lower()
    return "" if method == "none" else method


def _divides(layer: Config, tensor: int) -> bool:
    """As ``rules.parallelism.heads_not_divisible`` has it: latent attention keeps no key-value heads to be split."""
    heads, kept = size(layer, "num_attention_heads"), size(layer, "num_key_value_heads")
    if heads is not None and heads % tensor:
        return False
    return kept is None or "kv_lora_rank" in layer or kept % tensor == 0 or tensor % kept == 0


def _summary(made: MemoryEstimate, *, narrower: bool) -> str:
    """``narrower`` is whether some accelerators keep less of a cache."""
    parts = [f"verifier {_shown(made.verifier_weights)}"]
    if made.draft_weights:
        parts.append(f"draft {_shown(made.draft_weights)}")
    if made.cache is not None:
        parts.append(f"key-value cache of one request of {made.max_model_len} tokens {_shown(made.cache)}")
    needed = f"{_shown(made.required)} or more ({', '.join(parts)})"
    if made.available is None or made.accelerator_memory is None:
        return f"{needed}; it isn't known how much the accelerators have"
    have = f"{made.accelerators} x {_shown(made.accelerator_memory)} x {made.utilization}"
    told = f"{needed} of {_shown(made.available)} ({have})"
    if made.least <= made.available < made.required:
        told += f"; {_shown(made.least)} if weights are stored wider than they are loaded, shared, or left out"
        told += ", and the cache is in 8 bits, as some accelerators keep it" if narrower else ""
    return told


def _shown(value: int) -> str:
    return f"{value / GIB:.2f} GiB" if value >= GIB else f"{value / 2**20:.0f} MiB"


def _bounded(value: int | None) -> int | None:
    return None if value is None else min(value, LARGEST)


def _float(text_of_a_number: str | None) -> float:
    """0 where it is none; the engine's own parser has taken it before."""
    try:
        value = float(text_of_a_number or 0)
    except ValueError:
        return 0.0
    return value if 0 <= value <= LARGEST else 0.0
