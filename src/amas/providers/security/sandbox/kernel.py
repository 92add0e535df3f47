"""Calls to the Linux kernel that Python has no function for."""

from __future__ import annotations

import ctypes
import os
import sys


class NotSupportedError(Exception):
    """This kernel, or this machine, does not offer it."""


def call(name: str, *arguments: int | ctypes.Array[ctypes.c_char] | None) -> int:
    """Call a function of the C library.

    Args:
        name: Its name: ``prctl``, or ``syscall`` for those without one.
        *arguments: Numbers, and buffers for structures.

    Returns:
        What it returns, 0 or more.

    Raises:
        NotSupportedError: There is no such function here, or it refuses.
    """
    if not sys.platform.startswith("linux"):
        raise NotSupportedError("this is not Linux")
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    function.restype = ctypes.c_long if name == "syscall" else ctypes.c_int
    # As wide as a register each: the functions are variadic.
    result: int = function(
        *(ctypes.c_long(item) if isinstance(item, int) else item for item in arguments)
    )
    if result < 0:
        raise NotSupportedError(os.strerror(ctypes.get_errno()))
    return result
