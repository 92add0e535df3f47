"""The failure table row by row, and the deadline of a call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from amas.providers.errors import (
    AccessDeniedError,
    AllProvidersFailedError,
    AuditUnavailableError,
    AuthenticationError,
    BadResponseError,
    ContentPolicyError,
    ContextWindowExceededError,
    InvalidRequestError,
    ModelNotFoundError,
    NoProviderAvailableError,
    ProviderConfigError,
    ProviderConnectionError,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    QuotaExceededError,
    RateLimitError,
    StreamInterruptedError,
    UnsupportedError,
)
from amas.providers.manager.attempt import OpenAttempt
from amas.providers.manager.circuit_breaker import CircuitSettings, CircuitState
from amas.providers.manager.course import Course, Tools
from amas.providers.manager.failover import FailoverLoop
from amas.providers.manager.lineup import Lineup
from amas.providers.manager.member import Member, Ticket
from amas.providers.manager.rules import Rules
from amas.providers.testing import Delay, FakeProvider
from amas.providers.testing.fake_provider import FakeClock
from amas.providers.types import Outcome, Request

HANGS = Delay(float("inf"))


class Bench:
    """Providers in a row, a loop over them, and a clock moved by hand."""

    def __init__(
        self, *providers: FakeProvider, failover: bool = True, threshold: int = 50
    ) -> None:
        self.clock = FakeClock()
        self.failover = failover
        self.tools = Tools(self.clock, lambda: 0.5, self.clock.sleep)
        rules = Rules(CircuitSettings(failure_threshold=threshold))
        self.members = [Member(item, rules, self.clock, lambda: 0.5) for item in providers]

    async def run(self, seconds: float = 60.0, **others: Any) -> OpenAttempt[str]:
        """Make a call, and settle it if it succeeds."""
        for member in self.members:
            if not member.provider.initialized:
                await member.provider.initialize()
        request = Request(
            id="r1", prompt="hi", deadline=self.tools.clock() + seconds, caller="tester"
        )

        async def ask(_member: Member, ticket: Ticket) -> str:
            return str((await ticket.lane.provider.generate("hi"))["content"])

        course = Course(self.tools, request, ask)
        opened = await FailoverLoop(self.tools, self.failover).run(
            course, Lineup(self.members), **others
        )
        opened.settle(Outcome.OK)
        return opened

    def requests(self) -> list[int]:
        """Return how often each provider was asked."""
        return [
            len(member.provider.calls)
            for member in self.members
            if isinstance(member.provider, FakeProvider)
        ]

    def counted(self) -> tuple[int, int]:
        """Return the successes and failures that the first provider's circuit has counted."""
        window, settings = self.members[0].breaker.circuit.window, self.members[0].rules.circuit
        return window.counts(self.tools.clock(), settings.window)

    def key_state(self) -> CircuitState:
        """Return the state of the circuit of the first provider's only key."""
        return self.members[0].lanes[0].breaker.state


@dataclass(frozen=True)
class Row:
    """What must happen when the first provider always raises this, with three retries."""

    error: Callable[[], BaseException]
    asked: int
    next_asked: bool
    counted: tuple[int, int] = (0, 0)
    state: CircuitState = CircuitState.CLOSED
    outcome: str = "unavailable"


def unavailable(status: int) -> Row:
    """Return the row of a status that passes."""
    return Row(
        lambda: ProviderUnavailableError("trouble", status_code=status), 4, True, counted=(0, 4)
    )


def tripping(error: Callable[[], BaseException], outcome: str) -> Row:
    """Return the row of what needs a person."""
    return Row(error, 1, True, state=CircuitState.OPEN, outcome=outcome)


