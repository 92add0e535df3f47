"""Follows every reference of a document, and decides what a missing one means."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from ..providers.secret import Secret, is_secret_name
from .document import Document, Path, address
from .references import (
    LEFT_OUT,
    AbsentError,
    BrokenReferenceError,
    Expanded,
    Opener,
    References,
    truth,
    variable_meant,
)

# Such an option may also say where the credential is: a path, an address, LiteLLM's own reference.
_WHEREABOUTS: Final = re.compile(r"[/~.]|os\.environ/|[\w+.-]+:/|oidc/")
_ACCESS: Final = ("security", "access")
_MASTER_KEY: Final = ("security", "master_key")


def so_disabled(name: str) -> str:
    """Return what a warning says of a provider that is disabled for want of something."""
    return f"so {name!r} is disabled"


def is_secret(path: Path) -> bool:
    """Whether the value at a path is a credential."""
    match path:
        case ("security", "master_key") | ("alerts", "webhook") | ("llm", _, "api_key"):
            return True
        case ("llm", _, "api_keys", int()) | ("security", "master_key", int()):
            return True
        case ("llm", _, "proxy"):
            return True
        case ("llm", _, "options", str(name)):
            return is_secret_name(name)
        case _:
            return False


def secret_fields(data: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Find the credentials of a document's data.

    Args:
        data: The data, unresolved.
        path: Where it stands.

    Yields:
        Where each stands, and its text: the credential itself or a reference; a ``Secret``
        where a variable sets it.
    """
    if isinstance(data, dict):
        for key, value in data.items():
            yield from secret_fields(value, (*path, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from secret_fields(value, (*path, index))
    elif type(data) in {str, Secret} and is_secret(path):
        yield path, data


def is_plaintext(text: str, path: Path, references: References) -> bool:
    """Whether the text of a credential's field is the credential itself.

    Args:
        text: The text.
        path: Where it stands.
        references: What knows references.
    """
    if references.is_reference(text) or text.strip() in {"", "none"}:
        return False
    if path[-1] == "proxy":
        return "@" in text  # without credentials it is an address like any other
    return not (path[-2] == "options" and _WHEREABOUTS.match(text))


class Resolver:
    """Turns a document's data into data without references.

    Args:
        document: Where problems and warnings go.
        references: What follows a single reference.
    """

    def __init__(self, document: Document, references: References) -> None:
        self._document = document
        self._references = references
        # Secrets are masked in messages while they exist: these see to it that they do.
        self._kept: list[Secret] = []
        self._plaintext: list[Path] = []

    def section(self, name: str, data: dict[str, Any]) -> dict[str, Any]:
        """Resolve a section other than ``llm``.

        Args:
            name: Its key.
            data: Its data.

        Returns:
            The resolved data. A key whose reference leads nowhere is left out,
            with a warning; below ``access`` and ``models`` that is a problem, because
            there less text would mean more rights, and other providers that are asked.
        """
        resolved = {}
        for key, value in data.items():
            path = (name, key)
            try:
                if path == _MASTER_KEY and isinstance(value, list):
                    resolved[key] = self._master_keys(value)
                else:
                    resolved[key] = self._value(value, path)
            except AbsentError as absent:
                text = f"{absent.what}; {absent.todo}"
                if path == _ACCESS or name == "models":
                    self._document.problem(absent.path, text)
                elif not absent.optional:
                    self._document.warn(absent.path, f"{text} (treated as absent)")
        return resolved

    def _master_keys(self, items: list[Any]) -> list[Any]:
        """Resolve several master keys; those that are not to be had are left out."""
        missing: list[AbsentError] = []
        keys = [
            self._one_key(item, (*_MASTER_KEY, index), missing, follow=True)
            for index, item in enumerate(items)
        ]
        for absent in missing:
            if not absent.optional:
                text = f"{absent.what}, so this master key is left out; {absent.todo}"
                self._document.warn(absent.path, text)
        return keys

    @property
    def files(self) -> tuple[str, ...]:
        """The files that ``file:`` references have led to so far."""
        return tuple(self._references.files)

    def open_with(self, opener: Opener) -> None:
        """Set what opens the ``enc:`` values from here on."""
        self._references.add_opener("enc", opener)

    def provider(self, name: str, data: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
        """Resolve one provider.

        Args:
            name: Its name.
            data: Its data.

        Returns:
            The resolved data, without the keys whose references lead nowhere;
            and why the provider is disabled, if it is for that reason.
        """
        resolved: dict[str, Any] = {}
        missing: list[AbsentError] = []
        wanted = True
        # `enabled` first: a provider nobody wants needs nothing.
        for key in sorted(data, key=lambda key: key != "enabled"):
            path = ("llm", name, key)
            absents: list[AbsentError] = []
            try:
                if key == "api_keys":
                    resolved[key] = self._keys(data[key], path, absents, follow=wanted)
                else:
                    resolved[key] = self._value(data[key], path, follow=wanted)
            except AbsentError as absent:
                if not absent.optional or key == "api_key":
                    absents.append(absent)
            if wanted:
                missing += absents
            if key == "enabled" and key in resolved:
                value = resolved[key]
                wanted = (truth(value) if isinstance(value, Expanded) else value) is not False
        if not missing:
            return resolved, None
        for each in missing:
            text = f"{each.what}, {so_disabled(name)}; {each.todo}"
            self._document.warn(each.path, text)
        whats = ", ".join(dict.fromkeys(absent.what for absent in missing))
        return resolved, f"{whats}; {missing[0].todo}"

    def _keys(self, items: Any, path: Path, absents: list[AbsentError], *, follow: bool) -> Any:
        """Resolve a provider's several keys; ``LEFT_OUT`` stands for each that is not to be had.

        Args:
            items: The keys; what is no list is for the schema to refuse.
            path: Where they stand.
            absents: Where the reasons go if no key is left.
            follow: Whether references are followed.
        """
        if not isinstance(items, list):
            return items
        missing: list[AbsentError] = []
        keys = [
            self._one_key(item, (*path, i), missing, follow=follow) for i, item in enumerate(items)
        ]
        self._report_twice(keys, path)
        if len(missing) == len(items):
            absents += missing
        elif follow:
            for absent in missing:
                if not absent.optional:
                    text = f"{absent.what}, so this key is left out; {absent.todo}"
                    self._document.warn(absent.path, text)
        return keys

    def _one_key(self, item: Any, path: Path, missing: list[AbsentError], *, follow: bool) -> Any:
        try:
            key = self._value(item, path, follow=follow)
        except AbsentError as absent:
            missing.append(absent)
            return LEFT_OUT
        # A broken reference has been reported; an empty item has not.
        return LEFT_OUT if key is None and item is not None else key

    def _report_twice(self, keys: list[Any], path: Path) -> None:
        first: dict[str, int] = {}
        for index, key in enumerate(keys):
            value = key.get_secret_value() if isinstance(key, Secret) else ""
            if value and first.setdefault(value, index) != index:
                text = f"is the same key as {path[-1]}[{first[value]}]; keep one"
                self._document.problem((*path, index), text)
                keys[index] = LEFT_OUT

    def report_plaintext(self, policy: object) -> None:
        """Report the keys that stand in the file itself.

        Args:
            policy: ``allow``, ``warn`` or ``forbid``.
        """
        if policy == "allow":
            return
        for path in self._plaintext:
            if self._document.source_of(path).name is None:
                continue  # a mapping is no file
            whose = f"the key of {path[1]!r}" if path[0] == "llm" else "the master key"
            how = "use ${VAR} or file: instead"
            if path[0] == "llm":
                how = "use ${VAR} or file: instead, or run `amas-providers keys encrypt`"
            text = f"{whose} stands in this file as plain text; {how}"
            if policy == "forbid":
                self._document.problem(path, text)
            else:
                self._document.warn(path, f"{text} (security.plaintext_keys: allow silences this)")

    def _value(self, value: Any, path: Path, *, follow: bool = True) -> Any:
        if isinstance(value, dict):
            resolved = {}
            for key, item in value.items():
                try:
                    resolved[key] = self._value(item, (*path, key), follow=follow)
                except AbsentError as absent:
                    if not absent.optional or path[:2] == _ACCESS:
                        raise
            return resolved
        if isinstance(value, list):
            return [self._item(item, (*path, i), follow=follow) for i, item in enumerate(value)]
        if type(value) is not str:
            return value
        try:
            if is_secret(path):
                return self._secret(value, path, follow=follow)
            return self._references.expand(value)
        except BrokenReferenceError as error:
            # A problem fails the whole document; what is put in the value's place is never used.
            self._document.problem(path, str(error))
            return None
        except AbsentError as absent:
            absent.path = path
            raise

    def _item(self, value: Any, path: Path, *, follow: bool) -> Any:
        try:
            return self._value(value, path, follow=follow)
        except AbsentError as absent:
            if not absent.optional:
                raise
            return ""  # leaving it out would shift the places of those behind it

    def _secret(self, text: str, path: Path, *, follow: bool) -> Secret:
        references = self._references.within(self._document.source_of(path).folder)
        # The name of a variable is no secret, and is not to be masked in what is said of it.
        named = path[2:3] != ("options",) and variable_meant(text)
        if not named and not references.is_reference(text):
            self._kept.append(Secret(text))
            if path[0] != "alerts" and is_plaintext(text, path, references):
                self._plaintext.append(path)
        elif not follow:
            raise AbsentError("", optional=True)
        secret = references.secret(text, address(path))
        self._kept.append(secret)
        return secret
