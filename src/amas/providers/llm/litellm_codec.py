"""What is sent through LiteLLM, and how its answers are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


async def embed(
    runtime: Runtime,
    model: str,
    texts: Sequence[str],
    shared: Mapping[str, Any],
    *,
    request_id: str,
) -> Any:
    """Send one embedding request; return LiteLLM's response."""
    log = runtime.silent_logging(model=model, messages=[], stream=False, id=request_id)
    with runtime.without_host_globals():
        pending = runtime.litellm.embedding(
            **shared,
            model=f"{shared['custom_llm_provider']}/{model}",
            input=list(texts),
            aembedding=True,
            litellm_logging_obj=log,
        )
    return await pending


def _named(answered: str | None, target: Target, model: str) -> str:
    """Return the model that the upstream says has answered, without LiteLLM's prefix."""
    return (answered or model).removeprefix(f"{target.litellm_provider}/")


def read_result(response: Any, target: Target, *, provider: str, model: str) -> GenerationResult:
    """Read a complete answer.

    Raises:
        ValueError: There is no choice in it.
    """
    if not response.choices:
        raise ValueError("the answer has no choices")
    choice = response.choices[0]
    message = choice.message
    usage = read_usage(getattr(response, "usage", None))
    return GenerationResult(
        content=message.content or "",
        tokens_used=usage["total_tokens"] if usage else 0,
        provider=provider,
        model=_named(response.model, target, model),
        usage=usage,
        finish_reason=choice.finish_reason,
        tool_calls=[_plain(item) for item in message.tool_calls or ()],
        reasoning_content=getattr(message, "reasoning_content", None),
        latency_ms=0.0,
        cost_usd=None,
        request_id=None,
        attempts=[],
        dropped_params=[],
    )


def read_chunk(chunk: Any, target: Target, *, provider: str, model: str) -> StreamChunk | None:
    """Read one piece of a stream; None if it says nothing to the consumer."""
    if not chunk.choices:
        return None
    choice = chunk.choices[0]
    delta = choice.delta
    content = delta.content or ""
    tool_calls = tuple(_plain(item) for item in delta.tool_calls or ())
    reasoning = getattr(delta, "reasoning_content", None)
    if not (content or tool_calls or reasoning or choice.finish_reason):
        return None
    return StreamChunk(
        content=content,
        provider=provider,
        model=_named(chunk.model, target, model),
        finish_reason=choice.finish_reason,
        tool_calls=tool_calls,
        reasoning_content=reasoning,
    )


def _plain(item: Any) -> dict[str, Any]:
    plain: dict[str, Any] = item if isinstance(item, dict) else item.model_dump(exclude_none=True)
    return plain


def read_embeddings(response: Any) -> list[list[float]]:
    """Read the vectors of an embedding response, in the order of the texts."""
    rows = sorted(response.data, key=lambda row: row["index"])
    return [list(row["embedding"]) for row in rows]


def read_usage(usage: Any) -> Usage | None:
    """Read token counts; None where the upstream counted nothing."""
    if usage is None:
        return None
    prompt, completion = usage.prompt_tokens or 0, usage.completion_tokens or 0
    total = usage.total_tokens or prompt + completion
    if total <= 0 or prompt < 0 or completion < 0 or total > _MOST_TOKENS:
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
) -> list[str] | None:
    """Return the names of the parameters a model takes, None if LiteLLM does not know.

    Args:
        runtime: LiteLLM.
        target: Whose model it is.
        model: The model.
        params: What is asked for; some are taken with some values only.
    """
    names: list[str] | None = runtime.litellm.get_supported_openai_params(
        model=model, custom_llm_provider=target.litellm_provider
    )
    if names is None:
        return None
    left_out = {name for name, value in params.items() if _is_left_out(target, name, value)}
    sampling = tuple(
        (name, params[name])
        for name in ("temperature", "top_p", "reasoning_effort")
        if isinstance(params.get(name), int | float | str)
    )
    if len(sampling) > 1 or "temperature" in params:
        left_out |= _unmapped(runtime.litellm, target.litellm_provider, model, sampling)
    return [name for name in (*names, *_beyond_openai(target)) if name not in left_out]


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
def _unmapped(
    litellm: Any, litellm_provider: str, model: str, sampling: tuple[tuple[str, Any], ...]
) -> frozenset[str]:
    """Return the sampling parameters that LiteLLM drops by value, such as beside reasoning."""
    mapped = litellm.get_optional_params(
        model=model, custom_llm_provider=litellm_provider, drop_params=True, **dict(sampling)
    )
    return frozenset({"temperature", "top_p"} & dict(sampling).keys() - mapped.keys())


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
