"""What commands print, where to, and how they end. Colours and what moves are for terminals alone."""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TextIO

from speculator_operator.core.words import printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

EXIT_UNDETERMINED = 1
EXIT_REFUSED = 2
EXIT_USAGE = 64
EXIT_INTERRUPTED = 130

#: Between two looks of what goes on until it is interrupted.
REFRESH_SECONDS = 2.0
#: Where nobody's terminal sets a limit, lines are as long as they are.
_UNLIMITED = 100_000


def prepare() -> None:
    """Makes the standard streams such that whatever is printed can be."""
    if sys.stderr is None:  # argparse would print to standard output instead
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123  # as long as the process lives
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # whatever a file holds, it can be printed
            stream.reconfigure(errors="backslashreplace")


def say(text: str, *, to: TextIO | None = None) -> None:
    """Prints lines to standard output, or another stream. That whoever reads has seen enough changes no exit code.

    Raises:
        OSError: they can't be written, or standard output is closed.
    """
    stream = to or sys.stdout
    if stream is None:
        raise OSError("standard output is closed, so nothing can be printed")
    try:
        print(text, end="" if text.endswith("\n") else "\n", file=stream, flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # what is buffered would fail again at the exit
        if not isinstance(error, BrokenPipeError):
            raise


def warn(text: str) -> None:
    say(f"warning: {text}", to=sys.stderr)


def add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", choices=("json",), help="print it for programs; the keys are stable")


def console() -> Console:
    """Standard output, as rich sees it: it goes by NO_COLOR, FORCE_COLOR, TERM and COLUMNS."""
    from rich.console import Console

    made = Console(highlight=False, markup=False, emoji=False)
    if not made.is_terminal:
        return Console(highlight=False, markup=False, emoji=False, width=_UNLIMITED, color_system=None)
    if os.environ.get("NO_COLOR") or made.is_dumb_terminal:
        return Console(highlight=False, markup=False, emoji=False, color_system=None)
    return made


def interactive() -> bool:
    """Whether a person looks at standard output, whatever the environment says of colours."""
    return sys.stdout is not None and sys.stdout.isatty()


def show(document: Any, draw: Callable[[Any, Console], RenderableType], *, output: str | None) -> None:
    """Prints a document: as JSON, or drawn for people."""
    if output == "json":
        say(json.dumps(document, indent=2))
        return
    screen = console()
    with screen.capture() as captured:
        screen.print(draw(document, screen))
    say("\n".join(line.rstrip() for line in captured.get().splitlines()))


async def keep_showing(
    look: Callable[[], Awaitable[Any]],
    draw: Callable[[Any, Console], RenderableType],
    *,
    output: str | None,
    every: float = REFRESH_SECONDS,
) -> None:
    """Shows what ``look`` finds every so many seconds, until it is interrupted.

    On a terminal what was shown is replaced; what can't be looked at for a while stays, and why is said below.
    Elsewhere, what changes is printed anew.

    Raises:
        OSError: the first look failed, or, where this isn't a terminal, any.
    """
    document, screen = await look(), console()
    if output == "json" or not interactive() or screen.is_dumb_terminal:
        shown: dict[str, Any] | None = None
        while True:
            news = {key: value for key, value in document.items() if key != "at"}
            if news != shown:
                show(document, draw, output=output)
                shown = news
            await asyncio.sleep(every)
            document = await look()

    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    with Live(draw(document, screen), console=screen, auto_refresh=False) as live:
        while True:
            await asyncio.sleep(every)
            try:
                document, trouble = await look(), None
            except OSError as error:
                trouble = Text(printable(f"not looked at since {document['at']}: {error}"), style="yellow")
            drawn = draw(document, screen)
            live.update(Group(drawn, trouble) if trouble else drawn, refresh=True)
