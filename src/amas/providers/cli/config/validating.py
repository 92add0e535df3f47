"""``config validate``: everything that is wrong with a file, without calling anybody."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ....config.provider_settings import ProvidersSettings
from ...errors import ProviderConfigError
from ...manager.discovery import read_configuration
from ...secret import scrub
from .. import output

_PLACE = re.compile(r"(?P<file>.*?):(?P<line>\d+):(?P<column>\d+): (?P<message>.*)", re.DOTALL)


def validate_command(file: Path | None, *, as_json: bool) -> int:
    """Check a configuration, and print a line for each problem and each warning.

    Args:
        file: The file.
        as_json: Whether one line of JSON is printed instead of text.

    Returns:
        The exit code.

    Raises:
        ProviderConfigError: No file was named.
    """
    if file is None:
        raise ProviderConfigError(
            "which file? write `amas-providers config validate FILE`, or set AMAS_PROVIDERS_CONFIG"
        )
    settings: ProvidersSettings | None = None
    problems: Sequence[str] = ()
    try:
        settings, _ = read_configuration(file)
    except ProviderConfigError as error:
        problems = error.problems
    warnings = settings.warnings if settings else ()
    if as_json:
        output.answer_json(_report(file, settings, problems, warnings))
    else:
        for line in (*problems, *(f"warning: {warning}" for warning in warnings)):
            output.answer(scrub(line))
        output.answer(_verdict(file, settings, len(problems)))
    return 2 if problems else 0


def _verdict(file: Path, settings: ProvidersSettings | None, problems: int) -> str:
    if settings is None:
        return f"{os.fspath(file)}: {_count(problems, 'problem')}"
    rows = settings.llm
    enabled = sum(row.enabled for row in rows.values())
    parts = [f"{_count(len(rows), 'provider')} ({enabled} enabled)"]
    if settings.models:
        parts.append(f"{len(settings.models)} model alias" + "es" * (len(settings.models) != 1))
    if settings.warnings:
        parts.append(_count(len(settings.warnings), "warning"))
    return f"{os.fspath(file)}: ok: {', '.join(parts)}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _report(
    file: Path,
    settings: ProvidersSettings | None,
    problems: Iterable[str],
    warnings: Iterable[str],
) -> dict[str, Any]:
    rows = settings.llm if settings else {}
    return {
        "ok": settings is not None,
        "file": os.fspath(file),
        "providers": [{"name": name, "enabled": row.enabled} for name, row in rows.items()],
        "problems": [_placed(text) for text in problems],
        "warnings": [_placed(text) for text in warnings],
    }


def _placed(text: str) -> dict[str, Any]:
    """Take a line apart, as far as it says where something stands."""
    found = _PLACE.fullmatch(scrub(text))
    if found is None:
        return {"file": None, "line": None, "column": None, "message": scrub(text)}
    return {
        "file": found["file"],
        "line": int(found["line"]),
        "column": int(found["column"]),
        "message": found["message"],
    }
