"""What a shell completes beside commands and options: names. Quick, and silent if it cannot."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from glob import escape
from pathlib import Path
from typing import Any

import typer

from ..errors import ProviderConfigError


def known_names(incomplete: str) -> Iterator[tuple[str, str]]:
    """Complete the name of a provider of the catalogue; the title stands beside it."""
    from ..llm.catalog import load_catalog  # noqa: PLC0415 -- help must not wait for it

    with suppress(ProviderConfigError):
        for entry in load_catalog().values():
            if entry.name.startswith(incomplete):
                yield entry.name, entry.title


def configured_names(context: typer.Context, incomplete: str) -> Iterator[str]:
    """Complete the name of a provider of the configuration that the command is given."""
    yield from (name for name in _section("llm", context) if name.startswith(incomplete))


def asked_models(context: typer.Context, incomplete: str) -> Iterator[str]:
    """Complete what a call may ask: an alias, a provider, or a provider with the row's model."""
    rows = _section("llm", context)
    models = (
        f"{name}/{row['model'].removeprefix(f'{name}/')}"
        for name, row in rows.items()
        if isinstance(row, dict) and isinstance(row.get("model"), str)
    )
    for name in (*_section("models", context), *rows, *models):
        if name.startswith(incomplete):
            yield name


def environment_names(context: typer.Context, incomplete: str) -> Iterator[str]:
    """Complete the name of an environment: of ``c.yaml`` those that ``c.NAME.yaml`` is there for."""
    config = _config(context)
    if not config:
        return
    file = Path(config)
    with suppress(OSError, ValueError):
        for overlay in sorted(file.parent.glob(f"{escape(file.stem)}.*{escape(file.suffix)}")):
            name = overlay.name.removeprefix(f"{file.stem}.").removesuffix(file.suffix)
            if "." not in name and name.startswith(incomplete):
                yield name


def outcome_names(incomplete: str) -> Iterator[str]:
    """Complete the outcome of a call, or the word for all failures."""
    from ..observability.audit.reading import FAILED  # noqa: PLC0415 -- help must not wait for it
    from ..types import Outcome  # noqa: PLC0415 -- likewise

    yield from (name for name in (*Outcome, FAILED) if name.startswith(incomplete))


def _config(context: typer.Context) -> Path | str | None:
    return context.params.get("config") or os.environ.get("AMAS_PROVIDERS_CONFIG")


def _section(name: str, context: typer.Context) -> dict[str, Any]:
    """Return a section of the configuration that the command is given; empty if it has none."""
    from ...config.layers import read_layers  # noqa: PLC0415 -- help must not wait for it
    from ...config.provider_settings import ProvidersSettings  # noqa: PLC0415
    from ..llm.catalog import from_environment  # noqa: PLC0415

    config = _config(context)
    with suppress(ProviderConfigError):
        data: object = {"llm": from_environment(os.environ)}
        if config:
            layers = read_layers(config, os.environ, ProvidersSettings.model_fields)
            data = layers.document.data
        section = data.get(name) if isinstance(data, dict) else None
        return section if isinstance(section, dict) else {}
    return {}


def field_names(incomplete: str) -> Iterator[tuple[str, str]]:
    """Complete a field of a configuration, by its path or the end of it; its title stands beside."""
    from ...config.field_reference import ANY, all_fields  # noqa: PLC0415 -- help must not wait

    found: dict[str, str] = {}
    for entry in all_fields():
        # Before anything is typed, the paths are enough.
        for start in range(len(entry.path) if incomplete else 1):
            name = ".".join(entry.path[start:])
            if name.startswith(incomplete) and not (start and entry.path[start] == ANY):
                found.setdefault(name, entry.title)
    yield from found.items()
