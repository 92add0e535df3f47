"""The failure table as the design has it, and how configuration changes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from amas.providers import errors
from amas.providers.errors import ProviderConfigError, ProviderError, RateLimitError
from amas.providers.manager.policy import KEY_OUTCOMES, TABLE, Rule, change
from amas.providers.manager.retry import RetryPolicy
from amas.providers.types import Effect, Failover, Outcome, Retry

# The rows of design.md: same provider again, next provider, circuit; whether they concern the key.
DESIGN = {
    "connection refused, DNS, TLS": (Outcome.CONNECTION, "once", "yes", "failure", ""),
    "first-byte timeout": (Outcome.TIMEOUT, "no", "yes", "failure", ""),
    "408, 500, 502, 503, 504, 529": (Outcome.UNAVAILABLE, "backoff", "yes", "failure", ""),
    "429": (Outcome.RATE_LIMITED, "short_wait", "yes", "neutral", "key"),
    "429 insufficient quota, 402": (Outcome.QUOTA, "no", "yes", "trip", "key"),
    "401, 403": (Outcome.AUTH, "no", "yes", "trip", "key"),
    "404 unknown model": (Outcome.MODEL_NOT_FOUND, "no", "yes", "neutral", ""),
    "400, 422": (Outcome.INVALID_REQUEST, "no", "no", "success", ""),
    "the model cannot do it": (Outcome.UNSUPPORTED, "no", "yes", "neutral", ""),
    "context window exceeded": (Outcome.CONTEXT_WINDOW, "no", "larger_window", "neutral", ""),
    "content policy": (Outcome.CONTENT_POLICY, "no", "no", "neutral", ""),
    "cancelled by the caller": (Outcome.CANCELLED, "no", "no", "neutral", ""),
    "stream cut after content": (Outcome.STREAM_INTERRUPTED, "no", "no", "failure", ""),
}

# What the design's table has no row for.
BEYOND = {
    "an answer": (Outcome.OK, "no", "no", "success", ""),
    "an answer that fails a check": (Outcome.BAD_RESPONSE, "no", "yes", "failure", ""),
    "misconfigured": (Outcome.CONFIG, "no", "yes", "neutral", ""),
    "a guard says no": (Outcome.ACCESS_DENIED, "no", "no", "neutral", ""),
    "no call without its record": (Outcome.AUDIT_UNAVAILABLE, "no", "no", "neutral", ""),
    "a manager without providers": (Outcome.NO_PROVIDER, "no", "yes", "neutral", ""),
    "a manager whose providers failed": (Outcome.ALL_FAILED, "no", "yes", "failure", ""),
}

ROWS = DESIGN | BEYOND


def every_error() -> list[type[ProviderError]]:
    """Return the whole tree of errors."""
    return [
        item
        for item in vars(errors).values()
        if isinstance(item, type) and issubclass(item, ProviderError)
    ]


def refused(changes: Mapping[str, Any]) -> str:
    """Return what is said about changes that cannot be."""
    with pytest.raises(ProviderConfigError) as raised:
        change(TABLE, changes)
    assert raised.value.field == "policy"
    return raised.value.message


@pytest.mark.parametrize("row", ROWS)
def test_each_row_is_the_one_of_the_design(row: str) -> None:
    """Retry, failover, circuit and key are what the design's table says."""
    outcome, retry, failover, circuit, key = ROWS[row]
    assert TABLE[outcome] == Rule(Retry(retry), Failover(failover), Effect(circuit))
    assert (outcome in KEY_OUTCOMES) == (key == "key")


def test_every_outcome_has_one_row() -> None:
    """None is missing, in the table as in this test."""
    assert sorted(row[0] for row in ROWS.values()) == sorted(Outcome)
    assert set(TABLE) == set(Outcome)


@pytest.mark.parametrize("error", every_error())
def test_every_error_has_a_row(error: type[ProviderError]) -> None:
    """No error of the tree is without a rule, whoever adds one."""
    assert error.outcome in TABLE


def test_the_table_cannot_be_changed() -> None:
    """It is a value, not a setting."""
    with pytest.raises(TypeError):
        TABLE[Outcome.OK] = TABLE[Outcome.AUTH]  # type: ignore[index]


def test_a_change_changes_what_it_names_and_nothing_else() -> None:
    """One part of one row; the table itself stays as it is."""
    policy = change(TABLE, {"content_policy": {"failover": "yes"}})
    assert policy[Outcome.CONTENT_POLICY] == Rule(Retry.NO, Failover.YES, Effect.NEUTRAL)
    assert TABLE[Outcome.CONTENT_POLICY].failover is Failover.NO
    rest = set(Outcome) - {Outcome.CONTENT_POLICY}
    assert all(policy[outcome] == TABLE[outcome] for outcome in rest)


def test_all_parts_of_several_rows_can_be_changed() -> None:
    """Retry, failover and circuit, for as many outcomes as are named."""
    policy = change(
        TABLE,
        {
            "timeout": {"retry": "once", "failover": "no", "circuit": "neutral"},
            "model_not_found": {"failover": "no"},
        },
    )
    assert policy[Outcome.TIMEOUT] == Rule(Retry.ONCE, Failover.NO, Effect.NEUTRAL)
    assert policy[Outcome.MODEL_NOT_FOUND].failover is Failover.NO


