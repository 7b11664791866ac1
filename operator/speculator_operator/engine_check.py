"""Asks the engine itself whether it takes a command: its parser, its checks of ``vllm serve``, its whole config.

This file runs under the engine's Python, where nothing of ours is installed: the standard library and vllm only. As a
program it reads questions, a JSON object with ``validate``'s arguments per line, and writes as many answers: the
engine's version, and its refusal or null. Each is written when it is known, so that one that kills the process takes no
other with it.

No weights are read and no device is asked for: the models are folders with a ``config.json``, and the engine is told
that it runs on a CPU, so that the answer doesn't depend on the GPUs of the machine at hand.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any
from unittest import mock

#: Characters of an answer; the engine may print all that it was given.
LONGEST = 600
#: What pydantic adds to its words: what it was given, and where to read more.
_ADDED = re.compile(r" \[type=\w+, input_value=.*\]$|^ *For further information visit .*$", re.MULTILINE)
#: argparse prints how the command is used before what is wrong with it.
_USAGE = re.compile(r".*^vllm[^\n]*: error: ", re.DOTALL | re.MULTILINE)


def validate(
    command: Sequence[str], folders: Mapping[str, str], environment: Mapping[str, str] | None = None
) -> str | None:
    """The engine's words where it refuses a command (``vllm serve MODEL ...``), on one line; None where it takes it.

    ``folders`` has, for each model that the command names, a folder to read in its place. ``environment`` is what the
    engine's container has besides.
    """
    said = io.StringIO()
    try:
        with mock.patch.dict(os.environ, environment or {}), contextlib.redirect_stderr(said):
            _build(_in_folders(command, folders))
    except SystemExit:
        words = _USAGE.sub("", said.getvalue())
    except Exception as error:  # noqa: BLE001  # whatever it is, it ends the engine
        words = _words(error)
    else:
        return None
    for model, folder in folders.items():
        words = words.replace(folder, model)
    return " ".join(_ADDED.sub("", words).split())[:LONGEST] or "no words"


def _build(argv: Sequence[str]) -> None:
    """What the command ``vllm serve`` does before it loads anything."""
    parser = importlib.import_module("vllm.utils.argparse_utils").FlexibleArgumentParser(prog="vllm")
    serve = importlib.import_module("vllm.entrypoints.cli.serve").ServeSubcommand()
    serve.subparser_init(parser.add_subparsers(required=True, dest="subparser"))
    arguments = parser.parse_args(list(argv))
    arguments.model = arguments.model_tag
    arguments.chat_template = None  # a file of the image's
    serve.validate(arguments)
    _leave_reasoning_out(arguments)
    usage = importlib.import_module("vllm.usage.usage_lib").UsageContext.OPENAI_API_SERVER
    engine_args = importlib.import_module("vllm.engine.arg_utils").AsyncEngineArgs.from_cli_args(arguments)
    engine_args.create_engine_config(usage_context=usage)


def _leave_reasoning_out(arguments: Any) -> None:
    """The engine looks the ends of reasoning up in a tokenizer, and there is none. That it has the parsers is asked."""
    parsers = importlib.import_module("vllm.reasoning").ReasoningParserManager
    for named in (arguments, arguments.reasoning_config, arguments.structured_outputs_config):
        if parser := getattr(named, "reasoning_parser", None):
            parsers.get_reasoning_parser(parser)
    arguments.reasoning_parser, arguments.reasoning_config = "", None


def _in_folders(command: Sequence[str], folders: Mapping[str, str]) -> list[str]:
    """The command without the program's name, each model replaced by its folder."""
    flag = "--speculative-config="
    argv = [folders.get(token, token) for token in command[1:]]
    for index, token in enumerate(argv):
        if token.startswith(flag):
            config = json.loads(token.removeprefix(flag))
            if "model" in config:
                config["model"] = folders.get(config["model"], config["model"])
            argv[index] = flag + json.dumps(config)
    return argv


def _words(error: Exception) -> str:
    """pydantic's are lists of errors, each with the field that it is about, or with none."""
    details = getattr(error, "errors", None)
    if callable(details) and (found := details()) and all(isinstance(each, dict) and "msg" in each for each in found):
        return "; ".join(": ".join([*map(str, each.get("loc", ())), str(each["msg"])]) for each in found)
    return f"{type(error).__name__}: {error}"


def main() -> None:
    # The engine logs to standard output as well, which is for answers alone.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    platforms: Any = importlib.import_module("vllm.platforms")
    platforms.current_platform = importlib.import_module("vllm.platforms.cpu").CpuPlatform()
    # Builds for CPUs have no Triton, for which the engine would choose a model runner that no GPU's pod has.
    vars(importlib.import_module("vllm.config.vllm"))["HAS_TRITON"] = True
    version = importlib.import_module("vllm").__version__
    for line in sys.stdin:
        answer: dict[str, Any] = {"version": version, "refused": validate(**json.loads(line))}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
