"""What a configuration becomes once it is loaded."""

from __future__ import annotations

import copy
import json
import os
import pickle
import re
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from pydantic import ValidationError

from amas.config.field_types import REFERENCE_PATTERN
from amas.config.provider_settings import (
    HedgeSettings,
    ManagerSettings,
    MigrationSettings,
    ProviderSettings,
    ProvidersSettings,
    SandboxSettings,
    SecuritySettings,
    ServiceMigration,
    load_migration,
    load_settings,
)
from amas.providers.base.provider_interface import ProviderConfig
from amas.providers.errors import ProviderConfigError
from amas.providers.secret import Secret
from amas.providers.types import (
    Capability,
    Effect,
    HealthProbe,
    Outcome,
    Price,
    ResponseCheck,
    Retry,
    SandboxLimits,
)

ROOT = Path(__file__).parents[3]
KEY = "sk-" + "test" * 6

ORIGINAL = """\
providers:
  manager:
    enabled: true
    failover_enabled: true
    health_check_interval: 30
    max_retries: 3
  llm:
    openai:
      enabled: true
      api_key: "${OPENAI_API_KEY}"
      base_url: "https://api.openai.com/v1"
      timeout: 30
      max_retries: 3
    anthropic:
      enabled: true
      api_key: "${ANTHROPIC_API_KEY}"
      timeout: 30
      max_retries: 3
    local:
      enabled: true
      base_url: "http://localhost:11434"
      timeout: 60
      max_retries: 1
"""

DESIGN = """\
providers:
  manager:
    enabled: true
    failover_enabled: true
    health_check_interval: 30        # seconds
    max_retries: 3
    strategy: priority               # priority, round_robin, weighted, intelligent, …
    fallback_order: [openai, anthropic, local]   # default: the order in this file
    deadline: 120                    # seconds for one call, all attempts together
    state: memory                    # or redis://host:6379/0, shared by every process
    circuit_breaker: {failure_threshold: 5, window: 60, cooldown: 30, max_cooldown: 600}
  security:
    master_key: ${AMAS_MASTER_KEY}   # or file:…, keyring:…; opens the enc: values below
    plaintext_keys: warn             # allow, warn, forbid
    access: {osint_agent: {providers: [openai, local], models: ["openai/*"], max_tokens: 2000, \
budget_usd_per_day: 5}}
  audit: {path: logs/provider-audit.jsonl, content: none}      # none, hash, full
  alerts: {webhook: ${ALERT_WEBHOOK}, min_interval: 300}
  llm:
    openai: {enabled: true, api_key: "${OPENAI_API_KEY}", base_url: https://api.openai.com/v1, \
timeout: 30, max_retries: 3}
    anthropic: {api_key: "enc:v1:…"}
    local: {base_url: http://localhost:11434, timeout: 60, max_retries: 1}
    groq: {model: groq/llama-3.3-70b-versatile, api_key: "${GROQ_API_KEY}"}
    my_vllm: {model: openai/qwen3, base_url: http://vllm.internal:8000/v1, api_key: none}
"""


def load(tmp_path: Path, text: str | bytes, **arguments: Any) -> ProvidersSettings:
    """Write a file and load it."""
    path = tmp_path / "c.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_settings(path, **arguments)


def llm(**providers: object) -> dict[str, Any]:
    """Return a configuration with nothing but providers."""
    return {"providers": {"llm": providers}}


def test_the_original_block_loads(tmp_path: Path) -> None:
    """The block of the first request gives three providers, with and without their keys."""
    environ = {"OPENAI_API_KEY": KEY, "ANTHROPIC_API_KEY": KEY + "2"}
    settings = load(tmp_path, ORIGINAL, environ=environ)
    assert settings.warnings == ()
    assert settings.provider_configs() == [
        ProviderConfig("openai", KEY, "https://api.openai.com/v1", 30, 3),
        ProviderConfig("anthropic", KEY + "2", None, 30, 3),
        ProviderConfig("local", None, "http://localhost:11434", 60, 1),
    ]
    without = load(tmp_path, ORIGINAL, environ={})
    assert [config.enabled for config in without.provider_configs()] == [False, False, True]
    assert len(without.warnings) == 2


