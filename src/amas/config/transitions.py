"""From one configuration to the next: what is gone from it, and what stays for want of a key."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from .document import Path, dotted
from .loader import NOBODY_ENABLED, SECTIONS
from .provider_settings import ProvidersSettings
from .resolution import so_disabled


def losses(old: ProvidersSettings, new: ProvidersSettings) -> tuple[str, ...]:
    """Name what was written, and is written no more; a file that is half written has lost its end.

    Args:
        old: What was.
        new: What is. Providers that it has no key for are passed over.

    Returns:
        The fields, such as ``providers.security.access.osint_agent``.
    """
    return tuple(
        dotted(path)
        for name in SECTIONS
        for path in _lost((name,), getattr(old, name), getattr(new, name))
        if path[0] != "llm" or path[1] not in new.disabled
    )


def _lost(path: Path, old: Any, new: Any) -> Iterator[Path]:
    before, after = _written(old), _written(new)
    if before is not None:
        for key, value in before.items():
            left = (after or {}).get(key)
            if value is not None and left is None:
                yield (*path, key)
            else:
                yield from _lost((*path, key), value, left)
    elif _is_cut_short(old, new):
        yield path


def _written(value: Any) -> Mapping[str, Any] | None:
    if isinstance(value, BaseModel):
        return {name: getattr(value, name) for name in value.model_fields_set}
    return value if isinstance(value, Mapping) else None


def _is_cut_short(old: Any, new: Any) -> bool:
    if not all(isinstance(value, Sequence) and not isinstance(value, str) for value in (old, new)):
        return False
    return len(new) < len(old) and [*new] == [*old[: len(new)]]


def with_rows_kept(
    new: ProvidersSettings, old: ProvidersSettings, names: Collection[str]
) -> ProvidersSettings:
    """Return a configuration in which some providers are as they were, to say what holds.

    Args:
        new: The configuration.
        old: What held before.
        names: The providers; one that was not there is left out.

    Returns:
        The configuration, without the warnings that these are disabled.
    """
    llm = {name: old.llm.get(name) if name in names else row for name, row in new.llm.items()}
    untrue = [so_disabled(name) for name in names]
    if any(row is not None and row.enabled for row in llm.values()):
        untrue.append(NOBODY_ENABLED)
    return new.model_copy(
        update={
            "llm": {name: row for name, row in llm.items() if row is not None},
            "warnings": tuple(
                text for text in new.warnings if not any(part in text for part in untrue)
            ),
        }
    )
