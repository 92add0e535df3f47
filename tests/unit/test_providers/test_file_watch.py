"""A configuration whose files are watched: read again when they change, and only then."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from typing_extensions import override

from amas.providers import BaseProvider, ProviderManager
from amas.providers.errors import AuthenticationError, ProviderConfigError
from amas.providers.manager import file_watch
from amas.providers.manager.file_watch import (
    Backoff,
    Changed,
    FileWatch,
    settled_stamps,
    take_stamps,
)
from amas.providers.observability.alerts import Alert

HERE = {"adapter": f"{__name__}:Echo", "isolation": "none"}
LONG_AGO = (1, 1, 5, 7, 7)


class Echo(BaseProvider):
    """Says who it is, and with which key."""

    refused: ClassVar[str | None] = None
    tries: ClassVar[int] = 0

    @override
    async def _set_up(self) -> None:
        """Open nothing."""

    @override
    async def _probe(self) -> None:
        if self.config.key_value == self.refused:
            Echo.tries += 1
            raise AuthenticationError("refused")

    @override
    async def _tear_down(self) -> None:
        """Close nothing."""

    @override
    async def generate(self, prompt: Any, **kwargs: Any) -> dict[str, Any]:
        return {"content": f"{self.config.key_value} {self.config.options}"}


class Files:
    """A configuration file, and the key file that it names."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "providers.yaml"
        self.key = folder / "key"
        self.key.write_text("first")
        self.rows: dict[str, Any] = {"one": HERE | {"api_key": "file:key"}}
        self.manager: dict[str, Any] = {"reload_on_change": True}
        self.write()

    def write(self) -> None:
        """Write the file, as an editor does: beside it, and then in its place."""
        beside = self.path.with_suffix(".new")
        document = {"manager": self.manager, "llm": self.rows}
        beside.write_text(yaml.safe_dump({"providers": document}))
        beside.replace(self.path)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    """Return a configuration that is looked at a hundred times as often as usual."""
    monkeypatch.setattr(file_watch, "INTERVAL", 0.01)
    return Files(tmp_path)


