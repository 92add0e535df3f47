"""What is recorded of an event, and what is not; and the same for the logger."""

from __future__ import annotations

import json
import logging
import math
from typing import Any, cast

import pytest

from amas.providers.observability.audit.chain import Link, is_next, seal, take_apart
from amas.providers.observability.audit.keys import AuditKey
from amas.providers.observability.audit.log import AuditLog
from amas.providers.observability.audit.records import (
    Cleaned,
    ContentPolicy,
    content_policy,
    encode,
    keep_nothing,
    to_record,
)
from amas.providers.observability.events import (
    AccessDecision,
    AttemptEnded,
    BudgetUsed,
    CallEnded,
    CircuitChanged,
    ConfigurationChanged,
    Content,
    Event,
    FailedOver,
    HealthChanged,
    KeyChange,
    RecordsTrouble,
)
from amas.providers.secret import MASK, Secret
from amas.providers.types import Attempt

AT = 1_795_550_400.25
TIME = "2026-11-24T20:00:00.250000Z"
ATTEMPT: Attempt = {
    "provider": "openai",
    "model": "gpt",
    "outcome": "unavailable",
    "status_code": 503,
    "latency_ms": 12.34567,
    "error": "the prompt was: hello",
    "key": 2,
    "hedge": True,
}
SECOND: Attempt = {
    "provider": "local",
    "model": None,
    "outcome": "ok",
    "status_code": None,
    "latency_ms": 5.0,
    "error": None,
}


def record(event: Event, policy: ContentPolicy = "none") -> dict[str, Any] | None:
    """Return what is recorded, as it is read back."""
    found = to_record(event, Cleaned().__getitem__, content_policy(policy, b"k" * 32))
    return None if found is None else json.loads(encode(found))


def call(**given: Any) -> CallEnded:
    """Make an event with what matters to a test."""
    usual: dict[str, Any] = {
        "at": AT,
        "request_id": "r1",
        "caller": "agent",
        "provider": "local",
        "model": None,
        "outcome": "ok",
    }
    return CallEnded(**(usual | given))


def test_a_call_is_recorded_with_everything_but_content_and_messages() -> None:
    """Tokens, attempts, cost and key, in their order; an upstream's message may quote a prompt."""
    event = call(
        model="gpt",
        status_code=200,
        streamed=True,
        attempts=(ATTEMPT, SECOND),
        usage={
            "prompt_tokens": 3,
            "completion_tokens": 4,
            "total_tokens": 7,
            "cached_tokens": 1,
            "reasoning_tokens": 0,
        },
        cost_usd=0.000012,
        latency_ms=20.00049,
        first_content_ms=7.5,
        asked_provider="local",
        asked_model="gpt",
        fingerprint="0123456789ab",
        content=Content("hello", "goodbye"),
    )
    found = record(event)
    assert found == {
        "time": TIME,
        "kind": "call",
        "request_id": "r1",
        "caller": "agent",
        "provider": "local",
        "model": "gpt",
        "outcome": "ok",
        "status": 200,
        "streamed": True,
        "attempts": [
            {
                "provider": "openai",
                "model": "gpt",
                "outcome": "unavailable",
                "status": 503,
                "ms": 12.346,
                "key": 2,
                "hedge": True,
            },
            {"provider": "local", "outcome": "ok", "ms": 5.0},
        ],
        "tokens": {"prompt": 3, "completion": 4, "total": 7, "cached": 1, "reasoning": 0},
        "cost_usd": 0.000012,
        "latency_ms": 20.0,
        "first_content_ms": 7.5,
        "asked_provider": "local",
        "asked_model": "gpt",
        "key": "0123456789ab",
    }
    assert list(found)[:3] == ["time", "kind", "request_id"]


