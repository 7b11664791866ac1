"""What the engine's API key guards: what the probe sends it with, and nothing that is asked without one."""

from __future__ import annotations

from pathlib import Path

import pytest

from speculator_operator.core import proof_probe
from tests.conformance.conftest import Engine

ORACLE = Path(__file__).parent / "oracle_api_key.py"
GUARDED = (f"{proof_probe.GUARDED}completions", "/v1/chat/completions", "/v1/models")
#: Asked without a key: by the startup, readiness and liveness probes, and by the operator.
OPEN = ("/health", "/metrics")
#: What docs/security.md says that a key doesn't keep anybody from.
UNGUARDED = (
    "/invocations",
    "/tokenize",
    "/detokenize",
    "/generative_scoring",
    "/scale_elastic_ep",
    "/load",
    "/version",
)


@pytest.fixture(scope="module")
def answers(engine: Engine) -> dict[str, list[int]]:
    paths = [*GUARDED, *OPEN, *UNGUARDED]
    return dict(zip(paths, engine(ORACLE, list(paths)), strict=True))


@pytest.mark.parametrize("path", GUARDED)
def test_what_takes_the_key(answers: dict[str, list[int]], path: str) -> None:
    assert answers[path] == [401, 204]


@pytest.mark.parametrize("path", [*OPEN, *UNGUARDED])
def test_what_takes_none(answers: dict[str, list[int]], path: str) -> None:
    assert answers[path] == [204, 204]
