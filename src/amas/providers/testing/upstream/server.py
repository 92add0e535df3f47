"""The upstream: a local server that speaks the vendors' wire formats."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any, Final, Self

from aiohttp import web

from .answering import Settings, answer, authorise
from .arrival import Arrival, receive
from .chat import ReplySource
from .faults import Fault, FaultQueue
from .recording import RecordedRequest
from .transmission import forever, reset_connection, transmit

_SHUTDOWN_SECONDS: Final = 0.1
_SETTLING_TURNS: Final = 5
_WILDCARDS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104


class Upstream:
    """A local HTTP server that stands in for LLM vendors, with faults on demand.

    It speaks the formats of OpenAI, Azure, Anthropic, Ollama, Gemini, Vertex AI, Bedrock and Cohere
    at once, told apart by the end of the path, so any prefix that a base URL has is fine. Every model name is answered.
    Tokens are words: those of all messages for the prompt, those of text, reasoning and arguments
    of tool calls for the completion.

    It runs in the running event loop; see ThreadedUpstream for blocking clients. The attributes
    below may be changed while it runs.

    Args:
        name: Name given in the default reply.
        host: Address to bind.
        port: Port to bind; 0 takes a free one. After a stop the same port is bound again.
        reply: None for "<name> says: <last user text>", a fixed text, or a function of the
            ChatRequest that returns a text or a Reply.
        keys: API keys that are accepted; None accepts all, a str is one key.
        models: Models in the listings.
        context_window: Longest prompt in tokens; longer ones get the vendor's error.
        chunk_delay: Seconds between the chunks of a stream.
    """

    def __init__(
        self,
        name: str = "upstream",
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        reply: ReplySource = None,
        keys: Collection[str] | None = None,
        models: Sequence[str] = ("test-model",),
        context_window: int | None = None,
        chunk_delay: float = 0.0,
    ) -> None:
        """Prepare a server; nothing is bound yet."""
        self.name = name
        self.host = host
        self.port = port
        self.reply = reply
        self.keys = keys
        self.models = models
        self.context_window = context_window
        self.chunk_delay = chunk_delay
        self._faults = FaultQueue()
        self._lock = threading.Lock()
        self._requests: list[RecordedRequest] = []
        self._serial = 0
        self._listener: socket.socket | None = None
        self._runner: web.AppRunner | None = None
        self._handlers: set[asyncio.Task[Any]] = set()
        self._watchers: set[asyncio.Future[None]] = set()

    async def __aenter__(self) -> Self:
        """Start the server."""
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Stop the server."""
        await self.stop()

    async def start(self) -> None:
        """Bind the port and begin to answer.

        Raises:
            RuntimeError: If it runs already.
            OSError: If the port cannot be bound.
        """
        if self._runner is not None:
            raise RuntimeError(f"upstream {self.name!r} is already running at {self.url}")
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        listener = socket.create_server((self.host, self.port), family=family)
        application = web.Application(client_max_size=0)
        application.router.add_route("*", "/{path:.*}", self._handle)
        logger = logging.getLogger("amas.upstream")
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())
        runner = web.AppRunner(
            application,
            handler_cancellation=True,
            shutdown_timeout=_SHUTDOWN_SECONDS,
            access_log=None,
            logger=logger,
        )
        await runner.setup()
        await web.SockSite(runner, listener).start()
        self.port = listener.getsockname()[1]
        self._listener, self._runner = listener, runner

    async def stop(self) -> None:
        """Close every connection at once, also those that wait for an answer; idempotent."""
        runner, self._runner = self._runner, None
        if runner is None or self._listener is None:
            return
        # Python 3.11 leaks a connection whose acceptance is under way when the listener closes
        # (asyncio.Server._attach fails), so accept no more first and let that come to its end.
        asyncio.get_running_loop().remove_reader(self._listener)
        await _settle()
        for connection in runner.server.connections if runner.server else ():
            if connection.transport is not None:
                connection.transport.abort()
        for task in list(self._handlers):
            task.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)
        await runner.cleanup()
        await _settle()  # an aborted transport closes its socket in the next turn

    @property
    def url(self) -> str:
        """Base URL without a trailing slash.

        Raises:
            RuntimeError: If the upstream was never started, and its port is not known.
        """
        if not self.port:
            raise RuntimeError(f"upstream {self.name!r} has no port yet: start it first")
        host = _WILDCARDS.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def requests(self) -> list[RecordedRequest]:
        """The requests so far in order of arrival: a new list of the same live records."""
        with self._lock:
            return list(self._requests)

    def fault(self, fault: Fault | None = None, /, **options: Any) -> Fault:
        """Queue a fault; ``fault(status=503)`` is short for ``fault(Fault(status=503))``.

        Args:
            fault: The fault.
            **options: Arguments of a Fault, instead of one.

        Returns:
            The queued fault.

        Raises:
            TypeError: If both or neither are given.
            ValueError: If the options make no fault.
        """
        if (fault is None) == (not options):
            raise TypeError("fault() takes either a Fault or the arguments of one")
        queued = Fault(**options) if fault is None else fault
        self._faults.add(queued)
        return queued

    def clear(self) -> None:
        """Forget all faults and recorded requests."""
        self._faults.clear()
        with self._lock:
            self._requests.clear()

    async def wait_for(
        self, condition: Callable[[RecordedRequest], bool], *, within: float = 5.0
    ) -> RecordedRequest:
        """Wait until a recorded request meets a condition, such as ``lambda r: r.aborted``.

        Args:
            condition: Looked at whenever a request arrives, completes or is aborted.
            within: Seconds to wait.

        Returns:
            The first request that meets it.

        Raises:
            TimeoutError: If none does in time; the text lists the recorded requests.
        """
        try:
            async with asyncio.timeout(within):
                while True:
                    for record in self.requests:
                        if condition(record):
                            return record
                    watcher = asyncio.get_running_loop().create_future()
                    self._watchers.add(watcher)
                    await watcher
        except TimeoutError:
            seen = ", ".join(map(repr, self.requests)) or "none"
            raise TimeoutError(
                f"no request met the condition within {within} s; recorded: {seen}"
            ) from None

    def _notify(self) -> None:
        for watcher in self._watchers:
            if not watcher.done():
                watcher.set_result(None)
        self._watchers.clear()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        """Record a request, answer it, and note how it ended."""
        loop = asyncio.get_running_loop()
        arrived_at = loop.time()
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        task.add_done_callback(self._handlers.discard)
        arrival, record = receive(
            request.method,
            request.path,
            request.query,
            request.headers,
            await request.read(),
            arrived_at=arrived_at,
            created=int(time.time()),
        )
        arrival = replace(arrival, serial=self._remember(record))
        try:
            response = await self._answer(request, arrival, record)
        except (asyncio.CancelledError, ConnectionError) as error:
            if self._runner is not None:
                record.aborted, record.aborted_at = True, loop.time()
            if isinstance(error, asyncio.CancelledError):
                raise
            return web.Response()  # cannot be sent; raising would make aiohttp log a traceback
        else:
            record.completed_at = loop.time()
            return response
        finally:
            self._notify()

    def _remember(self, record: RecordedRequest) -> int:
        with self._lock:
            self._requests.append(record)
            self._serial += 1
        self._notify()
        return self._serial

    async def _answer(
        self, request: web.Request, arrival: Arrival, record: RecordedRequest
    ) -> web.StreamResponse:
        settings = Settings(self.name, self.reply, self.keys, self.models, self.context_window)
        refusal = authorise(arrival, settings)
        if refusal is not None:
            return await transmit(request, refusal, 0.0)
        fault = self._faults.take(record)
        if fault is not None and fault.delay:
            await asyncio.sleep(fault.delay)
        if fault is not None and fault.hang:
            await forever()
        if fault is not None and fault.reset:
            reset_connection(request)
            return web.Response()  # only for aiohttp's sake: nothing can be sent any more
        sent = answer(arrival, settings, fault)
        pause = (fault.trickle if fault else 0.0) or (self.chunk_delay if sent.streamed else 0.0)
        return await transmit(request, sent, pause)


async def _settle() -> None:
    """Let the event loop turn until what it has already begun with sockets is done."""
    for _ in range(_SETTLING_TURNS):
        await asyncio.sleep(0)
