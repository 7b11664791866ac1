"""What a replica is at: it waits for the cluster, stands by, or leads. Asked for metrics and for signs of life.

Whether these are good is judged in ``core/health``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

from . import api, handlers
from .cluster import Cluster, ClusterError
from .core import health as checks
from .core.health import Check
from .core.metrics import Drafted, Known
from .election import Election
from .reconciler import Reconciler
from .watches import Watches
from .workqueue import Key, WorkQueue

#: No pass takes so long: each of its requests is bounded, and so is how long it waits for models.
STUCK_SECONDS = 600.0
#: Whether the API server answers is asked at most so often, and for so long.
REACH_EVERY_SECONDS, REACH_SECONDS = 5.0, 2.0


@dataclass(frozen=True)
class Lead:
    """What there is while a replica leads."""

    queue: WorkQueue[Key]
    watches: Watches
    reconciler: Reconciler


class Replica:
    """``apart`` is a connection of its own, for what must not wait for passes. Without an ``election`` it leads once it
    has begun.
    """

    def __init__(self, apart: Cluster, election: Election | None) -> None:
        self._apart = apart
        self.election = election
        self.begun = False
        """Whether the cluster is there, and such that this replica may lead in it."""
        self.lead: Lead | None = None
        self._reach: Check | None = None
        self._reached = 0.0
        self._reaching = asyncio.Lock()

    def leads(self) -> bool:
        return self.lead is not None

    def resources(self) -> Mapping[Key, tuple[Known, Drafted]]:
        return self.lead.reconciler.known() if self.lead else {}

    async def live(self) -> list[Check]:
        """Whether this process works as it should. Where it doesn't, starting anew helps."""
        now = time.monotonic()
        found = [Check("the event loop answers")]
        election, lead = self.election, self.lead
        if lead:
            running = {"/".join(key): began for key, began in lead.queue.running.items()}
            watches = lead.watches
            found += [
                checks.passes_end(running, now, STUCK_SECONDS),
                checks.queue_moves(lead.queue.waiting, lead.queue.moved, now, STUCK_SECONDS),
                checks.each_asked(
                    f"each watch asks anew within {handlers.DEAD_SECONDS:g} s",
                    watches.asked,
                    watches.begun,
                    now,
                    handlers.DEAD_SECONDS,
                ),
            ]
        if election and lead:
            found.append(checks.renewed(now - (election.renewed or now), election.terms.deadline))
        elif election and self.begun:
            found.append(checks.looked(now - election.looked, 4 * election.terms.attempt))
        return found

    async def ready(self) -> list[Check]:
        """Whether this replica does its part: it leads and sees everything, or it stands by."""
        now = time.monotonic()
        found = [await self._reachable()]
        if lead := self.lead:
            watches = lead.watches
            found += [
                Check("this replica leads"),
                checks.each_listed(watches.answered),
                checks.each_asked(
                    f"each watch was answered within {handlers.DEAD_SECONDS:g} s",
                    watches.answered,
                    watches.begun,
                    now,
                    handlers.DEAD_SECONDS,
                ),
            ]
        elif self.election and self.begun:
            found.append(Check(f"this replica stands by for {self.election.leader or 'nobody'}"))
        else:
            found.append(Check("this replica has begun", "it waits for the API server and the resource's definition"))
        return found

    async def _reachable(self) -> Check:
        async with self._reaching:
            now = time.monotonic()
            if self._reach is None or now - self._reached > REACH_EVERY_SECONDS:
                self._reach, self._reached = await self._ask(), now
            return self._reach

    async def _ask(self) -> Check:
        what = f"the API server answers, and serves {api.KIND}"
        try:
            async with asyncio.timeout(REACH_SECONDS):
                served = await self._apart.serves_resource()
        except TimeoutError:
            return Check(what, f"no answer within {REACH_SECONDS:g} s")
        except ClusterError as error:
            return Check(what, str(error))
        return Check(what, "" if served else "its definition is not installed")
