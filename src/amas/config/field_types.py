"""The types of the schema's fields: what is accepted, and what is read from a variable's text.

Fields are strict: ``"30"`` is no number. Only a text that came out of a
``${VAR}`` is converted, since variables hold nothing but text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, StringConstraints
from pydantic_core import PydanticCustomError

from ..providers.base.provider_config import ADAPTER, POLICY_OUTCOMES, key_problem
from ..providers.secret import Secret
from ..providers.types import (
    Capability,
    Effect,
    Failover,
    HealthProbe,
    ResponseCheck,
    Retry,
)
from .param_values import PARAM_VALUES
from .references import LEFT_OUT, Expanded, truth

_INTEGER: Final = re.compile(r"\s*[-+]?[0-9]{1,18}\s*", re.ASCII)
_NUMBER: Final = re.compile(r"\s*[-+]?[0-9]{1,18}(?:\.[0-9]{0,18})?(?:[eE][-+]?[0-9]{1,3})?\s*")
_PREFIX: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_DAY: Final = 86_400


def _number(value: object) -> object:
    if isinstance(value, Expanded):
        if _INTEGER.fullmatch(value):
            return int(value)
        if _NUMBER.fullmatch(value):
            return float(value)
    return value


def _whole(value: object) -> object:
    number = _number(value)
    return int(number) if isinstance(number, float) and number.is_integer() else number


def _truth(value: object) -> object:
    known = truth(value) if isinstance(value, Expanded) else None
    return value if known is None else known


def as_text(value: object) -> object:
    """Take a variable's text as it is."""
    return str(value) if isinstance(value, Expanded) else value


