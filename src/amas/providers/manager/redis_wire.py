"""How Redis is spoken to: names, clocks, and the commands of one round trip."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import ProviderConfigError
from ..observability.logging import get_logger
from ..secret import Secret
from .state_codec import decode, encode, lifetime
from .state_store import Entry

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.asyncio.connection import AbstractConnection

_log = get_logger("amas.providers.state")

# Compare and delete: only who holds a lease can give it back (Redis' documentation of SET).
_RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


@dataclass(slots=True, eq=False)
class Trip:
    """A round trip: what is asked and told in it, and, once it is over, the answers."""

    over: asyncio.Future[None]
    keys: dict[str, None] = field(default_factory=dict)
    leases: dict[str, tuple[str, int]] = field(default_factory=dict)  # token: name, milliseconds
    pushes: dict[str, Entry] = field(default_factory=dict)
    releases: dict[str, str] = field(default_factory=dict)  # token: name
    sums: dict[str, tuple[float, float]] = field(default_factory=dict)  # name: amount, seconds
    answered: bool = False
    entries: dict[str, Entry] = field(default_factory=dict)
    granted: set[str] = field(default_factory=set)  # tokens
    totals: dict[str, float] = field(default_factory=dict)

    def end(self) -> None:
        """Let go whoever waits for it."""
        if not self.over.done():
            self.over.set_result(None)


class RedisWire:
    """What one store has to say to its server, and remembers of it.

    Args:
        url: Address of the server.
        prefix: What the name of every key begins with.
        clock: The local time in seconds; only differences matter.
        patience: Seconds that connecting, or closing a connection, may take.

    Raises:
        ProviderConfigError: The package ``redis`` is missing, or the address is none.
    """

    def __init__(self, url: str, prefix: str, clock: Callable[[], float], patience: float) -> None:
        self._url = Secret(url)
        self.prefix = prefix
        self._clock = clock
        self._patience = patience
        self._offset = 0.0  # the server's time minus the local clock's; each reply tells it anew
        self._told: dict[str, Entry] = {}
        self._repeat = False
        self._unreadable: set[str] = set()
        client = self.new_client()  # shows at once whether it can be made
        self.where = _place(client.connection_pool.connection_kwargs)

    @property
    def has_to_repeat(self) -> bool:
        """Whether the server may have forgotten what it was told."""
        return self._repeat and bool(self._told)

    def lease_name(self, key: str, version: str) -> str:
        """Return the name of a lease in Redis."""
        return f"{self.prefix}:lease:{key}:{version}"

    def _state_name(self, key: str) -> str:
        return f"{self.prefix}:state:{key}"

    def _sum_name(self, name: str) -> str:
        return f"{self.prefix}:sum:{name}"

    async def greet(self, client: Redis) -> None:
        """Connect, compare the clocks, and see that the server can be written to."""
        pipe = client.pipeline(transaction=False)
        pipe.time()
        pipe.set(f"{self.prefix}:writable", "1", px=1000)
        await self._run(pipe)

    async def exchange(self, client: Redis, trip: Trip) -> None:
        """Tell and ask all of a round trip; what is told comes first, so that we see it, too."""
        pipe = client.pipeline(transaction=False)
        pipe.time()
        repeated = self._told if self._repeat else {}
        self._repeat = False
        for entries, only_if_missing in ((repeated, True), (trip.pushes, False)):
            for key, entry in entries.items():
                self._write(pipe, key, entry, only_if_missing=only_if_missing)
        for token, name in trip.releases.items():
            pipe.eval(_RELEASE, 1, name, token)
        for token, (name, milliseconds) in trip.leases.items():
            pipe.set(name, token, nx=True, px=milliseconds)
        for name, (amount, seconds) in trip.sums.items():
            pipe.incrbyfloat(self._sum_name(name), amount)
            pipe.pexpire(self._sum_name(name), round(seconds * 1000))
        if trip.keys:
            pipe.mget([self._state_name(key) for key in trip.keys])
        replies = await self._run(pipe)
        if trip.keys:
            self._read(trip, replies.pop())
        if trip.sums:
            sums = replies[len(replies) - 2 * len(trip.sums) :]
            del replies[len(replies) - 2 * len(trip.sums) :]
            trip.totals = dict(zip(trip.sums, map(float, sums[::2]), strict=True))
        granted = replies[len(replies) - len(trip.leases) :]
        trip.granted = {token for token, reply in zip(trip.leases, granted, strict=True) if reply}
        now = self._clock()
        told = {**self._told, **trip.pushes}
        self._told = {key: entry for key, entry in told.items() if lifetime(entry, now) > 0}
        trip.answered = True

    async def _run(self, pipe: Any) -> list[Any]:
        """Send commands of which the first asks for the time, and return the replies."""
        before = self._clock()
        replies: list[Any] = await pipe.execute(raise_on_error=False)
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        seconds, microseconds = replies[0]
        self._offset = seconds + microseconds / 1e6 - (before + self._clock()) / 2
        return replies

    def _write(self, pipe: Any, key: str, entry: Entry, *, only_if_missing: bool) -> None:
        now = self._clock()
        milliseconds = round(lifetime(entry, now) * 1000)
        if milliseconds > 0:
            text = encode(entry, now, self._offset)
            pipe.set(self._state_name(key), text, px=milliseconds, nx=only_if_missing)

    def _read(self, trip: Trip, texts: Sequence[str | None]) -> None:
        for key, text in zip(trip.keys, texts, strict=True):
            if text is None:
                continue
            entry = decode(text, self._offset)
            if entry is not None:
                trip.entries[key] = entry
            elif key not in self._unreadable:
                self._unreadable.add(key)
                _log.warning("shared_state_unreadable", server=self.where, key=key)

    def new_client(self) -> Redis:
        """Return a client that connects when it is first used, and repeats nothing by itself."""
        try:
            from redis.asyncio import Redis  # noqa: PLC0415 -- an extra: needed only here
            from redis.asyncio.retry import Retry  # noqa: PLC0415
            from redis.backoff import NoBackoff  # noqa: PLC0415
        except ImportError:
            raise ProviderConfigError(
                "state: redis://… needs the package redis: pip install 'amas-providers[redis]'"
            ) from None
        try:
            client: Redis = Redis.from_url(
                self._url.get_secret_value(),
                decode_responses=True,
                encoding_errors="replace",  # somebody else's bytes must not end the connection
                max_connections=1,
                retry=Retry(NoBackoff(), 0),
                redis_connect_func=self._connected,
                socket_connect_timeout=self._patience,
            )
        except ValueError:
            # Its message may have a part of the password.
            raise ProviderConfigError(
                "state: not an address of a Redis server; write redis://host:6379/0"
            ) from None
        return client

    async def _connected(self, connection: AbstractConnection) -> None:
        """Greet a server that may have forgotten everything, such as one that was restarted."""
        await connection.on_connect()
        self._repeat = True


def _place(address: Mapping[str, Any]) -> str:
    """Return where a server is, without credentials.

    The scheme is left out: with it, an address that has no password would be the secret that
    the configured one is taken for, and be masked.
    """
    host = str(address.get("host", "localhost"))
    host = f"[{host}]" if ":" in host else host
    place = address.get("path") or f"{host}:{address.get('port', 6379)}"
    return f"{place}/{address.get('db', 0)}"
