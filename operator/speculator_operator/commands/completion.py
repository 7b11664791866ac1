"""``completion``: what shells complete a command line with, and what kubectl does, as of its own commands.

A shell's script is static (shtab writes it), but for resources' names, for which it asks kubectl. Of a plugin, kubectl
asks ``kubectl_complete-speculator``, which is ``for_kubectl`` here.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from speculator_operator import api
from speculator_operator.api import ConditionType, Reason

from . import connection, terminal

SHELLS = ("bash", "zsh", "fish")
NAMES_SECONDS = 3.0
#: What kubectl's shells do with the answer. Source: ShellCompDirective in github.com/spf13/cobra/completions.go.
_FILES_TOO, _NOTHING_ELSE = ":0", ":4"

_NAMES = f"kubectl get {connection.RESOURCES} -o custom-columns=:metadata.name --no-headers 2>/dev/null"

_ZSH_NAMES = f"""
_speculator_names() {{
  compadd -- ${{(f)"$({_NAMES})"}}
}}
"""


def add(commands: Any, parser: Callable[[], argparse.ArgumentParser]) -> None:
    """``parser`` makes the parser of all commands."""
    made = commands.add_parser(
        "completion",
        help="print a script that completes commands in a shell",
        description="Prints a script that completes commands in a shell: source <(speculator-operator completion "
        "bash). kubectl completes `kubectl speculator` by itself, where kubectl_complete-speculator is on the PATH.",
    )
    made.add_argument("shell", choices=SHELLS, help="the shell")
    made.set_defaults(command=lambda arguments: _script(arguments.shell, parser()))


def _script(shell: str, parser: argparse.ArgumentParser) -> int:
    import shtab

    names: dict[str, Any] = shtab.cmd(_NAMES)
    # In zsh the names would be asked for when the script is loaded, and never again.
    names |= {"zsh": "_speculator_names", "preamble": {**names["preamble"], "zsh": _ZSH_NAMES}}
    kinds = {"NAME": names, "FILE": shtab.FILE, "DIR": shtab.DIRECTORY}
    for command in [parser, *_subparsers(parser).values()]:
        for action in command._actions:  # noqa: SLF001 - argparse has no other way to ask, and shtab has none either
            if isinstance(action.metavar, str) and action.metavar in kinds:
                action.complete = kinds[action.metavar]  # type: ignore[attr-defined]
            if action.metavar == "REASON":
                action.choices = _reasons()
    parser.prog = parser.prog.replace(" ", "-")
    terminal.say(shtab.complete(parser, shell))
    return 0


def for_kubectl(parser: argparse.ArgumentParser, words: Sequence[str]) -> str:
    """The answer to kubectl: what the last word may become, and then what to do with it."""
    *given, begun = words or [""]
    subparsers = _subparsers(parser)
    command = next((subparsers[word] for word in given if word in subparsers), None)
    offered, directive = _offered(command, subparsers, given, begun)
    return "\n".join([*sorted(word for word in set(offered) if word.startswith(begun)), directive])


def _offered(
    command: argparse.ArgumentParser | None,
    subparsers: dict[str, argparse.ArgumentParser],
    given: Sequence[str],
    begun: str,
) -> tuple[Iterable[str], str]:
    if command is None:
        return subparsers, _NOTHING_ELSE
    flags = {flag: action for action in command._actions for flag in action.option_strings}  # noqa: SLF001
    before = flags.get(given[-1])
    if before is not None and before.nargs != 0:
        return before.choices or (), _FILES_TOO if before.metavar in ("FILE", "DIR") else _NOTHING_ELSE
    if begun.startswith("-"):
        return flags, _NOTHING_ELSE
    positional = next((action for action in command._actions if not action.option_strings), None)  # noqa: SLF001
    match positional.metavar if positional else None:
        case "NAME":
            return _names(given), _NOTHING_ELSE
        case "REASON":
            return _reasons(), _NOTHING_ELSE
    return (positional.choices or () if positional else ()), _NOTHING_ELSE


def _reasons() -> list[str]:
    return sorted({*map(str, ConditionType), *map(str, Reason)})


def _names(given: Sequence[str]) -> list[str]:
    """Of the resources that the rest of the command line means; none where they can't be listed in a moment."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    for flags in (("-n", "--namespace"), ("--context",), ("--kubeconfig",)):
        parser.add_argument(*flags)
    try:
        arguments, _ = parser.parse_known_args(given)
        return asyncio.run(_list_names(arguments))
    except (OSError, argparse.ArgumentError):
        return []


async def _list_names(arguments: argparse.Namespace) -> list[str]:
    async with asyncio.timeout(NAMES_SECONDS), connection.connected(arguments) as (cluster, namespace):
        return [found["metadata"]["name"] for found in await cluster.list(api.KIND, namespace)]


def _subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:  # noqa: SLF001
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            return dict(action.choices)
    return {}
