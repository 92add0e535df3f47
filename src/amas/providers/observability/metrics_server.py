"""The page of metrics over HTTP, for services that do not serve it themselves."""

from __future__ import annotations

import errno
import socket
import sys
import threading
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from typing_extensions import override

from ..errors import ProviderConfigError
from .logging import get_logger
from .metrics import default_registry

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

# Seconds between two looks whether it is to end.
_POLL = 0.5

_log = get_logger("amas.providers.observability")

# The pages that are served now, by where; each may have several users.
_open: dict[tuple[str, int, int], MetricsServer] = {}
_sharing = threading.Lock()


class MetricsServer:
    """Serves the page of a registry until it is closed.

    Args:
        server: The server; it listens already.
    """

    def __init__(self, server: WSGIServer) -> None:
        self.users = 1
        self.port: int = server.server_port
        self._server = server
        self._thread = threading.Thread(
            target=server.serve_forever, args=(_POLL,), name="amas-metrics-server", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Free the port and end the thread, unless another manager uses them too.

        It takes up to half a second, so call it in a thread.
        """
        with _sharing:
            self.users -= 1
            if self.users:
                return
            for place in [place for place, server in _open.items() if server is self]:
                del _open[place]
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def serve(
    port: int, host: str = "127.0.0.1", registry: CollectorRegistry | None = None
) -> MetricsServer:
    """Serve the metrics of a registry, in a thread.

    Managers of one process that ask for the same port share it, as they share the metrics.
    Looking up a host by its name may take a while; call it in a thread.

    Args:
        port: Port to listen at; 0 for any that is free.
        host: Address to listen at.
        registry: What is served; the default registry of ``prometheus_client`` if None.

    Raises:
        ProviderConfigError: The port cannot be opened, or ``prometheus_client`` is missing.
    """
    served = default_registry() if registry is None else registry
    with _sharing:
        shared = _open.get((host, port, id(served)))
        if shared is not None:
            shared.users += 1
            return shared
        server = _start(port, host, served)
        if port:
            _open[host, port, id(served)] = server
        return server


def _start(port: int, host: str, served: CollectorRegistry) -> MetricsServer:
    from prometheus_client import make_wsgi_app  # noqa: PLC0415 -- an extra

    try:
        server = _Server(host, port)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        reason = "it is taken" if taken else error.strerror or str(error)
        raise ProviderConfigError(
            f"metrics.port: port {port} at {host} cannot be opened: {reason}; choose another port"
            " or host, or leave the port out and serve the registry from the service"
        ) from None
    server.set_app(make_wsgi_app(served))
    return MetricsServer(server)


class _Handler(WSGIRequestHandler):
    # Seconds; who connects and says nothing must not hold a thread for ever.
    timeout = 10.0

    @override
    def log_message(self, format: str, *args: Any) -> None:
        """Write nothing to stderr for every request."""


class _Server(ThreadingMixIn, WSGIServer):
    """As in ``start_http_server``, which writes clients' mistakes to stderr and waits for ever."""

    daemon_threads = True

    def __init__(self, host: str, port: int) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)

    @override
    def server_bind(self) -> None:
        # Without the look-up of the host's full name, which can take the time of a DNS timeout.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    @override
    def handle_error(self, request: object, client_address: object) -> None:
        _log.debug("metrics_request_failed", error=f"{sys.exception()!r}")
