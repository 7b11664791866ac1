"""The running operator: its parts, joined, until it is told to end, or must end."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import secrets
import signal
import socket
import time
from collections.abc import Collection
from contextlib import AsyncExitStack
from typing import NoReturn

import kopf

from . import api, handlers, metrics
from .cluster import Cluster, ClusterError
from .core.lease import Terms
from .drafting import Drafting
from .election import Election, LeaseLost
from .fetches import Fetches
from .handlers import Watched
from .health import serving
from .hub import Hub
from .kubeconfig import own_namespace
from .reconciler import Reconciler
from .replica import Lead, Replica
from .scrape import PASS_IN_FLIGHT, PASS_SECONDS, Scraper
from .settings import SettingInvalid, Settings, variable
from .sources import Sources
from .watches import Watches
from .workqueue import Key, WorkQueue

#: Between looks for what has to be there before anything can be watched.
WAIT_SECONDS = 5.0
#: What passes wait for watches when this replica begins to lead.
LISTEN_SECONDS = 30.0
#: From being told to end until the process does, whatever still holds it up.
END_SECONDS = 10.0
#: Requests at a time of what must not wait for passes: the lease, and whether the API server answers.
APART_IN_FLIGHT = 4
MINIMUM_VERSION = (1, 30)
EXIT_LOST = 1

log = logging.getLogger(__name__)


class ClusterTooOld(Exception):
    """The message says which version of Kubernetes it is, and which is needed."""


async def run(settings: Settings, namespaces: Collection[str]) -> None:
    """Watches, queues and reconciles, if this replica leads. No namespaces are all of them.

    Raises:
        SettingInvalid: the Lease's namespace isn't known.
        ClusterError: there is no cluster to connect to.
        ClusterTooOld
    """
    ending = asyncio.Event()
    _listen(ending)
    async with AsyncExitStack() as stack:
        apart = await stack.enter_async_context(Cluster.connect(in_flight=APART_IN_FLIGHT))
        replica = Replica(apart, _election(settings, apart) if settings.leader_election else None)
        stack.enter_context(metrics.collecting(leads=replica.leads, resources=replica.resources))
        if settings.http_port:
            await stack.enter_async_context(serving(settings.http_port, live=replica.live, ready=replica.ready))
        working = asyncio.create_task(_work(settings, namespaces, replica, apart, ending))
        waiting = asyncio.create_task(ending.wait())
        await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if ending.is_set():
            log.info("Told to end")
        asyncio.get_running_loop().call_later(END_SECONDS, _leave, f"Not ended within {END_SECONDS:g} s")
        ended_by_itself = working.done()
        for task in (working, waiting):
            task.cancel()
        await asyncio.gather(working, waiting, return_exceptions=True)
        if ended_by_itself:
            working.result()


def _listen(ending: asyncio.Event) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ending.set)


def _leave(why: object) -> NoReturn:
    """Ends the process on the spot: nothing is waited for, and nothing more is sent."""
    log.critical("%s; the process ends at once", why)
    logging.shutdown()
    os._exit(EXIT_LOST)


async def _work(
    settings: Settings, namespaces: Collection[str], replica: Replica, apart: Cluster, ending: asyncio.Event
) -> NoReturn:
    """All that a replica does, until it is cancelled."""
    await _fit(apart)
    await _definition(apart)
    replica.begun = True
    if replica.election:
        await replica.election.acquire()
    await _lead(settings, namespaces, replica, ending)


async def _fit(apart: Cluster) -> None:
    """Waits for the API server, and looks whether it is one that this operator can work with."""
    while True:
        try:
            found = await apart.version()
        except ClusterError as error:
            log.warning("%s", error)
            await asyncio.sleep(WAIT_SECONDS)
            continue
        if found < MINIMUM_VERSION:
            raise ClusterTooOld(
                f"This cluster is Kubernetes {found[0]}.{found[1]}; the operator needs "
                f"{MINIMUM_VERSION[0]}.{MINIMUM_VERSION[1]} or newer: upgrade the cluster"
            )
        return


async def _definition(apart: Cluster) -> None:
    """Waits until the resource is known to the cluster: a watch of what isn't would be silent for ever."""
    while True:
        try:
            if await apart.serves_resource():
                return
            log.warning("The cluster knows no %s: install it with kubectl apply --server-side -f crds/", api.KIND)
        except ClusterError as error:
            log.warning("%s", error)
        await asyncio.sleep(WAIT_SECONDS)


