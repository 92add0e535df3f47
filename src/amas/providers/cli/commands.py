"""What the commands do."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..base import ProviderBase
from ..errors import (
    InvalidRequestError,
    NoProviderAvailableError,
    ProviderError,
    StreamInterruptedError,
)
from ..manager.provider_manager import ProviderManager
from ..types import Attempt, ProviderStatus, Usage
from . import output
from .configuration import load_manager, nobody_there

_QUESTION = "Reply with the one word: ready"


async def generate(
    config: Path | None, prompt: str, asked: Mapping[str, Any], *, stream: bool, as_json: bool
) -> int:
    """Ask, and print the answer; who gave it goes to stderr."""
    ask = _print_stream if stream else _print_answer
    async with load_manager(config) as manager:
        try:
            await ask(manager, prompt, asked, as_json=as_json)
        except NoProviderAvailableError as error:
            nobody_there(error, config)
            return 1
        except InvalidRequestError as error:
            output.say(f"{type(error).__name__}: {error}")
            return 2
    return 0


async def _print_answer(
    manager: ProviderManager, prompt: str, asked: Mapping[str, Any], *, as_json: bool
) -> None:
    result = await manager.generate(prompt, **asked)
    if as_json:
        output.answer_json(result)
        return
    output.answer(result["content"])
    _say_who(result["provider"], result["model"], result["usage"], result["attempts"])


async def _print_stream(
    manager: ProviderManager, prompt: str, asked: Mapping[str, Any], *, as_json: bool
) -> None:
    try:
        async for chunk in manager.stream(prompt, **asked):
            if as_json:
                output.answer_json(dataclasses.asdict(chunk))
                continue
            output.answer(chunk.content, end="")
            if chunk.finish_reason is not None:
                output.answer("")
                _say_who(chunk.provider, chunk.model, chunk.usage, chunk.attempts)
    except StreamInterruptedError:
        # What is said next begins on a line of its own.
        output.answer("")
        raise


def _say_who(
    provider: str, model: str | None, usage: Usage | None, attempts: Sequence[Attempt]
) -> None:
    failed = [f"{item['provider']} ({item['outcome']})" for item in attempts[:-1]]
    parts = [
        f"{provider} {model or ''}".strip(),
        f"{usage['total_tokens']} tokens" if usage else "",
        f"after {', '.join(failed)}" if failed else "",
    ]
    output.say(f"[{' · '.join(part for part in parts if part)}]")


async def providers(config: Path | None, *, as_json: bool) -> int:
    """Show how each configured provider is doing."""
    async with load_manager(config) as manager:
        await manager.check_health()
        status = manager.status()
    if as_json:
        output.answer_json(status)
        return 0
    output.table(
        "Providers, in fallback order",
        ["provider", "model", "state", "check (ms)", "why"],
        [
            (item["name"], item["model"], item["state"], item["check_ms"], item["reason"])
            for item in status.values()
        ],
    )
    return 0


_STATUS_COLUMNS = (
    "provider",
    "state",
    "circuit",
    "health",
    "in flight",
    "p50 / p95 (ms)",
    "success",
    "next probe",
    "last error",
)


async def status(config: Path | None, *, every: float | None, as_json: bool) -> int:
    """Show how each provider is doing, once or until interrupted."""
    async with load_manager(config) as manager:
        await manager.check_health()
        with output.live_table() as show:
            while True:
                await manager.refresh()
                current = manager.status()
                if as_json:
                    output.answer_json(current)
                else:
                    title = f"Status at {time.strftime('%H:%M:%S')} (state: {_shared(manager)})"
                    show(title, _STATUS_COLUMNS, [_row(item) for item in current.values()])
                if every is None:
                    return 0
                await asyncio.sleep(every)


def _shared(manager: ProviderManager) -> str:
    memory = manager.settings.state == "memory"
    return "memory, the view of this process" if memory else "redis, shared"


def _row(item: ProviderStatus) -> tuple[Any, ...]:
    rate = item["success_rate"]
    times = (item["latency_p50_ms"], item["latency_p95_ms"])
    keys = [f"key {key['key']}: {key['state']}" for key in item["keys"]]
    return (
        item["name"],
        "\n".join([item["state"], *keys]),
        item["circuit"],
        "well" if item["healthy"] else "ill",
        f"{item['in_flight']}" + (f" (+{item['waiting']} waiting)" if item["waiting"] else ""),
        " / ".join("-" if value is None else f"{value:.0f}" for value in times),
        "-" if rate is None else f"{rate:.0%}",
        _next_probe(item),
        item["last_error"] or item["reason"],
    )


def _next_probe(item: ProviderStatus) -> str:
    """Say when the next request or check finds out whether it is back, or still well."""
    asked, checked = item["retry_after"], item["next_check"]
    parts = [
        "" if asked is None else f"call in {asked:.0f} s",
        "" if checked is None else f"check in {checked:.0f} s",
    ]
    return ", ".join(part for part in parts if part) or "-"


async def check(config: Path | None, *, free: bool, as_json: bool) -> int:
    """Check the configuration, then each provider by itself."""
    async with load_manager(config) as manager:
        enabled = [item for item in manager.providers.values() if item.config.enabled]
        verdicts = await asyncio.gather(*(_verdict(item, free=free) for item in enabled))
    rows = [
        {"provider": item.name, "model": item.model, "ok": error is None, "error": error}
        for item, error in zip(enabled, verdicts, strict=True)
    ]
    if as_json:
        output.answer_json(rows)
    else:
        output.say(f"{config or 'environment'}: the configuration is valid")
        output.table(
            "Each provider by itself",
            ["provider", "model", "verdict"],
            [(row["provider"], row["model"], row["error"] or "ok") for row in rows],
        )
    if not rows:
        output.say("no provider is enabled")
    return 0 if rows and all(row["ok"] for row in rows) else 1


async def _verdict(provider: ProviderBase, *, free: bool) -> str | None:
    """Return what is wrong with a provider; None if it answers."""
    try:
        if not provider.initialized:
            return provider.last_error.message if provider.last_error else "cannot be started"
        if not free:
            await provider.generate(_QUESTION, max_tokens=16)
    except ProviderError as error:
        return error.message
    return None


async def upstream(host: str, port: int, faults: Sequence[str]) -> int:
    """Serve until interrupted."""
    from ..testing.upstream import parse_fault, serve  # noqa: PLC0415 -- only this command needs it

    try:
        parsed = [parse_fault(text) for text in faults]
    except ValueError as error:
        output.say(f"--fault: {error}")
        return 2
    try:
        await serve(
            host,
            port,
            faults=parsed,
            on_ready=lambda server: output.say(
                f"Listening on {server.url} as OpenAI, Anthropic, Ollama, Gemini and Cohere;"
                " end with Ctrl-C"
            ),
        )
    except OSError as error:
        output.say(f"cannot listen on {host}:{port}: {error.strerror}; take another --port")
        return 1
    return 0
