"""Reads one model's ``config.json`` from the hub, pinned to a commit: the adapter for the hub.

Two requests: the revision's commit, then the file *at that commit*, so that a branch that moves in between changes
nothing. They are made here, with ``huggingface_hub``'s addresses and errors, because its own calls can't be bounded:
they read bodies whole, keep files on disk, and sleep for as long as a 429 asks (up to five times). Here one deadline
covers everything, bytes are counted as they come, nothing is retried, and a read that is given up holds neither a
thread nor a connection. No token is ever sent: what isn't public is not read by the operator.

Of the environment, ``HF_ENDPOINT`` counts where no endpoint is given, and so do proxies and ``SSL_CERT_FILE``;
``HF_TOKEN``, ``HF_HOME`` and ``HF_HUB_OFFLINE`` don't.

Only the library's light modules are imported: its ``HfApi`` would cost another 9 MB.
"""

from __future__ import annotations

import asyncio
import email.utils
import logging
import math
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from ssl import SSLContext
from urllib.parse import quote

import httpx2
from huggingface_hub import constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

# Documented to be there, and exported lazily.
from huggingface_hub.utils import hf_raise_for_status, parse_ratelimit_headers  # type: ignore[attr-defined]

from speculator_operator.api import Reason
from speculator_operator.core.checkpoint import Snapshot
from speculator_operator.core.config_file import CONFIG, MAX_BYTES, config_missing, parsed, quoted, too_large, words
from speculator_operator.errors import OperatorError, Refused, Waiting
from speculator_operator.reference import Reference

MAX_READS = 16
"""Reads of the hub at the same time; the others wait, and their deadline runs."""
RETRY_SECONDS = 30.0
THROTTLED_SECONDS = 60.0
MAX_THROTTLED_SECONDS = 3600.0
KEPT = 64
KEPT_BYTES = 64 * 1024
KEPT_SECONDS = 60.0
"""Many resources made at once name the same few models: so many bodies, up to this size, are kept for this time."""

_COMMIT = re.compile(r"[0-9a-f]{40}")
_REPOSITORY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9_][A-Za-z0-9._-]{0,95})?")
_REVISION = re.compile(r"(?!.*\.\.)(?!\.)[^\x00-\x20\x7f~^:?*\[\\]{1,255}")
_HEADERS = {"User-Agent": "speculator-operator", "Accept-Encoding": "identity"}


# At INFO it logs every address, and after a redirect that can be one that holds a signature.
logging.getLogger("httpx2").setLevel(logging.WARNING)


