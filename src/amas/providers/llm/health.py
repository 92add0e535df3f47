"""The free health check: listing models asks for nothing and checks the key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..base import ProviderConfig
from ..errors import AuthenticationError, ProviderError, ProviderUnavailableError
from .target import Target

if TYPE_CHECKING:
    import httpx

# Gemini refuses a key with 400; 403 says only that a restricted key may not list models.
_BAD_KEY = {401}
_BAD_KEY_TEXT = "api key not valid"
_NO_KEY = {400, 401, 403}
_OK = 200
_SERVER_ERRORS = 500


async def check_models(
    http: httpx.AsyncClient, target: Target, config: ProviderConfig, seconds: float
) -> None:
    """Ask for the list of models.

    Args:
        http: The provider's client.
        target: Where to ask.
        config: Whose key to show.
        seconds: Limit for each step of the request.

    Raises:
        AuthenticationError: The key is refused.
        ProviderUnavailableError: The server is in trouble, or sends us elsewhere.
        httpx.HTTPError: The server cannot be reached.
    """
    response = await _ask(http, target, config, seconds)
    error = _judge(response.status_code, response.text)
    if error is not None:
        raise error


async def list_models(
    http: httpx.AsyncClient, target: Target, config: ProviderConfig, seconds: float
) -> list[str]:
    """Return the names of the models, in the upstream's order.

    Args:
        http: The provider's client.
        target: Where to ask.
        config: Whose key to show.
        seconds: Limit for each step of the request.

    Raises:
        ProviderError: The upstream does not say.
        httpx.HTTPError: The server cannot be reached.
    """
    response = await _ask(http, target, config, seconds)
    error = _judge(response.status_code, response.text)
    if error is None and response.status_code != _OK:
        error = ProviderUnavailableError(
            f"models listing: HTTP {response.status_code}", status_code=response.status_code
        )
    if error is not None:
        raise error
    names = _names(response.json())
    return [target.entry.strip_prefix(name) if target.entry else name for name in names]


async def proves_key(
    http: httpx.AsyncClient, target: Target, config: ProviderConfig, seconds: float
) -> bool:
    """Tell whether the listing comes with the key, and does not come without one.

    Some vendors list their models for everybody, so that a listing says nothing of the key.

    Args:
        http: The provider's client.
        target: Where to ask.
        config: Whose key to show.
        seconds: Limit for each step of the two requests.

    Raises:
        httpx.HTTPError: The server cannot be reached.
    """
    if (await _ask(http, target, config, seconds)).status_code != _OK:
        return False
    url = target.models_url or ""
    return (await http.get(url, timeout=seconds)).status_code in _NO_KEY


async def _ask(
    http: httpx.AsyncClient, target: Target, config: ProviderConfig, seconds: float
) -> httpx.Response:
    return await http.get(
        target.models_url or "", headers=target.auth_headers(config), timeout=seconds
    )


def _names(listing: object) -> list[str]:
    """Read a listing in the form of OpenAI, or of Ollama, Gemini and Cohere, or of Vertex AI."""
    if isinstance(listing, dict):
        keys = ("data", "models", "publisherModels")
        listing = next((listing[key] for key in keys if listing.get(key)), None)
    rows = listing if isinstance(listing, list) else []
    found = (row.get("id") or row.get("name") for row in rows if isinstance(row, dict))
    return [
        name.removeprefix("publishers/google/").removeprefix("models/")
        for name in found
        if isinstance(name, str)
    ]


def _judge(status: int, text: str) -> ProviderError | None:
    """Tell what a status of the models listing means for asking the provider.

    What is neither a refused key nor trouble of the server's means that somebody
    is there who would answer: many servers have no listing (404, 405), restricted
    keys may not see it (403), and a busy one (429) is alive.
    """
    if status in _BAD_KEY or (status in {400, 403} and _BAD_KEY_TEXT in text.lower()):
        return AuthenticationError(
            f"the key is refused (HTTP {status} from the models listing); check api_key",
            status_code=status,
        )
    if status >= _SERVER_ERRORS:
        return ProviderUnavailableError(f"models listing: HTTP {status}", status_code=status)
    if status in range(300, 400):
        return ProviderUnavailableError(
            f"models listing: redirected (HTTP {status}), which is not followed; check base_url",
            status_code=status,
        )
    return None
