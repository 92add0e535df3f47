"""Which calls to the kernel a process may make: a seccomp filter, as BPF.

It takes away what a provider never needs and an attacker would: reading the memory of other
processes, new processes, other kernel interfaces, sockets to services of this machine, modes,
owners and times of files (which Landlock leaves open), and taking back what hardening has done.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from . import kernel

Instruction: TypeAlias = tuple[int, int, int, int]

_PR_SET_SECCOMP: Final = 22
_MODE_FILTER: Final = 2

# Classic BPF: load a word, jump if equal, if not less, if a bit is set, return.
_LOAD, _EQUAL, _NOT_LESS, _BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_THIRD_ARGUMENT = (32, 36)  # both halves of it
_ALLOW: Final = 0x7FFF0000
_FAIL: Final = 0x00050000

# PR_SET_PDEATHSIG and PR_SET_DUMPABLE.
_SETTLED: Final = (1, 4)

_CLONE_THREAD: Final = 0x00010000
_X32: Final = 0x40000000
# IPv4, IPv6, and netlink, which looking up a name needs; a pair of Unix sockets is another call.
_FAMILIES: Final = (2, 10, 16)

_SAME_EVERYWHERE: Final = (
    *(424, 434, 438),  # pidfd_send_signal, pidfd_open, pidfd_getfd
    *(425, 426, 427),  # io_uring_setup, io_uring_enter, io_uring_register
    440,  # process_madvise
    *(452, 463, 466, 469),  # fchmodat2, setxattrat, removexattrat, file_setattr
)


@dataclass(frozen=True, slots=True)
class Machine:
    """The numbers of a processor's calls; ``refused`` in the order that is written at both."""

    architecture: int
    clone: int
    socket: int
    prlimit: int
    prctl: int
    refused: tuple[int, ...]


# ptrace, process_vm_readv, process_vm_writev, kcmp, perf_event_open, bpf, userfaultfd,
# add_key, request_key, keyctl, memfd_create, shmget, msgget, semget, mq_open,
# setns, unshare, mount, umount2, pivot_root, chroot, open_by_handle_at,
# setpriority, ioprio_set, sched_setparam, sched_setscheduler, sched_setaffinity, sched_setattr,
# move_pages, migrate_pages, kexec_load, kexec_file_load, init_module, finit_module,
# setrlimit, fchmod, fchmodat, fchown, fchownat, utimensat, mknodat,
# setxattr, lsetxattr, fsetxattr, removexattr, lremovexattr, fremovexattr
MACHINES: Final = {
    "x86_64": Machine(
        architecture=0xC000003E,
        clone=56,
        socket=41,
        prlimit=302,
        prctl=157,
        refused=(
            *(101, 310, 311, 312, 298, 321, 323),
            *(248, 249, 250, 319, 29, 68, 64, 240),
            *(308, 272, 165, 166, 155, 161, 304),
            *(141, 251, 142, 144, 203, 314),
            *(279, 256, 246, 320, 175, 313),
            *(160, 91, 268, 93, 260, 280, 259),
            *(188, 189, 190, 197, 198, 199),
            # Which only this processor has: fork, vfork,
            *(57, 58),
            # chmod, chown, lchown, utime, utimes, futimesat, mknod.
            *(90, 92, 94, 132, 235, 261, 133),
        ),
    ),
    "aarch64": Machine(
        architecture=0xC00000B7,
        clone=220,
        socket=198,
        prlimit=261,
        prctl=167,
        refused=(
            *(117, 270, 271, 272, 241, 280, 282),
            *(217, 218, 219, 279, 194, 186, 190, 180),
            *(268, 97, 40, 39, 41, 51, 265),
            *(140, 30, 118, 119, 122, 274),
            *(239, 238, 104, 294, 105, 273),
            *(164, 52, 53, 55, 54, 88, 33),
            *(5, 6, 7, 14, 15, 16),
        ),
    ),
}

_CLONE3: Final = 435


def build(machine: Machine) -> list[Instruction]:
    """Return the filter for a processor; what it does not name is allowed."""
    return [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, machine.architecture),
        _fail(errno.EPERM),
        (_LOAD, 0, 0, _NUMBER),
        (_NOT_LESS, 0, 1, _X32),
        _fail(errno.EPERM),
        *_refuse((*machine.refused, *_SAME_EVERYWHERE), errno.EPERM),
        # Its flags lie where a filter cannot look; the C library then takes clone instead.
        *_refuse([_CLONE3], errno.ENOSYS),
        # Threads, but no processes: they could outlive this one, and have limits of their own.
        *_only(machine.clone, [(_BITS, _CLONE_THREAD)], errno.EPERM),
        *_only_own_limits(machine.prlimit),
        *_refuse_options(machine.prctl, _SETTLED),
        *_only(machine.socket, [(_EQUAL, family) for family in _FAMILIES], errno.EACCES),
        (_RETURN, 0, 0, _ALLOW),
    ]


def _refuse(numbers: Iterable[int], error: int) -> Iterator[Instruction]:
    for number in numbers:
        yield (_EQUAL, 0, 1, number)
        yield _fail(error)


def _only(number: int, conditions: list[tuple[int, int]], error: int) -> Iterator[Instruction]:
    """Allow a call if its first argument meets a condition."""
    yield (_EQUAL, 0, 2 + 2 * len(conditions), number)
    yield (_LOAD, 0, 0, _FIRST_ARGUMENT)
    for test, value in conditions:
        yield (test, 0, 1, value)
        yield (_RETURN, 0, 0, _ALLOW)
    yield _fail(error)


def _only_own_limits(number: int) -> Iterator[Instruction]:
    """Allow to ask for its own limits; not to change them, nor those of the service."""
    conditions = [_FIRST_ARGUMENT, *_THIRD_ARGUMENT]
    yield (_EQUAL, 0, 1 + 3 * len(conditions), number)
    for argument in conditions:
        yield (_LOAD, 0, 0, argument)
        yield (_EQUAL, 1, 0, 0)
        yield _fail(errno.EPERM)
    yield (_RETURN, 0, 0, _ALLOW)


def _refuse_options(number: int, options: Sequence[int]) -> Iterator[Instruction]:
    """Refuse a call if its first argument is one of these."""
    yield (_EQUAL, 0, 2 + 2 * len(options), number)
    yield (_LOAD, 0, 0, _FIRST_ARGUMENT)
    yield from _refuse(options, errno.EPERM)
    yield (_RETURN, 0, 0, _ALLOW)


def _fail(error: int) -> Instruction:
    return (_RETURN, 0, 0, _FAIL | error)


def install() -> None:
    """Put the filter on this thread and those it starts, for good.

    Raises:
        NotSupportedError: The kernel has no seccomp, or there is no filter for this processor.
    """
    machine = MACHINES.get(platform.machine())
    if machine is None:
        raise kernel.NotSupportedError(f"no filter for the processor {platform.machine()}")
    program = b"".join(struct.pack("=HBBI", *item) for item in build(machine))
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
    kernel.call(
        "prctl", _PR_SET_SECCOMP, _MODE_FILTER, ctypes.create_string_buffer(header, len(header))
    )
