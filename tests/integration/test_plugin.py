"""``kubectl speculator`` against a real API server: what users see, with the rights that ``--help`` asks for."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.eventually import eventually
from tests.support.world import DRAFT, World, files
from tools.localcluster.binaries import binary
from tools.localcluster.controlplane import ControlPlane

#: What a terminal is told by whoever has hidden its cursor, and leaves it as it was.
SHOW_CURSOR = "\x1b[?25h"

PROGRAMS = Path(sys.executable).parent


class Ended(NamedTuple):
    code: int
    out: str
    err: str


class Plugin:
    """Runs the program as a user does, in a namespace."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.kubeconfig = world.cluster.kubeconfig
        self.environment = {"HOME": str(world.log.parent), "PATH": f"{PROGRAMS}:{os.environ['PATH']}"}
        self.environment["HF_ENDPOINT"] = world.hub.url

    def __call__(self, *words: str, program: str = "kubectl-speculator", stdin: str | None = None) -> Ended:
        command = [str(PROGRAMS / program), *words, f"--namespace={self._world.namespace}"]
        if words[0] == "explain":
            command.pop()
        return self.run(command, stdin)

    def run(self, command: list[str], stdin: str | None = None) -> Ended:
        environment = self.environment | {"KUBECONFIG": str(self.kubeconfig)}
        done = subprocess.run(
            command, env=environment, input=stdin, capture_output=True, text=True, timeout=60, check=False
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def json(self, *words: str, stdin: str | None = None) -> Any:
        ended = self(*words, "-o", "json", stdin=stdin)
        assert ended.out, ended.err
        return json.loads(ended.out)


@pytest.fixture
def plugin(world: World) -> Plugin:
    return Plugin(world)


def test_what_serves_is_shown_and_verified(world: World, plugin: Plugin) -> None:
    with world.operator(acceptance_window=2):
        world.apply(replicas=2, parallelism={"tensor": 2})
        world.ready()
        eventually(lambda: world.get("spd")["status"]["acceptance"])
        found = eventually(lambda: told_of_events(plugin))

        assert [pod["proof"]["source"] for pod in found["pods"]] == ["engine", "engine"]
        assert all(pod["ready"] and pod["current"] and pod["proof"]["drafts"] > 0 for pod in found["pods"])
        assert found["replicas"] == {"wanted": 2, "current": 2, "ready": 2, "updated": 2}
        assert (found["recipe"]["method"], found["recipe"]["tokens"], found["engine"]["gpus"]) == ("eagle3", 3, 2)
        assert len(found["models"]["draft"]["revision"]) == 40
        assert found["findings"] == []
        assert found["acceptance"]["rate"] == "0.67"

        page = plugin("status", "a")
        assert page.code == 0
        assert page.out.startswith(f"{world.namespace}/a READY 2 of 2 pods ready http://a.{world.namespace}.svc:")
        assert "rate 0.67" in page.out
        assert "\x1b" not in page.out

        (row,) = plugin.json("top")["resources"]
        assert (row["ready"], row["speculation"], row["rate"], row["readyReplicas"], row["gpus"]) == (
            "True",
            "True",
            "0.67",
            2,
            4,
        )

        assert verified(plugin) == (0, True, [True, True])
        world.engines.drafts = 0
        assert verified(plugin) == (2, False, [False, False])
        world.engines.reachable = False
        assert verified(plugin) == (1, None, [None, None])

    typo = plugin("status", "aa")
    assert (typo.code, typo.out) == (2, "")
    assert typo.err.startswith("ResourceNotFound: ")
    assert "did you mean a?" in typo.err
    elsewhere = plugin.run([str(PROGRAMS / "kubectl-speculator"), "status", "a", "-n", "default"])
    assert f"there is one of that name in {world.namespace} (-n)" in elsewhere.err

    by_kubectl = plugin.run([str(binary("kubectl")), "speculator", "top", "-n", world.namespace])
    assert by_kubectl.code == 0, by_kubectl.err
    assert by_kubectl.out.startswith("NAME  READY")
    completed = plugin.run([str(PROGRAMS / "kubectl_complete-speculator"), "verify", "-n", world.namespace, ""])
    assert completed.out == "a\n:4\n"


def told_of_events(plugin: Plugin) -> Any:
    found = plugin.json("status", "a")
    assert "Reconciled" in [event["reason"] for event in found["events"]]
    return found


def verified(plugin: Plugin) -> tuple[int, bool | None, list[bool | None]]:
    ended = plugin("verify", "a", "-o", "json")
    assert ended.out, ended.err
    document = json.loads(ended.out)
    return ended.code, document["drafted"], [pod["drafted"] for pod in document["pods"]]


#: What each command needs, as its ``--help`` says: (API group, resources, verbs).
RIGHTS = {
    "status": [
        ("speculators.dev", "speculatordeployments", "get"),
        ("", "pods", "list"),
        ("events.k8s.io", "events", "list"),
        ("", "pods/exec", "get"),
        ("", "pods/exec", "create"),
    ],
    "top": [("speculators.dev", "speculatordeployments", "list")],
    "verify": [
        ("speculators.dev", "speculatordeployments", "get"),
        ("", "pods", "list"),
        ("", "pods/exec", "get"),
        ("", "pods/exec", "create"),
    ],
    "diff": [
        ("speculators.dev", "speculatordeployments", "get"),
        ("speculators.dev", "speculatordeployments", "patch"),
        ("apps", "controllerrevisions", "get"),
    ],
}


def test_each_command_needs_the_rights_that_it_says_and_names_the_one_that_is_missing(
    world: World, plugin: Plugin, tmp_path: Path
) -> None:
    with world.operator():
        world.apply()
        world.ready()
    file = tmp_path / "cr.json"
    file.write_text(json.dumps(written(world)))
    words = {"status": ["a"], "verify": ["a"], "diff": ["-f", str(file)], "top": []}
    plugin.kubeconfig = world.cluster.kubeconfig_for("nobody")

    for command, rights in RIGHTS.items():
        said = plugin(command, "--help").out
        for group, resource, verb in rights:
            assert verb in said, command
            assert resource in said, command
            assert group in said, command
        allow(world, rights[:-1])
        eventually(partial(refused, plugin, command, words[command]))
        allow(world, rights)
        eventually(partial(allowed, plugin, command, words[command]))


def refused(plugin: Plugin, command: str, words: list[str]) -> bool:
    """One right short, it says which; or, where it can do without, it does."""
    ended = plugin(command, *words, *(["-o", "json"] if command == "status" else []))
    group, resource, verb = RIGHTS[command][-1]
    if command == "status":
        assert ended.out, ended.err
        (pod,) = json.loads(ended.out)["pods"]
        assert (pod["proof"]["drafting"], pod["proof"]["source"]) == (True, "status")
        return "you need the right to create (and get) pods/exec" in pod["proof"]["why"]
    if command == "verify":
        return ended.code == 1 and "you need the right to create (and get) pods/exec" in ended.out
    if command == "diff":
        return ended.code == 0  # what is pinned is what status shows
    return ended.code == 1 and f"you need the right to {verb} {resource}.{group}" in ended.err


def allowed(plugin: Plugin, command: str, words: list[str]) -> None:
    ended = plugin(command, *words)
    assert ended.code == 0, ended
    assert "you need the right" not in ended.out + ended.err


def allow(world: World, rights: list[tuple[str, str, str]]) -> None:
    rules = [{"apiGroups": [group], "resources": [resource], "verbs": [verb]} for group, resource, verb in rights]
    name = {"name": "plugin", "namespace": world.namespace}
    kind = {"apiVersion": "rbac.authorization.k8s.io/v1"}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "plugin"}
    subject = {"kind": "User", "name": "nobody", "apiGroup": "rbac.authorization.k8s.io"}
    world.cluster.apply(
        {**kind, "kind": "Role", "metadata": name, "rules": rules},
        {**kind, "kind": "RoleBinding", "metadata": name, "roleRef": role, "subjects": [subject]},
    )


