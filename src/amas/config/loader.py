"""The stages between a document that was read and settings that are right."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from ..providers.base.options import OptionsError
from ..providers.base.provider_config import ProviderConfig
from ..providers.errors import ProviderConfigError
from ..providers.secret import Secret
from ..providers.types import Price, SandboxLimits
from .beside import is_row
from .cross_checks import MASTER_KEY_VARIABLE, CrossChecks
from .document import Document, kind, label
from .manager_schema import ManagerSettings
from .migration_schema import MigrationSettings
from .model_aliases import Rows, read_aliases
from .observability_schema import (
    AlertSettings,
    AuditSettings,
    MetricsSettings,
    TracingSettings,
)
from .option_problems import report_options
from .param_values import report_params
from .provider_schema import ProviderSettings
from .references import Opener
from .resolution import Resolver
from .section import NAME, Section
from .security_schema import SecuritySettings
from .short_forms import long_entry
from .validation import unknown_key, validate

Sealed: TypeAlias = Callable[[Sequence[Secret]], Opener]
"""Makes what opens ``enc:`` values from the master keys; raises ProviderConfigError if one is bad."""

_SectionT = TypeVar("_SectionT", bound=Section)

SECTIONS: Final = (
    "manager",
    "security",
    "audit",
    "metrics",
    "tracing",
    "alerts",
    "migration",
    "llm",
    "models",
)
MAX_PROVIDERS: Final = 1_000
NOBODY_ENABLED: Final = "no provider is enabled; add one, or set what is missing"


def to_config(
    name: str, settings: ProviderSettings, max_retries: int, disabled: str | None
) -> ProviderConfig:
    """Make the configuration a provider is built with.

    Args:
        name: Its name.
        settings: Its settings.
        max_retries: Retries, where the settings do not say.
        disabled: Why it is disabled, where that was not a wish.

    Raises:
        ProviderConfigError: A field is wrong in a way the schema does not see.
    """
    values = {key: getattr(settings, key) for key in ProviderSettings.model_fields}
    if settings.max_retries is None:
        values["max_retries"] = max_retries
    if settings.price is not None:
        values["price"] = Price(settings.price.input, settings.price.output)
    values["sandbox"] = SandboxLimits(**settings.sandbox.model_dump())
    return ProviderConfig(name=name, disabled_reason=disabled, **values)


class _Candidate(NamedTuple):
    """What a provider's configuration is made of."""

    name: str
    settings: ProviderSettings
    max_retries: int
    disabled: str | None


def _with_unknown(
    resolved: dict[str, Any], raw: Mapping[str, Any], model: type[Section]
) -> dict[str, Any]:
    """Put back what was left out for its missing variable though it is no field at all."""
    return dict.fromkeys(raw.keys() - model.model_fields.keys()) | resolved


