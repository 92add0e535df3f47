"""What one call costs, against peers, in one run: ``make bench``.

Every peer asks the same local server, which lives in a process of its own, in
rounds that take turns, so that a busy machine is busy for all of them. Shown
are medians and their ratio to a bare ``litellm.acompletion``.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

from rich.console import Console
from rich.table import Table

from amas.providers import OpenAIProvider, ProviderConfig, ProviderManager

ROUNDS = 20
CALLS_PER_ROUND = 25
KEY = "bench-" + "key" * 6
MODEL = "gpt-4o"
MESSAGES: list[Any] = [{"role": "user", "content": "hello"}]
BASELINE = "litellm.acompletion"

Ask = Callable[[], Awaitable[Any]]


def main() -> None:
    """Start the server, measure, and print the table."""
    command = [sys.executable, "-m", "amas.providers.cli", "upstream", "--port", "0"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        url = next(word for word in server.stderr.readline().split() if word.startswith("http"))
        figures = asyncio.run(measure(url))
    finally:
        server.terminate()
        server.wait()
    show(figures)


async def measure(url: str) -> dict[str, tuple[float, float]]:
    """Return wall and CPU milliseconds per call of each peer."""
    async with AsyncExitStack() as stack:
        peers = await prepare(url, stack)
        wall: dict[str, list[float]] = {name: [] for name in peers}
        cpu: dict[str, list[float]] = {name: [] for name in peers}
        for ask in peers.values():
            await ask()
        for _ in range(ROUNDS):
            for name, ask in peers.items():
                began = time.process_time()
                for _ in range(CALLS_PER_ROUND):
                    sent = time.perf_counter()
                    await ask()
                    wall[name].append((time.perf_counter() - sent) * 1000)
                cpu[name].append((time.process_time() - began) * 1000 / CALLS_PER_ROUND)
    return {name: (statistics.median(wall[name]), statistics.median(cpu[name])) for name in peers}


async def prepare(url: str, stack: AsyncExitStack) -> dict[str, Ask]:
    """Make each peer ready, each with a client of its own."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm
    import openai

    base_url = f"{url}/v1"
    sdk = openai.AsyncOpenAI(api_key=KEY, base_url=base_url, max_retries=0)
    stack.push_async_callback(sdk.close)
    given: dict[str, Any] = {"model": f"openai/{MODEL}", "api_base": base_url, "api_key": KEY}
    router = litellm.Router(model_list=[{"model_name": "m", "litellm_params": given}])
    stack.push_async_callback(litellm.close_litellm_async_clients)
    config = ProviderConfig("openai", api_key=KEY, base_url=base_url, model=MODEL)
    provider = OpenAIProvider(config)
    await provider.initialize()
    stack.push_async_callback(provider.shutdown)
    manager = await stack.enter_async_context(ProviderManager())
    await manager.register_provider(OpenAIProvider(config))
    return {
        "openai SDK": lambda: sdk.chat.completions.create(model=MODEL, messages=MESSAGES),
        BASELINE: lambda: litellm.acompletion(messages=MESSAGES, max_retries=0, **given),
        "litellm.Router": lambda: router.acompletion(model="m", messages=MESSAGES),
        "our adapter": lambda: provider.generate(MESSAGES),
        "our manager": lambda: manager.generate(MESSAGES),
    }


def show(figures: dict[str, tuple[float, float]]) -> None:
    """Print the table."""
    table = Table(title=f"One call, {ROUNDS * CALLS_PER_ROUND} calls each", title_justify="left")
    for column in ("", "median ms", "CPU ms", f"CPU / {BASELINE}"):
        table.add_column(column, justify="left" if not column else "right")
    _, base = figures[BASELINE]
    for name, (wall, cpu) in figures.items():
        table.add_row(name, f"{wall:.2f}", f"{cpu:.2f}", f"{cpu / base:.2f}x")
    Console().print(table)


if __name__ == "__main__":
    main()
