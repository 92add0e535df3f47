"""What the commands do."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..base import ProviderBase
from ..base.looking import looking_only
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
    async with load_manager(config, recorded=True) as manager:
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
    who = _who(manager, asked, result["provider"], result["model"])
    _say_who(who, result["usage"], result["attempts"])


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
                who = _who(manager, asked, chunk.provider, chunk.model)
                _say_who(who, chunk.usage, chunk.attempts)
    except StreamInterruptedError:
        # What is said next begins on a line of its own.
        output.answer("")
        raise


def _who(
    manager: ProviderManager, asked: Mapping[str, Any], provider: str, model: str | None
) -> str:
    """Say who answered, and by which alias they were asked."""
    alias = f"(alias {asked['model']})" if asked["model"] in manager.models else None
    return " ".join(part for part in (provider, model, alias) if part)


def _say_who(who: str, usage: Usage | None, attempts: Sequence[Attempt]) -> None:
    failed = [f"{item['provider']} ({item['outcome']})" for item in attempts[:-1]]
    parts = [
        who,
        f"{usage['total_tokens']} tokens" if usage else "",
        f"after {', '.join(failed)}" if failed else "",
    ]
    output.say(f"[{' · '.join(part for part in parts if part)}]")


async def providers(config: Path | None, *, as_json: bool) -> int:
    """Show how each configured provider is doing."""
    with looking_only():
        async with load_manager(config) as manager:
            await manager.check_health()
            status = manager.status()
    if as_json:
        output.answer_json(status)
        return 0
    output.table(
        "Providers, in fallback order",
        ["provider", "model", "way", "state", "check (ms)", "why"],
        [
            (
                item["name"],
                item["model"],
                item["way"],
                item["state"],
                item["check_ms"],
                item["reason"],
            )
            for item in status.values()
        ],
    )
    return 0


_STATUS_COLUMNS = (
    "provider",
    "state",
    "circuit",
    "healthy",
    "in flight",
    "p50/p95 ms",
    "success",
    "next probe",
)

_LEGEND = (
    "",
    "In flight (+ waiting), p50, p95, success: of one process's calls, and this one makes none.",
    "Your service tells its own with manager.status().",
)

# How long a look that goes on waits for the first checks, and a single one for Redis, in seconds.
_FIRST_CHECKS = 3.0
_REDIS_PATIENCE = 2.5

# Seconds from which a time is told in this unit, and how many make one of it.
_UNITS = ((2 * 86400, "d", 86400), (2 * 3600, "h", 3600), (2 * 60, "min", 60))


async def status(config: Path | None, *, every: float | None, as_json: bool) -> int:
    """Show how each provider is doing, once or until interrupted."""
    manager = load_manager(config)
    with looking_only():
        checks = asyncio.create_task(manager.check_health())
    try:
        # A single look is complete; who goes on looking need not wait for a provider that hangs.
        await asyncio.wait({checks}, timeout=_FIRST_CHECKS if every is not None else None)
        deaf = await _hear(manager, _REDIS_PATIENCE if every is None else 0)
        with output.live_page(live=every is not None) as show:
            while True:
                if as_json:
                    output.answer_json(manager.status())
                else:
                    show(_page(manager, deaf))
                if every is None:
                    break
                await asyncio.sleep(every)
                deaf = await manager.refresh()
    finally:
        checks.cancel()
        await asyncio.gather(checks, return_exceptions=True)
        await manager.shutdown(grace=0)
    if as_json and deaf:
        output.say(f"warning: {_view(manager, deaf)} ({deaf})")
    return 0


async def _hear(manager: ProviderManager, patience: float) -> str | None:
    """Hear what other processes have told, or why not; the first answer also takes connecting."""
    ends = time.monotonic() + patience
    while (deaf := await manager.refresh()) and time.monotonic() < ends:  # noqa: ASYNC110 -- it polls
        await asyncio.sleep(0.1)
    return deaf


def _page(manager: ProviderManager, deaf: str | None) -> output.Page:
    current = list(manager.status().values())
    notes = [note for item in current for note in _notes(item)]
    if deaf:
        notes.insert(0, f"redis: {deaf}")
    return output.Page(
        f"Status at {time.strftime('%H:%M:%S')}; {_view(manager, deaf)}",
        _STATUS_COLUMNS,
        [row for item in current for row in _rows(item)],
        [*notes, *_LEGEND],
    )


def _view(manager: ProviderManager, deaf: str | None) -> str:
    """Say whose view it is."""
    address = urlsplit(manager.settings.state)
    if not address.netloc:
        return "state: memory, so this is the view of a new process"
    # Without the credentials in front of the host.
    place = address.netloc.rpartition("@")[2] + address.path
    if deaf:
        return f"redis {place} is AWAY, so this is the view of a new process"
    return f"shared through redis {place}"


def _rows(item: ProviderStatus) -> Iterator[Sequence[str]]:
    """Make the row of a provider, and one for each of several keys."""
    rate, load = item["success_rate"], item["in_flight"]
    takes_part = item["state"] != "disabled"
    yield (
        item["name"],
        _words(item["state"]),
        _words(item["circuit"]) if takes_part else "-",
        ("yes" if item["healthy"] else "no") if takes_part else "-",
        (str(load) if load else "-") + (f" +{item['waiting']}" if item["waiting"] else ""),
        _latency(item),
        "-" if rate is None else f"{rate:.0%}",
        _next_probe(item["retry_after"], item["next_check"]),
    )
    for key in item["keys"]:
        probe = _next_probe(key["retry_after"], None)
        yield (f"  key {key['key']}", _words(key["state"]), "", "", "", "", "", probe)


def _words(state: str) -> str:
    return state.replace("_", " ")


def _latency(item: ProviderStatus) -> str:
    """Return the percentiles; while there are none, the average that other processes told."""
    average, median, slow = item["latency_ms"], item["latency_p50_ms"], item["latency_p95_ms"]
    if median is not None and slow is not None:
        return f"{median:.0f}/{slow:.0f}"
    return "-" if average is None else f"mean {average:.0f}"


def _next_probe(asked: float | None, checked: float | None) -> str:
    """Say when it is found out whether it is back: by a call, or else by a check of its health."""
    if asked is not None:
        return "after a reset" if asked == math.inf else f"call in {_span(asked)}"
    return "-" if checked is None else f"check in {_span(checked)}"


def _span(seconds: float) -> str:
    for from_, unit, length in _UNITS:
        if seconds >= from_:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _notes(item: ProviderStatus) -> Iterator[str]:
    """Say why a provider is not available, and what went wrong last."""
    reason, error = item["reason"], item["last_error"]
    if reason:
        yield f"{item['name']}: {_words(item['state'])}: {reason}"
    if error and error != reason:
        yield f"{item['name']}: last error: {error}"


async def check(config: Path | None, *, free: bool, as_json: bool) -> int:
    """Check the configuration, then each provider by itself."""
    with looking_only() if free else nullcontext():
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
