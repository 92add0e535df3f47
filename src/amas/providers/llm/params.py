"""What a caller may say: the allow-list of parameters, and the messages of a prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import InvalidRequestError, UnsupportedError, suggestion
from ..types import Prompt

# OpenAI's chat parameters, which LiteLLM translates for every vendor, and two that many
# vendors know besides. Whatever routes a request (keys, addresses, headers, fallbacks,
# mock answers) is not here and never will be: CVE-2024-6587 and PYSEC-2026-4070.
ALLOWED = frozenset(
    {
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "prompt_cache_key",
        "reasoning_effort",
        "response_format",
        "safety_identifier",
        "seed",
        "service_tier",
        "stop",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
        "top_logprobs",
        "top_p",
        "user",
        "verbosity",
        "web_search_options",
    }
)

# An answer without these is another answer, so they are refused rather than dropped.
ESSENTIAL = frozenset({"response_format", "tool_choice", "tools"})

_ROLES = frozenset({"assistant", "developer", "function", "system", "tool", "user"})


@dataclass(frozen=True, slots=True)
class Call:
    """What is to be asked of one model: checked, and complete."""

    model: str
    messages: list[dict[str, Any]]
    params: dict[str, Any]
    dropped: tuple[str, ...] = ()


def check_params(params: Mapping[str, Any], *, provider: str) -> dict[str, Any]:
    """Keep the parameters that are given, and refuse those nobody may give.

    Args:
        params: Parameters by name; None means not given.
        provider: Name of the provider, for the error.

    Returns:
        The parameters that are not None.

    Raises:
        InvalidRequestError: A name is not on the allow-list, ``tools`` is no list of tools, or
            a value is bytes.
    """
    given = {name: value for name, value in params.items() if value is not None}
    _check_tools(given.get("tools"), provider)
    _check_no_bytes(given, provider)
    unknown = sorted(given.keys() - ALLOWED)
    if unknown:
        raise InvalidRequestError(
            f"unknown parameter {', '.join(f'{name!r}{suggestion(name, ALLOWED)}' for name in unknown)};"
            f" allowed are {', '.join(sorted(ALLOWED))}",
            provider=provider,
        )
    return given


def _check_tools(tools: object, provider: str) -> None:
    """Refuse what LiteLLM would leave out without a word."""
    listed = isinstance(tools, list | tuple) and all(isinstance(tool, Mapping) for tool in tools)
    if tools is not None and not listed:
        raise InvalidRequestError(
            'tools must be a list of mappings, such as [{"type": "function", "function": {…}}]',
            provider=provider,
        )


def _check_no_bytes(given: Mapping[str, Any], provider: str) -> None:
    """Refuse what JSON does not have; openai's SDK would send the numbers of the letters."""
    for name, value in given.items():
        if isinstance(value, bytes | bytearray):
            raise InvalidRequestError(f"{name} is bytes; give a text instead", provider=provider)


def split_supported(
    params: Mapping[str, Any], supported: Sequence[str] | None, *, provider: str, model: str
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Separate the parameters that a model takes from those it does not.

    Args:
        params: Checked parameters.
        supported: Names the model takes; None if that is not known, then all pass.
        provider: Name of the provider, for the error.
        model: The model, for the error.

    Returns:
        The parameters to send, and the names of those left out.

    Raises:
        UnsupportedError: An essential one (tools, response_format) is not supported.
    """
    if supported is None:
        return dict(params), ()
    lacking = params.keys() - set(supported)
    refused = sorted(lacking & ESSENTIAL)
    if refused:
        raise UnsupportedError(
            f"model {model!r} does not take {', '.join(refused)}; ask another model",
            provider=provider,
            model=model,
        )
    kept = {name: value for name, value in params.items() if name not in lacking}
    return kept, tuple(sorted(lacking))


def to_messages(
    prompt: Prompt, system_prompt: str | None, *, provider: str
) -> list[dict[str, Any]]:
    """Bring a prompt into chat messages.

    Args:
        prompt: A text, or messages in OpenAI's form.
        system_prompt: Put in front as the system message.
        provider: Name of the provider, for the error.

    Returns:
        New messages; what the caller passed is not touched later.

    Raises:
        InvalidRequestError: It is no text and no list of messages, is empty, or has a message
            whose content is neither text nor list.
    """
    messages = [
        _copy_message(index, item, provider)
        for index, item in enumerate(_as_list(prompt, provider))
    ]
    if system_prompt is not None:
        if not isinstance(system_prompt, str):
            raise _bad_prompt("system_prompt must be a text", provider)
        if messages[0]["role"] in {"system", "developer"}:
            raise _bad_prompt(
                "there is a system_prompt and a system message; give one of them", provider
            )
        messages.insert(0, {"role": "system", "content": system_prompt})
    return messages


def _as_list(asked: object, provider: str) -> Sequence[object]:
    if isinstance(asked, str):
        if not asked.strip():
            raise _bad_prompt("the prompt is empty", provider)
        return [{"role": "user", "content": asked}]
    if not isinstance(asked, Sequence) or not asked:
        raise _bad_prompt("a prompt is a text or a list of at least one message", provider)
    return asked


def _copy_message(index: int, message: object, provider: str) -> dict[str, Any]:
    if not isinstance(message, Mapping) or message.get("role") not in _ROLES:
        raise _bad_prompt(
            "each message is a mapping with a role"
            f" ({', '.join(sorted(_ROLES))}) and content, such as"
            ' {"role": "user", "content": "hello"}',
            provider,
        )
    content = message.get("content")
    if content is not None and not isinstance(content, str | list | tuple):
        raise _bad_prompt(
            f"the content of prompt[{index}] must be a text or a list of parts, such as"
            f' {{"type": "text", "text": "hello"}}, not {type(content).__name__}',
            provider,
        )
    return dict(message)


def _bad_prompt(what: str, provider: str) -> InvalidRequestError:
    return InvalidRequestError(what, provider=provider)
