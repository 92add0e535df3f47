"""Options that an adapter declares for its rows: read, and what is wrong with them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, get_args

from typing_extensions import override

from ..errors import ProviderConfigError
from ..secret import reveal
from .faults import said_by

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

# A plugin's model may have any number of fields, and messages are for people.
_MOST_MISTAKES: Final = 50
_MOST_NAMES: Final = 100


@dataclasses.dataclass(frozen=True, slots=True)
class OptionMistake:
    """One thing that is wrong with the options of a row, as plain data.

    Args:
        path: Where it is: keys and list indexes below ``options:``.
        kind: Pydantic's name of the mistake.
        text: Pydantic's words for it.
        context: What the words are made of: limits, names.
        names: The keys there are where a key is unknown.
        example: The first example of the field, if it has one that is plain.
        hint: What its model says the field is for.
    """

    path: tuple[str | int, ...]
    kind: str
    text: str
    context: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    names: tuple[str, ...] = ()
    example: str | int | float | None = None
    hint: str = ""

    @override
    def __str__(self) -> str:
        return f"{'.'.join(map(str, ('options', *self.path)))}: {self.text}"


class OptionsError(ProviderConfigError):
    """The options of a row are not what its adapter wants.

    Args:
        mistakes: What is wrong.
        provider: Name of the provider.
    """

    def __init__(self, mistakes: Sequence[OptionMistake], *, provider: str | None = None) -> None:
        super().__init__(
            problems=[str(mistake) for mistake in mistakes], field="options", provider=provider
        )
        self.mistakes = tuple(mistakes)


def parse_options(model: Any, options: Mapping[str, Any], *, provider: str) -> Any:
    """Read the options of a row as the model that an adapter declares.

    Args:
        model: A pydantic model, or a dataclass. A key that it does not have is a mistake,
            unless it says otherwise itself (``extra`` in its ``model_config``).
        options: The row's ``options:``, credentials included.
        provider: Name of the provider, for errors.

    Returns:
        An instance of the model.

    Raises:
        OptionsError: The options are not right.
        ProviderConfigError: The model itself is not.
    """
    # Here, as most providers have no model, and every service imports this module.
    from pydantic import PydanticUserError, TypeAdapter, ValidationError  # noqa: PLC0415
    from pydantic_core import SchemaError  # noqa: PLC0415

    said = getattr(model, "model_config", {}).get("extra")
    try:
        return TypeAdapter(model).validate_python(reveal(options), extra=said or "forbid")
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
    except (PydanticUserError, SchemaError) as error:
        what = str(error).splitlines()[0]
        raise ProviderConfigError(
            f"its adapter's Options is no model: {what}; make it a pydantic model or a dataclass",
            field="adapter",
            provider=provider,
        ) from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 -- whatever a validator of somebody else's raises
        raise ProviderConfigError(
            f"cannot be checked by its adapter: {type(error).__name__}: {said_by(error)}",
            field="options",
            provider=provider,
        ) from None
    # Outside of the handler: pydantic's error has the values, credentials included.
    raise OptionsError(
        [_mistake(model, details) for details in found[:_MOST_MISTAKES]], provider=provider
    )


def _mistake(model: Any, details: ErrorDetails) -> OptionMistake:
    path = details["loc"]
    unknown = details["type"] in {"extra_forbidden", "unexpected_keyword_argument"}
    example, hint = _told_of(model, path)
    return OptionMistake(
        path=path,
        kind="extra_forbidden" if unknown else details["type"],
        text="unknown key" if unknown else re.sub(r"^\w+ error, ", "", details["msg"]),
        context={
            name: value
            for name, value in details.get("ctx", {}).items()
            if isinstance(value, str | int | float)
        },
        names=tuple(_fields(_home(model, path)))[:_MOST_NAMES] if unknown else (),
        example=example,
        hint=hint,
    )


def _fields(model: Any) -> Mapping[str, Any]:
    """Return the fields of a model by the keys they have in a configuration."""
    if dataclasses.is_dataclass(model):
        return {field.name: None for field in dataclasses.fields(model)}
    known = getattr(model, "model_fields", {})
    return {str(field.alias or name): field for name, field in known.items()}


def _home(model: Any, path: Sequence[str | int]) -> Any:
    """Return the model that the last key of a path belongs to; None if that is not told."""
    for part in path[:-1]:
        if isinstance(part, int):
            continue
        annotation = getattr(_fields(model).get(part), "annotation", None)
        model = next((item for item in (annotation, *get_args(annotation)) if _fields(item)), None)
    return model


def _told_of(model: Any, path: Sequence[str | int]) -> tuple[str | int | float | None, str]:
    """Return the example and the description of the field at a path, where there are any."""
    field = _fields(_home(model, path)).get(str(path[-1])) if path else None
    examples = getattr(field, "examples", None) or [None]
    plain = examples[0] if isinstance(examples[0], str | int | float) else None
    return plain, getattr(field, "description", None) or ""
