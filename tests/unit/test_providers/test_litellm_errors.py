"""LiteLLM's exceptions become ours: the table, its refinements, and every status over real HTTP."""

from __future__ import annotations

import enum
import inspect
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from importlib import import_module
from typing import Any

import httpx
import pytest
from blockbuster import BlockBuster

from amas.providers import (
    AuthenticationError,
    ContentPolicyError,
    ContextWindowExceededError,
    InvalidRequestError,
    LiteLLMProvider,
    ModelNotFoundError,
    ProviderConfig,
    ProviderConfigError,
    ProviderConnectionError,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    QuotaExceededError,
    RateLimitError,
)
from amas.providers.base.retry_after import retry_after
from amas.providers.llm.http_client import Wire
from amas.providers.llm.litellm_errors import TABLE, translate
from amas.providers.llm.litellm_runtime import load_runtime
from amas.providers.testing.upstream import Fault, Upstream

pytestmark = pytest.mark.usefixtures("uncovered")

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
PATHS = {
    "openai": "/v1",
    "anthropic": "",
    "gemini": "/v1beta",
    "ollama": "",
    "cohere": "/compatibility/v1",
    "mistral": "/v1",
}


# --- the table ---------------------------------------------------------------------------------------


def litellm_exceptions() -> list[type[BaseException]]:
    """Return every exception class that LiteLLM has."""
    load_runtime()
    module = import_module("litellm.exceptions")
    return [
        item
        for item in vars(module).values()
        if inspect.isclass(item)
        and issubclass(item, BaseException)
        # Its own, and openai's that it passes on under its own module.
        and not issubclass(item, enum.Enum)
        and item.__module__.startswith("litellm")
    ]


def test_every_exception_of_litellm_is_in_the_table_by_its_own_name() -> None:
    """A LiteLLM upgrade that brings a new exception class is noticed here, not by a user."""
    classes = litellm_exceptions()
    assert len(classes) > 20
    missing = sorted({item.__name__ for item in classes} - TABLE.keys())
    assert not missing, f"decide in litellm_errors.TABLE what these mean: {missing}"


def test_every_value_of_the_table_is_one_of_our_errors() -> None:
    """Nothing but our own errors comes out, and none that only a stream or a manager raises."""
    assert all(issubclass(value, ProviderError) for value in TABLE.values())
    assert ProviderError not in TABLE.values()


class APIError(Exception):
    __module__ = "litellm.exceptions"


class BrandNewError(APIError):
    __module__ = "litellm.exceptions"


class UnknownError(Exception):
    __module__ = "litellm.exceptions"


class BadRequestError(Exception):
    __module__ = "litellm.exceptions"


class NotFoundError(Exception):
    __module__ = "litellm.exceptions"


class LiteLLMUnknownProvider(Exception):  # noqa: N818 -- LiteLLM's own name
    __module__ = "litellm.exceptions"


def translated(error: BaseException, **wire: Any) -> ProviderError:
    """Translate an error of a request that was sent, unless the wire says otherwise."""
    given: dict[str, Any] = {"requests": 1} | wire
    return translate(error, Wire(**given), provider="p", model="m", now=NOW)


@pytest.mark.parametrize("error", [BrandNewError("x"), UnknownError("x"), ValueError("x")])
def test_unknown_classes_fall_to_their_base(error: Exception) -> None:
    """What the table does not name counts as an upstream in trouble, with which failover goes on."""
    assert type(translated(error)) is ProviderUnavailableError


def test_the_status_on_the_wire_decides() -> None:
    """LiteLLM's class yields to what the upstream really answered."""
    found = translated(BadRequestError("no"), status=503)
    assert (type(found), found.status_code) == (ProviderUnavailableError, 503)
    assert type(translated(APIError("no"), status=401)) is AuthenticationError
    assert translated(APIError("no"), status=200).status_code is None


