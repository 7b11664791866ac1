"""The server: repositories with branches and immutable commits, answered as the public hub answers.

What ``huggingface_hub`` and the engine ask for is there: model information, trees (paged), path information, and files
with entity tags, commits and ranges. Files are served by plain HTTP: there is no Xet.

Without a token the public hub says the same 401 of a repository that doesn't exist and of a private one; so does this
one. ``Hub.guard`` makes a repository gated or private, ``Hub.fail`` makes one misbehave. Any token is one of an account
that has been granted nothing, until it is revoked.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import math
import re
import socket
import socketserver
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from types import TracebackType
from typing import Any, Literal
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit

MAX_COMMIT_BYTES = 512 * 1024 * 1024
MAX_BODY_BYTES = 1024 * 1024
MAX_CONNECTIONS = 256
MAX_LOGGED_REQUESTS = 10_000
IDLE_SECONDS = 30.0
CREATED = "2026-01-01T00:00:00.000Z"

LARGE_FILES = (".safetensors", ".bin", ".gguf", ".pt")
"""Endings of files that the public hub keeps in large file storage: their entity tag is a SHA-256."""

Fault = Literal[
    "unauthorized",  # 401, as for an absent or a private repository
    "gated",  # 403, terms not accepted
    "forbidden",  # 403, nothing more said
    "repository-missing",  # 404
    "revision-missing",  # 404
    "entry-missing",  # 404
    "throttled",  # 429; retry_after (seconds, or None for no header), rate_limit (also the RateLimit headers)
    "error",  # status (500), and the hub's `message`
    "slow",  # waits for `seconds`, then answers
    "trickle",  # a byte every `seconds`
    "hung",  # no answer until mended
    "dropped",  # the connection is closed without an answer
    "truncated",  # Content-Length says more than is sent
    "replaced",  # `body` instead of the file or the JSON, and `headers` beside it
    "endless",  # a body that doesn't end, without Content-Length
    "moved",  # files are a relative redirect away, as the public hub serves small ones, or at the address `to`;
    # `endless`: the redirect's own body doesn't end
    "looping",  # a redirect to itself
]
FAULTS: tuple[str, ...] = Fault.__args__  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Request:
    """One request as it was answered; ``status`` is 0 where there was no answer. ``authorization`` is the header."""

    method: str
    path: str
    status: int
    authorization: str | None = None


@dataclass(frozen=True)
class _File:
    content: bytes
    oid: str
    sha256: str | None

    @classmethod
    def of(cls, path: str, content: bytes) -> _File:
        header = f"blob {len(content)}\0".encode()
        large = path.endswith(LARGE_FILES)
        return cls(
            content=content,
            oid=hashlib.sha1(header + content, usedforsecurity=False).hexdigest(),
            sha256=hashlib.sha256(content).hexdigest() if large else None,
        )

    def info(self, path: str) -> dict[str, Any]:
        entry: dict[str, Any] = {"type": "file", "oid": self.oid, "size": len(self.content), "path": path}
        if self.sha256:
            entry["lfs"] = {"oid": self.sha256, "size": len(self.content), "pointerSize": 134}
        return entry


@dataclass
class _Repository:
    commits: dict[str, dict[str, _File]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    token: str | None = None
    gated: bool = False


@dataclass
class _Failure:
    kind: str
    on: str
    times: int | None
    options: dict[str, Any]
    mended: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class _Answer:
    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class Hub:
    """A hub on ``address:port`` (a free port by default), between ``with`` and its end (or ``start`` and ``stop``).

    ``root`` is a folder of ``org/repo`` folders, whose files become the first commit of each repository's ``main``.
    ``page`` is how many tree entries an answer holds. ``prefix`` is a path that everything is under, as in a mirror.
    ``observe`` is called with each request after its answer was decided and before it is sent: a test can move a branch
    there.
    """

    def __init__(
        self,
        address: str = "127.0.0.1",
        port: int = 0,
        *,
        root: Path | None = None,
        page: int = 1000,
        prefix: str = "",
        observe: Callable[[Request], None] | None = None,
    ) -> None:
        self.page = page
        self.prefix = prefix
        self.observe = observe
        self._log: deque[Request] = deque(maxlen=MAX_LOGGED_REQUESTS)
        self._repositories: dict[str, _Repository] = {}
        self._failures: dict[str, _Failure] = {}
        self._revoked: set[str] = set()
        self._lock = threading.Lock()
        if root is not None:
            self._load(root)
        self._server = _Server((address, port), self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="testhub", daemon=True)

    @property
    def url(self) -> str:
        """Where it listens; on ``0.0.0.0``, others reach it at an address of this machine and ``port``."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}{self.prefix}"

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def requests(self) -> tuple[Request, ...]:
        """Those that were answered until now, the oldest first."""
        with self._lock:
            return tuple(self._log)

    def forget(self) -> None:
        """Forgets the requests that were answered until now."""
        with self._lock:
            self._log.clear()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends it, hung requests included."""
        with self._lock:
            for failure in self._failures.values():
                failure.mended.set()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.close()

    def __enter__(self) -> Hub:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # Content.

    def commit(self, repo: str, files: Mapping[str, bytes] | Path, branch: str = "main") -> str:
        """A new commit that holds exactly ``files`` (a mapping, or a folder), and the branch on it. Returns its hash.

        Earlier commits stay readable. The hash depends only on the content and on how many commits came before.
        """
        if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", repo):
            raise ValueError(f"repo must be a name or org/name, not {repo!r}")
        contents = _read_folder(files) if isinstance(files, Path) else dict(files)
        if sum(map(len, contents.values())) > MAX_COMMIT_BYTES:
            raise ValueError(
                f"a commit of {repo} would be larger than {MAX_COMMIT_BYTES} bytes, which are kept in memory"
            )
        snapshot = {path: _File.of(path, content) for path, content in sorted(contents.items())}
        with self._lock:
            repository = self._repositories.setdefault(repo, _Repository())
            identity = [len(repository.commits), [(path, file.oid) for path, file in snapshot.items()]]
            sha = hashlib.sha1(json.dumps(identity).encode(), usedforsecurity=False).hexdigest()
            repository.commits[sha] = snapshot
            repository.branches[branch] = sha
        return sha

    def branch(self, repo: str, name: str, sha: str) -> None:
        """Puts a branch on a commit that is there."""
        with self._lock:
            if sha not in self._repositories[repo].commits:
                raise ValueError(f"{repo} has no commit {sha}")
            self._repositories[repo].branches[name] = sha

    def guard(self, repo: str, token: str | None, *, gated: bool = True) -> None:
        """Wants ``token`` for the files of a gated repository, or for all of a private one. None opens it again."""
        with self._lock:
            self._repositories[repo].token = token
            self._repositories[repo].gated = gated

    def revoke(self, token: str) -> None:
        """From now on the token is none, also where none is needed."""
        with self._lock:
            self._revoked.add(f"Bearer {token}")

    def remove(self, repo: str) -> None:
        with self._lock:
            del self._repositories[repo]

    # Faults.

    def fail(
        self,
        repo: str,
        kind: Fault,
        *,
        on: Literal["api", "files", "all"] = "all",
        times: int | None = None,
        **options: Any,
    ) -> None:
        """Makes requests for ``repo`` fail: those of the API, for files, or all; only the first ``times`` if given.

        ``options`` are the fault's own: see ``Fault``. A second fault takes the first one's place.
        """
        if kind not in FAULTS:
            raise ValueError(f"kind must be one of {', '.join(FAULTS)}, not {kind!r}")
        self.mend(repo)
        with self._lock:
            self._failures[repo] = _Failure(kind, on, times, options)

    def mend(self, repo: str) -> None:
        """Ends a fault; requests that hang are answered."""
        with self._lock:
            failure = self._failures.pop(repo, None)
        if failure:
            failure.mended.set()

    # What the request handler asks and tells.

    def _record(self, request: Request) -> None:
        with self._lock:
            self._log.append(request)
        if self.observe:
            self.observe(request)

    def _load(self, root: Path) -> None:
        if not root.is_dir():
            raise ValueError(f"--root must be a folder, not {root}")
        for folder in sorted(root.glob("*/*")):
            if folder.is_dir():
                self.commit(f"{folder.parent.name}/{folder.name}", folder)

    def _failure(self, repo: str, part: str) -> _Failure | None:
        with self._lock:
            failure = self._failures.get(repo)
            if failure is None or failure.on not in ("all", part):
                return None
            if failure.times is not None:
                if failure.times <= 0:
                    return None
                failure.times -= 1
            return failure

    def _answer(self, method: str, target: str, headers: Message, body: bytes) -> tuple[str, str, _Answer]:
        """The repository, the part of the hub ("api" or "files"), and the answer were nothing wrong with it."""
        url = urlsplit(target)
        if not url.path.startswith(f"{self.prefix}/"):
            return "", "", _error(404, None, "Sorry, we can't find the page you are looking for.")
        inner = url.path.removeprefix(self.prefix)
        api = re.fullmatch(
            r"/api/models/(?P<repo>[^/]+(?:/(?!(?:revision|tree|paths-info)/)[^/]+)?)"
            r"(?:/(?P<verb>revision|tree|paths-info)/(?P<revision>[^/]+)(?:/(?P<path>.+))?)?",
            inner,
        )
        file = re.fullmatch(
            r"(?:/api/resolve-cache/models)?/(?P<repo>[^/]+(?:/[^/]+)?)/resolve/(?P<revision>[^/]+)/(?P<path>.+)",
            inner,
        )
        match = api or file
        if match is None:
            return "", "", _error(404, None, "Sorry, we can't find the page you are looking for.")
        repo, part = unquote(match["repo"]), "api" if api else "files"
        revision, path = unquote(match["revision"] or "main"), unquote(match["path"] or "")
        with self._lock:
            repository = self._repositories.get(repo)
            authorization = headers.get("Authorization")
            if authorization in self._revoked:
                return repo, part, _error(401, None, "Invalid credentials in Authorization header")
            denied = _denied(repo, repository, part, authorization)
            if denied or repository is None:
                return repo, part, denied or _error(404, "RepoNotFound", "Repository not found")
            sha = repository.branches.get(revision, revision)
            snapshot = repository.commits.get(sha)
        if snapshot is None:
            return repo, part, _error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if file:
            return repo, part, _file_answer(snapshot, sha, path, headers)
        verb = match["verb"]
        if verb == "tree":
            here = f"http://{headers.get('Host') or urlsplit(self.url).netloc}{url.path}"
            return repo, part, self._tree(snapshot, sha, path, here, parse_qs(url.query))
        if verb == "paths-info":
            wanted = _wanted_paths(headers, body) if method == "POST" else []
            return repo, part, _json([snapshot[each].info(each) for each in wanted if each in snapshot])
        information = _model_info(repo, sha, snapshot, repository)
        if expand := parse_qs(url.query).get("expand"):
            information = {key: information[key] for key in ("_id", "id", *expand) if key in information}
        return repo, part, _json(information)

    def _tree(
        self, snapshot: dict[str, _File], sha: str, under: str, here: str, query: dict[str, list[str]]
    ) -> _Answer:
        prefix = f"{under}/" if under else ""
        recursive = query.get("recursive", ["false"])[0].lower() in ("true", "1")
        entries: dict[str, dict[str, Any]] = {}
        for name, file in snapshot.items():
            if not name.startswith(prefix):
                continue
            parts = name[len(prefix) :].split("/")
            for depth in range(1, len(parts) if recursive else min(len(parts), 2)):
                folder = prefix + "/".join(parts[:depth])
                entries[folder] = {"type": "directory", "oid": _identity(sha, folder), "size": 0, "path": folder}
            if recursive or len(parts) == 1:
                entries[name] = file.info(name)
        if under and not entries:
            return _error(404, "EntryNotFound", f"{under} does not exist on {sha}")
        cursor = query.get("cursor", ["0"])[0]
        start = int(cursor) if cursor.isdecimal() else 0
        listed = [entries[name] for name in sorted(entries)]
        headers = {}
        if start + self.page < len(listed):
            following = f"{here}?recursive={str(recursive).lower()}&cursor={start + self.page}"
            headers["Link"] = f'<{following}>; rel="next"'
        return _json(listed[start : start + self.page], headers)


def _read_folder(folder: Path) -> dict[str, bytes]:
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder")
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]
    if sum(path.stat().st_size for path in paths) > MAX_COMMIT_BYTES:
        raise ValueError(f"{folder} is larger than {MAX_COMMIT_BYTES} bytes, and files are kept in memory")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def _denied(repo: str, repository: _Repository | None, part: str, authorization: str | None) -> _Answer | None:
    """What the public hub says where the token isn't enough."""
    if repository is None:
        if authorization:
            return _error(404, "RepoNotFound", "Repository not found")
        return _error(401, None, "Invalid username or password.")
    if repository.token is None or authorization == f"Bearer {repository.token}":
        return None
    if not repository.gated:
        return _error(404, "RepoNotFound", "Repository not found") if authorization else _denied(repo, None, part, None)
    if part == "api":
        return None
    access = f"Access to model {repo} is restricted"
    if authorization:
        return _error(403, "GatedRepo", f"{access} and you are not in the authorized list.")
    return _error(401, "GatedRepo", f"{access}. You must have access to it and be authenticated to access it.")


