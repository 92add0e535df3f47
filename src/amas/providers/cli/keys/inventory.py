"""Which credentials a configuration has, how each is kept, and whether it is to be had."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, Final

from ....config.document import Path, address
from ....config.provider_settings import load_security
from ....config.references import AbsentError, BrokenReferenceError, References
from ....config.resolution import is_plaintext, secret_fields
from ....config.yaml_edit import YamlText
from ...errors import ProviderConfigError
from ...secret import Secret
from ...security.keyring import open_keyring
from ...security.master_key import MasterKey, read_master_keys
from ...security.secrets import open_sealed, take_apart

MASTER_KEY: Final = ("security", "master_key")
_NO_MASTER_KEY: Final = (
    "there is no master key; make one with `amas-providers keys generate-master`, and put it into "
    "the variable AMAS_MASTER_KEY, or into security.master_key as file:…"
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A credential of a configuration.

    Args:
        path: Where it stands.
        text: What stands there; a ``Secret`` where that is the credential itself.
        kept: How it is kept: ``enc``, ``${VAR}``, ``file``, ``keyring``, ``plain text``, ``none``.
        value: The credential, if it is to be had.
        why: Why it is not.
        created: Since when it is there, in seconds since 1970, where that is known.
        master: Id of the master key that it is sealed with.
    """

    path: Path
    text: str
    kept: str
    value: Secret | None = None
    why: str | None = None
    created: float | None = None
    master: str | None = None


@dataclass(frozen=True, slots=True)
class Inventory:
    """The credentials of a configuration.

    Args:
        text: Its text.
        masters: The master keys; the first seals.
        entries: The credentials in the order of the file.
        warnings: Why master keys are not to be had.
    """

    text: YamlText
    masters: tuple[MasterKey, ...]
    entries: tuple[Entry, ...]
    warnings: tuple[str, ...]

    def require_master(self) -> MasterKey:
        """Return the master key that seals.

        Raises:
            ProviderConfigError: There is none.
        """
        if not self.masters:
            raise ProviderConfigError(problems=[*self.warnings, _NO_MASTER_KEY])
        return self.masters[0]


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
    found = [
        _entry(path, value, references)
        for path, value in secret_fields(text.data)
        if path[:2] != MASTER_KEY
    ]
    return Inventory(text, masters, (*found, *_without_key(text.data)), warnings)


def _without_key(data: Any) -> Iterator[Entry]:
    rows = data.get("llm") if isinstance(data, dict) else None
    for name, row in rows.items() if isinstance(rows, dict) else ():
        if row is None or (isinstance(row, dict) and not ({"api_key", "api_keys"} & row.keys())):
            yield Entry(("llm", name, "api_key"), "", "none")


def _entry(path: Path, text: str, references: References) -> Entry:
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
    # A reference must not be one: it would be masked in what is said about it.
    shown = Secret(text) if kept == "plain text" else text
    return Entry(path, shown, kept, value, why, created, master)


def _kept(path: Path, text: str, references: References) -> str:
    if is_plaintext(text, path, references):
        return "plain text"
    if not references.is_reference(text):
        return "none"
    return references.scheme(text) or "${VAR}"
