"""`amas-providers migrate scan`: what it prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from ....config.document import printable
from .. import output
from .findings import Finding
from .scan import Report, scan

# So many of the files that something is said about are named; JSON has them all.
_NAMED = 5


def scan_command(path: Path, *, as_json: bool) -> int:
    """Scan, and print what was found.

    Returns:
        The exit code: 0 also if something was found, 2 if there is nothing to read.
    """
    try:
        path.stat()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "this is no possible path"
        output.say(f"{printable(str(path))}: {why}")
        return 2
    report = scan(path)
    if as_json:
        output.answer_json(
            {
                "path": _encodable(str(path)),
                "files": report.files,
                "summary": _counts(report),
                "findings": [_as_json(asdict(finding)) for finding in report.findings],
                "notes": [_as_json(asdict(note)) for note in report.notes],
            }
        )
        return 0
    for finding in report.findings:
        output.answer(_line(finding))
    for line in _closing(report):
        output.say(line)
    return 0


def _line(finding: Finding) -> str:
    guess = "" if finding.certain else " (best effort)"
    return (
        f"{printable(finding.path)}:{finding.line}:{finding.column}: {printable(finding.what)}{guess}"
        f" -> {finding.todo} [MIGRATION.md: {finding.section}]"
    )


def _counts(report: Report) -> dict[str, int]:
    """Count the findings by what they are uses of, most first."""
    return dict(Counter(finding.subject for finding in report.findings).most_common())


def _closing(report: Report) -> Iterator[str]:
    found = len(report.findings)
    within = len({finding.path for finding in report.findings})
    yield (
        f"{found} uses in {within} of {report.files} files"
        if found
        else (f"nothing to migrate in {report.files} files")
    )
    if found:
        yield "  " + ", ".join(f"{name} {count}" for name, count in _counts(report).items())
    by_reason: dict[str, list[str]] = {}
    for note in report.notes:
        # Lines and the like differ from file to file.
        reason = note.why.partition(" in line ")[0]
        if note.why.endswith("read line by line"):
            reason = f"{reason.partition(',')[0]}, read line by line"
        by_reason.setdefault(reason, []).append(note.path)
    for reason, paths in by_reason.items():
        more = f", and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
        yield printable(f"{len(paths)} times {reason}: {', '.join(paths[:_NAMED])}{more}")


def _as_json(row: Mapping[str, object]) -> dict[str, object]:
    return {key: _encodable(value) for key, value in row.items()}


def _encodable(value: object) -> object:
    """Replace what a file's name may have and JSON cannot: bytes that are no UTF-8."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    return value
