"""The command `list`: every credential, how it is kept and how old it is; never the credential."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path as FilePath
from typing import Any

from ....config.document import address
from ...secret import scrub
from .. import output
from .editing import read_inventory
from .inventory import Entry, Inventory

_COLUMNS = ("provider", "field", "kept", "fingerprint", "age", "master key", "mark")
_DAY = 86_400
_ROW = 2  # parts of the path of a provider's row


def list_command(config: FilePath, *, as_json: bool) -> int:
    """Show the credentials of a configuration.

    Args:
        config: The configuration file.
        as_json: Whether to print JSON.

    Returns:
        The exit code: 1 if one of them is not to be had.
    """
    inventory = read_inventory(config)
    rows = [_row(entry, inventory) for entry in inventory.effective]
    masters = [master.id for master in inventory.masters]
    for warning in inventory.warnings:
        output.say(f"warning: {warning}")
    if as_json:
        output.answer_json({"master_keys": masters, "keys": rows})
    else:
        now = time.time()
        output.table(f"Keys of {config}", _COLUMNS, [_cells(row, now) for row in rows])
    if any(entry.kept == "broken" for entry in inventory.effective):
        output.say("what is broken here is no key; `amas-providers check` tells more")
    said = f"{masters[0]} seals" if masters else "none"
    if masters[1:]:
        said += f"; {', '.join(masters[1:])} also open"
    output.say(f"master keys: {said}")
    return 1 if any(entry.why for entry in inventory.effective) else 0


def _row(entry: Entry, inventory: Inventory) -> dict[str, Any]:
    ours = entry.path[0] == "llm" and len(entry.path) > 1
    provider = scrub(str(entry.path[1])) if ours else None
    before = address(entry.path[:2] if ours else ()) + "."
    field = None if ours and len(entry.path) == _ROW else address(entry.path).removeprefix(before)
    known = entry.value is not None and inventory.masters
    return {
        "provider": provider,
        "field": field and scrub(field),
        "kept": entry.kept,
        "fingerprint": inventory.masters[0].fingerprint(entry.value)
        if entry.value is not None and known
        else None,
        "created": datetime.fromtimestamp(entry.created, UTC).isoformat()
        if entry.created is not None and entry.why is None
        else None,
        "master_key": entry.master,
        "where": entry.where,
        "mark": scrub(entry.why or _mark(entry)),
    }


def _mark(entry: Entry) -> str:
    match entry.kept:
        case "none":
            return "no key"
        case "enc":
            return "opens"
        case "plain text":
            return "readable to whoever reads the file; run `amas-providers keys encrypt`"
        case _:
            return "found"


def _cells(row: Mapping[str, Any], now: float) -> list[str]:
    created = row["created"]
    age = now - datetime.fromisoformat(created).timestamp() if created else None
    return [
        row["provider"] or "-",
        row["field"] or "-",
        row["kept"],
        row["fingerprint"] or "-",
        "-" if age is None else f"{max(age, 0) / _DAY:.0f} d",
        row["master_key"] or "-",
        f"{row['mark']} (in {row['where']})" if row["where"] else row["mark"],
    ]
