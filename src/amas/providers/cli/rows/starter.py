"""The text of a new configuration file. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Final

from ....config.json_schema import FILE_NAME
from ....config.yaml_edit import inline, key_text, scalar
from ...llm.catalog import CatalogEntry, load_catalog
from .planning import Plan

# Shown in a file for which nothing was found: one uncommented line each is enough.
_SUGGESTED: Final = ("openai", "anthropic", "gemini", "groq", "openrouter")

_HEAD: Final = (
    "# Language models, asked in the order of the rows below: the first one answers, and when it",
    "# cannot, the next one does. No key stands here: ${NAME} is the environment variable NAME, and",
    "# a row whose variable is not set is left out with a warning.",
    "#",
)
_COMMANDS: Final = (
    ("check -c FILE", "asks each of them for one word"),
    ("providers add NAME -c FILE", "adds another one"),
    ("providers catalog", "lists the known ones"),
    ("config explain", "tells every option"),
)


def starter_text(rows: Sequence[Plan], file: str, *, schema: bool = False) -> str:
    """Write a configuration.

    Args:
        rows: Its providers, first the one that is asked first.
        file: Name of the file, for the commands in its comments.
        schema: Whether the schema for editors lies beside it.

    Returns:
        YAML with comments; without rows, it has suggestions that are commented out.
    """
    lines = [f"# yaml-language-server: $schema={FILE_NAME}"] * schema
    lines += [*_HEAD, *_commands(_shell(file))]
    lines += ["providers:", "  manager:"]
    lines += ["    deadline: 120   # seconds for one call, all attempts together"]
    if len(rows) > 1:
        names = ", ".join(key_text(row.name) for row in rows)
        lines += [f"    # fallback_order: [{names}]   # if it is not to be that of the rows"]
    lines += ["", "  llm:"]
    for row in rows:
        lines += _row_lines(row)
    if not rows:
        catalog = load_catalog()
        lines += ["    # Uncomment what you have, and set its variable:"]
        lines += [_suggestion(catalog[name]) for name in _SUGGESTED]
        lines += [f"    # local: {{model: {scalar('llama3.1:8b')}}}   # Ollama on this machine"]
    return "\n".join(lines) + "\n"


def _commands(file: str) -> list[str]:
    written = [(command.replace("FILE", file), what) for command, what in _COMMANDS]
    width = max(len(command) for command, _ in written)
    return [f"#   amas-providers {command:{width}}   {what}" for command, what in written]


def _row_lines(row: Plan) -> list[str]:
    """Write one row, with what it is and where its key is to be had."""
    about = row.title + (f"; keys: {row.docs}" if row.docs and row.variable else "")
    return [
        f"    {key_text(row.name)}:   # {about}",
        *(f"      {field}: {inline(value)}" for field, value in row.fields.items()),
    ]


def _suggestion(entry: CatalogEntry) -> str:
    return f'    # {entry.name}: {{api_key: "${{{entry.env[0]}}}"}}   # keys: {entry.docs}'


def _shell(file: str) -> str:
    """Return a file name as a shell takes it, on one line of a comment."""
    return shlex.quote(file) if file.isprintable() else "FILE"