def test_what_was_never_sent_is_the_requests_fault() -> None:
    """Without a request on the wire no provider has failed."""
    assert type(translated(APIError("cannot convert"), requests=0)) is InvalidRequestError
    assert type(translated(OSError("no such host"), requests=0)) is InvalidRequestError
    assert type(translated(NotFoundError("x"), requests=0)) is ModelNotFoundError
    found = translated(LiteLLMUnknownProvider("no such provider"), requests=0)
    assert type(found) is ProviderConfigError
    assert found.provider == "p"


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        (httpx.ConnectError("[Errno 111] Connection refused"), ProviderConnectionError),
        (httpx.RemoteProtocolError("Server disconnected"), ProviderConnectionError),
        (ConnectionResetError(104, "Connection reset by peer"), ProviderConnectionError),
        (httpx.ReadTimeout("slow"), ProviderTimeoutError),
        (httpx.PoolTimeout("full"), ProviderTimeoutError),
    ],
)
def test_wire_trouble_is_found_under_litellms_classes(
    cause: Exception, kind: type[ProviderError]
) -> None:
    """Refused and reset connections are told from servers in trouble by what caused the error."""
    wrapped = APIError("APIError: something")
    wrapped.__cause__ = cause
    found = translated(wrapped)
    assert type(found) is kind
    if kind is ProviderConnectionError:
        assert str(cause) in found.message


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("This model's maximum context length is 8 tokens", ContextWindowExceededError),
        ("prompt is too long: 9 tokens > 8 maximum", ContextWindowExceededError),
        ("content_policy_violation", ContentPolicyError),
        ("flagged as potentially violating our usage policy", ContentPolicyError),
        ("API key not valid. Please pass a valid API key.", AuthenticationError),
        ("Your credit balance is too low", QuotaExceededError),
        ("You have reached your specified API usage limits", QuotaExceededError),
        ("got unexpected response from Ollama", ProviderUnavailableError),
        ("temperature is out of range", InvalidRequestError),
    ],
)
def test_bad_requests_are_told_apart(text: str, kind: type[ProviderError]) -> None:
    """Vendors put many things under 400; their words tell which."""
    assert type(translated(BadRequestError(text), status=400)) is kind


def test_messages_are_the_upstreams_words() -> None:
    """LiteLLM's wrapping is cut off, long texts are cut short, and the status stands in front."""
    error = APIError("litellm.APIError: APIError: OpenAIException - it broke")
    assert translated(error).message == "it broke"
    error.body = {"error": {"message": "really\n broke"}}  # type: ignore[attr-defined]
    assert translated(error, status=500).message == "HTTP 500: really broke"
    error.body, error.message = None, b'{"detail": "in bytes"}'  # type: ignore[attr-defined]
    assert translated(error, status=500).message == "HTTP 500: in bytes"
    error.message = '{"error": not json'  # type: ignore[attr-defined]
    assert "not json" in translated(error, status=500).message
    assert len(translated(APIError("x" * 9999)).message) == 501
    assert translated(APIError()).message == "APIError"


def test_errors_that_go_round_in_circles_are_read_once() -> None:
    """A chain of causes that bites its own tail ends the walk, not the process."""
    first, second = APIError("first"), APIError("second")
    first.__cause__, second.__cause__ = second, first
    assert translated(first).message == "first"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("1.5", 1.5),
        ("-3", 0.0),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOW - timedelta(seconds=90), usegmt=True), 0.0),
        ("Tue, 24 Nov 2026 12:00:05 -0000", 5.0),
        ("inf", None),
        ("nan", None),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    """Seconds and dates are both understood (RFC 9110, section 10.2.3)."""
    assert retry_after(value, NOW) == seconds


# --- over real HTTP ----------------------------------------------------------------------------------


@pytest.fixture
async def up(no_blocking: BlockBuster) -> AsyncIterator[Upstream]:
    """Run an upstream in the test's own loop."""
    async with Upstream("up") as upstream:
        yield upstream


STATUSES: dict[int, type[ProviderError]] = {
    400: InvalidRequestError,
    401: AuthenticationError,
    402: QuotaExceededError,
    403: AuthenticationError,
    404: ModelNotFoundError,
    408: ProviderUnavailableError,
    409: ProviderUnavailableError,
    422: InvalidRequestError,
    429: RateLimitError,
    500: ProviderUnavailableError,
    502: ProviderUnavailableError,
    503: ProviderUnavailableError,
    504: ProviderUnavailableError,
    529: ProviderUnavailableError,
}


