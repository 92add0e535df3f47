"""Which providers are left to ask, and whether calls that fail tell that there are none. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ...types import Outcome
from ..events import CallEnded

# Ends of a request that are its own fault, its caller's or its model's: they say nothing of
# whether the provider answers others.
_NO_FAULT = frozenset(
    {
        Outcome.OK,
        Outcome.CANCELLED,
        Outcome.INVALID_REQUEST,
        Outcome.UNSUPPORTED,
        Outcome.CONTEXT_WINDOW,
        Outcome.CONTENT_POLICY,
        Outcome.MODEL_NOT_FOUND,
        Outcome.CONFIG,
    }
)

_NOBODY = frozenset({Outcome.ALL_FAILED, Outcome.NO_PROVIDER})

# Two providers failing is the least that is worth an alert beside those of their circuits.
_SEVERAL = 2

# Calls in a row, or seconds from the first of at least two, without any answer.
_IN_A_ROW = 3
_LONGEST = 30.0

# Names of removed providers that are remembered.
_MOST_REMOVED = 1000

# Seconds for which an answer vouches for its provider against timeouts.
_VOUCHED = 300.0


@dataclass(frozen=True, slots=True)
class Unanswered:
    """Calls in a row that nobody has answered.

    Args:
        calls: How many.
        at: When the first of them ended, in seconds since 1970.
        began: The same on the clock.
    """

    calls: int
    at: float
    began: float


@dataclass(slots=True)
class _Provider:
    """What is known of a provider; its keys by number, its own circuit as None."""

    answers: bool = False
    answered_at: float = float("-inf")
    keys: set[int] = field(default_factory=set)
    open: set[int | None] = field(default_factory=set)
    told: bool = False

    @property
    def is_out(self) -> bool:
        """Whether it is not asked: its circuit is open, or that of each of its known keys."""
        return None in self.open or (bool(self.keys) and self.keys <= self.open)

    def close(self, key: int | None) -> None:
        """Note that a circuit is closed."""
        self.open.discard(key)
        self.told = self.told and self.is_out


class Outages:
    """Remembers how each provider fares, and how many calls nobody has answered.

    An outage of all is told when calls fail three times in a row, or for the second time 30
    seconds after the first or later, and nobody has answered any request in between. A call
    counts if it asked and

    - at least two providers failed in it, or whoever failed in it is all that the open
      circuits of the others have left; or nobody could be asked, and
    - the failures are the providers': no request that was given up, refused, too long, not
      supported, wrongly configured or for a model that does not exist.
    - A timeout counts only if the circuit of its provider is open, or if that provider has
      answered nobody for 300 seconds: before, it is the caller who was in a hurry.

    Where only one provider is known, the alert of its circuit or key says that nobody else is
    left, and calls are not told beside it.
    """

    def __init__(self) -> None:
        self._providers: dict[str, _Provider] = {}
        self._removed: set[str] = set()
        self._unanswered: Unanswered | None = None

    def attempted(self, provider: str, key: int, outcome: str, now: float) -> None:
        """Take in how a request to a provider ended."""
        known = self._known(provider)
        known.keys.add(key)
        if outcome == Outcome.OK:
            known.answers, known.answered_at = True, now
            self.answered()
        elif self._is_fault(provider, outcome, now):
            known.answers = False

    def answered(self) -> None:
        """Take in that somebody was answered."""
        self._unanswered = None

    def opened(self, provider: str, key: int | None) -> bool:
        """Take in that a circuit has opened.

        Returns:
            Whether no known provider is left that can be asked.
        """
        known = self._known(provider)
        known.open.add(key)
        known.answers = False
        if key is not None:
            known.keys.add(key)
        return all(item.is_out for item in self._providers.values())

    def closed(self, provider: str, key: int | None) -> None:
        """Take in that a circuit has closed, or that a key was replaced."""
        self._known(provider).close(key)

    def told(self, provider: str) -> None:
        """Take in that somebody is told that nobody but this provider, which is out, was left."""
        self._known(provider).told = True

    def checked(self, provider: str, key: int, *, healthy: bool) -> None:
        """Take in what a health check has found."""
        self._removed.discard(provider)  # registered again, by hand: the removed are not checked
        known = self._known(provider)
        known.keys.add(key)
        # A check says nothing of calls that have failed; a circuit does.
        known.answers = healthy and not known.is_out

    def begin(self, provider: str) -> None:
        """Take in that a provider takes part, as a new one; what was known of it is over."""
        self._removed.discard(provider)
        self._providers[provider] = _Provider()

    def remove(self, provider: str) -> None:
        """Take in that a provider takes no part any more."""
        self._providers.pop(provider, None)
        self._removed.add(provider)
        if len(self._removed) > _MOST_REMOVED:
            self._removed.clear()  # their last calls have long ended

    def rekeyed(self, provider: str) -> None:
        """Take in that a provider has other keys, perhaps in other places."""
        known = self._known(provider)
        known.keys.clear()
        known.open &= {None}
        known.told = known.told and known.is_out

    def failed(self, call: CallEnded, now: float) -> Unanswered | None:
        """Take in a call that was not answered.

        Args:
            call: The call.
            now: The time in seconds; only differences matter.

        Returns:
            The calls in a row that tell of an outage of all; None if they do not.
        """
        if not self._counts(call, now):
            return None
        before = self._unanswered or Unanswered(0, call.at, now)
        self._unanswered = Unanswered(before.calls + 1, before.at, before.began)
        late = before.calls > 0 and now - before.began >= _LONGEST
        return self._unanswered if late or before.calls + 1 >= _IN_A_ROW else None

    def _counts(self, call: CallEnded, now: float) -> bool:
        if call.outcome not in _NOBODY:
            return False
        if len(self._providers) == 1 and any(item.told for item in self._providers.values()):
            return False
        if call.attempts:
            failed = set(self._failed_in(call, now))
            left = {name for name, item in self._providers.items() if not item.is_out}
            return len(failed) >= _SEVERAL or (
                bool(failed) and left <= failed and len(left) < len(self._providers)
            )
        # The one that was asked for by name takes no part: that says nothing of the others.
        # Where others are answered, this caller may not ask them, or asked for one alone.
        return call.provider is None and not any(item.answers for item in self._providers.values())

    def _failed_in(self, call: CallEnded, now: float) -> Iterator[str]:
        for attempt in call.attempts:
            if self._is_fault(attempt["provider"], attempt["outcome"], now):
                yield attempt["provider"]

    def _is_fault(self, provider: str, outcome: str, now: float) -> bool:
        if outcome == Outcome.TIMEOUT:
            known = self._known(provider)
            return known.is_out or now - known.answered_at > _VOUCHED
        return outcome not in _NO_FAULT

    def _known(self, provider: str) -> _Provider:
        if provider in self._removed:
            # Calls that end late; who takes no part is not to count as one that is left.
            return _Provider()
        return self._providers.setdefault(provider, _Provider())
