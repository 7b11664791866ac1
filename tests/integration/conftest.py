"""A real API server with its controllers and scheduler, and simulated nodes. One of each serves all tests."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.apiproxy import ApiProxy
from tests.support.engines import Engines
from tests.support.objectstore import ObjectStoreServer
from tests.support.operator import grant
from tests.support.world import DRAFT, VERIFIER, World, files
from tools.localcluster.binaries import binary
from tools.localcluster.controlplane import ControlPlane
from tools.localcluster.simulated import SimulatedNodes
from tools.testhub import Hub

CRD = Path(__file__).parents[2] / "crds" / "speculators.dev_speculatordeployments.yaml"

PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kwok")

#: The first test that needs the cluster, or the object store, may have to build it.
FIRST_SECONDS = 3600


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests' own limit holds for the tests; the first one's includes starting, and maybe building, what serves."""
    for server in ("cluster", "object_store"):
        first = next((item for item in items if server in getattr(item, "fixturenames", ())), None)
        if first is not None:
            first.add_marker(pytest.mark.timeout(FIRST_SECONDS))


@pytest.fixture(scope="session")
def cluster(pytestconfig: pytest.Config) -> Iterator[ControlPlane]:
    with pytestconfig.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        for name in PROGRAMS:
            binary(name)  # the first time this takes minutes, and says so
    with ControlPlane(controllers=True, scheduler=True) as control_plane:
        if CRD.is_file():
            control_plane.define(CRD)
        yield control_plane


@pytest.fixture(scope="session")
def object_store(pytestconfig: pytest.Config) -> Iterator[ObjectStoreServer]:
    with pytestconfig.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        binary("versitygw")
    with ObjectStoreServer() as server:
        yield server


@pytest.fixture(scope="session")
def nodes(cluster: ControlPlane) -> Iterator[SimulatedNodes]:
    with SimulatedNodes(cluster, count=2, gpus=64, executes=True) as simulated:
        yield simulated


@pytest.fixture
def namespace(cluster: ControlPlane) -> Iterator[str]:
    """A fresh namespace of the test's own. It is deleted afterwards; nobody waits for that."""
    name = f"test-{secrets.token_hex(4)}"
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def proxy(cluster: ControlPlane) -> Iterator[ApiProxy]:
    """Between a client and the API server: ``cluster.kubeconfig_for("operator", server=proxy.url)``."""
    with ApiProxy(cluster.url, cluster.ca) as between:
        yield between


@pytest.fixture
def hub() -> Iterator[Hub]:
    """Has a draft and its verifier, by their configs: ``org/draft`` and ``org/verifier``."""
    with Hub() as running:
        running.commit("org/verifier", files(VERIFIER))
        running.commit("org/draft", files(DRAFT))
        yield running


@pytest.fixture(scope="module")
def engines() -> Iterator[Engines]:
    with Engines() as running:
        yield running


@pytest.fixture
def world(
    cluster: ControlPlane, nodes: SimulatedNodes, namespace: str, hub: Hub, engines: Engines, tmp_path: Path
) -> World:
    """A namespace in which the operator works with the rights that it ships with."""
    del nodes  # they are there, and that is all
    grant(cluster)
    return World(cluster, namespace, hub, engines, tmp_path / "operator.log")
