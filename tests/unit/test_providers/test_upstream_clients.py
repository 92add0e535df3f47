"""Real clients against the upstream: LiteLLM and the openai SDK accept everything it says."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import openai
import pytest

from amas.providers.testing.upstream import Fault, Reply, ThreadedUpstream, ToolCall

# What LiteLLM does inside makes pydantic warn: on the first use of some vendors' modules, and on
# every reasoning chunk of Gemini's.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*`ReadOnly` qualifier.*:UserWarning"),
    pytest.mark.filterwarnings("ignore:Accessing the 'model_:DeprecationWarning"),
]

KEY = "sk-" + "x" * 20
BASES = {
    "openai": "/v1",
    "anthropic": "",
    "ollama_chat": "",
    "ollama": "",
    "gemini": "/v1beta",
    "cohere_chat": "/v2/chat",
    "mistral": "/v1",
    "deepseek": "/v1",
    "groq": "/openai/v1",
    "ai21": "/studio/v1",
}
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tell the weather.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    },
}


@pytest.fixture(scope="module")
def litellm() -> Any:
    """Import LiteLLM without network and without reading any .env file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "LITELLM_LOCAL_MODEL_COST_MAP", "True")
        patch.setitem(os.environ, "LITELLM_MODE", "PRODUCTION")
        import litellm as module
    return module


@pytest.fixture
async def client(litellm: Any) -> AsyncIterator[Any]:
    """Lend LiteLLM to a test, and close its clients afterwards."""
    litellm.suppress_debug_info = True
    yield litellm
    await litellm.close_litellm_async_clients()
    litellm.in_memory_llm_clients_cache.flush_cache()
    # Streams of Anthropic and Gemini go through this one, which the line above does not know.
    await litellm.module_level_aclient.client._transport.aclose()


@pytest.fixture
def up() -> Iterator[ThreadedUpstream]:
    """Run an upstream in a thread, since LiteLLM blocks the loop for Ollama's /api/show."""
    with ThreadedUpstream("alpha") as upstream:
        yield upstream


async def complete(client: Any, up: ThreadedUpstream, provider: str, **options: Any) -> Any:
    """Call a provider through LiteLLM, with every default that could lead elsewhere shut off."""
    return await client.acompletion(
        model=options.pop("model", "test-model"),
        custom_llm_provider=provider,
        api_base=up.url + BASES[provider],
        api_key=KEY,
        max_retries=0,
        num_retries=0,
        timeout=5,
        _skip_mcp_handler=True,  # LiteLLM 1.106.2 imports an uninstalled extra for tools without it
        messages=[{"role": "user", "content": "hello there friend"}],
        **options,
    )


async def collect(stream: Any, pieces: list[str]) -> str | None:
    """Read a stream to its end, collect its text, and return its last finish reason."""
    finish = None
    async for chunk in stream:
        for choice in chunk.choices:
            pieces.append(choice.delta.content or "")
            finish = choice.finish_reason or finish
    return finish


@pytest.mark.parametrize("provider", BASES)
async def test_litellm_plain(client: Any, up: ThreadedUpstream, provider: str) -> None:
    """A plain answer arrives whole, with the key sent and the documented token counts."""
    answer = await complete(client, up, provider)
    said = answer.choices[0]
    assert said.message.content.startswith("alpha says: ")
    assert "hello there friend" in said.message.content
    assert said.finish_reason == "stop"
    prompt = 5 if provider == "ollama" else 3  # LiteLLM flattens the prompt into "### User:" lines
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (prompt, prompt + 2)
    chats = [request for request in up.requests if request.endpoint == "chat"]
    assert [request.credential for request in chats] == [KEY]


@pytest.mark.parametrize("provider", BASES)
async def test_litellm_stream(client: Any, up: ThreadedUpstream, provider: str) -> None:
    """A stream arrives in several chunks that add up to the plain answer."""
    plain = await complete(client, up, provider)
    pieces: list[str] = []
    stream = await complete(client, up, provider, stream=True)
    assert await collect(stream, pieces) == "stop"
    assert "".join(pieces) == plain.choices[0].message.content
    assert len(list(filter(None, pieces))) > 3
    assert [r.stream for r in up.requests if r.endpoint == "chat"] == [False, True]