@pytest.mark.parametrize(
    ("event", "cost"),
    [
        (call(), {"cost_usd": None}),
        (call(cost_usd=0.0), {"cost_usd": 0.0}),
        (call(outcome="timeout"), {}),
        (call(outcome="timeout", cost_usd=0.1), {"cost_usd": 0.1}),
    ],
    ids=["unknown", "free", "failed", "failed and charged"],
)
def test_an_unknown_cost_is_told_from_none(event: CallEnded, cost: dict[str, float | None]) -> None:
    """Whatever else is empty is left out."""
    found = record(event)
    assert found is not None
    assert {name: found.pop(name) for name in list(found) if name == "cost_usd"} == cost
    assert sorted(found) == sorted(
        ["time", "kind", "request_id", "caller", "provider", "outcome", "latency_ms"]
    )


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (
            AccessDecision(
                at=AT, request_id="r1", caller=None, allowed=False, providers=("a", "b")
            ),
            {"request_id": "r1", "allowed": False, "providers": ["a", "b"]},
        ),
        (
            CircuitChanged(
                at=AT, provider="a", key=None, before="closed", after="open", retry_after=29.99999
            ),
            {
                "provider": "a",
                "before": "closed",
                "after": "open",
                "cause": "calls",
                "retry_after": 30.0,
            },
        ),
        (
            KeyChange(at=AT, provider="a", key=1, changed=False, cause="reload", reason="refused"),
            {"provider": "a", "key": 1, "changed": False, "cause": "reload", "reason": "refused"},
        ),
        (
            ConfigurationChanged(at=AT, taken=True, added=("a",)),
            {"taken": True, "added": ["a"]},
        ),
        (
            HealthChanged(at=AT, provider="a", key=1, healthy=True),
            {"provider": "a", "key": 1, "healthy": True},
        ),
        (
            RecordsTrouble(at=AT, trail="alerts", working=True, lost=0),
            {"trail": "alerts", "working": True, "lost": 0},
        ),
    ],
    ids=lambda value: value.kind if isinstance(value, Event) else "",
)
def test_other_kinds_have_the_fields_of_their_event(event: Event, expected: dict[str, Any]) -> None:
    """What is false or zero is told, what is empty is not."""
    assert record(event) == {"time": TIME, "kind": event.kind, **expected}


@pytest.mark.parametrize(
    "event",
    [
        AttemptEnded(at=AT, request_id="r1", caller=None, attempt=ATTEMPT, key=1),
        FailedOver(
            at=AT, request_id="r1", caller=None, provider="a", outcome="timeout", following="b"
        ),
        BudgetUsed(at=AT, caller="a", unit="usd", used=1, limit=2, day="2026-11-24"),
        call(outcome="access_denied"),
    ],
    ids=lambda event: event.kind,
)
def test_what_another_record_tells_is_not_recorded(event: Event) -> None:
    """A call's record has its attempts; that it was denied is a record of its own."""
    assert record(event) is None


def test_names_and_reasons_lose_their_secrets(fake_key: str) -> None:
    """A key may be pasted where a caller or a model belongs."""
    attempt: Attempt = {**ATTEMPT, "model": fake_key, "provider": fake_key}
    events: list[Event] = [
        call(caller=fake_key, provider=fake_key, model=fake_key, attempts=(attempt,)),
        call(asked_provider=fake_key, asked_model=fake_key),
        AccessDecision(at=AT, request_id="r1", caller=fake_key, allowed=False, reason=fake_key),
        ConfigurationChanged(at=AT, taken=False, problems=(f"wrong: {fake_key}",)),
    ]
    texts = [json.dumps(record(event, "full")) for event in events]
    assert fake_key not in "".join(texts)
    assert all(MASK in text for text in texts)


def test_hashes_are_keyed_and_no_seals() -> None:
    """The same text has the same hash under the same key, and nobody gets a text sealed."""
    secret = b"k" * 32
    line = seal([b'{"kind":"end"}'], Link(), secret)[0]
    parts = take_apart(line)
    assert parts is not None
    forged = (Link().mac + parts.body).decode()
    found = record(call(content=Content("hello", forged)), "hash")
    assert found is not None
    assert found["answer_hash"] != parts.mac.decode()
    assert [len(found[name]) for name in ("prompt_hash", "answer_hash")] == [32, 32]
    assert "prompt" not in found
    again = record(call(content=Content("hello", None)), "hash")
    assert again is not None
    assert (again["prompt_hash"], "answer_hash" in again) == (found["prompt_hash"], False)
    other = content_policy("hash", b"o" * 32)(Content("hello", None))
    assert other["prompt_hash"] != found["prompt_hash"]


