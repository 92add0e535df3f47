"""Whatever stands in a file, it loads, or every problem has a place; and no key gets out."""

from __future__ import annotations

import json
import os
import random
import re
import string
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from amas.config.json_schema import document_schema
from amas.config.provider_settings import (
    AccessRule,
    AlertSettings,
    AuditSettings,
    CircuitBreakerSettings,
    HedgeSettings,
    ManagerSettings,
    MetricsSettings,
    MigrationSettings,
    ModelAlias,
    PolicyRule,
    PriceSettings,
    ProviderSettings,
    ProvidersSettings,
    SandboxSettings,
    SecuritySettings,
    ServiceMigration,
    TracingSettings,
    load_settings,
)
from amas.config.section import Section
from amas.config.yaml_source import read_yaml
from amas.providers.errors import ProviderConfigError

SEED = 20_261_119
# `make chaos` asks for ten thousand.
ROUNDS = int(os.environ.get("AMAS_FUZZ_ROUNDS", "1200"))

PLANTED = "sk-" + "planted" * 5
OPAQUE = "OpaquePlanted" * 3  # no vendor's shape: only its place says that it is a key
ENVIRON = {"SET": "value", "KEY": PLANTED, "NUMBER": "10", "TRUTH": "true", "BLANK": " "}

Rng = random.Random


# --- valid configurations, from the fields of the schema ------------------------------------------


def _seconds(rng: Rng) -> object:
    return rng.choice([1, 30, 0.5, 86_400, "${NUMBER}"])


def _key(rng: Rng) -> str:
    return rng.choice([PLANTED, OPAQUE, "${KEY}", "${NO}", "none", "enc:v1:x", "file:/no/where"])


def _text(rng: Rng) -> str:
    return rng.choice(["a", "groq/llama-3.3", "x y", "${SET}", "$${x}", "ü😀", "2024-10-21", "#"])


def _number(rng: Rng) -> object:
    return rng.choice([1, 7, "${NUMBER}"])


def _share(rng: Rng) -> object:
    return rng.choice([0.1, 0.5, 1])


def _keys(rng: Rng) -> list[str]:
    return rng.sample([PLANTED, OPAQUE, "${NO}", "${NO:-}", "enc:v1:x", "file:/no/where"], 2)


def _master_key(rng: Rng) -> object:
    return _key(rng) if rng.random() < 0.5 else _keys(rng)


def _policy(rng: Rng) -> dict[str, object]:
    outcomes = rng.sample(["auth", "timeout", "content_policy", "bad_response"], 2)
    return {outcome: _section(rng, PolicyRule) for outcome in outcomes}


def _flag(rng: Rng) -> object:
    return rng.choice([True, False, "${TRUTH}"])


def _mapping(rng: Rng) -> dict[str, object]:
    values = [1, 0.5, None, True, "text", ["a", {"b": []}], "${SET}"]
    return {rng.choice("abcdef"): rng.choice(values) for _ in range(rng.randrange(3))}


def _service(rng: Rng) -> object:
    return FIELDS["flag"](rng) if rng.random() < 0.5 else _section(rng, ServiceMigration)


