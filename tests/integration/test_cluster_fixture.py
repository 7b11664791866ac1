"""What the other integration tests stand on: the control plane, simulated nodes, and the proxy."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.support.apiproxy import ApiProxy
from tests.support.eventually import eventually
from tests.support.reading import Reading
from tools.localcluster.binaries import binary, folder, version
from tools.localcluster.controlplane import ControlPlane, KubectlFailed
from tools.localcluster.ports import held_port
from tools.localcluster.processes import ProcessDied, Processes
from tools.localcluster.simulated import FAILING, MESSAGE_ANNOTATION, POD_ANNOTATION, UNREADY, SimulatedNodes


def deployment(name: str, annotations: dict[str, str] | None = None, gpus: int = 1) -> dict[str, Any]:
    container = {"name": "main", "image": "engine:1", "resources": {"limits": {"nvidia.com/gpu": gpus}}}
    labels = {"app": name}
    template = {"metadata": {"labels": labels, "annotations": annotations or {}}, "spec": {"containers": [container]}}
    spec = {"selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def apply(cluster: ControlPlane, namespace: str, body: dict[str, Any]) -> None:
    cluster.apply({**body, "metadata": {**body["metadata"], "namespace": namespace}})


def pod(cluster: ControlPlane, namespace: str, app: str) -> dict[str, Any]:
    items = json.loads(cluster.kubectl("get", "pod", f"--namespace={namespace}", f"-lapp={app}", "-ojson"))["items"]
    assert items, f"no pod of {app}"
    first: dict[str, Any] = items[0]
    return first


def is_ready(body: dict[str, Any]) -> bool:
    conditions = {condition["type"]: condition["status"] for condition in body["status"].get("conditions", [])}
    return conditions.get("Ready") == "True"


class Client:
    """Speaks HTTP through the proxy, as the administrator."""

    def __init__(self, proxy: ApiProxy, token: str) -> None:
        self._url = proxy.url
        self._token = token

    def send(self, method: str, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
        try:
            with self.open(method, path, body) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def open(self, method: str, path: str, body: object = None) -> http.client.HTTPResponse:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, headers, method=method)  # noqa: S310 - our own proxy
        answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=20)  # noqa: S310
        return answer


@pytest.fixture
def client(proxy: ApiProxy, cluster: ControlPlane) -> Client:
    return Client(proxy, cluster.token)


def config_map(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}


@pytest.mark.skipif("KUBEBUILDER_ASSETS" in os.environ, reason="KUBEBUILDER_ASSETS may hold another version")
def test_the_server_reports_the_version_that_was_built(cluster: ControlPlane) -> None:
    reported = json.loads(cluster.kubectl("version", "-ojson"))["serverVersion"]["gitVersion"]
    assert reported == version("kubernetes", "k8s.io/kubernetes")


def test_a_user_may_do_what_a_binding_says_and_nothing_else(cluster: ControlPlane, namespace: str) -> None:
    nobody = f"--kubeconfig={cluster.kubeconfig_for('nobody')}"
    here = f"--namespace={namespace}"
    with pytest.raises(KubectlFailed, match=r'User "nobody" cannot list resource "pods"'):
        cluster.kubectl(nobody, "get", "pods", here)

    cluster.kubectl("create", "role", "reader", "--verb=list", "--resource=pods", here)
    cluster.kubectl("create", "rolebinding", "reader", "--role=reader", "--user=nobody", here)
    eventually(lambda: "No resources" in cluster.kubectl(nobody, "get", "pods", here, check=False))
    with pytest.raises(KubectlFailed, match=r'User "nobody" cannot list resource "secrets"'):
        cluster.kubectl(nobody, "get", "secrets", here)


def test_a_service_account_is_a_user_too(cluster: ControlPlane, namespace: str) -> None:
    cluster.kubectl("create", "serviceaccount", "robot", f"--namespace={namespace}")
    user = f"system:serviceaccount:{namespace}:robot"
    said = json.loads(cluster.kubectl(f"--kubeconfig={cluster.kubeconfig_for(user)}", "auth", "whoami", "-ojson"))
    assert said["status"]["userInfo"]["username"] == user


def test_a_user_that_nobody_named_is_an_error(cluster: ControlPlane) -> None:
    with pytest.raises(ValueError, match="'stranger' is unknown"):
        cluster.kubeconfig_for("stranger")


def test_a_pod_on_a_simulated_node_becomes_ready_with_an_address(
    cluster: ControlPlane, nodes: SimulatedNodes, namespace: str
) -> None:
    apply(cluster, namespace, deployment("good", gpus=2))
    eventually(lambda: is_ready(pod(cluster, namespace, "good")))
    assert pod(cluster, namespace, "good")["spec"]["nodeName"] in nodes.names
    assert pod(cluster, namespace, "good")["status"]["podIP"].startswith("127.88.")


@pytest.mark.usefixtures("nodes")
def test_a_pod_that_is_to_stay_unready_does_until_the_annotation_goes(cluster: ControlPlane, namespace: str) -> None:
    apply(cluster, namespace, deployment("slow", {POD_ANNOTATION: UNREADY}))
    eventually(lambda: pod(cluster, namespace, "slow")["status"]["phase"] == "Running")
    assert not is_ready(pod(cluster, namespace, "slow"))

    name = pod(cluster, namespace, "slow")["metadata"]["name"]
    cluster.kubectl("annotate", "pod", name, f"--namespace={namespace}", f"{POD_ANNOTATION}-")
    eventually(lambda: is_ready(pod(cluster, namespace, "slow")))


@pytest.mark.usefixtures("nodes")
def test_a_failing_pod_has_last_words(cluster: ControlPlane, namespace: str) -> None:
    words = 'no draft was "verified"'
    apply(cluster, namespace, deployment("bad", {POD_ANNOTATION: FAILING, MESSAGE_ANNOTATION: words}))
    eventually(lambda: pod(cluster, namespace, "bad")["status"].get("containerStatuses"))
    (container,) = pod(cluster, namespace, "bad")["status"]["containerStatuses"]
    assert container["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert container["lastState"]["terminated"]["message"] == words


@pytest.mark.usefixtures("nodes")
def test_a_pod_that_wants_more_gpus_than_a_node_has_waits(cluster: ControlPlane, namespace: str) -> None:
    apply(cluster, namespace, deployment("big", gpus=65))
    (condition,) = eventually(lambda: pod(cluster, namespace, "big")["status"].get("conditions", []))
    assert "Insufficient nvidia.com/gpu" in condition["message"]


def test_the_proxy_counts_writes_and_lists(proxy: ApiProxy, client: Client, namespace: str) -> None:
    maps = f"/api/v1/namespaces/{namespace}/configmaps"
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "leader"}}
    leases = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
    statuses = [
        client.send("POST", maps, config_map("one"))[0],
        client.send("POST", maps, config_map("one"))[0],
        client.send("POST", leases, lease)[0],
        client.send("GET", maps)[0],
        client.send("GET", f"{maps}/one")[0],
        client.send("GET", "/api/v1/namespaces")[0],
        client.send("DELETE", f"{maps}/one")[0],
    ]
    assert statuses == [201, 409, 201, 200, 200, 200, 200]
    assert [(it.method, it.path, it.status) for it in proxy.writes()] == [
        ("POST", maps, 201),
        ("POST", maps, 409),
        ("DELETE", f"{maps}/one", 200),
    ]
    assert proxy.writes()[0].body == config_map("one")
    assert [it.path for it in proxy.lists()] == [maps, "/api/v1/namespaces"]


@pytest.mark.parametrize("committed", [True, False], ids=["after the write", "before the write"])
def test_the_proxy_kills_between_writes(proxy: ApiProxy, client: Client, namespace: str, *, committed: bool) -> None:
    maps = f"/api/v1/namespaces/{namespace}/configmaps"
    killed = threading.Event()
    kill = proxy.kill_after_write if committed else proxy.kill_before_write
    kill(2, killed.set)

    assert client.send("POST", maps, config_map("first"))[0] == 201
    with pytest.raises((urllib.error.URLError, ConnectionError)):
        client.send("POST", maps, config_map("second"))
    assert killed.wait(10)
    with pytest.raises((urllib.error.URLError, ConnectionError)):
        client.send("GET", maps)

    proxy.revive()
    assert client.send("GET", f"{maps}/second")[0] == (200 if committed else 404)
    assert len(proxy.writes()) == (2 if committed else 1)


def test_the_proxy_answers_503_for_a_while(proxy: ApiProxy, client: Client) -> None:
    proxy.unavailable(3600)
    assert client.send("GET", "/api/v1/namespaces")[0] == 503
    proxy.unavailable(0)
    assert client.send("GET", "/api/v1/namespaces")[0] == 200


def test_a_reading_asks_again_where_the_server_is_away_for_a_moment(
    cluster: ControlPlane, proxy: ApiProxy, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "url", proxy.url)
    reading = Reading(cluster)
    proxy.unavailable(1)
    assert reading.items(namespace, "secrets") == []
    assert {it.status for it in proxy.requests} == {0, 200}
    with pytest.raises(LookupError):
        reading.get(namespace, "secrets", "nowhere")
    assert [it.status for it in proxy.requests].count(404) == 1


def test_the_proxy_freezes_and_expires_watches(proxy: ApiProxy, client: Client, namespace: str) -> None:
    maps = f"/api/v1/namespaces/{namespace}/configmaps"
    version = client.send("GET", maps)[1]["metadata"]["resourceVersion"]
    events: list[dict[str, Any]] = []

    def watch() -> None:
        with client.open("GET", f"{maps}?watch=true&resourceVersion={version}") as answer:
            for line in answer:
                events.append(json.loads(line))  # noqa: PERF401 - they are looked at while they come

    def names() -> list[str]:
        added = [event["object"]["metadata"]["name"] for event in list(events) if event["type"] == "ADDED"]
        return [name for name in added if name != "kube-root-ca.crt"]

    thread = threading.Thread(target=watch)
    thread.start()
    eventually(lambda: any(it.is_watch for it in list(proxy.requests)))
    client.send("POST", maps, config_map("seen"))
    eventually(lambda: names() == ["seen"])
    proxy.freeze()
    client.send("POST", maps, config_map("held"))
    with pytest.raises(AssertionError, match="not within"):
        eventually(lambda: names() == ["seen", "held"], within=1.0)
    proxy.unfreeze()
    eventually(lambda: names() == ["seen", "held"])
    proxy.expire_watches()
    thread.join(10)
    assert not thread.is_alive()
    assert events[-1]["object"]["code"] == 410


def _running(directory: Path) -> list[str]:
    """Command lines of processes that name a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has just ended
            continue
        if str(directory) in command:
            found.append(command)
    return found


