"""What ready pods' metrics come to, over passes and readings: a fake clock, and metrics from a table."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from speculator_operator.core.status import Pod
from speculator_operator.drafting import WRITE_SECONDS, Drafting
from speculator_operator.scrape import MetricsUnreachable, Scraper
from speculator_operator.workqueue import Key

KEY = ("n", "a")
WINDOW = 300.0


class Metrics(Scraper):
    """Stands in for the pods: (drafts, accepted) by address, three tokens a draft; None doesn't speculate."""

    def __init__(self) -> None:
        self.engines: dict[str, tuple[int, int] | None] = {}
        self.reads = 0

    async def metrics(self, address: str, port: int) -> str:
        self.reads += 1
        if address not in self.engines:
            raise MetricsUnreachable(f"{address}:{port} isn't there")
        counted = self.engines[address]
        if counted is None:
            return "vllm:num_requests_running 0.0\n"
        drafts, accepted = counted
        return (
            f"vllm:spec_decode_num_drafts_total {drafts}.0\n"
            f"vllm:spec_decode_num_draft_tokens_total {3 * drafts}.0\n"
            f"vllm:spec_decode_num_accepted_tokens_total {accepted}.0\n"
        )


class SlowAtFirst(Metrics):
    """Answers the first read when it is told to, with what the engine said when it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.answers = asyncio.Event(), asyncio.Event()

    async def metrics(self, address: str, port: int) -> str:
        text = await super().metrics(address, port)
        if self.reads == 1:
            self.asked.set()
            await self.answers.wait()
        return text


class World:
    """``first`` is what passes read by, where that isn't what the loop does."""

    def __init__(self, metrics: Metrics | None = None, first: Metrics | None = None) -> None:
        self.metrics = metrics or Metrics()
        self.now = 1000.0
        self.woken: list[Key] = []
        self.drafting = Drafting(
            self.metrics,
            first or self.metrics,
            window=WINDOW,
            clock=lambda: self.now,
            changed=self.woken.append,
        )

    async def read_again(self, seconds: float) -> list[Key]:
        """Lets so much time pass, and everything be read once more. Returns whom it woke."""
        self.now += seconds
        self.woken.clear()
        await self.drafting.look_again()
        return list(self.woken)


@pytest.fixture
def world() -> World:
    return World()


def pod(name: str, *, ready: bool = True) -> Pod:
    return Pod(name, f"uid-{name}", f"ip-{name}", 8000, "r1", speculates=True, ready=ready, trouble="")


async def test_a_pass_reads_a_ready_pod_once_and_others_never(world: World) -> None:
    world.metrics.engines = {"ip-a": (5, 0), "ip-b": None}
    pods = [pod("a"), pod("b"), pod("c"), pod("d", ready=False)]
    seen = await world.drafting.look(KEY, pods)
    assert [it.drafts for it in seen] == [5, 0, None, None]
    await world.drafting.look(KEY, pods)
    assert world.metrics.reads == 3


async def test_the_loop_leaves_an_engine_alone_that_a_pass_reads() -> None:
    """Of two readings at a time the older could come last, as if the engine had begun anew."""
    slow = SlowAtFirst()
    world = World(slow)
    slow.engines = {"ip-a": (1_000_000, 0)}
    looking = asyncio.create_task(world.drafting.look(KEY, [pod("a")]))
    await slow.asked.wait()
    slow.engines = {"ip-a": (1_000_001, 0)}
    await world.read_again(15)
    slow.answers.set()
    await looking
    assert world.drafting.drafted(KEY).counted.drafts == 0
    await world.read_again(15)
    assert world.drafting.drafted(KEY).counted.drafts == 1
    assert slow.reads == 2


async def test_a_pass_does_not_wait_behind_the_loop() -> None:
    slow, first = SlowAtFirst(), Metrics()
    world = World(slow, first)
    slow.engines = first.engines = {"ip-a": (5, 0), "ip-b": (7, 0)}
    await world.drafting.look(KEY, [pod("a")])
    loop = asyncio.create_task(world.drafting.look_again())
    await slow.asked.wait()
    (seen,) = await world.drafting.look(("n", "b"), [pod("b")])
    assert (seen.drafts, loop.done()) == (7, False)
    slow.answers.set()
    await loop


async def test_the_loop_wakes_a_resource_only_when_it_would_say_something_else(world: World) -> None:
    world.metrics.engines = {"ip-a": (5, 0)}
    await world.drafting.look(KEY, [pod("a")])
    assert await world.read_again(15) == []
    world.metrics.engines = {}
    assert await world.read_again(15) == [KEY]
    assert (await world.drafting.look(KEY, [pod("a")]))[0].drafts is None
    assert await world.read_again(15) == []
    world.metrics.engines = {"ip-a": None}
    assert await world.read_again(15) == [KEY]
    assert (await world.drafting.look(KEY, [pod("a")]))[0].drafts == 0


async def test_counts_that_can_not_be_true_are_told_of_as_metrics_that_can_not_be_read(world: World) -> None:
    world.metrics.engines = {"ip-a": (5, 16)}
    (seen,) = await world.drafting.look(KEY, [pod("a")])
    assert seen.drafts is None
    assert seen.trouble == "its metrics say what no engine counts: 16 tokens accepted of 15, in 5 drafts"
    world.metrics.engines = {"ip-a": (5, 10)}
    assert await world.read_again(15) == [KEY]


