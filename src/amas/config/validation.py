"""Checks data against a model of the schema, and says in plain words what is wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from .document import Document, Path, describe, kind, label, one_of
from .manager_schema import CircuitBreakerSettings, HedgeSettings, ManagerSettings, PolicyRule
from .migration_schema import MigrationSettings, ServiceMigration
from .models_schema import ModelAlias
from .observability_schema import (
    AlertSettings,
    AuditSettings,
    MetricsSettings,
    TracingSettings,
)
from .provider_schema import PriceSettings, ProviderSettings, SandboxSettings
from .references import Expanded
from .section import Section
from .security_schema import AccessRule, SecuritySettings
from .syntax import nearly_a_mapping

_SectionT = TypeVar("_SectionT", bound=Section)

# `*` is a name of the user's choice, or that of an outcome.
_MODELS: Final[Mapping[str, type[Section]]] = {
    "manager": ManagerSettings,
    "manager.circuit_breaker": CircuitBreakerSettings,
    "manager.policy.*": PolicyRule,
    "manager.hedge": HedgeSettings,
    "security": SecuritySettings,
    "security.access.*": AccessRule,
    "audit": AuditSettings,
    "metrics": MetricsSettings,
    "tracing": TracingSettings,
    "alerts": AlertSettings,
    "migration": MigrationSettings,
    "migration.*": ServiceMigration,
    "llm.*": ProviderSettings,
    "llm.*.price": PriceSettings,
    "llm.*.policy.*": PolicyRule,
    "llm.*.sandbox": SandboxSettings,
    "models.*": ModelAlias,
}

# What other tools call what stands in a provider's row, where the nearest word would mislead.
_OTHER_WORDS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("api_base", "url", "uri", "endpoint", "host", "address"), "'base_url'"),
    **dict.fromkeys(("key", "token", "secret", "password", "credentials"), "'api_key'"),
    **dict.fromkeys(("models", "deployment", "model_name"), "'model'"),
    **dict.fromkeys(("type", "vendor", "litellm_provider"), "'provider'"),
    "retries": "'max_retries'",
    "max_tokens": "`params: {max_tokens: …}`",
}

_COMMA: Final = re.compile(r"-?[0-9]{1,9},[0-9]{1,2}")

# What pydantic calls a mistake → what to say; {value} may show the value, {kind} never does.
WORDS: Final[Mapping[str, str]] = {
    "missing": "is missing",
    "model_type": "must be a mapping, not {kind}",
    "dict_type": "must be a mapping, not {kind}",
    "tuple_type": "must be a list, not {kind}",
    "frozen_set_type": "must be a list, not {kind}",
    "string_type": "must be a text, not {kind}",
    "string_too_short": "is empty",
    "string_too_long": "is longer than {max_length} characters",
    "int_type": "must be a whole number, not {value}",
    "float_type": "must be a number, not {value}",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false, not {value}",
    "greater_than": "must be above {gt:.12g}, not {value}",
    "greater_than_equal": "must be {ge:.12g} or more, not {value}",
    "less_than_equal": "must be {le:.12g} or less, not {value}",
    "literal_error": "must be {names}, not {value}",
    "enum": "must be {names}, not {value}",
}


def validate(
    model: type[_SectionT], data: object, path: Path, document: Document
) -> _SectionT | None:
    """Check a section.

    Args:
        model: Its model.
        data: Its data; an empty value counts as a value left out.
        path: Where it stands.
        document: Where the problems go.

    Returns:
        The section, or None if there are problems.
    """
    if not isinstance(data, dict):
        found = nearly_a_mapping(data) if isinstance(data, str) else None
        dashes = ", without `- `" if isinstance(data, list) else ""
        how = found[1] if found else f"write `key: value` lines below it{dashes}"
        document.problem(path, f"must be a mapping, not {kind(data)}; {how}")
        return None
    try:
        return model.model_validate(_without_empty(model, data))
    except ValidationError as error:
        for details in error.errors(include_url=False, include_input=False):
            where = (*path, *details["loc"])
            if details["type"] == "extra_forbidden":
                document.problem(where, _unknown(where, document), at_key=True)
            elif where[-1] == "[key]":
                text = unknown_key(str(where[-2]), _names(details), document)
                document.problem(where[:-1], text, at_key=True)
            else:
                value = _value(data, details["loc"])
                document.problem(where, _explain(details, value, where, document))
    return None


def unknown_key(key: str, names: list[str], document: Document) -> str:
    """Return what to say about a key that is not one of these names."""
    near = document.nearest(key, names)
    return (
        f"unknown key; did you mean {near!r}?"
        if near
        else f"unknown key; it may be {one_of(names)}"
    )


def _without_empty(model: type[BaseModel], data: dict[str, Any]) -> dict[str, Any]:
    kept = {}
    for key, value in data.items():
        field = model.model_fields.get(key)
        if field and value is None:
            continue
        inner = _model_of(field.annotation) if field else None
        if isinstance(value, dict) and inner:
            kept[key] = _without_empty(inner, value)
        else:
            kept[key] = value
    return kept


def _model_of(annotation: Any) -> type[BaseModel] | None:
    """Return the model of a field that has one: of ``Model`` or ``Model | None``."""
    for each in (annotation, *get_args(annotation)):
        if isinstance(each, type) and issubclass(each, BaseModel):
            return each
    return None


def _value(data: Any, loc: tuple[str | int, ...]) -> Any:
    for part in loc:
        if isinstance(data, dict) and part not in data:  # what is missing has no value
            return None
        data = data[part]
    return data


def _model_at(path: Path) -> type[Section]:
    home = ""
    for part in path:
        home = f"{home}.*" if f"{home}.*" in _MODELS else f"{home}.{part}".removeprefix(".")
    return _MODELS[home]


def _field_at(path: Path) -> tuple[str, FieldInfo] | None:
    """Return the field a value belongs to, also for an item of its list; None for a rule."""
    while isinstance(path[-1], int):
        path = path[:-1]
    try:
        name = str(path[-1])
        return name, _model_at(path[:-1]).model_fields[name]
    except KeyError:
        return None


def _unknown(path: Path, document: Document) -> str:
    key = str(path[-1])
    if slip := nearly_a_mapping(key):
        return slip[1]
    if path[0] == "llm" and (meant := _OTHER_WORDS.get(key.lower())):
        return f"unknown key; did you mean {meant}?"
    names = list(_model_at(path[:-1]).model_fields)
    homes = [home for home, model in _MODELS.items() if key in model.model_fields]
    if homes and not document.nearest(key, names):
        return f"unknown key here; it belongs under providers.{homes[0].replace('*', '<name>')}"
    text = unknown_key(key, names, document)
    if path[0] == "llm" and "did you mean" not in text:
        return "unknown key; the vendor's own settings go under options:, defaults under params:"
    return text


def _names(details: ErrorDetails) -> list[str]:
    """Return the names a value is to be drawn from."""
    return re.findall(r"'([^']*)'", str(details.get("ctx", {}).get("expected", "")))


def _explain(details: ErrorDetails, value: Any, path: Path, document: Document) -> str:
    context = details.get("ctx", {})
    names = _names(details)
    near = document.nearest(value, names) if names and type(value) is str else None
    words = WORDS.get(details["type"])
    text = details["msg"]  # of our own field types, which never quote a value
    if words:
        held = isinstance(value, Expanded)
        shown = "what the variable holds" if held else describe(value, near=near is not None)
        listed = one_of(names) if names else ""
        text = words.format(**context, names=listed, value=shown, kind=kind(value))
    if details["type"] == "float_type" and _COMMA.fullmatch(str(value)):
        return f"{text}; decimals take a point: write {value.replace(',', '.')}"
    if details["type"] == "string_type" and isinstance(value, int | float):
        return f"{text}; write it in quotes"
    return f"{text}; {f'did you mean {near!r}?' if near else _example(path)}"


def _example(path: Path) -> str:
    found = _field_at(path)
    if found is None:
        return "write `key: value` lines below it"
    name, field = found
    example = (field.examples or [None])[0]
    if isinstance(example, dict):
        return f"write `key: value` lines below it, such as `{next(iter(example))}: …`"
    if isinstance(example, list):
        example = f"[{', '.join(example)}]"
    elif isinstance(example, bool):
        example = kind(example)
    elif isinstance(example, str):
        example = f'"{example}"'
    unit = ", in seconds" if (field.description or "").startswith("Seconds") else ""
    return f"write for example `{label(name)}: {example}`{unit}"
