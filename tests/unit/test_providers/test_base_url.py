"""Base URLs: every form people write ends in the one form LiteLLM needs."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amas.providers.errors import ProviderConfigError
from amas.providers.llm.base_url import models_url, normalize_base_url
from amas.providers.llm.catalog import CatalogEntry, load_catalog

ROWS = list(load_catalog().values())
ADDRESSED = [entry for entry in ROWS if entry.base_url]


def row_id(entry: CatalogEntry) -> str:
    """Name a test by its row."""
    return entry.name


@pytest.mark.parametrize("entry", ADDRESSED, ids=row_id)
def test_every_way_to_write_a_vendors_address_ends_in_the_same(entry: CatalogEntry) -> None:
    """Slashes, spaces, capitals, a bare host and the full address of a request all mean the vendor's base."""
    base = entry.base_url or ""
    parts = urlsplit(base)
    bare = f"{parts.scheme}://{parts.netloc}"
    for written in (
        base,
        f"{base}/",
        f"  {base}//\n",
        base.replace(bare, bare.upper()),
        bare,
        f"{bare}/",
        base + entry.chat_path.format(model=entry.default_model or "some-model"),
    ):
        assert normalize_base_url(written, entry.litellm_provider, entry=entry) == base, written


@pytest.mark.parametrize("entry", ADDRESSED, ids=row_id)
def test_models_listing_is_on_the_same_host(entry: CatalogEntry) -> None:
    """The free listing never carries the key to another host."""
    base = entry.base_url or ""
    listing = models_url(base, entry)
    assert (listing is None) == (entry.models_path is None)
    if listing is not None:
        assert urlsplit(listing)[:2] == urlsplit(base)[:2]
        assert "?" not in listing


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("openai", "https://api.openai.com/v1/models"),
        ("anthropic", "https://api.anthropic.com/v1/models"),
        ("gemini", "https://generativelanguage.googleapis.com/v1beta/models"),
        ("cohere", "https://api.cohere.ai/v1/models"),
        ("ollama", "http://localhost:11434/api/tags"),
    ],
)
def test_models_listing(name: str, expected: str) -> None:
    """The listing's address is the documented one."""
    entry = load_catalog()[name]
    assert models_url(entry.base_url or "", entry) == expected


@pytest.mark.parametrize(
    ("litellm_provider", "written", "expected"),
    [
        # an OpenAI-compatible server
        ("openai", "http://host:8000", "http://host:8000/v1"),
        ("openai", "http://host:8000/v1", "http://host:8000/v1"),
        ("openai", "http://host/some/prefix/v1", "http://host/some/prefix/v1"),
        ("openai", "http://host/prefix", "http://host/prefix"),
        ("openai", "http://host/prefix/chat/completions", "http://host/prefix"),
        ("openai", "http://host:8000/v1/models", "http://host:8000/v1"),
        ("openai", "http://host:8000/v1/embeddings/", "http://host:8000/v1"),
        ("openai", "HTTP://Host.Example:8000//V1/", "http://host.example:8000/V1"),
        ("openai", "http://[::1]:8000", "http://[::1]:8000/v1"),
        ("openai", "http://127.0.0.1:", "http://127.0.0.1/v1"),
        # Anthropic's own form has no version
        ("anthropic", "https://api.anthropic.com/v1", "https://api.anthropic.com"),
        ("anthropic", "https://api.anthropic.com/v1/messages", "https://api.anthropic.com"),
        ("anthropic", "http://proxy/anthropic/v1/", "http://proxy/anthropic"),
        ("anthropic", "http://proxy/v1/v1", "http://proxy"),
        # Gemini's has one
        (
            "gemini",
            "https://g.example/v1beta/models/gemini-x:streamGenerateContent",
            "https://g.example/v1beta",
        ),
        ("gemini", "https://g.example/v1beta/openai/chat/completions", "https://g.example/v1beta"),
        ("groq", "https://api.groq.com/openai", "https://api.groq.com/openai/v1"),
        ("deepseek", "https://api.deepseek.com/v1/", "https://api.deepseek.com/v1"),
        ("dashscope", "https://d.example/api/v1", "https://d.example/compatible-mode/v1"),
        # a LiteLLM provider without a row: tidied, no more
        ("snowflake", "https://x.example/api/v2/", "https://x.example/api/v2"),
        ("snowflake", "https://x.example", "https://x.example"),
    ],
)
def test_base_url_by_litellm_provider(litellm_provider: str, written: str, expected: str) -> None:
    """What must be added, cut or kept depends on the provider."""
    assert normalize_base_url(written, litellm_provider) == expected


