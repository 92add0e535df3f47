"""LiteLLM's translation of one vendor's wire format, without LiteLLM's way to the wire."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import httpx

from ..litellm_runtime import Runtime
from ..params import Call
from ..target import Target
from .plain import PlainAnswer, read_plain

# What LiteLLM sends along where its configuration class does not say so.
_GREETINGS: Mapping[str, Mapping[str, str]] = {
    "openrouter": {"HTTP-Referer": "https://litellm.ai", "X-Title": "liteLLM"},
}
# Vendors that LiteLLM renames on the way.
_RENAMED = {"ai21": "ai21_chat"}
# Parameters that are mapped without a look at the messages, one by one.
_SIMPLE = frozenset(
    {
        "frequency_penalty",
        "max_completion_tokens",
        "max_tokens",
        "presence_penalty",
        "seed",
        "temperature",
        "top_k",
        "top_p",
        "user",
    }
)
# Types of which different values are written differently.
_SPELT_OUT = frozenset({bool, float, int, str})
_MOST_MAPPED = 256
_TOOL_KEYS = {"type", "function"}


@dataclass(slots=True, repr=False)
class Outgoing:
    """A request as it is sent, and what reading its answer takes.

    Args:
        url: Where it goes.
        headers: Its headers; the key is among them.
        body: Its body.
        model: The model asked.
        messages: What is asked, in OpenAI's form.
        data: The body as data.
        optional: The parameters in the vendor's form.
        params: LiteLLM's own parameters.
        json_mode: Whether JSON is asked for by a tool, whose call is the answer.
    """

    url: str
    headers: dict[str, str]
    body: bytes
    model: str
    messages: list[dict[str, Any]]
    data: dict[str, Any]
    optional: dict[str, Any]
    params: dict[str, Any] = field(default_factory=dict)
    json_mode: bool = False


class NotDirectError(Exception):
    """A call takes LiteLLM's own way, because here it would not be the same."""


class NoRecord:
    """What LiteLLM's translations take for the record of a call."""

    def __init__(self) -> None:
        self.model_call_details: dict[str, Any] = {}
        self.optional_params: dict[str, Any] = {}

    def pre_call(self, *_args: Any, **_kwargs: Any) -> None:
        """Note nothing before a request."""

    def post_call(self, *_args: Any, **_kwargs: Any) -> None:
        """Note nothing after a request."""


