"""Resources whose engines are under load, the operator that looks after them, and the Prometheus that reads both."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.monitoring.engines import Load, ServingEngines
from tests.monitoring.prometheus import Prometheus, scraped_as
from tests.monitoring.rendered import RELEASE, RELEASE_NAMESPACE, found, rules
from tests.support.chart import Object, Values
from tests.support.engines import Engines
from tests.support.operator import Operator, grant
from tests.support.world import DRAFT, FAST, VERIFIER, World, files
from tools.localcluster.controlplane import ControlPlane
from tools.testhub import Hub

#: The operator's own average of acceptance is over so many seconds here, not minutes.
WINDOW = 20
LEASE_SECONDS = 15
REPLICAS = ("a", "b")


@dataclass(frozen=True)
class Served:
    """A resource: what its engines do, and what its spec has besides a model of its own name and two replicas."""

    load: Load
    spec: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Live:
    world: World
    prometheus: Prometheus
    engines: Mapping[str, ServingEngines]
    operators: Mapping[str, Operator]


@contextlib.contextmanager
def live(
    cluster: ControlPlane, folder: Path, namespace: str, resources: Mapping[str, Served], values: Values
) -> Iterator[Live]:
    """
    Args:
        folder: what the operator and Prometheus write goes there.
        namespace: of the resources; it is made, and deleted afterwards.
        values: more of the chart's.
    """
    with contextlib.ExitStack() as stack:
        cluster.kubectl("create", "namespace", namespace)
        stack.callback(cluster.kubectl, "delete", "namespace", namespace, "--wait=false")
        grant(cluster, namespace)
        hub = stack.enter_context(Hub())
        engines = {name: stack.enter_context(ServingEngines(it.load)) for name, it in resources.items()}
        world = World(cluster, namespace, hub, stack.enter_context(Engines()), folder / "operator.log")
        operators = {name: stack.enter_context(_replica(world, name)) for name in REPLICAS}
        for name, it in resources.items():
            _publish(hub, name)
            spec = {"model": {"uri": f"org/{name}-eagle3"}, "replicas": 2, **it.spec}
            world.apply(name, **spec, engine={"port": engines[name].port})
        scraped = [_operators(operators, values), _engines(cluster, namespace, values)]
        prometheus = stack.enter_context(Prometheus(folder, scraped, rules(values)))
        yield Live(world, prometheus, engines, operators)


def _publish(hub: Hub, name: str) -> None:
    verifier = {"name_or_path": f"org/{name}"}
    hub.commit(f"org/{name}", files(VERIFIER))
    recipe = {**DRAFT["speculators_config"], "verifier": verifier}
    hub.commit(f"org/{name}-eagle3", files(DRAFT, speculators_config=recipe))


def _replica(world: World, name: str) -> Operator:
    settings = {
        **FAST,
        "hf_endpoint": world.hub.url,
        "acceptance_window": WINDOW,
        "leader_election": True,
        "lease_namespace": world.namespace,
        "lease_seconds": LEASE_SECONDS,
    }
    log = world.log.with_name(f"operator-{name}.log")
    return Operator(world.cluster, log, namespace=world.namespace, settings=settings)


def _operators(operators: Mapping[str, Operator], values: Values) -> Object:
    """The replicas run on this machine. They are found here as the chart's pods are in a cluster."""
    pod = {
        "namespace": RELEASE_NAMESPACE,
        "pod_container_name": "operator",
        "pod_container_port_name": "http",
        "pod_label_app_kubernetes_io_name": "speculator-operator",
        "pod_label_app_kubernetes_io_instance": RELEASE,
    }
    static = [
        {
            "targets": [f"127.0.0.1:{operator.port}"],
            "labels": {
                f"__meta_kubernetes_{key}": value for key, value in {**pod, "pod_name": f"{RELEASE}-{name}"}.items()
            },
        }
        for name, operator in operators.items()
    ]
    return scraped_as(found("PodMonitor", values), {"static_configs": static})


def _engines(cluster: ControlPlane, namespace: str, values: Values) -> Object:
    """Prometheus asks the API server for pods, as it does in a cluster."""
    discovered = {"role": "pod", "kubeconfig_file": str(cluster.kubeconfig), "namespaces": {"names": [namespace]}}
    return scraped_as(found("PodMonitor", values, suffix="-engines"), {"kubernetes_sd_configs": [discovered]})
