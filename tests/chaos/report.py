"""What came of a run: its lines, tables and verdicts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from .driver import Segment, Tally

# A dead provider may make so many calls wait, and the others' p99 so many times as long.
_SHARE = 0.01
_FACTOR = 2.0
_PROBES_PER_SECOND = 1.0
_FIRST = 1.0
# Below so many calls a percentile of theirs says nothing.
_ENOUGH = 400
_GROWTH_MB = 8.0


@dataclass(slots=True)
class Outage:
    """A measured outage.

    Args:
        title: What happened.
        before: The calls before it.
        during: The calls during it.
        tries: How often it was measured.
    """

    title: str
    before: Segment
    during: Segment
    tries: int = 1

    @property
    def late(self) -> list[float]:
        """The latencies after the first second."""
        return self.during.after(_FIRST)

    @property
    def early(self) -> list[float]:
        """The latencies of the first second."""
        pairs = zip(self.during.starts, self.during.latencies, strict=True)
        return [latency for start, latency in pairs if start < _FIRST]

    @property
    def judged(self) -> bool:
        """Whether there are enough calls to tell."""
        return len(self.late) >= _ENOUGH

    @property
    def ratio(self) -> float:
        """How many times as long as before the slowest hundredth took."""
        return percentile(self.late, 0.99) / percentile(self.before.latencies, 0.99)

    @property
    def noticed(self) -> int:
        """How many calls after the first second noticed the dead provider."""
        return self.during.beyond_after(_FIRST)

    @property
    def share(self) -> float:
        """Share of the calls after the first second that noticed the dead provider."""
        return self.noticed / max(1, len(self.late))

    @property
    def fits(self) -> bool:
        """Whether it is as it must be.

        How often a dead provider is probed depends on the time, and not on the number of
        calls: on a machine that is slow or busy the probes are more than a hundredth of them.
        """
        seconds = max(self.during.starts, default=0.0) - _FIRST
        few = self.share < _SHARE or self.noticed <= seconds * _PROBES_PER_SECOND
        return not self.judged or (self.ratio <= _FACTOR and few)

    @property
    def told(self) -> str:
        """The result in a few words."""
        if not self.judged:
            return "not judged, too few calls"
        return f"p99 {self.ratio:.2f}x, {self.share:.2%} of the calls noticed"


@dataclass(slots=True)
class Leftovers:
    """What is left when everything has been shut down."""

    in_flight: int = 0
    waiting: int = 0
    tasks: list[str] = field(default_factory=list)
    sockets: int = 0

    @property
    def nothing(self) -> bool:
        """Whether nothing is."""
        return not (self.in_flight or self.waiting or self.tasks or self.sockets)


class Report:
    """Prints a run.

    Args:
        seed: The run's seed.
    """

    def __init__(self, seed: int) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        self._seed = seed
        self.tally = Tally()
        self.restarted = Tally()
        self.requests: Counter[str] = Counter()
        self.outages: list[Outage] = []
        self.leftovers = Leftovers()
        self.memory: list[tuple[int, float]] = []
        self.stuck: list[str] = []
        self.opened = 0
        self.closed = 0

    def line(self, at: float, text: str) -> None:
        """Print what has just happened."""
        self._console.print(f"{at:6.1f} s  {text}", markup=False)

    def show(self) -> int:
        """Print tables and verdicts; return the exit code."""
        self._counts()
        self._errors()
        self._latencies()
        failed = False
        for what, good, how in self._verdicts():
            failed |= not good
            self._console.print(f"{'ok    ' if good else 'FAILED'}  {what}: {how}", markup=False)
        return int(failed)

    def _counts(self) -> None:
        table = Table(title=f"Calls, seed {self._seed}", title_justify="left")
        for column in ("", "one manager", "restarting, hedging"):
            table.add_column(column, justify="left" if not column else "right")
        tallies = (self.tally, self.restarted)
        rows: dict[str, list[int] | list[str]] = {
            "calls": [item.calls for item in tallies],
            "of them streams": [item.streams for item in tallies],
            "answers": [item.answers for item in tallies],
            "streams interrupted after content": [item.interrupted for item in tallies],
            "left by their callers": [item.left for item in tallies],
            "lost": [sum(item.lost.values()) for item in tallies],
            "failovers": [item.failovers for item in tallies],
            "streams begun again": [item.restarts for item in tallies],
            "retries": [item.retries for item in tallies],
            "hedges": [item.hedges for item in tallies],
            "requests on record per call": [
                f"{item.attempts / max(1, item.calls):.3f}" for item in tallies
            ],
        }
        for name, values in rows.items():
            table.add_row(name, *(str(value) for value in values))
        self._console.print(table)
        calls = sum(item.calls for item in tallies)
        told = ", ".join(f"{name} {count}" for name, count in sorted(self.requests.items()))
        self._console.print(
            f"Requests that reached the upstreams: {told};"
            f" {self.requests.total() / max(1, calls):.3f} per call."
            f" Circuits of providers and keys opened {self.opened} times (after a failed probe"
            f" again), closed {self.closed} times."
        )

    def _errors(self) -> None:
        table = Table(title="Requests by how they ended", title_justify="left")
        for column in ("outcome", "status", "count"):
            table.add_column(column, justify="right" if column == "count" else "left")
        outcomes = self.tally.outcomes + self.restarted.outcomes
        for (outcome, status), count in sorted(outcomes.items(), key=lambda item: -item[1]):
            table.add_row(outcome, str(status or ""), str(count))
        self._console.print(table)

    def _latencies(self) -> None:
        judged = [outage for outage in self.outages if outage.judged]
        if not judged:
            return
        table = Table(
            title="The provider asked first is dead: ms for a call, p50 and p99, 8 at a time",
            title_justify="left",
        )
        heads = ("", "before", "1st second", "later", "ratio", "noticed", "calls", "tries")
        for head in heads:
            table.add_column(head, justify="right" if head else "left")
        for outage in judged:
            table.add_row(
                outage.title,
                *(
                    f"{percentile(part, 0.5) * 1000:.0f} {percentile(part, 0.99) * 1000:4.0f}"
                    for part in (outage.before.latencies, outage.early, outage.late)
                ),
                f"{outage.ratio:.2f}x",
                f"{outage.share:.2%}",
                str(len(outage.late)),
                str(outage.tries),
            )
        self._console.print(table)

    def _verdicts(self) -> list[tuple[str, bool, str]]:
        lost = self.tally.lost + self.restarted.lost
        losses = self.tally.losses + self.restarted.losses
        told = "".join(f"\n          {text}" for text in losses)
        grown = self._grown()
        judged = [outage for outage in self.outages if outage.judged]
        left = self.leftovers
        return [
            ("no call is lost", not lost, f"{dict(lost) or 'none'}{told}"),
            (
                "a dead provider makes nobody wait",
                all(outage.fits for outage in judged),
                f"p99 at most {max(item.ratio for item in judged):.2f}x that of before,"
                f" at most {max(item.share for item in judged):.2%} of the calls noticed"
                if judged
                else "not judged, too few calls",
            ),
            (
                "everybody is taken back when well",
                not self.stuck,
                "; ".join(self.stuck) or "by the manager itself, within seconds",
            ),
            (
                "nothing is left",
                left.nothing,
                (
                    f"{left.in_flight} under way, {left.waiting} waiting,"
                    f" tasks {left.tasks or 'none'}, {left.sockets} sockets"
                ),
            ),
            (
                "memory stays",
                grown <= _GROWTH_MB,
                f"{grown:+.1f} MB over the last three quarters, {self.memory[-1][1]:.0f} MB at the end",
            ),
        ]

    def _grown(self) -> float:
        quarter = self.memory[-1][0] / 4
        base = next(size for count, size in self.memory if count >= quarter)
        return self.memory[-1][1] - base


def percentile(values: list[float], share: float) -> float:
    """Return the value that this share of them does not exceed; NaN of none."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))] if ranked else float("nan")
