"""Ports for servers that have to be told theirs."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def held_port() -> Iterator[int]:
    """A port that nobody else on this machine is given until the block ends.

    Whoever is told of it can listen there, at any IPv4 address or at all addresses, and again after a restart. It has
    to let addresses be reused (``SO_REUSEADDR``), as Go's servers and Python's do.
    """
    with socket.socket() as holding:
        holding.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holding.bind(("", 0))
        port: int = holding.getsockname()[1]
        yield port
