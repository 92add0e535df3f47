"""The configuration that a manager was made from: as it stands, and as it is read again."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from ...config.differences import differences
from ...config.provider_settings import ManagerSettings, ObservabilitySettings, ProvidersSettings
from ...config.transitions import losses, with_rows_kept
from ..base import ProviderBase
from ..errors import ProviderConfigError
from ..secret import Secret
from .discovery import Source, read_configuration
from .file_watch import SETTLED, FileWatch, Stamps, now, settled_stamps, take_stamps
from .lifecycle import Lifecycle
from .notices import Notices
from .reloading import Changes, Reloading

# What is opened when a manager is made, and cannot be exchanged under its calls.
_FIXED = "state", "state_prefix"


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read, and how its files were then."""

    settings: ProvidersSettings
    providers: list[ProviderBase]
    stamps: Stamps


def read(source: Source, known: Sequence[str] = ()) -> Reading:
    """Read a configuration and make its providers; it reads files.

    Args:
        source: Path of a YAML file, or its content as a mapping.
        known: The files that it was made of when it was last read.

    Raises:
        ProviderConfigError: Something in it is wrong; all problems at once.
    """
    main = [os.fspath(source)] if isinstance(source, str | os.PathLike) else []
    before, began = take_stamps([*known, *main]), now()
    settings, providers = read_configuration(source)
    stamps = settled_stamps(before, take_stamps(settings.files), began)
    return Reading(settings, providers, stamps)


class Configured:
    """Reads the configuration of a manager again, and sees to it that it holds.

    Args:
        reloading: Brings the providers in line.
        life: Whether the manager runs.
        watch: Looks after the files.
        notices: Tells of what has changed.
        observability: What the manager is watched by, as it was made.
        hold: Lets all holds that is not the providers' own.
    """

    def __init__(
        self,
        reloading: Reloading,
        life: Lifecycle,
        watch: FileWatch,
        *,
        notices: Notices,
        observability: ObservabilitySettings,
        hold: Callable[[ProvidersSettings, ManagerSettings], None],
    ) -> None:
        self.changing = asyncio.Lock()
        self.made: set[str] = set()
        self._reloading = reloading
        self._life = life
        self._watch = watch
        self._notices = notices
        self._observability = observability
        self._hold = hold
        self._source: Source | None = None
        self._settings = ProvidersSettings()
        self._manager = ManagerSettings()
        self._master_key: tuple[Secret, ...] = ()
        self._problems: list[str] = []
        self._gone: tuple[str, ...] = ()
        self._stamps: Stamps = {}

    def begin(self, source: Source, reading: Reading) -> None:
        """Take a configuration for the one that the manager was made from."""
        self._source, self._settings = source, reading.settings
        self._manager = reading.settings.manager
        self._master_key = reading.settings.security.master_key
        self._note(reading)

    async def reload(self) -> Changes:
        """Read the configuration again; see ``ProviderManager.reload``."""
        self._origin()  # refuses where there is none
        async with self._at_work():
            return await self._apply(await self._read())

    async def follow(self, *, settled: bool) -> bool:
        """Read it again as a file has changed; see ``Follower``."""
        async with self._at_work():
            reading = await self._read()
            # Somebody may have begun to write since the watch has looked.
            same = all(reading.stamps.get(*item) == item[1] for item in self._watch.known.items())
            gone = () if settled and same else losses(self._settings, reading.settings)
            if gone:
                if gone != self._gone:
                    self._notices.reload_waits(gone, SETTLED)
                self._gone = gone
                return False
            await self._apply(reading)
            return True

    @property
    def unfinished(self) -> bool:
        """Whether there are keys that were not taken."""
        return bool(self._reloading.untaken)

    async def retry(self) -> None:
        """Try the keys again that were not taken; it is told of only if one is taken now."""
        async with self._at_work(quiet=True):
            reading = await self._read()
            before, names = self._reloading.untaken, self._reloading.untaken_of
            if reading.stamps != self._stamps:
                return  # the files are others than those that hold: that is for a reload
            rekeyed = await self._reloading.rekey(reading.providers)
            if self._reloading.untaken_of == names and not rekeyed:
                return
            self._problems = [text for text in self._problems if text not in before]
            self._problems += self._reloading.untaken
            held = with_rows_kept(self._settings, reading.settings, rekeyed)
            changed = list(differences(self._settings, held))
            self._settings = held
            self._notices.reloaded(
                Changes(rekeyed=rekeyed, problems=list(self._problems), differences=changed)
            )

    @asynccontextmanager
    async def _at_work(self, *, quiet: bool = False) -> AsyncIterator[None]:
        """One at a time; a configuration that is not right is told of, unless that was so."""
        with self._life.work():
            async with self.changing:
                try:
                    yield
                except ProviderConfigError as error:
                    if not quiet:
                        self._notices.reload_failed(error)
                    raise

    async def _read(self) -> Reading:
        return await asyncio.to_thread(read, self._origin(), self._watch.files)

    def _origin(self) -> Source:
        if self._source is None:
            raise ProviderConfigError(
                "there is nothing to reload: make the manager with ProviderManager.from_config"
            )
        return self._source

    async def _apply(self, reading: Reading) -> Changes:
        manager = self._usable(reading.settings.manager)
        changes = await self._reloading.apply(
            reading.providers, self.made, manager, partial(self._take, reading, manager)
        )
        if manager.reload_on_change and self._watch.files and self.unfinished:
            self._notices.keys_tried_again(self._reloading.untaken_of)
        await self._life.adjust(enabled=manager.enabled, interval=manager.health_check_interval)
        return changes

    def _usable(self, settings: ManagerSettings) -> ManagerSettings:
        """Return settings with what cannot change now as it is."""
        return settings.model_copy(update={name: getattr(self._manager, name) for name in _FIXED})

    def _take(
        self, reading: Reading, manager: ManagerSettings, changes: Changes, kept: frozenset[str]
    ) -> None:
        held = with_rows_kept(reading.settings, self._settings, kept)
        changes.pending = self._pending(held)
        changes.differences = list(differences(self._settings, held))
        self._settings, self._manager = held, manager
        self._problems, self._gone = changes.problems, ()
        self._hold(held, manager)
        self._note(reading)
        # Here, so that nothing holds that has not been told of.
        self._notices.reloaded(changes)

    def _note(self, reading: Reading) -> None:
        self._stamps = reading.stamps
        self._watch.note(reading.stamps)

    def _pending(self, settings: ProvidersSettings) -> list[str]:
        """Return what is otherwise than the manager works with, and cannot be changed now."""
        found, used = settings.observability, self._observability
        same = {
            f"manager.{name}": getattr(settings.manager, name) == getattr(self._manager, name)
            for name in _FIXED
        } | {
            # Opens enc: values at once; records are sealed by the one that the trail began with.
            "security.master_key": used.audit is None
            or settings.security.master_key == self._master_key,
            "audit": found.audit == used.audit,
            "metrics": found.metrics == used.metrics,
            "tracing": found.tracing == used.tracing,
            "alerts": found.alerts == used.alerts,
        }
        return [name for name, unchanged in same.items() if not unchanged]
