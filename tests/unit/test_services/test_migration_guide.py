"""What the guide says of the old tables is what the tables say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from amas.providers.manager.host_rows import load_rows
from amas.services.legacy_core import load_table

GUIDE = (Path(__file__).parents[3] / "MIGRATION.md").read_text(encoding="utf-8")
SERVICES = ("llm_service", "universal_ai_manager", "ultimate_fallback_system")


def table_of(heading: str) -> str:
    """Return what stands below a heading of the tables."""
    return GUIDE.split(f"\n#### {heading}\n", 1)[1].split("\n#### ", 1)[0]


@pytest.mark.parametrize("service", SERVICES)
def test_each_row_of_an_old_table_is_told(service: str) -> None:
    """With its variable, address, model and the row that does the same now; and no other."""
    told = [line for line in table_of(service).splitlines() if line.startswith("| ")][1:]
    expected = []
    for pid, row in load_table(service).items():
        was = (row.was or {}).get("base_url")
        address = f"{row.base_url} (was {was})" if was else row.base_url
        key = f"`{row.env}`" if row.env else "none"
        expected.append(f"| {pid} | {key} | {address} | `{row.model}` | `{row.provider}` |")
    assert told == expected


def test_each_row_of_the_hosts_manager_is_told() -> None:
    """With its variable and the row that stands behind it now."""
    table = table_of("providers.manager")
    for row in load_rows().values():
        assert f"| {row.name} | `{row.env}` | `{row.provider}` |" in table


def test_every_bug_is_told() -> None:
    """B1 to B47, each in a table of what a caller can notice."""
    rows = re.findall(r"^\| ((?:B\d+(?:, )?)+) \|", GUIDE, re.MULTILINE)
    told = [int(number) for row in rows for number in re.findall(r"\d+", row)]
    assert told == list(range(1, 48))
