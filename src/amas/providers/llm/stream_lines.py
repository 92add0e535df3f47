"""Whether a stream can be read to the last event. Pure.

Of most vendors that it speaks to by itself LiteLLM leaves out, without a word, an event that
is no JSON: a piece would be missing from the answer, and nobody would know.
"""

from __future__ import annotations

import json

# Nobody spreads an event over more lines; looking at it again with each one takes time.
_MOST_LINES = 100


class StreamLines:
    """Looks at the events of a stream as they come.

    Args:
        content_type: The answer's media type; only server-sent events and lines of JSON
            are looked at.
    """

    def __init__(self, content_type: str) -> None:
        self.unreadable = False
        self._sse = "event-stream" in content_type
        self._looks = self._sse or "ndjson" in content_type
        self._line: list[bytes] = []
        self._event: list[str] = []

    def feed(self, piece: bytes) -> None:
        """Look at the next piece of the body."""
        if not self._looks:
            return
        *ends, rest = piece.split(b"\n")
        for end in ends:
            line = b"".join((*self._line, end)).strip().decode(errors="replace")
            self._line.clear()
            self._look(line)
        if rest:
            self._line.append(rest)

    def _look(self, line: str) -> None:
        if self._sse and line and not line.startswith("data:"):
            return
        data = line.removeprefix("data:").lstrip() if self._sse else line
        if self._event:
            # An event may be spread over several lines; it ends with an empty one.
            self._event.append(data)
            if _is_json("\n".join(self._event)):
                self._event.clear()
            elif not line or _is_json(data) or len(self._event) > _MOST_LINES:
                self.unreadable = True
                self._event.clear()
        elif data.startswith("{") and not _is_json(data):
            self._event = [data] if self._sse else []
            self.unreadable |= not self._sse


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
