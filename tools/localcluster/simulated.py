"""Simulated nodes: kwok says of nodes and pods what a kubelet would, and nothing runs.

A pod on such a node is running and ready within a second, unless its annotation ``simulated/pod`` says otherwise:
``unready`` (it runs, and is never ready) or ``failing`` (its container ends, again and again, with the text of the
annotation ``simulated/message``). Changing the annotation changes the pod. The pods of Jobs only get a node: what
they would do is nothing that could be made up.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tools.localcluster.binaries import binary
from tools.localcluster.controlplane import LOOPBACK, POLL_SECONDS, ControlPlane, StartFailed
from tools.localcluster.ports import held_port

POD_ANNOTATION = "simulated/pod"
MESSAGE_ANNOTATION = "simulated/message"
UNREADY = "unready"
FAILING = "failing"

#: Pods' addresses. These are all this machine's own, so a test can answer for pods, and where none does, a connection
#: is refused at once. (The API server takes no such address into EndpointSlices.)
POD_CIDR = "127.88.0.0/16"

READY_SECONDS = 30.0


class SimulatedNodes:
    """A context manager; afterwards the nodes are gone. ``names`` are the nodes'."""

    def __init__(
        self,
        control_plane: ControlPlane,
        count: int = 1,
        gpus: int = 8,
        *,
        prefix: str = "simulated",
        labels: Mapping[str, str] | None = None,
        resource: str = "nvidia.com/gpu",
        executes: bool = False,
    ) -> None:
        """
        Args:
            control_plane: a running one, with controllers and scheduler.
            gpus: of each node, as ``resource``.
            prefix: of the nodes' names; another one for each instance.
            labels: more labels of the nodes.
            executes: ``kubectl exec`` works, and runs the command on this machine, as this user. For tests: whoever
                reaches loopback meanwhile could ask for it too.
        """
        self._control_plane = control_plane
        self._prefix = prefix
        self._labels = dict(labels or {})
        self._capacity = {"cpu": "1000", "memory": "4Ti", "ephemeral-storage": "4Ti", "pods": "1000", resource: gpus}
        self._executes = executes
        self._cleanup = contextlib.ExitStack()
        self.names = [f"{prefix}-{number}" for number in range(count)]

    def __enter__(self) -> Self:
        program = binary("kwok")
        name = f"kwok-{self._prefix}"
        stages = self._control_plane.directory / f"{name}.yaml"
        command: list[str | Path] = [
            program,
            f"--kubeconfig={self._control_plane.kubeconfig}",
            f"--config={stages}",
            f"--manage-nodes-with-label-selector=simulated={self._prefix}",
            f"--cidr={POD_CIDR}",
        ]
        with self._cleanup as cleanup:
            port = cleanup.enter_context(held_port()) if self._executes else None
            content = [*_stages(self._capacity, port), *([_EXECUTES] if port else [])]
            stages.write_text("\n---\n".join(json.dumps(part, indent=2) for part in content))
            if port:  # as a kubelet, with a certificate that nobody looks at
                ca = self._control_plane.ca
                command += [f"--server-address={LOOPBACK}:{port}", f"--tls-cert-file={ca}"]
                command.append(f"--tls-private-key-file={ca.with_suffix('.key')}")
            cleanup.callback(self._control_plane.processes.stop, name)
            self._control_plane.processes.start(name, command)
            cleanup.callback(self._delete_nodes)
            self._control_plane.apply(*(self._node(node) for node in self.names))
            self._wait(name)
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cleanup.close()

    def _node(self, name: str) -> dict[str, Any]:
        labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
        metadata = {
            "name": name,
            "labels": {**labels, "simulated": self._prefix, **self._labels},
            "annotations": {"kwok.x-k8s.io/node": "fake", "node.alpha.kubernetes.io/ttl": "0"},
        }
        return {"apiVersion": "v1", "kind": "Node", "metadata": metadata}

    def _delete_nodes(self) -> None:
        # A control plane that is gone has taken them along.
        self._control_plane.kubectl("delete", "node", "--wait=false", "--ignore-not-found", *self.names, check=False)

    def _wait(self, name: str) -> None:
        """A node takes pods when it is ready and the taint that it is born with has been removed."""
        deadline = time.monotonic() + READY_SECONDS
        while True:
            self._control_plane.processes.check()
            answer = self._control_plane.kubectl("get", "node", f"--selector=simulated={self._prefix}", "-o", "json")
            ready = sum(_takes_pods(node) for node in json.loads(answer)["items"])
            if ready == len(self.names):
                return
            if time.monotonic() > deadline:
                tail = self._control_plane.processes.tail(name)
                raise StartFailed(f"{ready} of {len(self.names)} nodes ready; {name} says:\n{tail}")
            time.sleep(POLL_SECONDS)


def _takes_pods(node: dict[str, Any]) -> bool:
    conditions = {condition["type"]: condition["status"] for condition in node["status"].get("conditions", [])}
    return conditions.get("Ready") == "True" and not node["spec"].get("taints")


def _stage(name: str, kind: str, selector: Mapping[str, Any], **rest: Any) -> dict[str, Any]:
    expressions = [{"key": key, **_matches(wanted)} for key, wanted in selector.items()]
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": name},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": kind},
            "selector": {"matchExpressions": expressions},
            **rest,
        },
    }


