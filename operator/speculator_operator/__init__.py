"""Serve speculators checkpoints with vLLM on Kubernetes, and prove that speculative decoding is on."""

__version__ = "0.1.0"
