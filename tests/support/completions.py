"""Asks a real engine."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from typing import Any


def completion(address: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The answer of the engine at an address (``host:port``)."""
    request = urllib.request.Request(
        f"http://{address}/v1/completions",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - a pod of ours
        answered: dict[str, Any] = json.load(answer)
    return answered
