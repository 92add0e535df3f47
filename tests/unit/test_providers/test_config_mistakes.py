"""Every mistake in a configuration file is reported where it stands, with what to do."""

from __future__ import annotations

import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from amas.config import yaml_source
from amas.config.document import describe
from amas.config.json_schema import document_schema
from amas.config.provider_settings import load_settings
from amas.providers.errors import ProviderConfigError

pytestmark = pytest.mark.usefixtures("uncovered")

OPENAI = "  llm:\n    openai: {api_key: none}\n"


def manager(line: str) -> str:
    """Return a file with a line in its manager section."""
    return f"providers:\n  manager:\n    {line}\n{OPENAI}"


def security(line: str) -> str:
    """Return a file with a line in its security section."""
    return f"providers:\n  security:\n    {line}\n{OPENAI}"


def migration(line: str) -> str:
    """Return a file with a line in its migration section."""
    return f"providers:\n  migration:\n    {line}\n{OPENAI}"


def openai(line: str) -> str:
    """Return a file with a line at a provider."""
    return f"providers:\n  llm:\n    openai:\n      {line}\n"


# text, line, column, path, what the message must have
MISTAKES = [
    # manager
    (manager("strategy: fastets"), 3, 15, "manager.strategy", "did you mean 'fastest'?"),
    (manager("strategy: 3"), 3, 15, "manager.strategy", "round_robin"),
    (manager("max_retrys: 3"), 3, 5, "manager.max_retrys", "did you mean 'max_retries'?"),
    (manager("timeout: 3"), 3, 5, "manager.timeout", "belongs under providers.llm.<name>"),
    (manager("fallback_order: openai"), 3, 21, "manager.fallback_order", "must be a list"),
    (manager("fallback_order: [opnai]"), 3, 22, "manager.fallback_order[0]", "mean 'openai'?"),
    (manager("fallback_order: [zzz]"), 3, 22, "manager.fallback_order[0]", "or remove it here"),
    (
        manager("fallback_order: [openai, openai]"),
        *(3, 30, "manager.fallback_order[1]", "named twice"),
    ),
    (manager("fallback_order: [1]"), 3, 22, "manager.fallback_order[0]", "write it in quotes"),
    (manager("fallback_order: [[a]]"), 3, 22, "manager.fallback_order[0]", "not a list"),
    (manager("deadline: 30s"), 3, 15, "manager.deadline", "not '30s'; write for example"),
    (manager("deadline: 30s"), 3, 15, "manager.deadline", "in seconds"),
    (manager('deadline: "30"'), 3, 15, "manager.deadline", "must be a number, not '30'"),
    (manager("deadline: -1"), 3, 15, "manager.deadline", "must be above 0, not -1"),
    (manager("deadline: 0"), 3, 15, "manager.deadline", "must be above 0, not 0"),
    (manager("deadline: 86401"), 3, 15, "manager.deadline", "must be 86400 or less"),
    (manager(f"deadline: {'9' * 30}"), 3, 15, "manager.deadline", "too large a number"),
    (manager(f"deadline: {'9' * 6000}"), 3, 15, "manager.deadline", "too large a number"),
    (manager("deadline: .nan"), 3, 15, "manager.deadline", "not a finite number"),
    (manager("deadline: -.inf"), 3, 15, "manager.deadline", "not a finite number"),
    (manager("deadline: 1e400"), 3, 15, "manager.deadline", "not a finite number"),
    (manager("deadline: 1:30"), 3, 15, "manager.deadline", "not '1:30'"),
    (manager("deadline: 010"), 3, 15, "manager.deadline", "not '010'"),
    (manager("deadline: yes"), 3, 15, "manager.deadline", "not true"),
    (manager(f"deadline: {'x' * 30}"), 3, 15, "manager.deadline", "not this text"),
    (manager('enabled: "yes"'), 3, 14, "manager.enabled", "must be true or false, not 'yes'"),
    (manager("enabled: 1"), 3, 14, "manager.enabled", "must be true or false, not 1"),
    (manager("max_retries: 3.5"), 3, 18, "manager.max_retries", "whole number, not 3.5"),
    (manager("max_retries: -1"), 3, 18, "manager.max_retries", "must be 0 or more"),
    (manager("max_retries: 101"), 3, 18, "manager.max_retries", "must be 100 or less"),
    (manager("state: disk"), 3, 12, "manager.state", "redis://"),
    (manager("state: redis://"), 3, 12, "manager.state", "redis://"),
    (manager("state: redis://h:port"), 3, 12, "manager.state", "redis://"),
    (manager("circuit_breaker: 5"), 3, 22, "manager.circuit_breaker", "must be a mapping"),
    (
        manager("circuit_breaker: {failure_threshold: 0}"),
        *(3, 42, "manager.circuit_breaker.failure_threshold", "must be 1 or more"),
    ),
    (
        manager("circuit_breaker: {cooldwn: 3}"),
        *(3, 23, "manager.circuit_breaker.cooldwn", "did you mean 'cooldown'?"),
    ),
    (
        manager("circuit_breaker: {cooldown: 9, max_cooldown: 8}"),
        *(3, 50, "manager.circuit_breaker.max_cooldown", "no shorter than cooldown"),
    ),
    (
        manager("circuit_breaker: {cooldown: 700}"),
        *(3, 5, "manager.circuit_breaker.max_cooldown", "no shorter than cooldown"),
    ),
    (
        manager("circuit_breaker: {minimum_calls: 0}"),
        *(3, 38, "manager.circuit_breaker.minimum_calls", "must be 1 or more"),
    ),
    (
        manager("circuit_breaker: {failure_rate: 0}"),
        *(3, 37, "manager.circuit_breaker.failure_rate", "must be above 0, not 0"),
    ),
    (
        manager("circuit_breaker: {failure_rate: 50}"),
        *(3, 37, "manager.circuit_breaker.failure_rate", "must be 1 or less, not 50"),
    ),
    (
        manager("circuit_breaker: {failure_rat: 1}"),
        *(3, 23, "manager.circuit_breaker.failure_rat", "did you mean 'failure_rate'?"),
    ),
    (manager("retry_budget: 20%"), 3, 19, "manager.retry_budget", "write for example `retry_budge"),
    (manager("retry_budget: 1.5"), 3, 19, "manager.retry_budget", "must be 1 or less, not 1.5"),
    (manager("retry_budget: -0.1"), 3, 19, "manager.retry_budget", "must be 0 or more"),
    (manager("retry_budgt: 1"), 3, 5, "manager.retry_budgt", "did you mean 'retry_budget'?"),
    (manager("policy: off"), 3, 13, "manager.policy", "must be a mapping, not false"),
    (
        manager("policy: {contnt_policy: {failover: yes}}"),
        *(3, 14, "manager.policy.contnt_policy", "did you mean 'content_policy'?"),
    ),
    (manager("policy: {ok: {retry: no}}"), 3, 14, "manager.policy.ok", "it may be connection, "),
    (manager("policy: {cancelled: {}}"), 3, 14, "manager.policy.cancelled", "unknown key"),
    (manager("policy: {auth: next}"), 3, 20, "manager.policy.auth", "must be a mapping"),
    (manager("policy: {auth: }"), 3, 14, "manager.policy.auth", "must be a mapping, not nothing"),
    (
        manager("policy: {auth: {failovr: yes}}"),
        *(3, 21, "manager.policy.auth.failovr", "did you mean 'failover'?"),
    ),
    (
        manager("policy: {auth: {failover: maybe}}"),
        *(3, 31, "manager.policy.auth.failover", "must be no, yes or larger_window, not this"),
    ),
    (
        manager("policy: {auth: {failover: larger_windw}}"),
        *(3, 31, "manager.policy.auth.failover", "did you mean 'larger_window'?"),
    ),
    (
        manager("policy: {auth: {retry: yes}}"),
        *(3, 28, "manager.policy.auth.retry", "must be no, once, backoff or short_wait, not true"),
    ),
    (
        manager("policy: {auth: {circuit: open}}"),
        *(3, 30, "manager.policy.auth.circuit", "success, failure, neutral or trip"),
    ),
    (manager("policy: {auth: {circuit: no}}"), 3, 30, "manager.policy.auth.circuit", "not false"),
    (
        manager("response_checks: [not_emty]"),
        *(3, 23, "manager.response_checks[0]", "did you mean 'not_empty'?"),
    ),
    (
        manager("response_checks: json"),
        *(3, 22, "manager.response_checks", "write for example `response_checks: [not_empty]`"),
    ),
    (
        manager("stream_recovery: restrat"),
        *(3, 22, "manager.stream_recovery", "did you mean 'restart'?"),
    ),
    (
        manager("stream_recovery: no"),
        *(3, 22, "manager.stream_recovery", "must be raise, restart or continue, not false"),
    ),
    (manager("hedge: p95"), 3, 12, "manager.hedge", "such as `after: …`"),
    (manager("hedge: {after: p99}"), 3, 20, "manager.hedge.after", "must be p95, or a number of"),
    (manager("hedge: {after: 0}"), 3, 20, "manager.hedge.after", "of seconds above 0"),
    (manager("hedge: {after: yes}"), 3, 20, "manager.hedge.after", '`after: "p95"`'),
    (manager("hedge: {after: [1]}"), 3, 20, "manager.hedge.after", "must be p95, or a number of"),
    (manager("hedge: {max_share: 0}"), 3, 24, "manager.hedge.max_share", "must be above 0"),
    (manager("hedge: {max_share: 2}"), 3, 24, "manager.hedge.max_share", "must be 1 or less"),
    (manager("hedge: {max_shar: 1}"), 3, 13, "manager.hedge.max_shar", "mean 'max_share'?"),
    (manager("state_prefix: a b"), 3, 19, "manager.state_prefix", "letters, digits and . _ - :"),
    (manager("state_prefix: 'a{b}'"), 3, 19, "manager.state_prefix", "letters, digits and"),
    (manager(f"state_prefix: {'a' * 129}"), 3, 19, "manager.state_prefix", "at most 128"),
    (manager("state_prefix: ''"), 3, 19, "manager.state_prefix", "is empty"),
    (manager("state_prefix: 7"), 3, 19, "manager.state_prefix", "write it in quotes"),
    (manager("price: 7"), 3, 5, "manager.price", "belongs under providers.llm.<name>"),
    # security, audit, alerts
    (security("plaintext_keys: never"), 3, 21, "security.plaintext_keys", "allow, warn or forbid"),
    (security("acess: {}"), 3, 5, "security.acess", "did you mean 'access'?"),
    (security("access: [a]"), 3, 13, "security.access", "must be a mapping, not a list"),
    (security("access: {a: }"), 3, 14, "security.access.a", "must be a mapping, not nothing"),
    (security("access: {a: {model: [x]}}"), 3, 18, "security.access.a.model", "mean 'models'?"),
    (
        security("access: {a: {models: }}"),
        *(3, 18, "security.access.a.models", "is empty, which restricts nothing"),
    ),
    (
        security("access: {a: {providers: [opnai]}}"),
        *(3, 30, "security.access.a.providers[0]", "did you mean 'openai'?"),
    ),
    (
        security("access: {a: {max_tokens: 0}}"),
        *(3, 30, "security.access.a.max_tokens", "must be 1 or more"),
    ),
    (
        security("access: {a: {budget_usd_per_day: -5}}"),
        *(3, 38, "security.access.a.budget_usd_per_day", "must be 0 or more"),
    ),
    (security("master_key: 12345678"), 3, 17, "security.master_key", "write it in quotes"),
    (security('master_key: ""'), 3, 17, "security.master_key", "is empty"),
    ("providers:\n  audit: {content: all}\n", 2, 20, "audit.content", "none, hash or full"),
    ("providers:\n  audit: {path: [x]}\n", 2, 17, "audit.path", "must be a text, not a list"),
    ("providers:\n  audit: x\n", 2, 10, "audit", "must be a mapping, not a text"),
    ("providers:\n  alerts: {webhook: nowhere}\n", 2, 21, "alerts.webhook", "https://"),
    ("providers:\n  alerts: {webhook: 'http://['}\n", 2, 21, "alerts.webhook", "https://"),
    ("providers:\n  alerts: {min_interval: -1}\n", 2, 26, "alerts.min_interval", "0 or more"),
    # migration
    (
        migration("llm_service: shadwo"),
        *(3, 18, "migration.llm_service.flag", "did you mean 'shadow'?"),
    ),
    (
        migration("llm_service: 30"),
        *(3, 18, "migration.llm_service.flag", "on, shadow or a share such as 30%, not 30; write"),
    ),
    (migration("llm_service: 101%"), 3, 18, "migration.llm_service.flag", "not '101%'"),
    (migration("llm_service: ''"), 3, 18, "migration.llm_service.flag", "a share such as 30%"),
    (migration("llm_service: [on]"), 3, 18, "migration.llm_service.flag", "not a list"),
    (
        migration("llm_service: {flag: 30, old: a.b}"),
        *(3, 25, "migration.llm_service.flag", '`flag: "30%"`'),
    ),
    (migration("llm_servce: on"), 3, 5, "migration.llm_servce", "did you mean 'llm_service'?"),
    (migration("xyz: on"), 3, 5, "migration.xyz", "universal_ai_manager or ultimate_fallback_sys"),
    (
        migration("llm_service: {flg: on}"),
        *(3, 19, "migration.llm_service.flg", "did you mean 'flag'?"),
    ),
    (
        migration("llm_service: {old: legacy/llm.py}"),
        *(3, 24, "migration.llm_service.old", "must be package.module, or package.module:Class;"),
    ),
    (migration("llm_service: {old: 'a:b:c'}"), 3, 24, "migration.llm_service.old", "module:Class"),
    (
        migration("llm_service: {shadow_share: 5}"),
        *(3, 33, "migration.llm_service.shadow_share", "must be 1 or less, not 5"),
    ),
    (
        migration("llm_service: {differences: []}"),
        *(3, 32, "migration.llm_service.differences", "must be a text, not a list"),
    ),
    ("providers:\n  migration: shadow\n", 2, 14, "migration", "must be a mapping, not a text"),
    ("providers:\n  migraton: {}\n", 2, 3, "migraton", "did you mean 'migration'?"),
    ("providers:\n  manager: {old: a}\n", 2, 13, "manager.old", "under providers.migration.<name>"),
    # providers
    (openai("timeot: 30"), 4, 7, "llm.openai.timeot", "did you mean 'timeout'?"),
    (openai("timeot:"), 4, 7, "llm.openai.timeot", "did you mean 'timeout'?"),
    (openai("timeout: [30]"), 4, 16, "llm.openai.timeout", "not a list"),
    (openai("timeout: {a: 1}"), 4, 16, "llm.openai.timeout", "not a mapping"),
    (openai("api_key: 1234567890"), 4, 16, "llm.openai.api_key", "write it in quotes"),
    (openai('api_key: ""'), 4, 16, "llm.openai.api_key", "is empty"),
    (openai('api_key: "two words"'), 4, 16, "llm.openai.api_key", "no key has"),
    (openai("model: no"), 4, 14, "llm.openai.model", "not false; write it in quotes"),
    (openai("model: 1.5"), 4, 14, "llm.openai.model", "not a number; write it in quotes"),
    (openai("model: ''"), 4, 14, "llm.openai.model", "is empty"),
    (openai(f"model: {'x' * 5000}"), 4, 14, "llm.openai.model", "longer than 4096"),
    (openai("temperature: 0.2"), 4, 7, "llm.openai.temperature", "params:"),
    (openai("strategy: priority"), 4, 7, "llm.openai.strategy", "belongs under providers.manager"),
    (openai("params: 3"), 4, 15, "llm.openai.params", "must be a mapping"),
    (openai("options: [a]"), 4, 16, "llm.openai.options", "must be a mapping, not a list"),
    (openai("capabilities: [strem]"), 4, 22, "llm.openai.capabilities[0]", "mean 'stream'?"),
    (openai("capabilities: stream"), 4, 21, "llm.openai.capabilities", "must be a list"),
    (openai("context_window: 0"), 4, 23, "llm.openai.context_window", "must be 1 or more"),
    (openai("api_keys: one"), 4, 17, "llm.openai.api_keys", "must be a list, not a text"),
    (openai("api_keys: ${NO}"), 4, 17, "llm.openai.api_keys", "must be a list, not a text"),
    (openai("api_keys: {a: b}"), 4, 17, "llm.openai.api_keys", "must be a list, not a mapping"),
    (openai("api_keys: ['${NO}', 12345]"), 4, 27, "llm.openai.api_keys[1]", "write it in quotes"),
    (openai("api_keys: ['${NO}', ~]"), 4, 27, "llm.openai.api_keys[1]", "not nothing"),
    (openai("api_keys: [a, '']"), 4, 21, "llm.openai.api_keys[1]", "is empty"),
    (openai("api_keys: [a, two words]"), 4, 21, "llm.openai.api_keys[1]", "no key has"),
    (openai("api_keys: [a, b, a]"), 4, 24, "llm.openai.api_keys[2]", "same key as api_keys[0]"),
    (openai("api_keys: [a, '${b c}']"), 4, 21, "llm.openai.api_keys[1]", "begins no reference"),
    (openai("api_kes: [a]"), 4, 7, "llm.openai.api_kes", "did you mean 'api_key"),
    (
        openai("api_key: a\n      api_keys: [b, c]"),
        *(5, 7, "llm.openai.api_keys", "put all keys into api_keys, and remove api_key"),
    ),
    (
        openai("api_key: ${NO}\n      api_keys: [a]"),
        *(5, 7, "llm.openai.api_keys", "excludes api_key"),
    ),
    (openai("max_concurrency: 0"), 4, 24, "llm.openai.max_concurrency", "must be 1 or more"),
    (openai("max_concurrency: 1.5"), 4, 24, "llm.openai.max_concurrency", "a whole number"),
    (openai("max_queue: -1"), 4, 18, "llm.openai.max_queue", "must be 0 or more, not -1"),
    (openai("max_queu: 1"), 4, 7, "llm.openai.max_queu", "did you mean 'max_queue'?"),
    (openai("rpm: 0"), 4, 12, "llm.openai.rpm", "must be 1 or more, not 0"),
    (openai("rpm: 60/min"), 4, 12, "llm.openai.rpm", "must be a whole number, not '60/min'"),
    (openai("tpm: [1]"), 4, 12, "llm.openai.tpm", "must be a whole number, not a list"),
    (openai("weight: 0"), 4, 15, "llm.openai.weight", "must be above 0, not 0"),
    (openai("weight: 2000000"), 4, 15, "llm.openai.weight", "must be 1000000 or less"),
    (openai("weight: heavy"), 4, 15, "llm.openai.weight", "write for example `weight: 2`"),
    (openai("price: 3"), 4, 14, "llm.openai.price", "such as `input: …`"),
    (
        openai("price: {input: 1}"),
        *(4, 7, "llm.openai.price.output", "is missing; write for example `output: 0.6`"),
    ),
    (openai("price: {input: , output: 1}"), 4, 15, "llm.openai.price.input", "is missing"),
    (
        openai("price: {input: -1, output: 1}"),
        *(4, 22, "llm.openai.price.input", "must be 0 or more, not -1"),
    ),
    (
        openai("price: {input: 1$, output: 1}"),
        *(4, 22, "llm.openai.price.input", "must be a number, not '1$'"),
    ),
    (
        openai("price: {input: 1, output: 1, inputs: 1}"),
        *(4, 36, "llm.openai.price.inputs", "did you mean 'input'?"),
    ),
    (openai("input: 1"), 4, 7, "llm.openai.input", "belongs under providers.llm.<name>.price"),
    (openai("health_probe: fre"), 4, 21, "llm.openai.health_probe", "did you mean 'free'?"),
    (
        openai("health_probe: on"),
        *(4, 21, "llm.openai.health_probe", "must be free, paid or off, not true"),
    ),
    (
        openai("response_checks: [json, jsn]"),
        *(4, 31, "llm.openai.response_checks[1]", "did you mean 'json'?"),
    ),
    (
        openai("policy: {timout: {retry: once}}"),
        *(4, 16, "llm.openai.policy.timout", "did you mean 'timeout'?"),
    ),
    (
        openai("policy: {timeout: {retry: onse}}"),
        *(4, 33, "llm.openai.policy.timeout.retry", "did you mean 'once'?"),
    ),
    (
        openai("policy: {timeout: {timeout: 3}}"),
        *(4, 26, "llm.openai.policy.timeout.timeout", "belongs under providers.llm.<name>"),
    ),
    ("providers:\n  llm: [openai]\n", 2, 8, "llm", "must be a mapping, not a list"),
    ("providers:\n  llm: {openai: x}\n", 2, 17, "llm.openai", "must be a mapping, not a text"),
    ("providers:\n  llm: {my prov: {}}\n", 2, 9, "llm.my prov", "letters, digits"),
    ("providers:\n  llm: {'-x': {}}\n", 2, 9, "llm.-x", "begins with a letter or digit"),
    (f"providers:\n  llm: {{{'a' * 65}: {{}}}}\n", 2, 9, "llm.<65 characters>", "at most 64"),
    ('providers:\n  llm: {"a\\nb": {}}\n', 2, 9, r"llm.a\nb", "letters, digits"),
    ("providers:\n  mangaer: {}\n", 2, 3, "mangaer", "did you mean 'manager'?"),
    (
        "providers:\n  xyz: {}\n",
        2,
        3,
        "xyz",
        "manager, security, audit, metrics, tracing, alerts, migration, llm or models",
    ),
    ("providers:\n  groq: {}\n", 2, 3, "groq", "did you mean llm.groq?"),
    # YAML that means something else than it seems to
    (openai("timeout: 30\n      timeout: 40"), 5, 7, "llm.openai.timeout", "line 4, column 7"),
    (openai("params: {a: {b: 1, b: 2}}"), 4, 26, "llm.openai.params.a.b", "written twice"),
    ("providers: {}\nproviders: {}\n", 2, 1, "", "line 1, column 1"),
    (openai("no: 1"), 4, 7, "llm.openai", "'no' is not read as a text; write it in quotes"),
    (openai("1: 1"), 4, 7, "llm.openai", "'1' is not read as a text; write it in quotes"),
    (openai("~: 1"), 4, 7, "llm.openai", "key is empty"),
    (openai('"": 1'), 4, 7, "llm.openai", "key is empty"),
    (openai("? [a]\n      : 1"), 4, 9, "llm.openai", "not a list or a mapping"),
    (openai("model: !!python/name:os.system x"), 4, 14, "llm.openai.model", "tags (!name)"),
    (openai("params: !!python/object:os.x {}"), 4, 15, "llm.openai.params", "tags (!name)"),
    (openai("timeout: !sec 3"), 4, 16, "llm.openai.timeout", "tags (!name)"),
    (openai("enabled: !!bool 3"), 4, 16, "llm.openai.enabled", "tags (!name)"),
    (openai("params: &a {b: *a}"), 4, 15, "llm.openai.params.b", "its own parent"),
    (openai("params: &a {<<: *a}"), 4, 15, "llm.openai.params", "its own parent"),
    (openai("<<: 3"), 4, 11, "llm.openai", "`<<: *name`"),
    # no YAML
    (openai("a: b: c"), 4, 11, None, "`: ` too many"),
    (openai("api_key: 'x"), 4, 16, None, "quote is opened here and never closed"),
    (openai("api_key: @x"), 4, 16, None, "cannot begin with this character"),
    (openai("api_key: *nope"), 4, 16, None, "no anchor"),
    (openai("x: &a 1\n      y: &a 2"), 5, 10, None, "anchor (&name) is used twice"),
    (openai("x: {a: 1"), 5, 1, None, "closing brace"),
    (openai("x: [a}"), 4, 12, None, "closing bracket"),
    (openai("x: 1\n     y: 2"), 5, 6, None, "indentation"),
    (openai("x\n      y: 1"), 4, 8, None, "a colon is missing here"),
    ("providers:\n\tllm: {}\n", 2, 1, None, "a tab is used for indentation"),
    ("providers:\n  llm:\n  \t a: {}\n", 3, 3, None, "a tab is used for indentation"),
    ("a: 1\n---\nproviders: {}\n", 2, 1, None, "second document"),
    ("%YAML 9.9\n---\nproviders: {}\n", 1, 1, None, "not valid YAML"),
    ("providers: {a: \x07}\n", 1, 16, None, "U+0007"),
    ("providers:\r\n  x: \x00\r\n", 2, 6, None, "U+0000"),
    # not a configuration
    ("", 1, 1, None, "the file is empty"),
    ("# nothing\n", 1, 1, None, "the file is empty"),
    ("---\n...\n", 1, 1, None, "the file is empty"),
    ("- a\n", 1, 1, None, "must be a mapping"),
    ("text\n", 1, 1, None, "must be a mapping"),
    ("other: 1\n", 1, 1, None, "no `providers:` section; begin with it"),
    ("provider: {}\n", 1, 1, None, "rename 'provider'"),
    ("providers: []\n", 1, 12, "", "must be a mapping, not a list"),
    ("providers: 3\n", 1, 12, "", "must be a mapping, not a number"),
    # bounds
    ("providers: " + "[" * 70, 1, 75, None, "nested deeper than 64"),
    (
        "a0: &a0 [x]\n"
        + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 80))
        + openai("params: {x: *a79}"),
        *(None, None, None, "nested deeper than 64"),
    ),
    (
        "a0: &a0 [x, x]\n"
        + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))
        + openai("params: {x: *a39}"),
        *(None, None, None, "more than 100000 values"),
    ),
    (
        "a0: &a0 {x: 1}\n"
        + "".join(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 40))
        + openai("params: {<<: *a39}"),
        *(None, None, None, "more than 100000 values"),
    ),
    (
        "providers:\n  llm:\n" + "".join(f"    p{i}: {{}}\n" for i in range(1001)),
        *(3, 5, "llm", "has 1001 providers; at most 1000"),
    ),
    (f"providers: {{}}\n#{'x' * (1 << 20)}", 1, 1, None, "larger than 1024 KiB"),
    (
        "providers:\n  llm:\n    openai: {api_key: none, proxy: 'socks5://h:1'}\n",
        3,
        36,
        "llm.openai.proxy",
        "must be an address with http:// or https://",
    ),
    (
        "providers:\n  llm:\n    openai: {api_key: none, sandbox: {memory: 1}}\n",
        3,
        39,
        "llm.openai.sandbox.memory",
        "did you mean 'memory_mb'?",
    ),
    (
        "providers:\n  llm:\n    openai: {api_key: none, sandbox: {open_files: 0}}\n",
        3,
        51,
        "llm.openai.sandbox.open_files",
        "must be 1 or more",
    ),
    (
        "providers:\n  llm:\n    openai: {api_key: none, isolation: procces}\n",
        3,
        40,
        "llm.openai.isolation",
        "did you mean 'process'?",
    ),
    (
        "providers:\n  llm:\n    openai: {api_key: none, local: maybe}\n",
        3,
        36,
        "llm.openai.local",
        "must be true or false",
    ),
    (
        "providers:\n  llm:\n    openai: {api_key: none, allowed_hosts: h}\n",
        3,
        44,
        "llm.openai.allowed_hosts",
        "must be a list",
    ),
    (
        "providers:\n  security:\n    media_urls: deny\n  llm:\n    openai: {api_key: none}\n",
        3,
        17,
        "security.media_urls",
        "must be forbid, allow-list or allow",
    ),
    (
        "providers:\n  security:\n    max_prompt_bytes: 0\n  llm:\n    openai: {api_key: none}\n",
        3,
        23,
        "security.max_prompt_bytes",
        "must be 1 or more",
    ),
    (
        "providers:\n  security:\n    master_key: ['${X:-}', 5]\n  llm:\n    openai: {api_key: none}\n",
        3,
        28,
        "security.master_key[1]",
        "must be a text",
    ),
]


