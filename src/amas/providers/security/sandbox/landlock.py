"""Which files a process sees: Landlock, a sandbox that a Linux process can put on by itself.

It also keeps a process from tracing those outside, and since ABI 6 from sending them signals.
See ``man 7 landlock``.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Iterable
from typing import Final

from . import kernel

_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_ASK_VERSION: Final = 1
_PATH_BENEATH: Final = 1

_EXECUTE: Final = 1 << 0
_WRITE_FILE: Final = 1 << 1
_READ_FILE: Final = 1 << 2
_READ_DIR: Final = 1 << 3
_TRUNCATE: Final = 1 << 14
_ON_FILES: Final = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE

READ: Final = _EXECUTE | _READ_FILE | _READ_DIR
LIST: Final = _READ_DIR
WRITE: Final = (1 << 15) - 1  # everything but ioctl on devices

# How many rights each ABI knows, and how long its description of a ruleset is.
_RIGHTS: Final = {1: 13, 2: 14, 3: 15, 4: 15}
_RIGHTS_SINCE_5: Final = 16
_SCOPES_SINCE: Final = 6
_ALL_SCOPES: Final = 0b11  # abstract Unix sockets, and signals


def version() -> int:
    """Return the version of Landlock's ABI.

    Raises:
        NotSupportedError: There is none.
    """
    return kernel.call("syscall", _CREATE_RULESET, 0, 0, _ASK_VERSION)


def restrict(rules: Iterable[tuple[str, int]]) -> int:
    """Let this thread, and those it starts, reach only some files from now on.

    Args:
        rules: Paths of files and folders (with all beneath), and what is allowed there:
            ``READ``, ``LIST`` or ``WRITE``. Those that do not exist are left out.

    Returns:
        The version of the ABI; from 6 on, signals to others are off too.

    Raises:
        NotSupportedError: The kernel has no Landlock.
    """
    abi = version()
    handled = (1 << _RIGHTS.get(abi, _RIGHTS_SINCE_5)) - 1
    # Access to files, access to the network (free), scopes; an older kernel takes the beginning.
    scopes = _ALL_SCOPES if abi >= _SCOPES_SINCE else 0
    attributes = struct.pack("=QQQ", handled, 0, scopes)[: 24 if scopes else 8]
    ruleset = kernel.call("syscall", _CREATE_RULESET, _buffer(attributes), len(attributes), 0)
    try:
        for path, rights in rules:
            _allow(ruleset, path, rights & handled)
        kernel.call("syscall", _RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return abi


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            rights &= _ON_FILES
        if not rights:
            return
        rule = _buffer(struct.pack("=Qi", rights, place))
        kernel.call("syscall", _ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
    finally:
        os.close(place)


def _buffer(content: bytes) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(content, len(content))
