"""The hub adapter against the test hub: the real client, real connections, no cluster."""

from __future__ import annotations

import asyncio
import json
import math
import re
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from speculator_operator import download
from speculator_operator import hub as hub_module
from speculator_operator.download import MARK, PARTIAL
from speculator_operator.errors import OperatorError, Refused, Waiting
from speculator_operator.hub import Hub
from speculator_operator.reference import Kind, Reference
from tests.support.eventually import eventually_async
from tools import testhub
from tools.localcluster.ports import held_port

REPO = "org/model"
MODEL = Reference(Kind.HUB, REPO)
CONFIG = {"model_type": "llama", "hidden_size": 64}
FILES = {"config.json": json.dumps(CONFIG).encode(), "model.safetensors": b"weights"}
TOKEN = "hf_a-token-that-nobody-else-may-see"  # noqa: S105 - of the test hub
TIMEOUT = 5.0


@pytest.fixture
def server() -> Iterator[testhub.Hub]:
    with testhub.Hub() as hub:
        hub.commit(REPO, FILES)
        yield hub


@pytest.fixture
def elsewhere() -> Iterator[testhub.Hub]:
    """Another origin, with the same commit."""
    with testhub.Hub() as hub:
        hub.commit(REPO, FILES)
        yield hub


@pytest.fixture
def nobodys() -> Iterator[int]:
    """A port that nobody listens at, until the test does."""
    with held_port() as port:
        yield port


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def client(server: testhub.Hub, **options: Any) -> Hub:
    return Hub(server.url, **{"timeout": TIMEOUT, **options})


async def failure(hub: Hub, uri: str = REPO, revision: str | None = None) -> OperatorError:
    with pytest.raises(OperatorError) as raised:
        await hub.read(Reference(Kind.HUB, uri, revision=revision))
    return raised.value


BYTES = {"BF16": 2, "F32": 4, "I64": 8}


def asked(server: testhub.Hub) -> Counter[str]:
    """How often the hub was asked for what."""
    paths = (request.path for request in server.requests)
    found = (re.search(r"/(revision|tree|resolve)/[^?]*(?:\?expand=(safetensors))?", path) for path in paths)
    return Counter(match[2] or match[1] for match in found if match)


async def until_asked(server: testhub.Hub, what: str) -> None:
    async def seen() -> bool:
        return asked(server)[what] > 0

    await eventually_async(seen)


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
        if "/revision/main" in request.path:
            server.commit(REPO, {"config.json": b'{"age": "after"}'})

    server.observe = move
    snapshot = await client(server).read(MODEL.at("main"))

    assert (snapshot.revision, snapshot.config) == (before, {"age": "before"})
    assert [request.path for request in server.requests][1:] == [
        f"/{REPO}/resolve/{before}/config.json",
        f"/api/models/{REPO}/tree/{before}",
        f"/api/models/{REPO}/revision/{before}?expand=safetensors",
    ]


async def test_small_files_are_followed_to_where_the_hub_keeps_them(server: testhub.Hub) -> None:
    server.fail(REPO, "moved", on="files")
    assert (await client(server).read(MODEL)).config == CONFIG


async def test_the_roots_files_are_listed_with_their_sizes_from_all_pages(server: testhub.Hub) -> None:
    server.page = 2
    weights = {f"model-0000{number}.safetensors": b"x" * number for number in range(1, 6)}
    server.commit(REPO, {**FILES, **weights, "original/consolidated.pth": b"x" * 100})

    snapshot = await client(server).read(MODEL)

    sizes = {name: len(content) for name, content in {**FILES, **weights}.items()}
    assert snapshot.files == sizes
    assert asked(server)["tree"] == 4


