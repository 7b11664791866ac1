"""The chart on a real API server: it installs, upgrades and uninstalls, its rights are enough, and its test tells."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support import chart
from tests.support.eventually import eventually
from tests.support.operator import Operator
from tests.support.world import FAST, World
from tools.chart import CHART
from tools.localcluster.binaries import binary
from tools.localcluster.controlplane import ControlPlane
from tools.testhub import Hub

DEFINITION = "customresourcedefinition/speculatordeployments.speculators.dev"
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"

pytestmark = pytest.mark.timeout(240)


def helm(cluster: ControlPlane, *arguments: str, values: dict[str, Any] | None = None) -> str:
    done = subprocess.run(
        [str(binary("helm")), f"--kubeconfig={cluster.kubeconfig}", *arguments, *(["--values=-"] if values else [])],
        input=json.dumps(values) if values else None,
        env={"PATH": "", "HOME": str(cluster.directory)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def untouched() -> Iterator[ControlPlane]:
    """A cluster that has never seen the operator."""
    with ControlPlane() as cluster:
        yield cluster


def test_the_chart_comes_and_goes_and_the_definition_stays(untouched: ControlPlane, tmp_path: Path) -> None:
    place = ("--namespace", "ops")
    helm(untouched, "install", "spd", str(CHART), "--create-namespace", *place)
    expected = {chart.placed(it)[1:] for it in chart.objects(release="spd", namespace="ops") if not _is_hook(it)}
    assert _present(untouched, "spd") == expected

    newer = tmp_path / "chart"
    shutil.copytree(CHART, newer)
    file = newer / "files" / "speculators.dev_speculatordeployments.yaml"
    file.write_text(file.read_text().replace("    - spd\n", "    - spd\n    - specdep\n"))
    helm(untouched, "upgrade", "spd", str(newer), "--set", "replicas=3", *place)
    assert _get(untouched, DEFINITION)["spec"]["names"]["shortNames"] == ["spd", "specdep"]
    assert _get(untouched, "deployment/spd-speculator-operator", *place)["spec"]["replicas"] == 3

    helm(untouched, "rollback", "spd", *place)
    assert _get(untouched, DEFINITION)["spec"]["names"]["shortNames"] == ["spd"]

    helm(untouched, "uninstall", "spd", *place)
    assert {kind for kind, _, _ in _present(untouched, "spd")} == {"CustomResourceDefinition"}

    helm(untouched, "install", "spd", str(CHART), *place)
    assert _present(untouched, "spd") == expected
    assert _get(untouched, DEFINITION)["spec"]["names"]["shortNames"] == ["spd"]


def _is_hook(found: chart.Object) -> bool:
    return "helm.sh/hook" in (found["metadata"].get("annotations") or {})


def _get(cluster: ControlPlane, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cluster.kubectl("get", *words, "-o", "json"))
    return found


def _present(cluster: ControlPlane, release: str) -> set[tuple[str, str, str]]:
    """Kind, namespace and name of what bears the release's label."""
    kinds = sorted({it["kind"] for it in chart.objects({"userRoles": {"enabled": True}})})
    selector = f"--selector=app.kubernetes.io/instance={release}"
    items = _get(cluster, ",".join(kinds), "--all-namespaces", selector)["items"]
    places = [(it["kind"], it["metadata"].get("namespace", ""), it["metadata"]["name"]) for it in items]
    return {place for place in places if place[0] != "Pod"}


def test_kubernetes_own_roles_take_the_resource_in(cluster: ControlPlane, namespace: str) -> None:
    values = {"crds": {"install": False}, "userRoles": {"enabled": True}, "watchNamespaces": [namespace]}
    helm(cluster, "install", "roles", str(CHART), "--namespace", namespace, values=values)
    try:
        for role, verb, answer in [("view", "get", "yes"), ("view", "create", "no"), ("edit", "create", "yes")]:
            cluster.kubectl("create", "rolebinding", role, f"--clusterrole={role}", f"--user={role}", "-n", namespace)
            words = ("auth", "can-i", verb, "spd", f"--as={role}", "-n", namespace)
            eventually_says(cluster, answer, *words)
            cluster.kubectl("delete", "rolebinding", role, "-n", namespace)
    finally:
        helm(cluster, "uninstall", "roles", "--namespace", namespace)


def eventually_says(cluster: ControlPlane, answer: str, *words: str) -> None:
    """Aggregation, and the API server's view of bindings, take a moment."""

    def check() -> None:
        assert cluster.kubectl(*words, check=False).split("\n")[0] == answer

    eventually(check, within=30)


