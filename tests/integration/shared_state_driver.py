"""A service in a process of its own, for test_shared_state: commands in, answers out, as JSON lines."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from collections.abc import Mapping
from typing import Any

from typing_extensions import override

from amas.providers import ProviderError, ProviderManager
from amas.providers.manager import rules
from amas.providers.manager.rate_limits import RateLimits
from amas.providers.manager.redis_store import RedisStore

# A busy machine may take longer than a store has patience; then it is back a second later.
_LONGEST_WAIT = 10.0


class Records(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    @override
    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.levelname} {record.getMessage()}")


class Service:
    """What the commands do; each is a method of its name."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._manager: ProviderManager | None = None
        self._callers: list[asyncio.Task[None]] = []
        self._calls: list[dict[str, Any]] = []

    @property
    def manager(self) -> ProviderManager:
        assert self._manager is not None, "nothing is open"
        return self._manager

    async def open(
        self,
        config: Mapping[str, Any],
        *,
        alone: bool = False,
        patience: float = 0.05,
        lease_margin: float = 5.0,
    ) -> None:
        """Build and start a manager, and wait until it hears others unless it is alone."""
        rules._LEASE_MARGIN = lease_margin
        for shared in (RedisStore, RateLimits):
            defaults = shared.__init__.__kwdefaults__
            assert defaults is not None
            assert "timeout" in defaults
            defaults["timeout"] = patience
        self._records.lines.clear()
        self._manager = ProviderManager.from_config(config)
        await self.manager.initialize_all_providers()
        ends = time.monotonic() + _LONGEST_WAIT
        while not alone and (why := await self.manager.refresh()):
            assert time.monotonic() < ends, why
            await asyncio.sleep(0.05)

    async def call(self, count: int = 1) -> list[dict[str, Any]]:
        """Make some calls at once."""
        return await asyncio.gather(*(self._one() for _ in range(count)))

    async def _one(self) -> dict[str, Any]:
        began = time.monotonic()
        record: dict[str, Any] = {"at": began, "provider": None, "error": None}
        try:
            record["provider"] = (await self.manager.generate("hi"))["provider"]
        except ProviderError as error:
            record["error"] = f"{type(error).__name__}: {error}"
        return record | {"seconds": time.monotonic() - began}

    async def begin(self, callers: int, pause: float) -> None:
        """Begin to call all the time."""
        self._callers = [asyncio.create_task(self._go_on(pause)) for _ in range(callers)]

    async def _go_on(self, pause: float) -> None:
        while True:
            self._calls.append(await self._one())
            await asyncio.sleep(pause)

    async def calls(self) -> list[dict[str, Any]]:
        """Return the calls of it so far."""
        return self._calls

    async def end(self) -> list[dict[str, Any]]:
        """End that, and return every call of it."""
        calls, self._calls = self._calls, []
        for caller in self._callers:
            caller.cancel()
        await asyncio.gather(*self._callers, return_exceptions=True)
        return calls

    async def status(self) -> dict[str, Any]:
        """Hear the others, and return how the providers are doing, and why nobody was heard."""
        why = await self.manager.refresh()
        return {"why": why, "providers": self.manager.status()}

    async def logged(self) -> list[str]:
        """Return what was logged since the manager was opened."""
        return self._records.lines

    async def close(self) -> list[str]:
        """Shut down, and return the names of the tasks that are left."""
        if self._manager is not None:
            await self._manager.shutdown()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        return [task.get_name() for task in left]


async def main() -> None:
    """Serve until stdin ends."""
    records = Records()
    logger = logging.getLogger("amas")
    logger.setLevel(logging.INFO)
    logger.addHandler(records)
    service = Service(records)
    while line := await asyncio.to_thread(sys.stdin.readline):
        command = json.loads(line)
        try:
            answer = {"answer": await getattr(service, command.pop("do"))(**command)}
        except Exception as error:  # noqa: BLE001 -- the test is to see it
            answer = {"failed": repr(error)}
        sys.stdout.write(json.dumps(answer, default=str) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
