"""Put an answer on the wire."""

from __future__ import annotations

import asyncio
import socket
import struct

from aiohttp import web

from .answering import Answer


async def transmit(request: web.Request, answer: Answer, pause: float) -> web.StreamResponse:
    """Send an answer to the end that is meant for it.

    Args:
        request: The request to answer.
        answer: What to send.
        pause: Seconds between chunks; between bytes when the answer is not a stream.

    Returns:
        The response, already sent.

    Raises:
        ConnectionError: If the client has left.
        asyncio.CancelledError: If the client leaves meanwhile, or the server stops.
    """
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    if answer.content_type is not None:
        response.content_type = answer.content_type
    if answer.length is None:
        response.enable_chunked_encoding()
    else:
        response.content_length = answer.length
    await response.prepare(request)
    for frame in answer.opening:
        await response.write(frame)
    await _write_pieces(response, answer, pause)
    for frame in answer.closing:
        await response.write(frame)
    if answer.ending == "stall":
        await forever()
    if answer.ending == "cut":
        # A close, not an abort: what was sent arrives, but the end of the body is missing.
        _transport_of(request).close()
    else:
        await response.write_eof()
    return response


async def forever() -> None:
    """Wait until cancelled."""
    await asyncio.get_running_loop().create_future()


def reset_connection(request: web.Request) -> None:
    """Break the TCP connection with RST instead of FIN."""
    transport = _transport_of(request)
    connection: socket.socket = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _transport_of(request: web.Request) -> asyncio.WriteTransport:
    transport = request.transport
    assert transport is not None  # a lost connection cancels the handler
    return transport


async def _write_pieces(response: web.StreamResponse, answer: Answer, pause: float) -> None:
    pieces = list(answer.pieces)
    if pause and not answer.streamed:
        pieces = [bytes([byte]) for piece in pieces for byte in piece]
    for index, piece in enumerate(pieces):
        if pause and index:
            await asyncio.sleep(pause)
        await response.write(piece)
