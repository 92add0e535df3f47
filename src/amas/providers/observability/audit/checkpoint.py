"""What a chain's end is, told in a file of its own: so that it shows when records are cut off."""

from __future__ import annotations

import errno
import hmac
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from .chain import Link
from .descriptors import make_folders, make_private
from .keys import AuditKey
from .records import time_text

_SLOT: Final = 512
_SLOTS: Final = 2
# Characters of a text that nothing vouches for.
_SHOWN: Final = 40
# No record's seal is made of a text that begins so.
_PURPOSE: Final = b"checkpoint"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a chain stood when something was written.

    Args:
        chain: Which chain.
        file: Number of its live file.
        link: Its last record.
        slot: Which chain of its trail it is, counted from 1.
    """

    chain: str
    file: int
    link: Link
    slot: int


@dataclass(frozen=True, slots=True)
class Found:
    """What a checkpoint's file says.

    Args:
        newest: The newest that it has; None if it has none that can be relied on.
        problem: What is wrong with it.
        missing: Whether there is none.
    """

    newest: Checkpoint | None = None
    problem: str | None = None
    missing: bool = False


def read_checkpoint(path: Path, keys: Mapping[str, AuditKey]) -> Found:
    """Read a checkpoint.

    Args:
        path: Its file.
        keys: Those that may have sealed it, by id.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return Found(problem="the checkpoint is missing", missing=True)
    except OSError as error:
        return Found(problem=f"the checkpoint cannot be read: {error.strerror}")
    slots = [
        _opened(content[start : start + _SLOT], keys) for start in range(0, len(content), _SLOT)
    ]
    sound = [slot for slot in slots if isinstance(slot, Checkpoint)]
    problem = next((slot for slot in slots if isinstance(slot, str)), None)
    if len(content) != _SLOT * _SLOTS:
        problem = _DAMAGED
    return Found(max(sound, key=lambda slot: slot.link.seq, default=None), problem)


_DAMAGED: Final = "the checkpoint is damaged or was changed"


def _opened(slot: bytes, keys: Mapping[str, AuditKey]) -> Checkpoint | str:
    try:
        data = json.loads(slot.decode())
        mac = data.pop("mac_of_this")
        key = keys.get(data["key_id"])
        link = Link(data["seq"], data["mac"].encode())
        found = Checkpoint(data["chain"], data["file"], link, data["slot"])
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return _DAMAGED
    if key is None:
        name = str(data["key_id"])[:_SHOWN]
        return f"the checkpoint is sealed with master key {name!r}, which is not given"
    # What it says must be all there is, down to the last blank.
    return found if hmac.compare_digest(_sealed(data, key), slot) and mac else _DAMAGED


def _sealed(data: Mapping[str, Any], key: AuditKey) -> bytes:
    text = json.dumps(data, separators=(",", ":"))
    mac = hmac.digest(key.secret, _PURPOSE + text.encode(), "sha256").hex()
    return f'{text[:-1]},"mac_of_this":"{mac}"}}'.encode().ljust(_SLOT - 1) + b"\n"


class CheckpointFile:
    """The checkpoint of a chain that is being written.

    It is opened for each write and written in place, so that it comes back if it is removed,
    and a full disk does it no harm.

    Args:
        path: Its file.
        key: Seals it.
        durable: Whether a write is on the disk when it returns.
    """

    def __init__(self, path: Path, key: AuditKey, *, durable: bool) -> None:
        self._path = path
        self._key = key
        self._durable = durable
        self._turn = 0

    def write(self, checkpoint: Checkpoint, at: float) -> None:
        """Write it over the older of the two that are there.

        Args:
            checkpoint: Where the chain stands.
            at: The time, in seconds since 1970.
        """
        slot = self._slot(checkpoint, at)
        self._turn = (self._turn + 1) % _SLOTS
        descriptor = self._opened()
        try:
            make_private(descriptor)
            if os.fstat(descriptor).st_size == _SLOT * _SLOTS:
                written = os.pwrite(descriptor, slot, _SLOT * self._turn)
            else:
                slot *= _SLOTS
                written = os.pwrite(descriptor, slot, 0)
            if written < len(slot):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
            if self._durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def renew(self, checkpoint: Checkpoint, at: float) -> None:
        """Write it over both that are there, whatever they say.

        Args:
            checkpoint: Where the chain stands.
            at: The time, in seconds since 1970.
        """
        for _ in range(_SLOTS):
            self.write(checkpoint, at)

    def sync(self) -> None:
        """Have what was written on the disk."""
        descriptor = self._opened()
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _opened(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return os.open(self._path, flags, 0o600)
        except FileNotFoundError:
            make_folders(self._path.parent)
            return os.open(self._path, flags, 0o600)

    def _slot(self, checkpoint: Checkpoint, at: float) -> bytes:
        data = {
            "chain": checkpoint.chain,
            "file": checkpoint.file,
            "slot": checkpoint.slot,
            "seq": checkpoint.link.seq,
            "mac": checkpoint.link.mac.decode(),
            "time": time_text(at),
            "key_id": self._key.id,
        }
        return _sealed(data, self._key)
