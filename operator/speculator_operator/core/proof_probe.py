"""The startup probe of an engine pod: passes once the engine has drafted, whoever watches or not.

The renderer hands this source to the container: ``python3 -c SOURCE MODE PORT [TRIES]``, so it stands alone, on the
standard library. MODE is ``required`` (ends the container when nothing is drafted), ``report`` or ``health``; and for
``kubectl speculator``, which runs it in a container beside the probe, ``counters`` and ``canary``, which gate nothing.
Whether the engine drafts is read from its own counter of drafts; see docs/adr/0004-what-the-proof-counter-proves.md.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

#: Canaries before the container is ended.
TRIES = 3
#: For the renderer: what one probe may take, and all tries of a proof with the pauses between them.
TIMEOUT_SECONDS = 30
BUDGET_SECONDS = TRIES * (TIMEOUT_SECONDS + 10)

#: The canary's size: what a context must hold, and what a prompt lookup can find a match in.
PROMPT_TOKENS = 8
OUTPUT_TOKENS = 16
CANARY_TOKENS = PROMPT_TOKENS + TRIES + OUTPUT_TOKENS

WORK_SECONDS = TIMEOUT_SECONDS - 8  # what remains is for ending the container
POLL_SECONDS = 4  # the engine's statistics follow its output
READ_LIMIT = 8 << 20
COUNTERS = "vllm:spec_decode_"
COUNTER = COUNTERS + "num_drafts_total"
GUARDED = "/v1/"  # what the engine asks the API key for; /health and /metrics are open
TERMINATION_LOG = Path("/dev/termination-log")
STATE = Path("/tmp")  # noqa: S108 - the container's own
PROC = Path("/proc")


def main(arguments: list[str]) -> int:
    mode, port, tries = arguments[0], int(arguments[1]), int(arguments[2]) if len(arguments) > 2 else TRIES
    signal.signal(signal.SIGALRM, out_of_time)
    signal.alarm(WORK_SECONDS)
    if mode in ("counters", "canary"):
        sys.stdout.write(json.dumps(told(port, sends_canary=mode == "canary")))
        return 0
    try:
        if request(port, "GET", "/health")[0] != 200:
            return 1
    except (OSError, http.client.HTTPException):
        return 1  # still loading: startupSeconds is the limit of that, not the tries
    if mode == "health":
        return 0
    attempt, reason = 0, ""
    try:
        if drafts(counters(port)):
            return 0
        attempt = next_attempt()
        reason = canary(port, attempt)
    except (OSError, http.client.HTTPException) as error:
        attempt = attempt or next_attempt()
        reason = f"the canary failed: {type(error).__name__}: {error}"
    if not reason or mode == "report":
        return 0
    signal.alarm(0)
    message = f"The engine serves, but has not drafted (canary {attempt} of {tries}): {reason}"
    sys.stdout.write(message)  # becomes part of the kubelet's event
    if attempt >= tries:
        end_container(message)
    return 1


def request(port: int, method: str, path: str, body: object | None = None) -> tuple[int, str]:
    headers = {"Content-Type": "application/json"}
    key = os.environ.get("VLLM_API_KEY", "")
    if key and path.startswith(GUARDED):
        if not (key.isascii() and key.isprintable()):  # http.client would say so too, and show the key
            raise OSError(
                "no client can send the API key: it has a line's end, or other characters that no header takes"
            )
        headers["Authorization"] = "Bearer " + key
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WORK_SECONDS)
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, response.read(READ_LIMIT).decode(errors="replace")
    finally:
        connection.close()


def counters(port: int) -> str:
    """What the engine's metrics say of drafts, line by line."""
    status, text = request(port, "GET", "/metrics")
    if status != 200:
        raise OSError(f"/metrics answered HTTP {status}")
    return "\n".join(line for line in text.splitlines() if line.startswith(COUNTERS))


def drafts(counted: str) -> float | None:
    """The engine's drafts so far, of all its ranks; None where it has no such counter."""
    series = [line.split() for line in counted.splitlines() if line.startswith((COUNTER + "{", COUNTER + " "))]
    return sum(float(words[-1]) for words in series) if series else None


def canary(port: int, attempt: int, before: float = 0) -> str:
    """Makes the engine draft, if it can: empty if it has, otherwise what was seen instead.

    One token, repeated, and the same one forced: a prompt that prompt-lookup methods draft from too. It differs at
    each try, because what the prefix cache pads counts as drafted.
    """
    token = 10 + attempt
    body = {
        "prompt": [token] * (PROMPT_TOKENS + attempt % (TRIES + 1)),
        "allowed_token_ids": [token],
        "max_tokens": OUTPUT_TOKENS,
        "temperature": 0,
        "ignore_eos": True,
    }
    status, text = request(port, "POST", "/v1/completions", body)
    if status != 200:
        return f"the canary was refused: HTTP {status} {' '.join(text.split())[:400]}"
    end = time.monotonic() + POLL_SECONDS
    while not (seen := drafts(counters(port))) or seen <= before:
        if time.monotonic() > end:
            if seen is None:
                return f"/metrics has no {COUNTER}: it runs without a speculative config"
            return f"{COUNTER} is still {seen:g} after an answered canary"
        time.sleep(0.25)
    return ""


def told(port: int, *, sends_canary: bool) -> dict[str, str | None]:
    """The counters as they are, or before and after one more canary: None where the engine can't be asked.

    ``problem`` is why it can't, or why nothing more was drafted.
    """
    found: dict[str, str | None] = {"before": None, "after": None, "problem": ""}
    try:
        before = found["before"] = found["after"] = counters(port)
        if sends_canary:
            # Beyond the probe's tries, and another one each second, for a minute and a half.
            attempt = TRIES + 1 + int(time.time()) % 97
            found["problem"] = canary(port, attempt, drafts(before) or 0)
            found["after"] = counters(port)
    except (OSError, http.client.HTTPException) as error:
        found["problem"] = f"{type(error).__name__}: {error}"
    return found


def next_attempt() -> int:
    """Counts tries over probes. A restarted container, known by its first process's start, starts anew."""
    started = (PROC / "1" / "stat").read_text().rpartition(")")[2].split()[19]
    state = STATE / f".proof-{started}"
    attempt = 1 + (int(state.read_text()) if state.exists() else 0)
    written = STATE / ".proof"
    written.write_text(str(attempt))
    written.rename(state)  # whole, or not at all: a probe may be killed at any moment
    return attempt


def end_container(message: str) -> None:
    """Leaves the reason where the kubelet reads it, and ends the container's first process, the engine's server.

    From inside, that process gets only signals that it handles, so SIGKILL goes to its children; it ends after them.
    """
    TERMINATION_LOG.write_text(message)
    if b"vllm" not in (PROC / "1" / "cmdline").read_bytes().lower():
        return  # not the engine: the failing probe's limit ends the container later
    os.kill(1, signal.SIGTERM)
    time.sleep(5)
    for pid in (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()):
        if pid not in (1, os.getpid()):
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                continue


def out_of_time(_signal: int, _frame: FrameType | None) -> None:
    raise TimeoutError(f"no answer in {WORK_SECONDS} s")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
