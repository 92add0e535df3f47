"""Calls go to the side that the flag says, and none is lost; what shadow records and does not."""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import logging
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from amas.providers.errors import ProviderConfigError
from amas.providers.testing.upstream import ThreadedUpstream
from amas.services import shadowing
from amas.services.feature_flags import FeatureFlags, calling_as, in_share
from amas.services.llm_service import LLMService
from amas.services.switching import flagged, switch_of

SRC = Path(__file__).parents[3] / "src"
VARIABLE = "AMAS_PROVIDERS_FLAG_LLM_SERVICE"
PROMPT = "the-prompt-of-somebody"
ANSWER = "the-answer-to-somebody"


class Old:
    """An old implementation that does as a test says."""

    def __init__(self, config: dict[str, Any] | None = None, *, extra: object = None) -> None:
        made.append(self)
        self.config = config
        self.extra = extra
        self.models = ["old-model"]
        self.log: list[Any] = []

    async def initialize(self, *args: Any) -> None:
        self.log.append(("initialize", *args))
        await behave["start"]()

    async def generate(self, prompt: Any, n: int = 0) -> Any:
        self.log.append(n)
        return await behave["old"](prompt, n)

    def query(self, prompt: Any, n: int = 0) -> Any:
        self.log.append(n)
        return behave["old_sync"](prompt, n)

    def health(self) -> dict[str, str]:  # not a coroutine, as some old ones
        return {"status": "old"}

    def get_stats(self) -> str:
        return "old stats"

    async def close(self) -> None:
        self.log.append("close")
        await behave["old_close"]()


made: list[Old] = []
behave: dict[str, Callable[..., Any]] = {}


async def _nothing(*_: Any) -> None:
    """Do nothing."""


async def _old_answer(prompt: Any, n: int) -> Any:
    return {"success": True, "response": ANSWER, "provider": "ollama", "n": n}


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have an old module, and let everybody behave; nothing may be left running afterwards."""
    module = ModuleType("old_stub")
    module.Service = Old  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "old_stub", module)
    made.clear()
    behave.clear()
    behave.update(
        start=_nothing,
        old=_old_answer,
        new=_old_answer,
        old_sync=lambda prompt, n: f"{ANSWER} {n}",
        new_sync=lambda prompt, n: f"{ANSWER} {n}",
        old_close=_nothing,
        health=lambda: None,
    )
    yield
    ends = time.monotonic() + 5
    while left := [each for each in threading.enumerate() if each.name == "amas-shadow"]:
        gc.collect()  # slow, so only where somebody is still to be let go
        assert time.monotonic() < ends, left
        time.sleep(0.01)


class New:
    """A new implementation that does as a test says; every Kit makes a class like it."""

    def __init__(self, config: dict[str, Any] | None = None, *, extra: object = None) -> None:
        self.log: list[Any] = []
        self.models = ["new-model"]
        self._size = 1
        assert self.get_stats() == "new stats"  # nothing is switched yet

    @property
    def size(self) -> int:
        return self._size

    @size.setter
    def size(self, value: int) -> None:
        self._size = value

    async def initialize(self, *args: Any) -> None:
        self.log.append(("initialize", *args))
        self.models = ["new-model", "loaded"]
        await behave["start"]()

    async def generate(self, prompt: Any, n: int = 0) -> Any:
        """Answer."""
        self.log.append(n)
        assert self.models[0] == "new-model"
        assert await self.is_new()
        assert self.get_stats() == "new stats"
        return await behave["new"](prompt, n)

    def query(self, prompt: Any, n: int = 0) -> Any:
        self.log.append(n)
        assert self.models[0] == "new-model"
        return behave["new_sync"](prompt, n)

    async def health(self) -> dict[str, str]:
        behave["health"]()
        return {"status": "new"}

    async def is_new(self) -> bool:
        return True

    def get_stats(self) -> str:
        return "new stats"

    async def close(self) -> str:
        self.log.append("close")
        return "closed"


class Kit:
    """Flags of a test's own, and the classes and objects that obey them."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._env = monkeypatch
        self.differences = folder / "logs" / "differences.jsonl"
        self._file = folder / "c.yaml"
        monkeypatch.setenv("AMAS_PROVIDERS_CONFIG", str(self._file))
        self.flags = FeatureFlags(clock=self._clock)
        self._now = 0.0
        self.write("on")

    def _clock(self) -> float:
        self._now += 1  # every decision looks at the file
        return self._now

    def write(self, flag: str, old: str = "old_stub", share: float = 1) -> None:
        """Replace the file."""
        new = self._file.with_suffix(".new")
        new.write_text(
            f"providers: {{migration: {{llm_service: {{flag: {flag}, old: '{old}',"
            f" shadow_share: {share}, differences: '{self.differences}'}}}}}}\n"
        )
        new.replace(self._file)

    def set(self, flag: str | None) -> None:
        """Set the variable, or take it away."""
        if flag is None:
            self._env.delenv(VARIABLE, raising=False)
        else:
            self._env.setenv(VARIABLE, flag)

    def service(self, *args: Any, **kwargs: Any) -> Any:
        """Make an object of a new implementation."""
        hook = flagged(
            "llm_service",
            paid=("generate", "query"),
            free=("health",),
            plain=("get_stats", "is_new"),
            start="initialize",
            close="close",
            attributes=("models", "later", "size"),
            flags=self.flags,
        )
        members = {
            name: vars(New)[name] for name in vars(New) if name not in {"__dict__", "__weakref__"}
        }
        return hook(type("Service", (), members))(*args, **kwargs)

    def lines(self) -> list[dict[str, Any]]:
        """Return the differences in the file."""
        return [json.loads(line) for line in self.differences.read_text().splitlines()]


