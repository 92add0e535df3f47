"""Each trouble is told once, not too often, and its end only if it was told. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .alert import Alert, Recovery, Signal, Trouble

_Key = tuple[str, str]


@dataclass(slots=True)
class _Thing:
    """What is known of one kind of trouble with one subject; without ``trouble`` all is well."""

    trouble: Trouble | None = None
    since: float = 0.0
    told: Alert | None = None
    told_at: float = float("-inf")


class Throttle:
    """Makes alerts of troubles and recoveries.

    A trouble is told at once, unless one of the same kind and subject was told less than
    ``min_interval`` ago: then it is told when that is over, if it still lasts. The end of what
    was told is told at once. So however fast something changes, there are at most one alert and
    one recovery of it in ``min_interval``.

    Args:
        min_interval: Seconds between two alerts about the same thing.
        most: How many things are remembered; of more, those that are well longest are forgotten.
    """

    def __init__(self, min_interval: float, most: int = 1000) -> None:
        self._min_interval = min_interval
        self._most = most
        # In the order of their last change.
        self._things: dict[_Key, _Thing] = {}

    def __len__(self) -> int:
        return len(self._things)

    def take(self, signal: Signal, *, at: float, now: float) -> list[Alert]:
        """Take in a trouble or a recovery.

        Args:
            signal: What has happened.
            at: When, in seconds since 1970.
            now: The time in seconds of a clock that only goes forward.

        Returns:
            What is to be told now.
        """
        if isinstance(signal, Recovery):
            keys = list(self._concerned(signal))
            return [alert for key in keys for alert in self._end(key, signal, at)]
        if not signal.lasting:
            return [signal.alert(at=at, since=at)]
        key = signal.kind, signal.subject
        thing = self._things.get(key)
        if thing is not None and thing.trouble is not None:
            return []
        thing = self._touch(key)
        thing.trouble = signal
        thing.since = at if signal.began is None else signal.began
        return self._begin(thing, at, now)

    def due(self, *, at: float, now: float) -> list[Alert]:
        """Return what had to wait and is to be told now.

        Args:
            at: The time of day, in seconds since 1970.
            now: The time in seconds of the clock that ``take`` is given.
        """
        return [alert for thing in self._things.values() for alert in self._begin(thing, at, now)]

    def open(self, at: float) -> list[Alert]:
        """Return what is the matter at the end, whether it was told or still waits for that.

        Args:
            at: The time of day, in seconds since 1970.
        """
        return [
            thing.told or thing.trouble.alert(at=at, since=thing.since)
            for thing in self._things.values()
            if thing.trouble is not None
        ]

    def next_due(self, now: float) -> float | None:
        """Return the seconds until something that waits is to be told; None if nothing does."""
        waits = [
            thing.told_at + self._min_interval - now
            for thing in self._things.values()
            if thing.trouble is not None and thing.told is None
        ]
        return max(0.0, min(waits)) if waits else None

    def _begin(self, thing: _Thing, at: float, now: float) -> list[Alert]:
        if thing.trouble is None or thing.told is not None:
            return []
        if now < thing.told_at + self._min_interval:
            return []
        thing.told = thing.trouble.alert(at=at, since=thing.since)
        thing.told_at = now
        return [thing.told]

    def _end(self, key: _Key, recovery: Recovery, at: float) -> list[Alert]:
        thing = self._touch(key)
        told, thing.told, thing.trouble = thing.told, None, None
        return [] if told is None else [recovery.alert(told, at)]

    def _concerned(self, recovery: Recovery) -> Iterator[_Key]:
        """Yield the names of what is the matter, and is over now."""
        if recovery.subject is not None:
            keys = [(kind, recovery.subject) for kind in recovery.kinds]
        else:
            keys = [key for key in self._things if key[0] in recovery.kinds]
        for key in keys:
            thing = self._things.get(key)
            if thing is None or thing.trouble is None:
                continue
            if recovery.provider is None or thing.trouble.provider == recovery.provider:
                yield key

    def _touch(self, key: _Key) -> _Thing:
        """Return what is known of something, which is the last to be forgotten from now on."""
        thing = self._things.pop(key, None) or _Thing()
        if len(self._things) >= self._most:
            well = (name for name, item in self._things.items() if item.trouble is None)
            del self._things[next(well, next(iter(self._things)))]
        self._things[key] = thing
        return thing
