"""What names a revision: what a user wrote that reaches a pod. Whole renderings are in ``test_render_cases``."""

from __future__ import annotations

from typing import Any

import pytest

from speculator_operator import api
from speculator_operator.core import render
from tests.support import inputs


def name(spec: dict[str, Any]) -> str:
    return render.revision_name(api.SpeculatorDeployment.from_object(inputs.resource(spec)))


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"replicas": 3}, id="how many pods there are"),
        pytest.param({"suspend": True}, id="whether there are any"),
        pytest.param({"rollout": {"strategy": "Recreate"}}, id="how a change reaches them"),
        pytest.param({"accelerator": {"memory": "80Gi"}}, id="what is only checked"),
        pytest.param({"parallelism": {}, "engine": {"args": []}}, id="what is as if it weren't there"),
    ],
)
def test_what_reaches_no_pod_rolls_none(spec: dict[str, Any]) -> None:
    assert name(spec) == name({})


@pytest.mark.parametrize(
    "spec",
    [
        {"model": {"uri": "pvc://models/llama"}},
        {"model": {"uri": inputs.URI, "tokenSecretRef": {"name": "hub", "key": "token"}}},
        {"accelerator": {"product": "NVIDIA-L4"}},
        {"parallelism": {"tensor": 2}},
        {"engine": {"args": ["--seed=1"]}},
    ],
    ids=str,
)
def test_what_reaches_a_pod_is_another_revision(spec: dict[str, Any]) -> None:
    assert name(spec) != name({})
