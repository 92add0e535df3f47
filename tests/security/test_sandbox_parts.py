"""The parts of the sandbox, one by one: what both sides say, and what keeps a child in."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import json
import logging
import os
import platform
import resource
import socket
import struct
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from amas.providers import (
    ProviderConfig,
    ProviderConfigError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitError,
    StreamChunk,
    StreamInterruptedError,
)
from amas.providers import errors as tree
from amas.providers.security.sandbox import (
    answers,
    calls,
    child,
    environment,
    hardening,
    kernel,
    landlock,
    limits,
    portable,
    reachable,
    seccomp,
    server,
    values,
    wire,
)
from amas.providers.security.sandbox.calls import Call, Calls
from amas.providers.security.sandbox.output import Output
from amas.providers.security.sandbox.portable import SandboxReport
from amas.providers.security.sandbox.restarts import Restarts
from amas.providers.security.sandbox.server import WINDOW, Server
from amas.providers.testing import FakeProvider
from amas.providers.testing.fake_provider import Delay, FakeClock
from amas.providers.types import Capability, EmbeddingResult, SandboxLimits

# --- what is said, and how ---------------------------------------------------------------------


async def received(data: bytes, limit: int = 100) -> Any:
    """Receive what these bytes are."""
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return await wire.receive(reader, limit)


async def test_a_message_arrives_as_it_was_sent() -> None:
    """Whatever plain data it is, lone surrogates too; its size comes with it."""
    frozen = MappingProxyType({"x": True, "y": range(2)})
    message = {"text": "ü\ud800", "list": (1, 2.5, None), "map": frozen}
    packed = wire.pack(message, 100)
    assert await received(packed) == (
        {"text": "ü\ud800", "list": [1, 2.5, None], "map": {"x": True, "y": [0, 1]}},
        len(packed) - 4,
    )


async def test_a_child_may_not_send_more_values_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither lists, mappings and texts nor numbers; the service itself may."""
    monkeypatch.setattr(wire, "MAX_VALUES", 3)
    monkeypatch.setattr(wire, "MAX_NUMBERS", 5)

    async def arrives(message: Any, *, trusted: bool = False) -> Any:
        reader = asyncio.StreamReader()
        reader.feed_data(wire.pack(message, 100))
        return await wire.receive(reader, 100, trusted=trusted)

    assert await arrives({"a": [1, 2, 3]}) == ({"a": [1, 2, 3]}, 13 + 300)
    messages: list[Any] = [{"a": [[]]}, {"a": [1] * 7}]
    for message in messages:
        with pytest.raises(wire.MalformedMessageError, match="too many values"):
            await arrives(message)
        taken = await arrives(message, trusted=True)
        assert taken[0] == message


@pytest.mark.parametrize("data", [b"", b"\0\0", b"\0\0\0\4{}"], ids=["none", "half", "cut"])
async def test_the_end_is_no_message(data: bytes) -> None:
    """Also in the middle of one."""
    assert await received(data) is None


@pytest.mark.parametrize(
    "text", [b"", b"x", b"[]", b'{"a":NaN}', b"[" * 90, b"\xff"], ids=lambda text: repr(text[:9])
)
async def test_what_is_no_message_is_malformed(text: bytes) -> None:
    """And so is one that is longer than allowed, before it is read."""
    with pytest.raises(wire.MalformedMessageError):
        await received(struct.pack(">I", len(text)) + text)
    with pytest.raises(wire.MalformedMessageError, match="at most 100"):
        await received(struct.pack(">I", 101))


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ({"x": object()}, TypeError),
        ({"x": b"bytes"}, TypeError),
        ({"x": {1}}, TypeError),
        ({"x": float("nan")}, ValueError),
        ({"x": "long" * 100}, ValueError),
    ],
    ids=["object", "bytes", "set", "nan", "long"],
)
def test_only_plain_data_is_sent(message: dict[str, Any], error: type[Exception]) -> None:
    """And only as much as the other side takes."""
    with pytest.raises(error):
        wire.pack(message, 100)


def through(data: Any) -> Any:
    """Send data through the channel, in mind."""
    return json.loads(json.dumps(data))


