"""Where requests cannot go: no address, name, redirect or proxy leads to where the configuration does not."""

from __future__ import annotations

import asyncio
import socket
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from amas.providers import LiteLLMProvider, ProviderConfig, ProviderConfigError, ProviderManager
from amas.providers.errors import ProviderConnectionError
from amas.providers.llm import aiohttp_transport
from amas.providers.llm.aiohttp_transport import AiohttpTransport
from amas.providers.llm.answer import EgressRefusedError
from amas.providers.llm.catalog import load_catalog
from amas.providers.llm.http_client import HttpClient, NotingTransport, open_http
from amas.providers.secret import Secret
from amas.providers.security.addresses import Reach, host_problem, reach_of
from amas.providers.security.egress import Egress
from amas.providers.testing import FakeProvider
from amas.providers.testing.upstream import Upstream

PUBLIC = "93.184.216.34"
SITE = "https://api.example.com/v1"


class Network:
    """A network of a test's own: what names resolve to, and a record of who was asked.

    Names are answered from a list, one answer a time, the last one for ever; connections to
    anything but this machine are noted and refused.
    """

    def __init__(self) -> None:
        self.names: dict[str, list[list[str]]] = {}
        self.lookups: list[str] = []
        self.connects: list[str] = []
        self.opened = 0

    def look_up(self, host: str, port: int) -> list[Any]:
        """Answer for a name, or for an address as itself."""
        self.lookups.append(host)
        answers = self.names.get(host, [[host]])
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            (
                socket.AF_INET6 if ":" in each else socket.AF_INET,
                socket.SOCK_STREAM,
                socket.IPPROTO_TCP,
                "",
                (each, port, 0, 0) if ":" in each else (each, port),
            )
            for each in found
        ]


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    """Put a network of the test's own in the place of the machine's."""
    noted = Network()
    connect = socket.socket.connect

    def look_up(host: Any, port: Any, *_args: Any, **_more: Any) -> list[Any]:
        return noted.look_up(host, port)

    def connecting(self: socket.socket, address: Any) -> None:
        noted.connects.append(address[0])
        if not ip_address(address[0]).is_loopback:
            raise ConnectionRefusedError(111, "refused by the test")
        connect(self, address)

    open_socket = AiohttpTransport._open_socket

    def opening(self: AiohttpTransport, address: Any) -> socket.socket:
        opened = open_socket(self, address)
        noted.opened += 1
        return opened

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(socket.socket, "connect", connecting)
    monkeypatch.setattr(AiohttpTransport, "_open_socket", opening)
    return noted


def client(egress: Egress, context: ssl.SSLContext | None = None) -> HttpClient:
    """Return a client with few certificates, which take long to read."""
    context = context or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return HttpClient(NotingTransport(AiohttpTransport(context, egress)))


# --- addresses as they are written -----------------------------------------------------------------

