"""A resource and its pods as an API server holds them at some moment, and what a person is shown of documents."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from rich.console import Console, RenderableType

from speculator_operator import api
from tests.support import inputs

NOW = "2026-11-24T12:00:00Z"
SINCE = "2026-11-24T09:00:00Z"
UID = "11111111-2222-3333-4444-555555555555"
#: How a terminal is told to show what is bad.
RED = "\x1b[1;31m"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def condition(type_: str, status: str, reason: str, message: str) -> dict[str, Any]:
    return {"type": type_, "status": status, "reason": reason, "message": message, "lastTransitionTime": SINCE}


def resource(**status: Any) -> dict[str, Any]:
    """One that serves, on two pods of four GPUs each; ``status`` replaces parts of its status."""
    body = inputs.resource({"replicas": 2, "parallelism": {"tensor": 4}})
    body["metadata"] |= {"namespace": "default", "uid": UID, "generation": 3, "creationTimestamp": SINCE}
    body["status"] = {
        "observedGeneration": 3,
        "replicas": 2,
        "readyReplicas": 2,
        "updatedReplicas": 2,
        "url": "http://llama3-8b.default.svc:8000",
        "conditions": [
            condition("Ready", "True", "Reconciled", "2 pods of the current revision available"),
            condition("Stalled", "False", "Reconciled", "2 pods of the current revision available"),
            condition("Reconciling", "False", "Reconciled", "2 pods of the current revision available"),
            condition("Resolved", "True", "Resolved", "eagle3 with 3 tokens"),
            condition("Available", "True", "Serving", "2 pods ready"),
            condition("SpeculationActive", "True", "Drafting", "The engine of every ready pod (2) has verified drafts"),
        ],
        "resolved": {
            **inputs.RESOLVED.model_dump(mode="json", by_alias=True, exclude_none=True),
            "verifier": {"uri": "meta-llama/Llama-3.1-8B-Instruct", "revision": COMMIT},
            "draft": {"uri": "org/draft", "revision": COMMIT[::-1]},
            "revision": "llama3-8b-aaaaaaaaaa",
            "sources": [
                {"field": "method", "value": "eagle3", "source": "the checkpoint's recipe"},
                {"field": "tensor", "value": "4", "source": "spec.parallelism.tensor"},
            ],
        },
        "acceptance": {
            "windowSeconds": 300,
            "pods": 2,
            "drafts": 12345,
            "draftTokens": 37035,
            "acceptedTokens": 22221,
            "length": "2.80",
            "rate": "0.60",
            "ratePerPosition": ["0.85", "0.60", "0.15"],
        },
        **status,
    }
    return body


def pod(name: str, *, ready: bool = True, revision: str = "aaaaaaaaaa", container: dict[str, Any] | None = None) -> Any:
    """A pod of the resource; ``container`` is its container's status."""
    return {
        "metadata": {
            "name": name,
            "uid": f"uid-of-{name}",
            "creationTimestamp": SINCE,
            "labels": {api.NAME_LABEL: inputs.NAME, api.REVISION_LABEL: revision},
        },
        "spec": {
            "nodeName": "gpu-1",
            "containers": [
                {
                    "name": "main",
                    "args": ["--speculative-config={}"],
                    "ports": [{"name": "http", "containerPort": 8000}],
                }
            ],
        },
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": str(ready)}],
            "containerStatuses": [{"restartCount": 0, "state": {"running": {}}, **(container or {})}],
        },
    }


def event(at: str, type_: str, reason: str, note: str) -> dict[str, Any]:
    return {
        "type": type_,
        "reason": reason,
        "note": note,
        "eventTime": at,
        "regarding": {"kind": api.KIND, "name": inputs.NAME},
    }


def plain(document: Any, draw: Callable[[Any, Console], RenderableType]) -> str:
    """What is drawn where there is no terminal, without the spaces at the ends of lines."""
    return on(Console(file=io.StringIO(), width=1000, color_system=None), document, draw)


def on_terminal(document: Any, draw: Callable[[Any, Console], RenderableType], *, width: int = 120) -> str:
    """What is drawn on a terminal that has no colours."""
    screen = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None, legacy_windows=False)
    return on(screen, document, draw)


def coloured(document: Any, draw: Callable[[Any, Console], RenderableType]) -> str:
    """What is drawn on a terminal that has colours."""
    screen = Console(file=io.StringIO(), force_terminal=True, width=120, color_system="standard", legacy_windows=False)
    return on(screen, document, draw)


def on(console: Console, document: Any, draw: Callable[[Any, Console], RenderableType]) -> str:
    with console.capture() as captured:
        console.print(draw(document, console))
    return "\n".join(line.rstrip() for line in captured.get().splitlines())
