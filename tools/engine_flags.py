"""Writes down the options of the engine's own ``vllm serve`` parser, for ``core/engine_args`` to parse with.

Run it with the Python in which the engine is installed; it prints JSON, the same bytes for the same release::

    python tools/engine_flags.py > operator/speculator_operator/core/engine_flags/0.32.json
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib
import inspect
import io
import json
import sys
from collections.abc import Callable
from typing import Any


def serve_parser() -> argparse.ArgumentParser:
    """The parser of ``vllm serve``; ``vllm.entrypoints.cli.serve`` knows where a release keeps its maker."""
    serve = importlib.import_module("vllm.entrypoints.cli.serve")
    flexible = importlib.import_module("vllm.utils.argparse_utils").FlexibleArgumentParser
    parser: argparse.ArgumentParser = serve.make_arg_parser(flexible(prog="vllm serve"))
    return parser


def tried(convert: Callable[[str], Any], text: str) -> Any:
    """What a converter makes of a text; Ellipsis where it refuses it."""
    try:
        return convert(text)
    except (argparse.ArgumentTypeError, TypeError, ValueError):
        return ...


def value_type(convert: Any) -> dict[str, Any]:
    """The kind of value, found out by trying: the parser's converters are closures that don't say what they wrap."""
    if convert is None or convert is str:
        return {"type": "str"}
    optional = {"optional": True} if tried(convert, "None") is None else {}
    if tried(convert, "auto") == -1:
        return {"type": "human_int_or_auto", **optional}
    if tried(convert, "1k") == 1000:
        return {"type": "human_int", **optional}
    if tried(convert, "A-B") == "a_b":
        return {"type": "folded", **optional}
    if tried(convert, "x") == "x":
        return {"type": "str_or_json" if tried(convert, "{}") == {} else "str", **optional}
    if tried(convert, "[]") == []:
        return {"type": "json", **optional}
    seven = tried(convert, "7")
    if seven is ...:
        return {"type": "json_object", **optional}
    return {"type": type(seven).__name__ if isinstance(seven, int | float) else "str", **optional}


def config_keys(convert: Any) -> list[str]:
    """The keys of the config class that a converter makes, which it keeps as a default, or what it wraps does."""
    held = [*(convert.__defaults__ or ()), *(cell.cell_contents for cell in convert.__closure__ or ())]
    for thing in held:
        if isinstance(thing, type) and dataclasses.is_dataclass(thing):
            return sorted(field.name for field in dataclasses.fields(thing) if field.init)
        if inspect.isfunction(thing) and (keys := config_keys(thing)):
            return keys
    return []


def bounds(group: str | None, field: str) -> dict[str, float]:
    """What the config class that a group of options is named after lets a number be: ``ge``, ``gt``, ``le``, ``lt``."""
    config = getattr(importlib.import_module("vllm.config"), group or "", None)
    described = getattr(config, "__pydantic_fields__", {}).get(field)
    limits = described.metadata if described else ()
    return {name: getattr(limit, name) for limit in limits for name in ("ge", "gt", "le", "lt") if hasattr(limit, name)}


def names(option: str) -> list[str]:
    """The names that the engine knows for an option whose text it looks up only later; upper and lower case alike."""
    if option == "--quantization":
        known = importlib.import_module("vllm.model_executor.layers.quantization").QUANTIZATION_METHODS
    elif option == "--attention-backend":
        backends = importlib.import_module("vllm.v1.attention.backends.registry").AttentionBackendEnum
        known = ["auto", *backends.__members__]
    else:
        known = []
    return sorted(name.lower() for name in known)


def described(action: argparse.Action, group: str | None) -> dict[str, Any]:
    """One option: how it is spelled, how many values it takes (``values`` is argparse's nargs), and of what kind."""
    values: int | str = 1 if action.nargs is None else action.nargs
    entry: dict[str, Any] = {"strings": sorted(action.option_strings), "values": values}
    if values != 0:
        entry |= value_type(action.type)
    if entry.get("type") == "json_object" and (keys := config_keys(action.type)):
        entry["keys"] = keys
    if action.choices is not None:
        entry["choices"] = sorted(str(choice) for choice in action.choices if choice is not None)
    if limits := bounds(group, action.dest):
        entry["bounds"] = limits
    if known := names(max(action.option_strings, key=len)):
        entry["names"] = known
    if isinstance(action, argparse._AppendAction):  # noqa: SLF001  # argparse has no public name for it
        entry["repeats"] = True
    return entry


def flags() -> str:
    """The options of the installed engine, as JSON."""
    with contextlib.redirect_stdout(io.StringIO()):  # the engine speaks at import
        version = importlib.import_module("vllm").__version__
        parser = serve_parser()
    options = {
        next(string for string in action.option_strings if string.startswith("--")): described(action, group.title)
        for group in parser._action_groups  # noqa: SLF001  # argparse has no public way to list a parser's options
        for action in group._group_actions  # noqa: SLF001
        if action.option_strings and not isinstance(action, argparse._HelpAction)  # noqa: SLF001
    }
    release = ".".join(version.split(".")[:2])
    return json.dumps({"release": release, "options": options}, indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    sys.stdout.write(flags())