def test_the_example_of_the_design_loads(tmp_path: Path) -> None:
    """Every section and key of the documented surface is understood, unquoted references too."""
    settings = load(
        tmp_path,
        DESIGN,
        environ={
            "AMAS_MASTER_KEY": "m" * 12,
            "ALERT_WEBHOOK": "https://hooks.example/x",
            "OPENAI_API_KEY": KEY,
            "GROQ_API_KEY": KEY,
        },
        openers={"enc": lambda text, place: KEY + "e"},
    )
    assert settings.warnings == ()
    assert [config.name for config in settings.provider_configs()] == [
        *("openai", "anthropic", "local", "groq", "my_vllm")
    ]
    assert settings.alerts is not None
    assert settings.alerts.webhook == "https://hooks.example/x"
    assert settings.security.master_key == ("m" * 12,)
    assert settings.security.access["osint_agent"].providers == ("openai", "local")
    assert settings.provider_configs()[1].key_value == KEY + "e"


def test_the_defaults_are_the_documented_ones(tmp_path: Path) -> None:
    """A provider without a line and sections left out give the defaults of the design."""
    settings = load(tmp_path, "providers:\n  manager:\n  audit:\n  alerts: ~\n  llm:\n    local:\n")
    assert settings.manager.model_dump() == {
        "enabled": True,
        "failover_enabled": True,
        "health_check_interval": 30,
        "max_retries": 3,
        "strategy": "priority",
        "fallback_order": (),
        "deadline": 120,
        "state": "memory",
        "circuit_breaker": {
            "failure_threshold": 5,
            "window": 60,
            "cooldown": 30,
            "max_cooldown": 600,
            "minimum_calls": 1,
            "failure_rate": 0.5,
        },
        "retry_budget": 0.2,
        "policy": {},
        "response_checks": frozenset(),
        "stream_recovery": "raise",
        "hedge": None,
        "state_prefix": "amas-providers",
        "reload_on_change": False,
        "warm_up": False,
    }
    assert settings.security.model_dump() == {
        "master_key": (),
        "plaintext_keys": "warn",
        "media_urls": "allow",
        "media_hosts": (),
        "max_prompt_bytes": 32 << 20,
        "access": {},
    }
    assert settings.audit is None
    assert settings.alerts is None
    assert settings.provider_configs() == [ProviderConfig("local")]
    empty = load(tmp_path, "providers: {audit: {}, alerts: {}, llm: {a: {}}}")
    assert empty.audit is not None
    assert (empty.audit.path, empty.audit.content) == (None, "none")
    assert empty.alerts is not None
    assert (empty.alerts.webhook, empty.alerts.min_interval) == (None, 300)


def test_every_field_of_a_provider_arrives_in_its_configuration() -> None:
    """Nothing that can be configured is lost on the way to the provider."""
    fields: dict[str, Any] = {
        "enabled": False,
        "api_key": KEY,
        "base_url": "http://h",
        "timeout": 1,
        "max_retries": 2,
        "model": "m",
        "provider": "p",
        "first_content_timeout": 3,
        "idle_timeout": 4,
        "stream_timeout": 5,
        "params": {"a": [1]},
        "options": {"b": {}},
        "capabilities": ["vision"],
        "context_window": 6,
        "embedding_model": "e",
        "max_concurrency": 7,
        "max_queue": 8,
        "rpm": 9,
        "tpm": 10,
        "weight": 0.5,
        "price": {"input": 0, "output": 1.5},
        "health_probe": "paid",
        "response_checks": ["json"],
        "policy": {"content_policy": {"failover": "yes"}},
        "local": True,
        "allowed_hosts": ["Login.example.com"],
        "proxy": "http://user:word@proxy:3128",
        "dispatch": "litellm",
        "isolation": "process",
        "sandbox": {"memory_mb": 11, "cpu_seconds": 12, "open_files": 13},
    }
    assert fields.keys() == ProviderSettings.model_fields.keys() - {"api_keys", "adapter"}
    expected = fields | {
        "capabilities": frozenset({Capability.VISION}),
        "response_checks": frozenset({ResponseCheck.JSON}),
        "price": Price(0, 1.5),
        "health_probe": HealthProbe.PAID,
        "sandbox": SandboxLimits(11, 12, 13),
    }
    (config,) = load_settings(llm(x=fields)).provider_configs()
    assert config == ProviderConfig("x", **expected)
    keys = [KEY, KEY + "2"]
    (config,) = load_settings(llm(x={"api_keys": keys})).provider_configs()
    assert config == ProviderConfig("x", api_keys=keys)
    assert config.key_value == KEY
    (config,) = load_settings(llm(x={"adapter": "acme.llm:Acme"})).provider_configs()
    assert config == ProviderConfig("x", adapter="acme.llm:Acme")


