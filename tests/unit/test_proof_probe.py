"""The startup probe against an engine that answers as the case says. Nothing here is a real process's end."""

from __future__ import annotations

import http.server
import inspect
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from speculator_operator.core import proof_probe

NO_SERIES = 'vllm:num_requests_running{engine="0"} 0.0\n'


def counter(*values: float) -> str:
    lines = [f'vllm:spec_decode_num_drafts_total{{engine="{n}"}} {value}\n' for n, value in enumerate(values)]
    return NO_SERIES + "".join(lines) + 'vllm:spec_decode_num_drafts_created{engine="0"} 1.79e+09\n'


@dataclass
class Engine:
    """What the engine answers, and what it was asked."""

    port: int = 0
    health: int = 200
    before: str = field(default_factory=lambda: counter(0))
    after: str = field(default_factory=lambda: counter(15))
    completion: tuple[int, str] = (200, "{}")
    hangs: str = ""
    canaries: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def answer(self, path: str, body: bytes, key: str | None) -> tuple[int, str]:
        if path == self.hangs:
            self.released.wait()
        if path == "/health":
            return self.health, ""
        if path == "/metrics":
            return 200, self.after if self.canaries else self.before
        self.canaries.append(json.loads(body))
        self.keys.append(key)
        return self.completion


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, text = engine.answer(self.path, body, self.headers.get("Authorization"))
            try:
                self.send_response(status)
                self.end_headers()
                self.wfile.write(text.encode())
            except OSError:
                pass  # the probe didn't wait

        def do_GET(self) -> None:
            self.do_POST()

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        engine.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield engine
        engine.released.set()
        server.shutdown()
        thread.join()


@dataclass
class Container:
    """The probe's surroundings: processes, files, and the signals that it sends."""

    folder: Path
    signals: list[tuple[int, int]] = field(default_factory=list)

    def start(self, ticks: int, command: str = "python3\0vllm\0serve") -> None:
        for pid, text in ((1, command), (7, "VLLM::EngineCore"), (os.getpid(), "python3")):
            process = self.folder / "proc" / str(pid)
            process.mkdir(parents=True, exist_ok=True)
            (process / "cmdline").write_text(text)
            (process / "stat").write_text(f"{pid} (a) b) S " + "0 " * 18 + f"{ticks} 0 0")

    @property
    def message(self) -> str:
        return (self.folder / "termination-log").read_text()


@pytest.fixture
def container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Container]:
    container = Container(tmp_path)
    container.start(4711)
    (tmp_path / "termination-log").touch()
    monkeypatch.setattr(proof_probe, "TERMINATION_LOG", tmp_path / "termination-log")
    monkeypatch.setattr(proof_probe, "STATE", tmp_path)
    monkeypatch.setattr(proof_probe, "PROC", tmp_path / "proc")
    monkeypatch.setattr(proof_probe, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr(os, "kill", lambda pid, number: container.signals.append((pid, number)))
    yield container
    signal.alarm(0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


def probe(engine: Engine, mode: str = "required", tries: int = 3) -> int:
    return proof_probe.main([mode, str(engine.port), str(tries)])


def test_an_engine_that_drafts_on_the_canary_passes(engine: Engine, container: Container) -> None:
    assert probe(engine) == 0
    (canary,) = engine.canaries
    (token,) = canary["allowed_token_ids"]
    assert set(canary["prompt"]) == {token}
    assert canary["ignore_eos"] is True
    assert canary["temperature"] == 0
    assert canary["max_tokens"] == 16
    assert "model" not in canary
    assert container.message == ""


@pytest.mark.usefixtures("container")
def test_an_engine_that_has_drafted_before_is_sent_nothing(engine: Engine) -> None:
    engine.before = counter(0, 3)
    assert probe(engine) == 0
    assert engine.canaries == []


@pytest.mark.usefixtures("container")
def test_the_drafts_of_all_ranks_count(engine: Engine) -> None:
    engine.after = counter(0, 0, 4)
    assert probe(engine) == 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(
            {"before": NO_SERIES, "after": NO_SERIES},
            "/metrics has no vllm:spec_decode_num_drafts_total: it runs without a speculative config",
            id="without a speculative config there is no counter",
        ),
        pytest.param(
            {"after": counter(0)},
            "vllm:spec_decode_num_drafts_total is still 0 after an answered canary",
            id="a drafter that is skipped leaves the counter at 0",
        ),
        pytest.param(
            {"completion": (400, '{"error":\n "too long"}'), "after": counter(0)},
            'the canary was refused: HTTP 400 {"error": "too long"}',
            id="a refused canary is told with the engine's words",
        ),
    ],
)
def test_what_was_seen_is_left_when_the_tries_are_used_up(
    engine: Engine, container: Container, change: dict[str, Any], reason: str
) -> None:
    for name, value in change.items():
        setattr(engine, name, value)
    assert probe(engine, tries=2) == 1
    assert container.signals == []
    assert container.message == ""
    assert probe(engine, tries=2) == 1
    assert container.message == f"The engine serves, but has not drafted (canary 2 of 2): {reason}"
    assert container.signals == [(1, signal.SIGTERM), (7, signal.SIGKILL)]


@pytest.mark.usefixtures("container")
def test_each_try_has_a_prompt_that_no_cache_holds(engine: Engine) -> None:
    engine.after = counter(0)
    probe(engine)
    probe(engine)
    first, second = (canary["prompt"] for canary in engine.canaries)
    assert first[0] != second[0]
    assert len(first) != len(second)


def test_a_restarted_container_has_all_its_tries_again(engine: Engine, container: Container) -> None:
    engine.after = counter(0)
    assert probe(engine, tries=2) == 1
    container.start(9999)
    assert probe(engine, tries=2) == 1
    assert container.signals == []


