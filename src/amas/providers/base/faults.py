"""What is said of a provider whose code is wrong: where, and what it should have done."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from traceback import walk_tb
from types import FrameType
from typing import Final

from ..errors import BadResponseError, ProviderUnavailableError

# This package; its name depends on how it is imported.
_OURS: Final = __name__.removesuffix(".base.faults")

# What only a change of the code helps against. No ValueError: an upstream's nonsense ends in one.
_DEFECTS: Final = (
    *(TypeError, AttributeError, NameError, KeyError, IndexError),
    *(NotImplementedError, AssertionError, ImportError, SyntaxError),
)


def unexpected(error: BaseException, *, provider: str | None = None) -> ProviderUnavailableError:
    """Wrap an exception that no provider should raise, so that failover can go on.

    Args:
        error: What was raised.
        provider: Name of the provider that raised it.

    Returns:
        An error of our tree, scrubbed, that names the exception's type and its place. If it is
        a mistake of programming, it is one that the same provider is not asked again after.
    """
    kind = BadResponseError if isinstance(error, _DEFECTS) else ProviderUnavailableError
    return kind(f"unexpected {described(error)}", provider=provider)


def described(error: BaseException) -> str:
    """Return the type of an error, what it says, and where in somebody else's code it arose."""
    where = _place(error)
    return f"{type(error).__name__}: {said_by(error)}{f' ({where})' if where else ''}"


def said_by(error: BaseException) -> str:
    """Return what an error says; somebody else's may fail even at that."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 -- whatever its __str__ does
        return "it does not say why"


def _place(error: BaseException) -> str:
    """Return file, line and function: the innermost of the code that ours has called.

    Deeper down, in the libraries that it uses, nobody would look for the mistake.
    """
    foreign = [item for item in walk_tb(error.__traceback__) if _package(item[0])]
    home = [item for item in foreign if _package(item[0]) == _package(foreign[0][0])]
    if not home:
        return ""
    frame, line = home[-1]
    return f"{PurePath(frame.f_code.co_filename).name}:{line} in {frame.f_code.co_name}"


def _package(frame: FrameType) -> str:
    """Return the package that a frame is of; nothing if it is ours, or that of an import."""
    module = str(frame.f_globals.get("__name__", "?"))
    package = module.partition(".")[0]
    return "" if package == "importlib" or f"{module}.".startswith(f"{_OURS}.") else package


def content_of(answer: object, *, provider: str) -> str:
    """Return the text of an answer; an empty one if there are calls of tools instead.

    Args:
        answer: What ``generate`` has returned.
        provider: Name of the provider.

    Raises:
        BadResponseError: It is none.
    """
    got = f"a value of type {type(answer).__name__}"
    if isinstance(answer, Mapping):
        content = answer.get("content")
        if isinstance(content, str):
            return content
        if content is None and answer.get("tool_calls"):
            return ""
        got = "a mapping without it"
        if content is not None:
            got = f"a mapping whose `content` is of type {type(content).__name__}"
    raise BadResponseError(
        f"generate must return a mapping with `content`, a text; it returned {got}",
        provider=provider,
    )
