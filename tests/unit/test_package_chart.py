"""The chart as it is released: of one version with the operator, and with its image by digest."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.support.ociarchive import write_archive
from tools import build_image
from tools.package_chart import CHART, PackagingImpossible, pinned, split

DIGEST = f"sha256:{'ab' * 32}"


def test_the_chart_and_the_operator_are_of_one_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == build_image.version()


@pytest.mark.parametrize(
    ("image", "repository"),
    [
        ("registry:5000/team/operator:0.1.0", "registry:5000/team/operator"),
        ("registry:5000/operator", "registry:5000/operator"),
        ("operator:0.1.0", "operator"),
    ],
)
def test_an_image_has_a_repository_and_a_digest_or_that_of_the_archive(
    tmp_path: Path, image: str, repository: str
) -> None:
    archive = tmp_path / "image.tar"
    built = write_archive(archive, {"etc/passwd": b"root"})
    assert split(f"{image}@{DIGEST}", archive) == (repository, DIGEST)
    assert split(image, archive) == (repository, built)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        pytest.param("", "IMAGE is not set: name the image", id="none"),
        pytest.param("operator:1", "has no @sha256:..., and there is no", id="neither digest nor archive"),
        pytest.param("operator@sha256:12", "'sha256:12' is no digest", id="a digest that is cut off"),
    ],
)
def test_an_image_that_is_not_known_is_refused(tmp_path: Path, image: str, words: str) -> None:
    with pytest.raises(PackagingImpossible, match=words):
        split(image, tmp_path / "image.tar")


def test_the_image_is_written_into_the_chart_s_own_values_and_nothing_else_is() -> None:
    before = (CHART / "values.yaml").read_text()
    after = pinned(before, "registry:5000/operator", DIGEST)
    changed = [(old, new) for old, new in zip(before.splitlines(), after.splitlines(), strict=True) if old != new]
    assert {new.strip() for _, new in changed} == {
        'repository: "registry:5000/operator"',
        f'digest: "{DIGEST}"',
    }
    assert yaml.safe_load(after)["image"].items() >= {"repository": "registry:5000/operator", "digest": DIGEST}.items()


@pytest.mark.parametrize(
    "values",
    [
        pytest.param('image: {repository: a, tag: "", digest: ""}\n', id="in one line"),
        pytest.param("image:\n  repository: a\nother:\n  tag: x\n  digest: x\n", id="of another section"),
    ],
)
def test_values_without_a_place_for_the_image_are_refused(values: str) -> None:
    with pytest.raises(PackagingImpossible, match=r"values\.yaml has no image"):
        pinned(values, "operator", DIGEST)