def weights(**tensors: tuple[str, list[int]]) -> bytes:
    """A safetensors file with such tensors, all of zeros."""
    described, end = {}, 0
    for name, (kind, shape) in tensors.items():
        start, end = end, end + math.prod(shape) * BYTES[kind]
        described[name] = {"dtype": kind, "shape": shape, "data_offsets": [start, end]}
    header = json.dumps({"__metadata__": {"format": "pt"}, **described}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(end)


async def test_what_types_the_weights_are_of_is_known_if_the_hub_says_it(server: testhub.Hub) -> None:
    one = weights(a=("BF16", [4, 2]), b=("I64", []))
    other = weights(c=("F32", [3]), d=("BF16", [5]))
    index = {"weight_map": {"a": "one.safetensors", "b": "one.safetensors", "c": "other.safetensors"}}
    commit = server.commit(
        REPO,
        {
            **FILES,
            "one.safetensors": one,
            "other.safetensors": other,
            "model.safetensors.index.json": json.dumps(index).encode(),
        },
    )
    hub = client(server)
    snapshot = await hub.read(MODEL)
    assert snapshot.parameters == {"BF16": 13, "I64": 1, "F32": 3}
    assert (await hub.read(MODEL.at(commit))).parameters == snapshot.parameters

    server.commit(REPO, FILES)
    assert (await hub.read(MODEL)).parameters is None


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b'{"sha": "a"}',
        b'{"safetensors": {"total": 3}}',
        b'{"safetensors": {"parameters": {}}}',
        b'{"safetensors": {"parameters": {"F32": -1}}}',
        b'{"safetensors": {"parameters": {"F32": 1.5}}}',
        b'{"safetensors": {"parameters": {"a name that no type has": 1}}}',
    ],
)
async def test_a_hub_that_says_it_in_other_words_has_not_said_it(server: testhub.Hub, body: bytes) -> None:
    commit = server.commit(REPO, FILES)

    def replace(request: testhub.Request) -> None:
        if "/tree/" in request.path:
            server.fail(REPO, "replaced", on="api", body=body)

    server.observe = replace
    snapshot = await client(server).read(MODEL.at(commit))
    assert (snapshot.config, snapshot.parameters) == (CONFIG, None)


@pytest.mark.parametrize("fault", ["error", "forbidden", "entry-missing", "hung", "dropped", "truncated", "endless"])
async def test_a_hub_that_fails_at_that_question_alone_has_not_said_it(server: testhub.Hub, fault: Any) -> None:
    commit = server.commit(REPO, FILES)

    def fail(request: testhub.Request) -> None:
        if "/tree/" in request.path:
            server.fail(REPO, fault, on="api")

    server.observe = fail
    snapshot = await client(server).read(MODEL.at(commit))
    assert (snapshot.config, snapshot.parameters) == (CONFIG, None)


async def test_a_hub_that_limits_that_question_is_asked_again_later(server: testhub.Hub) -> None:
    commit = server.commit(REPO, FILES)

    def limit(request: testhub.Request) -> None:
        if "/tree/" in request.path:
            server.fail(REPO, "throttled", on="api")

    server.observe = limit
    assert (await failure(client(server), revision=commit)).reason == "HubThrottled"


async def test_a_mirror_that_lists_nothing_is_read_without(server: testhub.Hub) -> None:
    commit = server.commit(REPO, FILES)
    server.fail(REPO, "error", on="api", status=404)
    snapshot = await client(server).read(MODEL.at(commit))
    assert (snapshot.config, snapshot.files) == (CONFIG, None)


async def test_a_mirror_may_be_under_a_path(server: testhub.Hub) -> None:
    with testhub.Hub(prefix="/hf/mirror", page=1) as mirror:
        mirror.commit(REPO, FILES)
        mirror.fail(REPO, "moved", on="files")
        snapshot = await client(mirror).read(MODEL)
    assert snapshot.config == CONFIG
    assert snapshot.files == {name: len(content) for name, content in FILES.items()}
    assert all(request.path.startswith("/hf/mirror/") for request in mirror.requests)
    assert not server.requests


async def test_the_next_page_is_asked_for_at_the_hub_wherever_a_link_points(
    server: testhub.Hub, elsewhere: testhub.Hub
) -> None:
    commit = server.commit(REPO, FILES)
    link = {"Link": f'<{elsewhere.url}/api/models/{REPO}/tree/{commit}?cursor=2>; rel="next"'}
    server.fail(REPO, "replaced", on="api", times=1, body=b'[{"type": "file", "path": "a", "size": 1}]', headers=link)

    snapshot = await client(server, token=TOKEN).read(MODEL.at(commit))

    assert snapshot.files == {"a": 1}
    assert server.requests[-2].path == f"/api/models/{REPO}/tree/{commit}?cursor=2"
    assert not elsewhere.requests


@pytest.mark.parametrize(("page", "max_bytes"), [(1, 1_000_000), (1000, 1000)], ids=["in pages", "in bytes"])
async def test_a_list_of_files_has_an_end(server: testhub.Hub, page: int, max_bytes: int) -> None:
    server.page = page
    most = {"config.json": b'{"a": 1}'} | {f"{number:02}": b"" for number in range(1, hub_module.MAX_PAGES)}
    server.commit(REPO, most)
    assert (await client(server).read(MODEL)).files == {name: len(content) for name, content in most.items()}

    commit = server.commit(REPO, {**most, "one more": b""})
    error = await failure(client(server, max_bytes=max_bytes))
    assert isinstance(error, Refused)
    assert error.reason == "FilesTooMany"
    assert commit in error.message


