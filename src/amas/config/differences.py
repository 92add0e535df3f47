"""What two configurations differ in, field by field, without their secrets."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel

from ..providers.secret import Secret, hide, scrub
from .document import Path, dotted
from .provider_settings import ProvidersSettings
from .resolution import is_secret

# A record of it is for people, and one line of a log.
MOST_DIFFERENCES: Final = 100
_LONGEST_VALUE: Final = 80

# Of the settings, what is no part of the configuration.
_MADE: Final = ("warnings", "source", "files", "disabled")
_NOTHING: Final = object()
_CHANGED: Final = "(changed)"
# There the words are the vendors' and the callers', and a text may be anything.
_FREE: Final = frozenset({"params", "options"})


def differences(old: ProvidersSettings, new: ProvidersSettings) -> tuple[str, ...]:
    """Say what has changed, such as ``providers.llm.openai.timeout: 30 -> 10``.

    Args:
        old: What was.
        new: What is.

    Returns:
        A line for each field, at most 100 of them; of a credential only that it has changed.
    """
    found = [scrub(line) for line in _compare((), old, new)]
    if len(found) > MOST_DIFFERENCES:
        left = len(found) - MOST_DIFFERENCES + 1
        found[MOST_DIFFERENCES - 1 :] = [f"and {left} more"]
    return tuple(found)


def _compare(path: Path, old: Any, new: Any) -> Iterator[str]:
    if old is _NOTHING or new is _NOTHING or (old is None) != (new is None):
        yield _line(path, old, new)
        return
    before, after = _entries(path, old), _entries(path, new)
    if before is None or after is None:
        if old != new:
            yield _line(path, old, new)
        return
    for key in dict.fromkeys((*before, *after)):
        yield from _compare((*path, key), before.get(key, _NOTHING), after.get(key, _NOTHING))
    if path == ("llm",) and before.keys() == after.keys() and [*before] != [*after]:
        yield f"{dotted(path)}: the order is now {', '.join(after)}"


def _entries(path: Path, value: Any) -> Mapping[str, Any] | None:
    """Return what a section or mapping consists of; None for any other value."""
    if isinstance(value, BaseModel):
        return {name: item for name, item in value if path or name not in _MADE}
    if isinstance(value, Mapping):
        # A vendor's options may have credentials at any depth.
        hidden: Mapping[str, Any] = hide(value) if path[-1:] == ("options",) else value
        return hidden
    return None


def _line(path: Path, old: Any, new: Any) -> str:
    values = old, new
    if is_secret(path) or any(map(_hides, values)):
        return f"{dotted(path)}: {_CHANGED}"
    if any(_entries(path, value) is not None for value in values):
        return f"{dotted(path)}: {'added' if old is _NOTHING or old is None else 'removed'}"
    if not _FREE.isdisjoint(path[2:3]) and any(map(_has_text, values)):
        return f"{dotted(path)}: {_CHANGED}"
    return f"{dotted(path)}: {_shown(old)} -> {_shown(new)}"


def _hides(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_hides, value))
    # The address of a Redis may have a password in it.
    return isinstance(value, Secret) or (isinstance(value, str) and "://" in value and "@" in value)


def _has_text(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_has_text, value))
    if isinstance(value, Mapping):
        return any(map(_has_text, value.values()))
    return isinstance(value, str)


def _shown(value: Any) -> str:
    if value is _NOTHING or value is None:
        return "nothing"
    if isinstance(value, float):
        return f"{value:.12g}"
    if isinstance(value, frozenset):
        value = sorted(value)
    text = str(value) if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"
