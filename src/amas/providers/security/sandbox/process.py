"""A child process, as seen from the service: started, asked, watched, and in the end gone."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import weakref
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from typing import Any, Final, Self, TypeAlias

from ...base import ProviderConfig
from ...errors import (
    InvalidRequestError,
    ProviderError,
    ProviderUnavailableError,
)
from ...observability.logging import get_logger
from .calls import Calls
from .limits import CpuBudget, used_cpu
from .output import Output
from .server import WINDOW
from .spawning import clear_away, command, first_message, kill_group, prepare
from .wire import MAX_FROM_CHILD, MAX_TO_CHILD, MalformedMessageError, pack, receive

# Python's start, the sandbox, and the import of LiteLLM on a slow machine.
START_SECONDS: Final = 30.0
# Each of: a farewell call, the end of the channel, SIGTERM.
POLITE_SECONDS: Final = 1.0

# A killed process ends in no time; unless it waits for a disk.
_REAP_SECONDS: Final = 1.0
# How often it is looked at what CPU a child has used.
_WATCH_SECONDS: Final = 0.5
_READ_BUFFER: Final = 64 * 1024
Spawned: TypeAlias = (
    "tuple[asyncio.subprocess.Process, asyncio.StreamReader, asyncio.StreamWriter, str]"
)

_log = get_logger("amas.providers.sandbox")


class ChildProcess:
    """One child process and the channel to it; made by ``start``.

    Args:
        config: Configuration of its provider.
        spawned: The process, our end of the channel, and its private folder.
        ended: Called once when it has ended without being asked to.
    """

    def __init__(self, config: ProviderConfig, spawned: Spawned, ended: Callable[[], None]) -> None:
        self.loop = asyncio.get_running_loop()
        self.alive = True
        self.process, self._reader, self._writer, folder = spawned
        self.calls = Calls(config.name, self._send, self._hangs)
        self._config = config
        self._ended = ended
        self._closing = False
        self._why: str | None = None
        # For an event loop that is closed without further ado, and for the end of the interpreter.
        self._remains = weakref.finalize(self, clear_away, self.process.pid, folder)
        pid = self.process.pid
        self._cpu = CpuBudget(config.sandbox.cpu_seconds, lambda: used_cpu(pid))
        self._watch = self.loop.call_later(_WATCH_SECONDS, self._watch_cpu)
        self._supervisor = asyncio.create_task(self._supervise())

    @classmethod
    async def start(
        cls, factory: str, config: ProviderConfig, ended: Callable[[], None]
    ) -> tuple[Self, dict[str, Any]]:
        """Start a child, hand it its configuration, and wait until it has made its provider.

        Args:
            factory: Where the provider's factory is: ``package.module:attribute``.
            config: The provider's configuration.
            ended: Called when it ends without being asked to.

        Returns:
            The child and its report of what protects the service from it.

        Raises:
            ProviderConfigError: It cannot make its provider.
            ProviderError: It does not start.
        """
        first_message(factory, config)  # before there is a process that waits for it
        spawning = asyncio.create_task(_spawn(config.name))
        try:
            spawned = await asyncio.shield(spawning)
        except asyncio.CancelledError:
            # It is short, and only then is there something to end.
            await asyncio.wait([spawning])
            if not spawning.cancelled() and spawning.exception() is None:
                await cls(config, spawning.result(), ended).kill()
            raise
        child = cls(config, spawned, ended)
        child._writer.write(first_message(factory, config))
        try:
            _, report, _ = await child.calls.expect(0).next(START_SECONDS)
        except BaseException:
            await child.close()
            raise
        return child, report if isinstance(report, dict) else {}

    async def ask(self, do: str, arguments: Mapping[str, Any], seconds: float) -> Any:
        """Let the child do something.

        Args:
            do: What: a method of its provider.
            arguments: Plain data.
            seconds: How long to wait.

        Raises:
            ProviderError: It failed, there or on the way.
        """
        call = self._start(do, arguments)
        try:
            return (await call.next(seconds))[1]
        finally:
            call.leave()

    async def stream(self, arguments: Mapping[str, Any], seconds: float) -> AsyncIterator[Any]:
        """Let the child stream.

        Args:
            arguments: Plain data.
            seconds: How long to wait for it, all waits together.

        Yields:
            The pieces.

        Raises:
            ProviderError: As for ``ask``.
        """
        call = self._start("stream", arguments, window=WINDOW)
        try:
            while True:
                asked = self.loop.time()
                kind, value, _ = await call.next(max(seconds, 0))
                seconds -= self.loop.time() - asked
                if kind == "ok":
                    return
                yield value
        finally:
            call.leave()

    def _start(self, do: str, arguments: Mapping[str, Any], *, window: int = 0) -> Any:
        if self.alive:
            self._check_cpu()
        if not self.alive or self._why is not None:
            raise self._error()
        self._cpu.renew()
        try:
            return self.calls.start(do, arguments, window=window)
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidRequestError(
                f"the request cannot be handed to the provider's process: {error}",
                provider=self._config.name,
            ) from None

    def _send(self, message: Mapping[str, Any]) -> None:
        # Not waiting until it is taken: each call has one message, and then waits itself.
        data = pack(message, MAX_TO_CHILD)
        if self.alive:
            self._writer.write(data)

    def _watch_cpu(self) -> None:
        self._check_cpu()
        self._watch = self.loop.call_later(_WATCH_SECONDS, self._watch_cpu)

    def _check_cpu(self) -> None:
        if self._cpu.is_spent():
            self._stop("used more CPU than a call may and was ended")

    def _hangs(self) -> None:
        self._stop("did not answer, not even a cancelled call, and was ended")

    def _stop(self, why: str) -> None:
        self._why = self._why or why
        self._end()

    async def _supervise(self) -> None:
        """Read what it sends until it is gone, and see to it that all of it is gone."""
        assert self.process.stdout is not None
        output = asyncio.create_task(Output(self._config.name).read(self.process.stdout))
        try:
            while (
                received := await receive(self._reader, MAX_FROM_CHILD, trusted=False)
            ) is not None:
                self.calls.take(*received)
        except MalformedMessageError as error:
            self._why = f"sent a malformed message ({error}) and was ended"
        except Exception as error:  # noqa: BLE001 -- whatever it is, its calls are to hear of it
            self._why = f"sent what cannot be read ({type(error).__name__}) and was ended"
        except asyncio.CancelledError:
            # With the event loop: that is no failure.
            self._closing = True
            self._why = self._why or "was ended"
        finally:
            self.alive = False
            self._watch.cancel()
            if not self.loop.is_closed():
                self._writer.close()
                await self._bury(output)

    async def _bury(self, output: asyncio.Task[None]) -> None:
        kill_group(self.process.pid, signal.SIGKILL)
        with suppress(TimeoutError):
            code = await asyncio.wait_for(self.process.wait(), _REAP_SECONDS)
            self._why = self._why or _describe(code)
        self.calls.fail(self._error)
        if not self._closing:
            _log.warning("child_ended", provider=self._config.name, why=self._why)
            self._ended()
        await asyncio.wait([output], timeout=POLITE_SECONDS)
        output.cancel()
        with suppress(OSError):
            await self._writer.wait_closed()
        await asyncio.to_thread(self._remains)

    def _error(self) -> ProviderError:
        return ProviderUnavailableError(
            f"its process {self._why or 'is gone'}", provider=self._config.name
        )

    async def kill(self) -> None:
        """End it at once; harmless when repeated."""
        self._closing = True
        self._end()
        await asyncio.wait([self._supervisor])

    async def close(self) -> None:
        """End it: asked politely, then by SIGTERM, then by SIGKILL; harmless when repeated."""
        self._closing = True
        try:
            if self.alive:
                await self._say_farewell()
        finally:
            await self.kill()

    def _end(self) -> None:
        # As if the child had gone; a cancelled task may not even have begun.
        self._writer.transport.abort()

    async def _say_farewell(self) -> None:
        with suppress(ProviderError):
            await self.ask("shutdown", {}, POLITE_SECONDS)
        if self.alive:
            self._writer.write_eof()
            await asyncio.wait([self._supervisor], timeout=POLITE_SECONDS)
        if self.alive:
            kill_group(self.process.pid, signal.SIGTERM)
            await asyncio.wait([self._supervisor], timeout=POLITE_SECONDS)

    def abandon(self) -> None:
        """End it without its event loop, which is closed."""
        self.alive = False
        self._remains()


async def _spawn(provider: str) -> Spawned:
    folder, environment = await asyncio.to_thread(prepare)
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            process = await asyncio.create_subprocess_exec(
                *command(theirs.fileno()),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                cwd=folder,
                env=environment,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        except BaseException as error:
            ours.close()
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            if not isinstance(error, OSError):
                raise
            raise ProviderUnavailableError(
                f"its process cannot be started: {error.strerror}", provider=provider
            ) from error
    reader, writer = await asyncio.open_connection(sock=ours, limit=_READ_BUFFER)
    return process, reader, writer, folder


def _describe(code: int) -> str:
    if code >= 0:
        return f"ended with status {code}"
    # Those for real time have no names.
    named = {item.value: item.name for item in signal.Signals}
    return f"was killed by {named.get(-code, f'signal {-code}')}"
