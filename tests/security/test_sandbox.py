"""Providers in a process of their own: real child processes, and what they try to do."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import hashlib
import json
import logging
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from blockbuster import BlockBuster

from amas.providers import (
    InvalidRequestError,
    ProviderConfig,
    ProviderConfigError,
    ProviderError,
    ProviderManager,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitError,
    StreamInterruptedError,
)
from amas.providers.security.sandbox import calls, kernel, landlock, limits, process, spawning
from amas.providers.security.sandbox.provider import SandboxedProvider
from amas.providers.security.sandbox.server import WINDOW
from amas.providers.testing import FakeProvider
from amas.providers.testing.fake_provider import FakeClock
from amas.providers.testing.upstream import Upstream
from amas.providers.types import Capability, Price, SandboxLimits

pytestmark = pytest.mark.slow

# It does what it is told: the prompt is its code.
PUPPET = '''
import asyncio, ctypes, hashlib, json, os, resource, signal, socket, struct, sys, threading
from amas.providers import ProviderBase, StreamChunk
from amas.providers import RateLimitError, StreamInterruptedError
from amas.providers.types import Capability, Price


class Puppet(ProviderBase):
    produced = 0
    cancelled = 0

    async def initialize(self):
        self.capabilities = frozenset({Capability.STREAM})
        self.context_window = 1000
        self.price = Price(1, 2)
        return True

    async def generate(self, prompt, **kwargs):
        if prompt == "wait":
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        scope = globals() | {"self": self, "kwargs": kwargs, "answer": ""}
        exec(prompt, scope)
        return {"content": str(scope["answer"]), "usage": scope.get("usage")}

    async def stream(self, prompt, **kwargs):
        while prompt != "short" or self.produced < 2 * 16 + 3:
            self.produced += 1
            yield StreamChunk(f"{self.produced} ", self.name)
        yield StreamChunk("", self.name, finish_reason="stop")

    async def embed(self, texts, *, model=None):
        return {"embeddings": [[float(len(text))] for text in texts], "model": model}

    async def list_models(self):
        return ["m1", "m2"]

    async def health_check(self):
        return True

    async def shutdown(self):
        pass


class Deaf(Puppet):
    """It neither ends when asked to nor by SIGTERM."""

    async def shutdown(self):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            pass


def dies(config):
    os._exit(7)


def hangs(config):
    while True:
        pass


class Unready(Puppet):
    async def initialize(self):
        return False


class Sick(Puppet):
    async def health_check(self):
        self.last_error = RateLimitError("too much", retry_after=5)
        return False
'''

Make = Callable[..., SandboxedProvider]


def open_files() -> set[str]:
    """Return what this process holds open; the list itself is closed by then."""
    return {link.name for link in Path("/proc/self/fd").iterdir() if link.exists()}


@pytest.fixture
def puppet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the puppet where it can be imported; return the folder for private folders."""
    site, private = tmp_path / "site", tmp_path / "private"
    for folder in (site, private):
        folder.mkdir()
    (site / "puppet.py").write_text(PUPPET, encoding="utf-8")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr(tempfile, "tempdir", str(private))
    return private


@pytest.fixture
async def make(puppet: Path) -> AsyncIterator[Make]:
    """Return a function that makes sandboxed puppets; in the end nothing of them is left."""
    made: list[SandboxedProvider] = []

    def sandboxed(
        attribute: str = "Puppet", name: str = "puppet", **more: Any
    ) -> SandboxedProvider:
        given = {key: more.pop(key) for key in ("clock", "random") if key in more}
        config = ProviderConfig(name, **({"timeout": 5, "max_retries": 0} | more))
        made.append(SandboxedProvider(config, factory=f"puppet:{attribute}", **given))
        return made[-1]

    before = open_files()
    yield sandboxed
    for provider in made:
        await provider.shutdown()
    await asyncio.sleep(0)
    assert no_folders(puppet)
    assert open_files() <= before
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


def no_folders(folder: Path) -> bool:
    """Tell whether a folder is empty."""
    return list(folder.iterdir()) == []


def pid_of(provider: SandboxedProvider) -> int:
    """Return the process id of a provider's child."""
    assert provider._child is not None
    return provider._child.process.pid


