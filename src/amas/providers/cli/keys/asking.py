"""How a key comes in: typed where nobody sees it, or piped; never as an argument."""

from __future__ import annotations

import getpass
import sys
import warnings
from collections.abc import Iterable

from ....config.references import References
from ...base.provider_config import key_problem
from ...errors import ProviderConfigError
from ...key_shapes import mask_shapes
from ...secret import Secret

_MAX_CHARACTERS = 64 << 10
_NEVER_AN_ARGUMENT = (
    "a key is never one: others see arguments in the list of processes, and the shell's history"
    " keeps them. Type it when asked or pipe it in; if it was a key, let the vendor make a new one"
)


def ask_for_key(what: str) -> Secret:
    """Read a key from the terminal, hidden, or from standard input.

    Args:
        what: What it is the key of, for the prompt.

    Raises:
        ProviderConfigError: It is none, or the terminal cannot hide it.
    """
    if sys.stdin.isatty():
        key = _typed(f"Key of {what} (it is not shown): ")
    else:
        key = Secret(sys.stdin.read(_MAX_CHARACTERS))
    value = key.get_secret_value()
    if not value:
        raise ProviderConfigError("no key was given; type it when asked, or pipe it in")
    if len(value.split()) > 1:
        raise ProviderConfigError("a key is one word, and more came; give the key alone")
    if wrong := key_problem(value):
        raise ProviderConfigError(f"the key {wrong}")
    if References({}, {}, "").scheme(value) or References.has_variables(value):
        raise ProviderConfigError(
            "this is a reference, not a key; write it into the file as it is, or give the key"
        )
    return key


def _typed(prompt: str) -> Secret:
    with warnings.catch_warnings():
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            return Secret(getpass.getpass(prompt))
        except getpass.GetPassWarning:
            raise ProviderConfigError(
                "this terminal would show the key; pipe it in instead"
            ) from None
        except EOFError:
            return Secret("")


def refuse_arguments(arguments: list[str]) -> None:
    """Refuse what a command does not take, without repeating it.

    Raises:
        ProviderConfigError: There is some.
    """
    if arguments:
        raise ProviderConfigError(
            f"there is an argument or option that this command does not take; {_NEVER_AN_ARGUMENT}"
        )


def refuse_keys(texts: Iterable[str]) -> None:
    """Refuse what looks like a key and stands where none belongs, without repeating it.

    Raises:
        ProviderConfigError: There is some.
    """
    if any(mask_shapes(text) != text for text in texts):
        raise ProviderConfigError(f"an argument or answer looks like a key; {_NEVER_AN_ARGUMENT}")
