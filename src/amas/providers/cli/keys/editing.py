"""Commands that seal keys into the configuration: `set` and `encrypt`."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any, Final

from ....config.document import Path, address, dotted, kind
from ....config.references import References
from ...errors import ProviderConfigError, suggestion
from ...llm.catalog import load_catalog
from ...secret import Secret, reveal
from ...security.secrets import seal
from .. import output
from .asking import ask_for_key
from .files import edit_file
from .inventory import Inventory, take_inventory

_PART_REFERENCE: Final = "part of it is a ${VAR}; write the key alone"


def set_command(config: FilePath, provider: str, index: int | None, *, dry_run: bool) -> int:
    """Seal a provider's key into the configuration.

    Args:
        config: The configuration file.
        provider: The provider's name.
        index: Which of its ``api_keys``; None for ``api_key``.
        dry_run: Whether nothing is written.

    Returns:
        The exit code.
    """
    # Before the key is typed, so that nobody types it in vain.
    inventory = read_inventory(config)
    inventory.sealing_master(key_path(inventory, provider, index))
    store_key(config, provider, index, ask_for_key(provider), dry_run=dry_run)
    return 0


def store_key(
    config: FilePath, provider: str, index: int | None, key: Secret, *, dry_run: bool
) -> None:
    """Seal a key, and write it where the provider's key stands or is to stand.

    Args:
        config: The configuration file.
        provider: The provider's name.
        index: Which of its ``api_keys``; None for ``api_key``.
        key: The key.
        dry_run: Whether nothing is written.
    """
    said: list[str] = []

    def change(content: bytes) -> bytes:
        inventory = take_inventory(str(config), content, os.environ)
        path = key_path(inventory, provider, index)
        master = inventory.sealing_master(path)
        token = seal(key, address(path), master, now=time.time())
        old = next((entry for entry in inventory.entries if entry.path == path), None)
        # What << brings there stays where it is written; the new one goes before it.
        own = old is not None and bool(old.text) and inventory.text.has_own(path)
        how = f" in place of {old.kept}" if old and own and old.kept not in {"enc", "none"} else ""
        verb = "would be" if dry_run else "is"
        said.append(f"{dotted(path)}: key {master.fingerprint(key)} {verb} sealed{how}")
        said.extend((*_others(inventory, provider), *_warnings(inventory, path)))
        if own:
            return inventory.text.replace({path: token})
        return inventory.text.add(path, token)

    edit_file(str(config), change, dry_run=dry_run)
    for line in said:
        output.say(line)


def _others(inventory: Inventory, provider: str) -> list[str]:
    """Say where else a provider has its key."""
    return [
        f"{entry.where}: there is a key of {provider!r} too, "
        + ("and it is that one which holds" if entry.above else "which no longer holds with this")
        for entry in inventory.elsewhere()
        if entry.path[:2] == ("llm", provider) and entry.path[2] in {"api_key", "api_keys"}
    ]


def _warnings(inventory: Inventory, replaced: Path | None = None) -> list[str]:
    shut = ", ".join(map(dotted, inventory.shut(replaced)))
    return [f"warning: does not open: {shut}; see `amas-providers keys list`"] if shut else []


def read_inventory(config: FilePath) -> Inventory:
    """Take the inventory of a configuration that is not to be changed now.

    Raises:
        ProviderConfigError: It cannot be read, or a master key is unusable.
    """
    found: list[Inventory] = []

    def look(content: bytes) -> bytes:
        found.append(take_inventory(str(config), content, os.environ))
        return content

    edit_file(str(config), look, dry_run=True)
    return found[0]


def key_path(inventory: Inventory, provider: str, index: int | None) -> Path:
    """Return where a provider's key stands or is to stand.

    Args:
        inventory: The inventory of the configuration.
        provider: The provider's name.
        index: Which of its ``api_keys``; None for ``api_key``.

    Raises:
        ProviderConfigError: There is no such provider, or no such place in it.
    """
    row = _rows(inventory, provider).get(provider)
    if not isinstance(row, Mapping | None):
        raise ProviderConfigError(
            f"{provider!r} must be a mapping, not {kind(row)}; write `api_key:` on a line below it"
        )
    keys = (row or {}).get("api_keys")
    if not isinstance(keys, list | None):
        raise ProviderConfigError(f"api_keys of {provider!r} must be a list, not {kind(keys)}")
    if index is None:
        if keys is not None:
            raise ProviderConfigError(f"{provider!r} has api_keys; say which with --key N")
        return ("llm", provider, "api_key")
    if keys is None:
        raise ProviderConfigError(f"{provider!r} has no list api_keys; leave --key out")
    if not 0 <= index <= len(keys):
        raise ProviderConfigError(
            f"{provider!r} has {len(keys)} api_keys; --key counts them from 1, and the one after the "
            "last adds one"
        )
    return ("llm", provider, "api_keys", index)


def _rows(inventory: Inventory, provider: str) -> Mapping[str, Any]:
    """Return the rows under ``llm:``, if the provider has one or the catalogue knows it."""
    data = inventory.text.data
    rows = data.get("llm") if isinstance(data, Mapping) else None
    if not isinstance(rows, Mapping | None):
        raise ProviderConfigError(f"llm: must be a mapping of providers, not {kind(rows)}")
    rows = rows or {}
    known = [*rows, *inventory.providers, *load_catalog()]
    if provider not in known:
        # Not repeated: somebody may have given the key instead.
        raise ProviderConfigError(
            "no provider of that name is configured, nor known to the catalogue"
            f"{suggestion(provider, known)}; add its row under llm: first"
        )
    return rows


def encrypt_command(config: FilePath, *, dry_run: bool) -> int:
    """Seal every credential that stands in the configuration as plain text.

    Args:
        config: The configuration file.
        dry_run: Whether nothing is written.

    Returns:
        The exit code: 1 if one had to be left.
    """
    done: list[Path] = []
    left: list[str] = []
    warnings: list[str] = []

    def change(content: bytes) -> bytes:
        inventory = take_inventory(str(config), content, os.environ)
        master = inventory.sealing_master()
        warnings.extend(_warnings(inventory))
        tokens: dict[Path, str] = {}
        for entry in inventory.entries:
            if entry.kept == "broken":
                left.append(f"{dotted(entry.path)}: is left: {entry.why}")
            if entry.kept != "plain text":
                continue
            if entry.value is None or References.has_variables(reveal(entry.text)):
                left.append(f"{dotted(entry.path)}: is left: {_PART_REFERENCE}")
            else:
                tokens[entry.path] = seal(entry.value, address(entry.path), master, now=time.time())
        warnings.extend(
            f"{entry.where}: {dotted(entry.path)} stands there as plain text; run this on that file"
            for entry in inventory.elsewhere()
            if entry.kept == "plain text"
        )
        done.extend(tokens)
        return inventory.text.replace(tokens) if tokens else content

    edit_file(str(config), change, dry_run=dry_run)
    for path in done:
        output.say(f"{dotted(path)}: {'would be' if dry_run else 'is'} sealed")
    for line in (*left, *warnings):
        output.say(line)
    if not done and not left:
        output.say("no key stands there as plain text")
    return 1 if left else 0


def print_command(config: FilePath, provider: str, field: str) -> int:
    """Seal a value, and print it for pasting.

    Args:
        config: The configuration file, for the master key.
        provider: The provider that it is for.
        field: The field, such as ``api_key`` or ``options.client_secret``.

    Returns:
        The exit code.
    """
    inventory = read_inventory(config)
    _rows(inventory, provider)
    path: Path = ("llm", provider, *field.split(".", 1))
    master = inventory.sealing_master(path)
    if field not in {"api_key", "proxy"} and not field.startswith("options."):
        raise ProviderConfigError("--field is api_key, proxy or options.NAME")
    output.answer(seal(ask_for_key(provider), address(path), master, now=time.time()))
    return 0
