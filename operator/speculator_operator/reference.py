"""Where a checkpoint is: a repository of the hub, a folder in a claim, in an image, or in object storage."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self


class Kind(StrEnum):
    """The scheme of a reference; one without a scheme is the hub's."""

    HUB = "hf"
    CLAIM = "pvc"
    IMAGE = "oci"
    S3 = "s3"
    GCS = "gs"


# None of these can start with a dash, so none is ever read as a flag; a segment that is `.` or `..` can't be written.
_REPOSITORY = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_REVISION = r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}"
_NAME = r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?"
_PATH = r"(/[A-Za-z0-9_][A-Za-z0-9._=-]*)*/?"  # Go bounds what a repetition of a repetition may come to
_IMAGE = r"[a-z0-9][a-z0-9.:_-]*(/[a-z0-9][a-z0-9._-]*)+(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?"
_DIGEST = r"@sha256:[a-f0-9]{64}"
_BUCKET = r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]"

#: What a revision of the hub is pinned to.
COMMIT = re.compile(r"[0-9a-f]{40}")

REPOSITORY_PATTERN = f"^{_REPOSITORY}$"
REVISION_PATTERN = f"^{_REVISION}$"
#: All of them; patterns keep to what Go's and Rust's expressions have in common, for both read them.
_FOLDERS = f"pvc://{_NAME}{_PATH}|(s3|gs)://{_BUCKET}{_PATH}"
URI_PATTERN = f"^((hf://)?{_REPOSITORY}(@{_REVISION})?|{_FOLDERS}|oci://{_IMAGE}({_DIGEST}{_PATH})?)$"
#: Where a draft of the user's choice is; a revision of it has a key of its own.
DRAFT_PATTERN = f"^({_REPOSITORY}|{_FOLDERS}|oci://{_IMAGE}{_DIGEST}{_PATH})$"


@dataclass(frozen=True)
class Reference:
    """``name`` is the repository (``org/repo``), the claim, the image with its digest, or the bucket. ``path`` is the
    folder in it, without slashes at its ends. ``revision`` is a branch, tag or commit, and the hub's alone.
    """

    kind: Kind
    name: str
    path: str = ""
    revision: str | None = None

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Reads what matches ``URI_PATTERN``.

        Raises:
            ValueError: it doesn't.
        """
        if not re.fullmatch(URI_PATTERN[1:-1], uri):
            raise ValueError(f"{uri[:200]!r} is no reference to a model")
        scheme, _, rest = uri.rpartition("://")
        kind = Kind(scheme or Kind.HUB)
        if kind is Kind.HUB:
            name, _, revision = rest.partition("@")
            return cls(kind, name, revision=revision or None)
        if kind is Kind.IMAGE:
            image, at, digest_and_path = rest.partition("@")
            digest, _, path = digest_and_path.partition("/")
            return cls(kind, f"{image}{at}{digest}", path.strip("/"))
        name, _, path = rest.partition("/")
        return cls(kind, name, path.strip("/"))

    def at(self, revision: str | None) -> Self:
        return replace(self, revision=revision)

    @property
    def uri(self) -> str:
        """One way to write it, without the revision: the bare ``org/repo`` for the hub, else with the scheme."""
        if self.kind is Kind.HUB:
            return self.name
        return f"{self.kind}://{self.name}" + (f"/{self.path}" if self.path else "")