def _matches(wanted: object) -> dict[str, Any]:
    if isinstance(wanted, bool):
        return {"operator": "Exists" if wanted else "DoesNotExist"}
    if isinstance(wanted, tuple):
        return {"operator": "NotIn", "values": list(wanted)}
    return {"operator": "In", "values": [wanted]}


_EXECUTES = {
    "apiVersion": "kwok.x-k8s.io/v1alpha1",
    "kind": "ClusterExec",
    "metadata": {"name": "here"},
    "spec": {"execs": [{"local": {"workDir": "/"}}]},
}


def _stages(capacity: Mapping[str, object], port: int | None) -> list[dict[str, Any]]:
    """Selectors: a text must be equal, a tuple must not hold the value, a truth says whether there must be one."""
    is_ready = '.status.conditions.[] | select( .type == "Ready" ) | .status'
    deleting = ".metadata.deletionTimestamp"
    job = '.metadata.labels["batch.kubernetes.io/job-name"]'
    outcome = f'.metadata.annotations["{POD_ANNOTATION}"]'
    node = {"statusTemplate": _NODE_CONDITIONS + "addresses: [{type: InternalIP, address: 127.0.0.1}]\n"}
    for field in ("capacity", "allocatable"):
        node["statusTemplate"] += f"{field}: {json.dumps(capacity)}\n"
    if port:
        node["statusTemplate"] += f"daemonEndpoints: {{kubeletEndpoint: {{Port: {port}}}}}\n"
    heartbeat = {"durationMilliseconds": 10_000, "jitterDurationMilliseconds": 15_000}
    return [
        _stage("node-ready", "Node", {is_ready: ("True",)}, next=node),
        _stage(
            "node-heartbeat",
            "Node",
            {is_ready: "True"},
            delay=heartbeat,
            next={"statusTemplate": _NODE_CONDITIONS},
            immediateNextStage=True,
        ),
        _stage(
            "pod-ready",
            "Pod",
            {deleting: False, job: False, outcome: (UNREADY, FAILING), is_ready: ("True",)},
            next={"statusTemplate": _pod("True", "ready: true\n  started: true\n  restartCount: 0", _RUNNING)},
        ),
        _stage(
            "pod-unready",
            "Pod",
            {deleting: False, outcome: UNREADY, is_ready: ("False",)},
            next={"statusTemplate": _pod("False", "ready: false\n  started: false\n  restartCount: 0", _RUNNING)},
        ),
        _stage(
            "pod-failing",
            "Pod",
            {deleting: False, outcome: FAILING, is_ready: ("False",)},
            next={"statusTemplate": _pod("False", "ready: false\n  started: false\n  restartCount: 3", _FAILING)},
        ),
        _stage("pod-delete", "Pod", {deleting: True}, next={"delete": True}),
    ]


_NODE_CONDITIONS = """\
{{ $now := Now }}
conditions:
{{ range NodeConditions }}
- type: {{ .type | Quote }}
  status: {{ .status | Quote }}
  reason: {{ .reason | Quote }}
  message: {{ .message | Quote }}
  lastHeartbeatTime: {{ $now | Quote }}
  lastTransitionTime: {{ or $.metadata.creationTimestamp $now | Quote }}
{{ end }}
"""

_RUNNING = """\
  state:
    running: {startedAt: {{ $now | Quote }}}
"""

_FAILING = f"""\
  state:
    waiting: {{reason: CrashLoopBackOff, message: back-off restarting failed container}}
  lastState:
    terminated:
      exitCode: 1
      reason: Error
      message: {{{{ or (index $.metadata.annotations "{MESSAGE_ANNOTATION}") "" | Quote }}}}
      startedAt: {{{{ $now | Quote }}}}
      finishedAt: {{{{ $now | Quote }}}}
"""


def _pod(ready: str, container: str, state: str) -> str:
    """A pod's status: phase Running, an address, one status for each container."""
    return f"""\
{{{{ $now := Now }}}}
phase: Running
startTime: {{{{ or .status.startTime $now | Quote }}}}
hostIP: 127.0.0.1
{{{{ with or .status.podIPs (list) }}}}{{{{ else }}}}
{{{{ with PodIPsWith $.spec.nodeName false $.metadata.uid $.metadata.name $.metadata.namespace }}}}
podIP: {{{{ index . 0 | Quote }}}}
podIPs: [{{ip: {{{{ index . 0 | Quote }}}}}}]
{{{{ end }}}}
{{{{ end }}}}
conditions:
- {{type: Initialized, status: "True", lastTransitionTime: {{{{ $now | Quote }}}}}}
- {{type: ContainersReady, status: "{ready}", lastTransitionTime: {{{{ $now | Quote }}}}}}
- {{type: Ready, status: "{ready}", lastTransitionTime: {{{{ $now | Quote }}}}}}
containerStatuses:
{{{{ range .spec.containers }}}}
- name: {{{{ .name | Quote }}}}
  image: {{{{ .image | Quote }}}}
  {container}
{state}
{{{{ end }}}}
"""
