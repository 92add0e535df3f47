"""The adapter against a real server in its own event loop: requests, results, streams, lifecycle."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import httpx
import pytest
import respx
from blockbuster import BlockBuster
from typing_extensions import override

from amas.providers import (
    AnthropicProvider,
    AuthenticationError,
    InvalidRequestError,
    LiteLLMProvider,
    LocalProvider,
    OpenAIProvider,
    ProviderConfig,
    ProviderConfigError,
    ProviderError,
    ProviderUnavailableError,
    StreamInterruptedError,
)
from amas.providers.llm import opening
from amas.providers.llm.aiohttp_transport import AiohttpTransport
from amas.providers.llm.answer import Answer, HttpxTransport
from amas.providers.llm.http_client import open_http
from amas.providers.llm.litellm_runtime import load_runtime
from amas.providers.manager.policy import TABLE, Failover
from amas.providers.security.egress import Egress
from amas.providers.testing.upstream import Fault, Reply, ToolCall, Upstream

pytestmark = [
    pytest.mark.usefixtures("no_blocking"),
    # What LiteLLM does on every reasoning chunk of Gemini's.
    pytest.mark.filterwarnings("ignore:Accessing the 'model_:DeprecationWarning"),
]

KEY = "test" + "-key" * 5
PATHS = {
    "openai": "/v1",
    "anthropic": "",
    "gemini": "/v1beta",
    "ollama": "",
    "cohere": "/compatibility/v1",
    "mistral": "/v1",
    "groq": "/openai/v1",
}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tell the weather.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
SCHEMA = WEATHER["function"]["parameters"]  # type: ignore[index]
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
CONVERSATION: list[dict[str, Any]] = [
    {"role": "user", "content": "weather?"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
]


@pytest.fixture
async def up(no_blocking: BlockBuster) -> AsyncIterator[Upstream]:
    """Run an upstream in the test's own loop: whatever blocks that, blocks the answer too."""
    async with Upstream("up") as upstream:
        yield upstream


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> respx.MockRouter:
    """Answer in OpenAI's place, below everything that is ours, whichever way a call takes."""
    router = respx.MockRouter(base_url="https://api.openai.com", using=None)

    async def answer(_transport: AiohttpTransport, *asked: Any) -> Answer:
        return await HttpxTransport(httpx.MockTransport(router.async_handler)).send(*asked)

    monkeypatch.setattr(AiohttpTransport, "send", answer)
    return router


def provider_at(up: Upstream, name: str = "openai", **options: Any) -> LiteLLMProvider:
    """Configure a provider for the upstream."""
    given: dict[str, Any] = {"api_key": KEY, "base_url": up.url + PATHS[name], "timeout": 5}
    return LiteLLMProvider(ProviderConfig(name, **(given | options)))


def chats(up: Upstream) -> list[Any]:
    """Return the bodies of the chat requests that came."""
    return [request.json for request in up.requests if request.endpoint == "chat"]


# --- what is sent, and what comes back -----------------------------------------------------------


@pytest.mark.parametrize("name", PATHS)
async def test_plain_answer(up: Upstream, name: str) -> None:
    """An answer has content, usage, model, price, timing and the record of its one request."""
    provider = provider_at(up, name)
    answer = await provider.generate("hello there", system_prompt="be brief")
    await provider.shutdown()
    assert answer["content"] == "up says: hello there"
    assert answer["usage"] == {"prompt_tokens": 4, "completion_tokens": 4, "total_tokens": 8}
    assert answer["tokens_used"] == 8
    assert (answer["provider"], answer["model"]) == (name, provider.model)
    assert (answer["finish_reason"], answer["tool_calls"]) == ("stop", [])
    assert answer["dropped_params"] == []
    assert (answer["cost_usd"] or 0) > 0 or name == "ollama"
    assert answer["latency_ms"] > 0
    assert len(answer["request_id"] or "") == 32
    [attempt] = answer["attempts"]
    assert (attempt["provider"], attempt["outcome"]) == (name, "ok")


