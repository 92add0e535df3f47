"""From what a provider answers to what the caller gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import ProviderUnavailableError
from ..types import Attempt, GenerationResult, Request
from .member import Member


async def ask_for_answer(
    member: Member, request: Request, arguments: Mapping[str, Any]
) -> GenerationResult:
    """Ask one provider, and fill in what its answer leaves open.

    Raises:
        ProviderUnavailableError: It is not an answer: no mapping, or without content.
        ProviderError: What the provider raised.
    """
    answer: object = await member.provider.generate(request.prompt, **arguments)
    if not isinstance(answer, Mapping):
        raise _no_answer(member)
    tool_calls = list(answer.get("tool_calls") or ())
    content = answer.get("content")
    if content is None and tool_calls:
        content = ""
    if not isinstance(content, str):
        raise _no_answer(member)
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


def _no_answer(member: Member) -> ProviderUnavailableError:
    return ProviderUnavailableError(
        "the provider's answer is not a mapping with content", provider=member.name
    )


def with_records(result: GenerationResult, attempts: Sequence[Attempt]) -> GenerationResult:
    """Add what is known once the answering attempt is settled; it is the last of them."""
    result["latency_ms"] = attempts[-1]["latency_ms"]
    result["attempts"] = list(attempts)
    return result
