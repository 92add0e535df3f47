"""The wire format of Azure OpenAI at the address of a deployment: OpenAI's, with Azure's errors.

Source: https://learn.microsoft.com/azure/ai-foundry/openai/reference and
https://learn.microsoft.com/azure/ai-foundry/openai/concepts/content-filter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from .base import KnownError, Route
from .openai import OpenAIFormat

_DEPLOYMENT: Final = "/openai/deployments/(?P<model>[^/]+)"
_FILTERED: Final = (
    "The response was filtered due to the prompt triggering Azure OpenAI's content management"
    " policy. Please modify your prompt and retry. To learn more about our content filtering"
    " policies please read our documentation: https://go.microsoft.com/fwlink/?linkid=2198766"
)


class AzureFormat(OpenAIFormat):
    """Chat completions, embeddings and models at Azure's addresses, which have an api-version."""

    vendor = "azure"
    request_id_header = "apim-request-id"
    routes: ClassVar[Sequence[Route]] = (
        Route("POST", _DEPLOYMENT + "/chat/completions", "chat", "chat"),
        Route("POST", _DEPLOYMENT + "/embeddings", "embeddings", "embeddings"),
        Route(
            "GET", "/openai/models", "models", "models", lambda call: "api-version" in call.query
        ),
    )
    errors: ClassVar[Mapping[str, KnownError]] = {
        **OpenAIFormat.errors,
        "invalid_api_key": KnownError(
            401,
            "",
            "Access denied due to invalid subscription key or wrong API endpoint. Make sure to"
            " provide a valid key for an active subscription and use a correct regional API"
            " endpoint for your resource.",
            "401",
        ),
        "missing_api_key": KnownError(
            401,
            "",
            "Unauthorized. Access token is missing, invalid, audience is incorrect, or have"
            " expired.",
            "401",
        ),
        "model_not_found": KnownError(
            404,
            "",
            "The API deployment for this resource does not exist. If you created the deployment"
            " within the last 5 minutes, please wait a moment and try again.",
            "DeploymentNotFound",
        ),
        "unknown_url": KnownError(404, "", "Resource not found", "404"),
        "rate_limit_exceeded": KnownError(
            429,
            "",
            "Requests to the ChatCompletions_Create Operation under Azure OpenAI API have exceeded"
            " call rate limit of your current OpenAI S0 pricing tier. Please retry after 20"
            " seconds.",
            "429",
        ),
        "content_filter": KnownError(400, "", _FILTERED, "content_filter"),
    }
