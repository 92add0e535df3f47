"""The configurations that are shipped to be copied."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ruamel.yaml import YAML

from amas.config.json_schema import FILE_NAME, document_schema
from amas.config.yaml_source import read_yaml
from amas.providers.manager.discovery import read_configuration
from amas.providers.security.master_key import generate

ROOT = Path(__file__).parents[3]
FILES = sorted((ROOT / "configs").glob("*.yaml"))
EACH_FILE = pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(:-[^}]*)?\}")
# What a variable must look like, by the end of its name; any other is a key.
SHAPES = {
    "_MASTER_KEY": generate().get_secret_value(),
    "_SERVICE_ACCOUNT_JSON": json.dumps(
        {"type": "service_account", **dict.fromkeys(("client_email", "private_key"), "some")}
    ),
    "_WEBHOOK": "https://hooks.example.com/x",
    "REDIS_URL": "redis://redis:6379/0",
    "_URL": "http://localhost:8000/v1",
    "_ENDPOINT": "https://example.openai.azure.com",
}


def value_of(name: str) -> str:
    """Return what a variable may hold."""
    return next((shape for end, shape in SHAPES.items() if name.endswith(end)), f"key-of-{name}")


def variables(data: Any) -> list[tuple[str, bool]]:
    """Return the variables that data names, and whether it can do without."""
    text = yaml.safe_dump(data, allow_unicode=True, width=10_000)
    return [(name, bool(default)) for name, default in VARIABLE.findall(text)]


def test_there_is_a_file_for_each_occasion() -> None:
    """The files that README speaks of are there."""
    names = {path.stem for path in FILES}
    assert {"amas_config", "minimal", "openai-compatible", "free-tier", "high-availability"} < names


@EACH_FILE
def test_editors_find_the_schema_by_the_first_line_and_the_file_fits_it(path: Path) -> None:
    """It fits as our loader reads it, and as editors do by YAML 1.2."""
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first == f"# yaml-language-server: $schema={FILE_NAME}"
    validator = jsonschema.Draft7Validator(document_schema())
    validator.validate({"providers": read_yaml(path).data})
    validator.validate(YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8")))


@EACH_FILE
def test_with_its_variables_every_provider_is_ready(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is warned about once the variables it names are set."""
    for name, _ in variables(read_yaml(path).data):
        monkeypatch.setenv(name, value_of(name))
    settings, providers = read_configuration(path)
    assert settings.warnings == ()
    assert providers
    assert all(provider.config.enabled for provider in providers)


@EACH_FILE
def test_without_its_variables_there_are_only_warnings(path: Path) -> None:
    """It loads, and each row that cannot do without one is disabled, and says what to set."""
    settings, _ = read_configuration(path)
    rows = read_yaml(path).data["llm"]
    needy = {name for name, row in rows.items() if any(not opt for _, opt in variables(row))}
    assert settings.disabled.keys() == needy
    assert all("is not set; set it, or remove" in why for why in settings.disabled.values())
    assert len(settings.warnings) >= len(needy)


def test_the_free_models_are_those_of_the_old_fallback_system() -> None:
    """Ids, names and order are the old ones; one key serves all."""
    legacy = yaml.safe_load((ROOT / "src/amas/services/legacy_defaults.yaml").read_text())
    expected = {
        name: row["model"]
        for name, row in legacy["ultimate_fallback_system"].items()
        if row["model"].endswith(":free")
    }
    rows = read_yaml(ROOT / "configs" / "free-tier.yaml").data["llm"]
    assert [(name, row["model"]) for name, row in rows.items()] == list(expected.items())
    assert {row["api_key"] for row in rows.values()} == {"${OPENROUTER_API_KEY}"}


def test_no_key_stands_in_a_shipped_file() -> None:
    """What looks like one is a reference, or says that there is none."""
    for path in FILES:
        rows = (read_yaml(path).data.get("llm") or {}).values()
        keys = [
            key for row in rows if row for key in (row.get("api_key"), *row.get("api_keys", ()))
        ]
        assert all(key is None or key == "none" or key.startswith("${") for key in keys), path
