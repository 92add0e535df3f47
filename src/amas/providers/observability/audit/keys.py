"""What seals the records of a trail."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class AuditKey:
    """A key that seals records.

    Args:
        id: Name of the master key that it is derived from; no secret.
        secret: The key.
    """

    id: str
    secret: bytes = field(repr=False)
