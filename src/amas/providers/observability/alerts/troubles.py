"""The words for what is the matter with circuits, keys, budgets and records. Pure."""

from __future__ import annotations

from ...types import Outcome
from ..events import BudgetUsed, CircuitChanged, RecordsTrouble
from .alert import Trouble, reason

_NOBODY_LEFT = "no other provider is left and calls go unanswered"

_OF_KEY = {
    Outcome.AUTH: ("key_rejected", "is refused", "give it another key"),
    Outcome.QUOTA: (
        "key_exhausted",
        "has nothing left",
        "top its account up or give another key",
    ),
}


def key_name(provider: str, key: int | None) -> str:
    """Return what a key is called."""
    return f"{provider} key {key}"


def circuit_open(event: CircuitChanged, *, last: bool) -> Trouble | None:
    """Return what an open circuit means.

    It is critical if nobody else is left, unless somebody wanted it so.

    Args:
        event: The circuit of a provider, or of one of its keys, has opened.
        last: Whether there is no known provider that can still be asked.

    Returns:
        The trouble; None for a key that another process has to tell of.
    """
    if event.key is None:
        return _set_aside(event, last=last)
    if event.outcome not in _OF_KEY:
        return None
    kind, what, advice = _OF_KEY[Outcome(event.outcome)]
    return Trouble(
        kind=kind,
        subject=key_name(event.provider, event.key),
        provider=event.provider,
        what=f"Key {event.key} of provider {event.provider} {what} and is not used",
        advice=f"{f'{_NOBODY_LEFT}; ' if last else ''}{advice}, in the configuration or by"
        " ProviderManager.rotate_key",
        severity="critical" if last else "warning",
        details={"outcome": event.outcome, "key": event.key, "retry_after": event.retry_after},
    )


def _set_aside(event: CircuitChanged, *, last: bool) -> Trouble:
    by_hand = event.cause == "operator"
    if by_hand:
        why = "was set aside by hand"
    elif event.outcome is None:
        why = "has failed too often in another process and is set aside"
    else:
        why = f"has failed too often (last: {event.outcome}) and is set aside"
    instead = _NOBODY_LEFT if last else "other providers are asked in its place"
    again = "" if event.retry_after is None else f", it is tried again in {event.retry_after:.3g} s"
    action = (
        "manager.reset() takes it back" if by_hand else "look at its status page and your network"
    )
    return Trouble(
        kind="circuit_open",
        subject=event.provider,
        provider=event.provider,
        what=f"Provider {event.provider} {why}",
        advice=f"{instead}{again}; {action}",
        severity="critical" if last and not by_hand else "warning",
        details={
            "outcome": event.outcome,
            "cause": event.cause,
            "retry_after": event.retry_after,
        },
    )


def budget_used(event: BudgetUsed, *, whole: bool) -> Trouble:
    """Return what is to be said of a budget.

    Args:
        event: What is used of it, perhaps with what a call wanted that was refused for it.
        whole: Whether it is used up, or too little is left of it for a call.
    """
    limit = f"security.access.{event.caller}.budget_{event.unit}_per_day"
    unit = "US dollars" if event.unit == "usd" else event.unit
    if event.caller == "*":
        whose = "All callers without a rule of their own have"
    else:
        whose = f"Caller {event.caller} has"
    used = min(event.used, event.limit)
    share = f"{100 * used / event.limit:.0f} %"
    amount = f"{used:.6g} of the {event.limit:.6g} {unit} that {limit} allows for {event.day}"
    # What is told at the end may be that a call was refused which wanted more than was left.
    what = (
        f"{whose} used or set aside {amount}, or too little is left of them for a call,"
        if whole
        else f"{whose} used or set aside at least {share}: {amount},"
    )
    return Trouble(
        kind="budget_100" if whole else "budget_80",
        subject=event.caller,
        what=what,
        advice="calls that need more are refused until midnight UTC, unless you raise that limit"
        if whole
        else "look at what is called, or raise that limit",
        severity="critical" if whole else "warning",
        details={
            "unit": event.unit,
            "used": used,
            "limit": event.limit,
            "limit_name": limit,
            "day": event.day,
        },
        lasting=False,
    )


def records_lost(event: RecordsTrouble) -> Trouble:
    """Return what it means that records cannot be written, or were dropped."""
    lost = f", {event.lost} records were lost" if event.lost else ""
    return Trouble(
        kind="records",
        subject=event.trail,
        what=f"Records of {event.trail} are in trouble ({reason(event.reason)}{lost})",
        advice="look at its disk, folder and permissions",
        severity="critical",
        details={"reason": event.reason, "lost": event.lost},
    )
