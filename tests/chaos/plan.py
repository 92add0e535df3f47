"""What goes wrong, when, and for whom: the plan of a run. The same seed makes the same plan."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

VENDORS: Final = ("openai", "anthropic", "local")
"""The three upstreams; each speaks its vendor's format."""

KEYS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {vendor: tuple(f"chaos-{vendor}-{number}" for number in (1, 2)) for vendor in VENDORS[:2]}
)
"""The keys of those that want one."""

STRATEGIES: Final = (
    *("priority",) * 5,
    "round_robin",
    "intelligent",
    "fastest",
    "least_busy",
    "weighted",
)

# Of a run's calls, so many are asked of the measured outages, and of each further kind of phase.
_MEASURED_SHARE = 0.3
_FLAKY_SHARE = 0.18
_KEYS_SHARE = 0.04
_RESTART_SHARE = 0.06
# Of the calls so many are streamed, and so many left by their callers.
_STREAMS = 0.25
_LEFT = 0.01
_LONGEST_PATIENCE = 0.1
# A phase in which somebody is dead is no shorter than this.
_SHORTEST = 40
_USUAL_DEAD = 155
_LONGEST_FLAKY = 600
# Of the requests that may fail in a phase of random faults, so many do.
_FLAKY = 0.4

_WORDS = ("the", "quick", "brown", "fox", "jumps", "över", "a", "lazy", "dog", "while", "nobody")


@dataclass(frozen=True, slots=True)
class Way:
    """One way to fail.

    Args:
        fault: Arguments of the upstream's ``Fault``; None where it takes more than one request.
        stopped: Whether the server is gone, and connections are refused.
        revoked: How many of the keys are refused.
        cuts: Whether a stream may break off after content.
    """

    fault: Mapping[str, Any] | None = None
    stopped: bool = False
    revoked: int = 0
    cuts: bool = False


_ANY: Final = {"on": "any"}

WAYS: Final[Mapping[str, Way]] = MappingProxyType(
    {
        "refused": Way(stopped=True, cuts=True),
        "hangs": Way({"hang": True}),
        "hangs, health checks too": Way({"hang": True} | _ANY),
        "503": Way({"status": 503}),
        "401": Way(revoked=2),
        "reset": Way({"reset": True} | _ANY),
        "408": Way({"status": 408}),
        "500": Way({"status": 500}),
        "502, a page of HTML": Way({"status": 502, "malformed": True}),
        "504": Way({"status": 504} | _ANY),
        "529": Way({"status": 529}),
        "429, again in 1 s": Way({"code": "rate_limit_exceeded", "retry_after": 1}),
        "429, again in 60 s": Way({"code": "rate_limit_exceeded", "retry_after": 60}),
        "429, no quota": Way({"code": "insufficient_quota"}),
        "402": Way({"status": 402}),
        "403": Way({"status": 403}),
        "404, no such model": Way({"code": "model_not_found"}),
        "malformed": Way({"malformed": True}),
        "no choice": Way({"empty": True}),
        "empty answer": Way({"empty": "content"}),
        "cut before content": Way({"cut_after": 0}),
        "truncated before content": Way({"truncate_after": 0}),
        "error before content": Way({"stream_error_after": 0}),
        "cut after content": Way({"cut_after": 3}, cuts=True),
        "truncated after content": Way({"truncate_after": 3}, cuts=True),
        "error after content": Way({"stream_error_after": 3}, cuts=True),
        "stalls after content": Way({"stall_after": 3}, cuts=True),
        "slow": Way({"delay": 0.3}),
        "slow, then cut after content": Way({"delay": 0.2, "cut_after": 3}, cuts=True),
        "trickles": Way({"trickle": 0.02}, cuts=True),
        "trickles for ever": Way({"trickle": 0.4}, cuts=True),
    }
)

MEASURED: Final = ("503", "refused", "hangs", "401")
"""How the first provider dies in the outages that are measured."""