ROWS = {
    "connection refused": Row(
        lambda: ProviderConnectionError("refused"), 2, True, (0, 2), outcome="connection"
    ),
    "first byte timeout": Row(
        lambda: ProviderTimeoutError("late"), 1, True, (0, 1), outcome="timeout"
    ),
    **{f"status {code}": unavailable(code) for code in (408, 500, 502, 503, 504, 529)},
    "429, short wait": Row(
        lambda: RateLimitError("slow", retry_after=1), 4, True, outcome="rate_limited"
    ),
    "429, long wait": Row(
        lambda: RateLimitError("slow", retry_after=30), 1, True, outcome="rate_limited"
    ),
    "429, no wish": Row(lambda: RateLimitError("slow"), 1, True, outcome="rate_limited"),
    "429, no quota": tripping(lambda: QuotaExceededError("empty", status_code=429), "quota"),
    "402": tripping(lambda: QuotaExceededError("empty", status_code=402), "quota"),
    "401": tripping(lambda: AuthenticationError("bad key", status_code=401), "auth"),
    "403": tripping(lambda: AuthenticationError("bad key", status_code=403), "auth"),
    "404": Row(lambda: ModelNotFoundError("no such"), 1, True, outcome="model_not_found"),
    "400": Row(
        lambda: InvalidRequestError("bad", status_code=400),
        1,
        False,
        (1, 0),
        outcome="invalid_request",
    ),
    "422": Row(
        lambda: InvalidRequestError("bad", status_code=422),
        1,
        False,
        (1, 0),
        outcome="invalid_request",
    ),
    "refused before it was sent": Row(
        lambda: InvalidRequestError("bad"), 1, False, outcome="invalid_request"
    ),
    "more than the model can do": Row(
        lambda: UnsupportedError("no tools"), 1, True, outcome="unsupported"
    ),
    "context window, none larger": Row(
        lambda: ContextWindowExceededError("long"), 1, False, outcome="context_window"
    ),
    "content policy": Row(lambda: ContentPolicyError("no"), 1, False, outcome="content_policy"),
    "stream cut after content": Row(
        lambda: StreamInterruptedError("cut"), 1, False, (0, 1), outcome="stream_interrupted"
    ),
    "an answer that fails a check": Row(
        lambda: BadResponseError("empty"), 1, True, (0, 1), outcome="bad_response"
    ),
    "misconfigured after all": Row(
        lambda: ProviderConfigError("no key"), 1, True, outcome="config"
    ),
    "no record": Row(lambda: AuditUnavailableError("no"), 1, False, outcome="audit_unavailable"),
    "access denied": Row(lambda: AccessDeniedError("no"), 1, False, outcome="access_denied"),
    "a manager within: nobody": Row(
        lambda: NoProviderAvailableError("none"), 1, True, outcome="no_provider"
    ),
    "a manager within: all failed": Row(
        lambda: AllProvidersFailedError("all"), 1, True, (0, 1), outcome="all_failed"
    ),
    "an exception of its own": Row(lambda: RuntimeError("oops"), 4, True, (0, 4)),
    "a timeout of its own": Row(lambda: TimeoutError("oops"), 1, True, (0, 1), outcome="timeout"),
    "a cancellation from within": Row(asyncio.CancelledError, 4, True, (0, 4)),
}


class Raising(FakeProvider):
    """A provider that raises the same kind of thing each time."""

    def __init__(self, make: Callable[[], BaseException], *, max_retries: int = 3) -> None:
        def fail(_prompt: Any) -> str:
            raise make()

        super().__init__("a", default=fail, max_retries=max_retries)


def test_no_row_of_the_failure_table_is_left_out() -> None:
    """Every outcome that an error can have is tried below."""
    told = {row.outcome for row in ROWS.values()}
    assert told == set(Outcome) - {Outcome.OK, Outcome.CANCELLED}


@pytest.mark.parametrize("name", list(ROWS))
async def test_each_row_of_the_failure_table(name: str) -> None:
    """How often the same provider is asked, whether the next one is, and what the circuit counts."""
    row = ROWS[name]
    bench = Bench(Raising(row.error), FakeProvider("b"))
    if row.next_asked:
        opened = await bench.run()
        assert opened.value == "b says: hi"
        records = opened.attempts
        assert records[-1]["outcome"] == "ok"
    else:
        with pytest.raises(ProviderError) as raised:
            await bench.run()
        assert type(raised.value) is type(row.error())
        assert raised.value.request_id == "r1"
        assert raised.value.provider == "a"
        records = []
    assert bench.requests() == [row.asked, int(row.next_asked)]
    assert bench.counted() == row.counted
    assert bench.key_state() is row.state
    assert bench.members[0].breaker.state is CircuitState.CLOSED
    assert [member.bulkhead.in_flight for member in bench.members] == [0, 0]
    assert [item["outcome"] for item in records[:-1]] == [row.outcome] * len(records[:-1])


