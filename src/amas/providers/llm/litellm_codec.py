"""What is sent through LiteLLM, and how its answers are read."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from ..base import ProviderConfig
from ..secret import reveal
from ..types import GenerationResult, StreamChunk, Usage
from .litellm_runtime import Runtime
from .target import Target

_USER_AGENT = "amas-providers"
# More is no count.
_MOST_TOKENS = 10**9
# Longer than any clock of ours: LiteLLM's timeout is a pause between reads, not a limit.
_LITELLM_TIMEOUT = 3600.0


def plain_headers(config: ProviderConfig) -> dict[str, str]:
    """Return the headers that every request of a provider carries beside those of its vendor."""
    options: dict[str, Any] = reveal(config.options)
    return {"User-Agent": _USER_AGENT, **(options.get("headers") or {})}


def shared_arguments(target: Target, config: ProviderConfig, client: Any) -> dict[str, Any]:
    """Return what every request of a provider carries.

    Key, address and vendor are always given: where one is missing, LiteLLM
    takes another vendor's from the environment (litellm-facts.md, 2.2).
    """
    options = target.options_for_litellm(config)
    return options | {
        "api_key": config.key_value or "none",
        "api_base": target.base_url,
        "custom_llm_provider": target.litellm_provider,
        "client": client,
        "max_retries": 0,
        "num_retries": 0,
        "timeout": _LITELLM_TIMEOUT,
        "headers": plain_headers(config),
    }


def named(answered: str | None, target: Target, model: str) -> str:
    """Return the model that the upstream says has answered, else the one asked, without LiteLLM's prefix."""
    return (answered or model).removeprefix(f"{target.litellm_provider}/")


def read_result(response: Any, *, target: Target, provider: str, model: str) -> GenerationResult:
    """Read a complete answer.

    Raises:
        ValueError: There is no choice in it.
    """
    if not response.choices:
        raise ValueError("the answer has no choices")
    choice = response.choices[0]
    result = make_result(
        choice.message.content,
        choice.finish_reason,
        response,
        target=target,
        provider=provider,
        model=model,
    )
    result["tool_calls"] = [_plain(item) for item in choice.message.tool_calls or ()]
    result["reasoning_content"] = getattr(choice.message, "reasoning_content", None)
    return result


def make_result(
    text: str | None,
    finish_reason: str | None,
    response: Any,
    *,
    target: Target,
    provider: str,
    model: str,
) -> GenerationResult:
    """Make the result of an answer.

    Args:
        text: What it says.
        finish_reason: Why it ends there.
        response: What has the ``usage``, and the ``model`` that says it.
        target: Who was asked.
        provider: Name of the provider.
        model: The model asked.
    """
    usage = read_usage(getattr(response, "usage", None))
    return GenerationResult(
        content=text or "",
        tokens_used=usage["total_tokens"] if usage else 0,
        provider=provider,
        model=named(response.model, target, model),
        usage=usage,
        finish_reason=finish_reason,
        tool_calls=[],
        reasoning_content=None,
        latency_ms=0.0,
        cost_usd=None,
        request_id=None,
        attempts=[],
        dropped_params=[],
    )


def read_chunk(
    chunk: Any, *, target: Target, provider: str, model: str, request_id: str
) -> StreamChunk | None:
    """Read one piece of a stream; None if it says nothing to the consumer."""
    if not chunk.choices:
        return None
    choice = chunk.choices[0]
    delta = choice.delta
    content = _text(delta.content)
    calls = () if delta.tool_calls is None else delta.tool_calls
    tool_calls = tuple(_plain(item) for item in calls)
    reasoning = _text(getattr(delta, "reasoning_content", None)) or None
    if not (content or tool_calls or reasoning or choice.finish_reason):
        return None
    return StreamChunk(
        content=content,
        provider=provider,
        model=named(chunk.model, target, model),
        finish_reason=choice.finish_reason,
        tool_calls=tool_calls,
        reasoning_content=reasoning,
        request_id=request_id,
    )


def _text(value: Any) -> str:
    """Return a text; whatever else an upstream sends in its place is left out, as LiteLLM does."""
    return value if isinstance(value, str) else ""


