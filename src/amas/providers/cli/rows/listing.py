"""`amas-providers providers catalog`: which providers are known, and what each needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ...errors import suggestion
from ...llm.catalog import CatalogEntry, catalog
from .. import output

_FEW: Final = 15


def catalog_command(search: str | None, *, as_json: bool) -> int:
    """List the providers of the catalogue, and LiteLLM's other prefixes.

    Args:
        search: Text that each one shown has in its name, title, a prefix, its model, what it needs,
            what it can do, or the address of its page.
        as_json: Whether to print JSON: one object with ``providers`` and ``others``.

    Returns:
        The exit code: 1 if nothing fits the search.
    """
    text = (search or "").strip().casefold()
    entries = [each for each in catalog().entries.values() if _fits(each, text)]
    others = sorted(name for name in catalog().others if text in name)
    if as_json:
        rows = [as_row(entry) for entry in entries]
        output.answer_json({"providers": rows, "others": others})
    elif entries:
        _draw(entries, others)
    elif others:
        output.answer(_also(others))
    if not entries and not others:
        known = [*catalog().prefixes, *catalog().others]
        output.say(
            f"nothing fits{suggestion(text, known)}; names, models, key variables, needs and"
            " capabilities are searched, and what a model costs is not among them; any"
            " OpenAI-compatible server works by its address: amas-providers providers add NAME"
            " --base-url URL"
        )
        return 1
    return 0


def _draw(entries: Sequence[CatalogEntry], others: Sequence[str]) -> None:
    """Draw the table; the pages with keys have room in a short one."""
    columns = ["name", "title", "key variable", "default model", "needs"]
    if few := len(entries) <= _FEW:
        columns.append("get a key")
    rows = [_cells(entry)[: len(columns)] for entry in entries]
    notes = [*_detours(entries), *([_also(others)] if others else [])]
    if not few:
        notes.insert(0, "Where to get a key: --search NAME")
    with output.live_page(live=False) as show:
        show(output.Page(f"Known providers: {len(entries)}", columns, rows, notes))


def _detours(entries: Sequence[CatalogEntry]) -> list[str]:
    """Say whose calls take LiteLLM's own way, and why; those of all others are direct."""
    told = [f"{entry.name} ({entry.detour})" for entry in entries if entry.detour]
    return [f"Through LiteLLM, where others are direct: {', '.join(told)}"] if told else []


def _also(others: Sequence[str]) -> str:
    return f"Also, by LiteLLM's own name: {', '.join(others)}"


def _cells(entry: CatalogEntry) -> list[str]:
    variable = next(iter(entry.env), "")
    model, docs = entry.default_model or "", entry.docs or ""
    return [entry.name, entry.title, variable, model, needs(entry), docs]


def as_row(entry: CatalogEntry) -> dict[str, Any]:
    """Return what people and programs want to know of a provider."""
    return {
        "name": entry.name,
        "title": entry.title,
        "env": list(entry.env),
        "default_model": entry.default_model,
        "key": entry.key,
        "local": entry.local,
        "base_url": entry.base_url,
        "prefixes": list(entry.prefixes),
        "docs": entry.docs,
        "detour": entry.detour,
    }


def needs(entry: CatalogEntry) -> str:
    """Say what a row has to have: a key, an address, a model; or that it runs here."""
    parts = [
        "key" if entry.key == "required" else "",
        "" if entry.base_url else "address",
        "" if entry.default_model else "model",
        "a server here" if entry.local else "",
    ]
    return ", ".join(part for part in parts if part) or "nothing"


def _fits(entry: CatalogEntry, text: str) -> bool:
    words = (entry.name, entry.title, *entry.prefixes, entry.litellm_provider, *entry.env)
    more = (entry.default_model or "", *entry.capabilities, needs(entry), "local" * entry.local)
    return any(text in word.casefold() for word in (*words, *more, entry.docs or ""))