MANAGER = """\
providers:
  manager:
    circuit_breaker: {minimum_calls: 3, failure_rate: 1}
    retry_budget: 0
    policy:
      content_policy: {failover: yes, retry: no}
      timeout: {retry: once, failover: larger_window, circuit: neutral}
    response_checks: [not_empty, json]
    stream_recovery: continue
    hedge: {after: 2, max_share: 1}
    state_prefix: host:1_a-b.c
  llm:
    a:
"""


def test_the_managers_options_for_failover_load(tmp_path: Path) -> None:
    """What decides about retries, hedging, checks and circuits is read as it is written."""
    manager = load(tmp_path, MANAGER).manager
    breaker = manager.circuit_breaker
    assert (breaker.minimum_calls, breaker.failure_rate) == (3, 1.0)
    assert manager.retry_budget == 0
    assert manager.policy == {
        "content_policy": {"failover": "yes", "retry": "no"},
        "timeout": {"retry": "once", "failover": "larger_window", "circuit": "neutral"},
    }
    assert manager.response_checks == frozenset(ResponseCheck)
    assert manager.stream_recovery == "continue"
    assert manager.hedge == HedgeSettings(after=2.0, max_share=1.0)
    assert manager.state_prefix == "host:1_a-b.c"
    assert json.loads(manager.model_dump_json())["policy"] == manager.policy


@pytest.mark.parametrize(
    ("text", "hedge"),
    [
        ("", None),
        ("~", None),
        ("{}", HedgeSettings(after="p95", max_share=0.1)),
        ("{after: p95, max_share: }", HedgeSettings()),
        ("{after: 0.5}", HedgeSettings(after=0.5)),
        ("{after: '${AFTER}', max_share: '${SHARE}'}", HedgeSettings(after=3.5, max_share=0.2)),
        ("{after: '${USUAL}'}", HedgeSettings()),
    ],
)
def test_hedging_is_asked_for_by_its_section(
    tmp_path: Path, text: str, hedge: HedgeSettings | None
) -> None:
    """Without the section nothing is hedged; an empty one means the documented defaults."""
    environ = {"AFTER": "3.5", "SHARE": "0.2", "USUAL": "p95"}
    content = f"providers: {{manager: {{hedge: {text}}}, llm: {{a: {{}}}}}}"
    assert load(tmp_path, content, environ=environ).manager.hedge == hedge


@pytest.mark.parametrize(
    ("value", "failover", "probe"),
    [
        ("yes", "yes", None),
        ("no", "no", "off"),
        ("off", "no", "off"),
        ("true", "yes", None),
        ("'yes'", "yes", None),
        ("'no'", "no", None),
        ("'off'", None, "off"),
        ("${TRUE}", "yes", None),
        ("${NO}", "no", "off"),
        ("${OFF}", "no", "off"),
        ("${PAID}", None, "paid"),
        ("larger_window", "larger_window", None),
    ],
)
def test_yes_no_and_off_mean_what_they_say_with_and_without_quotes(
    tmp_path: Path, value: str, failover: str | None, probe: str | None
) -> None:
    """YAML reads these words as truth values; as choices they are the words again."""
    environ = {"TRUE": "true", "NO": "no", "OFF": "off", "PAID": "paid"}
    head = "providers:\n  llm:\n    a:\n      "
    lines = {
        f"policy: {{auth: {{failover: {value}}}}}": failover,
        f"health_probe: {value}": probe,
    }
    for line, expected in lines.items():
        if expected is None:
            with pytest.raises(ProviderConfigError, match=r"must be (no, yes|free, paid)"):
                load(tmp_path, head + line, environ=environ)
            continue
        (config,) = load(tmp_path, head + line, environ=environ).provider_configs()
        found = config.policy["auth"]["failover"] if "policy" in line else config.health_probe
        assert found == expected
        if "policy" in line:
            assert type(found) is str


