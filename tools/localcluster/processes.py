"""Background processes that are gone when their owner is: stopped with it, and killed where it dies without a word."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

#: Asks Linux to kill the process when its parent ends, then becomes the command. A process of its own does that, and
#: no hook between fork and exec, since those aren't safe where the parent has threads.
_DIES_WITH_PARENT = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""

LOG_TAIL = 3000


class ProcessDied(Exception):
    """A process that should run has ended; the message has the end of its log."""


class Processes:
    """Processes with a name each, whose output goes to ``<name>.log`` in one folder.

    Linux ties them to the thread that starts them: start them from one that lives as long as they shall.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> int:
        """Starts a process, and returns its id. ``command[0]`` is a path."""
        wrapped = [sys.executable, "-I", "-S", "-c", _DIES_WITH_PARENT, str(os.getpid()), *map(str, command)]
        with self.log(name).open("ab") as log:
            self._running[name] = subprocess.Popen(
                wrapped,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | dict(environment or {}),
                cwd=self._directory,
                start_new_session=True,  # Ctrl-C is for the owner, who stops them in order
            )
        return self._running[name].pid

    def log(self, name: str) -> Path:
        return self._directory / f"{name}.log"

    def check(self) -> None:
        """Raises ``ProcessDied`` if one has ended."""
        for name, process in self._running.items():
            if process.poll() is not None:
                raise ProcessDied(f"{name} ended with exit code {process.returncode}:\n{self.tail(name)}")

    def tail(self, name: str) -> str:
        return self.log(name).read_bytes()[-LOG_TAIL:].decode(errors="replace")

    def stop(self, *names: str) -> None:
        """Kills these processes, or all of them, last started first: they hold nothing worth a slow farewell."""
        for name in [name for name in reversed(self._running) if not names or name in names]:
            process = self._running.pop(name)
            process.kill()
            process.wait()


class TerminatedByExit:
    """While entered, SIGTERM unwinds the stack, so that ``with`` blocks clean up; by default it ends Python at once."""

    def __enter__(self) -> None:
        self._previous = None
        in_main_thread = threading.current_thread() is threading.main_thread()  # no other may set a handler
        if in_main_thread and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            self._previous = signal.signal(signal.SIGTERM, self._exit)

    def __exit__(self, *_: object) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)

    @staticmethod
    def _exit(number: int, _: FrameType | None) -> None:
        sys.exit(128 + number)