@pytest.fixture(params=["libyaml", "python"])
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test with each of PyYAML's parsers."""
    if request.param == "python":
        monkeypatch.setattr(yaml_source, "LOADER", yaml.SafeLoader)
    return str(request.param)


def problems_of(path: Path, text: str) -> tuple[str, ...]:
    """Write a file and return what is wrong with it."""
    path.write_text(text, encoding="utf-8", newline="")
    with pytest.raises(ProviderConfigError) as caught:
        load_settings(path, environ={}, known_providers=("openai", "groq"))
    return caught.value.problems


@pytest.mark.parametrize(
    "mistake", MISTAKES, ids=[re.sub(r"\W+", "-", text[-40:]) for text, *_ in MISTAKES]
)
def test_a_mistake_is_reported_at_its_place_with_what_to_do(
    tmp_path: Path, loader: str, mistake: tuple[str, int | None, int | None, str | None, str]
) -> None:
    """Whichever of PyYAML's parsers reads it, a mistake gives one line: place, path, what to do."""
    text, line, column, path, phrase = mistake
    (problem,) = problems_of(tmp_path / "c.yaml", text)
    found = re.fullmatch(r".*c\.yaml:(\d+):(\d+): (.*)", problem)
    assert found, problem
    if line is not None:
        assert (int(found[1]), int(found[2])) == (line, column), problem
    if path is not None:
        assert found[3].startswith(("providers." + path).rstrip(".") + ": "), problem
    assert phrase in found[3]
    assert "\n" not in problem