@pytest.fixture
def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kit:
    """Return flags of the test's own; they are on."""
    return Kit(tmp_path, monkeypatch)


def open_files() -> int:
    """Return how many files and sockets this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def until(met: Callable[[], object]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(20):
        while not met():  # noqa: ASYNC110 -- there is no event for it
            await asyncio.sleep(0.001)


async def compared(service: Any) -> None:
    """Return when everything that runs beside has ended."""
    await until(lambda: not switch_of(service)._shadow._pending)


# --- on and off -------------------------------------------------------------------------------


async def test_on_is_as_if_there_were_no_flag(kit: Kit) -> None:
    """The new one answers; the old one is not even imported, and no thread starts."""
    kit.write("on", old="does_not_exist")
    service = kit.service({"a": 1})
    await service.initialize("x")
    assert await service.generate(PROMPT, n=3) == await _old_answer(PROMPT, 3)
    assert service.query(PROMPT, 4) == f"{ANSWER} 4"
    assert (await service.health(), service.get_stats()) == ({"status": "new"}, "new stats")
    assert service.models == ["new-model", "loaded"]
    assert await service.close() == "closed"
    assert service.log == [("initialize", "x"), 3, 4, "close"]
    assert made == []
    assert not [each for each in threading.enumerate() if each.name == "amas-shadow"]
    assert switch_of(service).calls == 0


async def test_on_costs_next_to_nothing(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call through the switch takes microseconds more than one without."""
    monkeypatch.delenv("AMAS_PROVIDERS_CONFIG")
    service = kit.service()
    best = float("inf")
    for _ in range(20):
        began = time.perf_counter()
        for _ in range(20):
            await service.is_new()
        best = min(best, (time.perf_counter() - began) / 20)
    assert best < 200e-6


def test_a_class_looks_as_it_did(kit: Kit) -> None:
    """Names, signatures, docstrings and kinds of methods are those of the class."""
    cls = type(kit.service())
    assert str(inspect.signature(cls)) == (
        "(config: 'dict[str, Any] | None' = None, *, extra: 'object' = None) -> 'None'"
    )
    assert str(inspect.signature(cls.generate)) == "(self, prompt: 'Any', n: 'int' = 0) -> 'Any'"
    assert inspect.iscoroutinefunction(cls.generate)
    assert not inspect.iscoroutinefunction(cls.query)
    assert (cls.__name__, cls.generate.__doc__) == ("Service", "Answer.")
    assert cls.models is inspect.getattr_static(cls, "models")


async def test_off_is_the_old_one(kit: Kit) -> None:
    """The old one is made with the same arguments, and answers everything; the new one rests."""
    kit.write("off")
    config = {"a": 1}
    service = kit.service(config, extra=config)
    await service.initialize("x")
    assert (await service.generate(PROMPT, 3))["n"] == 3
    assert service.query(PROMPT, n=4) == f"{ANSWER} 4"
    assert (await service.health(), service.get_stats()) == ({"status": "old"}, "old stats")
    assert await service.is_new()  # the old one never had it, so the new one answers
    await service.close()
    (old,) = made
    assert (old.config, old.extra) == (config, config)
    assert old.config is config
    assert old.log == [("initialize", "x"), 3, 4, "close"]
    assert service.log == ["close"]


async def test_a_share_of_the_callers_gets_the_new_one(kit: Kit) -> None:
    """Who says nothing is one caller per object, and the names decide for those who do."""
    kit.write("50%")
    service = kit.service()
    for _ in range(3):
        for number in range(40):
            with calling_as(f"agent-{number}"):
                await service.generate(PROMPT, number)
    new = [number for number in range(40) if in_share("llm_service", f"agent-{number}", 50)]
    assert service.log == new * 3
    assert sorted([*made[0].log, *service.log]) == sorted([*range(40)] * 3)

    services = [kit.service() for _ in range(60)]
    for each in services:
        for n in range(2):
            await each.generate(PROMPT, n)
    sides = [len(each.log) for each in services]
    assert set(sides) == {0, 2}
    assert 10 < sides.count(2) < 50


# --- the old one cannot be had ----------------------------------------------------------------


