"""Reads a checkpoint from object storage, pinned by a digest, and fetches it at that pin: the adapter for S3 and GCS.

It runs in pods of the resource's namespace, never in the operator, which holds no credentials. Google's storage is
spoken to as S3 as well, which it answers, with HMAC keys. Buckets are named in the path, as every such server takes it.

All it takes is GETs with a signature (``core/sigv4``), sent by the HTTP client that the operator has anyway. Of the
libraries, boto's is 30 MB of every service's description, and obstore (15 MB) reads listings whole at whatever length
they announce, and takes keys from the environment unasked. Here bytes are counted as they come, and deadlines cover
everything. Of the environment, proxies and ``SSL_CERT_FILE`` count.

The pin is a digest of the names, sizes and etags of the objects right below the prefix. It is worth what the store's
etags are; most stores' are another as soon as a byte is.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from speculator_operator.api import REFRESH_ANNOTATION, Reason
from speculator_operator.core.checkpoint import Snapshot
from speculator_operator.core.config_file import CONFIG, MAX_BYTES, config_missing, parsed, too_large
from speculator_operator.core.s3_listing import Listed, digest, loaded, page
from speculator_operator.core.sigv4 import Credentials, encoded_path, encoded_query, signed_headers
from speculator_operator.core.words import one_line, quoted
from speculator_operator.download import fill, is_downloaded, volume_failed
from speculator_operator.errors import OperatorError, Refused, Waiting
from speculator_operator.reference import Kind, Reference
from speculator_operator.retry import RETRY_SECONDS, THROTTLED_SECONDS, bounded

GCS_ENDPOINT = "https://storage.googleapis.com"
#: The region that stores elsewhere take requests to be signed for, unless they were told of another.
REGION = "us-east-1"

#: Of a listing: entries of a page (the protocol's own limit), its bytes, and pages.
PAGE = 1000
MAX_PAGE_BYTES = 8 * 1024 * 1024
MAX_PAGES = 10

CHUNK_BYTES = 1024 * 1024

_MAX_ERROR_BYTES = 64 * 1024
_CODE = re.compile(rb"<Code>([A-Za-z0-9]{1,48})</Code>")
_REGION = re.compile(r"[a-z0-9-]{1,64}")
_REGION_IN_ERROR = re.compile(rb"<Region>([a-z0-9-]{1,64})</Region>")
_KEY = re.compile(r"[\x21-\x7e]+")
_UNAUTHORIZED = {
    "AccessDenied",
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
}
_THROTTLED = {"SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequests"}


class ObjectStore:
    """The store at ``endpoint``; None is the provider's own, AWS's or Google's, as a reference's scheme says.

    ``timeout`` (seconds) is for a whole ``read``, and in a ``fetch`` for the listing, and for any wait in which nothing
    comes. ``max_bytes`` bounds ``config.json``. Without ``credentials``, requests are anonymous.

    Raises:
        ValueError: the endpoint is no address, or the region no region.
        Refused: ``StorageUnauthorized``: the credentials can't be any.
    """

    def __init__(
        self,
        endpoint: str | None,
        *,
        timeout: float,
        region: str | None = None,
        credentials: Credentials | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        if region is not None and not _REGION.fullmatch(region):
            raise ValueError(f"{quoted(region)} can't be a region of object storage")
        self.timeout = timeout
        self.max_bytes = max_bytes
        self._region = region
        self._endpoint = _checked_endpoint(endpoint) if endpoint else None
        self._credentials = _checked_credentials(credentials) if credentials else None

    async def read(self, reference: Reference) -> Snapshot:
        """The config below a prefix. The snapshot's ``files`` are all objects right below it.

        Raises:
            Refused: ``StorageUnauthorized``, ``BucketNotFound``, ``BucketElsewhere``, ``FilesTooMany``,
                ``ConfigMissing``, ``ConfigMalformed``, ``ConfigTooLarge``.
            Waiting: ``StorageThrottled``, ``StorageUnavailable``.
        """
        async with self._opened(reference) as prefix:
            try:
                async with asyncio.timeout(self.timeout):
                    objects = await prefix.listed()
                    body = await prefix.config(objects, self.max_bytes)
            except TimeoutError:
                raise prefix.unavailable(f"has not answered whole within {self.timeout:g} seconds") from None
        files = {item.name: item.size for item in objects}
        return Snapshot(reference.uri, digest(objects), parsed(body, reference.uri), files)

    async def fetch(
        self, reference: Reference, revision: str, target: Path, *, say: Callable[[str], None] = print
    ) -> None:
        """Brings what an engine loads into the folder ``target``, as it was when ``read`` gave ``revision``.

        The folder has to be the fetch's own; ``download`` says how it is filled. What is there already isn't fetched
        again. ``say`` is told how far it is.

        Raises:
            Refused: as ``read``; ``StorageChanged``: the revision is another by now; ``VolumeUnusable``: the folder is
                full, can't be written to, or holds something else.
            Waiting: as ``read``.
        """
        try:
            if await asyncio.to_thread(is_downloaded, target, revision):
                say(f"{reference.uri} at {revision} is there already.")
                return
            async with self._opened(reference) as prefix:
                await self._fetch(prefix, revision, target, say)
        except OSError as error:
            raise volume_failed(target, error) from error

    async def _fetch(self, prefix: _Prefix, revision: str, target: Path, say: Callable[[str], None]) -> None:
        try:
            async with asyncio.timeout(self.timeout):
                objects = await prefix.listed()
        except TimeoutError:
            raise prefix.unavailable(f"has not listed it within {self.timeout:g} seconds") from None
        if (now := digest(objects)) != revision:
            raise prefix.changed(f"it was {revision}, and is {now}")
        wanted = {item.name: item for item in loaded(objects)}
        files = {name: item.size for name, item in wanted.items()}

        def chunks(name: str) -> AsyncGenerator[bytes]:
            return prefix.chunks(wanted[name])

        try:
            await fill(target, prefix.uri, revision, files, chunks, timeout=self.timeout, say=say)
        except TimeoutError as error:
            raise prefix.unavailable(str(error)) from None

    @asynccontextmanager
    async def _opened(self, reference: Reference) -> AsyncIterator[_Prefix]:
        # `trust_env` would have it send a netrc's password. Proxies are asked for request by request.
        async with aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self.timeout, sock_read=self.timeout),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=CHUNK_BYTES,
            trust_env=False,
            headers={"User-Agent": "speculator-operator", "Accept-Encoding": "identity"},
        ) as session:
            origin, region = self._place(reference.kind)
            yield _Prefix(session, reference, origin, region, self._credentials)

    def _place(self, kind: Kind) -> tuple[SplitResult, str]:
        """The origin to ask, and the region to sign for."""
        if self._endpoint is not None:
            return self._endpoint, self._region or REGION
        if kind is Kind.GCS:
            return urlsplit(GCS_ENDPOINT), "auto"
        region = self._region or REGION
        china = ".cn" if region.startswith("cn-") else ""
        return urlsplit(f"https://s3.{region}.amazonaws.com{china}"), region


class _Prefix:
    """A prefix of a bucket, and the connections to ask ``origin`` for it."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        reference: Reference,
        origin: SplitResult,
        region: str,
        credentials: Credentials | None,
    ) -> None:
        self.uri = reference.uri
        self._session = session
        self._bucket = reference.name
        self._prefix = f"{reference.path}/" if reference.path else ""
        self._origin = origin
        self._region = region
        self._credentials = credentials

    async def listed(self) -> list[Listed]:
        """The objects right below the prefix."""
        query = {"list-type": "2", "delimiter": "/", "prefix": self._prefix, "max-keys": str(PAGE)}
        objects: dict[str, Listed] = {}
        for _ in range(MAX_PAGES):
            body = bytearray()
            async with self._get(f"/{self._bucket}", query, {}) as response:
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > MAX_PAGE_BYTES:
                        raise self.unavailable(f"has answered with more than {MAX_PAGE_BYTES} bytes")
            try:
                found, token = page(bytes(body), self._prefix)
            except ValueError as error:
                raise self.unavailable(f"has answered with no listing: {one_line(str(error))}") from error
            objects |= {item.name: item for item in found}
            if token is None:
                break
            query["continuation-token"] = token
        else:
            raise Refused(
                Reason.FILES_TOO_MANY,
                f"{self.uri} has more than {MAX_PAGES * PAGE} entries, which no checkpoint has. "
                "Name the checkpoint's own prefix.",
            )
        if not objects:
            raise Refused(
                Reason.CONFIG_MISSING,
                f"There is nothing at {self.uri}. Correct the path: what is looked for lies right below it.",
            )
        return list(objects.values())

    async def config(self, objects: Sequence[Listed], max_bytes: int) -> bytes:
        """The body of ``config.json``, which is one of the objects."""
        config = next((item for item in objects if item.name == CONFIG), None)
        if config is None:
            raise config_missing(self.uri)
        if config.size > max_bytes:
            raise too_large(self.uri, max_bytes)
        body = bytearray()
        try:
            async with aclosing(self.chunks(config)) as chunks:
                async for chunk in chunks:
                    body += chunk
        except Refused as refusal:
            if refusal.reason != Reason.STORAGE_CHANGED:
                raise
            raise self.unavailable(f"has another {CONFIG} than a moment ago") from None
        return bytes(body)

    async def chunks(self, item: Listed) -> AsyncGenerator[bytes]:
        """The content of an object that is still the one that was listed, and no byte more or less."""
        size = 0
        path = encoded_path(f"/{self._bucket}/{self._prefix}{item.name}")
        async with self._get(path, {}, {"If-Match": item.etag}) as response:
            async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                size += len(chunk)
                if size > item.size:
                    break
                yield chunk
        if size != item.size:
            raise self.unavailable(f"has sent {item.name} with another size than it lists")

    @asynccontextmanager
    async def _get(
        self, path: str, query: Mapping[str, str], headers: Mapping[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer of success; its body is for the caller to read, and to count."""
        text = encoded_query(query)
        if self._credentials:
            headers = signed_headers(
                self._credentials,
                host=self._origin.netloc,
                path=path,
                query=text,
                headers=headers,
                region=self._region,
                now=datetime.now(UTC),
            )
        address = URL(self._origin._replace(path=path, query=text).geturl(), encoded=True)
        proxy = None if proxy_bypass(self._origin.netloc) else getproxies().get(self._origin.scheme)
        try:
            async with self._session.get(address, headers=headers, allow_redirects=False, proxy=proxy) as response:
                if response.status != 200:
                    raise await self._outcome(response, of_object="If-Match" in headers)
                yield response
        except aiohttp.ServerTimeoutError:
            raise self.unavailable("has sent nothing for too long") from None
        except aiohttp.ClientConnectionError as error:
            raise self.unavailable(f"can't be reached: {one_line(str(error))}") from error
        except aiohttp.ClientHttpProxyError as error:
            raise self.unavailable(f"can't be reached through the proxy (status {error.status})") from None
        except aiohttp.ClientPayloadError:
            raise self.unavailable("has broken off in the middle of an answer") from None
        except aiohttp.ClientError as error:
            raise self.unavailable(f"has given no HTTP answer ({type(error).__name__})") from None

    async def _outcome(self, response: aiohttp.ClientResponse, *, of_object: bool) -> OperatorError:
        """What an answer other than a success means. Of its text only the code is told: the rest can hold our key."""
        body = bytearray()
        while len(body) < _MAX_ERROR_BYTES and (chunk := await response.content.read(_MAX_ERROR_BYTES)):
            body += chunk
        status = response.status
        code = found[1].decode() if (found := _CODE.search(body)) else ""
        said = code or f"status {status}"
        region = _other_region(response.headers, bytes(body))
        if status in (301, 302, 307, 308) or (region and code == "AuthorizationHeaderMalformed"):
            where = f"in region {region}" if region else "elsewhere"
            return Refused(
                Reason.BUCKET_ELSEWHERE,
                f"{self._origin.geturl()} says that bucket {self._bucket} is {where} ({said}). Have the installation's "
                "endpoint and region set to the bucket's (SPECULATOR_S3_ENDPOINT, SPECULATOR_S3_REGION).",
            )
        if code == "RequestTimeTooSkewed":
            return self.unavailable("finds the clock of this node wrong (RequestTimeTooSkewed): have it set right")
        if status in (401, 403) or code in _UNAUTHORIZED:
            return self._unauthorized(said)
        if code in ("NoSuchBucket", "InvalidBucketName") or (status == 404 and not of_object):
            return Refused(
                Reason.BUCKET_NOT_FOUND,
                f"{self._origin.geturl()} has no bucket {self._bucket} ({said}). Correct the name, or have the "
                "installation's endpoint corrected (SPECULATOR_S3_ENDPOINT).",
            )
        if of_object and status in (404, 412):
            return self.changed(f"a file is gone, or another one: {said}")
        if status == 429 or code in _THROTTLED:
            seconds = _retry_after(response.headers, THROTTLED_SECONDS)
            return Waiting(
                Reason.STORAGE_THROTTLED,
                f"{self._origin.geturl()} limits requests ({said}); {self.uri} is asked for again in "
                f"{seconds:.0f} seconds.",
                retry_after=seconds,
            )
        return self.unavailable(
            f"has answered with status {status} ({said})", _retry_after(response.headers, RETRY_SECONDS)
        )

    def _unauthorized(self, said: str) -> Refused:
        remedy = (
            "Correct the Secret, or let its access key list the bucket and read its objects"
            if self._credentials
            else "It was asked without credentials: set spec.model.credentialsSecretRef to a Secret with an access key "
            "that may list the bucket and read its objects"
        )
        return Refused(
            Reason.STORAGE_UNAUTHORIZED, f"{self._origin.geturl()} doesn't let us read {self.uri} ({said}). {remedy}."
        )

    def changed(self, how: str) -> Refused:
        return Refused(
            Reason.STORAGE_CHANGED,
            f"What is at {self.uri} has changed since it was checked ({how}). Set the annotation {REFRESH_ANNOTATION} "
            "to something new to have it checked and pinned anew, or put back what was there.",
        )

    def unavailable(self, what: str, retry_after: float = RETRY_SECONDS) -> Waiting:
        return Waiting(
            Reason.STORAGE_UNAVAILABLE,
            f"{self._origin.geturl()} {what}. Asked for {self.uri}.",
            retry_after=retry_after,
        )


def _other_region(headers: Mapping[str, str], body: bytes) -> str:
    """The bucket's region, where an answer names it."""
    region = headers.get("x-amz-bucket-region", "")
    if _REGION.fullmatch(region):
        return region
    return found[1].decode() if (found := _REGION_IN_ERROR.search(body)) else ""


def _retry_after(headers: Mapping[str, str], otherwise: float) -> float:
    """Seconds until the store wants to be asked again, between one second and an hour."""
    value = headers.get("Retry-After", "").strip()
    seconds = float(value) if value.isascii() and value.isdecimal() and len(value) < 10 else otherwise
    return bounded(seconds)


def _checked_endpoint(endpoint: str) -> SplitResult:
    try:
        url = urlsplit(endpoint)
        port = url.port
    except ValueError:
        url, port = urlsplit(""), None
    if "@" in url.netloc:
        raise ValueError("object storage's endpoint must not hold a user or a password: these belong into a Secret")
    if url.scheme not in ("http", "https") or not url.hostname or url.path.strip("/") or url.query or url.fragment:
        raise ValueError(
            f"object storage's endpoint must be an address like https://minio.example:9000, not {quoted(endpoint)}"
        )
    # The Host header is signed, and doesn't bear a port that is the scheme's own.
    own = {"http": 80, "https": 443}[url.scheme]
    netloc = url.netloc.rpartition(":")[0] if port == own else url.netloc
    return SplitResult(url.scheme, netloc.lower(), "", "", "")


def _checked_credentials(credentials: Credentials) -> Credentials:
    """The credentials without the line ends that files, and so Secrets, tend to have."""
    stripped = Credentials(
        credentials.access_key_id.strip(),
        credentials.secret_access_key.strip(),
        (credentials.session_token or "").strip() or None,
    )
    parts = [stripped.access_key_id, stripped.secret_access_key, *filter(None, [stripped.session_token])]
    if not all(_KEY.fullmatch(part) for part in parts):
        raise Refused(
            Reason.STORAGE_UNAUTHORIZED,
            "The access key is empty, or holds characters that no access key has. Correct the Secret that "
            "spec.model.credentialsSecretRef names.",
            field="spec.model.credentialsSecretRef",
        )
    return stripped