async def _lead(settings: Settings, namespaces: Collection[str], replica: Replica, ending: asyncio.Event) -> NoReturn:
    """Works until it is cancelled, or may not any more."""
    election = replica.election
    queue: WorkQueue[Key] = WorkQueue()
    watched = Watched()
    watches = Watches(handlers.watched_by(namespaces), time.monotonic)
    registry = kopf.OperatorRegistry()
    connected = Cluster.connect(
        in_flight=settings.requests_in_flight,
        may_write=(lambda: election.remaining() > 0) if election else (lambda: True),
    )
    first_looks = Scraper.open(seconds=PASS_SECONDS, in_flight=PASS_IN_FLIGHT)
    async with connected as cluster, Scraper.open() as scraper, first_looks as first:
        handlers.register(registry, queue, watched, echoes=cluster.echoes)
        drafting = Drafting(scraper, first, window=settings.acceptance_window, clock=time.monotonic, changed=queue.add)
        reconciler = Reconciler(
            cluster=cluster,
            sources=Sources(
                cluster, Hub(settings.hf_endpoint, timeout=settings.hub_timeout).read, watched.jobs, settings
            ),
            fetches=Fetches(cluster, watched.jobs, settings),
            drafting=drafting,
            pods=watched.pods,
            changed=queue.add,
            gone=watched.gone,
            settings=settings,
            clock=time.monotonic,
        )
        replica.lead = Lead(queue, watches, reconciler)
        working = [
            asyncio.create_task(_passes(queue, reconciler, settings.workers, watches)),
            asyncio.create_task(drafting.watch(settings.scrape_interval)),
            asyncio.create_task(handlers.resync(queue, watched, settings.resync_interval)),
            *([asyncio.create_task(election.hold())] if election else []),
        ]
        watching = asyncio.create_task(
            handlers.watch(registry, namespaces, watches, begun=functools.partial(_listen, ending))
        )
        try:
            # None of them ends by itself but kopf, when it gives a watch up (the definition was deleted, a
            # credential refused). A new process, which begins with a list of everything, is the way back.
            done, _ = await asyncio.wait([watching, *working], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except LeaseLost as lost:
            _leave(lost)
        finally:
            if election:
                election.close()
            await _cancel(*working)
            if election:
                await election.release()
            await _cancel(watching)
        raise RuntimeError("The watches have ended by themselves")


async def _passes(queue: WorkQueue[Key], reconciler: Reconciler, workers: int, watches: Watches) -> None:
    """Runs passes until it is cancelled, the first one once all watches listen.

    A child that went after a pass had read it, and before its watch's first list, would be missed by both.
    """
    try:
        await watches.listening(LISTEN_SECONDS)
    except TimeoutError:
        silent = ", ".join(name for name, answered in watches.answered.items() if answered is None)
        log.warning("Begins without what these watches would tell: %s", silent)
    await queue.run(reconciler.reconcile, workers)


async def _cancel(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _election(settings: Settings, apart: Cluster) -> Election:
    return Election(
        apart,
        namespace=settings.lease_namespace or _lease_namespace(),
        name=settings.lease_name,
        identity=f"{socket.gethostname()}_{secrets.token_hex(4)}",
        terms=Terms(settings.lease_seconds),
        clock=time.monotonic,
    )


def _lease_namespace() -> str:
    if namespace := own_namespace():
        return namespace
    name = variable("lease_namespace")
    raise SettingInvalid(f"{name} is not set, and this is no pod, whose namespace it would be: set it")
