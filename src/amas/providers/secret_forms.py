"""Finding known secrets in a text, in whatever encoding they stand there."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from os.path import commonprefix
from typing import Final
from urllib.parse import unquote

from .key_shapes import MASK

# Shorter values ("none", "test") are placeholders: replacing them would garble ordinary text.
_SHORTEST: Final = 8
# The beginning of a key is masked too if it is at least this long, and half of the key.
_SHORTEST_PART: Final = 12
# Secrets that are gone (rotated keys) and that an upstream may still repeat.
_KEPT: Final = 256
_ROUNDS: Final = 4

_WORDS: Final = re.compile(rf"\S{{{_SHORTEST},}}")
_ANYTHING: Final = re.compile(rf".{{{_SHORTEST},}}", re.DOTALL)

# What stays the same in every text.
_PLAIN: Final = re.compile(r"[A-Za-z0-9._-]+")
# Percent signs, backslashes and entities, each also escaped by its like any number of times.
_ESCAPED: Final = re.compile(
    r"(?P<percents>(?:%(?:25)*[0-9A-Fa-f]{2})+)"
    r"|\\+(?:u(?P<u>[0-9A-Fa-f]{4})|U(?P<long>[0-9A-Fa-f]{8})|x(?P<x>[0-9A-Fa-f]{2})|(?P<oct>[0-3][0-7]{2}))?"
    r"|&(?:amp;)*(?:\#(?P<dec>[0-9]{1,7});?|\#[xX](?P<hex>[0-9A-Fa-f]{1,6});?|(?P<name>[a-z]{2,4});)"
)
_PERCENT: Final = re.compile(r"%(?:25)*([0-9A-Fa-f]{2})")
# Base64 over several lines, as it is or with its line ends escaped, and hex with colons.
_WRAPPED: Final = re.compile(
    r"(?:(?<![\w+/-])|(?<=\\n))([\w+/-]{60,})(?:\r?\n|(?:\\+r)?\\+n)(?=[\w+/-])", re.ASCII
)
_HEX: Final = re.compile(r"[0-9A-Fa-f]{2}(?:[: -]?[0-9A-Fa-f]{2}){7,}")
_BETWEEN: Final = str.maketrans("", "", ": -")
_LAST: Final = 0x10FFFF  # of Unicode's characters
_ENTITIES: Final = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}


class KnownSecrets:
    """The secrets of this process, those that live and the last of those that do not.

    A text is looked up by its pieces of eight characters, so that the number of secrets makes
    no difference. Reading takes no lock.

    Args:
        kept: How many to remember of those that are gone.
    """

    def __init__(self, kept: int = _KEPT) -> None:
        self._kept = kept
        self._living: Counter[str] = Counter()
        self._gone: OrderedDict[str, None] = OrderedDict()
        self._leaving: deque[str] = deque()
        self._lock = threading.Lock()
        # From the first characters of a form to the forms that begin so, with their secrets.
        self._forms: dict[str, tuple[tuple[str, str], ...]] = {}
        self._with_spaces: set[str] = set()
        self.version = 0

    def add(self, value: str) -> None:
        """Know one more object that holds a secret."""
        with self._lock:
            while self._leaving:
                self._forget(self._leaving.popleft())
            if len(value) < _SHORTEST:
                return
            self._living[value] += 1
            if value in self._gone:
                del self._gone[value]
            elif self._living[value] == 1:
                self._index(value)

    def drop(self, value: str) -> None:
        """Know one less; called by the garbage collector, so it takes no lock."""
        self._leaving.append(value)

    def _forget(self, value: str) -> None:
        if value not in self._living:
            return
        self._living[value] -= 1
        if self._living[value] == 0:
            del self._living[value]
            self._gone[value] = None
            if len(self._gone) > self._kept:
                self._unindex(self._gone.popitem(last=False)[0])

    def _index(self, value: str) -> None:
        self.version += 1
        for form in forms_of(value):
            if re.search(r"\s", form):
                self._with_spaces.add(value)
            head = form[:_SHORTEST]
            known = (*self._forms.get(head, ()), (form, value))
            self._forms[head] = tuple(sorted(known, key=lambda pair: -len(pair[0])))

    def _unindex(self, value: str) -> None:
        self._with_spaces.discard(value)
        for form in forms_of(value):
            head = form[:_SHORTEST]
            rest = tuple(pair for pair in self._forms.get(head, ()) if pair[1] != value)
            if rest:
                self._forms[head] = rest
            else:
                self._forms.pop(head, None)

    def mask(self, text: str) -> str:
        """Replace every known secret in a text with the mask.

        Where one is escaped (URL, JSON, Python, HTML), the text comes back without its escapes,
        and where one is wrapped or in hex of another case, without its line ends or colons.
        """
        if not self._forms or len(text) < _SHORTEST:
            return text
        # Without its escapes first: with them, only what stands before the first would go.
        text = self._mask_undone(self._mask_undone(text, _joined), unescaped)
        return self._mask_undone(self._mask(text), _lowered)

    def _mask_undone(self, text: str, undo: Callable[[str], str]) -> str:
        plain = undo(text)
        masked = plain if plain == text else self._mask(plain)
        return text if masked == plain else masked

    def _mask(self, text: str) -> str:
        forms, size = self._forms, _SHORTEST
        stretches = (_ANYTHING if self._with_spaces else _WORDS).finditer(text)
        hits = [
            start
            for stretch in stretches
            for start in range(stretch.start(), stretch.end() - size + 1)
            if text[start : start + size] in forms
        ]
        if not hits:
            return text
        parts: list[str] = []
        end = 0
        for start in hits:
            length = _length(text, start, forms.get(text[start : start + size], ()))
            if start >= end and length:
                parts += text[end:start], MASK
                end = start + length
        return "".join(parts) + text[end:]


def _length(text: str, start: int, known: tuple[tuple[str, str], ...]) -> int:
    """Return how much of the text, from there, is a secret or at least its first half."""
    for form, _ in known:
        if text.startswith(form, start):
            return len(form)
    parts = (
        len(commonprefix((form, text[start : start + len(form)])))  # noqa: RUF071 -- of texts
        for form, _ in known
        if text.startswith(form[: max(_SHORTEST_PART, (len(form) + 1) // 2)], start)
    )
    return max(parts, default=0)


def forms_of(value: str) -> set[str]:
    """Return what stands in a text, once it is unescaped, if a secret stands in it.

    Args:
        value: The secret.

    Returns:
        The secret itself, and in base64 (wherever it begins in what was encoded) and in hex.
    """
    data = value.encode(errors="surrogatepass")
    digits = data.hex()
    forms = {value, *_base64_forms(data), digits, digits.upper()}
    if not _PLAIN.fullmatch(value):
        shown = "".join(filter(str.isprintable, value))
        quoted = json.dumps(value)[1:-1]
        texts = (value, shown, quoted, repr(value)[1:-1], repr(data)[2:-1], _octal(data))
        forms |= {unescaped(form) for form in texts}
        forms |= {form.replace(" ", "+") for form in (value, shown)}
    return {form for form in forms if len(form) >= _SHORTEST}


def _base64_forms(data: bytes) -> Iterator[str]:
    """Yield the characters of base64 that nothing but the secret decides, for each alignment."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + data).decode()
        first, last = -(-before * 8 // 6), (before + len(data)) * 8 // 6
        whole = encoded[first:last]
        yield whole
        yield whole.replace("+", "-").replace("/", "_")


def unescaped(text: str) -> str:
    """Undo the escapes of URLs, JSON, Python and HTML, also of several kinds inside each other.

    Of control characters, and backslashes that stand before other characters, nothing is left.
    """
    if not ("%" in text or "\\" in text or "&" in text):
        return text
    for _ in range(_ROUNDS):
        plain = _ESCAPED.sub(_plain, text)
        if plain == text:
            break
        text = plain
    return text


def _joined(text: str) -> str:
    return _WRAPPED.sub(r"\1", text) if "\n" in text or "\\n" in text else text


def _lowered(text: str) -> str:
    if text.isalnum() and text.islower():
        return text  # there is nothing to lower, and nothing between digits
    return _HEX.sub(lambda found: found[0].translate(_BETWEEN).lower(), text)


def _octal(data: bytes) -> str:
    return "".join(f"\\{byte:03o}" for byte in data)


def _plain(found: re.Match[str]) -> str:
    percents, u, long, x, octal, dec, hexadecimal, name = found.groups()
    if percents:
        plain = unquote(_PERCENT.sub(r"%\1", percents))
    elif name:
        plain = _ENTITIES.get(name, found[0])
    elif octal:
        plain = chr(int(octal, 8))
    elif dec:
        plain = _character(int(dec))
    elif digits := u or long or x or hexadecimal:
        plain = _character(int(digits, 16))
    else:
        plain = ""
    return "".join(filter(str.isprintable, plain))


def _character(number: int) -> str:
    return chr(number) if number <= _LAST else ""
