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

from speculator_operator.cluster import NOTE_LENGTH, Cluster, ClusterError
from speculator_operator.errors import Refused
from tests.support.apiproxy import ApiProxy
from tests.support.eventually import eventually_async
from tools.localcluster.controlplane import ControlPlane


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


async def test_no_cluster_to_connect_to_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ClusterError, match=r"No cluster to connect to: this isn't a pod, and neither KUBECONFIG nor"):
        async with Cluster.connect(in_flight=4):
            pass
