"""``diff``: what is there, what the API server would make of a file, what pods would run -> what would change."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from speculator_operator.api import Finding, Resolved, SpeculatorDeployment
from speculator_operator.commands import diff, display
from speculator_operator.commands.diff import LAST_APPLIED, Served
from speculator_operator.core import render
from tests.support import inputs
from tests.support.shown import plain, resource

ERROR = Finding(severity="Error", reason="HeadsNotDivisible", field="spec.parallelism.tensor", evidence="3 of 32")


def live() -> dict[str, Any]:
    body = resource()
    body["status"]["resolved"]["revision"] = revision(body)
    return body


def revision(body: dict[str, Any]) -> str:
    return render.revision_name(SpeculatorDeployment.from_object(body))


def changed(**spec: Any) -> dict[str, Any]:
    body = copy.deepcopy(live())
    body["spec"] |= spec
    return body


def resolved(*words: str) -> Resolved:
    return inputs.RESOLVED.model_copy(update={"command": [*inputs.RESOLVED.command, *words]})


def test_nothing_changes_where_nothing_was_changed() -> None:
    document = diff.document(live(), live(), Served(inputs.RESOLVED, pinned=True))
    assert diff.exit_code(document) == 0
    assert (
        shown(document)
        == """\
default/llama3-8b nothing would change
├── Pods none restarts
└── Command the same"""
    )


def shown(document: dict[str, Any]) -> str:
    return plain([document], display.differences)


def test_a_scaling_restarts_nothing() -> None:
    document = diff.document(live(), changed(replicas=3), Served(inputs.RESOLVED, pinned=True))
    assert diff.exit_code(document) == 1
    assert (
        shown(document)
        == """\
default/llama3-8b would change
├── Fields
│   └── spec.replicas  2  ->  3
├── Replicas 2 -> 3
├── Pods none restarts
└── Command the same"""
    )


def test_another_argument_rolls_the_pods_and_is_shown_in_the_command() -> None:
    after = changed(engine={"args": ["--max-model-len=1024"]})
    document = diff.document(live(), after, Served(resolved("--max-model-len=1024")))
    assert diff.exit_code(document) == 1
    assert (
        shown(document)
        == f"""\
default/llama3-8b would change
├── Fields
│   └── spec.engine.args  nothing  ->  ['--max-model-len=1024']
├── Pods roll {revision(live())} -> {revision(after)}; old ones serve until new ones are ready
└── Command
    └── + --max-model-len=1024"""
    )


@pytest.mark.parametrize(
    ("case", "before", "after", "rolls"),
    [
        ("nothing ran", 0, 2, False),
        ("nothing will run", 2, 0, False),
        ("some run", 1, 2, True),
    ],
)
def test_pods_roll_only_where_there_are_some(case: str, before: int, after: int, rolls: bool) -> None:
    was = live()
    was["spec"]["replicas"] = before
    now = changed(replicas=after, engine={"args": ["--seed=1"]})
    assert diff.document(was, now, Served())["pods"]["roll"] is rolls, case


def test_a_new_resource_would_be_created() -> None:
    after = {key: value for key, value in live().items() if key != "status"}
    document = diff.document(None, after, Served(inputs.RESOLVED))
    assert diff.exit_code(document) == 1
    assert shown(document).startswith(
        "default/llama3-8b would be created\n├── Replicas 2\n├── Pods 2 pods of llama3-8b-"
    )
    assert "    ├── + vllm" in shown(document)


@pytest.mark.parametrize(
    ("case", "served", "code"),
    [
        ("a finding that is an error", Served(findings=(ERROR,)), 2),
        ("a hub that is down", Served(unknown="the hub doesn't answer", failed=True), 3),
        ("a model that only the cluster reads", Served(unknown="pvc://a was not read"), 0),
        ("a warning", Served(resolved(), findings=(ERROR.model_copy(update={"severity": "Warning"}),)), 0),
    ],
)
def test_how_it_ends_where_nothing_would_change(case: str, served: Served, code: int) -> None:
    assert diff.exit_code(diff.document(live(), live(), served)) == code, case


def test_what_the_operator_would_refuse_restarts_nothing() -> None:
    document = diff.document(live(), changed(parallelism={"tensor": 3}), Served(findings=(ERROR,)))
    assert document["pods"]["roll"] is False
    assert (
        shown(document)
        == """\
default/llama3-8b would change
├── Fields
│   └── spec.parallelism.tensor  4  ->  3
├── Pods none starts or restarts: the operator would refuse this, and leave alone what serves
└── Findings
    └── Error HeadsNotDivisible spec.parallelism.tensor
          3 of 32"""
    )


def test_what_is_not_known_is_said() -> None:
    document = diff.document(live(), live(), Served(unknown="pvc://a was not read"))
    assert document["command"] is None
    assert "Command not known (pvc://a was not read)" in shown(document)


def test_a_resource_that_kubectl_applied_before_is_patched_as_kubectl_would() -> None:
    last = {
        "apiVersion": "v",
        "kind": "k",
        "metadata": {"name": "a", "labels": {"x": "1"}},
        "spec": {"a": {"b": 1, "c": 2}, "d": [1]},
    }
    given = {"apiVersion": "v", "kind": "k", "metadata": {"name": "a"}, "spec": {"a": {"b": 3}}}
    found = {"metadata": {"annotations": {LAST_APPLIED: json.dumps(last)}}}
    assert diff.client_side_patch(found, given) == {
        "apiVersion": "v",
        "kind": "k",
        "metadata": {"name": "a", "labels": None, "annotations": {}},
        "spec": {"a": {"b": 3, "c": None}, "d": None},
    }


def test_an_annotation_that_kubectl_never_applied_stays() -> None:
    last = {"metadata": {"name": "a", "annotations": {}}, "spec": {"d": [1]}}  # kubectl always writes a map
    found = {"metadata": {"annotations": {LAST_APPLIED: json.dumps(last), "speculators.dev/refresh": "1"}}}
    patch = diff.client_side_patch(found, {"metadata": {"name": "a"}, "spec": {"d": [1]}})
    assert patch == {"metadata": {"name": "a", "annotations": {}}, "spec": {"d": [1]}}


@pytest.mark.parametrize("annotations", [{}, {LAST_APPLIED: "{"}, {LAST_APPLIED: "[]"}], ids=str)
def test_a_resource_that_was_applied_otherwise_is_applied_server_side(annotations: dict[str, str]) -> None:
    assert diff.client_side_patch({"metadata": {"annotations": annotations}}, {"spec": {}}) is None
    assert diff.client_side_patch(None, {"spec": {}}) is None
