"""``core/metrics`` -> prometheus-client: the counters of whoever counts, and a collector of what is known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry

from . import __version__
from .core import metrics
from .core.metrics import Drafted, Family, Key, Known, Sample, Type

#: What is known of each resource; a standby knows of none.
Resources = Callable[[], Mapping[Key, tuple[Known, Drafted]]]


def gauge(family: Family) -> Gauge:
    return Gauge(family.name, family.meaning, family.labels)


def counter(family: Family) -> Counter:
    return Counter(family.name, family.meaning, family.labels)


def histogram(family: Family) -> Histogram:
    return Histogram(family.name, family.meaning, family.labels)


class _Known(Collector):
    def __init__(self, leads: Callable[[], bool], resources: Resources) -> None:
        self._leads = leads
        self._resources = resources

    def describe(self) -> Iterable[GaugeMetricFamily | CounterMetricFamily]:
        return [_made(family) for family in metrics.KNOWN]

    def collect(self) -> Iterable[GaugeMetricFamily | CounterMetricFamily]:
        families = {family: _made(family) for family in metrics.KNOWN}
        for sample in self._samples():
            families[sample.family].add_metric(sample.labels, sample.value)
        return families.values()

    def _samples(self) -> Iterator[Sample]:
        yield Sample(metrics.LEADER, (), self._leads())
        yield Sample(metrics.INFO, (__version__,), 1)
        if self._leads():
            yield from metrics.samples(self._resources())


def _made(family: Family) -> GaugeMetricFamily | CounterMetricFamily:
    made = CounterMetricFamily if family.type is Type.COUNTER else GaugeMetricFamily
    return made(family.name, family.meaning, labels=family.labels)


@contextmanager
def collecting(
    *, leads: Callable[[], bool], resources: Resources, registry: CollectorRegistry = REGISTRY
) -> Iterator[None]:
    """Has what is known collected until the block ends."""
    known = _Known(leads, resources)
    registry.register(known)
    try:
        yield
    finally:
        registry.unregister(known)