def test_a_mapping_may_have_the_enumerations_themselves() -> None:
    """Outcomes, choices and truth values of Python mean what their texts mean."""
    source = llm(
        a={
            "policy": {Outcome.AUTH: {"failover": True, "circuit": Effect.TRIP, "retry": Retry.NO}},
            "health_probe": HealthProbe.OFF,
            "response_checks": {ResponseCheck.JSON},
            "api_keys": (Secret(KEY), KEY + "2"),
        }
    )
    (config,) = load_settings(source).provider_configs()
    assert config.policy == {"auth": {"failover": "yes", "circuit": "trip", "retry": "no"}}
    assert config.health_probe is HealthProbe.OFF
    assert config.response_checks == frozenset({ResponseCheck.JSON})
    assert config.api_keys == (Secret(KEY), Secret(KEY + "2"))


@pytest.mark.parametrize("number", ["1e3", "1000.0", "${N}"])
def test_a_whole_number_may_be_written_as_a_decimal(tmp_path: Path, number: str) -> None:
    """As JSON has it, 1e3 and 1000.0 are 1000, also from a variable."""
    text = f"providers:\n  llm:\n    a: {{provider: openai, rpm: {number}, max_queue: {number}}}\n"
    row = load(tmp_path, text, environ={"N": "1e3"}).llm["a"]
    assert (repr(row.rpm), repr(row.max_queue)) == ("1000", "1000")


def test_an_empty_list_of_checks_is_not_the_managers() -> None:
    """A provider can say that its answers are not checked, whatever the manager's default."""
    configs = load_settings(llm(a={"response_checks": []}, b={})).provider_configs()
    assert [config.response_checks for config in configs] == [frozenset(), None]


def test_several_keys_are_shown_nowhere() -> None:
    """Neither repr, JSON, a pickle nor a copy's repr of the settings has one of the keys."""
    keys = ["OpaqueKey" + "1" * 12, "OpaqueKey" + "2" * 12]
    settings = load_settings(llm(a={"api_keys": keys}))
    shown = [repr(settings), settings.model_dump_json(), repr(copy.deepcopy(settings))]
    shown += [repr(settings.provider_configs()), repr(pickle.dumps(settings))]
    assert not [key for key in keys for text in shown if key in text]


def test_providers_come_in_fallback_order_and_then_as_in_the_file() -> None:
    """Those that are named come first, the others follow."""
    source = llm(a={}, b={}, c={}, d={})
    source["providers"]["manager"] = {"fallback_order": ["c", "a"], "max_retries": 7}
    source["providers"]["llm"]["b"] = {"max_retries": 0}
    configs = load_settings(source).provider_configs()
    assert [config.name for config in configs] == ["c", "a", "b", "d"]
    assert [config.max_retries for config in configs] == [7, 7, 0, 7]


def test_the_check_sees_every_enabled_provider() -> None:
    """A higher layer can look at each configuration that would be used."""
    seen: list[str] = []
    load_settings(
        llm(a={}, b={"enabled": False}, c={"api_key": "${NO}"}, d={}),
        environ={},
        check=lambda config: seen.append(config.name),
    )
    assert seen == ["a", "d"]


@pytest.mark.parametrize(
    ("field", "place", "path"),
    [
        ("model", "4:14", "llm.opnai.model"),
        ("base_url", "3:5", "llm.opnai.base_url"),
        (None, "3:5", "llm.opnai"),
        ("options.api_version", "5:30", "llm.opnai.options.api_version"),
    ],
)
def test_what_the_check_refuses_is_a_problem_at_its_field(
    tmp_path: Path, field: str | None, place: str, path: str
) -> None:
    """The problem stands at the field the check names, else at the provider, beside the others."""

    def check(config: ProviderConfig) -> None:
        raise ProviderConfigError("nobody knows it", field=field, provider=config.name)

    text = (
        "providers:\n  llm:\n    opnai:\n      model: x\n"
        "      options: {api_version: 1}\n    b: {timeot: 3}\n"
    )
    with pytest.raises(ProviderConfigError) as caught:
        load(tmp_path, text, check=check, known_providers=["openai"])
    first, second = caught.value.problems
    assert first == (
        f"{tmp_path}/c.yaml:{place}: providers.{path}: nobody knows it; did you mean 'openai'?"
    )
    assert second.startswith(f"{tmp_path}/c.yaml:6:9: ")


