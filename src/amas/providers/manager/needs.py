"""What a call asks of whoever answers it, and who can. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..base import ProviderBase
from ..types import Capability, Needs, Prompt

# English text has about four characters a token (OpenAI's tokenizer guide).
# An estimate: who is asked too much says so, and a larger window follows.
_CHARACTERS_PER_TOKEN = 4

# So one of Chinese or Japanese counts as about a token a character.
_BEYOND_ASCII = 1.6

# About a thousand tokens, as the large vendors count a picture.
_IMAGE = 4000

# What goes into the prompt, too, where it is given.
_LONG_PARAMETERS = ("tools", "response_format", "prediction")

# More than any model writes; a larger number of a caller's must not overflow a price.
_LONGEST_ANSWER = 10**9

_FORMATS: Mapping[object, Capability] = {
    "json_object": Capability.JSON_OBJECT,
    "json_schema": Capability.JSON_SCHEMA,
}


def needs_of(prompt: Prompt, params: Mapping[str, Any]) -> Needs:
    """Find out what a call needs.

    Args:
        prompt: What is asked.
        params: The chat parameters.
    """
    capabilities = set()
    if params.get("tools"):
        capabilities.add(Capability.TOOLS)
    if (wanted := _format(params.get("response_format"))) is not None:
        capabilities.add(wanted)
    system = params.get("system_prompt")
    length = _weight(system) if isinstance(system, str) else 0
    length += sum(len(str(params[name])) for name in _LONG_PARAMETERS if params.get(name))
    for text, is_image in _parts(prompt):
        length += _weight(text)
        if is_image:
            length += _IMAGE
            capabilities.add(Capability.VISION)
    longest = params.get("max_completion_tokens") or params.get("max_tokens")
    return Needs(
        capabilities=frozenset(capabilities),
        prompt_tokens=length // _CHARACTERS_PER_TOKEN,
        answer_tokens=(
            min(longest, _LONGEST_ANSWER) if isinstance(longest, int) and longest > 0 else None
        ),
    )


def _weight(text: str) -> int:
    """Return the length of a text, as if it were English."""
    if text.isascii():
        return len(text)
    beyond = len(text.encode("utf-8", "surrogatepass")) - len(text)
    return len(text) + round(_BEYOND_ASCII * beyond)


def lacks(provider: ProviderBase, needs: Needs) -> frozenset[Capability]:
    """Return what a provider is known to lack of what is needed; nothing if it is not known."""
    if provider.capabilities is None or not needs.capabilities:
        return frozenset()
    return needs.capabilities - provider.capabilities


def wants_json(params: Mapping[str, Any]) -> bool:
    """Tell whether the answer is to be JSON."""
    return _format(params.get("response_format")) is not None


def _format(asked: object) -> Capability | None:
    if isinstance(asked, Mapping):
        kind = asked.get("type")
        return _FORMATS.get(kind) if isinstance(kind, str) else None
    # A pydantic model, as LiteLLM takes it, stands for its schema.
    return Capability.JSON_SCHEMA if isinstance(asked, type) else None


def _parts(prompt: Prompt) -> Iterator[tuple[str, bool]]:
    """Yield the texts of a prompt, and whether an image comes with each."""
    if isinstance(prompt, str):
        yield prompt, False
        return
    for message in prompt:
        content = message.get("content")
        if isinstance(content, str):
            yield content, False
        elif isinstance(content, list | tuple):
            for part in content:
                if isinstance(part, Mapping):
                    text = part.get("text")
                    yield (text if isinstance(text, str) else ""), part.get("type") == "image_url"
