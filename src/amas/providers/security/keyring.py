"""Secrets that the operating system's keyring keeps: ``keyring:service/username``."""

from __future__ import annotations

from ..errors import ProviderConfigError
from ..secret import Secret


def open_keyring(text: str, _place: str) -> Secret:
    """Read a secret from the keyring; it may wait for the user to unlock that.

    Args:
        text: ``keyring:service/username``.

    Raises:
        ProviderConfigError: There is no keyring, or no such entry in it.
    """
    service, _, username = text.removeprefix("keyring:").partition("/")
    if not service or not username:
        raise ProviderConfigError("write it as keyring:service/username")
    try:
        import keyring  # noqa: PLC0415 -- an extra: needed only here
        from keyring.errors import KeyringError, NoKeyringError  # noqa: PLC0415
    except ImportError:
        raise ProviderConfigError(
            "the package keyring is missing; run pip install 'amas-providers[keyring]'"
        ) from None
    try:
        found = keyring.get_password(service, username)
    except NoKeyringError:
        raise ProviderConfigError(
            "there is no keyring on this system; set one up, or use file: or ${VAR}"
        ) from None
    except KeyringError as error:
        raise ProviderConfigError(f"the keyring refuses: {type(error).__name__}") from None
    if found is None:
        raise ProviderConfigError(
            "the keyring has no such entry; add it with `keyring set SERVICE USERNAME`"
        )
    return Secret(found)
