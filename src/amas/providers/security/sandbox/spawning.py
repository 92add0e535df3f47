"""What a child process is started with, and how it is cleared away."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from ...base import ProviderConfig
from ...errors import ProviderConfigError
from .environment import child_environment
from .portable import config_to_data
from .wire import MAX_TO_CHILD, pack

_CLEAR_SECONDS: Final = 30.0


def command(channel: int) -> tuple[str, ...]:
    """Return the command that starts a child with a descriptor of its channel."""
    return (sys.executable, "-m", f"{__package__}.child", str(channel))


def first_message(factory: str, config: ProviderConfig, **more: Any) -> bytes:
    """Return what a child is told first; it has secrets, so nobody keeps it in a variable.

    Raises:
        ProviderConfigError: The configuration is not plain data; no frame of its traceback,
            and no cause, has the secrets.
    """
    try:
        return pack({"factory": factory, "config": config_to_data(config), **more}, MAX_TO_CHILD)
    except (TypeError, ValueError) as error:
        problem = str(error)
    raise ProviderConfigError(f"it cannot be handed to a process: {problem}", provider=config.name)


def prepare() -> tuple[str, dict[str, str]]:
    """Make a child's private folder, and return it with the child's environment."""
    folder = tempfile.mkdtemp(prefix="amas-sandbox-")
    return folder, child_environment(os.environ, folder)


def kill_group(group: int, how: signal.Signals) -> None:
    """Send a signal to all that a child has started; harmless if nothing is left."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, how)


def clear_away(group: int, folder: str) -> None:
    """End all that a child has started, and remove its folder."""
    kill_group(group, signal.SIGKILL)
    # Too deep for Python 3.11, or not readable: a child may leave its folder as it likes.
    with suppress(RecursionError):
        shutil.rmtree(folder, ignore_errors=True)
    for command in (("chmod", "-R", "u+rwx"), ("rm", "-rf")):
        if Path(folder).exists():
            _run(*command, folder)


def _run(*command: str) -> None:
    with suppress(OSError, subprocess.SubprocessError):
        subprocess.run(  # noqa: S603 -- nothing of it is from outside
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_CLEAR_SECONDS,
            check=False,
        )