def test_a_hint_is_not_given_twice_or_to_known_names() -> None:
    """A check that has its own suggestion, and a name that is known, get none added."""

    def check(config: ProviderConfig) -> None:
        what = "did you mean 'x'?" if config.name == "opnai" else "wrong"
        raise ProviderConfigError(what, provider=config.name)

    with pytest.raises(ProviderConfigError) as caught:
        load_settings(llm(opnai={}, openai={}, zzz={}), check=check, known_providers=["openai"])
    assert caught.value.problems == (
        "providers.llm.opnai: did you mean 'x'?",
        "providers.llm.openai: wrong",
        "providers.llm.zzz: wrong",
    )


def test_an_access_rule_may_name_providers_by_pattern() -> None:
    """A pattern is not looked up among the configured names."""
    source = llm(a={})
    source["providers"]["security"] = {"access": {"x": {"providers": ["a*", "a"]}}}
    assert load_settings(source).security.access["x"].providers == ("a*", "a")


def test_settings_cannot_be_changed_and_can_be_copied() -> None:
    """The model is frozen and rejects unknown keys; copies and pickles have no key."""
    settings = load_settings(llm(a={"api_key": KEY}))
    with pytest.raises(ValidationError):
        settings.manager.enabled = False
    with pytest.raises(ValidationError):
        ManagerSettings.model_validate({"nonsense": 1})
    assert copy.deepcopy(settings) == settings
    assert KEY.encode() not in pickle.dumps(settings)
    for shown in (repr(settings), str(settings), settings.model_dump_json()):
        assert KEY not in shown


def test_a_password_in_the_address_of_the_state_is_not_shown() -> None:
    """Neither repr nor a message has the address of a Redis."""
    source = llm(a={})
    source["providers"]["manager"] = {"state": "redis://:pass" + "word@h:6379/0"}
    assert "pass" + "word" not in repr(load_settings(source))
    source["providers"]["manager"] = {"state": "redis://:pass" + "word@h:port"}
    with pytest.raises(ProviderConfigError) as caught:
        load_settings(source)
    assert "pass" + "word" not in str(caught.value)


def test_a_json_schema_can_be_made_of_the_settings() -> None:
    """Every key has a title, a description and examples, and references are allowed for numbers."""
    schema = ProvidersSettings.model_json_schema()
    assert set(schema["properties"]) == {
        *("manager", "security", "audit", "metrics", "tracing", "alerts", "migration", "llm"),
        *("extends", "models"),
    }
    models = [schema, *schema["$defs"].values()]
    for model in models:
        for name, field in model.get("properties", {}).items():
            assert {"title", "description", "examples"} <= field.keys(), name
    timeout = schema["$defs"]["ProviderSettings"]["properties"]["timeout"]
    assert {"pattern": REFERENCE_PATTERN, "type": "string"} in timeout["anyOf"]
    flags = schema["$defs"]["MigrationSettings"]["properties"]["llm_service"]["anyOf"]
    assert {"$ref": "#/$defs/ServiceMigration"} in flags
    assert {"enum": ["off", "on", "shadow"], "type": "string"} in flags
    outcomes = schema["$defs"]["ManagerSettings"]["properties"]["policy"]["propertyNames"]["enum"]
    assert set(outcomes) == set(Outcome) - {Outcome.OK, Outcome.CANCELLED}
    json.dumps(schema)


@pytest.mark.parametrize("text", ["providers:\n", "providers: {}\n", "providers: {llm: ~}\n"])
def test_a_section_without_providers_loads_with_a_warning(tmp_path: Path, text: str) -> None:
    """Nobody to ask is no mistake of the file, but worth saying."""
    settings = load(tmp_path, text)
    assert settings.provider_configs() == []
    assert "no provider is enabled" in settings.warnings[0]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_windows_files_are_fine(tmp_path: Path, newline: str, mark: bytes) -> None:
    """A byte order mark and CRLF are no mistakes."""
    text = mark + ORIGINAL.replace("\n", newline).encode()
    assert len(load(tmp_path, text, environ={}).llm) == 3


@pytest.mark.parametrize(
    ("content", "place", "phrase"),
    [
        (b"providers:\n  a: \xff\n", "2:6", "not UTF-8"),
        (b"\xef\xbb\xbfproviders: \xc3\xa9 \xe9\n", "1:14", "not UTF-8"),
        ("providers: {}\n".encode("utf-16"), "1:1", "not UTF-8"),
    ],
)
def test_a_file_that_is_not_utf_8_is_refused_at_the_byte(
    tmp_path: Path, content: bytes, place: str, phrase: str
) -> None:
    """The message has the place of the first byte that is wrong."""
    with pytest.raises(ProviderConfigError) as caught:
        load(tmp_path, content)
    assert f"c.yaml:{place}: this is {phrase}; save the file as UTF-8" in str(caught.value)


