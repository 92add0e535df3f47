"""Where the records are, and what unseals them: by the configuration, or as named."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ....config.files import read_regular
from ....config.observability_schema import AuditSettings
from ....config.provider_settings import load_security, read_document
from ....config.references import References
from ....config.resolution import Resolver
from ....config.validation import validate
from ...errors import ProviderConfigError
from ...manager.observation import audit_key
from ...observability.audit.files import checkpoint_files, trail_files
from ...observability.audit.keys import AuditKey
from ...observability.report.wording import count
from ...secret import Secret
from ...security.keyring import open_keyring
from ...security.master_key import read_master_keys
from .. import output

_MASTER_KEY: Final = "AMAS_MASTER_KEY"
_MAX_KEY_FILE: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class Source:
    """Where records are.

    Args:
        list_files: Returns the files as they are now.
        checkpoints: Folder of the checkpoints; None for that of each file.
        trail: The file that is configured; None if files were named.
    """

    list_files: Callable[[], Sequence[Path]]
    checkpoints: Path | None = None
    trail: Path | None = None

    def require_files(self, *, or_checkpoints: bool = False) -> None:
        """See that there is something.

        Args:
            or_checkpoints: Whether a checkpoint is something, which tells that there were records.

        Raises:
            ProviderConfigError: There is nothing.
        """
        path = self.trail
        if path is None or self.list_files():
            return
        if or_checkpoints and checkpoint_files(path, self.checkpoints):
            return
        raise ProviderConfigError(
            f"{path.absolute()}: there are no records; if the service runs in another folder, go"
            " there or name the files"
        )


def find_source(config: Path | None, files: Sequence[Path], *, empty: bool = False) -> Source:
    """Find out where the records are.

    Args:
        config: The configuration, for what was not named.
        files: The files that were named.
        empty: Whether there may be none yet where the configuration says.

    Raises:
        ProviderConfigError: Nothing was said, or there is nothing.
    """
    if files:
        return Source(lambda: files)
    if config is None:
        raise ProviderConfigError(
            "say which records: with --config FILE, in the variable AMAS_PROVIDERS_CONFIG, or by"
            " naming the files"
        )
    settings = _audit_settings(config)
    if settings is None or settings.path is None:
        raise ProviderConfigError(
            f"{config}: providers.audit.path is not set, so records go to the logger amas.audit,"
            " and there is no file to read; set it, or name the files"
        )
    path = Path(settings.path)
    checkpoints = None if settings.checkpoint is None else Path(settings.checkpoint)
    source = Source(lambda: trail_files(path), checkpoints, path)
    if not empty:
        source.require_files()
    return source


def find_keys(config: Path | None, master_key_file: Path | None) -> list[AuditKey]:
    """Find what unseals the records.

    Args:
        config: The configuration, for what was not named; without one there is the variable
            AMAS_MASTER_KEY.
        master_key_file: A file with master keys.

    Raises:
        ProviderConfigError: There is no master key, or it is none.
    """
    keys = read_master_keys(_master_keys(config, master_key_file))
    if not keys:
        raise ProviderConfigError(
            f"the master key that the records were sealed with is needed: set {_MASTER_KEY}, or"
            " security.master_key in the configuration, or give --master-key-file FILE"
        )
    return [audit_key(key) for key in keys]


def unreadable_notes(unreadable: Counter[Path]) -> list[str]:
    """Return what to say of lines that could not be read.

    Args:
        unreadable: How many there were, by file.
    """
    return [
        f"{path}: {count(many, 'line')} could not be read, and"
        f" {'is' if many == 1 else 'are'} left out; run `amas-providers audit verify`"
        for path, many in unreadable.items()
    ]


def _master_keys(config: Path | None, file: Path | None) -> Sequence[Secret]:
    if file is not None:
        try:
            content = read_regular(str(file), _MAX_KEY_FILE, private=True)
            return [Secret(content.decode("ascii"))]
        except OSError as error:
            raise ProviderConfigError(f"{file}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ProviderConfigError(f"{file}: there is no master key in it") from None
    if config is None:
        return [Secret(os.environ.get(_MASTER_KEY, ""))]
    security, warnings = load_security(config, openers={"keyring": open_keyring})
    for warning in warnings:
        output.say(f"warning: {warning}")
    return security.master_key


def _audit_settings(config: Path) -> AuditSettings | None:
    """Read the section ``audit:`` alone: mistakes in the others must not keep records from us."""
    document = read_document(config, os.environ).document
    written = document.data.get("audit") if isinstance(document.data, dict) else None
    settings = None
    if written is not None:
        references = References(os.environ, {"keyring": open_keyring}, str(config.parent))
        if isinstance(written, dict):
            written = Resolver(document, references).section("audit", written)
        settings = validate(AuditSettings, written, ("audit",), document)
    document.raise_problems()
    return settings
