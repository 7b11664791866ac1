"""The operator's own image: what is in it, and that it does its work in a Restricted pod on the real node."""

from __future__ import annotations

import json
import os
import tarfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.e2e.conftest import CRD, RealCluster
from tests.support.eventually import eventually
from tests.support.locks import runtime
from tools import build_image
from tools.localcluster import operator_image as built
from tools.localcluster.node import NodeUnavailable, check_machine
from tools.oci_archive import opened

CONFIG = build_image.ROOT / "config"
USER = "65532:65532"
#: An invalidation mode of compiled files: the source is never looked at. The flags follow the magic number.
UNCHECKED_HASH = (1).to_bytes(4, "little")

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def archive() -> Path:
    try:
        check_machine()
    except NodeUnavailable as error:
        pytest.skip(f"no image can be built for a node here: {error}")
    return built.operator_image()


@dataclass(frozen=True)
class Layer:
    digest: str
    files: dict[str, tarfile.TarInfo]
    compiled: dict[str, bytes]
    """The first bytes of Python's compiled files."""


def read(archive: Path) -> list[Layer]:
    """The image's layers, the base's first."""
    layers = []
    with opened(archive) as image:
        for digest, inner in zip(image.config["rootfs"]["diff_ids"], image.layers(), strict=True):
            files = {member.name.removeprefix("./"): member for member in inner}
            python = {
                name: file.read(8)
                for name, member in files.items()
                if name.endswith(".pyc") and (file := inner.extractfile(member))
            }
            layers.append(Layer(digest, files, python))
    return layers


def visible(layers: list[Layer]) -> set[str]:
    """The names of all files of a container: a layer takes a file away with another, ``.wh.`` and its name."""
    names: set[str] = set()
    for layer in layers:
        gone = [path.parent / path.name[4:] for path in map(Path, layer.files) if path.name.startswith(".wh.")]
        names = {name for name in names if not any(Path(name).is_relative_to(path) for path in gone)}
        names |= {name for name in layer.files if not Path(name).name.startswith(".wh.")}
    return names


def test_the_image_says_what_it_is_and_runs_as_nobody_in_particular(archive: Path) -> None:
    with opened(archive) as image:
        assert (image.config["os"], image.config["architecture"]) == ("linux", "amd64")
        config = image.config["config"]
    assert (config["User"], config["Entrypoint"]) == (USER, ["speculator-operator"])
    environment = dict(variable.split("=", 1) for variable in config["Env"])
    assert environment["PATH"].startswith("/opt/operator/bin:")
    assert environment["PYTHONDONTWRITEBYTECODE"] == "1"
    assert config["Labels"] == build_image.Image("", built.BASE_IMAGE, "").labels


def test_the_image_holds_the_operator_compiled_and_nothing_that_installs_or_builds(archive: Path) -> None:
    layers = read(archive)
    base, own = layers
    names = visible(layers)
    assert "opt/operator/bin/speculator-operator" in own.files
    assert "usr/local/bin/pip" in base.files
    assert not {name for name in names if Path(name).name in ("pip", "ensurepip", "hatchling")}
    programs = {Path(name).name for name in names if Path(name).parent.name in ("bin", "sbin")}
    assert not programs & {"uv", "gcc", "cc", "ld", "apt", "apt-get", "dpkg"}
    assert not [name for name in names if name.startswith(("src", "build", "wheels", "root/"))]
    sources = {name for name in own.files if "/speculator_operator/" in name and name.endswith(".py")}
    ours = {name: head for name, head in own.compiled.items() if "/speculator_operator/" in name}
    assert len(sources) == len(ours) > 20
    assert {head[4:] for head in own.compiled.values()} == {UNCHECKED_HASH}
    assert any(name.startswith("usr/lib/python3") for name in own.compiled), "Python's own library isn't compiled"
    assert not any(name.endswith(".pyc") for name in base.files)
    for name, file in own.files.items():
        if name.startswith("opt/operator"):
            assert (file.uid, file.gid) == (0, 0), name
            assert file.issym() or file.mode & 0o7022 == 0, f"{name} can be changed by others, or lends root's rights"
            assert file.issym() or file.mode & 0o004, f"{name} can't be read by the image's user"


