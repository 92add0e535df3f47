"""The vendors that LiteLLM does not speak to by its common HTTP handler."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Any

import httpx
from typing_extensions import override

from ..litellm_runtime import Runtime
from ..target import Target
from .translation import NoRecord, NotDirectError, Outgoing, Translation

# What openai's SDK says where the upstream says nothing.
_NO_WORDS = "An error occurred during streaming"


def _compact(data: Any) -> bytes:
    """Write JSON as httpx and openai's SDK do."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


@cache
def _order_of_parameters() -> Mapping[str, int]:
    """Return the place of each parameter in what openai's SDK sends: messages, model, the alphabet.

    The signature that says the same lies among all of the SDK's resources, a quarter of a second
    to import; a test compares them.
    """
    params: Any = import_module("openai.types.chat.completion_create_params")
    names = {"stream", *params.CompletionCreateParamsBase.__annotations__}
    first = ("messages", "model")
    ordered = (*first, *sorted(names.difference(first)))
    return {name: index for index, name in enumerate(ordered)}


class OpenAITranslation(Translation):
    """The vendors that LiteLLM speaks to by openai's SDK."""

    def __init__(self, runtime: Runtime, target: Target, **given: Any) -> None:
        super().__init__(runtime, target, **given)
        self._mapped_as = "openai"
        self._prefix = "" if self._vendor == "openai" else f"{self._vendor}/"
        self._errors: Any = import_module("litellm.llms.openai.common_utils")
        self._convert: Any = import_module(
            "litellm.litellm_core_utils.llm_response_utils.convert_dict_to_response"
        ).convert_to_model_response_object
        sdk: Any = import_module("openai")
        self._api_error = sdk.APIError
        self._completion: Any = import_module("openai.types.chat.chat_completion").ChatCompletion
        # What reads a refusal needs nothing of a client; made in full, it would open one of httpx's.
        self._sdk = sdk.AsyncOpenAI.__new__(sdk.AsyncOpenAI)
        self._order = _order_of_parameters()

    @override
    def _find_config(self, model: str) -> Any:
        found = super()._find_config(model) if self._known else None
        self._known = found is not None
        return found or self._litellm.OpenAIConfig()

    @override
    def _build(
        self,
        config: Any,
        model: str,
        messages: list[dict[str, Any]],
        optional: dict[str, Any],
        *,
        stream: bool,
    ) -> Outgoing:
        for name in ("max_retries", "stream"):
            optional.pop(name, None)
        streaming = optional.pop("stream_options", None)
        data = config.transform_request(
            model=model,
            messages=messages,
            optional_params=optional,
            litellm_params=self._params,
            headers=self._headers,
        )
        if stream:
            data["stream"] = True
            if streaming is not None:
                data["stream_options"] = streaming
        extra = data.pop("extra_body", None) or {}
        if not data.keys() <= self._order.keys():
            raise NotDirectError  # the SDK refuses what it does not know
        data = dict(sorted(data.items(), key=lambda item: self._order[item[0]])) | extra
        headers = {
            "Authorization": f"Bearer {self._key}",
            "Content-Type": "application/json",
            **(config.get_attribution_headers() if self._known else {}),
            **self._headers,
        }
        url = f"{self._base_url}/chat/completions"
        return Outgoing(url, headers, _compact(data), model, messages, data, optional, self._params)

    @override
    def _passes_on(self, config: Any) -> bool:
        own = self._openai.OpenAIGPTConfig.transform_parsed_response_dict
        return type(config).transform_parsed_response_dict is own

    @override
    def answer(self, asked: Outgoing, response: httpx.Response) -> Any:
        data = response.json()
        if not isinstance(data, dict):
            raise ValueError("the answer is no JSON object")  # noqa: TRY004 -- of the upstream's making
        # What is there of an answer, and what is not, is for the SDK's own class to say.
        read = self._completion.construct(**data).model_dump(warnings=False)
        blank = self._blank()
        if self._prefix:
            blank.model = self._prefix + asked.model
        return self._convert(
            response_object=self.config(asked.model).transform_parsed_response_dict(read),
            model_response_object=blank,
        )

    @override
    def refusal(self, asked: Outgoing, response: httpx.Response) -> Exception:
        told = self._sdk._make_status_error_from_response(response)  # noqa: SLF001 -- the SDK's own words
        error: Exception = self._errors.OpenAIError(
            status_code=response.status_code,
            message=told.message,
            headers=response.headers,
            body=told.body,
        )
        return error

    @override
    def tidied(self, event: dict[str, Any]) -> dict[str, Any]:
        if told := event.get("error"):
            message = told.get("message") if isinstance(told, Mapping) else None
            request = httpx.Request("POST", self._base_url)
            raise self._api_error(str(message or _NO_WORDS), request, body=told)
        usage = event.get("usage")
        return {
            **event,
            # Not looked at, so what is wrong with it does no harm.
            "id": "",
            "created": 0,
            "model": None,
            "choices": [_tidied(choice) for choice in event.get("choices") or ()],
            "usage": usage if isinstance(usage, dict) else None,
        }