# Wrong only beside what stands elsewhere, or by rules that patterns cannot tell: numbers within
# texts, their length (of a reference, that is not the value's), quotes, which YAML takes away.
BEYOND_A_SCHEMA = (
    *("mean 'openai'?", "or remove it here", "no shorter than cooldown", "longer than 4096"),
    *("not 'yes'; write", '`state: "memory"`', '`webhook: "${ALERT_WEBHOOK}"`'),
)


def test_a_schema_refuses_every_mistake_that_it_can_see(tmp_path: Path) -> None:
    """Whatever is wrong with the data of one field, an editor marks as well."""
    validator = jsonschema.Draft7Validator(document_schema())
    unseen: list[str] = []
    for text in (text for text, *_ in MISTAKES if len(text) < 600):
        try:
            document = yaml_source.parse_yaml("c.yaml", text.encode())
            document.raise_problems()  # of YAML, before anything is data
        except ProviderConfigError:
            continue
        if validator.is_valid({"providers": document.data}):
            unseen += problems_of(tmp_path / "c.yaml", text)
    assert 0 < len(unseen) < 12
    assert not [text for text in unseen if not any(part in text for part in BEYOND_A_SCHEMA)]


PASTED = "hunter2-Pass"  # of no shape that a key has


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        (openai(f"{{timeout: 3, api_key:{PASTED}}}"), "openai.api_key: a space is missing"),
        (openai(f"{{options: {{token:{PASTED}}}}}"), "options.token: a space is missing"),
        (openai(f"{{options: {{a: [{{secret={PASTED}}}]}}}}"), "a[0].secret: this is `=` where"),
        (openai(f"api_key:{PASTED}:"), "openai.api_key:\u2026: a space is missing"),
        (openai(f"? api_key = {PASTED}"), "openai.api_key:\u2026: this is `=` where"),
        (security(f"{{master_key:{PASTED}}}"), "security.master_key: a space is missing"),
        (manager(f"strategy: {PASTED}"), "not this text"),
        (manager(f"deadline: {PASTED}"), "not this text"),
        (openai(f"enabled: {PASTED}"), "not this text"),
        (openai(f"rpm: {PASTED}"), "not this text"),
        (openai(f"health_probe: {PASTED}"), "not this text"),
        (openai(f"capabilities: [{PASTED}]"), "not this text"),
        (openai(f"price: {{input: {PASTED}, output: 1}}"), "not this text"),
    ],
)
def test_what_may_be_a_secret_is_not_repeated(
    tmp_path: Path, loader: str, text: str, phrase: str
) -> None:
    """Neither behind a colon that lacks its space, nor as the value of a field that takes no text."""
    (problem,) = problems_of(tmp_path / "c.yaml", text)
    assert phrase in problem
    assert PASTED not in problem


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        *((text, repr(text)) for text in ("ten", "1,5", "10 min", "-3", "2m", "50%", "Yes", "")),
        *((text, "this text") for text in ("tenfold", "7up-Pass", "1a2b3c", "3 blind mice")),
        ("1" * 25, "this text"),
    ],
)
def test_a_text_is_repeated_where_it_looks_like_a_number_or_a_truth_value(
    text: str, shown: str
) -> None:
    """That is what people write by mistake; anything else may be a secret."""
    assert describe(text) == shown
    assert describe("fastets", near=True) == "'fastets'"


