"""The catalogue of providers: its data against the installed LiteLLM, and the rules of looking things up."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

import pytest

from amas.providers.errors import ProviderConfigError
from amas.providers.llm.base_url import normalize_base_url
from amas.providers.llm.catalog import (
    CatalogEntry,
    by_prefix,
    catalog,
    for_options,
    from_environment,
    load_catalog,
    lookup,
    parse_catalog,
    resolve,
)

ROWS = list(load_catalog().values())

OUR_KEY = "our" + "-key" * 4
FOREIGN = "foreign" + "-secret" * 3
FOREIGN_HOST = "https://foreign.example.net/v1"


def row_id(entry: CatalogEntry) -> str:
    """Name a test by its row."""
    return entry.name


def address(entry: CatalogEntry) -> str:
    """Return the vendor's address, or one of the kind the row asks for."""
    return normalize_base_url(
        entry.base_url or "https://host.example.com", entry.litellm_provider, entry=entry
    )


# --- the data, by itself ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", ROWS, ids=row_id)
def test_prefix_of_a_row_leads_to_its_litellm_provider(entry: CatalogEntry) -> None:
    """A model written with a row's LiteLLM prefix reaches the same LiteLLM provider as the row."""
    canonical = by_prefix(entry.litellm_provider)
    assert canonical is not None
    for option, name in canonical.by_option:
        # A row of its own takes over where an option is set, as for Azure's deployments.
        turned = for_options(canonical, {option: "x"})
        assert turned.env == canonical.env
        if name == entry.name:
            canonical = turned
    assert canonical.litellm_provider == entry.litellm_provider
    assert by_prefix(entry.name) is lookup(entry.name) is entry


@pytest.mark.parametrize("entry", ROWS, ids=row_id)
def test_plain_http_is_for_local_servers_only(entry: CatalogEntry) -> None:
    """A key never travels in the clear: only servers on the user's machine have http addresses."""
    if entry.base_url:
        assert urlsplit(entry.base_url).scheme == ("http" if entry.local else "https")
    assert entry.docs is None or entry.docs.startswith("https://")


def test_key_variable_stands_in_one_row_only() -> None:
    """No environment variable can send one vendor's key to another vendor."""
    names = [name for entry in ROWS for name in entry.env]
    assert sorted(names) == sorted(set(names))
    assert all(re.fullmatch(r"[A-Z][A-Z0-9_]+", name) for name in names)


def test_every_provider_of_the_old_modules_has_a_row() -> None:
    """What the replaced services could talk to, the catalogue knows by the same name."""
    old = (
        "deepseek glm grok kimi qwen gptoss groq cerebras gemini codestral nvidia gemini2 groq2 cohere chutes "
        "openai anthropic huggingface replicate together perplexity mistral fireworks ai21 ollama localai custom"
    )
    assert set(old.split()) <= set(load_catalog())


def test_no_row_is_written_twice() -> None:
    """YAML would silently keep the last of two rows with one name."""
    text = files("amas.providers.llm").joinpath("catalog.yaml").read_text(encoding="utf-8")
    rows = re.findall(r"^  ([\w-]+):$", text, re.MULTILINE)
    assert rows == list(load_catalog())