ODD = [
    "https://2130706433/v1", "https://0177.0.0.1/v1", "https://0x7f.0.0.1/v1", "https://0x7f000001/v1",
    "https://127.1/v1", "https://127.0.1/v1", "https://017700000001/v1", "https://0/v1", "https://0x/v1",
    "https://010.0.0.1/v1", "https://169.254.43518/v1", "https://2852039166/v1", "https://0xA9FEA9FE/v1",
    "https://0251.0376.0251.0376/v1", "https://127.0.0.1.:1/v1", "https://localhost./v1",
    "https://api.example.com./v1", "https://256.1.1.1/v1", "https://1.2.3/v1", "https://8.8.8.8.8/v1",
    "https://api.0x7f/v1", "https://%31%32%37.0.0.1/v1", "https://127%2e0.0.1/v1",
    "https://\uff11\uff12\uff17.0.0.1/v1", "https://127\u30020.0.1/v1", "https://①②⑦.0.0.1/v1",
    "https://[::ffff:127.0.0.1]/v1", "https://[::ffff:7f00:1]/v1", "https://[::ffff:169.254.169.254]/v1",
    "https://[::ffff:8.8.8.8]/v1", "https://[::127.0.0.1]/v1", "https://[64:ff9b::10.0.0.1]/v1",
    "https://[64:ff9b:1::a00:1]/v1", "https://[2002:a00:1::]/v1", "https://[2002:7f00:1::1]/v1",
    "https://[2001:0:a9fe:a9fe::1]/v1", "https://[::ffff:0:10.0.0.1]/v1", "https://[fe80::1%25eth0]/v1",
    "https://[fe80::1%eth0]/v1", "https://[0:0:0:0:0:0:0:1]/v1", "https://[::0001]/v1", "https://[v1.x]/v1",
    "https://[localhost]/v1", "https://[127.0.0.1]/v1", "https://::1/v1", "https://a_/v1", "https://a..b/v1",
]  # fmt: skip
METADATA = [
    "http://169.254.169.254/v1", "https://169.254.169.254/latest/meta-data", "https://169.254.0.1/v1",
    "https://169.254.170.2/v1", "https://100.100.100.200/v1", "https://168.63.129.16/v1",
    "https://192.0.0.192/v1", "https://[fe80::1]/v1", "https://[febf::1]/v1", "https://[fd00:ec2::254]/v1",
    "https://[fd20:ce::254]/v1", "https://metadata/v1", "https://metadata.google.internal/v1",
    "https://METADATA.Google.Internal/v1", "https://metadata.goog/v1", "https://instance-data/v1",
    "https://instance-data.ec2.internal/v1", "https://metadata.azure.internal/v1",
    "https://metadata.tencentyun.com/v1",
]  # fmt: skip
USER_INFO = [
    "https://api.openai.com@127.0.0.1/v1", "https://user:x@api.openai.com/v1", "https://@127.0.0.1/v1",
    "https://api.openai.com\\@127.0.0.1/v1", "https://api.openai.com#@127.0.0.1/v1",
    "https://api.openai.com?@127.0.0.1/v1", "https://127.0.0.1\t@api.openai.com/v1",
    "https://api.openai.com:443@127.0.0.1/v1", "https://api.openai.com%40127.0.0.1/v1",
]  # fmt: skip
NOT_LOCAL = [
    "http://api.example.com/v1", "http://8.8.8.8/v1", "http://x.localhost/v1", "http://localhost.example/v1",
    "https://10.0.0.1/v1", "https://172.16.0.1/v1", "https://172.31.255.255/v1", "https://192.168.1.1/v1",
    "https://100.64.0.1/v1", "https://0.0.0.0/v1", "http://0.0.0.0:8000/v1", "https://0.1.2.3/v1",
    "https://192.0.2.1/v1", "https://198.18.0.1/v1", "https://203.0.113.1/v1", "https://192.88.99.1/v1",
    "https://224.0.0.1/v1", "https://240.0.0.1/v1", "https://255.255.255.255/v1", "https://[::]/v1",
    "https://[fc00::1]/v1", "https://[fd12::1]/v1", "https://[ff02::1]/v1", "https://[2001:db8::1]/v1",
    "https://[3fff::1]/v1", "https://[5f00::1]/v1", "https://[100::1]/v1", "https://[fec0::1]/v1",
    "http://[2606:4700::1111]/v1", "http://metadata.example/v1",
]  # fmt: skip
SCHEMES = [
    "ftp://api.example.com",
    "file:///etc/passwd",
    "gopher://x",
    "//api.example.com",
    "https:///v1",
]


@pytest.mark.parametrize("url", [*ODD, *METADATA, *USER_INFO, *SCHEMES], ids=ascii)
def test_addresses_that_nobody_may_have(network: Network, url: str) -> None:
    """Odd spellings, metadata services and user info are refused, for servers of one's own too."""
    for local in (False, True):
        with pytest.raises(ProviderConfigError) as caught:
            LiteLLMProvider(
                ProviderConfig("p", model="openai/m", api_key="k" * 9, base_url=url, local=local)
            )
        assert caught.value.field == "base_url"
    assert network.lookups == network.connects == []


