"""``config show``: what a configuration says with all its layers, and where each value stands."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any, Final

import yaml

from ....config.document import Path, printable
from ....config.layers import Layered
from ....config.overlays import ENVIRONMENT
from .. import output
from .values import (
    Value,
    plain,
    read_configuration,
    resolved_values,
    shown_address,
    written_values,
)

_INDENT: Final = "  "


def show_command(config: FilePath | None, *, resolved: bool, as_json: bool) -> int:
    """Print a configuration with all its layers.

    Args:
        config: The file; without one the environment decides.
        resolved: Whether references are followed and defaults filled in.
        as_json: Whether JSON is printed: each value and where it comes from, by its path.

    Returns:
        The exit code.

    Raises:
        ProviderConfigError: Something in it is wrong.
    """
    configuration = read_configuration(config, os.environ, resolved=resolved)
    layered, settings = configuration.layered, configuration.settings
    warnings = settings.warnings if settings else layered.document.warnings
    for warning in warnings:
        output.say(f"warning: {warning}")
    values = resolved_values(configuration) if resolved else written_values(layered.document)
    if as_json:
        rows = {
            shown_address(path): {"value": value.shown, "from": value.origin}
            for path, value in values.items()
        }
        output.answer_json(rows)
        return 0
    for line in _head(layered, os.environ):
        output.answer(f"# {line}")
    output.answer(_as_yaml(values), end="")
    return 0


def _head(layered: Layered, environ: Mapping[str, str]) -> list[str]:
    """Say which files it is made of, and what names the overlay."""
    if not layered.files:
        return ["of the environment, for no file was named"]
    overlay = layered.overlay
    there = overlay is not None and os.path.lexists(overlay)
    files = [printable(file) for file in layered.files if file != overlay or there]
    lines = [f"{'laid over one another: ' if files[1:] else ''}{', '.join(files)}"]
    name = environ.get(ENVIRONMENT, "").strip()
    if not name:
        lines.append(f"{ENVIRONMENT} is not set, so there is no overlay")
    elif overlay is None:
        lines.append(f"{ENVIRONMENT} is {name}, which the file is for itself")
    elif not there:
        lines.append(f"{ENVIRONMENT} is {name}, and there is no {printable(overlay)}")
    else:
        lines.append(f"{ENVIRONMENT} is {name}, hence {printable(overlay)}")
    return lines


def _as_yaml(values: Mapping[Path, Value]) -> str:
    """Write values as YAML, a line for each, with where it comes from behind it."""
    lines = ["providers:" if values else "providers: {}"]
    before: Path = ()
    for path, value in values.items():
        known = _common(before, path)
        lines += [
            f"{_INDENT * (depth + 1)}{_inline(plain(path[depth]))}:"
            for depth in range(known, len(path) - 1)
        ]
        text = f"{_inline(plain(path[-1]))}: {_inline(value.shown)}"
        lines.append(f"{_INDENT * len(path)}{text}  # {printable(value.origin)}")
        before = path[:-1]
    return "".join(f"{line}\n" for line in lines)


def _common(one: Path, other: Path) -> int:
    """Return how many parts two paths have in common at their beginning."""
    return next(
        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
        min(len(one), len(other)),
    )


def _inline(value: Any) -> str:
    """Return a value as one line of YAML has it."""
    text = yaml.safe_dump(
        value, default_flow_style=True, width=math.inf, allow_unicode=True, sort_keys=False
    )
    return str(text).removesuffix("...\n").strip()