@pytest.mark.parametrize("name", PATHS)
async def test_stream_pieces(up: Upstream, name: str) -> None:
    """A stream's pieces add up to the answer; the last one has finish reason, usage and price."""
    up.reply = lambda _: Reply("four it is", reasoning="two and two")
    provider = provider_at(up, name)
    *pieces, last = [piece async for piece in provider.stream("hello")]
    whole = await provider.generate("hello")
    await provider.shutdown()
    assert "".join(piece.content for piece in pieces) == whole["content"] == "four it is"
    thoughts = "".join(piece.reasoning_content or "" for piece in pieces)
    assert thoughts == whole["reasoning_content"] == "two and two"
    assert len(pieces) >= 6
    assert {piece.finish_reason for piece in pieces} == {None}
    assert (last.content, last.finish_reason) == ("", "stop")
    if name != "mistral":  # it counts without being asked to, the upstream does not
        assert last.usage is not None
        assert last.usage["total_tokens"] == 7
        assert last.cost_usd == whole["cost_usd"]
    assert {piece.request_id for piece in pieces} == {last.request_id}


@pytest.mark.parametrize("name", PATHS)
async def test_tool_calls(up: Upstream, name: str) -> None:
    """Parallel tool calls arrive as such, whole or in numbered pieces."""
    up.reply = lambda _: Reply(
        None, [ToolCall("weather", {"city": "Oslo"}), ToolCall("weather", {"city": "Rome"})]
    )
    provider = provider_at(up, name)
    answer = await provider.generate("hello", tools=[WEATHER])
    joined: dict[int, str] = {}
    async for chunk in provider.stream("hello", tools=[WEATHER]):
        for piece in chunk.tool_calls:
            index = piece["index"]
            joined[index] = joined.get(index, "") + (piece["function"].get("arguments") or "")
    await provider.shutdown()
    assert answer["finish_reason"] == "tool_calls"
    assert [call["function"]["name"] for call in answer["tool_calls"]] == ["weather"] * 2
    whole = [json.loads(call["function"]["arguments"]) for call in answer["tool_calls"]]
    streamed = [json.loads(joined[index]) for index in sorted(joined)]
    assert whole == streamed == [{"city": "Oslo"}, {"city": "Rome"}]
    assert len({call["id"] for call in answer["tool_calls"]}) == 2


