"""The messages between a service and the child process of a provider: JSON, each after its length.

JSON and no pickle, so that what a hostile child sends can only be data.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

MAX_FROM_CHILD: Final = 16 * 1024 * 1024
"""Largest message a child may send, in bytes; reading one holds up the service's event loop."""

MAX_TO_CHILD: Final = 64 * 1024 * 1024
"""Largest message to a child, in bytes; a prompt with pictures may be that long."""

MAX_CHUNK: Final = 2 * 1024 * 1024
"""Heaviest piece of a stream a child may send; see ``weigh``."""

MAX_VALUES: Final = 200_000
MAX_NUMBERS: Final = 2_000_000
"""Most lists, mappings and texts in a message of a child, and most values of any kind.

A batch of embeddings has a million numbers; they are small.
"""

# About what a list, mapping or text takes in memory, beside its characters.
_VALUE_BYTES: Final = 100

HEADER: Final = struct.Struct(">I")


class MalformedMessageError(Exception):
    """What came is no message."""


def pack(message: Mapping[str, Any], limit: int) -> bytes:
    """Return a message as bytes.

    Args:
        message: Plain data.
        limit: Most bytes it may have.

    Raises:
        TypeError: It has something in it that JSON does not know.
        ValueError: It is too long, has a number that is none, or contains itself.
    """
    text = json.dumps(message, allow_nan=False, separators=(",", ":"), default=_plain).encode()
    if len(text) > limit:
        raise ValueError(f"it has {len(text)} bytes, and at most {limit} fit")
    return HEADER.pack(len(text)) + text


def _plain(value: object) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return list(value)
    raise TypeError(f"a {type(value).__name__} is not plain data")


def unpack(text: bytes) -> dict[str, Any]:
    """Read a message's bytes, its length excluded.

    Raises:
        MalformedMessageError: They are not the JSON of a mapping.
    """
    try:
        message = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise MalformedMessageError("it is not JSON") from None
    if not isinstance(message, dict):
        raise MalformedMessageError("it is not a mapping")
    return message


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number")


def weigh(text: bytes) -> int:
    """Return about how many bytes a message will take in memory, before it is read.

    A few bytes of JSON, such as ``[],``, take many times as much once they are read.

    Args:
        text: Its bytes.

    Raises:
        MalformedMessageError: It has too many values.
    """
    values = text.count(b"{") + text.count(b"[") + text.count(b'"') // 2
    if values > MAX_VALUES or text.count(b",") > MAX_NUMBERS:
        raise MalformedMessageError("it has too many values")
    return len(text) + _VALUE_BYTES * values


async def receive(
    reader: asyncio.StreamReader, limit: int, *, trusted: bool = True
) -> tuple[dict[str, Any], int] | None:
    """Wait for the next message.

    Args:
        reader: Where it comes from.
        limit: Most bytes it may have.
        trusted: Whether any number of values is taken, unlike from a child.

    Returns:
        The message and its size in bytes, or its weight if it is not trusted; None if the other side is gone.

    Raises:
        MalformedMessageError: Something else came, or something longer.
    """
    try:
        (size,) = HEADER.unpack(await reader.readexactly(HEADER.size))
        if size > limit:
            raise MalformedMessageError(f"it has {size} bytes, and at most {limit} are taken")
        text = await reader.readexactly(size)
    except (asyncio.IncompleteReadError, OSError):
        return None
    if not trusted:
        size = weigh(text)
    return unpack(text), size
