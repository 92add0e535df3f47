"""What outcomes mean to those who count them."""

from __future__ import annotations

from typing import Final

from ..types import Outcome

BLAMELESS: Final = frozenset(
    {
        Outcome.CANCELLED,
        Outcome.ACCESS_DENIED,
        Outcome.INVALID_REQUEST,
        Outcome.UNSUPPORTED,
        Outcome.CONTEXT_WINDOW,
        Outcome.CONTENT_POLICY,
    }
)
"""What we end, or callers do wrong: no failure of a provider. Dashboard and rules say the same."""

PERHAPS_BILLED: Final = frozenset({Outcome.CANCELLED, Outcome.TIMEOUT, Outcome.STREAM_INTERRUPTED})
"""Ends of a request that was sent: a vendor may bill it, and nobody says how much."""
