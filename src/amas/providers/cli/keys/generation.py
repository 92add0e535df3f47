"""The command `generate-master`."""

from __future__ import annotations

from pathlib import Path

from ...security.master_key import MasterKey, generate
from .. import output
from .files import new_private_file


def generate_command(file: Path | None) -> int:
    """Make a master key.

    Args:
        file: Where it goes; None for standard output.

    Returns:
        The exit code.
    """
    key = generate()
    if file is None:
        output.answer(key.get_secret_value())
        where = "AMAS_MASTER_KEY, or a file of mode 0600 with master_key: file:…"
        output.say(f"master key {MasterKey(key).id}; keep it in {where}")
        return 0
    new_private_file(str(file), f"{key.get_secret_value()}\n".encode())
    output.say(
        f"{file}: master key {MasterKey(key).id}; use it with master_key: file:{file.resolve()}"
    )
    return 0