class Loader:
    """Takes a document through its stages: resolve, check each section, check them together.

    Args:
        document: What was read.
        resolver: What follows its references.
        known_providers: Names of the catalogue, for hints.
    """

    def __init__(
        self, document: Document, resolver: Resolver, known_providers: Collection[str]
    ) -> None:
        self._document = document
        self._resolver = resolver
        self._known = known_providers

        self._resolved: dict[str, Any] = {}
        self._enabled: dict[str, ProviderConfig] = {}

    def load(
        self, check: Callable[[ProviderConfig], None] | None, sealed: Sealed | None = None
    ) -> dict[str, Any]:
        """Check everything.

        Args:
            check: Called with each enabled provider's configuration.
            sealed: Makes what opens the ``enc:`` values, from the master keys.

        Returns:
            The values of ``ProvidersSettings``, by name.

        Raises:
            ProviderConfigError: There are problems; it has them all.
        """
        data = self._sections()
        manager = self._section(ManagerSettings, "manager", data) or ManagerSettings()
        security = self._security(data, sealed)
        audit = self._section(AuditSettings, "audit", data)
        metrics = self._section(MetricsSettings, "metrics", data) or MetricsSettings()
        tracing = self._section(TracingSettings, "tracing", data) or TracingSettings()
        alerts = self._section(AlertSettings, "alerts", data)
        migration = self._migration(data)
        providers = self._providers(data.get("llm"))
        llm: dict[str, ProviderSettings] = {}
        disabled: dict[str, str] = {}
        for name, raw in providers.items():
            provider, reason = self._provider(name, raw)
            if provider:
                llm[name] = provider
                self._check(_Candidate(name, provider, manager.max_retries, reason), check)
            if reason:
                disabled[name] = reason
        together = CrossChecks(self._document, providers)
        rows = Rows(providers, self._enabled, check, together.not_configured)
        models = read_aliases(data.get("models"), self._document, self._resolver, rows)
        together.breaker(manager.circuit_breaker)
        together.names(self._resolved)
        together.audit(audit, security)
        together.idle(audit, metrics, tracing)
        self._resolver.report_plaintext(security.plaintext_keys)
        if not any(provider.enabled for provider in llm.values()):
            self._document.warn(("llm",), NOBODY_ENABLED)
        self._document.raise_problems()
        return {
            "manager": manager,
            "security": security,
            "audit": audit,
            "metrics": metrics,
            "tracing": tracing,
            "alerts": alerts,
            "migration": migration,
            "llm": llm,
            "models": models,
            "disabled": disabled,
            "source": self._document.name,
            "warnings": self._document.warnings,
            "files": self._resolver.files,
        }

    def load_security(self) -> tuple[SecuritySettings, tuple[str, ...]]:
        """Check the section ``security`` alone.

        Returns:
            The section, and what should be known about it.

        Raises:
            ProviderConfigError: There are problems; it has them all.
        """
        security = self._security(self._sections(), None)
        self._document.raise_problems()
        return security, self._document.warnings

    def load_migration(self) -> MigrationSettings:
        """Check the section ``migration`` alone.

        Raises:
            ProviderConfigError: There are problems; it has them all.
        """
        migration = self._migration(self._sections())
        self._document.raise_problems()
        return migration

    def _sections(self) -> dict[str, Any]:
        data = self._document.data
        if data is None:
            return {}
        if not isinstance(data, dict):
            self._document.problem((), f"must be a mapping, not {kind(data)}; begin with `llm:`")
            raise self._document.error()
        for key in data.keys() - set(SECTIONS):
            text = unknown_key(key, ["extends", *SECTIONS], self._document)
            if key in self._known or is_row(data[key]):
                shown = label(key)
                text = f"unknown key; providers go under providers.llm: did you mean llm.{shown}?"
            self._document.problem((key,), text, at_key=True)
        return data

    def _section(
        self, model: type[_SectionT], name: str, data: Mapping[str, Any]
    ) -> _SectionT | None:
        value = data.get(name)
        if value is None:  # also a section whose lines are all comments
            return None
        if isinstance(value, dict):
            resolved = self._resolved[name] = self._resolver.section(name, value)
            value = _with_unknown(resolved, value, model)
        return validate(model, value, (name,), self._document)

    def _security(self, data: Mapping[str, Any], sealed: Sealed | None) -> SecuritySettings:
        """Check ``security``, and set up what opens the ``enc:`` values of the sections after it."""
        written = data.get("security")
        written = {} if written is None else written
        chosen = not isinstance(written, dict) or written.get("master_key") is not None
        if not chosen:
            written = written | {"master_key": f"${{{MASTER_KEY_VARIABLE}:-}}"}
        settings = self._section(SecuritySettings, "security", {"security": written})
        settings = settings or SecuritySettings()
        if sealed is not None:
            try:
                self._resolver.open_with(sealed(settings.master_key))
            except ProviderConfigError as error:
                self._refuse_master_key(error, chosen=chosen)
        return settings

    def _refuse_master_key(self, error: ProviderConfigError, *, chosen: bool) -> None:
        path = ("security", "master_key")
        if chosen:
            self._document.problem(path, error.message)
            return
        # Nobody said that the variable is for this; without enc: values nothing is lost.
        text = f"{MASTER_KEY_VARIABLE} is not used: {error.message}"
        self._document.warn(path, text)

        def refuse(_text: str, _place: str) -> str:
            raise ProviderConfigError(text)

        self._resolver.open_with(refuse)

    def _migration(self, data: Mapping[str, Any]) -> MigrationSettings:
        flags = data.get("migration")
        if isinstance(flags, dict):
            entries = {
                name: long_entry("migration", name, flag, self._document)
                for name, flag in flags.items()
            }
            data = {"migration": entries}
        return self._section(MigrationSettings, "migration", data) or MigrationSettings()

    def _providers(self, data: object) -> dict[str, Any]:
        if data is None:
            return {}
        if not isinstance(data, dict):
            text = f"must be a mapping, not {kind(data)}; write `name: {{…}}` lines below it"
            self._document.problem(("llm",), text)
            return {}
        if len(data) > MAX_PROVIDERS:
            self._document.problem(
                ("llm",), f"has {len(data)} providers; at most {MAX_PROVIDERS} are possible"
            )
            raise self._document.error()
        for name in data:
            if not NAME.fullmatch(name):
                text = (
                    "a provider's name begins with a letter or digit and has at most 64 "
                    "letters, digits and _ . -; rename it"
                )
                self._document.problem(("llm", name), text, at_key=True)
        return data

    def _provider(self, name: str, raw: object) -> tuple[ProviderSettings | None, str | None]:
        path = ("llm", name)
        if raw is not None and not isinstance(raw, dict):
            if name in ProviderSettings.model_fields:
                text = "is a field of a provider, not a provider; indent it below its name"
                self._document.problem(path, text, at_key=True)
                return None, None
            return validate(ProviderSettings, raw, path, self._document), None
        resolved, reason = self._resolver.provider(name, raw or {})
        if raw and raw.get("api_key") is not None and raw.get("api_keys") is not None:
            text = "excludes api_key; put all keys into api_keys, and remove api_key"
            self._document.problem((*path, "api_keys"), text, at_key=True)
            resolved.pop("api_keys", None)
        if reason:
            resolved["enabled"] = False
        resolved = _with_unknown(resolved, raw or {}, ProviderSettings)
        settings = validate(ProviderSettings, resolved, path, self._document)
        if settings is not None:
            report_params(settings.params, (*path, "params"), self._document)
        return settings, reason

    def _check(self, candidate: _Candidate, check: Callable[[ProviderConfig], None] | None) -> None:
        try:
            config = to_config(*candidate)
            if config.enabled:
                self._enabled[config.name] = config
                if check:
                    check(config)
        except OptionsError as error:
            path = ("llm", candidate.name, "options")
            report_options(error.mistakes, candidate.settings.options, path, self._document)
        except ProviderConfigError as error:
            name = candidate.name
            path = ("llm", name, *(error.field.split(".") if error.field else ()))
            for text in error.problems:
                named = candidate.settings.adapter or candidate.settings.provider
                hint = "" if named else self._hint(name, text)
                self._document.problem(path, text + hint, at_key=not error.field)

    def _hint(self, name: str, text: str) -> str:
        if name in self._known or "did you mean" in text:
            return ""
        near = self._document.nearest(name, self._known)
        return f"; did you mean {near!r}?" if near else ""
