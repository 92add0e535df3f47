"""One form of base URL for each provider, whatever form it was written in.

People write a base URL with or without ``/v1``, with a slash at the end, or paste the full address of a request.
LiteLLM wants exactly one form, and another for each provider: given ``…/v1``, its Anthropic code calls
``/v1/v1/messages``; given a trailing slash, its DeepSeek code calls ``//chat/completions``. What differs between
providers stands in `catalog.yaml` (``api_root`` and ``rewrite``); this module applies it.
"""

from __future__ import annotations

import re
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from ..errors import ProviderConfigError
from ..security.addresses import host_problem
from .catalog import CatalogEntry, by_prefix, catalog, glob


def normalize_base_url(
    url: str, litellm_provider: str, *, entry: CatalogEntry | None = None
) -> str:
    """Return the form of a base URL under which LiteLLM's request reaches the right address.

    An address without a path gets the provider's (``http://host:8000`` becomes ``http://host:8000/v1`` for an
    OpenAI-compatible server). A path that is there stays as it is, whether it ends in a version or not, because a
    proxy's path is its own business; only endings that are known to be wrong are replaced, such as the full address
    of a request.

    Args:
        url: The address as written.
        litellm_provider: LiteLLM's ``custom_llm_provider``.
        entry: The row of the catalogue, where rows share a LiteLLM provider; default: the one the provider's
            prefix means.

    Returns:
        Scheme and host in lower case, path without a slash at the end. A fixed point: normalising it again
        changes nothing.

    Raises:
        ProviderConfigError: It is no address of a server; the message has neither its user info nor its query.
    """
    entry = entry or by_prefix(litellm_provider)
    parts = _checked(url.strip(), (entry and entry.base_url) or "https://llm.example.com/v1")
    path = re.sub("/+", "/", parts.path).rstrip("/")
    shorter = _shortened(path, entry)
    while shorter != path:
        path, shorter = shorter, _shortened(shorter, entry)
    path = path or (entry.api_root if entry else "")
    return f"{parts.scheme}://{parts.netloc.lower().removesuffix(':')}{path}"


def models_url(base: str, entry: CatalogEntry) -> str | None:
    """Return the address of the free listing of models.

    Args:
        base: A normalised base URL.
        entry: The provider's row.

    Returns:
        The address, on the same host; None where the vendor has no such listing.
    """
    return urljoin(f"{base}/", entry.models_path) if entry.models_path else None


def _shortened(path: str, entry: CatalogEntry | None) -> str:
    """Cut off the ending of a request's address, or replace an ending that is known to be wrong."""
    for ending, replacement in (
        *((end, "") for end in catalog().endpoints),
        *(entry.rewrite if entry else ()),
    ):
        match = re.search(f"(?:{glob(ending).pattern})$", path)
        if match:
            return path[: match.start()] + replacement
    return path


def _checked(url: str, example: str) -> SplitResult:
    """Split an address, refusing what is none; problems never repeat any part of it."""
    problem = _character_problem(url)
    if problem is None:
        try:
            parts = urlsplit(url)
            problem = _part_problem(parts)
        except ValueError:
            problem = "its host or port is malformed"
        else:
            if problem is None:
                return parts
    raise ProviderConfigError(
        f"the base_url is no address: {problem}; write it like {example}", field="base_url"
    )


def _character_problem(url: str) -> str | None:
    if not url:
        return "it is empty"
    if not url.isascii():
        return "it has non-ASCII characters (write an international host name in its xn-- form)"
    if re.search(r"[\x00-\x20\x7f\\]", url):
        return "it has spaces, backslashes or control characters"
    if "?" in url or "#" in url:
        return "it has a query or a fragment (LiteLLM parameters such as api_version go into `options:`)"
    return None


def _part_problem(parts: SplitResult) -> str | None:
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        return "it must begin with https:// or http:// and a host"
    if "@" in parts.netloc:
        return "it has a user name or password (the key goes into api_key)"
    host = parts.netloc.lower().removesuffix(f":{parts.port}").removesuffix(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if parts.port == 0 or (":" in host) != bracketed:
        return "its host or port is malformed"
    if problem := host_problem(host[1:-1] if bracketed else host):
        return problem
    if {".", ".."} & set(unquote(parts.path).split("/")):
        return "its path has . or .. segments"
    return None
