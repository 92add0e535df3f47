"""`amas-providers init`: a configuration that works, from what is there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Final

from ....config.json_schema import FILE_NAME, schema_text
from ...errors import ProviderConfigError, suggestion
from ...llm.catalog import by_prefix, load_catalog
from .. import output
from ..keys.asking import refuse_keys
from ..keys.files import edit_file, new_file
from .asking import agree, ask, at_terminal
from .finding import find_rows
from .loading import require_sound, row_of
from .models import find_model
from .planning import Plan, Wish, plan
from .starter import starter_text

_KNOWN_BEST: Final = ("openai", "anthropic", "gemini", "groq", "mistral", "openrouter")


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How a file is made.

    Args:
        yes: Whether nothing is asked.
        force: Whether a file that is there is replaced.
        schema: Whether the schema for editors is written beside it.
    """

    yes: bool
    force: bool
    schema: bool


def init_command(file: FilePath, wishes: Sequence[Wish], how: How) -> int:
    """Write a new configuration file.

    Args:
        file: Its path.
        wishes: The providers that it is to have; what is found and asked, if none.
        how: How it is made.

    Returns:
        The exit code.
    """
    if file.name == FILE_NAME:
        raise ProviderConfigError(
            f"{file}: this is the name of the schema for editors; choose another one, such as"
            " providers.yaml"
        )
    if file.exists() and not how.force:
        raise ProviderConfigError(
            f"{file}: there is such a file already; add to it with `amas-providers providers add"
            f" NAME -c {file}`, or replace it with --force"
        )
    rows = [_complete(plan(wish, os.environ)) for wish in wishes]
    if not wishes:
        rows = find_rows(os.environ)
        for row in rows:
            output.say(f"Found: {_summary(row)}")
        if not how.yes and at_terminal():
            rows = _asked(rows)
    if twice := {row.name for row in rows if [each.name for each in rows].count(row.name) > 1}:
        raise ProviderConfigError(f"{', '.join(sorted(twice))}: named twice; name it once")
    for row in rows:
        row_of(row)
    content = starter_text(rows, str(file), schema=how.schema).encode()
    _put(file, require_sound(str(file), content), replaced=how.force)
    schema = f", and {_put_schema(file, force=how.force)}" if how.schema else ""
    output.say(f"{file}{schema}: written")
    _next_steps(file, rows)
    return 0


def _complete(planned: Plan) -> Plan:
    return find_model(planned, row_of) if planned.lacks_model else planned


def _asked(rows: list[Plan]) -> list[Plan]:
    """Let the person at the terminal leave out what was found, and add what was not."""
    kept = [row for row in rows if agree(f"Use {row.name}?")]
    output.say(
        "Another provider? A name such as "
        + ", ".join(_KNOWN_BEST)
        + " (`amas-providers providers catalog` has all), or one of your own for an"
        " OpenAI-compatible server; nothing to go on."
    )
    while name := ask("Provider"):
        try:
            refuse_keys([name])
            row = _with_model(plan(_wished(name), os.environ))
            refuse_keys(map(str, row.fields.values()))
            row_of(row)
        except ProviderConfigError as error:
            for problem in error.problems:
                output.say(problem)
            continue
        kept = [each for each in kept if each.name != row.name] + [row]
        output.say(f"Added: {_summary(row)}")
    return kept


def _wished(name: str) -> Wish:
    wish = Wish(name=name)
    entry = by_prefix(name)
    if entry is not None and entry.base_url is not None:
        return wish
    if entry is None:
        near = suggestion(name, load_catalog())
        output.say(f"No provider of that name is known{near}; is it a server of your own?")
    address = ask("Its address, such as http://localhost:8000/v1")
    return replace(wish, base_url=address or None)


def _with_model(row: Plan) -> Plan:
    if not row.lacks_model:
        model = ask("Model", default=str(row.fields["model"]))
        return row.with_model(model)
    model = ask("Model; nothing to ask its server for its models")
    return row.with_model(model) if model else _complete(row)


def _put(file: FilePath, content: bytes, *, replaced: bool) -> None:
    if replaced and file.exists():
        edit_file(str(file), lambda _: content)
    else:
        new_file(str(file), content)


def _put_schema(file: FilePath, *, force: bool) -> str:
    """Write the schema for editors beside the file, unless somebody's own is there."""
    beside = file.parent / FILE_NAME
    content = schema_text().encode()
    if not beside.exists() or force:
        _put(beside, content, replaced=force)
    elif beside.read_bytes() != content:
        return f"{beside} (kept as it was; --force renews it)"
    return f"{beside} for editors"


def _next_steps(file: FilePath, rows: Sequence[Plan]) -> None:
    missing = [
        row.variable
        for row in rows
        if row.variable and not os.environ.get(row.variable, "").strip()
    ]
    if not rows:
        variables = ", ".join(load_catalog()[name].env[0] for name in _KNOWN_BEST)
        output.say(
            "No key was found in the environment, and no Ollama answers, so no provider is enabled"
            f" yet.\nDo one of these:"
            f"\n  uncomment a line in {file}, and export its variable"
            f"\n  export a key first ({variables}, …), then: amas-providers init --force {file}"
            f"\n  amas-providers providers add NAME -c {file}"
        )
        return
    for variable in dict.fromkeys(missing):
        output.say(f"Not set yet: export {variable}=…")
    output.say(
        "Next:"
        f"\n  amas-providers check --free -c {file}"
        f'\n  amas-providers generate -c {file} "hello"'
    )


def _summary(row: Plan) -> str:
    key = f", key in {row.variable}" if row.variable else ""
    return f"{row.name} ({row.title}), model {row.fields.get('model')}{key}"
