"""What the operator says of a resource: tables of (facts, conditions)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from speculator_operator import api
from speculator_operator.api import Finding, Identity, Reason, Resolved, Severity, Verification
from speculator_operator.core import status
from speculator_operator.core.status import Facts, Pod
from speculator_operator.errors import Refused, Waiting

NOW = "2026-01-01T00:00:00Z"
LATER = "2026-01-01T00:01:00Z"

RESOLVED = Resolved(
    model=Identity(uri="org/draft", revision="d" * 40),
    draft=Identity(uri="org/draft", revision="d" * 40),
    verifier=Identity(uri="org/verifier", revision="e" * 40),
    method="eagle3",
    num_speculative_tokens=3,
    speculative_config={"method": "eagle3", "model": "org/draft", "num_speculative_tokens": 3, "revision": "d" * 40},
    off=None,
    verification=Verification.REQUIRED,
    served_name="a",
    tensor=2,
    pipeline=1,
    port=8000,
    image="vllm/vllm-openai:v0.32.0",
    engine_version="0.32.0",
    command=["vllm", "serve", "org/verifier", "--port=8000"],
    sources=[],
)
UNVERIFIED = RESOLVED.model_copy(update={"verification": Verification.OFF})
PLAIN = RESOLVED.model_copy(update={"off": Reason.REGULAR_MODEL, "draft": None, "method": None})


def resource(**spec: Any) -> api.SpeculatorDeployment:
    return api.SpeculatorDeployment.from_object(
        {
            "metadata": {"name": "a", "namespace": "n", "uid": "u", "generation": 3},
            "spec": {"model": {"uri": "org/draft"}, "replicas": 2, **spec},
        }
    )


def deployment(
    available: int, updated: int = 2, replicas: int = 2, wanted: int = 2, **condition: str
) -> dict[str, Any]:
    return {
        "metadata": {"generation": 5},
        "spec": {"replicas": wanted},
        "status": {
            "observedGeneration": 5,
            "replicas": replicas,
            "readyReplicas": available,
            "availableReplicas": available,
            "updatedReplicas": updated,
            "conditions": [condition] if condition else [],
        },
    }


def _scaling() -> dict[str, Any]:
    return deployment(1, 2, 2, type="Progressing", status="True", reason="NewReplicaSetAvailable")


def _unobserved() -> dict[str, Any]:
    """A Deployment whose last generation's time was up, and whose new one hasn't been looked at yet."""
    made = deployment(1, 1, 3, type="Progressing", status="False", reason="ProgressDeadlineExceeded")
    made["status"]["observedGeneration"] = 4
    return made


def pod(name: str, drafts: int | None = 5, *, ready: bool = True, trouble: str = "", speculates: bool = True) -> Pod:
    return Pod(name, f"uid-{name}", "10.0.0.1", 8000, "r1", speculates, ready, trouble, drafts)


def plain(name: str) -> Pod:
    return pod(name, 0, speculates=False)


def waits(trouble: str) -> Pod:
    return pod("p2", None, ready=False, trouble=trouble)


ABSENT = 'CreateContainerConfigError: secret "nope" not found'
KEYLESS = "CreateContainerConfigError: couldn't find key token in Secret n/hub"
CONVERGED = Facts(
    current=True,
    resolved=RESOLVED,
    revision="a-r1",
    problem=None,
    deployment=deployment(2),
    pods=(pod("p1"), pod("p2")),
    acceptance=None,
)
FETCHING = Waiting(Reason.FETCHING, "0 of 2 models are on the claim", retry_after=10)
REFUSED = Refused(Reason.MODEL_NOT_FOUND, "org/draft isn't there")
NOTHING = Facts(False, None, None, None, None, (), None)  # noqa: FBT003 - no facts at all


def said(facts: Facts, **spec: Any) -> dict[str, tuple[str, str]]:
    content = status.status(resource(**spec), facts, NOW, {})
    return {condition["type"]: (condition["status"], condition["reason"]) for condition in content["conditions"]}


@pytest.mark.parametrize(
    ("case", "facts", "expected"),
    [
        (
            "everything is rolled out and drafts",
            CONVERGED,
            {
                "Ready": ("True", "Reconciled"),
                "Reconciling": ("False", "Reconciled"),
                "Stalled": ("False", "Reconciled"),
                "Resolved": ("True", "Resolved"),
                "Available": ("True", "Serving"),
                "SpeculationActive": ("True", "Drafting"),
            },
        ),
        (
            "the first pass has not resolved anything yet",
            NOTHING,
            {
                "Ready": ("False", "Progressing"),
                "Reconciling": ("True", "Progressing"),
                "Stalled": ("False", "Progressing"),
                "Resolved": ("Unknown", "Resolving"),
                "Available": ("False", "NoReadyPods"),
                "SpeculationActive": ("Unknown", "NoReadyPods"),
            },
        ),
        (
            "a broken recipe over working pods",
            replace(CONVERGED, current=False, problem=REFUSED),
            {
                "Ready": ("False", "ModelNotFound"),
                "Reconciling": ("False", "ModelNotFound"),
                "Stalled": ("True", "ModelNotFound"),
                "Resolved": ("False", "ModelNotFound"),
                "Available": ("True", "Serving"),
                "SpeculationActive": ("True", "Drafting"),
            },
        ),
        (
            "the first weights are fetched",
            replace(NOTHING, current=True, resolved=RESOLVED, pinned=RESOLVED, problem=FETCHING),
            {
                "Ready": ("False", "Fetching"),
                "Reconciling": ("True", "Fetching"),
                "Stalled": ("False", "Fetching"),
                "Resolved": ("True", "Resolved"),
                "Available": ("False", "NoReadyPods"),
                "SpeculationActive": ("Unknown", "NoReadyPods"),
            },
        ),
        (
            "other weights are fetched over working pods",
            replace(CONVERGED, current=False, pinned=PLAIN, problem=FETCHING),
            {
                "Ready": ("False", "Fetching"),
                "Reconciling": ("True", "Fetching"),
                "Stalled": ("False", "Fetching"),
                "Resolved": ("True", "Resolved"),
                "Available": ("True", "Serving"),
                "SpeculationActive": ("True", "Drafting"),
            },
        ),
        (
            "weights that don't fit onto the claim",
            replace(CONVERGED, current=False, pinned=RESOLVED, problem=Refused(Reason.VOLUME_UNUSABLE, "full")),
            {"Stalled": ("True", "VolumeUnusable"), "Resolved": ("True", "Resolved"), "Available": ("True", "Serving")},
        ),
        (
            "the hub is down at the first look",
            replace(NOTHING, problem=Waiting(Reason.HUB_UNAVAILABLE, "no answer", retry_after=30)),
            {
                "Ready": ("False", "HubUnavailable"),
                "Reconciling": ("True", "HubUnavailable"),
                "Stalled": ("False", "HubUnavailable"),
                "Resolved": ("Unknown", "Resolving"),
            },
        ),
        (
            "an object is refused after the inputs were pinned",
            replace(CONVERGED, problem=Refused(Reason.CHILD_REFUSED, "over quota")),
            {"Stalled": ("True", "ChildRefused"), "Resolved": ("True", "Resolved"), "Ready": ("False", "ChildRefused")},
        ),
        (
            "pods did not prove themselves in time",
            replace(
                CONVERGED,
                deployment=deployment(1, 1, 3, type="Progressing", status="False", reason="ProgressDeadlineExceeded"),
                pods=(
                    pod("old"),
                    pod("new", ready=False, trouble="the container ended with code 1"),
                ),
            ),
            {"Stalled": ("True", "NotProven"), "Ready": ("False", "NotProven"), "Available": ("True", "Serving")},
        ),
        (
            "a rollout is under way",
            replace(CONVERGED, deployment=deployment(1, 1, 3)),
            {"Ready": ("False", "Progressing"), "Reconciling": ("True", "Progressing")},
        ),
        (
            "more replicas of the same revision are coming",
            replace(
                CONVERGED,
                deployment=deployment(1, 2, 2, type="Progressing", status="True", reason="NewReplicaSetAvailable"),
            ),
            {"Ready": ("False", "Scaling"), "Reconciling": ("True", "Scaling")},
        ),
        (
            "one ready pod has drafted nothing",
            replace(CONVERGED, pods=(pod("p1"), pod("p2", 0))),
            {"SpeculationActive": ("False", "NotDrafting"), "Ready": ("True", "Reconciled")},
        ),
        (
            "a pod that is idle, and that nobody wants to know of",
            replace(CONVERGED, resolved=UNVERIFIED, pods=(pod("p1"), pod("p2", 0))),
            {"SpeculationActive": ("Unknown", "Unverified"), "Ready": ("True", "Reconciled")},
        ),
        (
            "pods that nobody wants to know of, and that draft",
            replace(CONVERGED, resolved=UNVERIFIED),
            {"SpeculationActive": ("True", "Drafting")},
        ),
        (
            "one ready pod's metrics can't be read",
            replace(CONVERGED, pods=(pod("p1"), pod("p2", None))),
            {"SpeculationActive": ("Unknown", "MetricsUnreachable")},
        ),
        (
            "a pod that isn't ready says nothing of speculation",
            replace(CONVERGED, pods=(pod("p1"), pod("p2", 0, ready=False))),
            {"SpeculationActive": ("True", "Drafting")},
        ),
        (
            "a regular model",
            replace(CONVERGED, resolved=PLAIN, pods=(plain("p1"), plain("p2"))),
            {"SpeculationActive": ("False", "RegularModel"), "Ready": ("True", "Reconciled")},
        ),
        (
            "speculation is being switched off, and a pod still drafts",
            replace(CONVERGED, resolved=PLAIN, pods=(pod("old"), plain("new"))),
            {"SpeculationActive": ("False", "RegularModel")},
        ),
        (
            "speculation was switched off, and no new pod is ready yet",
            replace(CONVERGED, resolved=PLAIN, pods=(pod("old"),)),
            {"SpeculationActive": ("True", "Drafting")},
        ),
        (
            "speculation is being switched on, and an old pod runs without",
            replace(CONVERGED, pods=(pod("new"), plain("old"))),
            {"SpeculationActive": ("False", "NotDrafting")},
        ),
        (
            "the deadline that passed was the last generation's",
            replace(CONVERGED, deployment=_unobserved()),
            {"Stalled": ("False", "Progressing"), "Ready": ("False", "Progressing")},
        ),
        (
            "a pod of the current revision waits for a Secret that isn't there",
            replace(CONVERGED, deployment=deployment(1), pods=(pod("p1"), waits(ABSENT))),
            {
                "Ready": ("False", "SecretUnusable"),
                "Reconciling": ("False", "SecretUnusable"),
                "Stalled": ("True", "SecretUnusable"),
                "Resolved": ("True", "Resolved"),
                "Available": ("True", "Serving"),
            },
        ),
        (
            "it waits for a key that its Secret lacks",
            replace(CONVERGED, deployment=deployment(1), pods=(waits(KEYLESS),)),
            {"Stalled": ("True", "SecretUnusable")},
        ),
        (
            "it waits for its Secret, and its time is up",
            replace(
                CONVERGED,
                deployment=deployment(1, 1, 3, type="Progressing", status="False", reason="ProgressDeadlineExceeded"),
                pods=(waits(ABSENT),),
            ),
            {"Stalled": ("True", "SecretUnusable")},
        ),
        (
            "a pod of an older revision waits for its Secret",
            replace(CONVERGED, deployment=deployment(1), pods=(replace(waits(ABSENT), revision="r0"),)),
            {"Stalled": ("False", "Progressing")},
        ),
        (
            "its container is refused for another reason",
            replace(
                CONVERGED,
                deployment=deployment(1),
                pods=(waits("CreateContainerConfigError: container has runAsNonRoot and image will run as root"),),
            ),
            {"Stalled": ("False", "Progressing")},
        ),
        (
            "its Secret could not be looked up in time",
            replace(
                CONVERGED,
                deployment=deployment(1),
                pods=(waits("CreateContainerConfigError: failed to sync secret cache: timed out"),),
            ),
            {"Stalled": ("False", "Progressing")},
        ),
        (
            "a regular model before its pods are there",
            replace(CONVERGED, resolved=PLAIN, pods=(), deployment=deployment(0, 0, 0)),
            {"SpeculationActive": ("False", "RegularModel"), "Available": ("False", "NoReadyPods")},
        ),
    ],
)
def test_conditions_say(case: str, facts: Facts, expected: dict[str, tuple[str, str]]) -> None:
    conditions = said(facts)
    assert set(conditions) == set(api.ConditionType), case
    assert {type_: conditions[type_] for type_ in expected} == expected, case


@pytest.mark.parametrize(
    ("case", "change", "words"),
    [
        ("somebody paused it", {"spec": {"replicas": 2, "paused": True}}, "paused; resume it with kubectl rollout"),
        (
            "the namespace's quota is used up",
            {
                "status": {
                    "observedGeneration": 5,
                    "conditions": [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}],
                }
            },
            "exceeded quota",
        ),
    ],
)
def test_a_rollout_that_does_not_move_says_why(case: str, change: dict[str, Any], words: str) -> None:
    facts = replace(CONVERGED, deployment=deployment(0, 0, 0) | change)
    content = status.status(resource(), facts, NOW, {})
    assert words in content["conditions"][0]["message"], case


def test_a_pod_that_waits_for_its_secret_says_which_and_what_to_do() -> None:
    facts = replace(CONVERGED, deployment=deployment(1), pods=(pod("p1"), waits(ABSENT)))
    content = status.status(resource(), facts, NOW, {})
    assert content["conditions"][0]["message"] == (
        f"Pod p2 can't have its Secret ({ABSENT}). Make it, or correct its name or key. The pod starts by itself then"
    )
    mended = status.status(resource(), CONVERGED, NOW, content)
    assert [event.reason for event in status.events({}, content)] == ["SecretUnusable", "Resolved", "Drafting"]
    assert mended["conditions"][0]["status"] == "True"


def test_suspended_is_ready_with_no_pods() -> None:
    facts = replace(CONVERGED, deployment=deployment(0, 0, 0, wanted=0), pods=())
    assert said(facts, suspend=True)["Ready"] == ("True", "Suspended")


def test_the_last_words_of_a_pod_reach_a_person() -> None:
    manifest = {
        "metadata": {"name": "p", "uid": "u", "labels": {api.REVISION_LABEL: "r2"}},
        "status": {
            "conditions": [{"type": "Ready", "status": "False"}],
            "containerStatuses": [
                {
                    "name": "main",
                    "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                    "lastState": {"terminated": {"exitCode": 1, "message": "it has not drafted"}},
                }
            ],
        },
    }
    seen = status.pod(manifest)
    assert (seen.ready, seen.trouble) == (False, "the container ended with code 1: it has not drafted")
    facts = replace(CONVERGED, revision="a-r2", deployment=deployment(1, 1, 3), pods=(pod("old"), seen))
    content = status.status(resource(), facts, NOW, {})
    assert "Pod p: the container ended with code 1: it has not drafted" in content["conditions"][0]["message"]


@pytest.mark.parametrize(
    ("case", "podstatus", "trouble"),
    [
        ("no node takes it", {"conditions": [
            {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}]},
         "0/3 nodes are available"),
        ("its image can't be pulled", {"containerStatuses": [
            {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "gone"}}}]}, "ImagePullBackOff: gone"),
        ("it is being made", {"containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]}, ""),
        ("it loads", {"containerStatuses": [{"state": {"running": {}}}]}, ""),
    ],
)  # fmt: skip
def test_a_pod_that_is_not_ready_says_why(case: str, podstatus: dict[str, Any], trouble: str) -> None:
    assert status.pod({"metadata": {"name": "p", "uid": "u"}, "status": podstatus}).trouble == trouble, case


def test_last_words_are_told_without_secrets() -> None:
    ended = {"state": {"terminated": {"exitCode": 1, "message": "token hf_abcdefghijklmnop is invalid"}}}
    manifest = {"metadata": {"name": "p", "uid": "u"}, "status": {"containerStatuses": [ended]}}
    assert status.pod(manifest).trouble == "the container ended with code 1: token hf_... is invalid"


def test_a_pod_is_asked_at_its_own_port() -> None:
    ports = [{"name": "metrics", "containerPort": 9090}, {"name": "http", "containerPort": 8123}]
    manifest = {"metadata": {"name": "p", "uid": "u"}, "spec": {"containers": [{"name": "sidecar"}, {"ports": ports}]}}
    assert status.pod(manifest).port == 8123


def test_transition_times_move_with_the_status_of_a_condition_only() -> None:
    first = status.status(resource(), replace(CONVERGED, deployment=deployment(0, 0, 0), pods=()), NOW, {})
    second = status.status(resource(), replace(CONVERGED, deployment=deployment(1, 1, 1), pods=()), LATER, first)
    third = status.status(resource(), CONVERGED, LATER, second)
    ready = [next(c for c in content["conditions"] if c["type"] == "Ready") for content in (first, second, third)]
    assert [condition["lastTransitionTime"] for condition in ready] == [NOW, NOW, LATER]
    assert ready[0]["message"] != ready[1]["message"]


def test_the_same_facts_give_the_same_status() -> None:
    first = status.status(resource(), CONVERGED, NOW, {})
    assert status.status(resource(), CONVERGED, LATER, first) == first


def test_events_tell_turns_and_not_steps() -> None:
    start = status.status(resource(), NOTHING, NOW, {})
    pinned = status.status(resource(), replace(CONVERGED, deployment=deployment(0, 0, 0), pods=()), NOW, start)
    ready = status.status(resource(), CONVERGED, NOW, pinned)
    broken = status.status(resource(), replace(CONVERGED, current=False, problem=REFUSED), NOW, ready)
    idle = status.status(resource(), replace(CONVERGED, pods=(pod("p", 0),)), NOW, ready)

    def told(before: dict[str, Any], after: dict[str, Any]) -> list[tuple[str, str]]:
        return [(event.type, event.reason) for event in status.events(before, after)]

    scaling = status.status(resource(), replace(CONVERGED, deployment=_scaling()), NOW, ready)

    assert told({}, start) == []
    assert told(ready, scaling) == []
    assert told(scaling, ready) == []
    assert told(start, pinned) == [("Normal", "Resolved")]
    assert told(pinned, ready) == [("Normal", "Reconciled"), ("Normal", "Drafting")]
    assert told(ready, ready) == []
    assert told(ready, broken) == [("Warning", "ModelNotFound")]
    assert told(ready, idle) == [("Warning", "NotDrafting")]


def test_what_serves_and_can_t_be_changed_meanwhile_is_told_of_beside_the_problem() -> None:
    full = Refused(Reason.CHILD_REFUSED, "the quota is used up")
    long = Refused(Reason.CONFIG_MALFORMED, f"It is {'very ' * 500}odd.")
    for problem, type_ in ((FETCHING, "Reconciling"), (REFUSED, "Stalled"), (long, "Stalled")):
        facts = replace(CONVERGED, current=False, problem=problem, hindrance=full)
        conditions = {it["type"]: it for it in status.status(resource(), facts, NOW, {})["conditions"]}
        assert (conditions[type_]["status"], conditions[type_]["reason"]) == ("True", problem.reason)
        assert problem.message[:500] in conditions[type_]["message"]
        assert "the quota is used up" in conditions[type_]["message"]
        assert ".." not in conditions[type_]["message"]


def test_a_status_that_may_not_hold_says_so_and_keeps_what_was_resolved() -> None:
    ready = status.status(resource(), CONVERGED, NOW, {})
    failing = status.failing(4, "HTTP 500: a webhook doesn't answer", LATER, ready)
    conditions = {it["type"]: it for it in failing["conditions"]}
    assert {type_: it["status"] for type_, it in conditions.items()} == {
        "Ready": "False",
        "Reconciling": "True",
        "Stalled": "False",
        "Resolved": "True",
        "Available": "Unknown",
        "SpeculationActive": "Unknown",
    }
    assert "a webhook doesn't answer" in conditions["Ready"]["message"]
    assert (conditions["Ready"]["observedGeneration"], failing["observedGeneration"]) == (4, 4)
    assert (conditions["Ready"]["lastTransitionTime"], conditions["Stalled"]["lastTransitionTime"]) == (LATER, NOW)
    assert failing["resolved"] == ready["resolved"]
    assert status.failing(4, "HTTP 500: a webhook doesn't answer", LATER, failing) == failing
    assert [(event.type, event.reason) for event in status.events(ready, failing)] == [("Warning", "ReconcileFailed")]
    assert list(status.events(failing, failing)) == []


def test_what_fails_from_the_first_pass_on_has_every_condition() -> None:
    failing = status.failing(1, "HTTP 500", NOW, {"observedGeneration": -1})
    assert {it["type"] for it in failing["conditions"]} == set(api.ConditionType)
    assert {it["reason"] for it in failing["conditions"]} == {"ReconcileFailed"}
    assert failing["observedGeneration"] == 1


def test_what_served_no_more_still_doesn_t_while_passes_fail() -> None:
    gone = status.status(resource(), replace(CONVERGED, pods=(), deployment=deployment(0)), NOW, {})
    conditions = {it["type"]: it for it in status.failing(3, "HTTP 500", LATER, gone)["conditions"]}
    assert (conditions["Available"]["status"], conditions["Available"]["reason"]) == ("False", "NoReadyPods")


def warned(revision: str, *reasons: Reason) -> dict[str, Any]:
    """The status of a resource whose revision was resolved with these warnings."""
    warnings = [
        Finding(severity=Severity.WARNING, reason=reason, evidence="it may be slow", remedy="change it", field="spec.x")
        for reason in reasons
    ]
    resolved = RESOLVED.model_copy(update={"warnings": warnings})
    return status.status(resource(), replace(CONVERGED, resolved=resolved, revision=revision), NOW, {})


SLOW, LONG = Reason.HEADS_NOT_DIVISIBLE, Reason.CONTEXT_TOO_LONG


@pytest.mark.parametrize(
    ("case", "before", "after", "told"),
    [
        ("nothing is amiss", warned("a-r1"), warned("a-r1"), []),
        ("the first look finds two things", {}, warned("a-r1", SLOW, LONG), [SLOW, LONG]),
        ("a later look finds the same", warned("a-r1", SLOW), warned("a-r1", SLOW), []),
        ("a later look finds more", warned("a-r1", SLOW), warned("a-r1", SLOW, LONG), [LONG]),
        ("a later look finds less", warned("a-r1", SLOW, LONG), warned("a-r1", LONG), []),
        ("another revision has the same", warned("a-r1", SLOW), warned("a-r2", SLOW), [SLOW]),
        ("a release that knew no warnings wrote the status", warned("a-r1"), warned("a-r1", SLOW), [SLOW]),
    ],
)
def test_a_warning_is_told_once_for_a_revision(
    case: str, before: dict[str, Any], after: dict[str, Any], told: list[Reason]
) -> None:
    events = [event for event in status.events(before, after) if event.type == "Warning"]
    assert [event.reason for event in events] == told, case
    assert {event.note for event in events} <= {"spec.x: it may be slow; change it"}, case


def test_the_number_of_warnings_is_said() -> None:
    resolved = {
        number: next(
            condition["message"]
            for condition in warned("a-r1", *[SLOW] * number)["conditions"]
            if condition["type"] == "Resolved"
        )
        for number in (0, 1, 2)
    }
    assert "warning" not in resolved[0]
    assert resolved[1] == f"{resolved[0]}. 1 warning: see status.resolved.warnings"
    assert resolved[2] == f"{resolved[0]}. 2 warnings: see status.resolved.warnings"


def test_warnings_are_in_status_and_none_where_there_is_none() -> None:
    assert warned("a-r1", SLOW)["resolved"]["warnings"] == [
        {
            "severity": "Warning",
            "reason": "HeadsNotDivisible",
            "field": "spec.x",
            "evidence": "it may be slow",
            "remedy": "change it",
        }
    ]
    assert "warnings" not in warned("a-r1")["resolved"]


def test_status_shows_what_was_resolved_and_the_scale() -> None:
    content = status.status(resource(), CONVERGED, NOW, {})
    assert content["observedGeneration"] == 3
    assert (content["replicas"], content["readyReplicas"], content["updatedReplicas"]) == (2, 2, 2)
    assert content["selector"] == "speculators.dev/name=a"
    assert content["url"] == "http://a.n.svc:8000"
    assert content["resolved"]["command"] == ["vllm", "serve", "org/verifier", "--port=8000"]
    assert content["resolved"]["speculativeConfig"]["num_speculative_tokens"] == 3
    assert content["resolved"]["verifier"] == {"uri": "org/verifier", "revision": "e" * 40}


def test_a_revision_is_told_of_once_it_is_applied() -> None:
    fetching = replace(NOTHING, current=True, resolved=RESOLVED, pinned=RESOLVED, problem=FETCHING)
    first = status.status(resource(), fetching, NOW, {})
    assert first["resolved"]["draft"] == {"uri": "org/draft", "revision": "d" * 40}
    assert "revision" not in first["resolved"]
    assert status.status(resource(), CONVERGED, NOW, first)["resolved"]["revision"] == "a-r1"
    over = status.status(resource(), replace(CONVERGED, current=False, pinned=PLAIN, problem=FETCHING), NOW, {})
    assert over["resolved"]["revision"] == "a-r1"
    assert PLAIN.summary() in next(it["message"] for it in over["conditions"] if it["type"] == "Resolved")


def test_a_warning_that_was_told_while_weights_were_fetched_is_not_told_again() -> None:
    warned_of = warned("a-r1", SLOW)
    before = {**warned_of, "resolved": {key: it for key, it in warned_of["resolved"].items() if key != "revision"}}
    assert [event for event in status.events(before, warned_of) if event.type == "Warning"] == []
