"""Adapters of somebody else's: where a row says its code is, found and put to use."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from inspect import iscoroutinefunction, signature, unwrap
from pkgutil import iter_modules
from typing import Any, TypeAlias

from ..errors import ProviderConfigError, ProviderError, nearest, suggestion
from .faults import described
from .options import parse_options
from .provider_interface import ProviderBase, ProviderConfig

Factory: TypeAlias = Callable[[ProviderConfig], Any]
"""A subclass of ``ProviderBase``, or whatever else makes a provider of a configuration."""


def find_factory(where: str) -> Factory:
    """Import what makes the providers of a row; this runs code of somebody else's.

    Args:
        where: ``package.module:Class``.

    Raises:
        ProviderConfigError: It is not there, cannot be imported, or is nothing of the kind.
    """
    module, _, attribute = where.partition(":")
    target = _import(module, where)
    for part in attribute.split("."):
        try:
            target = getattr(target, part)
        except AttributeError:
            raise _wrong(
                where,
                f"module {module!r} has no {part!r}{suggestion(part, _public(target))};"
                " write package.module:Class",
            ) from None
    return usable(target, where)


def usable(target: Any, where: str) -> Factory:
    """Return what makes the providers of a row, as far as that can be told without calling it.

    Args:
        target: What has been found.
        where: What the row or the plugin calls it.

    Raises:
        ProviderConfigError: It cannot make any.
    """
    if isinstance(target, type):
        _check_class(target, where)
    elif not callable(target):
        raise _wrong(
            where,
            f"it is a {type(target).__name__}, and makes no provider; name a class that is"
            " derived from amas.providers.BaseProvider",
        )
    if iscoroutinefunction(target) or not _takes_one(target):
        raise _wrong(
            where,
            "it makes no provider when it is called with a ProviderConfig; name a class that is"
            " derived from amas.providers.BaseProvider, or write `def f(config)`",
        )
    return target  # type: ignore[no-any-return]


def _check_class(target: type, where: str) -> None:
    if not issubclass(target, ProviderBase):
        raise _wrong(where, "it is no ProviderBase; derive it from amas.providers.BaseProvider")
    if missing := sorted(target.__abstractmethods__):
        awaited = {name for name in missing if iscoroutinefunction(getattr(target, name))}
        names = ", ".join(f"`{'async ' * (name in awaited)}def {name}`" for name in missing)
        raise _wrong(where, f"its methods are not complete; add {names}")
    for name in sorted({name for base in target.__mro__ for name in _awaited(base)}):
        if not _is_async(getattr(target, name)):
            raise _wrong(
                where, f"its {name} is awaited, and is not async; write `async def {name}`"
            )
    if iscoroutinefunction(target.stream):
        raise _wrong(where, "its stream returns, and is to be iterated; `yield` the pieces in it")


def _awaited(base: type) -> list[str]:
    """Return the names of the methods that a base wants, and wants to be async."""
    names = getattr(base, "__abstractmethods__", ())
    return [name for name in names if iscoroutinefunction(getattr(base, name))]


def _is_async(method: Any) -> bool:
    """Tell whether a method is async, be it below its decorators."""
    return iscoroutinefunction(method) or iscoroutinefunction(unwrap(method))


def _takes_one(target: Callable[..., Any]) -> bool:
    try:
        signature(target).bind(None)
    except (TypeError, ValueError):  # it takes others, or does not say what it takes
        return False
    return True


def _import(module: str, where: str) -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        name = error.name or ""
        if module != name and not module.startswith(f"{name}."):
            raise _broken(where, error) from error
        if module.endswith(".py"):
            right = where.replace(".py:", ":", 1)
            raise _wrong(where, f"it is no name of a module; write {right}, without .py") from None
        raise _wrong(
            where,
            f"there is no module {name!r}{_nearest_module(name)};"
            " install the package that has it, or add its folder to PYTHONPATH",
        ) from None
    except ProviderError:
        raise
    except (Exception, SystemExit) as error:
        raise _broken(where, error) from error


def _broken(where: str, error: BaseException) -> ProviderConfigError:
    return _wrong(where, described(error))


def _wrong(where: str, why: str) -> ProviderConfigError:
    return ProviderConfigError(f"{where!r} cannot be used: {why}", field="adapter")


def _public(target: object) -> list[str]:
    return [name for name in dir(target) if not name.startswith("_")]


def _nearest_module(name: str) -> str:
    home, _, last = name.rpartition(".")
    try:
        places: Iterable[str] | None = import_module(home).__path__ if home else None
    except (Exception, SystemExit):  # noqa: BLE001 -- a hint is no reason to fail otherwise
        return ""
    # Among hundreds of modules, some name is always a little like it.
    near = nearest(last, [item.name for item in iter_modules(places)], cutoff=0.8)
    return f" (did you mean {near!r}?)" if near else ""


def check_options(factory: Factory, config: ProviderConfig) -> None:
    """Make sure that the options of a row are what its adapter declares, if it does.

    Raises:
        OptionsError: They are not.
        ProviderConfigError: What it declares is no model.
    """
    model = options_model(factory)
    if model is not None:
        parse_options(model, config.options, provider=config.name)


def options_model(factory: object) -> type | None:
    """Return the class ``Options`` that an adapter declares; None if it has none."""
    model = getattr(factory, "Options", None)
    return model if isinstance(model, type) else None


def make_provider(factory: Factory, where: str, config: ProviderConfig) -> ProviderBase:
    """Make the provider of a row.

    Args:
        factory: What ``find_factory`` has found.
        where: What the row or the plugin calls it.
        config: The row.

    Raises:
        ProviderConfigError: It makes none.
    """
    try:
        provider = factory(config)
    except ProviderError:
        raise
    except (Exception, SystemExit) as error:
        raise ProviderConfigError(
            f"plugin {where!r} cannot be used: {described(error)}",
            provider=config.name,
        ) from error
    if not isinstance(provider, ProviderBase):
        raise ProviderConfigError(
            f"plugin {where!r} makes a {type(provider).__name__}, not a ProviderBase",
            provider=config.name,
        )
    return provider
