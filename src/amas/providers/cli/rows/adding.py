"""`amas-providers providers add`: a row for one more provider, once it is known to work."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Final

from ....config.document import address
from ....config.provider_settings import ProvidersSettings
from ....config.yaml_edit import YamlText, inline, key_text
from ...errors import ProviderConfigError
from ...llm.catalog import lookup
from ...manager.discovery import read_configuration
from ...secret import Secret
from ...security.secrets import seal
from .. import output
from ..checking import refusal
from ..keys.asking import ask_for_key
from ..keys.editing import read_inventory
from ..keys.files import edit_file, new_file
from ..keys.inventory import take_inventory
from .asking import agree, at_terminal
from .loading import require_sound, row_of
from .models import find_model
from .planning import Plan, Wish, plan
from .starter import starter_text

PIPED: Final = "-"
"""What ``--key-from`` has where the key comes on standard input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How a row is added.

    Args:
        check: Whether the provider is asked first.
        dry_run: Whether nothing is written.
    """

    check: bool
    dry_run: bool


@dataclass(frozen=True, slots=True)
class _Given:
    """A key that somebody gave.

    Args:
        key: The key; None where a variable has it, or nobody asks.
        sealed: Whether it is to be sealed into the file; else it is for the check alone.
    """

    key: Secret | None = None
    sealed: bool = False


def add_command(config: FilePath, wish: Wish, how: How) -> int:
    """Add the row of a provider to a configuration.

    Args:
        config: The configuration file; it is made if it is not there.
        wish: What is said of the provider; ``key_from`` may be ``-``.
        how: How it is added.

    Returns:
        The exit code: 1 if the provider does not accept its key, or does not answer.
    """
    piped = wish.key_from == PIPED
    if piped:
        wish = replace(wish, key_from=None, keyed=True)
    planned = plan(wish, os.environ)
    exists = config.exists()
    # Before a key is typed, so that nobody types it in vain.
    settings = _settings_without(config, planned.name) if exists else None
    given = _key(config if exists else None, planned, wish, how, piped=piped)
    key = given.key
    if planned.lacks_model:
        planned = find_model(planned, lambda tried: row_of(tried, key))
    row = row_of(planned, key)
    if how.check:
        wrong = asyncio.run(refusal(row))
        if wrong is not None:
            output.say(
                f"{planned.name}: not added, nothing is changed: {wrong}"
                "\nTo add it all the same: --no-check"
            )
            return 1
    _write(config, planned, key if given.sealed else None, how, exists=exists)
    _tell(config, planned, settings, how, sealed=given.sealed)
    return 0


def _settings_without(config: FilePath, name: str) -> ProvidersSettings:
    """Return the settings of a file that works and does not have this provider yet."""
    settings, _ = read_configuration(config)
    if name not in settings.llm:
        return settings
    text = YamlText(str(config), config.read_bytes())
    where, place = str(config), text.document.place(("llm", name), at_key=True)
    if text.has_own(("llm", name)):
        where = f"{config}:{place.line}:{place.column}"
    raise ProviderConfigError(
        f"{where}: {name!r} is configured already; edit it there, give it a new key with"
        f" `amas-providers keys set {name}`, or add another one under a name of its own with --as"
    )


def _key(config: FilePath | None, planned: Plan, wish: Wish, how: How, *, piped: bool) -> _Given:
    """Take the key that no variable has; it is asked for where somebody is there."""
    variable = planned.variable
    if variable is None or (os.environ.get(variable, "").strip() and not piped):
        return _Given()
    if piped and config is None:
        raise ProviderConfigError(
            "there is no file yet to seal the key into; make it with `amas-providers init`"
        )
    asks = at_terminal() and wish.key_from is None
    if config is not None and (piped or asks):
        inventory = read_inventory(config)
        if piped or inventory.masters:
            inventory.sealing_master(("llm", planned.name, "api_key"))
            return _Given(ask_for_key(planned.name), sealed=True)
    if not how.check:
        return _Given()
    if asks and _agrees_to_reference(variable):
        return _Given(ask_for_key(planned.name))
    where = f"   (get a key at {planned.docs})" if planned.docs else ""
    raise ProviderConfigError(
        f"{variable} is not set, so nothing says that {planned.name} would work. Do one of these:"
        f"\n  export {variable}=…{where}"
        "\n  --key-from VARIABLE   if its key is in another one; none if it wants no key"
        "\n  --no-check            adds the row now; it takes part once the variable is set"
        "\n  --key-from -          reads the key from standard input and keeps it sealed in the file;"
        "\n                        needs a master key: amas-providers keys generate-master"
    )


def _agrees_to_reference(variable: str) -> bool:
    """Ask whether a key that cannot be sealed is to be typed for the check alone."""
    output.say(
        f"{variable} is not set, and there is no master key to keep a key sealed in the file."
        f"\nThe row can refer to ${{{variable}}}: the key is then asked for to check it, kept"
        f" nowhere, and you export {variable} yourself."
    )
    return agree("Go on like that?")


def _write(config: FilePath, planned: Plan, key: Secret | None, how: How, *, exists: bool) -> None:
    if exists:
        edit_file(str(config), _change(config, planned, key), dry_run=how.dry_run)
        return
    content = require_sound(str(config), starter_text([planned], config.name).encode())
    if not how.dry_run:
        new_file(str(config), content)


def _change(config: FilePath, planned: Plan, key: Secret | None) -> Callable[[bytes], bytes]:
    path = ("llm", planned.name)

    def change(content: bytes) -> bytes:
        if key is None:
            added = YamlText(str(config), content).add(path, planned.fields)
            return require_sound(str(config), added)
        place = (*path, "api_key")
        inventory = take_inventory(str(config), content, os.environ)
        master = inventory.sealing_master(place)
        token = seal(key, address(place), master, now=time.time())
        added = inventory.text.add(path, planned.with_key(token).fields)
        return require_sound(str(config), added)

    return change


def _tell(
    config: FilePath, planned: Plan, settings: ProvidersSettings | None, how: How, *, sealed: bool
) -> None:
    key = "its key sealed" if sealed else f"key from ${{{planned.variable}}}"
    accepted = ", accepted" if how.check else ""
    parts = [
        f"{planned.title}, model {planned.fields['model']}",
        f"{key}{accepted}" if planned.variable else "it answers" * how.check,
        "" if how.check else "not checked",
    ]
    verb = "would be" if how.dry_run else "is"
    made = "" if settings else ", a new file"
    output.say(f"{config}{made}: {planned.name} {verb} added ({', '.join(filter(None, parts))})")
    if how.dry_run:
        shown = planned.with_key("enc:…") if sealed else planned
        output.answer(f"{key_text(planned.name)}: {inline(shown.fields)}")
        return
    if lookup(str(planned.fields.get("provider", planned.name))) is None and (
        "options" not in planned.fields
    ):
        output.say("LiteLLM's own parameters for it, such as a region, go into options: of its row")
    if planned.variable and not sealed and not os.environ.get(planned.variable, "").strip():
        output.say(f"It takes part once {planned.variable} is set: export {planned.variable}=…")
    if settings and any(each.enabled for each in settings.llm.values()):
        output.say(
            "It is asked last, when the others cannot answer;"
            " the order is that of the rows, or of manager.fallback_order"
        )
    output.say(f'Next: amas-providers generate -c {config} --provider {planned.name} "hello"')
