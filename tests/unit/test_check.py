"""``check``: what it says of resources in files, and how it ends."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from speculator_operator import check, cli, engine_check, engine_process
from speculator_operator.api import Finding, Reason, Severity
from speculator_operator.core import rules
from tests.support import inputs
from tools.testhub import Hub

SAMPLES = Path(__file__).parents[2] / "config" / "samples"
RECIPES = Path(__file__).parents[1] / "data" / "recipes"
VERIFIER = "Qwen/Qwen3-8B"
WARNING = Finding(severity=Severity.WARNING, reason=Reason.CONTEXT_TOO_LONG, evidence="it is slow", remedy="wait")


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that is down, unless the test has one, and a terminal."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    """Arguments by which a draft and its verifier are read from folders."""
    arguments = []
    for flag, recipe in (("--checkpoint", "eagle3-qwen3-8b"), ("--verifier-checkpoint", "regular-qwen3-8b")):
        folder = tmp_path / recipe
        folder.mkdir()
        shutil.copy(RECIPES / f"{recipe}.json", folder / "config.json")
        arguments += [flag, str(folder)]
    return arguments


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Any:
    with Hub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def _without(resource: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in resource.items() if name != key}


@pytest.mark.parametrize("sample", sorted(SAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_nothing_is_wrong_with_the_samples(sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Run(capsys, "--offline", "--strict", "-f", str(sample))
    assert ran.code == 0
    assert "nothing found" in ran.out


class Run:
    """One run of the command: its exit code, and what it printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *argv: str) -> None:
        try:
            self.code = cli.main(["check", *argv])
        except SystemExit as ended:
            self.code = int(ended.code or 0)
        self.out, self.err = capsys.readouterr()

    def reasons(self) -> list[list[str]]:
        return [[finding["reason"] for finding in report["findings"]] for report in json.loads(self.out)]


@pytest.fixture
def checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def checked(*argv: str, file: Any) -> Run:
        path = tmp_path / "cr.yaml"
        path.write_text(file if isinstance(file, str) else yaml.safe_dump_all(file))
        return Run(capsys, "-f", str(path), *argv)

    return checked


def test_a_resource_that_nothing_is_wrong_with(checked: Any, folders: list[str]) -> None:
    run = checked(*folders, file=[inputs.resource({})])
    assert run.code == 0
    assert "default/llama3-8b (" in run.out
    assert "nothing found" in run.out
    assert f"resolved: eagle3 with 3 tokens, draft org/model, verifier {VERIFIER}" in run.out


def test_all_findings_of_all_resources_are_a_table(checked: Any, folders: list[str]) -> None:
    bad = {"engine": {"args": ["--sed=42", "--host=h"]}, "parallelism": {"tensor": 3}, "replica": 2}
    run = checked(*folders, file=[inputs.resource(bad), inputs.resource({}, "other")])
    assert run.code == 2
    lines = run.out.splitlines()
    assert lines[0].endswith(": 5 errors")
    assert lines[1].split() == ["SEVERITY", "REASON", "FIELD"]
    rows = [line.split() for line in lines if line.startswith("Error")]
    assert rows == [
        ["Error", "SpecInvalid", "spec.replica"],
        ["Error", "ArgsInvalid", "spec.engine.args[0]"],
        ["Error", "FlagRefused", "spec.engine.args[1]"],
        ["Error", "HeadsNotDivisible", "spec.parallelism.tensor"],
        ["Error", "HeadsNotDivisible", "spec.parallelism.tensor"],
    ]
    assert "    there is no such field" in lines
    assert "    -> did you mean replicas?" in lines
    assert any(line.startswith("default/other (") for line in lines)
    assert max(len(line) for line in lines if "cr.yaml" not in line) <= 100, "but for paths, however long they are"


