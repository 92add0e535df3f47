"""A compiled server with fixed answers, so that it is not the server that is measured: Caddy.

Below ``/plain`` every chat request gets the same answer, below ``/stream`` the same stream, and
below ``/models`` there are none. Caddy comes as a wheel with the peers; see ``requirements.in``.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

PIECES = 200
"""Pieces of text in the stream."""

MODEL = "gpt-4o"
_HEAD = {"id": "chatcmpl-1", "created": 1_700_000_000, "model": MODEL}
_USAGE = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}


def _answer() -> str:
    message = {"role": "assistant", "content": "Hello there, how are you today?"}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    return json.dumps({**_HEAD, "object": "chat.completion", "choices": [choice], "usage": _USAGE})


def _stream() -> str:
    def event(delta: dict[str, Any], finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return json.dumps({**_HEAD, "object": "chat.completion.chunk", "choices": [choice]})

    events = [
        event({"role": "assistant", "content": "word0 "}),
        *(event({"content": f"word{number} "}) for number in range(1, PIECES)),
        event({}, "stop"),
        json.dumps({**_HEAD, "object": "chat.completion.chunk", "choices": [], "usage": _USAGE}),
        "[DONE]",
    ]
    return "".join(f"data: {each}\n\n" for each in events)


def _respond(path: str, body: str, kind: str) -> dict[str, Any]:
    return {
        "match": [{"path": [path]}],
        "handle": [
            {
                "handler": "static_response",
                "status_code": 200,
                "headers": {"Content-Type": [kind]},
                "body": body,
            }
        ],
    }


def _configuration(port: int) -> str:
    routes = [
        _respond("/plain/v1/models", '{"data":[]}', "application/json"),
        _respond("/stream/v1/models", '{"data":[]}', "application/json"),
        _respond("/plain/v1/chat/completions", _answer(), "application/json"),
        _respond("/stream/v1/chat/completions", _stream(), "text/event-stream"),
    ]
    server = {
        "listen": [f"127.0.0.1:{port}"],
        "routes": routes,
        "automatic_https": {"disable": True},
    }
    apps = {"http": {"servers": {"static": server}}}
    return json.dumps({"admin": {"disabled": True}, "apps": apps})


def free_port() -> int:
    """Return a port at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def static_upstream() -> Iterator[str]:
    """Run the server; yield its address."""
    beside = Path(sys.executable).parent / "caddy"
    program = str(beside) if beside.exists() else shutil.which("caddy")
    if program is None:
        sys.exit("caddy is missing: run `make bench`, which installs it with the peers")
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "caddy.json"
        path.write_text(_configuration(port), encoding="utf-8")
        server = subprocess.Popen(
            [program, "run", "--config", str(path)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"HOME": folder, "XDG_DATA_HOME": folder, "XDG_CONFIG_HOME": folder},
        )
        try:
            _await(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait()


def _await(port: int) -> None:
    for _ in range(200):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    sys.exit("caddy does not answer")
