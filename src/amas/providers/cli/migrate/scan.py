"""Finding out where a code base uses what is being replaced; nothing of it is executed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import module_names
from .findings import Finding, Note, Source
from .module_names import Place
from .python_files import NotReadableError, scan_python
from .text_files import Part, own_module, scan_text, without_comments
from .tree import Item, read, walk
from .vocabulary import vocabulary


@dataclass(slots=True)
class Report:
    """The result of a scan.

    Args:
        files: How many files were read.
        findings: What was found, by path, line and column.
        notes: What was left out, or read otherwise than usual.
    """

    files: int = 0
    findings: list[Finding] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)


def scan(root: Path) -> Report:
    """List the uses of old modules and vendors' SDKs below a folder; reads only.

    Args:
        root: The folder, or a single file.
    """
    module_names.forget()
    report = Report()
    for item in walk(root):
        if isinstance(item, Note):
            report.notes.append(item)
        else:
            _scan_file(item, root, report)
    report.findings.sort(key=lambda finding: (finding.path, finding.line, finding.column))
    return report


def _scan_file(item: Item, root: Path, report: Report) -> None:
    path = str(item.path)
    try:
        text, remark = read(item)
    except OSError as error:
        report.notes.append(Note(path, f"cannot be read ({error.strerror})"))
        return
    report.files += 1
    if remark:
        report.notes.append(Note(path, remark))
    source = Source(path, text)
    place = Place(item.path, root if root.is_dir() else root.parent)
    if item.sort == "text":
        findings = _by_line(source, place, is_code=False)
    else:
        try:
            scan_python(source, place)
            findings = source.finished()
        except NotReadableError as error:
            report.notes.append(Note(path, f"{error}, read line by line"))
            findings = _by_line(Source(path, text), place, is_code=True)
    report.findings += _of_old_module(findings, item.path)


def _by_line(source: Source, place: Place, *, is_code: bool) -> Sequence[Finding]:
    # JSON has no comments, and a notebook's lines are all strings.
    if not source.path.endswith((".json", ".ipynb")):
        source.text = without_comments(source.text)
    scan_text(source, place, Part(is_code=is_code, certain=False))
    return source.finished()


def _of_old_module(findings: Sequence[Finding], path: Path) -> Sequence[Finding]:
    """Of an old module's own source, keep only what it imports of other old modules."""
    own = own_module(path.absolute().as_posix())
    if own is None:
        return findings
    todo = "the drop-in of the same name takes its place; what it uses goes with it"
    if "" in own.packages and len(own.packages) == 1:
        todo = "delete it when nothing imports it any more; what it uses goes with it"
    known = vocabulary()
    return [
        Finding(
            path=str(path), line=1, column=1, kind="module", subject=own.key,
            what=f"is the old {own.key} itself", todo=todo, section=known.sections["cleanup"],
        ),
        *(
            finding
            for finding in findings
            if finding.kind == "import"
            and finding.subject != own.key
            and not known.modules[finding.subject].is_sdk
        ),
    ]  # fmt: skip