def test_files_that_cannot_be_read_say_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Missing files, directories, pipes, impossible paths and missing rights have their words."""
    os.mkfifo(tmp_path / "pipe")
    expected = {
        str(tmp_path / "none.yaml"): "there is no such file; check the path",
        str(tmp_path): "this is a directory; give the path of a YAML file",
        str(tmp_path / "pipe"): "this is not a regular file; give the path",
        "a\0b": "this is no possible path; give the path",
        "\udcff\ud800": "this is no possible path; give the path",
        "x" * 5000: "File name too long; give the path",
    }
    for path, phrase in expected.items():
        with pytest.raises(ProviderConfigError, match=phrase) as caught:
            load_settings(path)
        str(caught.value).encode()

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ProviderConfigError, match="no permission to read the file"):
        load_settings("c.yaml")


def test_the_text_of_a_configuration_is_not_taken_for_a_path() -> None:
    """Somebody who passes the text is told so, and the text is not repeated."""
    with pytest.raises(ProviderConfigError, match="give the path of a file") as caught:
        load_settings(f"providers:\n  llm: {{a: {{api_key: {KEY}}}}}\n")
    assert KEY not in str(caught.value)
    assert "llm" not in str(caught.value)
    for wrong in (None, 3, ["providers"]):
        with pytest.raises(ProviderConfigError, match="give a path or a mapping"):
            load_settings(wrong)  # type: ignore[arg-type]


# --- mappings ---------------------------------------------------------------------------------


def test_a_mapping_may_have_what_python_has() -> None:
    """Tuples, sets, paths, enumerations and secrets mean what they mean in a file."""
    source = llm(
        a={
            "api_key": Secret(KEY),
            "capabilities": {Capability.TOOLS},
            "params": {"stop": ("x", "y")},
            "options": {"api_secret": Secret(KEY)},
        }
    )
    source["providers"]["audit"] = {"path": PurePosixPath("logs/a.jsonl")}
    source["providers"]["security"] = {"master_key": Secret(KEY)}
    source["providers"]["manager"] = {"fallback_order": ("a",)}
    before = copy.deepcopy(source)
    settings = load_settings(source)
    (config,) = settings.provider_configs()
    assert config.key_value == KEY
    assert config.capabilities == frozenset({Capability.TOOLS})
    assert config.params == {"stop": ["x", "y"]}
    assert settings.audit is not None
    assert settings.audit.path == "logs/a.jsonl"
    assert settings.source is None
    assert source == before


def _nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


def _loop() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["a"] = [value]
    return value


@pytest.mark.parametrize(
    ("source", "phrase"),
    [
        ({}, "there is no `providers` section"),
        ({"providers": []}, "providers: must be a mapping, not a list"),
        (llm(a={"timeot": 1}), "providers.llm.a.timeot: unknown key; did you mean 'timeout'?"),
        (llm(a={"timeout": float("nan")}), "providers.llm.a.timeout: is not a finite number"),
        (llm(a={"timeout": 10**5000}), "providers.llm.a.timeout: is too large a number"),
        (llm(a={"model": b"x"}), "providers.llm.a.model: a bytes is no configuration value"),
        (llm(a={"model": object()}), "a object is no configuration value"),
        (llm(a={"model": "\ud800"}), "providers.llm.a.model: has half a character"),
        (llm(a={1: 2}), "providers.llm.a: a key is of type int; make it a text"),
        (llm(a={"\ud800": 2}), "providers.llm.a: a key has half a character"),
        (llm(a={"params": _nested(100)}), "nested deeper than 64 levels"),
        (llm(a={"params": _loop()}), "providers.llm.a.params.a[0]: leads back to its own parent"),
        (llm(a={"params": {"x": [0] * 100_001}}), "more than 100000 values"),
        (llm(a={"x" * 50: 1}), "providers.llm.a.<50 characters>: unknown key"),
    ],
)
def test_a_mistake_in_a_mapping_has_its_path(source: Mapping[str, Any], phrase: str) -> None:
    """Without lines, the path alone says where."""
    with pytest.raises(ProviderConfigError) as caught:
        load_settings(source)
    (problem,) = caught.value.problems
    assert phrase in problem


def test_problems_of_a_mapping_come_in_its_order() -> None:
    """The order is the one the mapping has, not the one of the checks."""
    source = {
        "providers": {
            "llm": {"b": {"timeout": "x"}, "a": {"oops": 1}},
            "manager": {"strategy": "x"},
        }
    }
    with pytest.raises(ProviderConfigError) as caught:
        load_settings(source)
    assert [problem.split(": ")[0] for problem in caught.value.problems] == [
        "providers.llm.b.timeout",
        "providers.llm.a.oops",
        "providers.manager.strategy",
    ]


# --- flags of the old services --------------------------------------------------------------------


def test_flags_may_stand_alone_or_with_their_settings(tmp_path: Path) -> None:
    """A flag is a word, a truth value or a share, from the file or from a variable."""
    text = """\
