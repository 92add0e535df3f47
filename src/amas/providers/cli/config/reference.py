"""``config reference``: the generated parts of the README, in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ....config.field_reference import FieldEntry, all_fields
from ...llm.catalog import CatalogEntry, load_catalog
from .. import output
from .parts import Part


def reference_command(part: Part) -> int:
    """Print a part of the README."""
    output.answer("\n".join(markdown(part)))
    return 0


def markdown(part: Part) -> Iterator[str]:
    """Yield the lines of a part, which the README has between its marks.

    Args:
        part: Which.
    """
    yield f"<!-- generated: {part} -->"
    if part is Part.PROVIDERS:
        rows = load_catalog()
        yield from _folded(f"The {len(rows)} known providers", _providers(rows.values()))
    else:
        fields = all_fields()
        yield from _folded(f"The {len(fields)} fields of a configuration", _fields(fields))
    yield "<!-- /generated -->"


def _folded(summary: str, lines: Iterable[str]) -> Iterator[str]:
    yield "<details>"
    yield f"<summary>{summary}</summary>"
    yield ""
    yield from lines
    yield ""
    yield "</details>"


def _providers(rows: Iterable[CatalogEntry]) -> Iterator[str]:
    yield "| name | service | key variable | default model | calls go |"
    yield "|---|---|---|---|---|"
    for row in rows:
        key = _code(row.env[0]) if row.env else ""
        if row.key != "required":
            key = f"{key} (optional)" if key else "none"
        way = f"by LiteLLM: {row.detour}" if row.detour else "direct"
        yield _row(_code(row.name), row.title, key, _code(row.default_model or ""), way)


def _fields(entries: Iterable[FieldEntry]) -> Iterator[str]:
    yield "| field, below `providers:` | what it means | takes | default | example |"
    yield "|---|---|---|---|---|"
    for entry in entries:
        path, default, example = ".".join(entry.path), entry.default, entry.example
        yield _row(_code(path), entry.description, entry.kind, default, _code(example))


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _code(text: str) -> str:
    return f"`{text}`" if text else ""