def test_nothing_is_left_when_the_block_ends() -> None:
    with pytest.raises(RuntimeError, match="a failing test"), ControlPlane() as control_plane:  # noqa: PT012
        assert len(_running(control_plane.directory)) == 2
        raise RuntimeError("a failing test")
    assert _running(control_plane.directory) == []
    assert not control_plane.directory.exists()


@pytest.mark.parametrize(
    ("number", "folder_is_left"), [(signal.SIGTERM, False), (signal.SIGKILL, True)], ids=["SIGTERM", "SIGKILL"]
)
def test_no_process_is_left_when_the_owner_is_killed(
    number: signal.Signals, tmp_path: Path, *, folder_is_left: bool
) -> None:
    program = (
        "import time\n"
        "from tools.localcluster.controlplane import ControlPlane\n"
        "with ControlPlane() as it:\n"
        "    print(it.directory, flush=True)\n"
        "    time.sleep(600)\n"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment) as owner:
        assert owner.stdout is not None
        directory = Path(owner.stdout.readline().strip())
        assert len(_running(directory)) == 2
        owner.send_signal(number)
        owner.wait(20)
    eventually(lambda: _running(directory) == [])
    assert directory.exists() == folder_is_left


def test_a_server_that_cannot_start_is_named_with_its_last_words() -> None:
    with (
        pytest.raises(ProcessDied, match=r"(?s)kube-apiserver ended with exit code 1:.*unknown flag: --no-such-flag"),
        ControlPlane(api_server_args=["--no-such-flag"]),
    ):
        pass


def test_a_process_that_died_is_named_with_its_last_words(tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    processes.start("talker", [sys.executable, "-c", "print('no such flag'); raise SystemExit(3)"])

    def runs() -> bool:
        processes.check()
        return False

    with pytest.raises(ProcessDied, match=r"talker ended with exit code 3:\nno such flag"):
        eventually(runs)
    processes.stop()


def test_a_held_port_is_nobody_elses_and_can_be_listened_at_again() -> None:
    with held_port() as port:
        for address in ("127.0.0.1", "", "127.0.0.1"):
            with socket.create_server((address, port)), socket.create_connection(("127.0.0.1", port)):
                pass
        with socket.socket() as another, pytest.raises(OSError, match="Address already in use"):
            another.bind(("127.0.0.1", port))


def test_assets_that_someone_has_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "etcd").touch()
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    assert binary("etcd") == tmp_path / "etcd"
    assert binary("kubectl").parent == folder("kubernetes")
