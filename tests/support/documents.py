"""The commands of the documents: which there are, which a test runs as a reader would, and which none does, and why.

In blocks of type ``console`` and ``text`` a command is a line that begins with ``$``; the rest is what it prints. In
blocks of type ``sh`` every line is one, but for comments; one may be continued, or bring its input along.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"(^|\s\s+)# .*$")
_INPUT = re.compile(r"<<(\w+)$")

#: Run from the first line to the last on a cluster, by tests/e2e/test_documents.py.
TUTORIAL = Path("docs/tutorial.md")
HOW_TOS = tuple(sorted(path.relative_to(ROOT) for path in (ROOT / "docs" / "how-to").glob("*.md")))
#: Run there too, one after the other, where the tutorial hasn't the same command.
OTHERS = (Path("README.md"), Path("charts/speculator-operator/README.md"), Path("docs/troubleshooting.md"))

#: What stands on a page for what is the reader's, and what the tests put there.
PLACEHOLDERS = {
    "ARGOCD_NAMESPACE": "default",
    "NAME": "qwen3-8b",
    "REGISTRY": "localhost",
    "your-shared-class": "shared",
}

#: What no test runs as it is written, and why.
EXEMPT = {
    "make demo": "tests/e2e/test_main_job.py and test_documents.py show the same; it takes minutes more",
    "make check": "it is what runs the tests",
    "make demo KEEP=1": "it leaves a cluster running, until somebody ends it",
    "make demo CLUSTER=kind ENGINE_IMAGE=...": "it needs docker and kind; the page says that it was not tried",
    "KUBECONFIG=... ENGINE_IMAGE=... make demo": "it needs a cluster of the reader's that has the engine's image",
    "make playground": "it keeps its terminal; tests/e2e/test_documents.py makes the same, by the same function",
    "make image IMAGE=REGISTRY/speculator-operator:0.1.0 && docker push REGISTRY/speculator-operator:0.1.0": (
        "it needs docker and a registry; tests/e2e/test_operator_image.py runs an image of the same Dockerfile"
    ),
    "kubectl wait --for=condition=Ready spd/qwen3-8b --timeout=30m": "it needs a GPU, and 16 GB of weights",
    "kubectl speculator check -f llama3-8b.yaml": "it shows what is printed; the file is nobody's",
    "head /weights/models/*/.downloaded.json": (
        "it runs in a pod of the reader's that mounts the claim; tests/e2e/test_cache.py reads the same files"
    ),
}


def pages() -> list[Path]:
    """All documents, relative to the root."""
    found = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("charts/**/*.md"), *ROOT.glob("bench/*.md")]
    return sorted(path.relative_to(ROOT) for path in found)


def commands(page: Path) -> list[str]:
    """The commands of a page as they are written, in their order."""
    return list(commands_in((ROOT / page).read_text()))


def commands_in(text: str) -> Iterator[str]:
    for kind, block in BLOCK.findall(text):
        if kind == "sh":
            yield from _script(block.splitlines())
        elif kind in ("console", "text"):
            shown = (line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ "))
            yield from (_COMMENT.sub("", line) for line in shown)


def runnable(page: Path) -> list[str]:
    """What a test runs of a page: all but what is exempt, with placeholders filled in."""
    return [_filled_in(command) for command in commands(page) if command not in EXEMPT]


def _script(lines: list[str]) -> Iterator[str]:
    """Commands of a shell script, each of which is one line, but for the input that it brings along."""
    rest = iter(lines)
    for first in rest:
        line = _COMMENT.sub("", first).strip()
        while line.endswith("\\"):
            line = line[:-1].rstrip() + " " + _COMMENT.sub("", next(rest)).strip()
        if given := _INPUT.search(line):
            for following in rest:
                line += f"\n{following}"
                if following == given[1]:
                    break
        if line:
            yield line


def _filled_in(command: str) -> str:
    for placeholder, ours in PLACEHOLDERS.items():
        command = re.sub(rf"\b{placeholder}\b", ours, command)
    return command
