"""The command line: what it prints, and how it ends."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
import yaml

from speculator_operator import cli, resolver
from speculator_operator.core import resolver_report
from speculator_operator.core.checkpoint import Snapshot
from speculator_operator.crd import crd
from speculator_operator.errors import Refused, Waiting
from speculator_operator.reference import Reference
from speculator_operator.settings import Settings
from tests.support import inputs
from tests.support.eventually import eventually
from tests.support.world import WEIGHTS
from tools.testhub import Hub

RECIPES = Path(__file__).parents[1] / "data" / "recipes"

VERSION = "apiVersion: speculators.dev/v1alpha1\n"
CLAIM = Reference.parse("pvc://claim/a")
FETCHED = ["--revision=sha256:0", "--into=/nowhere"]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Any:
    with Hub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


@pytest.fixture
def draft(tmp_path: Path) -> Path:
    folder = tmp_path / "draft"
    folder.mkdir()
    shutil.copy(RECIPES / "eagle3-qwen3-8b.json", folder / "config.json")
    return folder


def commit(hub: Hub, repository: str, recipe: str) -> str:
    config = (RECIPES / f"{recipe}.json").read_bytes()
    return hub.commit(repository, {"config.json": config, "model.safetensors": WEIGHTS})


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    try:
        code = cli.main(argv)
    except SystemExit as ended:
        code = int(ended.code or 0)
    output = capsys.readouterr()
    return code, output.out, output.err


def test_resolve_says_what_a_repository_becomes(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    draft, verifier = commit(hub, "org/draft", "eagle3-qwen3-8b"), commit(hub, "Qwen/Qwen3-8B", "regular-qwen3-8b")
    code, out, _ = run(capsys, "resolve", "org/draft", "-o", "json")
    assert code == 0
    found = json.loads(out)
    assert found == {
        "speculative": True,
        "draft": {"uri": "org/draft", "revision": draft},
        "verifier": {"uri": "Qwen/Qwen3-8B", "revision": verifier},
        "speculativeConfig": {
            "method": "eagle3",
            "model": "org/draft",
            "num_speculative_tokens": found["speculativeConfig"]["num_speculative_tokens"],
            "revision": draft,
        },
        "memory": found["memory"],
        "warnings": [],
    }
    assert found["memory"]["draftWeights"] == found["memory"]["verifierWeights"] == len(WEIGHTS)


def test_resolve_takes_a_revision(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    first = commit(hub, "org/model", "regular-qwen3-8b")
    commit(hub, "org/model", "regular-llama-3.1-8b")
    code, out, _ = run(capsys, "resolve", "org/model", "--revision", first)
    assert code == 0
    assert json.loads(out) == {
        "speculative": False,
        "draft": None,
        "verifier": {"uri": "org/model", "revision": first},
        "speculativeConfig": None,
        "memory": json.loads(out)["memory"],
        "warnings": [],
    }


def test_resolve_reads_a_folder_though_the_hub_is_out_of_reach(
    draft: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    code, out, err = run(capsys, "resolve", str(draft))
    assert code == 0
    found = json.loads(out)
    assert found["draft"] == {"uri": str(draft), "revision": None}
    assert found["speculativeConfig"]["model"] == str(draft)
    assert "revision" not in found["speculativeConfig"]
    assert found["verifier"] == {"uri": "Qwen/Qwen3-8B", "revision": None}
    assert "Qwen/Qwen3-8B is not pinned or checked" in err


def test_resolve_takes_the_rest_of_a_speculative_config(
    hub: Hub, draft: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commit(hub, "Qwen/Qwen3-8B", "regular-qwen3-8b")
    code, out, _ = run(capsys, "resolve", str(draft), "--speculation", '{"num-speculative-tokens": 7}')
    assert code == 0
    assert json.loads(out)["speculativeConfig"]["num_speculative_tokens"] == 7


def test_resolve_asks_the_hub_for_nothing_that_is_not_its_own(
    hub: Hub, draft: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "resolve", "pvc://claim/a")[0] == 1
    speculation = json.dumps({"method": "draft_model", "model": "s3://tiny", "num_speculative_tokens": 2})
    shutil.copy(RECIPES / "regular-qwen3-8b.json", draft / "config.json")
    code, _, err = run(capsys, "resolve", str(draft), "--speculation", speculation)
    assert (code, list(hub.requests)) == (0, [])
    assert err.startswith("warning: s3://tiny is not pinned or checked. ModelNotRead: ")


@pytest.mark.parametrize("output", ["yaml", "table"])
def test_resolve_prints_in_other_forms(output: str, hub: Hub, draft: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commit(hub, "Qwen/Qwen3-8B", "regular-qwen3-8b")
    code, out, _ = run(capsys, "resolve", str(draft), "-o", output)
    assert code == 0
    assert "eagle3" in out


@pytest.mark.parametrize(
    ("case", "argv", "code", "words"),
    [
        ("nothing to do", [], 64, "COMMAND"),
        ("an unknown command", ["serve"], 64, "serve"),
        ("an unknown flag", ["resolve", "org/model", "--rev", "x", "--nonsense"], 64, "--nonsense"),
        ("JSON that is none", ["resolve", "org/model", "--speculation", "{"], 64, "--speculation"),
        ("JSON that is no object", ["resolve", "org/model", "--speculation", "[1]"], 64, "--speculation"),
        ("a folder with a revision", ["resolve", ".", "--revision", "x"], 64, "--revision"),
        ("no checkpoint", ["resolve", ""], 2, "SpecInvalid: spec.model.uri"),
        ("a name that is no repository", ["resolve", "model"], 2, "SpecInvalid: spec.model.uri"),
        ("a repository that isn't there", ["resolve", "org/gone"], 2, "ModelUnauthorized: "),
        ("a claim", ["resolve", "pvc://claim/path"], 1, "ModelNotRead: pvc://claim/path was not read: "),
        ("a claim's root", ["resolve", "pvc://x/"], 1, "ModelNotRead: pvc://x was not read: "),
        ("a bucket", ["resolve", "s3://tiny"], 1, "that has its config.json in its place"),
        ("a claim that isn't said to be mounted", ["read", "pvc://claim/a"], 64, "--folder"),
        ("an image that isn't said to be mounted", ["read", f"oci://registry/a@sha256:{'0' * 64}"], 64, "--folder"),
        (
            "a repository to fetch at no commit",
            ["fetch", "org/model", *FETCHED],
            64,
            "at a commit, which 'sha256:0' is",
        ),
        ("a claim to fetch", ["fetch", "pvc://claim/a", *FETCHED], 64, "pvc://claim/a is mounted, not fetched"),
        ("a file that isn't there", ["render", "-f", "/nowhere/cr.yaml"], 1, "/nowhere/cr.yaml"),
    ],
)
def test_ends(case: str, argv: list[str], code: int, words: str, hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    ended, out, err = run(capsys, *argv)
    assert (ended, out) == (code, ""), case
    assert words in err, case
    assert hub.url or case


def test_a_hub_that_is_down_is_undetermined(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    code, out, err = run(capsys, "resolve", "org/model")
    assert (code, out) == (1, "")
    assert err.startswith("HubUnavailable: ")


@pytest.mark.parametrize("command", ["status a", "top", "verify a", "diff -f cr.yaml"])
def test_a_credential_plugin_that_is_not_there_is_said_in_one_line(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "cloud-login", "interactiveMode": "Never"}
    kubeconfig = {
        "current-context": "a",
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        "clusters": [{"name": "a", "cluster": {"server": "http://127.0.0.1:9"}}],
        "users": [{"name": "a", "user": {"exec": plugin}}],
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(kubeconfig))
    (tmp_path / "cr.yaml").write_text(yaml.safe_dump(inputs.resource({})))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *command.split())
    assert (code, out) == (3 if command.startswith("diff") else 1, "")
    where = f"No cluster to connect to: {tmp_path}/kubeconfig: the credential plugin 'cloud-login' is not on the PATH; "
    assert err.startswith(where)
    assert err.count("\n") == 1


def test_a_recipe_that_cannot_be_used_is_refused_by_name(draft: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = json.loads((draft / "config.json").read_text())
    config["speculators_config"]["proposal_methods"] = []
    (draft / "config.json").write_text(json.dumps(config))
    code, out, err = run(capsys, "resolve", str(draft))
    assert (code, out) == (2, "")
    assert err.startswith("RecipeMethodsInvalid: ")


@pytest.mark.parametrize(
    ("case", "text", "words"),
    [
        ("no YAML", "{", "SpecInvalid: "),
        ("no text", "\x80", "SpecInvalid: "),
        ("nothing", "", "holds no SpeculatorDeployment"),
        ("a depth that nobody writes", "[" * 20000, "SpecInvalid: "),
        ("a date that doesn't exist", "kind: 2026-13-45", "SpecInvalid: "),
        ("another version", "apiVersion: foo/v9\nkind: SpeculatorDeployment", "apiVersion must be"),
        ("metadata that is text", VERSION + "kind: SpeculatorDeployment\nmetadata: a", "metadata must be a map"),
        (
            "a name that is a number",
            VERSION + "kind: SpeculatorDeployment\nmetadata: {name: 1}",
            "metadata must be a map",
        ),
        (
            "an annotation that is a number",
            VERSION + "kind: SpeculatorDeployment\nmetadata: {name: a, annotations: {speculators.dev/refresh: 5}}",
            "put numbers in quotes",
        ),
        (
            "no apiVersion",
            "kind: SpeculatorDeployment\nmetadata: {name: a}",
            "there is no apiVersion; set it to specul",
        ),
        ("another kind", "kind: Deployment", "SpecInvalid: "),
        (
            "a field that doesn't exist",
            VERSION + "kind: SpeculatorDeployment\nmetadata: {name: a}\nspec: {modle: {}}",
            "spec.mo",
        ),
    ],
)
def test_render_refuses(case: str, text: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cr.yaml").write_bytes(text.encode("latin-1"))
    code, out, err = run(capsys, "render", "-f", str(tmp_path / "cr.yaml"), "--checkpoint", str(tmp_path))
    assert (code, out) == (2, ""), case
    assert words in err, case


def test_crd_prints_the_definition(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "crd")
    assert code == 0
    assert yaml.safe_load(out) == crd()


def test_run_takes_settings_by_flag_and_logs_them(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[Settings] = []

    async def kept(settings: Settings, namespaces: Collection[str]) -> None:
        del namespaces
        ran.append(settings)

    monkeypatch.setattr("speculator_operator.run.run", kept)
    monkeypatch.setenv("SPECULATOR_ALLOW_ENV", "VLLM_PLUGINS")
    flags = ["--allow-flags=--enable-lora,--max-loras", "--allow-remote-code", "true", "--secret-names", "hub-.*"]
    with caplog.at_level(logging.INFO):
        code, out, _ = run(capsys, "run", *flags)
    assert (code, out) == (0, "")
    assert ran == [
        Settings(
            allow_flags=("--enable-lora", "--max-loras"),
            allow_env=("VLLM_PLUGINS",),
            allow_remote_code=True,
            secret_names="hub-.*",  # noqa: S106  # it is about names
            hf_endpoint=ran[0].hf_endpoint,
        )
    ]
    for line in (
        "allow_flags = --enable-lora,--max-loras",
        "allow_remote_code = true",
        "allow_pickled_weights = false",
    ):
        assert line in caplog.messages


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--allow-flags=--host", "SPECULATOR_ALLOW_FLAGS: --host can't be allowed"),
        ("--allow-env=HOME", "SPECULATOR_ALLOW_ENV: HOME can't be allowed"),
        ("--allow-remote-code=perhaps", "SPECULATOR_ALLOW_REMOTE_CODE is 'perhaps'"),
    ],
)
def test_run_does_not_begin_with_a_setting_that_is_wrong(
    flag: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "run", flag)
    assert (code, out) == (64, "")
    assert words in err


def test_render_refuses_a_model_that_only_the_cluster_can_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cr.yaml").write_text(yaml.safe_dump(inputs.resource({"model": {"uri": "pvc://models/llama"}})))
    code, out, err = run(capsys, "render", "-f", str(tmp_path / "cr.yaml"))
    assert (code, out) == (1, "")
    assert err.startswith("ModelNotRead: pvc://models/llama was not read: ")


def test_render_warns_of_a_verifier_that_has_no_folder(
    draft: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cr.yaml").write_text(yaml.safe_dump(inputs.resource({})))
    code, out, err = run(capsys, "render", "-f", str(tmp_path / "cr.yaml"), "--checkpoint", str(draft), "-o", "json")
    assert code == 0
    assert "Qwen/Qwen3-8B" in out
    assert err.startswith("warning: Qwen/Qwen3-8B is not pinned or checked. ")
    assert "--verifier-checkpoint" in err


def test_a_setting_of_the_wrong_type_names_its_variable(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPECULATOR_WORKERS", "many")
    code, _, err = run(capsys, "resolve", "org/model")
    assert code == 64
    assert "SPECULATOR_WORKERS is 'many'" in err


@pytest.fixture
def report(tmp_path: Path) -> Path:
    return tmp_path / "report"


@pytest.mark.parametrize(
    ("case", "setting", "uri", "words"),
    [
        ("an endpoint that is none", ("SPECULATOR_S3_ENDPOINT", "s3.example"), "s3://bucket/a", "SPECULATOR_S3_ENDPO"),
        ("a time that is none", ("SPECULATOR_HUB_TIMEOUT", "soon"), "org/model", "SPECULATOR_HUB_TIMEOUT is 'soon'"),
        ("a long setting", ("SPECULATOR_S3_REGION", "A" * 5000), "s3://bucket/a", "SPECULATOR_S3_REGION is 'AAA"),
    ],
)
def test_read_reports_a_setting_that_is_wrong(
    case: str,
    setting: tuple[str, str],
    uri: str,
    words: str,
    report: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(*setting)
    code, out, err = run(capsys, "read", uri, f"--report={report}")
    assert (code, err) == (0, ""), case
    with pytest.raises(Waiting, match=r"^ResolverFailed: ") as told:
        resolver_report.unpacked(report.read_text(), Reference.parse(uri))
    assert words in told.value.message, case
    assert len(told.value.message) < 700, case
    assert out == f"{told.value}\n", case


@pytest.mark.parametrize(
    ("case", "fault", "words"),
    [
        ("a disk that fails", OSError(5, "Input/output error"), "couldn't be read: OSError: Input/output error. "),
        ("a header that can't be sent", ValueError("Illegal header value b'Bearer hf_secret'"), ": ValueError. "),
        ("nesting", RecursionError("maximum recursion depth exceeded"), ": RecursionError. "),
    ],
)
def test_read_reports_whatever_happens_and_no_secret(
    case: str,
    fault: Exception,
    words: str,
    report: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_: object) -> None:
        raise fault

    monkeypatch.setattr(resolver, "read_pinned_folder", fails)
    code, out, err = run(capsys, "read", "pvc://claim/a", "--folder=/nowhere", f"--report={report}")
    assert (code, err) == (0, ""), case
    with pytest.raises(Waiting, match=r"^ResolverFailed: pvc://claim/a ") as told:
        resolver_report.unpacked(report.read_text(), CLAIM)
    assert words in told.value.message, case
    assert "hf_secret" not in out + told.value.message, case


def test_read_reports_no_model_that_the_operator_would_not_believe(
    report: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "read_pinned_folder", lambda *_: Snapshot("pvc://claim/a", "unpinned", {}))
    code, out, _ = run(capsys, "read", "pvc://claim/a", "--folder=/nowhere", f"--report={report}")
    assert code == 0
    with pytest.raises(Waiting, match="it is of something else than was asked for") as told:
        resolver_report.unpacked(report.read_text(), CLAIM)
    assert out == f"{told.value}\n"


def test_read_prints_what_it_reports(draft: Path, report: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["read", "pvc://claim/a", f"--folder={draft}", f"--report={report}"]
    assert run(capsys, *argv) == (0, "pvc://claim/a was read\n", "")
    config = json.loads((draft / "config.json").read_text())
    config |= {f"key-{n * 7919 % 104729}": n * 104729 % 7919 for n in range(5000)}
    (draft / "config.json").write_text(json.dumps(config))
    code, out, _ = run(capsys, *argv)
    assert code == 0
    assert out.startswith("ConfigTooLarge: ")
    with pytest.raises(Refused, match=r"^ConfigTooLarge: "):
        resolver_report.unpacked(report.read_text(), CLAIM)


def test_a_fetch_that_fails_leaves_a_report_where_one_is_wanted(
    hub: Hub, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert not hub.requests
    arguments = ["fetch", "org/gone", f"--revision={'0' * 40}", f"--into={tmp_path / 'model'}"]
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("ModelUnauthorized: ")
    report = tmp_path / "report"
    assert run(capsys, *arguments, f"--report={report}") == (code, out, err)
    with pytest.raises(Refused, match="ModelUnauthorized"):
        resolver_report.unpacked(report.read_text(), Reference.parse("org/gone"))


def test_a_fetch_brings_a_repository_and_reports_nothing(
    hub: Hub, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    commit = hub.commit("org/model", {"config.json": b"{}", "model.safetensors": b"weights", "README.md": b"#"})
    into, report = tmp_path / "cache" / "model", tmp_path / "report"
    code, out, err = run(capsys, "fetch", "org/model", f"--revision={commit}", f"--into={into}", f"--report={report}")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "org/model is fetched."
    assert sorted(path.name for path in into.iterdir()) == [".downloaded.json", "config.json", "model.safetensors"]
    assert not report.exists()


def test_a_fetch_that_is_told_to_end_says_so_and_leaves_nothing_in_part(hub: Hub, tmp_path: Path) -> None:
    commit = hub.commit("org/model", {"config.json": b"{}", "model.safetensors": b"weights"})
    hub.fail("org/model", "hung", on="files")
    into, report = tmp_path / "model", tmp_path / "report"
    command = ["fetch", "org/model", f"--revision={commit}", f"--into={into}", f"--report={report}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "speculator_operator", *command],
        env={**os.environ, "SPECULATOR_HF_ENDPOINT": hub.url},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        eventually(
            lambda: sum("/resolve/" in request.path for request in list(hub.requests)) or list(into.glob(".p*")),
            within=60,
        )
        process.terminate()
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 1
    assert "it was told to end" in said
    assert [path.name for path in into.iterdir()] == [".downloaded.json"]
    with pytest.raises(Waiting, match="FetchFailed"):
        resolver_report.unpacked(report.read_text(), Reference.parse("org/model"))