# By name of the field; where one is missing, adding a field to the schema fails the test.
FIELDS: dict[str, Callable[[Rng], object]] = {
    **dict.fromkeys(("enabled", "failover_enabled", "local", "reload_on_change"), _flag),
    **dict.fromkeys(("propagate", "warm_up"), _flag),
    "fsync": lambda rng: rng.choice(["always", "interval", "never"]),
    "when_unwritable": lambda rng: rng.choice(["drop", "block"]),
    "checkpoint": lambda rng: rng.choice(["logs/checkpoints", "${SET}"]),
    "host": lambda rng: rng.choice(["127.0.0.1", "${SET}"]),
    "format": lambda rng: rng.choice(["json", "slack"]),
    **dict.fromkeys(
        (
            *("health_check_interval", "deadline", "window", "timeout", "min_interval"),
            *("first_content_timeout", "idle_timeout", "stream_timeout", "budget_usd_per_day"),
            *("max_days", "keep_days", "latency"),
        ),
        _seconds,
    ),
    **dict.fromkeys(
        (
            *("max_retries", "failure_threshold", "minimum_calls", "context_window", "max_tokens"),
            *("max_concurrency", "max_queue", "rpm", "tpm", "weight", "input", "output"),
            *("max_prompt_bytes", "budget_tokens_per_day", "calls_per_minute"),
            *("memory_mb", "cpu_seconds", "open_files", "max_megabytes", "port"),
        ),
        _number,
    ),
    **dict.fromkeys(("failure_rate", "retry_budget", "max_share"), _share),
    **dict.fromkeys(("model", "provider", "embedding_model", "path", "base_url"), _text),
    "api_key": _key,
    "master_key": _master_key,
    "media_urls": lambda rng: rng.choice(["forbid", "allow-list", "allow"]),
    **dict.fromkeys(("media_hosts", "allowed_hosts"), lambda _rng: ["h.example.com"]),
    "proxy": lambda rng: rng.choice(["http://proxy:3128", "http://u:" + OPAQUE + "@p:1", "${NO}"]),
    "adapter": lambda rng: rng.choice(["acme.llm:Acme", "acme:Outer.Inner"]),
    "dispatch": lambda rng: rng.choice(["auto", "direct", "litellm"]),
    "isolation": lambda rng: rng.choice(["none", "process"]),
    "sandbox": lambda rng: _section(rng, SandboxSettings),
    "cooldown": lambda rng: rng.choice([1, 30]),
    "max_cooldown": lambda rng: rng.choice([30, 600]),
    "strategy": lambda rng: rng.choice(["priority", "round_robin", "cheapest"]),
    "state": lambda rng: rng.choice(["memory", "redis://:" + OPAQUE + "@h:6379/0"]),
    "plaintext_keys": lambda rng: rng.choice(["allow", "warn", "forbid"]),
    "content": lambda rng: rng.choice(["none", "hash", "full"]),
    "webhook": lambda rng: rng.choice(["https://h.example/" + OPAQUE, "${NO}"]),
    "models": lambda rng: [_text(rng)],
    "providers": lambda rng: [rng.choice(["p0", "*"])],
    "chain": lambda rng: rng.sample(["p0", "p1/a/b", "p2/${SET}"], 2),
    "fallback_order": lambda rng: rng.choice([[], ["p0"]]),
    "capabilities": lambda rng: rng.sample(["stream", "tools", "vision"], 2),
    "params": _mapping,
    "options": lambda rng: _mapping(rng) | {"aws_secret_access_key": _key(rng)},
    "api_keys": _keys,
    "policy": _policy,
    "retry": lambda rng: rng.choice(["no", False, "backoff", "short_wait"]),
    "failover": lambda rng: rng.choice([True, False, "yes", "larger_window", "${TRUTH}"]),
    "circuit": lambda rng: rng.choice(["failure", "neutral", "trip"]),
    "health_probe": lambda rng: rng.choice(["free", "paid", "off", False]),
    "response_checks": lambda rng: rng.choice([[], ["json"], ["not_empty", "json"]]),
    "stream_recovery": lambda rng: rng.choice(["raise", "restart", "continue"]),
    "after": lambda rng: rng.choice(["p95", 2, 0.5, "${NUMBER}"]),
    "hedge": lambda rng: _section(rng, HedgeSettings),
    "price": lambda rng: {name: FIELDS[name](rng) for name in PriceSettings.model_fields},
    "state_prefix": lambda rng: rng.choice(["amas:a", "${SET}"]),
    "circuit_breaker": lambda rng: _section(rng, CircuitBreakerSettings),
    "flag": lambda rng: rng.choice(["off", True, "shadow", "30%", "${TRUTH}"]),
    "old": lambda rng: rng.choice(["legacy.llm_service", "old:Service"]),
    "shadow_share": lambda rng: rng.choice([0, 0.05, 1]),
    "differences": lambda rng: rng.choice(["logs/d.jsonl", "${SET}"]),
    "access": lambda rng: {rng.choice(["caller", "*"]): _section(rng, AccessRule)},
    **dict.fromkeys(MigrationSettings.model_fields, _service),
}


def _section(rng: Rng, model: type[Section]) -> dict[str, object]:
    names = [name for name in model.model_fields if rng.random() < 0.15]
    for pair in (["api_keys", "api_key"], ["adapter", "provider"]):  # which exclude each other
        if set(pair) <= set(names):
            names.remove(rng.choice(pair))
    return {name: FIELDS[name](rng) for name in names}


def _valid(rng: Rng) -> dict[str, Any]:
    providers: dict[str, Any] = {
        "llm": {f"p{i}": _section(rng, ProviderSettings) for i in range(1, 3)}
    }
    providers["llm"]["p0"] = _section(rng, ProviderSettings)
    for name, model in (
        *(("manager", ManagerSettings), ("security", SecuritySettings)),
        *(("audit", AuditSettings), ("alerts", AlertSettings)),
        *(("metrics", MetricsSettings), ("tracing", TracingSettings)),
        ("migration", MigrationSettings),
    ):
        if rng.random() < 0.4:
            providers[name] = _section(rng, model)
    if rng.random() < 0.4:
        chain = FIELDS["chain"](rng)
        providers["models"] = {"a": chain, "b": _section(rng, ModelAlias) | {"chain": chain}}
    if "path" in providers.get("audit", {}):  # which needs a key for its seals
        providers.setdefault("security", {})["master_key"] = OPAQUE
    return {"host": {"a": 1}, "providers": providers}


