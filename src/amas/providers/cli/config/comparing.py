"""``config diff``: what differs in effect between two configurations."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any, Final

from ....config.document import Path
from ....config.loader import SECTIONS
from ....config.overlays import ENVIRONMENT, meant_instead
from ...errors import ProviderConfigError
from .. import output
from .values import DEFAULT, SHOWN, Value, plain, read_configuration, resolved_values, shown_address

_NONE: Final = "(none)"
_DEFAULTS: Final = "(all defaults)"
_ROW: Final = 2


def diff_command(config: FilePath | None, other: FilePath | None, environment: str | None) -> int:
    """Print what differs in effect between two configurations.

    Args:
        config: The file; without one the environment decides.
        other: The file that it is compared with; the same one if an environment is given.
        environment: The environment of the other one; the present one by default.

    Returns:
        The exit code: 0 if they are equal, 1 if not.

    Raises:
        ProviderConfigError: One of them is wrong, or there is nothing to compare with.
    """
    if other is None and environment is None:
        raise ProviderConfigError("say with what: name another file, or give --environment NAME")
    environ = dict(os.environ)
    before = resolved_values(read_configuration(config, environ))
    if environment is not None:
        environ[ENVIRONMENT] = environment
    then = read_configuration(config if other is None else other, environ)
    overlay = then.layered.overlay
    if environment is not None and overlay is not None and not os.path.lexists(overlay):
        raise ProviderConfigError(
            meant_instead(overlay) or f"there is no {overlay}; make it, or name another environment"
        )
    after = resolved_values(then)
    lines = list(differences(before, after))
    for line in lines:
        output.answer(line)
    return 1 if lines else 0


def differences(before: Mapping[Path, Value], after: Mapping[Path, Value]) -> Iterator[str]:
    """Give a line for each value that differs, and for each provider that one side lacks.

    Args:
        before: The values of one side.
        after: The values of the other.
    """
    sides = (before, after)
    rows = [{path[:_ROW] for path in side if path[0] == "llm"} for side in sides]
    for path in _in_order((*before, *after)):
        old, new = (side.get(path) for side in sides)
        row = path[:_ROW]
        alone = path[0] == "llm" and not all(row in each for each in rows)
        if alone and row in rows[0] | rows[1]:
            if path == _first(row, before, after):
                texts = [_presence(row, side) for side in sides]
                yield f"{shown_address(row)}: {texts[0]} -> {texts[1]}"
        elif _true(old) != _true(new):
            shown = _text(old), _text(new)
            same = " (differs)" if shown[0] == shown[1] else ""
            yield f"{shown_address(path)}: {shown[0]} -> {shown[1]}{same}"


def _in_order(paths: Iterable[Path]) -> list[Path]:
    """Return paths by section, and what belongs to one entry of it together."""
    unique = list(dict.fromkeys(paths))
    first: dict[Path, int] = {}
    for number, path in enumerate(unique):
        first.setdefault(path[:_ROW], number)
    return sorted(unique, key=lambda path: (SECTIONS.index(str(path[0])), first[path[:_ROW]]))


def _first(row: Path, *sides: Mapping[Path, Value]) -> Path | None:
    return next((path for side in sides for path in side if path[:_ROW] == row), None)


def _presence(row: Path, side: Mapping[Path, Value]) -> str:
    """Return what a provider's row says, defaults left out."""
    if not any(path[:_ROW] == row for path in side):
        return _NONE
    said = {
        plain(".".join(map(str, path[_ROW:]))): value.shown
        for path, value in side.items()
        if path[:_ROW] == row and path[_ROW:] and value.origin != DEFAULT
    }
    return json.dumps(said, ensure_ascii=False) if said else _DEFAULTS


def _true(value: Value | None) -> Any:
    return None if value is None else value.true


def _text(value: Value | None) -> str:
    if value is None or value.shown is None:
        return _NONE
    if isinstance(value.shown, str) and (value.shown == SHOWN or value.shown.isprintable()):
        return value.shown
    return json.dumps(value.shown, ensure_ascii=False)
