"""Configurations, errors and facts as plain data, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from ... import errors
from ...base import ProviderBase, ProviderConfig
from ...base.faults import unexpected
from ...errors import (
    AccessDeniedError,
    AllProvidersFailedError,
    NoProviderAvailableError,
    ProviderConfigError,
    ProviderError,
    ProviderUnavailableError,
    StreamInterruptedError,
)
from ...secret import reveal
from ...types import Capability, Isolation, Price, SandboxLimits
from . import values
from .wire import MAX_FROM_CHILD, pack

# An error's message is for people: nobody reads more, and logs are not to be flooded with it.
_MAX_MESSAGE: Final = 4096
_ATTRIBUTES: Final = (
    *("model", "status_code", "request_id", "retry_after"),
    *("partial_text", "problems", "field"),
)

_ERRORS: Final[Mapping[str, type[ProviderError]]] = {
    name: value
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, ProviderError)
}

# What a manager decides: no provider can say it.
_MANAGERS_OWN: Final = (AccessDeniedError, AllProvidersFailedError, NoProviderAvailableError)


def config_to_data(config: ProviderConfig) -> dict[str, Any]:
    """Return a configuration as plain data, with its secrets; for the channel and nothing else."""
    data = {item.name: reveal(getattr(config, item.name)) for item in fields(config)}
    if data["api_keys"]:
        # The first of several; both together would be one too many.
        data["api_key"] = None
    data["api_keys"] = [reveal(key) for key in config.api_keys]
    for name in ("capabilities", "response_checks"):
        data[name] = None if data[name] is None else sorted(data[name])
    data["price"] = asdict(config.price) if isinstance(config.price, Price) else None
    return data | {"sandbox": asdict(config.sandbox), "isolation": str(Isolation.NONE)}


def config_from_data(data: Mapping[str, Any]) -> ProviderConfig:
    """Undo ``config_to_data``; in the child there is no further child."""
    return ProviderConfig(**{**data, "sandbox": SandboxLimits(**data["sandbox"])})


def error_to_data(error: BaseException) -> dict[str, Any]:
    """Return an error as plain data; one that is not of our tree becomes one that is."""
    if not isinstance(error, ProviderError):
        error = unexpected(error)
    kind = next(item for item in type(error).__mro__ if item.__name__ in _ERRORS)
    try:
        data = {name: getattr(error, name, None) for name in _ATTRIBUTES}
        data = data | {"kind": kind.__name__, "message": error.message}
        pack(data, MAX_FROM_CHILD)
    except Exception:  # noqa: BLE001 -- its attributes are a plugin's own
        return {"kind": kind.__name__, "message": f"unreadable {type(error).__name__}"}
    return data


def error_from_data(data: object, *, provider: str) -> ProviderError:
    """Undo ``error_to_data``; whatever is wrong in it is left out.

    Args:
        data: What a child sent.
        provider: Name of the provider that it is of.
    """
    read = values.mapping(data)
    kind = _ERRORS.get(str(read.get("kind")), ProviderUnavailableError)
    if issubclass(kind, _MANAGERS_OWN):
        kind = ProviderUnavailableError
    message = values.line(read.get("message"), _MAX_MESSAGE)
    more: dict[str, Any] = {}
    if issubclass(kind, ProviderConfigError):
        problems = [values.line(item, _MAX_MESSAGE) for item in values.items(read.get("problems"))]
        more = {"problems": problems, "field": values.name(read.get("field"))}
    elif issubclass(kind, StreamInterruptedError):
        more = {"partial_text": values.text(read.get("partial_text")) or ""}
    error = kind(message, **more)
    error.provider, error.model = provider, values.name(read.get("model"))
    error.status_code = values.count(read.get("status_code"))
    error.request_id = values.name(read.get("request_id"))
    error.retry_after = values.amount(read.get("retry_after"))
    return error


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a provider once it is started."""

    model: str | None
    way: str | None
    capabilities: frozenset[Capability] | None
    capabilities_complete: bool
    context_window: int | None
    price: Price | None


def facts_to_data(provider: ProviderBase) -> dict[str, Any]:
    """Return as plain data what is known of a provider."""
    named = provider.capabilities
    return {
        "model": provider.model,
        "way": provider.way,
        "capabilities": None if named is None else sorted(map(str, named)),
        "capabilities_complete": provider.capabilities_complete,
        "context_window": provider.context_window,
        "price": None if provider.price is None else asdict(provider.price),
    }


def facts_from_data(data: object) -> Facts:
    """Undo ``facts_to_data``; whatever is wrong in it counts as not known."""
    read = values.mapping(data)
    named, price = read.get("capabilities"), values.mapping(read.get("price"))
    into, out = values.amount(price.get("input")), values.amount(price.get("output"))
    return Facts(
        model=values.name(read.get("model")),
        way=values.name(read.get("way")),
        capabilities=frozenset(item for item in Capability if str(item) in named)
        if isinstance(named, list)
        else None,
        capabilities_complete=read.get("capabilities_complete") is not False,
        context_window=values.count(read.get("context_window")) or None,
        price=None if into is None or out is None else Price(into, out),
    )


@dataclass(frozen=True, slots=True)
class SandboxReport:
    """What protects a service from a child, and what does not.

    Args:
        active: What does.
        missing: What does not on this machine, each with the reason.
    """

    active: tuple[str, ...]
    missing: tuple[str, ...]


def report_from_data(data: Mapping[str, Any]) -> SandboxReport:
    """Check a child's report of its protections; made before the provider's code is loaded."""
    active, missing = (
        tuple(str(item) for item in values.items(data.get(name))) for name in ("active", "missing")
    )
    return SandboxReport(active, missing)
