"""The ``providers:`` section of a configuration, loaded, checked and frozen."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic.json_schema import SkipJsonSchema

from ..providers.base.provider_config import ProviderConfig
from .field_types import Texts, text_like
from .layers import Layered, read_layers
from .loader import SECTIONS, Loader, Sealed, to_config
from .manager_schema import CircuitBreakerSettings, HedgeSettings, ManagerSettings, PolicyRule
from .migration_schema import MigrationSettings, ServiceMigration
from .models_schema import CHAIN_EXAMPLE, ModelAlias, Models
from .observability_schema import (
    AlertSettings,
    AuditSettings,
    MetricsSettings,
    ObservabilitySettings,
    TracingSettings,
)
from .provider_schema import PriceSettings, ProviderSettings, SandboxSettings
from .references import Opener, References
from .resolution import Resolver
from .section import Section
from .security_schema import AccessRule, SecuritySettings

__all__ = [
    "AccessRule",
    "AlertSettings",
    "AuditSettings",
    "CircuitBreakerSettings",
    "HedgeSettings",
    "ManagerSettings",
    "MetricsSettings",
    "MigrationSettings",
    "ModelAlias",
    "ObservabilitySettings",
    "PolicyRule",
    "PriceSettings",
    "ProviderSettings",
    "ProvidersSettings",
    "SandboxSettings",
    "SecuritySettings",
    "ServiceMigration",
    "TracingSettings",
    "load_migration",
    "load_security",
    "load_settings",
    "read_document",
]

_Path = text_like(r"\S", "Must be the path of a file.")


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


class ProvidersSettings(Section):
    """The whole ``providers:`` section; get it from ``load_settings``."""

    manager: ManagerSettings = Field(
        default_factory=ManagerSettings,
        title="Manager",
        description="How providers are chosen, failed over and watched.",
        examples=[{"strategy": "priority"}],
    )
    security: SecuritySettings = Field(
        default_factory=SecuritySettings,
        title="Security",
        description="Keys at rest, and who may do what.",
        examples=[{"plaintext_keys": "forbid"}],
    )
    audit: AuditSettings | None = Field(
        default=None,
        title="Audit",
        description="The record of every call; without it the records go to a logger.",
        examples=[{"path": "logs/provider-audit.jsonl"}],
    )
    metrics: MetricsSettings = Field(
        default_factory=MetricsSettings,
        title="Metrics",
        description="Figures for Prometheus; needs the extra metrics.",
        examples=[{"enabled": True, "port": 9464}],
    )
    tracing: TracingSettings = Field(
        default_factory=TracingSettings,
        title="Tracing",
        description="Spans for OpenTelemetry; needs the extra tracing.",
        examples=[{"enabled": True}],
    )
    alerts: AlertSettings | None = Field(
        default=None,
        title="Alerts",
        description="Who is told when a provider needs somebody; without it nobody is.",
        examples=[{"webhook": "${ALERT_WEBHOOK}"}],
    )
    migration: MigrationSettings = Field(
        default_factory=MigrationSettings,
        title="Migration",
        description="Who answers for the old services: their old implementations or the new ones.",
        examples=[{"llm_service": "shadow"}],
    )
    llm: Mapping[str, ProviderSettings] = Field(
        default_factory=dict,
        title="Providers",
        description="The providers by name; their order is the order of fallback.",
        examples=[{"openai": {"api_key": "${OPENAI_API_KEY}"}}],
    )
    models: Models = Field(
        default_factory=dict,
        title="Models",
        description="Aliases: names for models, each with the chain of those whom calls by it ask.",
        examples=[{"fast": CHAIN_EXAMPLE}],
    )
    extends: Annotated[
        Texts, BeforeValidator(_as_list, json_schema_input_type=_Path | list[_Path])
    ] = Field(
        default=(),
        title="Extends",
        description="Files that this one is laid over, relative to it; the later ones win.",
        examples=["base.yaml", ["base.yaml", "team.yaml"]],
    )
    warnings: SkipJsonSchema[tuple[str, ...]] = Field(
        default=(),
        title="Warnings",
        description="What stops nothing but should be known; not a key of the file.",
        examples=[[]],
    )
    source: SkipJsonSchema[str | None] = Field(
        default=None,
        title="Source",
        description="Path of the file; None for a mapping. Not a key of the file.",
        examples=["configs/amas_config.yaml"],
    )
    files: SkipJsonSchema[tuple[str, ...]] = Field(
        default=(),
        title="Files",
        description="Paths of all files it was read from, and of an overlay that is not there yet;"
        " not a key of the file.",
        examples=[["configs/base.yaml", "configs/amas_config.yaml"]],
    )
    disabled: SkipJsonSchema[Mapping[str, str]] = Field(
        default_factory=dict,
        title="Disabled",
        description="Why providers are disabled that were not meant to be; not a key of the file.",
        examples=[{"openai": "${OPENAI_API_KEY} is not set; set it, or remove the line"}],
    )

    @property
    def observability(self) -> ObservabilitySettings:
        """What watches the manager."""
        return ObservabilitySettings(self.audit, self.metrics, self.tracing, self.alerts)

    def provider_configs(self) -> list[ProviderConfig]:
        """Return the providers' configurations in the order they are to be asked."""
        names = dict.fromkeys((*self.manager.fallback_order, *self.llm))
        return [
            to_config(name, self.llm[name], self.manager.max_retries, self.disabled.get(name))
            for name in names
        ]


