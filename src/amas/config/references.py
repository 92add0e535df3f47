"""References to what is not in the configuration itself: ``${VAR}``, ``file:`` and ``enc:``."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypeAlias

from ..providers.errors import ProviderError
from ..providers.secret import Secret
from .document import Path as DocumentPath
from .document import printable, scalar_problem
from .files import read_regular

Opener: TypeAlias = Callable[[str, str], str]
"""Opens the text of a secret field (``enc:v1:…``) at a place (``providers.llm.openai.api_key``)."""

MASTER_KEY_PLACE: Final = "providers.security.master_key"
"""Where master keys stand: what a file has for this place nobody else may read."""

_REFERENCE: Final = re.compile(
    r"""
      \$\$(?=\{)                            # $${ is a literal ${
    | \$\{ (?P<name>[A-Za-z_][A-Za-z0-9_]*)
           (?: :- (?P<default>[^{}]{0,1024}) )? \}
    | (?P<broken> \$\{ )
    """,
    re.VERBOSE,
)
_SCHEME: Final = re.compile(r"([a-z][a-z0-9_+]{0,15}):")
# Without an opener for them these are still no keys to send to anybody.
_CLOSED: Final = ("enc", "keyring", "file")
# A sealed value with a mistake in its head is no key either: it would be sent to the vendor.
_NEARLY_ENC: Final = re.compile(r"(?s).{0,4}(?:v1:|:v.:|:.1:|:v1.)[0-9a-f]{8}:[A-Za-z0-9_-]{40}")
# How shells, Windows, make and LiteLLM write a variable; sent as a key it would only be refused.
_OTHERS: Final = re.compile(
    r"\s*(?:\$|%|\$?env[:.]|os\.environ/|\$?\(|<)[A-Z][A-Z0-9_]{2,}[%)>]?\s*"
)
# A name that stands alone is one only if nothing else looks like it.
_NAME_OF_KEY: Final = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*_(?:KEY|TOKEN|SECRET)(?:_[0-9]+)?")
_TRUTH: Final = {"true": True, "yes": True, "on": True, "1": True} | dict.fromkeys(
    ("false", "no", "off", "0"), False
)
_SET_IT: Final = "set it, or remove the line"
_PRIVATE: Final = "a master key needs a file of your own, which only you can read"
_TODO: Final = {"enc": "see `amas-providers keys list`"}
_MAX_TEXT: Final = 1 << 20
_MAX_SECRET_BYTES: Final = 64 << 10


class Expanded(str):
    """A text that came out of a reference, and so may stand for a number or a truth value."""

    __slots__ = ()


LEFT_OUT: Final = Expanded()
"""Stands in a list of keys for one that is not to be had, so that the others keep their places."""


class AbsentError(Exception):
    """A reference leads nowhere.

    Args:
        what: What is missing.
        todo: What to do about it.
        optional: Whether the user said, by ``${VAR:-}``, that nothing is fine.

    Attributes:
        path: Where the reference stands; whoever knows it sets it.
    """

    path: DocumentPath = ()

    def __init__(self, what: str, todo: str = _SET_IT, *, optional: bool = False) -> None:
        super().__init__(what)
        self.what = what
        self.todo = todo
        self.optional = optional


class BrokenReferenceError(Exception):
    """A reference is not written as references are; the message says how."""


def truth(text: str) -> bool | None:
    """Read a truth value from a variable's text; None if it is none."""
    return _TRUTH.get(text.strip().lower())


def variable_meant(text: str) -> str | None:
    """Return the variable that a text names in another tool's way, or bare; None if it names none.

    Args:
        text: The text of a secret's field.

    Returns:
        Its name, or ``NAME`` where that could be a key itself.
    """
    name = text.strip(" $%()<>").removeprefix("os.environ/")
    name = re.sub(r"\A\$?env[:.]", "", name)
    if _NAME_OF_KEY.fullmatch(name):
        return name
    return "NAME" if _OTHERS.fullmatch(text) else None


def variables_in(text: str) -> list[str]:
    """Return the names of the variables that a text refers to."""
    return [match["name"] for match in _REFERENCE.finditer(text) if match["name"]]


class References:
    """Follows references.

    Args:
        environ: The variables.
        openers: What opens the texts of a scheme, by the scheme's name (``enc``).
        folder: Where relative paths of ``file:`` begin.

    Attributes:
        files: The files that ``file:`` has led to, also to one that is not there, in order.
    """

    def __init__(
        self, environ: Mapping[str, str], openers: Mapping[str, Opener], folder: str
    ) -> None:
        self._environ = environ
        self._folder = folder
        self._openers = dict(openers)
        self.files: dict[str, None] = {}

    def within(self, folder: str) -> References:
        """Return the same with another folder for ``file:``; openers added later hold for both."""
        if folder == self._folder:
            return self
        other = copy.copy(self)
        other._folder = folder  # noqa: SLF001 -- of our own copy
        return other

    def is_reference(self, text: str) -> bool:
        """Whether a secret field's text only says where the secret is."""
        if self.scheme(text):
            return True
        found = [match for match in _REFERENCE.finditer(text) if match["name"]]
        # A default is in the file like any other text.
        return bool(found) and all(match["default"] in {None, "", "none"} for match in found)

    def looks_like_reference(self, text: str, *, option: bool = False) -> bool:
        """Whether a text has the form of a reference, also of one written as elsewhere.

        Args:
            text: The text of a secret field.
            option: Whether it is one of ``options``, which may have LiteLLM's own references.
        """
        if self.scheme(text) or "${" in text:
            return True
        return not option and variable_meant(text) is not None

    @staticmethod
    def has_variables(text: str) -> bool:
        """Whether a text has a ``${VAR}``, with or without a default."""
        return bool(variables_in(text))

    def expand(self, text: str) -> str:
        """Replace the variables in a text; what they hold is not expanded again.

        Args:
            text: A text with any number of ``${VAR}``, ``${VAR:-default}`` and ``$${``.

        Returns:
            The text itself if it has none, else the result.

        Raises:
            AbsentError: A variable is not set, or nothing but blanks came out.
            BrokenReferenceError: ``${`` begins no reference.
        """
        pieces: list[str] = []
        names: list[str] = []
        optional = True
        end = size = 0
        for match in _REFERENCE.finditer(text):
            value = self._value(match)
            pieces += (text[end : match.start()], value)
            size += len(value)
            if size > _MAX_TEXT:
                raise BrokenReferenceError("unfolds to more than 1 MiB; shorten the variables")
            if match["name"]:
                names.append(match["name"])
                optional = optional and match["default"] is not None
            end = match.end()
        if not end:
            return text
        pieces.append(text[end:])
        result = Expanded("".join(pieces))
        if result.strip():
            return result
        raise AbsentError(f"${{{names[0]}}} is empty", optional=optional)

    def _value(self, match: re.Match[str]) -> str:
        if match["broken"]:
            raise BrokenReferenceError(
                "${ begins no reference; write ${NAME} or ${NAME:-default}, "
                "with letters, digits and _, or $${ for the characters themselves"
            )
        name: str | None = match["name"]
        if name is None:
            return "$"
        value = self._environ.get(name)
        if match["default"] is not None and not value:
            return str(match["default"])
        if value is None:
            raise AbsentError(f"${{{name}}} is not set")
        if scalar_problem(value):
            raise AbsentError(f"${{{name}}} is not UTF-8")
        return value

    def add_opener(self, scheme: str, opener: Opener) -> None:
        """Set what opens the texts of a scheme."""
        self._openers[scheme] = opener

    def secret(self, text: str, place: str) -> Secret:
        """Return the secret that a secret field's text stands for.

        Args:
            text: The text: the secret itself, or a reference of any kind.
            place: Address of the field, for an opener.

        Returns:
            The secret.

        Raises:
            AbsentError: It is not to be had.
            BrokenReferenceError: ``${`` begins no reference.
        """
        # The scheme is read before expanding: a variable's content decides nothing.
        scheme = self.scheme(text)
        if scheme is None and ".options." not in place and (name := variable_meant(text)):
            raise BrokenReferenceError(f"this is no key but a variable; write it as ${{{name}}}")
        value = self.expand(text)
        if scheme is None:
            return Secret(value)
        opener = self._openers.get(scheme, self._read if scheme == "file" else None)
        if opener is None:
            raise AbsentError(
                f"no opener for {scheme}: values is set up here", "set one up, or use ${VAR}"
            )
        try:
            opened = Secret(opener(value.strip(), place))
        except AbsentError:
            raise
        except ProviderError as error:
            todo = _TODO.get(scheme, _SET_IT)
            text = f"the {scheme}: value cannot be opened: {error.message}"
            raise AbsentError(text, todo) from None
        except Exception as error:  # noqa: BLE001 -- a plug-in's failure costs one provider
            reason = type(error).__name__
            raise AbsentError(f"the {scheme}: value cannot be opened: {reason}") from None
        if not opened.get_secret_value():
            raise AbsentError(f"the {scheme}: value is empty")
        return opened

    def scheme(self, text: str) -> str | None:
        """Return the scheme that a secret field's text has, such as ``file``; None if it has none."""
        match = _SCHEME.match(text.lstrip())
        if match and (match[1] in self._openers or match[1] in _CLOSED):
            return match[1]
        return "enc" if _NEARLY_ENC.match(text) else None

    def _read(self, text: str, place: str) -> str:
        path = text.strip().removeprefix("file:")
        # What is no absolute path may be a key with `file:` put before it.
        shown = f"the file {printable(path)}" if path.startswith("/") else "the file"
        private = place.startswith(MASTER_KEY_PLACE)
        file = str(self._path(path))
        self.files[file] = None
        try:
            content = read_regular(file, _MAX_SECRET_BYTES, private=private)
            return content.decode("utf-8-sig").strip()
        except OSError as error:
            verb, todo = ("used", _PRIVATE) if private else ("read", _SET_IT)
            raise AbsentError(f"{shown} cannot be {verb}: {error.strerror}", todo) from None
        except UnicodeDecodeError:
            raise AbsentError(f"{shown} is not UTF-8") from None

    def file_of(self, text: str) -> Path:
        """Return the file that a ``file:`` reference names.

        Args:
            text: The reference.

        Raises:
            AbsentError: A variable in it is not set.
            BrokenReferenceError: ``${`` begins no reference.
        """
        return self._path(self.expand(text).strip().removeprefix("file:"))

    def _path(self, path: str) -> Path:
        if path.startswith("//"):
            path = "/" + path.lstrip("/")  # file:///run/secrets/key is an address of the same
        return Path(self._folder) / path
