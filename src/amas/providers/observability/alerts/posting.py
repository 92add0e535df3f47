"""What is posted to a webhook, and one try to post it."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from ...base.retry_after import retry_after
from ...secret import MASK, Secret, scrub
from .alert import Alert

if TYPE_CHECKING:
    import httpx

Form: TypeAlias = Literal["json", "slack"]

# Characters of an id that are shown to people; recoveries show the same.
_SHORT_ID: Final = 8

_TIMED_OUT: Final = 408
_TOO_MANY: Final = 429
_OK: Final = range(200, 300)
_REDIRECTS: Final = range(300, 400)
_SERVER_ERRORS: Final = 500


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of one try.

    Args:
        delivered: Whether it was taken.
        again: Whether another try may bring more.
        reason: Why it was not taken, without the address.
        retry_after: Seconds that the receiver asks to wait.
    """

    delivered: bool
    again: bool = False
    reason: str = ""
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Who tells an alert: one process of one service at one host.

    Args:
        service: Name of the service.
        host: Name of the host.
        pid: Number of the process.
    """

    service: str
    host: str
    pid: int


def this_process(service: str | None = None) -> Source:
    """Return who tells alerts here.

    Args:
        service: Name of the service; that of the program if None.
    """
    if service is None:
        program = Path(sys.argv[0])
        service = program.parent.name if program.name == "__main__.py" else program.name
    return Source(service or "python", socket.gethostname(), os.getpid())


class Post:
    """Posts to one address; nothing is read from the environment, and no redirect is followed.

    Args:
        url: The address; a credential, which appears nowhere.
        form: ``json`` or ``slack``.
        wall: The time of day, in seconds since 1970.
        service: Name of the service; that of the program if None.
    """

    def __init__(
        self, url: Secret, form: Form, wall: Callable[[], float], service: str | None = None
    ) -> None:
        self._url = url
        self._body = slack_body if form == "slack" else json_body
        self._wall = wall
        self._service = service

    @contextmanager
    def connected(self) -> Iterator[Callable[[Alert, float], Reply]]:
        """Give out what posts one alert, within so many seconds for each step of it."""
        import httpx  # noqa: PLC0415 -- it takes a while, and is needed only with a webhook

        # Not a client: that would log the address, and knows redirects, cookies and proxies.
        tls = httpx.create_ssl_context(trust_env=False)
        with httpx.HTTPTransport(verify=tls, trust_env=False) as transport:
            yield lambda alert, seconds: self._post(transport, alert, seconds)

    def _post(self, transport: httpx.HTTPTransport, alert: Alert, seconds: float) -> Reply:
        import httpx  # noqa: PLC0415 -- loaded by now

        try:
            response = transport.handle_request(self._request(alert, seconds))
            response.close()
        except httpx.TransportError as error:
            return Reply(delivered=False, again=True, reason=self._why(error))
        except Exception as error:  # noqa: BLE001 -- an address that httpx cannot read, for one
            return Reply(delivered=False, reason=self._why(error))
        return _judge(response.status_code, response.headers.get("retry-after", ""), self._wall())

    def _request(self, alert: Alert, seconds: float) -> httpx.Request:
        import httpx  # noqa: PLC0415 -- loaded by now

        request = httpx.Request(
            "POST",
            self._url.get_secret_value(),
            content=self._body(alert, this_process(self._service)),
            headers={"Content-Type": "application/json", "User-Agent": "amas-providers"},
            extensions={"timeout": httpx.Timeout(seconds).as_dict()},
        )
        if request.url.userinfo:
            login = httpx.BasicAuth(request.url.username, request.url.password)
            request = next(login.sync_auth_flow(request))
        return request

    def _why(self, error: Exception) -> str:
        """Return what went wrong, without any part of the address but its host."""
        import httpx  # noqa: PLC0415 -- loaded by now

        told = str(error)
        try:
            path = httpx.URL(self._url.get_secret_value()).raw_path.decode()
        except httpx.InvalidURL:
            return type(error).__name__
        if len(path) > 1:
            told = told.replace(path, MASK)
        return scrub(f"{type(error).__name__}: {told}" if told else type(error).__name__)


def json_body(alert: Alert, source: Source) -> bytes:
    """Return an alert as JSON, for programs.

    Args:
        alert: The alert.
        source: Who tells it.
    """
    fields = {
        "kind": alert.kind,
        "subject": scrub(alert.subject),
        "severity": alert.severity,
        "status": "firing" if alert.firing else "resolved",
        "at": _iso(alert.at),
        "since": _iso(alert.since),
        "summary": scrub(alert.summary),
        "details": {
            name: scrub(value) if isinstance(value, str) else value
            for name, value in alert.details.items()
        },
        "source": {
            "name": "amas-providers",
            "service": scrub(source.service),
            "host": source.host,
            "pid": source.pid,
        },
        "id": alert.id,
    }
    return json.dumps(fields).encode()


def slack_body(alert: Alert, source: Source) -> bytes:
    """Return an alert as a message in the form of Slack's incoming webhooks.

    Args:
        alert: The alert.
        source: Who tells it.
    """
    critical = alert.severity == "critical"
    sign = "rotating_light" if critical else "warning"
    if not alert.firing:
        sign = "white_check_mark"
    where = f"{source.service} on {source.host}, pid {source.pid}"
    told = scrub(f"{alert.summary} [{alert.id[:_SHORT_ID]}] ({where})")
    text = escape(told, quote=False)
    return json.dumps({"text": f":{sign}: {text}"}).encode()


def _judge(status: int, asked: str, now: float) -> Reply:
    if status in _OK:
        return Reply(delivered=True)
    reason = f"the receiver answered {status}"
    if status in _REDIRECTS:
        reason += ", and redirects are not followed: configure the address it redirects to"
    again = status in {_TIMED_OUT, _TOO_MANY} or status >= _SERVER_ERRORS
    wait = retry_after(asked, datetime.fromtimestamp(now, UTC))
    return Reply(delivered=False, again=again, reason=reason, retry_after=wait)


def _iso(at: float) -> str:
    written = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return written.replace("+00:00", "Z")
