"""What a configuration and its layers must not do without a word: beside, lifted, moved, misspelt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from amas.config.provider_settings import ProvidersSettings, load_settings
from amas.providers.errors import ProviderConfigError

KEY = "sk-" + "test" * 6
PREFIX = "AMAS_PROVIDERS__"
KNOWN = ("openai", "groq", "openrouter")
RULES = "security: {access: {bot: {providers: [a], max_tokens: 5}}}\nllm: {a: {}}"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(beside: str = "", **texts: str) -> None:
    """Write files with the lines of their sections; all of them have the same lines beside it."""
    for name, text in texts.items():
        lines = "".join(f"  {line}\n" for line in text.splitlines())
        Path(f"{name.replace('_', '.')}.yaml").write_text(f"providers:\n{lines}{beside}")


def load(**environ: str) -> ProvidersSettings:
    """Load c.yaml."""
    return load_settings("c.yaml", environ=environ, known_providers=KNOWN)


def problem(**environ: str) -> str:
    """Return the only thing that is wrong with c.yaml."""
    with pytest.raises(ProviderConfigError) as caught:
        load(**environ)
    (line,) = caught.value.problems
    return line


# --- beside the section ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "beside",
    [
        "security: {access: {bot: {max_tokens: 1}}}",
        "security: {jwt: x, plaintext_keys: forbid}",
        'security: {"master_key": none}',
        "extends: base.yaml",
        '"extends": [base.yaml]',
    ],
)
@pytest.mark.parametrize("section", ["llm: {a: {}}", None])
def test_rules_beside_the_section_are_an_error(beside: str, section: str | None) -> None:
    """Passed over they would protect nobody; so in a file, an overlay without section, a mapping."""
    write(c="llm: {a: {}}", c_x="llm: {a: {}}", beside=f"{beside}\n")
    if section is None:
        write(c="llm: {a: {}}")
        Path("c.x.yaml").write_text(f"{beside}\n")
    name = "c.yaml:3:1" if section else "c.x.yaml:1:1"
    with pytest.raises(ProviderConfigError) as caught:
        load(AMAS_ENVIRONMENT="" if section else "x")
    line = caught.value.problems[0]
    assert line.startswith(
        f"{name}: providers: `{beside.partition(':')[0].strip(chr(34))}:` stands"
    )
    assert "indent it below `providers:`" in line


@pytest.mark.parametrize(
    ("beside", "told"),
    [
        ("manager: {strategy: weighted}", True),
        ("llm: {own: {base_url: http://h/v1}}", True),
        ("models: {fast: [a/b]}", True),
        ("models: {fast: {chain: [a]}}", True),
        ("security: {media_urls: forbid}", True),
        ("audit: {content: none}", True),
        ("migration: {llm_service: off}", True),
        ("metrics: {enabled: true, stray: 1}", False),
        ("security: {jwt: {secret: x}, enabled: true}", False),
        ("metrics: {enabled: true, port: 9090}", False),
        ("llm: {host: localhost, port: 1, model: x}", False),
        ("models: {directory: x}", False),
        ("manager: !host {strategy: x}", False),
        ("alerts: [me]", False),
        ("extends:", False),
        ("database: {access: x}", False),
    ],
)
def test_what_looks_like_ours_beside_the_section_is_told(beside: str, told: bool) -> None:
    """The host's own sections of the same names are left alone, whatever they have."""
    write(c="llm: {a: {}}", beside=f"{beside}\n")
    place = f"c.yaml:3:1: providers: `{beside.partition(':')[0]}:` stands beside it, "
    assert [line.startswith(place) for line in load().warnings] == [True] * told


def test_rules_beside_the_section_of_a_mapping_are_an_error() -> None:
    """What code hands over is read as a file is."""
    document: dict[str, Any] = {
        "providers": {"llm": {"a": {}}},
        "manager": {"strategy": "weighted"},
    }
    (warning,) = load_settings(document, environ={}).warnings
    assert warning.startswith("providers: `manager:` stands beside it")
    with pytest.raises(ProviderConfigError, match="`security:` stands beside it"):
        load_settings(document | {"security": {"access": {}}}, environ={})


