"""Which files a child may reach: Python, what it can import, what a network client reads."""

from __future__ import annotations

import os
import site
import ssl
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, Final

from .landlock import LIST, READ, WRITE

_SYSTEM: Final = (
    *("/usr", "/lib", "/lib32", "/lib64", "/bin"),
    *("/etc/ld.so.cache", "/etc/ca-certificates", "/etc/crypto-policies"),
    # Not all of /etc/ssl and /etc/pki: private keys are there too.
    *("/etc/ssl/certs", "/etc/ssl/cert.pem", "/etc/ssl/openssl.cnf", "/etc/pki/ca-trust"),
    *("/etc/pki/tls/certs", "/etc/pki/tls/cert.pem", "/etc/pki/tls/openssl.cnf"),
    *("/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf"),
    *("/etc/services", "/etc/protocols", "/etc/localtime", "/etc/timezone", "/etc/mime.types"),
    # Where resolv.conf often points to, and is replaced when the network changes.
    *("/run/systemd/resolve", "/run/resolvconf", "/etc/os-release"),
    *("/dev/urandom", "/dev/random", "/dev/zero"),
)

# What is said of a package, and libraries that it brings along.
_BESIDE_CODE: Final = (".dist-info", ".egg-info", ".libs")

_CODE: Final = (".py", ".pyc", ".so")

# This package, with all that belongs to it.
_OURS: Final = str(Path(__file__).parents[3])

# How many entries of a folder are looked at to tell whether it is a package.
_MAX_ENTRIES: Final = 1000

# How many files of code are opened one by one, and entries of folders looked at for them.
_MAX_FILES: Final = 5000
_MAX_SEEN: Final = 50_000


def rules(
    private: str, options: Mapping[str, Any]
) -> tuple[list[tuple[str, int]], tuple[str, ...]]:
    """Find the paths that a child may reach, and how.

    Args:
        private: Its own folder, where it may write.
        options: The provider's options; a file that they name, such as of credentials, is its.

    Returns:
        The paths, and what of them is wider than it should be.
    """
    verify = ssl.get_default_verify_paths()
    installed = {
        *(sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix),
        *site.getsitepackages(),
        str(Path(sys.executable).parent),
        str(Path(os.__file__).parent),
    }
    certificates = (verify.cafile, verify.capath)
    readable = [*_SYSTEM, *installed, *(item for item in certificates if item), *_files(options)]
    found = _Importable(path for path in sys.path if not _within(path, installed))
    whole = ", ".join(found.whole)
    return [
        *((path, READ) for path in (*readable, _OURS) if path != os.sep),
        ("/dev/null", WRITE),
        (private, WRITE),
        *found.rules,
    ], (f"only the code of {whole} (too many files; all of them can be read)",) if whole else ()


def _files(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _files(item)
    elif isinstance(value, str) and Path(value).is_absolute() and Path(value).is_file():
        yield value


def _within(path: str, folders: Iterable[str]) -> bool:
    return any(path == folder or path.startswith(folder + os.sep) for folder in folders)


class _Importable:
    """What can be imported from places that may hold other things too.

    A service's own folder, with its ``.env`` and its configuration, is often one; its packages
    may have keys in them. What was installed there, with a record of it, is opened whole.

    Args:
        paths: The places.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self.rules: list[tuple[str, int]] = []
        self.whole: list[str] = []
        self._files = _MAX_FILES
        self._seen = _MAX_SEEN
        for path in paths:
            self._add(path)

    def _add(self, path: str) -> None:
        if Path(path).is_file():
            self.rules.append((path, READ))
            return
        self.rules.append((path, LIST))
        entries = _entries(path)
        installed = _recorded(entries)
        for entry in entries:
            if entry.name.endswith(_BESIDE_CODE) or entry.name in installed:
                self.rules.append((entry.path, READ))
            elif entry.path != _OURS and _is_module(entry):
                self._add_module(entry)

    def _add_module(self, entry: os.DirEntry[str]) -> None:
        if not entry.is_dir():
            self.rules.append((entry.path, READ))
            return
        files = list(islice(self._code(entry.path), self._files + 1))
        if len(files) > self._files or self._seen < 0:
            self.whole.append(entry.path)
            files = [entry.path]
        else:
            self._files -= len(files)
        self.rules += [(path, READ) for path in files]

    def _code(self, top: str) -> Iterator[str]:
        """Find files of code; not through links, which may lead in circles."""
        folders = [top]
        while folders and self._seen >= 0:
            with suppress(OSError), os.scandir(folders.pop()) as entries:
                for entry in entries:
                    self._seen -= 1
                    if entry.name.endswith(_CODE):
                        yield entry.path
                    elif entry.name.isidentifier() and entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)


def _recorded(entries: Iterable[os.DirEntry[str]]) -> set[str]:
    """Return what was installed beside its record, such as by ``pip install --target``."""
    names = set()
    for entry in entries:
        if entry.name.endswith(".dist-info"):
            with suppress(OSError, ValueError):
                text = Path(entry.path, "RECORD").read_text(encoding="utf-8")
                names |= {line.split("/", 1)[0] for line in text.splitlines() if "/" in line}
    return names


def _is_module(entry: os.DirEntry[str]) -> bool:
    if entry.name.endswith((".py", ".so")):
        return True
    return entry.name.isidentifier() and entry.is_dir() and _has_code(entry.path)


def _has_code(folder: str, depth: int = 2) -> bool:
    """Tell whether a folder is a package; one of packages, without code of its own, is too."""
    found = _entries(folder)
    return any(item.name.endswith((".py", ".so")) for item in found) or (
        depth > 1
        and any(
            item.name.isidentifier() and item.is_dir() and _has_code(item.path, depth - 1)
            for item in found
        )
    )


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(islice(entries, _MAX_ENTRIES))
    except OSError:
        return []