async def test_the_canary_is_not_acceptance_and_traffic_is(world: World) -> None:
    world.metrics.engines = {"ip-a": (15, 0)}
    await world.drafting.look(KEY, [pod("a")])
    assert world.drafting.acceptance(KEY, "r1", None) is None
    world.metrics.engines = {"ip-a": (25, 30)}
    assert await world.read_again(15) == [KEY]
    said = world.drafting.acceptance(KEY, "r1", None)
    assert said is not None
    assert (said["drafts"], said["rate"], said["length"]) == (10, "1.00", "4.00")


async def test_the_rate_is_said_again_when_it_moves_and_not_too_often(world: World) -> None:
    world.metrics.engines = {"ip-a": (0, 0)}
    await world.drafting.look(KEY, [pod("a")])
    world.metrics.engines = {"ip-a": (100, 150)}
    await world.read_again(15)
    first = world.drafting.acceptance(KEY, "r1", None)
    assert first is not None
    assert first["rate"] == "0.50"

    world.metrics.engines = {"ip-a": (200, 310)}
    assert await world.read_again(WRITE_SECONDS) == []
    assert world.drafting.acceptance(KEY, "r1", first) == first

    world.metrics.engines = {"ip-a": (300, 600)}
    assert await world.read_again(15) == [KEY]
    second = world.drafting.acceptance(KEY, "r1", first)
    assert second is not None
    assert float(second["rate"]) >= 0.55
    world.metrics.engines = {"ip-a": (400, 600)}
    assert await world.read_again(WRITE_SECONDS / 2) == []


async def test_after_a_restart_the_old_value_stands_until_a_window_is_full(world: World) -> None:
    old = {"rate": "0.50", "pods": 1}
    world.metrics.engines = {"ip-a": (100, 0)}
    await world.drafting.look(KEY, [pod("a")])
    world.metrics.engines = {"ip-a": (110, 30)}
    await world.read_again(15)
    assert world.drafting.acceptance(KEY, "r1", old) == old
    world.metrics.engines = {"ip-a": (120, 60)}
    await world.read_again(WINDOW)
    new = world.drafting.acceptance(KEY, "r1", old)
    assert new is not None
    assert new["rate"] == "1.00"


async def test_after_a_restart_a_rate_that_holds_wakes_nobody(world: World) -> None:
    world.metrics.engines = {"ip-a": (10, 15)}
    await world.drafting.look(KEY, [pod("a")])
    world.drafting.acceptance(KEY, "r1", {"rate": "0.50", "pods": 1})
    for reading in range(2, 42):
        world.metrics.engines = {"ip-a": (10 * reading, 15 * reading)}
        assert await world.read_again(WINDOW / 20) == []


async def test_what_is_said_of_a_revision_is_of_its_own_pods(world: World) -> None:
    world.metrics.engines = {"ip-a": (0, 0), "ip-b": (0, 0)}
    pods = [pod("a"), replace(pod("b"), revision="r2")]
    await world.drafting.look(KEY, pods[:1])
    world.metrics.engines["ip-a"] = (10, 15)
    await world.read_again(15)
    old = world.drafting.acceptance(KEY, "r1", None)
    assert old is not None
    assert world.drafting.acceptance(KEY, "r2", None) is None, "its pods aren't there yet"
    assert await world.read_again(15) == [], "what older pods draft is no news"

    await world.drafting.look(KEY, pods)
    world.metrics.engines = {"ip-a": (100, 300), "ip-b": (10, 30)}
    assert await world.read_again(15) == [KEY]
    new = world.drafting.acceptance(KEY, "r2", None)
    assert new is not None
    assert [(it["pods"], it["rate"]) for it in (old, new)] == [(1, "0.50"), (1, "1.00")]
    assert world.drafting.drafted(KEY).window.drafts == 110, "metrics tell of all of a resource's pods"


async def test_pods_that_go_are_forgotten(world: World) -> None:
    world.metrics.engines = {"ip-a": (5, 0), "ip-b": (5, 0)}
    await world.drafting.look(KEY, [pod("a"), pod("b")])
    await world.drafting.look(KEY, [pod("b"), replace(pod("a"), ready=False)])
    reads = world.metrics.reads
    await world.read_again(15)
    assert world.metrics.reads == reads + 1
    world.drafting.gone(KEY)
    assert world.drafting.acceptance(KEY, "r1", None) is None


async def test_what_is_counted_for_metrics_outlives_pods_and_resets_but_not_the_resource(world: World) -> None:
    world.metrics.engines = {"ip-a": (15, 0), "ip-b": (15, 0), "ip-c": None}
    await world.drafting.look(KEY, [pod("a"), pod("b"), pod("c")])
    drafted = world.drafting.drafted(KEY)
    assert (drafted.proven, drafted.counted.drafts) == (2, 0), "the canary's are none of them"

    world.metrics.engines = {"ip-a": (25, 30), "ip-b": (20, 0)}
    await world.read_again(15)
    drafted = world.drafting.drafted(KEY)
    assert (drafted.counted.drafts, drafted.counted.draft_tokens, drafted.counted.accepted_tokens) == (15, 45, 30)
    assert drafted.window == drafted.counted

    world.metrics.engines = {"ip-a": (4, 6)}  # it began anew, and the other is out of reach
    await world.read_again(15)
    drafted = world.drafting.drafted(KEY)
    assert (drafted.proven, drafted.counted.drafts) == (1, 19)

    await world.drafting.look(KEY, [pod("d", ready=False)])
    assert world.drafting.drafted(KEY).counted.drafts == 19
    world.drafting.gone(KEY)
    assert (world.drafting.drafted(KEY).proven, world.drafting.drafted(KEY).counted.drafts) == (0, 0)
