"""Which addresses of images, sounds and files a message may have. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import SplitResult, urlsplit

from .addresses import Reach, host_problem, literal, reach_of

# What readers of addresses pass over or take for something else, each in its own way.
_ODD: Final = re.compile(r"[^!-~]|\\")


def media_problem(url: str, policy: str = "allow", hosts: Sequence[str] = ()) -> str | None:
    """Say why a message may not have an address; None if it may.

    Whoever answers fetches what lies there, a server of one's own from within one's network.

    Args:
        url: The address, or a data URL.
        policy: ``allow``, ``allow-list`` or ``forbid``.
        hosts: Hosts that it may have under ``allow-list``; see ``RequestRules``.

    Returns:
        A sentence without any part of the address, which may hold a signature.
    """
    if url[:5].lower() == "data:":
        return None
    if policy == "forbid":
        return "an address of media is not allowed (security.media_urls: forbid); send it as data:"
    listed = policy == "allow-list"
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        return "an address of media is malformed"
    problem = _form_problem(url, parts, ("http", "https") if listed else ("http", "https", "gs"))
    if problem is None and parts.scheme == "gs" and host:
        return None  # a bucket of Google's, which only Google reads
    problem = problem or host_problem(host)
    if problem is None:
        problem = _unlisted(host, hosts) if listed else _private(host)
    return problem and f"an address of media is refused: {problem}"


def _form_problem(text: str, parts: SplitResult, schemes: Sequence[str]) -> str | None:
    if _ODD.search(text):
        return "it has blanks, backslashes, or other than printable ASCII characters"
    if parts.scheme not in schemes:
        return "it must begin with https://, http:// or data:"
    return "it has a user name or password" if "@" in parts.netloc else None


def _unlisted(host: str, patterns: Sequence[str]) -> str | None:
    listed = any(_matches(host, pattern.lower()) for pattern in patterns)
    return None if listed else "its host is not in security.media_hosts"


def _private(host: str) -> str | None:
    address = literal(host)
    private = address is not None and reach_of(address)[0] is not Reach.PUBLIC
    if private or host == "localhost" or host.endswith(".localhost"):
        return "its host is one of a private network"
    return None


def _matches(host: str, pattern: str) -> bool:
    if pattern.startswith("*."):
        return host.endswith(pattern[1:])
    return host == pattern.strip("[]")
