"""What a record tells of how a trail was written, for people. Pure."""

from __future__ import annotations

from .backlog import MISSED
from .chain import Line


def note_of(line: Line) -> str | None:
    """Return what is worth knowing of a record, and no sign of anything altered; mostly None."""
    data = line.data
    if line.kind == "dropped":
        reason = data.get("reason")
        what = "events" if reason == MISSED else "records"
        return (
            f"{data.get('count')} {what} were dropped between {data.get('first_time')} and"
            f" {data.get('last_time')}: {reason}"
        )
    if line.kind == "repaired":
        torn = data.get("torn_bytes")
        return f"a last line of {torn} bytes that was not complete was cut off"
    if line.kind == "restored":
        return "the file had been removed or replaced, and was written again"
    return None


def lost(line: Line) -> str:
    """Return what a record of kind ``lost`` tells."""
    first, last = line.data.get("first"), line.data.get("last")
    if last is None:
        return (
            f"the checkpoint was missing when the file was opened: whether records from {first}"
            " on were cut off cannot be told"
        )
    return f"records {first} to {last} were lost or cut off before the file was opened"


def missing_files(first: int, last: int) -> str:
    """Return that files of a chain are missing before another one."""
    if first == last:
        return f"file {first} of the chain is missing before it"
    return f"files {first} to {last} of the chain are missing before it"
