"""The wire formats, byte by byte where it matters."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from amas.providers.testing.upstream import Reply, ToolCall, Upstream, Usage

KEY = "sk-" + "test" * 6
USER = [{"role": "user", "content": "hello there"}]
VERSION = {"anthropic-version": "2023-06-01"}
RICH = Reply(
    "It rains.",
    [ToolCall("weather", {"city": "Oslo"}, "call_a"), ToolCall("time", {}, "call_b")],
    reasoning="Look it up.",
    usage=Usage(11, 22),
)
FUNCTION = {
    "name": "weather",
    "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
}


@pytest.fixture
async def up() -> AsyncIterator[Upstream]:
    """Run an upstream."""
    async with Upstream("alpha", context_window=4096) as upstream:
        yield upstream


@pytest.fixture
async def http(up: Upstream) -> AsyncIterator[httpx.AsyncClient]:
    """Lend a plain HTTP client for it; without TLS, whose set-up takes long."""
    async with httpx.AsyncClient(base_url=up.url, trust_env=False, verify=False) as client:
        yield client


async def post(http: httpx.AsyncClient, path: str, body: Any, **headers: str) -> Any:
    """Post JSON and return the parsed answer."""
    answer = await http.post(path, json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def events(http: httpx.AsyncClient, path: str, body: Any, **headers: str) -> list[Any]:
    """Post JSON and return the parsed data of every server-sent event but the end marker."""
    answer = await http.post(path, json=body, headers=headers)
    assert answer.headers["content-type"] == "text/event-stream"
    parsed = []
    for block in answer.text.removesuffix("\n\n").split("\n\n"):
        *head, data = block.split("\n")
        payload = data.removeprefix("data: ")
        if payload != "[DONE]":
            parsed.append(json.loads(payload))
            if head:
                kind = parsed[-1].get("type") or parsed[-1]["event_type"]
                assert head == [f"event: {kind}"]
    return parsed


async def lines(http: httpx.AsyncClient, path: str, body: Any, **headers: str) -> list[Any]:
    """Post JSON and return the parsed lines of a newline-delimited answer."""
    answer = await http.post(path, json=body, headers=headers)
    assert answer.headers["content-type"] in ("application/x-ndjson", "application/stream+json")
    return [json.loads(line) for line in answer.text.splitlines()]


@pytest.mark.parametrize(
    ("prefix", "path", "vendor"),
    [
        ("", "/chat/completions", "openai"),
        ("/openai/v1", "/chat/completions", "openai"),
        ("/api/paas/v4", "/chat/completions", "openai"),
        ("/inference/v1", "/chat/completions", "openai"),
        ("/v1/", "/chat/completions/", "openai"),
        ("/models/owner/name/v1", "/chat/completions", "openai"),
        ("/anthropic", "/v1/messages", "anthropic"),
        ("/deep/er", "/api/chat", "ollama"),
        ("/proxy/v1beta", "/models/m:generateContent", "gemini"),
        ("/v1beta", "/tunedModels/m:generateContent", "gemini"),
        ("/x", "/openai/deployments/m/chat/completions", "azure"),
        ("/x", "/model/m/converse", "bedrock"),
        ("/v1/projects/p/locations/l", "/publishers/google/models/m:generateContent", "vertex"),
        ("/v1/projects/p/locations/l", "/publishers/anthropic/models/m:rawPredict", "vertex"),
        ("/x", "/v2/chat", "cohere"),
        ("/x", "/v1/chat", "cohere"),
    ],
)
async def test_any_prefix_is_fine(
    up: Upstream, http: httpx.AsyncClient, prefix: str, path: str, vendor: str
) -> None:
    """Requests are told apart by the end of the path, whatever stands before it."""
    body = {
        "model": "m",
        "messages": USER,
        "max_tokens": 5,
        "contents": [{"parts": [{"text": "hello there"}]}],
        "message": "hello there",
        "anthropic_version": "vertex-2023-10-16",
        "stream": False,
    }
    answer = await http.post(prefix + path, json=body, headers=VERSION)
    assert answer.status_code == 200
    [record] = up.requests
    assert (record.vendor, record.model, record.path) == (vendor, "m", prefix + path)
    assert "alpha says: hello there" in answer.text


@pytest.mark.parametrize(
    ("path", "body", "headers", "trouble"),
    [
        ("/v1/chat/completions", {"messages": USER}, {}, "provide a model"),
        ("/v1/chat/completions", {"model": "m", "messages": []}, {}, "at least one message"),
        ("/v1/chat/completions", {"model": "m", "messages": ["x"]}, {}, "must be an object"),
        (
            "/v1/chat/completions",
            {"model": "m", "messages": USER, "tools": [{"function": 3}]},
            {},
            "not valid",
        ),
        (
            "/v1/messages",
            {"model": "m", "messages": USER, "max_tokens": 1},
            {},
            "anthropic-version",
        ),
        ("/v1/messages", {"model": "m", "messages": USER}, VERSION, "max_tokens: Field required"),
        ("/v1/chat", {"model": "m"}, {}, "message must be at least"),
        ("/v1beta/models/m:generateContent", {}, {}, "contents: a list"),
        ("/v1beta/models/m:embedContent", {"content": {"parts": []}}, {}, "content: a part"),
        ("/v1beta/models/m:batchEmbedContents", {"requests": []}, {}, "at least one request"),
        ("/v1/embeddings", {"model": "m", "input": []}, {}, "input: a text or"),
        ("/v1/embeddings", {"model": "m", "input": [{}]}, {}, "every input must be"),
        ("/v2/embed", {"texts": ["a"], "embedding_types": ["int8"]}, {}, "not int8"),
        ("/api/show", {}, {}, "model is required"),
    ],
)
async def test_wrong_bodies_get_the_vendors_400(
    http: httpx.AsyncClient, path: str, body: Any, headers: dict[str, str], trouble: str
) -> None:
    """A body that does not fit is refused in the vendor's form, and says why."""
    answer = await http.post(path, json=body, headers=headers)
    assert answer.status_code == 400
    assert trouble in answer.text


