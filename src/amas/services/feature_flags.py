"""Which implementation of an old service answers a call: the old one, the new one, or both.

A flag comes from the variable ``AMAS_PROVIDERS_FLAG_<SERVICE>``, else from the section
``migration:`` of the file that ``AMAS_PROVIDERS_CONFIG`` names, else it is ``on``. A change of
either takes effect without a restart: the environment is read for each decision, and the
file is looked at again, once a second at most.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from enum import StrEnum
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ..config.migration_schema import Flag, FlagMode, ServiceMigration, parse_flag
    from ..config.provider_settings import load_migration
    from ..providers.errors import ProviderConfigError
    from ..providers.observability.logging import get_logger
    from ..providers.security.caller import calling_as, current_caller
else:
    if __package__:
        from .location import take
    else:
        from location import take

    take(globals(), "config.migration_schema", "Flag", "FlagMode", "ServiceMigration", "parse_flag")
    take(globals(), "config.provider_settings", "load_migration")
    take(globals(), "providers.errors", "ProviderConfigError")
    take(globals(), "providers.observability.logging", "get_logger")
    take(globals(), "providers.security.caller", "calling_as", "current_caller")

__all__ = [
    "CONFIG_VARIABLE",
    "FLAGS",
    "FLAG_VARIABLE",
    "Choice",
    "Decision",
    "FeatureFlags",
    "Flag",
    "FlagMode",
    "ServiceMigration",
    "calling_as",
    "current_caller",
    "in_share",
    "parse_flag",
]

CONFIG_VARIABLE = "AMAS_PROVIDERS_CONFIG"
FLAG_VARIABLE = "AMAS_PROVIDERS_FLAG_"
"""The variable of a service is this and its name in capital letters."""

_LOOK_EVERY = 1.0  # seconds between two looks at the file

_logger = get_logger("amas.services.flags")


def in_share(service: str, caller: str, percent: float) -> bool:
    """Tell whether a caller belongs to a share.

    It depends on nothing but the arguments: a larger share has all callers of a smaller one.

    Args:
        service: Name of the service; each has its own order of callers.
        caller: Name of the caller.
        percent: The share.
    """
    name = f"{service}\0{caller}".encode("utf-8", "surrogatepass")
    place = int.from_bytes(blake2b(name, digest_size=8, person=b"amas-flags").digest())
    return place * 100 < percent * 2**64


class Choice(StrEnum):
    """Who answers one call."""

    OLD = "old"
    NEW = "new"
    SHADOW = "shadow"


class Decision(NamedTuple):
    """Who answers a call, and what the configuration says besides.

    Attributes:
        choice: Who.
        strict: Whether nobody else may, should the old implementation be missing.
        settings: The service's settings.
    """

    choice: Choice
    strict: bool
    settings: ServiceMigration


class _Row(NamedTuple):
    settings: ServiceMigration
    flag: Flag


_DEFAULT = _Row(ServiceMigration(), Flag(FlagMode.ON))


class FeatureFlags:
    """The flags of the old services, as they are now; may be used from any thread.

    Args:
        clock: Gives the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._rows: dict[str, _Row] = {}
        self._path: str | None = None
        self._stamp: tuple[int, ...] | None = None
        self._next_look = 0.0
        self._complaint = ""
        self._ignored: set[tuple[str, str]] = set()

    def decide(self, service: str, caller: str) -> Decision:
        """Decide who answers a call; it may read the file.

        Args:
            service: Name of the service, such as ``llm_service``.
            caller: Who calls, for a share of the callers.
        """
        if self._due():
            self._look()
        return self._known(service, caller)

    async def adecide(self, service: str, caller: str) -> Decision:
        """Do what ``decide`` does without blocking the event loop."""
        if self._due():
            known = self._path == os.environ.get(CONFIG_VARIABLE)
            if known:  # one looks, and the others go on with what was there
                self._next_look = self._clock() + _LOOK_EVERY
            await asyncio.to_thread(self._look, force=known)
        return self._known(service, caller)

    def peek(self, service: str, caller: str) -> Decision:
        """Decide without a look at the file, unless it has never been read."""
        if self._path != os.environ.get(CONFIG_VARIABLE):
            self._look()
        return self._known(service, caller)

    def _due(self) -> bool:
        path = os.environ.get(CONFIG_VARIABLE)
        return path != self._path or (path is not None and self._clock() >= self._next_look)

    def _known(self, service: str, caller: str) -> Decision:
        settings, flag = self._rows.get(service, _DEFAULT)
        text = os.environ.get(FLAG_VARIABLE + service.upper())
        if text:
            flag = self._read(service, text) or flag
        if flag.mode is FlagMode.SHARE:
            new = in_share(service, caller, flag.percent)
            return Decision(Choice.NEW if new else Choice.OLD, False, settings)
        if flag.mode is FlagMode.ON:
            return Decision(Choice.NEW, False, settings)
        shadow = flag.mode is FlagMode.SHADOW
        return Decision(Choice.SHADOW if shadow else Choice.OLD, not shadow, settings)

    def _read(self, service: str, text: str) -> Flag | None:
        """Read a variable's flag; what is none is said once, and ignored."""
        try:
            return parse_flag(text)
        except ValueError as error:
            wrong = str(error)
        if (service, text) not in self._ignored:
            self._ignored.add((service, text))
            variable = FLAG_VARIABLE + service.upper()
            _logger.error("a flag is ignored", variable=variable, error=wrong)
        return None

    def _look(self, *, force: bool = False) -> None:
        """Read the file if it is another one than before; a broken one changes nothing."""
        with self._lock:
            if not force and not self._due():
                return
            path = os.environ.get(CONFIG_VARIABLE)
            self._next_look = self._clock() + _LOOK_EVERY
            if path:
                self._take_file(path)
            else:
                self._rows, self._stamp = {}, None
            self._path = path

    def _take_file(self, path: str) -> None:
        try:
            stat = os.stat(path)  # noqa: PTH116 -- pathlib's takes twice as long
            stamp = (stat.st_mtime_ns, stat.st_ino, stat.st_dev, stat.st_size)
            if (path, stamp) == (self._path, self._stamp):
                return
            self._stamp = stamp
            migration = load_migration(path)
        except (OSError, ProviderConfigError) as error:
            wrong = str(error)
        else:
            wrong = ""
            self._rows = {name: _Row(each, parse_flag(each.flag)) for name, each in migration}
        if wrong and wrong != self._complaint:
            _logger.error("the flags stay as they were: their file is broken", error=wrong)
        self._complaint = wrong


FLAGS = FeatureFlags()
"""The flags that the services obey."""
