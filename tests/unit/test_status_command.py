"""``status``: what was gathered -> one document, and what a person sees of it."""

from __future__ import annotations

from typing import Any

import pytest

from speculator_operator.api import Reason
from speculator_operator.commands import display, explain, status
from speculator_operator.commands.engines import Answer
from speculator_operator.core.acceptance import Counters
from tests.support.shown import COMMIT, NOW, RED, coloured, condition, event, on_terminal, plain, pod, resource

DRAFTED = Answer(Counters(9000, 27000, 16000), Counters(9000, 27000, 16000))
EVENTS = [
    event("2026-11-24T09:01:00Z", "Normal", "Resolved", "eagle3 with 3 tokens"),
    event("2026-11-24T11:58:30Z", "Warning", "MemoryTight", "little room"),
]
WARNING = {
    "severity": "Warning",
    "reason": "MemoryTight",
    "field": "spec.parallelism.tensor",
    "evidence": "4 GiB are left",
    "remedy": "set spec.parallelism.tensor to 8",
}
CRASHING = {
    "restartCount": 3,
    "state": {"waiting": {"reason": "CrashLoopBackOff"}},
    "lastState": {"terminated": {"exitCode": 1, "message": "The engine serves, but has not drafted"}},
}


def serving() -> dict[str, Any]:
    pods = [pod("a-1"), pod("a-2")]
    return status.document(resource(), pods, {"a-1": DRAFTED, "a-2": DRAFTED}, EVENTS, NOW)


def stalled() -> dict[str, Any]:
    body = resource(
        conditions=[
            condition("Ready", "False", "NotProven", "no pod proved itself"),
            condition("Stalled", "True", "NotProven", "no pod proved itself"),
            condition("SpeculationActive", "True", "Drafting", "every ready pod drafts"),
        ]
    )
    body["metadata"]["generation"] = 4
    del body["status"]["acceptance"]
    body["status"]["resolved"]["warnings"] = [WARNING]
    pods = [pod("a-1", revision="bbbbbbbbbb"), pod("a-2", ready=False, container=CRASHING)]
    return status.document(body, pods, {}, None, NOW)


def test_what_serves_is_told_on_one_page() -> None:
    assert (
        plain(serving(), display.status)
        == f"""\
default/llama3-8b READY 2 of 2 pods ready http://llama3-8b.default.svc:8000
├── Ready              True   3h  Reconciled: 2 pods of the current revision available
│   Stalled            False  3h  Reconciled
│   Reconciling        False  3h  Reconciled
│   Resolved           True   3h  Resolved: eagle3 with 3 tokens
│   Available          True   3h  Serving: 2 pods ready
│   SpeculationActive  True   3h  Drafting: The engine of every ready pod (2) has verified drafts
├── Recipe eagle3, 3 tokens a step, verification Required
│   └── method  eagle3  the checkpoint's recipe
│       tensor  4       spec.parallelism.tensor
├── Models
│   └── verifier  meta-llama/Llama-3.1-8B-Instruct  @ {COMMIT}
│       draft     org/draft                         @ {COMMIT[::-1]}
├── Engine vLLM 0.32.0, tensor 4 x pipeline 1 = 4 GPUs a pod
│   └── image   vllm/vllm-openai:v0.32.0
│       memory  not known
├── Pods
│   └── NAME  PHASE    READY  RESTARTS  NODE   AGE  REVISION  PROOF
│       a-1   Running  yes    0         gpu-1  3h   current   9,000 drafts verified
│       a-2   Running  yes    0         gpu-1  3h   current   9,000 drafts verified
├── Acceptance length 2.80, rate 0.60 (12,345 drafts of 2 pods in 300 s)
│   └── position 0  0.85
│       position 1  0.60
│       position 2  0.15
└── Events
    └── 90s  Warning  MemoryTight  SpeculatorDeployment/llama3-8b  little room
        2h   Normal   Resolved     SpeculatorDeployment/llama3-8b  eagle3 with 3 tokens"""
    )


def test_on_a_terminal_positions_are_bars() -> None:
    shown = on_terminal(serving(), display.status)
    assert "position 0  0.85  █████████████▋\n" in shown
    assert "position 2  0.15  ██▍\n" in shown


def test_what_is_wrong_comes_before_what_is_merely_so_and_says_what_to_do() -> None:
    remedy = explain.remedy(Reason.NOT_PROVEN)
    assert remedy
    assert plain(stalled(), display.status).startswith(f"""\
default/llama3-8b STALLED 2 of 2 pods ready http://llama3-8b.default.svc:8000 \
(the operator has not seen the newest change yet)
├── Ready              False    3h  NotProven
│   Stalled            True     3h  NotProven
│   Reconciling        Unknown  -   nothing said yet
│   Resolved           Unknown  -   nothing said yet
│   Available          Unknown  -   nothing said yet
│   SpeculationActive  True     3h  Drafting: every ready pod drafts
├── Findings
│   ├── Error NotProven
│   │     no pod proved itself
│   │     -> {remedy}
│   └── Warning MemoryTight spec.parallelism.tensor
│         4 GiB are left
│         -> set spec.parallelism.tensor to 8
├── Recipe""")
    assert plain(stalled(), display.status).endswith("""\
├── Pods
│   ├── NAME  PHASE             READY  RESTARTS  NODE   AGE  REVISION            PROOF
│   │   a-1   Running           yes    0         gpu-1  3h   older (bbbbbbbbbb)  drafting, status says
│   │   a-2   CrashLoopBackOff  no     3         gpu-1  3h   current             not ready
│   └── a-2: the container ended with code 1: The engine serves, but has not drafted
├── Acceptance nothing was drafted of late, but for canaries
└── Events: you may not list events.events.k8s.io here""")


