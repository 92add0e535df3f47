"""Rows as the loader sees them, before they are in any file."""

from __future__ import annotations

import os
from dataclasses import replace

from ....config.layers import Draft
from ...base import ProviderConfig
from ...errors import ProviderConfigError
from ...manager.discovery import read_configuration
from ...secret import Secret
from .planning import Plan


def row_of(planned: Plan, key: Secret | None = None) -> ProviderConfig:
    """Return the configuration of a row, checked as the loader checks it.

    Args:
        planned: The row.
        key: Its key, where that is not what the row refers to.

    Raises:
        ProviderConfigError: The row would not load.
    """
    variable = planned.variable
    # A row whose variable is not set would be left out, and not be checked.
    left_out = key is not None or (variable and not os.environ.get(variable, "").strip())
    row_fields = planned.without("api_key").fields if left_out else planned.fields
    try:
        settings, _ = read_configuration({"providers": {"llm": {planned.name: dict(row_fields)}}})
    except ProviderConfigError as error:
        about_options = any(".options." in problem for problem in error.problems)
        hint = ["here that is --option NAME=VALUE"] * about_options
        raise ProviderConfigError(problems=[*error.problems, *hint]) from None
    row = settings.provider_configs()[0]
    return row if key is None else replace(row, api_key=key)


def require_sound(path: str, content: bytes) -> bytes:
    """Return what is to be written to a file, if it would load with all its layers.

    Args:
        path: The file.
        content: What it would have.

    Raises:
        ProviderConfigError: It would not, and why.
    """
    try:
        read_configuration(Draft(path, content))
    except ProviderConfigError as error:
        said = f"{path}: nothing is written, since the configuration would not load:"
        raise ProviderConfigError(problems=[said, *error.problems]) from None
    return content
