"""How records hang together: each is sealed with the seal of the one before. Pure."""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

# Stands for the seal before the first record.
GENESIS: Final = b"0" * 32

# Most bytes written at a time, as far as records are smaller: a checkpoint may lack so much.
CHUNK: Final = 256 * 1024
# What number and seal add to a record, at most.
SEAL_BYTES: Final = 80

_MAC_BYTES: Final = 16
_END: Final = re.compile(rb',"mac":"([0-9a-f]{32})"\}\n?\Z')


@dataclass(frozen=True, slots=True)
class Link:
    """Where a chain stands.

    Args:
        seq: Number of its last record; 0 before the first.
        mac: Seal of that record.
    """

    seq: int = 0
    mac: bytes = GENESIS


@dataclass(frozen=True, slots=True)
class Line:
    """A line taken apart.

    Args:
        body: What is sealed.
        mac: The seal that it bears.
        data: The record, without its seal.
        seq: Its number.
        kind: Its kind.
    """

    body: bytes
    mac: bytes
    data: Mapping[str, Any]
    seq: int
    kind: str

    @property
    def link(self) -> Link:
        """Where a chain stands behind it."""
        return Link(self.seq, self.mac)


def mac_of(secret: bytes, previous: bytes, body: bytes) -> bytes:
    """Return the seal of a record.

    Args:
        secret: The key.
        previous: Seal of the record before.
        body: The record's bytes, without its own seal.
    """
    return hmac.digest(secret, previous + body, "sha256")[:_MAC_BYTES].hex().encode()


def seal(records: Iterable[bytes], after: Link, secret: bytes) -> tuple[bytes, Link]:
    """Return the lines of records, and where the chain stands behind them.

    Args:
        records: JSON mappings, not empty, without number and seal.
        after: Where the chain stands.
        secret: The key.
    """
    seq, mac = after.seq, after.mac
    lines: list[bytes] = []
    for record in records:
        seq += 1
        body = b'{"seq":%d,%b' % (seq, record[1:])
        mac = mac_of(secret, mac, body)
        lines.append(b'%b,"mac":"%b"}\n' % (body[:-1], mac))
    return b"".join(lines), Link(seq, mac)


def take_apart(line: bytes) -> Line | None:
    """Return the parts of a line, with or without its end; None if it is no record."""
    end = _END.search(line)
    if end is None:
        return None
    body = line[: end.start()] + b"}"
    try:
        data = json.loads(body.decode())
    except (ValueError, RecursionError):
        return None
    # What ends with a brace is a mapping.
    seq, kind = data.get("seq"), data.get("kind")
    if type(seq) is not int or seq < 1 or not isinstance(kind, str):
        return None
    return Line(body, end[1], data, seq, kind)


def is_next(line: Line, after: Link, secret: bytes) -> bool:
    """Whether a record is the one that was written after a given one.

    Args:
        line: The record.
        after: Where the chain stands before it.
        secret: The key that seals it.
    """
    expected = mac_of(secret, after.mac, line.body)
    return line.seq == after.seq + 1 and hmac.compare_digest(expected, line.mac)