def test_loading_does_not_import_litellm() -> None:
    """The catalogue stays cheap: reading it does not cost LiteLLM's import."""
    code = (
        "import sys; from amas.providers.llm.catalog import load_catalog; load_catalog(); "
        "print('litellm' in sys.modules or 'openai' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "False"


# --- the data against the installed LiteLLM ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def litellm() -> Iterator[Any]:
    """Import LiteLLM once, offline."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        patch.setenv("LITELLM_MODE", "PRODUCTION")
        import litellm

        patch.setattr(litellm, "suppress_debug_info", True)
        # Else a stream of a "llama-3" model fetches a tokenizer, blocking the loop.
        patch.setattr(litellm, "disable_hf_tokenizer_download", True)
        yield litellm


@pytest.mark.parametrize("entry", ROWS, ids=row_id)
def test_context_window_agrees_with_litellm(entry: CatalogEntry, litellm: Any) -> None:
    """Where LiteLLM's price map knows the default model, both name the same context window."""
    keys = (f"{entry.prices}/{entry.default_model}", f"{entry.default_model}")
    known: dict[str, Any] = next(
        (
            facts
            for key in keys
            if (facts := litellm.model_cost.get(key)) and facts["litellm_provider"] == entry.prices
        ),
        {},
    )
    assert known.get("max_input_tokens") in {None, entry.context_window}


def test_every_prefix_is_known_to_litellm(litellm: Any) -> None:
    """A LiteLLM upgrade that drops a prefix is noticed here, not by a user."""
    from litellm.llms.openai_like.json_loader import JSONProviderRegistry

    used = {entry.litellm_provider for entry in ROWS} | {
        prefix for entry in ROWS for prefix in entry.prefixes
    }
    vanished = sorted(
        prefix
        for prefix in used | set(catalog().others)
        if prefix not in litellm.provider_list and not JSONProviderRegistry.exists(prefix)
    )
    assert not vanished, (
        f"LiteLLM no longer knows {vanished}: give their rows in catalog.yaml another litellm_provider, "
        "or take them off other_litellm_providers"
    )


# --- looking things up -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "model", "provider", "expected"),
    [
        ("groq", None, None, ("groq", "openai/gpt-oss-120b", "groq")),
        ("groq", "groq/llama-3.1-8b-instant", None, ("groq", "llama-3.1-8b-instant", "groq")),
        ("groq", "groq/compound", None, ("groq", "groq/compound", "groq")),
        ("fast", "groq/groq/compound", None, ("groq", "groq/compound", "groq")),
        ("openrouter", "openai/gpt-4o", None, ("openrouter", "openai/gpt-4o", "openrouter")),
        (
            "openrouter",
            "openrouter/openai/gpt-4o",
            None,
            ("openrouter", "openai/gpt-4o", "openrouter"),
        ),
        ("openrouter", "openrouter/auto", None, ("openrouter", "openrouter/auto", "openrouter")),
        ("nvidia", "nvidia/nemotron", None, ("nvidia_nim", "nvidia/nemotron", "nvidia")),
        ("together", "together_ai/a/b", None, ("together_ai", "a/b", "together")),
        ("kimi", "moonshot/kimi-k3", None, ("moonshot", "kimi-k3", "kimi")),
        ("glm", "zai/glm-5", None, ("zai", "glm-5", "glm")),
        ("my_vllm", "openai/qwen3", None, ("openai", "qwen3", "openai")),
        ("mine", "ollama_chat/llama3", None, ("ollama_chat", "llama3", "ollama")),
        ("cohere", "cohere_chat/command-a", None, ("openai", "command-a", "cohere")),
        ("openai", "anthropic/claude-x", None, ("anthropic", "claude-x", "anthropic")),
        ("openai", "unheard-of/model", None, ("openai", "unheard-of/model", "openai")),
        ("mine", "bedrock/anthropic.claude", None, ("bedrock", "anthropic.claude", "bedrock")),
        ("mine", "a/b", "openai", ("openai", "a/b", "openai")),
        ("groq", "openai/gpt-4o", "openai", ("openai", "gpt-4o", "openai")),
        ("mine", "vertex_ai/gemini-x", "vertex_ai", ("vertex_ai", "gemini-x", "vertex_ai")),
        ("mine", "sagemaker/x", None, ("sagemaker", "x", None)),
        ("mine", None, "xai", ("xai", "grok-4.3", "xai")),
    ],
)
def test_resolve(
    name: str, model: str | None, provider: str | None, expected: tuple[str, str, str | None]
) -> None:
    """Explicit provider, the row's own prefix, a known prefix and the row's name win in this order."""
    found = resolve(name, model, provider)
    entry = found.entry
    assert (found.litellm_provider, found.model, entry and entry.name) == expected


@pytest.mark.parametrize(
    ("name", "model", "provider", "field", "says"),
    [
        ("gorq", None, None, "provider", "no model is given.*did you mean groq"),
        ("mine", "some-model", None, "provider", "begins with no known provider"),
        ("mine", "antropic/x", None, "provider", "did you mean anthropic"),
        ("mine", "x", "opnai", "provider", "unknown provider 'opnai'.*did you mean openai"),
        ("custom", None, None, "model", "no default model for 'custom'"),
        ("mine", None, "sagemaker", "model", "no default model for 'sagemaker'"),
        ("mine", "groq/", None, "model", "no default model for 'groq'"),
    ],
)
def test_resolve_says_what_to_write(
    name: str, model: str | None, provider: str | None, field: str, says: str
) -> None:
    """Where nothing says which service or model is meant, the error names the field and close matches."""
    with pytest.raises(ProviderConfigError, match=says) as caught:
        resolve(name, model, provider)
    assert caught.value.provider == name
    assert caught.value.field == field


def test_openai_prefix_is_a_model_id_for_local_servers_with_such_ids() -> None:
    """A server whose ids contain vendors' names keeps them, though it speaks OpenAI's protocol."""
    assert resolve("localai", "openai/gpt-oss-20b").model == "openai/gpt-oss-20b"
    assert resolve("localai", "localai/phi").model == "phi"
    assert resolve("custom", "openai/phi").model == "phi"