@pytest.mark.parametrize(
    "line",
    [
        'options: {"a:b": , "c=d": }',
        "options: {http://h/a: }",
        "options: {a: 1, '5': , b: x, 6x: }",
        "options:\n        a:b:\n        c=d:",
    ],
)
def test_keys_with_colons_that_are_meant_so_load(tmp_path: Path, loader: str, line: str) -> None:
    """In quotes, as an address, or with a colon of their own, keys may have any character."""
    path = tmp_path / "c.yaml"
    path.write_text(openai(line))
    assert load_settings(path, environ={}).llm["openai"].options


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: [x, #y]\n", "4:14"),
        ("a: {b: 'it''s #1', c: [#y]}\n", "4:30"),
        ("a: {b: x, #c}\n      timeout: 1\n", "4:17"),
        ('a: {b: "x #y", c: 1\n', None),
        ("a: {b: x,  # why\n", None),
    ],
)
def test_a_bracket_that_a_comment_has_swallowed_is_found(
    tmp_path: Path, loader: str, text: str, place: str | None
) -> None:
    """The parser notices it lines below; another mistake in brackets is not taken for it."""
    (problem,) = problems_of(tmp_path / "c.yaml", openai(text))
    assert ("this `#` begins a comment" in problem) is (place is not None)
    assert f":{place or ''}" in problem


