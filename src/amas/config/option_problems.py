"""What to say about options that are not what a row's adapter declares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..providers.base.options import OptionMistake
from .document import Document, Path, describe, kind, label, one_of
from .validation import WORDS, unknown_key

# Models of plugins are not strict as ours are, and pydantic has other names for their mistakes.
_LAX: Final[Mapping[str, str]] = {
    "int_parsing": "int_type",
    "int_from_float": "int_type",
    "float_parsing": "float_type",
    "bool_parsing": "bool_type",
    "list_type": "tuple_type",
    "dataclass_type": "model_type",
}


def report_options(
    mistakes: tuple[OptionMistake, ...], options: Mapping[str, Any], path: Path, document: Document
) -> None:
    """Note what is wrong with a row's options, each at its place.

    Args:
        mistakes: What its adapter has found.
        options: The options.
        path: Where they stand.
        document: Where the problems go.
    """
    for mistake in mistakes:
        where, value = _found(mistake.path, options)
        unknown = mistake.kind == "extra_forbidden"
        text = (
            unknown_key(str(where[-1]), list(mistake.names), document)
            if unknown and mistake.names
            else _explain(mistake, value, document)
        )
        document.problem((*path, *where), text, at_key=unknown)


def _found(path: Path, options: Any) -> tuple[Path, Any]:
    """Return the part of a path that is in the options, and one key more; and the value there.

    Pydantic adds what no configuration has, such as the types of a union.
    """
    value: Any = options
    for index, part in enumerate(path):
        try:
            value = value[part]
        except (LookupError, TypeError):
            more = isinstance(value, Mapping) and isinstance(part, str)
            return path[: index + 1 if more else index], None if more else value
    return path, value


def _explain(mistake: OptionMistake, value: object, document: Document) -> str:
    names = [name.strip("' ") for name in str(mistake.context.get("expected", "")).split(" or ")]
    names = [item.strip("' ") for name in names for item in name.split(",") if item.strip("' ")]
    near = document.nearest(value, names) if names and isinstance(value, str) else None
    words = WORDS.get(_LAX.get(mistake.kind, mistake.kind), mistake.text)
    try:
        text = words.format(
            **dict(mistake.context),
            names=one_of(names) if names else "",
            value=describe(value, near=near is not None),
            kind=kind(value),
        )
    except (LookupError, ValueError, TypeError):  # words of a plugin's own, with braces in them
        text = words
    return f"{text}; {f'did you mean {near!r}?' if near else _way_out(mistake)}"


def _way_out(mistake: OptionMistake) -> str:
    name = label(str(mistake.path[-1])) if mistake.path else "options"
    purpose = f" ({mistake.hint})" if mistake.hint else ""
    if mistake.example is not None:
        shown = mistake.example
        shown = f'"{shown}"' if isinstance(shown, str) else shown
        return f"write for example `{name}: {shown}`{purpose}"
    return f"write `{name}: …` as its adapter wants it{purpose}"
