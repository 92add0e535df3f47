"""The values of a configuration one by one, and where each comes from."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path as FilePath
from typing import Any, Final

from pydantic import BaseModel

from ....config.cross_checks import MASTER_KEY_VARIABLE
from ....config.document import Document, Path, address
from ....config.layers import Layered
from ....config.loader import SECTIONS
from ....config.provider_settings import ProvidersSettings, load_settings, read_document
from ....config.references import References, variables_in
from ....config.resolution import is_plaintext, is_secret
from ...llm.catalog import load_catalog
from ...secret import MASK, Secret, hide, scrub
from ...security.keyring import open_keyring
from ...security.secrets import make_opener
from ..configuration import environment_section

DEFAULT: Final = "default"
SHOWN: Final = "***"
"""What stands for a secret."""

_PASSWORD: Final = re.compile(r"(?<=://)[^@/\s]+(?=@)")
_QUERY: Final = re.compile(r"(?<==)[^&\s]+")  # a key that was pasted there with the address
_OPTIONS: Final = 3  # parts of the path of a row's options
_EMPTY: Final[tuple[Any, ...]] = ((), frozenset(), {}, [])
_MASTER_KEY: Final = ("security", "master_key")


@dataclass(frozen=True, slots=True)
class Value:
    """A value.

    Args:
        shown: It as it may be shown: plain data without secrets.
        origin: Where it comes from: a place, a variable, or ``default``.
        true: It as it is, to be compared and never shown.
    """

    shown: Any
    origin: str
    true: Any = None


@dataclass(frozen=True, slots=True)
class Configuration:
    """A configuration that was read.

    Args:
        layered: It with its layers, as written.
        settings: It as it holds; None where that was not asked for.
    """

    layered: Layered
    settings: ProvidersSettings | None


def shown_address(path: Path) -> str:
    """Return a path in full, for people: a key that was pasted in a name's place is masked."""
    return scrub(address(path)).replace(MASK, SHOWN)


def read_configuration(
    config: FilePath | None, environ: Mapping[str, str], *, resolved: bool = True
) -> Configuration:
    """Read a configuration.

    Args:
        config: The file; without one the environment decides.
        environ: The variables.
        resolved: Whether references are followed and everything is checked.

    Raises:
        ProviderConfigError: Something is wrong.
    """
    source = environment_section(environ) if config is None else os.fspath(config)
    known = load_catalog()
    layered = read_document(source, environ, known)
    if not resolved:
        layered.document.raise_problems()
        return Configuration(layered, None)
    settings = load_settings(
        source,
        environ=environ,
        known_providers=known,
        openers={"keyring": open_keyring},
        sealed=make_opener,
    )
    return Configuration(layered, settings)


def written_values(document: Document) -> dict[Path, Value]:
    """Return what is written, by path, with masks for the secrets that stand there.

    Args:
        document: The configuration with its layers.
    """
    references = References({}, {}, "")
    found = {}
    for path, value in _leaves(document.data, ()):
        shown = _without_secrets(value, path, references)
        found[path] = Value(shown, _origin(document, path))
    return found


def resolved_values(configuration: Configuration) -> dict[Path, Value]:
    """Return what holds, by path, with all defaults but those that are empty.

    Args:
        configuration: The configuration, resolved.
    """
    settings, document = configuration.settings, configuration.layered.document
    assert settings is not None
    found = {}
    for path, value in _settings_leaves(settings):
        origin = _resolved_origin(document, path)
        if path[-1] == "enabled" and path[0] == "llm" and str(path[1]) in settings.disabled:
            origin = settings.disabled[str(path[1])]
        elif path == _MASTER_KEY and origin == DEFAULT and value:
            origin = f"${{{MASTER_KEY_VARIABLE}}}"
        if origin != DEFAULT or (value is not None and value not in _EMPTY):
            found[path] = Value(_shown(value), origin, _true(value))
    return found


def _settings_leaves(settings: ProvidersSettings) -> Iterator[tuple[Path, Any]]:
    for name in SECTIONS:
        yield from _leaves(getattr(settings, name), (name,))


def _leaves(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    """Give the values below a value that are no mappings, or empty ones."""
    if len(path) == _OPTIONS and path[0] == "llm" and path[-1] == "options":
        value = hide(value)
    entries: Any = dict(value) if isinstance(value, BaseModel | Mapping) else {}
    if not entries and (path or value):
        yield path, {} if isinstance(value, BaseModel | Mapping) else value
    for key, item in entries.items():
        yield from _leaves(item, (*path, key))


def _without_secrets(value: Any, path: Path, references: References) -> Any:
    if isinstance(value, list):
        return [_without_secrets(each, (*path, i), references) for i, each in enumerate(value)]
    if isinstance(value, dict):
        return {
            plain(key): _without_secrets(each, (*path, key), references)
            for key, each in value.items()
        }
    if isinstance(value, Secret):
        text = value.get_secret_value()  # of an option; one that a variable sets is no reference
        return SHOWN if not is_secret(path) or is_plaintext(text, path, references) else text
    if isinstance(value, str) and is_secret(path) and is_plaintext(value, path, references):
        return SHOWN
    return _shown(value)


def _shown(value: Any) -> Any:
    match value:
        case Secret():
            text = value.get_secret_value()
            return text if text == "none" else SHOWN  # which says that there is none
        case Mapping():
            return {plain(str(key)): _shown(item) for key, item in value.items()}
        case frozenset():
            return sorted(map(_shown, value))
        case list() | tuple():
            return [_shown(item) for item in value]
        case _:
            return plain(value)


def plain(value: Any) -> Any:
    """Return a value that is no collection as plain data, with what looks like a secret masked."""
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, str):
        return value
    text = scrub(str(value)).replace(MASK, SHOWN)
    return _QUERY.sub(SHOWN, _PASSWORD.sub(SHOWN, text)) if "://" in text else text


def _true(value: Any) -> Any:
    """Return what a value is compared by: the secrets in it, not their masks."""
    if isinstance(value, Secret):
        return value.get_secret_value()
    if isinstance(value, Mapping):
        return {key: _true(item) for key, item in value.items()}
    return [_true(item) for item in value] if isinstance(value, list | tuple) else value


def _resolved_origin(document: Document, path: Path) -> str:
    """Return where a value of the settings comes from, which may be a short form of its parent."""
    data = document.data
    for depth, key in enumerate(path):
        if not isinstance(data, dict):
            # A flag or a chain that stands alone is the first field of its section.
            alone = path[-1] in {"flag", "chain"} and depth == len(path) - 1
            return _origin(document, path[:depth]) if alone and data is not None else DEFAULT
        if data.get(key) is None:
            return DEFAULT
        data = data[key]
    return _origin(document, path)


def _origin(document: Document, path: Path) -> str:
    data: Any = document.data
    for key in path:
        data = data[key]
    where = document.where(document.place(path))
    parts = [where] if where else []
    if not (where and where.startswith("${")):  # what a variable holds refers to nothing
        parts += _references(data, path)
    return ", ".join(dict.fromkeys(parts)) or "given"


def _references(data: Any, path: Path) -> Iterator[str]:
    if isinstance(data, list | dict):
        entries = data.items() if isinstance(data, dict) else enumerate(data)
        for key, item in entries:
            yield from _references(item, (*path, key))
    elif type(data) is str:
        yield from (f"${{{name}}}" for name in variables_in(data))
        scheme = References({}, {}, "").scheme(data) if is_secret(path) else None
        if scheme is not None:
            yield f"{scheme}:…" if scheme == "enc" else scrub(data.strip())
