"""Secret values, and how they are kept out of everything that is shown.

With ``secret_forms`` and ``key_shapes`` this is the lowest layer of the package: it imports
nothing else of ours, so that the error tree and the configuration can both rely on it.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Self

from typing_extensions import override

from .key_shapes import MASK as MASK  # noqa: PLC0414 -- it belongs to what a secret shows
from .key_shapes import mask_shapes
from .secret_forms import KnownSecrets

_SECRET_NAME: Final = re.compile(
    r"key|secret|token|password|credential|authorization|cookie", re.IGNORECASE
)
# Headers of one's own gateway may carry anything, under any name.
_HEADERS: Final = frozenset({"headers", "extra_headers", "default_headers"})
# These tell who asks; masked, they would take ordinary words out of logs.
_PUBLIC_HEADERS: Final = frozenset({"http-referer", "referer", "user-agent", "x-title"})

_known = KnownSecrets()

# Short texts without a secret, with the version of the known ones that this was found with:
# names of providers, models and callers come again with every call.
_clean: dict[str, int] = {}
_LONGEST_NAME: Final = 64
_MOST_NAMES: Final = 4096


class Secret(str):
    """A string whose text is its mask; the value comes out only on request.

    Being a ``str`` whose characters are the mask, it is masked wherever a
    string is taken: ``repr``, ``str``, f-strings, JSON, ``dataclasses.asdict``,
    pickles and the locals of a traceback.

    Args:
        value: The secret text, surrounding whitespace excluded.
    """

    __slots__ = ("_value",)
    _value: str

    def __new__(cls, value: str) -> Self:  # noqa: D102 -- described at the class
        value = value.get_secret_value() if isinstance(value, Secret) else value.strip()
        self = super().__new__(cls, MASK)
        self._value = value
        _known.add(self._value)
        return self

    def __del__(self, _drop: Callable[[str], None] = _known.drop) -> None:
        """Let the value be forgotten, after a while."""
        # The default is there also when the interpreter has cleared the module.
        _drop(self._value)

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
    """Copy plain data, with every text under the name of a credential, or of headers, as a ``Secret``.

    Args:
        value: Mappings, lists and plain values.
        secret: Whether the value itself stands under such a name.
    """
    if isinstance(value, Mapping):
        return {key: hide(item, secret=_is_hidden(key, secret)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [hide(item, secret=secret) for item in value]
    return Secret(value) if secret and isinstance(value, str) else value


def _is_hidden(key: object, secret: bool) -> bool:
    if isinstance(key, str) and key.lower() in _PUBLIC_HEADERS:
        return False
    return secret or key in _HEADERS or is_secret_name(str(key))


def reveal(value: Any) -> Any:
    """Undo ``hide``, for the one place that sends the values."""
    if isinstance(value, Mapping):
        return {key: reveal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [reveal(item) for item in value]
    return value.get_secret_value() if isinstance(value, Secret) else value


def scrub(text: str) -> str:
    """Replace every secret in a text with the mask.

    Known secrets (every ``Secret`` in existence, and the last 256 that no longer exist) go by
    exact match: as they are, in base64, in hex, and escaped for URLs, JSON, Python or HTML; and
    so does what begins with at least the first half of one. Anything else goes by the shapes
    that the vendors give their keys, and by where credentials stand.

    Args:
        text: Any text, for example what an upstream answered.

    Returns:
        The text without secrets. Values of fewer than eight characters are no secrets.
    """
    version = _known.version
    if _clean.get(text) == version:
        return text
    masked = mask_shapes(_known.mask(text))
    if masked == text and len(text) <= _LONGEST_NAME:
        if len(_clean) >= _MOST_NAMES:
            _clean.clear()
        _clean[text] = version
    return masked
