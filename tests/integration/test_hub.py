"""The hub adapter against the test hub: the real client, real connections, no cluster."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from speculator_operator import hub as hub_module
from speculator_operator.errors import OperatorError, Refused, Waiting
from speculator_operator.hub import Hub
from speculator_operator.reference import Kind, Reference
from tools import testhub

REPO = "org/model"
MODEL = Reference(Kind.HUB, REPO)
CONFIG = {"model_type": "llama", "hidden_size": 64}
TIMEOUT = 5.0


@pytest.fixture
def server() -> Iterator[testhub.Hub]:
    with testhub.Hub() as hub:
        hub.commit(REPO, {"config.json": json.dumps(CONFIG).encode(), "model.safetensors": b"weights"})
        yield hub


def client(server: testhub.Hub, **options: Any) -> Hub:
    return Hub(server.url, **{"timeout": TIMEOUT, **options})


async def failure(hub: Hub, uri: str = REPO, revision: str | None = None) -> OperatorError:
    with pytest.raises(OperatorError) as raised:
        await hub.read(Reference(Kind.HUB, uri, revision=revision))
    return raised.value


# What is read.


async def test_a_branch_is_read_at_its_commit(server: testhub.Hub) -> None:
    old = server.commit(REPO, {"config.json": b'{"age": "old"}'}, branch="feature/x")
    new = server.commit(REPO, {"config.json": b'{"age": "new"}'}, branch="feature/x")

    branch = await client(server).read(MODEL.at("feature/x"))
    pinned = await client(server).read(MODEL.at(old))
    main = await client(server).read(MODEL)

    assert (branch.uri, branch.revision, branch.config) == (REPO, new, {"age": "new"})
    assert (pinned.revision, pinned.config) == (old, {"age": "old"})
    assert main.config == CONFIG


async def test_a_branch_that_moves_between_the_two_requests_changes_nothing(server: testhub.Hub) -> None:
    before = server.commit(REPO, {"config.json": b'{"age": "before"}'})

    def move(request: testhub.Request) -> None:
        if "/revision/" in request.path:
            server.commit(REPO, {"config.json": b'{"age": "after"}'})

    server.observe = move
    snapshot = await client(server).read(MODEL.at("main"))

    assert (snapshot.revision, snapshot.config) == (before, {"age": "before"})
    assert [request.path for request in server.requests][-1] == f"/{REPO}/resolve/{before}/config.json"


async def test_small_files_are_followed_to_where_the_hub_keeps_them(server: testhub.Hub) -> None:
    server.fail(REPO, "moved", on="files")
    assert (await client(server).read(MODEL)).config == CONFIG


async def test_a_commit_costs_one_request_and_a_branch_two(server: testhub.Hub) -> None:
    commit = (await client(server).read(MODEL)).revision
    assert len(server.requests) == 2
    await client(server).read(MODEL.at(commit))
    assert len(server.requests) == 3


async def test_a_commit_that_was_just_read_is_not_read_again_and_a_branch_is(server: testhub.Hub) -> None:
    hub = client(server)
    first = await hub.read(MODEL)
    assert await hub.read(MODEL) == first
    assert await hub.read(MODEL.at(first.revision)) == first
    assert len(server.requests) == 3

    server.commit(REPO, {"config.json": b'{"age": "after"}'})
    assert (await hub.read(MODEL)).config == {"age": "after"}


async def test_what_was_read_is_forgotten_after_a_while_and_large_bodies_at_once(
    server: testhub.Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = client(server)
    monkeypatch.setattr("speculator_operator.hub.KEPT_SECONDS", 0.0)
    commit = (await hub.read(MODEL)).revision
    await hub.read(MODEL.at(commit))
    assert len(server.requests) == 3

    monkeypatch.undo()
    monkeypatch.setattr("speculator_operator.hub.KEPT_BYTES", 1)
    hub = client(server)
    await hub.read(MODEL.at(commit))
    await hub.read(MODEL.at(commit))
    assert len(server.requests) == 5


async def test_the_environment_neither_adds_a_token_nor_takes_the_hub_away(
    server: testhub.Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert (await client(server).read(MODEL)).config == CONFIG
    assert [request.authorization for request in server.requests] == [None, None]


async def test_no_address_is_logged(server: testhub.Hub, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    await client(server).read(MODEL)
    assert server.url not in caplog.text


async def test_an_endpoint_may_end_in_a_slash(server: testhub.Hub) -> None:
    assert (await Hub(f"{server.url}/", timeout=TIMEOUT).read(MODEL)).config == CONFIG


async def test_duplicates_and_infinity_are_read_as_the_engine_reads_them(server: testhub.Hub) -> None:
    server.commit(REPO, {"config.json": b'{"a": 1, "a": 2, "time_step_limit": [0.0, Infinity]}'})
    assert (await client(server).read(MODEL)).config == {"a": 2, "time_step_limit": [0.0, float("inf")]}


LONG_NUMBER = b'{"a": %s}' % (b"9" * 10_000)
DEEP = b'{"a": %s%s}' % (b"[" * 70, b"]" * 70)

# Failures: (fault, its options, the part it hits, kind, reason).

FAILURES = {
    "an absent or private repository (401)": ("unauthorized", {}, "all", Refused, "ModelUnauthorized"),
    "a gated repository (403)": ("gated", {}, "all", Refused, "ModelGated"),
    "a gated repository whose information is public": ("gated", {}, "files", Refused, "ModelGated"),
    "a forbidden repository (403 without a code)": ("forbidden", {}, "all", Refused, "ModelUnauthorized"),
    "an absent repository (404)": ("repository-missing", {}, "all", Refused, "ModelNotFound"),
    "an absent revision": ("revision-missing", {}, "all", Refused, "RevisionNotFound"),
    "a commit that is gone when its file is read": ("revision-missing", {}, "files", Refused, "RevisionNotFound"),
    "no config.json": ("entry-missing", {}, "files", Refused, "ConfigMissing"),
    "an array for a config": ("replaced", {"body": b"[1, 2]"}, "files", Refused, "ConfigMalformed"),
    "a number for a config": ("replaced", {"body": b"42"}, "files", Refused, "ConfigMalformed"),
    "nothing for a config": ("replaced", {"body": b""}, "files", Refused, "ConfigMalformed"),
    "garbage for a config": ("replaced", {"body": b"<html>\xff</html>"}, "files", Refused, "ConfigMalformed"),
    "a config that is cut off": ("replaced", {"body": b'{"model_type": "lla'}, "files", Refused, "ConfigMalformed"),
    "half a surrogate": ("replaced", {"body": b'{"a": "\\ud800"}'}, "files", Refused, "ConfigMalformed"),
    "a number of ten thousand digits": ("replaced", {"body": LONG_NUMBER}, "files", Refused, "ConfigMalformed"),
    "a nest a little too deep": ("replaced", {"body": DEEP}, "files", Refused, "ConfigMalformed"),
    "a nest that breaks parsers": ("replaced", {"body": b'{"a":' * 100_000}, "files", Refused, "ConfigMalformed"),
    "a request too many": ("throttled", {}, "all", Waiting, "HubThrottled"),
    "a request too many, for the file only": ("throttled", {}, "files", Waiting, "HubThrottled"),
    "an internal error": ("error", {}, "all", Waiting, "HubUnavailable"),
    "a bad gateway for the file": ("error", {"status": 502}, "files", Waiting, "HubUnavailable"),
    "an answer that no one expects": ("error", {"status": 418}, "all", Waiting, "HubUnavailable"),
    "a connection that is dropped": ("dropped", {}, "all", Waiting, "HubUnavailable"),
    "a body that is cut off": ("truncated", {}, "files", Waiting, "HubUnavailable"),
    "information that is cut off": ("truncated", {}, "api", Waiting, "HubUnavailable"),
    "redirects in a circle": ("looping", {}, "files", Waiting, "HubUnavailable"),
    "information that isn't JSON": ("replaced", {"body": b"<html>"}, "api", Waiting, "HubUnavailable"),
    "information without a commit": ("replaced", {"body": b"{}"}, "api", Waiting, "HubUnavailable"),
    "a commit that is none": ("replaced", {"body": b'{"sha": "../../main"}'}, "api", Waiting, "HubUnavailable"),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "options", "on", "outcome", "reason"), FAILURES.values(), ids=FAILURES)
async def test_each_failure_has_its_reason(
    server: testhub.Hub, kind: Any, options: dict[str, Any], on: Any, outcome: type[OperatorError], reason: str
) -> None:
    server.fail(REPO, kind, on=on, **options)
    started = time.monotonic()
    error = await failure(client(server))

    assert type(error) is outcome
    assert error.reason == reason
    assert REPO in error.message
    assert len(error.message) < 800
    assert "\n" not in error.message
    assert time.monotonic() - started < TIMEOUT / 2, "nothing is retried or slept for inside a read"

    server.mend(REPO)
    assert (await client(server).read(MODEL)).config == CONFIG


@pytest.mark.parametrize(
    ("guarded", "reason"),
    [({"gated": True}, "ModelGated"), ({"gated": False}, "ModelUnauthorized")],
    ids=["gated", "private"],
)
async def test_a_guarded_repository_is_refused_without_a_token(
    server: testhub.Hub, guarded: dict[str, bool], reason: str
) -> None:
    server.guard(REPO, "hf_secret", **guarded)
    error = await failure(client(server))
    assert isinstance(error, Refused)
    assert error.reason == reason
    assert "Only public repositories can be read" in error.message


async def test_a_message_names_repository_revision_and_endpoint(server: testhub.Hub) -> None:
    error = await failure(client(server), revision="no-such-branch")
    assert error.reason == "RevisionNotFound"
    for part in (REPO, "no-such-branch", server.url):
        assert part in error.message


# Names that must not become part of an address.


@pytest.mark.parametrize(
    "uri", ["", "a/b/c", "../etc", "org/..", "org/na me", "org/x?y", "/abs", "http://x/y", "a" * 500]
)
async def test_what_is_no_repository_id_is_not_asked_for(server: testhub.Hub, uri: str) -> None:
    error = await failure(client(server), uri=uri)
    assert error.reason == "ModelNotFound"
    assert not server.requests


@pytest.mark.parametrize("revision", ["..", "a..b", ".", "a b", "a\nb", "x" * 300, "a?b"])
async def test_what_can_be_no_revision_is_not_asked_for(server: testhub.Hub, revision: str) -> None:
    error = await failure(client(server), revision=revision)
    assert error.reason == "RevisionNotFound"
    assert not server.requests


@pytest.mark.parametrize(
    "endpoint",
    ["huggingface.co", "ftp://hub", "https://", "https://user:secret@hub", "http://hub:port", "http://hub?x"],
)
def test_an_endpoint_that_is_none_is_refused(endpoint: str) -> None:
    with pytest.raises(ValueError, match="endpoint must") as raised:
        Hub(endpoint, timeout=TIMEOUT)
    assert "user:secret" not in str(raised.value)


# Bounds.


@pytest.mark.parametrize(
    ("options", "seconds"),
    [
        ({"retry_after": 90}, 90),
        ({"retry_after": 42, "rate_limit": True}, 42),
        ({"retry_after": None}, 60),
        ({"retry_after": 0}, 1),
        ({"retry_after": 10**12}, 60),
        ({"retry_after": 86400}, 3600),
        ({"retry_after": "soon"}, 60),
        ({"retry_after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 1),
    ],
)
async def test_a_throttled_read_waits_as_long_as_the_hub_says_within_bounds(
    server: testhub.Hub, options: dict[str, Any], seconds: float
) -> None:
    server.fail(REPO, "throttled", **options)
    error = await failure(client(server))
    assert isinstance(error, Waiting)
    assert error.retry_after == seconds


@pytest.mark.parametrize("on", ["api", "files"])
@pytest.mark.parametrize(("kind", "options"), [("hung", {}), ("slow", {"seconds": 30}), ("trickle", {"seconds": 0.05})])
async def test_a_hub_that_takes_too_long_is_given_up(
    server: testhub.Hub, kind: Any, options: dict[str, Any], on: Any
) -> None:
    server.fail(REPO, kind, on=on, **options)
    started = time.monotonic()
    error = await failure(client(server, timeout=0.5))
    assert isinstance(error, Waiting)
    assert error.reason == "HubUnavailable"
    assert "0.5 seconds" in error.message
    assert time.monotonic() - started < 15


async def test_many_reads_of_a_hung_hub_hold_few_connections_no_threads_and_end_in_time(
    server: testhub.Hub,
) -> None:
    server.fail(REPO, "hung")
    hub = client(server, timeout=1.0)
    threads = {thread for thread in threading.enumerate() if "process_request" not in thread.name}
    started = time.monotonic()
    errors = await asyncio.gather(*(failure(hub) for _ in range(400)))
    took = time.monotonic() - started

    assert {error.reason for error in errors} == {"HubUnavailable"}
    assert took < 15  # one batch after the other would take 25
    # As the first ones give up, a few of the waiting start before their own deadline ends them.
    assert len(server.requests) <= 2 * hub_module.MAX_READS
    left = {thread for thread in threading.enumerate() if "process_request" not in thread.name} - threads
    assert not left
    server.mend(REPO)
    assert (await hub.read(MODEL)).config == CONFIG


async def test_the_loop_goes_on_while_a_read_hangs(server: testhub.Hub) -> None:
    server.fail(REPO, "hung")
    reading = asyncio.create_task(failure(client(server, timeout=2.0)))
    ticks = 0
    while not reading.done():
        await asyncio.sleep(0.01)
        ticks += 1
    assert ticks > 10


@pytest.mark.parametrize(("on", "reason"), [("files", "ConfigTooLarge"), ("api", "HubUnavailable")])
async def test_a_body_without_end_is_cut_by_counting(server: testhub.Hub, on: Any, reason: str) -> None:
    server.fail(REPO, "endless", on=on)
    error = await failure(client(server, max_bytes=1_000_000))
    assert error.reason == reason


async def test_a_config_of_exactly_the_limit_is_read_and_one_byte_more_is_not(server: testhub.Hub) -> None:
    body = json.dumps({"a": "x" * 1000}).encode()
    server.commit(REPO, {"config.json": body})
    assert (await client(server, max_bytes=len(body)).read(MODEL)).config["a"] == "x" * 1000
    error = await failure(client(server, max_bytes=len(body) - 1))
    assert isinstance(error, Refused)
    assert error.reason == "ConfigTooLarge"


async def test_a_hub_that_is_not_there_is_waited_for() -> None:
    with testhub.Hub() as gone:
        address = gone.url
    error = await failure(Hub(address, timeout=TIMEOUT))
    assert isinstance(error, Waiting)
    assert error.reason == "HubUnavailable"
    assert address in error.message


async def test_a_certificate_that_cannot_be_trusted_is_the_hubs_fault(server: testhub.Hub) -> None:
    error = await failure(Hub(server.url.replace("http:", "https:"), timeout=TIMEOUT))
    assert isinstance(error, Waiting)
    assert error.reason == "HubUnavailable"