def _tidied(choice: dict[str, Any]) -> dict[str, Any]:
    """Return a choice as LiteLLM takes it from the SDK: a delta may be null, and a finish anything."""
    finish = choice.get("finish_reason")
    return {
        **choice,
        "delta": {} if choice.get("delta") is None else choice["delta"],
        "finish_reason": None if isinstance(finish, dict | list) else finish,
    }


class AnthropicTranslation(Translation):
    """Anthropic."""

    def __init__(self, runtime: Runtime, target: Target, **given: Any) -> None:
        super().__init__(runtime, target, **given)
        self._handler: Any = import_module("litellm.llms.anthropic.chat.handler")

    @override
    def _build(
        self,
        config: Any,
        model: str,
        messages: list[dict[str, Any]],
        optional: dict[str, Any],
        *,
        stream: bool,
    ) -> Outgoing:
        optional, messages = copy.deepcopy(optional), copy.deepcopy(messages)
        optional.pop("stream", None)
        json_mode = optional.pop("json_mode", False)
        params = dict(self._params)
        asked: dict[str, Any] = {
            "model": model,
            "messages": messages,
            "litellm_params": params,
        }
        vertex = {"is_vertex_request": False}
        headers = config.validate_environment(
            headers=dict(self._headers),
            api_key=self._key,
            api_base=self._base_url,
            optional_params=optional | vertex,
            **asked,
        )
        data = config.transform_request(headers=headers, optional_params=optional | vertex, **asked)
        headers, data = self._handler.update_request_with_filtered_beta(
            headers=headers, request_data=data, provider=self._vendor
        )
        if stream:
            data["stream"] = True
        body = json.dumps(data).encode() if stream else _compact(data)
        url = f"{self._base_url}/v1/messages"
        return Outgoing(
            url, headers, body, model, messages, data, optional, params, json_mode=json_mode
        )

    @override
    def parser(self, asked: Outgoing) -> Any:
        return self._handler.ModelResponseIterator(
            streaming_response=iter(()),
            sync_stream=True,
            json_mode=asked.json_mode,
            speed=asked.optional.get("speed"),
            tool_name_reverse_map=asked.params.get(
                self._handler.ANTHROPIC_TOOL_NAME_REVERSE_MAP_KEY
            ),
        )


class GeminiTranslation(Translation):
    """Google's Gemini API."""

    def __init__(self, runtime: Runtime, target: Target, **given: Any) -> None:
        super().__init__(runtime, target, **given)
        gemini = "litellm.llms.vertex_ai.gemini"
        self._handler: Any = import_module(f"{gemini}.vertex_and_google_ai_studio_gemini")
        self._transform: Any = import_module(f"{gemini}.transformation").sync_transform_request_body
        self._vertex = self._handler.VertexLLM()
        self._config = self._handler.VertexGeminiConfig()

    @override
    def _build(
        self,
        config: Any,
        model: str,
        messages: list[dict[str, Any]],
        optional: dict[str, Any],
        *,
        stream: bool,
    ) -> Outgoing:
        optional.pop("stream", None)
        nowhere = dict.fromkeys(("vertex_project", "vertex_location"))
        place: dict[str, Any] = {"gemini_api_key": self._key, "api_base": self._base_url}
        shown, url = self._vertex._get_token_and_url(  # noqa: SLF001 -- LiteLLM has it nowhere else
            model=model,
            auth_header=None,
            vertex_credentials=None,
            stream=stream or None,
            custom_llm_provider=self._vendor,
            **nowhere,
            **place,
        )
        asked: dict[str, Any] = {
            "model": model,
            "messages": messages,
            "optional_params": optional,
            "litellm_params": self._params,
        }
        headers = self._config.validate_environment(
            api_key=shown, headers=dict(self._headers), **asked
        )
        data = self._transform(
            client=None,
            timeout=None,
            extra_headers=dict(self._headers),
            logging_obj=NoRecord(),
            custom_llm_provider=self._vendor,
            vertex_auth_header=shown,
            **asked,
            **nowhere,
            **place,
        )
        body = json.dumps(data).encode() if stream else _compact(data)
        return Outgoing(url, headers, body, model, messages, data, optional, self._params)

    @override
    def parser(self, asked: Outgoing) -> Any:
        return self._handler.ModelResponseIterator(
            streaming_response=iter(()), sync_stream=True, logging_obj=NoRecord()
        )

    @override
    def has_finished(self, event: Mapping[str, Any]) -> bool:
        candidates = event.get("candidates") or ()
        refused = (event.get("promptFeedback") or {}).get("blockReason")
        return bool(refused) or any(each.get("finishReason") for each in candidates)