@pytest.mark.parametrize("url", NOT_LOCAL)
def test_addresses_of_ones_own_have_to_be_declared(network: Network, url: str) -> None:
    """Plain http and private addresses pass for servers of one's own only, which the error says."""
    config = ProviderConfig("p", model="openai/m", api_key="k" * 9, base_url=url)
    with pytest.raises(ProviderConfigError, match="local: true") as caught:
        LiteLLMProvider(config)
    assert caught.value.field == "base_url"
    for own in (replace(config, local=True), replace(config, api_key="none")):
        assert LiteLLMProvider(own).target.egress.local
    assert network.lookups == network.connects == []


LEGITIMATE = [
    *(entry.base_url for entry in load_catalog().values() if entry.base_url and not entry.local),
    "http://localhost:8000/v1", "http://127.0.0.1:8000/v1", "http://127.9.9.9/v1", "http://[::1]:8000/v1",
    "https://localhost/v1", "https://8.8.8.8/v1", "https://[2606:4700::1111]:8443/v1",
    "https://API.Example.com:8443/v1", "https://xn--bcher-kva.example/v1", "https://a_b.example/v1",
    "https://1e100.net/v1", "https://api.1password.com/v1", "https://10.example.com/v1", "https://172.32.0.1/v1",
    "https://gateway/v1", "https://metadata.example.com/v1",
]  # fmt: skip


@pytest.mark.parametrize("url", LEGITIMATE)
def test_legitimate_addresses_pass(network: Network, url: str) -> None:
    """Vendors, this machine and whatever else is public need nothing but their address."""
    config = ProviderConfig("p", model="openai/m", api_key="k" * 9, base_url=url)
    egress = LiteLLMProvider(config).target.egress
    assert not egress.local
    assert egress.url_problem(egress.scheme, egress.host, egress.port) is None
    assert network.lookups == []


@pytest.mark.parametrize("name", [row.name for row in load_catalog().values() if row.local])
def test_local_rows_are_servers_of_ones_own(name: str) -> None:
    """A row for servers of one's own may be anywhere in one's network, and over http."""
    config = ProviderConfig(name, model="m", base_url="http://10.1.2.3:8000/v1")
    assert LiteLLMProvider(config).target.egress.local


# --- addresses as they resolve ---------------------------------------------------------------------

REFUSED = [
    "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.5.5", "192.168.0.1", "100.64.0.1", "169.254.169.254",
    "100.100.100.200", "168.63.129.16", "192.0.0.8", "198.18.0.1", "203.0.113.5", "224.0.0.1", "255.255.255.255",
    "::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1", "100::1",
    "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:10.0.0.1", "64:ff9b::a00:1", "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1", "2002:a00:1::1", "2002:808:808::1", "2001:0:808:808::1", "::808:808",
]  # fmt: skip


@pytest.mark.parametrize("address", REFUSED)
async def test_names_that_resolve_inside_are_refused(network: Network, address: str) -> None:
    """A name that means an address which is refused opens no socket, alone or beside a public one."""
    async with client(Egress.of(SITE)) as http:
        for answer in ([address], [PUBLIC, address], [address, PUBLIC]):
            network.names["api.example.com"] = [answer]
            with pytest.raises(
                EgressRefusedError, match=r"api\.example\.com resolves to the .+, which is"
            ):
                await http.get(SITE)
    assert network.lookups == ["api.example.com"] * 3
    assert (network.opened, network.connects) == (0, [])


@pytest.mark.parametrize("address", ["10.0.0.1", "169.254.169.254", "::1"])
async def test_a_connection_without_a_request_obeys_the_rules(
    network: Network, address: str
) -> None:
    """Opening a connection in advance goes to no other host, and to no refused address either."""
    network.names["api.example.com"] = [[address]]
    async with client(Egress.of(SITE)) as http:
        with pytest.raises(EgressRefusedError, match="resolves to"):
            await http.transport.connect(SITE)
        with pytest.raises(EgressRefusedError):
            await http.transport.connect("https://elsewhere.example.com/")
    assert network.lookups == ["api.example.com"]
    assert (network.opened, network.connects) == (0, [])


