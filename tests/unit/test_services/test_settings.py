"""The host's settings: every name, type, default, variable and error it relies on, and what is new."""

from __future__ import annotations

import copy
import inspect
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Final, Optional, get_type_hints

import pytest
from pydantic import ValidationError
from rich.pretty import pretty_repr

import amas.config
from amas.config import settings
from amas.config.provider_settings import ProvidersSettings
from amas.providers.errors import ProviderConfigError
from amas.providers.secret import MASK

ROOT: Final = Path(__file__).parents[3]

# Built as a host built it, by any names; mypy would allow only those it knows.
Database: Any = settings.DatabaseConfig
Redis: Any = settings.RedisConfig
Neo4j: Any = settings.Neo4jConfig
Llm: Any = settings.LLMConfig
Security: Any = settings.SecurityConfig
Api: Any = settings.APIConfig
Ai: Any = settings.AISettings
Integration: Any = settings.IntegrationSettings
Config: Any = settings.AMASConfig

# The host's published defaults, in parts, as they are in the source.
PASSWORD: Final = "amas" + "1" + "23"
JWT_SECRET: Final = "amas_" + "jwt" + "_secret" + "_key_2024_secure"
ENCRYPTION_KEY: Final = "amas_" + "encryption" + "_key_2024" + "_secure_32_chars"


def words(text: str) -> list[str]:
    """Return the words of a text."""
    return text.split()


NAMES: Final = words(
    "openai anthropic google_ai groq cohere huggingface cerebras nvidia groq2 groqai deepseek "
    "codestral glm gemini2 grok kimi qwen gptoss chutes together perplexity fireworks replicate "
    "ai21 aleph_alpha writer moonshot mistral"
)
TEXT: Final = Optional[str]  # noqa: UP045 -- the form in which the host has it
PLATFORMS: Final = words(
    "n8n_api_key n8n_username n8n_password slack_bot_token slack_signing_secret slack_app_token "
    "github_access_token github_webhook_secret notion_api_key jira_server jira_email "
    "jira_api_token salesforce_username salesforce_password salesforce_security_token "
    "salesforce_access_token salesforce_instance_url salesforce_client_id "
    "salesforce_client_secret"
)

