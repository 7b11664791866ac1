"""A real API server with its controllers and scheduler, and simulated nodes. Each test process has one of each."""

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
from tools.localcluster.binaries import BuildFailed, binary
from tools.localcluster.controlplane import ControlPlane
from tools.localcluster.simulated import SimulatedNodes
from tools.testhub import Hub

CRD = Path(__file__).parents[2] / "crds" / "speculators.dev_speculatordeployments.yaml"

#: A fixture -> what it runs.
PROGRAMS = {
    "cluster": ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kwok"),
    "object_store": ("versitygw",),
}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What the tests run is built before any of them has its time taken: the first time that takes minutes."""
    if config.option.collectonly:
        return
    wanted = {name for item in items for name in getattr(item, "fixturenames", ())}
    with config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        for program in (it for name, programs in PROGRAMS.items() if name in wanted for it in programs):
            try:
                binary(program)
            except BuildFailed as error:
                raise pytest.UsageError(str(error)) from error


@pytest.fixture(scope="session")
def cluster() -> Iterator[ControlPlane]:
    with ControlPlane(controllers=True, scheduler=True) as control_plane:
        if CRD.is_file():
            control_plane.define(CRD)
        yield control_plane


@pytest.fixture(scope="session")
def object_store() -> Iterator[ObjectStoreServer]:
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
