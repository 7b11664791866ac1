"""The commands of the documents: lines that begin with ``$`` in their blocks of type ``console``.

What a reader can't paste as it is, such as a command with a placeholder, is in blocks of another type.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)

#: Run from the first line to the last on a cluster, by tests/e2e/test_documents.py.
TUTORIAL = Path("docs/tutorial.md")
HOW_TOS = tuple(sorted(path.relative_to(ROOT) for path in (ROOT / "docs" / "how-to").glob("*.md")))


def pages() -> list[Path]:
    """All documents, relative to the root."""
    found = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("charts/**/*.md"), *ROOT.glob("bench/*.md")]
    return sorted(path.relative_to(ROOT) for path in found)


def commands(page: Path) -> list[str]:
    """The commands of a page, in their order."""
    blocks = _BLOCK.findall((ROOT / page).read_text())
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]
