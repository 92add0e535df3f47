"""Opening, locking and writing files, where a step must not be left out."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path
from typing import Final

# Of a file that is added to, and never by the way of a link.
FLAGS: Final = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


def locked(path: Path, flags: int = FLAGS) -> int | None:
    """Open a file and lock it, for as long as it is open.

    Args:
        path: The file.
        flags: How it is opened.

    Returns:
        Its descriptor; None if another process holds it.

    Raises:
        OSError: It cannot be opened, or is no file that may be written.
    """
    while True:
        descriptor = os.open(path, flags, 0o600)
        try:
            if _lock(descriptor) and _is_there(path, descriptor):
                require_writable(os.fstat(descriptor), path)
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError:
            os.close(descriptor)
            raise
        # It was put aside between the two steps.
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return True


def _is_there(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


class NotAFileError(OSError):
    """It is a folder, a pipe or a device."""

    def __init__(self, path: Path) -> None:
        super().__init__(errno.EINVAL, "it is not a file", str(path))


def opened_to_read(path: Path, flags: int = 0) -> int:
    """Open a file to read it; a pipe that nobody writes to is not waited for.

    Args:
        path: The file.
        flags: More about how it is opened.

    Raises:
        NotAFileError: It is none.
        OSError: It cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotAFileError(path)
    return descriptor


def make_private(descriptor: int) -> None:
    """Take a file of ours away from others than its owner."""
    found = os.fstat(descriptor)
    if found.st_uid == os.geteuid() and found.st_mode & 0o077:
        os.fchmod(descriptor, stat.S_IMODE(found.st_mode) & 0o700)


def require_writable(found: os.stat_result, path: Path) -> None:
    """Refuse what is no file, or a file whose owner may not write it.

    The superuser may write it all the same, but whoever took the right away meant it.

    Raises:
        OSError: It is one of these.
    """
    if not stat.S_ISREG(found.st_mode):
        raise NotAFileError(path)
    if not found.st_mode & stat.S_IWUSR:
        raise PermissionError(errno.EACCES, "it is read-only", str(path))


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of it, in as many steps as that takes."""
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def sync_folder(folder: Path) -> None:
    """Force to the disk which files a folder has."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folders(folder: Path) -> None:
    """Make a folder and those above it, where they are missing, for the owner alone."""
    if not folder.is_dir():
        make_folders(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
