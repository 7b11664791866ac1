"""AWS Signature Version 4: the headers that prove to object storage who reads.

Requests that read alone: they are GETs, and have no body. Source: Amazon S3 API Reference, "Authenticating Requests:
Using the Authorization Header"; Google's storage takes the same with HMAC keys.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote

_NO_BODY = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True)
class Credentials:
    """An access key. A temporary one has a session token; for Google's storage it is an HMAC key."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


def encoded_path(path: str) -> str:
    """The path as it is sent and signed: object storage encodes once, and slashes not at all."""
    return quote(path, safe="/")


def encoded_query(query: Mapping[str, str]) -> str:
    """The query as it is sent and signed."""
    pairs = sorted((quote(name, safe=""), quote(value, safe="")) for name, value in query.items())
    return "&".join(f"{name}={value}" for name, value in pairs)


def signed_headers(
    credentials: Credentials,
    *,
    host: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    region: str,
    now: datetime,
) -> dict[str, str]:
    """``headers``, and those that sign them and the request.

    ``path`` and ``query`` are encoded. ``host`` is what the Host header will be: with the port, if it isn't the
    scheme's own.
    """
    time = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    sent = {**headers, "Host": host, "x-amz-content-sha256": _NO_BODY, "x-amz-date": time}
    if credentials.session_token:
        sent["x-amz-security-token"] = credentials.session_token
    canonical = dict(sorted((name.lower(), " ".join(value.split())) for name, value in sent.items()))
    names = ";".join(canonical)
    lines = "".join(f"{name}:{value}\n" for name, value in canonical.items())
    request = "\n".join(("GET", path, query, lines, names, _NO_BODY))
    scope = f"{time[:8]}/{region}/s3/aws4_request"
    text = "\n".join(("AWS4-HMAC-SHA256", time, scope, hashlib.sha256(request.encode()).hexdigest()))
    key = f"AWS4{credentials.secret_access_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    sent["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credentials.access_key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return sent
