"""Another key for a provider: checked first, then used for new calls while running ones finish."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from ..base import ProviderBase, ProviderConfig
from ..errors import InvalidRequestError, ProviderConfigError, ProviderError
from .health_monitor import check_lane
from .lane import Lane, fingerprint
from .member import Member
from .notices import Notices
from .retirement import Retirement, shut_down


class Rotation:
    """Exchanges keys of providers that are in use.

    Args:
        retirement: Sees the old ones off.
        notices: Tells of the changes.

    Attributes:
        untaken: Of which providers ``adopt`` has not taken keys, and why; a line for each.
    """

    def __init__(self, retirement: Retirement, notices: Notices) -> None:
        self._retirement = retirement
        self._notices = notices
        self.untaken: dict[str, list[str]] = {}

    async def rotate(self, member: Member, key: str, number: int, *, cause: str) -> None:
        """Exchange one key.

        Args:
            member: The provider.
            key: The new key.
            number: Which of its keys, counted from 1.
            cause: What changes it, for the record.

        Raises:
            InvalidRequestError: It has no such key.
            ProviderConfigError: It is no key, or the provider has it already in another place,
                or is switched off.
            ProviderError: The provider does not accept it, or cannot be asked; nothing changed.
        """
        if isinstance(number, bool) or not 1 <= number <= len(member.lanes):
            raise InvalidRequestError(
                f"provider {member.name!r} has no key {number!r}: they are counted from 1 to"
                f" {len(member.lanes)}"
            )
        old = member.lanes[number - 1]
        try:
            new = self._new_lane(member, old.provider.with_key(key), number)
            await self._check(new)
        except ProviderError as error:
            self._notices.key(member.name, number, cause=cause, error=error)
            raise
        lanes = list(member.lanes)
        lanes[number - 1] = new
        member.config = _with_keys(member.config, lanes)
        self._exchange(member, lanes)
        self.untaken.pop(member.name, None)  # whoever gives a key by hand means that one
        self._notices.key(member.name, number, cause=cause, lane=new)

    def _candidate(self, member: Member, provider: ProviderBase, number: int) -> Lane:
        lane = member.new_lane(provider, number)
        if number > len(member.lanes) or member.lanes[number - 1].well is not False:
            lane.presumed = None  # it is not in use: that it fails changes nothing for anybody
        return lane

    def _new_lane(self, member: Member, provider: ProviderBase, number: int) -> Lane:
        lane = self._candidate(member, provider, number)
        others = [item for item in member.lanes if item.number != number]
        if any(item.mark == lane.mark for item in others):
            raise ProviderConfigError(
                "this key is one of its other keys already; give another one",
                field="api_key",
                provider=member.name,
            )
        return lane

    async def adopt(
        self, member: Member, provider: ProviderBase, *, cause: str, again: bool = False
    ) -> bool:
        """Take over the keys of a provider that is configured alike but for them.

        Args:
            member: The provider in use.
            provider: The same with its new keys; not started.
            cause: What changes them, for the record.
            again: Whether this was tried before, so that it is no news if it fails.

        Returns:
            Whether it uses other keys now. Those that were not taken are in ``untaken``; the old
            ones are kept in their place.
        """
        before = list(member.lanes)
        known = {lane.mark: lane for lane in member.lanes}
        lanes: list[Lane] = []
        problems = []
        for number, item in enumerate(provider.for_each_key(), 1):
            lane = known.get(fingerprint(item))
            if lane is not None:
                lane.number = number
                lanes.append(lane)
                continue
            new = self._candidate(member, item, number)
            try:
                await self._check(new)
            except ProviderError as error:
                if not again:
                    self._notices.key(member.name, number, cause=cause, error=error)
                problems.append(f"key {number} of {member.name} was not taken: {error.message}")
            except BaseException:
                # Cancelled: what was started is not in use, and nobody else knows of it.
                await asyncio.gather(
                    *(shut_down(item.provider) for item in lanes if item not in member.lanes)
                )
                raise
            else:
                self._notices.key(member.name, number, cause=cause, lane=new)
                lanes.append(new)
        if problems:
            # What is replaced by nothing that works stays.
            kept = [lane for lane in member.lanes if lane not in lanes]
            lanes += kept[: len(provider.for_each_key()) - len(lanes)]
            self.untaken[member.name] = problems
            member.config = _with_keys(provider.config, lanes)
        else:
            self.untaken.pop(member.name, None)
            member.config = provider.config
        self._exchange(member, lanes)
        return lanes != before

    async def _check(self, lane: Lane) -> None:
        """Start a provider with its new key, which checks that at its upstream.

        Raises:
            ProviderError: It does not work; what was opened is given back.
        """
        provider, taken = lane.provider, False
        try:
            if not await check_lane(lane):
                raise provider.last_error or ProviderError(
                    "the new key could not be checked", provider=provider.name
                )
            await provider.verify_key()
            taken = True
        finally:
            if not taken:
                await shut_down(provider)

    def _exchange(self, member: Member, lanes: Sequence[Lane]) -> None:
        gone = [lane for lane in member.lanes if lane not in lanes]
        for number, lane in enumerate(lanes, 1):
            lane.number = number
        member.lanes = list(lanes)
        for lane in gone:
            self._retirement.retire(lane, member.longest_call)


def _with_keys(config: ProviderConfig, lanes: Sequence[Lane]) -> ProviderConfig:
    keys = [key for lane in lanes if (key := lane.provider.config.api_key) is not None]
    if config.api_keys:
        return replace(config, api_keys=tuple(keys))
    return replace(config, api_key=keys[0] if keys else None)
