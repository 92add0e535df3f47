"""The host's environment settings, and the providers beside them.

Names, defaults, environment variables and errors are those of the host's own
``amas.config.settings``, which its code and its deployments rely on. New is
``AMASConfig.providers``.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from pydantic import Field, PrivateAttr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from typing_extensions import override

from .settings_sections import (
    API_KEY,
    JWT_SECRET,
    AISettings,
    APIConfig,
    DatabaseConfig,
    HostSettings,
    IntegrationSettings,
    LLMConfig,
    Neo4jConfig,
    RedisConfig,
    SecurityConfig,
    variable,
)

if TYPE_CHECKING:
    from .provider_settings import ProvidersSettings

__all__ = [
    "AISettings",
    "AMASConfig",
    "APIConfig",
    "DatabaseConfig",
    "IntegrationSettings",
    "LLMConfig",
    "Neo4jConfig",
    "RedisConfig",
    "SecurityConfig",
    "get_settings",
    "reload_settings",
]

PROVIDERS_FILE: Final = "configs/amas_config.yaml"
"""Where the ``providers:`` section is looked for, unless AMAS_PROVIDERS_CONFIG says otherwise."""

_LOG_LEVELS: Final = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
_ENVIRONMENTS: Final = ["development", "staging", "production"]


class _ProvidersFile(BaseSettings):
    """Which file has the ``providers:`` section."""

    path: str = variable("PROVIDERS_CONFIG", "")

    model_config = SettingsConfigDict(env_file=".env", env_file_encoding="utf-8", extra="ignore")


class _Loaded:
    """The ``providers:`` section, once it has been asked for.

    It equals any other and is copied empty: settings are compared, copied and
    pickled by their fields, and a copy loads the section again.
    """

    section: ProvidersSettings | None = None

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Loaded)

    @override
    def __hash__(self) -> int:
        return hash(_Loaded)

    @override
    def __reduce__(self) -> tuple[type[_Loaded], tuple[()]]:
        return (_Loaded, ())


class AMASConfig(HostSettings):
    """All settings of the host, from the environment and ``.env``.

    The settings in the nested sections come from the environment alone.
    """

    app_name: str = variable("APP_NAME", "AMAS", "Name of the application")
    version: str = variable("VERSION", "1.0.0", "Its version")
    environment: str = variable("ENVIRONMENT", "development", "What it is deployed for")
    debug: bool = variable("DEBUG", default=False, description="Whether to debug")
    offline_mode: bool = variable("OFFLINE_MODE", default=True, description="Whether offline")
    gpu_enabled: bool = variable("GPU_ENABLED", default=True, description="Whether to use GPUs")
    log_level: str = variable("LOG_LEVEL", "INFO")
    log_format: str = variable("LOG_FORMAT", "%(asctime)s - %(name)s - %(levelname)s - %(message)s")
    data_dir: Path = variable("DATA_DIR", Path("data"), "Directory of the data")
    logs_dir: Path = variable("LOGS_DIR", Path("logs"), "Directory of the logs")
    models_dir: Path = variable("MODELS_DIR", Path("models"), "Directory of the models")

    database: DatabaseConfig = Field(default_factory=DatabaseConfig, description="PostgreSQL")
    redis: RedisConfig = Field(default_factory=RedisConfig, description="Redis")
    neo4j: Neo4jConfig = Field(default_factory=Neo4jConfig, description="Neo4j")
    llm: LLMConfig = Field(default_factory=LLMConfig, description="Ollama")
    security: SecurityConfig = Field(default_factory=SecurityConfig, description="Security")
    api: APIConfig = Field(default_factory=APIConfig, description="The host's own API")
    ai: AISettings = Field(default_factory=AISettings, description="Keys of the vendors")
    integration: IntegrationSettings = Field(
        default_factory=IntegrationSettings, description="Credentials of platforms"
    )

    _providers: _Loaded = PrivateAttr(default_factory=_Loaded)

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        case_sensitive=False,
        validate_assignment=True,
        extra="ignore",
    )

    @property
    def providers(self) -> ProvidersSettings:
        """The ``providers:`` section, loaded when it is first asked for.

        From the file that AMAS_PROVIDERS_CONFIG names, in the environment or in
        ``.env``; else from ``configs/amas_config.yaml`` below the working
        directory, where that is and has the section; else the defaults, with no
        provider.

        Raises:
            ProviderConfigError: Something in the file is wrong. It is read again next time.
        """
        if self._providers.section is None:
            self._providers.section = _load_providers()
        return self._providers.section

    @field_validator("log_level")
    @classmethod
    def validate_log_level(cls, value: str) -> str:
        """Refuse what is no level; levels are in capitals."""
        if value.upper() not in _LOG_LEVELS:
            raise ValueError(f"Log level must be one of {_LOG_LEVELS}")
        return value.upper()

    @field_validator("environment")
    @classmethod
    def validate_environment(cls, value: str) -> str:
        """Refuse what is no environment; they are in small letters."""
        if value.lower() not in _ENVIRONMENTS:
            raise ValueError(f"Environment must be one of {_ENVIRONMENTS}")
        return value.lower()

    @field_validator("data_dir", "logs_dir", "models_dir")
    @classmethod
    def validate_directories(cls, value: Path) -> Path:
        """Take texts for paths."""
        return Path(value)

    @model_validator(mode="after")
    def validate_configuration(self) -> Self:
        """Refuse to debug in production, or to be there with the published secret."""
        if self.environment == "production":
            if self.debug:
                raise ValueError("Debug mode cannot be enabled in production")
            if self.security.jwt_secret in {"", JWT_SECRET}:
                raise ValueError("Production requires secure JWT secret")
        return self

    def create_directories(self) -> None:
        """Make the directories for data, logs and models."""
        for directory in (self.data_dir, self.logs_dir, self.models_dir):
            directory.mkdir(parents=True, exist_ok=True)

    def is_production(self) -> bool:
        """Tell whether this is production."""
        return self.environment.lower() == "production"

    def is_development(self) -> bool:
        """Tell whether this is development."""
        return self.environment.lower() == "development"

    def get_api_keys(self) -> dict[str, str | None]:
        """Return the keys of all vendors by their names; None for those that are not set."""
        names = [name for name in AISettings.model_fields if name.endswith(API_KEY)]
        return {name.removesuffix(API_KEY): getattr(self.ai, name) for name in names}


def _load_providers() -> ProvidersSettings:
    from .provider_settings import ProvidersSettings, load_settings  # noqa: PLC0415 -- slow
    from .yaml_source import NoSectionError  # noqa: PLC0415 -- slow

    named = _ProvidersFile().path.strip()
    if named:
        return load_settings(named)
    if not Path(PROVIDERS_FILE).exists():
        return ProvidersSettings()
    try:
        return load_settings(PROVIDERS_FILE)
    except NoSectionError as error:  # which is no mistake in the host's own file
        return ProvidersSettings(warnings=tuple(error.problems))


_config: AMASConfig | None = None
_config_lock = threading.Lock()


def get_settings() -> AMASConfig:
    """Return the settings of this process; the first call reads them and makes directories."""
    with _config_lock:
        return _config or _read_settings()


def reload_settings() -> AMASConfig:
    """Read the settings again, and return them from now on."""
    with _config_lock:
        return _read_settings()


def _read_settings() -> AMASConfig:
    global _config  # noqa: PLW0603 -- the host's name for the one instance
    _config = AMASConfig()
    _config.create_directories()
    return _config
