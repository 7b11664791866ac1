"""The adapter against a real API server: what it does, and how each refusal is told from a failure."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from speculator_operator.cluster import NOTE_LENGTH, Cluster, ClusterError, Forbidden, NoCluster
from speculator_operator.errors import Refused
from speculator_operator.execution import execute
from tests.support.apiproxy import ApiProxy
from tests.support.eventually import eventually_async
from tools.localcluster.controlplane import ControlPlane
from tools.localcluster.simulated import SimulatedNodes


@asynccontextmanager
async def connection(
    control_plane: ControlPlane, patch: pytest.MonkeyPatch, *, user: str = "admin", server: str | None = None
) -> AsyncIterator[Cluster]:
    own = user == "admin" and server is None
    path = control_plane.kubeconfig if own else control_plane.kubeconfig_for(user, server=server)
    patch.setenv("KUBECONFIG", str(path))
    async with Cluster.connect(in_flight=4) as connected:
        yield connected


def service(namespace: str, name: str = "a", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace, "labels": {"speculators.dev/name": name}},
        "spec": {"ports": [{"name": "http", "port": 80}], "selector": {"a": "b"}, **spec},
    }


async def test_what_was_applied_is_read_listed_and_deleted(
    cluster: ControlPlane, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connection(cluster, monkeypatch) as api:
        assert await api.get("Service", namespace, "a") is None
        made = await api.apply(service(namespace))
        assert await api.get("Service", namespace, "a") == made
        (listed,) = await api.list("Service", namespace, "speculators.dev/name=a")
        assert (listed["kind"], listed["metadata"]["uid"]) == ("Service", made["metadata"]["uid"])
        assert await api.list("Service", namespace, "speculators.dev/name=b") == []

        again = await api.apply(service(namespace))
        assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]

        with pytest.raises(ClusterError, match="409"):
            await api.delete("Service", namespace, "a", uid="00000000-0000-0000-0000-000000000000")
        assert await api.get("Service", namespace, "a") is not None
        await api.delete("Service", namespace, "a", uid=made["metadata"]["uid"])
        assert await api.get("Service", namespace, "a") is None
        await api.delete("Service", namespace, "a", uid=made["metadata"]["uid"])


async def test_fields_no_longer_applied_go_and_those_of_others_stay(
    cluster: ControlPlane, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connection(cluster, monkeypatch) as api:
        await api.apply(service(namespace, sessionAffinity="ClientIP", selector={"a": "b", "c": "d"}))
        cluster.kubectl("--namespace", namespace, "annotate", "service", "a", "theirs=1")
        now = await api.apply(service(namespace))
        assert now["spec"]["selector"] == {"a": "b"}
        assert now["metadata"]["annotations"] == {"theirs": "1"}


async def test_status_is_applied_without_touching_the_spec(
    cluster: ControlPlane, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = {"apiVersion": "speculators.dev/v1alpha1", "kind": "SpeculatorDeployment"}
    identity = {"name": "a", "namespace": namespace}
    async with connection(cluster, monkeypatch) as api:
        made = await api.apply({**head, "metadata": identity, "spec": {"model": {"uri": "org/repo"}}})
        status = {"observedGeneration": 1, "replicas": 2}
        said = await api.apply_status({**head, "metadata": identity, "status": status}, read=made)
        assert said["status"] == status
        assert said["spec"] == made["spec"]
        assert said["metadata"]["generation"] == made["metadata"]["generation"]
        await api.delete("SpeculatorDeployment", namespace, "a", uid=made["metadata"]["uid"])
        with pytest.raises(ClusterError, match="404"):
            await api.apply_status({**head, "metadata": identity, "status": status}, read=made)


async def test_an_object_as_it_was_written_is_an_echo_and_after_a_change_of_anothers_it_is_none(
    cluster: ControlPlane, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connection(cluster, monkeypatch) as api:
        made = await api.apply(service(namespace))
        found = await api.get("Service", namespace, "a")
        assert found
        assert api.echoes(found)
        cluster.kubectl("--namespace", namespace, "annotate", "service", "a", "theirs=1")
        found = await api.get("Service", namespace, "a")
        assert found
        assert not api.echoes(found)
        assert api.echoes(made)


@pytest.mark.parametrize(
    ("case", "change", "echo"),
    [
        ("nobody changed the resource since it was read", None, True),
        ("its spec was changed", ("scale", "--replicas=3"), False),
        ("it was annotated", ("annotate", "speculators.dev/refresh=2"), False),
    ],
)
async def test_a_status_is_an_echo_only_if_nothing_else_changed(
    cluster: ControlPlane,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
    case: str,
    change: tuple[str, str] | None,
    echo: bool,
) -> None:
    head = {"apiVersion": "speculators.dev/v1alpha1", "kind": "SpeculatorDeployment"}
    identity = {"name": "a", "namespace": namespace}
    async with connection(cluster, monkeypatch) as api:
        await api.apply({**head, "metadata": identity, "spec": {"model": {"uri": "org/repo"}}})
        read = await api.get("SpeculatorDeployment", namespace, "a")
        assert read
        if change:
            verb, value = change
            arguments = (verb, "spd", "a", value) if verb == "annotate" else (verb, value, "spd/a")
            cluster.kubectl("--namespace", namespace, *arguments)
        await api.apply_status({**head, "metadata": identity, "status": {"observedGeneration": 1}}, read=read)
        now = await api.get("SpeculatorDeployment", namespace, "a")
        assert now
        assert api.echoes(now) is echo, case


@pytest.mark.parametrize(
    ("case", "spec", "says"),
    [
        ("a value that isn't valid", {"ports": [{"port": 99999}]}, "spec.ports"),
        ("a field that doesn't exist", {"portz": 1}, "portz"),
        ("a field of another type", {"ports": "many"}, "ports"),
    ],
)
async def test_an_object_that_the_server_does_not_take_is_refused(
    cluster: ControlPlane, namespace: str, monkeypatch: pytest.MonkeyPatch, case: str, spec: dict[str, Any], says: str
) -> None:
    async with connection(cluster, monkeypatch) as api:
        with pytest.raises(Refused, match=says) as caught:
            await api.apply(service(namespace, **spec))
    assert caught.value.reason == "ChildRefused", case
    assert len(caught.value.message) < 1000


async def test_a_quota_refuses_and_is_named(
    cluster: ControlPlane, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.kubectl("--namespace", namespace, "create", "quota", "small", "--hard=services=0")
    async with connection(cluster, monkeypatch) as api:

        async def refused() -> str:  # the quota's own controller has to count first
            try:
                await api.apply(service(namespace, f"a-{asyncio.get_running_loop().time():.0f}"))
            except Refused as error:
                return error.message
            return ""

        assert "exceeded quota: small" in await eventually_async(refused)


async def test_a_missing_right_is_ours_to_mend_and_names_verb_and_resource(
    cluster: ControlPlane, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.kubectl("--namespace", namespace, "create", "serviceaccount", "nobody")
    user = f"system:serviceaccount:{namespace}:nobody"
    async with connection(cluster, monkeypatch, user=user) as api:
        with pytest.raises(ClusterError, match='cannot patch resource "services"'):
            await api.apply(service(namespace))
        with pytest.raises(ClusterError, match='cannot get resource "pods"'):
            await api.get("Pod", namespace, "a")
        # An event that can't be recorded fails nothing.
        about = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "namespace": namespace}}
        await api.emit(about, type_="Normal", reason="Resolved", note="x")


async def test_a_namespace_that_is_gone_is_a_failure_to_be_repeated(
    cluster: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connection(cluster, monkeypatch) as api:
        assert await api.get("Service", "nowhere", "a") is None
        with pytest.raises(ClusterError, match="nowhere"):
            await api.apply(service("nowhere"))


async def test_an_event_is_recorded_and_cut_to_what_the_server_takes(
    cluster: ControlPlane, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connection(cluster, monkeypatch) as api:
        made = await api.apply(service(namespace))
        await api.emit(made, type_="Warning", reason="ChildRefused", note="x" * 5000)
    (event,) = json.loads(cluster.kubectl("--namespace", namespace, "get", "events.events.k8s.io", "-o", "json"))[
        "items"
    ]
    assert (event["type"], event["reason"], len(event["note"])) == ("Warning", "ChildRefused", NOTE_LENGTH)
    assert event["regarding"]["uid"] == made["metadata"]["uid"]
    assert event["reportingController"] == "speculators.dev/operator"


async def test_a_server_that_is_busy_or_away_is_a_failure_to_be_repeated(
    cluster: ControlPlane, namespace: str, proxy: ApiProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connection(cluster, monkeypatch, server=proxy.url) as api:
        proxy.unavailable(3600)
        with pytest.raises(ClusterError, match="503"):
            await api.apply(service(namespace))
        proxy.unavailable(0)
        assert await api.apply(service(namespace))


async def test_a_server_that_never_answers_is_given_up(
    namespace: str, cluster: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("speculator_operator.cluster.CALL_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listening:  # connections are taken, and nobody reads them
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        async with connection(cluster, monkeypatch, server=url) as api:
            with pytest.raises(ClusterError, match="Timeout"):
                await api.get("Service", namespace, "a")


async def test_a_preview_is_validated_and_defaulted_and_not_kept(
    cluster: ControlPlane, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = {"apiVersion": "speculators.dev/v1alpha1", "kind": "SpeculatorDeployment"}
    body = {**head, "metadata": {"name": "a", "namespace": namespace}, "spec": {"model": {"uri": "org/repo"}}}
    async with connection(cluster, monkeypatch) as api:
        made = await api.preview(body, merge_patch=None, manager="kubectl")
        assert made["spec"]["replicas"] == 1
        assert await api.get("SpeculatorDeployment", namespace, "a") is None
        with pytest.raises(Refused, match="must be org/repo") as caught:
            await api.preview({**body, "spec": {"model": {"uri": "repo"}}}, merge_patch=None, manager="kubectl")
        assert caught.value.reason == "SpecInvalid"

        await api.apply(body)
        patch = {"spec": {"replicas": 4}}
        assert (await api.preview(body, merge_patch=patch, manager="kubectl"))["spec"]["replicas"] == 4
        kept = await api.get("SpeculatorDeployment", namespace, "a")
        assert kept
        assert kept["spec"]["replicas"] == 1


async def test_objects_are_listed_by_field_and_in_all_namespaces(
    cluster: ControlPlane, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connection(cluster, monkeypatch) as api:
        for name in ("a", "b"):
            await api.apply(service(namespace, name))
        found = await api.list("Service", None, "speculators.dev/name", field_selector="metadata.name=b")
        assert [it["metadata"]["name"] for it in found if it["metadata"]["namespace"] == namespace] == ["b"]


@pytest.fixture
def pod(cluster: ControlPlane, nodes: SimulatedNodes, namespace: str) -> str:
    """A running one, whose commands run on this machine."""
    del nodes
    container = {"name": "main", "image": "localhost/none:1"}
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": [container]}}
    cluster.kubectl("--namespace", namespace, "apply", "-f", "-", stdin=json.dumps(body))
    cluster.kubectl("--namespace", namespace, "wait", "--for=condition=Ready", "pod/a", "--timeout=30s")
    return "a"


async def test_a_command_in_a_container_reads_what_it_is_given_and_says_what_it_prints(
    cluster: ControlPlane, namespace: str, pod: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["python3", "-c", "import sys; print(sys.stdin.read(3)[::-1], sys.argv[1])", "x y"]
    async with connection(cluster, monkeypatch) as api:
        assert await execute(api, namespace, pod, "main", command, stdin="abc", seconds=20) == "cba x y\n"


@pytest.mark.parametrize(
    ("case", "program", "seconds", "says"),
    [
        ("it ends with an error", "raise SystemExit('no good')", 20, "a: python3: no good"),
        ("it prints for ever", "while True: print('x' * 100000)", 20, "prints more than"),
        ("it never ends", "import sys; sys.stdin.read()", 1, "TimeoutError"),
    ],
)
async def test_a_command_that_fails_is_a_failure_with_its_words(
    cluster: ControlPlane,
    namespace: str,
    pod: str,
    monkeypatch: pytest.MonkeyPatch,
    case: str,
    program: str,
    seconds: float,
    says: str,
) -> None:
    async with connection(cluster, monkeypatch) as api:
        with pytest.raises(ClusterError, match=says) as caught:
            await execute(api, namespace, pod, "main", ["python3", "-c", program], stdin="", seconds=seconds)
    assert len(str(caught.value)) < 1000, case


async def test_a_pod_that_is_not_there_or_may_not_be_entered(
    cluster: ControlPlane, namespace: str, pod: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connection(cluster, monkeypatch) as api:
        with pytest.raises(ClusterError, match="gone: no command can be run in it: HTTP 404"):
            await execute(api, namespace, "gone", "main", ["python3"], stdin="", seconds=5)
    async with connection(cluster, monkeypatch, user="nobody") as api:
        with pytest.raises(Forbidden) as caught:
            await execute(api, namespace, pod, "main", ["python3"], stdin="", seconds=5)
    assert (caught.value.verb, caught.value.resource) == ("create (and get)", "pods/exec")


async def test_a_context_says_which_cluster_and_which_namespace(
    cluster: ControlPlane, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content = json.loads(cluster.kubeconfig.read_text())
    ours = content["contexts"][0]["context"]
    content["contexts"].append({"name": "other", "context": {**ours, "namespace": "elsewhere"}})
    (tmp_path / "config").write_text(json.dumps(content))
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    for context, namespace in ((None, "default"), ("other", "elsewhere")):
        async with Cluster.connect(in_flight=4, kubeconfig=str(tmp_path / "config"), context=context) as api:
            assert api.namespace == namespace
            assert await api.serves_resource()
    with pytest.raises(NoCluster, match="third"):
        async with Cluster.connect(in_flight=4, kubeconfig=str(tmp_path / "config"), context="third"):
            pass
    with pytest.raises(NoCluster, match="/nowhere: there is no such file"):
        async with Cluster.connect(in_flight=4):
            pass


async def test_no_cluster_to_connect_to_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ClusterError, match=r"No cluster to connect to: this isn't a pod, and neither KUBECONFIG nor"):
        async with Cluster.connect(in_flight=4):
            pass