def test_another_build_gives_the_same_image(archive: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.tar"
    umask = os.umask(0o077)
    try:
        built.build(again, tmp_path)
    finally:
        os.umask(umask)
    with opened(archive) as first, opened(again) as second:
        assert second.config == first.config
        assert second.digest == first.digest


def test_the_bill_of_materials_has_all_that_is_in_the_image(archive: Path) -> None:
    with opened(archive) as image:
        text = image.file(build_image.SBOM).decode()
        created = image.config["created"]
    layers = read(archive)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bill = json.loads(text)
    assert bill["metadata"]["timestamp"] == created
    components = {component["purl"]: component for component in bill["components"] if "purl" in component}
    names = visible(layers)

    installed = {name.split("/")[-2] for name in names if name.endswith(".dist-info/METADATA")}
    listed = {f"{each['name'].replace('-', '_')}-{each['version']}.dist-info" for each in components.values()}
    assert {each.lower() for each in installed} - listed == {f"speculator_operator-{build_image.version()}.dist-info"}
    python = {purl.partition("?")[0]: each for purl, each in components.items() if purl.startswith("pkg:pypi/")}
    locked = {f"pkg:pypi/{it.name}@{it.version}": it.hashes for it in runtime() if it.wanted}
    assert set(locked) - set(python) == {purl for purl in locked if purl.startswith("pkg:pypi/hf-xet@")}
    for purl, component in python.items():
        assert component["hashes"][0]["content"] in locked[purl]
        assert component["licenses"]
    assert "pkg:cargo/pyo3" in text, "what compiled wheels hold is there as well"

    debian = {each["name"] for purl, each in components.items() if purl.startswith("pkg:deb/debian/")}
    assert debian == {Path(name).name for name in names if "/dpkg/status.d/" in name}
    assert {"libc6", "libssl3", "ca-certificates"} < debian


def restricted_pod(hub: str) -> dict[str, Any]:
    """Prints the CRD, and then what a checkpoint becomes. It may write nowhere at all."""
    container = {
        "image": built.OPERATOR_IMAGE,
        "imagePullPolicy": "Never",
        "env": [{"name": "HF_ENDPOINT", "value": hub}],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "operator"},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            # No user: the image's own is a number that isn't root's, or the kubelet refuses to start it.
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "initContainers": [{"name": "crd", "args": ["crd"], **container}],
            "containers": [{"name": "resolve", "args": ["resolve", "tiny/llama-eagle3-agree"], **container}],
        },
    }


def test_a_restricted_pod_prints_the_crd_and_resolves_a_checkpoint(
    real_cluster: RealCluster, operator_image: str, namespace: str
) -> None:
    assert operator_image == built.OPERATOR_IMAGE
    control_plane = real_cluster.control_plane
    pod = restricted_pod(real_cluster.hub.url)
    control_plane.kubectl("create", "--namespace", namespace, "-f", "-", stdin=json.dumps(pod))

    def kubectl(*arguments: str) -> str:
        return control_plane.kubectl("--namespace", namespace, *arguments)

    def ended() -> dict[str, Any]:
        status: dict[str, Any] = json.loads(kubectl("get", "pod", "operator", "-o", "json"))["status"]
        assert status["phase"] in ("Succeeded", "Failed"), status
        return status

    status = eventually(ended, within=120)
    logs = {name: kubectl("logs", "operator", "--container", name) for name in ("crd", "resolve")}
    assert status["phase"] == "Succeeded", logs
    assert logs["crd"] == CRD.read_text()
    resolved = json.loads(logs["resolve"])
    url = f"{real_cluster.hub.url}/api/models/tiny/llama-eagle3-agree"
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - the test's own server
        commit = json.load(answer)["sha"]
    assert resolved["draft"] == {"uri": "tiny/llama-eagle3-agree", "revision": commit}
    assert resolved["verifier"]["uri"] == "tiny/llama-constant"
    assert resolved["speculativeConfig"]["method"] == "eagle3"


@pytest.fixture
def installed(real_cluster: RealCluster, operator_image: str, namespace: str) -> Iterator[None]:
    """The operator as the project's files install it, for one namespace."""
    control_plane = real_cluster.control_plane
    documents = [
        document
        for folder in ("rbac", "operator")
        for path in sorted((CONFIG / folder).glob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text())
    ]
    documents.sort(key=lambda document: document["kind"] != "Namespace")
    for document in documents:
        if document["kind"] == "Deployment":
            (container,) = document["spec"]["template"]["spec"]["containers"]
            container |= {"image": operator_image, "imagePullPolicy": "Never", "args": ["run", "-n", namespace]}
            container["env"] += [{"name": "SPECULATOR_HF_ENDPOINT", "value": real_cluster.hub.url}]
        control_plane.apply(document)
    try:
        yield
    finally:
        control_plane.kubectl("delete", "-f", str(CONFIG / "operator"), "-f", str(CONFIG / "rbac"), "--timeout=90s")


@pytest.mark.usefixtures("installed")
def test_the_operator_works_as_it_is_installed(real_cluster: RealCluster, namespace: str) -> None:
    control_plane = real_cluster.control_plane
    resource = yaml.safe_load((CONFIG / "samples" / "tiny-agree.yaml").read_text())
    resource["metadata"]["namespace"] = namespace
    resource["spec"]["replicas"] = 0  # what an engine does is seen elsewhere
    control_plane.apply(resource)

    def resolved() -> None:
        found = json.loads(control_plane.kubectl("get", "spd", "tiny-agree", "-n", namespace, "-o", "json"))
        conditions = found.get("status", {}).get("conditions", [])
        said = control_plane.kubectl("logs", "deployment/speculator-operator", "-n", "speculator-operator", check=False)
        assert ("Resolved", "True") in {(it["type"], it["status"]) for it in conditions}, f"{conditions}\n{said}"

    eventually(resolved, within=120, every=0.5)
    control_plane.kubectl("get", "deployment", "tiny-agree", "-n", namespace)

    def both_are_ready() -> None:
        """The one that leads, and the one that waits."""
        pods = json.loads(control_plane.kubectl("get", "pods", "-n", "speculator-operator", "-o", "json"))["items"]
        statuses = [status for pod in pods for status in pod["status"]["containerStatuses"]]
        assert [(status["restartCount"], status["ready"]) for status in statuses] == [(0, True), (0, True)]

    eventually(both_are_ready, within=60)