class Hub:
    """The hub at ``endpoint``; None is the public one, or ``HF_ENDPOINT``'s.

    ``timeout`` (seconds) is for a whole ``read``; ``max_bytes`` bounds each body.

    Raises:
        ValueError: the endpoint isn't the address of a hub.
    """

    def __init__(self, endpoint: str | None, *, timeout: float, max_bytes: int = MAX_BYTES) -> None:
        self.endpoint = _checked_endpoint(endpoint or constants.ENDPOINT)
        self.timeout = timeout
        self.max_bytes = max_bytes
        self._reads = asyncio.Semaphore(MAX_READS)
        self._shared: httpx2.AsyncClient | None = None
        self._readers = 0
        self._kept: dict[tuple[str, str], tuple[float, bytes]] = {}

    async def read(self, reference: Reference) -> Snapshot:
        """The config of a repository at its revision (a branch, tag or commit; None is ``main``).

        Raises:
            Refused: ``ModelUnauthorized``, ``ModelGated``, ``ModelNotFound``, ``RevisionNotFound``, ``ConfigMissing``,
                ``ConfigMalformed``, ``ConfigTooLarge``.
            Waiting: ``HubThrottled``, ``HubUnavailable``.
        """
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
        try:
            async with asyncio.timeout(self.timeout), self._reads, self._client() as client:
                commit = wanted if _COMMIT.fullmatch(wanted) else await self._commit(client, uri, wanted)
                body = self._known(uri, commit) or await self._config(client, uri, wanted, commit)
        except TimeoutError:
            raise self._unavailable(uri, wanted, f"has not answered whole within {self.timeout:g} seconds") from None
        except httpx2.HTTPError as error:
            raise self._unavailable(
                uri, wanted, f"can't be read: {words(str(error)) or type(error).__name__}"
            ) from error
        config = parsed(body, f"{uri} at commit {commit}")
        self._keep(uri, commit, body)
        return Snapshot(uri=uri, revision=commit, config=config)

    def _known(self, uri: str, commit: str) -> bytes | None:
        since, body = self._kept.get((uri, commit), (-math.inf, b""))
        return body if time.monotonic() - since < KEPT_SECONDS else None

    def _keep(self, uri: str, commit: str, body: bytes) -> None:
        if len(body) <= KEPT_BYTES and not self._known(uri, commit):
            if len(self._kept) >= KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[uri, commit] = time.monotonic(), body

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[httpx2.AsyncClient]:
        """One client for the reads of the moment: they share its connections, and nothing is left to close afterwards.

        Its own timeout is off, since it starts anew with every byte; the deadline is the read's.
        """
        if self._shared is None:
            self._shared = httpx2.AsyncClient(headers=_HEADERS, timeout=None, follow_redirects=True, verify=_tls())
        client = self._shared
        self._readers += 1
        try:
            yield client
        finally:
            self._readers -= 1
            if not self._readers:
                self._shared = None
                await client.aclose()

    async def _commit(self, client: httpx2.AsyncClient, uri: str, revision: str) -> str:
        url = f"{self.endpoint}/api/models/{uri}/revision/{quote(revision, safe='')}"
        try:
            # Without `expand`, the answer lists every file.
            body = await self._get(client, f"{url}?expand=sha", uri, revision, missing=Reason.MODEL_NOT_FOUND)
            information = parsed(body, uri)
        except Refused as refusal:
            if refusal.reason in (Reason.CONFIG_MALFORMED, Reason.CONFIG_TOO_LARGE):
                raise self._unavailable(
                    uri, revision, "has answered something else than a model's information"
                ) from None
            raise
        commit = information.get("sha")
        if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
            raise self._unavailable(uri, revision, "has answered without a commit (sha)")
        return commit

    async def _config(self, client: httpx2.AsyncClient, uri: str, revision: str, commit: str) -> bytes:
        url = f"{self.endpoint}/{uri}/resolve/{commit}/{CONFIG}"
        return await self._get(client, url, uri, revision, missing=Reason.CONFIG_MISSING, commit=commit)

    async def _get(
        self,
        client: httpx2.AsyncClient,
        url: str,
        uri: str,
        revision: str,
        *,
        missing: Reason,
        commit: str | None = None,
    ) -> bytes:
        """The body at ``url``. ``missing`` is what a plain 404 means there; ``commit`` is the one that must answer."""
        async with client.stream("GET", url) as response:
            try:
                hf_raise_for_status(response)
            except HfHubHTTPError as error:
                raise self._outcome(error, uri, revision, missing) from error
            answered = response.headers.get(constants.HUGGINGFACE_HEADER_X_REPO_COMMIT)
            encoding = response.headers.get("Content-Encoding", "identity")
            if response.status_code != httpx2.codes.OK:
                raise self._unavailable(uri, revision, f"has answered with status {response.status_code}")
            if commit and answered and answered != commit:
                raise self._unavailable(
                    uri, revision, f"has answered for commit {quoted(answered)} instead of {commit}"
                )
            if encoding != "identity":  # unpacking could make much of little
                raise self._unavailable(uri, revision, f"has answered in the encoding {quoted(encoding)}, unasked")
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > self.max_bytes:
                    raise too_large(f"{uri} at revision {revision}", self.max_bytes)
            return bytes(body)

    def _outcome(self, error: HfHubHTTPError, uri: str, revision: str, missing: Reason) -> OperatorError:
        """What an answer other than a success means for the resource."""
        status = error.response.status_code
        headers = error.response.headers
        where = f"{uri} at revision {revision} on {self.endpoint}"
        said = words(headers.get("X-Error-Message", "")) or f"status {status}"
        if isinstance(error, GatedRepoError):
            return Refused(
                Reason.MODEL_GATED,
                f"{where} is gated (the hub: {said}). Only public repositories can be read: name one that isn't gated, "
                "or a hub of your own that has a copy (SPECULATOR_HF_ENDPOINT).",
            )
        if isinstance(error, RevisionNotFoundError):
            return Refused(
                Reason.REVISION_NOT_FOUND,
                f"{uri} on {self.endpoint} has no branch, tag or commit {revision} (the hub: {said}). "
                "Correct the revision, or leave it out for main.",
            )
        if isinstance(error, EntryNotFoundError):
            return config_missing(where)
        if status in (401, 403):
            return Refused(
                Reason.MODEL_UNAUTHORIZED,
                f"{where} can't be read without a token, or doesn't exist: the hub says the same of both ({said}). "
                "Check the name. Only public repositories can be read: for a private one, see SPECULATOR_HF_ENDPOINT.",
            )
        if isinstance(error, RepositoryNotFoundError) or (
            status == httpx2.codes.NOT_FOUND and missing is Reason.MODEL_NOT_FOUND
        ):
            return Refused(
                Reason.MODEL_NOT_FOUND,
                f"{self.endpoint} has no repository {uri} (the hub: {said}). Correct the name, or the hub's address.",
            )
        if status == httpx2.codes.NOT_FOUND:
            return config_missing(where)
        if status == httpx2.codes.TOO_MANY_REQUESTS:
            seconds = _retry_after(headers, THROTTLED_SECONDS)
            return Waiting(
                Reason.HUB_THROTTLED,
                f"{self.endpoint} limits requests; {uri} is read again in {seconds:.0f} seconds (the hub: {said}).",
                retry_after=seconds,
            )
        return self._unavailable(uri, revision, f"has answered with status {status} ({said})", headers)

    def _unavailable(self, uri: str, revision: str, what: str, headers: Mapping[str, str] | None = None) -> Waiting:
        return Waiting(
            Reason.HUB_UNAVAILABLE,
            f"{self.endpoint} {what}. Asked for {uri} at revision {revision}.",
            retry_after=_retry_after(headers or {}, RETRY_SECONDS),
        )


@cache
def _tls() -> SSLContext:
    """Made once: reading the certificate authorities takes longer than a request."""
    return httpx2.create_ssl_context()


def _checked_endpoint(endpoint: str) -> str:
    try:
        url = httpx2.URL(endpoint)
    except httpx2.InvalidURL:
        url = httpx2.URL("")
    if url.scheme not in ("http", "https") or not url.host or url.query or url.fragment:
        raise ValueError(f"the hub's endpoint must be an address like https://huggingface.co, not {quoted(endpoint)}")
    if url.userinfo:
        raise ValueError(
            "the hub's endpoint must not hold a user or a password: the operator reads without credentials"
        )
    return endpoint.rstrip("/")


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
    return min(max(seconds, 1.0), MAX_THROTTLED_SECONDS)
