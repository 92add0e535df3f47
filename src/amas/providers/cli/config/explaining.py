"""``config explain``: what a field means, what it takes, and where it stands."""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Iterator, Sequence

from ....config.field_reference import ANY, FieldEntry, all_fields
from ....config.references import MASTER_KEY_PLACE
from ...errors import ProviderConfigError
from .. import output

_WIDTH = 80
_KEY_WIDTH = 24
_REFERENCES = "Instead of a value: ${VAR} or ${VAR:-default}"
_SECRET_REFERENCES = f"{_REFERENCES}; also file:, keyring: and enc:"


def explain_command(field: str | None) -> int:
    """Explain a field, list those that a short name can mean, or list all.

    Args:
        field: Its path or the end of it, such as ``llm.openai.timeout`` or ``timeout``.

    Returns:
        The exit code.

    Raises:
        ProviderConfigError: There is no such field.
    """
    entries = all_fields()
    for line in _listing(entries) if field is None else _answer(field, entries):
        output.answer(line)
    return 0


def _answer(field: str, entries: Sequence[FieldEntry]) -> Iterator[str]:
    asked = tuple(field.strip().removeprefix("providers.").removesuffix(":").split("."))
    found = [entry for entry in entries if _fits(asked, entry.path)]
    row = [entry for entry in entries if _fits(asked, entry.path[:-1])]
    free = [
        entry for entry in entries if entry.free and _fits(asked[: len(entry.path)], entry.path)
    ]
    if found or row:
        return _one(found[0], row) if found else _section(asked, row)
    if free:
        return _below_free(asked, free[0])
    ends = [entry for entry in entries if _fits(asked, entry.path[-len(asked) :])]
    if not ends:
        raise ProviderConfigError(_unknown(field, asked, entries))
    if len(ends) == 1:
        return _one(ends[0], [entry for entry in entries if entry.path[:-1] == ends[0].path])
    return _several(field, ends)


def _fits(asked: Sequence[str], path: Sequence[str]) -> bool:
    return len(asked) == len(path) and all(
        part in {ANY, name} for name, part in zip(asked, path, strict=True)
    )


def _one(entry: FieldEntry, below: Sequence[FieldEntry]) -> Iterator[str]:
    yield f"{entry.name}: {entry.title}"
    yield ""
    yield from textwrap.wrap(entry.description, _WIDTH)
    yield ""
    yield from _fact("takes", entry.kind)
    yield from _fact("default", entry.default)
    yield from _fact("example", entry.example)
    if not entry.kind.startswith(("a section", "a mapping")):
        yield from _fact("", _SECRET_REFERENCES if _is_secret(entry) else _REFERENCES)
    yield ""
    yield "In the file:"
    yield from (f"  {line}" for line in entry.lines())
    if below:
        yield ""
        yield "Its fields:"
        yield from _rows(below)


def _is_secret(entry: FieldEntry) -> bool:
    return entry.name == MASTER_KEY_PLACE or entry.path[-1] in {
        *("api_key", "api_keys", "proxy", "webhook", "options")
    }


def _section(asked: Sequence[str], below: Sequence[FieldEntry]) -> Iterator[str]:
    yield f"providers.{'.'.join(asked)}: a name of your choice, with these fields:"
    yield ""
    yield from _rows(below)


def _below_free(asked: Sequence[str], entry: FieldEntry) -> Iterator[str]:
    yield f"providers.{'.'.join(asked)} is not ours to explain: it is passed on. What is above it:"
    yield ""
    yield from _one(entry, ())


def _several(field: str, entries: Sequence[FieldEntry]) -> Iterator[str]:
    yield f"{field} is the name of {len(entries)} fields; ask for one:"
    yield ""
    for entry in entries:
        yield f"  {entry.name}"
        yield from textwrap.wrap(
            entry.description, _WIDTH, initial_indent="    ", subsequent_indent="    "
        )


def _unknown(field: str, asked: Sequence[str], entries: Sequence[FieldEntry]) -> str:
    paths = [".".join(entry.path) for entry in entries]
    names = list(dict.fromkeys(entry.path[-1] for entry in entries))
    near = difflib.get_close_matches(".".join(asked), paths, n=1) or difflib.get_close_matches(
        asked[-1], names, n=1
    )
    hint = f"did you mean {near[0]}?" if near else "`amas-providers config explain` lists all"
    return f"there is no field {field!r}; {hint}"


def _listing(entries: Sequence[FieldEntry]) -> Iterator[str]:
    """Yield all fields, by the section they stand in."""
    homes = dict.fromkeys(entry.path[:-1] for entry in entries)
    for home in homes:
        yield f"{'.'.join(('providers', *home))}:"
        yield from _rows([entry for entry in entries if entry.path[:-1] == home])
        yield ""
    yield "More about one: amas-providers config explain FIELD"


def _rows(entries: Sequence[FieldEntry]) -> Iterator[str]:
    for entry in entries:
        yield from _row(entry.path[-1], entry.description, _KEY_WIDTH)


def _fact(name: str, text: str) -> Iterator[str]:
    yield from _row(name, text, 9)


def _row(name: str, text: str, width: int) -> Iterator[str]:
    head = f"  {name:<{width}} "
    yield from textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=head,
        subsequent_indent=" " * (width + 3),
        break_long_words=False,
        break_on_hyphens=False,
    )