def test_a_changed_policy_can_be_changed_again() -> None:
    """The provider's changes come on top of the manager's."""
    policy = change(TABLE, {"timeout": {"retry": "once", "circuit": "neutral"}})
    policy = change(policy, {"timeout": {"retry": "backoff"}})
    assert policy[Outcome.TIMEOUT] == Rule(Retry.BACKOFF, Failover.YES, Effect.NEUTRAL)


def test_a_changed_policy_is_a_value_too() -> None:
    """Nobody changes it in passing."""
    policy = change(TABLE, {})
    assert policy == TABLE
    with pytest.raises(TypeError):
        policy[Outcome.OK] = TABLE[Outcome.AUTH]  # type: ignore[index]


@pytest.mark.parametrize("outcome", sorted(set(Outcome) - {Outcome.OK, Outcome.CANCELLED}))
def test_every_failure_can_be_changed(outcome: Outcome) -> None:
    """Each of them by its name, to each value there is."""
    for retry in Retry:
        for failover in Failover:
            for circuit in Effect:
                parts = {"retry": str(retry), "failover": str(failover), "circuit": str(circuit)}
                policy = change(TABLE, {str(outcome): parts})
                assert policy[outcome] == Rule(retry, failover, circuit)


def test_yamls_truth_values_are_yes_and_no() -> None:
    """A bare ``yes`` or ``no`` arrives as True or False."""
    policy = change(
        TABLE,
        {
            "content_policy": {"failover": True},
            "timeout": {"failover": False},
            "unavailable": {"retry": False},
        },
    )
    assert policy[Outcome.CONTENT_POLICY].failover is Failover.YES
    assert policy[Outcome.TIMEOUT].failover is Failover.NO
    assert policy[Outcome.UNAVAILABLE].retry is Retry.NO


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"contnt_policy": {"failover": "yes"}},
            "policy: unknown outcome 'contnt_policy' (did you mean 'content_policy'?); it may be ",
        ),
        (
            {"zzz": {"failover": "yes"}},
            "policy: unknown outcome 'zzz'; it may be connection, timeout, ",
        ),
        (
            {"timeout": {"failovr": "yes"}},
            "policy: timeout has no 'failovr' (did you mean 'failover'?); it may have retry, f",
        ),
        (
            {"timeout": {"failover": "larger_windw"}},
            "policy: timeout.failover must be no, yes or larger_window, not 'larger_windw' (did you",
        ),
        (
            {"timeout": {"retry": True}},
            "policy: timeout.retry must be no, once, backoff or short_wait, not True",
        ),
        (
            {"timeout": {"circuit": False}},
            "policy: timeout.circuit must be success, failure, neutral or trip, not False",
        ),
        (
            {"timeout": {"circuit": ["trip"]}},
            "policy: timeout.circuit must be success, failure, neutral or trip, not ['trip']",
        ),
        (
            {"timeout": "no"},
            "policy: timeout must have, as a mapping, retry, failover or circuit",
        ),
    ],
)
def test_a_mistake_is_named_with_what_was_meant(changes: Mapping[str, Any], said: str) -> None:
    """Outcome, part or value, the nearest valid name, and what else there is."""
    assert refused(changes).startswith(said)


def test_what_is_no_failure_is_not_offered() -> None:
    """Success and cancellation are not among the names that are valid."""
    names = refused({"zzz": {}}).partition("it may be ")[2].replace(" or ", ", ").split(", ")
    assert sorted(names) == sorted(set(Outcome) - {Outcome.OK, Outcome.CANCELLED})


@pytest.mark.parametrize(("outcome", "why"), [("ok", "answer"), ("cancelled", "caller has left")])
def test_what_is_no_failure_cannot_be_changed(outcome: str, why: str) -> None:
    """The error says why."""
    said = refused({outcome: {"failover": "yes"}})
    assert said.startswith(f"policy: {outcome} cannot be changed: ")
    assert why in said


def rate_limit_pause(retry: Retry, asked: float) -> float | None:
    """Return the pause after a rate limit whose retry has been changed."""
    policy = change(TABLE, {"rate_limited": {"retry": str(retry)}})
    return RetryPolicy(short_wait=2.0).pause(
        policy[Outcome.RATE_LIMITED],
        RateLimitError("429", retry_after=asked),
        retries_done=0,
        max_retries=3,
        time_left=100.0,
        random=lambda: 0.0,
    )


def test_a_retry_that_was_switched_off_stays_off() -> None:
    """However soon the upstream would want it."""
    assert rate_limit_pause(Retry.NO, 0.1) is None


@pytest.mark.parametrize("retry", [Retry.ONCE, Retry.BACKOFF, Retry.SHORT_WAIT])
def test_a_changed_retry_still_heeds_retry_after(retry: Retry) -> None:
    """However rate limits are retried, never before the upstream wants it, and not if that is long."""
    assert rate_limit_pause(retry, 1.5) == 1.5
    assert rate_limit_pause(retry, 30.0) is None
