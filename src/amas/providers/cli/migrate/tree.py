"""Which files of a code base are read, and as what."""

from __future__ import annotations

import io
import os
import re
import stat
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from ....config.files import read_regular
from .findings import Note

Sort = Literal["python", "text"]

MAX_BYTES: Final = 2 << 20

_SKIPPED: Final = frozenset(
    {
        ".git", ".hg", ".svn", ".venv", "venv", "node_modules", "site-packages", "__pycache__",
        ".tox", ".nox", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".eggs",
    }
)  # fmt: skip
_PYTHON: Final = (".py", ".pyi", ".pyw")
_TEXT: Final = (
    ".sh", ".bash", ".zsh", ".bat", ".cmd", ".ps1", ".yml", ".yaml", ".toml", ".cfg", ".ini",
    ".conf", ".json", ".service", ".mk", ".tf", ".ipynb",
)  # fmt: skip
_TEXT_NAME: Final = re.compile(
    r"(?:.*[.-])?(?:Dockerfile|Containerfile|Makefile|GNUmakefile|makefile|Procfile|Justfile|justfile"
    r"|Jenkinsfile|crontab)(?:[.-].*)?"
)
_SHEBANG: Final = re.compile(rb"#![^\n]*?\b(?P<program>python|bash|sh|zsh|make)")


@dataclass(frozen=True, slots=True)
class Item:
    """A file to be read.

    Args:
        path: Its path.
        sort: What it is read as.
    """

    path: Path
    sort: Sort


def walk(root: Path) -> Iterator[Item | Note]:
    """Give out the files below a folder in order of their names, and what is left out.

    Args:
        root: The folder, or a single file.
    """
    if not root.is_dir():
        script = _by_shebang(root) if root.is_file() and not root.suffix else None
        yield Item(root, _sort(root) or script or "text")
        return
    # A stack, since folders may lie deeper than functions may call each other.
    waiting: list[Path | Item | Note] = [root]
    while waiting:
        current = waiting.pop()
        if isinstance(current, Path):
            waiting += reversed(list(_folder(current)))
        else:
            yield current


def _folder(folder: Path) -> Iterator[Path | Item | Note]:
    """Give out what lies in a folder: folders to go on with, files, and what is left out."""
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        yield Note(str(folder), f"cannot be read ({error.strerror})")
        return
    for entry in entries:
        path = folder / entry.name
        try:
            yield from _entry(path, entry)
        except OSError as error:
            yield Note(str(path), f"cannot be read ({error.strerror})")


def _entry(path: Path, entry: os.DirEntry[str]) -> Iterator[Path | Item | Note]:
    if entry.is_symlink():
        # What it leads to lies in the tree, and is read there, or lies outside.
        if path.is_dir() or _sort(path):
            yield Note(str(path), "link not followed")
    elif entry.is_dir():
        if entry.name in _SKIPPED or (path / "pyvenv.cfg").is_file():
            yield Note(str(path), "folder skipped")
        else:
            yield path
    elif stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode):
        sort = _sort(path) or (None if path.suffix else _by_shebang(path))
        if sort:
            yield Item(path, sort)
    elif _sort(path):
        yield Note(str(path), "not a regular file")


def _sort(path: Path) -> Sort | None:
    if path.name.endswith(_PYTHON):
        return "python"
    if path.name.endswith(_TEXT) or _TEXT_NAME.fullmatch(path.name):
        return "text"
    return None


def _by_shebang(path: Path) -> Sort | None:
    """Find out from its first line whether a file without an ending is a script."""
    with path.open("rb") as file:
        match = _SHEBANG.match(file.read(128))
    if match is None:
        return None
    return "python" if match["program"] == b"python" else "text"


def read(item: Item) -> tuple[str, str | None]:
    """Read a file.

    Args:
        item: The file.

    Returns:
        Its text, and what is to be said about its encoding.

    Raises:
        OSError: It cannot be read, or is too large.
    """
    content = read_regular(str(item.path), MAX_BYTES)
    encoding = "utf-8-sig"
    if item.sort == "python":
        try:
            encoding = tokenize.detect_encoding(io.BytesIO(content).readline)[0]
        except SyntaxError:  # it declares an encoding that there is not
            return content.decode("utf-8", "replace"), "of an unknown encoding, read as UTF-8"
    elif content.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    try:
        return content.decode(encoding), None
    except (UnicodeError, LookupError):
        return content.decode(
            "utf-8", "replace"
        ), f"not valid {encoding.upper()}, read as far as it is"
