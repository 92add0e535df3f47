"""What the old modules knew of providers: their tables, read as data.

The tables lie beside the drop-ins of the old modules, which are a layer of their own: the file
is found by its path, and nothing there is imported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError

from ...errors import ProviderConfigError
from ...manager.host_rows import load_rows

TABLES: Final = Path(__file__).parents[3] / "services" / "legacy_defaults.yaml"

FILED: Final = ("llm_service", "universal_ai_manager", "ultimate_fallback_system")
"""The old modules whose tables the file has."""

SOURCES: Final = (*FILED, "manager")
"""All old modules, in the order in which they are trusted to know what a variable means."""


class Row(BaseModel):
    """A provider as an old module knew it; the heads of the two files say what the fields mean."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    source: str
    pid: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    name: str
    env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    base_url: str | None = None
    model: str | None = None
    priority: int = 0
    provider: str | None = None
    max_tokens: PositiveInt | None = None
    timeout: PositiveFloat | None = None
    base_url_env: str | None = None
    model_env: str | None = None
    send_key: bool = True
    was: Mapping[str, Any] = Field(default_factory=dict)


def read_tables(path: Path = TABLES) -> dict[str, Sequence[Row]]:
    """Return the rows of each old module, most wanted first.

    Args:
        path: The file of the tables.

    Raises:
        ProviderConfigError: The file is missing or damaged.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ProviderConfigError(
            f"the tables of the old modules cannot be read: {path}: {error.strerror}"
        ) from None
    except (yaml.YAMLError, UnicodeError):
        raise ProviderConfigError(
            f"the tables of the old modules are damaged: {path} is not YAML"
        ) from None
    if not isinstance(document, dict):
        raise ProviderConfigError(f"the tables of the old modules are damaged: {path} has no table")
    tables = {source: _table(source, document.get(source, {}), path) for source in FILED}
    return {**tables, "manager": _of_host()}


def _table(source: str, table: object, path: Path) -> Sequence[Row]:
    if not isinstance(table, Mapping) or not all(
        isinstance(row, Mapping) for row in table.values()
    ):
        raise ProviderConfigError(f"{path}: {source} must map names to rows")
    try:
        rows = [
            Row.model_validate({**row, "source": source, "pid": pid}) for pid, row in table.items()
        ]
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        why = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise ProviderConfigError(f"{path}: {source} is damaged: {why}") from None
    return sorted(rows, key=lambda row: row.priority)


def _of_host() -> Sequence[Row]:
    """Return the rows of the host's providers.manager, which are data of our manager's."""
    return [
        Row(
            source="manager", pid=row.provider, name=row.name, env=row.env, model=row.model,
            priority=row.priority, provider=row.provider, base_url_env=row.base_url_env,
            model_env=row.model_env, send_key=row.send_key,
        )
        for row in load_rows().values()
    ]  # fmt: skip
