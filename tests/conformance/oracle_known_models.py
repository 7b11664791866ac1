"""What ``tools/known_models.py`` writes down of the installed engine now. Runs under the engine's Python."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))

if __name__ == "__main__":
    questions = json.load(sys.stdin)
    known = importlib.import_module("tools.known_models").known_models()
    sys.stdout.write(json.dumps([known for _ in questions]) + "\n")
