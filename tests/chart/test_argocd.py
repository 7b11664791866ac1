"""What Argo CD's health check makes of what the operator says, by the Lua that Argo CD itself is built with."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from speculator_operator import api
from speculator_operator.api import Reason
from speculator_operator.core import status
from speculator_operator.core.status import Facts
from speculator_operator.errors import OperatorError, Refused, Waiting
from tools.chart import ROOT
from tools.localcluster.binaries import binary

SCRIPT = (ROOT / "config" / "argocd" / "health.lua").read_text()
#: Argo CD gives a health check Lua's base library and tables, and no other.
HARNESS = """
string, math, io, coroutine, debug = nil
obj = {object}
local function health()
{script}
end
local answer = health()
print(answer.status)
print(answer.message)
"""
METADATA = {"name": "a", "namespace": "n", "uid": "u", "generation": 3}


def said(problem: OperatorError | None = None, *, progressing: str = "NewReplicaSetAvailable") -> dict[str, Any]:
    """The status of a resource whose Deployment, if it has no problem, has all of its pods or none."""
    live = {"observedGeneration": 1, "conditions": [{"type": "Progressing", "reason": progressing}]}
    there = dict.fromkeys(("replicas", "updatedReplicas", "availableReplicas"), 1)
    deployment = {
        "metadata": {"generation": 1},
        "spec": {"replicas": 1},
        "status": live | (there if progressing == "NewReplicaSetAvailable" else {}),
    }
    facts = Facts(
        current=False,
        resolved=None,
        revision=None,
        problem=problem,
        deployment=deployment,
        pods=(),
        acceptance=None,
    )
    resource = api.SpeculatorDeployment.from_object({"metadata": METADATA, "spec": {"model": {"uri": "org/draft"}}})
    return status.status(resource, facts, "2026-01-01T00:00:00Z", {})


REFUSED = Refused(Reason.MODEL_GATED, 'org/draft wants "terms" to be accepted')
WAITING = Waiting(Reason.HUB_UNAVAILABLE, "it is down", retry_after=1)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, ("Progressing", "The operator has not seen this generation yet")),
        ({"observedGeneration": -1}, ("Progressing", "The operator has not seen this generation yet")),
        ({"observedGeneration": 3}, ("Progressing", "Nothing is said of this generation yet")),
        (said(REFUSED) | {"observedGeneration": 2}, ("Progressing", "The operator has not seen this generation yet")),
        (
            said(WAITING),
            ("Progressing", "HubUnavailable: it is down"),
        ),
        (said(REFUSED), ("Degraded", 'ModelGated: org/draft wants "terms" to be accepted')),
        (said(progressing="ReplicaSetUpdated"), ("Progressing", "Progressing: 0 of 1 pod available, 0 of the current")),
        (said(progressing="ProgressDeadlineExceeded"), ("Degraded", "NotProven: New pods did not become ready")),
        (said(), ("Healthy", "Reconciled: 1 pod of the current revision available")),
    ],
    ids=[
        "nothing was ever said",
        "no operator has seen it",
        "seen, and nothing said",
        "it was stalled before the change",
        "waiting for the hub",
        "stalled",
        "rolling out",
        "pods that don't prove themselves",
        "done",
    ],
)
def test_argo_cd_shows(content: dict[str, Any] | None, expected: tuple[str, str]) -> None:
    found = {"metadata": METADATA, **({"status": content} if content else {})}
    health, message = checked(found)
    assert health == expected[0]
    assert message.startswith(expected[1])


def checked(found: dict[str, Any]) -> tuple[str, str]:
    done = subprocess.run(
        [str(binary("glua")), "-e", HARNESS.format(object=written(found), script=SCRIPT)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    health, message = done.stdout.splitlines()
    return health, message


def written(value: Any) -> str:
    """A value of JSON as Lua writes it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"[{json.dumps(key)}] = {written(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list):
        return "{" + ", ".join(written(part) for part in value) + "}"
    return json.dumps(value, ensure_ascii=False)