@pytest.mark.parametrize("several", [False, True], ids=["one key", "several keys"])
def test_a_configuration_arrives_whole(fake_key: str, *, several: bool) -> None:
    """With its secrets, which are secrets there too; a child has no further child."""
    keys: dict[str, Any] = {"api_keys": [fake_key, "other"]} if several else {"api_key": fake_key}
    config = ProviderConfig(
        "mine",
        **keys,
        model="m",
        options={"aws_secret_access_key": fake_key, "list": [1]},
        params={"temperature": 1},
        capabilities=frozenset({Capability.TOOLS, Capability.STREAM}),
        price={"input": 1, "output": 2},
        policy={"timeout": {"retry": "once"}},
        proxy=f"http://user:{fake_key}@proxy:1",
        isolation="process",
        sandbox=SandboxLimits(memory_mb=512),
        allowed_hosts=["a.example"],
    )
    copy = portable.config_from_data(through(portable.config_to_data(config)))
    for name in ("api_key", "api_keys", "options", "proxy", "capabilities", "price", "policy"):
        assert getattr(copy, name) == getattr(config, name), name
    assert (copy.isolation, copy.sandbox.memory_mb) == ("none", 512)
    assert fake_key not in repr(copy)


def all_errors() -> list[type[ProviderError]]:
    """Return every class of the tree."""
    return [
        item
        for item in vars(tree).values()
        if isinstance(item, type) and issubclass(item, ProviderError)
    ]


@pytest.mark.parametrize("kind", all_errors(), ids=lambda kind: kind.__name__)
def test_every_error_arrives_as_what_it_is(kind: type[ProviderError]) -> None:
    """With its message and numbers; but what only a manager decides cannot be said by a child."""
    error = kind("what happened")
    error.status_code, error.retry_after, error.model = 429, 2.5, "m"
    copy = portable.error_from_data(through(portable.error_to_data(error)), provider="mine")
    managers_own = kind.__name__ in {
        *("AccessDeniedError", "NoProviderAvailableError", "AllProvidersFailedError")
    }
    assert type(copy) is (ProviderUnavailableError if managers_own else kind)
    assert (copy.message, copy.provider) == ("what happened", "mine")
    assert (copy.status_code, copy.retry_after, copy.model) == (429, 2.5, "m")


def test_errors_keep_what_only_they_have() -> None:
    """A partial text, problems and a field."""

    def copied(error: Exception) -> Any:
        return portable.error_from_data(through(portable.error_to_data(error)), provider="mine")

    assert copied(StreamInterruptedError("x", partial_text="half")).partial_text == "half"
    wrong = copied(ProviderConfigError(problems=["a", "b"], field="model"))
    assert (wrong.problems, wrong.field) == (("a", "b"), "model")


def test_an_error_of_a_plugins_own_is_its_nearest_of_ours() -> None:
    """And one of no relation is an upstream in trouble, with its type's name."""

    class MineError(RateLimitError):
        pass

    assert portable.error_to_data(MineError("x"))["kind"] == "RateLimitError"
    other = portable.error_to_data(OSError("gone"))
    assert (other["kind"], other["message"]) == (
        "ProviderUnavailableError",
        "unexpected OSError: gone",
    )


def test_an_error_that_cannot_be_told_is_told_by_its_type() -> None:
    """Whatever its text or its attributes do."""

    class SilentError(Exception):
        @override
        def __str__(self) -> str:
            raise ValueError("no")

    class OddError(RateLimitError):
        pass

    told = portable.error_to_data(SilentError())
    assert told["message"] == "unexpected SilentError: it does not say why"
    odd = OddError("x")
    odd.status_code = object()  # type: ignore[assignment]
    told = portable.error_to_data(odd)
    assert told == {"kind": "RateLimitError", "message": "unreadable OddError"}


def test_texts_of_a_child_have_no_surprises() -> None:
    """Names and messages are printable, and all else has no halves of characters."""
    deep: Any = "x"
    for _ in range(100):
        deep = [deep]
    data = {
        "content": "a\ud800\n",
        "request_id": "a\x1b[2J",
        "finish_reason": "stop\n",
        "tool_calls": [{"\udfff": ["b\udfff", 1], "deep": deep}],
    }
    result = answers.result_from_data(data, provider="mine")
    assert result["content"] == "a\ufffd\n"
    assert (result["request_id"], result["finish_reason"]) == (None, None)
    (call,) = result["tool_calls"]
    assert call["\ufffd"] == ["b\ufffd", 1]
    assert str(call["deep"]).strip("[]") == "None"
    error = portable.error_from_data({"message": "a\x1b\nb\ud800"}, provider="mine")
    assert error.message == "a  b "