@pytest.mark.parametrize("entry", ROWS, ids=row_id)
def test_environment_with_one_key_gives_one_provider(entry: CatalogEntry) -> None:
    """A set key variable yields a reference to it, where a key is all the row needs."""
    for name in entry.env:
        section = from_environment({name: OUR_KEY})
        usable = entry.base_url and entry.default_model
        assert section == ({entry.name: {"api_key": f"${{{name}}}"}} if usable else {})
        assert OUR_KEY not in str(section)


def test_environment_keeps_catalogue_order_and_skips_blank_variables() -> None:
    """Order follows the file, the first name that is set wins, and blanks count as unset."""
    environ = {
        "GROQAI_API_KEY": OUR_KEY,
        "GROQ_API_KEY": " ",
        "OPENAI_API_KEY": OUR_KEY,
        "MISTRAL_API_KEY": "",
    }
    assert list(from_environment(environ).items()) == [
        ("openai", {"api_key": "${OPENAI_API_KEY}"}),
        ("groq", {"api_key": "${GROQAI_API_KEY}"}),
    ]


def test_entries_are_frozen() -> None:
    """Nobody can change the catalogue for everybody else."""
    entry = load_catalog()["openai"]
    with pytest.raises(AttributeError):
        entry.base_url = FOREIGN_HOST  # type: ignore[misc]
    with pytest.raises(TypeError):
        load_catalog()["openai"] = replace(entry, title="x")  # type: ignore[index]
    assert hash(entry) == hash(replace(entry))


# --- reading the file ------------------------------------------------------------------------------------------------


def document(row: str) -> str:
    """Write a catalogue with a sound row and one to look at."""
    return os.linesep.join(
        [
            "endpoints: [/chat/completions]",
            "other_litellm_providers: [bedrock]",
            "providers:",
            "  base: {title: Base, embed_path: /e, base_url: 'https://h.example/v2', env: [BASE_KEY]}",
            f"  row: {row}",
        ]
    )


def test_row_gets_its_defaults() -> None:
    """A row needs a title; address path, prices and provider follow from what is there."""
    row = parse_catalog(document("{title: Row, base_url: 'https://h.example/x/v3'}")).entries["row"]
    assert (row.litellm_provider, row.prices, row.api_root) == ("row", "row", "/x/v3")
    assert row.capabilities == {"stream"}
    plain = parse_catalog(document("{title: Row, litellm_provider: openai}")).entries["row"]
    assert (plain.prices, plain.api_root, plain.base_url) == (None, "/v1", None)


def test_row_like_another_takes_all_but_its_variables() -> None:
    """A second account shares the service's facts, never the key."""
    row = parse_catalog(document("{title: Second, like: base}")).entries["row"]
    assert (row.litellm_provider, row.embed_path, row.api_root) == ("base", "/e", "/v2")
    assert row.env == ()


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("{}", "providers.row.title: Field required"),
        ("{title: X, like: base, colour: red}", "providers.row.colour: Unexpected"),
        ("{title: 5}", "providers.row.title: Input should be a valid string"),
        ("{title: X, local: 'yes'}", "providers.row.local: Input should be a valid boolean"),
        ("{title: X, env: KEY}", "providers.row.env: Input should be a valid (array|tuple)"),
        ("{title: X, rewrite: [a]}", "providers.row.rewrite: .*must be a mapping of texts"),
        ("{title: X, rewrite: {/a: 1}}", "providers.row.rewrite.0.1: Input should be a valid str"),
        ("{title: X, context_window: 0}", "providers.row.context_window: .*greater than 0"),
        ("{title: X, capabilities: [flight]}", "providers.row.capabilities.0: Input should be"),
        ("{title: X, base_url: 'https://h/'}", "providers.row.base_url: String should match"),
        ("{title: X, models_path: '//evil'}", "providers.row.models_path: String should match"),
        ("{title: X, like: nobody}", "providers.row.like: must name a row"),
        ("{title: X, like: row}", "providers.row.like: must name a row"),
        ("{title: X, prefixes: [base]}", "providers.row.prefixes: 'base' is already taken"),
        ("text", "providers.row: Input should be an object"),
        ("[", "is not YAML"),
    ],
)
def test_damaged_row_is_refused(row: str, says: str) -> None:
    """A wrong value or an unknown field stops the load and is named."""
    with pytest.raises(ProviderConfigError, match=f"catalog.yaml:? ?{says}"):
        parse_catalog(document(row))


def test_unknown_section_is_refused() -> None:
    """A misspelt section is not silently ignored."""
    with pytest.raises(ProviderConfigError, match=r"catalog.yaml: providerz: Unexpected"):
        parse_catalog(document("{title: X}") + "\nproviderz: {}")
