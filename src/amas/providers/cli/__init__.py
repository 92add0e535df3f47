"""The shell command ``amas-providers``."""

from __future__ import annotations

import logging


def main() -> None:
    """Run the command; the entry point of the console script."""
    # The commands tell what matters themselves; records would say it twice.
    logging.getLogger("amas").addHandler(logging.NullHandler())
    from .app import app  # noqa: PLC0415 -- importing the package stays cheap

    app()
