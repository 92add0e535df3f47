"""Faults: each does what it says, in every vendor's format, for the requests it is meant for."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import httpx
import pytest

from amas.providers.testing.upstream import Fault, RecordedRequest, Upstream, parse_fault

KEY = "sk-" + "test" * 6
MESSAGES = [{"role": "user", "content": "hello there"}]
CHATS: dict[str, tuple[str, dict[str, Any], dict[str, str]]] = {
    "openai": ("/v1/chat/completions", {"model": "m", "messages": MESSAGES}, {}),
    "anthropic": (
        "/v1/messages",
        {"model": "m", "messages": MESSAGES, "max_tokens": 9},
        {"anthropic-version": "2023-06-01"},
    ),
    "ollama": ("/api/chat", {"model": "m", "messages": MESSAGES}, {}),
    "gemini": ("/v1beta/models/m:", {"contents": [{"parts": [{"text": "hello there"}]}]}, {}),
    "cohere": ("/v2/chat", {"model": "m", "messages": MESSAGES}, {}),
    "cohere_v1": ("/v1/chat", {"model": "m", "message": "hello there"}, {}),
}


@pytest.fixture
async def up() -> AsyncIterator[Upstream]:
    """Run an upstream whose answer has four chunks."""
    async with Upstream("alpha") as upstream:
        yield upstream


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """Lend a plain HTTP client that sends a key; without TLS, whose set-up takes long."""
    headers = {"Authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(
        timeout=5, headers=headers, trust_env=False, verify=False
    ) as client:
        yield client


def request_of(up: Upstream, vendor: str, *, stream: bool = False) -> dict[str, Any]:
    """Return what a chat request in a vendor's format needs."""
    path, body, headers = CHATS[vendor]
    if vendor == "gemini":
        path += "streamGenerateContent?alt=sse" if stream else "generateContent"
    else:
        body = {**body, "stream": stream}
    return {"method": "POST", "url": up.url + path, "json": body, "headers": headers}


async def read_into(parts: list[bytes], http: httpx.AsyncClient, request: dict[str, Any]) -> None:
    """Send a request and collect the body as it comes."""
    async with http.stream(**request) as answer:
        async for part in answer.aiter_raw():
            parts += [part]


async def chat(
    up: Upstream, http: httpx.AsyncClient, vendor: str = "openai", *, stream: bool = False
) -> httpx.Response:
    """Send a chat request in a vendor's format."""
    return await http.request(**request_of(up, vendor, stream=stream))


def is_json(text: str) -> bool:
    """Tell whether a text is JSON."""
    try:
        json.loads(text)
    except json.JSONDecodeError:
        return False
    return True


def error_of(answer: httpx.Response) -> str:
    """Return the message of an error, wherever the vendor puts it."""
    body = answer.json()
    error = body.get("error", body)
    return str(error if isinstance(error, str) else error["message"])


@pytest.mark.parametrize("vendor", CHATS)
async def test_status(up: Upstream, http: httpx.AsyncClient, vendor: str) -> None:
    """A status comes with a message in the vendor's own form, streamed requests included."""
    for status in (400, 401, 402, 403, 404, 408, 413, 418, 422, 429, 500, 502, 503, 504, 529):
        up.fault(status=status, times=2)
        for stream in (False, True):
            answer = await chat(up, http, vendor, stream=stream)
            assert answer.status_code == status
            assert answer.headers["content-type"].startswith("application/json")
            assert error_of(answer)
    assert (await chat(up, http, vendor)).status_code == 200