@pytest.fixture
def broken_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have modules that cannot be imported."""
    (tmp_path / "broken_old_a.py").write_text("import not_installed_sdk\n")
    (tmp_path / "broken_old_b.py").write_text("raise RuntimeError('no key set')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("broken_old_a", None)


BROKEN = [
    ("does_not_exist", "ModuleNotFoundError: No module named 'does_not_exist'"),
    ("broken_old_a", "No module named 'not_installed_sdk'"),
    ("broken_old_b", "RuntimeError: no key set"),
    ("old_stub:Nobody", "has no attribute 'Nobody'"),
    ("amas.services.llm_service:LLMService", "this is the new implementation itself"),
]


@pytest.mark.parametrize(("path", "why"), BROKEN)
async def test_off_without_an_old_one_says_what_to_set(
    kit: Kit, broken_modules: None, path: str, why: str
) -> None:
    """Every use raises an error that names the setting and the reason, until it is mended."""
    kit.write("off", old=path)
    service = kit.service()

    async def generate() -> None:
        await service.generate(PROMPT)

    async def query() -> None:
        service.query(PROMPT)

    async def attribute() -> None:
        _ = service.models

    for use in (generate, query, attribute):
        with pytest.raises(ProviderConfigError) as caught:
            await use()
        assert str(caught.value).startswith("providers.migration.llm_service.old: the old Service")
        assert why in str(caught.value)
        assert "set the flag llm_service to on" in str(caught.value)
    kit.write("off")
    assert (await service.generate(PROMPT))["n"] == 0
    assert service.log == []
    await service.close()


@pytest.mark.parametrize("flag", ["shadow", "0%"])
@pytest.mark.parametrize(("path", "why"), BROKEN)
async def test_shadow_and_shares_go_on_with_the_new_one(
    kit: Kit,
    broken_modules: None,
    caplog: pytest.LogCaptureFixture,
    flag: str,
    path: str,
    why: str,
) -> None:
    """The new one answers everything, and the log says once why."""
    kit.write(flag, old=path)
    service = kit.service()
    with caplog.at_level(logging.ERROR, "amas.services.flags"):
        for n in range(3):
            assert (await service.generate(PROMPT, n))["n"] == n
            assert service.query(PROMPT, n) == f"{ANSWER} {n}"
        assert service.models == ["new-model"]
    assert service.log == [0, 0, 1, 1, 2, 2]
    (record,) = caplog.records
    assert "the new implementation answers instead of the old" in record.message
    assert "providers.migration.llm_service.old" in record.message
    assert why.partition("'")[0] in record.message
    assert switch_of(service).calls == 0
    await service.close()


async def test_callers_who_miss_the_old_one_together_are_all_answered(
    kit: Kit, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has one line for all of them."""
    kit.write("shadow", old="does_not_exist")
    service = kit.service()
    answers = await asyncio.gather(*(service.generate(PROMPT, n) for n in range(10)))
    assert [answer["n"] for answer in answers] == [*range(10)]
    assert caplog.text.count("instead of the old") == 1


async def test_an_old_one_that_cannot_be_made(kit: Kit, caplog: pytest.LogCaptureFixture) -> None:
    """Off raises what its constructor raises; shadow goes on with the new one and says so once."""

    class Unmakable:
        def __init__(self, *_: Any, **__: Any) -> None:
            raise LookupError("No active AI providers configured")

    sys.modules["old_stub"].Service = Unmakable  # type: ignore[attr-defined]
    kit.write("off")
    service = kit.service()
    for _ in range(2):
        with pytest.raises(LookupError, match="No active AI providers configured"):
            await service.generate(PROMPT)
    kit.set("shadow")
    assert [(await service.generate(PROMPT, n))["n"] for n in range(3)] == [0, 1, 2]
    assert sum("No active AI" in record.message for record in caplog.records) == 1


