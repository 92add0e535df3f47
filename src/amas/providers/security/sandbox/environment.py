"""What a child is started with: an environment without anything of the service's."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Final

_PASSED_ON: Final = frozenset({"PATH", "LANG", "LANGUAGE", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR"})


def child_environment(environ: Mapping[str, str], private: str) -> dict[str, str]:
    """Return the environment of a child.

    Args:
        environ: That of the service; of it only what names a place or a language is passed on.
        private: The child's own folder.
    """
    passed = {
        name: value
        for name, value in environ.items()
        if name in _PASSED_ON or name.startswith("LC_")
    }
    # It imports what the service can import; nothing from wherever it happens to run.
    paths = [os.path.abspath(path or os.curdir) for path in sys.path]  # noqa: PTH100 -- resolves no links
    return passed | {
        "HOME": private,
        "TMPDIR": private,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONSAFEPATH": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        # Each arena reserves address space, which is what its memory is counted by.
        "MALLOC_ARENA_MAX": "2",
    }