def test_full_content_has_neither_secrets_nor_media(fake_key: str) -> None:
    """An image is told by its type and length."""
    prompt = f'[{{"url":"data:image/png;base64,{"A" * 5000}"}},"data: a, b","{fake_key}"]'
    found = record(call(content=Content(prompt, "goodbye\n")), "full")
    assert found is not None
    assert found["prompt"] == (f'[{{"url":"[image/png, 5000 characters]"}},"data: a, b","{MASK}"]')
    assert found["answer"] == "goodbye\n"


def test_anything_can_be_encoded(fake_key: str) -> None:
    """Half a surrogate pair, a number that JSON does not have, and what has no form in it."""
    odd = cast(
        "Any", {"prompt_tokens": math.inf, "completion_tokens": {fake_key}, "total_tokens": 1}
    )
    found = record(call(caller="\ud800 \u00fc\n\u2028", usage=odd, cost_usd=math.nan))
    assert found is not None
    assert found["caller"] == "\ud800 \u00fc\n\u2028"
    assert found["tokens"] == {"prompt": None, "completion": f"{{'{MASK}'}}", "total": 1}
    assert found["cost_usd"] is None
    nested = encode({"attempts": [{"ms": math.nan, "key": 1}]})
    assert nested == b'{"attempts":[{"ms":null,"key":1}]}'
    assert b"\n" not in encode({"text": "a\nb"})


def test_a_key_does_not_show_itself() -> None:
    """Only the name of the master key is told."""
    assert repr(AuditKey("0a", b"secret")) == "AuditKey(id='0a')"


def test_records_are_chained() -> None:
    """Each seal depends on the one before, on the key, and on every byte."""
    data, last = seal([b'{"kind":"a"}', b'{"kind":"b"}'], Link(), b"k" * 32)
    first, second = (take_apart(line) for line in data.splitlines(keepends=True))
    assert first is not None
    assert second is not None
    assert (first.seq, second.seq, second.link) == (1, 2, last)
    assert is_next(first, Link(), b"k" * 32)
    assert is_next(second, first.link, b"k" * 32)
    assert not is_next(second, first.link, b"o" * 32)
    assert not is_next(second, Link(), b"k" * 32)
    assert not is_next(first, Link(seq=1), b"k" * 32)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[1]",
        b'{"seq":0,"kind":"a"}',
        b'{"seq":true,"kind":"a"}',
        b'{"seq":1.0,"kind":"a"}',
        b'{"seq":1}',
        b'{"seq":1,"kind":2}',
        b'{"seq":1,"kind":"\xff"}',
        b'{"a":' * 100_000 + b"}",
    ],
    ids=range(9),
)
def test_what_is_no_record_is_none(body: bytes) -> None:
    """A line with a seal may have anything before it."""
    assert take_apart(body[:-1] + b',"mac":"' + b"0" * 32 + b'"}\n') is None
    assert take_apart(body) is None


def test_the_logger_gets_the_same_fields(caplog: pytest.LogCaptureFixture, fake_key: str) -> None:
    """One line of JSON each, a warning where somebody should look; never a prompt."""
    log = AuditLog()
    known = Secret(fake_key)
    with caplog.at_level(logging.INFO, "amas.audit"):
        assert bool(log.listening)
        log.record(call(caller=str(known.get_secret_value()), content=Content("hello", "bye")))
        log.record(call(outcome="access_denied"))
        log.record(AccessDecision(at=AT, request_id="r1", caller="agent", allowed=False))
    first, second = (json.loads(item.getMessage()) for item in caplog.records)
    assert (first["time"], first["kind"], first["caller"]) == (TIME, "call", MASK)
    assert {"prompt", "answer", "prompt_hash", "seq", "mac"}.isdisjoint(first)
    assert (second["kind"], second["allowed"]) == ("access", False)
    assert [item.levelname for item in caplog.records] == ["INFO", "WARNING"]
    caplog.clear()
    with caplog.at_level(logging.WARNING, "amas.audit"):
        assert not bool(log.listening)
        log.record(call())
    assert caplog.records == []
    assert keep_nothing(Content("hello", None)) == {}
