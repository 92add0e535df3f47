"""What a child gives up before it loads a provider's code."""

from __future__ import annotations

import os
import signal
import struct
from collections.abc import Callable, Sequence
from ctypes import create_string_buffer
from typing import Any, Final

from ...types import SandboxLimits
from . import kernel, landlock, seccomp
from .landlock import restrict
from .limits import apply_limits, used_cpu
from .portable import SandboxReport

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_CAPBSET_DROP: Final = 24
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_CAP_AMBIENT: Final = 47
_CLEAR_ALL: Final = 4
_CAPABILITIES_VERSION: Final = 0x20080522
_CAPABILITIES: Final = 64

# Since then, Landlock can keep signals in.
_SIGNALS_SINCE: Final = 6


def harden(limits: SandboxLimits, rules: Sequence[tuple[str, int]]) -> SandboxReport:
    """Give up, for good, what a provider does not need; before there is a second thread.

    Args:
        limits: What it may use.
        rules: Which files it may reach; see ``landlock.restrict``.
    """
    apply_limits(limits)
    active, missing = ["limits of memory and files"], []
    steps: list[tuple[str, Callable[[], Any]]] = [
        ("a limit of CPU", _check_cpu),
        ("it ends with the service", _end_with_parent),
        ("no new privileges", lambda: kernel.call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)),
        ("its memory is closed to others", lambda: kernel.call("prctl", _PR_SET_DUMPABLE, 0)),
        ("no capabilities", _drop_capabilities),
        ("only its own files", lambda: restrict(rules)),
        ("only harmless system calls", seccomp.install),
        ("no signals to others", _check_signals),
    ]
    for what, step in steps:
        try:
            step()
        except kernel.NotSupportedError as error:
            missing.append(f"{what} ({error})")
        else:
            active.append(what)
    return SandboxReport(tuple(active), tuple(missing))


def _check_cpu() -> None:
    """Tell whether the service will see what this process uses."""
    try:
        used_cpu(os.getpid())
    except OSError as error:
        raise kernel.NotSupportedError(str(error)) from None


def _end_with_parent() -> None:
    kernel.call("prctl", _PR_SET_PDEATHSIG, int(signal.SIGKILL))


def _drop_capabilities() -> None:
    """Be no more than any user, also as root: whoever has more can read a service's memory."""
    kernel.call("prctl", _PR_CAP_AMBIENT, _CLEAR_ALL, 0, 0, 0)
    for number in range(_CAPABILITIES):
        try:
            kernel.call("prctl", _PR_CAPBSET_DROP, number)
        except kernel.NotSupportedError:
            break  # the kernel knows no more of them, or we have none to give up
    header = struct.pack("=Ii", _CAPABILITIES_VERSION, 0)
    kernel.call(
        "capset", create_string_buffer(header, len(header)), create_string_buffer(bytes(24), 24)
    )


def _check_signals() -> None:
    if landlock.version() < _SIGNALS_SINCE:
        raise kernel.NotSupportedError("the kernel is older than 6.12")
