"""What is said of a trail that cannot be written, loses something, or works again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from ..events import RecordsTrouble
from ..logging import get_logger
from .backlog import CLOSED, MISSED

AGAIN: Final = "it can be written again"

_log = get_logger("amas.providers.observability")


class Trouble:
    """The trouble of one trail: told to whoever listens, and in the log for everybody else.

    Args:
        path: The file that is configured.
        wall: The time of day, in seconds since 1970.
        tell: Is told.

    Attributes:
        reason: Why records cannot be written; None while they can.
        lost: How many were dropped since they last could.
    """

    def __init__(
        self, path: Path, wall: Callable[[], float], tell: Callable[[RecordsTrouble], None]
    ) -> None:
        self.reason: str | None = None
        self.lost = 0
        self._path = str(path)
        self._wall = wall
        self._tell = tell

    def goes_on(self, reason: str) -> None:
        """Records cannot be written; it is said when that begins."""
        begins, self.reason = self.reason is None, reason
        if begins:
            self.say(working=False, reason=reason)

    def is_over(self) -> None:
        """Records can be written; it is said if they could not before."""
        if self.reason is not None:
            self.reason = None
            self.say(working=True, reason=AGAIN, lost=self.lost)
            self.lost = 0

    def say(self, *, working: bool, reason: str, lost: int = 0) -> None:
        """Say that something begins to be wrong, or is right again.

        Args:
            working: Which of them.
            reason: What is wrong, or what was done about it.
            lost: How many records were lost meanwhile.
        """
        if working:
            _log.info("audit_trail_works_again", path=self._path, reason=reason, lost=lost)
        else:
            _log.warning("audit_trail_in_trouble", path=self._path, reason=reason)
        self._hand_on(working=working, reason=reason, lost=lost)

    def missed(self, many: int) -> None:
        """Say that so many events never came as far as the trail."""
        _log.warning("audit_events_missed", path=self._path, events=many, reason=MISSED)
        if self.reason is None:
            self._hand_on(working=True, reason=MISSED, lost=many)
        else:
            self.lost += many

    def not_written(self, many: int) -> None:
        """Say that so many records are left when the trail is closed, or came later."""
        lost, self.lost = self.lost + many, 0
        why = self.reason or CLOSED
        _log.error("audit_records_not_written", path=self._path, records=many, reason=why)
        told = f"closed, and {many} records could not be written: {why}"
        self._hand_on(working=False, reason=told, lost=lost)

    def _hand_on(self, *, working: bool, reason: str, lost: int) -> None:
        self._tell(
            RecordsTrouble(
                at=self._wall(), trail=self._path, working=working, reason=reason, lost=lost
            )
        )
