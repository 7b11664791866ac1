"""The operator's image for the real node: when it is built anew, and what its base consists of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tools import build_image
from tools.localcluster import image, operator_image, packages


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """What the image would be kept as."""
    monkeypatch.setattr(image, "kept", lambda kind, recipe, *_: Path(f"{kind}-{recipe}"))
    return lambda: operator_image.operator_image().name


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("operator/Dockerfile", id="the Dockerfile"),
        pytest.param("requirements/runtime.txt", id="a lock"),
        pytest.param("operator/speculator_operator/cli.py", id="the operator's code"),
        pytest.param("operator/speculator_operator/core/engine_flags/policy.json", id="the operator's data"),
        pytest.param("pyproject.toml", id="the version"),
    ],
)
def test_another_source_makes_another_image(
    recipe: Callable[[], str], monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    before = recipe()
    assert before == recipe()
    read = Path.read_bytes
    changed = build_image.ROOT / source
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + b"\n" if path == changed else read(path))
    assert recipe() != before


def test_wheels_are_for_the_python_of_the_base(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    archive = tmp_path / "base.tar"
    image.pack(root, "localhost/base:1", {"Env": ["PATH=/usr/bin", "PYTHON_VERSION=3.13.9"]}, archive)
    assert operator_image._python_version(archive) == "3.13"  # noqa: SLF001


@pytest.mark.parametrize(
    ("package", "left_out"),
    [
        *((name, False) for name in ("python3.11-minimal", "libpython3-stdlib", "ca-certificates", "media-types")),
        *((name, True) for name in ("perl-base", "libperl5.36", "debconf", "cdebconf", "dpkg", "mime-support")),
    ],
)
def test_the_base_goes_without_what_only_an_installation_needs(package: str, *, left_out: bool) -> None:
    assert bool(operator_image._LEFT_OUT.match(package)) is left_out  # noqa: SLF001


def test_a_tool_comes_with_its_libraries_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    needs = {
        "tool": "Depends: libc6\n  Depends: libone\n |Depends: daemon\n  Depends: libalternative",
        "libone": "Depends: libtwo\n  Depends: libc6\n  Recommends: libunneeded",
        "libtwo": "Depends: libone\n  Depends: <virtual>",
        "libalternative": "",
    }
    monkeypatch.setattr(packages, "_apt", lambda command: "\n".join(f"{it}\n  {needs[it]}" for it in command[3:]))
    assert packages._libraries("tool") == {"libone", "libtwo", "libalternative"}  # noqa: SLF001
