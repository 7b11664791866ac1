"""Plays the kubelet for our Jobs on simulated nodes: it runs what their pods would run, with what they would have.

The command, its variables and its mounts are the pod's, a Secret that isn't there keeps it from starting, and what it
says gets out as its termination message, cut as the kubelet cuts it. What it doesn't show is the container's
confinement, and the image: a real node shows those.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.reading import Reading
from tools.localcluster.controlplane import ControlPlane

#: Components of pods: those that read, and those that fetch.
RESOLVER = "resolver"
FETCHER = "fetcher"
POLL_SECONDS = 0.3
_ENDED = ("Succeeded", "Failed")
#: As the kubelet cuts a termination message.
MOST_BYTES = 4096


class Readers:
    """Between ``with`` and its end, one namespace's Jobs run. ``claims`` are folders that stand for claims' volumes.

    While ``broken`` is set, containers end with that text instead of running. ``ran`` counts them.
    """

    def __init__(
        self,
        cluster: ControlPlane,
        namespace: str,
        claims: Mapping[str, Path] | None = None,
        *,
        component: str = RESOLVER,
    ) -> None:
        self.broken = ""
        self.ran = 0
        self.seen: list[dict[str, Any]] = []
        """Every pod that there was, as the API server had it."""
        self._cluster = cluster
        self._reading = Reading(cluster)
        self._namespace = namespace
        self._claims = dict(claims or {})
        self._component = component
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._failure: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        if self._failure and error:
            error.add_note(f"The stand-in for the kubelet had ended: {self._failure!r}")
        elif self._failure:
            raise self._failure

    def _run(self) -> None:
        while not self._over.wait(POLL_SECONDS):
            try:
                for pod in self._reading.items(self._namespace, "pods"):
                    component = pod["metadata"].get("labels", {}).get("app.kubernetes.io/component")
                    scheduled = component == self._component and pod["spec"].get("nodeName")
                    if scheduled and (pod.get("status") or {}).get("phase") not in _ENDED:
                        self._start(pod)
            except Exception as failure:  # noqa: BLE001 - it is raised where the test ends
                self._failure = failure
                return

    def _start(self, pod: dict[str, Any]) -> None:
        (container,) = pod["spec"]["containers"]
        name = pod["metadata"]["name"]
        environment, missing = self._environment(container)
        if missing:
            waiting = {"reason": "CreateContainerConfigError", "message": missing}
            self._say(name, container, "Pending", {"waiting": waiting})
            return
        self.seen.append(pod)
        self.ran += 1
        code, message = (1, self.broken) if self.broken else self._output(pod, container, environment)
        cut = message.encode()[:MOST_BYTES].decode(errors="ignore")
        ended = {"exitCode": code, "message": cut, "reason": "Error" if code else "Completed"}
        self._say(name, container, "Failed" if code else "Succeeded", {"terminated": ended})

    def _output(self, pod: dict[str, Any], container: dict[str, Any], environment: dict[str, str]) -> tuple[int, str]:
        """How the container ends, and its termination message."""
        claims = {
            volume["name"]: self._claims[volume["persistentVolumeClaim"]["claimName"]]
            for volume in pod["spec"]["volumes"]
            if "persistentVolumeClaim" in volume
        }
        folders = {
            mount["mountPath"]: claims[mount["name"]] / mount.get("subPath", "")
            for mount in container["volumeMounts"]
            if mount["name"] in claims
        }
        args = [arg for arg in container["args"] if not arg.startswith("--report=")]
        for path, folder in folders.items():
            for option in ("--folder", "--into"):
                args = [arg.replace(f"{option}={path}", f"{option}={folder}") for arg in args]
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / "termination-log"
            done = subprocess.run(
                [sys.executable, "-m", "speculator_operator", *args, f"--report={file}"],
                env={"PATH": os.environ["PATH"], "HOME": scratch, **environment},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            if file.exists():
                return done.returncode, file.read_text()
            # As with FallbackToLogsOnError.
            return done.returncode, done.stderr[-2048:] if done.returncode else ""

    def _environment(self, container: dict[str, Any]) -> tuple[dict[str, str], str]:
        environment: dict[str, str] = {}
        for variable in container.get("env") or []:
            if "value" in variable:
                environment[variable["name"]] = variable["value"]
                continue
            wanted = variable["valueFrom"]["secretKeyRef"]
            data = self._secret(wanted["name"])
            if data is not None and wanted["key"] in data:
                environment[variable["name"]] = base64.b64decode(data[wanted["key"]]).decode()
            elif not wanted.get("optional"):
                lacking = f"couldn't find key {wanted['key']} in Secret {self._namespace}/{wanted['name']}"
                return {}, lacking if data is not None else f'secret "{wanted["name"]}" not found'
        return environment, ""

    def _secret(self, name: str) -> dict[str, str] | None:
        try:
            found: dict[str, str] = self._reading.get(self._namespace, "secrets", name).get("data", {})
        except LookupError:
            return None
        return found

    def _say(self, name: str, container: dict[str, Any], phase: str, state: dict[str, Any]) -> None:
        status = {
            "phase": phase,
            "containerStatuses": [
                {
                    **{key: container[key] for key in ("name", "image")},
                    "imageID": "",
                    "ready": False,
                    "restartCount": 0,
                    "state": state,
                }
            ],
        }
        patch = json.dumps({"status": status})
        # The pod may be gone already: its Job is deleted as soon as the report has been read.
        where = f"--namespace={self._namespace}"
        self._cluster.kubectl(
            where, "patch", "pod", name, "--subresource=status", "--type=merge", "-p", patch, check=False
        )
