"""Which files a child may reach: Python, what it can import, what a network client reads."""

from __future__ import annotations

import os
import site
import ssl
import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final

from .landlock import LIST, READ, WRITE

_SYSTEM: Final = (
    *("/usr", "/lib", "/lib32", "/lib64", "/bin"),
    *("/etc/ld.so.cache", "/etc/ssl", "/etc/pki", "/etc/ca-certificates", "/etc/crypto-policies"),
    *("/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf"),
    *("/etc/services", "/etc/protocols", "/etc/localtime", "/etc/timezone", "/etc/mime.types"),
    # Where resolv.conf often points to, and is replaced when the network changes.
    *("/run/systemd/resolve", "/run/resolvconf", "/etc/os-release"),
    *("/dev/urandom", "/dev/random", "/dev/zero"),
)

# What is said of a package, and libraries that it brings along.
_BESIDE_CODE: Final = (".dist-info", ".egg-info", ".libs")

# How many entries of a folder are looked at to tell whether it is a package.
_MAX_ENTRIES: Final = 1000


def rules(private: str, options: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Return the paths that a child may reach, and how.

    Args:
        private: Its own folder, where it may write.
        options: The provider's options; a file that they name, such as of credentials, is its.
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
    return [
        *((path, READ) for path in readable if path != os.sep),
        ("/dev/null", WRITE),
        (private, WRITE),
        *_importable(path for path in sys.path if not _within(path, installed)),
    ]


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


def _importable(paths: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Find what can be imported from places that may hold other things too.

    A service's own folder, with its ``.env`` and its configuration, is often one.
    """
    for path in paths:
        if Path(path).is_file():
            yield path, READ
            continue
        yield path, LIST
        for entry in _entries(path):
            if _is_module(entry) or entry.name.endswith(_BESIDE_CODE):
                yield entry.path, READ


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