async def failure(provider: LiteLLMProvider, *, stream: bool) -> ProviderError:
    """Return the error that a request ends in."""
    try:
        if stream:
            await anext(provider.stream("hello"))
        else:
            await provider.generate("hello")
    except ProviderError as error:
        return error
    raise AssertionError("the request did not fail")


def provider_at(up: Upstream, name: str) -> LiteLLMProvider:
    """Configure a provider for the upstream."""
    config = ProviderConfig(name, api_key="k" * 12, base_url=up.url + PATHS[name], timeout=5)
    return LiteLLMProvider(config)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("stream", [False, True], ids=["generate", "stream"])
async def test_each_status_is_one_request_and_one_error(
    up: Upstream, name: str, *, stream: bool
) -> None:
    """Each status gives its own error, with status and Retry-After, after exactly one request."""
    provider = provider_at(up, name)
    assert await provider.initialize()
    date = format_datetime(datetime.now(tz=UTC) + timedelta(seconds=30), usegmt=True)
    for status, kind in STATUSES.items():
        wishes: list[tuple[float | str | None, float | None]] = [(7, 7.0)]
        wishes += [(date, 30.0), (None, None)] if status in {429, 503} else []
        for wish, seconds in wishes:
            up.clear()
            up.fault(status=status, retry_after=wish)
            error = await failure(provider, stream=stream)
            assert type(error) is kind, (status, error)
            assert (error.status_code, error.provider, error.model) == (
                status,
                name,
                provider.model,
            )
            assert error.message.startswith(f"HTTP {status}: ") or str(status) in error.message
            assert "b'{" not in error.message
            assert error.retry_after == (seconds and pytest.approx(seconds, abs=5))
            assert len(up.requests) == 1
    await provider.shutdown()


SPECIAL: list[tuple[Fault, type[ProviderError]]] = [
    (Fault.context_window(), ContextWindowExceededError),
    (Fault.quota_exceeded(), QuotaExceededError),
    (Fault.unauthorized(), AuthenticationError),
    (Fault.model_not_found(), ModelNotFoundError),
    (Fault.overloaded(), ProviderUnavailableError),
    (Fault.rate_limited(), RateLimitError),
    (Fault(status=502, malformed=True), ProviderUnavailableError),
    (Fault(reset=True), ProviderConnectionError),
]


@pytest.mark.parametrize("name", PATHS)
async def test_vendors_own_words_are_understood(up: Upstream, name: str) -> None:
    """Quota, window, key and model are told apart in each vendor's own error bodies."""
    provider = provider_at(up, name)
    assert await provider.initialize()
    for fault, kind in SPECIAL:
        for stream in (False, True):
            up.clear()
            up.fault(fault)
            error = await failure(provider, stream=stream)
            assert type(error) is kind, (fault, error)
            assert len(up.requests) == 1
    if name not in {"gemini", "ollama"}:  # one refuses within the answer, the other never
        up.fault(Fault.content_policy())
        assert type(await failure(provider, stream=False)) is ContentPolicyError
    await provider.shutdown()


@pytest.mark.parametrize("name", PATHS)
async def test_answers_that_cannot_be_read(up: Upstream, name: str) -> None:
    """An answer cut off, of broken JSON or without a choice is the upstream's trouble."""
    provider = provider_at(up, name)
    assert await provider.initialize()
    for fault in (Fault(malformed=True), Fault(empty=True), Fault(cut_after=1)):
        if fault.empty and name == "anthropic":
            continue  # an answer without content blocks is complete there
        up.fault(fault)
        error = await failure(provider, stream=False)
        assert type(error) in {ProviderUnavailableError, ProviderConnectionError}, (fault, error)
        assert error.status_code is None
    await provider.shutdown()


async def test_refused_connection(up: Upstream) -> None:
    """A server that is not there is a connection error that says so."""
    provider = provider_at(up, "openai")
    assert await provider.initialize()
    await up.stop()
    error = await failure(provider, stream=False)
    assert type(error) is ProviderConnectionError
    assert "connection failed: " in error.message
    assert not await provider.health_check()
    assert type(provider.last_error) is ProviderConnectionError
    await provider.shutdown()