@pytest.mark.parametrize(
    ("vendor", "fault", "status", "text"),
    [
        ("openai", Fault.rate_limited(), 429, '"code":"rate_limit_exceeded"'),
        ("openai", Fault.quota_exceeded(), 429, '"code":"insufficient_quota"'),
        ("openai", Fault.context_window(), 400, '"code":"context_length_exceeded"'),
        ("openai", Fault.content_policy(), 400, "violating our usage policy"),
        ("openai", Fault.model_not_found(), 404, "The model `m` does not exist"),
        ("openai", Fault.unauthorized(), 401, "Incorrect API key provided: sk-"),
        ("anthropic", Fault.rate_limited(), 429, '"type":"rate_limit_error"'),
        ("anthropic", Fault.quota_exceeded(), 400, "credit balance is too low"),
        ("anthropic", Fault.context_window(), 400, "prompt is too long: 8193 tokens > 8192"),
        ("anthropic", Fault.content_policy(), 400, "content filtering policy"),
        ("anthropic", Fault.model_not_found(), 404, "model: m"),
        ("anthropic", Fault.unauthorized(), 401, '"type":"authentication_error"'),
        ("anthropic", Fault.overloaded(), 529, '"type":"overloaded_error"'),
        ("gemini", Fault.rate_limited(), 429, '"status":"RESOURCE_EXHAUSTED"'),
        ("gemini", Fault.quota_exceeded(), 429, "exceeded your current quota"),
        ("gemini", Fault.context_window(), 400, "exceeds the maximum number of tokens allowed"),
        ("gemini", Fault.content_policy(), 200, '"blockReason":"PROHIBITED_CONTENT"'),
        ("gemini", Fault.model_not_found(), 404, "models/m is not found"),
        ("gemini", Fault.unauthorized(), 400, '"reason":"API_KEY_INVALID"'),
        ("cohere", Fault.quota_exceeded(), 402, "payment method"),
        ("cohere", Fault.context_window(), 400, "too many tokens"),
        ("cohere", Fault.unauthorized(), 401, '"message":"invalid api token"'),
        ("ollama", Fault.model_not_found(), 404, "model 'm' not found"),
        ("openai", Fault(code="odd", message="Odd."), 400, '"message":"Odd."'),
        ("openai", Fault(code="odd", status=409), 409, '"code":"odd"'),
        ("anthropic", Fault(code="odd"), 400, '"type":"odd"'),
        ("gemini", Fault(code="ODD", status=500), 500, '"status":"ODD"'),
        ("openai", Fault.quota_exceeded(status=402), 402, '"code":"insufficient_quota"'),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_codes(
    up: Upstream, http: httpx.AsyncClient, *, vendor: str, fault: Fault, status: int, text: str
) -> None:
    """Well-known codes bring the vendor's own status and words, others are taken over."""
    up.fault(fault)
    answer = await chat(up, http, vendor)
    assert answer.status_code == status
    assert text in answer.text
    assert KEY not in answer.text


async def test_gemini_refuses_within_a_stream(up: Upstream, http: httpx.AsyncClient) -> None:
    """A refused prompt gets one event with a block reason and no candidate."""
    up.fault(Fault.content_policy())
    answer = await chat(up, http, "gemini", stream=True)
    [line] = answer.text.split()[1:]
    assert "candidates" not in json.loads(line)
    assert json.loads(line)["promptFeedback"] == {"blockReason": "PROHIBITED_CONTENT"}


@pytest.mark.parametrize(
    ("given", "sent"), [(2, "2"), (2.0, "2"), (0.5, "0.5"), ("Wed, 21 Oct 2026 07:28:00 GMT",) * 2]
)
async def test_retry_after(
    up: Upstream, http: httpx.AsyncClient, given: float | str, sent: str
) -> None:
    """Retry-After is sent as whole seconds where it can be, as given otherwise."""
    up.fault(Fault.rate_limited(given))
    assert (await chat(up, http)).headers["retry-after"] == sent


async def test_times_and_order(up: Upstream, http: httpx.AsyncClient) -> None:
    """Faults are used up in the order of queueing; one without end stays in force."""
    up.fault(status=503, times=2)
    up.fault(status=429)
    up.fault(status=500, times=None)
    seen = [(await chat(up, http)).status_code for _ in range(6)]
    assert seen == [503, 503, 429, 500, 500, 500]


@pytest.mark.parametrize(
    ("on", "failing"),
    [
        ("generate", {"chat"}),
        ("models", {"models"}),
        ("embeddings", {"embeddings"}),
        ("any", {"chat", "models", "embeddings", "other"}),
    ],
)
async def test_on(up: Upstream, http: httpx.AsyncClient, on: str, failing: set[str]) -> None:
    """A fault concerns only the endpoints it names."""
    up.fault(status=503, on=on, times=None)
    answers = [
        await chat(up, http),
        await http.get(f"{up.url}/v1/models"),
        await http.post(f"{up.url}/v1/embeddings", json={"model": "m", "input": "a"}),
        await http.get(f"{up.url}/api/version"),
    ]
    endpoints = [request.endpoint for request in up.requests]
    assert endpoints == ["chat", "models", "embeddings", "other"]
    outcomes = zip(endpoints, answers, strict=True)
    assert {name for name, answer in outcomes if answer.status_code == 503} == failing


@pytest.mark.parametrize(
    ("match", "hit"),
    [
        ("/v1/chat", True),
        ("^m$", True),
        (r"v\d+/chat", True),
        ("other", False),
        (lambda r: r.model == "m", True),
        (lambda r: r.stream, False),
    ],
)
async def test_match(up: Upstream, http: httpx.AsyncClient, match: Any, *, hit: bool) -> None:
    """A fault can be restricted by path, by model, or by a function of the request."""
    up.fault(status=503, match=match)
    assert (await chat(up, http)).status_code == (503 if hit else 200)


async def test_wrong_keys_use_up_no_fault(up: Upstream, http: httpx.AsyncClient) -> None:
    """A request whose key is refused leaves the queued faults to the next one."""
    up.keys = {KEY}
    up.fault(status=503)
    refused = await http.get(f"{up.url}/v1/models", headers={"Authorization": "Bearer no"})
    assert refused.status_code == 401
    assert (await chat(up, http)).status_code == 503


async def test_delay(up: Upstream, http: httpx.AsyncClient) -> None:
    """The first byte comes no earlier than the delay says."""
    up.fault(delay=0.03)
    started = time.monotonic()
    assert (await chat(up, http)).status_code == 200
    assert time.monotonic() - started >= 0.03


async def test_reset(up: Upstream, http: httpx.AsyncClient) -> None:
    """The connection is reset before anything is sent."""
    up.fault(reset=True)
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientOSError, match="reset"):
            await session.request(**request_of(up, "openai"))
    record = await up.wait_for(lambda r: r.completed_at is not None)
    assert not record.aborted


async def test_trickle(up: Upstream, http: httpx.AsyncClient) -> None:
    """A body comes byte by byte, a stream chunk by chunk, and both complete."""
    up.fault(trickle=0.00001)
    up.fault(trickle=0.02)
    parts: list[bytes] = []
    await read_into(parts, http, request_of(up, "openai"))
    assert len(parts) > 10
    assert json.loads(b"".join(parts))["choices"]
    started = time.monotonic()
    assert (await chat(up, http, stream=True)).text.endswith("data: [DONE]\n\n")
    assert time.monotonic() - started >= 0.06


@pytest.mark.parametrize("vendor", CHATS)
@pytest.mark.parametrize("count", [0, 2, 99])
async def test_cut_stream(up: Upstream, http: httpx.AsyncClient, vendor: str, count: int) -> None:
    """The connection breaks after that many chunks, all of which arrive."""
    whole = (await chat(up, http, vendor, stream=True)).text
    up.fault(cut_after=count)
    seen: list[bytes] = []
    with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
        await read_into(seen, http, request_of(up, vendor, stream=True))
    text = b"".join(seen).decode()
    said = ["alpha", "says:", "hello", "there"]
    assert [word for word in said if word in text] == said[:count]
    assert len(text) < len(whole)
    record = await up.wait_for(lambda r: r is up.requests[-1] and r.completed_at is not None)
    assert not record.aborted


@pytest.mark.parametrize("vendor", CHATS)
@pytest.mark.parametrize("count", [0, 2, 99])
async def test_truncated_stream(
    up: Upstream, http: httpx.AsyncClient, vendor: str, count: int
) -> None:
    """The stream ends cleanly after that many chunks, without finish reason or end marker."""
    up.fault(truncate_after=count)
    text = (await chat(up, http, vendor, stream=True)).text
    said = ["alpha", "says:", "hello", "there"]
    assert [word for word in said if word in text] == said[:count]
    for sign in ('"stop"', "end_turn", "[DONE]", '"done":true', "STOP", "COMPLETE"):
        assert sign not in text


@pytest.mark.parametrize(
    ("vendor", "sign"),
    [
        ("openai", '"message":"The server had an error while processing your request.'),
        ("anthropic", 'event: error\ndata: {"type":"error","error":{"type":"api_error"'),
        ("ollama", '{"error":"llama runner process has terminated: exit status 2"}'),
        ("gemini", 'data: {"error":{"code":500,'),
        ("cohere", '"finish_reason":"ERROR"'),
        ("cohere_v1", '"finish_reason":"ERROR"'),
    ],
)
async def test_error_within_a_stream(
    up: Upstream, http: httpx.AsyncClient, vendor: str, sign: str
) -> None:
    """An error event follows the chunks in a stream; unstreamed it is the whole answer."""
    up.fault(stream_error_after=2, times=2)
    answer = await chat(up, http, vendor, stream=True)
    assert answer.status_code == 200
    assert answer.text.index("says:") < answer.text.index(sign)
    assert "hello" not in answer.text
    assert (await chat(up, http, vendor)).status_code == 500


async def test_error_within_a_stream_can_be_chosen(up: Upstream, http: httpx.AsyncClient) -> None:
    """The error event takes its code and message from the fault."""
    up.fault(Fault.overloaded(stream_error_after=1, message="Busy."))
    text = (await chat(up, http, "anthropic", stream=True)).text
    assert '"error":{"type":"overloaded_error","message":"Busy."}' in text
    up.fault(Fault.content_policy(stream_error_after=1))
    text = (await chat(up, http, "gemini", stream=True)).text
    assert text.index("alpha") < text.index("The prompt was blocked.")


@pytest.mark.parametrize("vendor", CHATS)
async def test_cut_and_truncated_bodies(up: Upstream, http: httpx.AsyncClient, vendor: str) -> None:
    """Half of an unstreamed body is sent, with a broken end or with a clean one."""
    up.fault(cut_after=0)
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
        await chat(up, http, vendor)
    up.fault(truncate_after=0)
    answer = await chat(up, http, vendor)
    with pytest.raises(json.JSONDecodeError):
        answer.json()


@pytest.mark.parametrize("vendor", CHATS)
async def test_malformed(up: Upstream, http: httpx.AsyncClient, vendor: str) -> None:
    """A body is no JSON; of a stream the first chunk is none, and the rest is whole."""
    up.fault(malformed=True, times=2)
    answer = await chat(up, http, vendor)
    assert answer.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        answer.json()
    lines = (await chat(up, http, vendor, stream=True)).text.splitlines()
    payloads = [line.removeprefix("data: ") for line in lines if '"' in line]
    broken = [payload for payload in payloads if not is_json(payload)]
    assert len(broken) == 1
    assert (
        payloads.index(broken[0])
        == next(index for index, payload in enumerate(payloads) if "says: " in payload) - 1
    )


async def test_malformed_stream_without_content(up: Upstream, http: httpx.AsyncClient) -> None:
    """A stream without chunks has its last frames broken instead."""
    up.reply = ""
    up.fault(malformed=True)
    text = (await chat(up, http, "ollama", stream=True)).text
    with pytest.raises(json.JSONDecodeError):
        json.loads(text)


@pytest.mark.parametrize(("status", "title"), [(502, "502 Bad Gateway"), (529, "529")])
async def test_gateway_page(up: Upstream, http: httpx.AsyncClient, status: int, title: str) -> None:
    """A malformed error is an HTML page, as gateways send it."""
    up.fault(status=status, malformed=True)
    answer = await chat(up, http)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "text/html"
    assert f"<h1>{title}</h1>" in answer.text


@pytest.mark.parametrize(
    ("vendor", "absent"),
    [
        ("openai", {"choices": []}),
        ("anthropic", {"content": []}),
        ("ollama", {"message": None}),
        ("gemini", {"candidates": None}),
        ("cohere", {"message": {"role": "assistant", "content": []}}),
        ("cohere_v1", {"text": None}),
    ],
)
async def test_empty(
    up: Upstream, http: httpx.AsyncClient, vendor: str, absent: dict[str, Any]
) -> None:
    """An empty answer has no choice at all, and a stream of it no chunk."""
    up.fault(empty=True, times=2)
    body = (await chat(up, http, vendor)).json()
    assert {name: body.get(name) for name in absent} == absent
    text = (await chat(up, http, vendor, stream=True)).text
    assert "alpha" not in text
    if vendor == "openai":
        assert '"choices":[]' in text


async def test_empty_content(up: Upstream, http: httpx.AsyncClient) -> None:
    """A choice without content has null in it, and a stream of it ends without a chunk."""
    up.fault(empty="content", times=2)
    [choice] = (await chat(up, http)).json()["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == (None, "stop")
    text = (await chat(up, http, stream=True)).text
    assert '"finish_reason":"stop"' in text
    assert "alpha" not in text


async def test_empty_lists(up: Upstream, http: httpx.AsyncClient) -> None:
    """An empty listing has no models, and empty embeddings are an empty object."""
    up.fault(empty=True, on="any", times=2)
    assert (await http.get(f"{up.url}/v1/models")).json()["data"] == []
    answer = await http.post(f"{up.url}/v1/embeddings", json={"model": "m", "input": "a"})
    assert answer.json() == {}


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("http://other.test", "http://other.test/x%20y/v1/models?a=1%262"),
        ("http://other.test/", "http://other.test/x%20y/v1/models?a=1%262"),
        ("http://other.test/else", "http://other.test/else"),
    ],
)
async def test_redirect(up: Upstream, http: httpx.AsyncClient, target: str, location: str) -> None:
    """A redirect without a path keeps the path and query of the request."""
    up.fault(redirect=target, redirect_status=308, on="models")
    answer = await http.get(f"{up.url}/x%20y/v1/models?a=1%262")
    assert (answer.status_code, answer.headers["location"]) == (308, location)


