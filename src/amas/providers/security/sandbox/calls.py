"""The calls under way to one child: who waits for what, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from ...errors import ProviderError, ProviderTimeoutError
from .portable import error_from_data
from .server import WINDOW
from .wire import MAX_CHUNK, MalformedMessageError

# A child answers a cancelled call, or is found to hang.
CANCEL_SECONDS: Final = 1.0

# All pieces of streams that nobody has taken yet, in bytes; see ``wire.weigh``.
MAX_WAITING: Final = 64 * 1024 * 1024

Send: TypeAlias = Callable[[Mapping[str, Any]], None]
Item: TypeAlias = tuple[str, Any, int]


class Call:
    """One call to a child.

    Args:
        number: Its number.
        calls: All of them.
        window: How many pieces may come that nobody has taken; 0 for a call without any.
    """

    def __init__(self, number: int, calls: Calls, window: int) -> None:
        self.number = number
        self.room = window
        self.items: asyncio.Queue[Item | ProviderError] = asyncio.Queue()
        self._calls = calls
        self._taken = 0
        self._left = False
        self._finished = False
        self._timer: asyncio.TimerHandle | None = None

    async def next(self, seconds: float) -> Item:
        """Wait for what comes next: ``("ok", value, …)`` or ``("chunk", value, …)``.

        Args:
            seconds: How long; who does not answer then, nor when the call is cancelled,
                is ended with all its calls.

        Raises:
            ProviderError: The call failed.
        """
        try:
            async with asyncio.timeout(seconds):
                item = await self.items.get()
        except TimeoutError:
            raise ProviderTimeoutError(
                f"no answer within {seconds:.3g} s", provider=self._calls.provider
            ) from None
        if isinstance(item, ProviderError):
            # Without the traces of an earlier raise: several calls may get the same one.
            raise item.with_traceback(None)
        if item[0] == "chunk":
            self._calls.waiting -= item[2]
            self._make_room()
        return item

    def _make_room(self) -> None:
        self._taken += 1
        if self._taken == WINDOW // 2:
            self.room += self._taken
            self._calls.send({"more": self.number, "count": self._taken})
            self._taken = 0

    def put(self, value: Any, size: int) -> None:
        """Take a piece.

        Raises:
            MalformedMessageError: There is no room for it.
        """
        self.room -= 1
        if size > MAX_CHUNK:
            raise MalformedMessageError("it sent too large a piece")
        if self.room < 0 or self._calls.waiting + size > MAX_WAITING:
            raise MalformedMessageError("it sent more pieces than there is room for")
        if not self._left:
            self._calls.waiting += size
            self.items.put_nowait(("chunk", value, size))

    def finish(self, item: Item | ProviderError) -> None:
        """Take what it ends with; nothing more comes."""
        self._finished = True
        if self._timer is not None:
            self._timer.cancel()
        if not self._left:
            self.items.put_nowait(item)

    def leave(self) -> None:
        """End it from this side; to be called in any case, also once it has ended."""
        self._left = True
        while not self.items.empty():
            item = self.items.get_nowait()
            if not isinstance(item, ProviderError) and item[0] == "chunk":
                self._calls.waiting -= item[2]
        if not self._finished and self._timer is None:
            self._calls.send({"cancel": self.number})
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(CANCEL_SECONDS, self._calls.hangs)


class Calls:
    """All calls to one child.

    Args:
        provider: Name of the provider.
        send: Sends a message to the child.
        hangs: Called when the child does not even answer a cancelled call.
    """

    def __init__(self, provider: str, send: Send, hangs: Callable[[], None]) -> None:
        self.provider = provider
        self.send = send
        self.hangs = hangs
        self.waiting = 0
        self.by_number: dict[int, Call] = {}
        self._last = 0

    def start(self, do: str, arguments: Mapping[str, Any], *, window: int = 0) -> Call:
        """Send a call.

        Args:
            do: What to do.
            arguments: Plain data.
            window: How many pieces may come that nobody has taken.

        Raises:
            TypeError: The arguments are not plain data.
            ValueError: They are too long.
        """
        number = self._last + 1
        self.send({"id": number, "do": do, "with": arguments})
        self._last = number
        call = self.by_number[number] = Call(number, self, window)
        return call

    def expect(self, number: int) -> Call:
        """Wait for an answer that was not asked for: to the configuration."""
        call = self.by_number[number] = Call(number, self, 0)
        return call

    def take(self, message: dict[str, Any], size: int) -> None:
        """Hand a message of the child to the call that it is for.

        Args:
            message: The message.
            size: Its weight in bytes; see ``wire.weigh``.

        Raises:
            MalformedMessageError: It is for no call that is under way, or unexpected.
        """
        number = message.get("id")
        call = self.by_number.get(number) if type(number) is int else None
        if call is None:
            raise MalformedMessageError("it is for no call that is under way")
        match message:
            case {"chunk": value}:
                call.put(value, size)
            case {"ok": value}:
                self._end(call, ("ok", value, size))
            case {"error": value}:
                self._end(call, error_from_data(value, provider=self.provider))
            case _:
                raise MalformedMessageError("it is of no known kind")

    def _end(self, call: Call, item: Item | ProviderError) -> None:
        del self.by_number[call.number]
        call.finish(item)

    def fail(self, error: Callable[[], ProviderError]) -> None:
        """End all calls with an error of their own each."""
        calls, self.by_number = list(self.by_number.values()), {}
        for call in calls:
            call.finish(error())
