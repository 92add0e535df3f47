"""``amas-providers status``, started the way an operator starts it."""

from __future__ import annotations

import asyncio
import fcntl
import io
import json
import math
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import pytest
import yaml
from redis import Redis
from rich.console import Console
from typer.testing import CliRunner

from amas.config.provider_settings import ManagerSettings
from amas.providers import ProviderManager
from amas.providers.cli import commands, output
from amas.providers.cli.app import app
from amas.providers.testing import FakeProvider
from amas.providers.testing.upstream import Fault, ThreadedUpstream
from amas.providers.types import KeyStatus, ProviderStatus

if TYPE_CHECKING:
    from tests.conftest import RedisServer

COMMAND = [sys.executable, "-m", "amas.providers.cli", "status"]
COLUMNS = "provider state circuit healthy in flight p50/p95 ms success next probe"
# Long enough for a busy machine; a test that works takes nothing of it.
PATIENCE = 60.0
WIDTH = 100


@pytest.fixture
def vendor() -> Iterator[ThreadedUpstream]:
    """Run a server that stands in for every vendor."""
    with ThreadedUpstream("vendor") as upstream:
        yield upstream


@dataclass
class Setting:
    """A configuration in a file, with two keys for its first provider."""

    path: Path
    document: dict[str, Any]

    def write(self, **manager: Any) -> None:
        """Write it, with these options of the manager."""
        self.document["providers"]["manager"] = manager
        self.path.write_text(yaml.safe_dump(self.document, sort_keys=False), encoding="utf-8")

    def command(self, *options: str) -> list[str]:
        """Return the command that shows the status."""
        return [*COMMAND, "-c", str(self.path), *options]


@pytest.fixture
def setting(tmp_path: Path, vendor: ThreadedUpstream, fake_key: str) -> Setting:
    """Write a configuration: one provider works, one is not there, one has no key."""
    document = {
        "providers": {
            "security": {"plaintext_keys": "allow"},
            "llm": {
                "openai": {
                    "api_keys": [f"{fake_key}-1", f"{fake_key}-2"],
                    "base_url": f"{vendor.url}/v1",
                },
                "local": {"base_url": "http://127.0.0.1:9"},
                "groq": {"api_key": "${NO_SUCH_KEY}"},
            },
        }
    }
    found = Setting(tmp_path / "providers.yaml", document)
    found.write()
    return found


def without_dev_noise(text: str) -> str:
    """Leave out what development mode tells of a loaded machine."""
    lines = text.splitlines(True)
    return "".join(line for line in lines if not line.startswith("Executing <"))


def run(command: list[str]) -> tuple[int, str, str]:
    """Run a command to its end in this process, and return its code and what it said."""
    done = CliRunner().invoke(app, command[command.index("status") :])
    return done.exit_code, done.stdout, done.stderr


def row(page: str, name: str) -> list[str]:
    """Return the cells of a provider's row."""
    line = next(line for line in page.splitlines() if line.strip().startswith(f"{name} "))
    return re.split(r"\s{2,}", line.strip())


def tell(server: RedisServer, work: Callable[[ProviderManager], None]) -> None:
    """Do something with another manager of the same providers, and wait until it is told."""
    asyncio.run(_tell(server, work))


async def _tell(server: RedisServer, work: Callable[[ProviderManager], None]) -> None:
    manager = ProviderManager(ManagerSettings.model_validate({"state": server.url}))
    await manager.register_provider(FakeProvider("openai"))
    name = "amas-providers:state:circuit:openai"
    with Redis.from_url(server.url) as client:
        before = client.get(name)
        work(manager)
        ends = time.monotonic() + PATIENCE
        while client.get(name) == before:
            assert time.monotonic() < ends, "it was not told"
            await manager.refresh()
            await asyncio.sleep(0.01)
    await manager.shutdown()


def test_the_table_is_what_an_operator_needs(setting: Setting, fake_key: str) -> None:
    """Each provider and key has a line of at most 100 columns; the reasons stand below."""
    code, page, said = run(setting.command())
    assert code == 0
    title, _, columns, *lines = page.splitlines()
    assert re.fullmatch(
        r"Status at \d\d:\d\d:\d\d; state: memory, so this is the view of a new process", title
    )
    assert " ".join(columns.split()) == COLUMNS
    assert row(page, "openai")[1:4] == ["available", "closed", "yes"]
    assert row(page, "openai")[-1].startswith("check in ")
    assert [row(page, f"key {number}")[1] for number in (1, 2)] == ["available"] * 2
    assert row(page, "local")[1:4] == ["unavailable", "closed", "no"]
    assert row(page, "groq")[1:] == ["disabled", *["-"] * 6]
    assert any(line.startswith("local: unavailable: connection failed") for line in lines)
    assert "groq: disabled: ${NO_SUCH_KEY} is not set; set it, or remove the line" in lines
    assert "manager.status()" in lines[-1]
    assert max(map(len, page.splitlines())) <= WIDTH
    assert [line for line in said.splitlines() if not line.startswith("warning: ")] == []
    assert fake_key not in page + said


