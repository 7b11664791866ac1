"""Names of metrics -> those of them that the engine's sources name, as they are declared there.

The sources are read, not imported: which metrics an engine makes depends on what it serves.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import sys
from pathlib import Path

FOLDERS = ("v1/metrics", "v1/spec_decode")


def main() -> None:
    found = importlib.util.find_spec("vllm")
    assert found is not None
    assert found.origin is not None
    root = Path(found.origin).parent
    texts = {
        node.value
        for folder in FOLDERS
        for path in (root / folder).glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    sys.stdout.write(json.dumps([name in texts for name in json.load(sys.stdin)]))


if __name__ == "__main__":
    main()
