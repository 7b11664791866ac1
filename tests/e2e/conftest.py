"""A real node that runs the real engine, and a hub that it and this machine reach. One of each serves all tests."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.operator import grant, revoke
from tests.support.realworld import RealWorld
from tools.localcluster.controlplane import ControlPlane
from tools.localcluster.node import Node, NodeUnavailable, check_machine
from tools.localcluster.operator_image import OPERATOR_IMAGE
from tools.localcluster.operator_image import operator_image as built_operator_image
from tools.testhub import Hub, publish_samples

CRD = Path(__file__).parents[2] / "crds" / "speculators.dev_speculatordeployments.yaml"

#: The first test that needs the cluster may have to build it, and the engine's image.
FIRST_SECONDS = 3600


@dataclass(frozen=True)
class RealCluster:
    control_plane: ControlPlane
    node: Node
    hub: Hub
    """Has ``publish_samples``; listens on the node's gateway."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests' own limit holds for the tests; the first one's includes starting, and maybe building, the cluster."""
    first = next((item for item in items if "real_cluster" in getattr(item, "fixturenames", ())), None)
    if first is not None:
        first.add_marker(pytest.mark.timeout(FIRST_SECONDS), append=False)


@pytest.fixture(scope="session")
def real_cluster() -> Iterator[RealCluster]:
    try:
        check_machine()
        with ControlPlane(controllers=True, scheduler=True) as control_plane, Node(control_plane) as node:
            if CRD.is_file():
                control_plane.define(CRD)
            with Hub(node.gateway) as hub:
                publish_samples(hub)
                yield RealCluster(control_plane, node, hub)
    except NodeUnavailable as error:
        pytest.skip(f"no real node here: {error}")


@pytest.fixture(scope="module")
def undefined(real_cluster: RealCluster) -> Iterator[None]:
    """While a module's tests run, the cluster knows nothing of the operator, so that the chart can bring all of it."""
    control_plane = real_cluster.control_plane
    revoke(control_plane)
    definition = ("crd", CRD.stem.partition("_")[2] + ".speculators.dev", "--ignore-not-found", "--timeout=60s")
    control_plane.kubectl("delete", *definition)
    yield
    control_plane.kubectl("delete", *definition)
    control_plane.define(CRD)


@pytest.fixture(scope="session")
def operator_image(real_cluster: RealCluster) -> str:
    """The name of the operator's own image, which the node has. A machine that can run the node can build it."""
    real_cluster.node.load(built_operator_image())
    return OPERATOR_IMAGE


@pytest.fixture
def namespace(real_cluster: RealCluster) -> Iterator[str]:
    """A namespace of the test's own that admits Restricted pods alone. Its pods are gone before the next test."""
    control_plane = real_cluster.control_plane
    name = f"test-{secrets.token_hex(4)}"
    control_plane.kubectl("create", "namespace", name)
    control_plane.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    yield name
    # Once it is ending nothing new is made in it, so that there are only its pods to wait for. What else is in it goes
    # when its controller looks at it again, which is only after several seconds.
    control_plane.kubectl("delete", "namespace", name, "--wait=false")
    control_plane.kubectl("delete", "pods", "--all", "--grace-period=1", "--timeout=90s", "--namespace", name)


@pytest.fixture
def world(real_cluster: RealCluster, namespace: str, tmp_path: Path) -> Iterator[RealWorld]:
    """A namespace in which the operator works, with the rights that it ships with."""
    grant(real_cluster.control_plane)
    log = tmp_path / "operator.log"
    made = RealWorld(real_cluster.control_plane, namespace, log, hf_endpoint=real_cluster.hub.url)
    with made.operator:
        yield made