METADATA_FORMS = ["169.254.169.254", "fe80::1", "fd00:ec2::254", "::ffff:a9fe:a9fe", "64:ff9b::a9fe:a9fe",
                  "64:ff9b:1:a9fe:a9:fe00::", "2002:a9fe:a9fe::1", "2001:0:a9fe:a9fe::1",
                  "2001::5601:5601", "::a9fe:a9fe", "::ffff:0:a9fe:a9fe"]  # fmt: skip


@pytest.mark.parametrize("address", METADATA_FORMS)
async def test_own_servers_do_not_reach_metadata(network: Network, address: str) -> None:
    """A server of one's own may resolve to private addresses, but to no metadata service."""
    base = "http://vllm.internal:8000/v1"
    network.names["vllm.internal"] = [[address]]
    async with client(Egress.of(base, local=True)) as http:
        with pytest.raises(EgressRefusedError, match="metadata address"):
            await http.get(base)
    assert (network.opened, network.connects) == (0, [])


@pytest.mark.parametrize(
    ("base", "options", "addresses"),
    [
        (SITE, {}, [PUBLIC]),
        (SITE, {}, [PUBLIC, "8.8.8.8"]),
        (SITE, {}, ["::ffff:8.8.8.8"]),
        (SITE, {}, ["64:ff9b::808:808"]),
        (SITE, {}, ["2606:4700::1111"]),
        ("http://vllm.internal:8000/v1", {"local": True}, ["10.0.0.7"]),
        ("http://vllm.internal:8000/v1", {"local": True}, ["fd12::7"]),
        ("http://vllm.internal:8000/v1", {"local": True}, [PUBLIC]),
    ],
)
async def test_what_may_be_reached_is_reached(
    network: Network, base: str, options: dict[str, Any], addresses: list[str]
) -> None:
    """Exactly the addresses that were looked at are connected to, and nothing is looked up again."""
    egress = Egress.of(base, **options)
    network.names[egress.host] = [addresses, ["127.0.0.1"]]
    async with client(egress) as http:
        with pytest.raises(httpx.ConnectError, match=r"refused by the test|Multiple exceptions"):
            await http.get(base)
    assert network.lookups == [egress.host]
    assert {ip_address(each) for each in network.connects} == {
        ip_address(each) for each in addresses
    }


async def test_rebinding_after_the_check(network: Network) -> None:
    """A name that turns inward after it was checked leads nowhere, whenever it turns."""
    network.names["api.example.com"] = [[PUBLIC], ["127.0.0.1"], ["10.0.0.1"], ["169.254.169.254"]]
    config = ProviderConfig("p", model="openai/m", api_key="k" * 9, base_url=SITE)
    egress = LiteLLMProvider(config).target.egress
    assert network.lookups == []
    for connects in ([PUBLIC], [PUBLIC], [PUBLIC], [PUBLIC]):
        async with client(egress) as http:
            with pytest.raises(httpx.ConnectError):
                await http.get(SITE)
        assert network.connects == connects
    assert network.lookups == ["api.example.com"] * 4


