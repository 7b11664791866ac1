"""Stands in for the engines of simulated pods: one server at the port that all of them share, told apart by address.

It only counts: what it says of drafts is what a test sets. Whether a real engine drafts is shown with a real one.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

POSITION = """\
vllm:spec_decode_num_accepted_tokens_per_pos_total{{engine="0",model_name="m",position="{position}"}} {accepted}.0
"""
COUNTERS = """\
vllm:spec_decode_num_drafts_total{{engine="0",model_name="m"}} {drafts}.0
vllm:spec_decode_num_draft_tokens_total{{engine="0",model_name="m"}} {tokens}.0
vllm:spec_decode_num_accepted_tokens_total{{engine="0",model_name="m"}} {accepted}.0
"""


def counters(drafts: int, rates: Sequence[float]) -> str:
    """An engine's metrics, of drafts that have a token for each of the rates, by which they are accepted."""
    accepted = [round(drafts * rate) for rate in rates]
    each = (POSITION.format(position=position, accepted=count) for position, count in enumerate(accepted))
    return COUNTERS.format(drafts=drafts, tokens=len(rates) * drafts, accepted=sum(accepted)) + "".join(each)


class PodsPort:
    """A context manager: a server at one port of all of this machine's addresses, of which each is a pod's."""

    def __init__(self) -> None:
        pods = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = pods.answer(str(self.connection.getsockname()[0]))
                self.send_response(status)
                self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self.do_GET()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has there
                """Says nothing."""

        self._server = ThreadingHTTPServer(("0.0.0.0", 0), Handler)  # noqa: S104 - simulated pods' addresses, all local
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self.port = int(self._server.server_address[1])

    def answer(self, address: str) -> tuple[int, bytes]:
        """The HTTP status and the body that the pod of an address answers with, whatever it is asked."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Engines(PodsPort):
    """Each has drafted ``drafts`` times more at each look; None is one that doesn't speculate.

    Of each draft's three tokens two are accepted: ``rates``, from the first to the last. A completion is answered by
    nothing that is one. While ``reachable`` is unset, no answer comes but 503.
    """

    def __init__(self) -> None:
        super().__init__()
        self.drafts: int | None = 5
        self.reachable = True
        self.total = 0
        self.rates: Sequence[float] = (1.0, 0.8, 0.2)

    def answer(self, address: str) -> tuple[int, bytes]:
        del address  # all are alike
        body = ""
        if self.drafts is not None:
            self.total += self.drafts
            body = counters(self.total, self.rates)
        return 200 if self.reachable else 503, body.encode()
