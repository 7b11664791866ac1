"""Tiny checkpoints that a real engine serves: a Llama verifier, and Eagle-3 drafts for it in the speculators format.

Weights are random numbers, so the text is nonsense and a draft is never accepted: the picture of a draft that doesn't
fit. With ``agree``, the output head is zero in both, so that greedy decoding picks token 0 in both, and every draft is
accepted. The same arguments write the same bytes.

The verifier has 8 layers because Eagle-3 taps layers 2, n/2 and n-3, which must differ.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from array import array
from pathlib import Path
from typing import Any

from tools.testhub.server import Hub

HIDDEN = 64
INTERMEDIATE = 128
LAYERS = 8
HEADS = 2
VOCABULARY = 512
BEGIN, END = VOCABULARY - 2, VOCABULARY - 1

Shape = tuple[int, ...]


def write_verifier(folder: Path, *, agree: bool, seed: int = 0) -> None:
    """A Llama model with its tokenizer. With ``agree`` it says token 0 ("!") for ever."""
    shapes: dict[str, Shape] = {"model.embed_tokens.weight": (VOCABULARY, HIDDEN), "model.norm.weight": (HIDDEN,)}
    for layer in range(LAYERS):
        shapes |= _layer(f"model.layers.{layer}.", attention_input=HIDDEN)
    shapes["lm_head.weight"] = (VOCABULARY, HIDDEN)
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / "config.json", _llama_config(LAYERS) | {"architectures": ["LlamaForCausalLM"]})
    _write_json(folder / "generation_config.json", {"bos_token_id": BEGIN, "eos_token_id": END})
    write_tokenizer(folder)
    _write_safetensors(folder / "model.safetensors", shapes, zero={"lm_head.weight"} if agree else set(), seed=seed)


def write_eagle3_draft(folder: Path, *, verifier: str, agree: bool, tokens: int = 3, seed: int = 0) -> None:
    """A draft for ``verifier`` (a repository of ``write_verifier``), ``tokens`` at a step, as speculators saves one."""
    shapes: dict[str, Shape] = {"fc.weight": (HIDDEN, 3 * HIDDEN), "norm.weight": (HIDDEN,)}
    # The layer reads the embedding and the hidden state side by side.
    shapes |= _layer("layers.0.", attention_input=2 * HIDDEN) | {"layers.0.hidden_norm.weight": (HIDDEN,)}
    shapes["lm_head.weight"] = (VOCABULARY, HIDDEN)
    config = {
        "architectures": ["Eagle3Speculator"],
        "auto_map": {"": "eagle3.Eagle3SpeculatorConfig"},
        "draft_vocab_size": VOCABULARY,
        "has_no_defaults_at_init": False,
        "norm_before_residual": False,
        "speculators_config": {
            "algorithm": "eagle3",
            "default_proposal_method": "greedy",
            "proposal_methods": [
                {
                    "accept_tolerance": 0.0,
                    "proposal_type": "greedy",
                    "speculative_tokens": tokens,
                    "verifier_accept_k": 1,
                }
            ],
            "verifier": {"architectures": ["LlamaForCausalLM"], "name_or_path": verifier},
        },
        "speculators_model_type": "eagle3",
        "speculators_version": "0.3.0",
        "target_hidden_size": None,
        "torch_dtype": "bfloat16",
        "transformer_layer_config": _llama_config(1),
        "transformers_version": "4.57.0",
    }
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / "config.json", config)
    _write_safetensors(folder / "model.safetensors", shapes, zero={"lm_head.weight"} if agree else set(), seed=seed + 1)


def publish_samples(hub: Hub) -> dict[str, str]:
    """Commits both pairs to the hub; returns each repository's commit.

    ``tiny/llama`` with ``tiny/llama-eagle3-random``, whose drafts are never accepted, and ``tiny/llama-constant`` with
    ``tiny/llama-eagle3-agree``, whose drafts always are.
    """
    commits = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for verifier, draft, agree in (
            ("tiny/llama", "tiny/llama-eagle3-random", False),
            ("tiny/llama-constant", "tiny/llama-eagle3-agree", True),
        ):
            write_verifier(folder / verifier, agree=agree)
            write_eagle3_draft(folder / draft, verifier=verifier, agree=agree)
            for repo in (verifier, draft):
                commits[repo] = hub.commit(repo, folder / repo)
    return commits


def _llama_config(layers: int) -> dict[str, Any]:
    return {
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": BEGIN,
        "eos_token_id": END,
        "head_dim": HIDDEN // HEADS,
        "hidden_act": "silu",
        "hidden_size": HIDDEN,
        "initializer_range": 0.02,
        "intermediate_size": INTERMEDIATE,
        "max_position_embeddings": 4096,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": HEADS,
        "num_hidden_layers": layers,
        "num_key_value_heads": HEADS,
        "pretraining_tp": 1,
        "rms_norm_eps": 1e-05,
        "rope_scaling": None,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": VOCABULARY,
    }


def _layer(prefix: str, *, attention_input: int) -> dict[str, Shape]:
    return {
        f"{prefix}input_layernorm.weight": (HIDDEN,),
        f"{prefix}post_attention_layernorm.weight": (HIDDEN,),
        f"{prefix}self_attn.q_proj.weight": (HIDDEN, attention_input),
        f"{prefix}self_attn.k_proj.weight": (HIDDEN, attention_input),
        f"{prefix}self_attn.v_proj.weight": (HIDDEN, attention_input),
        f"{prefix}self_attn.o_proj.weight": (HIDDEN, HIDDEN),
        f"{prefix}mlp.gate_proj.weight": (INTERMEDIATE, HIDDEN),
        f"{prefix}mlp.up_proj.weight": (INTERMEDIATE, HIDDEN),
        f"{prefix}mlp.down_proj.weight": (HIDDEN, INTERMEDIATE),
    }


def write_tokenizer(folder: Path) -> None:
    """A byte-level tokenizer without merges: one token a byte, in the order of their stand-in characters."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    # Byte-level tokenizers write bytes that aren't printable as the characters from U+0100 on.
    characters = [chr(byte) for byte in printable] + [chr(0x100 + index) for index in range(len(others))]
    fillers = [f"<unused{index}>" for index in range(len(characters), BEGIN)]
    names = [*characters, *fillers, "<s>", "</s>"]
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    _write_json(
        folder / "tokenizer.json",
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [{"id": index, "content": names[index], **special} for index in (BEGIN, END)],
            "normalizer": None,
            "pre_tokenizer": byte_level,
            "post_processor": None,
            "decoder": byte_level,
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "vocab": {name: index for index, name in enumerate(names)},
                "merges": [],
            },
        },
    )
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<s>",
            "eos_token": "</s>",
            "model_max_length": 4096,
            "clean_up_tokenization_spaces": False,
            "chat_template": "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n"
            "{% endfor %}assistant:",
        },
    )


def _write_safetensors(path: Path, shapes: dict[str, Shape], *, zero: set[str], seed: int) -> None:
    """The format: the header's length in 8 bytes, a JSON header, the tensors one after the other."""
    numbers = random.Random(seed)  # noqa: S311 - weights, not secrets
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    tensors = bytearray()
    for name, shape in sorted(shapes.items()):
        count = 1
        for size in shape:
            count *= size
        if name in zero:
            values = array("f", bytes(4 * count))
        elif len(shape) == 1:
            values = array("f", [1.0]) * count  # the norms
        else:
            values = array("f", (numbers.uniform(-0.2, 0.2) for _ in range(count)))
        start = len(tensors)
        tensors += _bfloat16(values)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [start, len(tensors)]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + tensors)


def _bfloat16(values: array[float]) -> bytearray:
    """The upper halves of 32-bit floats, little-endian."""
    if sys.byteorder == "big":
        values.byteswap()
    full = values.tobytes()
    halves = bytearray(len(full) // 2)
    halves[0::2], halves[1::2] = full[2::4], full[3::4]
    return halves


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
