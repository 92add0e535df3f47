"""From what a caller asks to what one model is asked: checked, and completed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..base import ProviderConfig
from ..types import Prompt
from . import litellm_codec as codec
from .litellm_runtime import Runtime
from .params import Call, check_params, split_supported, to_messages
from .target import Target


def build_call(
    runtime: Runtime,
    target: Target,
    config: ProviderConfig,
    prompt: Prompt,
    kwargs: Mapping[str, Any],
) -> Call:
    """Check what a caller asks, and complete it from the configuration.

    Args:
        runtime: LiteLLM, which knows what a model takes.
        target: Whose model it is.
        config: Its configuration.
        prompt: A text, or chat messages in OpenAI's form.
        kwargs: ``system_prompt``, ``model`` and chat parameters.

    Raises:
        InvalidRequestError: The request is wrong.
        UnsupportedError: The model cannot do what is asked.
    """
    provider = config.name
    asked = dict(kwargs)
    system_prompt = asked.pop("system_prompt", None)
    model = target.model_named(asked.pop("model", None), provider=provider)
    messages = to_messages(prompt, system_prompt, provider=provider)
    given = dict(config.params) | check_params(asked, provider=provider)
    supported = codec.supported_params(runtime, target, model, given)
    kept, dropped = split_supported(given, supported, provider=provider, model=model)
    if codec.tools_exclude_reasoning(runtime, target, model, kept):
        dropped += ("reasoning_effort",) if "reasoning_effort" in kept else ()
        kept["reasoning_effort"] = "none"
    return Call(model, messages, kept, dropped)
