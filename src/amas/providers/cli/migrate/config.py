"""`amas-providers migrate config`: a ``providers:`` section from the present environment."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from ....config.document import printable
from ...errors import ProviderConfigError
from ...llm.catalog import CatalogEntry, lookup
from ...manager.discovery import read_configuration
from .. import output
from .legacy_tables import SOURCES, TABLES, Row, read_tables

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*|https?://[A-Za-z0-9_./-]+(:[0-9]+)?[A-Za-z0-9_./-]*")
_WORDS = re.compile(r"(?i)(?:true|false|yes|no|on|off|null|none|y|n)")

# Keys of OpenRouter say so themselves.
_AGGREGATOR_KEY = "sk-or-"


@dataclass(slots=True)
class Entry:
    """A provider to be written.

    Args:
        name: Its name.
        row: What the old module knew of it.
        sources: The old modules that sent its variable there.
        remarks: Lines of comment above it.
        enabled: Whether it takes part.
    """

    name: str
    row: Row
    sources: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    enabled: bool = True


def config_command(source: str, file: Path | None, *, force: bool) -> int:
    """Write the section, and check it.

    Returns:
        The exit code: 0 when written, 2 if it cannot be.
    """
    try:
        text = section(source, os.environ, TABLES)
        settings, _ = read_configuration(yaml.safe_load(text))
    except ProviderConfigError as error:
        for problem in error.problems:
            output.say(problem)
        return 2
    if file is None:
        output.answer(text, end="")
    elif why := _written(file, text, force=force):
        output.say(f"{printable(str(file))}: {why}")
        return 2
    for warning in settings.warnings:
        output.say(f"warning: {warning}")
    enabled = [name for name, row in settings.llm.items() if row.enabled]
    of = "any old module" if source == "all" else source
    output.say(
        f"{len(enabled)} providers enabled, {len(settings.llm) - len(enabled)} disabled"
        if settings.llm
        else f"no variable of {of} is set, so there is no provider in it"
    )
    if file is not None:
        output.say(f"next: amas-providers check --free --config {printable(str(file))}")
    return 0


def _written(file: Path, text: str, *, force: bool) -> str | None:
    """Write the file; return what stands in the way."""
    try:
        with file.open("w" if force else "x", encoding="utf-8") as target:
            target.write(text)
    except FileExistsError:
        return "there is such a file already; --force overwrites it"
    except OSError as error:
        return error.strerror or "cannot be written"
    except ValueError:
        return "this is no possible path"
    return None


def section(source: str, environ: Mapping[str, str], tables: Path = TABLES) -> str:
    """Return the section as YAML with comments; it has references to keys, and no key.

    Args:
        source: The old module, or ``all``.
        environ: The environment's variables.
        tables: The file of the old tables.

    Raises:
        ProviderConfigError: The tables cannot be read.
    """
    known = read_tables(tables)
    wanted = SOURCES if source == "all" else (source,)
    rows = [row for one in wanted for row in known[one] if _is_set(row, environ)]
    entries = list(_entries(rows, environ))
    lines = [
        f"# Written by `amas-providers migrate config --from {source}`, from the variables that are set.",
        "# Keys stay where they are: ${NAME} is read from the environment when this file is loaded.",
        "providers:",
    ]
    if source in {"universal_ai_manager", "ultimate_fallback_system"}:
        lines += ["  manager:", "    strategy: intelligent    # as that module chose by default"]
    lines.append("  llm:" if entries else "  llm: {}")
    for number, entry in enumerate(entries):
        lines += [""] if number else []
        lines += _lines(entry, environ)
    lines += _left_over(rows, environ)
    return "\n".join(lines) + "\n"


def _is_set(row: Row, environ: Mapping[str, str]) -> bool:
    return row.env is None or bool(environ.get(row.env, "").strip())


def _entries(rows: Sequence[Row], environ: Mapping[str, str]) -> Iterator[Entry]:
    """Make one entry for each variable and upstream; those that need no key come last."""
    by_variable: dict[str, list[Row]] = {}
    for row in rows:
        by_variable.setdefault(row.env or "", []).append(row)
    keyless = by_variable.pop("", [])
    taken: set[str] = set()
    for variable, same in by_variable.items():
        for entry in _of_variable(variable, same, environ):
            entry.name = _free(entry, taken)
            yield entry
    for row in keyless:
        entry = Entry(row.pid, row, remarks=[_title(row)])
        entry.name = _free(entry, taken)
        yield entry


def _free(entry: Entry, taken: set[str]) -> str:
    """Find a name that no other entry has."""
    row = entry.row
    after = row.provider if row.provider and row.provider != row.pid else row.source
    names = (row.pid, f"{row.pid}_{after}", *(f"{row.pid}_{number}" for number in range(2, 99)))
    name = next(name for name in names if name not in taken)
    taken.add(name)
    return name


def _of_variable(variable: str, rows: Sequence[Row], environ: Mapping[str, str]) -> list[Entry]:
    """Make the entries of one variable: as many as it has upstreams, and one of them enabled."""
    entries: dict[str, Entry] = {}
    for row in rows:
        entry = entries.setdefault(_host(row), Entry(row.pid, row, remarks=[_title(row)]))
        entry.sources.append(row.source)
        if row.model and entry.row.model not in {row.model, None}:
            entry.remarks.append(f"{row.source} asked for its model {row.model}")
    found = list(entries.values())
    if len(found) == 1:
        return found
    chosen = _meant(found, environ[variable])
    for entry in found:
        entry.enabled = entry is chosen
        others = ", ".join(
            f"{' and '.join(one.sources)} sent it to {_host(one.row)}"
            for one in found
            if one is not entry
        )
        entry.remarks.append(f"{variable} is one key, but {others}.")
        entry.remarks.append(
            f"Enabled, since {_why(environ[variable], entry)}."
            if entry.enabled
            else "Disabled: enable it instead of the other one if that is whose key it is."
        )
    return found


def _meant(entries: Sequence[Entry], key: str) -> Entry:
    """Choose the upstream that a key is most likely for."""
    of_aggregator = key.strip().startswith(_AGGREGATOR_KEY)
    for entry in entries:
        known = _known(entry.row)
        if known is not None and known.aggregator == of_aggregator:
            return entry
    return entries[0]


def _why(key: str, entry: Entry) -> str:
    if key.strip().startswith(_AGGREGATOR_KEY):
        return "the key begins as OpenRouter's do"
    known = _known(entry.row)
    return f"the name is that of a key of {known.title if known else entry.row.name}"


def _known(row: Row) -> CatalogEntry | None:
    return lookup(row.provider or row.pid)


def _host(row: Row) -> str:
    known = _known(row)
    address = row.base_url or (known.base_url if known else None) or ""
    return urlsplit(address).hostname or row.pid


def _title(row: Row) -> str:
    text = f"{row.name}, as {row.source} had it"
    if was := row.was.get("base_url"):
        text += f"; its address there was {was}"
    return text


# --- as YAML ------------------------------------------------------------------------------------


def _lines(entry: Entry, environ: Mapping[str, str]) -> Iterator[str]:
    row, known = entry.row, _known(entry.row)
    settings = dict(_settings(row, environ))
    defaults = {
        "base_url": known.base_url if known else None,
        "model": known.default_model if known else None,
    }
    missing = [name for name, default in defaults.items() if not (name in settings or default)]
    if missing:
        entry.enabled = False
        entry.remarks.append(f"Disabled: nothing says its {' and '.join(missing)}; add it.")
    for remark in entry.remarks:
        yield f"    # {printable(remark)}"
    yield f"    {_scalar(entry.name)}:"
    if not entry.enabled:
        yield "      enabled: false"
    yield f"      provider: {_scalar(row.provider or (known.name if known else 'openai'))}"
    for name, value in settings.items():
        yield f"      {name}: {value}"


def _settings(row: Row, environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Give out what a row sets, in the order in which people write it, and as YAML."""
    address = environ.get(row.base_url_env or "", "").strip()
    if row.env and (row.send_key or address.lower().startswith("https://")):
        yield "api_key", f'"${{{row.env}}}"'
    own = {} if row.env else _of_ollama(environ)
    for name, variable, value in (
        ("base_url", row.base_url_env, row.base_url and _scalar(row.base_url)),
        ("model", row.model_env, row.model and _scalar(row.model)),
        ("timeout", None, row.timeout and f"{row.timeout:g}"),
    ):
        if variable and environ.get(variable, "").strip():
            yield name, f'"${{{variable}}}"'
        elif given := own.get(name) or value:
            yield name, given
    if row.max_tokens:
        yield "params", f"{{max_tokens: {row.max_tokens}}}"


