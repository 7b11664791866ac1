"""Whole passes over one resource, made when a test asks for them, with a cluster in memory and a clock."""

from __future__ import annotations

from typing import Any, cast

from speculator_operator.api import Reason
from speculator_operator.cluster import Cluster
from speculator_operator.core.checkpoint import Snapshot
from speculator_operator.core.render import Manifest
from speculator_operator.drafting import Drafting
from speculator_operator.errors import Waiting
from speculator_operator.fetches import Fetches
from speculator_operator.handlers import Watched
from speculator_operator.reconciler import Reconciler
from speculator_operator.reference import Reference
from speculator_operator.settings import Settings
from speculator_operator.sources import Sources
from speculator_operator.workqueue import Key
from tests.support import inputs
from tests.support.memorycluster import MemoryCluster
from tests.support.world import VERIFIER

KEY = ("models", inputs.NAME)
AGAIN = 600.0
"""Seconds after which what only a change can end is looked at again."""


class Unwatched:
    """There are no pods, so nobody asks one for its metrics."""

    async def metrics(self, address: str, port: int) -> str:
        raise AssertionError(f"asked {address}:{port}")


class Passes:
    """One resource, by default of a regular model. ``woken`` are the passes that the reconciler has asked for, and
    ``watched`` is what watches have told of."""

    def __init__(self, spec: Any = None, **settings: Any) -> None:
        self.now = 0.0
        self.reads = 0
        self.hub_is_down = False
        self.woken: list[Key] = []
        self.watched = Watched()
        self.body = inputs.resource({})
        self.body["metadata"] |= {"namespace": KEY[0], "uid": "1", "generation": 1}
        if spec is not None:
            self.body["spec"] = spec
        self.cluster = MemoryCluster(self.body)
        self.reconciler = self.operator(**settings)

    def operator(self, **settings: Any) -> Reconciler:
        """A new one, which knows nothing of what the one before it did."""
        cluster = cast("Cluster", self.cluster)
        nobody = cast("Any", Unwatched())
        configured = Settings(**{"reread_interval": AGAIN, **settings})
        return Reconciler(
            cluster=cluster,
            sources=Sources(cluster, self.read, self.cluster.jobs, configured),
            fetches=Fetches(cluster, self.cluster.jobs, configured),
            drafting=Drafting(nobody, nobody, window=300, clock=lambda: self.now, changed=lambda _: None),
            pods=self.watched.pods,
            changed=self.woken.append,
            gone=self.watched.gone,
            settings=configured,
            clock=lambda: self.now,
        )

    async def read(self, reference: Reference, *, max_age: float = 0.0) -> Snapshot:
        """What the hub has, to be replaced where a test wants something else of it."""
        del max_age
        self.reads += 1
        if self.hub_is_down:
            raise Waiting(Reason.HUB_UNAVAILABLE, "it is down", retry_after=30)
        return Snapshot(reference.uri, "c" * 40, VERIFIER, {"config.json": 700, "model.safetensors": 2**30})

    def change(self, **spec: Any) -> None:
        """A change of the spec by its user."""
        self.body["spec"] |= spec
        self.body["metadata"]["generation"] += 1

    async def reconcile(self) -> float | None:
        """One pass. ``cluster.writes`` are its own afterwards."""
        self.cluster.writes.clear()
        return await self.reconciler.reconcile(KEY)

    def said(self, type_: str) -> tuple[str, str]:
        """A condition's status and reason."""
        (found,) = (it for it in self.cluster.status["conditions"] if it["type"] == type_)
        return found["status"], found["reason"]

    @property
    def deployment(self) -> Manifest:
        return self.cluster.objects["Deployment", *KEY]
