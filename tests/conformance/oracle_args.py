"""Asks the engine how it reads arguments. Run under the engine's Python: questions on standard input, answers as JSON.

A question is an object with one key:

- ``args``: what follows ``vllm serve MODEL``. The answer has every value of the parsed namespace, and the speculative
  config as the engine would make it; or ``rejected``.
- ``lookup``: a speculative config of a method that needs no draft model; ``{}`` where it is taken, or ``rejected``.
- ``flags``: what ``tools/engine_flags.py`` prints.
- ``speculative_fields``: the names of the speculative config's fields.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import importlib.util
import io
import json
import sys
from pathlib import Path
from typing import Any
from unittest import mock

MODEL = "org/verifier"


def cli_parser() -> Any:
    """The parser of the command ``vllm``, with its subcommand ``serve``."""
    flexible = importlib.import_module("vllm.utils.argparse_utils").FlexibleArgumentParser
    parser = flexible(prog="vllm")
    parser.add_argument("-v", "--version", action="version", version="0")
    importlib.import_module("vllm.entrypoints.cli.serve").ServeSubcommand().subparser_init(
        parser.add_subparsers(required=False, dest="subparser")
    )
    return parser


def parsed(parser: Any, args: list[str]) -> dict[str, Any]:
    arg_utils = importlib.import_module("vllm.engine.arg_utils")
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(errors):
            namespace = parser.parse_args(["serve", MODEL, *args])
            with mock.patch.object(arg_utils, "SpeculativeConfig", dict):
                made = arg_utils.EngineArgs.create_speculative_config(namespace, None, None)
    except (Exception, SystemExit):  # noqa: BLE001  # the engine's parser raises all sorts
        return {"rejected": errors.getvalue()[-500:]}
    if made is not None:
        made = {key: value for key, value in made.items() if not key.startswith("target_")}
    single = {"spec_method", "spec_model", "spec_tokens", "speculative_config", "dispatch_function"}
    values = {name: plain(value) for name, value in vars(namespace).items() if name not in single}
    return {"values": values, "speculative": made}


def plain(value: Any) -> Any:
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError):
        return repr(value)


def lookup(config: dict[str, Any]) -> dict[str, Any]:
    speculative = importlib.import_module("vllm.config.speculative")
    try:
        speculative.SpeculativeConfig(**config)
    except Exception as error:  # noqa: BLE001  # whatever it is, it ends the engine
        return {"rejected": str(error)[:500]}
    return {}


def flags() -> str:
    path = Path(__file__).parents[2] / "tools" / "engine_flags.py"
    spec = importlib.util.spec_from_file_location("engine_flags", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return str(module.flags())


def answer(parser: Any, question: dict[str, Any]) -> Any:
    if "args" in question:
        return parsed(parser, question["args"])
    if "lookup" in question:
        return lookup(question["lookup"])
    if "flags" in question:
        return flags()
    speculative = importlib.import_module("vllm.config.speculative")
    return [field.name for field in dataclasses.fields(speculative.SpeculativeConfig)]


def main() -> None:
    questions = json.load(sys.stdin)
    parser = cli_parser()
    sys.stdout.write(json.dumps([answer(parser, question) for question in questions]) + "\n")


if __name__ == "__main__":
    main()
