"""What the old services knew of providers, and where their keys are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

__all__ = ["Row", "get_api_key", "load_table"]


@dataclass(frozen=True, slots=True)
class Row:
    """What an old table says of one provider; see ``legacy_defaults.yaml``."""

    pid: str
    name: str
    base_url: str
    model: str
    priority: int
    provider: str
    env: str | None = None
    type: str = ""
    max_tokens: int | None = None
    timeout: float = 30
    was: Mapping[str, str] | None = None


@cache
def load_table(service: str) -> Mapping[str, Row]:
    """Return the old table of a service, by provider, in the order of priority."""
    text = Path(__file__).with_name("legacy_defaults.yaml").read_text(encoding="utf-8")
    rows = yaml.safe_load(text)[service]
    made = (Row(pid=pid, **fields) for pid, fields in rows.items())
    return {row.pid: row for row in sorted(made, key=lambda row: row.priority)}


def get_api_key(env_name: str) -> str | None:
    """Return a key from the environment, without the space around it.

    Args:
        env_name: Name of the variable.

    Returns:
        The key; None if the variable is not set or empty. What is only space is ``""``.
    """
    value = os.getenv(env_name)
    return value.strip() if value else None
