"""Whatever a config or a spec holds, a pass ends in a result or in a named reason, and writes all of it or nothing.

Whole passes, with a hub and a cluster in memory. Values are bent at random, starting from what works, so that many of
them get past the first check.
"""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from speculator_operator import api
from speculator_operator.api import Reason
from speculator_operator.core.checkpoint import Snapshot
from speculator_operator.core.config_file import parsed
from speculator_operator.reference import Reference
from tests.support import inputs
from tests.support.memorycluster import MemoryCluster
from tests.support.passes import Passes

RECIPES = {
    path.stem: json.loads(path.read_text()) for path in (Path(__file__).parents[1] / "data" / "recipes").iterdir()
}
VERIFIERS = {name: config for name, config in RECIPES.items() if "speculators_config" not in config}
SPECS = [*inputs.GOOD.values(), *(spec for _, spec in inputs.BAD.values())]

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([2**64, -1, 0, 1, 2]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def places(value: Any) -> list[tuple[Any, ...]]:
    """Every path into a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for key, inner in items for path in ((key,), *((key, *below) for below in places(inner)))]


@st.composite
def bent(draw: st.DrawFn, values: list[Any]) -> Any:
    """One of the values, with up to three of its parts replaced by any JSON, or taken out."""
    value = copy.deepcopy(draw(st.sampled_from(values)))
    for _ in range(draw(st.integers(0, 3))):
        if not (paths := places(value)):
            break
        *way, last = draw(st.sampled_from(paths))
        inside = value
        for key in way:
            inside = inside[key]
        if draw(st.booleans()):
            inside[last] = draw(JSON)
        else:
            del inside[last]
    return value


class World(Passes):
    """A resource whose models' configs are ``configs``; of those that are named there not, the one of no name."""

    def __init__(self, spec: Any, configs: Mapping[str, Any]) -> None:
        self.configs = configs
        super().__init__(spec, resolver_image="registry.example/speculator-operator:test")
        self.body["spec"] = spec

    async def read(self, reference: Reference, *, max_age: float = 0.0) -> Snapshot:
        del max_age
        body = json.dumps(self.configs.get(reference.uri, self.configs[""])).encode()
        return Snapshot(reference.uri, "c" * 40, parsed(body, reference.uri), {"model.safetensors": 2**30})


def passes(spec: Any, configs: Mapping[str, Any]) -> MemoryCluster:
    """Two passes over a resource; the second one writes nothing."""
    world = World(spec, configs)

    async def twice() -> list[str]:
        await world.reconcile()
        written = list(world.cluster.writes)
        await world.reconcile()
        assert world.cluster.writes == []
        return written

    world.cluster.writes[:] = asyncio.run(twice())
    return world.cluster


def holds(cluster: MemoryCluster) -> None:
    conditions = {condition["type"]: condition for condition in cluster.status["conditions"]}
    assert set(conditions) == set(api.ConditionType)
    for condition in conditions.values():
        assert condition["reason"] in set(Reason)
        assert len(condition["message"]) <= 1024
    event(conditions["Resolved"]["reason"])
    written = cluster.kinds() - {api.KIND, "Job"}
    if conditions["Reconciling"]["reason"] == Reason.FETCHING:  # nothing runs before the weights are on the claim
        assert written == {"ControllerRevision"}
    elif conditions["Resolved"]["status"] == "True":
        assert written == {"ControllerRevision", "Service", "NetworkPolicy", "Deployment"}
        assert cluster.writes.index("NetworkPolicy") < cluster.writes.index("Deployment")
        assert cluster.writes.index("ControllerRevision") == 0
    else:
        assert written == set()
        assert conditions["Ready"]["status"] == "False"
    made = [item for (kind, _, _), item in cluster.objects.items() if kind != api.KIND]
    json.dumps([cluster.status, *made], allow_nan=False).encode()


THOROUGH = settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])


@pytest.mark.timeout(300)
@THOROUGH
@given(
    model=bent([*RECIPES.values()]) | JSON,
    verifier=bent([*VERIFIERS.values()]) | JSON,
    tensor=st.sampled_from([1, 2, 4, 3]),
)
def test_any_config(model: Any, verifier: Any, tensor: int) -> None:
    spec = {"model": {"uri": inputs.URI}, "parallelism": {"tensor": tensor}}
    holds(passes(spec, {inputs.URI: model, "": verifier}))


@pytest.mark.timeout(300)
@THOROUGH
@given(
    spec=bent(SPECS).map(lambda spec: {"model": {"uri": inputs.URI}, **spec} if isinstance(spec, dict) else spec) | JSON
)
def test_any_spec(spec: Any) -> None:
    holds(passes(spec, {inputs.URI: RECIPES["eagle3-qwen3-8b"], "": RECIPES["regular-qwen3-8b"]}))


@pytest.mark.timeout(300)
@THOROUGH
@given(
    config=bent(
        [
            {"method": "ngram", "num_speculative_tokens": 3},
            {"method": "eagle3", "model": "org/head", "num_speculative_tokens": 2},
            {"method": "mtp", "num_speculative_tokens": 1},
        ]
    ),
    draft=bent([*RECIPES.values()]),
)
def test_any_recipe_of_a_user_s(config: Any, draft: Any) -> None:
    spec = {"model": {"uri": inputs.URI}, "speculation": {"config": config}}
    holds(passes(spec, {inputs.URI: RECIPES["regular-qwen3-8b"], "": draft}))
