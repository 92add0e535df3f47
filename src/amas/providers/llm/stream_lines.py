"""The events of a stream, and whether all of them can be read. Pure.

Of most vendors that it speaks to by itself LiteLLM leaves out, without a word, an event that
is no JSON: a piece would be missing from the answer, and nobody would know.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from json import JSONDecoder
from typing import Any

_DATA = b"data:"
_DONE = b"[DONE]"
# Nobody spreads an event over more lines; looking at it again with each one takes time.
_MOST_LINES = 100
_NO_JSON: Any = object()
_read_json = JSONDecoder().raw_decode


class StreamLines:
    """Reads the events of a stream as they come: server-sent ones, or one on each line.

    Args:
        content_type: The answer's media type. Where it says that it is such a stream, or a line
            looks like it, an event that begins as JSON and is none is noticed.
    """

    def __init__(self, content_type: str) -> None:
        self.unreadable = False
        self.done = False
        self._sse = "event-stream" in content_type
        self._looks = self._sse or "ndjson" in content_type
        self._after_cr = False
        self._line: list[bytes] = []
        self._parts: list[bytes] = []
        self._events: list[tuple[bytes, dict[str, Any]]] = []

    def feed(self, piece: bytes) -> list[tuple[bytes, dict[str, Any]]]:
        """Read the next piece of the body; return the events it completes, as text and as data."""
        self._events = []
        if self._after_cr or b"\r" in piece:
            piece = self._with_plain_ends(piece)
        *ends, rest = piece.split(b"\n")
        for end in ends:
            if self._line:
                self._line.append(end)
                self._read(b"".join(self._line).strip())
                self._line.clear()
            else:
                self._read(end.strip())
        if rest:
            self._line.append(rest)
        return self._events

    def _with_plain_ends(self, piece: bytes) -> bytes:
        """Return a piece with each of the three ends a line may have as the one; CR LF may be cut."""
        if self._after_cr:
            piece = piece.removeprefix(b"\n")
        self._after_cr = piece.endswith(b"\r")
        return piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def end(self) -> list[tuple[bytes, dict[str, Any]]]:
        """Read the last line of the body, which nothing has ended; return the event it completes.

        One that is cut short cannot be read either, but that is no fault of the event.
        """
        unreadable = self.unreadable
        events = self.feed(b"\n") if self._line else []
        self.unreadable = unreadable
        return events

    def _read(self, line: bytes) -> None:
        is_data = line.startswith(_DATA)
        if line and not is_data and line.startswith(BOM_UTF8):
            line = line[len(BOM_UTF8) :]
            is_data = line.startswith(_DATA)
        if is_data and not self._sse:
            self._sse = self._looks = True
        data = line[len(_DATA) :].lstrip() if is_data else line
        if self.done or data == _DONE:
            self.done = True
        elif self._parts and (is_data or not line or not self._sse):
            self._go_on(data, ends=not line)
        elif data.startswith(b"{") and not self._is_event(data):
            if self._looks and not self._sse:
                self.unreadable = True
            elif is_data or not self._sse:
                self._parts = [data]

    def _go_on(self, data: bytes, *, ends: bool) -> None:
        """Read one more line of an event that is spread over several; it ends with an empty one."""
        self._parts.append(data)
        if self._is_event(b"\n".join(self._parts)):
            self._parts = []
        elif ends or len(self._parts) > _MOST_LINES or (self._looks and _is_json(data)):
            self.unreadable |= self._looks
            self._parts = []

    def _is_event(self, text: bytes) -> bool:
        found = _parsed(text)
        if found is _NO_JSON:
            return False
        self._events.append((text, found))
        return True


def _is_json(text: bytes) -> bool:
    return _parsed(text) is not _NO_JSON


def _parsed(text: bytes) -> Any:
    try:
        read = text.decode()
        found, end = _read_json(read)
    except (ValueError, RecursionError):
        return _NO_JSON
    return found if end == len(read) else _NO_JSON
