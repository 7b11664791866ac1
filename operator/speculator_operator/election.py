"""Who leads: one of several replicas, by a Lease.

A replica leads from when it took the lease until it can't be sure any more that it holds it, and then it is to end at
once. Until then it says for how long writes may begin: so one that was stopped, and goes on when another leads, writes
nothing. What was on its way when it stopped may still arrive (docs/adr/0008).
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import NoReturn

from . import timestamp
from .cluster import Cluster, ClusterError
from .core import lease
from .core.lease import Sighting, Terms
from .core.render import Manifest
from .errors import Refused

CONFLICT, NOT_FOUND = 409, 404
_STOOD_STILL = "this process, or its machine, stood still"

log = logging.getLogger(__name__)


class LeaseLost(Exception):
    """Another replica leads, or may: this one has to end, and write nothing more."""


class Election:
    """``clock`` is monotonic, in seconds. ``cluster`` is for the lease alone: no other request may hold one up."""

    def __init__(
        self, cluster: Cluster, *, namespace: str, name: str, identity: str, terms: Terms, clock: Callable[[], float]
    ) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._clock = clock
        self._lease: Manifest = {}
        self._sighting: Sighting | None = None
        self._renewed: float | None = None
        self._closed = False
        self.terms = terms
        self.looked = clock()
        """When this replica last looked at the lease, with or without an answer."""

    @property
    def renewed(self) -> float | None:
        """When the renewal that succeeded last was begun; None for a replica that hasn't led yet."""
        return self._renewed

    @property
    def leader(self) -> str:
        """Who held the lease when it was last seen; empty for nobody."""
        return lease.holder(self._lease.get("spec") or {})

    def remaining(self) -> float:
        """For how many seconds writes may still begin; 0 or less for not at all."""
        if self._renewed is None or self._closed:
            return 0.0
        return self._renewed + self.terms.deadline - self._clock()

    async def acquire(self) -> None:
        """Returns when this replica leads."""
        named = None
        while True:
            began = self.looked = self._clock()
            try:
                async with asyncio.timeout(self.terms.attempt):
                    if await self._take(began):
                        return
            except (ClusterError, Refused, TimeoutError) as error:
                log.warning("The lease %s can't be read or taken: %s", self._what, _said(error))
            if self.leader not in ("", named):
                named = self.leader
                log.info("%s holds the lease %s; this replica, %s, stands by", named, self._what, self._identity)
            await asyncio.sleep(self.terms.pause * random.uniform(1, 1.2))  # noqa: S311 - only spreads the load

    async def hold(self) -> NoReturn:
        """Renews the lease until that fails.

        Raises:
            LeaseLost: another has it, it is gone, or it wasn't renewed in time.
        """
        why = _STOOD_STILL
        while True:
            await asyncio.sleep(min(self.terms.pause, max(self.remaining(), 0)))
            began, left = self._clock(), self.remaining()
            if left <= 0:
                raise LeaseLost(f"The lease {self._what} was not renewed for {self.terms.deadline:g} s: {why}")
            try:
                async with asyncio.timeout(min(self.terms.attempt, left)):
                    await self._renew()
            except (ClusterError, Refused, TimeoutError) as error:
                why = _said(error)
                log.warning("The lease %s could not be renewed: %s", self._what, why)
            else:
                self._renewed, why = began, _STOOD_STILL

    def close(self) -> None:
        """From now on nothing is written."""
        self._closed = True

    async def release(self) -> None:
        """Lets a successor lead at once, if this replica still can: nothing of it may be at work any more."""
        left = (self._renewed or 0) + self.terms.deadline - self._clock()
        self.close()
        if self._renewed is None or left <= 0:
            return
        spec = lease.released(self._lease["spec"], timestamp.micro_now())
        try:
            async with asyncio.timeout(min(self.terms.attempt, left)):
                await self._cluster.replace(lease.manifest(self._namespace, self._name, spec, self._lease))
        except (ClusterError, Refused, TimeoutError) as error:
            log.warning("The lease %s was not released, and runs out instead: %s", self._what, _said(error))
        else:
            log.info("The lease %s is released", self._what)

    @property
    def _what(self) -> str:
        return f"{self._namespace}/{self._name}"

    async def _take(self, began: float) -> bool:
        self._lease = await self._cluster.get("Lease", self._namespace, self._name) or {}
        spec, seen = self._lease.get("spec") or {}, self._clock()  # it may have been renewed after ``began``
        self._sighting = self._sighting.again(spec, seen) if self._sighting else Sighting(spec, seen)
        if not lease.is_free(self._sighting, self._identity, self.terms, began):
            return False
        taken = lease.taken(spec, self._identity, self.terms, timestamp.micro_now())
        wanted = lease.manifest(self._namespace, self._name, taken, self._lease)
        try:
            written = await (self._cluster.replace(wanted) if self._lease else self._cluster.create(wanted))
        except ClusterError as error:
            if error.status in (CONFLICT, NOT_FOUND):  # somebody was faster
                return False
            raise
        self._lease, self._renewed = written, began
        log.info("This replica, %s, leads: it holds the lease %s", self._identity, self._what)
        return True

    async def _renew(self) -> None:
        spec = lease.taken(self._lease["spec"], self._identity, self.terms, timestamp.micro_now())
        try:
            wanted = lease.manifest(self._namespace, self._name, spec, self._lease)
            self._lease = await self._cluster.replace(wanted)
        except ClusterError as error:
            if error.status not in (CONFLICT, NOT_FOUND):
                raise
            found = await self._cluster.get("Lease", self._namespace, self._name)
            if found is None:
                raise LeaseLost(f"The lease {self._what} was deleted") from error
            held_by = lease.holder(found.get("spec") or {})
            if held_by != self._identity:
                raise LeaseLost(f"The lease {self._what} is held by {held_by or 'nobody'} now") from error
            # A renewal of ours whose answer was lost, or a hand that left the holder as it is.
            self._lease = await self._cluster.replace({**found, "spec": spec})


def _said(error: Exception) -> str:
    return str(error) or "no answer in time"
