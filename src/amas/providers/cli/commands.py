"""What the commands do."""

from __future__ import annotations

import asyncio
import dataclasses
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
from ..types import Attempt, Usage
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
