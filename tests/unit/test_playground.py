"""How the playground ends; that it is one is seen in ``tests/e2e/test_documents.py``."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

#: The playground, with nothing in it.
PROGRAM = """
import sys
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import MagicMock
from tools import playground
playground.FOLDER = Path(sys.argv[1])
for part in ("ControlPlane", "Node", "Hub"):
    setattr(playground, part, lambda *_, **__: nullcontext(MagicMock()))
for part in ("operator_image", "publish_samples", "prepare"):
    setattr(playground, part, MagicMock())
sys.exit(playground.main())
"""


def test_it_ends_by_an_interrupt_though_a_script_began_it_in_the_background(tmp_path: Path) -> None:
    # A shell without job control has what it starts with & ignore the signal.
    ignoring = [
        "/bin/sh",
        "-c",
        "trap '' INT; exec \"$@\"",
        "sh",
        sys.executable,
        "-c",
        PROGRAM,
        str(tmp_path / "play"),
    ]
    with subprocess.Popen(ignoring, stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout
            while "Ctrl-C ends it" not in running.stdout.readline():
                assert running.poll() is None
            running.send_signal(signal.SIGINT)
            assert running.wait(10) == 0
        finally:
            running.kill()
    assert not (tmp_path / "play").exists()
