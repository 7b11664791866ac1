"""Writes an OCI archive, as a builder does."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_archive(path: Path, *layers: Mapping[str, bytes]) -> str:
    """Writes an image with these layers, each the contents of files; returns the digest of its manifest."""
    blobs: dict[str, bytes] = {}

    def described(content: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = content
        return {"digest": f"sha256:{digest}", "size": len(content)}

    packed = [_tar(layer, "w:gz") for layer in layers]
    config = {"rootfs": {"diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in packed]}}
    manifest = {"config": described(json.dumps(config).encode()), "layers": [described(layer) for layer in packed]}
    top = described(json.dumps(manifest).encode())
    path.write_bytes(_tar({**blobs, "index.json": json.dumps({"manifests": [top]}).encode()}, "w"))
    digest: str = top["digest"]
    return digest


def _tar(files: Mapping[str, bytes], mode: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:  # type: ignore[call-overload]  # typeshed wants a literal
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