def test_the_reports_as_json(checked: Any, folders: list[str]) -> None:
    run = checked(*folders, "-o", "json", file=[inputs.resource({}), inputs.resource({"engine": {"args": ["x"]}})])
    good, bad = json.loads(run.out)
    assert run.code == 2
    assert set(good) == {"file", "namespace", "name", "findings", "undetermined", "unchecked", "resolved"}
    assert (good["namespace"], good["name"], good["findings"]) == ("default", inputs.NAME, [])
    assert good["resolved"]["speculativeConfig"]["method"] == "eagle3"
    assert bad["resolved"] is None
    assert bad["findings"] == [
        {
            "severity": "Error",
            "reason": "ArgsInvalid",
            "field": "spec.engine.args[0]",
            "evidence": "'x' is not an option; the model is spec.model.uri",
            "remedy": "",
        }
    ]


@pytest.mark.parametrize(
    ("case", "file", "expected"),
    [
        ("no YAML", "{", [["SpecInvalid"]]),
        ("nothing", "", [["SpecInvalid"]]),
        ("another kind", [{"kind": "Deployment"}], [["SpecInvalid"]]),
        ("no object, and a good one", ["text", inputs.resource({})], [["SpecInvalid"], []]),
        ("metadata that is text", [{**inputs.resource({}), "metadata": "a"}], [["SpecInvalid"]]),
        (
            "every field that is wrong",
            [inputs.resource({"replicas": -1, "modle": {}, "parallelism": {"tensor": 0}}, "Name")],
            [["SpecInvalid"] * 4],
        ),
        ("no apiVersion", [_without(inputs.resource({}), "apiVersion")], [["SpecInvalid"]]),
        ("an empty apiVersion", [{**inputs.resource({}), "apiVersion": ""}], [["SpecInvalid"]]),
        (
            "no apiVersion, and a field that is wrong",
            [_without(inputs.resource({"replicas": -1}), "apiVersion")],
            [["SpecInvalid"] * 2],
        ),
        ("a key twice", yaml.safe_dump(inputs.resource({})) + "kind: SpeculatorDeployment\n", [["SpecInvalid"]]),
        ("a key twice, far inside", "a: [{b: {'c': 1, d: 2, c: 3}}]", [["SpecInvalid"]]),
        (
            "keys that are merged, and so are no doubles",
            "kind: List\nbase: &a {x: 1, y: 2}\nmore: &b {<<: *a, x: 2}\nlast: {<<: [*a, *b], y: 3}\n"
            + yaml.safe_dump({"items": [inputs.resource({})]}),
            [[]],
        ),
        ("a list, as kubectl prints it", [{"kind": "List", "items": [inputs.resource({})] * 2}], [[], []]),
        ("a list of nothing", [{"kind": "List", "items": []}], [["SpecInvalid"]]),
        (
            "a field in another spelling",
            [inputs.resource({"model": {"uri": "a/b", "served_name": "x"}})],
            [["SpecInvalid"]],
        ),
    ],
)
def test_what_is_no_resource_is_a_finding_too(
    case: str, file: object, expected: list[list[str]], checked: Any, folders: list[str]
) -> None:
    run = checked(*folders, "-o", "json", file=file)
    assert run.reasons() == expected, case
    assert run.code == 2 if any(expected) else run.code == 0, case


SERVICE = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {}}
WEB = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {}}


@pytest.mark.parametrize(
    "file",
    [
        [SERVICE, inputs.resource({}), WEB, WEB],
        [{"apiVersion": "v1", "kind": "List", "items": [WEB, inputs.resource({}), SERVICE]}],
    ],
)
def test_what_a_chart_renders_beside_a_resource_is_left_out_and_named(
    checked: Any, folders: list[str], file: list[Any]
) -> None:
    run = checked(*folders, "-o", "json", file=file)
    assert (run.code, run.reasons()) == (0, [[]])
    assert run.err.endswith("holds more than SpeculatorDeployments; this is left out: Deployment, Service\n")


