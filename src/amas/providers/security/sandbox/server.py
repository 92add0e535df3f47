"""The child's side of the channel: it runs the provider's calls and sends what comes of them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import asdict
from typing import Any, Final

from ...base import ProviderBase
from ...base.faults import said_by
from ...types import StreamChunk
from .portable import error_to_data, facts_to_data
from .wire import MAX_CHUNK, MAX_FROM_CHILD, MAX_TO_CHILD, pack, receive, weigh

WINDOW: Final = 16
"""How many pieces of a stream are sent before the first of them is taken."""


class Server:
    """Answers calls to a provider until the service is gone.

    Args:
        provider: The provider.
        reader: Where calls come from.
        writer: Where answers go.
        leave: Ends the process, when the provider asks for that.
    """

    def __init__(
        self,
        provider: ProviderBase,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        leave: Callable[[int], object] = os._exit,
    ) -> None:
        self._provider = provider
        self._reader = reader
        self._writer = writer
        self._leave = leave
        self._calls: dict[int, asyncio.Task[None]] = {}
        self._room: dict[int, asyncio.Semaphore] = {}

    async def run(self) -> None:
        """Answer calls until the channel ends; then end those under way."""
        try:
            while (received := await receive(self._reader, MAX_TO_CHILD)) is not None:
                self._take(received[0])
        finally:
            calls = list(self._calls.values())
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)

    def _take(self, message: dict[str, Any]) -> None:
        match message:
            case {"cancel": number}:
                if number in self._calls:
                    # Later, because one that has not even begun would end without an answer.
                    asyncio.get_running_loop().call_soon(self._calls[number].cancel)
            case {"more": number, "count": count}:
                for _ in range(count if number in self._room else 0):
                    self._room[number].release()
            case {"id": number, "do": do, "with": arguments}:
                self._calls[number] = asyncio.ensure_future(self._answer(number, do, arguments))

    async def _answer(self, number: int, do: str, arguments: dict[str, Any]) -> None:
        try:
            message = {"id": number, "ok": await self._do(number, do, arguments)}
        except (SystemExit, KeyboardInterrupt):
            # At once: the ordinary way out waits for threads that the provider may have started.
            self._leave(1)
            raise
        except BaseException as error:  # noqa: BLE001 -- whatever it is, the service is to hear of it
            message = {"id": number, "error": error_to_data(error)}
        finally:
            del self._calls[number]
            self._room.pop(number, None)
        self._writer.write(_packed(message))
        await self._writer.drain()

    async def _do(self, number: int, do: str, arguments: dict[str, Any]) -> Any:
        provider = self._provider
        match do:
            case "initialize":
                ready = await provider.initialize()
                return self._state(ready=ready) | {"facts": facts_to_data(provider)}
            case "health_check":
                return self._state(ready=await provider.health_check())
            case "generate":
                return await provider.generate(arguments["prompt"], **arguments["kwargs"])
            case "stream":
                return await self._stream(number, arguments)
            case _:  # embed, list_models, verify_key, warm_up, shutdown
                return await getattr(provider, do)(**arguments)

    def _state(self, *, ready: bool) -> dict[str, Any]:
        error = self._provider.last_error
        return {
            "ready": bool(ready),
            "error": None if ready or error is None else error_to_data(error),
        }

    async def _stream(self, number: int, arguments: dict[str, Any]) -> None:
        room = self._room[number] = asyncio.Semaphore(WINDOW)
        source: Any = self._provider.stream(arguments["prompt"], **arguments["kwargs"])
        async with aclosing(source):
            async for chunk in source:
                await room.acquire()
                self._writer.write(_packed_chunk(number, chunk))
                await self._writer.drain()


def _packed(message: dict[str, Any]) -> bytes:
    try:
        data = pack(message, MAX_FROM_CHILD)
        weigh(data)
    except Exception as error:  # noqa: BLE001 -- plain data it is not; what it is instead may raise anything
        problem = TypeError(f"the answer cannot be handed on: {said_by(error)}")
        return pack({"id": message["id"], "error": error_to_data(problem)}, MAX_FROM_CHILD)
    return data


def _packed_chunk(number: int, chunk: StreamChunk) -> bytes:
    data = pack({"id": number, "chunk": asdict(chunk)}, MAX_CHUNK)
    if weigh(data) > MAX_CHUNK:
        raise ValueError("a piece of a stream has too many values")
    return data
