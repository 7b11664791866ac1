"""What the engine's API key guards. Runs under the engine's Python.

A question is a path; the answer is the status without a key, and the one with it, where 204 stands for whatever the
engine would answer.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from typing import Any

KEY = "a-key"


def answers(paths: list[str]) -> list[list[int]]:
    middleware = importlib.import_module("vllm.entrypoints.serve.middleware.authenticate").AuthenticationMiddleware
    guarded = middleware(_let_through, tokens=[KEY])
    return [[_asked(guarded, path, headers) for headers in ([], [_BEARER])] for path in paths]


_BEARER = (b"authorization", f"Bearer {KEY}".encode())


async def _let_through(scope: Any, receive: Any, send: Any) -> None:
    del scope, receive
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def _asked(app: Any, path: str, headers: list[tuple[bytes, bytes]]) -> int:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "root_path": "", "headers": headers}
    asyncio.run(app(scope, None, send))
    return int(sent[0]["status"])


if __name__ == "__main__":
    sys.stdout.write(json.dumps(answers(json.load(sys.stdin))))
