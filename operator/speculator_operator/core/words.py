"""Text that comes from outside, made fit for a message: short, on one line, without secrets."""

from __future__ import annotations

import re

MAX_LENGTH = 200
#: Of a text that may be of any length, what is looked at.
_LOOKED_AT = 4096


def quoted(text: str) -> str:
    """In quotes, with everything that isn't printable escaped."""
    return repr(_shortened(text))


def one_line(text: str) -> str:
    """Another's words, to be followed by more. Addresses are left out: after a redirect they can hold a signature."""
    line = " ".join(re.sub(r"\S+://\S+", "(address)", text[:_LOOKED_AT]).split())
    return _shortened("".join(character for character in line if character.isprintable())).rstrip(".")


def printable(text: str) -> str:
    """What may hold what a terminal would obey, in its full length."""
    return "".join(character if character.isprintable() else "?" for character in " ".join(text.split()))


def redacted(text: str) -> str:
    """An engine's last words without what may be secret in them: passwords and signatures in addresses, and tokens."""
    text = re.sub(r"://[^\s/@]*@", "://", text)
    # What has no query is matched as well: looked through again from each address in it, a long text takes for ever.
    text = re.sub(r"(://[^\s?]*+)(\?\S*+)?", lambda found: found[1] + ("?..." if found[2] else ""), text)
    return re.sub(r"\bhf_[A-Za-z0-9]{8,}", "hf_...", text)


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_LENGTH else f"{text[:MAX_LENGTH]}..."
