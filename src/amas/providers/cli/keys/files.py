"""Replacing a file so that it is always whole, whoever else wants to and whatever happens."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from ....config.files import read_regular
from ....config.yaml_source import MAX_BYTES
from ...errors import ProviderConfigError


def edit_file(
    path: str, change: Callable[[bytes], bytes], *, dry_run: bool = False, private: bool = False
) -> None:
    """Replace a file by what a function makes of its content.

    Two commands at once follow one another. Whoever reads the file, also after a crash at any
    moment, reads all of the old content or all of the new.

    Args:
        path: Its path; of a symbolic link the target is replaced.
        change: Called with the content, returns the new one; the same for no change.
        dry_run: Whether nothing is written.
        private: Whether it is refused if others than its owner may read it.

    Raises:
        ProviderConfigError: It cannot be read or replaced, or somebody else changed it meanwhile.
    """
    real = os.path.realpath(path)
    try:
        with _locked(os.path.dirname(real)):  # noqa: PTH120 -- a str, as os has it
            before = read_regular(real, MAX_BYTES, private=private)
            after = change(before)
            if after != before:
                _require_one_name(path, real)
                if not dry_run:
                    _replace(real, before, after)
    except OSError as error:
        raise ProviderConfigError(f"{path}: {error.strerror}") from None


def new_private_file(path: str, content: bytes) -> None:
    """Write a file that only its owner may read.

    Args:
        path: Its path; there must be nothing there yet.
        content: What it will have.

    Raises:
        ProviderConfigError: It cannot be written.
    """
    try:
        _create(path, content, 0o600)
        _flush_folder(os.path.dirname(os.path.abspath(path)))  # noqa: PTH100, PTH120
    except FileExistsError:
        raise ProviderConfigError(
            f"{path}: there is such a file already, and a key is never overwritten; "
            "choose another name"
        ) from None
    except OSError as error:
        raise ProviderConfigError(f"{path}: cannot be written: {error.strerror}") from None


def new_file(path: str, content: bytes) -> None:
    """Write a file that everybody may read; it is there as a whole or not at all.

    Args:
        path: Its path; there must be nothing there yet.
        content: What it will have.

    Raises:
        ProviderConfigError: It cannot be written, or there is something.
    """
    folder, name = os.path.split(os.path.abspath(path))  # noqa: PTH100
    temporary = os.path.join(folder, f".{name}.{os.getpid()}.amas-new")  # noqa: PTH118
    try:
        with suppress(FileNotFoundError):  # of one that was killed
            os.unlink(temporary)  # noqa: PTH108
        try:
            _create(temporary, content, 0o644)
            _publish(temporary, path)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(temporary)  # noqa: PTH108
        _flush_folder(folder)
    except FileExistsError:
        raise ProviderConfigError(f"{path}: there is such a file already") from None
    except OSError as error:
        raise ProviderConfigError(f"{path}: cannot be written: {error.strerror}") from None


def _publish(temporary: str, path: str) -> None:
    """Give a file its name, unless something has it."""
    try:
        os.link(temporary, path)  # unlike a rename it replaces nothing
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(path):
            raise FileExistsError from None
        os.rename(temporary, path)  # noqa: PTH104


def _create(path: str, content: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        _flush(file.fileno())


@contextmanager
def _locked(folder: str) -> Iterator[None]:
    # The folder, not the file: whoever waits for the file would get the lock of the replaced one.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems have no locks; the rest still holds
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _require_one_name(path: str, real: str) -> None:
    # The file under this name is replaced: under the others the old text would stay.
    if (count := os.stat(real).st_nlink) > 1:  # noqa: PTH116
        raise ProviderConfigError(
            f"{path}: this file has {count} names (hard links), and what stands in it would stay "
            "under the others; remove those first; nothing is written"
        )


def _replace(path: str, before: bytes, after: bytes) -> None:
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.amas-keys")  # noqa: PTH118
    with suppress(FileNotFoundError):  # of one that was killed
        os.unlink(temporary)  # noqa: PTH108
    try:
        _write_like(path, temporary, after)
        if read_regular(path, MAX_BYTES) != before:
            raise ProviderConfigError(
                f"{path}: somebody else changed it meanwhile; nothing is written, try again"
            )
        os.replace(temporary, path)  # noqa: PTH105
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)  # noqa: PTH108
    _flush_folder(folder)


def _write_like(path: str, temporary: str, content: bytes) -> None:
    """Write a file of the same owner and mode as another, private until it is whole."""
    status = os.stat(path)  # noqa: PTH116
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        own = os.fstat(descriptor)
        if (own.st_uid, own.st_gid) != (status.st_uid, status.st_gid):
            os.fchown(descriptor, status.st_uid, status.st_gid)
        os.fchmod(descriptor, status.st_mode & 0o7777)
        _flush(descriptor)


def _flush(descriptor: int) -> None:
    os.fsync(descriptor)


def _flush_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
