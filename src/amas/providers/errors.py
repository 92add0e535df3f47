"""What can go wrong, as one tree.

::

    ProviderError                      provider, model, status_code, request_id, retry_after
    ├── ProviderConfigError            the configuration is wrong; .problems has one line each
    ├── AuthenticationError            401, 403: the key is not accepted
    ├── QuotaExceededError             402, 429 insufficient quota: the account is out of money
    ├── RateLimitError                 429: too fast; .retry_after says how long to wait
    ├── ProviderTimeoutError           no answer in time
    ├── ProviderConnectionError        never reached: refused, DNS, TLS, reset
    ├── ProviderUnavailableError       408, 5xx, 529, or an answer that cannot be read
    │   └── BadResponseError           an answer that fails a check, or is none; code that is wrong
    ├── InvalidRequestError            400, 422: the caller's mistake
    │   ├── UnsupportedError           the model cannot do what is asked: tools, a JSON schema, …
    │   ├── ContextWindowExceededError the prompt is too long for the model
    │   └── ContentPolicyError         refused by the vendor's content policy
    ├── ModelNotFoundError             404: the vendor does not know the model
    ├── StreamInterruptedError         a stream broke off; .partial_text has what came
    ├── AccessDeniedError              the caller may not do this
    ├── AuditUnavailableError          no call without its record, and it cannot be written
    ├── NoProviderAvailableError       nobody to ask: none configured, or all set aside
    └── AllProvidersFailedError        everybody asked has failed; .errors has each error

Messages are scrubbed of secrets when the error is built.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import ClassVar

from typing_extensions import override

from .secret import scrub
from .types import Attempt, Outcome


def suggestion(name: object, known: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the nearest known name; nothing if none is near."""
    close = nearest(str(name), known)
    return f" (did you mean {close!r}?)" if close else ""


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the known name that was probably meant, in whichever case; None if none is near.

    Args:
        name: What was said.
        known: What could be meant.
        cutoff: How near it has to be, from 0 to 1.
    """
    folded = {item.casefold(): item for item in known}
    close = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=cutoff)
    return folded[close[0]] if close else None


class ProviderError(Exception):
    """Base of every error this package raises.

    One that comes out of a manager has the records of the call's attempts in
    ``attempts``, as a result has.

    Args:
        message: What happened and what to do; secrets in it are masked.
        provider: Name of the provider it happened at.
        model: The model that was asked.
        status_code: HTTP status of the upstream's answer.
        request_id: Our id of the call.
        retry_after: Seconds after which a new try makes sense.
    """

    outcome: ClassVar[Outcome] = Outcome.UNAVAILABLE

    def __init__(
        self,
        message: str,
        *,
        provider: str | None = None,
        model: str | None = None,
        status_code: int | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.message = scrub(message)
        super().__init__(self.message)
        self.provider = provider
        self.model = model
        self.status_code = status_code
        self.request_id = request_id
        self.retry_after = retry_after
        self.attempts: tuple[Attempt, ...] = ()

    @override
    def __str__(self) -> str:
        return f"{self.provider}: {self.message}" if self.provider else self.message


class ProviderConfigError(ProviderError):
    """The configuration is wrong.

    Args:
        message: Summary; by default made of the problems.
        problems: One line per problem: where, what, and what to do.
        field: The field of a provider's configuration that is wrong, if it is one.
        provider: Name of the provider concerned.
    """

    outcome = Outcome.CONFIG

    def __init__(
        self,
        message: str = "",
        *,
        problems: Sequence[str] = (),
        field: str | None = None,
        provider: str | None = None,
    ) -> None:
        super().__init__(message or "\n".join(problems), provider=provider)
        self.problems = tuple(scrub(problem) for problem in problems) or (self.message,)
        self.field = field


class AuthenticationError(ProviderError):
    """The upstream does not accept the key (401, 403)."""

    outcome = Outcome.AUTH


class QuotaExceededError(ProviderError):
    """The account has no quota or money left (402, 429 ``insufficient_quota``)."""

    outcome = Outcome.QUOTA


class RateLimitError(ProviderError):
    """Too many requests (429); ``retry_after`` has the upstream's wish in seconds."""

    outcome = Outcome.RATE_LIMITED