def _dump(rng: Rng, value: object, indent: int = 0) -> str:
    """Write a document as YAML, in blocks or, here and there, in JSON's form."""
    if not isinstance(value, dict) or not value or rng.random() < 0.1:
        return f" {json.dumps(value, ensure_ascii=False)}\n"
    lines = [
        f"{' ' * indent}{json.dumps(key) if rng.random() < 0.1 else key}:"
        f"{_dump(rng, item, indent + rng.choice([1, 2, 4]))}"
        for key, item in value.items()
    ]
    return ("\n" if indent else "") + "".join(lines)


# --- mutations ------------------------------------------------------------------------------------

ODD = [
    *(
        "\t",
        "\x00",
        "\x07",
        "\x85",
        "\u2028",
        "\ufeff",
        "\U0010fff0",
        "😀",
        "${",
        "}",
        "{",
        "[",
        "]",
    ),
    *(
        "'",
        '"',
        ":",
        ": ",
        "#",
        " #",
        "- ",
        "? ",
        "&a ",
        "*a ",
        "!t ",
        "|",
        ">",
        "%",
        "@",
        "`",
        ",",
    ),
    *("<<: *a\n", "---\n", "...\n", "\n", "\r", "  ", "\\", "~", "\\ud800", "$${", "=", "no"),
]
SWAPS: list[object] = [
    None,
    True,
    -1,
    0,
    1.5,
    10**30,
    [],
    [[1]],
    {},
    {"a": {"b": 1}},
    "",
    "30s",
    "x",
]


def _misspell(rng: Rng, value: Any) -> Any:
    """Change a letter of a key somewhere in a document."""
    if isinstance(value, dict) and value:
        victim = rng.choice(list(value))
        if rng.random() < 0.4 and not isinstance(value[victim], dict):
            at = rng.randrange(len(victim))
            letter = rng.choice(string.ascii_lowercase + " 1")
            return {
                (k[:at] + letter + k[at + 1 :] if k == victim else k): v for k, v in value.items()
            }
        return value | {victim: _misspell(rng, value[victim])}
    return value