async def ended(provider: SandboxedProvider) -> None:
    """Wait until a provider's child is gone."""
    assert provider._child is not None
    await asyncio.wait_for(asyncio.shield(provider._child._supervisor), 10)


def is_gone(pid: int) -> bool:
    """Tell whether a process has ended and was reaped."""
    return not Path(f"/proc/{pid}").exists()


async def test_it_is_used_like_any_other_provider(make: Make) -> None:
    """Whatever a provider does, it does from its process too; what is known of it is known here."""
    provider = make(model="m1")
    assert await provider.initialize()
    result = await provider.generate(
        "answer = sorted(kwargs.items())\n"
        "usage = {'prompt_tokens': 1, 'completion_tokens': 2, 'total_tokens': 3}",
        temperature=0.5,
        stop=("a", "b"),
    )
    assert result["content"] == "[('stop', ['a', 'b']), ('temperature', 0.5)]"
    assert (result["provider"], result["tokens_used"]) == ("puppet", 3)
    chunks = [chunk async for chunk in provider.stream("short")]
    assert [chunk.content.strip() for chunk in chunks[:-1]] == [str(n) for n in range(1, 36)]
    assert chunks[-1].finish_reason == "stop"
    vectors = await provider.embed(["a", "bcd"], model="e")
    assert (vectors["embeddings"], vectors["model"]) == ([[1.0], [3.0]], "e")
    assert await provider.list_models() == ["m1", "m2"]
    assert await provider.health_check()
    assert provider.capabilities == frozenset({Capability.STREAM})
    assert (provider.model, provider.context_window) == ("m1", 1000)
    assert provider.price == provider.price_of("m1") == Price(1, 2)
    assert provider.price_of("other") is None


async def test_a_configured_price_is_that_of_all_models(make: Make) -> None:
    """As for a provider in the service's own process."""
    price = Price(3, 4)
    assert make(price=price).price_of("whatever") == price


async def test_it_starts_on_first_use(make: Make) -> None:
    """Also without a manager that starts it."""
    assert (await make().generate("answer = 1"))["content"] == "1"


async def test_nothing_blocks_the_event_loop(make: Make, no_blocking: BlockBuster) -> None:
    """Neither its start, nor its calls, nor its end."""
    provider = make()
    await provider.generate("answer = 1")
    assert len([chunk async for chunk in provider.stream("short")]) == 36
    await provider.shutdown()


async def test_its_errors_are_those_of_our_tree(make: Make) -> None:
    """With what they carry; an exception of any other kind is named."""
    provider = make()
    with pytest.raises(RateLimitError, match="slow down") as limited:
        await provider.generate("raise RateLimitError('slow down', status_code=429, retry_after=7)")
    assert (limited.value.status_code, limited.value.retry_after) == (429, 7.0)
    assert limited.value.provider == "puppet"
    with pytest.raises(StreamInterruptedError) as broken:
        await provider.generate("raise StreamInterruptedError('cut', partial_text='half')")
    assert broken.value.partial_text == "half"
    with pytest.raises(ProviderUnavailableError, match="unexpected ZeroDivisionError"):
        await provider.generate("1 / 0")
    with pytest.raises(ProviderUnavailableError, match="cannot be handed on"):
        await provider.generate("usage = {1, 2}")


def shown_with_locals(error: BaseException) -> str:
    """Return a traceback with the variables of all frames but the test's, which has the key."""
    assert error.__traceback__ is not None
    error.__traceback__ = error.__traceback__.tb_next
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


async def test_what_is_no_plain_data_does_not_go_in(make: Make, fake_key: str) -> None:
    """It is the caller's mistake, or the configuration's."""
    provider = make()
    with pytest.raises(InvalidRequestError, match="a object is not plain data"):
        await provider.generate("x", tools=[object()])
    with pytest.raises(ProviderConfigError, match="cannot be handed to a process") as wrong:
        await make(params={"x": object()}, api_key=fake_key).generate("x")
    assert fake_key not in shown_with_locals(wrong.value)
    assert (await provider.generate("answer = 1"))["content"] == "1"


