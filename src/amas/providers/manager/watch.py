"""Who watches a call: told of each request, and of each change from one provider to the next."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from ..types import Attempt, Outcome, Usage
from .lane import Lane


class Watch:
    """Watches one call; this one looks away."""

    def begin(self, lane: Lane, model: str | None) -> Any:
        """Be told that a request is sent.

        Args:
            lane: With which key.
            model: The model that is asked.

        Returns:
            What names the request in ``active`` and ``attempted``.
        """

    def active(self, _request: Any) -> AbstractContextManager[None]:
        """Return what the request runs within, until it has brought something."""
        return nullcontext()

    def attempted(
        self,
        request: Any,
        lane: Lane,
        record: Attempt,
        *,
        opened_after: float | None = None,
        held: float = 0.0,
        usage: Usage | None = None,
    ) -> None:
        """Be told how a request has ended.

        Args:
            request: What ``begin`` has returned.
            lane: With which key it was sent.
            record: Its record.
            opened_after: Seconds until it brought something; None if it did not.
            held: Seconds that the consumer of a stream has kept it waiting.
            usage: Tokens, as the upstream counted them.
        """

    def failed_over(self, failed: str, outcome: Outcome, following: str) -> None:
        """Be told that another provider is asked after one has failed.

        Args:
            failed: Who has failed.
            outcome: How.
            following: Who is asked now.
        """


UNWATCHED = Watch()