def _plain(item: Any) -> dict[str, Any]:
    plain: dict[str, Any] = item if isinstance(item, dict) else item.model_dump(exclude_none=True)
    return plain


def read_usage(usage: Any) -> Usage | None:
    """Read token counts; None where the upstream counted nothing, or sent what is no count."""
    try:
        prompt, completion = usage.prompt_tokens or 0, usage.completion_tokens or 0
        total = usage.total_tokens or prompt + completion
        if total <= 0 or prompt < 0 or completion < 0 or total > _MOST_TOKENS:
            return None
    except (AttributeError, TypeError):
        return None
    counts = Usage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=total)
    cached = getattr(getattr(usage, "prompt_tokens_details", None), "cached_tokens", None)
    reasoning = getattr(getattr(usage, "completion_tokens_details", None), "reasoning_tokens", None)
    if cached:
        counts["cached_tokens"] = cached
    if reasoning:
        counts["reasoning_tokens"] = reasoning
    return counts


def supported_params(
    runtime: Runtime, target: Target, model: str, params: Mapping[str, Any]
) -> tuple[str, ...] | None:
    """Return the names of the parameters a model takes, None if LiteLLM does not know.

    Args:
        runtime: LiteLLM.
        target: Whose model it is.
        model: The model.
        params: What is asked for; some are taken with some values only.
    """
    names = _taken(runtime.litellm, target.litellm_provider, model)
    if names is None or not params:
        return names
    left_out = {name for name, value in params.items() if _is_left_out(target, name, value)}
    sampling = {
        name: params[name]
        for name in ("temperature", "top_p", "reasoning_effort")
        if isinstance(params.get(name), int | float | str)
    }
    if len(sampling) > 1 or "temperature" in params:
        left_out |= _unmapped(runtime.litellm, target.litellm_provider, model, **sampling)
    return tuple(name for name in (*names, *_beyond_openai(target)) if name not in left_out)


def _beyond_openai(target: Target) -> tuple[str, ...]:
    """Name what is none of OpenAI's parameters: it and most who speak like it refuse it."""
    return () if target.speaks_openai and not target.is_local else ("top_k",)


def _is_left_out(target: Target, name: str, value: Any) -> bool:
    """Tell what LiteLLM says that a vendor takes, and then does not send, or sends wrongly."""
    match target.litellm_provider, name, value:
        case "ollama_chat", "frequency_penalty", _:  # as a repeat_penalty, whose neutral value is 1
            return True
        case "anthropic", "response_format", {"type": "json_object"}:
            return True
        case "ollama_chat", "tool_choice", choice:
            return bool(choice != "auto")
    return False


@lru_cache(maxsize=256)
def _taken(litellm: Any, litellm_provider: str, model: str) -> tuple[str, ...] | None:
    names = litellm.get_supported_openai_params(model=model, custom_llm_provider=litellm_provider)
    return None if names is None else tuple(names)


@lru_cache(maxsize=256, typed=True)
def _unmapped(litellm: Any, litellm_provider: str, model: str, **sampling: Any) -> frozenset[str]:
    """Return the sampling parameters that LiteLLM drops by value, such as beside reasoning.

    ``True`` and ``1`` are equal, and not the same to LiteLLM.
    """
    mapped = litellm.get_optional_params(
        model=model, custom_llm_provider=litellm_provider, drop_params=True, **sampling
    )
    return frozenset({"temperature", "top_p"} & sampling.keys() - mapped.keys())


def tools_exclude_reasoning(
    runtime: Runtime, target: Target, model: str, params: Mapping[str, Any]
) -> bool:
    """Tell whether OpenAI's chat completions refuse these tools unless reasoning is off.

    So it is from gpt-5.4 on. LiteLLM knows for which models: there it would take
    the detour to the responses API.
    """
    if "tools" not in params or target.litellm_provider != "openai":
        return False
    info, _ = runtime.litellm.main.responses_api_bridge_check(
        model=model,
        custom_llm_provider=target.litellm_provider,
        tools=params["tools"],
        reasoning_effort=params.get("reasoning_effort"),
        api_base=target.base_url,
    )
    return bool(info.get("mode") == "responses")
