"""The layers of a configuration: extended files, the file itself, its overlay, and variables."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

from pydantic.fields import FieldInfo
from typing_extensions import override

from ..providers.errors import ProviderConfigError
from .document import START, Document, Path, Place, kind, printable
from .mapping_source import read_mapping
from .merging import merge
from .overlays import ENVIRONMENT, meant_instead, overlay_of, place_of_environment
from .short_forms import lengthen
from .variables import Settable, misspelt, read_variables
from .yaml_source import NoSectionError, parse_yaml, read_content

EXTENDS: Final = "extends"
_MAX_NESTED: Final = 16
_MAX_FILES: Final = 64
# An address loses a slash on the way to a path; it may have a password, and is not shown.
_ADDRESS: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


@dataclass(frozen=True, slots=True)
class Draft(os.PathLike[str]):
    """A file as it would be: a path, with what is not written there yet.

    Args:
        path: The path.
        content: What it would have.
    """

    path: str
    content: bytes

    @override
    def __fspath__(self) -> str:
        return self.path


@dataclass(frozen=True, slots=True)
class Layered:
    """A configuration, its layers laid over one another.

    Args:
        document: The result.
        files: Paths of the files it is made of, the lowest first; also of an overlay that is
            not there yet.
        overlay: Path of the overlay, there or not; None if there can be none.
        extends: What the configuration itself extends, as written.
    """

    document: Document
    files: tuple[str, ...] = ()
    overlay: str | None = None
    extends: tuple[str, ...] = ()


def read_layers(
    source: object,
    environ: Mapping[str, str],
    fields: Mapping[str, FieldInfo],
    known: Collection[str] = (),
) -> Layered:
    """Read a configuration with everything that is laid under and over it.

    Args:
        source: Path of a YAML file, a draft of one, or a mapping: the whole document. A mapping,
            which code made, has neither an overlay nor variables over it.
        environ: The variables.
        fields: The schema of the section ``providers``.
        known: Names of the catalogue.

    Returns:
        The configuration; mistakes that do not stop the reading are among its problems.

    Raises:
        ProviderConfigError: Something cannot be read, or has no section ``providers``.
    """
    stack = _Stack()
    if isinstance(source, Mapping):
        main = read_mapping(source)
        extends = stack.add(main, ())
        return Layered(_merged(stack.layers, main, known), tuple(stack.files), extends=extends)
    path = _path(source)
    if isinstance(source, Draft):
        content = source.content
    else:
        content = read_content(path, Document(path).fatal)
    main = parse_yaml(path, content)
    extends = stack.add(main, (path,))
    overlay = overlay_of(path, environ.get(ENVIRONMENT, ""), main)
    if overlay is not None:
        stack.add_overlay(overlay, main)
    main.take_notes(misspelt(environ, fields), main.source)
    merged = _merged(stack.layers, main, known)
    variables = read_variables(environ, Settable(fields, merged.data, known))
    if variables is not None:
        merged = _merged([*stack.layers, variables], main, known)
    return Layered(merged, tuple(stack.files), overlay, extends)


def _merged(layers: list[Document], main: Document, known: Collection[str]) -> Document:
    if not layers[1:]:
        return main
    for layer in layers:
        lengthen(layer)
    return merge(layers, main.source, known)


def _path(source: object) -> str:
    if not isinstance(source, str | os.PathLike):
        raise ProviderConfigError(
            f"the source is of type {type(source).__name__}; give a path or a mapping"
        )
    if isinstance(source, str) and "\n" in source:
        # Not shown: somebody passed the text of a configuration, keys included.
        raise ProviderConfigError("the source is a text of several lines; give the path of a file")
    return os.fsdecode(source)


class _Stack:
    """Collects layers.

    Attributes:
        layers: Their documents, the lowest first.
        files: Their paths.
    """

    def __init__(self) -> None:
        self.layers: list[Document] = []
        self.files: list[str] = []
        self._done: set[str] = set()

    def add(self, document: Document, trail: tuple[str, ...]) -> tuple[str, ...]:
        """Add a document, and below it what it extends.

        Args:
            document: The document.
            trail: Paths of the files that lead here, its own last.

        Returns:
            What it extends, as written.
        """
        folder = PurePath(trail[-1]).parent if trail else PurePath()
        extended = list(_extended(document))
        for file, where in extended:
            self._extend(str(folder / file), document, document.place(where), trail)
        if isinstance(document.data, dict):
            document.data.pop(EXTENDS, None)
        self.layers.append(document)
        self.files += trail[-1:]
        return tuple(file for file, _ in extended)

    def _extend(self, file: str, document: Document, place: Place, trail: tuple[str, ...]) -> None:
        shown = printable(file)
        if "\0" in file:
            raise _refuse(document, place, f"{shown}: this is no possible path; write another one")
        identity = os.path.realpath(file)
        ways = [os.path.realpath(each) for each in trail]
        if identity in ways:
            steps = " → ".join(map(printable, (*trail[ways.index(identity) :], file)))
            raise _refuse(document, place, f"leads back to a file on the way ({steps}); remove it")
        if identity in self._done:
            return  # once is enough, and as far down as possible
        if len(trail) > _MAX_NESTED:
            raise _refuse(document, place, f"leads through more than {_MAX_NESTED} files; flatten")
        if len(self._done) >= _MAX_FILES:
            raise _refuse(document, place, f"these are more than {_MAX_FILES} files; join some")
        self._done.add(identity)

        def report(text: str, _at: Place | None) -> ProviderConfigError:
            hint = " (variables are not followed here)" if "${" in file else ""
            return _refuse(document, place, f"{shown}: {text}{hint}")

        content = read_content(file, report)
        by = f"extended by {document.where(place)}" if document.name else "extended"
        try:
            extended = parse_yaml(file, content)
        except ProviderConfigError as error:
            problems = [f"{problem} ({by})" for problem in error.problems]
            raise ProviderConfigError(problems=problems) from None
        self.add(extended, (*trail, file))

    def add_overlay(self, path: str, main: Document) -> None:
        """Add an overlay, if it is there.

        Args:
            path: Its path.
            main: What it lies over.
        """
        self.files.append(path)
        if not os.path.lexists(path):
            if meant := meant_instead(path):
                main.warn((), meant, place=place_of_environment())
            return
        overlay = Document(path)
        try:
            overlay = parse_yaml(path, read_content(path, overlay.fatal))
        except NoSectionError:
            overlay.mark((), key=START, value=START)
            text = "the overlay has no such section; if it needs none, write `providers:` into it"
            overlay.warn((), text)
        if isinstance(overlay.data, dict) and EXTENDS in overlay.data:
            text = f"an overlay extends nothing; write it into {main.name}"
            overlay.problem((EXTENDS,), text, at_key=True)
            del overlay.data[EXTENDS]
        self.layers.append(overlay)


def _refuse(document: Document, place: Place, text: str) -> ProviderConfigError:
    return document.fatal(f"providers.{EXTENDS}: {text}", place)


def _extended(document: Document) -> Iterator[tuple[str, Path]]:
    """Give the paths that a document extends, and where they stand."""
    value = document.data.get(EXTENDS) if isinstance(document.data, dict) else None
    if value is None:
        return
    entries = enumerate(value) if isinstance(value, list) else ((None, value),)
    for index, item in entries:
        where: Path = (EXTENDS,) if index is None else (EXTENDS, index)
        if not isinstance(item, str) or not item.strip():
            what = kind(item) if not isinstance(item, str) else "an empty text"
            text = f"must be the path of a file, or a list of them, not {what}"
            document.problem(where, f"{text}; write `{EXTENDS}: base.yaml`")
        elif _ADDRESS.match(item.strip()):
            text = "this is an address; only files on this machine can be extended: write a path"
            document.problem(where, text)
        elif document.name is None and not PurePath(item).is_absolute():
            document.problem(where, "a mapping has no folder to begin at; give an absolute path")
        else:
            yield item.strip(), where
