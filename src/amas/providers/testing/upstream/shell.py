"""What the command line needs: faults as text, and a server that runs until it is cancelled."""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Callable, Collection, Sequence
from dataclasses import fields
from typing import Any, Final

from .chat import ReplySource
from .faults import Fault
from .server import Upstream

_EXAMPLE: Final = "status=503,times=2,retry_after=1"
_KINDS: Final[dict[str, Callable[..., Fault]]] = {
    "rate_limited": Fault.rate_limited,
    "quota_exceeded": Fault.quota_exceeded,
    "context_window": Fault.context_window,
    "content_policy": Fault.content_policy,
    "model_not_found": Fault.model_not_found,
    "unauthorized": Fault.unauthorized,
    "overloaded": Fault.overloaded,
}
_FOREVER: Final = ("none", "forever", "always")
_BOOLEANS: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def _number_or_text(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _times(text: str) -> int | None:
    return None if text.lower() in _FOREVER else int(text)


def _boolean(text: str) -> bool:
    try:
        return _BOOLEANS[text.lower()]
    except KeyError:
        raise ValueError(f"{text!r} is neither true nor false") from None


def _emptiness(text: str) -> bool | str:
    return text if text == "content" else _boolean(text)


# A field is read by the first kind of value its annotation names, but for these.
_READERS: Final[dict[str, Callable[[str], Any]]] = {
    "times": _times,
    "retry_after": _number_or_text,
    "empty": _emptiness,
}
_READERS_OF_TYPE: Final[dict[str, Callable[[str], Any]]] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": _boolean,
}


def parse_fault(text: str) -> Fault:
    """Read a fault from one line of text.

    Args:
        text: Fields of Fault as ``name=value``, separated by commas; a part that holds a comma is
            put in double quotes. A bare name is a flag ("hang", "reset", ...) or, as the first
            part, one of the ready-made faults ("rate_limited", "quota_exceeded", ...).
            ``times=forever`` never uses the fault up.

    Returns:
        The fault.

    Raises:
        ValueError: If a part cannot be read; names it, lists what there is, and shows an example.
    """
    parts = [part.strip() for part in next(csv.reader([text], skipinitialspace=True), [])]
    build: Callable[..., Fault] = Fault
    if parts and parts[0] in _KINDS:
        build = _KINDS[parts.pop(0)]
    elif not any(parts):
        raise ValueError(_advice("the fault is empty"))
    options: dict[str, Any] = {}
    for part in parts:
        name, separator, value = (piece.strip() for piece in part.partition("="))
        if name in options:
            raise ValueError(_advice(f"field {name!r} is given twice"))
        options[name] = _read(name, value if separator else None)
    try:
        return build(**options)
    except (TypeError, ValueError) as error:
        raise ValueError(_advice(f"fault {text!r}: {error}")) from None


def _read(name: str, value: str | None) -> Any:
    reader = _readers().get(name)
    if reader is None:
        raise ValueError(_advice(f"unknown field {name!r}"))
    if value is None:
        if reader not in (_boolean, _emptiness):
            raise ValueError(_advice(f"field {name!r} needs a value"))
        return True
    try:
        return reader(value)
    except ValueError as error:
        raise ValueError(_advice(f"field {name!r}: {error}")) from None


def _readers() -> dict[str, Callable[[str], Any]]:
    by_type = {
        item.name: _READERS_OF_TYPE[str(item.type).partition(" ")[0]] for item in fields(Fault)
    }
    return {**by_type, **_READERS}


def _advice(trouble: str) -> str:
    return (
        f"{trouble}; fields: {', '.join(sorted(_readers()))}; "
        f"ready-made: {', '.join(_KINDS)}; example: {_EXAMPLE}"
    )


async def serve(
    host: str,
    port: int,
    *,
    faults: Sequence[Fault] = (),
    name: str = "upstream",
    reply: ReplySource = None,
    keys: Collection[str] | None = None,
    models: Sequence[str] = ("test-model",),
    context_window: int | None = None,
    chunk_delay: float = 0.0,
    on_ready: Callable[[Upstream], None] | None = None,
) -> None:
    """Run an upstream until the task is cancelled.

    Args:
        host: Address to bind.
        port: Port to bind; 0 takes a free one.
        faults: Faults to queue at the start.
        name: Name given in the default reply.
        reply: Where replies come from; see Upstream.
        keys: API keys that are accepted; None accepts all, a str is one key.
        models: Models in the listings.
        context_window: Longest prompt in tokens.
        chunk_delay: Seconds between the chunks of a stream.
        on_ready: Called once with the running upstream, to tell its ``url``.

    Raises:
        OSError: If the port cannot be bound.
    """
    upstream = Upstream(
        name,
        host=host,
        port=port,
        reply=reply,
        keys=keys,
        models=models,
        context_window=context_window,
        chunk_delay=chunk_delay,
    )
    for fault in faults:
        upstream.fault(fault)
    async with upstream:
        if on_ready is not None:
            on_ready(upstream)
        await asyncio.get_running_loop().create_future()
