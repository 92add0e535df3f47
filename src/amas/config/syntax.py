"""What is no YAML, in plain words and at the place where it went wrong.

The parser's own words may quote the file, a key included; these are ours. It often notices a
mistake a line too late, so the lines around are looked at for what people really write.
"""

from __future__ import annotations

import re
from typing import Any, Final

from .document import START, Place

LINE_BREAK: Final = re.compile("\r\n|[\r\n\x85\u2028\u2029]")

_COLON: Final = "a `: ` too many; quote the value, or add the colon missing above"
_ESCAPE: Final = "an escape in double quotes that YAML does not know; use single quotes, or `\\\\`"
_INDENT: Final = "the indentation does not fit the lines above; line it up"
# What the parser's words have → what we say. First match wins.
_SYNTAX: Final = (
    ("unexpected end of stream", "a quote is opened here and never closed; close it"),
    ("another document", "a second document begins here; keep one, without `---` between"),
    ("undefined alias", "this alias (*name) has no anchor (&name) before it; define it, or quote"),
    ("duplicate anchor", "this anchor (&name) is used twice; rename one"),
    ("scanning an alias", 'a `*` has a meaning of its own here; write it in quotes: "*"'),
    ("scanning an anchor", 'a `&` has a meaning of its own here; write it in quotes: "&"'),
    ("tab character", "a tab is used for indentation; use spaces"),
    ("mapping values are not allowed", _COLON),
    ("expected ':'", "a colon is missing after this key; write `key: value`"),
    ("cannot start any token", "a value cannot begin with this character; write it in quotes"),
    ("escape", _ESCAPE),
    ("chr() arg", _ESCAPE),
    ("tag", "tags (!name) are not allowed; remove it, or write the value in quotes"),
    ("',' or '}'", "a comma or the closing brace } is missing before this; add it"),
    ("',' or ']'", "a comma or the closing bracket ] is missing before this; add it"),
    ("block end", _INDENT),
    ("expected key", _INDENT),
)
_ELSE: Final = "this is not valid YAML; check indentation, colons, brackets and quotes"

_CONFLICT: Final = re.compile(r"(<{7}|={7}|>{7})( |$)")
_KEY: Final = r"\s*[\"']?[\w.-]+[\"']?"
# Lines that look like `key: value` and are none; the group is where the mistake is.
_SUSPECTS: Final = (
    (
        re.compile(rf"{_KEY}\s*(\uff1a)"),
        "this is a full-width colon; write a plain `:` and a space",
    ),
    (
        re.compile(rf"{_KEY}:([^\S \t\r\n])"),
        "this is no plain space, though it looks like one; type it anew",
    ),
    (re.compile(rf"{_KEY}:([^\s/\\:])"), "a space is missing after the colon; write `key: value`"),
    (re.compile(rf"{_KEY}\s*(=)"), "this is `=` where a colon belongs; write `key: value`"),
)
# A bracket that is opened, and closed in the line's comment only.
_COMMENT: Final = re.compile(
    r"""(?:"[^"]*"|'[^']*'|[^"'#])*?[{[](?:"[^"]*"|'[^']*'|[^"'#}\]])*(?<=[\s,{[])(#).*[}\]]"""
)
_COMMENTED: Final = (
    "this `#` begins a comment, and the closing bracket is in it; write the value in quotes"
)
_NEAR: Final = 20  # lines
_LONG: Final = 1000  # characters
_BARE: Final = re.compile(rf"{_KEY}()\s*$")


def nearly_a_mapping(line: str) -> tuple[int, str] | None:
    """Say why a line that was meant as ``key: value`` is none.

    Args:
        line: The line, or a text that stands in the place of a mapping.

    Returns:
        The index of the mistake, and what it is and what to do; None if it looks like none.
    """
    for pattern, text in _SUSPECTS:
        if found := pattern.match(line):
            return found.start(1), text
    return None


def explain(error: Exception, text: str) -> tuple[str, Place]:
    """Explain the parser's error.

    Args:
        error: The error of PyYAML, from whichever of its parsers.
        text: What was parsed.

    Returns:
        What is wrong and what to do, and where.
    """
    words = f"{getattr(error, 'context', '')} {getattr(error, 'problem', error)}"
    meaning = next((ours for theirs, ours in _SYNTAX if theirs in words), _ELSE)
    mark: Any = getattr(error, "problem_mark", None)
    opened = meaning.startswith(("a quote", "a colon"))
    mark = (opened and getattr(error, "context_mark", None)) or mark
    if mark is None:
        return meaning, START
    lines = LINE_BREAK.split(text)
    if "parsing a flow" in words and (found := _swallowed_bracket(lines, mark.line)):
        return found
    return _looked_at(lines, mark.line, meaning) or (meaning, Place(mark.line + 1, mark.column + 1))


def _swallowed_bracket(lines: list[str], index: int) -> tuple[str, Place] | None:
    """Look above a mistake in brackets for a comment that has swallowed the closing one."""
    for number in range(min(index, len(lines) - 1), max(index - _NEAR, -1), -1):
        line = lines[number]
        if len(line) <= _LONG and (found := _COMMENT.match(line)):
            return _COMMENTED, Place(number + 1, found.start(1) + 1)
    return None


def _looked_at(lines: list[str], index: int, meaning: str) -> tuple[str, Place] | None:
    """Look at the line of a mistake, and at the one above it, for a better explanation."""
    line = lines[index] if index < len(lines) else ""
    for number in (index, index - 1, index + 1):
        if 0 <= number < len(lines) and _CONFLICT.match(lines[number]):
            return "a merge conflict was left here; resolve it", Place(number + 1, 1)
    indent = line[: len(line) - len(line.lstrip())]
    if "\t" in indent:
        return "a tab is used for indentation; use spaces", Place(index + 1, indent.index("\t") + 1)
    if meaning is not _COLON:
        return None
    above = index - 1
    while above > 0 and not lines[above].split("#")[0].strip():
        above -= 1
    for number in (above, index):
        found = nearly_a_mapping(lines[number]) if number >= 0 else None
        if found:
            return found[1], Place(number + 1, found[0] + 1)
    bare = _BARE.match(lines[above]) if above >= 0 else None
    if bare:
        return "a colon is missing here; write `key:`", Place(above + 1, bare.start(1) + 1)
    return None
