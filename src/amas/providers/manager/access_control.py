"""Access rules at work: what is kept from a call, what is counted for its caller, and the record of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...config.provider_settings import ManagerSettings, SecuritySettings
from ..errors import AccessDeniedError
from ..observability.outcomes import PERHAPS_BILLED
from ..security.access import LENGTHS, Rule, find_rule
from ..security.requests import RequestRules
from ..types import Attempt, Price, Request
from .counters import Counting
from .member import Member
from .notices import Notices

_MINUTE = 60
_DAY = 24 * 3600

# The share of a budget from which its use is told of.
_TOLD_FROM = 0.8


@dataclass(slots=True)
class Grant:
    """What the rule of its caller leaves of one call.

    Args:
        rule: The rule.
        request: The call.
        counters: Where budgets and limits are counted.
        wall: The time of day, in seconds since 1970.
        at_once: How many providers may be asked beside each other.
        notices: Tells of budgets that come to their end.
    """

    rule: Rule
    request: Request
    counters: Counting
    wall: Callable[[], float]
    at_once: int
    notices: Notices
    _bound: int | None = None
    _each: dict[str, float] = field(default_factory=dict)
    _reserved: dict[str, float] = field(default_factory=dict)

    def providers(self, chain: Sequence[Member]) -> list[Member]:
        """Return the members that may be asked.

        Raises:
            AccessDeniedError: None of them may, or not the one asked for by name.
        """
        asked = self.request.provider
        if asked is not None and not self.rule.may_use(asked):
            raise self._denied("providers", f"use provider {asked!r}", provider=asked)
        allowed = [member for member in chain if self.rule.may_use(member.name)]
        if chain and not allowed:
            alias = self.request.alias
            which = "the providers that there are" if alias is None else f"those of {alias}"
            raise self._denied("providers", f"use any of {which}")
        return allowed

    def models(
        self, candidates: Sequence[Member], arguments: Mapping[str, dict[str, Any]]
    ) -> list[Member]:
        """Return the candidates whose model may be asked, and bound the length of the answers.

        Args:
            candidates: Who could be asked, in order.
            arguments: What each would be called with, by name; the bound is put in here.

        Raises:
            AccessDeniedError: None of them may, or not the model named by the caller, or
                longer answers are asked for than are allowed.
        """
        bound = self.rule.longest_answer(self.request.params, self.request.caller)
        self._bound = bound
        by_name = self.request.model or self.request.provider
        owner = self.request.provider or next((member.name for member in candidates), None)
        allowed = []
        for member in candidates:
            own = arguments[member.name]
            model = _model_of(member, own)
            if self.rule.may_ask(member.name, model):
                allowed.append(member)
            elif member.name == owner and by_name:
                raise self._denied("models", f"ask for model {model!r} of {owner}")
            if bound is not None:
                _put_bound(own, bound, {**member.provider.config.params, **self._defaults})
        if candidates and not allowed:
            asked = ", ".join(
                f"{item.name}/{_model_of(item, arguments[item.name])}" for item in candidates
            )
            raise self._denied("models", f"ask for any model of those who could answer: {asked}")
        if self.rule.budget_usd_per_day is not None:
            return self._priced(allowed, arguments)
        return allowed

    @property
    def _defaults(self) -> Mapping[str, Any]:
        """The parameters that come from the configuration rather than from the caller."""
        return {} if self.request.alias is None else self.request.alias.params

    def _priced(
        self, candidates: Sequence[Member], arguments: Mapping[str, dict[str, Any]]
    ) -> list[Member]:
        """Return those whose price is known: a budget can be kept with no other."""
        known = [item for item in candidates if _price_of(item, arguments[item.name]) is not None]
        if candidates and not known:
            names = ", ".join(member.name for member in candidates)
            raise self._denied(
                "budget_usd_per_day",
                f"use {names}, whose price is not known; set price: for it",
            )
        return known

    async def reserve(
        self, candidates: Sequence[Member], arguments: Mapping[str, dict[str, Any]]
    ) -> None:
        """Count the call, and set aside what it may cost.

        Raises:
            AccessDeniedError: That is more than is left of a limit.
        """
        await self._count_call()
        if not self.rule.has_budget:
            return
        answer = self._bound or self.request.needs.answer_tokens or 0
        prompt = self.request.needs.prompt_tokens
        prices = [_price_of(member, arguments[member.name]) for member in candidates]
        dearest = max((price.of(prompt, answer) for price in prices if price), default=0.0)
        limits = (
            ("budget_usd_per_day", "usd", self.rule.budget_usd_per_day, dearest),
            ("budget_tokens_per_day", "tokens", self.rule.budget_tokens_per_day, prompt + answer),
        )
        for name, unit, limit, amount in limits:
            if limit is not None:
                await self._set_aside(name, unit, limit, float(amount))

    async def _count_call(self) -> None:
        limit = self.rule.calls_per_minute
        if limit is None:
            return
        number, gone = divmod(self.wall(), _MINUTE)
        this, before = (f"calls:{self.rule.caller}:{int(number) - back}" for back in (0, 1))
        counted = await self.counters.add({this: 1, before: 0}, 3 * _MINUTE)
        # Of the minute before, the share that lies within the last 60 seconds.
        if counted[this] + counted[before] * (1 - gone / _MINUTE) > limit:
            await self.counters.add({this: -1}, 3 * _MINUTE)
            raise self._denied(
                "calls_per_minute",
                f"make more than {limit} calls a minute",
                retry_after=_MINUTE - gone,
            )

    async def _set_aside(self, name: str, unit: str, limit: float, amount: float) -> None:
        now = self.wall()
        key = f"{unit}:{self.rule.caller}:{time.strftime('%Y-%m-%d', time.gmtime(now))}"
        self._each[key], amount = amount, amount * self.at_once
        total = (await self.counters.add({key: amount}, 2 * _DAY))[key]
        self._reserved[key] = amount
        # What is used up is refused also to a call that costs nothing.
        if total > limit or total - amount >= limit:
            await self.give_back()
            self._tell_use(key, total, limit, of=total - amount)
            used = f"{total - amount:.6g} of {limit:g} {unit} are used or set aside today"
            raise self._denied(
                name,
                f"make this call, for which up to {amount:.6g} {unit} are set aside (fewer max_tokens,"
                f" fewer {unit}): {used}",
                retry_after=_DAY - now % _DAY,
            )

    async def settle(self, attempts: Sequence[Attempt], *, tokens: object, usd: object) -> None:
        """Count what a call has cost in place of what was set aside.

        Args:
            attempts: The records of its attempts; a vendor may charge for some that failed.
            tokens: Tokens of the answer; the estimate stays if it is no number above 0.
            usd: US dollars; likewise if it is no number.
        """
        answer = {"tokens": tokens or None, "usd": usd}
        costs = {
            key: float(cost)
            if isinstance(cost := answer[key.partition(":")[0]], int | float)
            else self._each[key]
            for key in self._reserved
        }
        await self._charge(costs, attempts)

    async def settle_failure(self, attempts: Sequence[Attempt]) -> None:
        """Count what a vendor may charge for a call that brought nothing."""
        await self._charge({}, attempts)

    async def give_back(self) -> None:
        """Give back what was set aside: nothing was sent."""
        await self._charge({}, ())

    async def _charge(self, costs: Mapping[str, float], attempts: Sequence[Attempt]) -> None:
        unanswered = sum(record["outcome"] in PERHAPS_BILLED for record in attempts)
        owed = {
            key: costs.get(key, 0.0) + unanswered * self._each[key] - amount
            for key, amount in self._reserved.items()
        }
        self._reserved = {}
        if owed:
            totals = await self.counters.add(owed, 2 * _DAY)
            for key, total in totals.items():
                self._tell_use(key, total, self._limit(key), of=total)

    def _limit(self, key: str) -> float | None:
        dollars, tokens = self.rule.budget_usd_per_day, self.rule.budget_tokens_per_day
        return dollars if key.startswith("usd:") else tokens

    def _tell_use(self, key: str, used: float, limit: float | None, *, of: float) -> None:
        """Tell what of a budget is used, once ``of`` it is nearly all."""
        if limit is not None and of >= _TOLD_FROM * limit:
            unit, _, rest = key.partition(":")
            day = rest.rpartition(":")[2]
            self.notices.budget(self.rule.caller, unit, used=used, limit=limit, day=day)

    def _denied(
        self,
        name: str,
        what: str,
        *,
        provider: str | None = None,
        retry_after: float | None = None,
    ) -> AccessDeniedError:
        return self.rule.denied(
            self.request.caller, name, what, provider=provider, retry_after=retry_after
        )


class AccessControl:
    """Applies the rules to calls, and records each decision.

    Args:
        rules: The rules, by name of the caller; without any, everything is allowed.
        counters: Where budgets and limits are counted.
        notices: Tells of each decision.
        wall: The time of day, in seconds since 1970.
        at_once: How many providers a call may ask beside each other.
    """

    def __init__(
        self,
        rules: Mapping[str, Rule],
        counters: Counting,
        notices: Notices,
        wall: Callable[[], float] = time.time,
        *,
        at_once: int = 1,
    ) -> None:
        self.rules = rules
        self._counters = counters
        self._notices = notices
        self._wall = wall
        self.at_once = at_once

    def grant(self, request: Request) -> Grant | None:
        """Return what the caller's rule leaves of a call; None if there are no rules.

        Raises:
            AccessDeniedError: No rule holds for the caller.
        """
        if not self.rules:
            return None
        rule = find_rule(self.rules, request.caller)
        return Grant(rule, request, self._counters, self._wall, self.at_once, self._notices)

    def allowed(self, grant: Grant, candidates: Sequence[Member]) -> None:
        """Record that a call was allowed, and to whom it may go."""
        names = tuple(member.name for member in candidates)
        self._notices.access(grant.request, allowed=True, rule=grant.rule.caller, providers=names)

    def refused(self, request: Request, error: AccessDeniedError) -> None:
        """Record that a call was denied."""
        error.request_id = request.id
        self._notices.access(request, allowed=False, rule=error.rule, reason=error.message)


def at_once(settings: ManagerSettings) -> int:
    """Return how many providers a call may ask beside each other."""
    return 1 if settings.hedge is None else 2


def access_rules(security: SecuritySettings) -> dict[str, Rule]:
    """Return the rules of a configuration, by name of the caller."""
    return {name: Rule(name, **rule.model_dump()) for name, rule in security.access.items()}


def request_rules(security: SecuritySettings) -> RequestRules:
    """Return what a configuration says of what calls may have in them."""
    return RequestRules(security.media_urls, security.media_hosts, security.max_prompt_bytes)


def _model_of(member: Member, arguments: Mapping[str, Any]) -> str | None:
    return arguments.get("model") or member.provider.model


def _price_of(member: Member, arguments: Mapping[str, Any]) -> Price | None:
    return member.provider.price_of(arguments.get("model"))


def _put_bound(arguments: dict[str, Any], bound: int, defaults: Mapping[str, Any]) -> None:
    """Bound the answer's length, unless the configured defaults do so already."""
    own = {name: defaults[name] for name in LENGTHS if defaults.get(name) is not None}
    kept = [name for name, value in own.items() if isinstance(value, int) and value <= bound]
    if len(kept) < max(len(own), 1):
        arguments |= dict.fromkeys(own.keys() - set(kept) or {"max_tokens"}, bound)