def _parameter(value: Any) -> Any:
    """Read what variables hold as JSON would: a temperature is a number, a name is a text."""
    if isinstance(value, dict):
        return {as_text(key): _parameter(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_parameter(item) for item in value]
    if isinstance(value, Expanded):
        plain = {"true": True, "false": False}.get(value.strip(), _number(value))
        return as_text(plain)
    return value


def _option(value: Any) -> Any:
    """Keep what variables hold as text: an API version is one, though it be a number."""
    if isinstance(value, dict):
        return {key: _option(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_option(item) for item in value]
    return as_text(value)


def _secret(value: object) -> Secret:
    if not isinstance(value, str):
        raise PydanticCustomError("string_type", "must be a text")
    return Secret(value)


def _key(value: object) -> object:
    if value is LEFT_OUT:
        return value
    key = _secret(value)
    if wrong := key_problem(key.get_secret_value()):
        raise PydanticCustomError("key", wrong)
    return key


def _without_left_out(keys: tuple[object, ...]) -> tuple[object, ...]:
    return tuple(key for key in keys if key is not LEFT_OUT)


def _reads(words: Mapping[bool, str], accepted: Any) -> BeforeValidator:
    """Read the words that YAML takes for truth values where they stand without quotes.

    Args:
        words: What true and false stand for; one that is not there is a mistake.
        accepted: The type that the JSON schema shows.
    """

    def read(value: object) -> object:
        known = truth(value) if isinstance(value, Expanded) else value
        return words.get(known, value) if isinstance(known, bool) else as_text(value)

    return BeforeValidator(read, json_schema_input_type=accepted)


def _outcome(name: str) -> str:
    if name not in POLICY_OUTCOMES:
        raise PydanticCustomError(
            "enum", "must be an outcome", {"expected": ", ".join(map(repr, POLICY_OUTCOMES))}
        )
    return name


def _hedge_delay(value: object) -> float | str:
    delay = as_text(_number(value))
    if delay == "p95":
        return "p95"
    if isinstance(delay, bool) or not isinstance(delay, int | float) or not 0 < delay <= _DAY:
        raise PydanticCustomError(
            "hedge_delay", "must be p95, or a number of seconds above 0, up to 86400"
        )
    return float(delay)


def _prefix(text: str) -> str:
    if not _PREFIX.fullmatch(text):
        raise PydanticCustomError(
            "prefix", "must have nothing but letters, digits and . _ - : and at most 128 of them"
        )
    return text


def _is_address(text: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises on what is no port
    except ValueError:
        return False
    return parts.scheme in schemes and bool(parts.hostname) and not re.search(r"\s", text)


def _webhook(secret: Secret) -> Secret:
    if not _is_address(secret.get_secret_value(), ("http", "https")):
        raise PydanticCustomError("webhook", "must be an address with http:// or https://")
    return secret


def _proxy(secret: Secret) -> Secret:
    if not _is_address(secret.get_secret_value(), ("http", "https")):
        raise PydanticCustomError("proxy", "must be an address with http:// or https://")
    return secret


def _master_key(value: object) -> object:
    if value is LEFT_OUT:
        return value
    secret = _secret(value)
    if not secret.get_secret_value():
        raise PydanticCustomError("empty", "is empty")
    return secret


def _master_keys(value: object) -> object:
    """Take one text for a list of one; what is wrong with it is wrong at its own place."""
    return value if isinstance(value, list | tuple) else (_master_key(value),)


def _adapter(text: str) -> str:
    if not ADAPTER.fullmatch(text):
        raise PydanticCustomError("adapter", "must have the form package.module:Class")
    return text


def _state(text: str) -> str:
    if text != "memory" and not _is_address(text, ("redis", "rediss")):
        raise PydanticCustomError(
            "state", "must be memory, or an address with redis:// or rediss://"
        )
    return text


# What the JSON schema shows: it sees a text as it is written, so that a reference is one.
REFERENCE_PATTERN: Final = r"\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^{}]*)?\}"
"""What a text has that a variable, or what there is instead of it, stands in."""


def text_like(pattern: str, message: str) -> Any:
    """Return the schema of texts like a pattern, with what editors say of any other.

    Args:
        pattern: A regular expression of Python's and JavaScript's.
        message: What is right.
    """
    return Annotated[
        str, Field(pattern=pattern, json_schema_extra={"patternErrorMessage": message})
    ]


_Reference = Annotated[str, Field(pattern=REFERENCE_PATTERN)]
_Kept: Final = r"^\s*(enc|file|keyring):"
_KeyInput = text_like(
    rf"^[!-~]+$|{_Kept}", "Must be one word, and best a reference: ${VAR}, file: or keyring:."
)
_AddressInput = text_like(
    rf"^[Hh][Tt][Tt][Pp][Ss]?://\S+$|{_Kept}",
    "Must be an address with http:// or https://, or a reference.",
)
_StateInput = text_like(
    r"^\s*memory\s*$|^\s*[Rr][Ee][Dd][Ii][Ss]{1,2}://\S+\s*$",
    "Must be memory, or an address with redis:// or rediss://.",
)
_PrefixInput = text_like(
    r"^\s*[A-Za-z0-9._:-]{1,128}\s*$", "Must have nothing but letters, digits and . _ - :."
)
_EntryInput = text_like(
    r"^[^/]*[^/\s][^/]*(/\s*[^/\s][\s\S]*)?$",
    "Must be provider/model, or a provider alone for its own model.",
)
_TextInput = text_like(r"\S", "Must not be empty.")
_FilledInput = Annotated[str, Field(min_length=1)]
_AdapterInput = Annotated[str, Field(pattern=rf"^\s*{ADAPTER.pattern}\s*$|\$\{{")]
_AboveZero = Annotated[float, Field(gt=0, le=_DAY, allow_inf_nan=False)]
_FromZero = Annotated[float, Field(ge=0, le=_DAY, allow_inf_nan=False)]
_Money = Annotated[float, Field(ge=0, le=1_000_000_000, allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
_Few = Annotated[int, Field(ge=0, le=100)]
_Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_ShareAboveZero = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
_Weight = Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)]
_Queue = Annotated[int, Field(ge=0, le=1_000_000_000)]
_Port = Annotated[int, Field(ge=1, le=65_535)]
_Days = Annotated[float, Field(gt=0, le=36_500, allow_inf_nan=False)]
_Texts = Annotated[str, StringConstraints(min_length=1, max_length=4096, strip_whitespace=True)]

Flag = Annotated[bool, BeforeValidator(_truth, json_schema_input_type=bool | _Reference)]
Seconds = Annotated[
    _AboveZero, BeforeValidator(_number, json_schema_input_type=_AboveZero | _Reference)
]
Interval = Annotated[
    _FromZero, BeforeValidator(_number, json_schema_input_type=_FromZero | _Reference)
]
Dollars = Annotated[_Money, BeforeValidator(_number, json_schema_input_type=_Money | _Reference)]
Count = Annotated[_Count, BeforeValidator(_whole, json_schema_input_type=_Count | _Reference)]
Retries = Annotated[_Few, BeforeValidator(_whole, json_schema_input_type=_Few | _Reference)]
Queue = Annotated[_Queue, BeforeValidator(_whole, json_schema_input_type=_Queue | _Reference)]
Share = Annotated[_Share, BeforeValidator(_number, json_schema_input_type=_Share | _Reference)]
ShareAboveZero = Annotated[
    _ShareAboveZero, BeforeValidator(_number, json_schema_input_type=_ShareAboveZero | _Reference)
]
Port = Annotated[_Port, BeforeValidator(_whole, json_schema_input_type=_Port | _Reference)]
Days = Annotated[_Days, BeforeValidator(_number, json_schema_input_type=_Days | _Reference)]
Weight = Annotated[_Weight, BeforeValidator(_number, json_schema_input_type=_Weight | _Reference)]
HedgeDelay = Annotated[
    float | Literal["p95"],
    PlainValidator(_hedge_delay, json_schema_input_type=Literal["p95"] | _AboveZero | _Reference),
]
Text = Annotated[_Texts, BeforeValidator(as_text, json_schema_input_type=_TextInput)]
ChainEntry = Annotated[_Texts, BeforeValidator(as_text, json_schema_input_type=_EntryInput)]
State = Annotated[
    _Texts, BeforeValidator(as_text, json_schema_input_type=_StateInput), AfterValidator(_state)
]
Adapter = Annotated[
    _Texts,
    BeforeValidator(as_text, json_schema_input_type=_AdapterInput),
    AfterValidator(_adapter),
]
Prefix = Annotated[
    _Texts, BeforeValidator(as_text, json_schema_input_type=_PrefixInput), AfterValidator(_prefix)
]
SecretText = Annotated[Secret, PlainValidator(_secret, json_schema_input_type=_KeyInput)]
Webhook = Annotated[
    Secret,
    PlainValidator(_secret, json_schema_input_type=_AddressInput),
    AfterValidator(_webhook),
]
MasterKeys = Annotated[
    tuple[Annotated[Secret, PlainValidator(_master_key, json_schema_input_type=_FilledInput)], ...],
    Field(strict=False),
    AfterValidator(_without_left_out),
    BeforeValidator(_master_keys, json_schema_input_type=_FilledInput | list[_FilledInput]),
]
Proxy = Annotated[
    Secret,
    PlainValidator(_secret, json_schema_input_type=_AddressInput),
    AfterValidator(_proxy),
]
Keys = Annotated[
    tuple[Annotated[Secret, PlainValidator(_key, json_schema_input_type=_KeyInput)], ...],
    Field(strict=False),
    AfterValidator(_without_left_out),
]
Texts = Annotated[tuple[Text, ...], Field(strict=False)]
Capabilities = Annotated[
    frozenset[Annotated[Capability, Field(strict=False), BeforeValidator(as_text)]],
    Field(strict=False),
]
ResponseChecks = Annotated[
    frozenset[Annotated[ResponseCheck, Field(strict=False), BeforeValidator(as_text)]],
    Field(strict=False),
]
OutcomeName = Annotated[
    str, AfterValidator(_outcome), Field(json_schema_extra={"enum": [*POLICY_OUTCOMES]})
]
RetryWord = Annotated[Retry, Field(strict=False), _reads({False: "no"}, Retry | Literal[False])]
FailoverWord = Annotated[
    Failover, Field(strict=False), _reads({True: "yes", False: "no"}, Failover | bool)
]
EffectWord = Annotated[Effect, Field(strict=False), BeforeValidator(as_text)]
HealthProbeWord = Annotated[
    HealthProbe, Field(strict=False), _reads({False: "off"}, HealthProbe | Literal[False])
]
Parameters = Annotated[
    Mapping[str, Any],
    BeforeValidator(_parameter),
    Field(
        json_schema_extra={
            "properties": {name: dict(PARAM_VALUES[name].schema) for name in PARAM_VALUES}
        }
    ),
]
Options = Annotated[Mapping[str, Any], BeforeValidator(_option)]
