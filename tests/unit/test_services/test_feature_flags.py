"""Which implementation answers: flags of the environment and the file, shares and callers."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from blockbuster import BlockBuster

from amas.config.migration_schema import (
    Flag,
    FlagMode,
    MigrationSettings,
    ServiceMigration,
    parse_flag,
)
from amas.config.provider_settings import load_migration
from amas.providers.testing.fake_provider import FakeClock
from amas.services import feature_flags
from amas.services.feature_flags import (
    Choice,
    FeatureFlags,
    calling_as,
    current_caller,
    in_share,
)

ROOT = Path(__file__).parents[3]
CALLERS = [f"agent-{number}" for number in range(10_000)]
VARIABLE = "AMAS_PROVIDERS_FLAG_LLM_SERVICE"


@pytest.fixture
def clock() -> FakeClock:
    """Return a clock that stands still."""
    return FakeClock()


@pytest.fixture
def flags(clock: FakeClock) -> FeatureFlags:
    """Return flags of a test's own."""
    return FeatureFlags(clock)


class ConfigFile:
    """A configuration file that flags are taken from."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        monkeypatch.setenv("AMAS_PROVIDERS_CONFIG", str(path))

    def write(self, migration: str, rest: str = "") -> None:
        """Replace the file, as editors and deployments do."""
        new = self.path.with_suffix(".new")
        new.write_text(f"providers:\n  migration: {migration}\n{rest}")
        new.replace(self.path)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ConfigFile:
    """Return the file that the environment names; it is not there yet."""
    return ConfigFile(tmp_path / "c.yaml", monkeypatch)


def choice(flags: FeatureFlags, caller: str = "a", service: str = "llm_service") -> str:
    """Return who answers a caller."""
    return flags.decide(service, caller).choice


# --- flags ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "flag"),
    [
        ("off", Flag(FlagMode.OFF)),
        ("On", Flag(FlagMode.ON)),
        (" SHADOW\n", Flag(FlagMode.SHADOW)),
        ("false", Flag(FlagMode.OFF)),
        ("1", Flag(FlagMode.ON)),
        ("30%", Flag(FlagMode.SHARE, 30)),
        ("12.5 %", Flag(FlagMode.SHARE, 12.5)),
        ("0%", Flag(FlagMode.SHARE, 0)),
        ("100%", Flag(FlagMode.SHARE, 100)),
    ],
)
def test_a_flag_is_a_word_or_a_share(text: str, flag: Flag) -> None:
    """Off, on, shadow and N% are read whatever their letters and the space around them."""
    assert parse_flag(text) == flag
    assert feature_flags.parse_flag is parse_flag


@pytest.mark.parametrize("text", ["", "30", "101%", "-1%", "%", "1e1%", "shadwo", "30%%", "٣%"])
def test_anything_else_is_no_flag(text: str) -> None:
    """What is no flag is refused with what it may be."""
    with pytest.raises(ValueError, match="off, on, shadow or a share such as 30%"):
        parse_flag(text)


# --- shares -----------------------------------------------------------------------------------


def test_a_share_has_its_size_and_is_sticky() -> None:
    """30% are 30% of ten thousand callers, within 3, and the same ones each time."""
    chosen = {caller for caller in CALLERS if in_share("llm_service", caller, 30)}
    assert 2_700 <= len(chosen) <= 3_300
    assert chosen == {caller for caller in CALLERS if in_share("llm_service", caller, 30)}


def test_raising_a_share_only_adds_callers() -> None:
    """Whoever is among the first 30% is among 40%, up to everybody; at 0% nobody is."""
    before: set[str] = set()
    for percent in (0, 0.01, 30, 40, 99.9, 100):
        chosen = {caller for caller in CALLERS if in_share("llm_service", caller, percent)}
        assert before <= chosen
        assert abs(len(chosen) - 100 * percent) <= 300
        before = chosen
        assert chosen or percent < 1
    assert len(before) == len(CALLERS)
    assert not any(in_share("llm_service", caller, 0) for caller in CALLERS)


def test_a_share_is_the_same_in_every_process_and_another_for_every_service() -> None:
    """It depends neither on the process's hash seed nor on what else was asked."""
    code = (
        "from amas.services.feature_flags import in_share;"
        "print([in_share('llm_service', f'agent-{i}', 30) for i in range(50)])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    expected = [in_share("llm_service", f"agent-{i}", 30) for i in range(50)]
    assert done.stdout.strip() == str(expected)
    others = [in_share("universal_ai_manager", f"agent-{i}", 30) for i in range(50)]
    assert others != expected
    assert in_share("llm_service", "\ud800", 100)


def test_a_caller_is_named_where_it_calls() -> None:
    """The name holds inside of the block, also in tasks that begin there, and nests."""

    async def name() -> str | None:
        return current_caller()

    assert current_caller() is None
    with calling_as("agent-7"):
        assert asyncio.run(name()) == "agent-7"
        with calling_as("agent-8"):
            assert current_caller() == "agent-8"
        assert current_caller() == "agent-7"
    assert current_caller() is None


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the modules of the services be imported by their bare names, and forget them."""
    folder = str(ROOT / "src" / "amas" / "services")
    monkeypatch.syspath_prepend(folder)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if folder in str(getattr(sys.modules[name], "__file__", "")) and "." not in name:
            del sys.modules[name]


def test_a_caller_is_known_under_every_name_of_the_module(bare: None) -> None:
    """A name given by amas.services.feature_flags counts for a service of a bare name."""
    other = importlib.import_module("feature_flags")
    assert other is not feature_flags
    with calling_as("agent-7"):
        assert other.current_caller() == "agent-7"
    for name in ("side_starts", "old_side", "shadowing", "sketches", "service_switch", "switching"):
        importlib.import_module(name)
    assert importlib.import_module("switching").calling_as is other.calling_as


# --- the environment --------------------------------------------------------------------------


def test_without_a_word_the_new_one_answers(flags: FeatureFlags) -> None:
    """The default is on, for services nobody wrote of as well."""
    assert choice(flags) == "new"
    decision = flags.decide("universal_ai_manager", "a")
    assert decision == (Choice.NEW, False, ServiceMigration())


@pytest.mark.parametrize(
    ("text", "expected", "strict"),
    [
        *(("off", "old", True), ("on", "new", False), ("shadow", "shadow", False)),
        *(("0%", "old", False), ("100%", "new", False), ("", "new", False)),
    ],
)
def test_the_variable_is_read_for_each_decision(
    flags: FeatureFlags, monkeypatch: pytest.MonkeyPatch, text: str, expected: str, strict: bool
) -> None:
    """A change of the environment counts for the very next call, and for this service alone."""
    assert choice(flags) == "new"
    monkeypatch.setenv(VARIABLE, text)
    decision = flags.decide("llm_service", "a")
    assert (decision.choice, decision.strict) == (expected, strict)
    assert choice(flags, service="ultimate_fallback_system") == "new"
    monkeypatch.delenv(VARIABLE)
    assert choice(flags) == "new"


def test_a_share_of_the_callers_gets_the_new_one(
    flags: FeatureFlags, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decision at 30% is that of in_share, for each caller."""
    monkeypatch.setenv(VARIABLE, "30%")
    for caller in CALLERS[:200]:
        expected = "new" if in_share("llm_service", caller, 30) else "old"
        assert choice(flags, caller) == expected


def test_a_variable_that_is_no_flag_is_ignored_and_said_once(
    flags: FeatureFlags, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The file's flag holds instead, and the log has one line without the value."""
    monkeypatch.setenv(VARIABLE, "shaddow-of-a-key")
    with caplog.at_level(logging.ERROR, "amas.services.flags"):
        assert [choice(flags) for _ in range(3)] == ["new"] * 3
    (record,) = caplog.records
    assert VARIABLE in record.message
    assert "it must be off, on, shadow" in record.message
    assert "key" not in record.message


# --- the file ---------------------------------------------------------------------------------


def test_the_file_has_flags_and_the_variable_wins(
    flags: FeatureFlags, file: ConfigFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable replaces the flag, and the file's other settings stay."""
    file.write("{llm_service: {flag: shadow, old: legacy.x, shadow_share: 1}}")
    decision = flags.decide("llm_service", "a")
    expected = ServiceMigration(flag="shadow", old="legacy.x", shadow_share=1.0)
    assert decision == (Choice.SHADOW, False, expected)
    monkeypatch.setenv(VARIABLE, "off")
    assert flags.decide("llm_service", "a") == (Choice.OLD, True, expected)


def test_a_change_of_the_file_is_seen_within_a_second(
    flags: FeatureFlags, file: ConfigFile, clock: FakeClock
) -> None:
    """The file is looked at once a second at most, and read when it is another one."""
    file.write("{llm_service: on}")
    assert choice(flags) == "new"
    file.write("{llm_service: off}")
    clock.now += 0.9
    assert choice(flags) == "new"
    clock.now += 0.2
    assert choice(flags) == "old"
    file.write("")
    clock.now += 1.1
    assert choice(flags) == "new"


def test_a_file_that_stays_as_it_is_is_not_read_again(
    flags: FeatureFlags,
    file: ConfigFile,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There is one stat a second, and no reading, as long as mtime and inode stay."""
    stats: list[str] = []
    reads: list[str] = []
    real_stat = os.stat

    def count_stat(path: str) -> os.stat_result:
        stats.append(path)
        return real_stat(path)

    def count_load(path: str) -> MigrationSettings:
        reads.append(path)
        return load_migration(path)

    file.write("{llm_service: off}")
    monkeypatch.setattr(os, "stat", count_stat)
    monkeypatch.setattr(feature_flags, "load_migration", count_load)
    for _ in range(50):
        clock.now += 0.1
        assert choice(flags) == "old"
    monkeypatch.undo()
    assert len(reads) == 1
    assert 4 <= stats.count(str(file.path)) <= 6


@pytest.mark.parametrize(
    "broken",
    [
        "{llm_service: shadwo}",
        "{llm_servce: on}",
        "{llm_service: [",
        "{llm_service: {flag: on, old: 'no path'}}",
    ],
)
def test_a_broken_file_keeps_the_last_good_flags_and_is_said_once(
    flags: FeatureFlags,
    file: ConfigFile,
    clock: FakeClock,
    caplog: pytest.LogCaptureFixture,
    broken: str,
) -> None:
    """A mistake of the new file changes nothing; once it is mended, the flags are taken."""
    file.write("{llm_service: off}")
    assert choice(flags) == "old"
    file.write(broken)
    with caplog.at_level(logging.ERROR, "amas.services.flags"):
        for _ in range(3):
            clock.now += 1.1
            assert choice(flags) == "old"
    (record,) = caplog.records
    assert "the flags stay as they were" in record.message
    assert "c.yaml:2:" in record.message or "c.yaml:3:" in record.message
    file.write("{llm_service: shadow}")
    clock.now += 1.1
    assert choice(flags) == "shadow"


def test_a_file_that_vanishes_changes_nothing(
    flags: FeatureFlags, file: ConfigFile, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The last flags hold until it is there again, and the log has one line."""
    file.write("{llm_service: off}")
    assert choice(flags) == "old"
    file.path.unlink()
    with caplog.at_level(logging.ERROR, "amas.services.flags"):
        for _ in range(3):
            clock.now += 1.1
            assert choice(flags) == "old"
    assert len(caplog.records) == 1
    file.write("{llm_service: on}")
    clock.now += 1.1
    assert choice(flags) == "new"


def test_mistakes_elsewhere_in_the_file_do_not_matter(
    flags: FeatureFlags, file: ConfigFile
) -> None:
    """A provider that is wrong must not keep anybody from going back to the old one."""
    file.write("{llm_service: off}", "  llm: {openai: {timeot: 3, api_key: 'file:/no/where'}}\n")
    assert choice(flags) == "old"


def test_another_file_or_none_counts_at_once(
    flags: FeatureFlags, file: ConfigFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the variable names another file, nobody waits for a second to pass."""
    file.write("{llm_service: off}")
    assert choice(flags) == "old"
    other = ConfigFile(tmp_path / "d.yaml", monkeypatch)
    other.write("{llm_service: shadow}")
    assert choice(flags) == "shadow"
    monkeypatch.delenv("AMAS_PROVIDERS_CONFIG")
    assert choice(flags) == "new"


def test_a_glance_reads_the_file_once_and_never_looks_again(
    flags: FeatureFlags, file: ConfigFile, clock: FakeClock
) -> None:
    """What must not block goes by the flags that calls have found."""
    file.write("{llm_service: off}")
    assert flags.peek("llm_service", "a").choice == "old"
    file.write("{llm_service: on}")
    clock.now += 5
    assert flags.peek("llm_service", "a").choice == "old"
    assert choice(flags) == "new"
    assert flags.peek("llm_service", "a").choice == "new"


async def test_on_an_event_loop_nothing_blocks(
    flags: FeatureFlags, file: ConfigFile, clock: FakeClock, no_blocking: BlockBuster
) -> None:
    """The file is looked at and read in a thread, and all who came first wait for it."""
    await asyncio.to_thread(file.write, "{llm_service: off}")
    first = await asyncio.gather(*(flags.adecide("llm_service", "a") for _ in range(20)))
    assert {decision.choice for decision in first} == {Choice.OLD}
    await asyncio.to_thread(file.write, "{llm_service: shadow}")
    clock.now += 1.1
    assert (await flags.adecide("llm_service", "a")).choice == "shadow"
    assert (await flags.adecide("llm_service", "a")).choice == "shadow"


def test_threads_may_decide_at_the_same_time(file: ConfigFile) -> None:
    """Threads that come first together all get the file's flag, and it is read once."""
    flags = FeatureFlags()
    file.write("{llm_service: off}")
    found: list[str] = []
    ready = threading.Barrier(8)

    def run() -> None:
        ready.wait()
        found.extend(choice(flags) for _ in range(100))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["old"] * 800
