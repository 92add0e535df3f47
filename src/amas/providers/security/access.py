"""What a caller may do, by the rules of ``security.access``. Pure."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from ..errors import AccessDeniedError, suggestion

EVERYBODY_ELSE: Final = "*"

# The parameters that bound an answer's length; vendors know one or the other.
LENGTHS: Final = ("max_tokens", "max_completion_tokens")

# Tokens of an answer under a budget where neither call nor rule bounds it.
_LONGEST_UNASKED: Final = 4096


@dataclass(frozen=True, slots=True)
class Rule:
    """What one caller may do; None restricts nothing.

    Args:
        caller: Its name, or ``*`` for all that have no rule of their own.
        providers: Names of the providers it may use.
        models: Patterns, as in a shell, of the models it may use: ``provider/model``, or,
            without a slash, a model of whichever provider.
        max_tokens: Most tokens of one answer.
        calls_per_minute: Most calls within any minute.
        budget_usd_per_day: US dollars it may spend in a day (UTC).
        budget_tokens_per_day: Tokens it may use in a day (UTC).
    """

    caller: str
    providers: Sequence[str] | None = None
    models: Sequence[str] | None = None
    max_tokens: int | None = None
    calls_per_minute: int | None = None
    budget_usd_per_day: float | None = None
    budget_tokens_per_day: int | None = None

    def place(self, field: str) -> str:
        """Return where a field of the rule stands in the configuration."""
        return f"security.access.{self.caller}.{field}"

    def may_use(self, provider: str) -> bool:
        """Tell whether a provider may be used."""
        return self.providers is None or provider in self.providers

    def may_ask(self, provider: str, model: str | None) -> bool:
        """Tell whether a model of a provider may be asked; None is a model without a name."""
        if self.models is None:
            return True
        full = f"{provider}/{model or ''}"
        return any(
            fnmatchcase(full if "/" in pattern else model or "", pattern) for pattern in self.models
        )

    @property
    def has_budget(self) -> bool:
        """Whether what calls cost is counted."""
        return (self.budget_usd_per_day, self.budget_tokens_per_day) != (None, None)

    def longest_answer(self, params: Mapping[str, Any], caller: str | None) -> int | None:
        """Return the bound to put on an answer's tokens; None if none is needed, or one is there.

        With a budget an answer without a bound gets one, too: what it may cost is set aside.

        Raises:
            AccessDeniedError: More are asked than are allowed.
        """
        bound = self.max_tokens
        if bound is None and self.has_budget:
            bound = _LONGEST_UNASKED
        if bound is None:
            return None
        asked = [params[name] for name in LENGTHS if params.get(name) is not None]
        most = self.max_tokens or sys.maxsize
        for value in asked:
            # Below 1 is "no limit" to some vendors.
            if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= most:
                only = f"1 to {self.max_tokens}" if self.max_tokens else "whole numbers from 1"
                raise self.denied(
                    caller, "max_tokens", f"ask for {value!r:.40} tokens, only {only}"
                )
        return None if asked else bound

    def denied(
        self,
        caller: str | None,
        field: str,
        what: str,
        *,
        provider: str | None = None,
        retry_after: float | None = None,
    ) -> AccessDeniedError:
        """Make the error of a denial.

        Args:
            caller: Who was denied something.
            field: The field of the rule that forbids it.
            what: What the caller may not do.
            provider: Name of the provider, if it is about one.
            retry_after: Seconds after which it is allowed again.
        """
        who = "a call without a caller" if caller is None else f"caller {caller!r}"
        return AccessDeniedError(
            f"{who} may not {what} (rule {self.place(field)})",
            rule=self.place(field),
            provider=provider,
            retry_after=retry_after,
        )


def find_rule(rules: Mapping[str, Rule], caller: str | None) -> Rule:
    """Return the rule that holds for a caller.

    Args:
        rules: The rules by name of the caller; ``*`` for all others.
        caller: Who calls; None if that was not said.

    Raises:
        AccessDeniedError: None does: once there are rules, whoever has none is refused.
    """
    rule = rules.get(caller or EVERYBODY_ELSE) or rules.get(EVERYBODY_ELSE)
    if rule is not None and caller != EVERYBODY_ELSE:
        return rule
    if caller == EVERYBODY_ELSE:
        raise AccessDeniedError(
            "'*' stands for all others in security.access, and is no caller; say who calls",
            rule="security.access",
        )
    names = sorted(rules.keys() - {EVERYBODY_ELSE})
    who = "a call without a caller" if caller is None else f"caller {caller!r}"
    hint = "" if caller is None else suggestion(caller, names)
    raise AccessDeniedError(
        f"{who} has no rule in security.access, and is refused since others have one{hint};"
        " add a rule for it, or one named '*', or say caller=",
        rule="security.access",
    )
