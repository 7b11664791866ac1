"""A page of an S3 listing -> the objects of a checkpoint, and the digest that pins them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NoReturn
from xml.etree import ElementTree as ET

from speculator_operator.core import weight_files


@dataclass(frozen=True, order=True)
class Listed:
    """An object right below a prefix: its key, less the prefix; its size, in bytes; its etag, with the quotes."""

    name: str
    size: int
    etag: str


class _NoDoctype(ET.TreeBuilder):
    def doctype(self, name: str, pubid: str | None, system: str | None) -> NoReturn:
        """A listing has none, and entities could make much of little."""
        del name, pubid, system
        raise ValueError("it has a document type")


def page(body: bytes, prefix: str) -> tuple[list[Listed], str | None]:
    """The objects of an answer to ``ListObjectsV2``, and the token to ask for the next one with, if there is one.

    Raises:
        ValueError: it is no such answer; the message says why.
    """
    try:
        # Without a document type there are no entities, which is what S314 is about.
        root = ET.fromstring(body, parser=ET.XMLParser(target=_NoDoctype()))  # noqa: S314
    except ET.ParseError as error:
        raise ValueError(f"it isn't XML ({error})") from None
    if root.tag.rpartition("}")[2] != "ListBucketResult":
        raise ValueError("it is something else")
    objects = []
    for entry in root.iterfind("{*}Contents"):
        key = entry.findtext("{*}Key") or ""
        size = entry.findtext("{*}Size") or ""
        etag = entry.findtext("{*}ETag") or ""
        if not key.startswith(prefix):
            raise ValueError("it has objects that were not asked for")
        if not re.fullmatch(r"[0-9]{1,15}", size):
            raise ValueError("it has an object without a size")
        if not re.fullmatch(r"[\x21-\x7e]{1,256}", etag):
            raise ValueError("it has an object without an etag")
        name = key.removeprefix(prefix)
        if name and "/" not in name:  # the mark of a folder is no object of the checkpoint
            objects.append(Listed(name, int(size), etag))
    if root.findtext("{*}IsTruncated") != "true":
        return objects, None
    token = root.findtext("{*}NextContinuationToken") or ""
    if not 0 < len(token) <= 4096:
        raise ValueError("it goes on, and doesn't say where")
    return objects, token


def loaded(objects: Iterable[Listed]) -> list[Listed]:
    """Those that an engine loads: of weights that are there twice, or in pickles as well, only the ones it takes."""
    by_name = {item.name: item for item in objects}
    return [by_name[name] for name in weight_files.loaded({name: item.size for name, item in by_name.items()})]


def digest(objects: Iterable[Listed]) -> str:
    """The pin: another one as soon as an object comes, goes, or has another size or etag."""
    lines = "".join(f"{json.dumps([item.name, item.size, item.etag])}\n" for item in sorted(objects))
    return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"
