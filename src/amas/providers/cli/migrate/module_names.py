"""Which module an import means, by where the importing file lies."""

from __future__ import annotations

from functools import cache
from pathlib import Path


class Place:
    """Where a Python file lies, as far as its imports are concerned.

    Args:
        file: Its path.
        root: The folder that is scanned.
    """

    def __init__(self, file: Path, root: Path) -> None:
        self.file = file.absolute()
        self._root = root.absolute()
        self._package = self.file.parent.parts[1:]

    def absolute(self, module: str, level: int) -> str | None:
        """Return the absolute name of what a file imports.

        Folders above the package stand in front of a relative import's name: nothing says
        where the import path begins, and a known name is recognised by its end.

        Args:
            module: The name in the import; empty in ``from . import x``.
            level: The dots in front of it.

        Returns:
            The name; None if it leads out of the file system.
        """
        if level == 0:
            return module
        if level > len(self._package):
            return None
        package = self._package[: len(self._package) - level + 1]
        if _is_top(self.file.parent, level):
            # The package is the import path's own, and so is its name.
            package = package[-1:]
        return ".".join((*package, module) if module else package)

    def is_local(self, module: str) -> bool:
        """Whether an absolute import means a file of the scanned code, not an installed package."""
        top = module.partition(".")[0]
        folders = [self.file.parent, *self.file.parent.parents]
        end = folders.index(self._root) + 1 if self._root in folders else 1
        return any(_holds(folder, top) for folder in folders[:end])


@cache
def _is_top(folder: Path, level: int) -> bool:
    """Whether the package so many levels up is a regular one that lies in no other package."""
    for _ in range(level - 1):
        folder = folder.parent
    return (folder / "__init__.py").is_file() and not (folder.parent / "__init__.py").is_file()


@cache
def _holds(folder: Path, top: str) -> bool:
    """Whether a folder of the import path has such a module; inside a package it would not count."""
    if (folder / "__init__.py").is_file():
        return False
    return (folder / f"{top}.py").is_file() or (folder / top / "__init__.py").is_file()


def forget() -> None:
    """Forget what was seen on the disk; called before each scan."""
    _is_top.cache_clear()
    _holds.cache_clear()