@pytest.mark.parametrize("name", list(ROWS))
async def test_each_row_without_retries(name: str) -> None:
    """With ``max_retries: 0`` the same provider is asked exactly once in every row."""
    bench = Bench(Raising(ROWS[name].error, max_retries=0), FakeProvider("b"))
    if ROWS[name].next_asked:
        await bench.run()
    else:
        with pytest.raises(ProviderError):
            await bench.run()
    assert bench.requests()[0] == 1
    assert bench.clock.slept == []


@pytest.mark.parametrize("name", list(ROWS))
async def test_without_failover_exactly_one_is_asked_and_raises_its_own_error(name: str) -> None:
    """No row leads to the next provider when failover is off."""
    bench = Bench(Raising(ROWS[name].error), FakeProvider("b"), failover=False)
    with pytest.raises(ProviderError) as raised:
        await bench.run()
    assert bench.requests() == [ROWS[name].asked, 0]
    assert str(raised.value.outcome) == ROWS[name].outcome
    assert raised.value.provider == "a"


async def test_backoff_grows_and_is_slept() -> None:
    """Between the requests to a failing provider lie jittered pauses that double."""
    bench = Bench(Raising(lambda: ProviderUnavailableError("503")), FakeProvider("b"))
    await bench.run()
    assert bench.clock.slept == pytest.approx([0.1, 0.2, 0.4])


async def test_a_short_retry_after_is_waited_for_in_full() -> None:
    """The provider is not asked again before the time it asked for, and answers then."""
    a = FakeProvider("a", [RateLimitError("slow", retry_after=1.5)], max_retries=3)
    bench = Bench(a, FakeProvider("b"))
    assert (await bench.run()).value == "a says: hi"
    assert bench.clock.slept == pytest.approx([1.6])


async def test_a_cooldown_from_elsewhere_ends_the_retries() -> None:
    """Who is told in another call to wait longer is not asked again meanwhile."""
    a = FakeProvider("a", [RateLimitError("slow", retry_after=1)], max_retries=3)
    bench = Bench(a, FakeProvider("b"))

    async def other_call(seconds: float) -> None:
        bench.members[0].lanes[0].cooling_until = bench.clock.now + 60
        await bench.clock.sleep(seconds)

    bench.tools = Tools(bench.clock, lambda: 0.5, other_call)
    assert (await bench.run()).value == "b says: hi"
    assert bench.requests() == [1, 1]


async def test_a_circuit_that_opens_ends_the_retries() -> None:
    """Once its circuit is open the provider is not asked again in the same call either."""
    bench = Bench(Raising(lambda: ProviderUnavailableError("503")), FakeProvider("b"), threshold=2)
    await bench.run()
    assert bench.requests() == [2, 1]
    assert bench.members[0].breaker.state is CircuitState.OPEN


async def test_an_open_circuit_is_passed_over_without_a_record() -> None:
    """The next call does not ask it at all."""
    bench = Bench(FakeProvider("a", default=AuthenticationError("bad key")), FakeProvider("b"))
    await bench.run()
    opened = await bench.run()
    assert bench.requests() == [1, 2]
    assert [item["provider"] for item in opened.attempts] == ["b"]


