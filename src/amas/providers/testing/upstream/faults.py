"""Faults: what an upstream does wrong, for which requests, how often."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Final

from .recording import RecordedRequest

ENDPOINTS_OF: Final = {
    "generate": frozenset({"chat"}),
    "models": frozenset({"models"}),
    "embeddings": frozenset({"embeddings"}),
    "token": frozenset({"token"}),
    "any": frozenset({"chat", "models", "embeddings", "token", "other"}),
}
"""Values of ``Fault.on`` and the recorded endpoints each of them stands for."""

_CHUNK_FIELDS: Final = ("cut_after", "truncate_after", "stream_error_after", "stall_after")
_ERROR_STATUSES: Final = range(400, 600)
_REDIRECT_STATUSES: Final = range(300, 400)
_SECONDS_FIELDS: Final = ("delay", "trickle")
_SCOPE_FIELDS: Final = frozenset({"times", "on", "match"})


@dataclass(frozen=True)
class Fault:
    """One way to misbehave.

    A *chunk* is a piece of the answer that carries text, reasoning or a part of a tool call; the
    frames around it (Anthropic's ``message_start``, OpenAI's role delta, ...) do not count. The
    body of an unstreamed answer counts as one chunk, of which half is sent.

    Args:
        times: How many matching requests it hits; None for ever.
        on: "generate", "models", "embeddings", "token" or "any".
        match: Text or regular expression searched in path and model, or a callable that is given
            the recorded request and tells whether it is meant.
        status: HTTP status of an error answer, with the body the vendor itself sends.
        code: Error code. The codes the formats know (``insufficient_quota``,
            ``context_length_exceeded``, ``content_filter``, ``model_not_found``,
            ``rate_limit_exceeded``, ``overloaded``, ...) bring the vendor's own status and body;
            any other is put into the body as it is, with status 400 unless ``status`` says more.
        message: Error message instead of the vendor's own.
        retry_after: ``Retry-After`` header of the answer: seconds, or an HTTP date.
        delay: Seconds before the first byte.
        hang: Never answer, until the client leaves.
        reset: Reset the TCP connection (RST) instead of answering.
        trickle: Seconds between the chunks of a stream, or the bytes of any other body.
        cut_after: Break the TCP connection after this many chunks, without a clean end.
        truncate_after: End cleanly after this many chunks, without finish reason or end marker.
        stream_error_after: Send the vendor's in-band error event after this many chunks. An
            unstreamed request gets the error as a plain error answer.
        stall_after: Send nothing more after this many chunks, with the connection held open.
        malformed: Answer 200 with broken JSON (in a stream: a broken first chunk). Together with
            ``status``: an HTML error page, as gateways send.
        empty: True: no choice at all. "content": a choice without any content.
        redirect: URL to redirect to; without a path it gets the path of the request.
        redirect_status: Status of that redirect.
        echo_key: Repeat the received credential in the error body and a response header (status
            401 unless another is given), for tests against leaks.

    Raises:
        ValueError: If there is no effect, two effects exclude each other, or a value is wrong.
    """

    times: int | None = 1
    on: str = "generate"
    match: str | Callable[[RecordedRequest], bool] | None = None
    status: int | None = None
    code: str | None = None
    message: str | None = None
    retry_after: float | str | None = None
    delay: float = 0.0
    hang: bool = False
    reset: bool = False
    trickle: float = 0.0
    cut_after: int | None = None
    truncate_after: int | None = None
    stream_error_after: int | None = None
    stall_after: int | None = None
    malformed: bool = False
    empty: bool | str = False
    redirect: str | None = None
    redirect_status: int = 307
    echo_key: bool = False

    def __post_init__(self) -> None:
        """Check every field, so that a wrong fault fails where it is written."""
        self._check_scope()
        self._check_ranges()
        self._check_effects()

    def _check_scope(self) -> None:
        if self.times is not None and self.times < 1:
            raise ValueError(f"times: {self.times} is not positive; use None for ever")
        if self.on not in ENDPOINTS_OF:
            raise ValueError(f"on: {self.on!r} is not one of {', '.join(ENDPOINTS_OF)}")
        if isinstance(self.match, str):
            try:
                re.compile(self.match)
            except re.error as error:
                raise ValueError(f"match: not a regular expression: {error}") from None

    def _check_ranges(self) -> None:
        if self.status is not None and self.status not in _ERROR_STATUSES:
            raise ValueError(f"status: {self.status} is not an error status (400 to 599)")
        if self.redirect_status not in _REDIRECT_STATUSES:
            raise ValueError(f"redirect_status: {self.redirect_status} is not from 300 to 399")
        for name in (*_SECONDS_FIELDS, *_CHUNK_FIELDS):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ValueError(f"{name}: {value} is negative")
        if self.empty not in (False, True, "content"):
            raise ValueError(f"empty: {self.empty!r} is neither True nor 'content'")

    def _check_effects(self) -> None:
        if all(
            getattr(self, item.name) == item.default
            for item in fields(self)
            if item.name not in _SCOPE_FIELDS | {"message", "redirect_status"}
        ):
            raise ValueError("a fault needs an effect, for example status=503 or hang=True")
        outcomes = [name for name in ("hang", "reset", "redirect", "empty") if getattr(self, name)]
        outcomes += [name for name in _CHUNK_FIELDS if getattr(self, name) is not None]
        if self.malformed:
            outcomes.append("malformed")
        if self.is_error and self.stream_error_after is None and not self.malformed:
            outcomes.append("status")
        if len(outcomes) > 1:
            raise ValueError(f"{' and '.join(outcomes)} exclude each other; queue two faults")

    @property
    def is_error(self) -> bool:
        """Whether the answer is an error body (an event, with ``stream_error_after``)."""
        given = (self.status, self.code, self.stream_error_after)
        return self.echo_key or any(value is not None for value in given)

    def matches(self, request: RecordedRequest) -> bool:
        """Tell whether the fault is meant for a request, whatever its ``times``."""
        if request.endpoint not in ENDPOINTS_OF[self.on]:
            return False
        if self.match is None:
            return True
        if callable(self.match):
            return bool(self.match(request))
        places = (request.path, request.model or "")
        return any(self.match in place or re.search(self.match, place) for place in places)

    @classmethod
    def rate_limited(cls, retry_after: float | str | None = None, **options: Any) -> Fault:
        """Answer as the vendor does when too many requests came in a minute."""
        return cls(code="rate_limit_exceeded", retry_after=retry_after, **options)

    @classmethod
    def quota_exceeded(cls, **options: Any) -> Fault:
        """Answer as the vendor does when the account has no credit left."""
        return cls(code="insufficient_quota", **options)

    @classmethod
    def context_window(cls, **options: Any) -> Fault:
        """Answer as the vendor does when the prompt is longer than the model's window."""
        return cls(code="context_length_exceeded", **options)

    @classmethod
    def content_policy(cls, **options: Any) -> Fault:
        """Refuse the prompt as the vendor does (Gemini: status 200 with a block reason)."""
        return cls(code="content_filter", **options)

    @classmethod
    def model_not_found(cls, **options: Any) -> Fault:
        """Answer as the vendor does when it has no such model."""
        return cls(code="model_not_found", **options)

    @classmethod
    def unauthorized(cls, **options: Any) -> Fault:
        """Refuse the key as the vendor does."""
        return cls(code="invalid_api_key", **options)

    @classmethod
    def overloaded(cls, **options: Any) -> Fault:
        """Answer as the vendor does when it has no capacity."""
        return cls(code="overloaded", **options)


class FaultQueue:
    """Faults waiting for their requests, first come first served; safe to use from any thread."""

    def __init__(self) -> None:
        """Start with no fault."""
        self._lock = threading.Lock()
        self._waiting: list[tuple[Fault, int | None]] = []

    def add(self, fault: Fault) -> None:
        """Append a fault."""
        with self._lock:
            self._waiting.append((fault, fault.times))

    def clear(self) -> None:
        """Forget every fault."""
        with self._lock:
            self._waiting.clear()

    def take(self, request: RecordedRequest) -> Fault | None:
        """Return the first fault meant for a request and use it up by one.

        Args:
            request: The request about to be answered.

        Returns:
            The fault to apply, or None.
        """
        with self._lock:
            for index, (fault, left) in enumerate(self._waiting):
                if fault.matches(request):
                    if left == 1:
                        del self._waiting[index]
                    elif left is not None:
                        self._waiting[index] = (fault, left - 1)
                    return fault
        return None
