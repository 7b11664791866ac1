"""Object storage: against a real server, and for what that can't be made to do, against one that does as it is told."""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from speculator_operator import download, objectstore
from speculator_operator.core.sigv4 import Credentials
from speculator_operator.download import MARK, PARTIAL
from speculator_operator.errors import OperatorError, Refused, Waiting
from speculator_operator.objectstore import ObjectStore
from speculator_operator.reference import Reference
from tests.support.answers import Answers, Asked, answer, answering
from tests.support.objectstore import ROOT, STRANGER, ObjectStoreServer
from tools.testhub import write_eagle3_draft

TIMEOUT = 10.0
CONFIG = {"model_type": "llama"}
FILES = {
    "chat_template.jinja": b"{{ messages }}",
    "config.json": json.dumps(CONFIG).encode(),
    "merges.txt": b"a b",
    "model-00001-of-00002.safetensors": bytes(range(256)) * 20_000,
    "model-00002-of-00002.safetensors": b"weights",
    "model.safetensors.index.json": b"{}",
    "odd +=_name.json": b"{}",
    "tokenizer.model": b"\0tokens",
}
UNNEEDED = {"README.md": b"# Llama", "pytorch_model.bin": b"pickled"}


@pytest.fixture
def draft(object_store: ObjectStoreServer) -> Reference:
    """A checkpoint in a bucket of the test's own, with the neighbours that checkpoints have."""
    bucket = f"test-{secrets.token_hex(4)}"
    object_store.make_bucket(bucket)
    for name, content in {**FILES, **UNNEEDED, "original/params.json": b"{}", "../draft-2/config.json": b"[]"}.items():
        object_store.put(bucket, f"models/draft/{name}".replace("draft/../", ""), content)
    return Reference.parse(f"s3://{bucket}/models/draft")


def store(server: ObjectStoreServer, credentials: Credentials | None = ROOT, **options: Any) -> ObjectStore:
    return ObjectStore(server.url, **{"timeout": TIMEOUT, "credentials": credentials, **options})


async def failure(read: Awaitable[object]) -> OperatorError:
    with pytest.raises(OperatorError) as raised:
        await read
    for part in (ROOT.secret_access_key, STRANGER.secret_access_key, "Signature=", "Credential="):
        assert part not in raised.value.message
    assert len(raised.value.message) < 800
    assert "\n" not in raised.value.message
    return raised.value


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def revision_of(reference: Reference, server: ObjectStoreServer) -> str:
    revision = (await store(server).read(reference)).revision
    assert revision is not None
    return revision


# What is read.


async def test_the_config_is_read_and_what_lies_beside_it_is_listed(
    object_store: ObjectStoreServer, draft: Reference
) -> None:
    snapshot = await store(object_store).read(draft)
    assert (snapshot.uri, snapshot.config) == (draft.uri, CONFIG)
    assert snapshot.files == {name: len(content) for name, content in {**FILES, **UNNEEDED}.items()}
    assert snapshot.revision is not None
    assert snapshot.revision.startswith("sha256:")


async def test_googles_scheme_and_a_slash_at_the_end_read_the_same(
    object_store: ObjectStoreServer, draft: Reference
) -> None:
    google = await store(object_store).read(Reference.parse(draft.uri.replace("s3://", "gs://") + "/"))
    assert google.revision == await revision_of(draft, object_store)
    assert google.uri == draft.uri.replace("s3://", "gs://")


async def test_a_checkpoint_can_be_at_the_root_of_a_bucket(object_store: ObjectStoreServer, draft: Reference) -> None:
    object_store.put(draft.name, "config.json", b'{"at": "root"}')
    snapshot = await store(object_store).read(Reference.parse(f"s3://{draft.name}"))
    assert (snapshot.config, snapshot.files) == ({"at": "root"}, {"config.json": 14})


