"""What stands beside the section ``providers`` and was meant to stand in it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .document import Document, Place
from .manager_schema import ManagerSettings
from .migration_schema import MigrationSettings
from .observability_schema import AlertSettings, AuditSettings, MetricsSettings, TracingSettings
from .section import Section
from .security_schema import SecuritySettings

_SECTIONS: Final[Mapping[str, type[Section]]] = {
    "manager": ManagerSettings,
    "security": SecuritySettings,
    "audit": AuditSettings,
    "metrics": MetricsSettings,
    "tracing": TracingSettings,
    "alerts": AlertSettings,
    "migration": MigrationSettings,
}
NAMES: Final = frozenset({*_SECTIONS, "extends", "llm", "models"})
"""What may be meant for the section; other names beside it are the host's own."""

# Any section of the host's may have these.
_ANYBODYS: Final = frozenset({"enabled", "port", "path"})
# Passed over, these would leave callers without rules, or keys without protection.
_GRAVE: Final = frozenset({"access", "master_key", "plaintext_keys"})
_TELLTALE: Final = ("api_key", "base_url", "model", "provider")


def is_row(value: object) -> bool:
    """Whether it looks like a provider, whatever it is called."""
    return isinstance(value, dict) and not value.keys().isdisjoint(_TELLTALE)


def report_beside(key: str, value: object, document: Document, place: Place | None = None) -> None:
    """Report an entry beside the section that looks like one of its own.

    Args:
        key: Its name, one of ``NAMES``.
        value: What it has.
        document: Where the problem or the warning goes.
        place: Where it stands.
    """
    text = (
        f"`{key}:` stands beside it, where it means nothing to amas-providers;"
        " indent it below `providers:`"
    )
    if _is_grave(key, value):
        document.problem((), text, place=place)
    elif _is_ours(key, value):
        document.warn((), f"{text}, if it belongs to it", place=place)


def _is_grave(key: str, value: object) -> bool:
    if key == "extends":
        return isinstance(value, str | list | tuple)
    return key == "security" and isinstance(value, Mapping) and not _GRAVE.isdisjoint(value)


def _is_ours(key: str, value: object) -> bool:
    if not isinstance(value, Mapping) or not value:
        return False
    if key == "llm":
        return any(map(is_row, value.values()))
    if key == "models":
        return all(map(_is_alias, value.values()))
    model = _SECTIONS.get(key)
    if model is None:
        return False
    return value.keys() <= model.model_fields.keys() and not value.keys() <= _ANYBODYS


def _is_alias(value: object) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and all(isinstance(entry, str) for entry in value)
    return isinstance(value, Mapping) and "chain" in value
