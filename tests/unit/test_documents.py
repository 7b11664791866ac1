"""The documents lead nowhere that isn't there, and no command of theirs goes unrun."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.documents import HOW_TOS, ROOT, TUTORIAL, commands, pages

#: Commands outside the pages that tests run from end to end, and who runs each.
RUN_ELSEWHERE = {
    "make demo": "tests/e2e/test_main_job.py and test_documents.py show the same; it takes minutes more",
    "make check": "the continuous integration",
}
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(#[^)\s]+)?\)")
PICTURE = re.compile(r"!\[[^\]]+\]\((?!https?:)([^)\s]+)\)")


@pytest.mark.parametrize("page", pages(), ids=str)
def test_every_command_is_one_that_something_runs(page: Path) -> None:
    if page not in (TUTORIAL, *HOW_TOS):
        unknown = {command.partition("  #")[0].strip() for command in commands(page)} - set(RUN_ELSEWHERE)
        assert not unknown, f"{page}: neither on a page that is run, nor run elsewhere"


@pytest.mark.parametrize("page", pages(), ids=str)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall((ROOT / page).read_text()):
        linked = (ROOT / page).parent / target if target else ROOT / page
        assert linked.exists(), f"{page} links to {target}"
        if anchor and linked.suffix == ".md":
            titles = re.findall(r"^#+ (.*)$", linked.read_text(), re.MULTILINE)
            anchors = {"#" + re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
            assert anchor in anchors, f"{page} links to {target}{anchor}"


def test_every_picture_is_shown_and_every_picture_that_is_shown_exists() -> None:
    drawn = set((ROOT / "docs" / "pictures").iterdir())
    shown = {(ROOT / page).parent / target for page in pages() for target in PICTURE.findall((ROOT / page).read_text())}
    assert {path.resolve() for path in shown} == drawn


def test_there_is_something_to_run() -> None:
    assert len(commands(TUTORIAL)) > 15
    assert len(HOW_TOS) >= 6
    assert all(commands(page) for page in HOW_TOS)
