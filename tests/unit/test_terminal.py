"""What is printed where: colours and what moves are for terminals alone, and nothing slow is imported for nothing."""

from __future__ import annotations

import argparse
import asyncio
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Any

import pytest
from rich.console import Console, RenderableType
from rich.text import Text

from speculator_operator.commands import connection, terminal

ESCAPE = "\x1b["


def output_of(*words: str, on_terminal: bool, **environment: str) -> str:
    """What the program prints, to a terminal or to a pipe."""
    command = [sys.executable, "-m", "speculator_operator", *words]
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    given: Mapping[str, str] = {**kept, "TERM": "xterm-256color", **environment}
    if not on_terminal:
        return subprocess.run(command, env=given, capture_output=True, text=True, check=True, timeout=30).stdout
    ours, theirs = pty.openpty()
    printed = bytearray()

    def read() -> None:
        while True:
            try:
                printed.extend(os.read(ours, 65536))
            except OSError:  # how a terminal says that nobody is there any more
                return

    reader = threading.Thread(target=read)
    reader.start()
    subprocess.run(command, env=given, stdout=theirs, check=True, timeout=30)
    os.close(theirs)
    reader.join(10)
    os.close(ours)
    return printed.decode()


def test_a_terminal_gets_colours() -> None:
    assert ESCAPE in output_of("explain", "NotDrafting", on_terminal=True)


@pytest.mark.parametrize(
    ("case", "on_terminal", "environment"),
    [
        ("a pipe", False, {}),
        ("NO_COLOR", True, {"NO_COLOR": "1"}),
        ("a terminal that is dumb", True, {"TERM": "dumb"}),
    ],
)
def test_plain_text_where_colours_are_not_wanted(case: str, on_terminal: bool, environment: dict[str, str]) -> None:
    printed = output_of("explain", "NotDrafting", on_terminal=on_terminal, **environment)
    assert printed.startswith("NotDrafting (reason)"), case
    assert ESCAPE not in printed, case


def test_a_terminals_width_is_kept_and_a_pipe_has_none() -> None:
    narrow = output_of("explain", "NotDrafting", on_terminal=True, NO_COLOR="1", COLUMNS="60")
    assert max(map(len, narrow.splitlines())) <= 60
    assert len(output_of("explain", "NotDrafting", on_terminal=False).splitlines()) == 3


def test_the_operator_needs_neither_rich_nor_shtab() -> None:
    program = (
        "import sys, speculator_operator.cli as cli, speculator_operator.run; cli.parser(); "
        "print(sorted({'rich', 'pygments', 'shtab'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "[]\n"


def test_a_command_without_a_cluster_imports_no_client_of_one() -> None:
    program = (
        "import sys, speculator_operator.cli as cli; cli.parser(); print({'kubernetes', 'kopf'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "set()\n"


class Enough(Exception):
    """Ends what would go on for ever."""


def draw(document: dict[str, Any], console: Console) -> RenderableType:
    del console
    return Text(document["said"])


async def watched(*looks: str | OSError) -> None:
    left = iter(looks)

    async def look() -> dict[str, Any]:
        said = next(left, None)
        if said is None:
            raise Enough
        if isinstance(said, OSError):
            raise said
        return {"at": "12:00", "said": said}

    with pytest.raises((Enough, OSError)):
        await terminal.keep_showing(look, draw, output=None, every=0)


@pytest.mark.parametrize("colours", ["", "1"])
def test_watched_in_a_pipe_only_what_changes_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], colours: str
) -> None:
    monkeypatch.setenv("FORCE_COLOR", colours)
    asyncio.run(watched("a", "a", "b", "b", "a"))
    assert capsys.readouterr().out == "a\nb\na\n"


def test_watched_on_a_terminal_what_was_seen_last_stays_while_nothing_answers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(terminal, "interactive", lambda: True)
    asyncio.run(watched("a", OSError("HTTP 503")))
    printed = capsys.readouterr().out
    assert printed.count("a") >= 2
    assert "not looked at since 12:00: HTTP 503" in printed


@pytest.mark.parametrize(
    ("case", "names", "elsewhere", "words"),
    [
        ("a typo", ["llama3-8b", "qwen3-8b"], [], "did you mean llama3-8b?"),
        ("another namespace", [], ["prod", "dev"], "there is one of that name in dev, prod (-n)"),
        ("nothing near", ["tiny", "small"], [], "there are small, tiny"),
        ("many", [f"x{index:02}" for index in range(12)], [], "and 2 more"),
        ("none", [], [], "there is none at all"),
    ],
)
def test_a_name_that_is_not_there(case: str, names: list[str], elsewhere: list[str], words: str) -> None:
    assert words in connection.near("lama3-8b", names, elsewhere), case


def test_the_rights_that_a_command_needs_are_in_its_help() -> None:
    parser = argparse.ArgumentParser(description="Does something.")
    connection.add_options(parser, rights=("get this", "list that"))
    assert parser.format_help().endswith(
        "rights that it needs, in the resource's namespace:\n  get this\n  list that\n"
    )