async def test_localhost_is_this_machine_or_nothing(network: Network) -> None:
    """The name of this machine may not mean another one, to which http would be spoken."""
    async with Upstream("up") as up:
        base = f"http://localhost:{up.port}/v1"
        network.names["localhost"] = [["127.0.0.1"]]
        async with client(Egress.of(base)) as http:
            assert (await http.get(f"{base}/models")).status_code == 200
        network.names["localhost"] = [[PUBLIC]]
        async with client(Egress.of(base)) as http:
            with pytest.raises(EgressRefusedError, match="resolves to the public address"):
                await http.get(f"{base}/models")
    assert network.connects == ["127.0.0.1"]


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "169.254.169.254", "127.0.0.1", "no address", "fe80::1%2"]
)
async def test_the_socket_is_the_last_line(
    network: Network, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """Were a name not checked at all, no socket would be opened all the same."""

    async def unchecked(*_args: Any, **_more: Any) -> list[Any]:
        return [
            {
                "hostname": "x",
                "host": address,
                "port": 443,
                "family": socket.AF_INET,
                "proto": 0,
                "flags": 0,
            }
        ]

    monkeypatch.setattr(aiohttp_transport._Resolver, "resolve", unchecked)
    async with client(Egress.of(SITE)) as http:
        with pytest.raises(httpx.ConnectError):
            await http.get(SITE)
    assert (network.opened, network.connects) == (0, [])


def test_every_kind_of_address_is_known() -> None:
    """The first and last address of each range are what the range is, and its neighbours are not."""
    for first, last, reach in (
        ("10.0.0.0", "10.255.255.255", Reach.OWN),
        ("127.0.0.0", "127.255.255.255", Reach.LOOPBACK),
        ("169.254.0.0", "169.254.255.255", Reach.NEVER),
        ("172.16.0.0", "172.31.255.255", Reach.OWN),
        ("192.168.0.0", "192.168.255.255", Reach.OWN),
    ):
        start, end = IPv4Address(first), IPv4Address(last)
        assert reach_of(start)[0] is reach_of(end)[0] is reach
        assert reach_of(start - 1)[0] is reach_of(end + 1)[0] is Reach.PUBLIC
    assert reach_of(ip_address("2606:4700::1111")) == (Reach.PUBLIC, "public")
    assert host_problem("::1") is host_problem("a.example") is None


# --- one provider, one host ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "https://other.example.com/v1", "http://api.example.com/v1", "https://api.example.com:8443/v1",
        "https://api.example.com.evil.example/v1", "https://user@other.example.com/", "https://127.0.0.1/v1",
        "https://169.254.169.254/v1", "http://allowed.example/", "https://sub.allowed.example/",
        "https://api.example.com@other.example.com/", "http://api.example.com:443/v1", "https://127.0.0.1:443/v1",
    ],
)  # fmt: skip
async def test_other_hosts_are_refused(network: Network, url: str) -> None:
    """A client sends to scheme, host and port of its base URL, and to hosts that are allowed by name."""
    async with client(Egress.of(SITE, hosts=["Allowed.example"])) as http:
        with pytest.raises(EgressRefusedError, match="is refused"):
            await http.get(url)
    assert network.lookups == network.connects == []


async def test_allowed_hosts_are_reached(network: Network) -> None:
    """What allowed_hosts names is reached, and obeys the same rules for its addresses."""
    network.names = {"allowed.example": [[PUBLIC], ["10.0.0.1"]], "api.example.com": [["8.8.8.8"]]}
    egress = Egress.of(SITE, hosts=["Allowed.example", "[2606:4700::1111]"])
    async with client(egress) as http:
        for url in (
            "https://allowed.example/token",
            "https://[2606:4700::1111]/",
            f"{SITE}/models",
        ):
            with pytest.raises(httpx.ConnectError, match="refused by the test"):
                await http.get(url)
    assert network.connects == [PUBLIC, "2606:4700::1111", "8.8.8.8"]
    async with client(egress) as http:
        with pytest.raises(EgressRefusedError, match="private address"):
            await http.get("https://allowed.example/token")
    assert len(network.connects) == 3


@pytest.mark.parametrize("host", ["https://x.example", "x.example/a", "x:443", "10.0.0.1", "2130706433",
                                  "metadata.goog", "*.example.com", "u@x.example"])  # fmt: skip
def test_allowed_hosts_are_public_names(host: str) -> None:
    """An entry that is no host, or one that is refused, is an error of the configuration."""
    with pytest.raises(ProviderConfigError, match="allowed_hosts has an entry") as caught:
        LiteLLMProvider(ProviderConfig("openai", api_key="k" * 9, allowed_hosts=[host]))
    assert caught.value.field == "allowed_hosts"


REDIRECTS = ["http://169.254.169.254/latest/meta-data", "http://2130706433/", "http://0x7f.1/", "http://127.1:1/",
             "https://other.example.com/v1", "http://user@127.0.0.1/", "http://[::ffff:127.0.0.1]/", "file:///etc/passwd",
             "//169.254.169.254/", "/v1/elsewhere", "http://localhost/", "http://metadata.google.internal/"]  # fmt: skip


