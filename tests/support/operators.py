"""Many operators at once, each a process, forked from one that has imported what all of them need."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

#: Each line that it reads starts an operator, or ends one, and is answered with the process's id.
_FORKING = """
import json, os, signal, sys
from speculator_operator import cli, run

children = set()
for line in sys.stdin:
    order = json.loads(line)
    if pid := order.get("stop"):
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
        children.discard(pid)
    elif not (pid := os.fork()):
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.clear()
        os.environ.update(order["environment"])
        code = 1
        try:
            code = cli.main(order["arguments"])
        finally:
            sys.stderr.flush()
            os._exit(code)
    else:
        children.add(pid)
    print(pid, flush=True)
for pid in children:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
"""


class Operators:
    """Made by ``forking``; whatever it has started is gone afterwards."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._turn = asyncio.Lock()

    @classmethod
    @asynccontextmanager
    async def forking(cls) -> AsyncIterator[Self]:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", _FORKING, stdin=pipe, stdout=pipe)
        try:
            yield cls(process)
        finally:
            assert process.stdin
            process.stdin.close()
            await process.wait()

    async def start(self, arguments: Sequence[str], log: Path, kubeconfig: Path, **settings: object) -> int:
        """Starts ``speculator-operator`` with such settings, and returns its process's id."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        given = {f"SPECULATOR_{name.upper()}": str(value) for name, value in settings.items()}
        environment = {**kept, "KUBECONFIG": str(kubeconfig), **given}
        return await self._order({"arguments": list(arguments), "log": str(log), "environment": environment})

    async def stop(self, pid: int) -> None:
        """Asks one to end, and waits until it has."""
        await self._order({"stop": pid})

    async def _order(self, order: Mapping[str, object]) -> int:
        async with self._turn:
            assert self._process.stdin
            assert self._process.stdout
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            return int(await self._process.stdout.readline())
