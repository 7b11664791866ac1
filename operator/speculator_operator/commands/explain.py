"""``explain``: what a condition, or its reason, means, and what to do. The words are docstrings of ``api.reasons``."""

from __future__ import annotations

import argparse
import ast
import difflib
import inspect
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from speculator_operator.api import ConditionType, Reason
from speculator_operator.core.words import printable

from . import terminal

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


@dataclass(frozen=True)
class Explanation:
    """``remedy`` is empty where nothing has to be done."""

    kind: str
    name: str
    meaning: str
    remedy: str


@cache
def explanations(enum: type[StrEnum], kind: str) -> tuple[Explanation, ...]:
    """An enum's members, each explained by the docstring under it, which exists in the source alone: the first
    paragraph says what it means, the second what to do."""
    return tuple(_explained(enum, kind))


def _explained(enum: type[StrEnum], kind: str) -> Iterator[Explanation]:
    for definition in ast.parse(inspect.getsource(enum)).body:
        for assignment, described in pairwise(getattr(definition, "body", ())):
            match assignment, described:
                case ast.Assign(targets=[ast.Name(id=name)]), ast.Expr(value=ast.Constant(value=str(words))):
                    meaning, _, remedy = words.replace("``", "`").partition("\n\n")
                    yield Explanation(kind, enum[name].value, " ".join(meaning.split()), " ".join(remedy.split()))


def conditions() -> tuple[Explanation, ...]:
    return explanations(ConditionType, "condition")


def reasons() -> tuple[Explanation, ...]:
    return explanations(Reason, "reason")


def remedy(reason: str) -> str:
    """What to do where a condition has this reason; empty where there is nothing to do, or an unknown one."""
    return next((it.remedy for it in reasons() if it.name == reason), "")


def named(word: str) -> list[Explanation]:
    """What is called so, whatever its case: a condition, a reason, or both.

    Raises:
        ValueError: nothing is; it names what is near.
    """
    every = [*conditions(), *reasons()]
    if found := [it for it in every if it.name.lower() == word.lower()]:
        return found
    names = {it.name.lower(): it.name for it in every}
    close = [names[match] for match in difflib.get_close_matches(word.lower(), names, 3)]
    hint = f"did you mean {' or '.join(close)}?" if close else "`explain` alone lists them all"
    raise ValueError(f"{printable(word)[:100]} is no condition and no reason; {hint}")


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "explain",
        help="say what a condition's reason means, and what to do",
        description="Says what a condition, or the reason that it bears, means, and what to do. It asks no cluster.",
    )
    parser.add_argument("reason", nargs="?", metavar="REASON", help="a reason or a condition; all, if there is none")
    parser.set_defaults(command=_explain)
    terminal.add_output(parser)


def _explain(arguments: argparse.Namespace) -> int:
    found: Iterable[Explanation] = named(arguments.reason) if arguments.reason else (*conditions(), *reasons())
    terminal.show([asdict(it) for it in found], _drawn, output=arguments.output)
    return 0


def _drawn(document: list[dict[str, str]], console: Console) -> RenderableType:
    from . import display

    return display.explanations(document, console)
