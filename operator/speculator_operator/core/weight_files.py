"""File names and sizes -> the files that the engine would load weights from.

Source: ``DefaultModelLoader._prepare_weights`` in vLLM's model_executor/model_loader/default_loader.py, and what it
takes from weight_utils.py. Only files beside ``config.json`` count; nothing is read of them but name and size.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_SHARD = re.compile(r"(.{1,100})-(\d{5})-of-(\d{5})\.safetensors")
# What a trainer leaves beside weights: `filter_files_not_needed_for_inference`.
_NO_WEIGHTS = ("training_args.bin", "optimizer.bin", "optimizer.pt", "scheduler.pt", "scaler.pt")
#: Endings of pickled weights: unpickling runs whatever code is in them.
_PICKLED = (".bin", ".pt", ".pth", ".ckpt")
#: Those of them that the engine reads where there are no safetensors: the files of the first ending that there is.
_PICKLED_AND_READ = (".bin", ".pt")


def safetensors(files: Mapping[str, int]) -> dict[str, int]:
    """The safetensors files that hold the model once, and their sizes in bytes.

    Mistral's repositories hold it twice, as ``model*`` and as ``consolidated*``; shards may lie beside the whole.
    """
    names = {name: size for name, size in files.items() if name.endswith(".safetensors") and "/" not in name}
    models = {name: size for name, size in names.items() if name.startswith("model")}
    shards = {name: size for name, size in models.items() if _SHARD.fullmatch(name)}
    return shards or models or names


def missing_shards(files: Mapping[str, int]) -> list[str]:
    """The first few shards that the names of others say there are, and that aren't there."""
    missing: list[str] = []
    for prefix, last in sorted({(match[1], match[3]) for match in _shards(files)}):
        for number in range(1, min(int(last), 1000) + 1):
            name = f"{prefix}-{number:05}-of-{last}.safetensors"
            if name not in files:
                missing.append(name)
            if len(missing) == 3:
                return missing
    return missing


def pickled(files: Iterable[str], *, read: bool = False) -> list[str]:
    """Files with pickled weights; with ``read``, only those that the engine would read."""
    endings = _PICKLED_AND_READ if read else _PICKLED
    return sorted(name for name in files if name.endswith(endings) and "/" not in name and name not in _NO_WEIGHTS)


def unpickled(files: Mapping[str, int]) -> dict[str, int]:
    """The pickled files that the engine would read where there are no safetensors, and their sizes in bytes."""
    for ending in _PICKLED_AND_READ:
        if names := [name for name in pickled(files, read=True) if name.endswith(ending)]:
            return {name: files[name] for name in names}
    return {}


def _shards(files: Iterable[str]) -> Iterable[re.Match[str]]:
    return (match for name in files if (match := _SHARD.fullmatch(name)))