# --- what protects --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overlay", "where"),
    [
        ("security: {access: {bot: ~}}", "c.x.yaml:2:28"),
        ("security: {access: {bot: {providers: null}}}", "c.x.yaml:2:40"),
        ("security: {access: ~}", "c.x.yaml:2:22"),
        ("security: {access: {}}", "c.x.yaml:2:22"),
        ("security: ~", "c.x.yaml:2:13"),
        ("SECURITY__ACCESS__BOT", "null"),
        ("SECURITY__ACCESS__BOT__MAX_TOKENS", "~"),
        ("SECURITY__ACCESS", "{}"),
        ("SECURITY", "NULL"),
        ("SECURITY", "{access: {bot: ~}}"),
    ],
)
def test_no_layer_lifts_the_rules_for_callers(overlay: str, where: str) -> None:
    """Null removes a rule, a limit or all of them nowhere; the message names both places."""
    write(c=RULES)
    if where.startswith("c.x"):
        write(c_x=overlay)
        line = problem(AMAS_ENVIRONMENT="x")
    else:
        line = problem(**{PREFIX + overlay: where})
        where = f"${{{PREFIX}{overlay}}}"
    assert line.startswith(f"{where}: providers.security")
    assert "would lift what c.yaml:2:" in line


@pytest.mark.parametrize("value", ["''", "[]", "false", "'${NO:-}'"])
@pytest.mark.parametrize("place", ["security: {}", "security: {{access: {}}}"])
def test_no_other_value_lifts_them_either(place: str, value: str) -> None:
    """What is no mapping is refused where the rules stand."""
    write(c=RULES, c_x=place.format(value))
    assert problem(AMAS_ENVIRONMENT="x").startswith("c.x.yaml:2:")


def test_rules_are_changed_and_nothing_written_leaves_them() -> None:
    """A layer may add rules and limits, and change them."""
    write(c=RULES, c_x="security:\n  access:\n    bot: {max_tokens: 7}\n    new: {providers: [a]}")
    access = load(AMAS_ENVIRONMENT="x").security.access
    assert (access["bot"].max_tokens, access["bot"].providers) == (7, ("a",))
    assert access["new"].providers == ("a",)
    write(c_x="security:\n  access:\n    bot:")
    assert load(AMAS_ENVIRONMENT="x").security.access["bot"].max_tokens == 5
    write(c="llm: {a: {}}", c_x="security: ~")
    assert load(AMAS_ENVIRONMENT="x").security.access == {}


@pytest.mark.parametrize(
    ("below", "above", "holds"),
    [
        ("forbid", "allow", "forbid"),
        ("forbid", "~", "forbid"),
        ("forbid", "${P}", "forbid"),
        ("warn", "allow", "warn"),
        ("allow", "forbid", "forbid"),
        ("allow", "~", "warn"),
        ("warn", "${P}", "allow"),
        ("forbid", "forbid", "forbid"),
    ],
)
def test_of_several_policies_for_keys_the_strictest_holds(
    below: str, above: str, holds: str
) -> None:
    """A higher layer makes it stricter only; the attempt to loosen it is told."""
    write(
        c=f"security: {{plaintext_keys: {below}}}\nllm: {{a: {{}}}}",
        c_x=f"security: {{plaintext_keys: {above}}}",
    )
    loaded = load(AMAS_ENVIRONMENT="x", P="allow")
    assert loaded.security.plaintext_keys == holds
    tried = holds == below and above != below
    place = "c.x.yaml:2:30: providers.security.plaintext_keys: c.yaml:2:30 says "
    assert [line.startswith(place) for line in loaded.warnings] == [True] * tried


def test_a_section_that_forbids_keys_is_not_removed() -> None:
    """Null for the whole section would loosen the policy as well."""
    write(c="security: {plaintext_keys: forbid}\nllm: {a: {}}", c_x="security: ~")
    assert problem(AMAS_ENVIRONMENT="x").startswith("c.x.yaml:2:13: providers.security: ")


