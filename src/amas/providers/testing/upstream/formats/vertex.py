"""The wire format of Gemini on Google's Vertex AI, and of the endpoint that gives access tokens.

Source: https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference and
https://developers.google.com/identity/protocols/oauth2/service-account.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Final

from typing_extensions import override

from ..chat import ChatRequest
from .anthropic import AnthropicFormat
from .base import BadCall, Call, Json, KnownError, Listing, Route
from .gemini import GeminiFormat
from .openai import OpenAIFormat

_PUBLISHERS: Final = "/projects/[^/]+/locations/[^/]+/publishers/"
_MODEL: Final = _PUBLISHERS + "google/models/(?P<model>[^/:]+):"
_CLAUDE: Final = _PUBLISHERS + "anthropic/models/(?P<model>[^/:]+):"
_LIFE_SECONDS: Final = 3599


class VertexFormat(GeminiFormat):
    """Content generation and models as Gemini does it, with an access token for a key."""

    vendor = "vertex"
    routes: ClassVar[Sequence[Route]] = (
        Route("POST", _MODEL + "generateContent", "chat", "generateContent"),
        Route("POST", _MODEL + "streamGenerateContent", "chat", "streamGenerateContent"),
        Route("GET", "/publishers/google/models", "models", "models"),
    )
    errors: ClassVar[Mapping[str, KnownError]] = {
        **GeminiFormat.errors,
        **dict.fromkeys(
            ("invalid_api_key", "missing_api_key"),
            KnownError(
                401,
                "UNAUTHENTICATED",
                "Request had invalid authentication credentials. Expected OAuth 2 access token,"
                " login cookie or other valid authentication credential.",
                "ACCESS_TOKEN_TYPE_UNSUPPORTED",
            ),
        ),
        "rate_limit_exceeded": KnownError(
            429,
            "RESOURCE_EXHAUSTED",
            "Resource exhausted. Please try again later. Please refer to"
            " https://cloud.google.com/vertex-ai/generative-ai/docs/error-code-429 for more"
            " details.",
        ),
    }

    @override
    def models(self, listing: Listing) -> Json:
        """Write a page of publisher models."""
        return {
            "publisherModels": [
                {"name": f"publishers/google/models/{name}", "versionId": "default"}
                for name in listing.models
            ]
        }


class VertexClaudeFormat(AnthropicFormat):
    """Anthropic's messages on Vertex AI, where path and body say what headers say elsewhere."""

    vendor = "vertex"
    routes: ClassVar[Sequence[Route]] = (
        Route("POST", _CLAUDE + "rawPredict", "chat", "chat"),
        Route("POST", _CLAUDE + "streamRawPredict", "chat", "chat"),
    )

    @override
    def chat_request(self, call: Call) -> ChatRequest:
        """Read a messages request that has its version in the body, and its model in the path."""
        if "anthropic_version" not in call.body:
            raise BadCall("anthropic_version: Field required")
        version = {"anthropic-version": str(call.body["anthropic_version"])}
        body = {**call.body, "model": call.model}
        return super().chat_request(replace(call, headers=version, body=body))


class GoogleTokenFormat(OpenAIFormat):
    """Access tokens for signed statements and for refresh tokens; there is no chat here."""

    vendor = "google-token"
    routes: ClassVar[Sequence[Route]] = (Route("POST", "/token", "token", "token"),)
    # OAuth has one word for what is wrong with those who ask.
    errors: ClassVar[Mapping[str, KnownError]] = {
        code: replace(known, kind="internal_failure" if known.status >= 500 else "invalid_grant")  # noqa: PLR2004
        for code, known in OpenAIFormat.errors.items()
    }

    @override
    def other(self, call: Call, listing: Listing) -> Json:
        """Write a token."""
        return {
            "access_token": "token-of-upstream",
            "expires_in": _LIFE_SECONDS,
            "token_type": "Bearer",
        }

    @override
    def error_body(self, error: KnownError) -> Json:
        """Write the error as RFC 6749 has it."""
        return {"error": error.kind, "error_description": error.message}