class Translation:
    """The vendors that LiteLLM speaks to by its own HTTP handler; the others refine it.

    Args:
        runtime: LiteLLM.
        target: Where requests go.
        key: The key that is shown there.
        headers: What every request carries.
    """

    def __init__(
        self, runtime: Runtime, target: Target, *, key: str, headers: Mapping[str, str]
    ) -> None:
        self._litellm = runtime.litellm
        self._base_url = target.base_url
        self._vendor = _RENAMED.get(target.litellm_provider, target.litellm_provider)
        self._mapped_as = self._vendor  # whose errors LiteLLM takes a stream's for
        self._prefix = ""  # what LiteLLM puts before the name of the model that has answered
        self._key = key
        self._headers = {**_GREETINGS.get(self._vendor, {}), **headers}
        self._utils: Any = import_module("litellm.utils")
        self._types: Any = import_module("litellm.types.utils")
        self._known = self._vendor in {each.value for each in self._litellm.LlmProviders}
        self._configs: dict[str, Any] = {}
        self._mapped: dict[tuple[str, bool, str], dict[str, Any]] = {}
        self._openai: Any = import_module("litellm.llms.openai.chat.gpt_transformation")
        params: Any = import_module("litellm.litellm_core_utils.get_litellm_params")
        self._params: dict[str, Any] = params.get_litellm_params(
            acompletion=True,
            api_key=key,
            custom_llm_provider=self._vendor,
            api_base=target.base_url,
            drop_params=True,
            max_retries=0,
        )

    def request(self, call: Call, *, stream: bool) -> Outgoing:
        """Make the request of a call.

        Args:
            call: What is asked.
            stream: Whether the answer is to come piece by piece.

        Raises:
            NotDirectError: LiteLLM would do more than translate.
            Exception: What LiteLLM raises where something cannot be asked.
        """
        config = self.config(call.model)
        # LiteLLM answers some of these streams itself, from a complete answer.
        if stream and config.should_fake_stream(
            model=call.model, stream=True, custom_llm_provider=self._vendor
        ):
            raise NotDirectError
        messages = self._utils.validate_and_fix_openai_messages(messages=call.messages)
        if self._known:
            messages = config.translate_developer_role_to_system_role(messages=messages)
        optional = self._optional(call, messages, stream=stream)
        if optional.pop("fake_stream", False) and stream:
            raise NotDirectError
        return self._build(config, call.model, messages, optional, stream=stream)

    def config(self, model: str) -> Any:
        """Return LiteLLM's translation for a model."""
        if model not in self._configs:
            if len(self._configs) >= _MOST_MAPPED:
                self._configs.clear()
            self._configs[model] = self._find_config(model)
        return self._configs[model]

    def _find_config(self, model: str) -> Any:
        return self._utils.ProviderConfigManager.get_provider_chat_config(
            model=model, provider=self._litellm.LlmProviders(self._vendor)
        )

    def _optional(
        self, call: Call, messages: list[dict[str, Any]], *, stream: bool
    ) -> dict[str, Any]:
        """Return the parameters in the vendor's form; those of a call like an earlier one again."""
        params = call.params
        if not (params.keys() <= _SIMPLE and {*map(type, params.values())} <= _SPELT_OUT):
            return self._map(call, messages, stream=stream)
        # As written: 1, 1.0 and True are equal, and not the same to a vendor; nor are 0.0 and -0.0.
        known = (call.model, stream, repr(params))
        mapped = self._mapped.get(known)
        if mapped is None:
            mapped = self._map(call, messages, stream=stream)
            if len(self._mapped) >= _MOST_MAPPED:
                self._mapped.clear()
            self._mapped[known] = mapped
        return {
            name: {**value} if isinstance(value, dict) else value for name, value in mapped.items()
        }

    def _map(self, call: Call, messages: list[dict[str, Any]], *, stream: bool) -> dict[str, Any]:
        params = dict(call.params)
        if "tools" in params:
            params["tools"] = self._utils.validate_and_fix_openai_tools(tools=params["tools"])
            if any(tool.keys() - _TOOL_KEYS for tool in params["tools"]):
                raise NotDirectError  # LiteLLM knows whose keys these are
        if "tool_choice" in params:
            params["tool_choice"] = self._utils.validate_chat_completion_tool_choice(
                tool_choice=params["tool_choice"], model=call.model
            )
        if "thinking" in params:
            params["thinking"] = self._utils.validate_and_fix_thinking_param(
                thinking=params["thinking"]
            )
        if stream:
            params["stream_options"] = {"include_usage": True}
        mapped: dict[str, Any] = self._litellm.get_optional_params(
            model=call.model,
            custom_llm_provider=self._vendor,
            messages=messages,
            max_retries=0,
            drop_params=True,
            stream=stream or None,
            **params,
        )
        return mapped

    def _build(
        self,
        config: Any,
        model: str,
        messages: list[dict[str, Any]],
        optional: dict[str, Any],
        *,
        stream: bool,
    ) -> Outgoing:
        json_mode = optional.pop("json_mode", False)
        extra_body = optional.pop("extra_body", None)
        asked: dict[str, Any] = {
            "model": model,
            "optional_params": optional,
            "litellm_params": self._params,
        }
        place = {"api_base": self._base_url, "api_key": self._key}
        headers = config.validate_environment(
            headers=dict(self._headers), messages=messages, **asked, **place
        )
        url = config.get_complete_url(stream=stream or None, **asked, **place)
        data = config.transform_request(messages=messages, headers=headers, **asked)
        if extra_body is not None:
            data |= config.transform_extra_body(
                extra_body=extra_body, request=data, model=model, litellm_params=self._params
            )
        if stream and config.supports_stream_param_in_request_body:
            data["stream"] = True
        return Outgoing(
            url,
            headers,
            json.dumps(data).encode(),
            model,
            messages,
            data,
            optional,
            self._params,
            json_mode=json_mode,
        )

    def answer(self, asked: Outgoing, response: httpx.Response) -> Any:
        """Read a complete answer into LiteLLM's response."""
        return self.config(asked.model).transform_response(
            model=asked.model,
            raw_response=response,
            model_response=self._blank(),
            logging_obj=NoRecord(),
            api_key=self._key,
            request_data=asked.data,
            messages=asked.messages,
            optional_params=asked.optional,
            litellm_params=asked.params,
            encoding=None,
            json_mode=asked.json_mode,
        )

    def plain_answer(self, asked: Outgoing, body: bytes) -> PlainAnswer | None:
        """Read a complete answer of which LiteLLM would make nothing else; None for any other."""
        if not self._passes_on(self.config(asked.model)):
            return None
        return read_plain(body, self._litellm.Usage, prefix=self._prefix)

    def _passes_on(self, config: Any) -> bool:
        """Whether a model's translation leaves an answer in OpenAI's form as it is."""
        return type(config).transform_response is self._openai.OpenAIGPTConfig.transform_response

    def _blank(self) -> Any:
        blank = self._types.ModelResponse()
        blank.usage = self._litellm.Usage()
        return blank

    def refusal(self, asked: Outgoing, response: httpx.Response) -> Exception:
        """Return LiteLLM's exception for an answer that is a refusal."""
        error: Exception = self.config(asked.model).get_error_class(
            error_message=response.text,
            status_code=response.status_code,
            headers=response.headers,
        )
        return error

    def parser(self, asked: Outgoing) -> Any:
        """Return what reads the pieces of one stream: its ``chunk_parser`` takes their JSON."""
        return self.config(asked.model).get_model_response_iterator(
            streaming_response=iter(()), sync_stream=True, json_mode=asked.json_mode
        )

    def reads_plain_text(self, parser: Any) -> bool:
        """Whether a parser makes nothing of a piece with nothing but text; most pieces are such."""
        plain = self._openai.OpenAIChatCompletionStreamingHandler
        return type(parser).chunk_parser is plain.chunk_parser

    def tidied(self, event: dict[str, Any]) -> dict[str, Any]:
        """Return a piece without what LiteLLM never hands to its parser; raise what it raises."""
        return event

    def has_finished(self, _event: Mapping[str, Any]) -> bool:
        """Whether a piece's finish reason is the upstream's word, where LiteLLM makes one up."""
        return True

    def mapped_error(self, error: Exception, model: str) -> Exception:
        """Return what LiteLLM makes of an exception in a stream."""
        try:
            self._utils.exception_type(
                model=model,
                custom_llm_provider=self._mapped_as,
                original_exception=error,
                completion_kwargs={},
                extra_kwargs={},
            )
        except Exception as mapped:  # noqa: BLE001 -- that is how it returns its result
            return mapped
        return error