@pytest.mark.parametrize(
    ("windows", "asked"),
    [
        ((8_000, 4_000, 200_000), [1, 0, 1]),
        ((8_000, 8_000, None), [1, 0, 0]),
        ((None, 200_000, 200_000), [1, 0, 0]),
    ],
)
async def test_a_prompt_too_long_goes_only_to_a_larger_window(
    windows: Sequence[int | None], asked: list[int]
) -> None:
    """Smaller, equal and unknown windows are passed over; the error is the caller's otherwise."""
    too_long = ContextWindowExceededError("too long", status_code=400)
    providers = [
        FakeProvider(name, default=too_long if name == "a" else None, context_window=window)
        for name, window in zip("abc", windows, strict=True)
    ]
    bench = Bench(*providers)
    if asked[-1]:
        assert (await bench.run()).value == "c says: hi"
    else:
        with pytest.raises(ContextWindowExceededError, match="too long"):
            await bench.run()
    assert bench.requests() == asked


async def test_after_a_larger_window_fails_an_even_larger_one_is_asked() -> None:
    """Each time the comparison is with the one that found the prompt too long."""
    too_long = ContextWindowExceededError("too long")
    bench = Bench(
        FakeProvider("a", default=too_long, context_window=8),
        FakeProvider("b", default=too_long, context_window=32),
        FakeProvider("c", context_window=16),
        FakeProvider("d", context_window=64),
    )
    assert (await bench.run()).value == "d says: hi"
    assert bench.requests() == [1, 1, 0, 1]


async def test_an_exception_of_somebody_elses_is_scrubbed(fake_key: str) -> None:
    """Its type and text are told, without the key in it, and it is nowhere referred to."""
    bench = Bench(Raising(lambda: KeyError(f"no {fake_key} here"), max_retries=0))
    with pytest.raises(AllProvidersFailedError) as raised:
        await bench.run()
    assert "unexpected KeyError" in str(raised.value)
    assert fake_key not in f"{raised.value!s} {raised.value.attempts}"
    error = raised.value.errors[0]
    assert isinstance(error, ProviderUnavailableError)
    assert error.__cause__ is None
    assert error.__context__ is None


async def test_a_timeout_of_the_providers_own_is_not_blamed_on_the_deadline() -> None:
    """Its share had not ended."""
    bench = Bench(Raising(lambda: TimeoutError("inner")))
    with pytest.raises(
        AllProvidersFailedError, match="all providers failed after 1 attempts: a: timed out"
    ):
        await bench.run()


async def test_every_attempt_is_recorded_in_order() -> None:
    """Errors and records have one entry per request, who failed how."""
    bench = Bench(
        FakeProvider("a", default=ProviderUnavailableError("down", status_code=503), max_retries=1),
        FakeProvider("b", default=ModelNotFoundError("no such", model="m", status_code=404)),
        FakeProvider("c", default=RateLimitError("slow", retry_after=20)),
    )
    with pytest.raises(AllProvidersFailedError) as raised:
        await bench.run()
    error = raised.value
    assert [(item.provider, item.message) for item in error.errors] == [
        ("a", "down"),
        ("a", "down"),
        ("b", "no such"),
        ("c", "slow"),
    ]
    assert [
        (item["provider"], item["model"], item["outcome"], item["status_code"], item["error"])
        for item in error.attempts
    ] == [
        ("a", "fake-model", "unavailable", 503, "down"),
        ("a", "fake-model", "unavailable", 503, "down"),
        ("b", "m", "model_not_found", 404, "no such"),
        ("c", "fake-model", "rate_limited", None, "slow"),
    ]
    assert error.request_id == "r1"
    assert all(item.request_id == "r1" for item in error.errors)


async def test_repeated_messages_are_counted_not_repeated() -> None:
    """Three times the same trouble is told once."""
    bench = Bench(
        FakeProvider("a", default=ProviderUnavailableError("down"), max_retries=2),
        FakeProvider("b", default=ProviderTimeoutError("late")),
    )
    with pytest.raises(AllProvidersFailedError) as raised:
        await bench.run()
    assert raised.value.message == (
        "all providers failed after 4 attempts: a: down (3 times); b: late"
    )