async def test_several_calls_run_at_the_same_time(make: Make) -> None:
    """Answers find their calls; a slow one holds up nobody."""
    provider = make()
    await provider.initialize()
    slow = asyncio.create_task(provider.generate("wait"))
    answers = await asyncio.gather(*(provider.generate(f"answer = {n}") for n in range(20)))
    assert [answer["content"] for answer in answers] == [str(n) for n in range(20)]
    assert not slow.done()
    slow.cancel()
    await asyncio.wait([slow])
    await provider.generate("")
    assert (await provider.generate("answer = self.cancelled"))["content"] == "1"


async def test_a_stream_waits_for_its_reader(make: Make) -> None:
    """An endless one produces no more than a window ahead, and ends when nobody reads."""
    provider = make()
    stream: Any = provider.stream("endless")
    assert [(await anext(stream)).content for _ in range(3)] == ["1 ", "2 ", "3 "]
    ahead = (await provider.generate("answer = self.produced"))["content"]
    assert int(ahead) <= WINDOW + 4
    await stream.aclose()
    after = [(await provider.generate("answer = self.produced"))["content"] for _ in range(2)]
    assert after == [ahead, ahead]
    assert provider._child is not None
    assert provider._child.calls.by_number == {}
    assert provider._child.calls.waiting == 0


CRASHES = {
    "exit": ("os._exit(1)", "ended with status 1"),
    "sys.exit": ("sys.exit()", "ended with status 1"),
    "segfault": ("ctypes.string_at(0)", "SIGSEGV"),
    "too much CPU": ("os.kill(os.getpid(), signal.SIGXCPU)", "SIGXCPU"),
    "killed": ("os.kill(os.getpid(), 9)", "SIGKILL"),
    "closes the channel": ("os.close(int(sys.argv[1]))\nos.kill(os.getpid(), 9)", "SIGKILL"),
}


def landlock_version() -> int:
    """Return what version of Landlock this kernel has; 0 for none."""
    try:
        return landlock.version()
    except kernel.NotSupportedError:
        return 0


needs_landlock = pytest.mark.skipif(
    landlock_version() == 0, reason="this kernel does not limit which files a process sees"
)
TRICKS = {
    "10 GB": ("bytearray(10 << 30)", "MemoryError"),
    "10 GB shared": ("import mmap; mmap.mmap(-1, 10 << 30)", "Cannot allocate memory"),
    "10,000 files": ("[open('/dev/null') for _ in range(10_000)]", "Too many open files"),
    "a large file": ("open('x', 'wb').truncate(1 << 30)", "File too large"),
    "a process": ("os.fork()", "not permitted"),
    "a program": ("import subprocess; subprocess.run(['true'])", "not permitted"),
    "a signal": ("os.kill(os.getppid(), 0)", "not permitted"),
    "the service's limits": (
        "resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE)",
        "PermissionError",
    ),
    "a file's mode": ("os.chmod('.', 0o666)", "not permitted"),
    "an open file's mode": ("os.fchmod(open('own', 'w').fileno(), 0o666)", "not permitted"),
    "a file's times": ("os.utime('.')", "not permitted"),
    "a file's owner": ("os.chown('.', -1, -1)", "not permitted"),
    "an attribute": ("os.setxattr('.', 'user.a', b'')", "not permitted"),
    "to outlive the service": (
        "assert ctypes.CDLL(None).prctl(1, 0, 0, 0, 0) == 0",
        "AssertionError",
    ),
    "to be looked into": ("assert ctypes.CDLL(None).prctl(4, 1, 0, 0, 0) == 0", "AssertionError"),
    "more CPU": ("resource.setrlimit(resource.RLIMIT_CPU, (9, 9))", "not allowed to raise"),
    "a local socket": ("socket.socket(socket.AF_UNIX)", "Permission denied"),
    "a file elsewhere": ("open('/etc/amas-test', 'w')", "Permission denied"),
    "more memory": (
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 40, 1 << 40))",
        "not allowed to raise",
    ),
}
if landlock_version() < 6:
    del TRICKS["a signal"]


