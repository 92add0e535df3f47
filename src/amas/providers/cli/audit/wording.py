"""A record on one line, for people. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from ...observability.audit.reading import Record, time_of
from ...observability.report.calls import name_of, number
from ...observability.report.wording import count, duration, money, plain

# What every record has, what its line begins with, and what only a machine reads.
_SHOWN: Final = frozenset({"seq", "time", "kind", "mac", "previous", "format", "prompt", "answer"})


def line(record: Record) -> str:
    """Write a record on one line: when, what, and what matters of it.

    Args:
        record: The record.
    """
    kind = str(record.get("kind", "?"))
    return f"{when(record)}  {plain(kind):<13}  {told(record)}".rstrip()


def when(record: Record) -> str:
    """Write the time of a record, in UTC."""
    return f"{time_of(record):%Y-%m-%d %H:%M:%S}Z"


def told(record: Record) -> str:
    """Write what a record tells, without its time and kind.

    Args:
        record: The record.
    """
    if record.get("kind") == "call":
        return "  ".join(filter(None, _call(record)))
    rest = (
        f"{name}={plain(_value(value))}" for name, value in record.items() if name not in _SHOWN
    )
    return " ".join(rest)


def cost_of(record: Record) -> str:
    """Write what a call cost; ``unknown`` is not the same as nothing."""
    usd = number(record.get("cost_usd"))
    if usd is not None:
        return money(usd)
    return "unknown" if "cost_usd" in record else ""


def tokens_of(record: Record) -> int | None:
    """Return the tokens of a call, prompt and answer together."""
    tokens = record.get("tokens")
    found = number(tokens.get("total")) if isinstance(tokens, dict) else None
    return None if found is None else int(found)


def attempts_of(record: Record) -> list[str]:
    """Write each attempt of a call: who was asked, and how it ended."""
    attempts = record.get("attempts")
    return [
        f"{name_of(each.get('provider'))}:{name_of(each.get('outcome'))}"
        for each in (attempts if isinstance(attempts, list) else [])
        if isinstance(each, dict)
    ]


def _call(record: Record) -> Iterator[str]:
    caller, provider = name_of(record.get("caller")), name_of(record.get("provider"))
    model = record.get("model")
    yield f"{plain(caller)} -> {plain(provider)}{f' {plain(model)}' if model else ''}"
    status = record.get("status")
    yield plain(name_of(record.get("outcome"))) + (f" {plain(status)}" if status else "")
    yield duration(number(record.get("latency_ms")))
    tokens = tokens_of(record)
    yield "" if tokens is None else count(tokens, "token")
    cost = cost_of(record)
    yield "cost unknown" if cost == "unknown" else cost
    attempts = attempts_of(record)
    yield f"[{plain(' '.join(attempts))}]" if len(attempts) > 1 else ""
    yield plain(record.get("request_id", ""))


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
