"""The parts of the README that are generated."""

from __future__ import annotations

from enum import StrEnum


class Part(StrEnum):
    """A part, by the name between its marks."""

    PROVIDERS = "providers"
    FIELDS = "fields"
