"""Embedding vectors that depend on nothing but the text."""

from __future__ import annotations

import base64
import hashlib
import math
import struct
from typing import Any, Final

from .base import BadCall

DIMENSIONS: Final = 8
"""Length of a vector unless the request asks for another."""


def vector(text: str, dimensions: int | None = None) -> list[float]:
    """Embed a text.

    Args:
        text: What to embed.
        dimensions: Length of the vector; 8 when None.

    Returns:
        A vector of length one, equal for equal texts; its values are exact in 32 bits.
    """
    count = dimensions or DIMENSIONS
    digest = hashlib.shake_256(text.encode()).digest(2 * count)
    raw = [value / 32768 for (value,) in struct.iter_unpack("<h", digest)]
    norm = math.sqrt(sum(value * value for value in raw)) or 1.0
    return list(struct.unpack(f"<{count}f", struct.pack(f"<{count}f", *(v / norm for v in raw))))


def base64_of(values: list[float]) -> str:
    """Encode a vector as little-endian 32-bit floats in base64, as OpenAI and Cohere do."""
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()


def texts_of(value: Any, name: str) -> list[str]:
    """Return the texts to embed.

    Args:
        value: A text, a list of texts, a list of token ids, or a list of such lists.
        name: Name of the field, for the error.

    Returns:
        One text for each vector; token ids are written out as words.

    Raises:
        BadCall: If there is nothing to embed.
    """
    if isinstance(value, str) and value:
        return [value]
    if isinstance(value, list) and value:
        if all(isinstance(item, int) for item in value):
            return [_joined(value)]
        return [item if isinstance(item, str) else _joined(item) for item in value]
    raise BadCall(f"{name}: a text or a non-empty list of texts is required")


def _joined(tokens: Any) -> str:
    if not isinstance(tokens, list):
        raise BadCall("every input must be a text or a list of token ids")
    return " ".join(map(str, tokens))
