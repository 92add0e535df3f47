"""What is told, and what it is made of: troubles and recoveries. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, TypeAlias

from ...secret import scrub

Severity: TypeAlias = Literal["warning", "critical"]

Detail: TypeAlias = str | float | int

# Characters of a reason that are shown.
_LONGEST_REASON = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Something that somebody should know of, or that it is over. No text in it holds a secret.

    Args:
        kind: What it is about: ``circuit_open``, ``key_rejected``, ``key_exhausted``,
            ``key_not_taken``, ``all_providers_failed``, ``budget_80``, ``budget_100``,
            ``records``, ``latency_high`` or ``reload_failed``.
        subject: Whom it concerns: a provider, ``<provider> key 2``, a caller, a trail.
        severity: How bad it is; that of the trouble also for its recovery.
        firing: Whether it is so; False for a recovery.
        at: When this is told, in seconds since 1970.
        since: When the trouble began, in seconds since 1970.
        summary: One sentence: what is the matter, since when, and what to do.
        details: Figures and words by name.
        id: Names the trouble; alert and recovery have the same.
    """

    kind: str
    subject: str
    severity: Severity
    firing: bool
    at: float
    since: float
    summary: str
    details: Mapping[str, Detail] = field(default_factory=dict)
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Something is the matter, from now on.

    Args:
        kind: See ``Alert``.
        subject: See ``Alert``.
        what: What is the matter, as the beginning of a sentence.
        advice: What to do, as its end.
        severity: How bad it is.
        provider: Which provider it is part of, if it is of one.
        details: Figures and words by name; None for not known.
        lasting: Whether it is over one day; otherwise it is told each time, and that is all.
        began: When it began, in seconds since 1970; None for now.
    """

    kind: str
    subject: str
    what: str
    advice: str
    severity: Severity = "warning"
    provider: str | None = None
    details: Mapping[str, Detail | None] = field(default_factory=dict)
    lasting: bool = True
    began: float | None = None

    def alert(self, *, at: float, since: float) -> Alert:
        """Return what is told of it.

        Args:
            at: When it is told, in seconds since 1970.
            since: When it began, in seconds since 1970.
        """
        named = f"{self.kind}\n{self.subject}\n{self.what}\n{since!r}"
        return Alert(
            kind=self.kind,
            subject=self.subject,
            severity=self.severity,
            firing=True,
            at=at,
            since=since,
            summary=plain(f"{self.what} since {time_text(since)}; {self.advice}."),
            details=_shown(self.details),
            id=hashlib.blake2b(named.encode(errors="replace"), digest_size=8).hexdigest(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """Something is over, if it was the matter.

    Args:
        kinds: What may be over.
        what: What is well now, as the beginning of a sentence.
        subject: Whom it concerns; None for everybody of the kinds.
        provider: Only what is part of this provider; None for whatever it is part of.
        details: Figures and words by name.
    """

    kinds: tuple[str, ...]
    what: str
    subject: str | None = None
    provider: str | None = None
    details: Mapping[str, Detail] = field(default_factory=dict)

    def alert(self, told: Alert, at: float) -> Alert:
        """Return what is told of the end of something.

        Args:
            told: What was told of its beginning.
            at: When it is told, in seconds since 1970.
        """
        return Alert(
            kind=told.kind,
            subject=told.subject,
            severity=told.severity,
            firing=False,
            at=at,
            since=told.since,
            summary=plain(f"{self.what}; the trouble had begun at {time_text(told.since)}."),
            details=_shown(self.details),
            id=told.id,
        )


Signal: TypeAlias = Trouble | Recovery


def time_text(at: float) -> str:
    """Write a time for people, in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def reason(text: str | None) -> str:
    """Return a reason as it may stand in a sentence: short, without secrets, at least a word."""
    # Scrubbed before it is cut: half a key is not found any more.
    told = plain(text or "").rstrip(".") or "no reason was given"
    return told if len(told) <= _LONGEST_REASON else told[:_LONGEST_REASON] + "…"


def plain(text: str) -> str:
    """Return a text on one line, without secrets."""
    return " ".join(scrub(text).split())


def _shown(details: Mapping[str, Detail | None]) -> dict[str, Detail]:
    return {
        name: plain(value) if isinstance(value, str) else value
        for name, value in details.items()
        if value is not None
    }
