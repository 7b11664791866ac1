"""Draws the dashboard from three minutes of four resources' lives, with the operator and Prometheus as they are.

Of the engines under their pods only the counters are simulated (``engines.py``). Times are short, so that there is
something to be seen.

``python -m tests.monitoring.picture FILE``
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.monitoring.engines import Load
from tests.monitoring.live import Live, Served, live
from tests.monitoring.queries import filled
from tests.support import chart
from tests.support.operator import Operator
from tools.chart import ROOT
from tools.dashboard import ROWS, Panel
from tools.dashboard_picture import Drawing, Series
from tools.localcluster.binaries import say
from tools.localcluster.controlplane import ControlPlane
from tools.localcluster.simulated import SimulatedNodes

CRD = ROOT / "crds" / "speculators.dev_speculatordeployments.yaml"
SECONDS, STEP = 180.0, 2.0
NAMESPACE = "chat"
LLAMA, QWEN, BASELINE, MISTRAL = "llama3-8b", "qwen3-8b", "llama3-8b-baseline", "mistral-7b"
RESOURCES = {
    LLAMA: Served(Load((0.79, 0.61, 0.44), running=6)),
    QWEN: Served(Load((0.62, 0.37, 0.19), running=4)),
    BASELINE: Served(Load(None, running=6), {"speculation": {"mode": "Disabled"}}),
}
VALUES = chart.merged(
    chart.nested("monitoring.rules.recordingInterval", "1s"),
    chart.nested("monitoring.rules.alerts.AcceptanceCollapsed.minimumDraftsPerHour", 1),
)


def _story(it: Live) -> Sequence[tuple[float, Callable[[], object]]]:
    """What happens, and after how many seconds."""
    qwen, llama = it.engines[QWEN].load, it.engines[LLAMA].load
    drafts = qwen.accepted

    def crowded(running: float, waiting: float) -> None:
        llama.running, llama.waiting = running, waiting

    return [
        (20, lambda: it.world.apply(MISTRAL, model={"uri": "org/mistral-7b-eagle3"})),  # which is nowhere
        (45, lambda: setattr(qwen, "accepted", None)),
        (80, lambda: setattr(qwen, "accepted", drafts)),
        (100, lambda: crowded(20, 5)),
        (130, lambda: crowded(6, 0)),
        (135, lambda: it.world.kubectl("scale", f"spd/{LLAMA}", "--replicas=3")),
        (142, lambda: _leader(it).kill()),
        (168, lambda: setattr(qwen, "accepted", None)),
    ]


def _leader(it: Live) -> Operator:
    return next(operator for operator in it.operators.values() if "this replica leads" in operator.ask("/readyz")[1])


def answers(it: Live, panel: Panel, start: float, end: float) -> list[list[Series]]:
    found = []
    for query in panel.queries:
        expression = filled(query.expr)
        if panel.kind == "table":
            series = [Series(one["metric"], [_point(one["value"])]) for one in it.prometheus.query(expression)]
        else:
            ranges = it.prometheus.query_range(expression, start, end, step=STEP)
            series = [Series(one["metric"], [_point(point) for point in one["values"]]) for one in ranges]
        numbers = [Series(one.labels, [(x, y) for x, y in one.points if not math.isnan(y)]) for one in series]
        found.append(sorted((one for one in numbers if one.points), key=lambda one: one.legend(query)))
    return found


def _point(value: Sequence[object]) -> tuple[float, float]:
    return float(str(value[0])), float(str(value[1]))


def main(file: Path) -> None:
    with tempfile.TemporaryDirectory() as folder, ControlPlane(controllers=True, scheduler=True) as cluster:
        cluster.define(CRD)
        with SimulatedNodes(cluster, count=2, gpus=64), live(cluster, Path(folder), NAMESPACE, RESOURCES, VALUES) as it:
            for name in RESOURCES:
                it.world.ready(name)
            began = time.time()
            for after, happens in _story(it):
                time.sleep(max(began + after - time.time(), 0))
                say(f"{after:.0f} of {SECONDS:.0f} s")
                happens()
            time.sleep(max(began + SECONDS - time.time(), 0))
            end = time.time()
            start = end - SECONDS
            panels = {id(panel): answers(it, panel, start, end) for row in ROWS for panel in row.panels}
    file.write_text(Drawing(panels, start, end, STEP).svg())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