@pytest.mark.parametrize("vendor", CHATS)
async def test_echo_key(up: Upstream, http: httpx.AsyncClient, vendor: str) -> None:
    """The credential comes back in body and header, with 401 unless another status is given."""
    up.fault(echo_key=True)
    up.fault(echo_key=True, status=500)
    answers = [await chat(up, http, vendor) for _ in range(2)]
    assert answers[1].status_code == 500
    assert answers[0].status_code == (400 if vendor == "gemini" else 401)
    for answer in answers:
        assert KEY in error_of(answer)
        assert answer.headers["x-received-credential"] == KEY


async def test_echo_key_in_a_stream(up: Upstream, http: httpx.AsyncClient) -> None:
    """The error event of a stream can carry the credential too."""
    up.fault(echo_key=True, stream_error_after=1)
    assert KEY in (await chat(up, http, stream=True)).text


@pytest.mark.parametrize(
    ("options", "trouble"),
    [
        ({}, "needs an effect"),
        ({"times": 3, "on": "any", "message": "x"}, "needs an effect"),
        ({"status": 200}, "status: 200 is not an error status"),
        ({"times": 0, "hang": True}, "times: 0 is not positive"),
        ({"on": "chat", "hang": True}, "on: 'chat' is not one of generate"),
        ({"match": "(", "hang": True}, "match: not a regular expression"),
        ({"redirect": "http://x", "redirect_status": 200}, "redirect_status: 200"),
        ({"delay": -1}, "delay: -1 is negative"),
        ({"cut_after": -1}, "cut_after: -1 is negative"),
        ({"empty": "all"}, "empty: 'all' is neither"),
        ({"hang": True, "status": 503}, "hang and status exclude each other"),
        ({"cut_after": 1, "truncate_after": 1}, "cut_after and truncate_after exclude"),
        ({"malformed": True, "empty": True}, "empty and malformed exclude"),
    ],
)
def test_wrong_faults_are_refused(options: dict[str, Any], trouble: str) -> None:
    """A fault that cannot be meant fails where it is written, naming the field."""
    with pytest.raises(ValueError, match=trouble.replace("(", r"\(")):
        Fault(**options)