FORCED: dict[str, dict[str, Any]] = {
    "openai": {"tool_choice": "required", "parallel_tool_calls": False},
    "anthropic": {"tool_choice": {"type": "any", "disable_parallel_tool_use": True}},
    "gemini": {"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}},
    "mistral": {"tool_choice": "any"},
}


@pytest.mark.parametrize("name", FORCED)
async def test_forced_tool(up: Upstream, name: str) -> None:
    """Tools, the choice among them and whether they run in parallel reach the vendor in its words."""
    provider = provider_at(up, name)
    answer = await provider.generate(
        "hello", tools=[WEATHER], tool_choice="required", parallel_tool_calls=False
    )
    await provider.shutdown()
    [call] = answer["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"city": "example"}
    [body] = chats(up)
    assert FORCED[name].items() <= body.items()
    assert "Tell the weather." in json.dumps(body["tools"])


RESULTS: dict[str, Any] = {
    "openai": {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
    "anthropic": {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "sunny"}],
    },
    "ollama": {"role": "tool", "content": "sunny", "images": [], "tool_call_id": "call_1"},
}


@pytest.mark.parametrize("name", RESULTS)
async def test_conversation_with_tool_results(up: Upstream, name: str) -> None:
    """A conversation goes out as the vendor wants it, and the caller's messages stay untouched."""
    before = json.dumps(CONVERSATION)
    provider = provider_at(up, name)
    await provider.generate(CONVERSATION, system_prompt="be brief", tools=[WEATHER])
    await provider.shutdown()
    [body] = chats(up)
    assert body["messages"][-1] == RESULTS[name]
    assert "be brief" in json.dumps(body.get("system") or body["messages"][0])
    assert json.dumps(CONVERSATION) == before


@pytest.mark.parametrize("name", PATHS)
async def test_json_schema(up: Upstream, name: str) -> None:
    """An answer in a wanted form comes back in it."""
    wanted = {"type": "json_schema", "json_schema": {"name": "w", "schema": SCHEMA}}
    provider = provider_at(up, name)
    answer = await provider.generate("hello", response_format=wanted)
    await provider.shutdown()
    assert json.loads(answer["content"]) == {"city": "example"}


@pytest.mark.parametrize("name", sorted(PATHS.keys() - {"anthropic"}))
async def test_json_object(up: Upstream, name: str) -> None:
    """A wanted JSON object of any form is one."""
    provider = provider_at(up, name)
    answer = await provider.generate("hello", response_format={"type": "json_object"})
    await provider.shutdown()
    assert json.loads(answer["content"]) == {"answer": "up"}


# --- parameters that a vendor takes, does not take, or only seems to take ------------------------

SAMPLING: dict[str, Any] = {
    "temperature": 0.5,
    "top_k": 3,
    "seed": 7,
    "stop": ["END"],
    "max_tokens": 9,
    "frequency_penalty": 0.1,
    "logit_bias": {"1": 1},
}
TAKEN: dict[str, tuple[dict[str, Any], str]] = {
    "openai": ({"temperature": 0.5, "seed": 7, "max_completion_tokens": 9}, "flst"),
    "anthropic": ({"temperature": 0.5, "top_k": 3, "stop_sequences": ["END"]}, "fls"),
    "mistral": ({"temperature": 0.5, "random_seed": 7, "stop": ["END"]}, "flt"),
    "groq": ({"temperature": 0.5, "seed": 7, "frequency_penalty": 0.1}, "t"),
    "ollama": (
        {"options": {"temperature": 0.5, "stop": ["END"], "num_predict": 9, "seed": 7, "top_k": 3}},
        "fl",
    ),
}


@pytest.mark.parametrize("name", TAKEN)
async def test_sampling_parameters(up: Upstream, name: str) -> None:
    """Parameters go out in the vendor's words; those it does not take are left out and named."""
    provider = provider_at(up, name)
    answer = await provider.generate("hello", **SAMPLING)
    await provider.shutdown()
    [body] = chats(up)
    expected, initials = TAKEN[name]
    assert expected.items() <= body.items()
    assert "".join(dropped[0] for dropped in answer["dropped_params"]) == initials
    for dropped in answer["dropped_params"]:
        assert dropped not in json.dumps(body)


async def test_parameters_excluded_by_others(up: Upstream) -> None:
    """What a model does not take beside reasoning is named too."""
    provider = provider_at(up)
    answer = await provider.generate("x", temperature=0.5, top_p=0.9, reasoning_effort="low")
    await provider.shutdown()
    assert answer["dropped_params"] == ["temperature", "top_p"]
    assert chats(up)[0]["reasoning_effort"] == "low"
    assert "temperature" not in chats(up)[0]


@pytest.mark.parametrize(
    ("name", "params", "says"),
    [
        ("openai", {"temprature": 1}, "unknown parameter 'temprature' .did you mean 'temperature'"),
        ("openai", {"api_base": "http://elsewhere"}, "unknown parameter 'api_base'"),
        ("openai", {"mock_response": "x"}, "unknown parameter 'mock_response'"),
        ("anthropic", {"response_format": {"type": "json_object"}}, "not take response_format"),
        ("ollama", {"tools": [WEATHER], "tool_choice": "required"}, "does not take tool_choice"),
        ("openai", {"model": ""}, "model must be the name of a model"),
        ("openai", {"system_prompt": 5}, "system_prompt must be a text"),
    ],
)
async def test_refused_parameters(
    up: Upstream, name: str, params: dict[str, Any], says: str
) -> None:
    """What nobody may give, or what an answer depends on and the model lacks, sends nothing."""
    provider = provider_at(up, name)
    assert await provider.initialize()
    up.clear()
    with pytest.raises(InvalidRequestError, match=says) as caught:
        await provider.generate("hello", **params)
    with pytest.raises(InvalidRequestError, match=says):
        await anext(provider.stream("hello", **params))
    await provider.shutdown()
    assert caught.value.provider == name
    assert up.requests == []


@pytest.mark.parametrize("name", ["anthropic", "gemini"])
@pytest.mark.parametrize("host", ["http://127.0.0.1:1", "http://pictures.invalid"])
async def test_side_requests_are_refused(up: Upstream, name: str, host: str) -> None:
    """LiteLLM may not fetch the image that a message names, and that is the request's fault."""
    image = {"type": "image_url", "image_url": {"url": f"{host}/cat.png"}}
    provider = provider_at(up, name)
    assert await provider.initialize()
    up.clear()
    with pytest.raises(InvalidRequestError):
        await provider.generate([{"role": "user", "content": [image]}])
    await provider.shutdown()
    assert up.requests == []


async def test_tools_of_a_reasoning_model_take_no_detour(wire: respx.MockRouter) -> None:
    """Where OpenAI refuses tools beside reasoning, that is off and named; no other API is asked."""
    message = {"role": "assistant", "content": "fine"}
    body = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    wire.get("/v1/models").respond(json={"data": []})
    chat = wire.post("/v1/chat/completions").respond(json=body)
    provider = OpenAIProvider(ProviderConfig("openai", api_key=KEY))
    plain = await provider.generate("hello", tools=[WEATHER])
    asked = await provider.generate("hello", tools=[WEATHER], reasoning_effort="high")
    await provider.shutdown()
    assert plain["content"] == asked["content"] == "fine"
    assert plain["dropped_params"] == []
    assert asked["dropped_params"] == ["reasoning_effort"]
    assert [json.loads(call.request.content)["reasoning_effort"] for call in chat.calls] == [
        "none",
        "none",
    ]


async def test_defaults_options_and_models(up: Upstream) -> None:
    """Configured parameters and options are sent, a caller's win, and a model may be named."""
    options = {"headers": {"X-Team": "red"}}
    provider = provider_at(up, "groq", params={"temperature": 0.1, "seed": 1}, options=options)
    await provider.generate("hello", temperature=0.9, model="groq/llama-x", seed=None)
    await provider.shutdown()
    [request] = [request for request in up.requests if request.endpoint == "chat"]
    assert (request.json["temperature"], request.json["seed"]) == (0.9, 1)
    assert request.model == "llama-x"
    assert request.headers["X-Team"] == "red"
    assert request.headers["User-Agent"] == "amas-providers"


@pytest.mark.parametrize("dispatch", ["litellm", "direct"])
@pytest.mark.parametrize("value", ["grüß", 5])
async def test_headers_that_cannot_be_sent_are_refused(
    up: Upstream, dispatch: str, value: Any
) -> None:
    """A header that is no plain text is a mistake of ours, whichever way the call takes; nothing is sent."""
    provider = provider_at(
        up, dispatch=dispatch, options={"headers": {"X-Team": value}}, health_probe="off"
    )
    with pytest.raises(InvalidRequestError, match=r"'ascii' codec|must be str"):
        await provider.generate("hello")
    await provider.shutdown()
    assert chats(up) == []


async def test_unknown_price_and_usage_are_none(up: Upstream) -> None:
    """A model without a known price costs None; an upstream that counts nothing gives no usage."""
    provider = provider_at(up, model="in-house-1")
    answer = await provider.generate("hello")
    *_, last = [chunk async for chunk in provider.stream("hello")]
    assert answer["tokens_used"] == 4
    assert answer["cost_usd"] is last.cost_usd is None
    await provider.shutdown()


async def test_cached_tokens_are_told_and_a_broken_price_is_none(
    wire: respx.MockRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens that the vendor had in its cache are counted apart; a price that fails is unknown."""
    body = {
        "choices": [{"index": 0, "message": {"content": "x"}, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": 9,
            "completion_tokens": 1,
            "total_tokens": 10,
            "prompt_tokens_details": {"cached_tokens": 8},
        },
    }

    def fail(**_: Any) -> None:
        raise ZeroDivisionError

    provider = OpenAIProvider(ProviderConfig("openai", api_key=KEY))
    wire.get("/v1/models").respond(json={"data": []})
    wire.post("/v1/chat/completions").respond(json=body)
    full = await provider.generate("hello")
    monkeypatch.setattr(load_runtime().litellm, "cost_per_token", fail)
    unknown = await provider.generate("hello")
    await provider.shutdown()
    assert full["usage"] is not None
    assert full["usage"]["cached_tokens"] == 8
    assert (full["cost_usd"] or 0) > 0
    assert unknown["cost_usd"] is None


# --- embeddings ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["openai", "gemini", "ollama", "cohere", "mistral"])
async def test_embeddings(up: Upstream, name: str) -> None:
    """Each text gets its vector, in order, by one request."""
    provider = provider_at(up, name)
    assert await provider.initialize()
    up.clear()
    answer = await provider.embed(["one", "two", "one"])
    await provider.shutdown()
    one, two, again = answer["embeddings"]
    assert one == again != two
    assert len(one) == 8
    assert answer["model"] == provider.target.embedding_model
    assert answer["usage"] == {"prompt_tokens": 3, "completion_tokens": 0, "total_tokens": 3}
    # LiteLLM's price map has Cohere's embeddings under another vendor's name than its chat.
    assert (answer["cost_usd"] is None) == (name == "cohere")
    assert len(up.requests) == 1


@pytest.mark.parametrize("texts", [[], "one text", ["a", 5]])
async def test_bad_texts(up: Upstream, texts: Any) -> None:
    """What is no list of texts is refused before anything is sent."""
    with pytest.raises(InvalidRequestError, match="a list of at least one text"):
        await provider_at(up).embed(texts)
    assert up.requests == []


async def test_no_embedding_model(up: Upstream) -> None:
    """A vendor without embeddings says so."""
    with pytest.raises(InvalidRequestError, match="no embeddings"):
        await provider_at(up, "anthropic").embed(["text"])


async def test_embedding_failure(up: Upstream) -> None:
    """An embedding request fails with the same errors as any other, and is sent once."""
    provider = provider_at(up)
    assert await provider.initialize()
    up.clear()
    up.fault(status=503, on="embeddings")
    with pytest.raises(ProviderUnavailableError) as caught:
        await provider.embed(["text"])
    await provider.shutdown()
    assert (caught.value.status_code, len(up.requests)) == (503, 1)


# --- streams that break ----------------------------------------------------------------------------

BREAKS = ["truncate_after", "cut_after", "stream_error_after"]


async def read(provider: LiteLLMProvider, text: list[str]) -> None:
    """Read a stream into a list."""
    async for chunk in provider.stream("one two"):
        text.append(chunk.content)  # noqa: PERF401 -- keeps what came before the error


@pytest.mark.parametrize("name", PATHS)
async def test_broken_streams(up: Upstream, name: str) -> None:
    """Truncated, cut or failed after content: a typed error that has the text so far."""
    provider = provider_at(up, name)
    assert await provider.initialize()
    for kind in BREAKS:
        up.clear()
        up.fault(**{kind: 2})
        text: list[str] = []
        with pytest.raises(StreamInterruptedError) as caught:
            await read(provider, text)
        assert "".join(text) == caught.value.partial_text == "up says: ", kind
        assert (caught.value.provider, caught.value.model) == (name, provider.model)
        assert len(up.requests) == 1
    await provider.shutdown()


@pytest.mark.parametrize("name", PATHS)
async def test_streams_that_break_before_content(up: Upstream, name: str) -> None:
    """Before the first content the error is another one, with which the next provider is asked."""
    provider = provider_at(up, name)
    assert await provider.initialize()
    faults: list[dict[str, Any]] = [{kind: 0} for kind in BREAKS]
    for fault in (*faults, {"reset": True}, {"status": 500}):
        up.fault(**fault)
        with pytest.raises(ProviderError) as caught:
            await anext(provider.stream("one two"))
        assert not isinstance(caught.value, StreamInterruptedError), fault
        assert TABLE[caught.value.outcome].failover is Failover.YES, fault
    await provider.shutdown()


async def test_refused_prompt_in_a_stream(up: Upstream) -> None:
    """Gemini refuses within a complete answer: that is no truncated stream."""
    provider = provider_at(up, "gemini")
    for stream in (False, True):
        up.fault(Fault.content_policy())
        if stream:
            [piece] = [piece async for piece in provider.stream("hello")]
            assert piece.finish_reason == "content_filter"
        else:
            assert (await provider.generate("hello"))["finish_reason"] == "content_filter"
    await provider.shutdown()


async def test_usage_that_does_not_come(wire: respx.MockRouter) -> None:
    """What goes wrong after the finish reason takes no answer back."""
    frames = [
        b'data: {"choices":[{"index":0,"delta":{"content":"ok"},"finish_reason":null}]}\n\n',
        b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
    ]

    async def stall() -> AsyncIterator[bytes]:
        for frame in frames:
            yield frame
        await asyncio.Event().wait()

    provider = OpenAIProvider(ProviderConfig("openai", api_key=KEY, stream_timeout=0.3))
    wire.get("/v1/models").respond(json={"data": []})
    wire.post("/v1/chat/completions").respond(
        headers={"content-type": "text/event-stream"}, stream=_Body(stall())
    )
    pieces = [piece async for piece in provider.stream("hello")]
    await provider.shutdown()
    assert "".join(piece.content for piece in pieces) == "ok"
    assert (pieces[-1].finish_reason, pieces[-1].usage) == ("stop", None)


class _Body(httpx.AsyncByteStream):
    def __init__(self, frames: AsyncIterator[bytes]) -> None:
        self.frames = frames

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for frame in self.frames:
            yield frame


# --- lifecycle -------------------------------------------------------------------------------------


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[httpx.AsyncClient]:
    """Collect every HTTP client that providers open."""
    clients: list[httpx.AsyncClient] = []

    def noting(egress: Egress) -> httpx.AsyncClient:
        clients.append(open_http(egress))
        return clients[-1]

    monkeypatch.setattr(opening, "open_http", noting)
    return clients


async def test_concurrent_initialize_sets_up_once(
    up: Upstream, opened: list[httpx.AsyncClient]
) -> None:
    """However many ask at once, there is one client and one probe."""
    provider = provider_at(up)
    assert all(await asyncio.gather(*(provider.initialize() for _ in range(20))))
    assert (len(opened), len(up.requests)) == (1, 1)
    await asyncio.gather(*(provider.shutdown() for _ in range(3)))
    assert opened[0].is_closed
    assert not provider.initialized


async def test_failed_initialize_leaves_nothing_open(
    up: Upstream, opened: list[httpx.AsyncClient]
) -> None:
    """A refused key is told by False and last_error, and the client is closed again."""
    up.keys = {"another"}
    provider = provider_at(up)
    assert not await provider.initialize()
    assert isinstance(provider.last_error, AuthenticationError)
    assert [client.is_closed for client in opened] == [True]
    await provider.shutdown()
    up.keys = None
    for _ in range(2):
        assert await provider.initialize()
        assert provider.healthy
        await provider.shutdown()
        await provider.shutdown()
    assert await provider.initialize()
    assert (await provider.generate("again"))["content"] == "up says: again"
    await provider.shutdown()
    assert [client.is_closed for client in opened] == [True] * 4


async def test_cancelled_initialize_leaves_nothing_open(
    up: Upstream, opened: list[httpx.AsyncClient]
) -> None:
    """Whoever gives up in the middle of the probe leaves no client and no connection."""
    up.fault(hang=True, on="models")
    provider = provider_at(up)
    task = asyncio.create_task(provider.initialize())
    await up.wait_for(lambda request: request.endpoint == "models")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await up.wait_for(lambda request: request.aborted)
    assert opened[0].is_closed
    assert not provider.initialized
    assert await provider.initialize()
    await provider.shutdown()


async def test_shutdown_leaves_no_task_and_no_connection(up: Upstream) -> None:
    """After shutdown nothing of a provider's is running or open."""
    before = asyncio.all_tasks()
    provider = provider_at(up)
    await provider.generate("hello")
    stream: Any = provider.stream("one two three")
    async with aclosing(stream):
        await anext(stream)
    http = provider._connections.http
    assert http is not None
    await provider.shutdown()
    assert http.is_closed
    await asyncio.sleep(0.01)
    mine = {task for task in asyncio.all_tasks() - before if "aiohttp" not in repr(task)}
    assert mine == set()


async def test_shutdown_of_the_never_initialized(up: Upstream) -> None:
    """Giving back what was never taken is harmless."""
    await provider_at(up).shutdown()
    assert up.requests == []


async def test_generate_starts_by_itself_or_says_why_not(up: Upstream) -> None:
    """Without initialize the first call starts the provider; if that fails, it raises the reason."""
    provider = provider_at(up)
    assert (await provider.generate("hello"))["content"] == "up says: hello"
    assert provider.initialized
    await provider.shutdown()
    provider = provider_at(up, enabled=False)
    with pytest.raises(ProviderConfigError, match="disabled by its configuration"):
        await provider.generate("hello")


async def test_health_follows_the_upstream(up: Upstream) -> None:
    """A health check asks for the models only, and its verdict is kept."""
    provider = provider_at(up)
    assert not await provider.health_check()
    assert await provider.initialize()
    up.fault(status=500, on="models")
    assert not await provider.health_check()
    assert isinstance(provider.last_error, ProviderUnavailableError)
    assert await provider.health_check()
    assert provider.healthy
    assert [request.endpoint for request in up.requests] == ["models"] * 3
    await provider.shutdown()


# --- presets ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "vendor", "address"),
    [
        (OpenAIProvider, "openai", "https://api.openai.com/v1"),
        (AnthropicProvider, "anthropic", "https://api.anthropic.com"),
        (LocalProvider, "ollama_chat", "http://localhost:11434"),
    ],
)
def test_presets(preset: type[LiteLLMProvider], vendor: str, address: str) -> None:
    """A preset knows its vendor whatever its own name; the configuration may say otherwise."""
    provider = preset(ProviderConfig("any-name"))
    assert (provider.target.litellm_provider, provider.target.base_url) == (vendor, address)
    assert provider.model == provider.target.model
    assert provider.capabilities == provider.target.capabilities
    other = preset(ProviderConfig("any-name", provider="groq"))
    assert other.target.litellm_provider == "groq"


def test_check_refuses_what_cannot_work() -> None:
    """A configuration can be checked without building a provider of it."""
    LiteLLMProvider.check(ProviderConfig("openai"))
    with pytest.raises(ProviderConfigError) as caught:
        LiteLLMProvider.check(ProviderConfig("mine", model="x"))
    assert caught.value.field == "provider"