def written(world: World, **spec: Any) -> dict[str, Any]:
    """A resource as its file has it, with parts of its spec replaced."""
    found = world.get("spd")
    given = {key: value for key, value in (found["spec"] | spec).items() if value is not None}
    metadata = {"name": "a", "namespace": world.namespace}
    return {"apiVersion": found["apiVersion"], "kind": found["kind"], "metadata": metadata, "spec": given}


def test_a_diff_tells_what_then_happens(world: World, plugin: Plugin) -> None:
    def diff(document: dict[str, Any]) -> tuple[int, Any]:
        ended = plugin("diff", "-f", "-", "-o", "json", stdin=json.dumps(document))
        assert ended.out, ended.err
        (found,) = json.loads(ended.out)
        return ended.code, found

    with world.operator():
        world.apply(parallelism={"tensor": 2})
        world.ready()

        code, found = diff(written(world))
        assert (code, found["change"], found["pods"]["roll"], found["command"]) == (0, "none", False, [])

        code, found = diff(written(world, replicas=3))
        assert (code, found["replicas"], found["pods"]["roll"]) == (1, {"before": 1, "after": 3}, False)

        # kubectl applied it before, so what is taken out of the file goes.
        wanted = written(world, parallelism=None, engine={"port": world.engines.port, "args": ["--max-model-len=1024"]})
        code, found = diff(wanted)
        assert (code, found["pods"]["roll"]) == (1, True)
        assert [(it["path"], it["after"]) for it in found["fields"]] == [
            ("spec.engine.args", ["--max-model-len=1024"]),
            ("spec.parallelism", None),
        ]
        assert {"change": "+", "word": "--max-model-len=1024"} in found["command"]

        world.kubectl("apply", "-f", "-", stdin=json.dumps(wanted))
        world.ready()
        resolved = world.get("spd")["status"]["resolved"]
        assert resolved["revision"] == found["pods"]["revision"]["after"]
        assert "--max-model-len=1024" in resolved["command"]
        assert "--tensor-parallel-size=1" in resolved["command"]

    world.hub.commit("org/headless", files(DRAFT | {"transformer_layer_config": {"hidden_size": 32}}))
    code, found = diff(written(world, model={"uri": "org/headless"}))
    assert code == 2
    assert [finding["severity"] for finding in found["findings"]][:1] == ["Error"]

    code, found = diff(written(world, model={"uri": "pvc://models/a"}))
    assert (code, found["command"]) == (1, None)
    assert "pvc://models/a was not read" in found["unknown"]

    new = written(world) | {"metadata": {"name": "new"}}
    code, found = diff(new)
    assert (code, found["change"], found["replicas"]["before"]) == (1, "created", None)
    assert world.kubectl("get", "spd", "-o", "name") == "speculatordeployment.speculators.dev/a\n"

    refused = plugin("diff", "-f", "-", stdin=json.dumps(new | {"metadata": {"name": "new", "labels": {"x": "/"}}}))
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith("SpecInvalid: The API server refuses an object: ")
    assert "metadata.labels" in refused.err

    plugin.environment["HF_ENDPOINT"] = "http://127.0.0.1:9"
    assert diff(written(world, model={"uri": "org/verifier"}))[0] == 3