def load_settings(
    source: str | os.PathLike[str] | Mapping[str, Any],
    *,
    environ: Mapping[str, str] | None = None,
    check: Callable[[ProviderConfig], None] | None = None,
    known_providers: Collection[str] = (),
    openers: Mapping[str, Opener] | None = None,
    sealed: Sealed | None = None,
) -> ProvidersSettings:
    """Load the ``providers:`` section of a configuration.

    It reads files, so call it in a thread where an event loop runs.

    Args:
        source: Path of a YAML file, or a mapping: the whole document, with
            ``providers`` at its top. Other sections are the host's. Over a file lie its
            overlay and variables (``AMAS_PROVIDERS__…``), and under it what it extends.
        environ: The variables; the process's own if None.
        check: Called with each enabled provider's configuration; what it raises
            becomes a problem of that provider.
        known_providers: Names that need no further explanation, for hints.
        openers: What opens a secret field's text of a scheme (``enc``,
            ``keyring``), by the scheme's name; called with the text and its place.
        sealed: Makes what opens ``enc:`` values, from the document's master keys.

    Returns:
        The settings.

    Raises:
        ProviderConfigError: Something is wrong; its ``problems`` have one line each.
    """
    environ = os.environ if environ is None else environ
    layered = read_document(source, environ, known_providers)
    loader = _loader(layered, environ, openers, known_providers)
    values = loader.load(check, sealed)
    files = (*layered.files, *values["files"])
    return ProvidersSettings(**values | {"extends": layered.extends, "files": files})


def load_security(
    source: str | os.PathLike[str] | Mapping[str, Any],
    *,
    environ: Mapping[str, str] | None = None,
    openers: Mapping[str, Opener] | None = None,
) -> tuple[SecuritySettings, tuple[str, ...]]:
    """Load the section ``security:`` alone; mistakes in the other sections do not matter.

    It reads files, so call it in a thread where an event loop runs.

    Args:
        source: As for ``load_settings``.
        environ: The variables; the process's own if None.
        openers: As for ``load_settings``.

    Returns:
        The section, and what should be known about it.

    Raises:
        ProviderConfigError: The source cannot be read, or something in the section is wrong.
    """
    environ = os.environ if environ is None else environ
    return _loader(read_document(source, environ), environ, openers).load_security()


def load_migration(
    source: str | os.PathLike[str] | Mapping[str, Any], *, environ: Mapping[str, str] | None = None
) -> MigrationSettings:
    """Load the section ``migration:`` alone; mistakes in the other sections do not matter.

    It reads files, so call it in a thread where an event loop runs.

    Args:
        source: As for ``load_settings``.
        environ: The variables; the process's own if None.

    Raises:
        ProviderConfigError: The source cannot be read, or has a section that there is not, or
            something in this one is wrong.
    """
    environ = os.environ if environ is None else environ
    return _loader(read_document(source, environ), environ, None).load_migration()


def read_document(
    source: str | os.PathLike[str] | Mapping[str, Any],
    environ: Mapping[str, str],
    known_providers: Collection[str] = (),
) -> Layered:
    """Read a configuration with its layers, unchecked.

    It reads files, so call it in a thread where an event loop runs.

    Args:
        source: As for ``load_settings``.
        environ: The variables.
        known_providers: As for ``load_settings``.

    Returns:
        What extended files, the file, its overlay and variables say together.

    Raises:
        ProviderConfigError: A file cannot be read, or is no YAML, or has no section.
    """
    fields = {name: ProvidersSettings.model_fields[name] for name in SECTIONS}
    return read_layers(source, environ, fields, known_providers)


def _loader(
    layered: Layered,
    environ: Mapping[str, str],
    openers: Mapping[str, Opener] | None,
    known: Collection[str] = (),
) -> Loader:
    document = layered.document
    references = References(environ, openers or {}, document.source.folder)
    return Loader(document, Resolver(document, references), known)
