"""What a caller may ask: no routing at any depth, media only from allowed places, bounded in size. Pure.

One pass over a call's messages and parameters. JSON schemas of tools and answers, and the
arguments of tool calls, are data: there a property may be called ``headers`` or hold an address.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

from ..errors import InvalidRequestError
from .media import media_problem

# What would send a request elsewhere or as somebody else, whoever the provider is, or have
# LiteLLM make up the answer.
ROUTING: Final = frozenset(
    {
        "api_base",
        "api_key",
        "api_type",
        "api_version",
        "azure_ad_token",
        "azure_ad_token_provider",
        "base_url",
        "callbacks",
        "client",
        "context_window_fallback_dict",
        "custom_llm_provider",
        "default_headers",
        "deployment_id",
        "extra_body",
        "extra_headers",
        "extra_query",
        "fallbacks",
        "headers",
        "hf_model_name",
        "http_client",
        "litellm_params",
        "mock_response",
        "mock_timeout",
        "mock_tool_calls",
        "model_list",
        "organization",
        "proxy",
        "region_name",
        "ssl_verify",
        "use_litellm_proxy",
    }
)
_PREFIXES: Final = ("aws_", "litellm_", "vertex_")

_MOST_MESSAGES: Final = 100_000
_MOST_VALUES: Final = 1_000_000
_DEEPEST: Final = 100
_LONGEST_CHARACTER: Final = 4  # bytes, in UTF-8

# Keys under which a message or a tool has data: a schema, arguments, or what an answer cited.
_DATA: Final = frozenset(
    {
        "annotations",
        "arguments",
        "citations",
        "input",
        "input_examples",
        "input_schema",
        "output_schema",
        "parameters",
        "response_schema",
        "schema",
    }
)
# Keys whose text is text, whatever it looks like.
_TEXT: Final = frozenset(
    {
        "content",
        "context",
        "description",
        "instructions",
        "name",
        "reasoning_content",
        "refusal",
        "role",
        "signature",
        "text",
        "thinking",
        "title",
    }
)
# Keys whose text is an address, whatever it looks like (image_url, fileUri, server-url, …).
_ADDRESS_NAME: Final = re.compile(r"ur[il]s?$", re.IGNORECASE)
# An id may be an address too; then it has one of these.
_ID_NAME: Final = re.compile(r"file[_-]?id$", re.IGNORECASE)
_NO_ID: Final = re.compile(r"[^!-~]|//|\\|^[a-z][a-z0-9+.-]{0,30}:", re.IGNORECASE)
# Under any other key, where base64 may begin with two slashes. As lenient as those who read
# addresses: they pass over what is not printed, and take a backslash for a slash.
_SCHEME_AND_SLASH: Final = re.compile(
    r"[^!-~]*(?:[a-z](?:[^ -~]*[a-z0-9+.-]){0,30}[^ -~]*:[^ -~]*[/\\]|(?:https?|file|gs|s3|ftp):)",
    re.IGNORECASE,
)
_NUMBERS: Final = (int, float)
_BYTES: Final = (bytes, bytearray)


@dataclass(frozen=True, slots=True)
class RequestRules:
    """What holds for the calls of a service; the section ``security`` says it.

    Args:
        media_urls: Whether messages may have addresses of media: ``allow``, ``allow-list``
            or ``forbid``. Data URLs are no addresses.
        media_hosts: Hosts that these may have under ``allow-list``; ``*.example.com`` stands
            for all hosts below that one.
        max_prompt_bytes: Most bytes, in UTF-8, of messages and parameters together.
    """

    media_urls: str = "allow"
    media_hosts: tuple[str, ...] = ()
    max_prompt_bytes: int = 32 * 1024 * 1024


DEFAULT_RULES: Final = RequestRules()


class _Zone(Enum):
    """What a value is part of."""

    MESSAGES = auto()
    TOOLS = auto()
    PARAMS = auto()
    ADDRESS = auto()
    DATA = auto()


def inspect_call(
    prompt: object, params: Mapping[str, Any], rules: RequestRules = DEFAULT_RULES
) -> None:
    """Refuse a call that would route itself, has media from elsewhere, or is too large.

    Args:
        prompt: A text, or messages.
        params: Parameters by name, ``system_prompt`` among them.
        rules: What holds for the service's calls.

    Raises:
        InvalidRequestError: What is wrong and where; no part of the content is repeated.
    """
    routing = [name for name in params if is_routing(name)]
    if routing:
        raise InvalidRequestError(
            f"a caller may not set {', '.join(sorted(routing))}: where a request goes, and with which"
            " key, is for the configuration to say"
        )
    if (
        isinstance(prompt, Sequence)
        and not isinstance(prompt, str)
        and len(prompt) > _MOST_MESSAGES
    ):
        raise InvalidRequestError(f"the prompt has over {_MOST_MESSAGES} messages")
    inspection = _Inspection(rules)
    _look_at(inspection, prompt, params)
    if inspection.size > rules.max_prompt_bytes:
        inspection = _Inspection(rules, exact=True)
        _look_at(inspection, prompt, params)


def is_routing(name: object) -> bool:
    """Tell whether a parameter says where a request goes, or as whom."""
    if not isinstance(name, str):
        return False
    plain = name.strip().casefold().replace("-", "_")
    return plain in ROUTING or plain.startswith(_PREFIXES)


def _is_named(shape: re.Pattern[str], key: object) -> bool:
    return isinstance(key, str) and shape.search(key) is not None


def _look_at(inspection: _Inspection, prompt: object, params: Mapping[str, Any]) -> None:
    try:
        inspection.look(prompt, "content", _Zone.MESSAGES, 0)
    except _Found as found:
        raise InvalidRequestError(f"messages{found.where}: {found}") from None
    for name, value in params.items():
        zone = _Zone.TOOLS if name == "tools" else _Zone.PARAMS
        try:
            inspection.look(value, name, zone, 0)
        except _Found as found:
            raise InvalidRequestError(f"{name}{found.where}: {found}") from None


class _Found(Exception):  # noqa: N818 -- what is looked for
    """Something that is not allowed, and the way to it."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.where = ""


