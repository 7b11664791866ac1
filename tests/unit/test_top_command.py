"""``top``: resources -> one table."""

from __future__ import annotations

from typing import Any

from speculator_operator.commands import display, top
from tests.support.shown import NOW, RED, coloured, condition, on_terminal, plain, resource


def bodies() -> list[dict[str, Any]]:
    stalled = resource(
        conditions=[
            condition("Ready", "False", "ConfigMissing", ""),
            condition("SpeculationActive", "Unknown", "NoReadyPods", ""),
        ],
        resolved=None,
        acceptance=None,
        readyReplicas=0,
    )
    stalled["metadata"] |= {"name": "broken", "namespace": "prod"}
    new = resource()
    new["metadata"] |= {"name": "new"}
    del new["status"]
    baseline = resource(
        conditions=[
            condition("Ready", "True", "Reconciled", ""),
            condition("SpeculationActive", "False", "Disabled", ""),
        ],
        acceptance=None,
    )
    baseline["metadata"] |= {"name": "plain"}
    baseline["status"]["resolved"] |= {"method": None, "numSpeculativeTokens": None}
    return [stalled, new, resource(), baseline]


def test_a_pipe_gets_a_plain_table() -> None:
    table = """\
NAMESPACE  NAME       READY    SPECULATION  METHOD  TOKENS  ACCEPTED  LENGTH  PER POSITION    REPLICAS  GPUS  WHY
default    llama3-8b  True     True         eagle3  3       0.60      2.80    0.85,0.60,0.15  2/2       8
default    new        Unknown  Unknown      -       -       -         -       -               0/2       -
default    plain      True     False        -       -       -         -       -               2/2       8     Disabled
prod       broken     False    Unknown      -       -       -         -       -               0/2       -     ConfigMissing"""  # noqa: E501  # a table is as wide as it is
    assert plain(top.document(bodies(), None, NOW), display.top) == table


def test_a_terminal_gets_one_letter_for_each_position() -> None:
    shown = on_terminal(top.document([resource()], "default", NOW), display.top)
    assert "NAMESPACE" not in shown
    assert "2.80    ▇▅▂ " in shown


def test_a_rate_of_few_drafts_is_not_judged() -> None:
    quiet = resource()
    quiet["status"]["acceptance"] |= {"drafts": 15, "rate": "0.00", "length": "1.00", "ratePerPosition": ["0.00"]}
    document = top.document([quiet], "default", NOW)
    assert "  0.00 (15 drafts)  1.00 " in plain(document, display.top)
    assert RED not in coloured(document, display.top)
    quiet["status"]["acceptance"]["drafts"] = display.FEW_DRAFTS
    assert RED in coloured(top.document([quiet], "default", NOW), display.top)


def test_where_there_is_none_that_is_said() -> None:
    assert plain(top.document([], None, NOW), display.top) == "There is no SpeculatorDeployment in any namespace."
    assert (
        plain(top.document([], "prod", NOW), display.top) == "There is no SpeculatorDeployment in the namespace prod."
    )
