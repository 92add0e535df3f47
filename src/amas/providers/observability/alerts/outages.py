"""Whether a call that failed tells that nobody answers any more. Pure."""

from __future__ import annotations

from ...types import Outcome
from ..events import CallEnded

# Ends of a request that are its own fault, or its caller's: they say nothing of the upstream.
_NO_FAULT = frozenset(
    {
        Outcome.OK,
        Outcome.CANCELLED,
        Outcome.INVALID_REQUEST,
        Outcome.UNSUPPORTED,
        Outcome.CONTEXT_WINDOW,
        Outcome.CONTENT_POLICY,
    }
)

_NOBODY = frozenset({Outcome.ALL_FAILED, Outcome.NO_PROVIDER})

# Two providers failing is the least that is worth an alert beside those of their circuits.
_SEVERAL = 2


class Outages:
    """Remembers how each provider fares."""

    def __init__(self) -> None:
        self._answers: dict[str, bool] = {}
        self._open: dict[str, set[int | None]] = {}

    def attempted(self, provider: str, outcome: str) -> None:
        """Take in how a request to a provider ended."""
        if outcome == Outcome.OK:
            self._answers[provider] = True
        elif outcome not in _NO_FAULT:
            self._answers[provider] = False

    def circuit(self, provider: str, key: int | None, *, is_open: bool) -> None:
        """Take in that a circuit has opened, or closed."""
        opened = self._open.setdefault(provider, set())
        if is_open:
            opened.add(key)
            self._answers[provider] = False
        else:
            opened.discard(key)
            self._answers.setdefault(provider, False)

    def key_changed(self, provider: str, key: int) -> None:
        """Take in that a provider has another key, whose circuit is closed."""
        self._open.get(provider, set()).discard(key)

    def ailing(self, provider: str) -> None:
        """Take in that a check has found a provider ill."""
        self._answers[provider] = False

    def begin(self, provider: str) -> None:
        """Take in that a provider takes part, as a new one; what was known of it is over."""
        self._open.pop(provider, None)
        self._answers[provider] = False

    def remove(self, provider: str) -> None:
        """Take in that a provider takes no part any more."""
        self._open.pop(provider, None)
        self._answers.pop(provider, None)

    def is_total(self, call: CallEnded) -> bool:
        """Tell whether a call that has ended is worth telling as an outage of everybody.

        A single provider's failures are told by its circuit, and are not told twice.

        Args:
            call: A call that was not answered.
        """
        if call.outcome not in _NOBODY:
            return False
        if call.attempts:
            failed = {
                attempt["provider"]
                for attempt in call.attempts
                if attempt["outcome"] not in _NO_FAULT
            }
            return len(failed) >= _SEVERAL
        if call.provider is not None:
            # The one that was asked for by name takes no part; that says nothing of the others.
            return False
        if any(self._answers.values()):
            # Others are answered: this caller may not ask them, or asked for one alone.
            return False
        return not (len(self._answers) == 1 and any(self._open.values()))