def test_on_a_terminal_the_table_goes_on_until_it_is_interrupted(world: World, plugin: Plugin) -> None:
    world.apply("first")
    ours, theirs = pty.openpty()
    environment = plugin.environment | {
        "KUBECONFIG": str(plugin.kubeconfig),
        "TERM": "xterm-256color",
        "COLUMNS": "120",
    }
    command = [str(PROGRAMS / "kubectl-speculator"), "top", "-n", world.namespace]
    running = subprocess.Popen(command, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    try:
        read_until(ours, "first")
        world.apply("second")
        read_until(ours, "second")
        running.send_signal(signal.SIGINT)
        said = read_until(ours, SHOW_CURSOR)
        assert running.wait(30) == 130
        assert "Traceback" not in said
    finally:
        running.kill()
        running.wait()
        os.close(ours)


def read_until(terminal: int, words: str) -> str:
    """What a terminal shows until it has shown certain words."""
    shown, end = "", time.monotonic() + 60
    while words not in shown:
        ready, _, _ = select.select([terminal], [], [], max(end - time.monotonic(), 0))
        assert ready, f"{words!r} was never shown, but {shown!r}"
        shown += os.read(terminal, 65536).decode(errors="replace")
    return shown


def of_no_file(_: ControlPlane) -> Path:
    return Path("/nowhere")


def of_a_server_that_is_down(cluster: ControlPlane) -> Path:
    return cluster.kubeconfig_for("nobody", server="https://127.0.0.1:9")


def of_a_token_that_is_none(cluster: ControlPlane) -> Path:
    content = json.loads(cluster.kubeconfig_for("nobody").read_text())
    content["users"][0]["user"]["token"] = "none"  # noqa: S105  # which is what it is about
    path = cluster.directory / "wrong.kubeconfig"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("kubeconfig", "words"),
    [
        (of_no_file, "No cluster to connect to: /nowhere: "),
        (of_a_server_that_is_down, "is the cluster up"),
        (of_a_token_that_is_none, "log in again"),
    ],
)
def test_a_cluster_that_can_not_be_asked_is_said_in_one_line_with_what_to_do(
    plugin: Plugin, world: World, kubeconfig: Callable[[ControlPlane], Path], words: str
) -> None:
    plugin.kubeconfig = kubeconfig(world.cluster)
    for command in (["top"], ["status", "a"], ["verify", "a"]):
        ended = plugin(*command)
        assert (ended.code, ended.out) == (1, "")
        assert words in ended.err
        assert ended.err.count("\n") == 1