def _file_answer(snapshot: dict[str, _File], sha: str, path: str, headers: Message) -> _Answer:
    file = snapshot.get(path)
    if file is None:
        return _error(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": sha})
    size = len(file.content)
    tag = f'"{file.sha256 or file.oid}"'
    answered = {
        "ETag": tag,
        "X-Repo-Commit": sha,
        "Accept-Ranges": "bytes",
        "Content-Type": "application/json" if path.endswith(".json") else "application/octet-stream",
        "Content-Disposition": f'inline; filename="{path.rsplit("/", 1)[-1]}";',
    }
    if file.sha256:
        answered |= {"X-Linked-Size": str(size), "X-Linked-ETag": tag}
    if headers.get("If-None-Match") == tag:
        return _Answer(304, b"", answered)
    requested = re.fullmatch(r"bytes=(\d*)-(\d*)", headers.get("Range") or "")
    if requested is None or requested.groups() == ("", ""):
        return _Answer(200, file.content, answered)
    first, last = requested.groups()
    start = int(first) if first else max(size - int(last), 0)
    end = min(int(last), size - 1) if first and last else size - 1
    if start > end:
        return _Answer(416, b"", answered | {"Content-Range": f"bytes */{size}"})
    return _Answer(206, file.content[start : end + 1], answered | {"Content-Range": f"bytes {start}-{end}/{size}"})


def _model_info(repo: str, sha: str, snapshot: dict[str, _File], repository: _Repository) -> dict[str, Any]:
    guarded = repository.token is not None
    return {
        "_id": _identity(repo)[:24],
        "id": repo,
        "modelId": repo,
        "author": repo.split("/", maxsplit=1)[0],
        "sha": sha,
        "private": guarded and not repository.gated,
        "gated": "manual" if guarded and repository.gated else False,
        "disabled": False,
        "createdAt": CREATED,
        "lastModified": CREATED,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "spaces": [],
        "siblings": [{"rfilename": path} for path in snapshot],
        **({"safetensors": counted} if (counted := _safetensors(snapshot)) else {}),
    }


def _safetensors(snapshot: dict[str, _File]) -> dict[str, Any] | None:
    """What the public hub reads out of the headers of ``model.safetensors``, or of the shards that an index names."""
    index = snapshot.get("model.safetensors.index.json")
    parameters: Counter[str] = Counter()
    try:
        names = set(json.loads(index.content)["weight_map"].values()) if index else {"model.safetensors"}
        for name in names:
            content = snapshot[name].content
            header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
            for tensor, described in header.items():
                if tensor != "__metadata__":
                    parameters[described["dtype"]] += math.prod(described["shape"])
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
    return {"parameters": dict(parameters), "total": parameters.total()}


def _wanted_paths(headers: Message, body: bytes) -> list[str]:
    try:
        if "json" in (headers.get("Content-Type") or ""):
            return [str(path) for path in json.loads(body)["paths"]]
        return [value for name, value in parse_qsl(body.decode()) if name == "paths"]
    except (ValueError, KeyError, TypeError):
        return []


def _identity(*parts: str) -> str:
    return hashlib.sha1("\0".join(parts).encode(), usedforsecurity=False).hexdigest()


def _json(value: object, headers: dict[str, str] | None = None) -> _Answer:
    return _Answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"} | (headers or {}))


def _error(status: int, code: str | None, message: str, headers: dict[str, str] | None = None) -> _Answer:
    codes = {"X-Error-Code": code} if code else {}
    return _Answer(
        status,
        json.dumps({"error": message}).encode(),
        {"Content-Type": "application/json", "X-Error-Message": message} | codes | (headers or {}),
    )


class _Server(socketserver.ThreadingTCPServer):
    # Not http.server's: that one looks its own name up, which takes long where no one answers.
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], hub: Hub) -> None:
        self.hub = hub
        self._slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._slots.acquire(blocking=False):
            self.shutdown_request(request)
            return
        with self._open_lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._open_lock:
                self._open.discard(request)
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nothing to print."""

    def close(self) -> None:
        self.server_close()
        with self._open_lock:
            connections = list(self._open)
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "testhub"
    timeout = IDLE_SECONDS
    disable_nagle_algorithm = True  # or each answer's body would wait for its headers to be acknowledged
    server: _Server

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_GET  # noqa: N815 - names that http.server looks for
    do_POST = do_GET  # noqa: N815

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class's name
        """The hub keeps a log of its own."""

    def _serve(self) -> None:
        hub = self.server.hub
        length = self.headers.get("Content-Length") or "0"
        if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
            self.close_connection = True
            self._send(_error(413, None, "The request is too large"))
            return
        body = self.rfile.read(int(length))
        repo, part, answer = hub._answer(self.command, self.path, self.headers, body)  # noqa: SLF001 - one unit
        failure = hub._failure(repo, part) if repo else None  # noqa: SLF001
        if failure is None:
            self._send(answer)
        else:
            self._send_faulty(failure, answer)

    def _record(self, status: int) -> None:
        request = Request(self.command, self.path, status, self.headers.get("Authorization"))
        self.server.hub._record(request)  # noqa: SLF001 - one unit

    def _send(self, answer: _Answer, chunks: Iterator[bytes] | None = None, length: int | None = None) -> None:
        """Sends the answer: ``chunks`` instead of its body, ``length`` instead of its length."""
        self._record(answer.status)
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if length != -1:
            self.send_header("Content-Length", str(len(answer.body) if length is None else length))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            for chunk in chunks or iter((answer.body,)):
                self.wfile.write(chunk)

    def _send_faulty(self, failure: _Failure, answer: _Answer) -> None:
        kind, options = failure.kind, failure.options
        seconds = float(options.get("seconds", 1.0))
        if refusal := _refusal(kind, options):
            self._send(refusal)
        elif kind == "slow":
            failure.mended.wait(seconds)
            self._send(answer)
        elif kind == "trickle":
            self._send(answer, _trickled(answer.body, seconds, failure.mended), len(answer.body))
        elif kind == "hung":
            self._record(0)
            failure.mended.wait()
            self.close_connection = True
        elif kind == "dropped":
            self._record(0)
            self.close_connection = True
        elif kind == "truncated":
            self.close_connection = True
            half = answer.body[: len(answer.body) // 2]
            self._send(answer, iter((half,)), len(answer.body))
        elif kind == "replaced":
            self._send(_Answer(200, options["body"], answer.headers | options.get("headers", {})))
        elif kind == "endless":
            self.close_connection = True
            self._send(answer, _endless(failure.mended), -1)
        else:
            self._send_moved(failure, answer)

    def _send_moved(self, failure: _Failure, answer: _Answer) -> None:
        location = _location(failure, self.path, self.server.hub.prefix)
        if location is None:
            self._send(answer)
        elif failure.options.get("endless"):
            self.close_connection = True
            self._send(_Answer(307, b"", {"Location": location}), _endless(failure.mended), -1)
        else:
            self._send(_Answer(307, b"", answer.headers | {"Location": location}))


def _location(failure: _Failure, path: str, prefix: str) -> str | None:
    """Where a request is sent to; None where it has arrived."""
    if failure.kind == "looping":
        return path
    if "to" in failure.options:
        return f"{failure.options['to']}{path}"
    if "/resolve-cache/" in path:
        return None
    return f"{prefix}/api/resolve-cache/models{path.removeprefix(prefix)}"


def _refusal(kind: str, options: dict[str, Any]) -> _Answer | None:
    if kind == "throttled":
        headers: dict[str, str] = {}
        after = options.get("retry_after", 30)
        if options.get("rate_limit"):
            headers |= {"RateLimit": f'"api";r=0;t={after}', "RateLimit-Policy": '"fixed window";"api";q=500;w=300'}
        elif after is not None:
            headers["Retry-After"] = str(after)
        return _error(429, None, "We had to rate limit you.", headers)
    if kind == "error":
        message = str(options.get("message", "Internal Error - We're working hard to fix this"))
        return _error(int(options.get("status", 500)), None, message)
    return {
        "unauthorized": _error(401, None, "Invalid username or password."),
        "gated": _error(403, "GatedRepo", "Access to this model is restricted and you are not in the authorized list."),
        "forbidden": _error(403, None, "Forbidden"),
        "repository-missing": _error(404, "RepoNotFound", "Repository not found"),
        "revision-missing": _error(404, "RevisionNotFound", "Invalid rev id"),
        "entry-missing": _error(404, "EntryNotFound", "Entry not found"),
    }.get(kind)


def _trickled(body: bytes, seconds: float, mended: threading.Event) -> Iterator[bytes]:
    for position in range(len(body)):
        mended.wait(seconds)
        yield body[position : position + 1]


def _endless(mended: threading.Event) -> Iterator[bytes]:
    while not mended.is_set():
        yield b" " * 65536


def serve_until_interrupted(hub: Hub) -> None:
    with hub:
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            return
