"""A small model hub for tests and the demo: the Hub's protocol, spoken from memory, with faults on request."""

from tools.testhub.checkpoints import publish_samples, write_eagle3_draft, write_verifier
from tools.testhub.server import Hub, Request

__all__ = ["Hub", "Request", "publish_samples", "write_eagle3_draft", "write_verifier"]
