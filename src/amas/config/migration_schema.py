"""The section ``migration:`` as a model: which implementation of an old service answers."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from .field_types import REFERENCE_PATTERN, Share, Text, text_like
from .references import truth
from .section import Section

_SHARE: Final = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,9})?) ?%", re.ASCII)
_IMPORT_PATH: Final = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*(?::[A-Za-z_]\w*)?", re.ASCII)
_WORDS: Final = "'off', 'on', 'shadow', 'a share such as 30%'"


class FlagMode(StrEnum):
    """Who answers."""

    OFF = "off"
    ON = "on"
    SHADOW = "shadow"
    SHARE = "share"


class Flag(NamedTuple):
    """A flag as it was written: ``off``, ``on``, ``shadow``, or the percentage of a share."""

    mode: FlagMode
    percent: float = 100.0


def parse_flag(text: str) -> Flag:
    """Read a flag.

    Args:
        text: ``off``, ``on`` (or another word for a truth value), ``shadow``, or a share of
            the callers such as ``30%``; in small or capital letters.

    Raises:
        ValueError: It is none of them.
    """
    known = truth(text)
    if known is not None:
        return Flag(FlagMode.ON if known else FlagMode.OFF)
    word = text.strip().lower()
    if word == "shadow":
        return Flag(FlagMode.SHADOW)
    found = _SHARE.fullmatch(word)
    if found is None or float(found[1]) > 100:  # noqa: PLR2004 -- per cent
        raise ValueError("it must be off, on, shadow or a share such as 30%")
    return Flag(FlagMode.SHARE, float(found[1]))


def long_form(value: Any) -> Any:
    """Turn a flag that stands alone into a mapping with nothing but this flag."""
    return value if value is None or isinstance(value, dict | Section) else {"flag": value}


def _flag(value: object) -> str:
    """Check a flag, and return it as YAML would keep it in quotes."""
    if isinstance(value, bool):  # how YAML reads on and off without quotes
        value = "on" if value else "off"
    try:
        mode, percent = parse_flag(value if isinstance(value, str) else "")
    except ValueError:
        raise PydanticCustomError("enum", "must be a flag", {"expected": _WORDS}) from None
    return f"{percent:.12g}%" if mode is FlagMode.SHARE else str(mode)


def _import_path(text: str) -> str:
    if not _IMPORT_PATH.fullmatch(text):
        raise PydanticCustomError("import_path", "must be package.module, or package.module:Class")
    return text


_FlagInput = (
    Literal["off", "on", "shadow"]
    | bool
    | text_like(
        r"^\s*(100|0?[0-9]{1,2})(\.[0-9]{1,9})? ?%\s*$"
        r"|^\s*([Ss]hadow|SHADOW|[Tt]rue|TRUE|[Ff]alse|FALSE|[01])\s*$"
        rf"|{REFERENCE_PATTERN}",
        "Must be off, on, shadow or a share such as 30%.",
    )
)
FlagWord = Annotated[str, PlainValidator(_flag, json_schema_input_type=_FlagInput)]
ImportPath = Annotated[
    Text,
    AfterValidator(_import_path),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": rf"^\s*{_IMPORT_PATH.pattern}\s*$",
            "patternErrorMessage": "Must be package.module, or package.module:Class.",
        }
    ),
]


class ServiceMigration(Section):
    """How far one of the old services has come on its way over."""

    flag: FlagWord = Field(
        default="on",
        title="Flag",
        description="Who answers: the old implementation (off), the new one (on), the old one"
        " with the new one beside it (shadow), or the new one for a share of the callers.",
        examples=["30%"],
    )
    old: ImportPath | None = Field(
        default=None,
        title="Old implementation",
        description="Import path of the old module, or module:Class;"
        " legacy.<name of the service> where it is left out.",
        examples=["legacy.llm_service"],
    )
    shadow_share: Share = Field(
        default=0.05,
        title="Shadow share",
        description="Share of the calls, 0 to 1, that shadow repeats; each may be paid twice.",
        examples=[0.05],
    )
    differences: Text | None = Field(
        default=None,
        title="Differences",
        description="File that shadow's differences are appended to, besides the logger.",
        examples=["logs/differences.jsonl"],
    )


_ServiceField = Annotated[
    ServiceMigration,
    BeforeValidator(long_form, json_schema_input_type=ServiceMigration | _FlagInput),
]


class MigrationSettings(Section):
    """The flags of the old services; a service may have its flag alone for a value."""

    llm_service: _ServiceField = Field(
        default_factory=ServiceMigration,
        title="LLM service",
        description="The flag of amas.services.llm_service.",
        examples=[{"flag": "shadow"}],
    )
    universal_ai_manager: _ServiceField = Field(
        default_factory=ServiceMigration,
        title="Universal AI manager",
        description="The flag of amas.services.universal_ai_manager.",
        examples=[{"flag": "shadow"}],
    )
    ultimate_fallback_system: _ServiceField = Field(
        default_factory=ServiceMigration,
        title="Ultimate fallback system",
        description="The flag of amas.services.ultimate_fallback_system.",
        examples=[{"flag": "shadow"}],
    )