@pytest.mark.parametrize("location", [*REDIRECTS, "{same}"])
async def test_redirects_lead_nowhere(network: Network, location: str) -> None:
    """An answer that sends a request elsewhere, or to the same server, ends it."""
    async with Upstream("up") as up:
        config = ProviderConfig(
            "p", model="openai/m", api_key="k" * 9, base_url=f"{up.url}/v1", health_probe="off"
        )
        provider = LiteLLMProvider(config)
        up.fault(redirect=location.format(same=f"{up.url}/v1/again"), times=None)
        with pytest.raises(Exception, match="redirected, which is not followed"):
            await provider.generate("hello")
        await provider.shutdown()
        assert len(up.requests) == 1
    assert (network.connects, network.lookups) == (["127.0.0.1"], [])


# --- what becomes of a call ------------------------------------------------------------------------


async def test_a_refused_provider_is_passed_over(network: Network) -> None:
    """A call goes to the next provider at once, and the error says what to do; nothing was sent."""
    network.names["api.example.com"] = [["10.0.0.1"]]
    config = ProviderConfig(
        "inner", model="openai/m", api_key="k" * 9, base_url=SITE, health_probe="off"
    )
    async with ProviderManager() as manager:
        await manager.register_provider(LiteLLMProvider(config))
        await manager.register_provider(FakeProvider("next"))
        result = await manager.generate("hello")
    assert [(item["provider"], item["outcome"]) for item in result["attempts"]] == [
        ("inner", "config"),
        ("next", "ok"),
    ]
    told = result["attempts"][0]["error"]
    assert told is not None
    assert "api.example.com resolves to the private address 10.0.0.1" in told
    assert "set local: true if it is your own server" in told
    assert (network.lookups, network.connects) == (["api.example.com"], [])


@pytest.mark.parametrize(
    "model", ["openai/m", "anthropic/m", "gemini/m", "mistral/m", "deepseek/m"]
)
async def test_the_refusal_survives_litellm(network: Network, model: str) -> None:
    """Whatever LiteLLM makes of it, a refusal is told as one, for answers and streams."""
    network.names["api.example.com"] = [["169.254.169.254"]]
    provider = LiteLLMProvider(
        ProviderConfig(
            "p",
            model=model,
            api_key="k" * 9,
            base_url="https://api.example.com",
            health_probe="off",
        )
    )
    with pytest.raises(ProviderConfigError, match="metadata address") as caught:
        await provider.generate("hello")
    assert caught.value.field == "base_url"
    with pytest.raises(ProviderConfigError, match="metadata address"):
        _ = [chunk async for chunk in provider.stream("hello")]
    await provider.shutdown()
    assert network.connects == []


async def test_a_start_that_is_refused_is_tried_again(network: Network) -> None:
    """A name that means something else for a while does not take a provider away for good."""
    network.names["api.example.com"] = [["10.0.0.1"]]
    provider = LiteLLMProvider(
        ProviderConfig("p", model="openai/m", api_key="k" * 9, base_url=SITE)
    )
    assert not await provider.initialize()
    assert type(provider.last_error) is ProviderConnectionError
    assert "set local: true" in provider.last_error.message
    assert network.connects == []


# --- proxies ---------------------------------------------------------------------------------------


class ProxyServer:
    """A proxy that answers itself: what it forwards, and, after CONNECT, for the server behind it.

    Args:
        tls: How it stands in for the server; None to refuse tunnels.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.tls = tls
        self.heads: list[str] = []
        self.inner: list[str] = []
        self.port = 0
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.heads.append(head)
            if head.startswith("CONNECT"):
                if self.tls is None:
                    writer.write(
                        b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
                    )
                else:
                    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    await writer.drain()
                    await writer.start_tls(self.tls)
                    self.inner.append((await reader.readuntil(b"\r\n\r\n")).decode())
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
            await writer.drain()
        writer.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a certificate for the site, and a file with it and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "api.example.com")])
    now = datetime.now(tz=UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("api.example.com")]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "site.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


PASSWORD = "pass" + "word/" * 3
SHOWN = "Basic " + b64encode(f"user:{PASSWORD}".encode()).decode()


def through(proxy: ProxyServer, base: str, *, secret: bool = True, **options: Any) -> Egress:
    """Return the rules of a provider behind a proxy, which may want to see a password."""
    user = f"user:{PASSWORD.replace('/', '%2F')}@" if secret else ""
    return Egress.of(base, proxy=Secret(f"http://{user}127.0.0.1:{proxy.port}/"), **options)


@pytest.fixture
async def hostile_environment(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ProxyServer]:
    """Set every variable that names a proxy, to one that nobody may use."""
    async with ProxyServer() as hostile:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{hostile.port}")
            monkeypatch.setenv(name.lower(), f"http://127.0.0.1:{hostile.port}")
        yield hostile
        assert hostile.heads == []


@pytest.fixture
def no_proxy_for_anybody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Say in the environment that no host is to be asked through a proxy."""
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "*")


