"""What is there to begin with: keys in the environment, and an Ollama that runs."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from ...llm.catalog import from_environment, load_catalog
from .planning import Plan, Wish, plan

OLLAMA: Final = "local"
"""The catalogue's row for it."""

_SECONDS: Final = 1.0
_PORT: Final = 11434
_EMBEDDING: Final = "embed"  # a word in the names of models that do not chat


@dataclass(frozen=True, slots=True)
class Ollama:
    """An Ollama that answers.

    Args:
        url: Its address.
        models: Its models.
    """

    url: str
    models: tuple[str, ...]


def find_rows(environ: Mapping[str, str]) -> list[Plan]:
    """Make the rows of every provider that is ready for use: first those with keys, then Ollama.

    Args:
        environ: The variables.
    """
    rows = [plan(Wish(name=name), environ) for name in from_environment(environ)]
    ollama = find_ollama(environ)
    if ollama is not None and (model := _best(ollama.models)) is not None:
        default = load_catalog()[OLLAMA].base_url
        base_url = None if ollama.url.replace("127.0.0.1", "localhost") == default else ollama.url
        rows.append(plan(Wish(name=OLLAMA, model=model, base_url=base_url), environ))
    return rows


def find_ollama(environ: Mapping[str, str]) -> Ollama | None:
    """Ask the local Ollama, or that of ``OLLAMA_HOST``, for its models; free.

    Args:
        environ: The variables.

    Returns:
        None if nobody answers within a second.
    """
    import httpx  # noqa: PLC0415 -- only this needs it, and it takes time

    url = ollama_url(environ.get("OLLAMA_HOST", ""))
    # InvalidURL is no HTTPError; a ValueError is an answer that is no JSON.
    with suppress(httpx.HTTPError, httpx.InvalidURL, ValueError):
        # Not through a proxy of the environment: it is this machine.
        with httpx.Client(timeout=_SECONDS, trust_env=False) as client:
            answer = client.get(f"{url}/api/tags")
        if answer.is_success:
            return Ollama(url, tuple(_names(answer.json())))
    return None


def ollama_url(host: str) -> str:
    """Return the address that Ollama's own variable ``OLLAMA_HOST`` means.

    Args:
        host: What it has: a host, a port, both or an address; empty if it is not set.
    """
    text = host.strip().strip("\"'")
    if "://" not in text:
        text = f"http://{text}"
    try:
        parts = urlsplit(text)
        name, port = parts.hostname or "", parts.port
    except ValueError:
        return f"http://localhost:{_PORT}"
    # Where it listens everywhere, it is reached here.
    name = "localhost" if name in {"", "0.0.0.0", "::"} else name  # noqa: S104
    shown = f"[{name}]" if ":" in name else name
    default = {"https": 443}.get(parts.scheme, _PORT if "://" not in host else 80)
    return f"{parts.scheme}://{shown}:{port or default}"


def _names(listing: Any) -> list[str]:
    rows = listing.get("models") if isinstance(listing, dict) else None
    found = (
        (row.get("name") for row in rows if isinstance(row, dict)) if isinstance(rows, list) else ()
    )
    return [name for name in found if isinstance(name, str) and name]


def _best(models: tuple[str, ...]) -> str | None:
    """Return the catalogue's model if it is there, else the first that chats."""
    default = load_catalog()[OLLAMA].default_model
    if default in models:
        return default
    return next((name for name in models if _EMBEDDING not in name), None)
