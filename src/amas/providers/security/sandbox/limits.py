"""What a child may use of the machine, and the traces it must not leave."""

from __future__ import annotations

import os
import resource
from typing import Final

from ...types import SandboxLimits

# Starting takes CPU of its own: importing LiteLLM alone takes three seconds.
_START_CPU_SECONDS: Final = 30
_MAX_FILE_BYTES: Final = 64 * 1024 * 1024


def apply_limits(limits: SandboxLimits) -> None:
    """Limit this process for good; the CPU for its start only, see ``allow_cpu``.

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
    allow_cpu(limits.cpu_seconds + _START_CPU_SECONDS)


def allow_cpu(seconds: int) -> None:
    """Allow so many seconds of CPU from now on; who uses more is ended by SIGXCPU."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    allowed = int(usage.ru_utime + usage.ru_stime) + 1 + seconds
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    if most != resource.RLIM_INFINITY:
        allowed = min(allowed, most)
    resource.setrlimit(resource.RLIMIT_CPU, (allowed, most))
