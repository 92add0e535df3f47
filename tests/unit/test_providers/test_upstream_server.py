"""The upstream as a server: life cycle, recording, departing clients, threads."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator

import httpx
import pytest

import amas
from amas.providers.testing.upstream import (
    ChatRequest,
    Fault,
    RecordedRequest,
    Reply,
    ThreadedUpstream,
    Upstream,
    serve,
)

KEY = "sk-" + "test" * 6
CHAT = {"model": "test-model", "messages": [{"role": "user", "content": "hello there"}]}
CHAT_PATH = "/v1/chat/completions"
PROMPTLY = 0.25  # seconds; tens of milliseconds, with room for a busy machine


@pytest.fixture
async def up() -> AsyncIterator[Upstream]:
    """Run an upstream in the test's own event loop."""
    async with Upstream("alpha") as upstream:
        yield upstream


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """Lend a plain HTTP client; without TLS, whose set-up takes long."""
    async with httpx.AsyncClient(timeout=5, trust_env=False, verify=False) as client:
        yield client


def run_python(code: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter that finds the package under test."""
    source = os.path.dirname(next(iter(amas.__path__)))  # noqa: PTH120 - a str for the environment
    return subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(code)],
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


async def test_start_and_stop() -> None:
    """The upstream answers between start and stop, on the same port after a restart."""
    upstream = Upstream("alpha")
    with pytest.raises(RuntimeError, match="start it first"):
        _ = upstream.url
    await upstream.start()
    url = upstream.url
    assert url.startswith("http://127.0.0.1:")
    with pytest.raises(RuntimeError, match="already running"):
        await upstream.start()
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"{url}/v1/models")).status_code == 200
        await upstream.stop()
        await upstream.stop()
        with pytest.raises(httpx.ConnectError):
            await client.get(f"{url}/v1/models")
        await upstream.start()
        assert upstream.url == url
        assert (await client.get(f"{url}/v1/models")).status_code == 200
    await upstream.stop()


async def test_port_in_use(up: Upstream) -> None:
    """A port that is taken raises OSError, and the upstream can be started elsewhere."""
    other = Upstream("beta", port=up.port)
    with pytest.raises(OSError, match="in use"):
        await other.start()
    other.port = 0
    async with other:
        assert other.url != up.url


@pytest.mark.parametrize(
    ("host", "shown"), [("::1", "[::1]"), ("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "127.0.0.1")]
)
def test_url_of_host(host: str, shown: str) -> None:
    """IPv6 addresses get brackets, and a wildcard address is shown as loopback."""
    assert Upstream(host=host, port=8080).url == f"http://{shown}:8080"


async def test_requests_are_recorded_in_order(up: Upstream, http: httpx.AsyncClient) -> None:
    """Every request is recorded with prefix, query, headers, body and vendor, unknown ones too."""
    headers = {"Authorization": f"Bearer {KEY}"}
    await http.post(f"{up.url}/openai{CHAT_PATH}?a=1", json=CHAT, headers=headers)
    answer = await http.put(f"{up.url}/nowhere", content=b"\xffnot json")
    first, second = up.requests
    assert (first.method, first.path, first.query["a"]) == ("POST", f"/openai{CHAT_PATH}", "1")
    assert first.headers["CONTENT-TYPE"] == "application/json"
    assert (first.json, first.vendor, first.endpoint) == (CHAT, "openai", "chat")
    assert (first.model, first.stream, first.credential) == ("test-model", False, KEY)
    assert first.completed_at is not None
    assert first.arrived_at <= first.completed_at <= second.arrived_at
    assert (second.vendor, second.endpoint, second.json) == ("unknown", "other", None)
    assert second.body == b"\xffnot json"
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == "Invalid URL (PUT /nowhere)"


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({"Authorization": f"Bearer {KEY}"}, ""),
        ({"authorization": f"token {KEY}"}, ""),
        ({"x-api-key": KEY}, ""),
        ({"api-key": KEY}, ""),
        ({"x-goog-api-key": KEY}, ""),
        ({}, f"?key={KEY}"),
    ],
)
async def test_credential_is_found_and_hidden(
    up: Upstream, http: httpx.AsyncClient, headers: dict[str, str], query: str
) -> None:
    """The key is found wherever vendors put it, and a record's repr does not show it."""
    await http.get(f"{up.url}/v1/models{query}", headers=headers)
    [record] = up.requests
    assert record.credential == KEY
    assert "hidden" in repr(record)
    assert KEY not in repr(record)


@pytest.mark.parametrize("scheme", ["", "Bearer", "Basic abc"])
async def test_no_credential(up: Upstream, http: httpx.AsyncClient, scheme: str) -> None:
    """A request without a key, or with one in no known form, has no credential."""
    await http.get(f"{up.url}/v1/models", headers={"Authorization": scheme})
    assert up.requests[0].credential is None
    assert "credential=none" in repr(up.requests[0])


async def test_clear_forgets_faults_and_requests(up: Upstream, http: httpx.AsyncClient) -> None:
    """After clear() no fault is in force and no request is remembered."""
    up.fault(status=503, times=None)
    assert (await http.post(up.url + CHAT_PATH, json=CHAT)).status_code == 503
    up.clear()
    assert up.requests == []
    assert (await http.post(up.url + CHAT_PATH, json=CHAT)).status_code == 200


@pytest.mark.parametrize(
    "fault",
    [
        Fault(hang=True),
        Fault(delay=30),
        Fault(trickle=30),
        Fault(stall_after=1),
    ],
    ids=["hang", "delay", "trickle", "stall"],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_departure_is_noticed_promptly(
    up: Upstream, http: httpx.AsyncClient, fault: Fault, *, stream: bool
) -> None:
    """A client that leaves before its answer is complete is noticed within tens of milliseconds."""
    up.fault(fault)
    loop = asyncio.get_running_loop()
    call = asyncio.create_task(http.post(up.url + CHAT_PATH, json={**CHAT, "stream": stream}))
    record = await up.wait_for(lambda r: True)
    assert (record.aborted, record.completed_at) == (False, None)
    assert "open" in repr(record)
    left_at = loop.time()
    call.cancel()
    assert await up.wait_for(lambda r: r.aborted) is record
    assert record.aborted_at is not None
    assert record.aborted_at - left_at < PROMPTLY
    assert record.completed_at is None
    assert "aborted" in repr(record)


async def test_departure_is_noticed_while_writing(up: Upstream) -> None:
    """A client that resets the connection while much is being sent counts as aborted."""
    up.reply = "word " * 2_000_000
    _, writer = await asyncio.open_connection("127.0.0.1", up.port)
    body = b'{"model": "m", "messages": [{"role": "user", "content": "hi"}]}'
    head = f"POST {CHAT_PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await up.wait_for(lambda r: True)
    writer.transport.abort()
    record = await up.wait_for(lambda r: r.aborted)
    assert record.completed_at is None


async def test_departure_is_noticed_before_writing(up: Upstream, http: httpx.AsyncClient) -> None:
    """A connection lost while the answer is being worked out counts as aborted, in silence."""

    def reply(_: ChatRequest) -> str:
        server = up._runner.server if up._runner else None
        for connection in server.connections if server else ():
            assert connection.transport is not None
            connection.transport.abort()
        return "too late"

    up.reply = reply
    with pytest.raises(httpx.RemoteProtocolError):
        await http.post(up.url + CHAT_PATH, json=CHAT)
    assert (await up.wait_for(lambda r: r.aborted)).completed_at is None


async def test_stop_does_not_wait_for_hanging_handlers(http: httpx.AsyncClient) -> None:
    """stop() ends hanging requests at once, which are then neither complete nor aborted."""
    async with Upstream("alpha") as upstream:
        upstream.fault(hang=True, times=None)
        calls = [
            asyncio.create_task(http.post(upstream.url + CHAT_PATH, json=CHAT)) for _ in range(3)
        ]
        while len(upstream.requests) < 3:
            await upstream.wait_for(lambda r: len(upstream.requests) == 3)
        started = time.monotonic()
        await upstream.stop()
        assert time.monotonic() - started < PROMPTLY
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(outcome, httpx.TransportError) for outcome in outcomes)
    assert [(r.aborted, r.completed_at) for r in upstream.requests] == [(False, None)] * 3


async def test_nothing_is_left_after_stop() -> None:
    """After stop() no task of the server remains in the event loop."""
    before = asyncio.all_tasks()
    async with Upstream("alpha") as upstream, httpx.AsyncClient(trust_env=False) as client:
        await client.post(upstream.url + CHAT_PATH, json=CHAT)
        upstream.fault(hang=True)
        call = asyncio.create_task(client.post(upstream.url + CHAT_PATH, json=CHAT))
        await upstream.wait_for(lambda r: r.completed_at is None)
        await upstream.stop()
        with pytest.raises(httpx.TransportError):
            await call
    assert asyncio.all_tasks() == before


async def test_wait_for_tells_what_was_recorded(up: Upstream, http: httpx.AsyncClient) -> None:
    """wait_for() gives up with a list of the requests that did not meet the condition."""
    with pytest.raises(TimeoutError, match=r"within 0\.01 s; recorded: none"):
        await up.wait_for(lambda r: r.aborted, within=0.01)
    await http.get(f"{up.url}/v1/models")
    with pytest.raises(TimeoutError, match="GET /v1/models"):
        await up.wait_for(lambda r: r.aborted, within=0.01)


async def test_large_bodies_pass(up: Upstream, http: httpx.AsyncClient) -> None:
    """A prompt of several megabytes is read and counted."""
    text = "word " * 1_000_000
    chat = {**CHAT, "messages": [{"role": "user", "content": text}]}
    answer = await http.post(up.url + CHAT_PATH, json=chat)
    assert answer.json()["usage"]["prompt_tokens"] == 1_000_000


async def test_settings_may_change_while_running(up: Upstream, http: httpx.AsyncClient) -> None:
    """Keys, reply, models and window take effect with the next request."""
    up.keys = f"{KEY}-and-more"  # one key may be given as it is, and is compared as a whole
    headers = {"Authorization": f"Bearer {KEY}"}
    assert (await http.get(f"{up.url}/v1/models", headers=headers)).status_code == 401
    up.keys, up.reply, up.models, up.context_window = {KEY}, "pong", ("a", "b"), 1
    assert (await http.get(f"{up.url}/v1/models")).status_code == 401
    http.headers["Authorization"] = f"Bearer {KEY}"
    listed = await http.get(f"{up.url}/v1/models")
    assert [item["id"] for item in listed.json()["data"]] == ["a", "b"]
    refused = await http.post(up.url + CHAT_PATH, json=CHAT)
    assert refused.json()["error"]["code"] == "context_length_exceeded"
    assert "maximum context length is 1 tokens" in refused.json()["error"]["message"]
    assert "resulted in 2 tokens" in refused.json()["error"]["message"]
    up.context_window = 2
    accepted = await http.post(up.url + CHAT_PATH, json=CHAT)
    assert accepted.json()["choices"][0]["message"]["content"] == "pong"


async def test_reply_callable(up: Upstream, http: httpx.AsyncClient) -> None:
    """A callable sees the parsed request; what it raises becomes the vendor's error 500."""
    seen: list[ChatRequest] = []

    said: dict[str, str | Reply] = {
        "hello there": "hi",
        "long": Reply("cut", finish_reason="length"),
    }

    def reply(chat: ChatRequest) -> str | Reply:
        seen.append(chat)
        return said[chat.last_user_text]

    up.reply = reply
    answer = await http.post(up.url + CHAT_PATH, json=CHAT)
    assert answer.json()["choices"][0]["message"]["content"] == "hi"
    long = {**CHAT, "messages": [{"role": "user", "content": "long"}]}
    answer = await http.post(up.url + CHAT_PATH, json=long)
    assert answer.json()["choices"][0]["finish_reason"] == "length"
    other = {**CHAT, "messages": [{"role": "user", "content": "other"}]}
    answer = await http.post(up.url + CHAT_PATH, json=other)
    assert answer.status_code == 500
    assert "KeyError('other')" in answer.json()["error"]["message"]
    assert [chat.model for chat in seen] == ["test-model"] * 3


async def test_chunk_delay(http: httpx.AsyncClient) -> None:
    """Streams pause between their chunks; answers in one piece do not."""
    async with Upstream("alpha", reply="a b c", chunk_delay=0.03) as upstream:
        started = time.monotonic()
        await http.post(upstream.url + CHAT_PATH, json={**CHAT, "stream": True})
        assert 0.06 <= time.monotonic() - started < 0.06 + PROMPTLY
        started = time.monotonic()
        await http.post(upstream.url + CHAT_PATH, json=CHAT)
        assert time.monotonic() - started < 0.06


def test_threaded_upstream_serves_blocking_clients() -> None:
    """ThreadedUpstream answers a client that blocks the calling thread, and notices departures."""
    with ThreadedUpstream("alpha", models=("m",)) as up, httpx.Client(trust_env=False) as client:
        assert client.post(up.url + CHAT_PATH, json=CHAT).status_code == 200
        up.fault(status=503)
        assert client.post(up.url + CHAT_PATH, json=CHAT).status_code == 503
        up.fault(Fault(hang=True))
        with pytest.raises(httpx.ReadTimeout):
            client.post(up.url + CHAT_PATH, json=CHAT, timeout=0.05)
        assert up.wait_for(lambda r: r.aborted).credential is None
        assert len(up.requests) == 3
        with pytest.raises(RuntimeError, match="already running"):
            up.start()
        up.clear()
        assert up.requests == []


def test_threaded_upstream_stops_cleanly() -> None:
    """stop() may be called twice, waiting needs a running server, and a restart works."""
    up = ThreadedUpstream("alpha")
    up.stop()
    with pytest.raises(RuntimeError, match="not running"):
        up.wait_for(lambda r: True)
    up.start()
    up.stop()
    up.stop()
    with up:
        assert httpx.get(f"{up.url}/v1/models", trust_env=False).status_code == 200


def test_threaded_upstream_reports_a_port_in_use() -> None:
    """A port that is taken raises OSError in the calling thread."""
    with ThreadedUpstream("alpha") as up:
        other = ThreadedUpstream("beta", port=up.upstream.port)
        with pytest.raises(OSError, match="in use"):
            other.start()


async def test_serve_runs_until_cancelled(http: httpx.AsyncClient) -> None:
    """serve() tells when it is ready, applies its faults, and stops when cancelled."""
    ready: asyncio.Future[Upstream] = asyncio.get_running_loop().create_future()
    faults = [Fault(status=503)]
    server = asyncio.create_task(
        serve("127.0.0.1", 0, faults=faults, name="beta", on_ready=ready.set_result)
    )
    url = (await ready).url
    assert (await http.post(url + CHAT_PATH, json=CHAT)).status_code == 503
    answer = await http.post(url + CHAT_PATH, json=CHAT)
    assert answer.json()["choices"][0]["message"]["content"] == "beta says: hello there"
    server.cancel()
    with pytest.raises(asyncio.CancelledError):
        await server
    with pytest.raises(httpx.ConnectError):
        await http.get(f"{url}/v1/models")


async def test_serve_needs_no_callback(up: Upstream) -> None:
    """serve() may be left to itself, and a port that is taken ends it with OSError."""
    with pytest.raises(OSError, match="in use"):
        await serve("127.0.0.1", up.port)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(serve("127.0.0.1", 0), 0.02)


def test_silent_under_strict_warnings() -> None:
    """Resets, cuts, hangs and departures leave nothing on stderr under -X dev -W error."""
    outcome = run_python(
        """
        import asyncio
        import aiohttp
        from amas.providers.testing.upstream import Upstream

        async def main():
            async with Upstream("alpha") as up, aiohttp.ClientSession() as session:
                url = up.url + "/v1/chat/completions"
                chat = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
                for fault in ({"reset": True}, {"cut_after": 1}):
                    up.fault(**fault)
                    try:
                        async with session.post(url, json=chat) as answer:
                            await answer.read()
                    except aiohttp.ClientError as error:
                        print(type(error).__name__)
                up.fault(hang=True, times=2)
                leaver = asyncio.create_task(session.post(url, json=chat))
                await up.wait_for(lambda r: len(up.requests) == 3)
                leaver.cancel()
                await up.wait_for(lambda r: r.aborted)
                stayer = asyncio.create_task(session.post(url, json=chat))
                await up.wait_for(lambda r: len(up.requests) == 4)
                await up.stop()
                for outcome in await asyncio.gather(leaver, stayer, return_exceptions=True):
                    print(type(outcome).__name__)

        asyncio.run(main())
        """,
        "-X",
        "dev",
        "-W",
        "error",
    )
    assert outcome.stderr == ""
    assert outcome.returncode == 0
    assert outcome.stdout.split() == [
        "ClientOSError",
        "ClientPayloadError",
        "CancelledError",
        "ServerDisconnectedError",
    ]


def test_testing_package_does_not_import_aiohttp() -> None:
    """Importing the package above the upstream leaves aiohttp out."""
    outcome = run_python(
        "import sys, amas.providers.testing; print('aiohttp' in sys.modules)", "-W", "error"
    )
    assert (outcome.stdout.strip(), outcome.stderr) == ("False", "")


def test_record_of_a_request_can_be_built_by_hand() -> None:
    """Users may build records for tests of their own match callables."""
    record = RecordedRequest("GET", "/v1/models")
    assert (record.vendor, record.endpoint, record.aborted) == ("unknown", "other", False)