def _of_ollama(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of the local model that variables of the host make."""
    own: dict[str, str] = {}
    if environ.get("AMAS_LLM_HOST") or environ.get("AMAS_LLM_PORT"):
        own["base_url"] = '"http://${AMAS_LLM_HOST:-localhost}:${AMAS_LLM_PORT:-11434}"'
    # With the defaults of the host's settings, so that the row also works where they are not set.
    for name, default in (("model", "llama3.1:70b"), ("timeout", "300")):
        if environ.get(f"AMAS_LLM_{name.upper()}", "").strip():
            own[name] = f'"${{AMAS_LLM_{name.upper()}:-{default}}}"'
    return own


def _left_over(rows: Sequence[Row], environ: Mapping[str, str]) -> Iterator[str]:
    """Name the variables of the old settings that are set, and that no provider ever read."""
    used = {row.env for row in rows}
    names = sorted(
        name
        for name, value in environ.items()
        if re.fullmatch(r"AI_[A-Z0-9_]+_API_KEY", name) and value.strip() and name[3:] not in used
    )
    if names:
        yield ""
        yield "# Set as well, for config.settings, but never read by a provider:"
        yield f"# {', '.join(names)}"


def _scalar(text: str) -> str:
    """Write a text so that YAML reads it as that text."""
    if _PLAIN.fullmatch(text) and not _WORDS.fullmatch(text):
        return text
    return json.dumps(text, ensure_ascii=False)
