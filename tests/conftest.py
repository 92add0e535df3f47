"""What holds for every test: no host but this machine, no foreign settings, nothing left behind."""

from __future__ import annotations

import os
import socket
import traceback
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest
from blockbuster import BlockBuster, BlockingError, blockbuster_ctx

_LOCAL = ("127.", "::1", "localhost", "0.0.0.0")
_FOREIGN = ("API_KEY", "API_BASE", "BASE_URL", "LITELLM", "AMAS_", "_PROXY", "_proxy")


def _is_local(address: Any) -> bool:
    return not isinstance(address, tuple) or str(address[0]).startswith(_LOCAL)


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail any test that looks up or connects to another host, also where the error is swallowed."""
    connect, connect_ex, look_up = (
        socket.socket.connect,
        socket.socket.connect_ex,
        socket.getaddrinfo,
    )

    foreign: list[Any] = []

    def fail(address: Any) -> NoReturn:
        foreign.append(address)
        raise AssertionError(f"a test tried to reach {address!r}; only loopback is allowed")

    def refuse(address: Any) -> None:
        if not _is_local(address):
            fail(address)

    def guarded_connect(self: socket.socket, address: Any) -> None:
        refuse(address)
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        refuse(address)
        return connect_ex(self, address)

    def guarded_look_up(host: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name is not None and not name.startswith(_LOCAL) and not name.endswith(".invalid"):
            fail(name)
        return look_up(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
    monkeypatch.setattr(socket, "getaddrinfo", guarded_look_up)
    yield
    assert not foreign, f"a test tried to reach {foreign}; only loopback is allowed"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the developer's own keys and addresses out of the tests."""
    for name in list(os.environ):
        if any(part in name for part in _FOREIGN):
            monkeypatch.delenv(name)


@pytest.fixture
def no_blocking(monkeypatch: pytest.MonkeyPatch) -> Iterator[BlockBuster]:
    """Fail a test in which something blocks the event loop, also where the error is swallowed."""
    blocked: list[str] = []

    def note(error: BlockingError, call: str) -> None:
        blocked.append(f"{call}\n{''.join(traceback.format_stack(limit=20))}")
        Exception.__init__(error, f"Blocking call to {call}")

    monkeypatch.setattr(BlockingError, "__init__", note)
    with blockbuster_ctx() as detector:
        for function in detector.functions.values():
            # LiteLLM's first requests are played on a loop of their own, in a thread.
            function.can_block_in("llm/litellm_rehearsal.py", "rehearse")
            # The catalogue is read once in a process, by the first provider: as if imported.
            function.can_block_in("llm/catalog.py", "catalog")
        yield detector
    assert not blocked, f"something blocked the event loop: {blocked[0]}"


@pytest.fixture
def fake_key() -> str:
    """Return something that looks like a key and is none; made here so that no file has it."""
    return "sk-" + "test" * 6
