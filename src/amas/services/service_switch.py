"""One object of a service, and the sides that its calls go to: the old and the new one."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from ..providers.observability.logging import get_logger
    from .feature_flags import Choice, Decision, FeatureFlags, current_caller
    from .old_side import OldSide
    from .shadowing import Mirror, Shadow, measured
    from .side_starts import Starts, awaited
    from .sketches import Answer
else:
    if __package__:
        from .feature_flags import Choice, Decision, FeatureFlags, current_caller
        from .location import take
        from .old_side import OldSide
        from .shadowing import Mirror, Shadow, measured
        from .side_starts import Starts, awaited
        from .sketches import Answer
    else:
        from feature_flags import Choice, Decision, FeatureFlags, current_caller
        from location import take
        from old_side import OldSide
        from shadowing import Mirror, Shadow, measured
        from side_starts import Starts, awaited
        from sketches import Answer

    take(globals(), "providers.observability.logging", "get_logger")

__all__ = ["Kind", "Method", "Switch"]

_logger = get_logger("amas.services.flags")

_NEW = ""  # name of the new side; that of an old one is its import path

# The mark of the switch whose new implementation runs here: what it calls of itself is not
# decided again. Long-lived tasks keep their context, so the mark must not lead to the service.
_inside: ContextVar[object] = ContextVar("amas_inside", default=None)


class Kind(Enum):
    """What a method is, and so what ``shadow`` does with it."""

    PAID = auto()  # repeats a share of the calls
    FREE = auto()  # repeats each call
    PLAIN = auto()  # repeats none
    START = auto()  # each side gets it once it is used
    CLOSE = auto()  # both sides get it


class Method(NamedTuple):
    """A method that obeys the flag, as the new implementation has it."""

    name: str
    raw: Callable[..., Any]
    kind: Kind


class Switch:
    """Sends the calls of one object to where its flag says; may be used from any thread.

    Args:
        service: Name of the service, such as ``llm_service``.
        new: The object of the new implementation.
        old: The old implementation behind it.
        flags: The flags.
    """

    def __init__(self, service: str, new: Any, old: OldSide, flags: FeatureFlags) -> None:
        self._service = service
        self._new = new
        self._old = old
        self._flags = flags
        self._mark = object()
        self._name = uuid.uuid4().hex  # who calls, where nobody says
        self._starts = Starts()
        self._shadow = Shadow(service)
        self._start: Method | None = None

    @property
    def calls(self) -> int:
        """Calls under ``shadow`` that may cost something."""
        return self._shadow.calls

    @property
    def mirrored(self) -> int:
        """Those of them that the new implementation got as well."""
        return self._shadow.mirrored

    @property
    def dropped(self) -> int:
        """Those that it was to get, and did not for too many were under way."""
        return self._shadow.dropped

    @property
    def differences(self) -> int:
        """Mirrored calls whose answers differed."""
        return self._shadow.differences

    @property
    def differing(self) -> Counter[str]:
        """In what they differed, by number."""
        return Counter(self._shadow.differing)

    def set_start(self, method: Method) -> None:
        """Say which method starts the service."""
        self._start = method

    def is_inside(self) -> bool:
        """Tell whether this is code that the new implementation runs."""
        return _inside.get() is self._mark

    async def call(self, method: Method, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Call an asynchronous method on the side that the flag says.

        Args:
            method: The method.
            args: Its arguments.
            kwargs: The same, by name.

        Raises:
            ProviderConfigError: The flag is ``off``, and there is no old implementation.
        """
        if self.is_inside():
            return await method.raw(self._new, *args, **kwargs)
        if method.kind is Kind.CLOSE:
            return await self._close(method, args, kwargs)
        decision = await self._flags.adecide(self._service, current_caller() or self._name)
        old = None if decision.choice is Choice.NEW else await self._old.aget(decision)
        side = _NEW if old is None else self._old.path(decision)
        if method.kind is Kind.START:
            self._starts.note(side, args, kwargs)
        elif self._starts.is_due(side):
            await self._starts.ensure(side, self._starter(old))
        if old is None or not hasattr(old, method.name):
            return await self._call_new(method, args, kwargs)

        def ask() -> Any:
            return getattr(old, method.name)(*args, **kwargs)

        mirror = self._mirror(method, args, kwargs, decision)
        if mirror is None:
            return await awaited(ask())
        try:
            answer = await measured(ask)
        except BaseException:  # the caller went away
            mirror.cancel()
            raise
        return _given(answer, mirror)

    def call_sync(self, method: Method, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Call a synchronous method on the side that the flag says; see ``call``."""
        if self.is_inside():
            return method.raw(self._new, *args, **kwargs)
        # What is only read must not block a loop for the sake of a file.
        decide = self._flags.peek if method.kind is Kind.PLAIN else self._flags.decide
        decision = decide(self._service, current_caller() or self._name)
        old = None if decision.choice is Choice.NEW else self._old.get(decision)
        if old is None or not hasattr(old, method.name):
            token = _inside.set(self._mark)
            try:
                return method.raw(self._new, *args, **kwargs)
            finally:
                _inside.reset(token)
        mirror = self._mirror(method, args, kwargs, decision)
        if mirror is None:
            return getattr(old, method.name)(*args, **kwargs)
        began = time.perf_counter()
        try:
            value = getattr(old, method.name)(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 -- it is raised below
            answer = Answer(error=error, seconds=time.perf_counter() - began)
        except BaseException:
            mirror.cancel()
            raise
        else:
            answer = Answer(value, None, time.perf_counter() - began)
        return _given(answer, mirror)

    def answering_old(self) -> Any:
        """Return the old object if it answers now; None if the new one does."""
        decision = self._flags.peek(self._service, current_caller() or self._name)
        return None if decision.choice is Choice.NEW else self._old.get(decision)

    async def _call_new(
        self, method: Method, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        token = _inside.set(self._mark)
        try:
            return await method.raw(self._new, *args, **kwargs)
        finally:
            _inside.reset(token)

    def _starter(self, old: Any) -> Callable[..., Any]:
        assert self._start is not None
        start = self._start
        if old is not None:
            return getattr(old, start.name, _nothing)
        return lambda *args, **kwargs: self._call_new(start, args, kwargs)

    def _mirror(
        self,
        method: Method,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        decision: Decision,
    ) -> Mirror | None:
        """Begin the call of the new implementation beside the old one's, if there is to be one."""
        paid = method.kind is Kind.PAID
        if decision.choice is not Choice.SHADOW or not (paid or method.kind is Kind.FREE):
            return None
        if paid and not self._shadow.admit(decision.settings.shadow_share):
            return None
        try:
            own_args, own_kwargs = copy.deepcopy((args, kwargs))
        except Exception:  # noqa: BLE001 -- what cannot be copied cannot be used twice
            return None
        mirror = Mirror(method.name, decision.settings.differences)

        async def call() -> Answer:
            if self._starts.is_due(_NEW):
                await self._starts.ensure(_NEW, self._starter(None))
            _inside.set(self._mark)  # in a task of its own
            if inspect.iscoroutinefunction(method.raw):
                return await measured(lambda: method.raw(self._new, *own_args, **own_kwargs))
            threaded = functools.partial(asyncio.to_thread, method.raw, self._new)
            return await measured(lambda: threaded(*own_args, **own_kwargs))

        self._shadow.begin(mirror, call, counted=paid)
        return mirror

    async def _close(self, method: Method, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Close both sides, and what runs beside; the new one's result is returned."""
        try:
            await self._shadow.aclose()
            for old in self._old.existing():
                try:
                    await awaited(getattr(old, method.name, _nothing)())
                except Exception:
                    _logger.exception("the old implementation could not be closed")
        finally:
            closed = await self._call_new(method, args, kwargs)
        return closed


def _nothing(*_args: Any, **_kwargs: Any) -> None:
    """Stand for a method that the old implementation does not have."""


def _given(answer: Answer, mirror: Mirror) -> Any:
    """Hand on what the old implementation gave, to its caller and to the comparison."""
    mirror.settle(answer)
    if answer.error is not None:
        raise answer.error
    return answer.value
