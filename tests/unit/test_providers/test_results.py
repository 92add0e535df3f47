"""From what a provider answers to what the caller gets."""

from __future__ import annotations

from typing import Any

import pytest
from typing_extensions import override

from amas.providers import ProviderManager
from amas.providers.errors import AllProvidersFailedError, BadResponseError
from amas.providers.security.sandbox.answers import result_from_data
from amas.providers.testing import FakeProvider
from amas.providers.types import GenerationResult, Prompt


class Answering(FakeProvider):
    """A provider that answers whatever it was given."""

    def __init__(self, answer: Any) -> None:
        super().__init__("a", model="m")
        self.answer = answer

    @override
    async def generate(self, prompt: Prompt, **kwargs: Any) -> GenerationResult | Any:
        return self.answer


async def ask(answer: Any) -> GenerationResult:
    """Ask through a manager a provider that answers this."""
    manager = ProviderManager()
    await manager.register_provider(Answering(answer))
    try:
        return await manager.generate("hi")
    finally:
        await manager.shutdown()


async def test_content_is_enough() -> None:
    """Everything else has a value that says that it is not known."""
    result = await ask({"content": "x"})
    assert result.keys() == GenerationResult.__annotations__.keys() - {"alias"}
    assert (result["content"], result["provider"], result["model"]) == ("x", "a", "m")
    assert (result["tokens_used"], result["usage"], result["cost_usd"]) == (0, None, None)
    assert (result["tool_calls"], result["dropped_params"]) == ([], [])
    assert result["finish_reason"] is None
    assert result["reasoning_content"] is None
    assert result["request_id"]


async def test_what_the_provider_says_is_kept() -> None:
    """But who answered, with which id and after what, only the manager knows."""
    result = await ask(
        {
            "content": "x",
            "provider": "somebody",
            "model": "m2",
            "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
            "finish_reason": "length",
            "tool_calls": ({"id": "1"},),
            "reasoning_content": "hm",
            "cost_usd": 0.5,
            "request_id": "theirs",
            "attempts": ["theirs"],
            "dropped_params": ("seed",),
        }
    )
    assert (result["model"], result["tokens_used"], result["cost_usd"]) == ("m2", 3, 0.5)
    assert (result["finish_reason"], result["reasoning_content"]) == ("length", "hm")
    assert (result["tool_calls"], result["dropped_params"]) == ([{"id": "1"}], ["seed"])
    assert result["provider"] == "a"
    assert result["request_id"] != "theirs"
    assert [item["outcome"] for item in result["attempts"]] == ["ok"]
    assert result["latency_ms"] == result["attempts"][0]["latency_ms"]


async def test_tool_calls_need_no_text() -> None:
    """OpenAI's own form has null for the content then."""
    assert (await ask({"content": None, "tool_calls": [{"id": "1"}]}))["content"] == ""


@pytest.mark.parametrize("usage", [{"prompt_tokens": 1}, {}, {"total_tokens": None}])
async def test_usage_that_is_incomplete_is_no_reason_to_fail(usage: dict[str, Any]) -> None:
    """The answer counts; the tokens are not known."""
    assert (await ask({"content": "x", "usage": usage}))["tokens_used"] == 0


async def test_tokens_used_may_come_without_usage() -> None:
    """Old providers count only the total."""
    assert (await ask({"content": "x", "tokens_used": 7}))["tokens_used"] == 7


@pytest.mark.parametrize(
    ("answer", "got"),
    [
        (None, "a value of type NoneType"),
        ("x", "a value of type str"),
        (["x"], "a value of type list"),
        ({}, "a mapping without it"),
        ({"text": "x"}, "a mapping without it"),
        ({"content": None}, "a mapping without it"),
        ({"content": 5}, "a mapping whose `content` is of type int"),
        ({"content": b"x"}, "a mapping whose `content` is of type bytes"),
    ],
    ids=repr,
)
async def test_whatever_is_no_answer_is_a_failure(answer: Any, got: str) -> None:
    """It says what an answer is and what came, of which only the type, here and out of a sandbox."""
    wanted = f"generate must return a mapping with `content`, a text; it returned {got}"
    with pytest.raises(AllProvidersFailedError) as raised:
        await ask(answer)
    assert raised.value.errors[0].message == wanted
    with pytest.raises(BadResponseError) as far:
        result_from_data(answer, provider="a")
    assert far.value.message == wanted


@pytest.mark.parametrize(
    "answer", [{"content": "x", "usage": 5}, {"content": "x", "tool_calls": 5}], ids=repr
)
async def test_an_answer_that_cannot_be_read_is_a_failure(answer: Any) -> None:
    """The next provider would be asked."""
    with pytest.raises(AllProvidersFailedError, match="unexpected"):
        await ask(answer)
