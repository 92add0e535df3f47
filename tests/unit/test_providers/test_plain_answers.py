"""Plain answers are read without LiteLLM, and are what LiteLLM would make of them; others are left to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from amas.providers import LiteLLMProvider, ProviderConfig
from amas.providers.llm.answer import HttpxTransport
from amas.providers.llm.direct.dispatch import DirectDispatch
from amas.providers.llm.direct.plain import Counts, read_plain
from amas.providers.llm.http_client import NotingTransport
from amas.providers.llm.litellm_runtime import load_runtime
from amas.providers.llm.params import Call

DETAILS = {
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": None},
    "completion_tokens_details": {"reasoning_tokens": 0, "accepted_prediction_tokens": 0},
}
COUNTS = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def answer(
    message: Mapping[str, Any] | None = None,
    choice: Mapping[str, Any] | None = None,
    **top: Any,
) -> dict[str, Any]:
    """Make an answer in OpenAI's form, plain but for what is given."""
    said = {"role": "assistant", "content": "Hello.", **(message or {})}
    chosen = {"index": 0, "message": said, "finish_reason": "stop", **(choice or {})}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o"}
    return {**head, "choices": [chosen], "usage": COUNTS, **top}


PLAIN: Mapping[str, dict[str, Any]] = {
    "as short as can be": answer(),
    "no details": answer(usage=COUNTS | DETAILS),
    "details": answer(usage=COUNTS | {"prompt_tokens_details": {"cached_tokens": 3}}),
    "thoughts": answer(usage=COUNTS | {"completion_tokens_details": {"reasoning_tokens": 4}}),
    "counts of a vendor's own": answer(usage=COUNTS | {"prompt_cache_hit_tokens": 2, "queue": 0.1}),
    "nothing counted": answer(usage=None),
    "zeros": answer(usage=dict.fromkeys(COUNTS, 0)),
    "nothing else": answer({"refusal": None, "annotations": [], "tool_calls": None, "audio": None}),
    "no calls": answer({"tool_calls": [], "function_call": None}),
    "no reasoning": answer({"reasoning_content": None, "reasoning": None}),
    "cut": answer(choice={"finish_reason": "length", "logprobs": None}),
    "filtered": answer(choice={"finish_reason": "content_filter", "content_filter_results": {}}),
    "a prefix": answer(model="openai/gpt-4o"),
    "a vendor's own keys": answer(service_tier="default", x_vendor={"id": 1}, error=None),
    "a tag within": answer({"content": "a <think>b</think>"}),
    "unicode": answer({"content": "Grüße 你好 \u2028 \x85 🎉"}),
}
OTHERS: Mapping[str, Any] = {
    "a call": answer({"content": None, "tool_calls": [CALL]}, {"finish_reason": "tool_calls"}),
    "a call beside text": answer({"tool_calls": [CALL]}),
    "reasoning": answer({"reasoning_content": "because"}),
    "reasoning by another name": answer({"reasoning": "because"}),
    "reasoning in tags": answer({"content": "<think>because</think>Hello."}),
    "an image": answer({"images": [{"type": "image_url", "image_url": {"url": "data:"}}]}),
    "no text": answer({"content": None}),
    "an empty text": answer({"content": ""}),
    "parts": answer({"content": [{"type": "text", "text": "Hello."}]}),
    "another role": answer({"role": "user"}),
    "probabilities": answer(choice={"logprobs": {"content": []}}),
    "no reason": answer(choice={"finish_reason": None}),
    "a vendor's reason": answer(choice={"finish_reason": "eos"}),
    "an odd reason": answer(choice={"finish_reason": ["stop"]}),
    "no choice": answer(choices=[]),
    "two choices": answer(choices=answer()["choices"] * 2),
    "an error": answer(error={"message": "no", "code": 500}),
    "no model": answer(model=None),
    "no number": answer(created=float("nan")),
    "counts that are none": answer(usage={"prompt_tokens": "5"}),
    "a list": [answer()],
    "a number": 7,
}


ROWS = ("openai", "together", "deepseek", "perplexity")
"""OpenAI itself; by its SDK, with the vendor's name before the model's; by HTTP; with other prices."""


def read(found: Any) -> Any:
    """Read an answer, with LiteLLM's class for usage."""
    return read_plain(json.dumps(found).encode(), load_runtime().litellm.Usage, prefix="")


async def results(row: str, found: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """Return what becomes of an answer with and without the short way, with the price of each."""
    config = ProviderConfig(row, api_key="k" * 9, health_probe="off", dispatch="direct")
    provider = LiteLLMProvider(config)
    assert await provider.initialize(), provider.last_error
    body = json.dumps(found).encode()
    upstream = httpx.MockTransport(lambda _: httpx.Response(200, content=body))
    assert isinstance(provider._dispatch, DirectDispatch)
    way = provider._dispatch.through(NotingTransport(HttpxTransport(upstream)))
    call = Call(provider.target.model, [{"role": "user", "content": "hello"}], {})
    translation = way._translation
    seen = []
    for skipped in ("answer", "plain_answer"):
        with monkeypatch.context() as patch:
            patch.setattr(translation, skipped, lambda *_: None)
            result, usage = await way.complete(call, request_id="r")
        seen.append((result, provider._cost(call.model, usage)))
    await provider.shutdown()
    return seen[0], seen[1]


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("case", PLAIN)
async def test_plain_answers_are_what_litellm_makes_of_them(
    row: str, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Text, reason, model, counts and price are LiteLLM's, for every kind of vendor."""
    short, litellms = await results(row, PLAIN[case], monkeypatch)
    assert short == litellms
    assert short[0]["content"]


@pytest.mark.parametrize("case", PLAIN)
def test_plain_answers_are_read_without_litellm(case: str) -> None:
    """An answer that has only text is recognised, whatever the vendor adds that says nothing."""
    found = read(PLAIN[case])
    assert found is not None
    assert found.text == PLAIN[case]["choices"][0]["message"]["content"]
    assert isinstance(found.usage, Counts) is (
        case not in {"details", "thoughts", "counts of a vendor's own", "nothing counted"}
    )


@pytest.mark.parametrize("case", OTHERS)
def test_other_answers_are_left_to_litellm(case: str) -> None:
    """What LiteLLM would make something of, or refuse, is not plain."""
    assert read(OTHERS[case]) is None


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"<html>", b"[" * 100_000])
def test_what_is_no_json_is_left_to_litellm(body: bytes) -> None:
    """An answer that cannot be read is LiteLLM's to complain of."""
    assert read_plain(body, dict, prefix="") is None


@pytest.mark.parametrize("row", ["groq", "mistral", "ollama", "anthropic", "gemini"])
async def test_vendors_with_a_form_of_their_own_are_left_to_litellm(row: str) -> None:
    """Where the vendor's translation has its own way with answers, none is taken for plain."""
    config = ProviderConfig(row, api_key="k" * 9, health_probe="off", dispatch="direct")
    provider = LiteLLMProvider(config)
    assert await provider.initialize(), provider.last_error
    assert isinstance(provider._dispatch, DirectDispatch)
    translation = provider._dispatch._translation
    call = Call(provider.target.model, [{"role": "user", "content": "hello"}], {})
    asked = translation.request(call, stream=False)
    await provider.shutdown()
    assert translation.plain_answer(asked, json.dumps(answer()).encode()) is None
