"""What shells and kubectl are told that a command line may go on with."""

from __future__ import annotations

import subprocess

import pytest

from speculator_operator import cli
from speculator_operator.commands import completion


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["sta"], "status\n:4"),
        (["explain", "NotD"], "NotDrafting\n:4"),
        (["completion", ""], "bash\nfish\nzsh\n:4"),
        (["status", "--na"], "--namespace\n:4"),
        (["top", "-o", ""], "json\n:4"),
        (["diff", "-f", "x"], ":0"),
        (["top", ""], ":4"),
        (["nonsense", "--x"], ":4"),
    ],
    ids=" ".join,
)
def test_kubectl_is_told(words: list[str], offered: str) -> None:
    assert completion.for_kubectl(cli.parser(), words) == offered


def test_kubectl_is_told_all_commands_where_nothing_is_typed() -> None:
    *offered, directive = completion.for_kubectl(cli.parser(), []).split("\n")
    assert {"status", "top", "verify", "diff", "explain"} <= set(offered)
    assert directive == ":4"


def test_names_are_left_out_where_no_cluster_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    assert completion.for_kubectl(cli.parser(), ["status", "a"]) == ":4"


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_a_shells_script_has_the_commands_and_asks_for_names(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for word in ("status", "HiddenSizeMismatch", "kubectl get speculatordeployments.speculators.dev"):
        assert word in script, word


def test_the_script_for_bash_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
