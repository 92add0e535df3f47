"""The command `verify`: whether the records are as they were written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...observability.audit.findings import ChainReport, Problem, Report
from ...observability.audit.reading import open_file
from ...observability.audit.verification import verify
from ...observability.report.wording import count, plain
from .. import output
from .source import find_keys, find_source

_COLUMNS = ("chain", "id", "records", "first", "last", "files")
_LONGEST = 300


def verify_command(
    config: Path | None,
    files: Sequence[Path],
    *,
    checkpoints: Path | None,
    with_checkpoint: bool,
    master_key_file: Path | None,
    as_json: bool,
) -> int:
    """Check a trail, and say where it is not as it was written.

    Args:
        config: The configuration.
        files: Files, instead of those of the configuration.
        checkpoints: Folder of the checkpoints, instead of where they should be.
        with_checkpoint: Whether they are read.
        master_key_file: A file with master keys, instead of those of the configuration.
        as_json: Whether to print JSON.

    Returns:
        The exit code: 1 if there is a problem.
    """
    source = find_source(config, files, empty=True)
    source.require_files(or_checkpoints=with_checkpoint)
    for path in files:
        open_file(path).close()  # what is not there is a mistake of ours, not of the trail
    keys = find_keys(config, master_key_file)
    report = verify(
        source.list_files(),
        keys,
        checkpoints=checkpoints or source.checkpoints,
        require_checkpoint=with_checkpoint,
        trail=source.trail,
    )
    for note in report.notes:
        output.say(f"note: {plain(note, _LONGEST)}")
    if not with_checkpoint:
        output.say("note: without checkpoints it is not known whether the last records are there")
    if as_json:
        output.answer_json(_as_json(report))
    else:
        _show(report)
    return 0 if report.ok else 1


def _show(report: Report) -> None:
    output.table("Chains", _COLUMNS, [_row(chain) for chain in report.chains])
    for problem in report.problems:
        output.answer(_line(problem))
    files = sum(len(chain.files) for chain in report.chains)
    told = f"{count(report.records, 'record')} in {count(files, 'file')} of"
    told = f"{told} {count(len(report.chains), 'chain')}"
    if report.ok:
        output.answer(f"ok: {told} are as they were written")
    else:
        problems = count(len(report.problems), "problem")
        output.answer(f"NOT ok: {problems}; {told} are as they were written, up to there")


def _row(chain: ChainReport) -> tuple[str, ...]:
    return (
        plain(chain.name),
        plain(chain.chain or "-"),
        f"{chain.records:,}",
        plain(chain.first_time or "-"),
        plain(chain.last_time or "-"),
        f"{len(chain.files):,}",
    )


def _line(problem: Problem) -> str:
    line = "" if problem.line is None else f":{problem.line}"
    seq = "" if problem.seq is None else f", seq {problem.seq}"
    return plain(f"{problem.file}{line}: {problem.what}{seq}", _LONGEST)


def _as_json(report: Report) -> dict[str, Any]:
    return {
        "ok": report.ok,
        "records": report.records,
        "chains": [
            {
                "name": chain.name,
                "chain": chain.chain,
                "records": chain.records,
                "first_seq": chain.first_seq,
                "last_seq": chain.last_seq,
                "first_time": chain.first_time,
                "last_time": chain.last_time,
                "files": [str(path) for path in chain.files],
            }
            for chain in report.chains
        ],
        "problems": [
            {
                "file": str(problem.file),
                "line": problem.line,
                "seq": problem.seq,
                "what": problem.what,
            }
            for problem in report.problems
        ],
        "notes": report.notes,
    }
