"""The running operator: its parts, joined, until it is told to end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection

import kopf
from prometheus_client import start_http_server

from . import api, handlers
from .cluster import Cluster, ClusterError
from .drafting import Drafting
from .handlers import Watched
from .hub import Hub
from .reconciler import Reconciler
from .scrape import Scraper
from .settings import Settings
from .sources import Sources
from .workqueue import Key, WorkQueue

#: Between looks for what has to be there before anything can be watched.
WAIT_SECONDS = 5.0

log = logging.getLogger(__name__)


async def run(settings: Settings, namespaces: Collection[str]) -> None:
    """Watches, queues and reconciles. No namespaces are all of them."""
    if settings.metrics_port:
        start_http_server(settings.metrics_port)
    queue: WorkQueue[Key] = WorkQueue()
    watched = Watched()
    registry = kopf.OperatorRegistry()
    async with Cluster.connect(in_flight=settings.requests_in_flight) as cluster, Scraper.open() as scraper:
        handlers.register(registry, queue, watched, echoes=cluster.echoes)
        await _definition(cluster)
        drafting = Drafting(scraper, window=settings.acceptance_window, clock=time.monotonic, changed=queue.add)
        reconciler = Reconciler(
            cluster=cluster,
            sources=Sources(cluster, Hub(settings.hf_endpoint, timeout=settings.hub_timeout).read, settings),
            drafting=drafting,
            pods=watched.pods,
            changed=queue.add,
            settings=settings,
            clock=time.monotonic,
        )
        background = [
            asyncio.create_task(queue.run(reconciler.reconcile, settings.workers)),
            asyncio.create_task(drafting.watch(settings.scrape_interval)),
            asyncio.create_task(handlers.resync(queue, watched, settings.resync_interval)),
        ]
        watching = asyncio.create_task(handlers.watch(registry, namespaces))
        # None of them ends by itself but kopf, when the process is told to, or when it gives a watch up (the definition
        # was deleted, a credential refused). A new process, which begins with a list of everything, is the way back.
        done, _ = await asyncio.wait([watching, *background], return_when=asyncio.FIRST_COMPLETED)
        for task in (watching, *background):
            task.cancel()
        await asyncio.gather(watching, *background, return_exceptions=True)
        for task in done:
            task.result()


async def _definition(cluster: Cluster) -> None:
    """Waits until the resource is known to the cluster: a watch of what isn't would be silent for ever."""
    while True:
        try:
            if await cluster.serves_resource():
                return
            log.warning("The cluster knows no %s: install it with kubectl apply --server-side -f crds/", api.KIND)
        except ClusterError as error:
            log.warning("%s", error)
        await asyncio.sleep(WAIT_SECONDS)
