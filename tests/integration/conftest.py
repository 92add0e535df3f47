"""What the tests of the direct way have found, in a table at the end of their run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from amas.providers.llm.catalog import CatalogEntry, load_catalog
from amas.providers.llm.way import installed_litellm

FOUND = ("direct_requests", "direct_faults")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Tell by provider which way its calls take, where that has been tested."""
    found: dict[str, dict[str, Any]] = {name: {} for name in FOUND}
    for report in (item for items in terminalreporter.stats.values() for item in items):
        for name, value in getattr(report, "user_properties", ()):
            if name in found:
                found[name][value["provider"]] = value
    if not any(found.values()):
        return
    terminalreporter.section(f"the direct way against LiteLLM {installed_litellm()}")
    for line in _table(found):
        terminalreporter.write_line(line)


def _table(found: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield f"{'provider':<20} {'requests equal':>14} {'faults equal':>14}  way"
    for entry in load_catalog().values():
        parts = [found[name].get(entry.name) for name in FOUND]
        if any(parts) or entry.detour is not None:
            equal = " ".join(f"{_equal(part):>14}" for part in parts)
            yield f"{entry.name:<20} {equal}  {_way(entry, parts)}"


def _equal(part: Mapping[str, Any] | None) -> str:
    return f"{part['cases'] - part['different']} of {part['cases']}" if part else "-"


def _way(entry: CatalogEntry, parts: list[Mapping[str, Any] | None]) -> str:
    if entry.detour is not None:
        return f"litellm: {entry.detour}"
    told = [part for part in parts if part]
    by_litellm = ", ".join(item for part in told for item in part.get("by_litellm", ()))
    way = "DIFFERENT" if any(part["different"] for part in told) else "direct"
    return f"{way}, but litellm for: {by_litellm}" if by_litellm else way
