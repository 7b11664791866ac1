"""Asks pods' engines, from inside their containers, what they have drafted.

By ``exec`` and not by the API server's proxy to pods, though that needs no Python in the pod: the API server's way to
a pod's port is closed by NetworkPolicies (ours among them) and on clusters whose control plane isn't on the pod
network, while ``exec`` goes by the kubelet; a canary needs the engine's API key, which the container has and a user
doesn't; and a right to the proxy opens all of an engine's paths (``/pause``, ``/update_weights``), most of which no key
guards. What ``exec`` asks for in exchange is a strong right, and whoever doesn't have it is told what status says.

What runs there is the startup probe's own source (``core.proof_probe``). It goes by standard input: as an argument it
would be in the URL, which is longer than some proxies before API servers take.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from speculator_operator.core import acceptance, proof_probe
from speculator_operator.core.acceptance import Counters
from speculator_operator.core.render import CONTAINER
from speculator_operator.core.status import Pod
from speculator_operator.core.words import printable, redacted

from .connection import explained

if TYPE_CHECKING:
    from speculator_operator.cluster import Cluster

#: What starting Python in a container takes, beside what the probe allows itself.
_START_SECONDS = 10.0
#: Reading counters only; whoever looks at status doesn't want to wait for a node that is gone.
COUNTERS_SECONDS = 8.0
CANARY_SECONDS = proof_probe.WORK_SECONDS + _START_SECONDS


@dataclass(frozen=True)
class Answer:
    """What one pod's engine says: None is an engine without a speculative config.

    ``problem`` is why it said nothing, or why it drafted nothing; ``reached`` tells which.
    """

    before: Counters | None = None
    after: Counters | None = None
    problem: str = ""
    reached: bool = True


async def ask(cluster: Cluster, namespace: str, pods: Iterable[Pod], *, canary: bool) -> dict[str, Answer]:
    """The answers of pods' engines, by the pods' names; with ``canary``, each is sent one."""
    asked = list(pods)
    answers = await asyncio.gather(*(_ask(cluster, namespace, pod, canary=canary) for pod in asked))
    return dict(zip((pod.name for pod in asked), answers, strict=True))


async def _ask(cluster: Cluster, namespace: str, pod: Pod, *, canary: bool) -> Answer:
    from speculator_operator.cluster import ClusterError
    from speculator_operator.execution import execute

    source = inspect.getsource(proof_probe)
    command = [
        *("python3", "-c", f"import sys; exec(sys.stdin.read({len(source)}))"),
        *("canary" if canary else "counters", str(pod.port)),
    ]
    seconds = CANARY_SECONDS if canary else COUNTERS_SECONDS
    try:
        printed = await execute(cluster, namespace, pod.name, CONTAINER, command, stdin=source, seconds=seconds)
    except ClusterError as error:
        return Answer(problem=explained(error), reached=False)
    return read(printed)


def read(printed: str) -> Answer:
    """What the probe printed in a pod. Whoever runs the pod may have changed it: nothing of it is believed to be well
    formed."""
    try:
        said: Any = json.loads(printed)
        before, after, problem = (said[key] for key in ("before", "after", "problem"))
        reached = before is not None
        counters = (acceptance.parse(before), acceptance.parse(after)) if reached else (None, None)
    except (ValueError, LookupError, TypeError, RecursionError):
        return Answer(problem=f"something else than the probe answers: {printable(printed[:100])}", reached=False)
    why = printable(redacted(str(problem)))[:600]
    return Answer(*counters, problem=why, reached=reached)
