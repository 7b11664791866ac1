"""Pages of listings, and the pin that is made of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speculator_operator.core.s3_listing import Listed, digest, loaded, page

AWS = "http://s3.amazonaws.com/doc/2006-03-01/"
GOOGLE = "http://doc.s3.amazonaws.com/2006-03-01"


def entry(key: str, size: str = "1", etag: str = '"e"') -> str:
    return f"<Contents><Key>{key}</Key><Size>{size}</Size><ETag>{etag}</ETag></Contents>"


def document(*entries: str, rest: str = "", namespace: str = AWS) -> bytes:
    inner = "".join(entries)
    return f'<?xml version="1.0"?><ListBucketResult xmlns="{namespace}">{inner}{rest}</ListBucketResult>'.encode()


@pytest.mark.parametrize("namespace", [AWS, GOOGLE, ""], ids=["Amazon", "Google", "none"])
def test_objects_right_below_the_prefix_are_found(namespace: str) -> None:
    body = document(
        entry("a/"),
        entry("a/config.json", "12", "&quot;1&quot;"),
        entry("a/b/config.json"),
        "<CommonPrefixes><Prefix>a/b/</Prefix></CommonPrefixes>",
        entry("a/&lt;x&gt; y.txt"),
        namespace=namespace,
    )
    assert page(body, "a/") == ([Listed("config.json", 12, '"1"'), Listed("<x> y.txt", 1, '"e"')], None)


def test_a_page_says_where_the_next_one_starts() -> None:
    rest = "<IsTruncated>true</IsTruncated><NextContinuationToken>t/+=</NextContinuationToken>"
    assert page(document(rest=rest), "") == ([], "t/+=")
    assert page(document(rest="<IsTruncated>false</IsTruncated>"), "") == ([], None)


BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><ListBucketResult>&b;</ListBucketResult>'
REFUSED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "isn't XML"),
    "a page for people": (b"<html><body>It works!</html>", "isn't XML"),
    "another document": (b"<Error><Code>x</Code></Error>", "something else"),
    "a page that is cut off": (document(entry("a"))[:-5], "isn't XML"),
    "entities that unfold": (BOMB, "document type"),
    "entities in another encoding": (BOMB.decode().encode("utf-16"), "document type"),
    "an external document type": (b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><x/>', "document type"),
    "a nest without an end": (b"<a>" * 100_000, "isn't XML"),
    "a key that was not asked for": (document(entry("b/config.json")), "not asked for"),
    "no key": (document("<Contents/>"), "not asked for"),
    "no size": (document(entry("a/x", "")), "without a size"),
    "a size below zero": (document(entry("a/x", "-1")), "without a size"),
    "a size of thousands of digits": (document(entry("a/x", "9" * 5000)), "without a size"),
    "no etag": (document(entry("a/x", etag="")), "without an etag"),
    "an etag that breaks a line": (document(entry("a/x", etag="a&#10;b")), "without an etag"),
    "more, and no token": (document(rest="<IsTruncated>true</IsTruncated>"), "doesn't say where"),
}


@pytest.mark.parametrize(("body", "says"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_page_is_refused(body: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        page(body, "a/")


@given(st.binary(max_size=200) | st.text(max_size=200).map(document))
def test_any_bytes_are_a_page_or_refused(body: bytes) -> None:
    try:
        objects, token = page(body, "a/")
    except ValueError:
        return
    assert all(item.size >= 0 for item in objects)
    assert token is None or token


OBJECTS = [Listed("config.json", 2, '"a"'), Listed("model.safetensors", 9, '"b"')]
CHANGES: dict[str, Callable[[list[Listed]], list[Listed]]] = {
    "another etag": lambda items: [items[0], Listed("model.safetensors", 9, '"c"')],
    "another size": lambda items: [items[0], Listed("model.safetensors", 8, '"b"')],
    "another name": lambda items: [items[0], Listed("model-2.safetensors", 9, '"b"')],
    "one more": lambda items: [*items, Listed("README.md", 1, '"d"')],
    "one less": lambda items: items[:1],
    "a name that holds another line": lambda _: [Listed('config.json", 2, "a"]\n["model.safetensors', 9, '"b"')],
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_pin_is_another_after(change: Callable[[list[Listed]], list[Listed]]) -> None:
    assert digest(change(OBJECTS)) != digest(OBJECTS)


def test_the_pin_is_the_same_in_any_order_and_stays_so_from_release_to_release() -> None:
    assert digest(OBJECTS) == digest(reversed(OBJECTS))
    # Of what is pinned: were it to change, every pod that fetches would be refused.
    assert digest(OBJECTS) == "sha256:2f596de61dd61a46086c5ac4db13775f76c736f9746adefa843de7e7e948279d"


def names_loaded(*names: str) -> list[str]:
    return [item.name for item in loaded(Listed(name, 1, '"e"') for name in names)]


@pytest.mark.parametrize(
    "name",
    [
        *("config.json", "model.safetensors.index.json", "tokenizer.model", "tokenizer.model.v3", "merges.txt"),
        *("chat_template.jinja", "qwen.tiktoken", "modeling_llama.py", "model-00001-of-00002.safetensors"),
    ],
)
def test_what_an_engine_loads_is_loaded(name: str) -> None:
    assert names_loaded(name) == [name]


@pytest.mark.parametrize(
    "name",
    [
        *("optimizer.pkl", "README.md", ".hidden.json", "..", "-rf.json", "a\nb.json", "x" * 300 + ".json"),
        *("-x.safetensors", "a\nb.safetensors", "x" * 300 + ".safetensors", "training_args.bin"),
    ],
)
def test_what_no_engine_loads_and_what_can_be_no_file_is_not(name: str) -> None:
    assert names_loaded(name) == []


def test_weights_that_are_there_twice_are_loaded_once() -> None:
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    assert names_loaded(*shards, "consolidated.safetensors", "model.safetensors", "pytorch_model.bin") == shards
    assert names_loaded("pytorch_model.bin") == ["pytorch_model.bin"]
