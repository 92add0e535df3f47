"""One table from LiteLLM's exceptions to ours, and what refines it.

Pure: nothing here imports LiteLLM. Classes are looked up by name along the
exception's bases, so that a class new to the table falls to its nearest known
base; a test enumerates ``litellm.exceptions`` and fails on one that is missing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TypeVar

from ..base.retry_after import retry_after
from ..errors import (
    AuthenticationError,
    ContentPolicyError,
    ContextWindowExceededError,
    InvalidRequestError,
    ModelNotFoundError,
    ProviderConfigError,
    ProviderConnectionError,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    QuotaExceededError,
    RateLimitError,
)
from ..secret import scrub
from .http_client import Wire

_Error = TypeVar("_Error", bound=BaseException)

# The base classes that stand for "some HTTP status" are last resorts: the status decides first.
TABLE: Mapping[str, type[ProviderError]] = {
    "AuthenticationError": AuthenticationError,
    "PermissionDeniedError": AuthenticationError,
    "NotFoundError": ModelNotFoundError,
    "RateLimitError": RateLimitError,
    "PaymentRequiredError": QuotaExceededError,
    "BudgetExceededError": QuotaExceededError,
    "Timeout": ProviderTimeoutError,
    "ContextWindowExceededError": ContextWindowExceededError,
    "ContentPolicyViolationError": ContentPolicyError,
    "RejectedRequestError": ContentPolicyError,
    "GuardrailRaisedException": ContentPolicyError,
    "BlockedPiiEntityError": ContentPolicyError,
    "ModifyResponseException": ContentPolicyError,
    "SensitiveDataRouteException": ContentPolicyError,
    "BadRequestError": InvalidRequestError,
    "InvalidRequestError": InvalidRequestError,
    "UnprocessableEntityError": InvalidRequestError,
    "UnsupportedParamsError": InvalidRequestError,
    "ImageFetchError": InvalidRequestError,
    "VectorStoreSearchError": InvalidRequestError,
    "LiteLLMUnknownProvider": ProviderConfigError,
    "ModelNotMappedError": ProviderConfigError,
    "ServiceUnavailableError": ProviderUnavailableError,
    "BadGatewayError": ProviderUnavailableError,
    "InternalServerError": ProviderUnavailableError,
    "MidStreamFallbackError": ProviderUnavailableError,
    "APIConnectionError": ProviderUnavailableError,
    "APIError": ProviderUnavailableError,
    "APIResponseValidationError": ProviderUnavailableError,
    "JSONSchemaValidationError": ProviderUnavailableError,
    "MockException": ProviderUnavailableError,
    "OpenAIError": ProviderUnavailableError,
}

_BY_STATUS: Mapping[int, type[ProviderError]] = {
    400: InvalidRequestError,
    401: AuthenticationError,
    402: QuotaExceededError,
    403: AuthenticationError,
    404: ModelNotFoundError,
    408: ProviderUnavailableError,
    413: InvalidRequestError,
    422: InvalidRequestError,
    429: RateLimitError,
}

# Exceptions of httpx, httpcore, aiohttp, ssl and socket that mean "the wire", by name.
_CONNECTION = re.compile(
    r"^(Connect|Connection|Network|Read|Write|Close|Proxy|SSL|Protocol|RemoteProtocol"
    r"|LocalProtocol|ServerDisconnected|Client\w*(Connect|Connection|OS|Payload|SSL)\w*)\w*Error$"
    r"|^gaierror$"
)
_WIRE_TIMEOUT = re.compile(r"^(Connect|Read|Write|Pool)Timeout$|^TimeoutException$")

_OUT_OF_QUOTA = re.compile(
    r"insufficient_quota|exceeded your current quota|credit balance is too low"
    r"|reached your [\w ]{0,30}usage limit"
    r"|insufficient[ _](balance|credits?|funds)|billing[ _]hard[ _]limit|payment required",
    re.IGNORECASE,
)
_TOO_LONG = re.compile(
    r"context_length_exceeded|context[ _]window|maximum context length|(prompt|input) is too long"
    r"|too many tokens|input token count .{0,40}exceeds|exceeds? the (model'?s )?(maximum )?context",
    re.IGNORECASE,
)
_POLICY = re.compile(
    r"content_policy_violation|content[ _]filter|content management policy|safety system"
    r"|violat\w{1,10} (our|the) (usage|content) polic"
    r"|blocked due to safety|PROHIBITED_CONTENT|output blocked by content filtering",
    re.IGNORECASE,
)
_BAD_KEY = re.compile(
    r"api[ _-]?key not valid|invalid[ _]api[ _]key|incorrect api key|API_KEY_INVALID", re.IGNORECASE
)
# What LiteLLM puts around an upstream's words, and its advice to use classes of its own.
_WRAPPING = re.compile(
    r"^((litellm\.)?\w+(Error|Exception|Timeout): *|\w+Exception( \w+Error)? - *)+"
    r"|\s*Handle with `litellm\.\w+`\.?"
)
# LiteLLM calls answers that it cannot read a bad request of ours.
_UNREADABLE = re.compile(
    r"got unexpected response from|Unable to (parse|get) .*response", re.IGNORECASE
)
_LONGEST_MESSAGE = 500
_LONGEST_LOOK = 64 * 1024
_REDIRECTS = 300
_CLIENT_ERRORS = 400


def translate(
    error: BaseException,
    wire: Wire,
    *,
    provider: str,
    model: str | None,
    now: datetime | None = None,
) -> ProviderError:
    """Turn what LiteLLM raised into one of our errors.

    Args:
        error: An exception out of LiteLLM or of what it uses.
        wire: What was seen of the request.
        provider: Name of our provider.
        model: The model asked.
        now: The time a ``Retry-After`` date counts from; the present if None.

    Returns:
        A scrubbed error without reference to the original, whose traceback
        holds the key in the locals of several frames.
    """
    if wire.failure is not None:
        return wire.failure
    if wire.refused is not None:
        return ProviderConfigError(_short(wire.refused), field="base_url", provider=provider)
    source = getattr(error, "original_exception", None) or error
    text = _message(source)
    kind = _classify(source, wire, text)
    if kind is ProviderConfigError:
        return ProviderConfigError(_short(text), provider=provider)
    refused = wire.status if wire.status is not None and wire.status >= _REDIRECTS else None
    told = _upstream_words(source) or text
    if kind is ProviderConnectionError:
        told = f"connection failed: {_root_words(source) or text}"
    elif refused is not None and refused < _CLIENT_ERRORS:
        told = "redirected, which is not followed; check base_url"
    failure = kind(
        _short(told, refused),
        provider=provider,
        model=model,
        status_code=refused,
    )
    if wire.retry_after is not None:
        failure.retry_after = retry_after(wire.retry_after, now or datetime.now(tz=UTC))
    return failure


def without_traces(error: _Error) -> _Error:
    """Make an exception forget where it has been, and what else was raised there.

    Args:
        error: One to be raised again, outside of any handler.
    """
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _classify(error: BaseException, wire: Wire, text: str) -> type[ProviderError]:
    if wire.requests == 0:
        # Nothing was sent: it is the request that cannot be made.
        mapped = _from_table(error)
        unsent = {ProviderTimeoutError, ProviderUnavailableError}
        return InvalidRequestError if mapped in unsent else mapped
    on_the_wire = _wire_trouble(error)
    if on_the_wire is not None:
        return on_the_wire
    mapped = _from_table(error)
    if wire.status is not None and wire.status >= _REDIRECTS:
        meant = _BY_STATUS.get(wire.status)
        if meant is None and mapped in {InvalidRequestError, ProviderTimeoutError}:
            meant = ProviderUnavailableError
        if meant is not None and not issubclass(mapped, meant):
            mapped = meant
    return _refine(mapped, text)


def _wire_trouble(error: BaseException) -> type[ProviderError] | None:
    for cause in _causes(error):
        name = type(cause).__name__
        if _WIRE_TIMEOUT.match(name):
            return ProviderTimeoutError
        if isinstance(cause, ConnectionError) or _CONNECTION.match(name):
            return ProviderConnectionError
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Walk from an exception to what it was made from, past the classes LiteLLM gave it."""
    for cause in _chain(error):
        if not type(cause).__module__.startswith(("litellm", "openai")):
            yield cause


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _from_table(error: BaseException) -> type[ProviderError]:
    for base in type(error).__mro__:
        if base.__name__ in TABLE and base.__module__.startswith(("litellm", "openai")):
            return TABLE[base.__name__]
    return ProviderUnavailableError


