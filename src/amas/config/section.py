"""What every section below ``providers:`` has in common."""

from __future__ import annotations

import re
from typing import Final

from pydantic import BaseModel, ConfigDict

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
"""How the user may name a provider, or an alias of models."""


class Section(BaseModel):
    """A section: frozen, strict, unknown keys rejected.

    Titles, descriptions and examples of its fields are data: the JSON schema and the
    messages about mistakes are made from them. Times are in seconds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)
