"""Ways to be dead, and servers that die so."""

from __future__ import annotations

import contextlib
import math
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

from amas.providers.testing.upstream import ThreadedUpstream

# Defaults of ours: failures until the circuit opens, its first cooldown, and for how long a
# provider is left alone that answers 429 without saying for how long.
THRESHOLD = 5
COOLDOWN = 30.0
RATE_COOLDOWN = 1.0
# So short that there are probes to count; every cooldown is from 80% to 120% of it.
SHORT_COOLDOWN = 0.5
JITTER = 0.8


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to be dead.

    Args:
        name: What it is called.
        fault: What the server does; None for a server that is gone.
        free: Requests that ours may send before the provider is set aside.
        cooldown: Seconds for which it is then left alone, at least.
    """

    name: str
    fault: dict[str, Any] | None
    free: int = THRESHOLD
    cooldown: float = COOLDOWN

    def allowed(self, seconds: float) -> int:
        """Return how many requests ours may send in so many seconds."""
        return self.free + math.ceil(seconds / self.cooldown)

    def probes_allowed(self, seconds: float) -> int:
        """Return how many probes ours may send in so many seconds where cooldowns are short."""
        return math.ceil(seconds / min(self.cooldown, SHORT_COOLDOWN * JITTER))


KINDS = (
    Kind("503", {"status": 503}),
    Kind("429", {"code": "rate_limit_exceeded"}, 0, RATE_COOLDOWN),
    Kind("refused", None),
    Kind("hangs", {"hang": True}),
)


class Resetting:
    """A port at which every connection is counted and reset; for a server that is gone.

    Args:
        port: Which port.
    """

    def __init__(self, port: int) -> None:
        self.count = 0
        self._listener = socket.create_server(("127.0.0.1", port), backlog=256)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_raised: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.count += 1
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()


@contextlib.contextmanager
def dead(server: ThreadedUpstream, kind: Kind) -> Iterator[Callable[[], int]]:
    """Let a server be dead for a while; gives what counts the requests it gets."""
    server.clear()
    if kind.fault is None:
        port = server.upstream.port
        server.stop()
        with Resetting(port) as gone:
            yield lambda: gone.count
        server.start()
    else:
        server.fault(**kind.fault, times=None)
        yield lambda: sum(request.endpoint == "chat" for request in server.requests)
    server.clear()
