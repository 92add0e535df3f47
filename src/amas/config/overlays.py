"""The overlay of a configuration: which file it is, and which one was meant if there is none."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path, PurePath
from typing import Final

from .document import Document, Place, Source, printable

ENVIRONMENT: Final = "AMAS_ENVIRONMENT"
"""The variable that names the overlay."""

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NEAR: Final = 0.55  # prod is as near to production


def place_of_environment() -> Place:
    """Return the place of what is wrong with the environment's name."""
    return Place(1, 0, Source(f"${{{ENVIRONMENT}}}", lines=False))


def overlay_of(path: str, environment: str, main: Document) -> str | None:
    """Return the path of a file's overlay; None if there can be none.

    Args:
        path: Path of the file.
        environment: What the variable holds.
        main: What the file has.

    Raises:
        ProviderConfigError: The environment's name is no name.
    """
    # In small letters, as the host's settings take it.
    name = environment.strip().lower()
    if not name:
        return None
    if not _NAME.fullmatch(name):
        text = "the name of an environment has nothing but letters, digits, _ and -; rename it"
        raise main.fatal(text, place_of_environment())
    file = PurePath(path)
    if not file.name or file.stem.endswith(f".{name}"):
        return None
    return str(file.with_name(f"{file.stem}.{name}{file.suffix}"))


def meant_instead(overlay: str) -> str | None:
    """Say which file was probably meant, if an overlay is not there.

    It reads a folder, so call it in a thread where an event loop runs.

    Args:
        overlay: Path of the overlay.

    Returns:
        What to say; None if the overlay is there, or nothing looks like it.
    """
    if os.path.lexists(overlay):
        return None
    file = PurePath(overlay)
    stem, _, name = file.stem.rpartition(".")
    try:
        beside = sorted(each.name for each in Path(file.parent).iterdir())
    except OSError:
        return None
    names = {
        each[len(stem) + 1 : len(each) - len(file.suffix)]: each
        for each in beside
        if each.startswith(f"{stem}.") and each.endswith(file.suffix)
    }
    cases = {each.lower(): each for each in names if _NAME.fullmatch(each)}
    near = difflib.get_close_matches(name, cases, n=1, cutoff=_NEAR)
    if not near:
        return None
    there = printable(names[cases[near[0]]])
    todo = "rename it, in small letters" if near[0] == name else "correct the environment's name"
    return f"there is no {printable(file.name)}; there is {there}: {todo}, if that was meant"
