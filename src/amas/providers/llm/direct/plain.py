"""Plain answers in OpenAI's form: text and nothing else, which LiteLLM passes on as it is.

Whatever LiteLLM would make something else of is not plain, and left to LiteLLM: tool calls,
reasoning (also in ``<think>`` tags), several choices, errors, unusual finish reasons. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

# Those that LiteLLM does not translate.
_FINISHES = frozenset({"content_filter", "length", "stop"})
_SAID = frozenset({"content", "role"})
_LISTS = frozenset({"annotations", "tool_calls"})
_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")
_DETAILS = frozenset({"completion_tokens_details", "prompt_tokens_details"})


def _refuse(number: str) -> NoReturn:
    raise ValueError(number)


# NaN and Infinity, which Python reads as well, are no JSON.
_JSON = json.JSONDecoder(parse_constant=_refuse)


@dataclass(frozen=True, slots=True)
class Counts:
    """Tokens without details, under LiteLLM's names."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


@dataclass(frozen=True, slots=True)
class PlainAnswer:
    """An answer that is plain.

    Args:
        text: What it says.
        finish_reason: Why it ends there.
        model: The model that says it.
        usage: Its tokens: ``Counts``, LiteLLM's own where there is more to them, or None.
    """

    text: str
    finish_reason: str
    model: str
    usage: Any


def read_plain(body: bytes, usage_class: Callable[..., Any], *, prefix: str) -> PlainAnswer | None:
    """Read an answer if it is plain; None if it is not.

    Args:
        body: What has come.
        usage_class: LiteLLM's ``Usage``.
        prefix: What LiteLLM puts before the name of the model.
    """
    try:
        answer = _JSON.decode(body.decode())
        (choice,) = answer["choices"]
        message = choice["message"]
        text, finish, model = message["content"], choice["finish_reason"], answer["model"]
        plain = (
            _is_text(text)
            and _is_text(model)
            and finish in _FINISHES
            and message["role"] == "assistant"
            and all(_says_nothing(name, message[name]) for name in message.keys() - _SAID)
            and choice.get("logprobs") is None
            and answer.get("error") is None
        )
        if not plain:
            return None
        return PlainAnswer(text, finish, prefix + model, _usage(answer.get("usage"), usage_class))
    except Exception:  # noqa: BLE001 -- it is anything but plain, and LiteLLM says what it is
        return None


def _is_text(text: object) -> bool:
    """Whether it is a text without reasoning, which would be in tags at its beginning."""
    return isinstance(text, str) and text != "" and not text.startswith("<")


def _says_nothing(name: str, value: object) -> bool:
    return value is None or (value == [] and name in _LISTS)


def _usage(usage: Mapping[str, Any] | None, usage_class: Callable[..., Any]) -> Any:
    if usage is None:
        return None
    more = usage.keys() - set(_COUNTS)
    counts = [usage[name] for name in _COUNTS]
    if more <= _DETAILS and all(type(count) is int for count in counts):
        details = [count for name in more for count in (usage[name] or {}).values()]
        if all(count is None or count == 0 for count in details):
            return Counts(*counts)
    return usage_class(**usage)
