"""What `helm test` runs: makes a resource without replicas, and waits until the operator has resolved its model.

It takes no GPU and pulls no engine. Ends with 0 where the operator works; anything else says what is wrong.
"""

from __future__ import annotations

import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
#: Reasons that say that the hub can't be reached, and nothing against the operator.
HUB = {"HubUnavailable", "HubThrottled"}
POLL_SECONDS = 2.0
REQUEST_SECONDS = 10.0
MAX_BYTES = 4 * 1024 * 1024


class Api:
    """The resources of one namespace, over the API server's own HTTP."""

    def __init__(self, namespace: str) -> None:
        host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
        server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
        self._url = f"{server}/apis/speculators.dev/v1alpha1/namespaces/{namespace}/speculatordeployments"
        self._headers = {
            "Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}",
            "Content-Type": "application/json",
        }
        # No proxy: the environment's is for the hub.
        tls = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt")))
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({}), tls).open

    def __call__(self, method: str, name: str = "", body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Raises OSError; its message is the API server's."""
        request = urllib.request.Request(  # noqa: S310  # the API server's
            f"{self._url}/{name}".rstrip("/"),
            method=method,
            headers=self._headers,
            data=json.dumps(body).encode() if body else None,
        )
        try:
            with self._open(request, timeout=REQUEST_SECONDS) as answer:
                found: dict[str, Any] = json.loads(answer.read(MAX_BYTES))
                return found
        except urllib.error.HTTPError as error:
            if method == "DELETE" and error.code == 404:
                return {}
            raise OSError(f"{method} {request.full_url}: {error.code} {error.read(2000).decode()}") from None


def main() -> int:
    namespace, name, model = (os.environ[key] for key in ("TEST_NAMESPACE", "TEST_NAME", "TEST_MODEL"))
    expected = os.environ.get("TEST_EXPECTED_REASON", "")
    seconds = float(os.environ["TEST_TIMEOUT_SECONDS"])
    api = Api(namespace)
    api("DELETE", name)  # an earlier test that was killed
    api(
        "POST",
        body={
            "apiVersion": "speculators.dev/v1alpha1",
            "kind": "SpeculatorDeployment",
            "metadata": {"name": name},
            "spec": {"model": {"uri": model}, "suspend": True, "replicas": 0},
        },
    )
    try:
        return _wait(api, name, expected=expected, seconds=seconds)
    finally:
        api("DELETE", name)


def _wait(api: Api, name: str, *, expected: str, seconds: float) -> int:
    deadline = time.monotonic() + seconds
    condition: dict[str, str] = {}
    while time.monotonic() < deadline:
        status = api("GET", name).get("status", {})
        condition = next((it for it in status.get("conditions", ()) if it["type"] == "Resolved"), {})
        if condition and (_reason(condition) == expected if expected else condition["status"] == "True"):
            print(f"As expected, {_said(condition)}")
            return 0
        time.sleep(POLL_SECONDS)
    if not condition:
        print(f"The operator said nothing of {name} within {seconds:g} s: is a replica Ready, and does one lead?")
        return 1
    print(_said(condition))
    if (reason := _reason(condition)) in HUB:
        print(
            "The operator works, but the hub can't be reached from its pod. Name a mirror (settings.hfEndpoint), let "
            "its ports through (networkPolicy.hubPorts), or name a model that is in reach (test.model). Where there is "
            f"to be no hub, test.expectedReason={reason} makes this the expected end."
        )
    return 1


def _said(condition: dict[str, str]) -> str:
    return f"Resolved is {condition['status']}: {condition['reason']}: {condition['message']}"


def _reason(condition: dict[str, str]) -> str:
    """What it is about; of what is still being tried, why that takes long, which begins the message."""
    return condition["message"].split(":")[0] if condition["reason"] == "Resolving" else condition["reason"]


if __name__ == "__main__":
    sys.exit(main())
