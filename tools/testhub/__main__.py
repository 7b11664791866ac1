"""``python -m tools.testhub``: the hub by itself, for a demo or for trying things by hand."""

from __future__ import annotations

import argparse
import signal
from pathlib import Path

from tools.testhub.checkpoints import publish_samples
from tools.testhub.server import Hub, serve_until_interrupted


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.testhub", description=__doc__)
    parser.add_argument("--root", type=Path, help="a folder of org/repo folders to serve")
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8079)
    parser.add_argument("--samples", action="store_true", help="serve tiny checkpoints too, which a real engine loads")
    arguments = parser.parse_args()
    try:
        hub = Hub(arguments.address, arguments.port, root=arguments.root)
    except (OSError, OverflowError, ValueError) as error:
        parser.error(str(error))
    if arguments.samples:
        for name, sha in publish_samples(hub).items():
            print(f"{name} {sha}", flush=True)
    print(f"HF_ENDPOINT={hub.url}", flush=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    serve_until_interrupted(hub)


if __name__ == "__main__":
    main()
