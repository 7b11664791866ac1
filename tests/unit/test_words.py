"""Text from outside, as messages have it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from speculator_operator.core.words import MAX_LENGTH, one_line, printable, quoted, redacted

LONG = "a" * MAX_LENGTH


@pytest.mark.parametrize(
    ("made", "text", "expected"),
    [
        pytest.param(quoted, "it's\n\x1b[2J", repr("it's\n\x1b[2J"), id="quotes and escapes"),
        pytest.param(quoted, LONG, f"'{LONG}'", id="as long as may be, in quotes"),
        pytest.param(quoted, f"{LONG}b", f"'{LONG}...'", id="too long, in quotes"),
        pytest.param(one_line, " two\n\tlines. ", "two lines", id="lines become one, which more can follow"),
        pytest.param(one_line, "bad\x00 \x1b[2J\u202e end", "bad [2J end", id="what isn't printable is left out"),
        pytest.param(one_line, "GET https://a/b?sig=c: no", "GET (address) no", id="addresses are left out"),
        pytest.param(one_line, LONG, LONG, id="as long as may be"),
        pytest.param(one_line, f"{LONG}b", LONG, id="too long"),
        pytest.param(printable, " two\nlines", "two lines", id="for a terminal, lines become one"),
        pytest.param(printable, "\x1b[2J\u202e", "?[2J?", id="what a terminal would obey is replaced"),
        pytest.param(printable, f"{LONG}b", f"{LONG}b", id="a terminal is given all"),
        pytest.param(
            redacted,
            "GET https://hub/f.safetensors?X-Amz-Signature=abc failed",
            "GET https://hub/f.safetensors?... failed",
            id="a signature",
        ),
        pytest.param(
            redacted, "proxy http://user:secret@proxy:3128 refused", "proxy http://proxy:3128 refused", id="a password"
        ),
        pytest.param(redacted, "token hf_abcdefghijklmnop is invalid", "token hf_... is invalid", id="a token"),
        pytest.param(redacted, "ValueError: what?", "ValueError: what?", id="nothing secret"),
    ],
)
def test_text_is_made_fit(made: Callable[[str], str], text: str, expected: str) -> None:
    assert made(text) == expected


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "text", ["a." * 100_000, "a://" * 100_000, "a://a@" * 100_000], ids=["dots", "addresses", "users"]
)
def test_a_long_text_takes_no_longer_than_a_short_one(text: str) -> None:
    assert redacted(text) == text.replace("a@", "")