# What is read once.


async def test_a_thousand_reads_of_ten_repositories_ask_for_each_thing_once(server: testhub.Hub) -> None:
    commits = {f"org/model-{number}": server.commit(f"org/model-{number}", FILES) for number in range(10)}
    hub = client(server, timeout=30)

    for _ in range(2):
        reads = [hub.read(Reference(Kind.HUB, repo), max_age=60) for _ in range(100) for repo in commits]
        snapshots = await asyncio.gather(*reads)
        assert Counter((each.uri, each.revision) for each in snapshots) == dict.fromkeys(commits.items(), 100)
        assert all(each.config == CONFIG for each in snapshots)
        assert asked(server) == {"revision": 10, "resolve": 10, "tree": 10, "safetensors": 10}


async def test_branches_on_one_commit_share_what_it_holds(server: testhub.Hub) -> None:
    commit = server.commit(REPO, FILES)
    server.branch(REPO, "next", commit)
    hub = client(server)
    snapshots = await asyncio.gather(*(hub.read(MODEL.at(name)) for name in ("main", "next", commit)))
    assert [each.revision for each in snapshots] == [commit] * 3
    assert asked(server) == {"revision": 2, "resolve": 1, "tree": 1, "safetensors": 1}


async def test_a_branch_that_has_moved_is_seen_as_soon_as_is_wanted(server: testhub.Hub) -> None:
    clock = Clock()
    hub = client(server, clock=clock)
    old = (await hub.read(MODEL)).revision
    new = server.commit(REPO, {"config.json": b'{"age": "new"}'})

    clock.now = 59.0
    assert (await hub.read(MODEL, max_age=60)).revision == old
    assert asked(server)["revision"] == 1
    clock.now = 60.0
    assert (await hub.read(MODEL, max_age=60)).revision == new
    newest = server.commit(REPO, {"config.json": b'{"age": "newest"}'})
    assert (await hub.read(MODEL, max_age=60)).revision == new
    assert (await hub.read(MODEL)).revision == newest
    assert (await hub.read(MODEL, max_age=60)).revision == newest


async def test_a_commit_is_read_once_however_long_ago(server: testhub.Hub) -> None:
    clock = Clock()
    hub = client(server, clock=clock)
    first = await hub.read(MODEL)
    clock.now = 1e9
    assert await hub.read(MODEL) == first
    assert await hub.read(MODEL.at(first.revision)) == first
    assert asked(server) == {"revision": 2, "resolve": 1, "tree": 1, "safetensors": 1}


async def test_a_reader_that_is_cancelled_takes_nothing_from_the_others(server: testhub.Hub) -> None:
    server.fail(REPO, "slow", on="files", seconds=60)
    hub = client(server, timeout=30)
    first, second, third = (asyncio.create_task(hub.read(MODEL)) for _ in range(3))
    await until_asked(server, "revision")
    first.cancel()
    third.cancel()
    await asyncio.wait({first, third})
    assert first.cancelled()
    assert third.cancelled()

    server.mend(REPO)
    assert (await second).config == CONFIG
    assert asked(server) == {"revision": 1, "resolve": 1, "tree": 1, "safetensors": 1}


async def test_many_readers_of_what_hangs_hold_up_no_other(server: testhub.Hub) -> None:
    server.commit("org/other", FILES)
    server.fail(REPO, "hung")
    hub = client(server, timeout=30)
    hanging = {asyncio.create_task(hub.read(MODEL)) for _ in range(10 * hub_module.MAX_READS)}
    await until_asked(server, "revision")
    assert (await hub.read(Reference(Kind.HUB, "org/other"))).config == CONFIG
    for reader in hanging:
        reader.cancel()
    await asyncio.wait(hanging)


async def test_a_read_that_nobody_waits_for_is_given_up(server: testhub.Hub) -> None:
    server.fail(REPO, "hung", on="files")
    hub = client(server, timeout=30)
    readers = {asyncio.create_task(hub.read(MODEL)) for _ in range(3)}
    await until_asked(server, "resolve")
    for reader in readers:
        reader.cancel()
    await asyncio.wait(readers)
    assert asyncio.all_tasks() == {asyncio.current_task()}

    server.mend(REPO)
    assert (await hub.read(MODEL)).config == CONFIG


