"""Commands that exchange a key for a new one: `rotate-master` and `rotate`."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Final

from ....config.document import Path, address, dotted
from ....config.references import References
from ...errors import ProviderConfigError
from ...secret import Secret
from ...security.master_key import MasterKey, generate, names, read_master_keys
from ...security.secrets import seal
from .. import output
from .asking import ask_for_key
from .editing import key_path, read_inventory, store_key
from .files import edit_file
from .inventory import Inventory, take_inventory

_TRAIL: Final = "records of the audit trail (audit.path) are verified with it"


def rotate_master_command(config: FilePath, *, new: bool, keep_old: bool, dry_run: bool) -> int:
    """Seal every ``enc:`` value again with the first master key.

    At every moment, every value opens with the master keys that are configured.

    Args:
        config: The configuration file.
        new: Whether to make a new master key first, in the file that ``master_key`` names.
        keep_old: Whether the old one stays in that file; it does in any case where there is an
            audit trail, whose records are verified with it.
        dry_run: Whether nothing is written.

    Returns:
        The exit code.
    """
    if not new:
        _reseal(config, dry_run=dry_run)
        return 0
    path = _key_file(config)
    if sealed := _sealed_elsewhere(read_inventory(config)):
        raise ProviderConfigError(
            f"{', '.join(sealed)}: sealed values stand there too, and would not open any more; make"
            " the new key with `amas-providers keys generate-master`, put it in front of the old one,"
            " and run this without --new on each of these files"
        )
    key = generate()
    if dry_run:
        output.say(
            f"{path}: a new master key would be put in front; then every value sealed with it"
        )
        return 0
    _put_in_front(path, key)
    output.say(f"{path}: the new master key {MasterKey(key).id} is in front")
    _reseal(config, dry_run=False)
    if _has_trail(read_inventory(config)):
        output.say(f"{path}: the old master key stays in it: {_TRAIL}")
    elif not keep_old:
        edit_file(path, lambda content: _without_old(content, key), private=True)
        output.say(f"{path}: the old master key is removed")
    return 0


def _key_file(config: FilePath) -> str:
    """Return the file that the first master key is in."""
    inventory = read_inventory(config)
    inventory.require_master()
    _require_all_open(inventory)
    security = (inventory.text.data or {}).get("security") or {}
    written = security.get("master_key")
    first = written[0] if isinstance(written, list) and written else written
    references = References(os.environ, {}, str(config.parent))
    if not isinstance(first, str) or references.scheme(first) != "file":
        raise ProviderConfigError(
            "--new needs providers.security.master_key to be file:…; else make the new key with "
            "`amas-providers keys generate-master`, put it in front of the old one, and leave --new out"
        )
    return str(references.file_of(first))


def _put_in_front(path: str, key: Secret) -> None:
    def change(content: bytes) -> bytes:
        old = read_master_keys([Secret(content.decode("utf-8-sig"))])
        return _lines([key, *(master.text for master in old)])

    edit_file(path, change, private=True)


def _without_old(content: bytes, key: Secret) -> bytes:
    first = read_master_keys([Secret(content.decode("utf-8-sig"))])[0]
    # Else another rotation has begun, which needs this one's key and will remove it.
    return _lines([key]) if first.text == key else content


def _lines(keys: list[Secret]) -> bytes:
    return "".join(f"{key.get_secret_value()}\n" for key in keys).encode()


def _reseal(config: FilePath, *, dry_run: bool) -> None:
    done: list[Path] = []
    masters: list[MasterKey] = []
    trails: list[bool] = []
    others: list[str] = []

    def change(content: bytes) -> bytes:
        inventory = take_inventory(str(config), content, os.environ)
        master = inventory.require_master()
        _require_all_open(inventory)
        masters.extend(inventory.masters)
        trails.append(_has_trail(inventory))
        others.extend(_sealed_elsewhere(inventory))
        tokens = {
            entry.path: seal(entry.value, address(entry.path), master, now=entry.created)
            for entry in inventory.entries
            if entry.master not in {None, master.id}
            and entry.value is not None
            and entry.created is not None
        }
        done.extend(tokens)
        return inventory.text.replace(tokens) if tokens else content

    edit_file(str(config), change, dry_run=dry_run)
    for path in done:
        output.say(f"{dotted(path)}: {'would be' if dry_run else 'is'} sealed with {masters[0].id}")
    if not done:
        output.say(f"every sealed value is sealed with {masters[0].id}")
    if masters[1:] and not dry_run:
        former = names(masters[1:])
        if others:
            output.say(f"keep {former}: sealed values stand in {', '.join(others)} too")
        elif any(trails):
            output.say(f"no value is sealed with {former} any more, but keep each: {_TRAIL}")
        else:
            output.say(f"{config} does not need these master keys any more: {former}")


def _sealed_elsewhere(inventory: Inventory) -> list[str]:
    return [str(entry.where) for entry in inventory.elsewhere() if entry.kept == "enc"]


def _has_trail(inventory: Inventory) -> bool:
    audit = (inventory.layered.data or {}).get("audit")
    # What it is in the end is no matter: a variable may name the file elsewhere.
    return isinstance(audit, dict) and bool(audit.get("path"))


def _require_all_open(inventory: Inventory) -> None:
    problems = [
        f"{dotted(entry.path)}: {entry.why}; nothing is changed"
        for entry in inventory.entries
        if entry.kept == "enc" and entry.why
    ]
    if problems:
        raise ProviderConfigError(problems=problems)


def rotate_command(
    config: FilePath, provider: str, index: int | None, *, check: bool, dry_run: bool
) -> int:
    """Exchange a provider's key, once the provider has accepted the new one.

    Args:
        config: The configuration file.
        provider: The provider's name.
        index: Which of its ``api_keys``; None for ``api_key``.
        check: Whether the new key is checked.
        dry_run: Whether nothing is written.

    Returns:
        The exit code: 1 if the new key is not accepted.
    """
    inventory = read_inventory(config)
    inventory.sealing_master(key_path(inventory, provider, index))
    if provider not in ((inventory.text.data or {}).get("llm") or {}):
        raise ProviderConfigError(
            f"{provider!r} is not configured; use `keys set` for its first key"
        )
    key = ask_for_key(provider)
    if check:
        wrong = asyncio.run(_refusal(config, provider, key))
        if wrong is not None:
            output.say(f"{provider}: the new key is not used, nothing is changed: {wrong}")
            return 1
    store_key(config, provider, index, key, dry_run=dry_run)
    return 0


async def _refusal(config: FilePath, name: str, key: Secret) -> str | None:
    """Return why a provider does not accept a key; None if it does."""
    from ...manager.discovery import (  # noqa: PLC0415 -- only this command needs providers
        read_configuration,
    )
    from ..checking import refusal  # noqa: PLC0415

    settings, _ = await asyncio.to_thread(read_configuration, config)
    row = next(each for each in settings.provider_configs() if each.name == name)
    return await refusal(replace(row, api_key=key, api_keys=()))