def _refine(kind: type[ProviderError], text: str) -> type[ProviderError]:
    """Tell apart what vendors put under one status: 429, 403 and 400 each mean several things."""
    if kind in {RateLimitError, AuthenticationError, InvalidRequestError} and _OUT_OF_QUOTA.search(
        text
    ):
        return QuotaExceededError
    if kind is InvalidRequestError:
        for pattern, finer in (
            (_UNREADABLE, ProviderUnavailableError),
            (_BAD_KEY, AuthenticationError),
            (_TOO_LONG, ContextWindowExceededError),
            (_POLICY, ContentPolicyError),
        ):
            if pattern.search(text):
                return finer
    return kind


def _message(error: BaseException) -> str:
    said = str(getattr(error, "message", None) or error)[:_LONGEST_LOOK]
    text = " ".join(said.partition("Traceback (most recent call last)")[0].split())
    return _WRAPPING.sub("", text) or type(error).__name__


def _upstream_words(error: BaseException) -> str | None:
    """Return the message in the error body that the upstream sent, if there is a readable one."""
    for cause in _chain(error):
        body = getattr(cause, "body", None)
        if body is None:
            said = getattr(cause, "message", "")
            body = _json(said.decode(errors="replace") if isinstance(said, bytes) else str(said))
        for key in ("error", "message", "detail"):
            if isinstance(body, Mapping) and key in body:
                body = body[key]
        if isinstance(body, str) and body.strip():
            return " ".join(body.split())
    return None


def _root_words(error: BaseException) -> str | None:
    """Return what the innermost cause says, such as that the connection was refused."""
    words = [str(cause).strip() for cause in _causes(error)]
    return next((word for word in reversed(words) if word), None)


def _json(text: str) -> object:
    start = text.find("{")
    try:
        return json.loads(text[start:]) if start >= 0 else None
    except (ValueError, RecursionError):
        return None


def _short(text: str, status: int | None = None) -> str:
    """Bound a message, and put the upstream's status in front of it."""
    # Scrubbed before it is cut: half a key is not found any more.
    text = scrub(text[:_LONGEST_LOOK])
    told = f"HTTP {status}: {text}" if status is not None and str(status) not in text else text
    return told if len(told) <= _LONGEST_MESSAGE else told[:_LONGEST_MESSAGE] + "…"