async def test_what_fails_fails_all_that_wait_for_it_each_by_its_own_name_and_the_next_reads_anew(
    server: testhub.Hub,
) -> None:
    commit = server.commit(REPO, FILES)
    server.fail(REPO, "hung", on="files")
    hub = client(server, timeout=30)
    branch = [asyncio.create_task(failure(hub)) for _ in range(2)]
    await until_asked(server, "resolve")
    pinned = asyncio.create_task(failure(hub, revision=commit))
    for _ in range(10):  # it asks for nothing before it joins the others
        await asyncio.sleep(0)

    server.mend(REPO)
    errors = await asyncio.gather(*branch, pinned)

    assert [error.reason for error in errors] == ["HubUnavailable"] * 3
    assert [error.message.rpartition(" ")[2] for error in errors] == ["main.", "main.", f"{commit}."]
    assert asked(server) == {"revision": 1, "resolve": 1}
    assert (await hub.read(MODEL)).config == CONFIG


# The token.


async def test_a_token_opens_what_it_was_granted(server: testhub.Hub) -> None:
    server.guard(REPO, TOKEN)
    server.fail(REPO, "moved", on="files")
    assert (await client(server, token=f"{TOKEN}\n").read(MODEL)).config == CONFIG
    assert {request.authorization for request in server.requests} == {f"Bearer {TOKEN}"}


async def test_a_token_is_not_sent_to_where_the_hub_leads_to(server: testhub.Hub, elsewhere: testhub.Hub) -> None:
    server.fail(REPO, "moved", to=elsewhere.url)
    snapshot = await client(server, token=TOKEN).read(MODEL)
    assert (snapshot.config, len(snapshot.files or ())) == (CONFIG, 2)
    assert [request.authorization for request in server.requests] == [f"Bearer {TOKEN}"] * 4
    assert [request.authorization for request in elsewhere.requests] == [None] * 4


DENIALS = {
    "gated, and its terms not accepted": ({"gated": True}, None, "ModelGated", "Accept the terms"),
    "private, and of others": ({"gated": False}, None, "ModelNotFound", "that the token may see"),
    "a token that was revoked": (None, None, "ModelUnauthorized", "doesn't accept the token"),
    "gated, and a token that is taken for none": ({}, {"kind": "unauthorized"}, "ModelUnauthorized", "put a valid one"),
    "forbidden": ({}, {"kind": "forbidden"}, "ModelForbidden", "Give the token and its account the right"),
    "absent": ({}, {"kind": "repository-missing"}, "ModelNotFound", "the token's access"),
}


@pytest.mark.parametrize(("guarded", "fault", "reason", "words"), DENIALS.values(), ids=DENIALS)
async def test_a_token_that_is_not_enough_is_told_apart(
    server: testhub.Hub, guarded: dict[str, bool] | None, fault: dict[str, Any] | None, reason: str, words: str
) -> None:
    if guarded is None:
        server.revoke(TOKEN)
    elif guarded:
        server.guard(REPO, "hf_the-owners-token", **guarded)
    if fault:
        server.fail(REPO, **fault)
    error = await failure(client(server, token=TOKEN))
    assert isinstance(error, Refused)
    assert error.reason == reason
    assert words in error.message
    assert "spec.model.tokenSecretRef" in error.message
    assert REPO in error.message
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)  # as a debugger would
    assert TOKEN not in "".join(shown.format())


ECHOES = {
    "in an error": ("error", {"status": 403, "message": f"{TOKEN} is not allowed"}, "all"),
    "in an error, where it would be cut": ("error", {"message": f"{'x' * 190} {TOKEN}"}, "all"),
    "as the limit of requests": ("throttled", {"retry_after": TOKEN}, "all"),
    "as a commit": ("replaced", {"body": b"{}", "headers": {"X-Repo-Commit": TOKEN}}, "files"),
    "as an encoding": ("replaced", {"body": b"{}", "headers": {"Content-Encoding": TOKEN}}, "all"),
    "as a branch": ("replaced", {"body": json.dumps({"sha": TOKEN}).encode()}, "api"),
    "as a config": ("replaced", {"body": f'["{TOKEN}"'.encode()}, "files"),
    "as a scheme": ("moved", {"to": f"{TOKEN}://there"}, "all"),
    "as a header that is none": ("replaced", {"body": b"{}", "headers": {TOKEN: f"\0{TOKEN}"}}, "all"),
    "never": ("dropped", {}, "all"),
}


