"""The bodies of answers on their way: bounded, scrubbed, looked into."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import httpx
from multidict import CIMultiDict
from typing_extensions import override

from ..secret import scrub
from .answer import Answer

# Line ends to Python, but not to JSON: LiteLLM would cut an event in two there, and lose it.
_LINE_ENDS = {
    b"\xe2\x80\xa8": b"\\u2028",
    b"\xe2\x80\xa9": b"\\u2029",
    b"\xc2\x85": b"\\u0085",
}
_BEGINNINGS = (b"\xe2\x80", b"\xe2", b"\xc2")
_LONGEST_REFUSAL = 64 * 1024
_LONGEST_ANSWER = 64 * 1024 * 1024


def shorten(answer: Answer) -> None:
    """Keep of a refusal what somebody may read, without secrets that it repeats."""
    answer.stream = _Refusal(answer)
    answer.headers = CIMultiDict(
        (scrub(name), scrub(value))
        for name, value in answer.headers.items()
        if name.lower() != "content-encoding"
    )
    answer.reason = scrub(answer.reason)


def bound(answer: Answer) -> None:
    """Let an answer that does not end be an error."""
    answer.stream = _Bounded(answer.stream)


def watch(answer: Answer, look: Callable[[bytes], None]) -> None:
    """Show the pieces of an answer to somebody on their way, and make them fit for LiteLLM.

    Args:
        answer: The answer.
        look: Sees each piece.
    """
    answer.stream = _Watched(answer, look)


def scrubbed(data: bytes) -> bytes:
    """Take secrets out of bytes that are mostly text."""
    text = data.decode(errors="surrogateescape")
    masked = scrub(text)
    return data if masked == text else masked.encode(errors="surrogateescape")


class _Body(httpx.AsyncByteStream):
    def __init__(self, inner: httpx.AsyncByteStream) -> None:
        self._inner = inner

    @override
    async def aclose(self) -> None:
        await self._inner.aclose()


class _Refusal(_Body):
    """The beginning of an error's body: nobody needs more, and reading it all takes long.

    It is scrubbed here, so that no library sees, logs or keeps a key that is repeated in it.
    """

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.stream)
        self._packed = answer.packed

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._packed:
            return
        body = bytearray()
        async for piece in self._inner:
            body += piece
            if len(body) >= _LONGEST_REFUSAL:
                break
        # Cut after it has been scrubbed: half a key is not found any more.
        yield scrubbed(bytes(body))[:_LONGEST_REFUSAL]


class _Bounded(_Body):
    """The body of an answer, as long as it is not endless."""

    def __init__(self, inner: httpx.AsyncByteStream) -> None:
        super().__init__(inner)
        self._pieces = aiter(inner)
        self._size = 0

    @override
    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        piece = await anext(self._pieces)
        self._size += len(piece)
        if self._size > _LONGEST_ANSWER:
            raise httpx.RemoteProtocolError(f"the answer is over {_LONGEST_ANSWER} bytes long")
        return piece


class _Watched(_Body):
    """The body of an answer, looked into, and without what LiteLLM trips over.

    Frames of bytes (Bedrock's streams) are left as they are: they carry their own checksums.
    """

    def __init__(self, answer: Answer, look: Callable[[bytes], None]) -> None:
        super().__init__(answer.stream)
        self._look = look
        binary = "eventstream" in answer.headers.get("content-type", "")
        self._replaced = {} if binary else _LINE_ENDS
        self._held_back = () if binary else _BEGINNINGS

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        held = b""
        try:
            async for piece in self._inner:
                text = held + piece
                held = next((end for end in self._held_back if text.endswith(end)), b"")
                text = text[: len(text) - len(held)]
                for line_end, escaped in self._replaced.items():
                    text = text.replace(line_end, escaped)
                self._look(text)
                if text:
                    yield text
            if held:
                yield held
        finally:
            # LiteLLM leaves some streams without closing them.
            await self.aclose()
