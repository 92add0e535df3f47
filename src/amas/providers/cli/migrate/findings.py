"""What a scan finds, and the text that it finds it in."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from .vocabulary import Module, vocabulary

Kind = Literal[
    "module", "import", "call", "read", "use", "name", "command", "key", "address", "variable"
]
"""What sort of use it is: of an old module or SDK, but for the last two."""

_WEAK = ("use", "name")


@dataclass(frozen=True, slots=True)
class Finding:
    """One use of what is being replaced.

    Args:
        path: The file.
        line: Its line, from 1.
        column: The character in it, from 1.
        kind: What sort of use it is.
        subject: The old module, SDK, vendor or variable.
        what: What stands there.
        todo: What to do about it.
        section: The part of MIGRATION.md that says more.
        certain: Whether the text alone proves it; else it is a good guess.
    """

    path: str
    line: int
    column: int
    kind: Kind
    subject: str
    what: str
    todo: str
    section: str
    certain: bool = True


@dataclass(frozen=True, slots=True)
class Note:
    """Something about a file or folder that the reader should know.

    Args:
        path: The file or folder.
        why: What was not done with it, or not as usual.
    """

    path: str
    why: str


class Source:
    """A text whose places have lines and columns.

    Args:
        path: Its path, as findings give it.
        text: The text.
    """

    _LINE_BREAK = re.compile(r"\r\n|[\r\n]")

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.text = text
        self._starts = [0, *(match.end() for match in self._LINE_BREAK.finditer(text))]
        self._bytes: dict[int, Sequence[int]] = {}
        self.findings: list[Finding] = []
        self._taken: set[tuple[int, str, str]] = set()

    def offset(self, line: int, byte: int) -> int:
        """Return the place in the text of what Python's parser says in bytes of UTF-8."""
        if line not in self._bytes:
            self._bytes[line] = self._places(line)
        places = self._bytes[line]
        return self._starts[line - 1] + (bisect_left(places, byte) if places else byte)

    def _places(self, line: int) -> Sequence[int]:
        """Return the byte that each character of a line begins at; nothing if it is the same."""
        ends = self._starts[line] if line < len(self._starts) else len(self.text)
        text = self.text[self._starts[line - 1] : ends]
        if text.isascii():
            return ()
        sizes = (len(character.encode("utf-8", "surrogatepass")) for character in text)
        return list(accumulate(sizes, initial=0))

    def add(
        self,
        offset: int,
        kind: Kind,
        subject: Module | str,
        what: str,
        todo: str,
        *,
        section: str = "",
        certain: bool = True,
    ) -> None:
        """Take down a finding; of the same kind and subject, one for each line is enough."""
        if isinstance(subject, Module):
            section, subject = subject.section, subject.key
        number = bisect_right(self._starts, offset)
        key = (number, kind, what if kind == "call" else subject)
        if key in self._taken:
            return
        self._taken.add(key)
        self.findings.append(
            Finding(
                path=self.path,
                line=number,
                column=offset - self._starts[number - 1] + 1,
                kind=kind,
                subject=subject,
                what=what,
                todo=todo,
                section=vocabulary().sections[section],
                certain=certain,
            )
        )

    def finished(self) -> Sequence[Finding]:
        """Return the findings in order; a mere mention beside something better said is left out."""
        better = {(item.line, item.subject) for item in self.findings if item.kind not in _WEAK}
        return sorted(
            (
                item
                for item in self.findings
                if item.kind not in _WEAK or (item.line, item.subject) not in better
            ),
            key=lambda item: (item.line, item.column, item.kind, item.subject, item.what),
        )