async def test_fault_takes_one_form(up: Upstream) -> None:
    """fault() takes a Fault or its arguments, not both and not nothing."""
    assert up.fault(hang=True) == Fault(hang=True)
    with pytest.raises(TypeError, match="either"):
        up.fault(Fault(hang=True), status=503)
    with pytest.raises(TypeError, match="either"):
        up.fault()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("status=503,times=2,retry_after=1", Fault(status=503, times=2, retry_after=1)),
        (" hang , times = forever ", Fault(hang=True, times=None)),
        ("reset=no,cut_after=2", Fault(cut_after=2)),
        ("rate_limited,retry_after=0.5", Fault.rate_limited(0.5)),
        ("quota_exceeded,times=none", Fault.quota_exceeded(times=None)),
        ('status=400,"message=one, two"', Fault(status=400, message="one, two")),
        ("status=429,retry_after=later", Fault(status=429, retry_after="later")),
        ("empty", Fault(empty=True)),
        ("empty=content,on=generate", Fault(empty="content")),
        ("delay=0.5,match=gpt", Fault(delay=0.5, match="gpt")),
        ("redirect=http://x/?a=b", Fault(redirect="http://x/?a=b")),
    ],
)
def test_parse_fault(text: str, fault: Fault) -> None:
    """A fault is read from its fields, flags and ready-made names."""
    assert parse_fault(text) == fault


