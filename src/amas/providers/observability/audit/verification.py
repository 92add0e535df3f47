"""Finding out whether a trail is as it was written, and if not, where it was altered first.

It takes the memory of a few records, however many there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from .checking import Check
from .checkpoint import read_checkpoint
from .files import ChainName, chain_of
from .findings import ChainReport, Problem, Report
from .keys import AuditKey

__all__ = ["ChainReport", "Problem", "Report", "verify"]

# A trail that is being written may change under the reader's eyes.
_ROUNDS: Final = 5


def verify(
    files: Sequence[Path],
    keys: Iterable[AuditKey],
    *,
    checkpoints: Path | None = None,
    require_checkpoint: bool = True,
) -> Report:
    """Check files of a trail, which may be written meanwhile.

    Args:
        files: Its files. What else there is of their chains is added.
        keys: What may have sealed them, also master keys that are used no more.
        checkpoints: Folder of the checkpoints; None for that of each file.
        require_checkpoint: Whether a chain without its checkpoint is a problem. If not, none is
            read, and records that were cut off at the end are not missed.

    Returns:
        What was found. Of each chain, the first problem ends its check; only that records were
        lost before the writer was started again does not.
    """
    known = {key.id: key for key in keys}
    rounds = 0
    while True:
        rounds += 1
        groups = _groups(files)
        before = _state(groups, checkpoints)
        report = Report()
        for name, given in groups.items():
            Check(name, given, known, report).run(checkpoints, required=require_checkpoint)
        if require_checkpoint:
            _look_for_missing(groups, known, checkpoints, report)
        if report.ok or rounds == _ROUNDS or _state(groups, checkpoints) == before:
            return report


def _groups(files: Iterable[Path]) -> dict[ChainName, list[Path]]:
    """Return the files that belong to each chain."""
    found: dict[ChainName, list[Path]] = {}
    for path in files:
        found.setdefault(chain_of(path)[0], []).append(path)
    return found


def _state(names: Iterable[ChainName], checkpoints: Path | None) -> list[object]:
    """Return what changes when files are put aside, removed, or written."""
    found: list[object] = []
    for name in names:
        aside = [path for _, path in name.put_aside()]
        found += aside
        for path in (*aside, name.live, name.checkpoint(checkpoints)):
            try:
                seen = path.stat()
            except OSError:
                found.append(None)
            else:
                found.append((seen.st_dev, seen.st_ino, seen.st_mtime_ns))
    return found


def _look_for_missing(
    groups: Mapping[ChainName, Sequence[Path]],
    keys: Mapping[str, AuditKey],
    checkpoints: Path | None,
    report: Report,
) -> None:
    """Miss chains of which there is a checkpoint, and nothing else."""
    trails = {(name.folder, name.base, name.suffix) for name in groups}
    for folder, base, suffix in sorted(trails):
        for path in sorted((checkpoints or folder).glob("*.checkpoint")):
            name = ChainName(folder, path.stem, suffix)
            if name.base != base or name in groups or name.live.exists() or name.put_aside():
                continue
            newest = read_checkpoint(path, keys).newest
            if newest is None or newest.link.seq:
                seq = newest.link.seq if newest else None
                report.problems.append(
                    Problem(name.live, None, seq, f"the file is missing, {path} knows it")
                )
