"""Labels of metrics: few of them, whatever callers call themselves."""

from __future__ import annotations

import threading
from typing import Final

from ..secret import scrub

OTHER: Final = "__other__"
"""Nobody is called that, so that no real name is taken for the rest."""

# Characters of a label; a name longer than that was not meant as one.
_LONGEST: Final = 120


class Labels(dict[object, str]):
    """The label of each name, for the first names that come; ``OTHER`` for all further ones.

    Each name that is new to Prometheus costs memory there and here for as long as it is kept.

    Args:
        limit: Most names that have a label of their own.
        nobody: The label of None.
    """

    def __init__(self, limit: int, nobody: str) -> None:
        super().__init__({None: nobody})
        self._limit = limit
        self._adding = threading.Lock()

    def __missing__(self, name: object) -> str:
        with self._adding:
            # None is not counted.
            if len(self) > self._limit:
                return OTHER
            self[name] = label = clean(str(name))
            return label


def clean(name: str) -> str:
    """Return a name as a page can show it: no secret, of bounded length, in proper Unicode."""
    return scrub(name)[:_LONGEST].encode(errors="replace").decode()