@pytest.mark.parametrize(("kind", "options", "on"), ECHOES.values(), ids=ECHOES)
async def test_a_token_is_in_no_message_log_or_traceback_even_if_the_hub_echoes_it(
    server: testhub.Hub, caplog: pytest.LogCaptureFixture, kind: Any, options: dict[str, Any], on: Any
) -> None:
    caplog.set_level("DEBUG")
    server.fail(REPO, kind, on=on, **options)
    hub = client(server, token=TOKEN)
    error = await failure(hub)
    trace = "".join(traceback.format_exception(error))
    assert TOKEN[:10] not in "".join((error.message, str(error), repr(error), repr(hub), trace, caplog.text))


@pytest.mark.parametrize("token", ["", "short", "hf_two\nlines", "hf_two words", "hf_größer", "x" * 5000])
def test_what_can_be_no_token_is_refused_and_not_shown(server: testhub.Hub, token: str) -> None:
    with pytest.raises(Refused) as raised:
        client(server, token=token)
    assert raised.value.reason == "ModelUnauthorized"
    assert "spec.model.tokenSecretRef" in raised.value.message
    assert not token or token not in raised.value.message


# The environment, and odd contents.


async def test_the_environment_neither_adds_a_token_nor_takes_the_hub_away(
    server: testhub.Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert (await client(server).read(MODEL)).config == CONFIG
    assert [request.authorization for request in server.requests] == [None] * 4


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
    "a redirect to what is no address": ("moved", {"to": "http://127.0.0.1:99999"}, "files", Waiting, "HubUnavailable"),
    "a redirect without end": ("moved", {"endless": True}, "files", Waiting, "HubUnavailable"),
    "information that isn't JSON": ("replaced", {"body": b"<html>"}, "api", Waiting, "HubUnavailable"),
    "information without a commit": ("replaced", {"body": b"{}"}, "api", Waiting, "HubUnavailable"),
    "a commit that is none": ("replaced", {"body": b'{"sha": "../../main"}'}, "api", Waiting, "HubUnavailable"),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "options", "on", "outcome", "reason"), FAILURES.values(), ids=FAILURES)
async def test_each_failure_has_its_reason(
    server: testhub.Hub, kind: Any, options: dict[str, Any], on: Any, outcome: type[OperatorError], reason: str
) -> None:
    server.fail(REPO, kind, on=on, **options)
    error = await failure(client(server))

    assert type(error) is outcome
    assert error.reason == reason
    assert REPO in error.message
    assert len(error.message) < 800
    assert "\n" not in error.message
    most = 1 + hub_module.MAX_REDIRECTS if kind == "looping" else 1
    assert max(Counter(request.path for request in server.requests).values()) == most, "a read retries nothing"

    server.mend(REPO)
    assert (await client(server).read(MODEL)).config == CONFIG


LIST = b'[{"type": "file", "path": "a", "size": %s}]'
SAME = {"Link": '<?cursor=1>; rel="next"'}