class _Inspection:
    """One pass.

    Args:
        rules: What holds.
        exact: Whether to count bytes; otherwise no fewer than there are.
    """

    __slots__ = ("exact", "limit", "rules", "size", "values")

    def __init__(self, rules: RequestRules, *, exact: bool = False) -> None:
        self.rules = rules
        self.exact = exact
        self.limit = rules.max_prompt_bytes
        self.size = 0
        self.values = 0

    def look(self, value: object, key: object, zone: _Zone, depth: int) -> None:
        """Look at a value and all in it.

        Args:
            value: The value.
            key: The key it has, in the innermost mapping around it.
            zone: What it is part of.
            depth: How many values are around it.
        """
        if isinstance(value, str):
            self._count(value)
            if zone is not _Zone.DATA:
                self._check_address(value, key, zone)
        elif value is None or isinstance(value, _NUMBERS):
            return
        elif isinstance(value, _BYTES):
            self.size += len(value)
        elif isinstance(value, Mapping):
            self._enter(value, depth)
            within = zone is not _Zone.DATA and _is_named(_ADDRESS_NAME, key)
            self._look_into(value, _Zone.ADDRESS if within else zone, depth)
        elif isinstance(value, Sequence):
            self._enter(value, depth)
            for place, item in enumerate(value):
                try:
                    self.look(item, key, zone, depth + 1)
                except _Found as found:
                    found.where = f"[{place}]{found.where}"
                    raise
        elif callable(dump := getattr(value, "model_dump", None)) and not isinstance(value, type):
            self.look(dump(), key, zone, depth)  # an object of a vendor's library

    def _look_into(self, mapping: Mapping[Any, Any], zone: _Zone, depth: int) -> None:
        for key, value in mapping.items():
            try:
                if isinstance(key, str):
                    self._count(key)
                if zone is not _Zone.ADDRESS and isinstance(value, str) and key in _TEXT:
                    self._count(value)  # most of all, so at once
                elif zone is not _Zone.DATA:
                    self._check_name(key, zone)
                    inner = _Zone.DATA if key in _DATA and zone is not _Zone.ADDRESS else zone
                    self.look(value, key, inner, depth + 1)
                else:
                    self.look(value, key, zone, depth + 1)
            except _Found as found:
                found.where = f".{str(key)[:40]}{found.where}"
                raise

    def _enter(self, value: Mapping[Any, Any] | Sequence[Any], depth: int) -> None:
        self.values += len(value)
        if depth > _DEEPEST:
            raise _Found(f"is nested over {_DEEPEST} levels deep")
        if self.values > _MOST_VALUES:
            raise _Found(f"messages and parameters have over {_MOST_VALUES} values")

    def _count(self, text: str) -> None:
        if text.isascii():
            self.size += len(text)
        elif self.exact:
            self.size += len(text.encode("utf-8", "surrogatepass"))
        else:
            self.size += _LONGEST_CHARACTER * len(text)
        if self.exact and self.size > self.limit:
            raise _Found(
                f"messages and parameters have over {self.limit} bytes, which is the limit"
                " (security.max_prompt_bytes)"
            )

    def _check_name(self, key: object, zone: _Zone) -> None:
        if is_routing(key) or (zone is _Zone.TOOLS and key == "model"):
            raise _Found(
                "a caller may not set this: where a request goes, with which key and to which"
                " model, is for the configuration to say"
            )

    def _check_address(self, text: str, key: object, zone: _Zone) -> None:
        if _is_named(_ADDRESS_NAME, key):
            suspect = True
        elif zone is _Zone.PARAMS or (key in _TEXT and zone is not _Zone.ADDRESS):
            return
        elif _is_named(_ID_NAME, key):
            suspect = _NO_ID.search(text) is not None
        else:
            suspect = _SCHEME_AND_SLASH.match(text) is not None
        if suspect:
            problem = media_problem(text, self.rules.media_urls, self.rules.media_hosts)
            if problem is not None:
                raise _Found(problem)
