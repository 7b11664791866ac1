"""File names and sizes -> the files that the engine would load weights from, and what it loads beside them.

Source: ``DefaultModelLoader._prepare_weights`` in vLLM's model_executor/model_loader/default_loader.py, and what it
takes from weight_utils.py. Only files beside ``config.json`` count; nothing is read of them but name and size.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count, islice

_SHARD = re.compile(r"(.{1,100})-(\d{5,9})-of-(\d{5,9})\.safetensors")
# What a trainer leaves beside weights: `filter_files_not_needed_for_inference`.
_NO_WEIGHTS = ("training_args.bin", "optimizer.bin", "optimizer.pt", "scheduler.pt", "scaler.pt")
#: What an engine reads beside weights: configs, tokenizers, and code, which it runs only where it is told to.
_BESIDE_WEIGHTS = re.compile(r".*\.(json|model(\.v[0-9]+)?|txt|jinja|tiktoken|spm|py)")
#: What is fetched becomes a file of this name.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=+ -]{0,240}")
#: Bytes. A header alone has more, but for one that names a few tensors only.
SMALLEST = 1024
#: More than any model has.
MAX_SHARDS = 20_000
#: Endings of pickled weights: unpickling runs whatever code is in them.
_PICKLED = (".bin", ".pt", ".pth", ".ckpt")
#: Those of them that the engine reads where there are no safetensors: the files of the first ending that there is.
_PICKLED_AND_READ = (".bin", ".pt")


@dataclass(frozen=True)
class _Set:
    """Shards of one model: their names by number, of ``last`` that there should be. Some are counted from 0."""

    prefix: str
    last: str
    width: int
    names: Mapping[int, str]

    def missing(self) -> Iterator[str]:
        first = 0 if 0 in self.names else 1
        for number in range(first, first + int(self.last)):
            if number not in self.names:
                yield f"{self.prefix}-{number:0{self.width}}-of-{self.last}.safetensors"


def safetensors(files: Mapping[str, int]) -> dict[str, int]:
    """The safetensors files that hold the model once, and their sizes in bytes.

    Mistral's repositories hold it twice, as ``model*`` and as ``consolidated*``; shards may lie beside the whole, and
    beside what is left of another set.
    """
    names = {name: size for name, size in files.items() if name.endswith(".safetensors") and "/" not in name}
    models = {name: size for name, size in names.items() if name.startswith("model")}
    shards = [name for each in _sets(models) for name in each.names.values()]
    return {name: models[name] for name in shards} or models or names


def loaded(files: Mapping[str, int]) -> dict[str, int]:
    """The files that an engine loads, and their sizes in bytes: of weights that are there twice, or in pickles as well,
    only those that it takes."""
    named = {name: size for name, size in files.items() if _NAME.fullmatch(name)}
    weights = safetensors(named) or unpickled(named)
    return {name: size for name, size in named.items() if name in weights or _BESIDE_WEIGHTS.fullmatch(name)}


def missing_shards(files: Iterable[str]) -> list[str]:
    """The first few shards that the names of others say there are, and that aren't there."""
    return list(islice((name for each in _sets(files) for name in each.missing()), 3))


def stubs(files: Mapping[str, int]) -> list[str]:
    """Files that hold the model and are too small for it, such as git-lfs' pointers (130 bytes): there are names in
    the header of one that is real, and a tensor has more bytes still."""
    return sorted(name for name, size in safetensors(files).items() if size < SMALLEST)


def adapter_only(files: Mapping[str, int]) -> bool:
    """Whether all that is there is what was trained on top of another model."""
    names = safetensors(files) or unpickled(files)
    return bool(names) and all(name.startswith("adapter_model.") for name in names)


def summed_up(files: Mapping[str, int]) -> list[tuple[str, int, int]]:
    """The safetensors files in few words: the first one's name, how many shards there are from there on without a gap,
    and their bytes in all. One that is too small to be real is by itself; others may have any of the bytes."""
    runs: list[tuple[str, int, int]] = []
    following = ""
    for name, size in sorted(files.items()):
        if not name.endswith(".safetensors"):
            continue
        if name == following and size >= SMALLEST:
            first, shards, total = runs.pop()
            runs.append((first, shards + 1, total + size))
        else:
            runs.append((name, 1, size))
        following = next(_names_from(name), "") if size >= SMALLEST else ""
    return runs


def spelled_out(runs: Iterable[tuple[str, int, int]]) -> dict[str, int]:
    """The files of ``summed_up``: shards that are summed up together are of one size.

    Raises:
        ValueError: there are more than any model has, or none.
    """
    files: dict[str, int] = {}
    for name, shards, total in runs:
        if not 1 <= shards <= MAX_SHARDS - len(files):
            raise ValueError("its shards are too many, or none")
        each, rest = divmod(total, shards)
        files |= dict.fromkeys((name, *islice(_names_from(name), shards - 1)), each)
        files[name] += rest
    return files


def _names_from(name: str) -> Iterator[str]:
    """The names of the shards that follow one; nothing of what is no shard."""
    if match := _SHARD.fullmatch(name):
        prefix, number, last = match.groups()
        for following in count(int(number) + 1):
            yield f"{prefix}-{following:0{len(number)}}-of-{last}.safetensors"


def pickled(files: Iterable[str]) -> list[str]:
    """Files with pickled weights, whether the engine would read them or not."""
    return sorted(name for name in files if name.endswith(_PICKLED) and "/" not in name and name not in _NO_WEIGHTS)


def unpickled(files: Mapping[str, int]) -> dict[str, int]:
    """The pickled files that the engine would read where there are no safetensors, and their sizes in bytes."""
    for ending in _PICKLED_AND_READ:
        if names := [name for name in pickled(files) if name.endswith(ending)]:
            return {name: files[name] for name in names}
    return {}


def _sets(files: Iterable[str]) -> list[_Set]:
    """The sets of shards, by prefix and number. Of one prefix, only whole sets count if there are any: the engine loads
    what the index names (``filter_duplicate_safetensors_files``), and a part is left from another upload."""
    found: dict[tuple[str, str, int], dict[int, str]] = {}
    for name in files:
        if match := _SHARD.fullmatch(name):
            found.setdefault((match[1], match[3], len(match[2])), {})[int(match[2])] = name
    sets = [_Set(*key, names) for key, names in sorted(found.items())]
    whole = [each for each in sets if next(each.missing(), None) is None]
    prefixes = {each.prefix for each in whole}
    return [*whole, *(each for each in sets if each.prefix not in prefixes)]
