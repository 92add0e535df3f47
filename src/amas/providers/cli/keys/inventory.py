"""Which credentials a configuration has, how each is kept, and whether it is to be had."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Any, Final

from ....config.document import Document, Path, address, kind, label
from ....config.provider_settings import ProviderSettings, load_security, read_document
from ....config.references import AbsentError, BrokenReferenceError, References, variable_meant
from ....config.resolution import is_plaintext, secret_fields
from ....config.yaml_edit import YamlText
from ...errors import ProviderConfigError, suggestion
from ...llm.catalog import load_catalog
from ...secret import Secret
from ...security.keyring import open_keyring
from ...security.master_key import MasterKey, names, read_master_keys
from ...security.secrets import open_sealed, take_apart

MASTER_KEY: Final = ("security", "master_key")
_NO_MASTER_KEY: Final = (
    "there is no master key; make one with `amas-providers keys generate-master`, and put it into "
    "the variable AMAS_MASTER_KEY, or into providers.security.master_key as file:…"
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A credential of a configuration.

    Args:
        path: Where it stands.
        text: What stands there; a ``Secret`` where that is the credential itself.
        kept: How it is kept: ``enc``, ``${VAR}``, ``file``, ``keyring``, ``plain text``, ``none``;
            ``broken`` where it cannot be one.
        value: The credential, if it is to be had.
        why: Why it is not.
        created: Since when it is there, in seconds since 1970, where that is known.
        master: Id of the master key that it is sealed with.
        where: Where it stands, such as ``base.yaml:4:7``, if not in the file that was given.
        above: Whether it lies over what that file says.
    """

    path: Path
    text: str
    kept: str
    value: Secret | None = None
    why: str | None = None
    created: float | None = None
    master: str | None = None
    where: str | None = None
    above: bool = False


@dataclass(frozen=True, slots=True)
class Inventory:
    """The credentials of a configuration.

    Args:
        text: Its text.
        masters: The master keys; the first seals.
        entries: The credentials in the order of the file.
        warnings: Why master keys are not to be had.
        layered: The configuration with all its layers.
        effective: The credentials that hold in the end, some from other files and variables.
    """

    text: YamlText
    masters: tuple[MasterKey, ...]
    entries: tuple[Entry, ...]
    warnings: tuple[str, ...]
    layered: Document
    effective: tuple[Entry, ...]

    @property
    def providers(self) -> tuple[str, ...]:
        """Names of the providers of all layers."""
        rows = self.layered.data.get("llm") if isinstance(self.layered.data, dict) else None
        return tuple(rows) if isinstance(rows, dict) else ()

    def elsewhere(self) -> list[Entry]:
        """Return the credentials that hold and stand in another file, or in a variable."""
        return [entry for entry in self.effective if entry.where]

    def require_master(self) -> MasterKey:
        """Return the master key that seals.

        Raises:
            ProviderConfigError: There is none.
        """
        if not self.masters:
            raise ProviderConfigError(problems=[*self.warnings, _NO_MASTER_KEY])
        return self.masters[0]

    def sealing_master(self, replaced: Path | None = None) -> MasterKey:
        """Return the master key that seals, if it fits what is sealed already.

        Args:
            replaced: The place that is to be sealed anew.

        Raises:
            ProviderConfigError: There is none, or every other value was sealed with another one.
        """
        master = self.require_master()
        used = {entry.master for entry in self._sealed(replaced) if entry.master}
        if used and used.isdisjoint(each.id for each in self.masters):
            raise ProviderConfigError(
                f"no other sealed value in this file was sealed with {names(self.masters)}, so this "
                f"is probably not the right master key; use that of id {' or '.join(sorted(used))}; "
                "if it is lost, remove what was sealed with it from the file first"
            )
        return master

    def shut(self, replaced: Path | None = None) -> list[Path]:
        """Return where values are sealed that do not open.

        Args:
            replaced: The place that does not matter.
        """
        return [entry.path for entry in self._sealed(replaced) if entry.why]

    def _sealed(self, replaced: Path | None) -> list[Entry]:
        return [each for each in self.entries if each.kept == "enc" and each.path != replaced]