LIST_FAILURES = {
    "an absent or private repository (401)": ("unauthorized", {}, Refused, "ModelUnauthorized"),
    "a gated repository (403)": ("gated", {}, Refused, "ModelGated"),
    "a forbidden repository": ("forbidden", {}, Refused, "ModelUnauthorized"),
    "an absent repository (404)": ("repository-missing", {}, Refused, "ModelNotFound"),
    "a commit that is gone": ("revision-missing", {}, Refused, "RevisionNotFound"),
    "a request too many": ("throttled", {}, Waiting, "HubThrottled"),
    "an internal error": ("error", {}, Waiting, "HubUnavailable"),
    "a bad gateway": ("error", {"status": 502}, Waiting, "HubUnavailable"),
    "a connection that is dropped": ("dropped", {}, Waiting, "HubUnavailable"),
    "a list that is cut off": ("truncated", {}, Waiting, "HubUnavailable"),
    "redirects in a circle": ("looping", {}, Waiting, "HubUnavailable"),
    "a list without end": ("endless", {}, Refused, "FilesTooMany"),
    "nothing": ("replaced", {"body": b""}, Waiting, "HubUnavailable"),
    "garbage": ("replaced", {"body": b"<html>\xff</html>"}, Waiting, "HubUnavailable"),
    "an object": ("replaced", {"body": b"{}"}, Waiting, "HubUnavailable"),
    "a list of names": ("replaced", {"body": b'["a"]'}, Waiting, "HubUnavailable"),
    "a file without a size": ("replaced", {"body": b'[{"type": "file", "path": "a"}]'}, Waiting, "HubUnavailable"),
    "a size that is none": ("replaced", {"body": LIST % b"1.5"}, Waiting, "HubUnavailable"),
    "less than nothing": ("replaced", {"body": LIST % b"-1"}, Waiting, "HubUnavailable"),
    "more than there is": ("replaced", {"body": LIST % (b"9" * 30)}, Waiting, "HubUnavailable"),
    "a size of ten thousand digits": ("replaced", {"body": LIST % (b"9" * 10_000)}, Waiting, "HubUnavailable"),
    "half a surrogate": ("replaced", {"body": b'[{"type": "\\ud800"}]'}, Waiting, "HubUnavailable"),
    "a nest that breaks parsers": ("replaced", {"body": b"[" * 100_000}, Waiting, "HubUnavailable"),
    "the same page again": ("replaced", {"body": b"[]", "headers": SAME}, Waiting, "HubUnavailable"),
    "a next page without an address": (
        "replaced", {"body": b"[]", "headers": {"Link": '<http://[>; rel="next"'}}, Waiting, "HubUnavailable"),
    "a next page with too long a name": (
        "replaced", {"body": b"[]", "headers": {"Link": f'<?{"x" * 5000}>; rel="next"'}}, Waiting, "HubUnavailable"),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "options", "outcome", "reason"), LIST_FAILURES.values(), ids=LIST_FAILURES)
async def test_each_failure_to_list_files_has_its_reason_and_nothing_of_it_is_kept(
    server: testhub.Hub, kind: Any, options: dict[str, Any], outcome: type[OperatorError], reason: str
) -> None:
    commit = server.commit(REPO, FILES)
    server.fail(REPO, kind, on="api", **options)
    hub = client(server, max_bytes=1_000_000)
    error = await failure(hub, revision=commit)

    assert type(error) is outcome
    assert error.reason == reason
    assert REPO in error.message
    assert len(error.message) < 800

    server.mend(REPO)
    assert len((await hub.read(MODEL.at(commit))).files or ()) == 2


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
    assert "set spec.model.tokenSecretRef to a Secret with an access token (used for both models)" in error.message


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
    [
        "huggingface.co",
        "ftp://hub",
        "https://",
        "https://user:secret@hub",
        "http://hub:port",
        "http://hub:99999",
        "http://hub?x",
    ],
)
def test_an_endpoint_that_is_none_is_refused(endpoint: str) -> None:
    with pytest.raises(ValueError, match="endpoint must") as raised:
        Hub(endpoint, timeout=TIMEOUT)
    assert "user:secret" not in str(raised.value)


@pytest.mark.parametrize("uri", ["pvc://claim/a", "s3://tiny", "gs://tiny", "oci://registry/a@sha256:" + "0" * 64])
async def test_what_is_no_repository_is_not_asked_for(server: testhub.Hub, uri: str) -> None:
    with pytest.raises(ValueError, match=f"{uri} is no repository of the hub"):
        await client(server).read(Reference.parse(uri))
    assert not server.requests


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
    repos = [f"org/{number}" for number in range(400)]
    for repo in repos:
        server.fail(repo, "hung")
    hub = client(server, timeout=1.0)
    threads = {thread for thread in threading.enumerate() if "process_request" not in thread.name}
    started = time.monotonic()
    errors = await asyncio.gather(*(failure(hub, repo) for repo in repos))
    took = time.monotonic() - started

    assert {error.reason for error in errors} == {"HubUnavailable"}
    assert took < 15  # one batch after the other would take 25
    # As the first ones give up, a few of the waiting start before their own deadline ends them.
    assert len(server.requests) <= 2 * hub_module.MAX_READS
    left = {thread for thread in threading.enumerate() if "process_request" not in thread.name} - threads
    assert not left


async def test_a_hub_that_is_down_is_left_alone_for_a_moment(nobodys: int) -> None:
    clock = Clock()
    hub = Hub(f"http://127.0.0.1:{nobodys}", timeout=TIMEOUT, clock=clock)
    first = await failure(hub)
    with testhub.Hub(port=nobodys) as back:
        back.commit(REPO, FILES)
        second = await failure(hub, "org/other")
        assert not back.requests
        assert isinstance(first, Waiting)
        assert isinstance(second, Waiting)
        assert (second.reason, second.retry_after) == (first.reason, first.retry_after)
        assert "org/other" in second.message

        clock.now = hub_module.SILENT_SECONDS
        assert (await hub.read(MODEL)).config == CONFIG