# Class -> rows of (field, type, default, variable).
CONTRACT: Final[dict[Any, list[tuple[str, Any, Any, str]]]] = {
    Database: [
        ("host", str, "localhost", "AMAS_DB_HOST"),
        ("port", int, 5432, "AMAS_DB_PORT"),
        ("user", str, "amas", "AMAS_DB_USER"),
        ("password", str, PASSWORD, "AMAS_DB_PASSWORD"),
        ("database", str, "amas", "AMAS_DB_NAME"),
    ],
    Redis: [
        ("host", str, "localhost", "AMAS_REDIS_HOST"),
        ("port", int, 6379, "AMAS_REDIS_PORT"),
        ("db", int, 0, "AMAS_REDIS_DB"),
        ("password", TEXT, None, "AMAS_REDIS_PASSWORD"),
    ],
    Neo4j: [
        ("host", str, "localhost", "AMAS_NEO4J_HOST"),
        ("port", int, 7687, "AMAS_NEO4J_PORT"),
        ("user", str, "neo4j", "AMAS_NEO4J_USER"),
        ("password", str, PASSWORD, "AMAS_NEO4J_PASSWORD"),
        ("database", str, "neo4j", "AMAS_NEO4J_DATABASE"),
    ],
    Llm: [
        ("host", str, "localhost", "AMAS_LLM_HOST"),
        ("port", int, 11434, "AMAS_LLM_PORT"),
        ("model", str, "llama3.1:70b", "AMAS_LLM_MODEL"),
        ("timeout", int, 300, "AMAS_LLM_TIMEOUT"),
    ],
    Security: [
        ("jwt_secret", str, JWT_SECRET, "AMAS_JWT_SECRET"),
        ("encryption_key", str, ENCRYPTION_KEY, "AMAS_ENCRYPTION_KEY"),
        ("audit_enabled", bool, True, "AMAS_AUDIT_ENABLED"),
        ("rate_limit_requests", int, 1000, "AMAS_RATE_LIMIT_REQUESTS"),
        ("rate_limit_window", int, 3600, "AMAS_RATE_LIMIT_WINDOW"),
    ],
    Api: [
        ("host", str, "0.0.0.0", "AMAS_API_HOST"),
        ("port", int, 8000, "AMAS_API_PORT"),
        ("workers", int, 4, "AMAS_API_WORKERS"),
        ("reload", bool, False, "AMAS_API_RELOAD"),
        ("cors_origins", list[str], ["http://localhost:3000"], "AMAS_CORS_ORIGINS"),
    ],
    Ai: [
        ("openai_api_key", TEXT, None, "AI_OPENAI_API_KEY"),
        ("openai_org_id", TEXT, None, "AI_OPENAI_ORG_ID"),
        *(
            (f"{name}_api_key", TEXT, None, f"AI_{name.upper()}_API_KEY")
            for name in NAMES
            if name != "openai"
        ),
        ("default_model", str, "gpt-4", "AI_DEFAULT_MODEL"),
        ("fallback_model", str, "gpt-3.5-turbo", "AI_FALLBACK_MODEL"),
        ("max_tokens", int, 4000, "AI_MAX_TOKENS"),
        ("temperature", float, 0.7, "AI_TEMPERATURE"),
    ],
    Integration: [
        ("n8n_base_url", TEXT, "http://localhost:5678", "INTEGRATION_N8N_BASE_URL"),
        *((name, TEXT, None, f"INTEGRATION_{name.upper()}") for name in PLATFORMS),
    ],
    Config: [
        ("app_name", str, "AMAS", "AMAS_APP_NAME"),
        ("version", str, "1.0.0", "AMAS_VERSION"),
        ("environment", str, "development", "AMAS_ENVIRONMENT"),
        ("debug", bool, False, "AMAS_DEBUG"),
        ("offline_mode", bool, True, "AMAS_OFFLINE_MODE"),
        ("gpu_enabled", bool, True, "AMAS_GPU_ENABLED"),
        ("log_level", str, "INFO", "AMAS_LOG_LEVEL"),
        (
            "log_format",
            str,
            "%(asctime)s - %(name)s - %(levelname)s - %(message)s",
            "AMAS_LOG_FORMAT",
        ),
        ("data_dir", Path, Path("data"), "AMAS_DATA_DIR"),
        ("logs_dir", Path, Path("logs"), "AMAS_LOGS_DIR"),
        ("models_dir", Path, Path("models"), "AMAS_MODELS_DIR"),
    ],
}
NESTED: Final = {
    "database": Database,
    "redis": Redis,
    "neo4j": Neo4j,
    "llm": Llm,
    "security": Security,
    "api": Api,
    "ai": Ai,
    "integration": Integration,
}
# What the variable of a field is set to, and what the field is then.
SAMPLES: Final[dict[Any, tuple[str, Any]]] = {
    str: ("other", "other"),
    TEXT: ("other", "other"),
    int: ("7", 7),
    float: ("0.25", 0.25),
    list[str]: ('["https://a", "https://b"]', ["https://a", "https://b"]),
    Path: ("some/where", Path("some/where")),
}
SPECIAL: Final = {
    "environment": ("staging", "staging"),
    "log_level": ("ERROR", "ERROR"),
    "audit_enabled": ("false", False),
    "reload": ("1", True),
    "debug": ("true", True),
    "offline_mode": ("no", False),
    "gpu_enabled": ("0", False),
}
ROWS: Final = [
    pytest.param(model, *row, id=f"{model.__name__}.{row[0]}")
    for model, rows in CONTRACT.items()
    for row in rows
]


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Work in an empty directory, without the developer's own settings and with no cached ones."""
    names = {name.upper() for name in NESTED}
    for name in list(os.environ):
        if name.upper().startswith(("AI_", "INTEGRATION_")) or name.upper() in names:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(settings, "_config", None)