# --- keys -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overlay", "moved"),
    [
        ("own: {base_url: http://elsewhere/v1}", "base_url"),
        ("own: {base_url: ~}", "base_url"),
        ("own: {provider: groq}", "provider"),
        ("own: {adapter: 'my.module:Own'}", "adapter"),
        ("own: {model: groq/x}", "model"),
        ("own: {model: openai/y, timeout: 3}", ""),
        ("own: {base_url: 'http://here/v1/'}", ""),
        ("own: {base_url: http://elsewhere/v1, api_key: none}", ""),
        ("own: {base_url: http://elsewhere/v1, api_keys: ['${K}']}", ""),
        ("own: {base_url: http://elsewhere/v1, api_key: ~}", ""),
        ("free: {base_url: http://elsewhere/v1}", ""),
        ("own: {provider: openai}", ""),
        ("openrouter: {model: openai/x}", ""),
        ("openrouter: {provider: openrouter}", ""),
    ],
)
def test_a_key_goes_nowhere_else_than_its_layer_says(overlay: str, moved: str) -> None:
    """Another address, vendor or adapter above a key is an error, unless it says the key too."""
    write(
        c="llm:\n  own: {base_url: http://here/v1, model: openai/x, api_key: '${K}'}\n"
        "  free: {base_url: http://here/v1, model: openai/x, api_key: none}\n"
        "  openrouter: {model: meta/x, api_key: '${K}'}",
        c_x=f"llm: {{{overlay}}}",
    )
    environ = {"AMAS_ENVIRONMENT": "x", "K": KEY}
    if not moved:
        assert load(**environ).llm
        return
    line = problem(**environ)
    assert line.startswith("c.x.yaml:2:" if "~" not in overlay else "c.yaml:3:")
    assert f"providers.llm.own.{moved}: the key comes from c.yaml:3:63, and " in line
    assert problem(K=KEY, **{f"{PREFIX}LLM__OWN__BASE_URL": "http://h/v1"}).startswith("${AMAS_")
    assert load(
        **environ, **{f"{PREFIX}LLM__OWN__API_KEY": KEY, f"{PREFIX}LLM__OWN__ADAPTER": "null"}
    ).llm


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LLM__A__API_KEY", "enc:v1:" + "0" * 8),
        ("LLM__A__API_KEY", " file:/run/secrets/" + KEY),
        ("LLM__A__API_KEY", "keyring:amas/" + KEY),
        ("LLM__A__API_KEY", "${OTHER_KEY}"),
        ("LLM__A__API_KEY", "$OTHER_KEY"),
        ("LLM__A__API_KEY", "%OTHER_KEY%"),
        ("LLM__A", f'{{api_key: "file:{KEY}"}}'),
        ("LLM__A__API_KEYS", f'["{KEY}", "keyring:a/{KEY}"]'),
        ("LLM__A__OPTIONS", '{my_secret: "${OTHER_KEY}"}'),
        ("LLM__A__PROXY", "http://u:${OTHER_KEY}@h:1"),
        ("SECURITY__MASTER_KEY", "file:/run/" + KEY),
    ],
)
def test_a_reference_in_a_variable_is_no_key(name: str, value: str) -> None:
    """It would be sent to the vendor; the message has nothing of it."""
    write(c="llm: {a: {}}")
    line = problem(**{PREFIX + name: value})
    assert line.startswith(f"${{{PREFIX}{name}}}: providers.")
    assert "variables hold values, no references; " in line
    assert not any(each in line for each in (KEY, "OTHER_KEY", "enc:v1", "/run"))


# --- short forms ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("below", "above"),
    [
        ("llm_service: off", "llm_service: {shadow_share: 0.1}"),
        ("llm_service: {shadow_share: 0.1}", "llm_service: off"),
    ],
)
def test_a_flag_and_what_belongs_to_it_meet_from_any_layers(below: str, above: str) -> None:
    """The short form of one layer and the long one of another are one flag."""
    write(c=f"migration: {{{below}}}\nllm: {{a: {{}}}}", c_x=f"migration: {{{above}}}")
    service = load(AMAS_ENVIRONMENT="x").migration.llm_service
    assert (service.flag, service.shadow_share) == ("off", 0.1)
    write(c="llm: {a: {}}")
    service = load(
        AMAS_PROVIDERS__MIGRATION="{llm_service: off}",
        AMAS_PROVIDERS__MIGRATION__LLM_SERVICE__SHADOW_SHARE="0.1",
    ).migration.llm_service
    assert (service.flag, service.shadow_share) == ("off", 0.1)