@dataclass(frozen=True)
class Installed:
    """A release that watches the world's namespace alone."""

    world: World
    folder: Path

    @property
    def values(self) -> dict[str, Any]:
        return {
            "crds": {"install": False},
            "watchNamespaces": [self.world.namespace],
            "test": {"model": "org/draft", "timeoutSeconds": 30},
        }

    @property
    def objects(self) -> list[chart.Object]:
        return chart.objects(self.values, release="spd", namespace=self.world.namespace)

    @contextmanager
    def operator(self, hub: Hub) -> Iterator[None]:
        """It is at work, with the rights of the release's service account: no test's time goes to its start."""
        with Operator(
            self.world.cluster,
            self.world.log,
            namespace=self.world.namespace,
            settings={**FAST, "hf_endpoint": hub.url},
            user=f"system:serviceaccount:{self.world.namespace}:spd-speculator-operator",
        ) as started:
            eventually(lambda: started.ask("/readyz")[0] == 200, within=60)
            yield

    def test(self, **variables: str) -> subprocess.CompletedProcess[str]:
        """Runs what the test's pod does, with its variables and its service account."""
        pod = chart.only(self.objects, "Pod")
        name = pod["spec"]["serviceAccountName"]
        account = self.folder / "account"
        account.mkdir(exist_ok=True)
        (account / "token").write_text(self.world.kubectl("create", "token", name).strip())
        shutil.copy(self.world.cluster.ca, account / "ca.crt")
        (container,) = pod["spec"]["containers"]
        script = container["args"][0]
        assert ACCOUNT in script
        server = urlsplit(self.world.cluster.url)
        return subprocess.run(
            [sys.executable, "-I", "-c", script.replace(ACCOUNT, str(account))],
            env={
                "PATH": os.environ["PATH"],
                "KUBERNETES_SERVICE_HOST": str(server.hostname),
                "KUBERNETES_SERVICE_PORT": str(server.port),
                **{it["name"]: it["value"] for it in container["env"]},
                **variables,
            },
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )


@pytest.fixture
def installed(world: World, tmp_path: Path) -> Iterator[Installed]:
    made = Installed(world, tmp_path)
    helm(world.cluster, "install", "spd", str(CHART), "--namespace", world.namespace, values=made.values)
    kinds = ("ServiceAccount", "Role", "RoleBinding")
    world.cluster.apply(*(it for it in made.objects if _is_hook(it) and it["kind"] in kinds))
    yield made
    helm(world.cluster, "uninstall", "spd", "--namespace", world.namespace)


def test_the_rights_of_a_release_are_enough_for_its_namespaces(installed: Installed, hub: Hub) -> None:
    world = installed.world
    with installed.operator(hub):
        world.apply()
        world.ready()
        world.kubectl("delete", "service", "a")
        world.ready()
        eventually(lambda: world.get("service"), within=30)
    assert "orbidden" not in world.log.read_text()


def test_the_test_passes_where_the_operator_works(installed: Installed, hub: Hub) -> None:
    with installed.operator(hub):
        done = installed.test()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("As expected, Resolved is True: ")
    assert installed.world.items("spd") == []


def test_the_test_passes_twice(installed: Installed, hub: Hub) -> None:
    """The second time there is what a killed one left. Of another model: no object of it has to be collected."""
    name = chart.only(installed.objects, "Pod")["metadata"]["name"]
    installed.world.apply(name, model={"uri": "org/missing"}, replicas=0)
    with installed.operator(hub):
        installed.world.becomes(name, Stalled=("True", "ModelUnauthorized"))
        done = installed.test()
    assert done.returncode == 0, done.stdout + installed.world.log.read_text()


def test_the_test_fails_where_no_operator_looks(installed: Installed) -> None:
    done = installed.test(TEST_TIMEOUT_SECONDS="1")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("The operator said nothing of test-spd-speculator-operator within 1 s")
    assert installed.world.items("spd") == []


def test_the_test_fails_where_the_model_can_not_be_served(installed: Installed, hub: Hub) -> None:
    with installed.operator(hub):
        done = installed.test(TEST_MODEL="org/missing", TEST_TIMEOUT_SECONDS="10")
    assert done.returncode == 1
    assert done.stdout.startswith("Resolved is False: ModelUnauthorized: org/missing")


def test_the_test_tells_where_the_hub_is_out_of_reach(installed: Installed, hub: Hub) -> None:
    with installed.operator(hub):
        hub.stop()
        done = installed.test(TEST_TIMEOUT_SECONDS="5")
        assert done.returncode == 1
        assert "Resolved is Unknown: Resolving: HubUnavailable: " in done.stdout
        assert "The operator works, but the hub can't be reached from its pod." in done.stdout
        assert installed.test(TEST_EXPECTED_REASON="HubUnavailable").returncode == 0


def test_the_test_may_do_nothing_else(installed: Installed) -> None:
    world = installed.world
    name = chart.only(installed.objects, "Pod")["spec"]["serviceAccountName"]
    listed = world.kubectl("auth", "can-i", "--list", f"--as=system:serviceaccount:{world.namespace}:{name}")
    ours = [line.split() for line in listed.splitlines() if "speculators.dev" in line or "secrets" in line]
    assert sorted(ours) == [
        ["speculatordeployments.speculators.dev", "[]", "[]", "[create]"],
        ["speculatordeployments.speculators.dev", "[]", f"[{name}]", "[get", "delete]"],
    ]