async def test_off_in_the_variable_alone_has_a_place_to_look(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any file the old module is looked for where the convention has it."""
    monkeypatch.delenv("AMAS_PROVIDERS_CONFIG")
    kit.set("off")
    service = kit.service()
    with pytest.raises(ProviderConfigError, match=r"'legacy\.llm_service'"):
        await service.generate(PROMPT)
    monkeypatch.setitem(sys.modules, "legacy", ModuleType("legacy"))
    monkeypatch.setitem(sys.modules, "legacy.llm_service", sys.modules["old_stub"])
    assert (await service.generate(PROMPT))["n"] == 0
    assert len(made) == 1


# --- shadow -----------------------------------------------------------------------------------


async def _failing_old(prompt: Any, n: int) -> Any:
    if n % 10 == 9:
        raise TimeoutError(f"{ANSWER} timed out")
    return {"success": True, "response": f"{ANSWER} {n}", "provider": "ollama"}


async def _differing_new(prompt: Any, n: int) -> Any:
    if n % 50 == 7:
        raise ValueError(PROMPT)
    answer = dict(await _failing_old(prompt, n))
    if n % 11 == 0:
        answer["response"] = "another answer"
    if n % 13 == 0:
        answer["extra"] = None
    if n % 17 == 0:
        answer = {"success": False, "error": "HTTP 503", "provider": "ollama"}
    return answer


async def test_shadow_records_every_difference_and_changes_no_answer(
    kit: Kit, caplog: pytest.LogCaptureFixture
) -> None:
    """Of 1,000 calls, those that differ are recorded, by file and log, without a word of them."""

    async def ask(n: int) -> Any:
        return await service.generate(PROMPT, n=n)

    behave.update(old=_failing_old, new=_differing_new)
    kit.write("shadow", share=1)
    service = kit.service()
    with caplog.at_level(logging.INFO, "amas.services.shadow"):
        answers: list[Any] = []
        for first in range(0, 1000, 250):
            calls = (ask(n) for n in range(first, first + 250))
            answers += await asyncio.gather(*calls, return_exceptions=True)
        await compared(service)
    for n, answer in enumerate(answers):
        if n % 10 == 9:
            assert isinstance(answer, TimeoutError)
        else:
            assert answer == {"success": True, "response": f"{ANSWER} {n}", "provider": "ollama"}

    whole = {n for n in range(1000) if n % 10 != 9}  # both raise the same otherwise
    expected = {
        "raised": {n for n in range(1000) if n % 50 == 7},
        "content": {n for n in whole if n % 11 == 0 or n % 17 == 0 or n % 50 == 7},
        "added_keys": {n for n in whole if n % 50 != 7 and (n % 13 == 0 or n % 17 == 0)},
        "success": {n for n in whole if n % 50 == 7 or n % 17 == 0},
    }
    switch = switch_of(service)
    assert (switch.calls, switch.mirrored, switch.dropped) == (1000, 1000, 0)
    assert switch.differences == len(set().union(*expected.values()))
    assert {part: switch.differing[part] for part in expected} == {
        part: len(numbers) for part, numbers in expected.items()
    }

    lines = kit.lines()
    assert len(lines) == switch.differences
    assert stat.S_IMODE(kit.differences.stat().st_mode) == 0o600
    records = [json.loads(each.message) for each in caplog.records]
    assert sorted(map(str, records)) == sorted(map(str, lines))
    assert {(line["service"], line["method"]) for line in lines} == {("llm_service", "generate")}
    assert all(line["old"]["latency_ms"] >= 0 for line in lines)
    shown = kit.differences.read_text() + caplog.text
    assert PROMPT not in shown
    assert ANSWER not in shown
    await service.close()


@pytest.mark.parametrize(("share", "expected"), [(0.05, 50), (0, 0), (0.3, 300), (1, 1000)])
async def test_the_share_bounds_what_is_paid_twice(kit: Kit, share: float, expected: int) -> None:
    """At no moment more than the share is mirrored, and in the end just the share."""
    kit.write("shadow", share=share)
    service = kit.service()
    switch = switch_of(service)
    for n in range(1000):
        await service.generate(PROMPT, n)
        assert switch.mirrored <= share * switch.calls + 1e-6
    assert (switch.calls, switch.mirrored, switch.dropped) == (1000, expected, 0)
    await compared(service)
    assert len(service.log) == expected
    assert made[0].log == [*range(1000)]
    await service.close()


async def test_a_share_that_changes_is_not_made_up_for(kit: Kit) -> None:
    """A larger share counts from the next call on."""
    kit.write("shadow", share=0)
    service = kit.service()
    for n in range(100):
        await service.generate(PROMPT, n)
    kit.write("shadow", share=0.5)
    for n in range(100):
        await service.generate(PROMPT, n)
    assert switch_of(service).mirrored == 50
    await service.close()


async def test_what_costs_nothing_is_always_compared(kit: Kit) -> None:
    """The share is for what may be paid; and statistics are never asked twice."""
    asked: list[int] = []
    behave["health"] = lambda: asked.append(1)
    kit.write("shadow", share=0)
    service = kit.service()
    for _ in range(5):
        assert await service.health() == {"status": "old"}
        assert service.get_stats() == "old stats"
    await compared(service)
    switch = switch_of(service)
    assert (switch.calls, switch.mirrored, switch.differences) == (0, 0, 0)  # the same form
    assert asked == [1] * 5
    await service.close()


async def test_a_slow_or_hanging_new_one_delays_nobody(kit: Kit) -> None:
    """The old answer comes at once, and close gives the other a while and ends it."""
    ended: list[str] = []

    async def hang(prompt: Any, n: int) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    behave["new"] = hang
    kit.write("shadow")
    service = kit.service()
    began = time.monotonic()
    for n in range(50):
        assert (await service.generate(PROMPT, n))["n"] == n
    assert time.monotonic() - began < 5
    assert 1 <= len(service.log) <= 8  # the others wait
    files = open_files()
    assert await service.close() == "closed"
    assert time.monotonic() - began < 10
    assert ended == ["cancelled"] * 8
    assert switch_of(service).differences == 0
    assert not [each for each in threading.enumerate() if each.name == "amas-shadow"]
    assert open_files() < files
    assert len(asyncio.all_tasks()) == 1
    assert (await service.generate(PROMPT, 77))["n"] == 77  # old, and nothing beside
    assert switch_of(service).dropped == 1


async def test_beyond_a_number_nothing_waits(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """What would wait too long is dropped and counted, instead of piling up."""
    monkeypatch.setattr(shadowing, "_MOST_PENDING", 10)
    gate = threading.Event()
    running: list[int] = [0, 0]

    async def wait(prompt: Any, n: int) -> None:
        running[0] += 1
        running[1] = max(running)
        await until(gate.is_set)
        running[0] -= 1

    behave["new"] = wait
    kit.write("shadow")
    service = kit.service()
    for n in range(30):
        await service.generate(PROMPT, n)
    gate.set()
    await compared(service)
    switch = switch_of(service)
    assert (switch.calls, switch.mirrored, switch.dropped) == (30, 10, 20)
    assert running == [0, 8]
    await service.close()


async def test_the_new_one_gets_copies(kit: Kit) -> None:
    """What it does to its arguments, or the old one to those of its making, stays its own."""

    async def spoil(messages: Any, n: int) -> None:
        messages.append("spoilt")

    behave["new"] = spoil
    kit.write("shadow")
    config: dict[str, Any] = {"nested": []}
    lock = threading.Lock()
    service = kit.service(config)
    shared = kit.service(config, extra=lock)
    messages = ["one"]
    await service.generate(messages)
    await compared(service)
    assert messages == ["one"]
    assert made[0].config == config
    assert made[0].config is not config
    await shared.generate(messages, n=1)
    assert made[1].extra is lock  # what cannot be copied is shared
    await compared(shared)
    log = list(shared.log)
    await shared.generate([lock], n=2)  # and is not used twice
    await compared(shared)
    assert shared.log == log == [1]
    await service.close()
    await shared.close()


async def test_a_caller_who_goes_away_takes_the_shadow_along(kit: Kit) -> None:
    """Cancelled, the old call and the one beside end, and nothing is recorded."""
    ended: list[str] = []

    def hanging(side: str) -> Callable[..., Any]:
        async def hang(prompt: Any, n: int) -> None:
            try:
                await asyncio.sleep(60)
            finally:
                ended.append(side)

        return hang

    behave.update(old=hanging("old"), new=hanging("new"))
    kit.write("shadow")
    service = kit.service()
    call = asyncio.create_task(service.generate(PROMPT))
    await until(lambda: service.log and made and made[0].log)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await until(lambda: len(ended) == 2)
    assert sorted(ended) == ["new", "old"]
    await compared(service)
    assert switch_of(service).differences == 0
    await service.close()


async def test_a_caller_who_goes_away_before_the_shadow_begins(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mirror that was dropped has nothing to end."""
    monkeypatch.setattr(shadowing, "_MOST_PENDING", 0)

    async def hang(prompt: Any, n: int) -> None:
        await asyncio.sleep(60)

    behave["old"] = hang
    kit.write("shadow")
    service = kit.service()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(service.generate(PROMPT), 0.05)
    assert (switch_of(service).dropped, service.log) == (1, [])


def test_callers_with_a_loop_for_each_call_are_compared(kit: Kit) -> None:
    """The shadow outlives asyncio.run, and serves many threads at once."""

    async def differ(prompt: Any, n: int) -> str:
        await asyncio.sleep(0.001)
        return "other"

    behave["new"] = differ
    kit.write("shadow")
    service = kit.service()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: asyncio.run(service.generate(PROMPT, n)), range(64)))
    assert [answer["n"] for answer in answers] == [*range(64)]
    asyncio.run(compared(service))
    assert (switch_of(service).mirrored, switch_of(service).differences) == (64, 64)
    assert len(kit.lines()) == 64
    asyncio.run(service.close())