@pytest.mark.parametrize(
    ("path", "headers", "status", "body"),
    [
        (
            "/v1/models",
            {"Authorization": "Bearer no"},
            401,
            {
                "message": "Incorrect API key provided: **. You can find your API key at "
                "https://platform.openai.com/account/api-keys.",
                "type": "invalid_request_error",
                "param": None,
                "code": "invalid_api_key",
            },
        ),
        (
            "/v1/models",
            {"x-api-key": "no"},
            401,
            {"type": "authentication_error", "message": "invalid x-api-key"},
        ),
        (
            "/v1/models",
            VERSION,
            401,
            {"type": "authentication_error", "message": "x-api-key header is required"},
        ),
        ("/api/tags", {}, 401, "unauthorized"),
    ],
)
async def test_refused_keys(
    up: Upstream,
    http: httpx.AsyncClient,
    *,
    path: str,
    headers: dict[str, str],
    status: int,
    body: Any,
) -> None:
    """A wrong or missing key gets the vendor's own refusal."""
    up.keys = {KEY}
    answer = await http.get(path, headers=headers)
    assert answer.status_code == status
    assert answer.json()["error"] == body


async def test_refused_keys_of_gemini_and_cohere(up: Upstream, http: httpx.AsyncClient) -> None:
    """Gemini refuses a wrong key with 400 and a missing one with 403, Cohere both with 401."""
    up.keys = {KEY}
    wrong = await http.get("/v1beta/models?key=no")
    assert (wrong.status_code, wrong.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
    missing = await http.post("/v1beta/models/m:generateContent", json={})
    assert (missing.status_code, missing.json()["error"]["status"]) == (403, "PERMISSION_DENIED")
    wrong = await http.post("/v2/chat", json={}, headers={"Authorization": "Bearer no"})
    assert (wrong.status_code, wrong.json()["message"]) == (401, "invalid api token")
    missing = await http.post("/v2/chat", json={})
    assert (missing.status_code, missing.json()["message"]) == (401, "no api key supplied")
    assert (await http.get("/nowhere")).status_code == 404


async def test_openai_masks_the_refused_key(up: Upstream, http: httpx.AsyncClient) -> None:
    """A refused key is repeated as OpenAI does it: three characters, stars, four characters."""
    up.keys = {"other"}
    answer = await http.get("/v1/models", headers={"Authorization": f"Bearer {KEY}"})
    assert f"sk-{'*' * (len(KEY) - 7)}test." in answer.json()["error"]["message"]


async def test_openai_answer(up: Upstream, http: httpx.AsyncClient) -> None:
    """A chat completion has reasoning, parallel tool calls, usage and a request id."""
    up.reply = lambda _: RICH
    response = await http.post("/v1/chat/completions", json={"model": "m", "messages": USER})
    assert response.headers["x-request-id"] == "req_000000000001"
    answer = response.json()
    assert (answer["object"], answer["id"]) == ("chat.completion", "chatcmpl-000000000001")
    [choice] = answer["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == "It rains."
    assert choice["message"]["reasoning_content"] == "Look it up."
    assert choice["message"]["tool_calls"] == [
        {
            "id": "call_a",
            "type": "function",
            "function": {"name": "weather", "arguments": '{"city": "Oslo"}'},
        },
        {"id": "call_b", "type": "function", "function": {"name": "time", "arguments": "{}"}},
    ]
    assert answer["usage"]["total_tokens"] == 33
    assert answer["usage"]["completion_tokens_details"] == {"reasoning_tokens": 3}


@pytest.mark.parametrize("include_usage", [False, True])
async def test_openai_stream(up: Upstream, http: httpx.AsyncClient, *, include_usage: bool) -> None:
    """Chunks carry role, pieces and finish reason in turn; usage comes last, if asked for."""
    up.reply = lambda _: RICH
    body = {"model": "m", "messages": USER, "stream": True}
    if include_usage:
        body["stream_options"] = {"include_usage": True}
    chunks = await events(http, "/v1/chat/completions", body)
    last = chunks.pop() if include_usage else None
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0]["role"] == "assistant"
    assert "".join(delta.get("reasoning_content", "") for delta in deltas) == "Look it up."
    assert "".join(delta.get("content") or "" for delta in deltas) == "It rains."
    calls = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    assert [call["index"] for call in calls] == [0, 0, 0, 1, 1]
    assert [call["id"] for call in calls if "id" in call] == ["call_a", "call_b"]
    assert "".join(c["function"]["arguments"] for c in calls[:3]) == '{"city": "Oslo"}'
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"
    assert all(("usage" in chunk) == include_usage for chunk in chunks)
    if last:
        assert (last["choices"], last["usage"]["total_tokens"]) == ([], 33)


@pytest.mark.parametrize(
    ("choice", "forced"),
    [
        ("required", True),
        ("any", True),
        ({"type": "function", "function": {"name": "weather"}}, True),
        ({"type": "function"}, False),
        ("auto", False),
        ("none", False),
        (None, False),
    ],
)
async def test_openai_tool_choice(http: httpx.AsyncClient, choice: Any, *, forced: bool) -> None:
    """Only a tool choice that insists on a tool gets a call."""
    tools = [{"type": "function", "function": FUNCTION}, {"type": "custom", "name": "other"}]
    body = {"model": "m", "messages": USER, "tools": tools, "tool_choice": choice}
    message = (await post(http, "/v1/chat/completions", body))["choices"][0]["message"]
    arguments = [call["function"]["arguments"] for call in message.get("tool_calls", ())]
    assert arguments == (['{"n": 1}'] if forced else [])


async def test_openai_messages_in_parts(http: httpx.AsyncClient) -> None:
    """The text parts of a message are joined, and other parts left out."""
    parts = [
        {"type": "text", "text": "hello"},
        {"type": "image_url", "image_url": {"url": "data:,"}},
        {"type": "text", "text": "there"},
    ]
    messages = [{"role": "user", "content": parts}]
    answer = await post(http, "/v1/chat/completions", {"model": "m", "messages": messages})
    assert answer["choices"][0]["message"]["content"] == "alpha says: hello there"


@pytest.mark.parametrize("kind", ["json_object", "json_schema", "text"])
async def test_openai_response_format(http: httpx.AsyncClient, kind: str) -> None:
    """A wanted JSON object is written with the required properties of its schema."""
    wanted = {"type": kind}
    if kind == "json_schema":
        wanted["json_schema"] = {"name": "x", "schema": FUNCTION["parameters"]}  # type: ignore[assignment]
    body = {"model": "m", "messages": USER, "response_format": wanted}
    content = (await post(http, "/v1/chat/completions", body))["choices"][0]["message"]["content"]
    expected = {
        "json_object": '{"answer": "alpha"}',
        "json_schema": '{"n": 1}',
        "text": "alpha says: hello there",
    }
    assert content == expected[kind]


@pytest.mark.parametrize(
    ("given", "count"), [("a", 1), (["a", "b"], 2), ([1, 2, 3], 1), ([[1, 2], [3]], 2)]
)
async def test_openai_embeddings(http: httpx.AsyncClient, given: Any, count: int) -> None:
    """Texts and token lists get vectors of length one, the same as floats and in base64."""
    body = {"model": "m", "input": given, "dimensions": 5}
    floats = (await post(http, "/v1/embeddings", body))["data"]
    coded = (await post(http, "/v1/embeddings", {**body, "encoding_format": "base64"}))["data"]
    assert [item["index"] for item in floats] == list(range(count))
    for plain, packed in zip(floats, coded, strict=True):
        raw = base64.b64decode(packed["embedding"])
        assert list(struct.unpack("<5f", raw)) == plain["embedding"]
        assert sum(value * value for value in plain["embedding"]) == pytest.approx(1.0)


async def test_anthropic_answer(up: Upstream, http: httpx.AsyncClient) -> None:
    """A message has signed thinking, text and tool use blocks, in this order."""
    up.reply = lambda _: RICH
    body = {"model": "m", "messages": USER, "max_tokens": 9, "system": "Be brief."}
    response = await http.post("/v1/messages", json=body, headers=VERSION)
    assert response.headers["request-id"] == "req_000000000001"
    answer = response.json()
    thinking, text, *calls = answer["content"]
    assert (thinking["thinking"], bool(thinking["signature"])) == ("Look it up.", True)
    assert text == {"type": "text", "text": "It rains."}
    assert calls == [
        {"type": "tool_use", "id": "call_a", "name": "weather", "input": {"city": "Oslo"}},
        {"type": "tool_use", "id": "call_b", "name": "time", "input": {}},
    ]
    assert (answer["stop_reason"], answer["usage"]["input_tokens"]) == ("tool_use", 11)


async def test_anthropic_stream(up: Upstream, http: httpx.AsyncClient) -> None:
    """Events come in Anthropic's order, every block started and stopped, usage at the end."""
    up.reply = lambda _: RICH
    body = {"model": "m", "messages": USER, "max_tokens": 9, "stream": True}
    seen = await events(http, "/v1/messages", body, **VERSION)
    assert [event["type"] for event in seen[:2]] == ["message_start", "ping"]
    assert [event["type"] for event in seen[-2:]] == ["message_delta", "message_stop"]
    assert seen[-2]["delta"]["stop_reason"] == "tool_use"
    assert seen[-2]["usage"] == {"output_tokens": 22}
    blocks: dict[int, list[Any]] = {}
    for event in seen[2:-2]:
        blocks.setdefault(event["index"], []).append(event)
    assert [b[0]["content_block"]["type"] for b in blocks.values()] == [
        "thinking",
        "text",
        "tool_use",
        "tool_use",
    ]
    assert {b[-1]["type"] for b in blocks.values()} == {"content_block_stop"}
    assert blocks[0][-2]["delta"]["type"] == "signature_delta"
    text = "".join(event["delta"]["text"] for event in blocks[1][1:-1])
    arguments = "".join(event["delta"]["partial_json"] for event in blocks[2][1:-1])
    assert (text, arguments) == ("It rains.", '{"city": "Oslo"}')


@pytest.mark.parametrize(
    ("choice", "forced"),
    [
        ({"type": "any"}, True),
        ({"type": "tool", "name": "weather"}, True),
        ({"type": "auto"}, False),
    ],
)
async def test_anthropic_tool_choice(http: httpx.AsyncClient, choice: Any, *, forced: bool) -> None:
    """Only a tool choice that insists on a tool gets a call."""
    tools = [{"name": "weather", "input_schema": FUNCTION["parameters"]}]
    body = {"model": "m", "messages": USER, "max_tokens": 9, "tools": tools, "tool_choice": choice}
    [block] = (await post(http, "/v1/messages", body, **VERSION))["content"]
    assert (block["type"], block.get("input")) == (
        ("tool_use", {"n": 1}) if forced else ("text", None)
    )


@pytest.mark.parametrize("field", ["output_format", "output_config"])
async def test_anthropic_structured_output(http: httpx.AsyncClient, field: str) -> None:
    """A wanted JSON object is found under its old and new name."""
    wanted: Any = {"type": "json_schema", "schema": FUNCTION["parameters"]}
    wanted = {"format": wanted} if field == "output_config" else wanted
    body = {"model": "m", "messages": USER, "max_tokens": 9, field: wanted}
    answer = await post(http, "/v1/messages", body, **VERSION)
    assert answer["content"][0]["text"] == '{"n": 1}'


@pytest.mark.parametrize("operation", ["chat", "generate"])
async def test_ollama(up: Upstream, http: httpx.AsyncClient, operation: str) -> None:
    """Ollama streams lines unless told otherwise, with thinking and counts in its own fields."""
    up.reply = lambda _: RICH if operation == "chat" else Reply("It rains.", reasoning="Hm.")
    body: dict[str, Any] = {"model": "m", "messages": USER}
    if operation == "generate":
        body = {"model": "m", "prompt": "hello there", "system": "Be brief."}
    plain = await post(http, f"/api/{operation}", {**body, "stream": False})
    parts = await lines(http, f"/api/{operation}", body)
    assert [part["done"] for part in parts] == [False] * (len(parts) - 1) + [True]
    assert (plain["done"], plain["done_reason"], parts[-1]["done_reason"]) == (True, "stop", "stop")
    assert plain["prompt_eval_count"] == parts[-1]["prompt_eval_count"]
    if operation == "generate":
        assert (plain["response"], plain["thinking"]) == ("It rains.", "Hm.")
        assert "".join(part["response"] for part in parts) == "It rains."
        assert up.requests[0].stream is False
        assert plain["prompt_eval_count"] == 4
        return
    said = [part["message"] for part in parts]
    assert "".join(message["content"] for message in said) == plain["message"]["content"]
    assert "".join(message.get("thinking", "") for message in said) == "Look it up."
    calls = [message["tool_calls"][0] for message in said if "tool_calls" in message]
    assert calls == plain["message"]["tool_calls"]
    assert calls[0] == {"function": {"name": "weather", "arguments": {"city": "Oslo"}}}
    assert up.requests[1].stream is True


@pytest.mark.parametrize(
    ("wanted", "answer"), [("json", '{"answer": "alpha"}'), (FUNCTION["parameters"], '{"n": 1}')]
)
async def test_ollama_format(http: httpx.AsyncClient, wanted: Any, answer: str) -> None:
    """A wanted JSON object is written, with a schema or without."""
    tools = [{"type": "function", "function": FUNCTION}]
    body = {"model": "m", "messages": USER, "format": wanted, "stream": False, "tools": tools}
    assert (await post(http, "/api/chat", body))["message"]["content"] == answer


async def test_ollama_models_and_embeddings(http: httpx.AsyncClient) -> None:
    """Tags, show, version and both embedding endpoints have Ollama's shapes."""
    tags = (await http.get("/api/tags")).json()["models"]
    assert [(tag["name"], len(tag["digest"])) for tag in tags] == [("test-model", 64)]
    shown = await post(http, "/api/show", {"name": "m"})
    assert shown["model_info"]["test.context_length"] == 4096
    assert (await http.get("/api/version")).json()["version"]
    many = await post(http, "/api/embed", {"model": "m", "input": ["a b", "c"]})
    assert (len(many["embeddings"]), many["prompt_eval_count"]) == (2, 3)
    one = await post(http, "/api/embeddings", {"model": "m", "prompt": "a b"})
    assert one["embedding"] == many["embeddings"][0]


async def test_openai_embeddings_below_an_api_prefix(up: Upstream, http: httpx.AsyncClient) -> None:
    """A base URL that ends in /api keeps OpenAI's embeddings, told apart by the body."""
    await post(http, "/api/embeddings", {"model": "m", "input": "a"})
    assert up.requests[0].vendor == "openai"


GEMINI = "/v1beta/models/m:"
CONTENTS = {
    "contents": [{"role": "model", "parts": [{"text": "x"}]}, {"parts": [{"text": "hello there"}]}]
}


async def test_gemini_answer(up: Upstream, http: httpx.AsyncClient) -> None:
    """A response has thought, text and function call parts, and counts thoughts apart."""
    up.reply = lambda _: RICH
    body = {**CONTENTS, "systemInstruction": {"parts": [{"text": "Be brief."}]}}
    answer = await post(http, f"{GEMINI}generateContent", body)
    [candidate] = answer["candidates"]
    assert candidate["content"]["parts"] == [
        {"text": "Look it up.", "thought": True},
        {"text": "It rains."},
        {"functionCall": {"name": "weather", "args": {"city": "Oslo"}}},
        {"functionCall": {"name": "time", "args": {}}},
    ]
    assert candidate["finishReason"] == "STOP"
    usage = answer["usageMetadata"]
    assert (usage["candidatesTokenCount"], usage["thoughtsTokenCount"]) == (19, 3)


async def test_gemini_streams(up: Upstream, http: httpx.AsyncClient) -> None:
    """A stream is events with alt=sse and a JSON array without, with the same responses."""
    up.reply = lambda _: RICH
    seen = await events(http, f"{GEMINI}streamGenerateContent?alt=sse", CONTENTS)
    listed = await post(http, f"{GEMINI}streamGenerateContent", CONTENTS)
    assert [r["candidates"] for r in seen] == [r["candidates"] for r in listed]
    parts = [r["candidates"][0]["content"]["parts"][0] for r in seen]
    assert "".join(p.get("text", "") for p in parts if "thought" not in p) == "It rains."
    assert [r["candidates"][0].get("finishReason") for r in seen][-2:] == [None, "STOP"]
    up.fault(stream_error_after=1)
    broken = await post(http, f"{GEMINI}streamGenerateContent", CONTENTS)
    assert broken[-1]["error"]["status"] == "INTERNAL"
    up.fault(empty=True)
    [nothing] = await post(http, f"{GEMINI}streamGenerateContent", CONTENTS)
    assert "candidates" not in nothing


@pytest.mark.parametrize(
    ("calling", "answer"),
    [
        ({"functionCallingConfig": {"mode": "ANY"}}, "weather"),
        (
            {"function_calling_config": {"mode": "any", "allowed_function_names": ["time"]}},
            "time",
        ),
        ({"functionCallingConfig": {"mode": "AUTO"}}, None),
    ],
)
async def test_gemini_tool_choice(
    http: httpx.AsyncClient, calling: Any, answer: str | None
) -> None:
    """Mode ANY gets a call, of an allowed function if some are named."""
    tools = [{"functionDeclarations": [FUNCTION, {"name": "time"}]}]
    body = {**CONTENTS, "tools": tools, "tool_config": calling}
    response = await post(http, f"{GEMINI}generateContent", body)
    [part] = response["candidates"][0]["content"]["parts"]
    assert part.get("functionCall", {}).get("name") == answer


async def test_gemini_json(http: httpx.AsyncClient) -> None:
    """A wanted JSON object conforms to its schema, whose type names may be in capitals."""
    schema = {"type": "OBJECT", "properties": {"n": {"type": "INTEGER"}}, "required": ["n"]}
    config = {"responseMimeType": "application/json", "responseSchema": schema}
    response = await post(
        http, f"{GEMINI}generateContent", {**CONTENTS, "generationConfig": config}
    )
    assert response["candidates"][0]["content"]["parts"] == [{"text": '{"n": 1}'}]


async def test_gemini_embeddings(http: httpx.AsyncClient) -> None:
    """One text and a batch of texts get vectors, of the length asked for."""
    request = {"content": {"parts": [{"text": "a"}]}, "outputDimensionality": 3}
    one = await post(http, f"{GEMINI}embedContent", request)
    many = await post(http, f"{GEMINI}batchEmbedContents", {"requests": [request, request]})
    assert many["embeddings"] == [one["embedding"]] * 2
    assert len(one["embedding"]["values"]) == 3


COHERE = {"model": "m", "messages": USER, "stream": True}


async def test_cohere_answer(up: Upstream, http: httpx.AsyncClient) -> None:
    """Text next to tool calls is the tool plan; alone it is content after the thinking."""
    up.reply = lambda _: RICH
    answer = await post(http, "/v2/chat", {**COHERE, "stream": False})
    assert (answer["finish_reason"], answer["message"]["tool_plan"]) == ("TOOL_CALL", "It rains.")
    assert answer["message"]["tool_calls"][0]["function"]["arguments"] == '{"city": "Oslo"}'
    assert answer["usage"]["tokens"] == {"input_tokens": 11, "output_tokens": 22}
    up.reply = lambda _: Reply("It rains.", reasoning="Hm.")
    answer = await post(http, "/v2/chat", {**COHERE, "stream": False})
    assert answer["message"]["content"] == [
        {"type": "thinking", "thinking": "Hm."},
        {"type": "text", "text": "It rains."},
    ]


async def test_cohere_stream(up: Upstream, http: httpx.AsyncClient) -> None:
    """Events come in Cohere's order, every block started and ended."""
    up.reply = lambda _: Reply("It rains.", reasoning="Hm.")
    seen = await events(http, "/v2/chat", COHERE)
    assert [event["type"] for event in seen] == [
        "message-start",
        "content-start",
        "content-delta",
        "content-end",
        "content-start",
        "content-delta",
        "content-delta",
        "content-end",
        "message-end",
    ]
    assert [event.get("index") for event in seen[1:-1]] == [0, 0, 0, 1, 1, 1, 1]
    assert seen[-1]["delta"]["finish_reason"] == "COMPLETE"
    up.reply = lambda _: RICH
    kinds = [event["type"] for event in await events(http, "/v2/chat", COHERE)]
    plan = ["tool-plan-delta"] * 2
    first = ["tool-call-start", "tool-call-delta", "tool-call-delta", "tool-call-end"]
    second = ["tool-call-start", "tool-call-delta", "tool-call-end"]
    assert kinds[6:] == [*plan, *first, *second, "message-end"]


@pytest.mark.parametrize("path", ["/v2/chat", "/v1/chat"])
async def test_cohere_stream_as_lines_or_events(http: httpx.AsyncClient, path: str) -> None:
    """The Accept header decides between lines of JSON and server-sent events."""
    body = {**COHERE, "message": "hello there"}
    as_lines = await lines(http, path, body, Accept="application/json")
    as_events = await events(http, path, body, Accept="text/event-stream")
    assert len(as_lines) == len(as_events)
    assert "alpha " in json.dumps(as_lines[1:3])


async def test_cohere_choices(http: httpx.AsyncClient) -> None:
    """REQUIRED gets a tool call, and a wanted JSON object conforms to its schema."""
    body = {"model": "m", "messages": USER, "tools": [{"type": "function", "function": FUNCTION}]}
    answer = await post(http, "/v2/chat", {**body, "tool_choice": "REQUIRED"})
    assert answer["message"]["tool_calls"][0]["function"]["arguments"] == '{"n": 1}'
    wanted = {"type": "json_object", "json_schema": FUNCTION["parameters"]}
    answer = await post(http, "/v2/chat", {**body, "response_format": wanted})
    assert answer["message"]["content"][0]["text"] == '{"n": 1}'


async def test_cohere_v1(up: Upstream, http: httpx.AsyncClient) -> None:
    """Version 1 has a message and a history, and names parameters instead of arguments."""
    body = {
        "message": "hello there",
        "preamble": "Be brief.",
        "chat_history": [{"role": "CHATBOT", "message": "one"}],
        "tools": [{"name": "f", "parameter_definitions": {"n": {"type": "int", "required": True}}}],
    }
    answer = await post(http, "/v1/chat", body)
    assert (answer["text"], answer["finish_reason"]) == ("alpha says: hello there", "COMPLETE")
    assert answer["meta"]["billed_units"] == {"input_tokens": 5, "output_tokens": 4}
    up.reply = lambda _: RICH
    answer = await post(http, "/v1/chat", body)
    assert answer["tool_calls"][0] == {"name": "weather", "parameters": {"city": "Oslo"}}
    seen = await lines(http, "/v1/chat", {**body, "stream": True})
    assert [event["event_type"] for event in seen] == [
        "stream-start",
        "text-generation",
        "text-generation",
        "tool-calls-generation",
        "stream-end",
    ]
    assert [event["is_finished"] for event in seen] == [False] * 4 + [True]
    up.reply = lambda chat: ",".join(map(str, chat.tools[0].schema["required"]))
    assert (await post(http, "/v1/chat", body))["text"] == "n"
    up.reply = lambda chat: str([message.role for message in chat.messages])
    results = {**body, "message": "", "tool_results": [{"outputs": [{"n": 1}]}]}
    assert (await post(http, "/v1/chat", results))["text"] == "['system', 'assistant']"


@pytest.mark.parametrize(
    ("path", "types", "shape"),
    [
        ("/v2/embed", None, "by type"),
        ("/v2/embed", ["base64"], "by type"),
        ("/v1/embed", None, "floats"),
        ("/v1/embed", ["float"], "by type"),
    ],
)
async def test_cohere_embeddings(
    http: httpx.AsyncClient, path: str, types: list[str] | None, shape: str
) -> None:
    """Vectors come by type in version 2 or when types are asked for, else as plain lists."""
    body = {"model": "m", "texts": ["a b", "c"], "embedding_types": types}
    answer = await post(http, path, body)
    vectors = answer["embeddings"]
    if shape == "by type":
        [(kind, vectors)] = vectors.items()
        assert kind == (types or ["float"])[0]
    assert len(vectors) == 2
    assert answer["meta"]["billed_units"] == {"input_tokens": 3}
    assert answer["meta"]["api_version"]["version"] == path[2]


@pytest.mark.parametrize(
    ("path", "headers", "vendor"),
    [
        ("/v1/models", {}, "openai"),
        ("/models", {"Authorization": "Bearer x"}, "openai"),
        ("/v1/models", {"x-api-key": "x"}, "anthropic"),
        ("/v1/models", VERSION, "anthropic"),
        ("/v1beta/models", {"x-goog-api-key": "x"}, "gemini"),
        ("/v1beta/models?key=x", {}, "gemini"),
        ("/v1/models?page_size=5", {}, "cohere"),
        ("/v1/models", {"X-Client-Name": "x"}, "cohere"),
        ("/cohere/v1/models", {}, "cohere"),
    ],
)
async def test_model_listings(
    up: Upstream, http: httpx.AsyncClient, path: str, headers: dict[str, str], vendor: str
) -> None:
    """The four listings of the same path are told apart by header, query or prefix."""
    up.models = ("a", "b")
    listed = (await http.get(path, headers=headers)).json()
    assert up.requests[0].vendor == vendor
    items = listed.get("data") or listed["models"]
    names = [item.get("id") or item["name"].removeprefix("models/") for item in items]
    assert names == ["a", "b"]
    if vendor == "gemini":
        assert items[0]["inputTokenLimit"] == 4096


async def test_empty_model_listing(up: Upstream, http: httpx.AsyncClient) -> None:
    """A listing without models has no first and no last id."""
    up.models = ()
    listed = (await http.get("/v1/models", headers=VERSION)).json()
    assert (listed["data"], listed["first_id"], listed["last_id"]) == ([], None, None)
