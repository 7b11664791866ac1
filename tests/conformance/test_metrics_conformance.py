"""The engine's metrics that the dashboard and the alerts go by are those that the engine has."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.conftest import Engine
from tests.monitoring.queries import engine_metrics

pytestmark = pytest.mark.timeout(300)

ORACLE = Path(__file__).with_name("oracle_metrics.py")


def test_the_engine_has_each_metric_that_is_asked_for(engine: Engine) -> None:
    names = sorted(engine_metrics())
    assert "vllm:generation_tokens" in names
    assert dict(zip(names, engine(ORACLE, names), strict=True)) == dict.fromkeys(names, True)


def test_one_that_it_does_not_have_would_be_found(engine: Engine) -> None:
    assert engine(ORACLE, ["vllm:generated_tokens"]) == [False]
