"""What the engine makes of a model's layers, on one of the GPUs that share them. Runs under the engine's Python.

A question has a model's ``config``, the ``tensor`` parallel size, and other ``args``. The layers are built as they are
before weights are loaded; the answer has under ``cache`` the bytes that they keep of a token, or under ``refused`` the
engine's words. What only asks for a driver, or for kernels that aren't run, is answered here.
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch  # type: ignore[import-not-found,unused-ignore]

sys.path.append(str(Path(__file__).parent))
oracle_engine: Any = importlib.import_module("oracle_engine")


def answer(parser: Any, question: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(question["config"]))
        oracle_engine.checkpoints.write_tokenizer(Path(folder))
        sizes = [f"--tensor-parallel-size={question['tensor']}", "--distributed-executor-backend=mp"]
        parsed = parser.parse_args(["serve", folder, "--enforce-eager", *sizes, *question["args"]])
        parsed.model = folder
        config = importlib.import_module("vllm.engine.arg_utils").AsyncEngineArgs.from_cli_args(parsed)
        return layers(config.create_engine_config(), question["tensor"])


def layers(config: Any, tensor: int) -> dict[str, Any]:
    seat_in_groups(tensor)
    vars(importlib.import_module("vllm.model_executor.layers.sparse_attn_indexer"))["has_deep_gemm"] = lambda: True
    importlib.import_module("vllm.v1.worker.workspace").init_workspace_manager(torch.device("cpu"), 1)
    type(importlib.import_module("vllm.platforms").current_platform).device_type = "cpu"
    torch.cuda.Stream = lambda *_, **__: None
    torch.set_default_dtype(config.model_config.dtype)
    with importlib.import_module("vllm.config").set_current_vllm_config(config):
        try:
            importlib.import_module("vllm.model_executor.model_loader.utils").initialize_model(vllm_config=config)
        except Exception as error:  # noqa: BLE001  # whatever it is, it ends the engine
            return {"refused": f"{type(error).__name__}: {error}"[: oracle_engine.WORDS]}
    made = config.compilation_config.static_forward_context.values()
    specs = [layer.get_kv_cache_spec(config) for layer in made if hasattr(layer, "get_kv_cache_spec")]
    return {"cache": sum(spec.page_size_bytes / spec.block_size for spec in specs if spec)}


def seat_in_groups(tensor: int) -> None:
    """As the first of the GPUs that share each layer, with no one to talk to."""
    state = importlib.import_module("vllm.distributed.parallel_state")
    for name in ("_TP", "_EP", "_PP", "_DP", "_DCP", "_PCP", "_WORLD"):
        count = tensor if name in ("_TP", "_EP") else 1
        device_group = SimpleNamespace(size=lambda count=count: count, rank=lambda: 0)
        group = {"world_size": count, "ranks": list(range(count)), "device_group": device_group, "cpu_group": None}
        first = {"rank": 0, "local_rank": 0, "rank_in_group": 0, "is_first_rank": True, "is_last_rank": True}
        setattr(state, name, SimpleNamespace(**group, **first, unique_name=name))


if __name__ == "__main__":
    oracle_engine.main(answer)
