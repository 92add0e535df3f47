"""YAML files, read so that every mistake has its line and column.

PyYAML composes the tree of nodes, which know where they stand; this module
finds the section and explains what is no YAML. ``yaml_nodes`` does the rest.
"""

from __future__ import annotations

import errno
import os
import re
from typing import Any, Final

import yaml

from .document import MAX_DEPTH, START, Document, Place, label
from .files import read_regular
from .yaml_nodes import BRACES, TAG, Converter, place_of, twice

MAX_BYTES: Final = 1 << 20

# Both give the same nodes at the same places; libyaml's is several times as fast.
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_REFERENCE: Final = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*(?::-[^{}\"'\r\n]*)?\}")
_FORBIDDEN: Final = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffef]"
)
_LINE_BREAK: Final = re.compile("\r\n|[\r\n\x85\u2028\u2029]")

# The parser's own words may quote the file, a key included; these are ours. First match wins.
_SYNTAX: Final = (
    ("unexpected end of stream", "a quote is opened here and never closed; close it"),
    ("another document", "a second document begins here; keep one, without `---` between"),
    ("undefined alias", "this alias (*name) has no anchor (&name) before it; define it, or quote"),
    ("duplicate anchor", "this anchor (&name) is used twice; rename one"),
    ("tab character", "a tab is used for indentation; use spaces"),
    (
        "mapping values are not allowed",
        "a `: ` too many; quote the value, or add the colon missing above",
    ),
    ("expected ':'", "a colon is missing after this key; write `key: value`"),
    ("cannot start any token", "a value cannot begin with this character; write it in quotes"),
    ("escape", "an escape in double quotes that YAML does not know; use single quotes, or `\\\\`"),
    (
        "chr() arg",
        "an escape in double quotes that YAML does not know; use single quotes, or `\\\\`",
    ),
    ("tag", "tags (!name) are not allowed; remove it, or write the value in quotes"),
    ("',' or '}'", "a comma or the closing brace } is missing before this; add it"),
    ("',' or ']'", "a comma or the closing bracket ] is missing before this; add it"),
    ("block end", "the indentation does not fit the lines above; line it up"),
    ("expected key", "the indentation does not fit the lines above; line it up"),
)
_SYNTAX_ELSE: Final = "this is not valid YAML; check indentation, colons, brackets and quotes"


def read_yaml(source: str | os.PathLike[str]) -> Document:
    """Read the ``providers:`` section of a YAML file.

    Args:
        source: Path of the file.

    Returns:
        The document: its data is the section; mistakes that do not stop the
        reading (duplicate keys, tags, …) are among its problems.

    Raises:
        ProviderConfigError: The file cannot be read, or is no YAML, or has no such section.
    """
    path = os.fsdecode(source)
    return parse_yaml(path, _read(path, Document(path)))


def parse_yaml(name: str, content: bytes) -> Document:
    """Read the ``providers:`` section of the content of a YAML file.

    Args:
        name: Path of the file, for messages.
        content: What it has.

    Returns:
        As for ``read_yaml``.

    Raises:
        ProviderConfigError: It is no YAML, or has no such section.
    """
    document = Document(name)
    root = _compose(shield(_decode(content, document)), document)
    key, section = _section(root, document)
    document.mark((), key=place_of(key.start_mark), value=place_of(section.start_mark))
    document.data = Converter(document).convert(section, ())
    return document


def shield(text: str) -> str:
    """Replace the braces of references, which are YAML's too, by as many other characters."""
    return _REFERENCE.sub(lambda match: match.group().translate(BRACES), text)


def _read(path: str, document: Document) -> bytes:
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
            raise document.fatal(wrong, START) from None
    raise document.fatal(wrong)


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
    lines = _LINE_BREAK.split(text)
    return Place(len(lines), len(lines[-1]) + 1)


def _compose(text: str, document: Document) -> yaml.MappingNode:
    try:
        _check_depth(text, document)
        root = yaml.compose(text, Loader=LOADER)
    except (yaml.YAMLError, ValueError) as error:
        raise _syntax_error(error, text, document) from None
    if root is None or root.tag == TAG + "null":
        raise document.fatal("the file is empty; begin it with `providers:`", START)
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


def _syntax_error(error: Exception, text: str, document: Document) -> Exception:
    words = f"{getattr(error, 'context', '')} {getattr(error, 'problem', error)}"
    meaning = next((ours for theirs, ours in _SYNTAX if theirs in words), _SYNTAX_ELSE)
    mark = getattr(error, "problem_mark", None)
    opened = meaning.startswith(("a quote", "a colon"))
    mark = (opened and getattr(error, "context_mark", None)) or mark
    if mark is None:
        return document.fatal(meaning, START)
    lines = _LINE_BREAK.split(text)
    line = lines[mark.line] if mark.line < len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        meaning = "a tab is used for indentation; use spaces"
    return document.fatal(meaning, place_of(mark))


def _section(root: yaml.MappingNode, document: Document) -> tuple[yaml.Node, yaml.Node]:
    names = [key.value for key, _ in root.value if key.tag == TAG + "str"]
    found = [(key, value) for key, value in root.value if key.value == "providers"]
    if not found:
        near = document.nearest("providers", names)
        hint = f"rename {label(near)!r}, if that is it" if near else "add it"
        raise document.fatal(f"there is no `providers:` section; {hint}", START)
    first = place_of(found[0][0].start_mark)
    for key, _ in found[1:]:
        place = place_of(key.start_mark)
        document.problem((), twice("providers", first), place=place)
    return found[0]