@pytest.mark.parametrize("escape", ["\\q", "\\ud800", "\\U00110000"])
def test_escapes_that_yaml_does_not_know_are_reported(
    tmp_path: Path, loader: str, escape: str
) -> None:
    """The two parsers disagree on escapes; the message is a problem with a place all the same."""
    (problem,) = problems_of(tmp_path / "c.yaml", openai(f'model: "{escape}"'))
    assert re.search(r"c\.yaml:\d+:\d+: .*(escape|surrogate)", problem)


def test_a_key_with_half_a_character_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyYAML's own parser lets lone surrogates through; they are no part of a key."""
    monkeypatch.setattr(yaml_source, "LOADER", yaml.SafeLoader)
    (problem,) = problems_of(tmp_path / "c.yaml", openai('"\\ud800": 1'))
    assert "this key has half a character" in problem


def test_all_problems_of_a_file_come_at_once_in_their_order(tmp_path: Path) -> None:
    """One error has every problem of the file, sorted by line and column."""
    text = (
        "providers:\n"
        "  llm:\n"
        "    openai: {timeout: 30s, timeot: 3}\n"
        "    openai: {}\n"
        "    anthropic: {model: no}\n"
        "  manager: {strategy: fast, fallback_order: [opnai]}\n"
        "  alert: {}\n"
    )
    problems = problems_of(tmp_path / "c.yaml", text)
    places = [tuple(map(int, p.split("c.yaml:")[1].split(":")[:2])) for p in problems]
    assert places == [(3, 23), (3, 28), (4, 5), (5, 24), (6, 23), (6, 46), (7, 3)]


