"""``python -m amas.providers.cli``."""

from . import main

main()