async def until(true: Callable[[], object]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 -- nobody tells
            await asyncio.sleep(0.005)


def watching() -> list[str]:
    """Return the tasks that watch."""
    return [item.get_name() for item in asyncio.all_tasks() if "watch" in item.get_name()]


def test_files_are_read_once_they_have_changed_and_are_still() -> None:
    """One that is being written is left alone until it has been the same for two looks."""
    changed = Changed()
    changed.known = {"a": (1,)}
    looks = [{"a": (1,)}, {"a": (1,)}, {"a": (2,)}, {"a": (3,)}, {"a": (3,)}]
    seen = [changed.look(found, now) for now, found in enumerate(looks)]
    assert seen == [False, False, False, False, True]
    assert changed.still_for(13) == 10


def test_keys_are_tried_less_and_less_often() -> None:
    """After 2 seconds, 4, 8 and so on, and at least once a minute; after a change anew."""
    backoff = Backoff()
    due = [now for now in range(260) if backoff.due(now)]
    assert due == [2, 6, 14, 30, 62, 122, 182, 242]
    backoff.reset()
    assert [now for now in range(300, 307) if backoff.due(now)] == [302, 306]


def test_a_file_that_comes_or_goes_has_changed(tmp_path: Path) -> None:
    """An overlay may appear; what is not there, and no path at all, has an empty stamp."""
    file = str(tmp_path / "overlay.yaml")
    assert take_stamps([file, "a\0b"]) == {file: (), "a\0b": ()}
    Path(file).write_text("")
    assert take_stamps([file])[file] != ()


def test_a_link_that_points_elsewhere_has_changed(tmp_path: Path) -> None:
    """That is how the mounted secrets of a container are exchanged."""
    for name in ("one", "two"):
        (tmp_path / name).write_text("same")
        os.utime(tmp_path / name, (1, 1))
    link = tmp_path / "key"
    link.symlink_to("one")
    before = take_stamps([str(link)])
    link.unlink()
    link.symlink_to("two")
    assert take_stamps([str(link)]) != before


def test_what_was_written_while_it_was_read_is_read_again() -> None:
    """Its stamp is one that no file has; what was known before keeps the stamp from before."""
    now = (2, 10**18, 5, 7, 7)
    settled = settled_stamps(
        {"main": LONG_AGO}, {"main": now, "key": now, "old": LONG_AGO, "gone": ()}, 10**9
    )
    assert settled["main"] == LONG_AGO
    assert settled["key"] not in {now, LONG_AGO}
    assert (settled["old"], settled["gone"]) == (LONG_AGO, ())


async def test_a_changed_file_is_taken_over(files: Files) -> None:
    """Without a call of anybody's; the watch ends with the manager."""
    async with ProviderManager.from_config(files.path) as manager:
        files.rows["two"] = HERE
        files.write()
        await until(lambda: "two" in manager.providers)
        assert len(watching()) == 1
    assert watching() == []


async def test_a_changed_key_file_is_taken_over(files: Files) -> None:
    """A key that is exchanged on its disk is used from then on."""
    async with ProviderManager.from_config(files.path) as manager:
        assert (await manager.generate("a"))["content"].startswith("first")
        files.key.write_text("second")
        await until(lambda: manager.providers["one"].config.key_value == "second")
        assert (await manager.generate("a"))["content"].startswith("second")


async def test_a_broken_file_is_told_once_and_changes_nothing(
    files: Files, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not again before it changes again; then it is taken over, and the alert ends."""
    alerts: list[Alert] = []
    looks: list[object] = []
    look = take_stamps

    def counted(paths: Iterable[str]) -> dict[str, tuple[int, ...]]:
        looks.append(paths)
        return look(paths)

    monkeypatch.setattr(file_watch, "take_stamps", counted)
    made = ProviderManager.from_config(files.path, on_alert=alerts.append)
    async with made as manager:
        files.rows["one"]["timeout"] = "soon"
        files.write()
        await until(lambda: "reload_failed" in caplog.text)
        seen = len(looks)
        await until(lambda: len(looks) > seen + 4)
        assert caplog.text.count("reload_failed problems") == 1
        assert list(manager.providers) == ["one"]
        files.rows["one"]["timeout"] = 7
        files.write()
        await until(lambda: manager.providers["one"].config.timeout == 7)
        await manager.flush()
    assert [(item.kind, item.firing) for item in alerts] == [
        ("reload_failed", True),
        ("reload_failed", False),
    ]


async def test_watching_can_be_switched_while_running(files: Files) -> None:
    """Off by the file that is watched, and on by the next reload."""
    async with ProviderManager.from_config(files.path) as manager:
        files.manager["reload_on_change"] = False
        files.write()
        await until(lambda: not watching())
        files.manager["reload_on_change"] = True
        files.write()
        await manager.reload()
        files.rows["two"] = HERE
        files.write()
        await until(lambda: "two" in manager.providers)


async def test_nothing_is_watched_unless_that_is_wanted(files: Files) -> None:
    """Nor is there anything to watch in a mapping."""
    files.manager["reload_on_change"] = False
    files.write()
    document = {"manager": {"reload_on_change": True}, "llm": {"one": HERE}}
    for source in (files.path, {"providers": document}):
        async with ProviderManager.from_config(source):
            assert watching() == []


async def test_the_watch_goes_on_after_a_reload_that_fails(files: Files) -> None:
    """Whatever it fails with: the next change is seen, too."""
    tried: list[int] = []

    class Failing:
        unfinished = False

        async def follow(self, *, settled: bool) -> bool:
            tried.append(settled)
            raise RuntimeError if len(tried) == 1 else ProviderConfigError("wrong")

        async def retry(self) -> None:
            """Have nothing to try."""

    watch = FileWatch(Failing, lambda: True)
    path = str(files.path)
    watch.note(take_stamps([path]))
    watch.start()
    watch.start()
    for number in range(3):
        files.manager["deadline"] = number + 1
        files.write()
        await until(lambda: len(tried) > number)  # noqa: B023 -- it is waited for here
    await watch.stop()
    assert watching() == []


async def test_a_manager_that_is_switched_off_can_be_switched_on_again(files: Files) -> None:
    """By the file: calls are refused while it says so."""
    files.manager["enabled"] = False
    files.write()
    async with ProviderManager.from_config(files.path) as manager:
        assert await manager.get_available_provider() is None
        files.manager["enabled"] = True
        files.write()
        await until(lambda: manager.settings.enabled)
        assert (await manager.generate("a"))["provider"] == "one"


async def test_keys_that_were_not_taken_are_tried_until_they_are(
    files: Files, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a change; it is told once, and once more when one is taken: trail, log and alert."""
    monkeypatch.setattr(file_watch, "FIRST_RETRY", 0.01)
    monkeypatch.setattr(Echo, "refused", "second")
    monkeypatch.setattr(Echo, "tries", 0)
    alerts: list[Alert] = []
    caplog.set_level("INFO")
    made = ProviderManager.from_config(files.path, on_alert=alerts.append)
    async with made as manager:
        files.key.write_text("second")
        await until(lambda: Echo.tries > 3)
        assert manager.providers["one"].config.key_value == "first"
        Echo.refused = None
        await until(lambda: manager.providers["one"].config.key_value == "second")
        await manager.flush()
    told = [
        item for item in caplog.text.splitlines() if "reloaded" in item or "tried_again" in item
    ]
    assert ["rekeyed=['one']" in item for item in told] == [False, False, True]
    assert ["WARNING" in item for item in told] == [True, True, False]
    assert ["key 1 of one was not taken" in item for item in told] == [True, False, False]
    assert {item.kind for item in alerts if item.firing} == {"key_not_taken", "reload_failed"}
    assert len(alerts) == 4


async def test_a_key_given_by_hand_ends_the_tries(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the file's would replace it as soon as that is accepted."""
    monkeypatch.setattr(Echo, "refused", "second")
    async with ProviderManager.from_config(files.path) as manager:
        files.key.write_text("second")
        await until(lambda: manager._configured.unfinished)
        await manager.rotate_key("one", "third")
        assert not manager._configured.unfinished
        Echo.refused = None
        await manager._configured.retry()
        assert manager.providers["one"].config.key_value == "third"


async def test_a_file_that_is_not_right_has_no_key_taken_from_it(
    files: Files, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keys that were not taken wait until it is right again, and nothing is told twice."""
    monkeypatch.setattr(Echo, "refused", "second")
    async with ProviderManager.from_config(files.path) as manager:
        files.key.write_text("second")
        await until(lambda: manager._configured.unfinished)
        rows, files.rows = files.rows, files.rows | {"two": {"timeout": "soon"}}
        files.write()
        await until(lambda: "reload_failed" in caplog.text)
        Echo.refused = None
        with pytest.raises(ProviderConfigError):
            await manager._configured.retry()
        files.rows = rows | {"two": HERE}
        files.write()
        await until(lambda: manager.providers["one"].config.key_value == "second")
        assert caplog.text.count("reload_failed") == 1


async def test_what_is_gone_from_a_file_is_taken_away_once_it_is_still(
    files: Files, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be half written: it is told once, and nothing of it holds yet."""
    files.rows["two"] = HERE
    files.write()
    monkeypatch.setattr(file_watch, "SETTLED", 3600)
    async with ProviderManager.from_config(files.path) as manager:
        del files.rows["two"]
        files.rows["three"] = HERE
        files.write()
        await until(lambda: "reload_waits" in caplog.text)
        files.manager["deadline"] = 7
        files.write()
        await until(lambda: manager._watch._waiting)
        assert list(manager.providers) == ["one", "two"]
        assert "gone=['providers.llm.two']" in caplog.text
        monkeypatch.setattr(file_watch, "SETTLED", 0.02)
        await until(lambda: list(manager.providers) == ["one", "three"])
        assert caplog.text.count("reload_waits") == 1


async def test_a_reload_by_hand_takes_away_at_once(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever asks for it knows that the file is whole."""
    files.rows["two"] = HERE
    files.write()
    async with ProviderManager.from_config(files.path) as manager:
        del files.rows["two"]
        files.write()
        await until(lambda: "reload_waits" in caplog.text)
        assert (await manager.reload()).removed == ["two"]
        assert not manager._watch._waiting
