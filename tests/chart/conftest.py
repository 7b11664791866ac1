"""What these tests run is there before any of them has its time taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.localcluster.binaries import binary
from tools.schemas import schemas

#: The first test may have to build Helm, and to download schemas.
FIRST_SECONDS = 1800


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    first = next((item for item in items if item.path.parent == Path(__file__).parent), None)
    if first is not None:
        first.add_marker(pytest.mark.timeout(FIRST_SECONDS), append=False)


@pytest.fixture(scope="session", autouse=True)
def programs(pytestconfig: pytest.Config) -> None:
    with pytestconfig.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        for name in ("helm", "kubeconform", "glua"):
            binary(name)  # the first time this takes minutes, and says so
        schemas()
