"""How a service obeys its feature flag: each call goes to the old or the new implementation.

A class of the new implementation hooks in with one decorator::

    @flagged(
        "llm_service",
        paid=("generate", "generate_response"),
        free=("health_check",),
        start="initialize",
        close="close",
        attributes=("models", "current_model"),
    )
    class LLMService: ...

Each call is decided once, and runs to its end where it began: a flag that changes meanwhile
loses nothing. What a service calls of itself stays on its own side.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING or __package__:
    from .feature_flags import FLAGS, FeatureFlags, calling_as
    from .old_side import NEW_MARK, OldSide
    from .service_switch import Kind, Method, Switch
else:
    from feature_flags import FLAGS, FeatureFlags, calling_as
    from old_side import NEW_MARK, OldSide
    from service_switch import Kind, Method, Switch

__all__ = ["Switch", "calling_as", "flagged", "switch_of"]

_ClassT = TypeVar("_ClassT", bound=type[Any])

_SWITCH = "_amas_switch"


class _Attribute:
    """An attribute of whoever answers.

    Args:
        name: Its name.
        own: What the class has by this name: a property, or nothing.
    """

    def __init__(self, name: str, own: Any) -> None:
        self._name = name
        self._own = own

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        switch = vars(instance).get(_SWITCH)
        if switch is not None and not switch.is_inside():
            old = switch.answering_old()
            if old is not None:
                return getattr(old, self._name)
        if self._own is not None:
            return self._own.__get__(instance, owner)
        try:
            return vars(instance)[self._name]
        except KeyError:
            kind = type(instance).__name__
            text = f"{kind!r} object has no attribute {self._name!r}"
            raise AttributeError(text, name=self._name, obj=instance) from None

    def __set__(self, instance: Any, value: Any) -> None:
        switch = vars(instance).get(_SWITCH)
        if self._own is not None:
            self._own.__set__(instance, value)
        else:
            vars(instance)[self._name] = value
        if switch is not None and not switch.is_inside():
            old = switch.answering_old()
            if old is not None:
                setattr(old, self._name, value)


def _hooked(method: Method) -> Callable[..., Any]:
    raw = method.raw
    if inspect.iscoroutinefunction(raw):

        @functools.wraps(raw)
        async def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            switch = vars(self).get(_SWITCH)
            if switch is None:  # it is just being made
                return await raw(self, *args, **kwargs)
            return await switch.call(method, args, kwargs)

        return call

    @functools.wraps(raw)
    def call_sync(self: Any, *args: Any, **kwargs: Any) -> Any:
        switch = vars(self).get(_SWITCH)
        if switch is None:
            return raw(self, *args, **kwargs)
        return switch.call_sync(method, args, kwargs)

    return call_sync


def flagged(
    service: str,
    *,
    paid: Iterable[str] = (),
    free: Iterable[str] = (),
    plain: Iterable[str] = (),
    start: str | None = None,
    close: str | None = None,
    attributes: Iterable[str] = (),
    flags: FeatureFlags = FLAGS,
) -> Callable[[_ClassT], _ClassT]:
    """Make the class of a new implementation obey the flag of its service.

    Args:
        service: Name of the service, as the configuration has it.
        paid: Methods whose calls may cost something: ``shadow`` repeats a share of them.
        free: Methods that cost nothing: ``shadow`` repeats each call.
        plain: Methods that are never repeated, such as statistics.
        start: The asynchronous method that starts the service.
        close: The asynchronous method that closes it: always both sides.
        attributes: Attributes that are those of whoever answers.
        flags: The flags.
    """
    kinds = {
        **dict.fromkeys(paid, Kind.PAID),
        **dict.fromkeys(free, Kind.FREE),
        **dict.fromkeys(plain, Kind.PLAIN),
        **({start: Kind.START} if start else {}),
        **({close: Kind.CLOSE} if close else {}),
    }
    names = tuple(attributes)

    def hook(cls: _ClassT) -> _ClassT:
        methods = {name: Method(name, vars(cls)[name], kind) for name, kind in kinds.items()}
        for name, method in methods.items():
            setattr(cls, name, _hooked(method))
        for name in names:
            setattr(cls, name, _Attribute(name, inspect.getattr_static(cls, name, None)))
        setattr(cls, NEW_MARK, service)
        make = cls.__init__

        @functools.wraps(make)
        def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807 -- it is one
            make(self, *args, **kwargs)
            old = OldSide(service, cls.__name__, args, kwargs)
            switch = Switch(service, self, old, flags)
            if start:
                switch.set_start(methods[start])
            vars(self)[_SWITCH] = switch

        cls.__init__ = __init__
        return cls

    return hook


def switch_of(service: Any) -> Switch:
    """Return the switch of a service's object, for its counters.

    Args:
        service: An object whose class obeys a flag.
    """
    switch: Switch = vars(service)[_SWITCH]
    return switch
