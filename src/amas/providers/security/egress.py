"""Where a provider's requests may go: rules for addresses as they are written and as they resolve. Pure.

Nothing here looks a name up. What is allowed is decided twice: when the configuration is
checked, and again for the very address that a socket is about to be connected to, since a
name may mean another one by then (DNS rebinding).
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import unquote, urlsplit

from ..errors import ProviderConfigError
from ..secret import Secret
from .addresses import Reach, host_problem, is_loopback, literal, reach_of

_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy.

    Args:
        url: Its address, without user info.
        authorization: What it is shown as ``Proxy-Authorization``; None if it wants nothing.
    """

    url: str
    authorization: Secret | None = None

    @classmethod
    def of(cls, address: Secret) -> Self:
        """Read the address of a proxy, with or without ``user:password@``.

        Raises:
            ProviderConfigError: It is none; no part of it is in the message.
        """
        problem = "it must be like http://proxy.example:3128, or http://user:password@…"
        with suppress(ValueError):  # a port that is none
            parts = urlsplit(address.get_secret_value())
            port = parts.port
            if parts.scheme in _PORTS and not (
                parts.path.strip("/") or parts.query or parts.fragment
            ):
                host = parts.hostname or ""
                wrong = host_problem(host)
                if wrong is None:
                    shown = f"[{host}]" if ":" in host else host
                    url = f"{parts.scheme}://{shown}:{port or _PORTS[parts.scheme]}"
                    return cls(url, _basic(parts.username, parts.password))
                problem = wrong
        raise ProviderConfigError(f"the proxy is refused: {problem}", field="proxy")


def _basic(user: str | None, password: str | None) -> Secret | None:
    if user is None:
        return None
    pair = f"{unquote(user)}:{unquote(password or '')}".encode()
    return Secret(f"Basic {b64encode(pair).decode()}")


@dataclass(frozen=True, slots=True)
class Egress:
    """Where the requests of one provider may go.

    Args:
        scheme: Of its base URL.
        host: Of its base URL: in lower case, an IPv6 address without brackets.
        port: Of its base URL.
        local: Whether it is a server of one's own: http and private addresses are allowed.
        hosts: Further hosts.
        proxy: The HTTP proxy that all requests go through; None for none.
    """

    scheme: str
    host: str
    port: int
    local: bool = False
    hosts: frozenset[str] = frozenset()
    proxy: Proxy | None = None

    @classmethod
    def of(
        cls,
        base_url: str,
        *,
        local: bool = False,
        hosts: Sequence[str] = (),
        proxy: Secret | None = None,
    ) -> Self:
        """Return the rules for one provider.

        Args:
            base_url: Its address, normalised.
            local: Whether it is a server of one's own.
            hosts: Further hosts that its requests may go to, without scheme and port.
            proxy: Address of its HTTP proxy.

        Raises:
            ProviderConfigError: One of these is not allowed; ``field`` says which.
        """
        parts = urlsplit(base_url)
        host = parts.hostname or ""
        egress = cls(
            parts.scheme,
            host,
            parts.port or _PORTS[parts.scheme],
            local=local,
            hosts=frozenset(each.lower().strip("[]") for each in hosts),
            proxy=None if proxy is None else Proxy.of(proxy),
        )
        problem = host_problem(host) or egress._place_problem(parts.scheme, host)
        if problem is not None:
            raise ProviderConfigError(f"the base_url is refused: {problem}", field="base_url")
        for each in egress.hosts:
            problem = host_problem(each) or egress._place_problem("https", each)
            if problem is not None:
                raise ProviderConfigError(
                    f"allowed_hosts has an entry that is refused: {problem};"
                    " an entry is a host, without scheme, port and path",
                    field="allowed_hosts",
                )
        return egress

    def _place_problem(self, scheme: str, host: str) -> str | None:
        """Say what is wrong with a scheme and a host before anything is resolved."""
        if self.local or is_loopback(host):
            return None
        if scheme != "https":
            return "it must begin with https://, unless it is a server of your own (local: true)"
        address = literal(host)
        if address is not None and reach_of(address)[0] is not Reach.PUBLIC:
            return (
                f"{host} is a {reach_of(address)[1]} address;"
                " set local: true if it is your own server"
            )
        return None

    def url_problem(self, scheme: str, host: str, port: int) -> str | None:
        """Say why a request may not go somewhere; None if it may.

        Args:
            scheme: Of the request.
            host: Of the request, an IPv6 address without brackets.
            port: Of the request.
        """
        if (scheme, host, port) == (self.scheme, self.host, self.port):
            return None
        if host in self.hosts and scheme in _PORTS:
            problem = self._place_problem(scheme, host)
            return problem and f"a request to {scheme}://{host} is refused: {problem}"
        return (
            f"a request to {scheme}://{host}:{port} is refused: it is not the server of base_url,"
            " and its host is not among allowed_hosts"
        )

    def address_problem(self, host: str, address: str) -> str | None:
        """Say why a host's address may not be connected to; None if it may.

        Args:
            host: Whose address it is; the proxy's, if there is one.
            address: The address, as it goes to a socket.
        """
        reach, word = _reach(address)
        if reach is Reach.NEVER:
            return f"the host {host} resolves to the {word} address {address}, which is refused"
        if self.local or self.proxy is not None:
            return None
        wanted = Reach.LOOPBACK if is_loopback(host) else Reach.PUBLIC
        if reach is wanted:
            return None
        return (
            f"the host {host} resolves to the {word} address {address}, which is refused;"
            " set local: true if it is your own server"
        )

    def socket_problem(self, address: str) -> str | None:
        """Say why no socket of the provider may be connected to an address; None if one may.

        The last look, at what was let through by its name before: nothing is known of that here.

        Args:
            address: The address.
        """
        hosts = (self.host, *self.hosts)
        problems = [self.address_problem(host, address) for host in hosts]
        return None if None in problems else problems[0]


def _reach(address: str) -> tuple[Reach, str]:
    found = literal(address.partition("%")[0])
    return (Reach.NEVER, "unreadable") if found is None else reach_of(found)