def test_synchronous_calls_are_compared_as_well(kit: Kit) -> None:
    """With or without a loop the old one's answer and exceptions come through, compared."""
    behave["new_sync"] = lambda prompt, n: n
    kit.write("shadow")
    service = kit.service()
    assert service.query(PROMPT, 1) == f"{ANSWER} 1"

    async def inside() -> str:
        return str(service.query(PROMPT, 2))

    assert asyncio.run(inside()) == f"{ANSWER} 2"

    def fail(prompt: Any, n: int) -> None:
        raise LookupError("nobody")

    behave["old_sync"] = fail
    with pytest.raises(LookupError, match="nobody"):
        service.query(PROMPT, 3)
    asyncio.run(compared(service))
    assert switch_of(service).differing["type"] == 3
    assert switch_of(service).differing["raised"] == 1

    def interrupt(prompt: Any, n: int) -> None:
        raise KeyboardInterrupt

    behave["old_sync"] = interrupt
    with pytest.raises(KeyboardInterrupt):
        service.query(PROMPT, 4)
    asyncio.run(compared(service))
    assert switch_of(service).differences == 3
    asyncio.run(service.close())


async def test_a_file_that_cannot_be_written_is_said_once(
    kit: Kit, caplog: pytest.LogCaptureFixture
) -> None:
    """The differences go to the log all the same."""
    kit.differences.parent.write_text("this is no folder")

    async def differ(prompt: Any, n: int) -> str:
        return "other"

    behave["new"] = differ
    kit.write("shadow")
    service = kit.service()
    with caplog.at_level(logging.INFO, "amas.services.shadow"):
        for n in range(3):
            await service.generate(PROMPT, n)
        await compared(service)
    levels = [record.levelname for record in caplog.records]
    assert (levels.count("INFO"), levels.count("ERROR")) == (3, 1)
    await service.close()


