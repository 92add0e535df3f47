"""What holds for every test: no host but this machine, no foreign settings, nothing left behind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest
from blockbuster import BlockBuster, BlockingError, blockbuster_ctx
from coverage import Coverage

_LOCAL = ("127.", "::1", "localhost", "0.0.0.0")
_FOREIGN = ("API_KEY", "API_BASE", "BASE_URL", "LITELLM", "AMAS_", "_PROXY", "_proxy")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the whole suite go one way."""
    parser.addoption(
        "--dispatch",
        choices=["direct", "litellm"],
        help="what `dispatch: auto` stands for in this run. With `direct`, a provider of which the"
        " catalogue says that it is not keeps auto, and any other is refused if it cannot be;"
        " processes that tests start keep auto",
    )


@pytest.fixture(autouse=True, scope="session")
def _one_way(request: pytest.FixtureRequest) -> Iterator[None]:
    """Put ``--dispatch`` in the place of ``auto``, where providers open their connections."""
    asked = request.config.getoption("--dispatch")
    if asked is None:
        yield
        return
    # Only then: many tests are of what is not imported.
    from amas.providers.llm import connections, litellm_provider, opening

    def turned(config: Any, target: Any) -> Any:
        clouds = target.entry is not None and target.entry.detour is not None
        keep = config.dispatch != "auto" or (clouds and asked == "direct")
        return config if keep else replace(config, dispatch=asked)

    def open_connections(target: Any, config: Any) -> Any:
        return opening.open_connections(target, turned(config, target))

    def open_ways(runtime: Any, target: Any, config: Any, http: Any) -> Any:
        return opening.open_ways(runtime, target, turned(config, target), http)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connections, "open_connections", open_connections)
        patch.setattr(litellm_provider, "open_ways", open_ways)
        yield


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
        # Commands that tests start are not measured: importing LiteLLM takes long enough as it is.
        if any(part in name for part in _FOREIGN) or name.startswith("COVERAGE_PROCESS"):
            monkeypatch.delenv(name)


@pytest.fixture
def uncovered() -> Iterator[None]:
    """Do not measure coverage: what goes round ten thousand times would take twice as long."""
    measuring = Coverage.current()
    if measuring is not None:
        measuring.stop()
    yield
    if measuring is not None:
        measuring.start()


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
            function.can_block_in("llm/litellm_rehearsal.py", ("rehearse", "rehearse_direct"))
            # The catalogue is read once in a process, by the first provider: as if imported.
            function.can_block_in("llm/catalog.py", "catalog")
            # Where a log goes is the host's to say, and LiteLLM's goes to stderr.
            function.can_block_in("logging/__init__.py", "emit")
        yield detector
    assert not blocked, f"something blocked the event loop: {blocked[0]}"


@pytest.fixture
def fake_key() -> str:
    """Return something that looks like a key and is none; made here so that no file has it."""
    return "sk-" + "test" * 6


class RedisServer:
    """A redis-server of a test's own, which can be killed and held up.

    Args:
        binary: Path of the program.
        folder: Where it runs; it keeps nothing.
    """

    def __init__(self, binary: str, folder: Path) -> None:
        self._binary = binary
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, empty, at the same port each time; return when it answers."""
        options = {"port": self.port, "bind": "127.0.0.1", "save": "", "appendonly": "no"}
        self._process = subprocess.Popen(
            [
                self._binary,
                *(part for name in options for part in (f"--{name}", str(options[name]))),
            ],
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        ends = time.monotonic() + 10
        while not self._answers():
            assert self._process.poll() is None, "redis-server did not start"
            assert time.monotonic() < ends, "redis-server does not answer"
            time.sleep(0.005)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as link:
                link.sendall(b"PING\r\n")
                return link.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    def kill(self) -> None:
        """End it without warning, also while it is held up."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        """Hold it up: it still takes connections, and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """Start a redis-server of the test's own; without the program, the test is skipped."""
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("there is no redis-server on this machine")
    server = RedisServer(binary, tmp_path)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture
def in_place_of_vendors(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Return what has requests answered by a function, below everything that is ours."""
    import httpx

    from amas.providers.llm.aiohttp_transport import AiohttpTransport
    from amas.providers.llm.answer import HttpxTransport

    def answer_by(answer: Callable[[httpx.Request], httpx.Response]) -> None:
        inner = HttpxTransport(httpx.MockTransport(answer))

        async def send(_transport: AiohttpTransport, *asked: Any) -> Any:
            return await inner.send(*asked)

        monkeypatch.setattr(AiohttpTransport, "send", send)

    return answer_by