def test_a_first_process_that_is_no_engine_is_left_alone(engine: Engine, container: Container) -> None:
    container.start(4711, command="/sbin/init")
    engine.after = counter(0)
    assert probe(engine, tries=1) == 1
    assert container.signals == []


def test_an_engine_that_is_loading_loses_no_try(engine: Engine, container: Container) -> None:
    engine.health = 503
    assert [probe(engine, tries=1) for _ in range(3)] == [1, 1, 1]
    assert container.signals == []
    engine.health = 200
    assert probe(engine, tries=1) == 0


def test_nobody_listening_is_an_engine_that_is_loading(container: Container) -> None:
    assert proof_probe.main(["required", "1", "1"]) == 1
    assert container.signals == []


@pytest.mark.parametrize("path", ["/v1/completions", "/metrics"])
def test_a_canary_that_hangs_uses_up_a_try(
    engine: Engine, container: Container, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(proof_probe, "WORK_SECONDS", 2)
    engine.hangs = path
    assert probe(engine, tries=1) == 1
    assert "no answer in 2 s" in container.message
    assert (1, signal.SIGTERM) in container.signals


def test_a_health_check_that_hangs_loses_no_try(
    engine: Engine, container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof_probe, "WORK_SECONDS", 2)
    engine.hangs = "/health"
    assert probe(engine, tries=1) == 1
    assert container.signals == []


@pytest.mark.parametrize("completion", [(200, "{}"), (400, "no")])
def test_a_report_sends_one_canary_and_gates_nothing(
    engine: Engine, container: Container, completion: tuple[int, str]
) -> None:
    engine.completion, engine.after = completion, counter(0)
    assert probe(engine, mode="report", tries=1) == 0
    assert len(engine.canaries) == 1
    assert container.message == ""
    assert container.signals == []


@pytest.mark.usefixtures("container")
def test_health_sends_no_canary(engine: Engine) -> None:
    assert probe(engine, mode="health") == 0
    assert engine.canaries == []


def told(engine: Engine, capsys: pytest.CaptureFixture[str], mode: str) -> dict[str, Any]:
    assert probe(engine, mode=mode) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.usefixtures("container")
def test_counters_are_told_as_they_are_and_nothing_is_sent(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    engine.before = counter(3, 4)
    found = told(engine, capsys, "counters")
    assert found["before"] == found["after"] == engine.before.removeprefix(NO_SERIES).rstrip()
    assert found["problem"] == ""
    assert engine.canaries == []


@pytest.mark.usefixtures("container")
def test_a_canary_is_sent_though_the_engine_has_drafted_before(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.before = counter(3)
    found = told(engine, capsys, "canary")
    assert 'num_drafts_total{engine="0"} 3' in found["before"]
    assert 'num_drafts_total{engine="0"} 15' in found["after"]
    assert found["problem"] == ""
    (canary,) = engine.canaries
    assert len(canary["prompt"]) + canary["max_tokens"] <= proof_probe.CANARY_TOKENS
    assert canary["allowed_token_ids"][0] > 10 + proof_probe.TRIES, "not one that a probe's try may have cached"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        pytest.param(
            {"before": counter(7), "after": counter(7)},
            "vllm:spec_decode_num_drafts_total is still 7 after an answered canary",
            id="an engine that has stopped drafting",
        ),
        pytest.param({"completion": (401, "no key")}, "the canary was refused: HTTP 401 no key", id="a refusal"),
        pytest.param({"before": NO_SERIES, "after": NO_SERIES}, "it runs without a speculative config", id="none"),
    ],
)
def test_a_canary_that_nothing_is_drafted_for_is_told_and_ends_nothing(
    engine: Engine,
    container: Container,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, Any],
    problem: str,
) -> None:
    for name, value in change.items():
        setattr(engine, name, value)
    for _ in range(proof_probe.TRIES + 1):
        assert problem in told(engine, capsys, "canary")["problem"]
    assert container.signals == []
    assert container.message == ""


def test_nobody_listening_is_told_too(container: Container, capsys: pytest.CaptureFixture[str]) -> None:
    assert proof_probe.main(["counters", "1"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["before"], found["after"]) == (None, None)
    assert "ConnectionRefusedError" in found["problem"]
    assert container.signals == []


@pytest.mark.usefixtures("container")
def test_the_api_key_is_sent(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "s3cret")
    assert probe(engine) == 0
    assert engine.keys == ["Bearer s3cret"]


@pytest.mark.usefixtures("container")
@pytest.mark.parametrize("key", ["s3cret\n", "s3cret\r", "s3cr\u20act", "s3\x00cret"])
def test_an_api_key_that_no_header_takes_is_never_shown(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("os.environ", {"VLLM_API_KEY": key})
        assert probe(engine) == 1
    said = "".join(capsys.readouterr())
    assert "the API key" in said
    assert "s3" not in said
    assert engine.canaries == []


def test_the_source_runs_by_itself(engine: Engine) -> None:
    source = inspect.getsource(proof_probe)
    command = [sys.executable, "-I", "-S", "-c", source, "health", str(engine.port)]
    assert subprocess.run(command, timeout=30, check=False).returncode == 0
    engine.health = 503
    assert subprocess.run(command, timeout=30, check=False).returncode == 1


def test_the_source_is_small_and_has_nothing_that_kubernetes_expands() -> None:
    source = inspect.getsource(proof_probe)
    assert len(source) < 8192
    assert "$" not in source


def test_a_probe_has_time_to_end_the_container_before_its_own_timeout() -> None:
    assert proof_probe.WORK_SECONDS + 5 < proof_probe.TIMEOUT_SECONDS
    assert proof_probe.BUDGET_SECONDS > proof_probe.TRIES * proof_probe.TIMEOUT_SECONDS