async def test_the_error_says_when_the_first_one_may_be_asked_again() -> None:
    """``retry_after`` is the shortest of the cooldowns."""
    bench = Bench(
        FakeProvider("a", default=RateLimitError("slow", retry_after=40)),
        FakeProvider("b", default=RateLimitError("slow", retry_after=20)),
    )
    with pytest.raises(AllProvidersFailedError) as raised:
        await bench.run()
    assert raised.value.retry_after == 20.0
    with pytest.raises(NoProviderAvailableError, match=r"a is cooling down \(slow\)") as waiting:
        await bench.run()
    assert waiting.value.retry_after == 20.0
    assert "try again in 20.0 s" in waiting.value.message
    assert bench.requests() == [1, 1]


async def test_everybody_is_accounted_for_when_nobody_can_be_asked() -> None:
    """Also those who were no candidates have their reason told."""
    bench = Bench(FakeProvider("a", default=AuthenticationError("bad key")))
    with pytest.raises(AllProvidersFailedError):
        await bench.run()
    away = Member(FakeProvider("z"), Rules(), bench.clock, lambda: 0.5)
    with pytest.raises(NoProviderAvailableError) as raised:
        await bench.run(everybody=[*bench.members, away])
    assert "a is key refused (bad key); z is unavailable (not initialized yet)" in str(raised.value)
    assert raised.value.retry_after == 600.0


async def test_nobody_to_ask_is_told() -> None:
    """Without candidates the error says that none is registered."""
    with pytest.raises(NoProviderAvailableError, match="none is registered") as raised:
        await Bench().run()
    assert raised.value.retry_after is None


async def test_no_retry_is_begun_that_the_deadline_would_cut() -> None:
    """A pause that does not fit what is left is not slept."""
    bench = Bench(Raising(lambda: ProviderUnavailableError("503")))
    with pytest.raises(AllProvidersFailedError):
        await bench.run(seconds=0.25)
    assert bench.clock.slept == pytest.approx([0.1])


async def test_after_the_deadline_nobody_else_is_asked() -> None:
    """The error says that the deadline passed, and who failed until then."""
    slow = FakeProvider("a", default=ProviderUnavailableError("503"))
    bench = Bench(slow, FakeProvider("b"))

    def late(_prompt: Any) -> str:
        bench.clock.now += 61
        raise ProviderUnavailableError("503")

    slow._default = late
    with pytest.raises(
        AllProvidersFailedError, match="the deadline passed after 1 attempts: a: 503"
    ):
        await bench.run(seconds=60)
    assert bench.requests() == [1, 0]


async def test_a_deadline_that_has_passed_already_asks_nobody() -> None:
    """It is told as what it is, not as a lack of providers."""
    bench = Bench(FakeProvider("a"))
    with pytest.raises(ProviderTimeoutError, match="before anybody was asked"):
        await bench.run(seconds=-1)
    assert bench.requests() == [0]


def real_time(bench: Bench) -> Bench:
    """Let a bench run on the loop's own clock, for what hangs."""
    clock = asyncio.get_running_loop().time
    for member in bench.members:
        member.clock = clock
        member.breaker._clock = clock
        for lane in member.lanes:
            lane.clock = lane.breaker._clock = clock
    bench.tools = Tools(clock, lambda: 0.5)
    return bench


async def test_a_hanging_primary_leaves_its_fallback_half_of_the_time() -> None:
    """It is cut at its share, as a timeout, and the next one answers."""
    bench = real_time(Bench(FakeProvider("a", default=HANGS, max_retries=3), FakeProvider("b")))
    opened = await bench.run(seconds=0.6)
    assert opened.value == "b says: hi"
    assert opened.attempts[0]["outcome"] == "timeout"
    assert 250 <= opened.attempts[0]["latency_ms"] < 580
    assert bench.requests() == [1, 1]
    assert bench.counted() == (0, 1)


async def test_who_gets_less_time_than_usual_is_not_to_blame() -> None:
    """A caller in a hurry opens no circuit, and sends nobody else away."""
    provider = FakeProvider("a", default=Delay(0.05, "slow but sure"))
    bench = real_time(Bench(provider, threshold=1))
    await bench.run(seconds=5)
    for _ in range(3):
        with pytest.raises(AllProvidersFailedError, match="no answer within"):
            await bench.run(seconds=0.01)
    assert not bench.members[0].doubtful
    assert (await bench.run(seconds=5)).value == "slow but sure"
    assert bench.counted() == (2, 0)


