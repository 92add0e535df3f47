"""From what a provider answers to what the caller gets."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..base import ProviderBase
from ..base.faults import content_of
from ..errors import BadResponseError
from ..types import Attempt, GenerationResult, Request, ResponseCheck
from .member import Member
from .needs import wants_json
from .streaming import CONTENT_FILTER


async def ask_for_answer(
    member: Member, provider: ProviderBase, request: Request, arguments: Mapping[str, Any]
) -> GenerationResult:
    """Ask one provider, fill in what its answer leaves open, and check it.

    Args:
        member: Whom to ask.
        provider: The provider, with the key whose turn it is.
        request: The call.
        arguments: What it is called with.

    Raises:
        BadResponseError: It is not an answer: no mapping, or without content; or it fails a
            check that the configuration asks for.
        ProviderError: What the provider raised.
    """
    answer = await provider.generate(request.prompt, **arguments)
    content = content_of(answer, provider=member.name)
    tool_calls = list(answer.get("tool_calls") or ())
    if member.rules.response_checks:
        explained = bool(tool_calls) or answer.get("finish_reason") == CONTENT_FILTER
        check_answer(member, content, arguments, explained=explained)
    usage = answer.get("usage")
    return GenerationResult(
        content=content,
        tokens_used=answer.get("tokens_used") or (usage.get("total_tokens") or 0 if usage else 0),
        provider=member.name,
        model=answer.get("model") or member.provider.model,
        usage=usage,
        finish_reason=answer.get("finish_reason"),
        tool_calls=tool_calls,
        reasoning_content=answer.get("reasoning_content"),
        latency_ms=0.0,
        cost_usd=answer.get("cost_usd"),
        request_id=request.id,
        attempts=[],
        dropped_params=list(answer.get("dropped_params") or ()),
    )


def check_answer(
    member: Member, content: str, arguments: Mapping[str, Any], *, explained: bool
) -> None:
    """Check a complete answer as the configuration asks.

    Args:
        member: Who gave it.
        content: Its text.
        arguments: What the provider was called with.
        explained: Whether it calls tools, or was refused by the vendor's content policy:
            both are answers without content, and no failure of the provider's.

    Raises:
        BadResponseError: It is empty, or not JSON although that was asked.
    """
    checks = member.rules.response_checks
    if explained:
        return
    if ResponseCheck.NOT_EMPTY in checks and not content.strip():
        raise BadResponseError("the answer is empty", provider=member.name)
    if ResponseCheck.JSON in checks and wants_json(arguments) and not _is_json(content):
        raise BadResponseError("the answer is not the JSON that was asked", provider=member.name)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def with_records(result: GenerationResult, attempts: Sequence[Attempt]) -> GenerationResult:
    """Add what is known once the answering attempt is settled; it is the last of them."""
    result["latency_ms"] = attempts[-1]["latency_ms"]
    result["attempts"] = list(attempts)
    return result
