"""What an upstream quotes of a prompt does not belong into a log. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import takewhile

from ..types import Prompt

QUOTED = "[…]"
"""What stands in the place of a quotation."""

# Every common run of at least _WINDOW + _STRIDE - 1 characters is found.
_WINDOW = 8
_STRIDE = 4

# Characters of a prompt up to which looking is cheap; an error about a longer one is not shown.
_LONGEST = 65_536


def without_quotes(text: str, prompt: Prompt) -> str:
    """Take out of a message what it has in common with a prompt.

    Args:
        text: A message, such as what an upstream says of a request.
        prompt: What was asked.

    Returns:
        The message with ``[…]`` in the place of each run of about a dozen characters or more
        that stands in the prompt as well.
    """
    texts = list(_texts(prompt))
    if sum(map(len, texts)) > _LONGEST:
        return f"{QUOTED} (a message about a prompt so long is not shown)"
    for asked in texts:
        whole = asked.strip()
        if len(whole) >= _STRIDE:
            text = text.replace(whole, QUOTED)
    for asked in texts:
        text = _without_runs(text, asked)
    return text


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        for item in value:
            yield from _texts(item)


def _without_runs(text: str, asked: str) -> str:
    pieces, kept, at = [], 0, 0
    while at + _WINDOW <= len(text):
        found = asked.find(text[at : at + _WINDOW])
        if found < 0:
            at += _STRIDE
            continue
        before = _common(reversed(text[kept:at]), reversed(asked[:found]))
        after = _common(text[at:], asked[found:])
        pieces += [text[kept : at - before], QUOTED]
        kept = at = at + after
    return "".join([*pieces, text[kept:]])


def _common(one: Iterable[str], other: Iterable[str]) -> int:
    """Return how many characters two texts begin alike with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
