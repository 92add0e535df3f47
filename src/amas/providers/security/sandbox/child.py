"""What runs in the child process: ``python -m amas.providers.security.sandbox.child FD``."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from ...base import ProviderBase, ProviderConfig
from ...base.factory import check_options, find_factory, make_provider
from ...base.options import OptionsError
from ...errors import ProviderError
from .hardening import harden
from .portable import config_from_data, error_to_data
from .reachable import rules
from .server import Server
from .wire import HEADER, MAX_FROM_CHILD, pack, unpack

# How long a provider may take to give back what it holds when the service is gone.
_FAREWELL_SECONDS: Final = 1.0


def build(factory: str, config: ProviderConfig) -> ProviderBase:
    """Import a provider's factory and make the provider.

    Args:
        factory: Where it is: ``package.module:attribute``.
        config: Its configuration.

    Raises:
        ProviderConfigError: It cannot be imported, or makes no provider.
    """
    return make_provider(find_factory(factory), factory, config)


def inspect(factory: str, config: ProviderConfig) -> dict[str, Any]:
    """Import a provider's factory, check the options it is to be given, and return the answer."""
    try:
        check_options(find_factory(factory), config)
    except OptionsError as error:
        return {"mistakes": [asdict(mistake) for mistake in error.mistakes]}
    except Exception as error:  # noqa: BLE001 -- whatever a validator of somebody else's raises
        return {"error": error_to_data(error)}
    return {"mistakes": []}


async def serve(channel: socket.socket, first: dict[str, Any], config: ProviderConfig) -> None:
    """Make the provider, and answer calls until the service is gone."""
    reader, writer = await asyncio.open_connection(sock=channel)
    try:
        await _serve(reader, writer, first, config)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def _serve(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    first: dict[str, Any],
    config: ProviderConfig,
) -> None:
    try:
        provider = build(first["factory"], config)
    except ProviderError as error:
        writer.write(pack({"id": 0, "error": error_to_data(error)}, MAX_FROM_CHILD))
        return
    writer.write(pack({"id": 0, "ok": first["report"]}, MAX_FROM_CHILD))
    await Server(provider, reader, writer).run()
    with suppress(Exception):
        await asyncio.wait_for(provider.shutdown(), _FAREWELL_SECONDS)


def read_first(channel: socket.socket) -> dict[str, Any]:
    """Read the first message: the configuration, with the only secrets that there are here."""
    with channel.makefile("rb", buffering=0) as stream:
        size = HEADER.unpack(_exactly(stream, HEADER.size))[0]
        return unpack(_exactly(stream, size))


def _exactly(stream: Any, size: int) -> bytes:
    text = b""
    while len(text) < size:
        part = stream.read(size - len(text))
        if not part:
            raise SystemExit(0)  # the service is gone
        text += part
    return text


def main() -> None:
    """Run a provider for the process at the other end of a channel."""
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        channel.set_inheritable(False)
        first = read_first(channel)
        config = config_from_data(first["config"])
        reachable, remarks = rules(str(Path.cwd()), first["config"]["options"])
        report = harden(config.sandbox, reachable)
        first["report"] = asdict(replace(report, missing=(*report.missing, *remarks)))
        if first.get("inspect"):
            channel.sendall(pack(inspect(first["factory"], config), MAX_FROM_CHILD))
        else:
            asyncio.run(serve(channel, first, config))
    # Not waiting for threads that the provider has left running.
    os._exit(0)


if __name__ == "__main__":
    main()