providers:
  migration:
    llm_service: off
    universal_ai_manager: {flag: "${SHARE}", old: "old.uam:Manager", shadow_share: "${NUMBER}"}
    ultimate_fallback_system: {flag: on, differences: logs/d.jsonl}
  llm: {a: {api_key: none}}
"""
    environ = {"SHARE": " 12.50 %", "NUMBER": "1"}
    settings = load(tmp_path, text, environ=environ)
    assert settings.warnings == ()
    migration = settings.migration
    assert migration.llm_service == ServiceMigration(flag="off")
    assert migration.universal_ai_manager == ServiceMigration(
        flag="12.5%", old="old.uam:Manager", shadow_share=1.0
    )
    assert migration.ultimate_fallback_system == ServiceMigration(differences="logs/d.jsonl")
    assert load_migration(tmp_path / "c.yaml", environ=environ) == migration
    assert load_migration(
        {"providers": {"migration": {"llm_service": False}}}
    ) == MigrationSettings(llm_service=ServiceMigration(flag="off"))


@pytest.mark.parametrize(
    "text",
    ["providers: {}\n", "providers: {migration: }\n", "providers: {migration: {llm_service: }}\n"],
)
def test_without_flags_the_new_services_answer(tmp_path: Path, text: str) -> None:
    """What is left out or empty is on, and a twentieth of the calls is what shadow may repeat."""
    migration = load(tmp_path, text).migration
    assert migration == MigrationSettings()
    assert migration.llm_service == ServiceMigration(flag="on", old=None, shadow_share=0.05)


def test_flags_can_be_loaded_whatever_is_wrong_elsewhere(tmp_path: Path) -> None:
    """Mistakes of other sections do not stop them, a section that there is not does."""
    path = tmp_path / "c.yaml"
    path.write_text("providers: {migration: {llm_service: off}, llm: {a: {timeot: 3}}}\n")
    assert load_migration(path).llm_service.flag == "off"
    with pytest.raises(ProviderConfigError, match="timeot"):
        load_settings(path)
    path.write_text("providers: {migraton: {llm_service: off}}\n")
    with pytest.raises(ProviderConfigError, match="did you mean 'migration'"):
        load_migration(path)


# --- the configuration that is shipped ----------------------------------------------------------

SHIPPED = ROOT / "configs" / "amas_config.yaml"


def test_the_shipped_configuration_works_with_keys() -> None:
    """With both keys set, three providers are ready and nothing is warned about."""
    environ = {"OPENAI_API_KEY": KEY, "ANTHROPIC_API_KEY": KEY}
    settings = load_settings(SHIPPED, environ=environ)
    assert settings.warnings == ()
    assert [(c.name, c.enabled) for c in settings.provider_configs()] == [
        *(("openai", True), ("anthropic", True), ("local", True))
    ]


def test_the_shipped_configuration_works_without_keys() -> None:
    """Without keys the local provider is left, and two warnings say what to set."""
    settings = load_settings(SHIPPED, environ={})
    assert [c.name for c in settings.provider_configs() if c.enabled] == ["local"]
    assert len(settings.warnings) == 2
    assert all("_API_KEY} is not set" in warning for warning in settings.warnings)


def test_the_shipped_configuration_shows_every_option_with_its_default(tmp_path: Path) -> None:
    """Uncommented, its comments are a valid configuration that has every key of the schema."""
    section = SHIPPED.read_text().split("\nproviders:\n")[1]
    section = re.sub(r"(?m)^( *)# ( *(?:[a-z_]+|\"\*\"):(?: .*)?)$", r"\1\2", section)
    environ = {
        "OPENAI_API_KEY": KEY,
        "OPENAI_API_KEY_2": KEY + "2",
        "ANTHROPIC_API_KEY": KEY,
        "AMAS_MASTER_KEY": KEY,
        "HTTPS_PROXY": "http://proxy:3128",
        "ALERT_WEBHOOK": "https://hooks.example/x",
    }
    section, keys = re.subn(r"(?m)^ +api_key: \"\$\{OPENAI_API_KEY\}\".*\n", "", section)
    assert keys == 1  # it excludes api_keys, which takes its place here
    section, adapters = re.subn(r"(?m)^ +adapter: .*\n", "", section)
    assert adapters == 1  # it excludes provider, which is here
    (tmp_path / "base.yaml").write_text("providers:\n")
    settings = load(tmp_path, "providers:\n" + section, environ=environ)
    assert settings.warnings == ()
    assert settings.extends == ("base.yaml",)
    assert settings.audit is not None
    assert settings.alerts is not None
    assert settings.manager.hedge == HedgeSettings()
    assert settings.manager.policy
    assert settings.manager.model_copy(update={"hedge": None, "policy": {}}) == ManagerSettings(
        fallback_order=("openai", "anthropic", "local")
    )
    rule = settings.security.access["osint_agent"]
    assert (
        settings.security.model_copy(update={"master_key": (), "access": {}, "media_hosts": ()})
        == SecuritySettings()
    )
    sandbox = settings.llm["openai"].sandbox
    assert sandbox == SandboxSettings()
    migration = settings.migration
    assert (
        migration.llm_service.model_copy(update={"old": None, "differences": None})
        == ServiceMigration()
    )
    assert settings.models["fast"].model_fields_set == {"chain"}
    models = (settings.manager, settings.security, settings.audit, settings.alerts, rule)
    assert settings.security.access["*"].model_fields_set == {"providers"}
    for model in (*models, sandbox, migration, migration.llm_service, settings.models["smart"]):
        assert model.model_fields_set == type(model).model_fields.keys(), type(model)
    shown = settings.llm["openai"].model_fields_set | {"api_key", "adapter"}
    assert shown == ProviderSettings.model_fields.keys()


def test_the_three_lines_of_the_shipped_configuration_add_a_provider(tmp_path: Path) -> None:
    """What its head says about adding a provider is true word for word."""
    comment = SHIPPED.read_text().split("add three lines under `llm:`\n")[1].split("\n\n")[0]
    rows = [line[1:] for line in comment.splitlines() if line.startswith("#   ")]
    text = "providers:\n  llm:\n" + textwrap.indent(textwrap.dedent("\n".join(rows)), "    ")
    settings = load(tmp_path, text, environ={"GROQ_API_KEY": KEY})
    assert list(settings.llm) == ["groq", "my_vllm"]
    assert settings.warnings == ()


@pytest.mark.parametrize("package", ["amas", "src.amas"])
def test_it_works_under_both_names_of_the_package(package: str) -> None:
    """Imported as ``amas`` or as ``src.amas``, it loads, and no LiteLLM comes with it."""
    code = (
        f"import sys; from {package}.config.provider_settings import load_settings; "
        f"print(len(load_settings({str(SHIPPED)!r}, environ={{}}).llm), "
        "{'litellm', 'openai', 'aiohttp'} & sys.modules.keys())"
    )
    environ = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["3", "set()"]


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"audit": {"content": "full"}}, "audit.content: has no effect without audit.path"),
        ({"metrics": {"port": 9464}}, "metrics.port: has no effect unless metrics.enabled is true"),
        ({"tracing": {"propagate": True}}, "tracing.propagate: has no effect unless"),
        ({"metrics": {"port": 9464, "enabled": False}}, None),
        ({"tracing": {"propagate": True, "enabled": False}}, None),
        ({"metrics": {"port": 9464, "enabled": True}}, None),
    ],
)
def test_what_has_no_effect_is_said(section: dict[str, Any], said: str | None) -> None:
    """Unless it was switched off in so many words."""
    source = llm(a={})
    source["providers"] |= section
    warnings = load_settings(source).warnings
    assert len(warnings) == (said is not None)
    assert said is None or said in warnings[0]
