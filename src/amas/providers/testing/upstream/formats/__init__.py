"""The vendors' wire formats, and which of them a request is written in."""

from __future__ import annotations

from typing import Final

from .anthropic import AnthropicFormat
from .azure import AzureFormat
from .base import Call, Format, Route, ends_with
from .bedrock import BedrockFormat
from .cohere import CohereFormat
from .cohere_v1 import CohereV1Format
from .gemini import GeminiFormat
from .ollama import OllamaFormat
from .openai import OpenAIFormat
from .vertex import GoogleTokenFormat, VertexClaudeFormat, VertexFormat

FALLBACK: Final[Format] = OpenAIFormat()
"""Format of the errors for requests that fit no vendor."""

# OpenAI comes last: its listing takes whatever no other vendor's condition claims. Vertex AI comes
# before Gemini, whose paths end in the same way.
FORMATS: Final[tuple[Format, ...]] = (
    OllamaFormat(),
    AzureFormat(),
    BedrockFormat(),
    VertexFormat(),
    VertexClaudeFormat(),
    GoogleTokenFormat(),
    GeminiFormat(),
    AnthropicFormat(),
    CohereFormat(),
    CohereV1Format(),
    FALLBACK,
)


def find_route(call: Call) -> tuple[Format, Route, str] | None:
    """Find the format and operation of a request by method and end of path.

    Args:
        call: The request; its ``operation`` and ``model`` are not used.

    Returns:
        Format, route and the model named in the path ("" when there is none there), or None when
        no vendor has such an endpoint.
    """
    for wire in FORMATS:
        for route in wire.routes:
            match = ends_with(route.pattern, call.path) if route.method == call.method else None
            if match and route.accepts(call):
                return wire, route, match.groupdict().get("model") or ""
    return None