async def test_a_hub_that_is_silent_is_left_alone_for_a_moment_but_for_what_is_known(server: testhub.Hub) -> None:
    clock = Clock()
    hub = client(server, clock=clock)
    known = await hub.read(MODEL)
    clock.now = 1.0
    hub.timeout = 0.5
    server.fail("org/hung", "hung")
    assert "0.5 seconds" in (await failure(hub, "org/hung")).message

    requests = len(server.requests)
    other = await failure(hub, "org/other")
    assert other.reason == "HubUnavailable"
    assert "another read, a moment ago" in other.message
    assert await hub.read(MODEL, max_age=60) == known
    assert len(server.requests) == requests

    clock.now += hub_module.SILENT_SECONDS
    hub.timeout = TIMEOUT
    assert (await failure(hub, "org/other")).reason == "ModelUnauthorized"


async def test_a_file_that_hangs_is_no_reason_to_leave_the_hub_alone(server: testhub.Hub) -> None:
    server.commit("org/other", FILES)
    server.fail(REPO, "hung", on="files")
    hub = client(server)
    other = await hub.read(Reference(Kind.HUB, "org/other"))  # the first read takes longer
    hub.timeout = 2.0
    assert "2 seconds" in (await failure(hub)).message
    assert asked(server)["resolve"] == 2, "the commit was answered in time"
    hub.timeout = TIMEOUT
    assert await hub.read(Reference(Kind.HUB, "org/other")) == other


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


async def test_a_hub_that_is_not_there_is_waited_for(nobodys: int) -> None:
    address = f"http://127.0.0.1:{nobodys}"
    error = await failure(Hub(address, timeout=TIMEOUT))
    assert isinstance(error, Waiting)
    assert error.reason == "HubUnavailable"
    assert address in error.message


async def test_a_certificate_that_cannot_be_trusted_is_the_hubs_fault(server: testhub.Hub) -> None:
    error = await failure(Hub(server.url.replace("http:", "https:"), timeout=TIMEOUT))
    assert isinstance(error, Waiting)
    assert error.reason == "HubUnavailable"


# What is fetched.

LOADED = {
    "config.json": json.dumps(CONFIG).encode(),
    "model-00001-of-00002.safetensors": bytes(range(256)) * 10_000,
    "model-00002-of-00002.safetensors": b"weights",
    "tokenizer.json": b"{}",
}
UNNEEDED = {"README.md": b"# Llama", "pytorch_model.bin": b"pickled", "original/params.json": b"{}"}


async def fetched(hub: Hub, commit: str, target: Path) -> dict[str, bytes]:
    await hub.fetch(MODEL, commit, target, say=lambda _: None)
    return contents(target)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != MARK}


def in_part(folder: Path) -> list[Path]:
    return list(folder.glob(f"{PARTIAL}*"))


async def fetch_failure(hub: Hub, commit: str, target: Path) -> OperatorError:
    with pytest.raises(OperatorError) as raised:
        await hub.fetch(MODEL, commit, target, say=lambda _: None)
    assert TOKEN not in raised.value.message
    assert not in_part(target)
    return raised.value


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PAUSES", (0.0, 0.0))


async def test_what_an_engine_loads_is_fetched_at_its_commit_and_nothing_else(
    server: testhub.Hub, tmp_path: Path
) -> None:
    commit = server.commit(REPO, {**LOADED, **UNNEEDED})
    server.commit(REPO, {**LOADED, "config.json": b'{"moved": true}'})
    said: list[str] = []
    await client(server).fetch(MODEL, commit, tmp_path / "model", say=said.append)
    assert contents(tmp_path / "model") == LOADED
    assert said[0] == f"Fetching {REPO} at {commit}: 4 files, 2.56 MB."
    assert said[-1] == f"{REPO} is fetched."


async def test_what_is_there_is_not_asked_for_again(server: testhub.Hub, tmp_path: Path) -> None:
    commit = server.commit(REPO, LOADED)
    await fetched(client(server), commit, tmp_path)
    server.forget()
    assert await fetched(client(server), commit, tmp_path) == LOADED
    assert not server.requests


