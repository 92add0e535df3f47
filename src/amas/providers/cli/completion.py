"""What a shell completes beside commands and options: names. Quick, and silent if it cannot."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress

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
    from ...config.layers import read_layers  # noqa: PLC0415 -- help must not wait for it
    from ...config.provider_settings import ProvidersSettings  # noqa: PLC0415
    from ..llm.catalog import from_environment  # noqa: PLC0415

    config = context.params.get("config") or os.environ.get("AMAS_PROVIDERS_CONFIG")
    names: Iterable[str] = ()
    with suppress(ProviderConfigError):
        data: object = {"llm": from_environment(os.environ)}
        if config:
            layers = read_layers(config, os.environ, ProvidersSettings.model_fields)
            data = layers.document.data
        rows = data.get("llm") if isinstance(data, dict) else None
        names = rows if isinstance(rows, dict) else ()
    yield from (name for name in names if name.startswith(incomplete))


def field_names(incomplete: str) -> Iterator[tuple[str, str]]:
    """Complete the name of a field of a configuration; the title stands beside it."""
    from ...config.field_reference import all_fields  # noqa: PLC0415 -- help must not wait for it

    for entry in all_fields():
        name = ".".join(entry.path)
        if name.startswith(incomplete):
            yield name, entry.title
