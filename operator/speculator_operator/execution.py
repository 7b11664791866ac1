"""A command in a container, by the API server's ``exec``: what it is given to read, and what it prints."""

from __future__ import annotations

from collections.abc import Sequence

import aiohttp

from .cluster import Cluster, ClusterError, Forbidden, message_in, object_in

MAX_OUTPUT_BYTES = 1 << 20

#: Of the API server's streams, that of Kubernetes 1.30 and later and of all before; each message begins with a channel.
_PROTOCOL = "v4.channel.k8s.io"
_STDIN, _STDOUT, _STDERR, _OUTCOME = 0, 1, 2, 3


async def execute(
    cluster: Cluster, namespace: str, pod: str, container: str, command: Sequence[str], *, stdin: str, seconds: float
) -> str:
    """What a command in a container prints to standard output. Its input isn't ended, for the protocol can't.

    Raises:
        Forbidden: pods/exec isn't allowed.
        ClusterError: it can't be run, ends with an error, takes more than ``seconds``, or prints too much.
    """
    streams = {"container": container, "stdin": "true", "stdout": "true", "stderr": "true"}
    query = [*streams.items(), *(("command", word) for word in command)]
    what = f"{pod}: {command[0]}"
    try:
        async with cluster.upgraded(
            "Pod",
            namespace,
            pod,
            "exec",
            query,
            protocol=_PROTOCOL,
            max_message_bytes=MAX_OUTPUT_BYTES,
            seconds=seconds,
        ) as socket:
            await socket.send_bytes(bytes([_STDIN]) + stdin.encode())
            return await _output(socket, what)
    except aiohttp.WSServerHandshakeError as error:
        if error.status == 403:
            message = f'not allowed to run a command in pod "{pod}" of the namespace "{namespace}"'
            raise Forbidden(message, verb="create (and get)", resource="pods/exec") from error
        raise ClusterError(f"{pod}: no command can be run in it: HTTP {error.status}") from error
    except (TimeoutError, aiohttp.ClientError) as error:
        raise ClusterError(f"{what}: {type(error).__name__}: {error}") from error


async def _output(socket: aiohttp.ClientWebSocketResponse, what: str) -> str:
    """What comes on standard output until the command has ended.

    Raises:
        ClusterError: it ended with an error, or printed too much.
    """
    printed, complaint = bytearray(), bytearray()
    async for message in socket:
        if not isinstance(message.data, bytes) or not message.data:
            continue
        channel, data = message.data[0], message.data[1:]
        if channel == _STDOUT:
            printed += data
        elif channel == _STDERR:
            complaint += data
        elif channel == _OUTCOME:
            if object_in(data, what).get("status") == "Success":
                return printed.decode(errors="replace")
            words = complaint.decode(errors="replace").strip() or message_in(data)
            raise ClusterError(f"{what}: {words[-300:]}")
        if len(printed) + len(complaint) > MAX_OUTPUT_BYTES:
            raise ClusterError(f"{what}: it prints more than {MAX_OUTPUT_BYTES} bytes")
    raise ClusterError(f"{what}: the connection ended before the command did")
