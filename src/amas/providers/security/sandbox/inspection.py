"""A row's adapter, tried in a child process before the row is used: nothing of it runs here."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from typing import Any, Final

from ...base import ProviderConfig
from ...base.options import OptionMistake, OptionsError
from ...errors import ProviderConfigError
from . import values
from .portable import error_from_data
from .spawning import clear_away, command, first_message, kill_group, prepare
from .wire import HEADER, MalformedMessageError, unpack, weigh

# Python's start, and the import of whatever the adapter is built on.
_SECONDS: Final = 30.0
_REAP_SECONDS: Final = 1.0
_MOST_BYTES: Final = 1024 * 1024
_LONGEST_TEXT: Final = 500


def inspect(factory: str, config: ProviderConfig) -> None:
    """Make sure that an adapter can be imported, and that a row's options are what it declares.

    It starts a process and waits for it, some tenths of a second as a rule.

    Args:
        factory: Where it is: ``package.module:Class``.
        config: The row.

    Raises:
        OptionsError: The options are not what it declares.
        ProviderConfigError: It is not there, or of no use, or does not come to an end.
    """
    reply = _ask(factory, config)
    if "error" in reply:
        raise error_from_data(reply["error"], provider=config.name)
    found = [_mistake(item) for item in values.items(reply.get("mistakes"))]
    if found:
        raise OptionsError(found, provider=config.name)


def _ask(factory: str, config: ProviderConfig) -> dict[str, Any]:
    first_message(factory, config, inspect=True)  # before there is a process that waits for it
    folder, environment = prepare()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        try:
            process = subprocess.Popen(  # noqa: S603 -- the interpreter, and a module of ours
                command(theirs.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=folder,
                env=environment,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise _useless(factory, config, f"no process for it: {error.strerror}") from None
        theirs.close()
        try:
            return _talk(ours, factory, config)
        except TimeoutError:
            why = f"it does not come to an end within {_SECONDS:g} s"
        except (OSError, MalformedMessageError) as error:
            why = str(error)
        finally:
            kill_group(process.pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_REAP_SECONDS)
            clear_away(process.pid, folder)
    raise _useless(factory, config, why)


def _talk(channel: socket.socket, factory: str, config: ProviderConfig) -> dict[str, Any]:
    ends = time.monotonic() + _SECONDS
    channel.settimeout(_SECONDS)
    channel.sendall(first_message(factory, config, inspect=True))
    (size,) = HEADER.unpack(_receive(channel, HEADER.size, ends))
    if size > _MOST_BYTES:
        raise MalformedMessageError("it says more than anybody would read")
    text = _receive(channel, size, ends)
    weigh(text)
    return unpack(text)


def _receive(channel: socket.socket, size: int, ends: float) -> bytes:
    text = b""
    while len(text) < size:
        channel.settimeout(max(0.001, ends - time.monotonic()))
        part = channel.recv(size - len(text))
        if not part:
            raise MalformedMessageError("its process ended without an answer")
        text += part
    return text


def _useless(factory: str, config: ProviderConfig, why: str) -> ProviderConfigError:
    return ProviderConfigError(
        f"{factory!r} cannot be used: {why}; import it in a shell of its own to see the cause",
        field="adapter",
        provider=config.name,
    )


def _mistake(data: object) -> OptionMistake:
    read = values.mapping(data)
    path = [part for part in values.items(read.get("path")) if type(part) in {str, int}]
    example = read.get("example")
    return OptionMistake(
        path=tuple(path),
        kind=values.line(read.get("kind"), _LONGEST_TEXT),
        text=values.line(read.get("text"), _LONGEST_TEXT),
        context={
            str(name): value
            for name, value in values.mapping(read.get("context")).items()
            if isinstance(value, str | int | float)
        },
        names=tuple(str(name) for name in values.items(read.get("names"))),
        example=example if isinstance(example, str | int | float) else None,
        hint=values.line(read.get("hint"), _LONGEST_TEXT),
    )
