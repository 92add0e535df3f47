"""Secret values, and how they are kept out of everything that is shown.

This is the lowest layer of the package: it imports nothing of ours, so that
the error tree and the configuration can both rely on it.
"""

from __future__ import annotations

import hmac
import re
import threading
from collections.abc import Mapping
from typing import Any, Final, Self
from weakref import WeakValueDictionary

from typing_extensions import override

MASK: Final = "**********"

# Shorter values ("none", "test") are placeholders: replacing them would garble ordinary text.
_MIN_LIVE_LENGTH: Final = 8

# Key shapes of the vendors, with lower bounds on their lengths; see litellm-facts.md, section 5.
_KEY_SHAPES: Final = re.compile(
    r"""
      \bsk-[\w-]{8,}                    # OpenAI, Anthropic, OpenRouter, DeepSeek, Moonshot, DashScope
    | \bAIza[\w-]{20,}                  # Google
    | \b(?:gsk|hf|r8|fw)_[A-Za-z0-9]{16,}   # Groq, Hugging Face, Replicate, Fireworks
    | \b(?:xai|pplx|nvapi|csk)-[\w-]{16,}   # xAI, Perplexity, NVIDIA, Cerebras
    | \b[0-9a-f]{32}\.[A-Za-z0-9]{16}\b     # Zhipu
    | (?<=Bearer\ )[\w.~+/=-]{8,}       # whatever else travels as a bearer token
    """,
    re.VERBOSE,
)

_SECRET_NAME: Final = re.compile(
    r"key|secret|token|password|credential|authorization|cookie", re.IGNORECASE
)

_live: WeakValueDictionary[int, Secret] = WeakValueDictionary()
_live_lock = threading.Lock()


class Secret(str):
    """A string whose text is its mask; the value comes out only on request.

    Being a ``str`` whose characters are the mask, it is masked wherever a
    string is taken: ``repr``, ``str``, f-strings, JSON, ``dataclasses.asdict``,
    pickles and the locals of a traceback.

    Args:
        value: The secret text, surrounding whitespace excluded.
    """

    __slots__ = ("__weakref__", "_value")
    _value: str

    def __new__(cls, value: str) -> Self:  # noqa: D102 -- described at the class
        self = super().__new__(cls, MASK)
        self._value = value.get_secret_value() if isinstance(value, Secret) else value.strip()
        with _live_lock:
            _live[id(self)] = self
        return self

    def get_secret_value(self) -> str:
        """Return the secret itself; the name follows ``pydantic.SecretStr``."""
        return self._value

    @override
    def __repr__(self) -> str:
        return f"Secret({MASK!r})"

    @override
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, str):
            return NotImplemented
        theirs = other.get_secret_value() if isinstance(other, Secret) else other
        return hmac.compare_digest(self._value.encode(), theirs.encode())

    @override
    def __ne__(self, other: object) -> bool:
        return not self == other

    @override
    def __hash__(self) -> int:
        return hash(self._value)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self

    @override
    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        # A pickle leaves the process: it gets the mask, never the value.
        return (str, (MASK,))


def is_secret_name(name: str) -> bool:
    """Tell whether a field of this name holds a credential, such as ``aws_secret_access_key``."""
    return _SECRET_NAME.search(name) is not None


def hide(value: Any, *, secret: bool = False) -> Any:
    """Copy plain data, with every text under the name of a credential as a ``Secret``.

    Args:
        value: Mappings, lists and plain values.
        secret: Whether the value itself stands under such a name.
    """
    if isinstance(value, Mapping):
        return {
            key: hide(item, secret=secret or is_secret_name(str(key)))
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [hide(item, secret=secret) for item in value]
    return Secret(value) if secret and isinstance(value, str) else value


def reveal(value: Any) -> Any:
    """Undo ``hide``, for the one place that sends the values."""
    if isinstance(value, Mapping):
        return {key: reveal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [reveal(item) for item in value]
    return value.get_secret_value() if isinstance(value, Secret) else value


def scrub(text: str) -> str:
    """Replace every secret in a text with the mask.

    Live secrets (every ``Secret`` in existence) go by exact match, anything
    else by the key shapes of the vendors.

    Args:
        text: Any text, for example what an upstream answered.

    Returns:
        The text without secrets.
    """
    with _live_lock:
        values = {secret.get_secret_value() for secret in _live.values()}
    for value in sorted(values, key=len, reverse=True):
        if len(value) >= _MIN_LIVE_LENGTH:
            text = text.replace(value, MASK)
    return _KEY_SHAPES.sub(MASK, text)
