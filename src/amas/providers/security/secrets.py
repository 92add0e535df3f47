"""Keys at rest: ``enc:v1:`` values, made and opened with the master key.

A value is ``enc:v1:<id of the master key>:<base64 of nonce, time, ciphertext>``.
AES-256-GCM authenticates all of it, and with it what the value is for: moved
to another provider or another field it does not open.
"""

from __future__ import annotations

import json
import re
import secrets
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ..errors import ProviderConfigError
from ..secret import Secret
from .master_key import MasterKey, decode, derive, encode, names, read_master_keys

PREFIX: Final = "enc:v1:"

_NONCE_BYTES: Final = 12
_TIME_BYTES: Final = 8
_TAG_BYTES: Final = 16
_FORM: Final = re.compile(r"enc:v1:([0-9a-f]{8}):([A-Za-z0-9_-]+)")
_KEY: Final = re.compile(r'llm\.([A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*")\.api_key(?:s\[(\d+)\])?')
_AGAIN: Final = "set it again"


@dataclass(frozen=True, slots=True)
class Sealed:
    """A sealed value, taken apart; nothing of it is proven before it is opened.

    Args:
        key_id: Id of the master key it was sealed with.
        created: When it was sealed, in seconds since 1970.
        nonce: The nonce.
        ciphertext: The ciphertext with its tag.
    """

    key_id: str
    created: int
    nonce: bytes
    ciphertext: bytes


def purpose_of(place: str) -> str:
    """Return what a value is sealed for.

    Args:
        place: Address of its field, such as ``providers.llm.openai.api_keys[2]``.

    Returns:
        The purpose, such as ``llm.openai.api_key``: the same for all keys of a provider.
    """
    purpose = place.removeprefix("providers.")
    # A provider's key may become one of several, and the order of several may change.
    key = _KEY.fullmatch(purpose)
    return f"llm.{key[1]}.api_key" if key else purpose


def advice(place: str) -> str:
    """Return how what stands at a place is set again.

    Args:
        place: As for ``purpose_of``.

    Returns:
        An instruction, with the command where it is a provider's key.
    """
    key = _KEY.fullmatch(place.removeprefix("providers."))
    if key is None:
        return _AGAIN
    name = json.loads(key[1]) if key[1].startswith('"') else key[1]
    which = f" --key {int(key[2]) + 1}" if key[2] else ""
    return f"{_AGAIN} with `amas-providers keys set {shlex.quote(name)}{which}`"


def seal(value: Secret, place: str, master: MasterKey, *, now: float) -> str:
    """Seal a value.

    Args:
        value: The value.
        place: Address of the field that it is for.
        master: The master key.
        now: The time, in seconds since 1970; it is kept with the value.

    Returns:
        The ``enc:v1:`` text.
    """
    nonce, created = secrets.token_bytes(_NONCE_BYTES), int(now)
    ciphertext = _cipher(master).encrypt(
        nonce, value.get_secret_value().encode(), _bound_to(master.id, created, place)
    )
    body = encode(nonce + created.to_bytes(_TIME_BYTES, "big") + ciphertext)
    return f"{PREFIX}{master.id}:{body}"


def take_apart(text: str, todo: str = _AGAIN) -> Sealed:
    """Read the form of a sealed value.

    Args:
        text: The ``enc:v1:`` text.
        todo: What to do if it has another.

    Raises:
        ProviderConfigError: It is not written as such values are.
    """
    mangled = ProviderConfigError(
        f"this is not written as enc:v1: values are, so something in it was changed; {todo}"
    )
    form = _FORM.fullmatch(text)
    if form is None:
        raise mangled
    try:
        body = decode(form[2])
    except ValueError:
        raise mangled from None
    head = _NONCE_BYTES + _TIME_BYTES
    if len(body) < head + _TAG_BYTES:
        raise mangled
    created = int.from_bytes(body[_NONCE_BYTES:head], "big")
    return Sealed(form[1], created, body[:_NONCE_BYTES], body[head:])


def open_sealed(text: str, place: str, masters: Sequence[MasterKey]) -> Secret:
    """Open a sealed value.

    Args:
        text: The ``enc:v1:`` text.
        place: Address of the field it stands in.
        masters: The master keys; the one that it names is used.

    Raises:
        ProviderConfigError: It does not open; the message says why.
    """
    todo = advice(place)
    sealed = take_apart(text, todo)
    if not masters:
        raise ProviderConfigError(
            f"it is sealed with the master key of id {sealed.key_id}, and none can be read; "
            f"set providers.security.master_key, or the variable AMAS_MASTER_KEY, or {todo}"
        )
    master = next((each for each in masters if each.id == sealed.key_id), None)
    if master is None:
        raise ProviderConfigError(
            f"it is sealed with the master key of id {sealed.key_id}; configured: {names(masters)}; "
            f"add that key to providers.security.master_key, or {todo}"
        )
    try:
        value = _cipher(master).decrypt(
            sealed.nonce, sealed.ciphertext, _bound_to(master.id, sealed.created, place)
        )
        return Secret(value.decode())
    except InvalidTag:
        # Which of the two it was cannot be told: what it was sealed for is not in it.
        raise ProviderConfigError(
            f"it is not what was sealed for {purpose_of(place)}: it was moved here from another "
            f"provider or field, or changed; {todo}"
        ) from None


def make_opener(texts: Sequence[Secret]) -> Callable[[str, str], str]:
    """Make what opens the ``enc:`` values of a configuration.

    Args:
        texts: The settings of the master keys.

    Returns:
        A function of a value's text and place that returns the ``Secret``.

    Raises:
        ProviderConfigError: One of the master keys is none, or one that could be guessed.
    """
    masters = read_master_keys(texts)
    return lambda text, place: open_sealed(text, place, masters)


def _cipher(master: MasterKey) -> AESGCM:
    return AESGCM(derive(master, "keys at rest"))


def _bound_to(key_id: str, created: int, place: str) -> bytes:
    # The purpose comes last: all before it has a fixed form, so no two bindings are alike.
    return f"{PREFIX}{key_id}:{created}:{purpose_of(place)}".encode()
