"""Reads what is to be known of a model from the hub, pinned to a commit, and fetches it: the adapter for the hub.

Four requests: the revision's commit, then *at that commit* ``config.json``, the list of files and what type the weights
are of, so that a branch that moves in between changes nothing. They are made here, with ``huggingface_hub``'s addresses
and names, because its own calls can't be bounded: they read bodies whole, keep files on disk, and sleep for as long as
a 429 asks (up to five times). Here one deadline covers everything, bytes are counted as they come, also those of
redirects, nothing is retried, and a read that is given up holds neither a thread nor a connection.

Reads of the same thing at the same time are one, and what a commit holds is not read again. In memory there are at most
``MAX_READS`` bodies that are being read (4 MiB each; how much one may hold is bounded, too), ``KEPT_BYTES`` of what
``KEPT_COMMITS`` commits hold, and ``KEPT_BRANCHES`` branches of less than a kilobyte. What was read keeps being known
where access is taken away later: the pods see that.

A fetch, which runs in a pod of its own, is made of the same requests, with the same bounds: of files that were listed
at the commit, not a byte more than was listed, and of large ones the very bytes, by their SHA-256. Large files that
the public hub keeps in Xet are served by plain HTTP as well, which needs no memory to speak of.

Of the environment, ``HF_ENDPOINT`` counts where no endpoint is given, and so do proxies and ``SSL_CERT_FILE``;
``HF_TOKEN``, ``HF_HOME`` and ``HF_HUB_OFFLINE`` don't.

Only the library's light modules are imported: its ``HfApi`` would cost another 9 MB.
"""

from __future__ import annotations

import asyncio
import email.utils
import hashlib
import json
import logging
import math
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from ssl import SSLContext
from urllib.parse import quote

import httpx2
from huggingface_hub import constants

# Documented to be there, and exported lazily.
from huggingface_hub.utils import parse_ratelimit_headers  # type: ignore[attr-defined]

from speculator_operator.api import Reason
from speculator_operator.core.checkpoint import Snapshot
from speculator_operator.core.config_file import CONFIG, MAX_BYTES, config_missing, parsed, too_large
from speculator_operator.core.weight_files import loaded
from speculator_operator.core.words import one_line, quoted
from speculator_operator.download import fill, is_downloaded, volume_failed
from speculator_operator.errors import OperatorError, Refused, Waiting
from speculator_operator.reference import COMMIT, Kind, Reference
from speculator_operator.retry import RETRY_SECONDS, THROTTLED_SECONDS, bounded
from speculator_operator.sharing import Flights, Kept

MAX_READS = 16
"""Reads of the hub at the same time; the others wait in line, and their deadline runs."""
MAX_PAGES = 16
"""Of a list of files. The public hub's hold 1000 each, and no model has as many at its root as one holds."""
MAX_REDIRECTS = 5
MAX_REDIRECT_BYTES = 64 * 1024
MAX_QUERY = 4096
MAX_FILE_BYTES = 2**63 - 1
MAX_DTYPES = 32
CHUNK_BYTES = 1024 * 1024
SILENT_SECONDS = 5.0
"""After a read that the hub has left without any answer, others aren't begun for this time."""
KEPT_BRANCHES = 1024
KEPT_COMMITS = 512
KEPT_BYTES = 16 * 1024 * 1024

