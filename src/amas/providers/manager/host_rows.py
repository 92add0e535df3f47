"""The providers that the host knew, as data, and what they become here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import yaml

from ..base import ProviderConfig as OurConfig
from ..errors import ProviderConfigError
from ..llm.litellm_provider import LiteLLMProvider
from ..types import ResponseCheck
from .host_types import ProviderConfig


@dataclass(frozen=True, slots=True)
class Row:
    """What stands behind one of the host's providers; see ``host_defaults.yaml``."""

    name: str
    env: str
    priority: int
    provider: str
    required: bool = False
    model: str | None = None
    base_url_env: str | None = None
    model_env: str | None = None
    send_key: bool = True


@cache
def load_rows() -> Mapping[str, Row]:
    """Return the host's providers by name, in the order of priority."""
    text = files(__package__).joinpath("host_defaults.yaml").read_text(encoding="utf-8")
    rows = sorted((Row(**fields) for fields in yaml.safe_load(text)), key=lambda row: row.priority)
    return {row.name: row for row in rows}


def configure(config: ProviderConfig, api_key: str) -> OurConfig:
    """Make our configuration of one of the host's providers, and check it; it sends nothing.

    Args:
        config: What the host says of it.
        api_key: Its key.

    Raises:
        ProviderConfigError: It cannot work; the message says what is missing.
    """
    row = load_rows().get(config.name)
    if row is None:
        raise ProviderConfigError(
            "nothing is known of its service; override _create_provider to make it",
            provider=config.name,
        )
    base_url = variable(row.base_url_env)
    sent = row.send_key or (base_url or "").lower().startswith("https://")
    made = OurConfig(
        name=config.name,
        provider=row.provider,
        api_key=api_key if sent else "none",
        base_url=base_url,
        model=variable(row.model_env) or row.model,
        timeout=config.timeout,
        max_retries=config.max_retries,
        # The host's callers take whatever comes for content.
        response_checks=frozenset({ResponseCheck.NOT_EMPTY}),
    )
    try:
        LiteLLMProvider.check(made)
    except ProviderConfigError as error:
        if error.field != "base_url" or row.base_url_env is None:
            raise
        what = error.message if base_url else "is not set; it has to give the address"
        raise ProviderConfigError(
            f"{row.base_url_env}: {what}", field="base_url", provider=config.name
        ) from None
    return made


def variable(name: str | None) -> str | None:
    """Return an environment variable; None if it has no name, is not set, or is blank."""
    return (os.environ.get(name, "").strip() or None) if name else None
