"""An address that leads to another: pods reach what listens on this machine's loopback alone."""

from __future__ import annotations

import contextlib
import select
import socket
import socketserver
import threading
from collections.abc import Iterator

_CHUNK = 1 << 16


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False  # who watches something stays connected for ever


@contextlib.contextmanager
def forwarded(address: tuple[str, int], target: tuple[str, int]) -> Iterator[None]:
    """Passes each connection to ``address`` on to ``target``, until either side ends."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError), socket.create_connection(target, timeout=10) as behind:
                front: socket.socket = self.request
                other = {front: behind, behind: front}
                while True:
                    for readable in select.select(list(other), [], [])[0]:
                        data = readable.recv(_CHUNK)
                        if not data:
                            return
                        other[readable].sendall(data)

    with _Server(address, Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
