"""YAML files, read so that every mistake has its line and column.

PyYAML composes the tree of nodes, which know where they stand; this module
finds the section and explains what is no YAML. ``yaml_nodes`` does the rest.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from typing import Any, Final

import yaml

from ..providers.errors import ProviderConfigError
from .beside import NAMES, report_beside
from .document import MAX_DEPTH, START, Document, Path, Place, label
from .files import read_regular
from .syntax import LINE_BREAK, explain
from .yaml_nodes import BRACES, TAG, Converter, place_of, twice

MAX_BYTES: Final = 1 << 20

# Both give the same nodes at the same places; libyaml's is several times as fast.
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_REFERENCE: Final = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*(?::-[^{}\"'\r\n]*)?\}")
_FORBIDDEN: Final = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffef]"
)


class NoSectionError(ProviderConfigError):
    """A YAML file has no section ``providers``, or nothing at all."""


def read_yaml(source: str | os.PathLike[str]) -> Document:
    """Read the ``providers:`` section of a YAML file.

    Args:
        source: Path of the file.

    Returns:
        The document: its data is the section; mistakes that do not stop the
        reading (duplicate keys, tags, …) are among its problems.

    Raises:
        ProviderConfigError: The file cannot be read, or is no YAML.
        NoSectionError: It has no such section.
    """
    path = os.fsdecode(source)
    return parse_yaml(path, read_content(path, Document(path).fatal))


def parse_yaml(name: str, content: bytes) -> Document:
    """Read the ``providers:`` section of the content of a YAML file.

    Args:
        name: Path of the file, for messages.
        content: What it has.

    Returns:
        As for ``read_yaml``.

    Raises:
        ProviderConfigError: It is no YAML.
        NoSectionError: It has no such section.
    """
    document = Document(name)
    root = _root(shield(_decode(content, document)), document)
    key, section = _section(root, document)
    document.mark((), key=place_of(key.start_mark), value=place_of(section.start_mark))
    document.data = Converter(document).convert(section, ())
    return document


def parse_value(text: str, document: Document, path: Path) -> Any:
    """Read a single value that is written as YAML, such as ``[a, b]``.

    Args:
        text: The text.
        document: Where problems go.
        path: Where the value will be.

    Returns:
        The value.

    Raises:
        ProviderConfigError: It is no YAML.
    """
    node = _compose(text, document)
    return None if node is None else Converter(document).convert(node, path)


def shield(text: str) -> str:
    """Replace the braces of references, which are YAML's too, by as many other characters."""
    return _REFERENCE.sub(lambda match: match.group().translate(BRACES), text)


def read_content(path: str, report: Callable[[str, Place | None], ProviderConfigError]) -> bytes:
    """Read a file.

    Args:
        path: Its path.
        report: Makes the error, from what is wrong and where; None if nothing could be read.

    Raises:
        ProviderConfigError: It cannot be read.
    """
    try:
        return read_regular(path, MAX_BYTES)
    except FileNotFoundError:
        wrong = "there is no such file; check the path"
    except IsADirectoryError:
        wrong = "this is a directory; give the path of a YAML file"
    except PermissionError:
        wrong = "no permission to read the file; check its mode and owner"
    except OSError as error:
        wrong = f"{error.strerror}; give the path of a YAML file"
        if error.errno == errno.EFBIG:
            raise report(wrong, START) from None
    raise report(wrong, None)


def _decode(content: bytes, document: Document) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode()  # without the byte order mark
        raise document.fatal("this is not UTF-8; save the file as UTF-8", _end(before)) from None
    if bad := _FORBIDDEN.search(text):
        code = f"U+{ord(bad.group()):04X}"
        raise document.fatal(
            f"the character {code} may not stand in YAML; remove it", _end(text[: bad.start()])
        )
    return text


def _end(text: str) -> Place:
    lines = LINE_BREAK.split(text)
    return Place(len(lines), len(lines[-1]) + 1)


def _compose(text: str, document: Document) -> yaml.Node | None:
    try:
        _check_depth(text, document)
        node: yaml.Node | None = yaml.compose(text, Loader=LOADER)
    except (yaml.YAMLError, ValueError) as error:
        raise document.fatal(*explain(error, text)) from None
    return node


def _root(text: str, document: Document) -> yaml.MappingNode:
    root = _compose(text, document)
    if root is None or root.tag == TAG + "null":
        raise _no_section("the file is empty; begin it with `providers:`", document)
    if not isinstance(root, yaml.MappingNode):
        raise document.fatal(
            "the file must be a mapping; begin it with `providers:`", place_of(root.start_mark)
        )
    return root


def _check_depth(text: str, document: Document) -> None:
    # Composing is recursive (in C, where Python's limit does not protect): look before.
    depth = 0
    for event in yaml.parse(text, Loader=LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                place = place_of(event.start_mark)
                raise document.fatal(f"nested deeper than {MAX_DEPTH} levels; flatten it", place)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _section(root: yaml.MappingNode, document: Document) -> tuple[yaml.Node, yaml.Node]:
    names = [key.value for key, _ in root.value if key.tag == TAG + "str"]
    found = [(key, value) for key, value in root.value if key.value == "providers"]
    _check_beside(root, document)
    if not found:
        near = document.nearest("providers", names)
        hint = "begin with it, and put `llm:` and your providers below it"
        if near:
            hint = f"rename {label(near)!r}, if that is it"
        raise _no_section(f"there is no `providers:` section; {hint}", document)
    first = place_of(found[0][0].start_mark)
    for key, _ in found[1:]:
        place = place_of(key.start_mark)
        document.problem((), twice("providers", first), place=place)
    _check_indentation(root, document, empty=found[0][1].tag == TAG + "null")
    return found[0]


def _check_indentation(root: yaml.MappingNode, document: Document, *, empty: bool) -> None:
    """Find lines beside the section that are not where they look to be."""
    for key, _ in root.value:
        place = place_of(key.start_mark)
        if not isinstance(key, yaml.ScalarNode) or key.style:
            continue
        if key.value[:1].isspace():  # YAML knows no other space than the plain one
            text = "no plain space indents this line, though it looks like one; type it anew"
            document.problem((), text, place=place)
        elif empty and key.value == "llm":
            text = "is empty, and `llm:` stands beside it; if it belongs to it, indent its lines"
            document.warn((), text)


def _check_beside(root: yaml.MappingNode, document: Document) -> None:
    """Find entries beside the section that were meant to stand in it."""
    for key, value in root.value:
        if isinstance(key, yaml.ScalarNode) and key.value in NAMES:
            report_beside(key.value, _plain(value), document, place_of(key.start_mark))


def _plain(node: yaml.Node) -> Any:
    """Return the data of a node beside the section, whose mistakes are nobody's concern here."""
    try:
        return Converter(Document(None)).convert(node, ())
    except ProviderConfigError:
        return None


def _no_section(text: str, document: Document) -> ProviderConfigError:
    error = document.fatal(text, START)
    # With another problem the section is not just missing: it was meant to be there.
    return error if error.problems[1:] else NoSectionError(problems=error.problems)