@pytest.mark.parametrize(
    "provider", ["openai", "anthropic", "gemini", "mistral", "deepseek", "groq"]
)
@pytest.mark.parametrize("stream", [False, True])
async def test_litellm_forced_tool(
    client: Any, up: ThreadedUpstream, provider: str, *, stream: bool
) -> None:
    """A forced tool is called with arguments that fit its schema, streamed or not."""
    answer = await complete(
        client, up, provider, tools=[WEATHER], tool_choice="required", stream=stream
    )
    if stream:
        answer = client.stream_chunk_builder([chunk async for chunk in answer])
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    [call] = choice.message.tool_calls
    assert (call.function.name, call.function.arguments) == ("weather", '{"city": "example"}')


@pytest.mark.parametrize(
    "provider", ["openai", "anthropic", "gemini", "cohere_chat", "ollama_chat"]
)
async def test_litellm_parallel_tool_calls(
    client: Any, up: ThreadedUpstream, provider: str
) -> None:
    """Two calls in one reply arrive as two calls with the arguments given."""
    up.upstream.reply = lambda _: Reply(
        None, [ToolCall("weather", {"city": "Oslo"}), ToolCall("weather", {"city": "Rome"})]
    )
    answer = await complete(client, up, provider, tools=[WEATHER])
    calls = answer.choices[0].message.tool_calls
    cities = [json.loads(call.function.arguments)["city"] for call in calls]
    assert cities == ["Oslo", "Rome"]


@pytest.mark.parametrize("provider", ["openai", "anthropic", "deepseek", "ollama_chat", "gemini"])
@pytest.mark.parametrize("stream", [False, True])
async def test_litellm_reasoning(
    client: Any, up: ThreadedUpstream, provider: str, *, stream: bool
) -> None:
    """Reasoning arrives apart from the content."""
    up.upstream.reply = lambda _: Reply("four", reasoning="two and two")
    answer = await complete(client, up, provider, stream=stream)
    if stream:
        answer = client.stream_chunk_builder([chunk async for chunk in answer])
    message = answer.choices[0].message
    assert (message.content, message.reasoning_content) == ("four", "two and two")


@pytest.mark.parametrize("provider", ["openai", "anthropic", "gemini", "mistral", "ollama_chat"])
async def test_litellm_json_schema(client: Any, up: ThreadedUpstream, provider: str) -> None:
    """A wanted JSON object has the required properties of its schema."""
    schema = WEATHER["function"]["parameters"]
    wanted = {"type": "json_schema", "json_schema": {"name": "w", "schema": schema}}
    # LiteLLM writes the schema into the prompt for Gemini models that it does not know.
    model = "gemini-2.5-flash" if provider == "gemini" else "test-model"
    answer = await complete(client, up, provider, response_format=wanted, model=model)
    assert json.loads(answer.choices[0].message.content) == {"city": "example"}


ERRORS: dict[str, dict[str, str | None]] = {
    "openai": {"quota": "RateLimitError", "policy": "ContentPolicyViolationError"},
    "anthropic": {"quota": "BadRequestError", "policy": "ContentPolicyViolationError"},
    "gemini": {"quota": "RateLimitError", "policy": None},
    "cohere_chat": {"quota": "PaymentRequiredError", "policy": "BadRequestError"},
    "mistral": {"quota": "RateLimitError", "policy": "ContentPolicyViolationError"},
    "deepseek": {"quota": "RateLimitError", "policy": "ContentPolicyViolationError"},
    "ollama_chat": {"quota": "RateLimitError", "policy": "BadRequestError"},
}