DATA = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.sampled_from(["ProviderConfigError", "StreamInterruptedError", "AccessDeniedError"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("content", "usage", "tool_calls", "embeddings", "model", "cost_usd"),
                    *("prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens"),
                    *("reasoning_tokens", "tokens_used", "kind", "message", "problems", "price"),
                    *("input", "output", "capabilities", "context_window", "retry_after", "way"),
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(DATA)
def test_nothing_that_a_child_sends_confuses_the_service(data: Any) -> None:
    """Each value has its type or is left out; what is no answer is a typed error."""
    assert isinstance(portable.error_from_data(data, provider="mine"), ProviderError)
    facts = portable.facts_from_data(data)
    assert facts.context_window is None or facts.context_window > 0
    assert facts.way is None or isinstance(facts.way, str)
    assert all(isinstance(name, str) for name in answers.names_from_data(data))
    try:
        result = answers.result_from_data(data, provider="mine")
    except ProviderUnavailableError:
        pass
    else:
        assert (result["provider"], type(result["content"])) == ("mine", str)
        assert result["tokens_used"] >= 0
        assert answers.chunk_from_data(data, provider="mine").content == result["content"]
    try:
        vectors = answers.embedding_from_data(data, provider="mine")
    except ProviderUnavailableError:
        pass
    else:
        assert all(isinstance(vector, list) for vector in vectors["embeddings"])


@pytest.mark.parametrize("data", [None, [], {"content": 5}], ids=str)
def test_an_answer_has_a_text(data: Any) -> None:
    """Whatever has none is no answer, and no piece of one."""
    with pytest.raises(ProviderUnavailableError, match="generate must return a mapping with"):
        answers.result_from_data(data, provider="mine")
    with pytest.raises(ProviderUnavailableError, match="a piece without a text"):
        answers.chunk_from_data(data, provider="mine")


@pytest.mark.parametrize("data", [None, {"embeddings": [[1, "x"]]}, {"embeddings": [1]}], ids=str)
def test_vectors_are_numbers(data: Any) -> None:
    """Whatever else is in them is refused."""
    with pytest.raises(ProviderUnavailableError, match="no vectors"):
        answers.embedding_from_data(data, provider="mine")


def test_usage_has_its_three_counts() -> None:
    """Beside them, those that only some vendors count."""
    three = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    more = three | {"cached_tokens": 1, "reasoning_tokens": 0}
    assert values.usage({**three, "cached_tokens": -1}) == dict(three)
    assert values.usage({**more, "other": 5}) == dict(more)
    assert values.usage({**three, "total_tokens": True}) is None


def test_tokens_are_counted_by_the_provider_or_by_its_usage() -> None:
    """In this order; unknown is 0."""
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    answered: list[dict[str, Any]] = [{"tokens_used": 5, "usage": usage}, {"usage": usage}, {}]
    results = [
        answers.result_from_data({"content": "x"} | data, provider="mine") for data in answered
    ]
    assert [result["tokens_used"] for result in results] == [5, 3, 0]


# --- calls, from the service's side ------------------------------------------------------------


class Line:
    """A line to a child that is not there."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.hung = asyncio.Event()
        self.calls = Calls("mine", self.sent.append, self.hung.set)


async def test_a_stream_may_not_send_more_than_there_is_room_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In pieces of one stream, and in bytes of all; room comes as pieces are taken."""
    line = Line()
    call = line.calls.start("stream", {}, window=WINDOW)
    for _ in range(WINDOW):
        line.calls.take({"id": 1, "chunk": {}}, 10)
    with pytest.raises(wire.MalformedMessageError, match="more pieces"):
        line.calls.take({"id": 1, "chunk": {}}, 10)
    for _ in range(WINDOW // 2):
        assert (await call.next(1))[0] == "chunk"
    assert line.sent[-1] == {"more": 1, "count": WINDOW // 2}
    assert line.calls.waiting == 10 * WINDOW // 2
    monkeypatch.setattr(calls, "MAX_WAITING", 100)
    with pytest.raises(wire.MalformedMessageError, match="more pieces"):
        line.calls.take({"id": 1, "chunk": {}}, 21)
    call.leave()
    assert line.calls.waiting == 0
    with pytest.raises(wire.MalformedMessageError, match="too large"):
        line.calls.take({"id": 1, "chunk": {}}, wire.MAX_CHUNK + 1)


@pytest.mark.parametrize(
    "message", [{}, {"id": 2, "ok": 1}, {"id": True, "ok": 1}, {"id": 1}, {"id": 1, "chunk": 1}]
)
async def test_what_belongs_to_no_call_is_malformed(message: dict[str, Any]) -> None:
    """And so is what is of no known kind, or a piece of what is no stream."""
    line = Line()
    line.calls.start("generate", {})
    with pytest.raises(wire.MalformedMessageError):
        line.calls.take(message, 1)


async def test_a_call_that_is_left_is_cancelled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What still comes of it is dropped; a child that does not even answer that hangs."""
    monkeypatch.setattr(calls, "CANCEL_SECONDS", 0)
    line = Line()
    answered, unanswered = (line.calls.start("stream", {}, window=2) for _ in range(2))
    for call in (answered, unanswered, answered):
        call.leave()
    assert [item for item in line.sent if "cancel" in item] == [{"cancel": 1}, {"cancel": 2}]
    line.calls.take({"id": 1, "chunk": {}}, 10)
    line.calls.take({"id": 1, "error": {}}, 10)
    assert (line.calls.waiting, answered.items.qsize()) == (0, 0)
    async with asyncio.timeout(5):
        await line.hung.wait()


async def test_a_call_that_has_ended_is_not_cancelled() -> None:
    """Leaving it is harmless, with an error or a piece that nobody has taken."""
    line = Line()
    call: Call = line.calls.start("stream", {}, window=2)
    line.calls.take({"id": 1, "chunk": {}}, 10)
    line.calls.fail(lambda: ProviderUnavailableError("gone"))
    call.leave()
    assert (line.calls.waiting, len(line.sent)) == (0, 1)


def test_restarts_back_off_with_jitter() -> None:
    """From 0.1 s to 30 s, at least half of it; an answered call begins anew."""
    clock = FakeClock()
    chance = iter([1.0, 0.0, *([1.0] * 20)])
    restarts = Restarts(clock, lambda: next(chance))
    assert restarts.wait() == 0
    waits = []
    for _ in range(12):
        restarts.failed()
        waits.append(restarts.wait())
    assert waits == pytest.approx([0.1, 0.1, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30, 30])
    clock.now += 29
    assert restarts.wait() == pytest.approx(1)
    restarts.answered()
    restarts.failed()
    assert restarts.wait() == pytest.approx(0.1)


def test_output_is_logged_line_by_line(caplog: pytest.LogCaptureFixture) -> None:
    """So many a second, cut where they are too long; the others are counted."""
    caplog.set_level(logging.INFO, "amas.providers.sandbox")
    clock = FakeClock()
    output = Output("mine", clock)
    assert output.take(b"one\n\ntw")
    assert output.take(b"o\n")
    assert output.take(b"x" * 1001)
    assert not output.take(b"y\n" * 30)
    clock.now += 1
    assert output.take(b"later\xff\n")
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "output provider='mine' line='one'"
    assert lines[1] == "output provider='mine' line='two'"
    assert lines[2].endswith(f"line='{'x' * 1000}'")
    assert lines[-2] == "output_dropped provider='mine' lines=13"
    assert "later" in lines[-1]
    assert len(lines) == 22


# --- calls, from the child's side --------------------------------------------------------------


class Speaker(FakeProvider):
    """A fake that embeds, and keeps its streams going."""

    def __init__(self, config: ProviderConfig | None = None, **more: Any) -> None:
        super().__init__(**more)
        self.config = config or replace(self.config, model="m")
        self.produced = 0

    @override
    async def embed(self, texts: Sequence[str], *, model: str | None = None) -> EmbeddingResult:
        return {"embeddings": [[1.0] for _ in texts], "model": model}  # type: ignore[typeddict-item]

    @override
    async def stream(self, prompt: Any, **kwargs: Any) -> AsyncIterator[StreamChunk]:
        while self.produced < WINDOW + 2:
            self.produced += 1
            yield StreamChunk(str(self.produced), self.name)


class Side:
    """The service's side of a channel to a server in this process."""

    def __init__(self, provider: FakeProvider) -> None:
        self.provider = provider
        self.left: list[int] = []

    async def __aenter__(self) -> Self:
        ours, theirs = socket.socketpair()
        self._reader, self._writer = await asyncio.open_connection(sock=ours)
        reader, self._their_writer = await asyncio.open_connection(sock=theirs)
        server = Server(
            self.provider,
            reader,
            self._their_writer,
            leave=self.left.append,
        )
        self.running = asyncio.create_task(server.run())
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._writer.close()
        await asyncio.wait_for(self.running, 5)
        self._their_writer.close()
        with suppress(OSError):  # they may have written to what is closed here
            await self._their_writer.wait_closed()

    def send(self, **message: Any) -> None:
        self._writer.write(wire.pack(message, 10_000))

    async def answer(self) -> Any:
        message = await asyncio.wait_for(wire.receive(self._reader, 10_000), 5)
        assert message is not None
        return message[0]

    async def ask(self, do: str, **arguments: Any) -> Any:
        self.send(id=1, do=do, **{"with": arguments})
        answer = await self.answer()
        assert answer["id"] == 1
        return answer.get("ok", answer.get("error"))


async def test_the_server_does_what_it_is_asked() -> None:
    """Each method of the provider, with what is known of it."""
    async with Side(Speaker(model="m", ready=True)) as side:
        ready = await side.ask("initialize")
        assert (ready["ready"], ready["error"], ready["facts"]["model"]) == (True, None, "m")
        answer = await side.ask("generate", prompt="hi", kwargs={"temperature": 1})
        assert answer["content"] == "fake says: hi"
        assert (await side.ask("embed", texts=["a"], model="e"))["model"] == "e"
        assert await side.ask("list_models") == ["m"]
        assert (await side.ask("health_check"))["ready"]
        assert await side.ask("shutdown") is None
    assert isinstance(side.provider, FakeProvider)
    assert side.provider.shutdowns == 1


async def test_the_server_says_what_went_wrong() -> None:
    """Why it is not ready, what was raised, and what cannot be sent."""
    script = [RateLimitError("slow"), lambda _prompt: b"bytes"]
    async with Side(Speaker(script=script, ready=False)) as side:
        state = await side.ask("initialize")
        assert (state["ready"], state["error"]["message"]) == (False, "told not to be ready")
        error = await side.ask("generate", prompt="hi", kwargs={})
        assert error["kind"] == "RateLimitError"
        error = await side.ask("generate", prompt="hi", kwargs={})
        assert "unexpected" in error["message"]


async def test_the_server_cancels_and_ends() -> None:
    """A call that is cancelled is answered; the end of the channel ends the others."""
    provider = Speaker(script=[Delay(60), Delay(60)])
    async with Side(provider) as side:
        for number in (1, 2):
            side.send(id=number, do="generate", **{"with": {"prompt": "x", "kwargs": {}}})
        side.send(cancel=1)
        side.send(cancel=99)
        side.send(nonsense=1)
        answer = await side.answer()
        assert answer["id"] == 1
        assert "CancelledError" in answer["error"]["message"]
    assert side.running.done()


async def test_the_server_streams_as_far_as_there_is_room() -> None:
    """Then it waits for more."""
    async with Side(Speaker()) as side:
        side.send(id=1, do="stream", **{"with": {"prompt": "x", "kwargs": {}}})
        pieces = [(await side.answer())["chunk"]["content"] for _ in range(WINDOW)]
        assert pieces == [str(number) for number in range(1, WINDOW + 1)]
        side.send(more=99, count=1)
        side.send(more=1, count=2)
        assert [(await side.answer()).get("chunk", {}).get("content") for _ in range(3)] == [
            str(WINDOW + 1),
            str(WINDOW + 2),
            None,
        ]


def test_a_piece_that_is_too_large_is_an_error_of_its_provider() -> None:
    """Before the service takes it for an attack."""
    assert server._packed_chunk(1, StreamChunk("x", "mine"))
    many = StreamChunk("", "mine", tool_calls=tuple({"a": 1} for _ in range(11_000)))
    with pytest.raises(ValueError, match="too many values"):
        server._packed_chunk(1, many)
    with pytest.raises(ValueError, match="at most"):
        server._packed_chunk(1, StreamChunk("x" * wire.MAX_CHUNK, "mine"))


async def test_a_provider_that_exits_ends_the_process_at_once() -> None:
    """Without waiting for anybody."""

    def leave(_prompt: Any) -> str:
        raise SystemExit

    provider = Speaker(script=[leave])
    left: list[int] = []
    reader = asyncio.StreamReader()
    server = Server(provider, reader, None, leave=left.append)  # type: ignore[arg-type]
    server._calls[1] = asyncio.current_task()  # type: ignore[assignment]
    with pytest.raises(SystemExit):
        await server._answer(1, "generate", {"prompt": "x", "kwargs": {}})
    assert left == [1]


def first_message(factory: str) -> bytes:
    """Return what a child is told first."""
    config = portable.config_to_data(ProviderConfig("fake", model="m"))
    return wire.pack({"factory": factory, "config": config}, 10_000)


@pytest.fixture
def channel(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[socket.socket, list[Any]]]:
    """Set up this process as a child that is not hardened; return the service's end."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        done: list[Any] = []
        monkeypatch.setattr(sys, "argv", ["child", str(os.dup(theirs.fileno()))])
        theirs.close()

        def harden(*given: Any) -> SandboxReport:
            done.append(given)
            return SandboxReport(("a",), ("b",))

        monkeypatch.setattr(child, "harden", harden)
        monkeypatch.setattr(os, "_exit", done.append)
        yield ours, done


def replies(ours: socket.socket) -> list[Any]:
    """Return what a child has sent."""
    found, data = [], b""
    while part := ours.recv(10_000):
        data += part
    while data:
        (size,) = struct.unpack(">I", data[:4])
        found.append(json.loads(data[4 : 4 + size]))
        data = data[4 + size :]
    return found


def test_a_child_hardens_itself_serves_and_leaves(
    channel: tuple[socket.socket, list[Any]],
) -> None:
    """In this order; the end of the channel is its end."""
    ours, done = channel
    ours.sendall(first_message(FACTORY))
    ours.shutdown(socket.SHUT_WR)
    child.main()
    assert replies(ours)[0] == {"id": 0, "ok": {"active": ["a"], "missing": ["b"]}}
    (given_limits, given_rules), code = done
    assert given_limits == SandboxLimits()
    assert (str(Path.cwd()), landlock.WRITE) in given_rules
    assert code == 0


FACTORY = "amas.providers.manager.switched_off:SwitchedOff"


@pytest.mark.parametrize("data", [b"", b"\0\0"], ids=["nothing", "half"])
def test_a_child_without_a_service_leaves(
    channel: tuple[socket.socket, list[Any]], data: bytes
) -> None:
    """Before it is told anything."""
    ours, done = channel
    ours.sendall(data)
    ours.shutdown(socket.SHUT_WR)
    with pytest.raises(SystemExit) as left:
        child.main()
    assert (left.value.code, done) == (0, [])


@pytest.mark.parametrize(
    ("factory", "what"),
    [
        ("no_such_module:X", "there is no module 'no_such_module'"),
        ("os:no_such_thing", "module 'os' has no 'no_such_thing'"),
        ("builtins:id", "makes a int, not a ProviderBase"),
        ("amas.providers.llm.litellm_provider:LiteLLMProvider", "model"),
    ],
)
def test_a_child_that_cannot_make_its_provider_says_why(
    channel: tuple[socket.socket, list[Any]], factory: str, what: str
) -> None:
    """It is a mistake of the configuration; a provider's own verdict is kept."""
    ours, _done = channel
    ours.sendall(first_message(factory))
    child.main()
    (reply,) = replies(ours)
    assert reply["error"]["kind"] == "ProviderConfigError"
    assert what in reply["error"]["message"]


# --- what keeps a child in ---------------------------------------------------------------------


def test_a_child_gets_nothing_of_the_environment_but_places(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And imports what the service can import."""
    monkeypatch.setattr(sys, "path", ["", "/some/where"])
    environ = {"PATH": "/bin", "LC_ALL": "C", "OPENAI_API_KEY": "k", "HOME": "/h", "X": "y"}
    made = environment.child_environment(environ, "/private")
    assert made["PYTHONPATH"] == f"{Path.cwd()}:/some/where"
    assert (made["HOME"], made["TMPDIR"]) == ("/private", "/private")
    assert {name for name in made if name in environ} == {"PATH", "LC_ALL", "HOME"}


def test_only_what_can_be_imported_is_readable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a service's own folder: code, but no ``.env``, no configuration and no keys."""
    for name in (
        "app/__init__.py",
        "src/app/x.py",
        "single.py",
        "dist-1.dist-info/METADATA",
        "x.libs/y",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("", encoding="utf-8")
    for name in (".env", "keys/openai", "configs/deep/er/x.py", "not-a-name/x.py", "credentials"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("", encoding="utf-8")
    for name in ("app/.env", "app/master.key", "app/sub/x.json", "installed/x.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("", encoding="utf-8")
    (tmp_path / "dist-1.dist-info/RECORD").write_text("installed/x.py,,\n", encoding="utf-8")
    (tmp_path / "app/gone").symlink_to("/no/such/place")
    archive = tmp_path / "archive.zip"
    archive.write_text("", encoding="utf-8")
    credentials = str(tmp_path / "credentials")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path), str(archive), "/no/such/place"])
    options = {"vertex_credentials": credentials, "list": ["/no/such/file", "x", 5]}
    monkeypatch.setattr(sys, "prefix", "/venv")

    def found() -> tuple[dict[str, int], dict[str, int], tuple[str, ...]]:
        reached, remarks = reachable.rules("/private", options)
        inside = {
            str(Path(path).relative_to(tmp_path)): rights
            for path, rights in reached
            if Path(path).is_relative_to(tmp_path)
        }
        return dict(reached), inside, remarks

    rules, inside, remarks = found()
    others = ["single.py", "dist-1.dist-info", "x.libs", "installed", "archive.zip", "credentials"]
    readable = dict.fromkeys(["app/__init__.py", "src/app/x.py", *others], landlock.READ)
    assert inside == {".": landlock.LIST, **readable}
    assert not remarks
    assert rules["/private"] == landlock.WRITE
    assert rules[sys.prefix] == landlock.READ
    assert not {"/", "/proc", "/etc", "/etc/ssl", "/etc/pki", "/root", "/home", "/tmp"} & set(rules)
    for limit, value in (("_MAX_FILES", 0), ("_MAX_SEEN", 0)):
        with monkeypatch.context() as patch:
            patch.setattr(reachable, limit, value)
            _, inside, (remark,) = found()
        assert inside["app"] == landlock.READ
        assert f"{tmp_path}/app" in remark


def test_limits_are_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within those that hold already."""
    held = {resource.RLIMIT_NOFILE: (100, 100)}
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    set_to: dict[int, tuple[int, int]] = {}
    monkeypatch.setattr(resource, "getrlimit", lambda what: held.get(what, unlimited))
    monkeypatch.setattr(resource, "setrlimit", set_to.__setitem__)
    masks: list[int] = []
    monkeypatch.setattr(os, "umask", masks.append)
    limits.apply_limits(SandboxLimits(memory_mb=100, cpu_seconds=5, open_files=200))
    assert masks == [0o077]
    assert set_to[resource.RLIMIT_AS] == (100 << 20, 100 << 20)
    assert set_to[resource.RLIMIT_NOFILE] == (100, 100)
    assert set_to[resource.RLIMIT_CORE] == (0, 0)


def test_cpu_is_allowed_by_call() -> None:
    """First for the start, then anew for each call; what cannot be told is not limited."""
    used: list[float] = [34.0]
    budget = limits.CpuBudget(5, lambda: used[0])
    assert not budget.is_spent()
    used[0] = 35.5
    assert budget.is_spent()
    budget.renew()
    used[0] = 41.0
    assert not budget.is_spent()
    used[0] = 42.0
    assert budget.is_spent()
    untold = limits.CpuBudget(5, lambda: limits.used_cpu(2**22 + 1))
    untold.renew()
    assert not untold.is_spent()
    assert limits.used_cpu(os.getpid()) == pytest.approx(time.process_time(), abs=0.1)


def test_the_kernel_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it refuses, and any other kernel, is not supported."""
    get_dumpable = 3
    assert kernel.call("prctl", get_dumpable) in {0, 1, 2}
    with pytest.raises(kernel.NotSupportedError, match="Invalid argument"):
        kernel.call("prctl", 99999)
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(kernel.NotSupportedError, match="not Linux"):
        kernel.call("prctl", get_dumpable)


class FakeKernel:
    """A kernel that notes what it is asked for.

    Args:
        abi: Version of its Landlock; 0 for none.
        refused: Names of functions, and options of prctl, that it refuses.
    """

    def __init__(self, abi: int = 7, refused: tuple[Any, ...] = ()) -> None:
        self.abi = abi
        self.refused = refused
        self.calls: list[tuple[Any, ...]] = []

    def call(self, name: str, *arguments: Any) -> int:
        seen = tuple(item.raw if isinstance(item, ctypes.Array) else item for item in arguments)
        self.calls.append((name, *seen))
        if name in self.refused or (name == "prctl" and arguments[0] in self.refused):
            raise kernel.NotSupportedError("refused")
        if name == "syscall" and arguments[0] == 444:
            if not self.abi:
                raise kernel.NotSupportedError("refused")
            return self.abi if arguments[1] == 0 else os.open("/dev/null", os.O_RDONLY)
        return 0


@pytest.mark.parametrize(
    ("abi", "rights", "size"),
    [(1, 13, 8), (2, 14, 8), (3, 15, 8), (4, 15, 8), (5, 16, 8), (6, 16, 24), (99, 16, 24)],
)
def test_landlock_takes_what_the_kernel_knows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, abi: int, rights: int, size: int
) -> None:
    """No rights that it has never heard of; files have no rights of folders."""
    fake = FakeKernel(abi)
    monkeypatch.setattr(kernel, "call", fake.call)
    file = tmp_path / "file"
    file.write_text("", encoding="utf-8")
    rules = [(str(tmp_path), landlock.WRITE), (str(file), landlock.READ)]
    missing = [("/no/such/file", landlock.READ), (str(file), landlock.LIST)]
    assert landlock.restrict([*rules, *missing]) == abi
    _ask, create, *added, restrict = fake.calls
    assert create[2][:8] == struct.pack("=Q", (1 << rights) - 1)
    assert (len(create[2]), create[3]) == (size, size)
    granted = [struct.unpack("=Qi", call[4])[0] for call in added]
    assert granted == [landlock.WRITE & ((1 << rights) - 1), 0b101]
    assert restrict[1] == 446


def run_filter(
    program: list[seccomp.Instruction], architecture: int, number: int, first: int, third: int = 0
) -> int:
    """Run a filter as the kernel would; return 0 if the call is allowed, else its error."""
    words = {0: number, 4: architecture, 16: first, 32: third & 0xFFFFFFFF, 36: third >> 32}
    held = at = 0
    while True:
        code, then, otherwise, value = program[at]
        at += 1
        if code == 0x20:
            held = words[value]
        elif code == 0x06:
            return 0 if value == 0x7FFF0000 else value & 0xFFFF
        else:
            met = {0x15: held == value, 0x35: held >= value, 0x45: bool(held & value)}[code]
            at += then if met else otherwise


@pytest.mark.parametrize("name", sorted(seccomp.MACHINES))
def test_the_filter_refuses_what_it_names_and_nothing_else(name: str) -> None:
    """Threads, its own limits and the network are allowed; foreign ways to call are not."""
    machine = seccomp.MACHINES[name]
    program = seccomp.build(machine)

    def verdict(number: int, first: int = 0) -> int:
        return run_filter(program, machine.architecture, number, first)

    assert {verdict(number) for number in machine.refused} == {errno.EPERM}
    assert verdict(435) == errno.ENOSYS
    assert verdict(machine.clone, 17) == errno.EPERM
    assert verdict(machine.clone, 0x3D0F00) == 0
    assert (verdict(machine.prlimit, 0), verdict(machine.prlimit, 1)) == (0, errno.EPERM)
    for limits_at in (1, 1 << 32):
        assert (
            run_filter(program, machine.architecture, machine.prlimit, 0, limits_at) == errno.EPERM
        )
    options = {option: verdict(machine.prctl, option) for option in range(60)}
    assert {option for option, error in options.items() if error} == {1, 4}
    families = [verdict(machine.socket, number) for number in (1, 2, 10, 16, 17, 40)]
    denied = errno.EACCES
    assert families == [denied, 0, 0, 0, denied, denied]
    assert run_filter(program, 0x40000003, 0, 0) == errno.EPERM
    assert verdict(0x40000000) == errno.EPERM
    named = {*machine.refused, *seccomp._SAME_EVERYWHERE, 435, machine.clone, machine.socket}
    assert {verdict(number) for number in set(range(500)) - named} == {0}
    assert len(program) < 256


def test_the_filter_is_installed_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that it does not know is said to have none."""
    fake = FakeKernel()
    monkeypatch.setattr(kernel, "call", fake.call)
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    seccomp.install()
    ((name, option, mode, header),) = fake.calls
    assert (name, option, mode) == ("prctl", 22, 2)
    assert struct.unpack("@HP", header)[0] == len(seccomp.build(seccomp.MACHINES["aarch64"]))
    monkeypatch.setattr(platform, "machine", lambda: "abacus")
    with pytest.raises(kernel.NotSupportedError, match="abacus"):
        seccomp.install()


def _untold(_pid: int) -> float:
    raise OSError("why")


@pytest.mark.parametrize(
    ("abi", "refused", "missing"),
    [
        (7, (), []),
        (7, (24,), []),
        (5, (), ["no signals to others (the kernel is older than 6.12)"]),
        (0, (22, "capset"), ["no capabilities", "only its own", "only harmless", "no signals"]),
        (7, (1, 4, 38), ["it ends with", "no new privileges", "its memory is closed"]),
    ],
    ids=["all", "no capabilities to drop", "old", "container", "odd"],
)
def test_what_a_kernel_does_not_offer_is_reported(
    monkeypatch: pytest.MonkeyPatch, abi: int, refused: tuple[Any, ...], missing: list[str]
) -> None:
    """All else is done nevertheless."""
    fake = FakeKernel(abi, refused)
    monkeypatch.setattr(kernel, "call", fake.call)
    applied: list[SandboxLimits] = []
    monkeypatch.setattr(hardening, "apply_limits", applied.append)
    report = hardening.harden(SandboxLimits(), [("/", landlock.READ)])
    assert applied == [SandboxLimits()]
    assert len(report.missing) == len(missing)
    for said, expected in zip(report.missing, missing, strict=True):
        assert said.startswith(expected)
    assert len(report.active) + len(report.missing) == 9
    with monkeypatch.context() as patch:
        patch.setattr(hardening, "used_cpu", _untold)
        assert "a limit of CPU (why)" in hardening.harden(SandboxLimits(), []).missing
    if not refused:
        assert ("prctl", 24, 63) in fake.calls
        assert ("capset", struct.pack("=Ii", 0x20080522, 0), bytes(24)) in fake.calls