@pytest.mark.usefixtures("impatient")
async def test_a_fetch_that_failed_half_way_asks_for_the_rest(
    server: testhub.Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "IN_FLIGHT", 1)
    commit = server.commit(REPO, LOADED)
    server.observe = lambda request: (
        server.fail(REPO, "error", on="files", status=500) if "00001-of" in request.path else None
    )
    assert (await fetch_failure(client(server), commit, tmp_path)).reason == "HubUnavailable"
    there = contents(tmp_path)
    assert "config.json" in there
    server.observe = None
    server.mend(REPO)
    server.forget()
    assert await fetched(client(server), commit, tmp_path) == LOADED
    assert asked(server)["resolve"] == len(LOADED) - len(there)


async def test_a_gated_repository_is_fetched_with_a_token_that_no_other_origin_sees(
    server: testhub.Hub, elsewhere: testhub.Hub, tmp_path: Path
) -> None:
    commit = server.commit(REPO, FILES)
    assert elsewhere.commit(REPO, FILES) == commit
    server.guard(REPO, TOKEN)
    server.fail(REPO, "moved", on="files", to=elsewhere.url)
    assert await fetched(client(server, token=TOKEN), commit, tmp_path) == FILES
    assert {request.authorization for request in server.requests} == {f"Bearer {TOKEN}"}
    assert {request.authorization for request in elsewhere.requests} == {None}


@pytest.mark.parametrize(
    ("token", "gated", "reason"),
    [
        (None, True, "ModelGated"),
        (None, False, "ModelUnauthorized"),
        ("hf_of-somebody-else", True, "ModelGated"),
        ("hf_of-somebody-else", False, "ModelNotFound"),
    ],
)
async def test_a_repository_is_not_fetched_by_everybody(
    server: testhub.Hub, tmp_path: Path, token: str | None, gated: bool, reason: str
) -> None:
    commit = server.commit(REPO, FILES)
    server.guard(REPO, TOKEN, gated=gated)
    error = await fetch_failure(client(server, token=token), commit, tmp_path)
    assert (error.reason, type(error)) == (reason, Refused)


#: What is wrong with the files -> the hub's fault.
UNWHOLE: dict[str, dict[str, Any]] = {
    "other weights of the same size": {"kind": "replaced", "body": b"WEIGHTS"},
    "more than was listed": {"kind": "endless"},
    "less than was listed": {"kind": "truncated"},
    "nothing": {"kind": "dropped"},
    "nothing for too long": {"kind": "hung"},
    "packed weights": {"kind": "replaced", "body": b"weights", "headers": {"Content-Encoding": "gzip"}},
    "an error": {"kind": "error", "status": 500},
    "a redirect without end": {"kind": "looping"},
}


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("fault", UNWHOLE.values(), ids=UNWHOLE)
async def test_what_is_not_what_was_listed_is_not_kept(
    server: testhub.Hub, tmp_path: Path, fault: dict[str, Any]
) -> None:
    commit = server.commit(REPO, {"model.safetensors": b"weights"})
    server.fail(REPO, on="files", **fault)
    error = await fetch_failure(client(server, timeout=0.5), commit, tmp_path)
    assert (error.reason, type(error)) == ("HubUnavailable", Waiting)
    assert contents(tmp_path) == {}
    server.mend(REPO)
    assert await fetched(client(server), commit, tmp_path) == {"model.safetensors": b"weights"}


async def test_a_hub_that_limits_requests_says_when_to_fetch_again(server: testhub.Hub, tmp_path: Path) -> None:
    commit = server.commit(REPO, FILES)
    server.fail(REPO, "throttled", on="api", retry_after=77)
    error = await fetch_failure(client(server), commit, tmp_path)
    assert isinstance(error, Waiting)
    assert (error.reason, error.retry_after) == ("HubThrottled", 77)


async def test_from_a_mirror_that_lists_nothing_nothing_is_fetched(server: testhub.Hub, tmp_path: Path) -> None:
    commit = server.commit(REPO, FILES)
    server.fail(REPO, "error", on="api", status=404)
    error = await fetch_failure(client(server), commit, tmp_path)
    assert (error.reason, "doesn't list the files" in error.message) == ("HubUnavailable", True)


async def test_a_volume_that_cannot_take_it_is_named(server: testhub.Hub, tmp_path: Path) -> None:
    commit = server.commit(REPO, FILES)
    (tmp_path / "file").write_text("")
    error = await fetch_failure(client(server), commit, tmp_path / "file" / "model")
    assert (error.reason, "Not a directory" in error.message) == ("VolumeUnusable", True)