@pytest.mark.parametrize(
    ("text", "trouble"),
    [
        ("", "the fault is empty"),
        ("stauts=503", "unknown field 'stauts'"),
        ("hang,rate_limited", "unknown field 'rate_limited'"),
        ("status=often", "field 'status': invalid literal"),
        ("status", "field 'status' needs a value"),
        ("hang=maybe", "field 'hang': 'maybe' is neither true nor false"),
        ("status=503,status=500", "field 'status' is given twice"),
        ("status=200", "status: 200 is not an error status"),
        ("rate_limited,code=x", "code"),
    ],
)
def test_parse_fault_explains_itself(text: str, trouble: str) -> None:
    """A fault that cannot be read names the field, lists the valid ones and shows an example."""
    with pytest.raises(ValueError, match=trouble) as caught:
        parse_fault(text)
    assert "truncate_after" in str(caught.value)
    assert "quota_exceeded" in str(caught.value)
    assert "example: status=503,times=2,retry_after=1" in str(caught.value)


async def test_faults_are_shared_fairly(up: Upstream, http: httpx.AsyncClient) -> None:
    """Of many requests at once exactly as many fail as the fault says."""
    up.fault(status=503, times=7)
    answers = await asyncio.gather(*(chat(up, http) for _ in range(20)))
    assert [answer.status_code for answer in answers].count(503) == 7


def test_match_callables_see_the_record() -> None:
    """A match callable is given the recorded request."""
    seen: list[RecordedRequest] = []
    fault = Fault(hang=True, match=lambda r: bool(seen.append(r)))  # type: ignore[func-returns-value]
    record = RecordedRequest("POST", "/x", endpoint="chat")
    assert not fault.matches(record)
    assert seen == [record]