def test_an_alias_and_its_params_meet_from_any_layers() -> None:
    """A chain alone replaces the chain below, not what else the alias has; its places stay right."""
    write(c="models: {fast: [a]}\nllm: {a: {}, b: {}}", c_x="models: {fast: {params: {seed: 1}}}")
    alias = load(AMAS_ENVIRONMENT="x").models["fast"]
    assert (alias.chain, alias.params) == (("a",), {"seed": 1})
    alias = load(AMAS_ENVIRONMENT="x", AMAS_PROVIDERS__MODELS__FAST="[b]").models["fast"]
    assert (alias.chain, alias.params) == (("b",), {"seed": 1})
    write(c="models: {fast: {chain: [a], strategy: weighted}}\nllm: {a: {}}")
    write(c_x="models: {fast: [a, nobody]}")
    line = problem(AMAS_ENVIRONMENT="x")
    assert line.startswith("c.x.yaml:2:22: providers.models.fast.chain[1]: ")


# --- misspelt names -------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["https://u:{}@host/x", "file:///x/{}", "s3://{}/b"])
def test_an_address_is_not_extended_and_not_shown(address: str) -> None:
    """Only local files are possible, and an address may have a password."""
    secret = "pass" * 3
    write(c=f"extends: '{address.format(secret)}'\nllm: {{a: {{}}}}")
    line = problem()
    assert line.startswith("c.yaml:2:12: providers.extends: this is an address; only files on")
    assert secret not in line


@pytest.mark.parametrize(
    ("environment", "there", "words"),
    [
        ("prodution", "c_production", "there is c.production.yaml: correct the environment's name"),
        ("prod", "c_production", "there is c.production.yaml: correct"),
        ("Prod", "c_Prod", "there is c.Prod.yaml: rename it, in small letters"),
        ("development", "c_production", ""),
        ("production", "d_production", ""),
    ],
)
def test_an_environment_that_is_nearly_one_is_told(
    environment: str, there: str, words: str
) -> None:
    """An overlay that is there under nearly the name is probably missed; any other is not."""
    write(c="llm: {a: {}}")
    write(**{there: "manager: {deadline: 5}"})
    warnings = load(AMAS_ENVIRONMENT=environment).warnings
    assert len(warnings) == bool(words)
    for line in warnings:
        assert line.startswith("${AMAS_ENVIRONMENT}: providers: there is no c.")
        assert words in line


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("AMAS_PROVIDERS_LLM__A__TIMEOUT", True),
        ("AMAS_PROVIDERS_LLM_A_TIMEOUT", True),
        ("amas_providers_manager_deadline", True),
        ("AMAS_PROVIDER__LLM__A__TIMEOUT", True),
        ("AMAS_PROVIDERS_CONFIG", False),
        ("AMAS_PROVIDERS_FLAG_LLM_SERVICE", False),
        ("AMAS_PROVIDERS_DASHBOARD", False),
    ],
)
def test_a_setting_with_an_underscore_too_few_is_told(name: str, told: bool) -> None:
    """What was meant as a setting and is none is not passed over without a word."""
    write(c="llm: {a: {}}")
    warnings = load(**{name: "1"}).warnings
    assert [line.split(" (")[0].startswith(f"${{{name}}}: ") for line in warnings] == [True] * told
    assert load(**{name: ""}).warnings == ()


@pytest.mark.parametrize(
    "name", [f"{PREFIX}{KEY}", f"{PREFIX}LLM__A__{KEY}", f"{PREFIX}{'x' * 99}"]
)
def test_a_key_in_the_name_of_a_variable_is_not_shown(name: str) -> None:
    """Somebody may have written them the wrong way round."""
    write(c="llm: {a: {}}")
    line = problem(**{name: "1"})
    assert line.startswith("${AMAS_PROVIDERS__")
    assert KEY not in line
    assert "x" * 99 not in line