def _swap(rng: Rng, value: Any) -> Any:
    """Put something of another type somewhere into a document."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        victim = rng.choice(list(value))
        return value | {victim: _swap(rng, value[victim])}
    return rng.choice(SWAPS)


def _broken_text(rng: Rng, text: str) -> str | bytes:
    lines = text.splitlines(keepends=True)
    at = rng.randrange(len(lines))
    match rng.randrange(6):
        case 0:
            del lines[at]
        case 1:
            lines[at] = lines[at][: rng.randrange(len(lines[at]) + 1)]
        case 2:
            lines[at] = rng.choice(["", " ", "   ", "\t"]) + lines[at].lstrip()
        case 3:
            lines.insert(rng.randrange(len(lines)), lines[at])
        case 4:
            place = rng.randrange(len(text))
            return text[:place] + rng.choice(ODD) + text[place:]
        case _:
            raw = text.encode()
            place = rng.randrange(len(raw))
            return (
                raw[:place] + rng.choice([b"\xff", b"\xed\xa0\x80", b"\xc3", b"\x00"]) + raw[place:]
            )
    return "".join(lines)


def _hostile(rng: Rng) -> str | bytes:
    size = rng.choice([10, 70, 1_000, 20_000])
    head = f"providers:\n  llm:\n    p0:\n      api_key: {OPAQUE}\n      params: "
    laughs = "a0: &a0 [x, x]\n" + "".join(
        f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, rng.choice([3, 30]))
    )
    contents: list[str | bytes] = [
        head + "[" * size,
        head + "{a: " * size,
        head + "- " * size,
        head + "? " * size,
        head + "x" * size,
        head + "9" * size,
        head + f"!!{'t' * size} x",
        head + "&a [*a]",
        head + "!!python/object/apply:os.system [ls]",
        head + "{" + "k: 1, " * size + "}",
        head + "{a: '" + "${A:-" * size + "'}",
        head + "{a: '" + "${SET}" * size + "'}",
        laughs + head + "[*a2]\n",
        laughs + head + f"{{<<: [{', '.join(['{b: 1}'] * min(size, 1000))}]}}\n",
        rng.randbytes(size),
        b"\xff\xfe" + head.encode("utf-16-le"),
        head.encode() + b"\xed\xb2\x80" * size,
        "\ufeff" * 2 + head,
        "".join(rng.choices(ODD, k=min(size, 200))),
        "".join(chr(rng.randrange(1, 0xD800)) for _ in range(min(size, 500))),
    ]
    return rng.choice(contents)


def _generate(rng: Rng) -> tuple[str, str | bytes]:
    kind = rng.choices(["valid", "misspelt", "swapped", "broken", "hostile"], [3, 2, 2, 3, 0.5])[0]
    if kind == "hostile":
        return kind, _hostile(rng)
    document = _valid(rng)
    if kind == "misspelt":
        document["providers"] = _misspell(rng, document["providers"])
    elif kind == "swapped":
        document["providers"] = _swap(rng, document["providers"])
    text = _dump(rng, document)
    return kind, _broken_text(rng, text) if kind == "broken" else text


# --- the property ---------------------------------------------------------------------------------


def _load(
    path: Path, content: str | bytes, schema: jsonschema.Draft7Validator | None = None
) -> ProvidersSettings | None:
    """Load a file; check that it fits the schema, or that the error is as it has to be."""
    path.touch()
    # Overwriting is several times as fast as creating the file anew.
    with path.open("r+b") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.truncate()
    try:
        loaded = load_settings(path, environ=ENVIRON, known_providers=("openai", "groq"))
        if schema is not None:
            schema.validate({"providers": read_yaml(path).data})
        assert len(loaded.provider_configs()) == len(loaded.llm)
        shown = repr(loaded)
    except ProviderConfigError as error:
        loaded = None
        place = re.compile(re.escape(str(path)) + r":\d+:\d+: \S")
        for problem in error.problems:
            assert place.match(problem), problem
            assert problem.isprintable(), problem
        shown = f"{error.problems[0]} {error} {error!r} {error.problems} {error.__cause__!r}"
    assert PLANTED not in shown
    assert OPAQUE not in shown
    return loaded


def test_the_generator_knows_every_field_of_the_schema() -> None:
    """A field that is added to the schema has to be added to the fuzzing as well."""
    models: tuple[type[Section], ...] = (
        *(ManagerSettings, SecuritySettings, AuditSettings, AlertSettings, ProviderSettings),
        *(MetricsSettings, TracingSettings),
        *(MigrationSettings, ServiceMigration, ModelAlias),
    )
    names = {name for model in models for name in model.model_fields}
    nested = (
        *(CircuitBreakerSettings, AccessRule, HedgeSettings, PolicyRule, PriceSettings),
        SandboxSettings,
    )
    names |= {name for model in nested for name in model.model_fields}
    assert names == FIELDS.keys()


def test_thousands_of_configurations_load_or_say_where_they_are_wrong(
    tmp_path: Path, uncovered: None
) -> None:
    """Valid, mutated and hostile files end in settings or in problems with places, in time.

    What loads fits the JSON schema, too: editors find no fault where there is none.
    """
    editor = jsonschema.Draft7Validator(document_schema())
    rng = Rng(SEED)
    path = tmp_path / "c.yaml"
    loaded: dict[str, int] = {}
    total: dict[str, int] = {}
    begin = time.process_time()
    for _ in range(ROUNDS):
        kind, content = _generate(rng)
        total[kind] = total.get(kind, 0) + 1
        schema = editor if total[kind] % 5 == 0 else None
        loaded[kind] = loaded.get(kind, 0) + (_load(path, content, schema) is not None)
    elapsed = time.process_time() - begin
    # Each kind is what it says: else the property would hold for want of trying.
    assert loaded["valid"] > total["valid"] * 0.7
    assert 0 < loaded["misspelt"] < total["misspelt"] * 0.8
    assert 0 < loaded["swapped"] < total["swapped"] * 0.6
    assert 0 < loaded["broken"] < total["broken"] * 0.6
    assert loaded["hostile"] < total["hostile"] * 0.3
    assert elapsed < ROUNDS / 100  # ten times what an idle machine takes


@pytest.fixture(scope="module")
def reused(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the one file that hypothesis writes again and again."""
    return tmp_path_factory.mktemp("fuzz") / "c.yaml"


_TOKENS = st.sampled_from(
    [
        *("providers", "llm", "manager", "security", "access", "openai", "api_key", "timeout"),
        *("api_keys", "policy", "failover", "auth", "price", "input", "hedge", "health_probe"),
        *(": ", ":\n  ", "\n", "  ", "{", "}", "[", "]", ", ", "- ", "'", '"', "&a ", "*a", "<<"),
        *("30", "30s", "~", "no", ".nan", "${SET}", "${NO}", "!!int ", "|\n", PLANTED, *ODD),
    ]
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(max_size=200),
        st.lists(_TOKENS, max_size=40).map("".join),
        st.lists(_TOKENS, max_size=30).map(
            lambda tokens: "providers:\n  llm:\n    a: " + "".join(tokens)
        ),
    )
)
@example(b"providers: {llm: {a: {api_key: \xff}}}")
@example("providers: &a {llm: *a}")
def test_any_content_loads_or_says_where_it_is_wrong(reused: Path, content: str | bytes) -> None:
    """For every content of a file there are settings, or problems with places."""
    _load(reused, content)
