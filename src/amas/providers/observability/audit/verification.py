"""Finding out whether a trail is as it was written, and if not, where it was altered first.

It takes the memory of a few records, however many there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from .checking import Check
from .checkpoint import read_checkpoint
from .files import ChainName, chain_of, chains, checkpoint_files
from .findings import ChainReport, Problem, Report
from .keys import AuditKey
from .place import place_of

__all__ = ["ChainReport", "Problem", "Report", "verify"]

# A trail that is being written may change under the reader's eyes.
_ROUNDS: Final = 5


def verify(
    files: Sequence[Path],
    keys: Iterable[AuditKey],
    *,
    checkpoints: Path | None = None,
    require_checkpoint: bool = True,
    trail: Path | None = None,
) -> Report:
    """Check files of a trail, which may be written meanwhile.

    Args:
        files: Its files. What else there is of their chains is added.
        keys: What may have sealed them, also master keys that are used no more.
        checkpoints: Folder of the checkpoints; None for that of each file.
        require_checkpoint: Whether a chain without its checkpoint is a problem. If not, none is
            read, and records that were cut off at the end are not missed.
        trail: The file that is configured, if the files are all there are of its trail: then it
            is known under which name each must have been written, and which are missing.

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
            place = place_of(name, trail, groups)
            check = Check(name, place, given, known, report)
            check.run(checkpoints, required=require_checkpoint)
        if require_checkpoint:
            for name, checkpoint in _without_files(groups, checkpoints, trail):
                _miss(name, checkpoint, known, report)
        _find_copies(report)
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


def _without_files(
    groups: Iterable[ChainName], checkpoints: Path | None, trail: Path | None
) -> Iterator[tuple[ChainName, Path]]:
    """Yield the chains of which there is a checkpoint, and nothing else."""
    if trail is not None:
        known = {name.checkpoint(checkpoints): name for name in chains(trail)}
        found = [(known[path], path) for path in checkpoint_files(trail, checkpoints)]
    else:
        trails = {(name.folder, name.base, name.suffix) for name in groups}
        found = [
            (name, path)
            for folder, base, suffix in sorted(trails)
            for path in sorted((checkpoints or folder).glob("*.checkpoint"))
            if (name := ChainName(folder, path.stem, suffix)).base == base
        ]
    taken = set(groups)
    for name, path in found:
        if name not in taken and not name.live.exists() and not name.put_aside():
            yield name, path


def _miss(name: ChainName, checkpoint: Path, keys: Mapping[str, AuditKey], report: Report) -> None:
    newest = read_checkpoint(checkpoint, keys).newest
    if newest is None or newest.link.seq:
        seq = newest.link.seq if newest else None
        what = f"the file is missing, {checkpoint} knows it"
        report.problems.append(Problem(name.live, None, seq, what))


def _find_copies(report: Report) -> None:
    """Find chains that are there under several names."""
    first: dict[str, ChainReport] = {}
    for chain in report.chains:
        original = first.setdefault(chain.chain, chain)
        if chain.chain and original is not chain:
            what = f"of the same chain {chain.chain} as {original.files[-1]}: one is a copy"
            report.problems.append(Problem(chain.files[-1], None, None, what))
