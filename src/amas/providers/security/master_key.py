"""The master key: what it must be, and the keys that are derived from it."""

from __future__ import annotations

import base64
import binascii
import re
import secrets
import string
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from typing_extensions import override

from ..errors import ProviderConfigError
from ..secret import Secret

KEY_BYTES: Final = 32

_LEAST_DISTINCT: Final = 16
_TEXT: Final = frozenset(string.printable.encode())
_SEPARATORS: Final = re.compile(r"[\s,]+")
_MAKE_ONE: Final = "make one with `amas-providers keys generate-master`"


def generate() -> Secret:
    """Make a master key: 32 random bytes in url-safe base64."""
    return Secret(encode(secrets.token_bytes(KEY_BYTES)))


def encode(value: bytes) -> str:
    """Return bytes in url-safe base64 without padding."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode("ascii")


def decode(text: str) -> bytes:
    """Undo ``encode``.

    Raises:
        ValueError: The text is not what ``encode`` makes, padding bits included.
    """
    try:
        value = base64.b64decode(
            text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True
        )
    except (binascii.Error, UnicodeEncodeError):
        raise ValueError("no url-safe base64") from None
    # Several texts stand for the same bytes where the last character has bits left over.
    if encode(value) != text:
        raise ValueError("no canonical base64")
    return value


def derive(master: MasterKey, purpose: str) -> bytes:
    """Derive a key of its own for one purpose.

    Args:
        master: The master key.
        purpose: What the derived key is for, such as ``audit``; no two uses share one.

    Returns:
        32 bytes.
    """
    info = b"amas-providers/" + purpose.encode()
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=info).derive(
        decode(master.text.get_secret_value())
    )


class MasterKey:
    """One master key; ``repr`` shows its id alone.

    Args:
        text: The key as ``keys generate-master`` prints it.

    Attributes:
        text: The key.
        id: Eight characters that name it, derived from it; no secret.

    Raises:
        ProviderConfigError: It is none, or one that could be guessed.
    """

    def __init__(self, text: Secret) -> None:
        self.text = Secret(text.get_secret_value().rstrip("="))
        _require_strong(self.text)
        self.id = derive(self, "key id")[:4].hex()

    @override
    def __repr__(self) -> str:
        return f"MasterKey({self.id})"

    def fingerprint(self, key: Secret) -> str:
        """Return 12 characters by which a key can be told from others, not guessed.

        Args:
            key: A provider's key.
        """
        mac = HMAC(derive(self, "fingerprint"), SHA256())
        mac.update(key.get_secret_value().encode())
        return mac.finalize()[:6].hex()


def read_master_keys(texts: Iterable[Secret]) -> tuple[MasterKey, ...]:
    """Read master keys.

    Args:
        texts: Texts with one or more keys each, separated by blanks, lines or commas.

    Returns:
        The keys in their order, each once; the first seals.

    Raises:
        ProviderConfigError: One of them is none, or one that could be guessed.
    """
    found: dict[str, MasterKey] = {}
    for text in texts:
        for part in _SEPARATORS.split(text.get_secret_value()):
            if part:
                key = MasterKey(Secret(part))
                found.setdefault(key.id, key)
    return tuple(found.values())


def names(keys: Sequence[MasterKey]) -> str:
    """Return the ids of master keys as messages have them."""
    return ", ".join(key.id for key in keys)


def _require_strong(text: Secret) -> None:
    try:
        value = decode(text.get_secret_value())
    except ValueError:
        raise ProviderConfigError(
            f"the master key is not written in url-safe base64; {_MAKE_ONE}"
        ) from None
    if len(value) != KEY_BYTES:
        raise ProviderConfigError(
            f"the master key has {len(value)} bytes, not {KEY_BYTES}; {_MAKE_ONE}"
        )
    if _is_weak(value):
        raise ProviderConfigError(f"the master key is not random and can be guessed; {_MAKE_ONE}")


def _is_weak(value: bytes) -> bool:
    """Whether 32 bytes are a text, few different ones, or follow a pattern."""
    repeated = any(
        all(byte == value[index % period] for index, byte in enumerate(value))
        for period in range(1, KEY_BYTES // 2 + 1)
    )
    steps = {(after - before) % 256 for before, after in pairwise(value)}
    readable = set(value) <= _TEXT
    return len(set(value)) < _LEAST_DISTINCT or repeated or len(steps) == 1 or readable
