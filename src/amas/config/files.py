"""Reading small files without being held up by what is not one."""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

# Whoever runs the container says who may read these, and root is who puts them there.
_MOUNTED: Final = ("/run/secrets/", "/var/run/secrets/")


def read_regular(path: str, limit: int, *, private: bool = False) -> bytes:
    """Read a regular file of bounded size.

    Args:
        path: Its path.
        limit: The most bytes it may have.
        private: Whether it is refused if anybody but its owner, who is this user or root, can
            read or write it. Below ``/run/secrets``, root's files may be readable.

    Returns:
        Its content.

    Raises:
        OSError: It cannot be read, is a pipe or a device, is too large, or not private enough.
    """
    try:
        # Opening a pipe nobody writes to would otherwise wait for ever.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except ValueError:  # a NUL in the path, or characters the file system cannot have
        raise OSError(errno.EINVAL, "this is no possible path") from None
    with os.fdopen(descriptor, "rb") as file:  # refuses directories
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "this is not a regular file")
        if private:
            _require_private(os.path.realpath(path), os.fstat(descriptor))
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"the file is larger than {limit >> 10} KiB")
    return content


def _require_private(path: str, status: os.stat_result) -> None:
    if status.st_uid not in {0, os.geteuid()}:
        raise PermissionError(errno.EPERM, "it belongs to another user")
    mounted = status.st_uid == 0 and path.startswith(_MOUNTED)
    if status.st_mode & (0o022 if mounted else 0o077):
        mode = f"{stat.S_IMODE(status.st_mode):04o}"
        raise PermissionError(
            errno.EPERM, f"others than its owner have access (mode {mode}, not 0600)"
        )