@pytest.mark.parametrize("model", CONTRACT, ids=lambda model: model.__name__)
def test_fields(model: Any) -> None:
    """Every class has the host's fields, in their order."""
    nested = list(NESTED) if model is Config else []
    assert list(model.model_fields) == [row[0] for row in CONTRACT[model]] + nested


@pytest.mark.parametrize(("model", "field", "kind", "default", "variable"), ROWS)
def test_field(
    model: Any,
    field: str,
    kind: Any,
    default: Any,
    variable: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every field has the host's type, default and variable, in capitals or small letters."""
    assert model.model_fields[field].annotation == kind
    value = getattr(model(), field)
    assert value == default
    assert type(value) is type(default)
    text, expected = SPECIAL.get(field) or SAMPLES[kind]
    for name in (variable, variable.lower()):
        with monkeypatch.context() as patch:
            patch.setenv(name, text)
            assert getattr(model(), field) == expected


def test_nested_sections() -> None:
    """The sections of AMASConfig are of the host's classes."""
    config = settings.AMASConfig()
    for name, model in NESTED.items():
        assert type(getattr(config, name)) is model
        assert settings.AMASConfig.model_fields[name].annotation is model


def test_names_of_the_module() -> None:
    """The module has the host's names, with its signatures, and the package exports two of them."""
    for name in ("get_settings", "reload_settings"):
        function = getattr(settings, name)
        assert not inspect.signature(function).parameters
        assert get_type_hints(function)["return"] is settings.AMASConfig
    assert {model.__name__ for model in CONTRACT} < set(settings.__all__)
    assert amas.config.AMASConfig is settings.AMASConfig
    assert amas.config.get_settings is settings.get_settings
    assert {"AMASConfig", "get_settings"} <= set(dir(amas.config))
    assert amas.config.__all__ == ["AMASConfig", "get_settings"]


def test_unknown_name_of_the_package() -> None:
    """What the package does not export is an AttributeError, as everywhere."""
    with pytest.raises(AttributeError, match="no attribute 'LLMConfig'"):
        _ = amas.config.LLMConfig


@pytest.mark.parametrize("model", [Database, Redis, Neo4j, Llm, Security, Api])
def test_sections_are_set_by_variable_name_only(model: Any) -> None:
    """A section takes the names of variables, and refuses those of its fields."""
    field, kind, _, variable = CONTRACT[model][0]
    text, expected = SAMPLES[kind]
    assert getattr(model(**{variable: text}), field) == expected
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        model(**{field: text})


@pytest.mark.parametrize("model", [Ai, Integration])
def test_prefixed_sections_are_set_by_field_name(model: Any) -> None:
    """The two classes with a prefix take the names of their fields, and no others."""
    field = next(iter(model.model_fields))
    assert getattr(model(**{field: "x"}), field) == "x"
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        model(nonsense="x")


def test_unknown_arguments_of_the_whole_are_ignored() -> None:
    """AMASConfig ignores what it does not know, the names of its own plain fields included."""
    config = Config(environment="testing", debug=True, llm_service_url="http://x", providers={})
    assert config == Config()
    assert Config(AMAS_DEBUG=True).debug is True


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("AMAS_ENVIRONMENT", "testing", "must be one of .'development', 'staging', 'production'"),
        ("AMAS_LOG_LEVEL", "loud", "must be one of .'DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRI"),
        ("AMAS_DB_PORT", "0", "Port must be between 1 and 65535"),
        ("AMAS_DB_PORT", "65536", "Port must be between 1 and 65535"),
        ("AMAS_REDIS_PORT", "0", "Port must be between 1 and 65535"),
        ("AMAS_REDIS_PORT", "65536", "Port must be between 1 and 65535"),
        ("AMAS_REDIS_DB", "-1", "Redis database must be between 0 and 15"),
        ("AMAS_REDIS_DB", "16", "Redis database must be between 0 and 15"),
        ("AMAS_LLM_TIMEOUT", "soon", "valid integer"),
        ("AMAS_OFFLINE_MODE", "perhaps", "valid boolean"),
    ],
)
def test_what_is_refused(
    variable: str, text: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong value of a variable is a ValidationError that says what is right."""
    monkeypatch.setenv(variable, text)
    with pytest.raises(ValidationError, match=message):
        settings.AMASConfig()


@pytest.mark.parametrize(
    ("variable", "text", "path", "expected"),
    [
        ("AMAS_DB_PORT", "1", "database.port", 1),
        ("AMAS_REDIS_PORT", "65535", "redis.port", 65535),
        ("AMAS_REDIS_DB", "15", "redis.db", 15),
        ("AMAS_LOG_LEVEL", "warning", "log_level", "WARNING"),
        ("AMAS_ENVIRONMENT", "Staging", "environment", "staging"),
        # The host checks the ports of two services only.
        ("AMAS_NEO4J_PORT", "0", "neo4j.port", 0),
        ("AMAS_LLM_PORT", "70000", "llm.port", 70000),
        ("AMAS_API_PORT", "0", "api.port", 0),
    ],
)
def test_what_is_taken(
    variable: str, text: str, path: str, expected: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bounds are inclusive, levels are in capitals and environments in small letters."""
    monkeypatch.setenv(variable, text)
    value: Any = settings.AMASConfig()
    for name in path.split("."):
        value = getattr(value, name)
    assert value == expected


def test_assignments_are_validated() -> None:
    """A value that is assigned goes through the same checks, and unknown names are refused."""
    config: Any = settings.AMASConfig()
    config.log_level = "debug"
    config.debug = "yes"
    config.data_dir = "elsewhere"
    assert (config.log_level, config.debug, config.data_dir) == ("DEBUG", True, Path("elsewhere"))
    with pytest.raises(ValidationError, match="Log level"):
        config.log_level = "loud"
    assert config.log_level == "DEBUG"
    with pytest.raises(ValueError, match="has no attribute"):
        config.nonsense = 1


@pytest.mark.parametrize("secret", [None, "", JWT_SECRET])
def test_production_needs_a_secret(secret: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Production refuses the published secret, and an empty one."""
    monkeypatch.setenv("AMAS_ENVIRONMENT", "production")
    if secret is not None:
        monkeypatch.setenv("AMAS_JWT_SECRET", secret)
    with pytest.raises(ValidationError, match="Production requires secure JWT secret"):
        settings.AMASConfig()


def test_production(monkeypatch: pytest.MonkeyPatch) -> None:
    """Production refuses to debug, also later, and is right with a secret of its own."""
    assert not settings.AMASConfig().is_production()
    assert settings.AMASConfig().is_development()
    monkeypatch.setenv("AMAS_ENVIRONMENT", "PRODUCTION")
    monkeypatch.setenv("AMAS_JWT_SECRET", "our own")
    config = settings.AMASConfig()
    assert config.is_production()
    assert not config.is_development()
    with pytest.raises(ValidationError, match="Debug mode cannot be enabled in production"):
        config.debug = True
    monkeypatch.setenv("AMAS_DEBUG", "1")
    with pytest.raises(ValidationError, match="Debug mode cannot be enabled in production"):
        settings.AMASConfig()


def test_addresses() -> None:
    """The properties give the host's addresses, with the password where there is one."""
    config = settings.AMASConfig()
    assert config.database.url == f"postgresql://amas:{PASSWORD}@localhost:5432/amas"
    assert config.redis.url == "redis://localhost:6379/0"
    assert Redis(AMAS_REDIS_PASSWORD="pw").url == "redis://:pw@localhost:6379/0"
    assert config.neo4j.uri == "bolt://localhost:7687"
    assert config.llm.url == "http://localhost:11434"


def test_validators_can_be_called() -> None:
    """The host's validators are class methods with its names."""
    assert Database.validate_port(1) == 1
    assert Redis.validate_port(65535) == 65535
    assert Redis.validate_db(0) == 0
    assert Config.validate_log_level("debug") == "DEBUG"
    assert Config.validate_environment("STAGING") == "staging"
    assert Config.validate_directories("x") == Path("x")
    assert Config().validate_configuration().environment == "development"


def test_no_keys() -> None:
    """Without keys there are exactly 28 names, in the host's order, and all are None."""
    assert settings.AMASConfig().get_api_keys() == dict.fromkeys(NAMES)
    assert list(settings.AMASConfig().get_api_keys()) == NAMES
    assert len(NAMES) == 28


@pytest.mark.parametrize("name", NAMES)
def test_key_with_and_without_prefix(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each key is found by its plain name, and the name with the prefix comes first."""
    nothing = dict.fromkeys(NAMES)
    monkeypatch.setenv(f"{name.upper()}_API_KEY", " plain\n")
    assert settings.AMASConfig().get_api_keys() == nothing | {name: "plain"}
    monkeypatch.setenv(f"AI_{name.upper()}_API_KEY", "\tprefixed ")
    assert settings.AMASConfig().get_api_keys() == nothing | {name: "prefixed"}
    monkeypatch.setenv(f"AI_{name.upper()}_API_KEY", " \n")
    assert settings.AMASConfig().get_api_keys() == nothing | {name: "plain"}
    monkeypatch.setenv(f"{name.upper()}_API_KEY", "")
    assert settings.AMASConfig().get_api_keys() == nothing


def test_no_other_names_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """No aliases are invented, and only keys are found without their prefix."""
    for name in words(
        "GEMINIAI_API_KEY NVIDIAAI_API_KEY TOGETHERAI_API_KEY MISTRALAI_API_KEY OPENROUTER_API_KEY "
        "HF_TOKEN OPENAI_ORG_ID DEFAULT_MODEL MAX_TOKENS TEMPERATURE N8N_API_KEY NOTION_API_KEY"
    ):
        monkeypatch.setenv(name, "9")
    config = settings.AMASConfig()
    assert config.ai.model_dump() == {row[0]: row[2] for row in CONTRACT[Ai]}
    assert config.integration.n8n_api_key is config.integration.notion_api_key is None


def test_keys_as_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that is passed comes before both variables; None says that there is none."""
    monkeypatch.setenv("GROQ_API_KEY", "plain")
    monkeypatch.setenv("AI_GROQ_API_KEY", "prefixed")
    assert Ai(groq_api_key=" passed ").groq_api_key == "passed"
    assert Ai(groq_api_key=None).groq_api_key is None
    assert Ai(groq_api_key="").groq_api_key == "plain"
    given = Ai(groq_api_key="passed")
    assert Config(ai=given).ai is given
    assert Config(ai={"groq_api_key": "passed"}).get_api_keys()["groq"] == "passed"


@pytest.mark.parametrize("value", [3, b"\xff"])
def test_key_of_a_wrong_type(value: object) -> None:
    """What is no text is refused, as before."""
    with pytest.raises(ValidationError, match="groq_api_key"):
        Ai(groq_api_key=value)
    with pytest.raises(ValidationError, match="valid dictionary or instance of AISettings"):
        Ai.model_validate(value)


def test_directories(tmp_path: Path) -> None:
    """Directories are made below the working directory, with their parents, and once is enough."""
    Config(AMAS_DATA_DIR="deep/data").create_directories()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "logs", "models"]
    assert (tmp_path / "deep" / "data").is_dir()
    config = settings.AMASConfig()
    assert not (tmp_path / "data").exists()
    config.create_directories()
    config.create_directories()
    assert (tmp_path / "data").is_dir()


def test_identities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings are read once, and again on request; directories are made each time."""
    first = settings.get_settings()
    assert settings.get_settings() is first
    assert settings._config is first
    assert (tmp_path / "models").is_dir()
    monkeypatch.setenv("AMAS_LOG_LEVEL", "error")
    monkeypatch.setenv("AMAS_MODELS_DIR", "more")
    assert settings.get_settings().log_level == "INFO"
    second = settings.reload_settings()
    assert second is not first
    assert second.log_level == "ERROR"
    assert (tmp_path / "more").is_dir()
    assert settings.get_settings() is second


def test_threads_share_one_instance() -> None:
    """Threads that ask for the settings at the same time get the same ones."""
    start, found = threading.Barrier(8), []

    def ask() -> None:
        start.wait()
        found.append(id(settings.get_settings()))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_dotenv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole is read from .env too, in UTF-8 and after the environment; unknown lines pass."""
    lines = ["AMAS_APP_NAME=Größe", "amas_debug=true", "AMAS_LOG_LEVEL=error", "NONSENSE=1"]
    (tmp_path / ".env").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.setenv("AMAS_LOG_LEVEL", "warning")
    config = settings.AMASConfig()
    assert (config.app_name, config.debug, config.log_level) == ("Größe", True, "WARNING")
    assert Config(_env_file=None).app_name == "AMAS"


def test_sections_do_not_read_dotenv(tmp_path: Path) -> None:
    """The sections are read from the environment alone, keys included, as in the host."""
    names = ("AMAS_LLM_HOST", "AMAS_DB_PASSWORD", "AI_GROQ_API_KEY", "GROQ_API_KEY")
    (tmp_path / ".env").write_text("\n".join(f"{name}=file" for name in names))
    assert settings.AMASConfig() == Config(_env_file=None)
    assert settings.AMASConfig().llm.host == "localhost"
    assert settings.AMASConfig().get_api_keys()["groq"] is None


SECRET: Final = "ab" + "cd" * 10


def shown(value: object) -> str:
    """Return a value in every form in which it may end up in a log."""
    return "\n".join(
        (repr(value), str(value), f"{value}", f"{value!r}", pretty_repr(value), f"{[value]}")
    )


@pytest.mark.parametrize(
    ("model", "field"),
    [
        (Database, "password"),
        (Redis, "password"),
        (Neo4j, "password"),
        (Security, "jwt_secret"),
        (Security, "encryption_key"),
        *((Ai, f"{name}_api_key") for name in NAMES),
        *(
            (Integration, name)
            for name in PLATFORMS
            if name.endswith(("_key", "_token", "_secret", "_password"))
        ),
    ],
)
def test_secrets_are_masked(model: Any, field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No secret is in any text of its section or of the whole; its value and type are as before."""
    variable = {row[0]: row[3] for row in CONTRACT[model]}[field]
    monkeypatch.setenv(variable, SECRET)
    section = model()
    assert SECRET not in shown(section)
    assert f"{field}='{MASK}'" in repr(section)
    assert SECRET not in shown(settings.AMASConfig())
    assert type(getattr(section, field)) is str
    assert getattr(section, field) == section.model_dump()[field] == SECRET


def test_defaults_are_masked() -> None:
    """Nor are the published defaults shown."""
    text = shown(settings.AMASConfig())
    assert not any(secret in text for secret in (PASSWORD, JWT_SECRET, ENCRYPTION_KEY))


@pytest.mark.parametrize("field", ["n8n_base_url", "jira_server", "salesforce_instance_url"])
def test_addresses_are_masked(field: str) -> None:
    """The login in an address is masked, and the rest of it stays."""
    section = Integration(**{field: f"https://user:{SECRET}/@at@host.example:1/path"})
    assert SECRET not in shown(section)
    assert f"{field}='https://{MASK}@host.example:1/path'" in repr(section)
    assert SECRET in getattr(section, field)


def test_what_is_no_secret_is_shown() -> None:
    """Everything else is shown, and of a secret whether it is set."""
    config = settings.AMASConfig()
    assert "log_level='INFO'" in repr(config)
    assert "data_dir=" in repr(config)
    assert "max_tokens=4000" in repr(config.ai)
    assert "openai_api_key=None" in repr(config.ai)
    assert repr(config.llm) == (
        "LLMConfig(host='localhost', port=11434, model='llama3.1:70b', timeout=300)"
    )
    assert "n8n_base_url='http://localhost:5678'" in repr(config.integration)
    assert "jwt_secret=''" in repr(Security(AMAS_JWT_SECRET=""))


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (Database, {"password": SECRET}),
        (Ai, {"groq_key": SECRET}),
        (Config, {"database": {"password": SECRET}}),
        (Config, {"AMAS_ENVIRONMENT": "production", "security": {"AMAS_ENCRYPTION_KEY": SECRET}}),
    ],
)
def test_errors_show_no_input(model: Any, values: dict[str, Any]) -> None:
    """The text of an error does not repeat what was passed."""
    with pytest.raises(ValidationError) as caught:
        model(**values)
    assert SECRET not in shown(caught.value)


SECTION: Final = "providers:\n  llm:\n    local: {base_url: 'http://127.0.0.1:1'}\n"


def write(path: Path, text: str) -> Path:
    """Write a file, and the directories above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_providers_without_any_file() -> None:
    """Without a file the section has its defaults, and no provider."""
    assert settings.AMASConfig().providers == ProvidersSettings()
    assert settings.AMASConfig().providers.llm == {}


def test_providers_from_the_usual_file(tmp_path: Path) -> None:
    """The section comes from configs/amas_config.yaml, beside the host's own sections."""
    write(tmp_path / "configs" / "amas_config.yaml", f"system: {{x: 1}}\n{SECTION}")
    config = settings.AMASConfig()
    assert list(config.providers.llm) == ["local"]
    assert config.providers.source == "configs/amas_config.yaml"
    assert config.providers is config.providers


@pytest.mark.parametrize("where", ["environment", ".env"])
def test_providers_from_a_named_file(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file that AMAS_PROVIDERS_CONFIG names comes before the usual one."""
    write(tmp_path / "configs" / "amas_config.yaml", "providers: {nonsense: 1}\n")
    path = write(tmp_path / "other.yaml", SECTION)
    if where == "environment":
        monkeypatch.setenv("AMAS_PROVIDERS_CONFIG", f" {path} ")
        write(tmp_path / ".env", "AMAS_PROVIDERS_CONFIG=nowhere.yaml\n")
    else:
        write(tmp_path / ".env", "AMAS_PROVIDERS_CONFIG=other.yaml\nNONSENSE=1\n")
    assert list(settings.AMASConfig().providers.llm) == ["local"]


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("system: {x: 1}\n", "there is no `providers:` section; "),
        ("provider: {x: 1}\n", "there is no `providers:` section; rename 'provider'"),
        ("# nothing\n", "the file is empty"),
    ],
)
def test_host_file_without_the_section(
    text: str, warning: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host's file need not have the section, and is told of; a named file must have it."""
    path = write(tmp_path / "configs" / "amas_config.yaml", text)
    monkeypatch.setenv("AMAS_PROVIDERS_CONFIG", " ")
    section = settings.AMASConfig().providers
    assert section == ProvidersSettings(warnings=section.warnings)
    assert len(section.warnings) == 1
    assert section.warnings[0].startswith(f"configs/amas_config.yaml:1:1: {warning}")
    monkeypatch.setenv("AMAS_PROVIDERS_CONFIG", str(path))
    with pytest.raises(ProviderConfigError, match="providers:"):
        _ = settings.AMASConfig().providers


@pytest.mark.parametrize("named", [True, False])
def test_broken_section(named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken file breaks only who asks for the section, with the place, until it is mended."""
    path = write(
        tmp_path / "configs" / "amas_config.yaml", "providers:\n  llm: {local: {tmo: 1}}\n"
    )
    if named:
        monkeypatch.setenv("AMAS_PROVIDERS_CONFIG", str(path))
    config = settings.get_settings()
    assert config.get_api_keys()["groq"] is None
    assert "tmo" not in repr(config)
    for _ in range(2):
        with pytest.raises(ProviderConfigError, match=r"amas_config\.yaml:2:17: providers\.llm"):
            _ = config.providers
    write(path, SECTION)
    assert list(config.providers.llm) == ["local"]


def test_named_file_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is named must be there, for those who ask for the section."""
    monkeypatch.setenv("AMAS_PROVIDERS_CONFIG", "nowhere.yaml")
    config = settings.AMASConfig()
    with pytest.raises(ProviderConfigError, match=r"nowhere\.yaml: there is no such file"):
        _ = config.providers


def test_providers_are_no_field(tmp_path: Path) -> None:
    """The section is in no dump, comparison, copy or pickle, loaded or not, and cannot be set."""
    write(tmp_path / "configs" / "amas_config.yaml", SECTION)
    config: Any = settings.AMASConfig()
    before = vars(config).copy()
    section = config.providers
    assert vars(config) == before
    assert "providers" not in {*settings.AMASConfig.model_fields, *config.model_dump()}
    assert config == settings.AMASConfig()
    others = copy.deepcopy(config), pickle.loads(pickle.dumps(config))
    for other in others:
        assert other == config
        assert other.providers == section
        assert other.providers is not section
    assert len({config._providers, others[0]._providers}) == 1
    assert config.model_copy().providers is section
    assert settings.reload_settings().providers is not section
    with pytest.raises(AttributeError):
        config.providers = section


def in_a_process(code: str, *paths: Path) -> str:
    """Run code with these folders to import from; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", code],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(map(str, paths))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_is_imported_when() -> None:
    """The schema needs no pydantic-settings, and the settings need neither schema nor LiteLLM."""
    code = (
        "import sys, amas.config.provider_settings\n"
        "assert 'pydantic_settings' not in sys.modules\n"
        "import amas.config\n"
        "amas.config.get_settings\n"
        "assert 'pydantic_settings' in sys.modules\n"
    )
    in_a_process(code, ROOT / "src")
    code = (
        "import sys\n"
        "from amas.config.settings import get_settings\n"
        "get_settings()\n"
        "print(*({'yaml', 'litellm', 'openai', 'amas.config.provider_settings'} & {*sys.modules}))"
    )
    assert in_a_process(code, ROOT / "src").split() == []


def test_both_names_of_the_package(tmp_path: Path) -> None:
    """The settings work as amas.… and as src.amas.…, side by side and with their own instances."""
    write(tmp_path / "configs" / "amas_config.yaml", SECTION)
    code = (
        "from src.amas.config.settings import AMASConfig, get_settings\n"
        "import amas.config\n"
        "assert AMASConfig is not amas.config.AMASConfig\n"
        "assert get_settings() is not amas.config.get_settings()\n"
        "print(*get_settings().providers.llm, *amas.config.get_settings().providers.llm)"
    )
    assert in_a_process(code, ROOT, ROOT / "src").split() == ["local", "local"]


def test_no_default_secret_stands_in_the_source() -> None:
    """The published defaults are put together, so that scanners for secrets find none."""
    folder = Path(settings.__file__).parent
    for path in (*folder.glob("settings*.py"), Path(__file__)):
        text = path.read_text(encoding="utf-8")
        assert not any(secret in text for secret in (PASSWORD, JWT_SECRET, ENCRYPTION_KEY))
