"""What an IP address is, and how a host may be written. Pure."""

from __future__ import annotations

import re
from enum import Enum, auto
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address

_HOST: Final = re.compile(r"[a-z0-9]([a-z0-9_.-]*[a-z0-9])?")
# What resolvers and the WHATWG's URL parser take for a number, however it is written.
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")


class Reach(Enum):
    """Who may connect to an address."""

    PUBLIC = auto()
    LOOPBACK = auto()
    OWN = auto()
    """Private, or of no use in the internet: only servers of one's own."""
    NEVER = auto()
    """It hands out the machine's credentials."""


_METADATA: Final = tuple(
    ip_network(network)
    for network in (
        "169.254.0.0/16",  # link-local: AWS, Azure, Google Cloud, Oracle, DigitalOcean, OpenStack …
        "fe80::/10",
        "100.100.100.200/32",  # Alibaba Cloud
        "168.63.129.16/32",  # Azure's wire server
        "192.0.0.192/32",  # Oracle Cloud Classic
        "fd00:ec2::/32",  # AWS
        "fd20:ce::254/128",  # Google Cloud
        "fd00:42::42/128",  # Scaleway
    )
)
_METADATA_NAMES: Final = frozenset(
    {
        "instance-data",
        "instance-data.ec2.internal",
        "metadata",
        "metadata.azure.com",
        "metadata.azure.internal",
        "metadata.goog",
        "metadata.google.internal",
        "metadata.packet.net",
        "metadata.platformequinix.com",
        "metadata.tencentyun.com",
    }
)
# IANA's registries of special-purpose addresses; ``ipaddress`` knows them differently by release.
_SPECIAL: Final = tuple(
    (ip_network(network), Reach.LOOPBACK if word == "loopback" else Reach.OWN, word)
    for network, word in (
        ("0.0.0.0/8", "unspecified"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "private"),
        ("127.0.0.0/8", "loopback"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "reserved"),
        ("192.88.99.0/24", "reserved"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "private"),
        ("198.51.100.0/24", "reserved"),
        ("203.0.113.0/24", "reserved"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("fc00::/7", "private"),
        ("ff00::/8", "multicast"),
        ("2001::/23", "reserved"),  # Teredo among others
        ("2001:db8::/32", "reserved"),
        ("2002::/16", "reserved"),  # 6to4
        ("3fff::/20", "reserved"),
    )
)
_GLOBAL: Final = IPv6Network("2000::/3")
# Prefixes that stand for nothing but the IPv4 address behind them: mapped, and NAT64.
_STAND_FOR_IPV4: Final = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))
# Prefixes after which an IPv4 address lies, and at which of the sixteen bytes it does.
_EMBEDDINGS: Final = (
    *((network, (12, 13, 14, 15)) for network in _STAND_FOR_IPV4),
    (IPv6Network("::/96"), (12, 13, 14, 15)),
    (IPv6Network("::ffff:0:0:0/96"), (12, 13, 14, 15)),
    (IPv6Network("64:ff9b:1::/48"), (12, 13, 14, 15)),
    (IPv6Network("64:ff9b:1::/48"), (6, 7, 9, 10)),
    (IPv6Network("2002::/16"), (2, 3, 4, 5)),
    (IPv6Network("2001::/32"), (4, 5, 6, 7)),
)
_TEREDO: Final = IPv6Network("2001::/32")


@lru_cache(maxsize=1024)
def reach_of(address: Address) -> tuple[Reach, str]:
    """Tell who may connect to an address.

    Args:
        address: An IP address.

    Returns:
        That, and a word for what kind of address it is.
    """
    embedded = _embedded(address)
    if any(each in network for each in (address, *embedded) for network in _METADATA):
        return Reach.NEVER, "link-local or metadata"
    if any(address in network for network in _STAND_FOR_IPV4):
        return reach_of(embedded[0])
    for network, reach, word in _SPECIAL:
        if address in network:
            return reach, word
    if address.version == 6 and address not in _GLOBAL:  # noqa: PLR2004 -- the version's name
        return Reach.OWN, "reserved"
    return Reach.PUBLIC, "public"


def _embedded(address: Address) -> list[IPv4Address]:
    """Return the IPv4 addresses that an IPv6 address is made of."""
    if isinstance(address, IPv4Address) or int(address) <= 1:
        return []
    packed = address.packed
    found = [
        IPv4Address(bytes(packed[place] for place in places))
        for network, places in _EMBEDDINGS
        if address in network
    ]
    if address in _TEREDO:  # which has the client's inverted
        found.append(IPv4Address(bytes(byte ^ 0xFF for byte in packed[12:])))
    return found


def literal(host: str) -> Address | None:
    """Return the address that a host is, without brackets; None if it is a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine, written literally."""
    address = literal(host)
    return host == "localhost" or (address is not None and reach_of(address)[0] is Reach.LOOPBACK)


def host_problem(host: str) -> str | None:
    """Say why a host can be nobody's, whatever it resolves to.

    Args:
        host: In lower case, an IPv6 address without its brackets.

    Returns:
        A part of a sentence; None if the host is fine. It is one text for one meaning: an
        address that another parser would read differently is refused.
    """
    problem = _ipv6_problem(host) if ":" in host else _name_problem(host)
    if problem is not None:
        return problem
    address = literal(host)
    if host in _METADATA_NAMES or (address and reach_of(address)[0] is Reach.NEVER):
        return "its host is that of a metadata service or link-local, which is always refused"
    return None


def _ipv6_problem(host: str) -> str | None:
    address = literal(host)
    if address is None or "%" in host or _embedded(address):
        return "its host is no plain IPv6 address"
    return None if str(address) == host else f"its host has to be written as [{address}]"


def _name_problem(host: str) -> str | None:
    if host.endswith("."):
        return "its host ends with a dot"
    if not _HOST.fullmatch(host) or ".." in host:
        return "its host or port is malformed"
    if _NUMBER.fullmatch(host.rpartition(".")[2]) and literal(host) is None:
        return "its host is a number, but no IPv4 address of four decimal numbers"
    return None