@pytest.mark.usefixtures("hostile_environment", "no_proxy_for_anybody")
@pytest.mark.parametrize("ahead", [True, False], ids=["ahead", "at once"])
@pytest.mark.parametrize("secret", [True, False], ids=["password", "open"])
async def test_http_goes_through_the_proxy(network: Network, *, secret: bool, ahead: bool) -> None:
    """A server of one's own over http is asked through the proxy, which resolves its name.

    A connection that was opened in advance is the one that a request takes.
    """
    base = "http://vllm.internal:8000/v1"
    async with ProxyServer() as proxy:
        async with client(through(proxy, base, secret=secret, local=True)) as http:
            if ahead:
                await http.transport.connect(base)
                assert (proxy.heads, network.connects) == ([], ["127.0.0.1"])
            answer = await http.get(f"{base}/models", headers={"Authorization": "Bearer x"})
        assert answer.text == "ok"
        [head] = proxy.heads
    assert head.startswith("GET http://vllm.internal:8000/v1/models HTTP/1.1\r\n")
    assert (f"Proxy-Authorization: {SHOWN}\r\n" in head) is secret
    assert (network.lookups, network.connects) == ([], ["127.0.0.1"])


@pytest.mark.usefixtures("hostile_environment", "no_proxy_for_anybody")
@pytest.mark.parametrize("ahead", [True, False], ids=["ahead", "at once"])
@pytest.mark.parametrize("secret", [True, False], ids=["password", "open"])
async def test_https_goes_through_a_tunnel(
    network: Network, certificate: Path, *, secret: bool, ahead: bool
) -> None:
    """The proxy sees its own password and no key, the server the key and no password.

    A tunnel that was opened in advance is the one that a request takes.
    """
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    context = ssl.create_default_context(cafile=str(certificate))
    async with ProxyServer(server) as proxy:
        async with client(through(proxy, SITE, secret=secret), context) as http:
            if ahead:
                await http.transport.connect(SITE)
                assert (len(proxy.heads), proxy.inner) == (1, [])
            answer = await http.get(f"{SITE}/models", headers={"Authorization": "Bearer x"})
        assert answer.text == "ok"
    [head], [inner] = proxy.heads, proxy.inner
    assert head.startswith("CONNECT api.example.com:443 HTTP/1.1\r\n")
    assert (f"Proxy-Authorization: {SHOWN}\r\n" in head) is secret
    assert "Bearer" not in head
    assert inner.startswith("GET /v1/models HTTP/1.1\r\n")
    assert "Authorization: Bearer x\r\n" in inner
    assert "Proxy-" not in inner
    assert (network.lookups, network.connects) == ([], ["127.0.0.1"])


@pytest.mark.usefixtures("hostile_environment")
async def test_proxies_of_the_environment_are_ignored(network: Network) -> None:
    """Without a proxy of its own a provider asks its server directly, whatever the environment says."""
    network.names["api.example.com"] = [[PUBLIC]]
    async with Upstream("up") as up:
        async with client(Egress.of(f"{up.url}/v1")) as http:
            assert (await http.get(f"{up.url}/v1/models")).status_code == 200
        async with client(Egress.of(SITE)) as http:
            with pytest.raises(httpx.ConnectError):
                await http.get(SITE)
    assert network.connects == ["127.0.0.1", PUBLIC]