async def test_without_a_file_the_log_has_the_differences(
    kit: Kit, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No file appears that nobody asked for."""
    monkeypatch.delenv("AMAS_PROVIDERS_CONFIG")
    monkeypatch.setitem(sys.modules, "legacy", ModuleType("legacy"))
    monkeypatch.setitem(sys.modules, "legacy.llm_service", sys.modules["old_stub"])
    kit.set("shadow")

    async def differ(prompt: Any, n: int) -> str:
        return "other"

    behave["new"] = differ
    service = kit.service()
    with caplog.at_level(logging.INFO, "amas.services.shadow"):
        for n in range(40):
            await service.generate(PROMPT, n)
        await compared(service)
    assert len(caplog.records) == switch_of(service).differences == 2  # a twentieth of them
    assert not kit.differences.exists()
    await service.close()


async def test_a_comparison_that_fails_surfaces_nowhere(
    kit: Kit, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The answer is there, and the log says what happened."""

    def fail(_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(shadowing, "sketch", fail)
    kit.write("shadow")
    service = kit.service()
    assert (await service.generate(PROMPT, 1))["n"] == 1
    await compared(service)
    assert "a comparison failed error=" in caplog.text
    await service.close()


async def test_the_recorded_answer_is_the_one_that_was_given(kit: Kit) -> None:
    """What the caller does to an answer afterwards is no difference."""
    gate = threading.Event()

    async def late(prompt: Any, n: int) -> Any:
        await asyncio.to_thread(gate.wait, 10)
        return await _old_answer(prompt, n)

    behave["new"] = late
    kit.write("shadow")
    service = kit.service()
    answer = await service.generate(PROMPT, 1)
    answer.clear()
    gate.set()
    await compared(service)
    assert switch_of(service).differences == 0
    await service.close()


def test_nobody_has_to_close_it(kit: Kit) -> None:
    """A service that is dropped takes the thread beside along, whichever thread drops it."""
    kit.write("shadow")
    service = kit.service()
    asyncio.run(service.generate(PROMPT))
    asyncio.run(compared(service))
    (thread,) = [each for each in threading.enumerate() if each.name == "amas-shadow"]
    del service
    made.clear()
    gc.collect()
    thread.join(5)
    assert not thread.is_alive()


def test_the_thread_beside_may_end_itself() -> None:
    """The last call may hold the last reference to its shadow."""
    home = shadowing._Home()
    home.start()
    home.loop.call_soon_threadsafe(home.stop, 0.0)
    home._thread.join(5)
    assert not home._thread.is_alive()
    home.stop(0.0)  # once more is harmless


def test_what_does_not_end_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that ignores its cancellation holds nobody up for long."""
    monkeypatch.setattr(shadowing, "_LONGEST_END", 0.05)
    gate = threading.Event()

    async def stubborn() -> None:
        while not gate.is_set():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue

    home = shadowing._Home()
    home.start()
    asyncio.run_coroutine_threadsafe(stubborn(), home.loop)
    began = time.monotonic()
    home.stop(0.0)
    assert time.monotonic() - began < 2
    gate.set()
    home._thread.join(5)
    assert not home._thread.is_alive()


async def test_a_forked_process_has_a_thread_of_its_own(kit: Kit) -> None:
    """What a parent process runs beside is not there in its child, which makes another."""
    kit.write("shadow")
    service = kit.service()
    await service.generate(PROMPT)
    await compared(service)
    parents = switch_of(service)._shadow._home
    assert parents is not None
    parents.process = -1
    parents.stop(0.0)  # not ours: nothing happens
    assert parents._thread.is_alive()
    await service.generate(PROMPT)
    await compared(service)
    assert len(service.log) == 2
    await service.close()
    parents.process = os.getpid()
    await asyncio.to_thread(parents.stop, 0.0)


# --- switching --------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["variable", "file"])
def test_switching_under_traffic_loses_no_call(kit: Kit, by: str) -> None:
    """While flags change, calls from eight threads with loops of their own are all answered."""

    def answer(side: str) -> Callable[..., Any]:
        async def work(prompt: Any, n: int) -> tuple[str, int]:
            await asyncio.sleep(0.001 * (n % 3))
            return side, n

        return work

    behave.update(old=answer("old"), new=answer("new"))
    service = kit.service()
    done = threading.Event()

    def toggle() -> None:
        while not done.is_set():
            for flag in ("off", "30%", "shadow", "on"):
                if by == "file":
                    kit.write(flag)
                else:
                    kit.set(flag)
                time.sleep(0.003)

    async def traffic(first: int) -> list[tuple[str, int]]:
        answers = []
        for batch in range(first, first + 200, 20):
            answers += await asyncio.gather(
                *(service.generate(PROMPT, n) for n in range(batch, batch + 20))
            )
        return answers

    toggler = threading.Thread(target=toggle)
    toggler.start()
    try:
        asyncio.run(service.initialize())
        with ThreadPoolExecutor(8) as pool:
            parts = pool.map(lambda first: asyncio.run(traffic(first)), range(0, 1600, 200))
            answers = [each for part in parts for each in part]
    finally:
        done.set()
        toggler.join()
    assert [n for _, n in answers] == [*range(1600)]
    assert {side for side, _ in answers} == {"old", "new"}
    kit.set(None)
    asyncio.run(service.close())
    (old,) = made  # one for all threads
    starts = [("initialize",)]
    assert [each for each in old.log if isinstance(each, tuple)] == starts
    assert [each for each in service.log if isinstance(each, tuple)] == starts


async def test_a_call_ends_where_it_began(kit: Kit) -> None:
    """A flag that changes in the middle of a call does not move it."""
    gate = asyncio.Event()

    async def wait(prompt: Any, n: int) -> str:
        await gate.wait()
        return "old"

    behave["old"] = wait
    kit.set("off")
    service = kit.service()
    call = asyncio.create_task(service.generate(PROMPT))
    await until(lambda: made and made[0].log)
    kit.set("on")
    assert (await service.generate(PROMPT, 5))["n"] == 5
    gate.set()
    assert await call == "old"
    await service.close()


@pytest.mark.parametrize(("first", "second"), [("on", "off"), ("off", "on"), ("on", "shadow")])
async def test_the_other_side_is_started_when_it_is_needed(
    kit: Kit, first: str, second: str
) -> None:
    """A service that was initialized is so on both sides, once, before the first call there."""
    kit.set(first)
    service = kit.service()
    await service.initialize("x")
    kit.set(second)
    started = asyncio.Event()
    sides: list[str] = []

    async def slow() -> None:
        sides.append("starting")
        await asyncio.sleep(0.02)
        sides.append("started")
        started.set()

    async def generate(prompt: Any, n: int) -> int:
        assert started.is_set()
        return n

    behave.update(start=slow, old=generate, new=generate)
    assert await asyncio.gather(*(service.generate(PROMPT, n) for n in range(5))) == [*range(5)]
    assert sides == ["starting", "started"]
    await service.close()
    late = made[0].log if second != "on" else service.log
    assert late[0] == ("initialize", "x")
    assert late.count(("initialize", "x")) == 1


async def test_shadow_starts_the_new_one_before_it_is_compared(kit: Kit) -> None:
    """A caller initializes the old one, and the new one is initialized beside."""
    kit.set("shadow")
    service = kit.service()
    await service.initialize("x")
    assert service.log == []
    await service.generate(PROMPT, 1)
    await service.generate(PROMPT, 2)
    await compared(service)
    assert service.log[0] == ("initialize", "x")
    assert sorted(service.log[1:]) == [1, 2]
    await service.close()


async def test_a_start_that_fails_is_logged_and_not_repeated(
    kit: Kit, caplog: pytest.LogCaptureFixture
) -> None:
    """Its calls show what is wrong; and an old one without such a method needs none."""

    async def fail() -> None:
        raise OSError("no network")

    service = kit.service()
    await service.initialize()
    kit.set("off")
    behave["start"] = fail
    for n in range(2):
        assert (await service.generate(PROMPT, n))["n"] == n
    assert caplog.text.count("could not be started") == 1
    assert made[0].log == [("initialize",), 0, 1]

    class Plain:
        async def generate(self, prompt: Any, n: int = 0) -> str:
            return "plain"

    sys.modules["old_stub"].Plain = Plain  # type: ignore[attr-defined]
    kit.write("off", old="old_stub:Plain")
    assert await service.generate(PROMPT) == "plain"
    await service.close()
    assert made[0].log[-1] == "close"


async def test_a_start_that_is_cancelled_is_tried_again(kit: Kit) -> None:
    """Whoever waits for it does the start instead of who went away."""
    attempts: list[int] = []

    async def slow() -> None:
        attempts.append(1)
        await asyncio.sleep(60 if len(attempts) == 1 else 0)

    service = kit.service()
    await service.initialize()
    kit.set("off")
    behave["start"] = slow
    first = asyncio.create_task(service.generate(PROMPT, 1))
    await until(lambda: attempts)
    second, third = (asyncio.create_task(service.generate(PROMPT, n)) for n in (2, 3))
    await asyncio.sleep(0.02)
    third.cancel()  # who only waits disturbs nobody
    await asyncio.sleep(0.02)
    first.cancel()
    assert (await second)["n"] == 2
    for task in (first, third):
        with pytest.raises(asyncio.CancelledError):
            await task
    assert len(attempts) == 2
    await service.close()


# --- attributes and close ---------------------------------------------------------------------


async def test_attributes_are_those_of_whoever_answers(kit: Kit) -> None:
    """They are read from the side in use, and set on it and on the new one."""
    service = kit.service()
    assert (service.models, service.size) == (["new-model"], 1)
    with pytest.raises(AttributeError, match="'Service' object has no attribute 'later'"):
        _ = service.later
    service.size = 2
    kit.set("off")
    assert service.models == ["old-model"]
    with pytest.raises(AttributeError, match="later"):
        _ = service.later
    service.models = ["mine"]
    service.size = 3
    assert (made[0].models, made[0].size) == (["mine"], 3)  # type: ignore[attr-defined]
    kit.set("on")
    assert (service.models, service.size) == (["mine"], 3)
    service.later = 1
    assert service.later == 1
    assert not hasattr(made[0], "later")
    await service.close()


async def test_close_closes_both_sides(kit: Kit, caplog: pytest.LogCaptureFixture) -> None:
    """Every old object that was made is closed, whatever the flag says now; errors are logged."""

    async def fail() -> None:
        raise OSError("still busy")

    kit.write("off")
    service = kit.service()
    await service.generate(PROMPT)
    kit.write("off", old="old_stub:Service")
    await service.generate(PROMPT)
    kit.set("on")
    behave["old_close"] = fail
    assert await service.close() == "closed"
    assert [old.log for old in made] == [[0, "close"], [0, "close"]]
    assert caplog.text.count("the old implementation could not be closed") == 2
    assert await service.close() == "closed"


def test_a_subclass_that_makes_itself_is_left_alone(kit: Kit) -> None:
    """Without the constructor of its parent it has no flag, and works."""

    class Child(type(kit.service())):  # type: ignore[misc]
        def __init__(self) -> None:
            self.log: list[Any] = []
            self.models = ["new-model"]

    kit.write("off")
    child = Child()
    assert asyncio.run(child.generate(PROMPT, 3))["n"] == 3
    assert child.models == ["new-model"]


def test_a_class_without_start_and_close(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service need have neither."""

    @flagged("llm_service", plain=("get_stats",), flags=kit.flags)
    class Service:
        def get_stats(self) -> str:
            return "new stats"

    assert Service().get_stats() == "new stats"
    kit.set("off")
    kit.write("off", old="old_stub:Service")
    assert Service().get_stats() == "old stats"


# --- the service itself, over HTTP ------------------------------------------------------------

OLD_SERVICE = """
import httpx

class LLMService:
    def __init__(self, config):
        self.base_url = config["llm_service_url"]
        self.models, self.current_model = [], None

    async def initialize(self):
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"{self.base_url}/api/tags")
        self.models = [each["name"] for each in answer.json()["models"]]
        self.current_model = self.models[0]

    async def generate_response(
        self, prompt, model=None, temperature=0.7, max_tokens=1000, provider="ollama"
    ):
        if self.current_model is None:
            return {"success": False, "error": "No model available", "provider": provider}
        async with httpx.AsyncClient() as client:
            body = {"model": self.current_model, "prompt": "by the old one: " + prompt, "stream": False}
            answer = await client.post(f"{self.base_url}/api/generate", json=body)
        text = answer.json()["response"]
        return {"success": True, "response": text, "model": self.current_model, "provider": provider}

    async def health_check(self):
        return {"status": "healthy", "timestamp": "", "service": "llm"}

    async def close(self):
        self.models = []
"""


@pytest.fixture
def old_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the old service where the convention puts it."""
    (tmp_path / "legacy").mkdir()
    (tmp_path / "legacy" / "llm_service.py").write_text(OLD_SERVICE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in ("legacy", "legacy.llm_service"):
        sys.modules.pop(name, None)


@pytest.fixture
def ollama() -> Iterator[ThreadedUpstream]:
    """Run a server that looks like Ollama."""
    with ThreadedUpstream("ollama") as server:
        yield server


async def test_the_service_obeys_its_flag(
    ollama: ThreadedUpstream, old_service: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over HTTP, one object answers by its old and its new implementation, as the flag says."""
    service = LLMService({"llm_service_url": ollama.url})
    await service.initialize()
    assert (await service.generate_response("hello"))["response"] == "ollama says: hello"
    assert service.models == ["test-model"]
    monkeypatch.setenv(VARIABLE, "off")
    result = await service.generate_response("hello")
    assert result == {
        "success": True,
        "response": "ollama says: by the old one: hello",
        "model": "test-model",
        "provider": "ollama",
    }
    assert await service.health_check() == {"status": "healthy", "timestamp": "", "service": "llm"}
    assert service.current_model == "test-model"
    # The old one never had it, so the new one answers.
    assert await service.generate("hello") == "ollama says: hello"
    monkeypatch.setenv(VARIABLE, "on")
    assert await service.generate("hello") == "ollama says: hello"
    await service.close()


async def test_the_service_in_the_shadow(
    ollama: ThreadedUpstream,
    old_service: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A twentieth of the calls reaches the upstream twice, and the answers are the old ones."""
    monkeypatch.setenv(VARIABLE, "shadow")
    service = LLMService({"llm_service_url": ollama.url})
    await service.initialize()
    with caplog.at_level(logging.INFO, "amas.services.shadow"):
        results = await asyncio.gather(*(service.generate_response("hello") for _ in range(40)))
        await compared(service)
    assert {each["response"] for each in results} == {"ollama says: by the old one: hello"}
    asked = [each for each in ollama.requests if each.path != "/api/tags"]
    assert len(asked) == 42
    assert switch_of(service).mirrored == switch_of(service).differences == 2
    records = [json.loads(each.message) for each in caplog.records if each.name.endswith("shadow")]
    assert [each["method"] for each in records] == ["generate_response"] * 2
    assert {"added_keys", "content"} <= set(records[0]["differs"])
    await service.close()


NAMES = {
    "llm_service": SRC / "amas" / "services",
    "services.llm_service": SRC / "amas",
    "src.amas.services.llm_service": SRC.parent,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_flag_holds_under_every_name_of_the_service(
    name: str, ollama: ThreadedUpstream, tmp_path: Path, old_service: None
) -> None:
    """Off, shadow and a share find the old one where the service is imported by another name."""
    program = f"""
import asyncio, os, sys
sys.path[:] = [{str(NAMES[name])!r}, {str(tmp_path)!r}] + [
    item for item in sys.path if not item.startswith({str(SRC)!r})
]
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
from {name} import LLMService

async def main():
    service = LLMService({{"llm_service_url": {ollama.url!r}}})
    for flag in ("off", "shadow", "0%"):
        os.environ[{VARIABLE!r}] = flag
        await service.initialize()
        print((await service.generate_response("hello"))["response"])
    print(service.models)
    await service.close()

asyncio.run(main())
"""
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd="/",
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    answers = ["ollama says: by the old one: hello"] * 3
    assert ended.stdout.splitlines() == [*answers, "['test-model']"]
