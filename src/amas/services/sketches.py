"""What the answers of two implementations look like, compared without a word of them.

A sketch has the form of an answer: its keys and types, whether it is a success, who gave it,
what kind of error it is. Of prompts and answers it has nothing but a length and a hash,
which is keyed anew in every process, so that short answers cannot be guessed from it.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ..providers.secret import scrub
else:
    if __package__:
        from .location import take
    else:
        from location import take

    take(globals(), "providers.secret", "scrub")

__all__ = ["Answer", "append_line", "differing", "error_class", "sketch"]

_HASH_KEY: Final = secrets.token_bytes(16)
_LONGEST: Final = 64  # characters of a name that are shown
_MOST_KEYS: Final = 100
_CONTENT: Final = ("content", "response", "embedding")

# The first that is found names the class of an error's text.
_ERROR_CLASSES: Final = (
    ("http {}", re.compile(r"\b(?:HTTP|status|code)\D{0,3}([1-5]\d\d)\b", re.IGNORECASE)),
    (
        "all failed",
        re.compile(r"all .{0,20}providers failed|no active .{0,10}providers", re.IGNORECASE),
    ),
    ("no key", re.compile(r"api[ _]key", re.IGNORECASE)),
    ("unsupported", re.compile(r"unsupported|unknown provider", re.IGNORECASE)),
    ("no model", re.compile(r"\bmodel\b", re.IGNORECASE)),
    ("timeout", re.compile(r"time[d ]?.?out", re.IGNORECASE)),
    ("rate limit", re.compile(r"rate.?limit|too many requests", re.IGNORECASE)),
    (
        "connection",
        re.compile(r"connect|refused|unreachable|resolve|name or service", re.IGNORECASE),
    ),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What one side gave.

    Attributes:
        value: What it returned.
        error: What it raised instead.
        seconds: How long it took.
    """

    value: object = None
    error: Exception | None = None
    seconds: float = 0.0


def error_class(text: str) -> str:
    """Return the class of an error's text, such as ``http 503`` or ``timeout``."""
    if not text.strip():
        return "empty"
    for name, pattern in _ERROR_CLASSES:
        if found := pattern.search(text):
            return name.format(*found.groups())
    return "other"


def sketch(answer: Answer) -> dict[str, Any]:
    """Return what may be recorded of an answer.

    Returns:
        ``raised`` (class of the exception), ``type``, ``keys`` (with the types of their
        values), ``success``, ``provider``, ``error`` (its class), ``content`` (``length`` and
        ``hash``) and ``latency_ms``; None where there is no such thing.
    """
    value, error = answer.value, answer.error
    fields = value if isinstance(value, Mapping) else {}
    text = fields.get("error") if error is None else str(error)
    return {
        "raised": None if error is None else type(error).__name__,
        "type": None if error is not None else type(value).__name__,
        "keys": {
            _name(key): type(item).__name__ for key, item in list(fields.items())[:_MOST_KEYS]
        },
        "success": success if isinstance(success := fields.get("success"), bool) else None,
        "provider": _name(who) if isinstance(who := fields.get("provider"), str) else None,
        "error": error_class(text) if isinstance(text, str) else None,
        "content": _content(value, fields),
        "latency_ms": round(answer.seconds * 1000, 3),
    }


def _name(text: object) -> str:
    return scrub(str(text))[:_LONGEST]


def _content(value: object, fields: Mapping[Any, Any]) -> dict[str, Any] | None:
    """Return length and hash of the text or vector in an answer, if it has one."""
    found = (item for key in _CONTENT if isinstance(item := fields.get(key), str | list))
    content = value if isinstance(value, str) else next(found, None)
    if content is None:
        return None
    data = str(content).encode("utf-8", "surrogatepass")
    return {
        "length": len(content),
        "hash": blake2b(data, key=_HASH_KEY, digest_size=8).hexdigest(),
    }


def differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Compare two sketches.

    Returns:
        What differs, but for the latency: ``raised``, ``type``, ``missing_keys`` (of the new
        answer), ``added_keys``, ``types`` (of values), ``success``, ``provider``, ``error``
        and ``content``.
    """
    was, now = old["keys"], new["keys"]
    parts = {
        "raised": old["raised"] != new["raised"],
        "type": old["type"] != new["type"],
        "missing_keys": bool(was.keys() - now.keys()),
        "added_keys": bool(now.keys() - was.keys()),
        "types": any(was[key] != now[key] for key in was.keys() & now.keys()),
        **{part: old[part] != new[part] for part in ("success", "provider", "error", "content")},
    }
    return [part for part, differs in parts.items() if differs]


def append_line(path: str, record: Mapping[str, Any]) -> None:
    """Append a record to a file of JSON lines, which nobody else may read; it blocks.

    Args:
        path: The file; it and its folder are made where they are missing.
        record: The record.

    Raises:
        OSError: It cannot be written.
    """
    line = json.dumps(record).encode() + b"\n"
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "ab", buffering=0) as file:
        os.fchmod(descriptor, 0o600)  # it may have been there before
        file.write(line)