def test_a_resource_that_nobody_has_looked_at_is_shown_too() -> None:
    body = {key: value for key, value in resource().items() if key != "status"}
    shown = plain(status.document(body, [], {}, [], NOW), display.status)
    assert shown.startswith("default/llama3-8b NOT READY 0 of 2 pods ready (the operator has not seen the newest")
    assert "Pods: none" in shown
    assert "Events: none of late" in shown


def test_a_rate_of_few_drafts_is_not_judged() -> None:
    body = resource()
    body["status"]["acceptance"] |= {"drafts": 15, "rate": "0.00", "length": "1.00", "ratePerPosition": ["0.00"]}
    document = status.document(body, [], {}, [], NOW)
    shown = plain(document, display.status)
    assert "length 1.00, rate 0.00 (15 drafts of 2 pods in 300 s: too few to judge)" in shown
    assert RED not in coloured(document, display.status)
    body["status"]["acceptance"]["drafts"] = display.FEW_DRAFTS
    assert RED in coloured(status.document(body, [], {}, [], NOW), display.status)


def test_a_regular_model_has_no_acceptance_and_is_not_blamed_for_it() -> None:
    body = resource(conditions=[condition("SpeculationActive", "False", "RegularModel", "no recipe")])
    body["status"]["resolved"] |= {"off": "RegularModel", "method": None}
    document = status.document(body, [], {}, [], NOW)
    shown = plain(document, display.status)
    assert "Recipe none: RegularModel" in shown
    assert "Acceptance" not in shown
    assert document["findings"] == []


@pytest.mark.parametrize(
    ("case", "answer", "active", "proof"),
    [
        ("its engine says so", DRAFTED, "True", (True, "engine", 9000)),
        (
            "its engine has drafted nothing, whatever status says",
            Answer(Counters(), Counters()),
            "True",
            (False, "engine", 0),
        ),
        ("its engine has no speculative config", Answer(), "True", (False, "engine", 0)),
        ("it can't be asked, and status says that all draft", Answer(reached=False), "True", (True, "status", None)),
        ("it wasn't asked, and status says that all draft", None, "True", (True, "status", None)),
        ("it can't be asked, and status doesn't know", Answer(reached=False), "Unknown", (None, None, None)),
        ("it wasn't asked, and status says that one doesn't", None, "False", (None, None, None)),
    ],
)
def test_whether_a_pod_drafts(case: str, answer: Answer | None, active: str, proof: tuple[Any, ...]) -> None:
    body = resource(conditions=[condition("SpeculationActive", active, "NotDrafting", "")])
    document = status.document(body, [pod("a-1")], {"a-1": answer} if answer else {}, [], NOW)
    (shown,) = document["pods"]
    assert tuple(shown["proof"][key] for key in ("drafting", "source", "drafts")) == proof, case


@pytest.mark.parametrize(
    ("case", "conditions", "findings"),
    [
        ("a rollout under way", [("Reconciling", "True", "Progressing")], []),
        ("a hub that is down", [("Reconciling", "True", "HubUnavailable")], [("Warning", "HubUnavailable")]),
        ("no metrics", [("SpeculationActive", "Unknown", "MetricsUnreachable")], [("Warning", "MetricsUnreachable")]),
        ("a pod that doesn't draft", [("SpeculationActive", "False", "NotDrafting")], [("Error", "NotDrafting")]),
        ("no pod yet", [("SpeculationActive", "Unknown", "NoReadyPods")], []),
        ("a reason of another release", [("Stalled", "True", "Unheard")], [("Error", "Unheard")]),
    ],
)
def test_which_conditions_are_findings(
    case: str, conditions: list[tuple[str, str, str]], findings: list[tuple[str, str]]
) -> None:
    body = resource(conditions=[condition(*it, "words") for it in conditions])
    found = status.document(body, [], {}, [], NOW)["findings"]
    assert [(it["severity"], it["reason"]) for it in found] == findings, case


def test_words_from_outside_move_no_terminal_and_are_no_markup() -> None:
    body = resource(conditions=[condition("Ready", "False", "NotProven", "\x1b[2J[bold]x[/bold]\nnext")])
    assert "?[2J[bold]x[/bold] next" in plain(status.document(body, [], {}, [], NOW), display.status)


def test_a_trouble_that_many_pods_have_is_told_once() -> None:
    silent = Answer(problem="not allowed", reached=False)
    document = status.document(resource(), [pod("a-1"), pod("a-2")], {"a-1": silent, "a-2": silent}, [], NOW)
    assert plain(document, display.status).count("not allowed") == 1
    assert "└── a-1, a-2: not allowed" in plain(document, display.status)


def test_only_the_last_events_are_told() -> None:
    events = [event(f"2026-11-24T11:{minute:02}:00Z", "Normal", "Resolved", str(minute)) for minute in range(20)]
    document = status.document(resource(), [], {}, events[::-1], NOW)
    assert [it["note"] for it in document["events"]] == [str(minute) for minute in range(12, 20)]


@pytest.mark.parametrize(
    ("then", "age"),
    [
        ("2026-11-24T11:59:15Z", "45s"),
        ("2026-11-24T11:58:00Z", "2m"),
        ("2026-11-23T12:00:00Z", "24h"),
        ("2026-11-21T12:00:00Z", "3d"),
        ("2026-11-24T12:00:09Z", "0s"),
        ("2026-11-24T11:00:00.123456Z", "59m"),
        ("yesterday", "-"),
        (None, "-"),
    ],
)
def test_an_age_is_told_as_kubectl_does(then: str | None, age: str) -> None:
    assert display.age(then, NOW) == age