_REPOSITORY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9_][A-Za-z0-9._-]{0,95})?")
_REVISION = re.compile(r"(?!.*\.\.)(?!\.)[^\x00-\x20\x7f~^:?*\[\\]{1,255}")
_TOKEN = re.compile(r"[\x21-\x7e]{8,4096}")
_DTYPE = re.compile(r"[A-Z0-9_]{1,16}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HEADERS = {"User-Agent": "speculator-operator", "Accept-Encoding": "identity"}
_WANTS_TOKEN = "set spec.model.tokenSecretRef to a Secret with an access token (used for both models)"  # noqa: S105 - words

# At INFO the one logs every address, and at DEBUG the other the headers of answers; after a redirect either can hold a
# signature.
logging.getLogger("httpx2").setLevel(logging.WARNING)
logging.getLogger("httpcore2").setLevel(logging.WARNING)


class _Declined(Exception):
    """The hub's answer is not a success."""

    def __init__(self, status: int, headers: httpx2.Headers) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers
        self.code = headers.get("X-Error-Code", "")

    @property
    def of_the_file(self) -> bool:
        """Whether it is the file that isn't there; mirrors may say so without a code."""
        return self.status == httpx2.codes.NOT_FOUND and self.code not in ("RepoNotFound", "RevisionNotFound")


class _Unfit(Exception):
    """The hub has answered with something that can't be used: what it has done, in words that follow its address."""


class _TooLarge(Exception):
    """A body is longer than it may be."""


@dataclass(frozen=True)
class _Answer:
    body: bytes
    commit: str | None
    following: str | None


@dataclass(frozen=True)
class _File:
    """One of a list: its size, in bytes, and of a large one the SHA-256 of what is in it."""

    size: int
    sha256: str | None


@dataclass(frozen=True)
class _Contents:
    """What a commit holds: the body of its config, the sizes of its files by name, as JSON (None: not listed), and how
    many numbers of each type its weights have (None: not told)."""

    config: bytes
    files: bytes | None
    parameters: Mapping[str, int] | None

    @property
    def size(self) -> int:
        return len(self.config) + len(self.files or b"")

    def snapshot(self, uri: str, commit: str) -> Snapshot:
        files = None if self.files is None else json.loads(self.files)
        config = parsed(self.config, _at(uri, commit))
        return Snapshot(uri=uri, revision=commit, config=config, files=files, parameters=self.parameters)


class Hub:
    """The hub at ``endpoint``; None is the public one, or ``HF_ENDPOINT``'s.

    ``timeout`` (seconds) is for a whole ``read``; ``max_bytes`` bounds each body, and all pages of a list together.
    ``token`` is sent to the hub's own origin, and is in no message. ``clock`` counts seconds.

    Raises:
        ValueError: the endpoint isn't the address of a hub.
        Refused: ``ModelUnauthorized``: the token is none.
    """

    def __init__(
        self,
        endpoint: str | None,
        *,
        timeout: float,
        max_bytes: int = MAX_BYTES,
        token: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.endpoint = _checked_endpoint(endpoint or constants.ENDPOINT)
        self.timeout = timeout
        self.max_bytes = max_bytes
        self._token = None if token is None else _checked_token(token)
        self._clock = clock
        self._slots = asyncio.Semaphore(MAX_READS)
        self._shared: httpx2.AsyncClient | None = None
        self._users = 0
        self._reads: Flights[tuple[str, str], Snapshot] = Flights()
        self._commits: Flights[tuple[str, str], _Contents] = Flights()
        self._branches: Kept[tuple[str, str], tuple[float, str]] = Kept(entries=KEPT_BRANCHES, size=KEPT_BYTES)
        self._contents: Kept[tuple[str, str], _Contents] = Kept(entries=KEPT_COMMITS, size=KEPT_BYTES)
        self._answered = -math.inf
        self._silent_until = -math.inf
        self._silence = ""

    async def read(self, reference: Reference, *, max_age: float = 0.0) -> Snapshot:
        """The config and the root's files of a repository at its revision (a branch, tag or commit; None is ``main``).

        Where a branch is may have been asked up to ``max_age`` seconds ago. What is being asked is shared at any age.

        Raises:
            Refused: ``ModelUnauthorized``, ``ModelGated``, ``ModelForbidden``, ``ModelNotFound``, ``RevisionNotFound``,
                ``ConfigMissing``, ``ConfigMalformed``, ``ConfigTooLarge``, ``FilesTooMany``.
            Waiting: ``HubThrottled``, ``HubUnavailable``.
            ValueError: it is no reference to a repository.
        """
        if reference.kind is not Kind.HUB:
            raise ValueError(f"{reference.uri} is no repository of the hub")
        uri, wanted = reference.name, reference.revision or constants.DEFAULT_REVISION
        if not _REPOSITORY.fullmatch(uri) or ".." in uri:
            raise Refused(
                Reason.MODEL_NOT_FOUND,
                f"{quoted(uri)} is not a repository id. Name it as on the hub: organisation/name.",
            )
        if not _REVISION.fullmatch(wanted):
            raise Refused(
                Reason.REVISION_NOT_FOUND,
                f"{quoted(wanted)} can't be a revision of {uri}. Name a branch, a tag or a commit of the repository.",
            )
        if known := self._known(uri, wanted, max_age):
            return known
        return await self._reads.join((uri, wanted), lambda: self._read(uri, wanted))

    def _known(self, uri: str, wanted: str, max_age: float) -> Snapshot | None:
        asked, commit = self._branches.get((uri, wanted)) or (-math.inf, "")
        if COMMIT.fullmatch(wanted):
            commit = wanted
        elif self._clock() - asked >= max_age:
            return None
        contents = self._contents.get((uri, commit))
        return contents.snapshot(uri, commit) if contents else None

    async def _read(self, uri: str, wanted: str) -> Snapshot:
        """What the readers of a revision share. The deadline is theirs as well: none of them came earlier."""
        with self._naming_failures(uri, wanted):
            self._raise_if_silent(uri, wanted)
            async with asyncio.timeout(self.timeout), self._slots, self._client() as client:
                self._raise_if_silent(uri, wanted)
                commit = wanted if COMMIT.fullmatch(wanted) else await self._commit(client, uri, wanted)
                contents = self._contents.get((uri, commit)) or await self._commits.join(
                    (uri, commit), lambda: self._read_commit(client, uri, commit)
                )
        return contents.snapshot(uri, commit)

    async def fetch(self, reference: Reference, commit: str, target: Path, *, say: Callable[[str], None]) -> None:
        """Brings what an engine loads of a commit into the folder ``target``, as ``ObjectStore.fetch`` does.

        Raises:
            Refused: as ``read``; ``VolumeUnusable``.
            Waiting: as ``read``.
        """
        uri = reference.name
        try:
            if await asyncio.to_thread(is_downloaded, target, commit):
                say(f"{uri} at {commit} is there already.")
                return
            async with self._client() as client:
                await self._fetch(client, uri, commit, target, say)
        except OSError as error:
            raise volume_failed(target, error) from error

    async def _fetch(
        self, client: httpx2.AsyncClient, uri: str, commit: str, target: Path, say: Callable[[str], None]
    ) -> None:
        with self._naming_failures(uri, commit):
            async with asyncio.timeout(self.timeout):
                listed = await self._list(client, uri, commit)
            if listed is None:
                raise _Unfit("doesn't list the files, which it takes to fetch them")
        files = loaded({name: file.size for name, file in listed.items()})

        def chunks(name: str) -> AsyncGenerator[bytes]:
            return self._chunks(client, uri, commit, name, listed[name])

        try:
            await fill(target, uri, commit, files, chunks, timeout=self.timeout, say=say)
        except TimeoutError as error:
            raise self._unavailable(uri, commit, str(error)) from None

    async def _chunks(
        self, client: httpx2.AsyncClient, uri: str, commit: str, name: str, file: _File
    ) -> AsyncGenerator[bytes]:
        """The content of a file, if it is what was listed. Nothing may come for ``timeout`` seconds at the most."""
        url = f"{self.endpoint}/{uri}/resolve/{commit}/{quote(name)}"
        size, digest = 0, hashlib.sha256()
        with self._naming_failures(uri, commit):
            async with self._opened(client, url, httpx2.Timeout(self.timeout)) as response:
                self._raise_unfit(response)
                async for chunk in response.aiter_raw(CHUNK_BYTES):
                    size += len(chunk)
                    if size > file.size:
                        break
                    digest.update(chunk)
                    yield chunk
            if size != file.size or digest.hexdigest() != (file.sha256 or digest.hexdigest()):
                raise _Unfit(f"has sent {name} with another content than it lists")

    @contextmanager
    def _naming_failures(self, uri: str, wanted: str) -> Iterator[None]:
        """Makes of what goes wrong meanwhile what it means for the resource."""
        started = self._clock()
        try:
            yield
        except TimeoutError:
            what = f"has not answered whole within {self.timeout:g} seconds"
            raise self._unanswered(started, uri, wanted, what) from None
        except httpx2.ConnectError as error:
            raise self._unanswered(started, uri, wanted, self._cant_be_read(error)) from None
        except httpx2.HTTPError as error:
            raise self._unavailable(uri, wanted, self._cant_be_read(error)) from None
        except _Unfit as unfit:
            raise self._unavailable(uri, wanted, str(unfit)) from None
        except _Declined as declined:
            raise self._outcome(declined, uri, wanted) from None

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[httpx2.AsyncClient]:
        """One client for the reads of the moment: they share its connections, and nothing is left to close afterwards.

        Its own timeout is off, since it starts anew with every byte; the deadline is the read's.
        """
        if self._shared is None:
            authorization = {"Authorization": f"Bearer {self._token}"} if self._token else {}
            self._shared = httpx2.AsyncClient(headers={**_HEADERS, **authorization}, timeout=None, verify=_tls())
        client = self._shared
        self._users += 1
        try:
            yield client
        finally:
            self._users -= 1
            if not self._users:
                self._shared = None
                await client.aclose()

    async def _commit(self, client: httpx2.AsyncClient, uri: str, revision: str) -> str:
        asked = self._clock()
        # Without `expand`, the answer lists every file.
        url = f"{self.endpoint}/api/models/{uri}/revision/{quote(revision, safe='')}?expand=sha"
        try:
            information = parsed((await self._get(client, url, self.max_bytes)).body, uri)
        except (Refused, _TooLarge):
            raise _Unfit("has answered something else than a model's information") from None
        commit = information.get("sha")
        if not isinstance(commit, str) or not COMMIT.fullmatch(commit):
            raise _Unfit("has answered without a commit (sha)")
        self._branches.put((uri, revision), (asked, commit), len(uri) + len(revision) + len(commit))
        return commit

    async def _read_commit(self, client: httpx2.AsyncClient, uri: str, commit: str) -> _Contents:
        contents = _Contents(
            await self._config(client, uri, commit),
            await self._files(client, uri, commit),
            await self._parameters(client, uri, commit),
        )
        self._contents.put((uri, commit), contents, contents.size)
        return contents

    async def _config(self, client: httpx2.AsyncClient, uri: str, commit: str) -> bytes:
        where = _at(uri, commit)
        try:
            answer = await self._get(client, f"{self.endpoint}/{uri}/resolve/{commit}/{CONFIG}", self.max_bytes)
        except _Declined as declined:
            if declined.of_the_file:
                raise config_missing(f"{where} on {self.endpoint}") from None
            raise
        except _TooLarge:
            raise too_large(where, self.max_bytes) from None
        if answer.commit and answer.commit != commit:
            raise _Unfit(f"has answered for commit {quoted(self._without_token(answer.commit))} instead of {commit}")
        parsed(answer.body, where)  # what is no config isn't kept
        return answer.body

    async def _files(self, client: httpx2.AsyncClient, uri: str, commit: str) -> bytes | None:
        """The sizes of the root's files by name, as JSON; None where a mirror knows no lists."""
        listed = await self._list(client, uri, commit)
        return None if listed is None else json.dumps({name: file.size for name, file in listed.items()}).encode()

    async def _parameters(self, client: httpx2.AsyncClient, uri: str, commit: str) -> Mapping[str, int] | None:
        """How many numbers of each type the safetensors files hold, as ``SafeTensorsInfo`` in hf_api.py has it; None
        where the hub doesn't say, or a mirror doesn't know the question."""
        url = f"{self.endpoint}/api/models/{uri}/revision/{commit}?expand=safetensors"
        try:
            async with asyncio.timeout(self.timeout / 4):  # an estimate is worth no more
                information = parsed((await self._get(client, url, self.max_bytes)).body, uri)
        except _Declined as declined:
            if declined.status == httpx2.codes.TOO_MANY_REQUESTS:  # it is about all that is asked
                raise
            return None
        except (Refused, _TooLarge, _Unfit, TimeoutError, httpx2.HTTPError):
            return None
        match information.get("safetensors"):
            case {"parameters": dict(parameters)} if 0 < len(parameters) <= MAX_DTYPES:
                return parameters if all(map(_is_count, parameters.items())) else None
        return None

    async def _list(self, client: httpx2.AsyncClient, uri: str, commit: str) -> dict[str, _File] | None:
        """The root's files by name; None where a mirror knows no lists."""
        address = f"{self.endpoint}/api/models/{uri}/tree/{commit}"
        files: dict[str, _File] = {}
        url, left = address, self.max_bytes
        for _ in range(MAX_PAGES):
            try:
                answer = await self._get(client, url, left)
            except _Declined as declined:
                if declined.of_the_file:
                    return None
                raise
            except _TooLarge:
                break
            files.update(_listed(answer.body))
            left -= len(answer.body)
            if answer.following is None:
                return files
            # Only what follows the question mark is taken from the link, so that it leads nowhere else: mirrors may
            # hand on the public hub's.
            url, last = f"{address}?{_query(answer.following)}", url
            if url == last:
                raise _Unfit("has named the same page of its list of files as the next one")
        raise _too_many(uri, commit)

    async def _get(self, client: httpx2.AsyncClient, url: str, limit: int) -> _Answer:
        async with self._opened(client, url, None) as response:
            self._raise_unfit(response)
            commit = response.headers.get(constants.HUGGINGFACE_HEADER_X_REPO_COMMIT)
            return _Answer(await _body(response, limit), commit, response.links.get("next", {}).get("url"))

    @asynccontextmanager
    async def _opened(
        self, client: httpx2.AsyncClient, url: str, waits: httpx2.Timeout | None
    ) -> AsyncIterator[httpx2.Response]:
        """What is at ``url``, or where that leads to. The client takes the token out at another origin."""
        request: httpx2.Request | None = client.build_request("GET", url, timeout=waits)
        for _ in range(MAX_REDIRECTS + 1):
            if request is None or not _is_port(request.url.port):
                raise _Unfit("has answered with a redirect to what is no address")
            response = await client.send(request, stream=True)
            try:
                self._answered = self._clock()
                if not response.has_redirect_location:
                    yield response
                    return
                await self._drain(response)
                request = response.next_request
            finally:
                await response.aclose()
        raise _Unfit(f"has answered with more than {MAX_REDIRECTS} redirects")

    async def _drain(self, response: httpx2.Response) -> None:
        """Reads what a redirect says beside the address, so that the connection can be used again."""
        try:
            await _body(response, MAX_REDIRECT_BYTES)
        except _TooLarge:
            raise _Unfit("has answered with a redirect that is too large") from None

    def _raise_unfit(self, response: httpx2.Response) -> None:
        if response.is_error:
            raise _Declined(response.status_code, response.headers)
        if response.status_code != httpx2.codes.OK:
            raise _Unfit(f"has answered with status {response.status_code}")
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding != "identity":  # unpacking could make much of little
            raise _Unfit(f"has answered in the encoding {quoted(self._without_token(encoding))}, unasked")

    def _outcome(self, declined: _Declined, uri: str, revision: str) -> OperatorError:
        """What an answer other than a success means for the resource."""
        status, headers = declined.status, declined.headers
        where = f"{uri} at revision {revision} on {self.endpoint}"
        said = self._said(headers.get("X-Error-Message", "")) or f"status {status}"
        if declined.code == "RevisionNotFound":
            return Refused(
                Reason.REVISION_NOT_FOUND,
                f"{uri} on {self.endpoint} has no branch, tag or commit {revision} (the hub: {said}). "
                "Correct the revision, or leave it out for main.",
            )
        if status in (httpx2.codes.UNAUTHORIZED, httpx2.codes.FORBIDDEN):
            closed = self._closed_to_token if self._token else self._closed
            return closed(status, where, said, gated=declined.code == "GatedRepo")
        if status == httpx2.codes.NOT_FOUND:
            unseen = "" if self._token is None else " that the token may see"
            or_token = "" if self._token is None else ", the token's access (spec.model.tokenSecretRef)"
            return Refused(
                Reason.MODEL_NOT_FOUND,
                f"{self.endpoint} has no repository {uri}{unseen} (the hub: {said}). "
                f"Correct the name{or_token}, or the hub's address.",
            )
        if status == httpx2.codes.TOO_MANY_REQUESTS:
            seconds = _retry_after(headers, THROTTLED_SECONDS)
            return Waiting(
                Reason.HUB_THROTTLED,
                f"{self.endpoint} limits requests; {uri} is read again in {seconds:.0f} seconds (the hub: {said}).",
                retry_after=seconds,
            )
        return self._unavailable(uri, revision, f"has answered with status {status} ({said})", headers)

    def _closed(self, status: int, where: str, said: str, *, gated: bool) -> Refused:
        """What a reader without a token isn't given."""
        if gated:
            return Refused(
                Reason.MODEL_GATED,
                f"{where} is gated (the hub: {said}). Accept its terms on the repository's page, and {_WANTS_TOKEN}.",
            )
        if status == httpx2.codes.UNAUTHORIZED:
            return Refused(
                Reason.MODEL_UNAUTHORIZED,
                f"{where} can't be read without a token, or doesn't exist: the hub says the same of both ({said}). "
                f"Check the name, or {_WANTS_TOKEN}.",
            )
        return Refused(
            Reason.MODEL_UNAUTHORIZED,
            f"{where} may not be read by everyone (the hub: {said}). Name another repository, or {_WANTS_TOKEN}.",
        )

    def _closed_to_token(self, status: int, where: str, said: str, *, gated: bool) -> Refused:
        """What the token's account isn't given."""
        if status == httpx2.codes.UNAUTHORIZED:
            return Refused(
                Reason.MODEL_UNAUTHORIZED,
                f"{where} can't be read, since the hub doesn't accept the token ({said}). It is wrong, or was revoked, "
                "or has expired: put a valid one into the Secret that spec.model.tokenSecretRef names.",
            )
        if gated:
            return Refused(
                Reason.MODEL_GATED,
                f"{where} is gated, and the token's account has not been let in (the hub: {said}). Accept the terms on "
                "the repository's page with that account, or put another's token into the Secret that "
                "spec.model.tokenSecretRef names.",
            )
        return Refused(
            Reason.MODEL_FORBIDDEN,
            f"{where} may not be read with this token (the hub: {said}). Give the token and its account the right to "
            "read the repository, or put another into the Secret that spec.model.tokenSecretRef names.",
        )

    def _unanswered(self, started: float, uri: str, revision: str, what: str) -> Waiting:
        """For a read that had no answer. If nobody has had one since it ``started``, the hub is left alone a while."""
        if self._answered < started:
            self._silent_until = self._clock() + SILENT_SECONDS
            self._silence = what
        return self._unavailable(uri, revision, what)

    def _raise_if_silent(self, uri: str, revision: str) -> None:
        if self._clock() < self._silent_until:
            raise self._unavailable(uri, revision, f"{self._silence} (another read, a moment ago)")

    def _unavailable(self, uri: str, revision: str, what: str, headers: Mapping[str, str] | None = None) -> Waiting:
        return Waiting(
            Reason.HUB_UNAVAILABLE,
            f"{self.endpoint} {what}. Asked for {uri} at revision {revision}.",
            retry_after=_retry_after(headers or {}, RETRY_SECONDS),
        )

    def _cant_be_read(self, error: httpx2.HTTPError) -> str:
        return f"can't be read: {self._said(str(error)) or type(error).__name__}"

    def _said(self, text: str) -> str:
        return one_line(self._without_token(text))

    def _without_token(self, text: str) -> str:
        """What comes from outside may be an echo."""
        return text.replace(self._token, "(token)") if self._token else text


async def _body(response: httpx2.Response, limit: int) -> bytes:
    """The body as it came.

    Raises:
        _TooLarge
    """
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > limit:
            raise _TooLarge
    return bytes(body)


def _listed(body: bytes) -> dict[str, _File]:
    """The files of one page of a list, by name."""
    strange = _Unfit("has answered something else than a list of files")
    try:
        entries = json.loads(body.decode())
        json.dumps(entries, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise strange from None
    if not isinstance(entries, list):
        raise strange
    files: dict[str, _File] = {}
    for entry in entries:
        match entry:
            case {"type": "file", "path": str(path), "size": int(size)} if 0 <= size <= MAX_FILE_BYTES:
                if "/" not in path:
                    files[path] = _File(size, _sha256(entry.get("lfs")))
            case {"type": str(kind)} if kind != "file":
                continue
            case _:
                raise strange
    return files


def _is_count(item: tuple[str, object]) -> bool:
    name, count = item
    return _DTYPE.fullmatch(name) is not None and type(count) is int and 0 <= count <= MAX_FILE_BYTES


def _sha256(lfs: object) -> str | None:
    match lfs:
        case {"oid": str(oid)} if _SHA256.fullmatch(oid):
            return oid
    return None


def _query(link: str) -> str:
    """What follows the question mark."""
    try:
        query = httpx2.URL(link).query.decode("ascii")
    except (httpx2.InvalidURL, ValueError):
        query = ""
    if not query or len(query) > MAX_QUERY:
        raise _Unfit("has named no page as the next one of its list of files")
    return query


def _too_many(uri: str, commit: str) -> Refused:
    return Refused(
        Reason.FILES_TOO_MANY,
        f"{_at(uri, commit)} has more files beside {CONFIG} than any model. Check what the repository holds, or name "
        "another revision.",
    )


def _at(uri: str, commit: str) -> str:
    return f"{uri} at commit {commit}"


@cache
def _tls() -> SSLContext:
    """Made once: reading the certificate authorities takes longer than a request."""
    return httpx2.create_ssl_context()


def _checked_endpoint(endpoint: str) -> str:
    try:
        url = httpx2.URL(endpoint)
    except httpx2.InvalidURL:
        url = httpx2.URL("")
    if url.scheme not in ("http", "https") or not url.host or not _is_port(url.port) or url.query or url.fragment:
        raise ValueError(f"the hub's endpoint must be an address like https://huggingface.co, not {quoted(endpoint)}")
    if url.userinfo:
        raise ValueError("the hub's endpoint must not hold a user or a password: an access token is given by itself")
    return endpoint.rstrip("/")


def _is_port(port: int | None) -> bool:
    """A client that is told to connect to another has an error of no kind that it documents."""
    return port is None or 0 < port < 65536


def _checked_token(token: str) -> str:
    """Without what an editor leaves around it. Anything else that can't be in a header would be in the error's text."""
    token = token.strip()
    if not _TOKEN.fullmatch(token):
        raise Refused(
            Reason.MODEL_UNAUTHORIZED,
            "What is in the Secret that spec.model.tokenSecretRef names is no access token: it must be one line of 8 "
            "to 4096 letters, digits and signs. Put the token there as the hub shows it.",
            field="spec.model.tokenSecretRef",
        )
    return token


def _retry_after(headers: Mapping[str, str], otherwise: float) -> float:
    """Seconds until the hub wants to be asked again, between one second and an hour."""
    seconds = otherwise
    value = headers.get("Retry-After", "").strip()
    limit = parse_ratelimit_headers(headers)
    if limit is not None and limit.remaining == 0:
        seconds = float(limit.reset_in_seconds)
    elif value.isdecimal() and len(value) < 10:
        seconds = float(value)
    elif value:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError):
            seconds = otherwise
    return bounded(seconds)
