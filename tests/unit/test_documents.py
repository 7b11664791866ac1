"""The documents lead nowhere that isn't there, and no command of theirs goes unrun."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from speculator_operator import api
from tests.support.documents import (
    BLOCK,
    EXEMPT,
    HOW_TOS,
    OTHERS,
    PLACEHOLDERS,
    ROOT,
    TUTORIAL,
    commands,
    commands_in,
    pages,
    runnable,
)

LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(#[^)\s]+)?\)")
PICTURE = re.compile(r"!\[[^\]]+\]\((?!https?:)([^)\s]+)\)")


@pytest.mark.parametrize("page", pages(), ids=str)
def test_every_command_is_run_or_exempt(page: Path) -> None:
    if page not in (TUTORIAL, *HOW_TOS, *OTHERS):
        unknown = set(commands(page)) - set(EXEMPT)
        assert not unknown, f"{page}: neither on a page that is run, nor exempt"


@pytest.mark.parametrize("page", pages(), ids=str)
def test_every_block_is_of_a_kind_that_is_looked_at(page: Path) -> None:
    kinds = {kind for kind, _ in BLOCK.findall((ROOT / page).read_text())}
    assert kinds <= {"console", "text", "sh", "yaml", "lua"}


@pytest.mark.parametrize("page", pages(), ids=str)
def test_every_manifest_is_yaml(page: Path) -> None:
    for kind, block in BLOCK.findall((ROOT / page).read_text()):
        assert kind != "yaml" or list(yaml.safe_load_all(block))


def test_what_is_exempt_or_filled_in_is_on_a_page() -> None:
    there = [command for page in pages() for command in commands(page)]
    assert set(EXEMPT) <= set(there)
    assert [placeholder for placeholder in PLACEHOLDERS if not re.search(rf"\b{placeholder}\b", "\n".join(there))] == []


@pytest.mark.parametrize("page", [TUTORIAL, *HOW_TOS, *OTHERS], ids=str)
def test_nothing_is_left_to_fill_in(page: Path) -> None:
    assert [command for command in runnable(page) if re.search(r"\.\.\.|[<=/ ][A-Z]{4,}\b", command)] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("```console\n$ a  # why\nprinted\n$ b | c\n```\n", ["a", "b | c"]),
        ("```sh\na b   # why\n\n# only a comment\nc '#d'\n```\n", ["a b", "c '#d'"]),
        ("```sh\na \\\n    --b \\\n    --c\nd\n```\n", ["a --b --c", "d"]),
        ("```sh\na -f - <<END\n  b: c\n\nEND\nd\n```\n", ["a -f - <<END\n  b: c\n\nEND", "d"]),
        ("```text\n$ a\nb\n```\n\n```yaml\na: b\n```\n", ["a"]),
    ],
    ids=["console", "sh", "continued", "with input", "other blocks"],
)
def test_commands_are_read_from_blocks(text: str, expected: list[str]) -> None:
    assert list(commands_in(text)) == expected


@pytest.mark.parametrize("page", pages(), ids=str)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall((ROOT / page).read_text()):
        linked = (ROOT / page).parent / target if target else ROOT / page
        assert linked.exists(), f"{page} links to {target}"
        if anchor and linked.suffix == ".md":
            titles = re.findall(r"^#+ (.*)$", linked.read_text(), re.MULTILINE)
            anchors = {"#" + re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
            assert anchor in anchors, f"{page} links to {target}{anchor}"


def test_the_health_check_of_argo_cd_is_shown_as_it_is() -> None:
    page = Path("docs/how-to/gitops.md")
    (shown,) = (block for kind, block in BLOCK.findall((ROOT / page).read_text()) if kind == "lua")
    assert shown == (ROOT / "config" / "argocd" / "health.lua").read_text()
    key = f"resource.customizations.health.{api.GROUP}_{api.KIND}=config/argocd/health.lua"
    assert any(key in command for command in commands(page))


def test_every_picture_is_shown_and_every_picture_that_is_shown_exists() -> None:
    drawn = set((ROOT / "docs" / "pictures").iterdir())
    shown = {(ROOT / page).parent / target for page in pages() for target in PICTURE.findall((ROOT / page).read_text())}
    assert {path.resolve() for path in shown} == drawn


def test_there_is_something_to_run() -> None:
    assert len(commands(TUTORIAL)) > 15
    assert len(HOW_TOS) >= 6
    assert all(commands(page) for page in HOW_TOS)