def take_inventory(name: str, content: bytes, environ: Mapping[str, str]) -> Inventory:
    """Find the credentials of a configuration.

    Args:
        name: Path of the file.
        content: What it has.
        environ: The variables.

    Raises:
        ProviderConfigError: It cannot be read, or a master key is unusable.
    """
    text = YamlText(name, content)
    openers = {"keyring": open_keyring}
    security, warnings = load_security(name, environ=environ, openers=openers)
    masters = read_master_keys(security.master_key)
    references = References(
        environ,
        {**openers, "enc": lambda value, place: open_sealed(value, place, masters)},
        str(FilePath(name).parent),
    )
    layered = read_document(name, environ, load_catalog()).document
    layered.raise_problems()
    entries, effective = (tuple(_entries(each, references)) for each in (text.document, layered))
    return Inventory(text, masters, entries, warnings, layered, effective)


def _entries(document: Document, references: References) -> Iterator[Entry]:
    own = document.source
    for path, value in secret_fields(document.data):
        if path[:2] == MASTER_KEY:
            continue
        source = document.source_of(path)
        entry = _entry(path, value, references.within(source.folder))
        if source.name != own.name:
            where = document.where(document.place(path))
            entry = replace(entry, where=where, above=source.rank > own.rank)
        yield entry
    rows = (document.data or {}).get("llm")
    for path, why in _broken(rows):
        yield Entry(path, "", "broken", why=why)
    yield from _without_key(rows)


def _without_key(rows: Any) -> Iterator[Entry]:
    for name, row in rows.items() if isinstance(rows, dict) else ():
        if row is None or (isinstance(row, dict) and not ({"api_key", "api_keys"} & row.keys())):
            yield Entry(("llm", name, "api_key"), "", "none")


def _broken(rows: Any) -> Iterator[tuple[Path, str]]:
    """Find what was probably meant to be a key, or to have one, and is not written so."""
    if not isinstance(rows, dict | None):
        yield ("llm",), f"must be a mapping of providers, not {kind(rows)}"
    for name, row in rows.items() if isinstance(rows, dict) else ():
        if not isinstance(row, dict | None):
            yield ("llm", name), f"must be a mapping with api_key, not {kind(row)}"
        for field, value in row.items() if isinstance(row, dict) else ():
            yield from _broken_field(("llm", name), field, value)


def _broken_field(row: Path, field: str, value: Any) -> Iterator[tuple[Path, str]]:
    texts: Iterable[tuple[Path, Any]] = ()
    if field not in ProviderSettings.model_fields:
        if isinstance(value, str | list):
            hint = suggestion(field, ProviderSettings.model_fields)
            yield (*row, label(field)), f"this is no field of a provider{hint}"
    elif field == "api_keys" and isinstance(value, list):
        texts = [((*row, field, index), item) for index, item in enumerate(value)]
    elif field == "api_keys" and value is not None:
        yield (*row, field), f"must be a list of keys, not {kind(value)}"
    elif field in {"api_key", "proxy"}:
        texts = [((*row, field), value)]
    for path, text in texts:
        if not isinstance(text, str | None):
            yield path, f"must be a text, not {kind(text)}; write it in quotes"


def _entry(path: Path, text: str, references: References) -> Entry:
    if isinstance(text, Secret):
        return Entry(path, text, "${VAR}", text)
    kept = _kept(path, text, references)
    if kept == "none":
        return Entry(path, text, kept)
    created: float | None = None
    master: str | None = None
    if kept == "enc":
        with suppress(ProviderConfigError):
            sealed = take_apart(text.strip())
            created, master = float(sealed.created), sealed.key_id
    elif kept == "file":
        with suppress(OSError, AbsentError, BrokenReferenceError):
            created = references.file_of(text).stat().st_mtime
    value: Secret | None = None
    why: str | None = None
    try:
        value = references.secret(text, address(path))
    except AbsentError as absent:
        why = absent.what
    except BrokenReferenceError as broken:
        why = str(broken)
        kept = "broken" if variable_meant(text) else kept
    # A reference must not be one: it would be masked in what is said about it.
    shown = Secret(text) if kept == "plain text" else text
    return Entry(path, shown, kept, value, why, created, master)


def _kept(path: Path, text: str, references: References) -> str:
    if is_plaintext(text, path, references):
        return "plain text"
    if not references.is_reference(text):
        return "none"
    return references.scheme(text) or "${VAR}"
