"""Spans for OpenTelemetry: one for each call, and below it one for each attempt.

The attributes are those of the semantic conventions for generative AI clients
(https://opentelemetry.io/docs/specs/semconv/gen-ai/); their names stand here and nowhere else.
Tokens are told by the requests alone, so that whoever adds them up counts none twice. Nothing of
a prompt or an answer is in a span.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ..errors import ProviderConfigError
from ..secret import scrub
from ..types import Attempt, Outcome, Request, Usage
from .events import CallEnded
from .trace_context import trace_headers

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer, TracerProvider

OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
RESPONSE_MODEL: Final = "gen_ai.response.model"
REQUEST_STREAM: Final = "gen_ai.request.stream"
TEMPERATURE: Final = "gen_ai.request.temperature"
TOP_P: Final = "gen_ai.request.top_p"
MAX_TOKENS: Final = "gen_ai.request.max_tokens"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
ERROR_TYPE: Final = "error.type"
STATUS_CODE: Final = "http.response.status_code"

# What the conventions do not name.
REQUEST_ID: Final = "amas.request_id"
CALLER: Final = "amas.caller"
PROVIDER_ROW: Final = "amas.provider"
KEY: Final = "amas.key"
HEDGE: Final = "amas.hedge"
ATTEMPTS: Final = "amas.attempts"
COST: Final = "amas.cost_usd"
CANCELLED: Final = "amas.cancelled"
FIRST_CONTENT: Final = "amas.first_content_ms"

# The conventions' own names for vendors whose name in the catalogue is another one.
_WELL_KNOWN: Final[Mapping[str, str]] = {
    "azure": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "codestral": "mistral_ai",
    "moonshot": "moonshot_ai",
    "vertex_ai": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
    "xai": "x_ai",
}

_CHAT = "chat"


class Tracing:
    """Makes the spans.

    Args:
        propagate: Whether upstreams are sent the W3C trace context.
        provider: Whose spans they are; the global tracer provider's if None.

    Raises:
        ProviderConfigError: OpenTelemetry is not installed.
    """

    def __init__(self, *, propagate: bool = False, provider: TracerProvider | None = None) -> None:
        try:
            from opentelemetry import trace  # noqa: PLC0415 -- an extra: needed only here
        except ImportError:
            raise ProviderConfigError(
                "tracing needs OpenTelemetry: pip install 'amas-providers[tracing]'"
            ) from None
        self._tracer: Tracer = trace.get_tracer("amas.providers", tracer_provider=provider)
        self._propagate = propagate

    def call(self, request: Request, *, streamed: bool) -> CallSpan:
        """Begin the span of a call, below the span that is current.

        Args:
            request: The call.
            streamed: Whether its answer is asked for piece by piece.
        """
        attributes = {
            REQUEST_ID: request.id,
            REQUEST_STREAM: streamed,
            **_known({CALLER: request.caller, REQUEST_MODEL: request.model or request.alias_name}),
            **_numbers(request.params),
        }
        span = self._tracer.start_span("amas.generate", attributes=attributes)
        return CallSpan(span, self._tracer, self._propagate)


@dataclass(frozen=True, slots=True)
class CallSpan:
    """The span of one call."""

    span: Span
    tracer: Tracer
    propagate: bool

    def attempt(self, *, provider: str, vendor: str | None, model: str | None) -> AttemptSpan:
        """Begin the span of one request to one upstream.

        Args:
            provider: Name of the provider's row.
            vendor: Name of its vendor in the catalogue.
            model: The model that is asked.
        """
        from opentelemetry import trace  # noqa: PLC0415 -- an extra: needed only here

        name = vendor or provider
        attributes = {
            OPERATION: _CHAT,
            PROVIDER: _WELL_KNOWN.get(name, name),
            PROVIDER_ROW: provider,
            **_known({REQUEST_MODEL: model}),
        }
        span = self.tracer.start_span(
            scrub(f"{_CHAT} {model}") if model else _CHAT,
            context=trace.set_span_in_context(self.span),
            kind=trace.SpanKind.CLIENT,
            attributes=attributes,
        )
        return AttemptSpan(span, self.propagate)

    def end(self, call: CallEnded) -> None:
        """End it.

        Args:
            call: How the call ended.
        """
        self.span.set_attributes(
            _known(
                {
                    PROVIDER_ROW: call.provider,
                    RESPONSE_MODEL: call.model,
                    COST: call.cost_usd,
                    FIRST_CONTENT: call.first_content_ms,
                    ATTEMPTS: len(call.attempts),
                }
            )
        )
        _end(self.span, call.outcome, call.status_code)


@dataclass(frozen=True, slots=True)
class AttemptSpan:
    """The span of one request to one upstream."""

    span: Span
    propagate: bool

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make it the current span, and have the request carry its context if that is asked."""
        from opentelemetry import propagate, trace  # noqa: PLC0415 -- an extra: needed only here

        with trace.use_span(
            self.span, end_on_exit=False, record_exception=False, set_status_on_exception=False
        ):
            if not self.propagate:
                yield
                return
            headers: dict[str, str] = {}
            propagate.inject(headers)
            token = trace_headers.set(headers)
            try:
                yield
            finally:
                trace_headers.reset(token)

    def end(self, attempt: Attempt, usage: Usage | None, first_content_ms: float | None) -> None:
        """End it.

        Args:
            attempt: The record of the request.
            usage: Tokens, as the upstream counted them.
            first_content_ms: Milliseconds to the first content of a stream.
        """
        self.span.set_attributes(
            _known(
                {
                    RESPONSE_MODEL: attempt["model"],
                    KEY: attempt.get("key"),
                    HEDGE: attempt.get("hedge"),
                    FIRST_CONTENT: first_content_ms,
                    **_tokens(usage),
                }
            )
        )
        _end(self.span, attempt["outcome"], attempt["status_code"])


def _end(span: Span, outcome: str, status_code: int | None) -> None:
    from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415 -- an extra: needed only here

    if status_code is not None:
        span.set_attribute(STATUS_CODE, status_code)
    if outcome == Outcome.OK:
        span.set_status(Status(StatusCode.OK))
    elif outcome == Outcome.CANCELLED:
        # Nobody has failed: it was left, or another one was faster.
        span.set_attribute(CANCELLED, value=True)
    else:
        span.set_attribute(ERROR_TYPE, outcome)
        # No description: an upstream's message may quote the prompt.
        span.set_status(Status(StatusCode.ERROR))
    span.end()


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: scrub(value) if isinstance(value, str) else value
        for name, value in values.items()
        if value is not None
    }


def _tokens(usage: Usage | None) -> dict[str, Any]:
    if not usage:
        return {}
    # What a provider of somebody else's counts may lack anything.
    return {
        INPUT_TOKENS: usage.get("prompt_tokens"),
        OUTPUT_TOKENS: usage.get("completion_tokens"),
    }


def _numbers(params: Mapping[str, Any]) -> dict[str, int | float]:
    names = {"temperature": TEMPERATURE, "top_p": TOP_P, "max_tokens": MAX_TOKENS}
    asked = {attribute: params.get(name) for name, attribute in names.items()}
    return {
        attribute: value
        for attribute, value in asked.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