@pytest.mark.slow
@pytest.mark.parametrize(("code", "what"), CRASHES.values(), ids=CRASHES)
async def test_a_crash_is_an_error_and_a_failover(make: Make, code: str, what: str) -> None:
    """At once, for all calls under way; the next provider answers, and later it is back."""
    clock = FakeClock()
    provider = make(clock=clock)
    async with ProviderManager() as manager:
        await manager.register_provider(provider)
        await manager.register_provider(FakeProvider("next"))
        other = asyncio.create_task(provider.generate("wait"))
        await provider.generate("")
        async with asyncio.timeout(3):
            result = await manager.generate(code)
            assert result["provider"] == "next"
            with pytest.raises(ProviderUnavailableError, match=what):
                await other
        assert what in str(result["attempts"][0]["error"])
        with pytest.raises(ProviderUnavailableError, match="started again in") as resting:
            await provider.generate("")
        assert 0 < (resting.value.retry_after or 0) <= 0.1
        clock.now += 1
        assert (await provider.generate("answer = 1"))["content"] == "1"


@needs_landlock
async def test_what_it_may_not_do_is_an_error_and_a_failover(make: Make) -> None:
    """The next provider answers each time; the process itself goes on."""
    provider = make()
    failed = {}
    async with ProviderManager() as manager:
        await manager.register_provider(provider)
        await manager.register_provider(FakeProvider("next"))
        for name, (code, what) in TRICKS.items():
            with pytest.raises(ProviderUnavailableError) as refused:
                await provider.generate(code)
            failed[name] = (code, what if what in str(refused.value) else str(refused.value))
        assert failed == TRICKS
        assert (await manager.generate(TRICKS["10 GB"][0]))["provider"] == "next"
        assert (await provider.generate("answer = 1"))["content"] == "1"