@pytest.mark.parametrize(
    ("name", "written", "expected"),
    [
        ("ollama", "http://localhost:11434/v1", "http://localhost:11434"),
        ("ollama", "http://gpu:11434/api/chat", "http://gpu:11434"),
        ("local", "http://gpu:11434/api/generate", "http://gpu:11434"),
        ("local", "http://proxy/ollama/api/", "http://proxy/ollama"),
        ("cohere", "https://api.cohere.ai/v1", "https://api.cohere.ai/compatibility/v1"),
        ("cohere", "https://api.cohere.com/v2/chat", "https://api.cohere.com/compatibility/v1"),
        ("azure", "https://r.openai.azure.com/", "https://r.openai.azure.com/openai/v1"),
        (
            "azure",
            "https://r.openai.azure.com/openai/deployments/d/chat/completions",
            "https://r.openai.azure.com/openai/v1",
        ),
        (
            "azure_ai",
            "https://r.services.ai.azure.com/models",
            "https://r.services.ai.azure.com/openai/v1",
        ),
        ("databricks", "https://dbc.example.com", "https://dbc.example.com/serving-endpoints"),
        ("heroku", "https://eu.inference.heroku.com/v1", "https://eu.inference.heroku.com"),
        (
            "cloudflare",
            "https://api.cloudflare.com/client/v4/accounts/a/ai",
            "https://api.cloudflare.com/client/v4/accounts/a/ai/v1",
        ),
    ],
)
def test_base_url_by_row(name: str, written: str, expected: str) -> None:
    """Services that share a LiteLLM provider have paths of their own."""
    entry = load_catalog()[name]
    assert normalize_base_url(written, entry.litellm_provider, entry=entry) == expected


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("", "it is empty"),
        ("   ", "it is empty"),
        ("api.openai.com/v1", "must begin with https:// or http://"),
        ("localhost:11434", "must begin with https:// or http://"),
        ("ftp://host/v1", "must begin with https:// or http://"),
        ("http:///v1", "must begin with https:// or http:// and a host"),
        ("http://user:" + "hunter" + "2@host/v1", "user name or password"),
        ("http://@host", "user name or password"),
        ("http://host/v1?key=" + "hunter" + "2", "query or a fragment"),
        ("http://host/v1#x", "query or a fragment"),
        ("http://host/v1?", "query or a fragment"),
        ("http://ho st/v1", "spaces, backslashes or control characters"),
        ("http://host\\@evil/v1", "spaces, backslashes or control characters"),
        ("http://host/v1\r\nX-Evil: 1", "spaces, backslashes or control characters"),
        ("http://host/\x00", "spaces, backslashes or control characters"),
        ("http://hôst/v1", "non-ASCII"),
        ("http://:8000/v1", "host or port is malformed"),
        ("http://host:99999", "host or port is malformed"),
        ("http://host:port", "host or port is malformed"),
        ("http://host:0", "host or port is malformed"),
        ("http://[::1", "host or port is malformed"),
        ("http://a..b", "host or port is malformed"),
        ("http://-host", "host or port is malformed"),
        ("http://host/a/../v1", ". or .. segments"),
        ("http://host/%2e%2E/v1", ". or .. segments"),
    ],
)
def test_what_is_no_address_is_refused(written: str, says: str) -> None:
    """The error says what is wrong and shows an example, but never repeats a secret of the address."""
    with pytest.raises(ProviderConfigError) as caught:
        normalize_base_url(written, "openai")
    assert says in str(caught.value)
    assert "write it like https://api.openai.com/v1" in str(caught.value)
    assert caught.value.field == "base_url"
    assert "hunter" not in str(caught.value)


SEGMENTS = sorted(
    {
        segment
        for entry in ROWS
        for ending in (*(end for pair in entry.rewrite for end in pair), entry.chat_path)
        for segment in ending.split("/")
        if segment and "*" not in segment and "{" not in segment
    }
    | {"v1", "chat", "completions", "models", "gpt:generateContent", "anything"}
)


@given(
    entry=st.sampled_from(ROWS),
    segments=st.lists(st.sampled_from(SEGMENTS), max_size=6),
    slashes=st.sampled_from(["", "/", "//"]),
)
def test_normal_form_is_a_fixed_point(
    entry: CatalogEntry, segments: list[str], slashes: str
) -> None:
    """Normalising a normal form changes nothing, whatever the path, and ends without a slash."""
    written = "/".join(["https://host.example", *segments]) + slashes
    once = normalize_base_url(written, entry.litellm_provider, entry=entry)
    assert normalize_base_url(once, entry.litellm_provider, entry=entry) == once
    assert not once.endswith("/")
