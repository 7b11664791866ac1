"""Stands in for the engines of one resource's simulated pods, under load: vLLM's own series, as time goes by.

The names, labels and kinds are those of vLLM 0.32 (vllm/v1/metrics/loggers.py, vllm/v1/spec_decode/metrics.py). What
they count is made up, by a simple model of an engine: a step gives each running request one token and those that were
accepted of its draft.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from tests.support.engines import PodsPort

STEP_SECONDS = 0.02
#: What a request more adds to a step, and what drafting does.
CROWDING, DRAFTING = 0.03, 0.2
TOKENS_PER_REQUEST = 120
LABELS = {"model_name": "m", "engine": "0"}
#: Source: INTER_TOKEN_LATENCY_BUCKETS and TIME_TO_FIRST_TOKEN_BUCKETS in vllm/v1/metrics/buckets.py, abridged.
TOKEN_BUCKETS = (0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2)
FIRST_BUCKETS = (0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 1.0)


@dataclass
class Load:
    """What all pods of the resource do. ``accepted`` is how often the token at each position of a draft is; while it is
    None, the engine has no speculative config, and no series of one."""

    accepted: Sequence[float] | None
    running: float = 4.0
    waiting: float = 0.0


@dataclass
class _Engine:
    """One pod's, which lives as long as its resource drafts, or doesn't: another config is another process."""

    speculates: bool
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    since: float = field(default_factory=time.monotonic)
    finished: float = 0.0

    def __post_init__(self) -> None:
        names = list(LABELS)

        def counter(name: str, *more: str) -> Counter:
            return Counter(f"vllm:{name}", name, [*names, *more], registry=self.registry)

        def histogram(name: str, buckets: Sequence[float]) -> Histogram:
            found = Histogram(f"vllm:{name}", name, names, registry=self.registry, buckets=buckets)
            return found.labels(**LABELS)

        def gauge(name: str) -> Gauge:
            return Gauge(f"vllm:{name}", name, names, registry=self.registry).labels(**LABELS)

        self.generated = counter("generation_tokens").labels(**LABELS)
        self.per_token = histogram("request_time_per_output_token_seconds", TOKEN_BUCKETS)
        self.first = histogram("time_to_first_token_seconds", FIRST_BUCKETS)
        self.running, self.waiting = gauge("num_requests_running"), gauge("num_requests_waiting")
        if self.speculates:
            self.drafts = counter("spec_decode_num_drafts").labels(**LABELS)
            self.draft_tokens = counter("spec_decode_num_draft_tokens").labels(**LABELS)
            self.accepted = counter("spec_decode_num_accepted_tokens").labels(**LABELS)
            self.positions = counter("spec_decode_num_accepted_tokens_per_pos", "position")
            self.drafts.inc()  # the startup probe's

    def goes_on(self, load: Load, random_: random.Random) -> None:
        """Counts what happened since the last look."""
        now = time.monotonic()
        elapsed, self.since = now - self.since, now
        crowd = load.running * (1 + 0.15 * math.sin(now / 11))
        step = STEP_SECONDS * (1 + CROWDING * crowd) * (1 + DRAFTING * self.speculates)
        steps = elapsed * crowd / step
        wobble = 1 + 0.06 * math.sin(now / 17) + random_.uniform(-0.02, 0.02)
        accepted = [min(rate * wobble, 1.0) for rate in load.accepted or ()]
        per_step = 1 + sum(accepted)
        self.generated.inc(steps * per_step)
        self.running.set(round(crowd))
        self.waiting.set(round(load.waiting))
        if self.speculates:
            self.drafts.inc(steps)
            self.draft_tokens.inc(steps * len(accepted))
            self.accepted.inc(steps * sum(accepted))
            for position, rate in enumerate(accepted):
                self.positions.labels(**LABELS, position=str(position)).inc(steps * rate)
        self.finished += steps * per_step / TOKENS_PER_REQUEST
        for _ in range(int(self.finished)):
            self.finished -= 1
            self.per_token.observe(step / per_step * random_.lognormvariate(0, 0.25))
            self.first.observe(0.03 * (1 + load.waiting + CROWDING * crowd) * random_.lognormvariate(0, 0.4))


class ServingEngines(PodsPort):
    def __init__(self, load: Load) -> None:
        super().__init__()
        self.load = load
        self._engines: dict[str, _Engine] = {}
        self._random = random.Random(7)  # noqa: S311 - only makes curves look like curves
        self._lock = threading.Lock()

    def answer(self, address: str) -> tuple[int, bytes]:
        with self._lock:
            speculates = self.load.accepted is not None
            engine = self._engines.get(address)
            if engine is None or engine.speculates != speculates:
                engine = self._engines[address] = _Engine(speculates)
            engine.goes_on(self.load, self._random)
            return 200, generate_latest(engine.registry)