async def test_an_endless_loop_is_found_and_ended(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next provider answers; the process goes with all its calls, and another one comes."""
    monkeypatch.setattr(calls, "CANCEL_SECONDS", 0.1)
    clock = FakeClock()
    provider = make(timeout=0.1, clock=clock)
    async with ProviderManager() as manager:
        await manager.register_provider(provider)
        await manager.register_provider(FakeProvider("next"))
        pid = pid_of(provider)
        result = await manager.generate("while True: pass")
        assert result["provider"] == "next"
        assert result["attempts"][0]["outcome"] == "timeout"
        with pytest.raises(ProviderUnavailableError, match="did not answer"):
            await provider.generate("")
        await ended(provider)
        assert is_gone(pid)
        clock.now += 1
        assert (await provider.generate("answer = 1"))["content"] == "1"


async def test_a_slow_call_takes_no_others_with_it(make: Make) -> None:
    """A process that answers a cancelled call is not hanging."""
    provider = make(timeout=0.1)
    await provider.initialize()
    pid = pid_of(provider)
    with pytest.raises(ProviderTimeoutError, match="no answer within"):
        await provider.generate("wait")
    await provider.generate("")
    assert (await provider.generate("answer = self.cancelled"))["content"] == "1"
    assert pid_of(provider) == pid


async def test_cpu_is_limited_by_call(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the process does with signals; each call has so much from its own beginning."""
    monkeypatch.setattr(limits, "_TOLERANCE_SECONDS", -0.7)
    monkeypatch.setattr(process, "_WATCH_SECONDS", 0.05)
    provider = make(sandbox=SandboxLimits(cpu_seconds=1))
    burn = "import time\nwhile time.process_time() < self.produced + 0.2: pass\n"
    start = "import time\nself.produced = time.process_time()\n"
    for _ in range(2):
        await provider.generate(start + burn)
    with pytest.raises(ProviderUnavailableError, match="used more CPU"):
        await provider.generate("signal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass")


async def test_who_has_used_too_much_cpu_gets_no_further_call(make: Make) -> None:
    """Also when that was between two looks at it."""
    provider = make()
    await provider.generate("")
    assert provider._child is not None
    provider._child._cpu._most = 0
    with pytest.raises(ProviderUnavailableError, match="used more CPU"):
        await provider.generate("")


@pytest.mark.parametrize(
    "code",
    [
        "for _ in range(1500):\n    os.mkdir('d')\n    os.chdir('d')",
        "os.mkdir('d', 0o300)\nopen('d/x', 'w').close()",
    ],
    ids=["deep", "unreadable"],
)
async def test_a_folder_is_cleared_whatever_is_in_it(make: Make, puppet: Path, code: str) -> None:
    """However deep, and whatever its modes."""
    provider = make()
    await provider.generate(code)
    await provider.shutdown()
    assert no_folders(puppet)


def test_what_does_not_clear_away_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an error: there is nobody to handle it."""
    monkeypatch.setenv("PATH", "/no/such/place")
    monkeypatch.setattr(spawning, "kill_group", lambda *_given: None)
    monkeypatch.setattr(shutil, "rmtree", lambda *_given, **_more: None)
    spawning.clear_away(0, str(tmp_path))
    assert tmp_path.exists()


async def test_what_cannot_be_read_ends_the_process(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its calls get an error, instead of waiting for ever."""
    provider = make()
    await provider.generate("")
    assert provider._child is not None

    def take(*_given: Any) -> None:
        raise RecursionError

    monkeypatch.setattr(provider._child.calls, "take", take)
    with pytest.raises(ProviderUnavailableError, match="cannot be read"):
        await provider.generate("")


def test_a_signal_without_a_name_is_told_by_its_number() -> None:
    """A process can be ended by those too."""
    assert process._describe(-40) == "was killed by signal 40"


SPY = """
import ctypes, json, os

found = {}

def attempt(name, read):
    try:
        found[name] = repr(read())
    except OSError as error:
        found[name] = type(error).__name__

def file(path):
    with open(path, "rb") as opened:
        return opened.read()

def memory():
    with open(f"/proc/{os.getppid()}/mem", "rb", buffering=0) as opened:
        opened.seek(ADDRESS)
        return opened.read(SIZE)

def read_process():
    class Piece(ctypes.Structure):
        _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
    into = ctypes.create_string_buffer(SIZE)
    here = Piece(ctypes.addressof(into), SIZE)
    there = Piece(ADDRESS, SIZE)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.process_vm_readv(os.getppid(), ctypes.byref(here), 1, ctypes.byref(there), 1, 0) < 0:
        raise OSError(ctypes.get_errno(), "process_vm_readv")
    return into.raw

attempt("file", lambda: file(PATH))
attempt("file beside its code", lambda: file(BESIDE))
attempt("environ of the service", lambda: file(f"/proc/{os.getppid()}/environ"))
attempt("maps of the service", lambda: file(f"/proc/{os.getppid()}/maps"))
attempt("memory", memory)
attempt("process_vm_readv", read_process)
found["environ"] = repr(dict(os.environ))
answer = json.dumps(found)
"""


@needs_landlock
async def test_the_keys_of_others_are_not_found(
    make: Make, tmp_path: Path, fake_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in the environment, nor in the service's memory, nor in files; next door they are."""
    monkeypatch.setenv("OTHER_API_KEY", fake_key)
    files = [tmp_path / "key", tmp_path / "site" / "package" / ".env"]
    files[1].parent.mkdir()
    (files[1].parent / "__init__.py").touch()
    for path in files:
        path.write_text(fake_key, encoding="utf-8")
        path.chmod(0o600)
    memory = ctypes.create_string_buffer(fake_key.encode())
    spy = (
        f"PATH, BESIDE = {str(files[0])!r}, {str(files[1])!r}\n"
        f"ADDRESS, SIZE = {ctypes.addressof(memory)}, {len(fake_key)}\n{SPY}"
    )
    provider = make()
    result = await provider.generate(spy)
    found = json.loads(result["content"])
    assert fake_key not in result["content"]
    assert found.pop("environ").count("_KEY") == 0
    assert set(found.values()) == {"PermissionError"}
    unprotected = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", f"{spy}\nprint(answer)"), stdout=subprocess.PIPE
    )
    output, _ = await unprotected.communicate()
    open_to_all = json.loads(output)
    names = {name for name, value in open_to_all.items() if fake_key in value}
    assert names >= {"file", "file beside its code", "environ"}
    if os.geteuid() == 0:
        assert names >= {"memory", "process_vm_readv"}


async def test_its_own_key_is_seen_by_nobody_else(make: Make, fake_key: str) -> None:
    """It is in the process, but not in what the system shows of it, nor in its private folder."""
    provider = make(api_key=fake_key, options={"aws_secret_access_key": fake_key})
    code = "answer = hashlib.sha256(self.config.key_value.encode()).hexdigest()"
    result = await provider.generate(code)
    assert result["content"] == hashlib.sha256(fake_key.encode()).hexdigest()
    shown = Path(f"/proc/{pid_of(provider)}")
    for name in ("cmdline", "environ"):
        assert fake_key.encode() not in (shown / name).read_bytes()
    assert b"sandbox.child" in (shown / "cmdline").read_bytes()
    with pytest.raises(ProviderUnavailableError) as leaked:
        await provider.generate("raise ValueError(self.config.key_value)")
    assert fake_key not in str(leaked.value)


async def test_its_protections_are_told_once(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """Those that this kernel offers, and those that it does not."""
    caplog.set_level(logging.INFO, "amas.providers.sandbox")
    clock = FakeClock()
    provider = make(clock=clock)
    await provider.initialize()
    with pytest.raises(ProviderUnavailableError):
        await provider.generate("os._exit(1)")
    clock.now += 1
    await provider.generate("")
    assert provider.report is not None
    assert "no capabilities" in provider.report.active
    assert caplog.text.count("sandboxed") == 1
    # What a kernel does not offer is said, and only then.
    assert ("sandbox_incomplete" in caplog.text) == bool(provider.report.missing)


async def test_what_it_prints_is_logged_but_never_as_a_flood(
    make: Make, fake_key: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A few lines, scrubbed; how many were left out is said, and its calls go on."""
    caplog.set_level(logging.INFO, "amas.providers.sandbox")
    provider = make(api_key=fake_key, timeout=20)
    flood = "print(self.config.key_value)\nfor n in range(50_000): print('line', n)\nanswer = 1"
    assert (await provider.generate(flood))["content"] == "1"
    await provider.shutdown()
    lines = [record.getMessage() for record in caplog.records]
    assert any("**********" in line for line in lines)
    assert fake_key not in caplog.text
    assert any("output_dropped" in line for line in lines)
    assert len(lines) < 300


MALFORMED = {
    "no JSON": "struct.pack('>I', 3) + b'abc'",
    "too long": "struct.pack('>I', 1 << 31)",
    "a list": "struct.pack('>I', 2) + b'[]'",
    "nobody's": "struct.pack('>I', 17) + b'{\"id\":99,\"ok\":1}'.ljust(17)",
    "deeply nested": "struct.pack('>I', 100_000) + b'[' * 100_000",
    "many values": "struct.pack('>I', 900_000) + b'[' + b'{},' * 299_999 + b'1]'",
    "no number": "struct.pack('>I', 18) + b'{\"id\":1,\"ok\": NaN}'",
}


@pytest.mark.parametrize("message", MALFORMED.values(), ids=MALFORMED)
async def test_a_malformed_message_ends_the_process(make: Make, message: str) -> None:
    """Nothing of it is believed, and its calls get an error."""
    provider = make()
    await provider.initialize()
    pid = pid_of(provider)
    with pytest.raises(ProviderUnavailableError, match="malformed message"):
        await provider.generate(
            f"channel = socket.socket(fileno=os.dup(int(sys.argv[1])))\n"
            f"channel.setblocking(True)\nchannel.sendall({message})\n"
            f"import time; time.sleep(60)"
        )
    await ended(provider)
    assert is_gone(pid)


@pytest.mark.parametrize(
    ("attribute", "error", "what"),
    [
        ("dies", ProviderUnavailableError, "ended with status 7"),
        ("hangs", ProviderTimeoutError, "no answer within"),
        ("Unready", ProviderUnavailableError, "does not say why"),
        ("missing", ProviderConfigError, "cannot be used: module 'puppet' has no"),
        ("os.getcwd", ProviderConfigError, "it makes no provider when"),
        ("json.JSONDecoder", ProviderConfigError, "cannot be used"),
    ],
)
async def test_one_that_does_not_start_says_why(
    make: Make,
    monkeypatch: pytest.MonkeyPatch,
    attribute: str,
    error: type[ProviderError],
    what: str,
) -> None:
    """Nothing of it is left; whoever crashes or hangs is not started again at once."""
    monkeypatch.setattr(process, "START_SECONDS", 0.3 if attribute == "hangs" else 10)
    monkeypatch.setattr(process, "POLITE_SECONDS", 0.01)
    provider = make(attribute, clock=FakeClock())
    assert not await provider.initialize()
    assert isinstance(provider.last_error, error)
    assert what in str(provider.last_error)
    rests = attribute in {"dies", "hangs"}
    assert (provider._restarts.wait() > 0) == rests
    with pytest.raises(ProviderError, match="started again in" if rests else what):
        await provider.generate("")


async def test_a_sick_one_says_why(make: Make) -> None:
    """Its own error is the reason."""
    provider = make("Sick")
    await provider.initialize()
    assert not await provider.health_check()
    assert isinstance(provider.last_error, RateLimitError)
    assert provider.last_error.retry_after == 5.0


async def test_a_machine_that_starts_no_process_is_an_error(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of ours, with nothing left behind."""
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(ProviderUnavailableError, match="cannot be started: No such file"):
        await make().generate("")


async def test_a_start_that_fails_shows_no_key(make: Make, fake_key: str) -> None:
    """Nowhere in the traceback, with the variables of its frames."""
    provider = make("missing", api_key=fake_key)
    with pytest.raises(ProviderConfigError) as failed:
        await provider._running()
    shown = shown_with_locals(failed.value)
    assert "START_SECONDS" in shown
    assert fake_key not in shown


async def test_a_start_that_breaks_leaves_nothing(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it is that Python cannot do."""

    async def broken(*command: Any, **how: Any) -> Any:
        raise RuntimeError("no child watcher")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", broken)
    with pytest.raises(ProviderUnavailableError, match="unexpected RuntimeError"):
        await make().generate("")


async def test_a_start_that_is_cancelled_and_fails_leaves_nothing(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no process to be ended then."""
    began = asyncio.Event()

    async def spawn(_provider: str) -> Any:
        began.set()
        await asyncio.sleep(0)
        raise ProviderUnavailableError("out of memory")

    monkeypatch.setattr(process, "_spawn", spawn)
    provider = make()
    start = asyncio.create_task(provider.initialize())
    await began.wait()
    await provider._tear_down()
    with pytest.raises(asyncio.CancelledError):
        await start


async def test_a_child_that_is_gone_answers_nothing(make: Make) -> None:
    """What had come of a stream is still handed out."""
    provider = make()
    stream: Any = provider.stream("endless")
    await anext(stream)
    await provider.generate("")
    child = provider._child
    assert child is not None
    await child.kill()
    with pytest.raises(ProviderUnavailableError, match="its process"):
        await child.ask("list_models", {}, 1)
    for number in range(WINDOW - 1):
        assert (await anext(stream)).content == f"{number + 2} "
    with pytest.raises(ProviderUnavailableError, match="its process"):
        await anext(stream)


async def test_the_child_of_another_event_loop_is_left_behind(make: Make) -> None:
    """It cannot be spoken to from here; a new one is started."""
    provider = make()
    await provider.generate("")
    old = provider._child
    assert old is not None
    with contextlib.closing(asyncio.new_event_loop()) as old.loop:
        assert (await provider.generate("answer = 1"))["content"] == "1"
    assert provider._child is not old
    old.loop = asyncio.get_running_loop()
    await old.kill()


def test_what_is_missing_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Each protection with the reason."""
    provider = SandboxedProvider(ProviderConfig("mine"), factory="puppet:Puppet")
    provider._say({"active": ["a"], "missing": ["b (refused)"]})
    assert "sandbox_incomplete provider='mine' missing='b (refused)'" in caplog.text


def test_the_end_of_an_event_loop_ends_its_child(puppet: Path) -> None:
    """That is no failure: the next loop starts another one at once."""
    provider = SandboxedProvider(ProviderConfig("puppet"), factory="puppet:Puppet")

    async def ask() -> int:
        return int((await provider.generate("answer = os.getpid()"))["content"])

    first = asyncio.run(ask())
    assert is_gone(first)
    assert no_folders(puppet)
    assert asyncio.run(ask()) != first


async def test_shutdown_ends_the_deaf(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked, then told, then killed."""
    monkeypatch.setattr(process, "POLITE_SECONDS", 0.1)
    provider = make("Deaf")
    await provider.generate("")
    pid = pid_of(provider)
    await provider.shutdown()
    assert is_gone(pid)


async def test_shutdown_ends_a_start(make: Make) -> None:
    """Also one that nobody waits for any more."""
    provider = make("hangs")
    waiting = asyncio.create_task(provider.generate(""))
    await asyncio.sleep(0)
    assert provider._starting is not None
    waiting.cancel()
    await asyncio.wait([waiting])
    await provider.shutdown()


async def test_who_gives_up_waiting_for_the_start_leaves_it_to_others(make: Make) -> None:
    """One process is started, and used by those who are left."""
    provider = make()
    first, second = (asyncio.create_task(provider._running()) for _ in range(2))
    await asyncio.sleep(0)
    assert provider._starting is not None
    first.cancel()
    child = await second
    assert first.cancelled()
    assert child is provider._child


LOOPS = """
import asyncio
from amas.providers import ProviderConfig
from amas.providers.security.sandbox.provider import SandboxedProvider

provider = SandboxedProvider(ProviderConfig("puppet"), factory="puppet:Puppet")

async def ask():
    print((await provider.generate("answer = os.getpid()"))["content"], flush=True)

asyncio.run(ask())
loop = asyncio.new_event_loop()
loop.run_until_complete(ask())
loop.close()
asyncio.run(ask())
print("done", flush=True)
input()
"""


def test_each_event_loop_gets_its_own_process(puppet: Path) -> None:
    """A loop that ends takes its process along; one that is only closed, at the next call."""
    with start(LOOPS, puppet, stdin=subprocess.PIPE) as service:
        assert service.stdout is not None
        pids = [int(service.stdout.readline()) for _ in range(3)]
        assert len(set(pids)) == 3
        assert service.stdout.readline() == b"done\n"
        for pid in pids:
            wait_for_end(pid)
        assert no_folders(puppet)
        service.communicate(b"\n")
    assert service.returncode == 0


def start(script: str, private: Path, **how: Any) -> subprocess.Popen[bytes]:
    """Start a service of its own that runs a puppet."""
    paths = {"PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(private)}
    command = [sys.executable, "-c", script]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=os.environ | paths, **how
    )


def wait_for_end(pid: int) -> None:
    """Wait until a process has ended; harmless if it has."""
    with contextlib.suppress(ProcessLookupError):
        handle = os.pidfd_open(pid)
        try:
            assert select.select([handle], [], [], 10)[0], "the process has not ended"
        finally:
            os.close(handle)


SERVICE = """
import asyncio, sys
from amas.providers import ProviderConfig
from amas.providers.security.sandbox.provider import SandboxedProvider

async def main():
    provider = SandboxedProvider(ProviderConfig("puppet"), factory="puppet:Puppet")
    print((await provider.generate("answer = os.getpid()"))["content"], flush=True)
    await provider.generate("while True: pass")

asyncio.run(main())
"""


def test_it_ends_with_the_service(puppet: Path) -> None:
    """Also when that is killed while the child is in an endless loop."""
    with start(SERVICE, puppet) as service:
        assert service.stdout is not None
        pid = int(service.stdout.readline())
        service.send_signal(signal.SIGKILL)
    wait_for_end(pid)


async def test_each_key_has_a_process_of_its_own(make: Make, fake_key: str) -> None:
    """Which knows that key and no other."""
    keys = [f"{fake_key}-{number}" for number in range(2)]
    first, second = make(api_keys=keys).for_each_key()
    assert [item.config.key_value for item in (first, second)] == keys
    assert second.config.api_keys == ()
    code = "answer = [key.get_secret_value()[-2:] for key in self.config.api_keys]"
    assert (await second.generate(code))["content"] == "[]"
    await second.shutdown()
    third = second.with_key(f"{fake_key}-3")
    assert third.config.key_value == f"{fake_key}-3"
    assert third.factory == second.factory


@pytest.mark.slow
async def test_litellm_runs_in_a_process_of_its_own(fake_key: str) -> None:
    """By one line of configuration; nothing else changes."""
    async with Upstream("server") as upstream:
        row = {"model": "openai/gpt-4o", "base_url": f"{upstream.url}/v1", "api_key": fake_key}
        document = {"providers": {"llm": {"mine": row | {"isolation": "process"}}}}
        async with ProviderManager.from_config(document) as manager:
            assert isinstance(manager.providers["mine"], SandboxedProvider)
            result = await manager.generate("hi")
            text = "".join([chunk.content async for chunk in manager.stream("hi")])
            report = manager.providers["mine"].report
    assert result["content"] == text == "server says: hi"
    assert result["tokens_used"] == 4
    assert result["cost_usd"] is not None
    assert report is not None