@pytest.mark.parametrize(
    ("file", "evidence"),
    [
        ([SERVICE, WEB], "holds no SpeculatorDeployment"),
        ([{**WEB, "apiVersion": "speculators.dev/v1alpha1"}], "holds something other than a SpeculatorDeployment"),
    ],
)
def test_where_all_is_of_other_kinds_something_is_wrong(checked: Any, file: list[Any], evidence: str) -> None:
    run = checked("-o", "json", file=file)
    assert (run.code, run.reasons()) == (2, [["SpecInvalid"]])
    assert evidence in run.out


def test_a_key_that_is_there_twice_is_said_with_its_line(checked: Any) -> None:
    run = checked("--offline", "-o", "json", file="kind: SpeculatorDeployment\nspec:\n  replicas: 1\n  replicas: 2\n")
    ((finding,),) = (report["findings"] for report in json.loads(run.out))
    assert "the key 'replicas' is there twice" in finding["evidence"]
    assert "line 4, column 3" in finding["evidence"]


def test_several_files_and_standard_input(
    tmp_path: Path,
    folders: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(inputs.resource({}, "a")))
    stdin = io.TextIOWrapper(io.BytesIO(yaml.safe_dump(inputs.resource({}, "b")).encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    run = Run(capsys, "-f", str(tmp_path / "a.yaml"), "-f", "-", *folders, "-o", "json")
    assert [(Path(report["file"]).name, report["name"]) for report in json.loads(run.out)] == [
        ("a.yaml", "a"),
        ("-", "b"),
    ]


@pytest.mark.parametrize("output", ["table", "json"])
@pytest.mark.parametrize(
    ("case", "files", "code"),
    [
        ("one that isn't there", ["gone.yaml"], 1),
        ("one that is a folder", ["."], 1),
        ("a good one, and one that isn't there", ["good.yaml", "gone.yaml"], 1),
        ("a wrong one, and one that isn't there", ["wrong.yaml", "gone.yaml"], 2),
        ("one that isn't there, and a wrong one", ["gone.yaml", "wrong.yaml"], 2),
        ("standard input, which is closed, and a wrong one", ["-", "wrong.yaml"], 2),
    ],
)
def test_a_file_that_cannot_be_read_hides_no_other(
    case: str,
    files: list[str],
    code: int,
    output: str,
    tmp_path: Path,
    folders: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", None)
    (tmp_path / "good.yaml").write_text(yaml.safe_dump(inputs.resource({})))
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(inputs.resource({"replicas": -1})))
    run = Run(capsys, *(word for file in files for word in ("-f", file)), *folders, "-o", output)
    assert (run.code, run.err) == (code, ""), case
    for file in files:
        assert (f"{file} can't be read: " in run.out) == (".yaml" not in file or file == "gone.yaml"), case
    assert ("SpecInvalid" in run.out) == ("wrong.yaml" in files), case
    if output == "json":
        assert [report["file"] for report in json.loads(run.out)] == files, case


@pytest.mark.parametrize(
    ("case", "spec", "code"), [("nothing is wrong", {}, 0), ("there are errors", {"replicas": -1}, 2)]
)
def test_how_it_ends_does_not_depend_on_who_reads(
    case: str, spec: inputs.Spec, code: int, checked: Any, folders: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as pipe:  # noqa: PTH123  # a descriptor has no path
        monkeypatch.setattr(sys, "stdout", pipe)
        assert checked(*folders, file=[inputs.resource(spec)]).code == code, case


def test_what_the_locale_cannot_write_is_printed_escaped(
    checked: Any, folders: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    run = checked(*folders, file=[inputs.resource({"replicas": "f\u00fcnf"})])
    assert run.code == 2
    terminal.seek(0)
    assert "f\\xfcnf" in terminal.read()


def test_a_closed_standard_output_is_said(checked: Any, folders: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    run = checked(*folders, file=[inputs.resource({})])
    assert (run.code, run.err) == (1, "standard output is closed, so nothing can be printed\n")


def test_a_closed_standard_error_is_nobodys_trouble(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    run = Run(capsys, "-f", "-", "-o", "yaml")
    sys.stderr.close()
    assert (run.code, run.out) == (64, "")


def test_what_a_terminal_would_obey_is_not_printed(checked: Any, folders: list[str]) -> None:
    run = checked(*folders, file=[inputs.resource({"\x1b[2J": 1, "replicas": "\x1b]0;x\x07"})])
    assert run.code == 2
    assert "\x1b" not in run.out
    assert "\x07" not in run.out


def test_models_are_read_from_the_hub(checked: Any, hub: Hub) -> None:
    weights = {"model.safetensors": bytes(1024)}
    hub.commit("org/model", {"config.json": (RECIPES / "eagle3-qwen3-8b.json").read_bytes(), **weights})
    commit = hub.commit(VERIFIER, {"config.json": (RECIPES / "regular-qwen3-8b.json").read_bytes(), **weights})
    run = checked("-o", "json", file=[inputs.resource({})])
    (report,) = json.loads(run.out)
    assert (run.code, report["resolved"]["verifier"]) == (0, {"uri": VERIFIER, "revision": commit})


@pytest.mark.parametrize(
    ("case", "spec", "code", "reasons"),
    [
        ("nothing else is wrong", {}, 1, []),
        ("something else is wrong", {"engine": {"args": ["--sed=42"]}}, 2, ["ArgsInvalid"]),
    ],
)
def test_a_hub_that_is_down_leaves_it_undetermined(
    case: str, spec: inputs.Spec, code: int, reasons: list[str], checked: Any
) -> None:
    run = checked("-o", "json", file=[inputs.resource(spec)])
    (report,) = json.loads(run.out)
    assert (run.code, run.reasons()) == (code, [reasons]), case
    assert report["undetermined"].startswith("HubUnavailable: "), case
    assert "undetermined: HubUnavailable: " in checked(file=[inputs.resource(spec)]).out, case


@pytest.mark.parametrize(
    ("case", "argv", "unread"),
    [("offline", ["--offline"], "org/model"), ("a draft in a folder, and no verifier", [], VERIFIER)],
)
def test_what_is_not_to_be_read_is_said_to_be_unchecked(
    case: str, argv: list[str], unread: str, checked: Any, folders: list[str], hub: Hub
) -> None:
    argv = argv or folders[:2]
    good = checked(*argv, "--strict", file=[inputs.resource({})])
    assert good.code == 0, case
    said = " ".join(good.out.split())
    assert f"not checked: {unread} was not read: nothing but folders was to be read; name a folder" in said, case
    bad = checked(*argv, "-o", "json", file=[inputs.resource({"engine": {"args": ["--sed=42"]}})])
    (report,) = json.loads(bad.out)
    assert (bad.code, bad.reasons(), report["undetermined"]) == (2, [["ArgsInvalid"]], None), case
    assert not hub.requests, case


@pytest.mark.parametrize(
    ("case", "model", "why"),
    [
        ("a claim", {"uri": "pvc://models/llama"}, "pvc://models/llama was not read: only the hub is read from here"),
        (
            "a gated repository with a token",
            {"uri": "org/gated", "tokenSecretRef": inputs.SECRET},
            "org/gated was not read: it takes the token of spec.model.tokenSecretRef",
        ),
    ],
)
def test_what_only_the_cluster_can_read_is_said_to_be_unchecked(
    case: str, model: dict[str, Any], why: str, checked: Any, hub: Hub
) -> None:
    hub.commit("org/gated", {"config.json": b"{}"})
    hub.guard("org/gated", "hf_token")
    run = checked("-o", "json", file=[inputs.resource({"model": model, "engine": {"args": ["--sed=42"]}})])
    (report,) = json.loads(run.out)
    assert (run.code, run.reasons(), report["undetermined"]) == (2, [["ArgsInvalid"]], None), case
    assert report["unchecked"].startswith(why), case
    assert checked(file=[inputs.resource({"model": model})]).code == 0, case


def test_offline_reads_the_folders_that_there_are(checked: Any, folders: list[str]) -> None:
    run = checked(*folders, "--offline", "-o", "json", file=[inputs.resource({"parallelism": {"tensor": 3}})])
    assert (run.code, run.reasons()) == (2, [["HeadsNotDivisible", "HeadsNotDivisible"]])


def test_warnings_count_where_they_are_to(checked: Any, folders: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "findings", lambda _: (WARNING,))
    lenient = checked(*folders, file=[inputs.resource({})])
    assert lenient.code == 0
    assert lenient.out.splitlines()[0].endswith(": 1 warning")
    assert checked(*folders, "--strict", file=[inputs.resource({})]).code == 1


@pytest.mark.parametrize(
    ("case", "argv", "code", "words"),
    [
        ("no file is named", [], 64, "-f/--filename"),
        ("there is no such output", ["-f", "-", "-o", "yaml"], 64, "-o"),
        (
            "there is no such Python",
            ["-f", "-", "--engine", "--engine-python", "/nowhere/python"],
            64,
            "/nowhere/python",
        ),
    ],
)
def test_ends(case: str, argv: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(capsys, *argv)
    assert (run.code, run.out) == (code, ""), case
    assert words in run.err, case


def test_a_setting_that_allows_what_may_not_be_is_wrong_usage(
    checked: Any, folders: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPECULATOR_ALLOW_FLAGS", "--enable-lora,--host")
    run = checked(*folders, file=[inputs.resource({})])
    assert (run.code, run.out) == (64, "")
    assert "SPECULATOR_ALLOW_FLAGS: --host can't be allowed" in run.err


# The engine, or what stands in for it: a program that is run as ``PYTHON -c CODE``.


def stand_in(folder: Path, body: str) -> str:
    program = folder / "python"
    program.write_text(
        f"#!{sys.executable}\nimport json, os, sys\nif 'find_spec' in sys.argv[2]: sys.exit(0)\n{body}\n"
    )
    program.chmod(0o755)
    return str(program)


ANSWERS = """
for line in sys.stdin:
    asked = json.loads(line)
    for model, folder in asked["folders"].items():
        assert any(model in token for token in asked["command"])
        assert json.load(open(os.path.join(folder, "config.json")))
    refused = "no seed 13" if "--seed=13" in asked["command"] else None
    if "--seed=66" in asked["command"]:
        os._exit(9)
    print(json.dumps({"version": VERSION, "refused": refused}), flush=True)
"""


@pytest.mark.parametrize(
    ("case", "version", "seeds", "code", "found"),
    [
        ("the engine takes all", "0.32.0", [1, 2], 0, [[], []]),
        ("the engine refuses one", "0.32.0+cpu", [1, 13], 2, [[], [("Error", "EngineRefused")]]),
        ("another release refuses one", "0.31.1", [13, 1], 0, [[("Warning", "EngineRefused")], []]),
        ("the engine dies over one", "0.32.0", [1, 66, 2], 1, [[], [], []]),
    ],
)
def test_the_engines_word_is_a_finding(
    case: str,
    version: str,
    seeds: list[int],
    code: int,
    found: list[list[tuple[str, str]]],
    checked: Any,
    folders: list[str],
    tmp_path: Path,
) -> None:
    python = stand_in(tmp_path, ANSWERS.replace("VERSION", repr(version)))
    resources = [inputs.resource({"engine": {"args": [f"--seed={seed}"]}}) for seed in seeds]
    run = checked(*folders, "--engine", "--engine-python", python, "-o", "json", file=resources)
    reports = json.loads(run.out)
    said = [[(finding["severity"], finding["reason"]) for finding in report["findings"]] for report in reports]
    assert (run.code, said) == (code, found), case
    silent = [bool(report["undetermined"]) for report in reports]
    assert silent == [66 in seeds[: index + 1] for index in range(len(seeds))], case
    for report in reports:
        for finding in report["findings"]:
            assert version in finding["evidence"], case
            assert "no seed 13" in finding["evidence"], case


class Config(BaseModel):
    """Stands in for a config of the engine's."""

    model_config = ConfigDict(extra="forbid")
    max_num_seqs: int = Field(default=1, ge=1)


USAGE = "usage: vllm serve [model_tag] [options]\nvllm serve: error: argument --a-config: "


def parsed(*given: str) -> None:
    """Ends as argparse does over what pydantic says of a value."""
    try:
        Config.model_validate(dict(word.split("=") for word in given))
    except ValidationError as error:
        sys.stderr.write(f"{USAGE}{error}\n\n")
        raise SystemExit(2) from None


def raised(error: Exception) -> None:
    raise error


LEAST, NONE_SUCH = "Input should be greater than or equal to 1", "Extra inputs are not permitted"


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: raised(ValueError("no seed\n13")), "ValueError: no seed 13"),
        (
            lambda: parsed("max_num_seqs=0"),
            f"argument --a-config: 1 validation error for Config max_num_seqs {LEAST}",
        ),
        (
            lambda: parsed("max_num_seqs=0", "seed=1"),
            f"argument --a-config: 2 validation errors for Config max_num_seqs {LEAST} seed {NONE_SUCH}",
        ),
        (
            lambda: Config.model_validate({"max_num_seqs": 0, "seed": 1}),
            f"max_num_seqs: {LEAST}; seed: {NONE_SUCH}",
        ),
        (lambda: sys.exit(1), "no words"),
    ],
)
def test_the_engines_words_say_what_is_wrong_and_with_what(
    build: Any, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_check, "_build", lambda _: build())
    assert engine_check.validate(["vllm", "serve", "org/model"], {}) == words


def test_the_engine_is_shown_models_under_the_names_that_pods_load_them_by(
    checked: Any, folders: list[str], tmp_path: Path
) -> None:
    python = stand_in(tmp_path, ANSWERS.replace("VERSION", "'0.32.0'"))
    resource = inputs.resource({"model": {"uri": "pvc://models/draft"}, "verifier": {"uri": "pvc://models/llama"}})
    assert checked(*folders, "--engine", "--engine-python", python, file=[resource]).code == 0


def test_the_engine_is_not_asked_about_what_is_refused_already(
    checked: Any, folders: list[str], tmp_path: Path
) -> None:
    python = stand_in(tmp_path, "sys.exit(3)")
    run = checked(
        *folders, "--engine", "--engine-python", python, file=[inputs.resource({"engine": {"args": ["--sed=42"]}})]
    )
    assert run.code == 2
    assert "the engine was not asked: there is no command for it yet" in run.out


def test_code_of_a_repository_is_never_run(
    checked: Any, folders: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPECULATOR_ALLOW_REMOTE_CODE", "true")
    python = stand_in(tmp_path, "sys.exit(3)")
    resource = inputs.resource({"engine": {"args": ["--trust_remote_code"]}})
    run = checked(*folders, "--engine", "--engine-python", python, file=[resource])
    assert run.code == 0
    assert "it would run code of the model's repository" in run.out


def test_an_engine_that_hangs_is_ended(
    checked: Any, folders: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_process, "START_SECONDS", 0.2)
    monkeypatch.setattr(engine_process, "ANSWER_SECONDS", 0.0)
    python = stand_in(tmp_path, "import signal\nsignal.pause()")
    run = checked(*folders, "--engine", "--engine-python", python, file=[inputs.resource({})])
    assert run.code == 1
    assert "undetermined: the engine has not answered within 0 seconds" in run.out


def test_a_python_without_the_engine_is_wrong_usage(checked: Any, folders: list[str], tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    run = checked(*folders, "--engine", "--engine-python", str(program), file=[inputs.resource({})])
    assert (run.code, run.out) == (64, "")
    assert "has no vLLM. Install it" in run.err


def test_the_file_that_is_asked_about_need_not_say_a_namespace() -> None:
    report = check.Report("cr.yaml", None, "a", ())
    assert list(check.lines(report, 80)) == ["default/a (cr.yaml): nothing found"]
