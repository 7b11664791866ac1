"""Signatures, against those that Amazon's documentation works out. A real server judges the others."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from speculator_operator.core.sigv4 import Credentials, encoded_path, encoded_query, signed_headers

# Source: Amazon S3 API Reference, "Examples: Signature Calculations in AWS Signature Version 4".
EXAMPLE = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
HOST = "examplebucket.s3.amazonaws.com"
NOW = datetime(2013, 5, 24, tzinfo=UTC)

EXAMPLES = {
    "an object, and a header of one's own": (
        "/test.txt",
        {},
        {"Range": "bytes=0-9"},
        "host;range;x-amz-content-sha256;x-amz-date",
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    ),
    "a query without a value": (
        "/",
        {"lifecycle": ""},
        {},
        "host;x-amz-content-sha256;x-amz-date",
        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
    ),
    "a listing": (
        "/",
        {"prefix": "J", "max-keys": "2"},
        {},
        "host;x-amz-content-sha256;x-amz-date",
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
    ),
}


@pytest.mark.parametrize(("path", "query", "headers", "names", "signature"), EXAMPLES.values(), ids=EXAMPLES)
def test_a_request_is_signed_as_documented(
    path: str, query: dict[str, str], headers: dict[str, str], names: str, signature: str
) -> None:
    sent = signed_headers(
        EXAMPLE,
        host=HOST,
        path=encoded_path(path),
        query=encoded_query(query),
        headers=headers,
        region="us-east-1",
        now=NOW,
    )
    assert sent["Authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
        f"SignedHeaders={names}, Signature={signature}"
    )
    assert sent["Host"] == HOST
    assert headers.items() <= sent.items()


def test_a_session_token_is_sent_and_signed() -> None:
    credentials = Credentials("key", "secret", "token")
    sent = signed_headers(credentials, host=HOST, path="/", query="", headers={}, region="auto", now=NOW)
    assert sent["x-amz-security-token"] == "token"
    assert "x-amz-security-token" in sent["Authorization"]


def test_nothing_that_must_stay_secret_is_in_what_python_shows() -> None:
    shown = repr(Credentials("key", "hidden-secret", "hidden-token"))
    assert "key" in shown
    assert "hidden" not in shown


def test_what_is_not_plain_is_encoded_once() -> None:
    assert encoded_path("/bucket/a b+c=d/é~_.-") == "/bucket/a%20b%2Bc%3Dd/%C3%A9~_.-"
    assert encoded_query({"prefix": "a/b c", "delimiter": "/"}) == "delimiter=%2F&prefix=a%2Fb%20c"
