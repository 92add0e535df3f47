"""What a child may use of the machine, and the traces it must not leave."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from ...types import SandboxLimits

# Starting takes CPU of its own: importing LiteLLM alone takes three seconds.
_START_CPU_SECONDS: Final = 30
_TOLERANCE_SECONDS: Final = 1.0
_CPU_CLOCK: Final = 2
_MAX_FILE_BYTES: Final = 64 * 1024 * 1024


def apply_limits(limits: SandboxLimits) -> None:
    """Limit this process for good; its CPU see ``CpuBudget``.

    Memory is the address space, because that covers shared mappings too.
    """
    os.umask(0o077)
    for what, amount in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, limits.memory_mb * 1024 * 1024),
        (resource.RLIMIT_NOFILE, limits.open_files),
        (resource.RLIMIT_FSIZE, _MAX_FILE_BYTES),
    ):
        _, most = resource.getrlimit(what)
        within = amount if most == resource.RLIM_INFINITY else min(amount, most)
        resource.setrlimit(what, (within, within))


def used_cpu(pid: int) -> float:
    """Return the seconds of CPU that a process has used, all its threads together.

    Raises:
        OSError: There is no such process, or this system does not tell.
    """
    # The number of its clock, as ``clock_getcpuclockid`` makes it on Linux.
    return time.clock_gettime((~pid << 3) | _CPU_CLOCK)


class CpuBudget:
    """What CPU a child may still use; kept by the service, because a child could lift a limit.

    Args:
        seconds: What it may use by call.
        used: Returns what it has used; raises OSError if that cannot be told.
    """

    def __init__(self, seconds: float, used: Callable[[], float]) -> None:
        self._seconds = seconds
        self._used = used
        self._most = seconds + _START_CPU_SECONDS

    def is_spent(self) -> bool:
        """Tell whether it has used more than it may."""
        with suppress(OSError):
            return self._used() > self._most
        return False

    def renew(self) -> None:
        """Allow as much again from now on: a call begins."""
        with suppress(OSError):
            self._most = self._used() + self._seconds + _TOLERANCE_SECONDS
