"""Brings the short forms of flags and aliases into their long ones, at the same places."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from . import migration_schema, models_schema
from .document import Document


class _Form(NamedTuple):
    """A section whose entries have a short form.

    Args:
        field: The field that an entry in its short form is the value of.
        long: Makes the long form.
    """

    field: str
    long: Callable[[Any], Any]


_FORMS: Final = {
    "migration": _Form("flag", migration_schema.long_form),
    "models": _Form("chain", models_schema.long_form),
}


def long_entry(section: str, name: str, value: Any, document: Document) -> Any:
    """Return an entry of ``migration`` or ``models`` in its long form.

    Args:
        section: Which of them.
        name: The entry's name.
        value: What it has.
        document: What it stands in; notes the places of the long form.
    """
    form = _FORMS[section]
    long = form.long(value)
    if long is not value:
        path = (section, name)
        items = range(len(value)) if isinstance(value, list) else ()
        for below in ((), *((index,) for index in items)):
            at_key, at_value = (
                document.place((*path, *below), at_key=each) for each in (True, False)
            )
            document.mark((*path, form.field, *below), key=at_key, value=at_value)
    return long


def lengthen(document: Document) -> None:
    """Bring a document's short forms into the long ones, so that it can be merged.

    Args:
        document: The document.
    """
    data = document.data
    for section in _FORMS if isinstance(data, dict) else ():
        entries = data.get(section)
        if isinstance(entries, dict):
            for name, value in entries.items():
                entries[name] = long_entry(section, name, value, document)