@pytest.mark.parametrize("provider", ERRORS)
async def test_litellm_errors(client: Any, up: ThreadedUpstream, provider: str) -> None:
    """LiteLLM reads the vendor's own error bodies as the errors they are."""
    window = "BadRequestError" if provider == "ollama_chat" else "ContextWindowExceededError"
    expected: list[tuple[Fault, str | None]] = [
        (Fault.unauthorized(), "AuthenticationError"),
        (Fault.model_not_found(), "NotFoundError"),
        (Fault.rate_limited(7), "RateLimitError"),
        (Fault.context_window(), window),
        (Fault.quota_exceeded(), ERRORS[provider]["quota"]),
        (Fault.content_policy(), ERRORS[provider]["policy"]),
        (Fault(status=400), "BadRequestError"),
        (Fault(status=500), "InternalServerError"),
        (Fault(status=503), "ServiceUnavailableError"),
    ]
    for fault, name in expected:
        up.fault(fault)
        if name is None:
            answer = await complete(client, up, provider)
            assert answer.choices[0].finish_reason == "content_filter"
            continue
        with pytest.raises(getattr(client, name)) as caught:
            await complete(client, up, provider)
        assert type(caught.value).__name__ == name, fault
        if fault.retry_after:
            headers = caught.value.litellm_response_headers
            assert provider == "cohere_chat" or headers["retry-after"] == "7"


@pytest.mark.parametrize("provider", ["openai", "anthropic", "gemini", "mistral", "cohere_chat"])
async def test_litellm_broken_stream(client: Any, up: ThreadedUpstream, provider: str) -> None:
    """A connection cut within a stream is an error that comes after the text so far."""
    up.fault(cut_after=2)
    stream = await complete(client, up, provider, stream=True)
    seen: list[str] = []
    with pytest.raises(client.exceptions.MidStreamFallbackError):
        await collect(stream, seen)
    assert "".join(seen) == "alpha says: "


@pytest.mark.parametrize("provider", ["openai", "gemini", "ollama", "cohere"])
async def test_litellm_embeddings(client: Any, up: ThreadedUpstream, provider: str) -> None:
    """Each text gets one vector of its own."""
    bases = {**BASES, "cohere": "/v2/embed"}
    answer = await client.aembedding(
        model="test-model",
        custom_llm_provider=provider,
        api_base=up.url + bases[provider],
        api_key=KEY,
        input=["one", "two"],
        timeout=5,
    )
    vectors = [item["embedding"] for item in answer.data]
    assert [len(vector) for vector in vectors] == [8, 8]
    assert vectors[0] != vectors[1]


async def test_openai_sdk(up: ThreadedUpstream) -> None:
    """The openai SDK completes, streams, lists models and decodes base64 embeddings."""
    messages: Any = [{"role": "user", "content": "hello"}]
    async with openai.AsyncOpenAI(base_url=f"{up.url}/v1", api_key=KEY, max_retries=0) as sdk:
        answer = await sdk.chat.completions.create(model="m", messages=messages)
        assert answer.choices[0].message.content == "alpha says: hello"
        stream = await sdk.chat.completions.create(
            model="m", messages=messages, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        assert text == "alpha says: hello"
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.total_tokens == 4
        assert [model.id async for model in await sdk.models.list()] == ["test-model"]
        vectors = await sdk.embeddings.create(model="m", input=["a", "b"])
    assert up.requests[-1].json["encoding_format"] == "base64"
    assert sum(value * value for value in vectors.data[0].embedding) == pytest.approx(1.0)


async def test_openai_sdk_errors(up: ThreadedUpstream) -> None:
    """The openai SDK raises its own class for each error, with code and Retry-After."""
    up.fault(Fault.rate_limited(3))
    up.fault(Fault.quota_exceeded())
    up.fault(stream_error_after=1)
    messages: Any = [{"role": "user", "content": "hello"}]
    async with openai.AsyncOpenAI(base_url=f"{up.url}/v1", api_key=KEY, max_retries=0) as sdk:
        with pytest.raises(openai.RateLimitError) as limited:
            await sdk.chat.completions.create(model="m", messages=messages)
        assert limited.value.code == "rate_limit_exceeded"
        assert limited.value.response.headers["retry-after"] == "3"
        with pytest.raises(openai.RateLimitError) as exhausted:
            await sdk.chat.completions.create(model="m", messages=messages)
        assert exhausted.value.code == "insufficient_quota"
        stream = await sdk.chat.completions.create(model="m", messages=messages, stream=True)
        with pytest.raises(openai.APIError, match="had an error"):
            async for _ in stream:
                pass