def test_a_flood_of_problems_is_cut_off_with_their_number(tmp_path: Path) -> None:
    """Beyond two hundred problems the rest is counted, and the count has a place as well."""
    keys = "".join(f"      timeoux{i}: 1\n" for i in range(250))
    problems = problems_of(tmp_path / "c.yaml", f"providers:\n  llm:\n    a:\n{keys}")
    assert len(problems) == 201
    assert problems[-1].endswith("c.yaml:204:7: 50 more problems from here on")


def test_columns_are_right_behind_wide_characters_and_line_ends(tmp_path: Path) -> None:
    """Columns count characters, and CRLF ends a line like LF does."""
    text = "# caf\u00e9 \U0001f600\r\nproviders:\r\n  llm: {\U0001f600: {}, a: {timeot: 1}}\r\n"
    problems = problems_of(tmp_path / "c.yaml", text)
    assert [p.split(": ")[0].split("c.yaml")[1] for p in problems] == [":3:9", ":3:20"]


def test_both_parsers_agree_on_data_and_places(tmp_path: Path) -> None:
    """The fallback parser gives the same document as libyaml, place by place."""
    path = tmp_path / "c.yaml"
    path.write_text(
        "x: &x {timeout: 5, api_key: none}\n"
        "providers:\n  llm:\n    a: {<<: *x, params: {a: [1, {b: ~}], c: 1e3, d: 1_000}}\n"
        "    b:\n      <<: [*x]\n      model: |\n        text\n      base_url:\n"
    )
    fast = yaml_source.read_yaml(path)
    original = yaml_source.LOADER
    yaml_source.LOADER = yaml.SafeLoader
    try:
        slow = yaml_source.read_yaml(path)
    finally:
        yaml_source.LOADER = original
    assert fast.__dict__ == slow.__dict__
    assert fast.data["llm"]["a"]["params"] == {"a": [1, {"b": None}], "c": 1000.0, "d": 1000}


