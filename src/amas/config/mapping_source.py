"""Configurations that come as a mapping, brought into the form that files have."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from ..providers.secret import Secret
from .beside import NAMES, report_beside
from .document import MAX_DEPTH, MAX_NODES, Document, Path, Place, scalar_problem


def read_mapping(source: Mapping[str, Any]) -> Document:
    """Take the ``providers:`` section out of a whole configuration.

    Args:
        source: The configuration, with ``providers`` among its keys. Sequences,
            sets, paths and enumerations in it become lists and texts; a
            ``Secret`` stays one.

    Returns:
        The document: its data is a copy of the section.

    Raises:
        ProviderConfigError: There is no such section.
    """
    document = Document(None)
    if "providers" not in source:
        raise document.fatal("there is no `providers` section; add it")
    reader = _Reader(document)
    reader.mark(())
    for key in NAMES.intersection(source):
        report_beside(key, source[key], document)
    document.data = reader.convert(source["providers"], ())
    return document


class _Reader:
    """Copies a mapping into plain data and reports what a configuration cannot hold."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._count = 0
        self._open: set[int] = set()  # collections being copied: meeting one again is a loop

    def mark(self, path: Path) -> None:
        self._count += 1
        if self._count > MAX_NODES:
            raise self._document.fatal(f"providers: more than {MAX_NODES} values; write fewer")
        place = Place(self._count)
        self._document.mark(path, key=place, value=place)

    def convert(self, value: Any, path: Path) -> Any:
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        if isinstance(value, Mapping | AbstractSet) or (
            isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray)
        ):
            return self._collection(value, path)
        if value is None or isinstance(value, bool | Secret):
            return value
        if not isinstance(value, str | int | float):
            kind = type(value).__name__
            self._document.problem(path, f"a {kind} is no configuration value; give a text")
        elif wrong := scalar_problem(value):
            self._document.problem(path, wrong)
        else:
            # Members of enumerations become what they stand for.
            return str.__str__(value) if isinstance(value, str) else value
        return None

    def _collection(self, value: Any, path: Path) -> Any:
        if id(value) in self._open:
            self._document.problem(path, "leads back to its own parent; remove it")
            return None
        if len(self._open) >= MAX_DEPTH:
            self._document.problem(path, f"nested deeper than {MAX_DEPTH} levels; flatten it")
            return None
        self._open.add(id(value))
        copy = self._dict(value, path) if isinstance(value, Mapping) else self._list(value, path)
        self._open.remove(id(value))
        return copy

    def _dict(self, value: Mapping[Any, Any], path: Path) -> dict[str, Any]:
        copy = {}
        for key, item in value.items():
            if not isinstance(key, str):
                kind = type(key).__name__
                self._document.problem(path, f"a key is of type {kind}; make it a text")
            elif wrong := scalar_problem(key):
                self._document.problem(path, f"a key {wrong}")
            else:
                name = str.__str__(key)
                self.mark((*path, name))
                copy[name] = self.convert(item, (*path, name))
        return copy

    def _list(self, value: Iterable[Any], path: Path) -> list[Any]:
        copy = []
        for index, item in enumerate(value):
            self.mark((*path, index))
            copy.append(self.convert(item, (*path, index)))
        return copy