class ProviderTimeoutError(ProviderError):
    """No answer within the time given."""

    outcome = Outcome.TIMEOUT


class ProviderConnectionError(ProviderError):
    """The upstream could not be reached: refused, DNS, TLS or reset."""

    outcome = Outcome.CONNECTION


class ProviderUnavailableError(ProviderError):
    """The upstream is in trouble (408, 5xx, 529) or answers something unreadable."""

    outcome = Outcome.UNAVAILABLE


class BadResponseError(ProviderUnavailableError):
    """An answer fails a check that the configuration asks for, or the provider's code is wrong.

    Its code is wrong where it raises a ``TypeError``, ``KeyError`` or the like, or returns
    something that is no answer: asking it again would not help.
    """

    outcome = Outcome.BAD_RESPONSE


class InvalidRequestError(ProviderError):
    """The request itself is wrong (400, 422): no other provider would help."""

    outcome = Outcome.INVALID_REQUEST


class UnsupportedError(InvalidRequestError):
    """The model cannot do what is asked, such as call tools; another one may."""

    outcome = Outcome.UNSUPPORTED


class ContextWindowExceededError(InvalidRequestError):
    """The prompt does not fit the model's context window."""

    outcome = Outcome.CONTEXT_WINDOW


class ContentPolicyError(InvalidRequestError):
    """The vendor's content policy refuses the request."""

    outcome = Outcome.CONTENT_POLICY


class ModelNotFoundError(ProviderError):
    """The vendor does not know the model (404)."""

    outcome = Outcome.MODEL_NOT_FOUND


class StreamInterruptedError(ProviderError):
    """A stream broke off after content had come.

    Args:
        message: How it broke off.
        partial_text: The text received until then.
        provider: Name of the provider.
        model: The model that was asked.
        status_code: HTTP status, where the upstream gave one in the stream.
        request_id: Our id of the call.
    """

    outcome = Outcome.STREAM_INTERRUPTED

    def __init__(
        self,
        message: str,
        *,
        partial_text: str = "",
        provider: str | None = None,
        model: str | None = None,
        status_code: int | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(
            message,
            provider=provider,
            model=model,
            status_code=status_code,
            request_id=request_id,
        )
        self.partial_text = partial_text


class AccessDeniedError(ProviderError):
    """The caller may not use this provider, model or parameter, or no more of it today.

    Args:
        message: What it may not do, and which rule says so.
        rule: Where the rule stands in the configuration.
        provider: Name of the provider, if it is about one.
        request_id: Our id of the call.
        retry_after: Seconds after which it is allowed again.
    """

    outcome = Outcome.ACCESS_DENIED

    def __init__(
        self,
        message: str,
        *,
        rule: str | None = None,
        provider: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, provider=provider, request_id=request_id, retry_after=retry_after)
        self.rule = rule


class AuditUnavailableError(ProviderError):
    """The record of the call cannot be written, and the configuration allows no call without."""

    outcome = Outcome.AUDIT_UNAVAILABLE


class NoProviderAvailableError(ProviderError):
    """There is nobody to ask: none configured, or all are set aside for now."""

    outcome = Outcome.NO_PROVIDER


class AllProvidersFailedError(ProviderError):
    """Every provider asked has failed.

    Args:
        message: Summary of who failed how.
        errors: The error of each attempt, in order.
        attempts: The record of each attempt, as in a result's ``attempts``.
        request_id: Our id of the call.
        retry_after: Seconds until the first of them may be asked again.
    """

    outcome = Outcome.ALL_FAILED

    def __init__(
        self,
        message: str,
        *,
        errors: Sequence[ProviderError] = (),
        attempts: Sequence[Attempt] = (),
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, request_id=request_id, retry_after=retry_after)
        self.errors = tuple(errors)
        self.attempts = tuple(attempts)