async def test_a_proxy_that_refuses_is_a_broken_connection(network: Network) -> None:
    """Its answer is not taken for the server's, and its password is not in the error."""
    async with ProxyServer() as proxy, client(through(proxy, SITE)) as http:
        with pytest.raises(httpx.ProxyError) as caught:
            await http.get(SITE)
    assert "407" in str(caught.value)
    assert SHOWN not in str(caught.value)
    assert PASSWORD not in str(caught.value)
    assert network.lookups == []


async def test_the_rules_hold_behind_a_proxy(network: Network) -> None:
    """Through a proxy too only the provider's own hosts are asked."""
    async with ProxyServer() as proxy:
        async with client(through(proxy, SITE)) as http:
            for url in (
                "https://other.example.com/",
                "http://169.254.169.254/",
                "http://127.0.0.1/",
            ):
                with pytest.raises(EgressRefusedError):
                    await http.get(url)
        assert proxy.heads == []
    assert network.connects == []


@pytest.mark.parametrize(
    ("address", "connects"),
    [("10.0.0.1", ["10.0.0.1"]), (PUBLIC, [PUBLIC]), ("169.254.169.254", []), ("fe80::1", [])],
)
async def test_a_proxy_may_be_private_but_no_metadata_service(
    network: Network, address: str, connects: list[str]
) -> None:
    """The operator's proxy may be within the network; a name that means a metadata service is refused."""
    network.names["proxy.example"] = [[address]]
    async with client(Egress.of(SITE, proxy=Secret("http://proxy.example:3128"))) as http:
        with pytest.raises(httpx.ConnectError):
            await http.get(SITE)
    assert (network.lookups, network.connects) == (["proxy.example"], connects)


@pytest.mark.parametrize(
    "proxy",
    [
        "proxy.example:3128", "socks5://proxy.example", "http://", "http://proxy.example/path",
        "http://proxy.example?x=1", "http://proxy.example#x", "http://2130706433:3128", "http://169.254.169.254",
        "http://user:hunter22@metadata.goog", "http://proxy.example:port", "http://[::1", "http://0x7f.1",
    ],
)  # fmt: skip
def test_proxies_that_are_none(proxy: str) -> None:
    """What cannot be a proxy is an error of the configuration, which repeats no part of it."""
    with pytest.raises(ProviderConfigError, match="the proxy is refused") as caught:
        LiteLLMProvider(ProviderConfig("openai", api_key="k" * 9, proxy=proxy))
    assert caught.value.field == "proxy"
    assert "hunter22" not in str(caught.value)
    assert "proxy.example:" not in str(caught.value).replace("http://proxy.example:3128, or", "")


def test_parts_of_a_proxy() -> None:
    """Port, brackets and user are as written or as usual, and no secret is shown."""
    proxies = {
        "http://proxy.example": ("http://proxy.example:80", None),
        "https://[2606:4700::1111]": ("https://[2606:4700::1111]:443", None),
        "http://me@10.0.0.1:8080": ("http://10.0.0.1:8080", "Basic bWU6"),
    }
    for written, (url, shown) in proxies.items():
        proxy = Egress.of(SITE, proxy=Secret(written)).proxy
        assert proxy is not None
        assert proxy.url == url
        assert (proxy.authorization and proxy.authorization.get_secret_value()) == shown
        assert "bWU6" not in repr(proxy)


async def test_the_provider_uses_its_proxy(network: Network) -> None:
    """What a configuration says of proxy and hosts is what the provider's client obeys."""
    async with ProxyServer() as proxy:
        config = ProviderConfig(
            "p",
            model="openai/m",
            api_key="none",
            base_url="http://vllm.internal/v1",
            proxy=f"http://127.0.0.1:{proxy.port}",
            allowed_hosts=["login.example.com"],
        )
        egress = LiteLLMProvider(config).target.egress
        async with open_http(egress) as http:
            assert (await http.get("http://vllm.internal/v1/models")).text == "ok"
            assert (await http.get("http://login.example.com/")).text == "ok"
        assert len(proxy.heads) == 2
    assert network.lookups == []
