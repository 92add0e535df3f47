"""From events to what is recorded of them. Pure."""

from __future__ import annotations

import hmac
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeAlias

from ...secret import scrub
from ...types import Attempt, Outcome, Usage
from ..events import CallEnded, Content, Event

ContentPolicy: TypeAlias = Literal["none", "hash", "full"]
Clean: TypeAlias = Callable[[str], str]
Keep: TypeAlias = Callable[[Content], Mapping[str, str]]

# Attempts, failovers and budgets are told by the record of their call.
_WRITTEN: Final = frozenset({"access", "circuit", "key", "configuration", "health", "records"})

_HASH_BYTES: Final = 16
# An image or a sound inside a message, as OpenAI's form has it.
_MEDIA: Final = re.compile(
    r"data:(?P<type>[\w.+-]+/[\w.+-]+)(?:;[^,;\s\"'<>\\]*)*,(?P<data>[^\s\"'<>\\]*)", re.IGNORECASE
)


class Cleaned(dict[str, str]):
    """Texts without their secrets, each cleaned once: names come again with every record.

    It is for one batch: what is no secret now may be one later.
    """

    def __missing__(self, text: str) -> str:
        self[text] = cleaned = scrub(text)
        return cleaned


def to_record(event: Event, clean: Clean, keep: Keep) -> dict[str, Any] | None:
    """Return what is recorded of an event, in order; None if nothing is.

    Args:
        event: What has happened.
        clean: Takes secrets out of a text.
        keep: Tells what is kept of what was asked and answered.
    """
    if not is_written(event):
        return None
    if isinstance(event, CallEnded):
        record = _of_call(event, clean)
        if event.content is not None:
            record |= {name: text for name, text in keep(event.content).items() if text}
        return record
    names = (field.name for field in fields(event) if field.name != "at")
    return made(event.kind, event.at, {name: _plain(getattr(event, name), clean) for name in names})


def is_written(event: Event) -> bool:
    """Whether anything is recorded of an event."""
    if isinstance(event, CallEnded):
        # Of a call that was denied, the record of the decision tells.
        return event.outcome != Outcome.ACCESS_DENIED
    return event.kind in _WRITTEN


def made(kind: str, at: float, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record of some kind, without the fields that are empty.

    Args:
        kind: Its kind.
        at: When it happened, in seconds since 1970.
        found: Its other fields. The cost of a call is left in where it is not known.
    """
    kept = {
        name: value
        for name, value in found.items()
        if value or value in (0, False) or name == "cost_usd"
    }
    return {"time": time_text(at), "kind": kind, **kept}


def time_text(at: float) -> str:
    """Return a time in seconds since 1970 as records have it, in UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def _of_call(event: CallEnded, clean: Clean) -> dict[str, Any]:
    # Put together without its empty fields at once: there are more of these than of all others.
    record: dict[str, Any] = {"time": time_text(event.at), "kind": event.kind}
    if event.request_id:
        record["request_id"] = event.request_id
    names = (("caller", event.caller), ("provider", event.provider), ("model", event.model))
    for name, text in names:
        if text:
            record[name] = clean(text)
    record["outcome"] = event.outcome
    if event.status_code is not None:
        record["status"] = event.status_code
    if event.streamed:
        record["streamed"] = True
    if event.attempts:
        record["attempts"] = [_of_attempt(attempt, clean) for attempt in event.attempts]
    if event.usage:
        record["tokens"] = _of_usage(event.usage)
    if event.cost_usd is not None or event.ok:
        record["cost_usd"] = event.cost_usd
    record["latency_ms"] = round(event.latency_ms, 3)
    if event.first_content_ms is not None:
        record["first_content_ms"] = round(event.first_content_ms, 3)
    return record | _asked(event, clean)


def _asked(event: CallEnded, clean: Clean) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if event.asked_provider:
        found["asked_provider"] = clean(event.asked_provider)
    if event.asked_model:
        found["asked_model"] = clean(event.asked_model)
    if event.alias:
        found["alias"] = clean(event.alias)
    if event.fingerprint:
        found["key"] = event.fingerprint
    return found


def _of_attempt(attempt: Attempt, clean: Clean) -> dict[str, Any]:
    # Not its error: an upstream's message may quote the prompt.
    found: dict[str, Any] = {"provider": clean(attempt["provider"])}
    if attempt["model"] is not None:
        found["model"] = clean(attempt["model"])
    found["outcome"] = attempt["outcome"]
    if attempt["status_code"] is not None:
        found["status"] = attempt["status_code"]
    found["ms"] = round(attempt["latency_ms"], 3)
    if "key" in attempt:
        found["key"] = attempt["key"]
    if attempt.get("hedge"):
        found["hedge"] = True
    return found


def _of_usage(usage: Usage) -> dict[str, int]:
    return {name.removesuffix("_tokens"): count for name, count in usage.items()}  # type: ignore[misc]


def _plain(value: Any, clean: Clean) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, tuple):
        return [_plain(item, clean) for item in value]
    return round(value, 3) if isinstance(value, float) else value


def content_policy(policy: ContentPolicy, secret: bytes) -> Keep:
    """Return what is kept of prompts and answers by a policy.

    Args:
        policy: ``none``, ``hash`` or ``full``.
        secret: The key that seals records.
    """
    if policy == "full":
        return _keep_texts
    if policy == "hash":
        # Not the key itself: whoever writes a prompt would have any text of theirs sealed.
        key = hmac.digest(secret, b"content", "sha256")

        def keep_hashes(content: Content) -> dict[str, str]:
            return {
                f"{name}_hash": hmac.digest(key, _bytes(text), "sha256")[:_HASH_BYTES].hex()
                for name, text in _texts(content)
            }

        return keep_hashes
    return keep_nothing


def keep_nothing(content: Content) -> dict[str, str]:  # noqa: ARG001 -- one form for all policies
    """Keep nothing of what was asked and answered."""
    return {}


def _keep_texts(content: Content) -> dict[str, str]:
    return {name: scrub(_without_media(text)) for name, text in _texts(content)}


def _texts(content: Content) -> list[tuple[str, str]]:
    found = [("prompt", content.prompt)]
    return found if content.answer is None else [*found, ("answer", content.answer)]


def _without_media(text: str) -> str:
    return _MEDIA.sub(lambda found: f"[{found['type']}, {len(found['data'])} characters]", text)


def encode(record: Mapping[str, Any]) -> bytes:
    """Return a record as JSON on one line."""
    try:
        text = _strict.encode(record)
    except ValueError:
        text = _strict.encode(_finite(record))
    return _bytes(text)


def _bytes(text: str) -> bytes:
    # Half of a surrogate pair has no UTF-8; what stands for it then is JSON's own escape.
    return text.encode(errors="backslashreplace")


def _finite(value: Any) -> Any:
    """Replace the numbers that JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list) else value


# What has no form in JSON, from a provider that is not ours, is told by what can be seen of it.
_strict: Final = json.JSONEncoder(
    ensure_ascii=False,
    allow_nan=False,
    separators=(",", ":"),
    default=lambda value: scrub(repr(value)),
)
