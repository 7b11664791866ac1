"""An S3 server that is as hard on its clients as a provider's: signatures, keys, policies and etags are checked."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
import json
import shutil
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from speculator_operator.core.sigv4 import Credentials
from tests.support.eventually import eventually
from tools.localcluster.binaries import binary
from tools.localcluster.ports import held_port
from tools.localcluster.processes import Processes

REGION = "us-east-1"
ROOT = Credentials("root-key", "root/secret+key")
#: Of a user who may do nothing, until a bucket's policy lets it.
STRANGER = Credentials("stranger-key", "stranger/secret+key")


class ObjectStoreServer:
    """Made by ``with``; it listens on ``address``, which has to be this machine's, on a port of its own."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self._address = address
        self._port = 0
        self._cleanup = contextlib.ExitStack()

    @property
    def url(self) -> str:
        return f"http://{self._address}:{self._port}"

    def __enter__(self) -> Self:
        program = binary("versitygw")
        with self._cleanup as cleanup:
            self._directory = Path(tempfile.mkdtemp(prefix="speculator-objectstore-"))
            cleanup.callback(shutil.rmtree, self._directory, ignore_errors=True)
            self._port = cleanup.enter_context(held_port())
            self._processes = Processes(self._directory)
            cleanup.callback(self._processes.stop)
            self._start(program)
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cleanup.close()

    def make_bucket(self, bucket: str) -> None:
        self._request("PUT", f"/{bucket}")

    def put(self, bucket: str, key: str, content: bytes) -> None:
        self._request("PUT", f"/{bucket}/{key}", content)

    def put_folder(self, bucket: str, prefix: str, folder: Path) -> None:
        """Puts the files of a folder below a prefix."""
        for file in sorted(folder.iterdir()):
            self.put(bucket, f"{prefix}/{file.name}".lstrip("/"), file.read_bytes())

    def delete(self, bucket: str, key: str) -> None:
        self._request("DELETE", f"/{bucket}/{key}")

    def allow(self, bucket: str, principal: str, actions: Mapping[str, str]) -> None:
        """Lets a key (``*`` is everybody, without a key as well) do these actions to these resources, and no others."""
        statements = [
            {"Effect": "Allow", "Principal": principal, "Action": action, "Resource": f"arn:aws:s3:::{resource}"}
            for action, resource in actions.items()
        ]
        policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
        self._request("PUT", f"/{bucket}", policy.encode(), query="policy=")

    def _start(self, program: Path) -> None:
        for name in ("buckets", "metadata", "users"):
            (self._directory / name).mkdir()
        users = {
            STRANGER.access_key_id: {
                "access": STRANGER.access_key_id,
                "secret": STRANGER.secret_access_key,
                "role": "user",
            }
        }
        (self._directory / "users" / "users.json").write_text(json.dumps({"accessAccounts": users}))
        self._processes.start(
            "versitygw",
            [
                program,
                f"--port={self._address}:{self._port}",
                f"--region={REGION}",
                f"--iam-dir={self._directory / 'users'}",
                "--health=/health",
                "posix",
                f"--sidecar={self._directory / 'metadata'}",  # not every file system has extended attributes
                self._directory / "buckets",
            ],
            {"ROOT_ACCESS_KEY_ID": ROOT.access_key_id, "ROOT_SECRET_ACCESS_KEY": ROOT.secret_access_key},
        )
        eventually(self._answers)

    def _answers(self) -> bool:
        self._processes.check()
        connection = http.client.HTTPConnection(self._address, self._port, timeout=10)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def _request(self, method: str, path: str, body: bytes = b"", *, query: str = "") -> None:
        path = quote(path)
        connection = http.client.HTTPConnection(self._address, self._port, timeout=30)
        try:
            target = f"{path}?{query}" if query else path
            connection.request(method, target, body, self._signed(method, path, query, body))
            response = connection.getresponse()
            said = response.read()
            assert response.status < 300, f"{method} {target}: {response.status} {said.decode(errors='replace')}"
        finally:
            connection.close()

    def _signed(self, method: str, path: str, query: str, body: bytes) -> dict[str, str]:
        """Signs what writes, which the code that is tested has no need to."""
        digest = hashlib.sha256(body).hexdigest()
        time = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        headers = {"host": f"{self._address}:{self._port}", "x-amz-content-sha256": digest, "x-amz-date": time}
        names = ";".join(headers)
        lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
        request = f"{method}\n{path}\n{query}\n{lines}\n{names}\n{digest}"
        scope = f"{time[:8]}/{REGION}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{time}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        key = f"AWS4{ROOT.secret_access_key}".encode()
        for part in (*scope.split("/"), text):
            key = hmac.digest(key, part.encode(), "sha256")
        credential = f"{ROOT.access_key_id}/{scope}"
        return {
            **headers,
            "Authorization": f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={key.hex()}",
        }