DRAWN: Final = tuple(name for name, way in WAYS.items() if way.fault is not None)
"""The ways that can hit one request and spare the next one."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong with one upstream for a while.

    Args:
        way: Name of the way in which it fails; None for any, drawn anew for each request.
        share: Of its requests, so many fail.
        revoked: How many of its keys are refused.
    """

    way: str | None = None
    share: float = 1.0
    revoked: int = 0

    @property
    def cuts(self) -> bool:
        """Whether a stream may break off after content."""
        return WAYS[self.way].cuts if self.way else self.share > 0


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of the run.

    Args:
        title: What happens.
        kind: "calm", "outage", "dead", "flaky", "keys" or "restart".
        calls: How many calls are made.
        chain: The order in which the upstreams are asked.
        troubles: What is wrong with whom; who is not named is sound.
    """

    title: str
    kind: str
    calls: int
    chain: tuple[str, ...] = VENDORS
    troubles: Mapping[str, Trouble] = field(default_factory=dict)

    @property
    def cuts(self) -> bool:
        """Whether a stream may break off after content."""
        return any(trouble.cuts for trouble in self.troubles.values())


@dataclass(frozen=True, slots=True)
class Call:
    """One call.

    Args:
        number: By which it is recognised in its answer.
        stream: Whether the answer is streamed.
        strategy: In which order the upstreams are asked.
        leaves_after: Seconds after which its caller has enough of it; None for never.
    """

    number: int
    stream: bool
    strategy: str
    leaves_after: float | None

    @property
    def prompt(self) -> str:
        """What is asked: its number, and some words."""
        words = random.Random(self.number).choices(_WORDS, k=4 + self.number % 6)
        return f"call {self.number}: {' '.join(words)}"

    def answer_of(self, vendor: str) -> str:
        """Return the right answer of an upstream."""
        return answer(vendor, self.prompt)


def answer(vendor: str, prompt: str) -> str:
    """Return what a sound upstream answers."""
    return f"{vendor} answers {prompt}"


def calls(seed: int) -> Iterator[Call]:
    """Yield the calls of a run; the same seed makes the same calls."""
    chance = random.Random(f"calls {seed}")
    number = 0
    while True:
        number += 1
        stream, strategy = chance.random() < _STREAMS, chance.choice(STRATEGIES)
        leaves, after = chance.random() < _LEFT, chance.random() * _LONGEST_PATIENCE
        yield Call(number, stream, strategy, after if leaves else None)


def make_plan(seed: int, total: int) -> list[Phase]:
    """Make the phases of a run of so many calls.

    Args:
        seed: The same seed makes the same plan.
        total: How many calls the phases make together, about.
    """
    chance = random.Random(f"plan {seed}")
    outages = _outages(total)
    others = [
        *_flaky(total, chance),
        *_keys(total, chance),
        *_dead(total - sum(phase.calls for phase in outages), chance),
    ]
    chance.shuffle(others)
    return [
        Phase("everybody is well", "calm", max(_SHORTEST, total // 40)),
        *outages,
        *others,
        *_restart(total, chance),
    ]


def _outages(total: int) -> list[Phase]:
    each = int(total * _MEASURED_SHARE / len(MEASURED))
    if each < _SHORTEST:
        return []
    # In a short run one of them has to do.
    ways = MEASURED if each >= 4 * _SHORTEST else MEASURED[:1]
    return [
        Phase(f"openai is dead: {way}", "outage", each, troubles={"openai": Trouble(way)})
        for way in ways
    ]


def _flaky(total: int, chance: random.Random) -> list[Phase]:
    share = int(total * _FLAKY_SHARE)
    count = max(1, min(6, share // _LONGEST_FLAKY))
    return [
        _phase(
            sound, "flaky", share // count, chance, dict.fromkeys(VENDORS, Trouble(None, _FLAKY))
        )
        for sound in _in_turn(count, chance)
    ]


def _keys(total: int, chance: random.Random) -> list[Phase]:
    """One key of the only sound one expires, and comes back."""
    share = int(total * _KEYS_SHARE)
    if share < 2 * _SHORTEST:
        return []
    phases = []
    for sound in KEYS:
        others = [vendor for vendor in VENDORS if vendor != sound]
        troubles = {vendor: Trouble(chance.choice(("503", "refused"))) for vendor in others}
        troubles[sound] = Trouble(None, 0, revoked=1)
        title = f"only {sound} is well, and one of its keys expires"
        chain = (sound, *others)
        phases.append(Phase(title, "keys", share // len(KEYS), chain, troubles))
    return phases


def _dead(total: int, chance: random.Random) -> list[Phase]:
    """Everybody is dead for a while in each way, two at a time."""
    share = int(total * (1 - _FLAKY_SHARE - _KEYS_SHARE) * 0.7)
    deaths = {vendor: chance.sample(sorted(WAYS), len(WAYS)) for vendor in VENDORS}
    pairs: list[dict[str, str]] = []
    while any(deaths.values()):
        # The two with the most deaths before them; the third stands in.
        two = sorted(VENDORS, key=lambda vendor: -len(deaths[vendor]))[:2]
        pairs.append({vendor: deaths[vendor].pop() for vendor in two if deaths[vendor]})
    chance.shuffle(pairs)
    count = max(1, min(len(pairs), share // _USUAL_DEAD))
    return [
        _phase(
            next(vendor for vendor in VENDORS if vendor not in pair),
            "dead",
            max(_SHORTEST, share // count),
            chance,
            {vendor: Trouble(way) for vendor, way in pair.items()},
        )
        for pair in pairs[:count]
    ]


def _restart(total: int, chance: random.Random) -> list[Phase]:
    share = max(_SHORTEST, int(total * _RESTART_SHARE))
    count = 3 if share >= 6 * _SHORTEST else 1
    return [
        _phase(
            sound, "restart", share // count, chance, dict.fromkeys(VENDORS, Trouble(None, _FLAKY))
        )
        for sound in _in_turn(count, chance)
    ]


def _in_turn(count: int, chance: random.Random) -> Sequence[str]:
    order = chance.sample(VENDORS, len(VENDORS))
    return [order[index % len(order)] for index in range(count)]


def _phase(
    sound: str, kind: str, calls: int, chance: random.Random, troubles: Mapping[str, Trouble]
) -> Phase:
    """Make a phase in which one of them is sound, and as a rule asked last."""
    ill = [vendor for vendor in VENDORS if vendor != sound]
    chance.shuffle(ill)
    place = chance.choice((1, 2, 2, 2))
    chain = (*ill[:place], sound, *ill[place:])
    left = {vendor: troubles[vendor] for vendor in ill if vendor in troubles}
    told = ", ".join(f"{vendor}: {trouble.way or 'anything'}" for vendor, trouble in left.items())
    return Phase(f"only {sound} is well; {told}", kind, calls, chain, left)
