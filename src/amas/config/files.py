"""Reading small files without being held up by what is not one."""

from __future__ import annotations

import errno
import os
import stat


def read_regular(path: str, limit: int) -> bytes:
    """Read a regular file of bounded size.

    Args:
        path: Its path.
        limit: The most bytes it may have.

    Returns:
        Its content.

    Raises:
        OSError: It cannot be read, is a pipe or a device, or is too large.
    """
    try:
        # Opening a pipe nobody writes to would otherwise wait for ever.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except ValueError:  # a NUL in the path, or characters the file system cannot have
        raise OSError(errno.EINVAL, "this is no possible path") from None
    with os.fdopen(descriptor, "rb") as file:  # refuses directories
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "this is not a regular file")
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"the file is larger than {limit >> 10} KiB")
    return content