async def test_more_objects_than_a_page_has_are_all_listed(
    object_store: ObjectStoreServer, draft: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = await store(object_store).read(draft)
    monkeypatch.setattr(objectstore, "PAGE", 3)
    assert await store(object_store).read(draft) == whole
    monkeypatch.setattr(objectstore, "MAX_PAGES", 2)
    error = await failure(store(object_store).read(draft))
    assert error.reason == "FilesTooMany"


CHANGES: dict[str, Callable[[ObjectStoreServer, str], None]] = {
    "the weights have changed, and not their size": lambda server, bucket: server.put(
        bucket, "models/draft/model-00002-of-00002.safetensors", b"changed"
    ),
    "the config has changed": lambda server, bucket: server.put(bucket, "models/draft/config.json", b'{"a": 1}'),
    "a file has come": lambda server, bucket: server.put(bucket, "models/draft/vocab.json", b"{}"),
    "a file has gone": lambda server, bucket: server.delete(bucket, "models/draft/tokenizer.model"),
    "a file has gone that nobody fetches": lambda server, bucket: server.delete(bucket, "models/draft/README.md"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_once_it_has_changed_it_has_another_pin_and_is_not_fetched_at_the_old_one(
    change: Callable[[ObjectStoreServer, str], None],
    object_store: ObjectStoreServer,
    draft: Reference,
    tmp_path: Path,
) -> None:
    before = await revision_of(draft, object_store)
    assert await revision_of(draft, object_store) == before
    change(object_store, draft.name)
    assert await revision_of(draft, object_store) != before

    error = await failure(store(object_store).fetch(draft, before, tmp_path))
    assert isinstance(error, Refused)
    assert error.reason == "StorageChanged"
    assert "speculators.dev/refresh" in error.message
    assert names(tmp_path) == []


async def test_what_changes_elsewhere_does_not_move_the_pin(object_store: ObjectStoreServer, draft: Reference) -> None:
    before = await revision_of(draft, object_store)
    object_store.put(draft.name, "models/draft/original/params.json", b"[]")
    object_store.put(draft.name, "models/draft-2/config.json", b"{}")
    object_store.put(draft.name, "models/draft/config.json", FILES["config.json"])
    assert await revision_of(draft, object_store) == before


# Who may read.


UNAUTHORIZED: dict[str, tuple[Credentials | None, str]] = {
    "nobody in particular": (None, "credentialsSecretRef"),
    "a key that may not": (STRANGER, "AccessDenied"),
    "a key that there isn't": (Credentials("absent", "secret"), "InvalidAccessKeyId"),
    "a key with another's secret": (
        Credentials(ROOT.access_key_id, STRANGER.secret_access_key),
        "SignatureDoesNotMatch",
    ),
    "a key with a token that isn't its": (
        Credentials(ROOT.access_key_id, ROOT.secret_access_key, "token"),
        "InvalidToken",
    ),
}


@pytest.mark.parametrize(("credentials", "says"), UNAUTHORIZED.values(), ids=UNAUTHORIZED)
async def test_it_is_not_shown_to(
    credentials: Credentials | None, says: str, object_store: ObjectStoreServer, draft: Reference, tmp_path: Path
) -> None:
    for attempt in (
        store(object_store, credentials).read(draft),
        store(object_store, credentials).fetch(draft, "sha256:0", tmp_path),
    ):
        error = await failure(attempt)
        assert isinstance(error, Refused)
        assert error.reason == "StorageUnauthorized"
        for part in (says, draft.uri, object_store.url):
            assert part in error.message


async def test_a_key_that_may_list_and_not_read_is_refused(object_store: ObjectStoreServer, draft: Reference) -> None:
    object_store.allow(draft.name, STRANGER.access_key_id, {"s3:ListBucket": draft.name})
    assert (await failure(store(object_store, STRANGER).read(draft))).reason == "StorageUnauthorized"
    object_store.allow(
        draft.name, STRANGER.access_key_id, {"s3:ListBucket": draft.name, "s3:GetObject": f"{draft.name}/*"}
    )
    assert (await store(object_store, STRANGER).read(draft)).config == CONFIG


async def test_a_public_bucket_is_read_and_fetched_without_a_key(
    object_store: ObjectStoreServer, draft: Reference, tmp_path: Path
) -> None:
    object_store.allow(draft.name, "*", {"s3:ListBucket": draft.name, "s3:GetObject": f"{draft.name}/*"})
    revision = (await store(object_store, None).read(draft)).revision
    assert revision == await revision_of(draft, object_store)
    await store(object_store, None).fetch(draft, revision, tmp_path)
    assert (tmp_path / "config.json").read_bytes() == FILES["config.json"]


async def test_line_ends_in_a_secret_do_not_matter(object_store: ObjectStoreServer, draft: Reference) -> None:
    read = Credentials(f"{ROOT.access_key_id}\n", f" {ROOT.secret_access_key}\r\n", "\n")
    assert (await store(object_store, read).read(draft)).config == CONFIG


@pytest.mark.parametrize("parts", [("", "secret"), ("key", ""), ("key", "se cret"), ("k\0y", "secret"), ("kéy", "s")])
async def test_what_can_be_no_key_is_not_sent(parts: tuple[str, str]) -> None:
    with pytest.raises(Refused, match="credentialsSecretRef") as raised:
        ObjectStore(None, timeout=TIMEOUT, credentials=Credentials(*parts))
    assert raised.value.reason == "StorageUnauthorized"
    assert "cret" not in raised.value.message.replace("Secret", "")


ABSENT = {
    "no such bucket": ("s3://absent-{bucket}/models/draft", "BucketNotFound", "has no bucket absent-{bucket}"),
    "no such folder": ("s3://{bucket}/absent", "ConfigMissing", "There is nothing at s3://{bucket}/absent"),
    "a folder of folders": ("s3://{bucket}/models", "ConfigMissing", "There is nothing at s3://{bucket}/models"),
    "a folder without a config": (
        "s3://{bucket}/models/draft/original",
        "ConfigMissing",
        "There is no config.json in s3://{bucket}/models/draft/original",
    ),
}


@pytest.mark.parametrize(("uri", "reason", "says"), ABSENT.values(), ids=ABSENT)
async def test_what_is_not_there_is_named(
    uri: str, reason: str, says: str, object_store: ObjectStoreServer, draft: Reference
) -> None:
    error = await failure(store(object_store).read(Reference.parse(uri.format(bucket=draft.name))))
    assert isinstance(error, Refused)
    assert error.reason == reason
    assert says.format(bucket=draft.name) in error.message


async def test_a_config_of_exactly_the_limit_is_read_and_one_byte_more_is_not(
    object_store: ObjectStoreServer, draft: Reference
) -> None:
    size = len(FILES["config.json"])
    assert (await store(object_store, max_bytes=size).read(draft)).config == CONFIG
    assert (await failure(store(object_store, max_bytes=size - 1).read(draft))).reason == "ConfigTooLarge"


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b'{"a":' * 100_000])
async def test_a_config_that_is_no_object_is_refused(
    body: bytes, object_store: ObjectStoreServer, draft: Reference
) -> None:
    object_store.put(draft.name, "models/draft/config.json", body)
    assert (await failure(store(object_store).read(draft))).reason == "ConfigMalformed"


# What is fetched.


def contents(folder: Path) -> dict[str, bytes]:
    """What a whole fetch has left."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != MARK}


def assert_nothing_in_part(folder: Path) -> None:
    """What isn't whole has left nothing but files that are, and what says which belong there."""
    found = contents(folder)
    assert found.items() <= FILES.items()
    assert found.keys() != FILES.keys()


async def test_what_an_engine_loads_is_fetched_and_nothing_else(
    object_store: ObjectStoreServer, draft: Reference, tmp_path: Path
) -> None:
    revision = await revision_of(draft, object_store)
    said: list[str] = []
    await store(object_store).fetch(draft, revision, tmp_path / "draft", say=said.append)
    assert contents(tmp_path / "draft") == FILES
    assert said[0] == f"Fetching {draft.uri} at {revision}: {len(FILES)} files, 5.12 MB."
    assert said[-2:] == ["100%: 5.12 MB of 5.12 MB", f"{draft.uri} is fetched."]
    assert len(said) <= 12
    assert ROOT.secret_access_key not in "".join(said)


async def test_a_checkpoint_comes_back_as_it_was_put(
    object_store: ObjectStoreServer, draft: Reference, tmp_path: Path
) -> None:
    write_eagle3_draft(tmp_path / "made", verifier="org/verifier", agree=True)
    object_store.put_folder(draft.name, "models/made", tmp_path / "made")
    made = Reference.parse(f"s3://{draft.name}/models/made")
    await store(object_store).fetch(made, await revision_of(made, object_store), tmp_path / "fetched")
    assert contents(tmp_path / "fetched") == contents(tmp_path / "made")


async def test_what_was_fetched_is_not_fetched_again_even_if_the_store_is_gone(
    object_store: ObjectStoreServer, draft: Reference, tmp_path: Path
) -> None:
    revision = await revision_of(draft, object_store)
    await store(object_store).fetch(draft, revision, tmp_path)
    async with answering(saying(answer("500 Internal Server Error"))) as gone:
        said: list[str] = []
        await ObjectStore(gone.url, timeout=TIMEOUT).fetch(draft, revision, tmp_path, say=said.append)
        assert not gone.asked
    assert said == [f"{draft.uri} at {revision} is there already."]


async def test_a_file_that_changes_while_it_is_fetched_is_noticed(
    object_store: ObjectStoreServer, draft: Reference, tmp_path: Path
) -> None:
    def change(_: str) -> None:  # it is first called between the listing and the files
        object_store.put(draft.name, "models/draft/merges.txt", b"c d")

    revision = await revision_of(draft, object_store)
    error = await failure(store(object_store).fetch(draft, revision, tmp_path, say=change))
    assert (error.reason, "PreconditionFailed" in error.message) == ("StorageChanged", True)
    assert_nothing_in_part(tmp_path)


async def test_a_file_that_goes_while_it_is_fetched_is_noticed(
    object_store: ObjectStoreServer, draft: Reference, tmp_path: Path
) -> None:
    def delete(_: str) -> None:
        object_store.delete(draft.name, "models/draft/merges.txt")

    revision = await revision_of(draft, object_store)
    error = await failure(store(object_store).fetch(draft, revision, tmp_path, say=delete))
    assert error.reason == "StorageChanged"
    assert_nothing_in_part(tmp_path)


#: Fetches, and is killed as soon as the first bytes are there.
KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from speculator_operator.core.sigv4 import Credentials
from speculator_operator.objectstore import ObjectStore
from speculator_operator.reference import Reference

def say(text):
    if text[0].isdecimal():
        os.kill(os.getpid(), signal.SIGKILL)

url, uri, revision, target, key, secret = sys.argv[1:]
store = ObjectStore(url, timeout=10, credentials=Credentials(key, secret))
asyncio.run(store.fetch(Reference.parse(uri), revision, Path(target), say=say))
"""


async def test_a_fetch_that_is_killed_leaves_nothing_that_looks_whole_and_is_begun_anew(
    object_store: ObjectStoreServer, draft: Reference, tmp_path: Path
) -> None:
    revision = await revision_of(draft, object_store)
    arguments = [object_store.url, draft.uri, revision, str(tmp_path), ROOT.access_key_id, ROOT.secret_access_key]
    killed = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", KILLED, *arguments], timeout=50, check=False, capture_output=True
    )
    assert killed.returncode == -9, killed.stderr
    (left,) = (name for name in names(tmp_path) if name.startswith(PARTIAL))
    assert names(tmp_path / left)
    # Whoever is next can't tell yet that it is dead, and leaves it alone.
    shutil.rmtree(tmp_path / left)

    await store(object_store).fetch(draft, revision, tmp_path)
    assert contents(tmp_path) == FILES


async def test_a_fetch_that_is_cancelled_ends_and_is_begun_anew(
    object_store: ObjectStoreServer, draft: Reference, tmp_path: Path
) -> None:
    revision = await revision_of(draft, object_store)

    def cancel(text: str) -> None:
        if text[0].isdecimal():
            fetching.cancel()

    fetching = asyncio.create_task(store(object_store).fetch(draft, revision, tmp_path, say=cancel))
    with pytest.raises(asyncio.CancelledError):
        await fetching
    assert_nothing_in_part(tmp_path)
    await store(object_store).fetch(draft, revision, tmp_path)
    assert contents(tmp_path) == FILES


async def test_a_folder_that_cannot_take_it_is_named(
    object_store: ObjectStoreServer, draft: Reference, tmp_path: Path
) -> None:
    revision = await revision_of(draft, object_store)
    (tmp_path / "file").write_text("")
    error = await failure(store(object_store).fetch(draft, revision, tmp_path / "file" / "draft"))
    assert (error.reason, "Not a directory" in error.message) == ("VolumeUnusable", True)

    error = await failure(store(object_store).fetch(draft, revision, tmp_path))
    assert (error.reason, "'file'" in error.message) == ("VolumeUnusable", True)

    def fill(text: str) -> None:
        if text.startswith("Fetching"):  # before any of the files is opened
            (partial,) = (tmp_path / "draft").glob(f"{PARTIAL}*")
            (partial / "merges.txt").symlink_to("/dev/full")

    error = await failure(store(object_store).fetch(draft, revision, tmp_path / "draft", say=fill))
    assert (error.reason, "Give it more room" in error.message) == ("VolumeUnusable", True)


# What no real server can be made to do. These read and fetch one object, of which the listing says this.

MODEL = Reference.parse("s3://bucket/model")
BODY = b'{"a": 1}'
ENTRY = "<Contents><Key>model/config.json</Key><Size>{size}</Size><ETag>&quot;1&quot;</ETag></Contents>"

Said = bytes | Callable[[Asked], Awaitable[bytes]]


def listing(entries: str = ENTRY.format(size=len(BODY)), rest: str = "") -> bytes:
    return answer("200 OK", f"<ListBucketResult>{entries}{rest}</ListBucketResult>".encode())


def saying(page: Said | None = None, file: Said | None = None) -> Callable[[Asked], Awaitable[bytes]]:
    """Answers a listing with ``page``, and the file with ``file``; by default as a healthy server would."""

    async def say(asked: Asked) -> bytes:
        said = (page or listing()) if "list-type" in asked.target else (file or answer("200 OK", BODY))
        return said if isinstance(said, bytes) else await said(asked)

    return say


def scripted(server: Answers, **options: Any) -> ObjectStore:
    return ObjectStore(server.url, **{"timeout": TIMEOUT, "credentials": ROOT, **options})


def error_answer(status: str, code: str, more: str = "", headers: str = "") -> bytes:
    return answer(status, f"<Error><Code>{code}</Code>{more}</Error>".encode(), headers)


async def dropped(_: Asked) -> bytes:
    return b""


async def cut_off(_: Asked) -> bytes:
    return answer("200 OK", b"<ListBucketResult>", length=1000)


async def endless(asked: Asked) -> bytes:
    asked.connection.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        asked.connection.write(b"10000\r\n" + b" " * 65536 + b"\r\n")
        await asked.connection.drain()


async def hung(_: Asked) -> bytes:
    await asyncio.Event().wait()
    return b""


async def hung_half_way(asked: Asked) -> bytes:
    asked.connection.write(answer("200 OK", b"<", length=8))
    return await hung(asked)


async def trickling(asked: Asked) -> bytes:
    asked.connection.write(answer("200 OK", length=8 * 1024 * 1024))
    while True:
        asked.connection.write(b" ")
        await asyncio.sleep(0.01)


MALFORMED = error_answer("400 Bad Request", "AuthorizationHeaderMalformed")
HUGE = answer("200 OK", length=10**12)
TOKENLESS = listing(rest="<IsTruncated>true</IsTruncated>")
ENDLESS = listing(rest="<IsTruncated>true</IsTruncated><NextContinuationToken>again</NextContinuationToken>")

FAILURES: dict[str, tuple[str, Said, type[OperatorError], str]] = {
    "too many requests": ("page", error_answer("503 Slow Down", "SlowDown"), Waiting, "StorageThrottled"),
    "too many requests for the file": ("file", error_answer("503 Slow Down", "SlowDown"), Waiting, "StorageThrottled"),
    "too many requests, says a proxy": ("page", answer("429 Too Many Requests"), Waiting, "StorageThrottled"),
    "an internal error": ("page", error_answer("500 Oh", "InternalError"), Waiting, "StorageUnavailable"),
    "a bad gateway for the file": ("file", answer("502 Bad Gateway"), Waiting, "StorageUnavailable"),
    "an answer that no one expects": ("page", answer("418 I'm a teapot"), Waiting, "StorageUnavailable"),
    "a connection that is dropped": ("page", dropped, Waiting, "StorageUnavailable"),
    "a connection that is dropped for the file": ("file", dropped, Waiting, "StorageUnavailable"),
    "no HTTP": ("page", b"SSH-2.0-OpenSSH_9.9\r\n\r\n", Waiting, "StorageUnavailable"),
    "a header without an end": ("page", b"HTTP/1.1 200 OK\r\nx: " + b"x" * 10**6, Waiting, "StorageUnavailable"),
    "a listing that is cut off": ("page", cut_off, Waiting, "StorageUnavailable"),
    "a file that is cut off": ("file", cut_off, Waiting, "StorageUnavailable"),
    "a listing without an end": ("page", endless, Waiting, "StorageUnavailable"),
    "a file without an end": ("file", endless, Waiting, "StorageUnavailable"),
    "a file of another size": ("file", answer("200 OK", b"{}"), Waiting, "StorageUnavailable"),
    "a file that is another by now": ("file", answer("412 Precondition Failed"), Waiting, "StorageUnavailable"),
    "a file that is gone by now": ("file", error_answer("404 Not Found", "NoSuchKey"), Waiting, "StorageUnavailable"),
    "a page for people": ("page", answer("200 OK", b"<html>Welcome!"), Waiting, "StorageUnavailable"),
    "pages without an end": ("page", ENDLESS, Refused, "FilesTooMany"),
    "a page that doesn't say where to go on": ("page", TOKENLESS, Waiting, "StorageUnavailable"),
    "a clock that is wrong": ("page", error_answer("403 No", "RequestTimeTooSkewed"), Waiting, "StorageUnavailable"),
    "a key that has expired": ("page", error_answer("400 Bad", "ExpiredToken"), Refused, "StorageUnauthorized"),
    "a key that expires meanwhile": ("file", error_answer("400 No", "ExpiredToken"), Refused, "StorageUnauthorized"),
    "a plain refusal": ("page", answer("403 Forbidden"), Refused, "StorageUnauthorized"),
    "a key of no kind": ("page", MALFORMED, Refused, "StorageUnauthorized"),
    "no such bucket, without a word": ("page", answer("404 Not Found"), Refused, "BucketNotFound"),
    "a name that can be no bucket's": ("page", error_answer("400 Bad", "InvalidBucketName"), Refused, "BucketNotFound"),
    "a bucket that is elsewhere": ("page", error_answer("301 Moved", "PermanentRedirect"), Refused, "BucketElsewhere"),
}  # fmt: skip


@pytest.mark.parametrize(("part", "said", "outcome", "reason"), FAILURES.values(), ids=FAILURES)
async def test_each_failure_has_its_reason(part: str, said: Said, outcome: type[OperatorError], reason: str) -> None:
    async with answering(saying(**{part: said})) as server:
        error = await failure(scripted(server).read(MODEL))
        assert type(error) is outcome
        assert error.reason == reason
        assert "bucket" in error.message
        assert len(server.asked) <= objectstore.MAX_PAGES, "nothing is retried inside a read"


async def test_a_length_that_is_only_announced_takes_no_memory() -> None:
    async with answering(saying(file=HUGE)) as server:
        assert (await failure(scripted(server).read(MODEL))).reason == "StorageUnavailable"
    async with answering(saying(HUGE)) as server:
        assert (await failure(scripted(server).read(MODEL))).reason == "StorageUnavailable"
    async with answering(saying(listing(ENTRY.format(size=10**12)))) as server:
        assert (await failure(scripted(server).read(MODEL))).reason == "ConfigTooLarge"
        assert len(server.asked) == 1


ELSEWHERE = {
    "a header": error_answer("301 Moved", "PermanentRedirect", headers="x-amz-bucket-region: eu-west-3\r\n"),
    "the answer": error_answer("400 Bad", "AuthorizationHeaderMalformed", "<Region>eu-west-3</Region>"),
}


@pytest.mark.parametrize("said", ELSEWHERE.values(), ids=ELSEWHERE)
async def test_the_region_of_a_bucket_that_is_elsewhere_is_told_from(said: bytes) -> None:
    async with answering(saying(said)) as server:
        error = await failure(scripted(server).read(MODEL))
    assert error.reason == "BucketElsewhere"
    assert "in region eu-west-3" in error.message
    assert "SPECULATOR_S3_REGION" in error.message


async def test_a_redirect_is_not_followed() -> None:
    async with answering(saying()) as other:
        away = answer("307 Temporary Redirect", headers=f"Location: {other.url}/bucket?list-type=2\r\n")
        async with answering(saying(away)) as server:
            assert (await failure(scripted(server).read(MODEL))).reason == "BucketElsewhere"
        assert not other.asked, "who can redirect would get the signature"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("90", 90), (None, 60), ("0", 1), ("86400", 3600), ("9" * 400, 60), ("soon", 60), ("-5", 60), ("\xb2", 60)],
)
async def test_a_throttled_read_waits_as_long_as_the_store_says_within_bounds(
    header: str | None, seconds: float
) -> None:
    said = error_answer("503 Slow Down", "SlowDown", headers=f"Retry-After: {header}\r\n" if header else "")
    async with answering(saying(said)) as server:
        error = await failure(scripted(server).read(MODEL))
    assert isinstance(error, Waiting)
    assert error.retry_after == seconds


@pytest.mark.parametrize("part", ["page", "file"])
@pytest.mark.parametrize("said", [hung, hung_half_way, trickling])
async def test_a_store_that_takes_too_long_is_given_up(said: Said, part: str) -> None:
    page = said if part == "page" else listing(ENTRY.format(size=4 * 1024 * 1024))
    async with answering(saying(page, said)) as server:
        error = await failure(scripted(server, timeout=0.3).read(MODEL))
    assert isinstance(error, Waiting)
    assert error.reason == "StorageUnavailable"


async def test_what_a_store_says_of_our_key_is_not_passed_on() -> None:
    echoed = f"<AWSAccessKeyId>{ROOT.access_key_id}</AWSAccessKeyId><StringToSign>Signature=abc</StringToSign>"

    async def echo(asked: Asked) -> bytes:
        signature = asked.headers["authorization"].rpartition("=")[2]
        return error_answer("403 Forbidden", signature, echoed, f"x-amz-bucket-region: {signature}\r\n")

    async with answering(saying(echo)) as server:
        error = await failure(scripted(server).read(MODEL))
        signature = server.asked[0].headers["authorization"].rpartition("=")[2]
    assert error.reason == "StorageUnauthorized"
    assert signature not in error.message
    assert ROOT.access_key_id not in error.message


async def test_a_store_that_is_not_there_is_waited_for() -> None:
    async with answering(saying()) as gone:
        pass
    for endpoint in (gone.url, gone.url.replace("http:", "https:"), "http://no-such-host.invalid"):
        error = await failure(ObjectStore(endpoint, timeout=TIMEOUT).read(MODEL))
        assert isinstance(error, Waiting)
        assert error.reason == "StorageUnavailable"
        assert endpoint in error.message


async def test_a_store_that_speaks_no_tls_is_the_stores_fault(object_store: ObjectStoreServer) -> None:
    error = await failure(ObjectStore(object_store.url.replace("http:", "https:"), timeout=TIMEOUT).read(MODEL))
    assert isinstance(error, Waiting)
    assert error.reason == "StorageUnavailable"


# How it asks.


async def test_only_what_is_asked_for_is_sent_and_passwords_lying_about_are_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password hidden")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "lying-about")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "lying-about")
    async with answering(saying()) as server:
        await ObjectStore(server.url, timeout=TIMEOUT).read(MODEL)
        assert all("authorization" not in asked.headers for asked in server.asked)
        assert [asked.target for asked in server.asked] == [
            "/bucket?delimiter=%2F&list-type=2&max-keys=1000&prefix=model%2F",
            "/bucket/model/config.json",
        ]
        assert server.asked[1].headers["if-match"] == '"1"'


PROVIDERS = {
    "Amazon's": ("s3://bucket/model", None, "s3.us-east-1.amazonaws.com:443"),
    "Amazon's in a region": ("s3://bucket/model", "eu-west-3", "s3.eu-west-3.amazonaws.com:443"),
    "Amazon's in China": ("s3://bucket/model", "cn-north-1", "s3.cn-north-1.amazonaws.com.cn:443"),
    "Google's": ("gs://bucket/model", "eu-west-3", "storage.googleapis.com:443"),
}


@pytest.mark.parametrize(("uri", "region", "asked"), PROVIDERS.values(), ids=PROVIDERS)
async def test_without_an_endpoint_the_providers_own_is_asked_through_the_environments_proxy(
    uri: str, region: str | None, asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_: Asked) -> bytes:
        return answer("403 Forbidden")

    async with answering(refuse) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        error = await failure(ObjectStore(None, timeout=TIMEOUT, region=region).read(Reference.parse(uri)))
        assert [(request.method, request.target) for request in proxy.asked] == [("CONNECT", asked)]
    assert error.reason == "StorageUnavailable"
    assert "through the proxy (status 403)" in error.message


@pytest.mark.parametrize(
    "endpoint",
    ["minio.example", "ftp://minio", "https://", "https://user:hidden@minio", "http://minio:port", "http://minio/path",
     "http://minio?x", "http://[::1"],
)  # fmt: skip
def test_an_endpoint_that_is_none_is_refused(endpoint: str) -> None:
    with pytest.raises(ValueError, match="endpoint must") as raised:
        ObjectStore(endpoint, timeout=TIMEOUT)
    assert "hidden" not in str(raised.value)


def test_a_region_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="can't be a region"):
        ObjectStore(None, timeout=TIMEOUT, region="eu west\n")


async def test_an_endpoint_may_end_in_a_slash_and_have_its_schemes_own_port(
    object_store: ObjectStoreServer, draft: Reference
) -> None:
    assert (await ObjectStore(f"{object_store.url}/", timeout=TIMEOUT, credentials=ROOT).read(draft)).config == CONFIG
    async with answering(saying()) as proxy:  # of which the request is heard, whoever it is for
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("http_proxy", proxy.url)
            patch.setenv("no_proxy", "")
            await ObjectStore("http://Minio.Example:80", timeout=TIMEOUT, credentials=ROOT).read(MODEL)
        assert {asked.headers["host"] for asked in proxy.asked} == {"minio.example"}


# A fetch that has trouble.


async def fetch(server: Answers, target: Path, said: list[str] | None = None, **options: Any) -> None:
    revision = (await healthy_revision()) or ""
    await scripted(server, **options).fetch(MODEL, revision, target, say=(said if said is not None else []).append)


async def healthy_revision() -> str | None:
    async with answering(saying()) as healthy:
        return (await scripted(healthy).read(MODEL)).revision


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PAUSES", (0.0, 0.0, 0.0))


PASSING: dict[str, Said] = {
    "is throttled": error_answer("503 Slow Down", "SlowDown"),
    "is dropped": dropped,
    "is cut off": cut_off,
    "is of another size": answer("200 OK", b"{}"),
    "has an end too far": answer("200 OK", BODY * 2),
    "is an internal error": answer("500 Internal Server Error"),
}


@pytest.mark.parametrize("trouble", PASSING.values(), ids=PASSING)
@pytest.mark.usefixtures("patient")
async def test_a_fetch_goes_on_after_an_answer_that(trouble: Said, tmp_path: Path) -> None:
    times = 0

    async def twice(asked: Asked) -> bytes:
        nonlocal times
        times += 1
        if times > 2:
            return answer("200 OK", BODY)
        return trouble if isinstance(trouble, bytes) else await trouble(asked)

    said: list[str] = []
    async with answering(saying(file=twice)) as server:
        await fetch(server, tmp_path, said)
    assert contents(tmp_path) == {"config.json": BODY}
    # The client itself asks once more where a connection is dropped without a word.
    assert sum("config.json is asked for again" in text for text in said) == (1 if trouble is dropped else 2)
    assert said.count(f"100%: {len(BODY)} B of {len(BODY)} B") <= 1


@pytest.mark.usefixtures("patient")
async def test_a_fetch_does_not_go_on_for_ever(tmp_path: Path) -> None:
    async with answering(saying(file=error_answer("503 Slow Down", "SlowDown"))) as server:
        error = await failure(fetch(server, tmp_path))
        assert len(server.asked) == 1 + 4
    assert error.reason == "StorageThrottled"
    assert_nothing_in_part(tmp_path)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("said", [hung, hung_half_way])
async def test_a_fetch_from_a_store_that_hangs_is_given_up(said: Said, tmp_path: Path) -> None:
    async with answering(saying(file=said)) as server:
        error = await failure(fetch(server, tmp_path, timeout=0.2))
    assert isinstance(error, Waiting)
    assert error.reason == "StorageUnavailable"


@pytest.mark.usefixtures("patient")
async def test_a_fetch_of_which_a_byte_comes_now_and_then_is_given_up(tmp_path: Path) -> None:
    page = listing(ENTRY.format(size=100_000))

    async def whole(_: Asked) -> bytes:
        return page

    async with answering(saying(whole, trickling)) as server:
        revision = "sha256:0"
        error = await failure(scripted(server).fetch(MODEL, revision, tmp_path))
        revision = error.message.rpartition("is ")[2].partition(")")[0]
        error = await failure(scripted(server, timeout=0.2).fetch(MODEL, revision, tmp_path))
    assert isinstance(error, Waiting)
    assert "has not sent 100 kB within 1 seconds" in error.message


async def test_a_listing_that_hangs_is_given_up(tmp_path: Path) -> None:
    async with answering(saying(hung)) as server:
        error = await failure(scripted(server, timeout=0.2).fetch(MODEL, "sha256:0", tmp_path))
    assert error.reason == "StorageUnavailable"
