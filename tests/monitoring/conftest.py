"""Prometheus and Helm, built the first time that a test asks for them."""

from __future__ import annotations

import pytest

from tools.localcluster.binaries import binary


@pytest.fixture(scope="session", autouse=True)
def programs(pytestconfig: pytest.Config) -> None:
    with pytestconfig.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        for name in ("helm", "promtool", "prometheus"):
            binary(name)  # the first time this takes minutes, and says so


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests' own limit holds for the tests; the first one's includes what is built for all."""
    if items:
        items[0].add_marker(pytest.mark.timeout(3600))
