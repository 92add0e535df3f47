"""Which way a provider's calls take to the wire, and why not the direct one; LiteLLM is not imported."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version

from ..base import ProviderConfig
from ..errors import ProviderConfigError
from ..observability.logging import get_logger
from ..types import DispatchMode
from .target import Target

TESTED = (1, 106)
"""The version of LiteLLM that the differential test has proven equal, without the last number."""

# The options that are nothing but sent along; all others are LiteLLM's to read.
_PLAIN_OPTIONS = frozenset({"headers"})

_log = get_logger("amas.providers.llm")


@cache
def installed_litellm() -> str:
    """Return the version of LiteLLM that is installed; read once, from a file."""
    return version("litellm")


def why_not_direct(target: Target, config: ProviderConfig, installed: str) -> str | None:
    """Say why a provider's calls take LiteLLM's own way; None if they are direct.

    Args:
        target: Where they go.
        config: Its configuration.
        installed: The version of LiteLLM.
    """
    if config.dispatch is DispatchMode.LITELLM:
        return "as configured"
    return _why_never_direct(target, config) or _why_not_with(installed)


def way_of(target: Target, config: ProviderConfig) -> str:
    """Say in words which way a provider's calls take: ``direct``, or ``litellm: `` and why.

    Args:
        target: Where they go.
        config: Its configuration. With ``dispatch: direct`` they are direct or not at all.
    """
    why = why_not_direct(target, config, installed_litellm())
    direct = why is None or config.dispatch is DispatchMode.DIRECT
    return "direct" if direct else f"litellm: {why}"


def check_way(target: Target, config: ProviderConfig, installed: str | None = None) -> None:
    """Raise ``ProviderConfigError`` if a provider's calls are to be direct, and cannot be.

    Args:
        target: Where they go.
        config: Its configuration.
        installed: The version of LiteLLM; None leaves it out: one that is not tested stops a
            provider, and no file.
    """
    if config.dispatch is not DispatchMode.DIRECT:
        return
    why = _why_never_direct(target, config) or (installed and _why_not_with(installed))
    if why:
        raise ProviderConfigError(
            f"cannot be direct: {why}; write auto", field="dispatch", provider=config.name
        )


@cache
def tell_untested(installed: str) -> None:
    """Warn, once in a process, that an untested LiteLLM takes the direct way from everybody."""
    if why := _why_not_with(installed):
        _log.warning("nobody_direct", reason=why)


def _why_never_direct(target: Target, config: ProviderConfig) -> str | None:
    """Say why calls are not direct with any version of LiteLLM."""
    if target.entry is None:
        return "it is not in the catalogue"
    if target.entry.detour is not None:
        return target.entry.detour
    options = ", ".join(sorted(config.options.keys() - _PLAIN_OPTIONS))
    return f"LiteLLM reads its options ({options})" if options else None


def _why_not_with(installed: str) -> str | None:
    tested = ".".join(map(str, TESTED))
    if installed.startswith(f"{tested}."):
        return None
    return f"LiteLLM {installed} is not the tested {tested}"
