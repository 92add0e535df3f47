"""Everything that watches a manager, put together as the configuration asks."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ...config.provider_settings import (
    AlertSettings,
    AuditSettings,
    MetricsSettings,
    ObservabilitySettings,
)
from ..errors import AuditUnavailableError, ProviderConfigError
from ..observability.audit.keys import AuditKey
from ..observability.audit.log import AuditLog
from ..observability.audit.records import is_written
from ..observability.bus import EventBus, Observer
from ..observability.events import Event, RecordsTrouble
from ..observability.logging import get_logger
from ..observability.worker import Worker
from ..secret import Secret
from ..security.master_key import MasterKey, derive, read_master_keys
from ..types import ProviderStatus, Request
from .call_notice import CallNotice
from .notices import Notices
from .told import Told

if TYPE_CHECKING:
    from ..observability.alerts import Alert, Alerts
    from ..observability.audit.trail import AuditTrail
    from ..observability.metrics import Metrics
    from ..observability.metrics_server import MetricsServer
    from ..observability.tracing import Tracing

_DAY = 86_400.0
_MEGABYTE = 1_000_000

# Seconds that an answer waits for its record at least, however late it is.
_LEAST_WAIT = 1.0

_log = get_logger("amas.providers.observability")


class Observation:
    """The observers of one manager: from their start to their end, and what a call owes them.

    Args:
        settings: The sections ``audit:``, ``metrics:``, ``tracing:`` and ``alerts:``.
        master_keys: Those of the section ``security:``; the first seals records.
        observers: Observers of the host's.
        on_alert: Called with each alert.
        status: Describes the providers, by name.
        clock: The time in seconds; only differences matter.
        wall: The time of day, in seconds since 1970.

    Attributes:
        waits: Whether an answer waits for its record.

    Raises:
        ProviderConfigError: A section needs a package that is missing, or a master key is none.
    """

    def __init__(
        self,
        settings: ObservabilitySettings,
        master_keys: Iterable[Secret],
        *,
        observers: Iterable[Observer] = (),
        on_alert: Callable[[Alert], None] | None = None,
        status: Callable[[], Mapping[str, ProviderStatus]],
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self.settings = settings
        self._clock = clock
        self._status = status
        keys = read_master_keys(master_keys)
        workers: list[tuple[str, Worker[Event]]] = []
        self._trail, self._records = self._audit(settings.audit, keys, wall)
        if self._records is not None:
            workers.append(("audit", self._records))
        self._metrics = self._figures(settings.metrics)
        if self._metrics is not None:
            workers.append(("metrics", Worker("metrics", self._metrics.handle)))
        self._alerts = self._alarms(settings.alerts, on_alert, clock, wall)
        if self._alerts is not None:
            workers.append(("alerts", Worker("alerts", self._alerts.handle)))
        self.bus = EventBus(
            inline=[] if self._trail is not None else [AuditLog()],
            workers=workers,
            observers=observers,
        )
        self.notices = Notices(
            self.bus,
            wall,
            keys[0].fingerprint if keys else None,
            # Without a trail the logger of the records has them.
            log_calls=self._trail is not None,
        )
        audit = settings.audit if self._trail is not None else None
        self._with_content = settings.audit is not None and settings.audit.content != "none"
        self._blocks = audit is not None and audit.when_unwritable == "block"
        self.waits = self._blocks or (audit is not None and audit.fsync == "always")
        self._tracing = self._spans()
        self._server: MetricsServer | None = None
        self._open = False

    def _audit(
        self,
        settings: AuditSettings | None,
        keys: tuple[MasterKey, ...],
        wall: Callable[[], float],
    ) -> tuple[AuditTrail | None, Worker[Event] | None]:
        if settings is None or settings.path is None:
            return None, None
        from ..observability.audit.trail import AuditTrail  # noqa: PLC0415 -- only where asked for

        trail = AuditTrail(
            Path(settings.path),
            [audit_key(key) for key in keys],
            content=settings.content,
            fsync=settings.fsync,
            checkpoint=None if settings.checkpoint is None else Path(settings.checkpoint),
            max_bytes=settings.max_megabytes * _MEGABYTE,
            max_age=settings.max_days * _DAY,
            keep=None if settings.keep_days is None else settings.keep_days * _DAY,
            wall=wall,
            missed=_counter(weakref.ref(self)),
            tell=_teller(weakref.ref(self)),
        )
        worker = Worker("audit", trail.handle, wanted=is_written)
        # Whoever forgets to shut a manager down loses no record, and keeps no file.
        weakref.finalize(self, _end, worker, trail)
        return trail, worker

    def tell(self, trouble: RecordsTrouble) -> None:
        """Tell that records cannot be written, or can be again."""
        # Once closed, nobody is to be woken any more.
        if self._open:
            self.bus.emit(trouble)

    def _figures(self, settings: MetricsSettings) -> Metrics | None:
        if not settings.enabled:
            return None
        from ..observability.metrics import Metrics  # noqa: PLC0415 -- an extra: needed only here

        return Metrics()

    def _alarms(
        self,
        settings: AlertSettings | None,
        on_alert: Callable[[Alert], None] | None,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> Alerts | None:
        if settings is None and on_alert is None:
            return None
        from ..observability.alerts import Alerts, Webhook  # noqa: PLC0415 -- only where asked for

        settings = settings or AlertSettings()
        webhook = None
        if settings.webhook is not None:
            webhook = Webhook(settings.webhook, settings.format)
        return Alerts(
            min_interval=settings.min_interval,
            latency=settings.latency,
            callback=on_alert,
            webhook=webhook,
            wall=wall,
            clock=clock,
        )

    def _spans(self) -> Tracing | None:
        if not self.settings.tracing.enabled:
            return None
        from ..observability.tracing import Tracing  # noqa: PLC0415 -- an extra: needed only here

        return Tracing(propagate=self.settings.tracing.propagate)

    def told(self, request: Request, *, streamed: bool = False) -> Told:
        """Watch a call to its end; where no call may be without its record, see to that.

        Args:
            request: The call.
            streamed: Whether its answer is asked for piece by piece.

        Returns:
            What the call is to be made within; to enter and to leave it raises
            ``AuditUnavailableError`` if its record cannot be written, and has to be.
        """
        return Told(self, request, streamed)

    def notice(self, request: Request, *, streamed: bool) -> CallNotice:
        """Return what is told of a call.

        Raises:
            AuditUnavailableError: Its record cannot be written, and has to be.
        """
        self._require_records(request)
        return CallNotice(
            self.notices,
            request,
            self._clock,
            streamed=streamed,
            with_content=self._with_content,
            tracing=self._tracing,
        )

    async def recorded(self, request: Request) -> None:
        """Wait, where an answer waits for its record, until that is written.

        Raises:
            AuditUnavailableError: It cannot be written, and has to be.
        """
        if self.waits:
            await self._wait_for_records(request)
            self._require_records(request)

    def _require_records(self, request: Request) -> None:
        trail = self._trail
        if self._blocks and trail is not None and trail.trouble is not None:
            raise AuditUnavailableError(
                f"records cannot be written, and no call may be without (audit.when_unwritable:"
                f" block): {trail.trouble}",
                request_id=request.id,
            )

    async def _wait_for_records(self, request: Request) -> None:
        if self._records is None:
            return
        # A disk that hangs holds nobody up for ever.
        left = max(_LEAST_WAIT, request.deadline - self._clock())
        try:
            async with asyncio.timeout(left):
                await self._records.flush()
        except TimeoutError:
            if self._blocks:
                raise AuditUnavailableError(
                    "the record of the call was not written in time, and no answer may be"
                    " without (audit.when_unwritable: block)",
                    request_id=request.id,
                ) from None

    async def start(self) -> None:
        """Open what is to be open before the first call; what cannot be stops no call."""
        if self._open:
            return
        self._open = True
        if self._trail is not None:
            await asyncio.to_thread(self._trail.open)
        if self._metrics is not None:
            self._metrics.attach(
                status=self._status,
                dropped=self.bus.dropped,
                audit_trouble=None if self._trail is None else self._trouble,
            )
            if self.settings.metrics.port is not None:
                await self._serve(self.settings.metrics.port, self.settings.metrics.host)

    async def _serve(self, port: int, host: str) -> None:
        from ..observability.metrics_server import serve  # noqa: PLC0415 -- an extra: needed only here

        try:
            self._server = await asyncio.to_thread(serve, port, host)
        except ProviderConfigError as error:
            _log.error("metrics_not_served", error=error.message)

    def _trouble(self) -> str | None:
        return None if self._trail is None else self._trail.trouble

    async def close(self) -> None:
        """Write down what is left, and close everything; it may be started again."""
        if self._records is not None:
            await self._records.close()
        self._open = False
        await self.bus.close()
        if self._trail is not None:
            await asyncio.to_thread(self._trail.close)
        if self._alerts is not None:
            await asyncio.to_thread(self._alerts.close)
        if self._server is not None:
            server, self._server = self._server, None
            await asyncio.to_thread(server.close)
        if self._metrics is not None:
            self._metrics.close()


def _counter(there: weakref.ref[Observation]) -> Callable[[], int]:
    """Return what tells how many events the trail had no room for, and keeps nothing."""

    def dropped() -> int:
        observation = there()
        return 0 if observation is None else observation.bus.dropped().get("audit", 0)

    return dropped


def _teller(there: weakref.ref[Observation]) -> Callable[[RecordsTrouble], None]:
    """Return what tells an observation of trouble, and does not keep it."""

    def tell(trouble: RecordsTrouble) -> None:
        observation = there()
        if observation is not None:
            observation.tell(trouble)

    return tell


def _end(worker: Worker[Event], trail: AuditTrail) -> None:
    worker.finish()
    trail.close()


def audit_key(key: MasterKey) -> AuditKey:
    """Return what seals the records of an audit trail, from a master key."""
    return AuditKey(id=key.id, secret=derive(key, "audit"))