def test_merge_keys_and_anchors_work(tmp_path: Path) -> None:
    """An anchor of a host's section gives defaults, and a key of one's own wins over them."""
    path = tmp_path / "c.yaml"
    path.write_text(
        "base: &base {timeout: 5, max_retries: 1}\n"
        "more: &more {<<: *base, timeout: 6}\n"
        "providers:\n  llm:\n"
        "    a: {<<: *base, timeout: 7, api_key: none}\n"
        "    b: {<<: [*more, *base], api_key: none}\n"
    )
    settings = load_settings(path)
    assert [(s.timeout, s.max_retries) for s in settings.llm.values()] == [(7, 1), (6, 1)]


def test_a_mistake_in_an_anchor_is_reported_where_it_is_written(tmp_path: Path) -> None:
    """A value that comes by a merge has the place of its line, not of the merge."""
    text = "base: &base {timeout: 5s}\nproviders:\n  llm:\n    a: {<<: *base}\n"
    (problem,) = problems_of(tmp_path / "c.yaml", text)
    assert "c.yaml:1:23: providers.llm.a.timeout: " in problem


def test_texts_that_yaml_1_1_reads_as_something_else_stay_texts(tmp_path: Path) -> None:
    """Dates, clock times, octal and hexadecimal numbers in options are what is written there."""
    path = tmp_path / "c.yaml"
    path.write_text(
        openai("options: {a: 2024-10-21, b: 12:30, c: 010, d: 0x1F, e: =, f: 1.5, g: +3, h: .5}")
    )
    assert dict(load_settings(path).llm["openai"].options) == {
        "a": "2024-10-21",
        "b": "12:30",
        "c": "010",
        "d": "0x1F",
        "e": "=",
        "f": 1.5,
        "g": 3,
        "h": 0.5,
    }


def test_other_sections_are_the_hosts_business(tmp_path: Path) -> None:
    """Duplicate keys, tags, odd keys and bombs elsewhere in the file are not looked at."""
    path = tmp_path / "c.yaml"
    path.write_text(
        "host: {a: 1, a: 2, b: !custom [x], 3: ~, ? [k] : v, n: .nan}\n"
        "loop: &l [*l]\n1: x\n~: y\n? {a: b}\n: z\n"
        "providers:\n  llm: {a: {api_key: none}}\n"
    )
    assert list(load_settings(path).llm) == ["a"]