def test_json_has_everything_and_says_when_redis_is_away(setting: Setting, fake_key: str) -> None:
    """One line with every field on stdout; that nobody else was heard, and why, on stderr."""
    word = "pass" + "word" + "1234"
    setting.write(state=f"redis://:{word}@127.0.0.1:9/0")
    code, page, said = run(setting.command("--json"))
    assert code == 0
    status = json.loads(page)
    assert list(status) == ["openai", "local", "groq"]
    assert set(status["openai"]) == set(ProviderStatus.__annotations__)
    assert [key["state"] for key in status["openai"]["keys"]] == ["available"] * 2
    warning = said.splitlines()[-1]
    assert warning.startswith("warning: redis 127.0.0.1:9/0 is AWAY, so this is the view of a new")
    assert "Connect call failed" in warning
    assert word not in page + said
    assert fake_key not in page + said


class Watch:
    """A running ``status --watch``, of which everything it writes is read at once.

    Args:
        command: The command.
        terminal: Whether it runs in a terminal.
    """

    def __init__(self, command: list[str], *, terminal: bool = False) -> None:
        if terminal:
            self._stream, its_end = pty.openpty()
            fcntl.ioctl(its_end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, WIDTH, 0, 0))
        else:
            self._stream, its_end = os.pipe()
        self._process = subprocess.Popen(
            [*command, "--watch", "--every", "0.1"],
            stdin=its_end if terminal else subprocess.DEVNULL,
            stdout=its_end,
            stderr=subprocess.PIPE,
            env={**os.environ, "TERM": "xterm-256color"},
            start_new_session=True,
            # A shell's background job has interrupts ignored, and hands that down.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        )
        os.close(its_end)
        self._pieces: list[bytes] = []
        self._errors: list[bytes] = []
        self._readers = [
            threading.Thread(target=self._read, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self) -> None:
        with suppress(OSError):  # how a terminal ends
            while piece := os.read(self._stream, 65536):
                self._pieces.append(piece)

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        self._errors += self._process.stderr

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        with self._process:
            self._process.kill()
            for reader in self._readers:
                reader.join(PATIENCE)
        os.close(self._stream)

    def shown(self, *words: str) -> str:
        """Wait until all of these words were shown from now on; return what was."""
        ends, began = time.monotonic() + PATIENCE, len(self._pieces)
        while True:
            text = b"".join(self._pieces[began:]).decode(errors="replace")
            if all(word in plain(text) for word in words):
                return text
            assert time.monotonic() < ends, f"not all of {words} came: {text[-2000:]}"
            assert self._process.poll() is None, f"it has ended: {self._errors}"
            time.sleep(0.02)

    def interrupt(self) -> tuple[int, str]:
        """End it as Ctrl-C does; return its code and what it said to stderr."""
        self._process.send_signal(signal.SIGINT)
        code = self._process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        return code, without_dev_noise(b"".join(self._errors).decode())

    @property
    def whole(self) -> str:
        """Everything it has shown."""
        return b"".join(self._pieces).decode(errors="replace")


def plain(text: str) -> str:
    """Leave out what only a terminal needs; where it goes up, a line begins."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.replace("\x1b[1A", "\n")).replace("\r", "")


@pytest.mark.slow
def test_watch_in_a_terminal(setting: Setting, redis_server: RedisServer) -> None:
    """It redraws itself, shows what another process decides, and ends on Ctrl-C without a trace."""
    setting.write(state=redis_server.url)
    place = f"127.0.0.1:{redis_server.port}/0"
    with Watch(setting.command(), terminal=True) as watch:
        watch.shown(f"shared through redis {place}", "\nopenai    available")
        tell(redis_server, lambda manager: manager.trip("openai", 300))
        text = watch.shown("circuit open", "call in", "seen it", "manager.status()")
        assert "\x1b[31m" in text  # red
        assert "\x1b[1A" in text  # in place of the page before
        tell(redis_server, lambda manager: manager.reset("openai"))
        watch.shown("\nopenai    available")
        code, said = watch.interrupt()
        whole = watch.whole
    assert (code, "Traceback" in said + whole) == (130, False)
    assert max(len(line) for line in plain(whole).splitlines()) <= WIDTH
    assert whole.rindex("\x1b[?25h") > whole.rindex("\x1b[?25l")  # the cursor is there again


@pytest.mark.slow
def test_a_reader_that_leaves(setting: Setting) -> None:
    """What was piped into ``head`` ends quietly, and successfully, when that has had enough."""
    watch = subprocess.Popen(
        setting.command("--watch", "--every", "0.1"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with watch:
        assert watch.stdout is not None
        assert watch.stderr is not None
        assert watch.stdout.readline()
        watch.stdout.close()
        said = without_dev_noise(watch.stderr.read().decode())
        assert watch.wait(PATIENCE) == 0
    assert [line for line in said.splitlines() if not line.startswith("warning: ")] == []


@pytest.mark.slow
def test_a_provider_that_hangs_does_not_hold_up_the_watch(
    setting: Setting, vendor: ThreadedUpstream
) -> None:
    """The first page comes while its check still waits, and says so."""
    vendor.fault(Fault(hang=True, on="models", times=None))
    with Watch(setting.command()) as watch:
        page = watch.shown("manager.status()")
        code, _ = watch.interrupt()
    assert row(page, "openai")[1:4] == ["unavailable", "closed", "no"]
    assert "openai: unavailable: not initialized yet" in page
    assert code == 130


def test_a_wrong_configuration_is_told_with_its_place(setting: Setting) -> None:
    """Each mistake is a line; nothing is shown."""
    setting.write(state="redsi://127.0.0.1", heatlh_check_interval=3)
    code, page, said = run(setting.command("--watch"))
    assert (code, page) == (2, "")
    assert "providers.manager.state" in said
    assert "did you mean 'health_check_interval'" in said
    assert "Traceback" not in said


def test_wrong_usage_is_told(setting: Setting) -> None:
    """A watch that would never rest is refused."""
    code, page, said = run(setting.command("--watch", "--every", "0"))
    assert (code, page) == (2, "")
    assert "--every" in said


def test_help_imports_nothing_heavy() -> None:
    """Help needs neither LiteLLM nor redis."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "amas.providers.cli", "status", "--help"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    imported = {
        line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()
    }
    assert not imported & {"litellm", "openai", "aiohttp", "httpx", "redis"}
    assert "--watch" in done.stdout


def status_of(**more: Any) -> ProviderStatus:
    """Return the status of a provider that is well and idle, but for these fields."""
    status: dict[str, Any] = dict.fromkeys(ProviderStatus.__annotations__)
    status |= {"name": "openai", "state": "available", "circuit": "closed", "healthy": True}
    status |= {"in_flight": 0, "waiting": 0, "keys": []}
    return cast(ProviderStatus, status | more)


@pytest.mark.parametrize(
    ("fields", "column", "shown"),
    [
        ({}, 4, "-"),
        ({"in_flight": 3}, 4, "3"),
        ({"in_flight": 10, "waiting": 2}, 4, "10 +2"),
        ({}, 5, "-"),
        ({"latency_ms": 412.3}, 5, "mean 412"),
        ({"latency_ms": 9.0, "latency_p50_ms": 410.4, "latency_p95_ms": 1200.0}, 5, "410/1200"),
        ({"success_rate": 0.987}, 6, "99%"),
        ({"success_rate": 0.0}, 6, "0%"),
        ({}, 7, "-"),
        ({"next_check": 12.4}, 7, "check in 12 s"),
        ({"next_check": 12.4, "retry_after": 28.0}, 7, "call in 28 s"),
        ({"retry_after": 3600.0}, 7, "call in 60 min"),
        ({"retry_after": 7200.0}, 7, "call in 2 h"),
        ({"retry_after": 366 * 86400.0}, 7, "call in 366 d"),
        ({"retry_after": math.inf}, 7, "after a reset"),
        ({"state": "cooling_down"}, 1, "cooling down"),
        ({"circuit": "half_open"}, 2, "half open"),
        ({"healthy": False}, 3, "no"),
        ({"state": "disabled", "healthy": False}, 2, "-"),
    ],
)
def test_cells_say_it_in_words(fields: dict[str, Any], column: int, shown: str) -> None:
    """What is not known is a dash; times are whole seconds, and minutes when there are many."""
    (cells,) = commands._rows(status_of(**fields))
    assert cells[column] == shown


def test_the_last_error_is_told_below_the_table() -> None:
    """Once, also if it is the reason as well; with the state that it explains."""
    assert list(commands._notes(status_of())) == []
    error = {"last_error": "HTTP 503"}
    assert list(commands._notes(status_of(**error))) == ["openai: last error: HTTP 503"]
    opened = {"state": "circuit_open", "reason": "HTTP 503", **error}
    assert list(commands._notes(status_of(**opened))) == ["openai: circuit open: HTTP 503"]
    ill = {"state": "unhealthy", "reason": "models listing: HTTP 500", **error}
    assert list(commands._notes(status_of(**ill))) == [
        "openai: unhealthy: models listing: HTTP 500",
        "openai: last error: HTTP 503",
    ]


def test_the_widest_row_fits_into_a_terminal() -> None:
    """A busy provider with a long name and long waits has one line of at most 100 columns."""
    keys = [KeyStatus(key=1, state="cooling_down", retry_after=540.0)]
    busy = status_of(
        name="azure-west-europe",
        state="limit_reached",
        circuit="half_open",
        in_flight=120,
        waiting=40,
        latency_p50_ms=12_345.0,
        latency_p95_ms=67_890.0,
        success_rate=1.0,
        retry_after=119.0,
        keys=keys,
    )
    page = output.Page("title", commands._STATUS_COLUMNS, list(commands._rows(busy)), ["x" * 250])
    console = Console(file=io.StringIO(), width=WIDTH)
    console.print(output._laid_out(page))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert lines[3].split() == [
        "azure-west-europe", "limit", "reached", "half", "open", "yes", "120", "+40",
        "12345/67890", "100%", "call", "in", "119", "s",
    ]  # fmt: skip
    assert lines[4].split() == ["key", "1", "cooling", "down", "call", "in", "9", "min"]
    assert "".join(lines[6:]) == "x" * 250