async def test_more_than_anybody_can_do_is_the_callers_to_change() -> None:
    """If every provider refuses it as such, that is the error, and not an outage."""
    bench = Bench(*(FakeProvider(name, default=UnsupportedError("no tools")) for name in "ab"))
    with pytest.raises(UnsupportedError):
        await bench.run()
    assert bench.requests() == [1, 1]


async def test_one_deadline_holds_for_all_attempts() -> None:
    """Three providers that hang take the deadline together, not each."""
    bench = real_time(Bench(*(FakeProvider(name, default=HANGS) for name in "abc")))
    began = asyncio.get_running_loop().time()
    with pytest.raises(AllProvidersFailedError, match="the deadline passed after 3 attempts"):
        await bench.run(seconds=0.2)
    assert 0.19 <= asyncio.get_running_loop().time() - began < 1
    assert [member.bulkhead.in_flight for member in bench.members] == [0, 0, 0]


async def test_who_cannot_be_asked_takes_no_share() -> None:
    """A fallback with an open circuit does not cost the primary half of its time."""
    bad_key = FakeProvider("b", default=AuthenticationError("bad key"))
    bench = real_time(Bench(FakeProvider("a", default=Delay(0.3, "slow but sure")), bad_key))
    bench.members.reverse()
    await bench.run()
    bench.members.reverse()
    assert (await bench.run(seconds=0.5)).value == "slow but sure"


async def test_cancelling_the_caller_settles_the_attempt() -> None:
    """It is neutral, leaves no slot behind, and asks nobody else."""
    bench = Bench(FakeProvider("a", default=HANGS), FakeProvider("b"))
    task = asyncio.create_task(bench.run())
    await asyncio.sleep(0.01)
    assert bench.members[0].bulkhead.in_flight == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert bench.members[0].bulkhead.in_flight == 0
    assert bench.counted() == (0, 0)
    assert bench.requests() == [1, 0]


async def test_cancelling_a_probe_releases_its_slot() -> None:
    """The next caller is the probe at once."""
    a = FakeProvider("a", [ProviderUnavailableError("503"), HANGS])
    bench = Bench(a, threshold=1)
    with pytest.raises(AllProvidersFailedError):
        await bench.run()
    bench.clock.now += 40
    probe = asyncio.create_task(bench.run())
    await asyncio.sleep(0.01)
    with pytest.raises(NoProviderAvailableError) as raised:
        await bench.run()
    assert raised.value.retry_after == 1.0
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)
    assert (await bench.run()).value == "a says: hi"
    assert bench.members[0].breaker.state is CircuitState.CLOSED


async def test_cancelling_during_a_pause_leaves_nothing_behind() -> None:
    """Between two attempts nothing is held."""
    bench = Bench(Raising(lambda: ProviderUnavailableError("503")))
    resting = asyncio.Event()

    async def rest(_seconds: float) -> None:
        resting.set()
        await asyncio.Event().wait()

    bench.tools = Tools(bench.clock, lambda: 0.5, rest)
    task = asyncio.create_task(bench.run())
    await resting.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert bench.members[0].bulkhead.in_flight == 0
    assert bench.requests() == [1]


async def test_trouble_that_needs_a_person_is_logged_loudly(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A refused key is a warning, a passing failure is not; both name request and caller."""
    with caplog.at_level("INFO", logger="amas.providers.failover"):
        await Bench(
            FakeProvider("a", default=AuthenticationError("bad key")), FakeProvider("b")
        ).run()
        await Bench(
            FakeProvider("a", default=ProviderTimeoutError("late")), FakeProvider("b")
        ).run()
    told = [item for item in caplog.records if item.name == "amas.providers.failover"]
    assert [record.levelname for record in told] == ["WARNING", "INFO"]
    assert caplog.messages[0].startswith("circuit_open provider='a' key=1")
    assert told[0].getMessage() == (
        "attempt_failed provider='a' outcome='auth' error='bad key' request_id='r1' caller='tester'"
    )
