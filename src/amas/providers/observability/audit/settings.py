"""How a trail is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from .keys import AuditKey

FsyncPolicy: TypeAlias = Literal["always", "interval", "never"]


@dataclass(frozen=True, slots=True)
class FileSettings:
    """How a trail is written.

    Args:
        path: The file that is configured.
        keys: What opens records, by id of the master key.
        key: What seals records.
        fsync: When records are forced to the disk.
        checkpoint: Folder of the checkpoints; None for that of the file.
        max_bytes: Size after which a file is put aside.
        max_age: Seconds after which a file is put aside.
    """

    path: Path
    keys: Mapping[str, AuditKey]
    key: AuditKey
    fsync: FsyncPolicy
    checkpoint: Path | None
    max_bytes: int
    max_age: float
